/* Tests of model/weights and model/rope, through model_open: what does not fit is refused in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "tests/support_gguf.h"

enum { D = 8, FF = 12, HEADS = 2, KV_HEADS = 1, HEAD = 4, VOCAB = 5, LAYERS = 2 };

/* A model of 2 layers, with one thing about it changed. */
struct change {
    const char *arch; /* NULL: llama */
    const char *key;
    uint32_t value;     /* this u32 key, of the architecture, has that value */
    const char *no_key; /* this one is left out */
    const char *tensor;
    uint64_t dim[2];
    uint32_t type;               /* this tensor has other dimensions (unless 0) or another type */
    const char *no_tensor;       /* this one is left out */
    const char *more;            /* one more tensor, of D numbers */
    const char *text_key, *text; /* one more key */
    const char *real_key;
    float real;
};

static void add_tensor(struct support_gguf *b, const struct change *c, const char *name, uint64_t cols, uint64_t rows) {
    static float zero[4096];
    uint64_t dim[2] = {cols, rows};
    uint32_t type = NUM_F32;
    if (c->no_tensor && !strcmp(c->no_tensor, name)) return;
    if (c->tensor && !strcmp(c->tensor, name)) {
        if (c->dim[0]) memcpy(dim, c->dim, sizeof dim);
        type = c->type;
    }
    support_gguf_tensor(b, name, type, dim, dim[1] > 1 ? 2 : 1, zero, (size_t)(dim[0] * dim[1]) * 4);
}

static void add_key(struct support_gguf *b, const struct change *c, const char *arch, const char *name,
                    uint32_t value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    if (c->no_key && !strcmp(c->no_key, name)) return;
    support_gguf_u32(b, key, c->key && !strcmp(c->key, name) ? c->value : value);
}

static void add_layer(struct support_gguf *b, const struct change *c, const char *arch, int il) {
    const struct {
        const char *name;
        uint64_t cols, rows;
        const char *arch;
    } rows[] = {
        {"attn_norm.weight", D, 1, NULL},
        {"attn_q.weight", D, HEADS * HEAD, NULL},
        {"attn_k.weight", D, KV_HEADS * HEAD, NULL},
        {"attn_v.weight", D, KV_HEADS * HEAD, NULL},
        {"attn_output.weight", HEADS * HEAD, D, NULL},
        {"ffn_norm.weight", D, 1, NULL},
        {"ffn_gate.weight", D, FF, NULL},
        {"ffn_up.weight", D, FF, NULL},
        {"ffn_down.weight", FF, D, NULL},
        {"attn_q.bias", HEADS * HEAD, 1, "qwen2"},
        {"attn_k.bias", KV_HEADS * HEAD, 1, "qwen2"},
        {"attn_v.bias", KV_HEADS * HEAD, 1, "qwen2"},
        {"attn_q_norm.weight", HEAD, 1, "qwen3"},
        {"attn_k_norm.weight", HEAD, 1, "qwen3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s", il, rows[i].name);
        if (!rows[i].arch || !strcmp(rows[i].arch, arch)) add_tensor(b, c, name, rows[i].cols, rows[i].rows);
    }
}

static char *build(const struct change *c) {
    static const char *const words[VOCAB] = {"<unk>", "<s>", "</s>", "a", "b"};
    static const float scores[VOCAB];
    static const int32_t attrs[VOCAB] = {2, 3, 3, 1, 1};
    const char *arch = c->arch ? c->arch : "llama";
    const struct {
        const char *name;
        uint32_t value;
    } keys[] = {
        {"block_count", LAYERS},        {"embedding_length", D},          {"feed_forward_length", FF},
        {"context_length", 64},         {"attention.head_count", HEADS},  {"attention.head_count_kv", KV_HEADS},
        {"attention.key_length", HEAD}, {"attention.value_length", HEAD}, {"rope.dimension_count", HEAD},
    };
    struct support_gguf b = {0};
    char key[96];
    support_gguf_text(&b, "general.architecture", arch);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) add_key(&b, c, arch, keys[i].name, keys[i].value);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    support_gguf_f32(&b, key, 1e-5f);
    if (c->key && !strcmp(c->key, "expert_count")) add_key(&b, c, arch, c->key, 0);
    if (c->text_key) support_gguf_text(&b, c->text_key, c->text);
    if (c->real_key) support_gguf_f32(&b, c->real_key, c->real);
    support_gguf_text(&b, "tokenizer.ggml.model", "llama");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", words, VOCAB);
    support_gguf_array(&b, "tokenizer.ggml.scores", GGUF_F32, scores, VOCAB, 4);
    support_gguf_array(&b, "tokenizer.ggml.token_type", GGUF_I32, attrs, VOCAB, 4);
    support_gguf_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    support_gguf_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    add_tensor(&b, c, "token_embd.weight", D, VOCAB);
    add_tensor(&b, c, "output_norm.weight", D, 1);
    for (int il = 0; il < LAYERS; il++) add_layer(&b, c, arch, il);
    if (c->more) add_tensor(&b, c, c->more, D, 1);
    char *path = support_gguf_file(&b);
    support_gguf_free(&b);
    return path;
}

