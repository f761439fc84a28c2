/* engine: the model side of engine.h: opening a file, its description, its tokens, its template. */
#include "model/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/hash.h"
#include "config/utf8.h"
#include "model/guide.h"
#include "model/model.h"

/* ---- opening ------------------------------------------------------------------------------------------------- */

#define SAMPLE_BYTES 64u /* of each tensor's beginning and middle, for the fingerprint */

/* Of everything that decides what the model computes: metadata and tensor table (the file's bytes before the weights),
 * and samples of every tensor, so that a fine-tuned copy is another model. Not the path. */
static uint64_t fingerprint(const struct gguf *g) {
    uint64_t h = hash_bytes(g->map, g->data_offset, g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        size_t n = t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
        if (!n) continue;
        h = hash_bytes(t->data, n, h);
        h = hash_bytes(t->data + (t->bytes - n) / 2, n, h);
    }
    return h;
}

static char *copy_text(struct gguf_text t) {
    char *s = malloc(t.n + 1);
    if (!s) return NULL;
    memcpy(s, t.p, t.n);
    s[t.n] = 0;
    return s;
}

/* The usual names of general.file_type: what a quantised file as a whole is called. */
static const struct {
    uint32_t id;
    const char *name;
} file_types[] = {
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},    {8, "Q5_0"},    {9, "Q5_1"},
    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"}, {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"},
    {17, "Q5_K_M"}, {18, "Q6_K"},   {21, "Q2_K_S"}, {25, "IQ4_NL"}, {30, "IQ4_XS"}, {32, "BF16"},
};

/* The type that holds most of the file's weights. */
static const char *commonest_type(const struct gguf *g) {
    uint64_t best = 0;
    const char *name = "unknown";
    for (size_t i = 0; i < g->n_tensors; i++) {
        uint64_t bytes = 0;
        for (size_t j = i; j < g->n_tensors; j++)
            if (g->tensor[j].type_id == g->tensor[i].type_id) bytes += g->tensor[j].bytes;
        const char *type = num_id_name(g->tensor[i].type_id);
        if (bytes > best && type) best = bytes, name = type;
    }
    return name;
}

static const char *type_name(const struct gguf *g) {
    uint64_t id = UINT64_MAX;
    if (!gguf_uint(g, "general.file_type", &id, NULL))
        for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
            if (file_types[i].id == id) return file_types[i].name;
    return commonest_type(g);
}

static int read_names(struct model *m, struct err *e) {
    const struct gguf *g = m->gguf;
    const char *slash = strrchr(g->path, '/'), *base = slash ? slash + 1 : g->path, *type = type_name(g);
    struct gguf_text name = {base, strlen(base)}, arch = {"", 0};
    int rc = gguf_string(g, "general.name", &name, e);
    if (rc || (rc = gguf_string(g, "general.architecture", &arch, e))) return rc;
    m->name = copy_text(name);
    m->arch_name = copy_text(arch);
    m->type_name = copy_text((struct gguf_text){type, strlen(type)});
    return m->name && m->arch_name && m->type_name ? 0 : err_set(e, ERR_MEMORY, "no memory to open %s", g->path);
}

static int read_template(struct model *m, struct err *e) {
    struct gguf_text text = {"", 0};
    int rc = gguf_string(m->gguf, "tokenizer.chat_template", &text, e);
    if (!rc) template_detect(text.p, text.n, &m->format);
    return rc;
}

static int open_tokens(struct model *m, struct err *e) {
    int rc = vocab_open(&m->vocab, m->gguf, e);
    return rc ? rc : read_template(m, e);
}

static int open_weights(struct model *m, struct err *e) {
    if (!m->gguf->n_tensors) return err_set(e, ERR_FILE, "%s: this file holds a vocabulary and no weights", m->gguf->path);
    int rc = weights_read(&m->weights, m->gguf, vocab_size(m->vocab), e);
    return rc ? rc : rope_read(&m->rope, m->gguf, &m->weights, e);
}

/* Keeps what there is to look at, and why there is no more. */
static int keep_unusable(struct model *m, struct err *e) {
    rope_free(&m->rope);
    weights_free(&m->weights);
    m->cannot_run = strdup(e->text);
    if (!m->cannot_run) return err_set(e, ERR_MEMORY, "no memory to open %s", m->gguf->path);
    *e = (struct err){0};
    return 0;
}

static int open_bytes(struct model *m, const char *path, struct err *e) {
    const uint8_t *bytes;
    size_t n;
    if (strcmp(path, MODEL_GUIDE)) return gguf_open(&m->gguf, path, e);
    int rc = guide_bytes(&bytes, &n, e);
    return rc ? rc : gguf_open_memory(&m->gguf, path, bytes, n, e);
}

