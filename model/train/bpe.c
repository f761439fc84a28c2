/* bpe: see bpe.h. All pairs are counted anew for every merge: a corpus of this size has a few thousand different words. */
#include "model/train/bpe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "config/hash.h"
#include "model/pretokenizer.h"
#include "model/vocab.h"

static const char *const control[BPE_N_CONTROL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
enum { END_OF_TEXT, IM_START, IM_END };

static const char TEMPLATE[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
                               "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

struct word {
    size_t text, n_text;  /* in bpe.text */
    uint64_t weight;
    int32_t *id; size_t n;
};

struct pair { struct bpe_merge m; uint64_t weight; }; /* weight 0: a free slot */

struct bpe {
    struct pretokenizer *pre;
    char *pre_name;
    struct buf text;                              /* of the words */
    struct word *word; size_t n_words, cap_words;
    size_t *slot; size_t mask;                    /* words by their bytes, as index + 1; 0: free */
    struct bpe_merge *merge; size_t n_merges;
    struct span { size_t at, n; } *token;         /* [n_tokens] in token_text; NULL before bpe_learn */
    size_t n_tokens;
    struct buf token_text;
};

static int no_memory(struct err *e) { return err_set(e, ERR_MEMORY, "no memory to learn the vocabulary"); }

int bpe_open(struct bpe **out, const char *pre, struct err *e) {
    *out = NULL;
    struct bpe *b = calloc(1, sizeof *b);
    if (!b) return no_memory(e);
    b->mask = 1024 - 1;
    b->slot = calloc(b->mask + 1, sizeof *b->slot);
    b->pre_name = strdup(pre);
    int rc = b->slot && b->pre_name ? pretokenizer_open(&b->pre, pre, e) : no_memory(e);
    if (rc) bpe_close(b);
    else *out = b;
    return rc;
}

void bpe_close(struct bpe *b) {
    if (!b) return;
    pretokenizer_close(b->pre);
    for (size_t i = 0; i < b->n_words; i++) free(b->word[i].id);
    free(b->word);
    free(b->slot);
    free(b->merge);
    free(b->token);
    free(b->pre_name);
    buf_free(&b->text);
    buf_free(&b->token_text);
    free(b);
}

/* ---- words --------------------------------------------------------------------------------------------------- */

static size_t *find_slot(const struct bpe *b, const char *p, size_t n) {
    for (size_t i = (size_t)hash_bytes(p, n, 0) & b->mask;; i = (i + 1) & b->mask) {
        size_t k = b->slot[i];
        if (!k || (b->word[k - 1].n_text == n && !memcmp(b->text.data + b->word[k - 1].text, p, n))) return &b->slot[i];
    }
}

static int grow_words(struct bpe *b) {
    size_t cap = b->cap_words ? b->cap_words * 2 : 512;
    struct word *w = cap > SIZE_MAX / (4 * sizeof *w) ? NULL : realloc(b->word, cap * sizeof *w);
    if (!w) return ERR_MEMORY;
    b->word = w;
    size_t *slot = calloc(cap * 2, sizeof *slot);
    if (!slot) return ERR_MEMORY;
    free(b->slot);
    b->slot = slot;
    b->mask = cap * 2 - 1;
    b->cap_words = cap;
    for (size_t i = 0; i < b->n_words; i++) *find_slot(b, b->text.data + w[i].text, w[i].n_text) = i + 1;
    return 0;
}

static int add_word(struct bpe *b, const char *p, size_t n, uint64_t weight) {
    if (b->n_words == b->cap_words && grow_words(b)) return ERR_MEMORY;
    struct word w = {.text = b->text.len, .n_text = n, .weight = weight, .id = malloc(n * sizeof *w.id), .n = n};
    size_t *slot = find_slot(b, p, n);
    if (!w.id || buf_add(&b->text, p, n)) {
        free(w.id);
        return ERR_MEMORY;
    }
    for (size_t i = 0; i < n; i++) w.id[i] = BPE_N_CONTROL + (uint8_t)p[i];
    b->word[b->n_words++] = w;
    *slot = b->n_words;
    return 0;
}

struct adding { struct bpe *b; const char *text; uint64_t weight; };

static int count_word(void *ctx, size_t from, size_t n) {
    struct adding *a = ctx;
    size_t k = *find_slot(a->b, a->text + from, n);
    if (!k) return add_word(a->b, a->text + from, n, a->weight);
    a->b->word[k - 1].weight += a->weight;
    return 0;
}

int bpe_add(struct bpe *b, const char *text, uint64_t weight, struct err *e) {
    struct adding a = {b, text, weight};
    int rc = pretokenizer_split(b->pre, text, strlen(text), count_word, &a, e);
    return rc == ERR_MEMORY ? no_memory(e) : rc;
}

/* ---- pairs --------------------------------------------------------------------------------------------------- */

static struct pair *find_pair(struct pair *table, size_t mask, struct bpe_merge m) {
    uint64_t x = ((uint64_t)(uint32_t)m.left << 32 | (uint32_t)m.right) * 0x9e3779b97f4a7c15u;
    for (size_t i = (size_t)(x >> 32) & mask;; i = (i + 1) & mask)
        if (!table[i].weight || (table[i].m.left == m.left && table[i].m.right == m.right)) return &table[i];
}

static bool is_better(const struct pair *a, const struct pair *b) {
    if (a->weight != b->weight) return a->weight > b->weight;
    return a->m.left != b->m.left ? a->m.left < b->m.left : a->m.right < b->m.right;
}

/* The heaviest pair of neighbours; its weight is 0 where there is no pair. */
static struct pair find_best(const struct bpe *b, struct pair *table, size_t mask) {
    struct pair best = {.weight = 0};
    memset(table, 0, (mask + 1) * sizeof *table);
    for (size_t k = 0; k < b->n_words; k++) {
        const struct word *w = &b->word[k];
        for (size_t i = 0; w->weight && i + 1 < w->n; i++) {
            struct bpe_merge m = {.left = w->id[i], .right = w->id[i + 1]};
            struct pair *p = find_pair(table, mask, m);
            p->m = m;
            p->weight += w->weight;
        }
    }
    for (size_t i = 0; i <= mask; i++)
        if (table[i].weight && is_better(&table[i], &best)) best = table[i];
    return best;
}

static void join(struct word *w, struct bpe_merge m, int32_t id) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        bool here = i + 1 < w->n && w->id[i] == m.left && w->id[i + 1] == m.right;
        w->id[n++] = here ? id : w->id[i];
        i += here;
    }
    w->n = n;
}

