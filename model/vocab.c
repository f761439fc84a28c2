/* vocab: see vocab.h. Reads the tables of tokenizer.*, finds special tokens in text, and leaves what lies between them
 * to the kind of tokeniser that the file names. */
#include "model/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "config/hash.h"
#include "model/vocab_kind.h"

enum { TEXT_BYTES_MAX = 1 << 30 }; /* of one call: symbols are counted in 32 bits */

static const struct vocab_kind *const kinds[] = {&vocab_spm, &vocab_bpe};

/* Tokens that end a reply whatever the file says of them, as the common model families spell them. */
static const char *const end_names[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>",
    "<|end_of_turn|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<eos>", "</s>", "<end_of_utterance>", "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
};
/* Other marks of chat templates. They and the end tokens count as control tokens even in files that call them something
 * else, since a user could otherwise spell them; only what a file calls ordinary text and looks like it (</s> is a tag of
 * HTML) stays that. */
static const char *const mark_names[] = {
    "<|im_start|>", "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<start_of_turn>", "<s>", "<bos>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|start|>", "<|message|>", "<|channel|>", "[INST]", "[/INST]",
};

/* ---- lists of tokens ----------------------------------------------------------------------------------------- */

void vocab_tokens_free(struct vocab_tokens *t) {
    free(t->id);
    *t = (struct vocab_tokens){0};
}

int vocab_tokens_add(struct vocab_tokens *t, int32_t id) {
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        int32_t *p = cap > SIZE_MAX / sizeof *p ? NULL : realloc(t->id, cap * sizeof *p);
        if (!p) return ERR_MEMORY;
        t->id = p;
        t->cap = cap;
    }
    t->id[t->n++] = id;
    return 0;
}

/* ---- from bytes to ids --------------------------------------------------------------------------------------- */

int vocab_map_open(struct vocab_map *m, const struct gguf_text *text, size_t n_max, struct err *e) {
    size_t cap = 64;
    while (cap < n_max * 2) cap *= 2;
    *m = (struct vocab_map){.text = text, .mask = cap - 1, .slot = malloc(cap * sizeof *m->slot)};
    if (!m->slot) return err_set(e, ERR_MEMORY, "no memory for the vocabulary");
    memset(m->slot, 0xff, cap * sizeof *m->slot);
    return 0;
}

void vocab_map_close(struct vocab_map *m) {
    free(m->slot);
    *m = (struct vocab_map){0};
}

/* The slot of a key, or the free one where it belongs. */
static int32_t *map_slot(const struct vocab_map *m, const char *p, size_t n) {
    for (size_t i = (size_t)hash_bytes(p, n, 0) & m->mask;; i = (i + 1) & m->mask) {
        int32_t id = m->slot[i];
        if (id < 0 || (m->text[id].n == n && !memcmp(m->text[id].p, p, n))) return &m->slot[i];
    }
}

void vocab_map_put(struct vocab_map *m, int32_t id) {
    struct gguf_text t = m->text[id];
    int32_t *slot = map_slot(m, t.p, t.n);
    if (*slot < 0) m->n++;
    *slot = id;
    if (t.n > m->longest) m->longest = t.n;
}

int32_t vocab_map_find(const struct vocab_map *m, const char *p, size_t n) { return n > m->longest ? -1 : *map_slot(m, p, n); }

/* ---- opening ------------------------------------------------------------------------------------------------- */

static int read_tokens(struct vocab *v, struct err *e) {
    const struct gguf *g = v->g;
    const struct gguf_kv *kv = gguf_find(g, "tokenizer.ggml.tokens");
    if (!kv) return err_set(e, ERR_FILE, "%s: tokenizer.ggml.tokens: found nothing, expected the list of tokens", g->path);
    if (kv->type != GGUF_ARRAY || kv->item != GGUF_STRING || !kv->n || kv->n > INT32_MAX / 2)
        return err_set(e, ERR_FILE, "%s: tokenizer.ggml.tokens: found %llu items of another kind, expected an array of strings", g->path,
                       (unsigned long long)kv->n);
    v->n = (uint32_t)kv->n;
    v->text = calloc(v->n, sizeof *v->text);
    v->attr = malloc(v->n);
    v->end = calloc(v->n, sizeof *v->end);
    v->special = calloc(v->n, sizeof *v->special);
    if (!v->text || !v->attr || !v->end || !v->special) return err_set(e, ERR_MEMORY, "no memory for the vocabulary");
    int rc = vocab_map_open(&v->by_text, v->text, v->n, e);
    if (rc) return rc;
    const uint8_t *at = kv->data;
    for (uint32_t i = 0; i < v->n; i++) {
        at = gguf_next_text(kv, at, &v->text[i]);
        vocab_map_put(&v->by_text, (int32_t)i);
    }
    return 0;
}

