/* vocab_kind: what vocab.c and the tokenisers behind it share. Only the vocab_*.c files include it. */
#ifndef MODEL_VOCAB_KIND_H
#define MODEL_VOCAB_KIND_H

#include "model/vocab.h"

/* A hash table from bytes to token ids. text[id] is the key of an id; the table holds ids alone. */
struct vocab_map {
    const struct gguf_text *text; /* borrowed */
    int32_t *slot;                /* -1: free */
    size_t mask, n;
    size_t longest;               /* bytes of the longest key */
};
int vocab_map_open(struct vocab_map *m, const struct gguf_text *text, size_t n_max, struct err *e);
void vocab_map_close(struct vocab_map *m);
void vocab_map_put(struct vocab_map *m, int32_t id); /* a key that is there goes to the new id */
int32_t vocab_map_find(const struct vocab_map *m, const char *p, size_t n); /* -1: not there */

/* A kind of tokeniser: a row of the table in vocab.c. */
struct vocab_kind {
    const char *name;       /* tokenizer.ggml.model */
    bool add_bos;           /* where the file does not say */
    int (*open)(struct vocab *v, struct err *e); /* fills v->own */
    void (*close)(struct vocab *v);              /* own may be NULL or half filled */
    /* Appends the ids of text that holds no special token. start: it opens the whole text or follows a special token. */
    int (*encode)(const struct vocab *v, const char *text, size_t n, bool start, struct vocab_tokens *out, struct err *e);
    int (*piece)(const struct vocab *v, int32_t id, struct buf *out); /* of a token that is neither control, unknown nor user-defined */
};
extern const struct vocab_kind vocab_spm, vocab_bpe;

struct vocab {
    const struct gguf *g;
    const struct vocab_kind *kind;
    char *pre;
    uint32_t n;
    struct gguf_text *text;  /* [n] views into the file */
    uint8_t *attr;           /* [n] enum vocab_attr */
    bool *end;               /* [n] ends a reply */
    struct vocab_map by_text;
    int32_t *special; size_t n_special; /* ids that are matched before tokenising, sorted by their bytes */
    int32_t bos, eos, unk;
    bool add_bos, space_prefix;
    void *own;               /* the kind's */
};

#endif
