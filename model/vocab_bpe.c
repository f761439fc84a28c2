/* vocab_bpe: byte-level BPE, as GPT-2 introduced it (github.com/openai/gpt-2, src/encoder.py).
 *
 * Text is cut into words (pretokenizer.h). A word starts as its bytes; of all neighbours that the list of merges names, those
 * that come first in the list are joined first. The file writes each byte as one character: printable ones as they are, the
 * others as U+0100 and up; only the tables below know of that. */
#include <stdlib.h>
#include <string.h>

#include "config/utf8.h"
#include "model/pretokenizer.h"
#include "model/vocab_kind.h"
#include "model/vocab_merge.h"

enum { CODES = 256 + 68 }; /* the characters of bytes are below this: 68 bytes are not printable */

struct merge { int32_t left, right, id; uint32_t rank; }; /* id -1: a free slot */

struct bpe {
    struct pretokenizer *pre;
    struct merge *merge; size_t mask; /* a hash table by left and right */
    int32_t byte[256];                /* the token of each byte, or -1 */
    char spelt[256][2];               /* the character of each byte, in UTF-8 */
    uint8_t n_spelt[256];
    int16_t code[CODES];              /* the byte of each character, or -1 */
};

/* ---- opening ------------------------------------------------------------------------------------------------- */

static bool is_printable(int c) { return (c >= '!' && c <= '~') || (c >= 0xa1 && c <= 0xac) || c >= 0xae; }

/* The character of byte c: unprintable ones are counted on from 256. */
static uint32_t byte_code(int c) {
    if (is_printable(c)) return (uint32_t)c;
    return 256 + (uint32_t)(c < '!' ? c : c < 0xa1 ? '!' + c - 0x7f : CODES - 256 - 1);
}

size_t vocab_bpe_spell(uint8_t byte, char out[2]) {
    char s[4];
    size_t n = utf8_encode(byte_code(byte), s);
    memcpy(out, s, 2);
    return n;
}

static void fill_bytes(const struct vocab *v, struct bpe *b) {
    memset(b->code, 0xff, sizeof b->code);
    for (int c = 0; c < 256; c++) {
        b->n_spelt[c] = (uint8_t)vocab_bpe_spell((uint8_t)c, b->spelt[c]);
        b->code[byte_code(c)] = (int16_t)c;
        b->byte[c] = vocab_find(v, b->spelt[c], b->n_spelt[c]);
    }
}

static size_t merge_hash(int32_t left, int32_t right) {
    uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (size_t)(x >> 32 ^ x);
}

/* The slot of a pair, or the free one where it belongs. */
static struct merge *merge_slot(const struct bpe *b, int32_t left, int32_t right) {
    for (size_t i = merge_hash(left, right) & b->mask;; i = (i + 1) & b->mask) {
        struct merge *m = &b->merge[i];
        if (m->id < 0 || (m->left == left && m->right == right)) return m;
    }
}

static int32_t find_text(const struct vocab *v, const char *p, size_t n) {
    int32_t id = vocab_find(v, p, n);
    return id >= 0 && (v->attr[id] == VOCAB_CONTROL || v->attr[id] == VOCAB_UNKNOWN) ? -1 : id;
}

/* Enters "left right". Merges of or to tokens that do not exist can never be used and are left out. */
static void add_merge(const struct vocab *v, struct bpe *b, struct gguf_text t, uint32_t rank, struct buf *joined) {
    const char *blank = t.n > 1 ? memchr(t.p + 1, ' ', t.n - 1) : NULL;
    if (!blank) return;
    size_t n = (size_t)(blank - t.p);
    buf_clear(joined);
    buf_add(joined, t.p, n);
    if (buf_add(joined, blank + 1, t.n - n - 1)) return;
    int32_t left = find_text(v, t.p, n), right = find_text(v, blank + 1, t.n - n - 1), id = find_text(v, joined->data, joined->len);
    if (left < 0 || right < 0 || id < 0) return;
    struct merge *m = merge_slot(b, left, right);
    if (m->id < 0) *m = (struct merge){left, right, id, rank};
}

static int read_merges(const struct vocab *v, struct bpe *b, struct err *e) {
    const struct gguf_kv *kv = gguf_find(v->g, "tokenizer.ggml.merges");
    if (!kv) return err_set(e, ERR_FILE, "%s: tokenizer.ggml.merges: found nothing, expected the list of merges", v->g->path);
    if (kv->type != GGUF_ARRAY || kv->item != GGUF_STRING || kv->n > 1 << 24) /* a float counts ranks exactly up to there */
        return err_set(e, ERR_FILE, "%s: tokenizer.ggml.merges: found %llu items, expected an array of at most %d strings", v->g->path,
                       (unsigned long long)kv->n, 1 << 24);
    size_t cap = 64;
    while (cap < kv->n + kv->n / 2) cap *= 2;
    b->mask = cap - 1;
    b->merge = malloc(cap * sizeof *b->merge);
    struct buf joined = {0};
    if (!b->merge || buf_reserve(&joined, 256)) return err_set(e, ERR_MEMORY, "no memory for the vocabulary");
    for (size_t i = 0; i < cap; i++) b->merge[i].id = -1;
    struct gguf_text t;
    const uint8_t *at = kv->data;
    for (uint32_t rank = 0; (at = gguf_next_text(kv, at, &t)); rank++) add_merge(v, b, t, rank, &joined);
    bool failed = joined.failed;
    buf_free(&joined);
    return failed ? err_set(e, ERR_MEMORY, "no memory for the vocabulary") : 0;
}

