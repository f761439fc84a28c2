/* Tests of model/train/bpe and gguf_write: a vocabulary that is learned and the file that it is written to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "model/gguf.h"
#include "model/model.h"
#include "model/train/bpe.h"
#include "model/train/corpus.h"
#include "model/train/gguf_write.h"
#include "tests/support_folder.h"

static int open_folder(void **state) {
    (void)state;
    return support_folder_make() ? 0 : -1;
}

static int close_folder(void **state) {
    (void)state;
    support_folder_remove();
    return 0;
}

static void expect_token(const struct bpe *b, int32_t id, const char *text) {
    struct gguf_text t = bpe_token(b, id);
    assert_int_equal(t.n, strlen(text));
    assert_memory_equal(t.p, text, t.n);
}

/* The words and counts of the paper's example; the merges worked out by hand. */
static void the_heaviest_pair_is_joined_first_and_the_lower_one_of_equals(void **state) {
    (void)state;
    static const char *const made[] = {"es", "est", "lo", "low", "ew", "new", "newest", "dest", "idest", "widest", "er", "lower"};
    struct bpe *b;
    struct err e = {0};
    assert_int_equal(bpe_open(&b, "gpt-2", &e), 0);
    bpe_add(b, "low", 2, &e);
    bpe_add(b, "lower", 2, &e);
    bpe_add(b, "newest", 6, &e);
    bpe_add(b, "widest", 3, &e);
    bpe_add(b, "low", 3, &e);
    assert_int_equal(bpe_learn(b, 1000, &e), 0);
    assert_int_equal(bpe_n_tokens(b), BPE_N_BASE + sizeof made / sizeof *made);
    for (int32_t i = 0; i < (int32_t)(sizeof made / sizeof *made); i++) expect_token(b, BPE_N_BASE + i, made[i]);
    size_t n;
    const struct bpe_merge *m = bpe_merges(b, &n);
    assert_int_equal(n, sizeof made / sizeof *made);
    assert_int_equal(m[1].left, BPE_N_BASE);
    assert_int_equal(m[1].right, BPE_N_CONTROL + 't');
    bpe_close(b);
}

static void no_token_is_there_twice(void **state) {
    (void)state;
    uint64_t x = 1;
    struct err e = {0};
    for (int round = 0; round < 20; round++) {
        struct bpe *b;
        assert_int_equal(bpe_open(&b, "gpt-2", &e), 0);
        for (int k = 0; k < 60; k++) {
            char word[12] = {0};
            x = x * 6364136223846793005u + 1442695040888963407u;
            for (uint64_t i = 0; i < 3 + (x >> 60) % 8; i++) word[i] = "aabc"[x >> (20 + 2 * i) & 3];
            bpe_add(b, word, 1 + (x >> 50) % 9, &e);
        }
        assert_int_equal(bpe_learn(b, BPE_N_BASE + 100, &e), 0);
        for (uint32_t i = BPE_N_BASE; i < bpe_n_tokens(b); i++) {
            for (uint32_t j = BPE_N_BASE; j < i; j++) {
                struct gguf_text s = bpe_token(b, (int32_t)i), t = bpe_token(b, (int32_t)j);
                assert_false(s.n == t.n && !memcmp(s.p, t.p, s.n));
            }
        }
        bpe_close(b);
    }
}

static void the_vocabulary_ends_at_the_size_asked_for(void **state) {
    (void)state;
    struct bpe *b;
    struct err e = {0};
    assert_int_equal(bpe_open(&b, "gpt-2", &e), 0);
    bpe_add(b, "some words to learn from, and some more words", 1, &e);
    assert_int_equal(bpe_learn(b, BPE_N_BASE + 5, &e), 0);
    assert_int_equal(bpe_n_tokens(b), BPE_N_BASE + 5);
    bpe_close(b);
    assert_int_equal(bpe_open(&b, "no-such-rules", &e), ERR_FILE);
    assert_null(b);
}

/* A vocabulary of the guide's own corpus, in a file, opened as the program does it. */
static struct model *corpus_vocab(const struct corpus *c) {
    struct bpe *b;
    struct err e = {0};
    struct gguf_write w = {0};
    struct model *m;
    const char *path = support_folder_path("vocab.gguf");
    assert_int_equal(bpe_open(&b, "gpt-2", &e), 0);
    for (size_t i = 0; i < c->n_facts; i++) {
        for (size_t j = 0; j < c->fact[i].ask.n; j++) bpe_add(b, c->fact[i].ask.text[j], 1, &e);
        for (size_t j = 0; j < c->fact[i].answer.n; j++) bpe_add(b, c->fact[i].answer.text[j], 15, &e);
    }
    assert_int_equal(bpe_learn(b, 700, &e), 0);
    gguf_write_text(&w, "general.architecture", "llama");
    assert_int_equal(bpe_write(b, &w, &e), 0);
    assert_int_equal(gguf_write_save(&w, path, &e), 0);
    gguf_write_free(&w);
    bpe_close(b);
    if (model_open(&m, path, &(struct model_options){.vocab_only = true}, &e)) fail_msg("%s", e.text);
    return m;
}