int model_open(struct model **out, const char *path, const struct model_options *o, struct err *e) {
    static const struct model_options whole = {0};
    struct err own;
    if (!o) o = &whole;
    if (!e) e = &own;
    *out = NULL;
    struct model *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_MEMORY, "no memory to open %s", path);
    int rc = open_bytes(m, path, e);
    if (!rc) rc = read_names(m, e);
    if (rc) goto out;
    for (size_t i = 0; i < m->gguf->n_tensors; i++) {
        const struct gguf_tensor *t = &m->gguf->tensor[i];
        m->n_params += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        m->weight_bytes += t->bytes;
    }
    m->fingerprint = fingerprint(m->gguf);
    rc = open_tokens(m, e);
    if (!rc && !o->vocab_only) rc = open_weights(m, e);
    if (rc == ERR_FILE && o->describe) rc = keep_unusable(m, e);
out:
    if (rc)
        model_close(m);
    else
        *out = m;
    return rc;
}

void model_close(struct model *m) {
    if (!m) return;
    rope_free(&m->rope);
    weights_free(&m->weights);
    vocab_close(m->vocab);
    gguf_close(m->gguf);
    free(m->name);
    free(m->arch_name);
    free(m->type_name);
    free(m->cannot_run);
    free(m);
}

/* ---- describing ---------------------------------------------------------------------------------------------- */

/* The sizes of a file that cannot be run, as far as its metadata names them. */
static void guess_info(const struct model *m, struct model_info *info) {
    const struct {
        const char *name;
        uint32_t *place;
    } sizes[] = {{"block_count", &info->n_layers},          {"embedding_length", &info->n_embd},
                 {"feed_forward_length", &info->n_ff},      {"attention.head_count", &info->n_heads},
                 {"attention.head_count_kv", &info->n_kv_heads}, {"attention.key_length", &info->head_dim},
                 {"context_length", &info->n_ctx_train}};
    char key[160];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t n = 0;
        snprintf(key, sizeof key, "%s.%s", m->arch_name, sizes[i].name);
        if (!gguf_uint(m->gguf, key, &n, NULL) && n <= UINT32_MAX) *sizes[i].place = (uint32_t)n;
    }
    snprintf(key, sizeof key, "%s.rope.freq_base", m->arch_name);
    gguf_real(m->gguf, key, &info->rope_base, NULL);
}

void model_get_info(const struct model *m, struct model_info *info) {
    static const char *const template_names[] = {
        [TEMPLATE_PLAIN] = "none", [TEMPLATE_CHATML] = "chatml", [TEMPLATE_UNKNOWN] = "unknown"};
    const struct weights_shape *s = &m->weights.shape;
    *info = (struct model_info){
        .path = m->gguf->path,
        .name = m->name,
        .arch = m->arch_name,
        .type = m->type_name,
        .n_params = m->n_params,
        .file_bytes = m->gguf->map_bytes,
        .weight_bytes = m->weight_bytes,
        .n_layers = s->n_layers,
        .n_embd = s->n_embd,
        .n_ff = s->n_ff,
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .head_dim = s->head_dim_k,
        .n_ctx_train = s->n_ctx_train,
        .template_name = template_names[m->format.kind],
        .fingerprint = m->fingerprint,
        .rope_base = m->rope.base,
        .cannot_run = m->cannot_run,
    };
    if (m->vocab) {
        info->n_vocab = vocab_size(m->vocab);
        info->vocab_model = vocab_model(m->vocab);
        info->vocab_pre = vocab_pre(m->vocab);
    }
    if (m->weights.arch)
        info->rope_scaling = m->rope.scaling ? m->rope.scaling : "none";
    else
        guess_info(m, info);
}

#define SHOWN_BYTES 60u /* of a string */
#define SHOWN_ITEMS 6u  /* of an array */

/* A file's text, which may hold anything, as a clean part of a line, between two marks. */
static int describe_text(struct buf *out, struct gguf_text t, const char *mark) {
    struct utf8_stream clean = {0};
    struct buf line = {0};
    size_t n = t.n < SHOWN_BYTES ? t.n : SHOWN_BYTES;
    n -= utf8_incomplete(t.p, n);
    int rc = utf8_stream_add(&clean, t.p, n, &line);
    if (!rc) rc = utf8_stream_end(&clean, &line);
    if (!rc) buf_add_text(out, mark);
    for (size_t i = 0; !rc && i < line.len; i++) {
        char c = line.data[i];
        if (c == '\n') buf_add_text(out, "\\n");
        else if (c == '\t') buf_add_text(out, "\\t");
        else if (*mark && (c == '"' || c == '\\')) buf_printf(out, "\\%c", c);
        else buf_add_char(out, c);
    }
    if (!rc) rc = buf_printf(out, "%s%s", mark, n < t.n ? "..." : "");
    buf_free(&line);
    return rc;
}

