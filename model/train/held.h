/* held: asks a net the wordings that were kept out of its training. */
#ifndef MODEL_TRAIN_HELD_H
#define MODEL_TRAIN_HELD_H

#include <stddef.h>

#include "model/train/batch.h"

struct held_result {
    double loss;               /* mean over the replies' tokens, in nats */
    size_t n_known, n_refused; /* wordings of facts that are answered, and of those that are refused; */
    size_t known, refused;     /* those of them whose likeliest reply is the fact's answer, word for word */
};

struct held;
/* batch and net are borrowed. row_tokens: as in batch_options. */
int held_open(struct held **out, const struct batch *b, const struct net *n, size_t row_tokens, struct err *e);
void held_close(struct held *h); /* NULL is fine */

int held_measure(struct held *h, struct held_result *r, struct err *e);

#endif