static void expect_refusal(const struct change *c, const char *expected) {
    char *path = build(c), text[600];
    struct model *m;
    struct err e = {0};
    int rc = model_open(&m, path, NULL, &e);
    snprintf(text, sizeof text, "%s: %s", path, expected);
    if (rc != ERR_FILE || strcmp(e.text, text)) fail_msg("rc %d, \"%s\" instead of \"%s\"", rc, e.text, text);
    assert_null(m);
    unlink(path);
    free(path);
}

static struct model *expect_open(const struct change *c) {
    char *path = build(c);
    struct model *m;
    struct err e = {0};
    if (model_open(&m, path, NULL, &e)) fail_msg("%s", e.text);
    unlink(path);
    free(path);
    return m;
}

static void every_architecture_opens_with_its_own_tensors(void **state) {
    (void)state;
    static const char *const arch[] = {"llama", "qwen2", "qwen3"};
    for (size_t i = 0; i < 3; i++) {
        struct model *m = expect_open(&(struct change){.arch = arch[i]});
        const struct weights_layer *l = &m->weights.layer[1];
        assert_int_equal(l->q_bias != NULL, i == 1);
        assert_int_equal(l->q_norm != NULL, i == 2);
        assert_int_equal(m->rope.kv.neox, i > 0);
        assert_ptr_equal(m->weights.output.data, m->weights.embd.data);
        model_close(m);
    }
    /* one architecture's tensors in another's file mean that it is another model */
    expect_refusal(&(struct change){.more = "blk.0.attn_q_norm.weight"},
                   "blk.0.attn_q_norm.weight: found a tensor that llama models are not known to have");
    expect_refusal(&(struct change){.arch = "qwen2", .no_tensor = "blk.1.attn_k.bias"},
                   "blk.1.attn_k.bias: found nothing, expected a tensor of 4");
}

static void a_tensor_that_is_missing_or_ill_shaped_is_named_with_both_shapes(void **state) {
    (void)state;
    expect_refusal(&(struct change){.no_tensor = "blk.1.ffn_up.weight"},
                   "blk.1.ffn_up.weight: found nothing, expected a tensor of 8 x 12");
    expect_refusal(&(struct change){.tensor = "blk.1.attn_k.weight", .dim = {8, 5}},
                   "blk.1.attn_k.weight: found 8 x 5, expected 8 x 4");
    expect_refusal(&(struct change){.tensor = "output_norm.weight", .dim = {9, 1}},
                   "output_norm.weight: found 9, expected 8");
    expect_refusal(&(struct change){.tensor = "token_embd.weight", .dim = {8, 6}},
                   "token_embd.weight: found 8 x 6, expected 8 x 5");
}

static void unsupported_architectures_and_types_are_named_with_what_is_supported(void **state) {
    (void)state;
    expect_refusal(&(struct change){.arch = "mamba"},
                   "general.architecture: found \"mamba\", expected one of llama, qwen2, qwen3");
    char *path = build(&(struct change){.tensor = "blk.0.attn_q.weight", .type = 25});
    struct model *m;
    struct err e = {0};
    assert_int_equal(model_open(&m, path, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "blk.0.attn_q.weight: found type i16, expected one of f32, f16, q4_0"));
    unlink(path);
    free(path);
}

static void sizes_that_contradict_each_other_are_refused(void **state) {
    (void)state;
    expect_refusal(&(struct change){.no_key = "block_count"}, "llama.block_count: found nothing, expected a number");
    expect_refusal(&(struct change){.key = "block_count", .value = 4000000000u},
                   "llama.block_count: found 4000000000, expected 1 to 3");
    expect_refusal(&(struct change){.key = "attention.head_count", .value = 0},
                   "llama.attention.head_count: found 0, expected 1 to 65536");
    expect_refusal(&(struct change){.key = "attention.head_count_kv", .value = 3},
                   "llama.attention.head_count_kv: found 3, expected 1 to 2");
    expect_refusal(&(struct change){.key = "attention.key_length", .value = 3},
                   "llama.attention.key_length: found 3, expected an even number");
    expect_refusal(&(struct change){.key = "attention.value_length", .value = 1024},
                   "llama.attention.value_length: found 1024, expected 2 to 512");
    expect_refusal(&(struct change){.key = "rope.dimension_count", .value = 6},
                   "llama.rope.dimension_count: found 6, expected 2 to 4");
    expect_refusal(&(struct change){.key = "expert_count", .value = 8},
                   "llama.expert_count: found 8, expected 0: mixtures of experts are not supported yet");
}