static int read_attrs(struct vocab *v, struct err *e) {
    memset(v->attr, VOCAB_NORMAL, v->n);
    const struct gguf_kv *kv = gguf_find(v->g, "tokenizer.ggml.token_type");
    if (!kv) return 0;
    if (kv->type != GGUF_ARRAY || (kv->item != GGUF_I32 && kv->item != GGUF_U32) || kv->n != v->n)
        return err_set(e, ERR_FILE, "%s: tokenizer.ggml.token_type: found %llu items, expected %u of type i32", v->g->path,
                       (unsigned long long)kv->n, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        int64_t t = gguf_item_int(kv, i);
        if (t >= VOCAB_NORMAL && t <= VOCAB_BYTE) v->attr[i] = (uint8_t)t; /* 0, undefined, is taken as normal */
    }
    return 0;
}

/* An id that a key names; the files write "none" as 2^32 - 1. */
static int read_id(const struct vocab *v, const char *key, int32_t *out, struct err *e) {
    uint64_t id = UINT32_MAX;
    *out = -1;
    int rc = gguf_uint(v->g, key, &id, e);
    if (rc || id == UINT32_MAX) return rc;
    if (id >= v->n) return err_set(e, ERR_FILE, "%s: %s: found %llu, expected a token below %u", v->g->path, key, (unsigned long long)id, v->n);
    *out = (int32_t)id;
    return 0;
}

static void mark(struct vocab *v, int32_t id, bool end) {
    if (id < 0) return;
    v->attr[id] = VOCAB_CONTROL;
    if (end) v->end[id] = true;
}

static void mark_named(struct vocab *v, const char *name, bool end) {
    int32_t id = vocab_find(v, name, strlen(name));
    bool bars = !strncmp(name, "<|", 2) || !strncmp(name, "<\xef\xbd\x9c", 4);
    if (id >= 0 && (bars || v->attr[id] != VOCAB_NORMAL)) mark(v, id, end);
}

static int read_special_ids(struct vocab *v, struct err *e) {
    static const char *const more[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    int rc;
    int32_t id;
    if ((rc = read_id(v, "tokenizer.ggml.bos_token_id", &v->bos, e)) || (rc = read_id(v, "tokenizer.ggml.eos_token_id", &v->eos, e)) ||
        (rc = read_id(v, "tokenizer.ggml.unknown_token_id", &v->unk, e)))
        return rc;
    mark(v, v->bos, true);
    mark(v, v->eos, true);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        if ((rc = read_id(v, more[i], &id, e))) return rc;
        mark(v, id, true);
    }
    for (size_t i = 0; i < sizeof end_names / sizeof *end_names; i++) mark_named(v, end_names[i], true);
    for (size_t i = 0; i < sizeof mark_names / sizeof *mark_names; i++) mark_named(v, mark_names[i], false);
    return 0;
}

