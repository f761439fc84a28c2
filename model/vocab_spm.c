/* vocab_spm: sentencepiece's BPE, as llama models use it (sentencepiece, src/bpe_model.cc, describes the rule).
 *
 * A blank is written as U+2581. A text starts as its characters; of all neighbours whose joined text is a token, those
 * with the highest score are joined first, the leftmost where scores are equal, until none is left. A character that is
 * no token becomes the tokens of its bytes. */
#include <stdlib.h>
#include <string.h>

#include "model/vocab_kind.h"

#define BLANK "\xe2\x96\x81"
enum { BLANK_BYTES = 3 };

struct spm {
    struct vocab_map map;  /* tokens that text may become: no control tokens, no bytes */
    float *score;          /* [n] */
    int32_t byte[256];     /* the token of each byte, or -1 */
    bool words;            /* no token has a blank behind another character: words are independent of each other */
};

/* A piece of text in a list in text order. n = 0: it was joined to the one before. */
struct symbol { const char *p; uint32_t n; int32_t prev, next; };
/* Two neighbours whose joined text is a token. Stale once either has changed, which the sum of their lengths shows. */
struct pair { float score; int32_t left, right; uint32_t n; };

struct work {
    struct symbol *sym; size_t n_sym, cap_sym;
    struct pair *heap; size_t n_heap, cap_heap;
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

/* ---- the heap of pairs --------------------------------------------------------------------------------------- */

static bool comes_first(const struct pair *a, const struct pair *b) {
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static int heap_push(struct work *w, struct pair p) {
    if (w->n_heap == w->cap_heap) {
        size_t cap = w->cap_heap ? w->cap_heap * 2 : 256;
        struct pair *more = realloc(w->heap, cap * sizeof *more);
        if (!more) return ERR_MEMORY;
        w->heap = more;
        w->cap_heap = cap;
    }
    size_t i = w->n_heap++;
    for (; i && comes_first(&p, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = p;
    return 0;
}

static struct pair heap_pop(struct work *w) {
    struct pair top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0, k;
    while ((k = 2 * i + 1) < w->n_heap) {
        if (k + 1 < w->n_heap && comes_first(&w->heap[k + 1], &w->heap[k])) k++;
        if (!comes_first(&w->heap[k], &last)) break;
        w->heap[i] = w->heap[k];
        i = k;
    }
    if (w->n_heap) w->heap[i] = last;
    return top;
}

/* ---- joining ------------------------------------------------------------------------------------------------- */

/* Bytes of the character that starts with byte c, by its high bits alone: broken text is split the same way everywhere. */
static size_t char_bytes(char c) {
    static const uint8_t bytes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    return bytes[(uint8_t)c >> 4];
}

static int split_chars(struct work *w, const char *p, size_t n) {
    w->n_sym = w->n_heap = 0;
    if (n > w->cap_sym) {
        struct symbol *more = realloc(w->sym, n * sizeof *more);
        if (!more) return ERR_MEMORY;
        w->sym = more;
        w->cap_sym = n;
    }
    for (size_t i = 0; i < n;) {
        size_t len = char_bytes(p[i]);
        if (len > n - i) len = n - i;
        int32_t k = (int32_t)w->n_sym++;
        w->sym[k] = (struct symbol){p + i, (uint32_t)len, k - 1, k + 1};
        i += len;
    }
    if (w->n_sym) w->sym[w->n_sym - 1].next = -1;
    return 0;
}

static int offer(const struct spm *s, struct work *w, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return 0;
    uint32_t n = w->sym[left].n + w->sym[right].n;
    int32_t id = vocab_map_find(&s->map, w->sym[left].p, n);
    if (id < 0) return 0;
    return heap_push(w, (struct pair){s->score[id], left, right, n});
}

static int join_all(const struct spm *s, struct work *w) {
    int rc = 0;
    for (int32_t i = 0; (size_t)i + 1 < w->n_sym && !rc; i++) rc = offer(s, w, i, i + 1);
    while (w->n_heap && !rc) {
        struct pair p = heap_pop(w);
        struct symbol *a = &w->sym[p.left], *b = &w->sym[p.right];
        if (!a->n || !b->n || a->n + b->n != p.n) continue;
        a->n = p.n;
        b->n = 0;
        a->next = b->next;
        if (b->next >= 0) w->sym[b->next].prev = p.left;
        rc = offer(s, w, a->prev, p.left);
        if (!rc) rc = offer(s, w, p.left, a->next);
    }
    return rc;
}

static int emit(const struct vocab *v, const struct symbol *sym, struct vocab_tokens *out, struct err *e) {
    const struct spm *s = v->own;
    int32_t id = vocab_map_find(&s->map, sym->p, sym->n);
    if (id >= 0) return vocab_tokens_add(out, id);
    for (uint32_t i = 0; i < sym->n; i++) {
        id = s->byte[(uint8_t)sym->p[i]];
        if (id < 0) id = v->unk;
        if (id < 0)
            return err_set(e, ERR_FILE, "%s: tokenizer.ggml.tokens: found no token for byte 0x%02x, expected one or an unknown token", v->g->path,
                           (uint8_t)sym->p[i]);
        int rc = vocab_tokens_add(out, id);
        if (rc) return rc;
    }
    return 0;
}

static int encode_run(const struct vocab *v, struct work *w, const char *p, size_t n, struct vocab_tokens *out, struct err *e) {
    int rc = split_chars(w, p, n);
    if (!rc) rc = join_all(v->own, w);
    for (int32_t i = 0; !rc && i >= 0 && w->n_sym; i = w->sym[i].next) rc = emit(v, &w->sym[i], out, e);
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
    struct work w = {0};
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
        rc = encode_run(v, &w, b.data + at, len, out, e);
    }
    if (rc == ERR_MEMORY) err_set(e, rc, "no memory to tokenise %zu bytes", n);
    free(w.sym);
    free(w.heap);
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