static void a_scaling_that_is_unknown_or_out_of_range_is_refused(void **state) {
    (void)state;
    expect_refusal(&(struct change){.text_key = "llama.rope.scaling.type", .text = "longrope"},
                   "llama.rope.scaling.type: found \"longrope\", expected one of none, linear, yarn");
    expect_refusal(&(struct change){.real_key = "llama.rope.freq_base", .real = 0},
                   "llama.rope.freq_base: found 0, expected 1.0001 to 1e+30");
    expect_refusal(&(struct change){.real_key = "llama.rope.scaling.factor", .real = -1},
                   "llama.rope.scaling.factor: found -1, expected 0 to 1e+06");
}

static void frequencies_follow_the_formulas(void **state) {
    (void)state;
    struct model *m = expect_open(&(struct change){.real_key = "llama.rope.scaling.factor", .real = 4});
    struct model_info info;
    model_get_info(m, &info);
    assert_string_equal(info.rope_scaling, "linear");
    assert_true(fabs(m->rope.freq[0] - 0.25) < 1e-12 && fabs(m->rope.freq[1] - 0.0025) < 1e-12);
    model_close(m);
    m = expect_open(&(struct change){
        .text_key = "llama.rope.scaling.type", .text = "yarn", .real_key = "llama.rope.scaling.factor", .real = 4});
    model_get_info(m, &info);
    assert_string_equal(info.rope_scaling, "yarn");
    assert_true(fabs((double)m->rope.kv.magnitude - (1 + 0.1 * log(4))) < 1e-6);
    assert_true(m->rope.freq[0] > 0.25); /* turns fast: keeps more than a quarter of its frequency */
    model_close(m);
}

static void the_fingerprint_sees_metadata_and_weights_but_not_the_path(void **state) {
    (void)state;
    struct model *a = expect_open(&(struct change){0}), *b = expect_open(&(struct change){0});
    struct model *c = expect_open(&(struct change){.key = "context_length", .value = 65});
    assert_true(a->fingerprint == b->fingerprint);
    assert_true(a->fingerprint != c->fingerprint);
    model_close(a), model_close(b), model_close(c);
    a = expect_open(&(struct change){0});
    char *path = build(&(struct change){0});
    FILE *f = fopen(path, "r+b");
    fseek(f, (long)a->gguf->data_offset, SEEK_SET); /* a weight's first byte */
    fputc(1, f);
    fclose(f);
    assert_int_equal(model_open(&b, path, NULL, NULL), 0);
    assert_true(a->fingerprint != b->fingerprint);
    model_close(a), model_close(b);
    unlink(path);
    free(path);
}

static void a_vocabulary_alone_needs_no_known_architecture(void **state) {
    (void)state;
    char *path = build(&(struct change){.arch = "mamba"});
    struct model *m;
    struct err e = {0};
    assert_int_equal(model_open(&m, path, &(struct model_options){.vocab_only = true}, &e), 0);
    struct session *s;
    assert_int_equal(session_open(&s, m, NULL, &e), ERR_USAGE);
    struct buf text = {0};
    assert_int_equal(model_describe(m, true, &text, &e), 0);
    assert_non_null(strstr(buf_text(&text), "\nmamba.block_count = 2\n"));
    assert_non_null(strstr(buf_text(&text), "\nblk.0.attn_q.weight: 8 x 8 f32\n"));
    buf_free(&text);
    model_close(m);
    unlink(path);
    free(path);
}

static void malformed_files_from_elsewhere_are_refused_in_one_line(void **state) {
    (void)state;
    char *folder = support_data("fuzz/gguf");
    if (!folder) skip();
    DIR *d = opendir(folder);
    assert_non_null(d);
    size_t n = 0;
    for (struct dirent *f; (f = readdir(d));) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        struct model *m;
        struct err e = {0};
        if (f->d_name[0] == '.') continue;
        int rc = model_open(&m, path, NULL, &e);
        if (rc && (rc != ERR_FILE || strncmp(e.text, path, strlen(path)) || strchr(e.text, '\n')))
            fail_msg("%s: rc %d, \"%s\"", path, rc, e.text);
        model_close(m);
        n++;
    }
    closedir(d);
    assert_true(n > 10);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_opens_with_its_own_tensors),
        cmocka_unit_test(a_tensor_that_is_missing_or_ill_shaped_is_named_with_both_shapes),
        cmocka_unit_test(unsupported_architectures_and_types_are_named_with_what_is_supported),
        cmocka_unit_test(sizes_that_contradict_each_other_are_refused),
        cmocka_unit_test(a_scaling_that_is_unknown_or_out_of_range_is_refused),
        cmocka_unit_test(frequencies_follow_the_formulas),
        cmocka_unit_test(the_fingerprint_sees_metadata_and_weights_but_not_the_path),
        cmocka_unit_test(a_vocabulary_alone_needs_no_known_architecture),
        cmocka_unit_test(malformed_files_from_elsewhere_are_refused_in_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
