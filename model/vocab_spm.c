/* vocab_spm: sentencepiece's BPE, as llama models use it (sentencepiece, src/bpe_model.cc, describes the rule).
 *
 * A blank is written as U+2581. A text starts as its characters; of all neighbours whose joined text is a token, those
 * with the highest score are joined first, the leftmost where scores are equal, until none is left. A character that is
 * no token becomes the tokens of its bytes. */
#include <stdlib.h>
#include <string.h>

#include "model/vocab_kind.h"
#include "model/vocab_merge.h"

#define BLANK "\xe2\x96\x81"
enum { BLANK_BYTES = 3 };

struct spm {
    struct vocab_map map;  /* tokens that text may become: no control tokens, no bytes */
    float *score;          /* [n] */
    int32_t byte[256];     /* the token of each byte, or -1 */
    bool words;            /* no token has a blank behind another character: words are independent of each other */
};

/* ---- opening ------------------------------------------------------------------------------------------------- */

static int read_scores(const struct vocab *v, struct spm *s, struct err *e) {
    const struct gguf_kv *kv = gguf_find(v->g, "tokenizer.ggml.scores");
    if (!kv) return 0;
    if (kv->type != GGUF_ARRAY || kv->item != GGUF_F32 || kv->n != v->n)
        return err_set(e, ERR_FILE, "%s: tokenizer.ggml.scores: found %llu items, expected %u of type f32", v->g->path, (unsigned long long)kv->n, v->n);
    for (uint32_t i = 0; i < v->n; i++) s->score[i] = (float)gguf_item_real(kv, i);
    return 0;
}

/* A blank that follows something other than a blank. */
static bool has_inner_blank(struct gguf_text t) {
    for (size_t i = 1; i + BLANK_BYTES <= t.n; i++)
        if (!memcmp(t.p + i, BLANK, BLANK_BYTES) && (i < BLANK_BYTES || memcmp(t.p + i - BLANK_BYTES, BLANK, BLANK_BYTES))) return true;
    return false;
}

static void spm_close(struct vocab *v) {
    struct spm *s = v->own;
    if (!s) return;
    vocab_map_close(&s->map);
    free(s->score);
    free(s);
    v->own = NULL;
}

static int spm_open(struct vocab *v, struct err *e) {
    struct spm *s = v->own = calloc(1, sizeof *s);
    if (s) s->score = calloc(v->n, sizeof *s->score);
    if (!s || !s->score) return err_set(e, ERR_MEMORY, "no memory for the vocabulary");
    int rc;
    if ((rc = read_scores(v, s, e)) || (rc = vocab_map_open(&s->map, v->text, v->n, e))) return rc;
    memset(s->byte, 0xff, sizeof s->byte);
    s->words = true;
    for (uint32_t i = 0; i < v->n; i++) {
        struct gguf_text t = v->text[i];
        if (v->attr[i] == VOCAB_BYTE) {
            char hex[3] = {0};
            if (t.n == 6 && !memcmp(t.p, "<0x", 3)) s->byte[strtoul(memcpy(hex, t.p + 3, 2), NULL, 16) & 255] = (int32_t)i;
        } else if (v->attr[i] == VOCAB_NORMAL || v->attr[i] == VOCAB_USER || v->attr[i] == VOCAB_UNUSED) {
            vocab_map_put(&s->map, (int32_t)i);
            if (has_inner_blank(t)) s->words = false;
        }
    }
    return 0;
}

/* ---- joining ------------------------------------------------------------------------------------------------- */

/* Bytes of the character that starts with byte c, by its high bits alone: broken text is split the same way everywhere. */
static size_t char_bytes(char c) {
    static const uint8_t bytes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    return bytes[(uint8_t)c >> 4];
}

static bool find_pair(const void *own, const struct vocab_symbol *a, const struct vocab_symbol *b, float *priority, int32_t *id) {
    const struct spm *s = own;
    *id = vocab_map_find(&s->map, a->p, a->n + b->n);
    if (*id < 0) return false;
    *priority = s->score[*id];
    return true;
}