/* Slots for every pair there can be, half of them free. */
static size_t table_size(const struct bpe *b) {
    size_t pairs = 0, cap = 64;
    for (size_t k = 0; k < b->n_words; k++) pairs += b->word[k].n;
    while (cap < 2 * pairs) cap *= 2;
    return cap;
}

/* Enters a token that stands for the bytes from at on, the last ones of token_text. */
static int32_t enter_token(struct bpe *b, size_t at) {
    b->token[b->n_tokens] = (struct span){at, b->token_text.len - at};
    return (int32_t)b->n_tokens++;
}

static int add_bytes(struct bpe *b) {
    for (b->n_tokens = 0; b->n_tokens < BPE_N_CONTROL;) enter_token(b, 0);
    for (int c = 0; c < 256; c++) {
        if (buf_add_char(&b->token_text, (char)c)) return ERR_MEMORY;
        enter_token(b, b->token_text.len - 1);
    }
    return 0;
}

/* Makes a token of the pair and joins it everywhere. */
static int apply(struct bpe *b, struct bpe_merge m) {
    struct buf *t = &b->token_text;
    struct span left = b->token[m.left], right = b->token[m.right];
    size_t at = t->len;
    struct bpe_merge *moved = realloc(b->merge, (b->n_merges + 1) * sizeof *moved);
    if (!moved || buf_reserve(t, left.n + right.n)) return ERR_MEMORY;
    b->merge = moved;
    buf_add(t, t->data + left.at, left.n);
    buf_add(t, t->data + right.at, right.n);
    b->merge[b->n_merges++] = m;
    int32_t id = enter_token(b, at);
    for (size_t k = 0; k < b->n_words; k++) join(&b->word[k], m, id);
    return 0;
}