static void bpe_close(struct vocab *v) {
    struct bpe *b = v->own;
    if (!b) return;
    pretokenizer_close(b->pre);
    free(b->merge);
    free(b);
    v->own = NULL;
}

static int bpe_open(struct vocab *v, struct err *e) {
    struct bpe *b = v->own = calloc(1, sizeof *b);
    if (!b) return err_set(e, ERR_MEMORY, "no memory for the vocabulary");
    int rc = pretokenizer_open(&b->pre, v->pre, e);
    if (rc) {
        err_prefix(e, "%s", v->g->path);
        return rc;
    }
    v->add_bos = pretokenizer_add_bos(b->pre);
    v->space_prefix = false;
    fill_bytes(v, b);
    return read_merges(v, b, e);
}

/* ---- text to ids --------------------------------------------------------------------------------------------- */

struct encoding {
    const struct vocab *v;
    const char *text;
    struct vocab_merge m;
    struct buf spelt;
    struct vocab_tokens *out;
    struct err *e;
};

static bool find_pair(const void *own, const struct vocab_symbol *a, const struct vocab_symbol *b, float *priority, int32_t *id) {
    const struct merge *m = merge_slot(own, a->id, b->id);
    if (m->id < 0) return false;
    *id = m->id;
    *priority = -(float)m->rank;
    return true;
}

/* The token that a word is as a whole, or -1. */
static int32_t find_word(struct encoding *c, const char *p, size_t n) {
    const struct bpe *b = c->v->own;
    if (n > c->v->by_text.longest) return -1;
    buf_clear(&c->spelt);
    for (size_t i = 0; i < n; i++) buf_add(&c->spelt, b->spelt[(uint8_t)p[i]], b->n_spelt[(uint8_t)p[i]]);
    return c->spelt.failed ? -1 : find_text(c->v, buf_text(&c->spelt), c->spelt.len);
}

static int encode_word(void *ctx, size_t from, size_t n) {
    struct encoding *c = ctx;
    const struct bpe *b = c->v->own;
    const char *p = c->text + from;
    int32_t id = pretokenizer_whole_words(b->pre) ? find_word(c, p, n) : -1;
    if (id >= 0) return vocab_tokens_add(c->out, id);
    int rc = 0;
    vocab_merge_clear(&c->m);
    for (size_t i = 0; i < n && !rc; i++) {
        id = b->byte[(uint8_t)p[i]];
        if (id < 0) id = c->v->unk;
        if (id < 0)
            return err_set(c->e, ERR_FILE, "%s: tokenizer.ggml.tokens: found no token for byte 0x%02x, expected one or an unknown token", c->v->g->path,
                           (uint8_t)p[i]);
        rc = vocab_merge_add(&c->m, p + i, 1, id);
    }
    if (!rc) rc = vocab_merge_run(&c->m, find_pair, b);
    for (int32_t i = 0; !rc && i >= 0 && c->m.n; i = c->m.symbol[i].next) rc = vocab_tokens_add(c->out, c->m.symbol[i].id);
    return rc;
}

/* A copy in which U+FFFD stands for each byte that is no UTF-8: models were trained on such text alone. */
static int make_valid(const char *text, size_t n, struct buf *out) {
    uint32_t cp;
    for (size_t i = 0, len; i < n; i += len) {
        char s[4];
        len = utf8_decode(text + i, n - i, &cp);
        buf_add(out, s, utf8_encode(cp, s));
    }
    return out->failed ? ERR_MEMORY : 0;
}

static int bpe_encode(const struct vocab *v, const char *text, size_t n, bool start, struct vocab_tokens *out, struct err *e) {
    (void)start;
    const struct bpe *b = v->own;
    struct encoding c = {.v = v, .text = text, .out = out, .e = e};
    struct buf valid = {0};
    int rc = 0;
    if (!utf8_valid(text, n)) {
        rc = make_valid(text, n, &valid);
        c.text = buf_text(&valid);
        n = valid.len;
    }
    if (!rc) rc = pretokenizer_split(b->pre, c.text, n, encode_word, &c, e);
    if (rc == ERR_MEMORY) err_set(e, rc, "no memory to tokenise %zu bytes", n);
    vocab_merge_free(&c.m);
    buf_free(&c.spelt);
    buf_free(&valid);
    return rc;
}

/* ---- back to text -------------------------------------------------------------------------------------------- */

static int bpe_piece(const struct vocab *v, int32_t id, struct buf *out) {
    const struct bpe *b = v->own;
    struct gguf_text t = v->text[id];
    uint32_t cp;
    for (size_t i = 0, len; i < t.n; i += len) {
        len = utf8_decode(t.p + i, t.n - i, &cp);
        int rc = cp < CODES && b->code[cp] >= 0 ? buf_add_char(out, (char)b->code[cp]) : buf_add(out, t.p + i, len);
        if (rc) return rc;
    }
    return 0;
}

const struct vocab_kind vocab_bpe = {.name = "gpt2", .add_bos = false, .open = bpe_open, .close = bpe_close, .encode = bpe_encode, .piece = bpe_piece};