static int bytes_order(struct gguf_text a, struct gguf_text b) {
    int d = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int special_order(const void *a, const void *b, void *v) {
    const struct gguf_text *text = ((const struct vocab *)v)->text;
    return bytes_order(text[*(const int32_t *)a], text[*(const int32_t *)b]);
}

static void collect_special(struct vocab *v) {
    for (uint32_t i = 0; i < v->n; i++)
        if ((v->attr[i] == VOCAB_CONTROL || v->attr[i] == VOCAB_USER || v->attr[i] == VOCAB_UNKNOWN) && v->text[i].n)
            v->special[v->n_special++] = (int32_t)i;
    qsort_r(v->special, v->n_special, sizeof *v->special, special_order, v);
}

static int read_kind(struct vocab *v, struct err *e) {
    struct gguf_text model = {"", 0}, pre = {"", 0};
    int rc;
    if ((rc = gguf_string(v->g, "tokenizer.ggml.model", &model, e)) || (rc = gguf_string(v->g, "tokenizer.ggml.pre", &pre, e))) return rc;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (model.n == strlen(kinds[i]->name) && !memcmp(model.p, kinds[i]->name, model.n)) v->kind = kinds[i];
    if (!v->kind)
        return err_set(e, ERR_FILE, "%s: tokenizer.ggml.model: found \"%.*s\", expected llama or gpt2", v->g->path, model.n < 40 ? (int)model.n : 40,
                       model.p);
    v->pre = strndup(pre.p, pre.n);
    return v->pre ? 0 : err_set(e, ERR_MEMORY, "no memory for the vocabulary");
}

static int read_all(struct vocab *v, struct err *e) {
    int rc;
    if ((rc = read_kind(v, e)) || (rc = read_tokens(v, e)) || (rc = read_attrs(v, e)) || (rc = read_special_ids(v, e))) return rc;
    collect_special(v);
    v->add_bos = v->kind->add_bos;
    v->space_prefix = true;
    if ((rc = v->kind->open(v, e))) return rc;
    if ((rc = gguf_bool(v->g, "tokenizer.ggml.add_bos_token", &v->add_bos, e))) return rc;
    return gguf_bool(v->g, "tokenizer.ggml.add_space_prefix", &v->space_prefix, e);
}

int vocab_open(struct vocab **out, const struct gguf *g, struct err *e) {
    *out = NULL;
    struct vocab *v = calloc(1, sizeof *v);
    if (!v) return err_set(e, ERR_MEMORY, "no memory for the vocabulary");
    v->g = g;
    int rc = read_all(v, e);
    if (rc) {
        vocab_close(v);
        return rc;
    }
    *out = v;
    return 0;
}

void vocab_close(struct vocab *v) {
    if (!v) return;
    if (v->kind) v->kind->close(v);
    vocab_map_close(&v->by_text);
    free(v->special);
    free(v->end);
    free(v->attr);
    free(v->text);
    free(v->pre);
    free(v);
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

static bool in_range(const struct vocab *v, int32_t id) { return id >= 0 && (uint32_t)id < v->n; }

uint32_t vocab_size(const struct vocab *v) { return v->n; }
const char *vocab_model(const struct vocab *v) { return v->kind->name; }
const char *vocab_pre(const struct vocab *v) { return v->pre; }
int32_t vocab_bos(const struct vocab *v) { return v->bos; }
bool vocab_add_bos(const struct vocab *v) { return v->add_bos && v->bos >= 0; }
bool vocab_is_end(const struct vocab *v, int32_t id) { return in_range(v, id) && v->end[id]; }
bool vocab_is_control(const struct vocab *v, int32_t id) { return in_range(v, id) && v->attr[id] == VOCAB_CONTROL; }
int32_t vocab_find(const struct vocab *v, const char *text, size_t n) { return vocab_map_find(&v->by_text, text, n); }

/* ---- text to ids --------------------------------------------------------------------------------------------- */

/* The longest special token that starts at p, or -1. special[lo, hi) are those that agree with the first k bytes of p. */
static int32_t match_special(const struct vocab *v, const char *p, size_t n, bool parse_special) {
    size_t lo = 0, hi = v->n_special;
    int32_t best = -1;
    for (size_t k = 0; k < n && lo < hi; k++) {
        size_t a = lo, b = hi;
        while (a < b) { /* the first whose byte k is not below p[k]; shorter ones come before */
            size_t mid = (a + b) / 2;
            struct gguf_text t = v->text[v->special[mid]];
            if (t.n <= k || (uint8_t)t.p[k] < (uint8_t)p[k]) a = mid + 1;
            else b = mid;
        }
        lo = a;
        b = hi;
        while (a < b) {
            size_t mid = (a + b) / 2;
            if ((uint8_t)v->text[v->special[mid]].p[k] <= (uint8_t)p[k]) a = mid + 1;
            else b = mid;
        }
        hi = a;
        for (size_t i = lo; i < hi && v->text[v->special[i]].n == k + 1; i++)
            if (parse_special || v->attr[v->special[i]] == VOCAB_USER) best = v->special[i];
    }
    return best;
}

static int encode(const struct vocab *v, const char *text, size_t n, bool parse_special, bool start, struct vocab_tokens *out, struct err *e) {
    if (n > TEXT_BYTES_MAX) return err_set(e, ERR_USAGE, "a text of %zu bytes is more than the %d that can be tokenised at once", n, TEXT_BYTES_MAX);
    size_t raw = 0, at = 0; /* text[raw, at) holds no special token */
    int rc = 0;
    while (at < n && !rc) {
        int32_t id = match_special(v, text + at, n - at, parse_special);
        if (id < 0) {
            at++;
            continue;
        }
        if (at > raw) rc = v->kind->encode(v, text + raw, at - raw, start, out, e);
        if (!rc && vocab_tokens_add(out, id)) rc = err_set(e, ERR_MEMORY, "no memory for tokens");
        at += v->text[id].n;
        raw = at;
        start = true;
    }
    if (!rc && n > raw) rc = v->kind->encode(v, text + raw, n - raw, start, out, e);
    return rc;
}

int vocab_encode(const struct vocab *v, const char *text, size_t n, bool parse_special, struct vocab_tokens *out, struct err *e) {
    return encode(v, text, n, parse_special, true, out, e);
}

int vocab_encode_on(const struct vocab *v, const char *text, size_t n, bool parse_special, struct vocab_tokens *out, struct err *e) {
    return encode(v, text, n, parse_special, false, out, e);
}

/* ---- ids to text --------------------------------------------------------------------------------------------- */

int vocab_piece(const struct vocab *v, int32_t id, bool special, struct buf *out) {
    if (!in_range(v, id)) return ERR_USAGE;
    switch (v->attr[id]) {
    case VOCAB_CONTROL:
    case VOCAB_UNKNOWN: return special ? buf_add(out, v->text[id].p, v->text[id].n) : 0;
    case VOCAB_USER: return buf_add(out, v->text[id].p, v->text[id].n);
    default: return v->kind->piece(v, id, out);
    }
}

int vocab_decode(const struct vocab *v, const int32_t *id, size_t n, bool special, bool strip_first, struct buf *out) {
    size_t before = out->len;
    for (size_t i = 0; i < n; i++) {
        bool first = strip_first && v->space_prefix && v->kind == &vocab_spm && out->len == before;
        int rc = vocab_piece(v, id[i], special, out);
        if (rc) return rc;
        if (first && out->len > before && out->data[before] == ' ') {
            memmove(out->data + before, out->data + before + 1, out->len - before);
            out->len--;
            strip_first = false;
        } else if (out->len > before) {
            strip_first = false;
        }
    }
    return 0;
}