int bpe_learn(struct bpe *b, uint32_t n_tokens, struct err *e) {
    assert(!b->token && n_tokens >= BPE_N_BASE);
    size_t cap = table_size(b);
    struct pair *table = malloc(cap * sizeof *table);
    b->token = calloc(n_tokens, sizeof *b->token);
    int rc = table && b->token ? add_bytes(b) : ERR_MEMORY;
    while (!rc && b->n_tokens < n_tokens) {
        struct pair best = find_best(b, table, cap - 1);
        if (!best.weight) break;
        rc = apply(b, best.m);
    }
    free(table);
    return rc ? no_memory(e) : 0;
}

uint32_t bpe_n_tokens(const struct bpe *b) { return (uint32_t)b->n_tokens; }

const struct bpe_merge *bpe_merges(const struct bpe *b, size_t *n) {
    *n = b->n_merges;
    return b->merge;
}

struct gguf_text bpe_token(const struct bpe *b, int32_t id) {
    assert(b->token && id >= BPE_N_CONTROL && (size_t)id < b->n_tokens);
    return (struct gguf_text){b->token_text.data + b->token[id].at, b->token[id].n};
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

/* A list of texts that is being made. */
struct list { struct buf text; size_t *end, n; };

static void end_text(struct list *l) { l->end[l->n++] = l->text.len; }

static int write_list(struct gguf_write *w, const char *key, const struct list *l) {
    struct gguf_text *text = calloc(l->n + 1, sizeof *text);
    for (size_t i = 0; text && i < l->n; i++) {
        size_t from = i ? l->end[i - 1] : 0;
        text[i] = (struct gguf_text){buf_text(&l->text) + from, l->end[i] - from};
    }
    if (text) gguf_write_texts(w, key, text, l->n);
    free(text);
    return text && !l->text.failed ? 0 : ERR_MEMORY;
}

static void spell(const struct bpe *b, int32_t id, struct buf *out) {
    struct gguf_text t = bpe_token(b, id);
    for (size_t i = 0; i < t.n; i++) {
        char c[2];
        buf_add(out, c, vocab_bpe_spell((uint8_t)t.p[i], c));
    }
}

static int write_tokens(const struct bpe *b, struct gguf_write *w) {
    struct list l = {.end = calloc(b->n_tokens, sizeof *l.end)};
    int32_t *type = calloc(b->n_tokens, sizeof *type);
    int rc = l.end && type ? 0 : ERR_MEMORY;
    for (size_t i = 0; !rc && i < b->n_tokens; i++) {
        type[i] = i < BPE_N_CONTROL ? VOCAB_CONTROL : VOCAB_NORMAL;
        if (i < BPE_N_CONTROL) buf_add_text(&l.text, control[i]);
        else spell(b, (int32_t)i, &l.text);
        end_text(&l);
    }
    if (!rc) rc = write_list(w, "tokenizer.ggml.tokens", &l);
    if (!rc) gguf_write_i32s(w, "tokenizer.ggml.token_type", type, b->n_tokens);
    free(type);
    free(l.end);
    buf_free(&l.text);
    return rc;
}

static int write_merges(const struct bpe *b, struct gguf_write *w) {
    struct list l = {.end = calloc(b->n_merges + 1, sizeof *l.end)};
    int rc = l.end ? 0 : ERR_MEMORY;
    for (size_t i = 0; !rc && i < b->n_merges; i++) {
        spell(b, b->merge[i].left, &l.text);
        buf_add_char(&l.text, ' ');
        spell(b, b->merge[i].right, &l.text);
        end_text(&l);
    }
    if (!rc) rc = write_list(w, "tokenizer.ggml.merges", &l);
    free(l.end);
    buf_free(&l.text);
    return rc;
}

int bpe_write(const struct bpe *b, struct gguf_write *w, struct err *e) {
    gguf_write_text(w, "tokenizer.ggml.model", "gpt2");
    gguf_write_text(w, "tokenizer.ggml.pre", b->pre_name);
    int rc = write_tokens(b, w);
    if (!rc) rc = write_merges(b, w);
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", END_OF_TEXT);
    gguf_write_u32(w, "tokenizer.ggml.eos_token_id", IM_END);
    gguf_write_u32(w, "tokenizer.ggml.padding_token_id", END_OF_TEXT);
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", false);
    gguf_write_text(w, "tokenizer.chat_template", TEMPLATE);
    return rc ? no_memory(e) : 0;
}
