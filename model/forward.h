/* forward: a micro-batch of tokens through all layers of a model, into the cache and out as logits.
 *
 * Every buffer is sized at opening; a run allocates nothing. One thread calls, the pool's threads work for it. */
#ifndef MODEL_FORWARD_H
#define MODEL_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "config/pool.h"
#include "kv/kv.h"
#include "model/model.h"

struct forward;

/* max_rows: the most tokens of one run. The model and the pool are borrowed until forward_close. */
int forward_open(struct forward **out, const struct model *m, struct pool *p, uint32_t max_rows, struct err *e);
void forward_close(struct forward *f);         /* NULL is fine */
size_t forward_bytes(const struct forward *f); /* scratch held */

struct forward_step {
    struct kv *kv;
    const struct kv_batch *batch; /* placed by kv_begin; at most max_rows tokens */
    const int32_t *token;         /* [batch->n], each within the vocabulary */
    uint32_t first_row;           /* rows from this one on get logits; batch->n: none does */
    float *logits;                /* [batch->n - first_row][n_vocab]; may be NULL where there are none */
    bool (*cancelled)(void *ctx); /* asked at every layer and inside long products; may be NULL */
    void *ctx;
};
/* 0, ERR_CANCELLED, or ERR_MEMORY where the cache has grown and attention's scratch cannot: the caller then abandons
 * the batch. */
int forward_run(struct forward *f, const struct forward_step *s, struct err *e);

#endif
