/* adamw: Adam with decoupled weight decay (Loshchilov, Hutter 2019, algorithm 2; Kingma, Ba 2015 for the moments), over one array of
 * parameters. */
#ifndef MODEL_TRAIN_ADAMW_H
#define MODEL_TRAIN_ADAMW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

struct adamw_options {
    float beta1, beta2, eps;
    float decay; /* a parameter loses lr * decay of itself a step */
};

/* n, m, v and n_steps are all there is to save and restore. */
struct adamw {
    struct adamw_options o;
    size_t n;
    float *m, *v;     /* [n] moments, owned */
    uint64_t n_steps; /* updates begun */
};

int adamw_init(struct adamw *a, size_t n, const struct adamw_options *o, struct err *e); /* ERR_MEMORY */
void adamw_free(struct adamw *a);

/* Begins an update: raises n_steps. */
void adamw_begin(struct adamw *a);
/* The update's part [from, to), with grad * scale as gradient. Parts may be done by several threads and in any order. */
void adamw_update(struct adamw *a, float *param, const float *grad, float scale, float lr, bool decay, size_t from, size_t to);

#endif
