/* vocab_merge: joins neighbouring pieces of a text in the order of their priority, the rule that sentencepiece's BPE and
 * byte-level BPE share. One struct serves one text at a time; it may be reused. n pieces cost O(n log n). */
#ifndef MODEL_VOCAB_MERGE_H
#define MODEL_VOCAB_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of text in a list in text order. n = 0: it was joined to the one before. */
struct vocab_symbol {
    const char *p;
    uint32_t n;
    int32_t id;         /* its token, or -1 */
    int32_t prev, next; /* indices, -1 at the ends */
};

struct vocab_merge {
    struct vocab_symbol *symbol; size_t n, cap;
    struct vocab_pair *heap; size_t n_heap, cap_heap;
};

/* Whether a and b, neighbours, may be joined: to which token, and how soon (higher is sooner). */
typedef bool vocab_pair_fn(const void *own, const struct vocab_symbol *a, const struct vocab_symbol *b, float *priority, int32_t *id);

void vocab_merge_free(struct vocab_merge *m);
void vocab_merge_clear(struct vocab_merge *m);
int vocab_merge_add(struct vocab_merge *m, const char *p, uint32_t n, int32_t id); /* appends a symbol. ERR_MEMORY */
/* Joins until no pair is left; of equal priorities the leftmost is first. What remains is walked from symbol[0] by next. ERR_MEMORY */
int vocab_merge_run(struct vocab_merge *m, vocab_pair_fn *pair, const void *own);

#endif