static int emit_bytes(const struct vocab *v, const struct vocab_symbol *sym, struct vocab_tokens *out, struct err *e) {
    const struct spm *s = v->own;
    int rc = 0;
    for (uint32_t i = 0; i < sym->n && !rc; i++) {
        int32_t id = s->byte[(uint8_t)sym->p[i]];
        if (id < 0) id = v->unk;
        if (id < 0)
            return err_set(e, ERR_FILE, "%s: tokenizer.ggml.tokens: found no token for byte 0x%02x, expected one or an unknown token", v->g->path,
                           (uint8_t)sym->p[i]);
        rc = vocab_tokens_add(out, id);
    }
    return rc;
}

static int encode_run(const struct vocab *v, struct vocab_merge *m, const char *p, size_t n, struct vocab_tokens *out, struct err *e) {
    const struct spm *s = v->own;
    int rc = 0;
    vocab_merge_clear(m);
    for (size_t i = 0, len; i < n && !rc; i += len) {
        len = char_bytes(p[i]);
        if (len > n - i) len = n - i;
        rc = vocab_merge_add(m, p + i, (uint32_t)len, vocab_map_find(&s->map, p + i, len));
    }
    if (!rc) rc = vocab_merge_run(m, find_pair, s);
    for (int32_t i = 0; !rc && i >= 0 && m->n; i = m->symbol[i].next)
        rc = m->symbol[i].id >= 0 ? vocab_tokens_add(out, m->symbol[i].id) : emit_bytes(v, &m->symbol[i], out, e);
    return rc;
}

/* Where the next run that can be tokenised by itself ends: before the first blank that follows another character. */
static size_t run_end(const struct spm *s, const char *p, size_t n) {
    if (!s->words) return n;
    size_t i = 0;
    while (i + BLANK_BYTES <= n && !memcmp(p + i, BLANK, BLANK_BYTES)) i += BLANK_BYTES;
    while (i < n && (n - i < BLANK_BYTES || memcmp(p + i, BLANK, BLANK_BYTES))) i++;
    return i;
}

static int spm_encode(const struct vocab *v, const char *text, size_t n, bool start, struct vocab_tokens *out, struct err *e) {
    struct buf b = {0};
    struct vocab_merge m = {0};
    int rc = 0;
    buf_reserve(&b, n + n / 2);
    if (start && v->space_prefix) buf_add(&b, BLANK, BLANK_BYTES);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') buf_add(&b, BLANK, BLANK_BYTES);
        else buf_add_char(&b, text[i]);
    }
    if (b.failed) rc = ERR_MEMORY;
    for (size_t at = 0, len; at < b.len && !rc; at += len) {
        len = run_end(v->own, b.data + at, b.len - at);
        rc = encode_run(v, &m, b.data + at, len, out, e);
    }
    if (rc == ERR_MEMORY) err_set(e, rc, "no memory to tokenise %zu bytes", n);
    vocab_merge_free(&m);
    buf_free(&b);
    return rc;
}

/* ---- back to text -------------------------------------------------------------------------------------------- */

static int spm_piece(const struct vocab *v, int32_t id, struct buf *out) {
    const struct spm *s = v->own;
    struct gguf_text t = v->text[id];
    if (v->attr[id] == VOCAB_BYTE) {
        for (int c = 0; c < 256; c++)
            if (s->byte[c] == id) return buf_add_char(out, (char)c);
        return 0;
    }
    for (size_t i = 0; i < t.n;) {
        bool blank = t.n - i >= BLANK_BYTES && !memcmp(t.p + i, BLANK, BLANK_BYTES);
        int rc = buf_add_char(out, blank ? ' ' : t.p[i]);
        if (rc) return rc;
        i += blank ? BLANK_BYTES : 1;
    }
    return 0;
}

const struct vocab_kind vocab_spm = {.name = "llama", .add_bos = true, .open = spm_open, .close = spm_close, .encode = spm_encode, .piece = spm_piece};