static void what_is_encoded_decodes_to_the_same_text(void **state) {
    (void)state;
    struct corpus c;
    struct err e = {0};
    size_t n_bytes = 0, n_tokens = 0;
    assert_int_equal(corpus_open(&c, "model/guide", &e), 0);
    struct model *m = corpus_vocab(&c);
    assert_int_equal(vocab_size(m->vocab), 700);
    assert_int_equal(m->format.kind, TEMPLATE_CHATML);
    assert_false(vocab_add_bos(m->vocab));
    assert_true(vocab_is_end(m->vocab, vocab_find(m->vocab, "<|im_end|>", 10)));
    for (size_t i = 0; i < c.n_facts; i++) {
        for (size_t j = 0; j < c.fact[i].answer.n; j++) {
            const char *text = c.fact[i].answer.text[j];
            struct vocab_tokens t = {0};
            struct buf back = {0};
            assert_int_equal(vocab_encode(m->vocab, text, strlen(text), false, &t, &e), 0);
            assert_int_equal(vocab_decode(m->vocab, t.id, t.n, false, false, &back), 0);
            assert_string_equal(buf_text(&back), text);
            n_bytes += strlen(text);
            n_tokens += t.n;
            vocab_tokens_free(&t);
            buf_free(&back);
        }
    }
    assert_true(n_tokens * 2 < n_bytes); /* the words were learned */
    model_close(m);
    corpus_close(&c);
}

static void what_is_written_is_read_again(void **state) {
    (void)state;
    struct gguf_write w = {0};
    struct gguf *g;
    struct err e = {0};
    struct gguf_text texts[] = {{"one", 3}, {"", 0}, {"three", 5}}, text;
    float x[64], back[64];
    uint64_t u = 0;
    double real = 0;
    bool yes = false;
    for (int i = 0; i < 64; i++) x[i] = (float)(i - 20) / 8;
    gguf_write_u32(&w, "a.u32", 7);
    gguf_write_u64(&w, "a.u64", 1ull << 40);
    gguf_write_f32(&w, "a.f32", 0.5f);
    gguf_write_bool(&w, "a.bool", true);
    gguf_write_text(&w, "a.text", "hello");
    gguf_write_texts(&w, "a.texts", texts, 3);
    gguf_write_i32s(&w, "a.i32s", (int32_t[]){3, -4}, 2);
    gguf_write_tensor(&w, "norm", num_find(NUM_F32), 3, 1, x);
    gguf_write_tensor(&w, "half", num_find(NUM_F16), 32, 2, x);
    gguf_write_tensor(&w, "quantised", num_find(NUM_Q8_0), 32, 2, x);
    assert_int_equal(gguf_write_save(&w, support_folder_path("a.gguf"), &e), 0);
    gguf_write_free(&w);
    assert_int_equal(gguf_open(&g, support_folder_path("a.gguf"), &e), 0);
    assert_int_equal(g->version, 3);
    assert_int_equal(gguf_uint(g, "a.u32", &u, &e), 0);
    assert_int_equal(u, 7);
    assert_int_equal(gguf_uint(g, "a.u64", &u, &e), 0);
    assert_true(u == 1ull << 40);
    assert_int_equal(gguf_real(g, "a.f32", &real, &e), 0);
    assert_true(real == 0.5);
    assert_int_equal(gguf_bool(g, "a.bool", &yes, &e), 0);
    assert_true(yes);
    assert_int_equal(gguf_string(g, "a.text", &text, &e), 0);
    assert_memory_equal(text.p, "hello", 5);
    const struct gguf_kv *kv = gguf_find(g, "a.texts");
    assert_int_equal(kv->n, 3);
    assert_int_equal(gguf_item_text(kv, 1).n, 0);
    assert_memory_equal(gguf_item_text(kv, 2).p, "three", 5);
    assert_int_equal(gguf_item_int(gguf_find(g, "a.i32s"), 1), -4);
    const struct gguf_tensor *norm = gguf_find_tensor(g, "norm"), *half = gguf_find_tensor(g, "half"), *q = gguf_find_tensor(g, "quantised");
    assert_int_equal(norm->n_dims, 1);
    assert_memory_equal(norm->data, x, 3 * sizeof *x);
    assert_int_equal(half->dim[0], 32);
    assert_int_equal(half->dim[1], 2);
    half->type->to_f32(half->data, back, 64);
    assert_memory_equal(back, x, sizeof x); /* eighths are exact in 16 bits */
    assert_int_equal((size_t)(q->data - g->map) % 32, 0);
    q->type->to_f32(q->data, back, 64);
    for (int i = 0; i < 64; i++) assert_float_equal(back[i], x[i], 5.375f / 254 + 1e-3f);
    gguf_close(g);
}

static void a_folder_that_is_not_there_is_said(void **state) {
    (void)state;
    struct gguf_write w = {0};
    struct err e = {0};
    assert_int_equal(gguf_write_save(&w, support_folder_path("gone/a.gguf"), &e), ERR_FILE);
    gguf_write_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_heaviest_pair_is_joined_first_and_the_lower_one_of_equals),
        cmocka_unit_test(no_token_is_there_twice),
        cmocka_unit_test(the_vocabulary_ends_at_the_size_asked_for),
        cmocka_unit_test_setup_teardown(what_is_encoded_decodes_to_the_same_text, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_again, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_said, open_folder, close_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