static int describe_number(struct buf *out, const struct gguf_kv *kv, enum gguf_type type, uint64_t i) {
    if (type == GGUF_F32 || type == GGUF_F64) return buf_printf(out, "%g", gguf_item_real(kv, i));
    if (type == GGUF_BOOL) return buf_add_text(out, gguf_item_int(kv, i) ? "true" : "false");
    return buf_printf(out, "%lld", (long long)gguf_item_int(kv, i));
}

static void describe_value(struct buf *out, const struct gguf_kv *kv) {
    bool array = kv->type == GGUF_ARRAY;
    enum gguf_type type = array ? kv->item : kv->type;
    uint64_t n = kv->n < SHOWN_ITEMS ? kv->n : SHOWN_ITEMS;
    const uint8_t *at = kv->data;
    if (array) buf_add_char(out, '[');
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_text text = {"", 0};
        if (i) buf_add_text(out, ", ");
        if (type == GGUF_STRING) {
            at = gguf_next_text(kv, at, &text);
            describe_text(out, text, "\"");
        } else {
            describe_number(out, kv, type, i);
        }
    }
    if (array) buf_printf(out, n < kv->n ? ", ... %llu in all]" : "]", (unsigned long long)kv->n);
}

static void describe_tensor(struct buf *out, const struct gguf_tensor *t) {
    const char *type = num_id_name(t->type_id);
    describe_text(out, t->name, "");
    buf_printf(out, ": ");
    for (uint32_t i = 0; i < t->n_dims; i++) buf_printf(out, "%s%llu", i ? " x " : "", (unsigned long long)t->dim[i]);
    if (type)
        buf_printf(out, " %s\n", type);
    else
        buf_printf(out, " type %u\n", t->type_id);
}

size_t model_n_keys(const struct model *m) { return m->gguf->n_kv; }

int model_get_key(const struct model *m, size_t i, struct buf *name, struct buf *value, bool *text) {
    const struct gguf_kv *kv = &m->gguf->kv[i];
    *text = kv->type == GGUF_STRING;
    describe_text(name, kv->key, "");
    if (*text) {
        struct gguf_text t = gguf_item_text(kv, 0);
        buf_add(value, t.p, t.n);
    } else {
        describe_value(value, kv);
    }
    return name->failed || value->failed ? ERR_MEMORY : 0;
}

int model_describe(const struct model *m, bool verbose, struct buf *out, struct err *e) {
    const struct gguf *g = m->gguf;
    for (size_t i = 0; i < g->n_kv; i++) {
        describe_text(out, g->kv[i].key, "");
        buf_add_text(out, " = ");
        describe_value(out, &g->kv[i]);
        buf_add_char(out, '\n');
    }
    for (size_t i = 0; verbose && i < g->n_tensors; i++) describe_tensor(out, &g->tensor[i]);
    return out->failed ? err_set(e, ERR_MEMORY, "no memory to describe %s", g->path) : 0;
}

/* ---- tokens and messages ------------------------------------------------------------------------------------- */

void tokens_free(struct tokens *t) {
    free(t->id);
    *t = (struct tokens){0};
}

int model_tokenize(const struct model *m, const char *text, size_t n, bool parse_special, bool add_bos,
                   struct tokens *out, struct err *e) {
    struct vocab_tokens t = {0};
    *out = (struct tokens){0};
    int rc = 0;
    if (add_bos && vocab_add_bos(m->vocab) && vocab_bos(m->vocab) >= 0 &&
        (rc = vocab_tokens_add(&t, vocab_bos(m->vocab))))
        err_set(e, rc, "no memory for the tokens of a text");
    if (!rc) rc = vocab_encode(m->vocab, text, n, parse_special, &t, e);
    if (rc)
        vocab_tokens_free(&t);
    else
        *out = (struct tokens){t.id, t.n};
    return rc;
}

int model_render(const struct model *m, const struct chat_message *msg, size_t n, bool add_generation_prompt,
                 struct rendered *out, struct err *e) {
    return template_render(&m->format, m->vocab, msg, n, add_generation_prompt, out, e);
}
