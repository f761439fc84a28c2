/* step: one update of a net from a batch of rows, on several threads.
 *
 * The batch is dealt to n_shares shares, row i to share i % n_shares; each share adds up a gradient of its own, and these are added in
 * order. So the number of shares decides the bits; how many threads run them does not. One thread makes the calls. */
#ifndef MODEL_TRAIN_STEP_H
#define MODEL_TRAIN_STEP_H

#include "model/train/adamw.h"
#include "model/train/muon.h"
#include "model/train/net.h"

struct step_options {
    int n_shares;          /* >= 1; as many threads are started, where the system grants them */
    size_t n_row;          /* most tokens of a row */
    struct adamw_options adamw;
    float momentum;        /* of muon.h, for the layers' matrices; 0: adamw.h for them too */
    float clip;            /* longest gradient (2-norm); 0: any */
};

struct step_result {
    double loss;      /* mean, in nats for each unit of weight */
    double weights;   /* sum of the rows' weights */
    double grad_norm; /* before clipping */
};

struct step;
/* net is borrowed until step_close. Makes OpenBLAS ready (see model/blas.h); main should call engine_prepare_process first. */
int step_open(struct step **out, struct net *net, const struct step_options *o, struct err *e);
void step_close(struct step *s); /* NULL is fine */

/* Updates the net once. A batch without weight changes nothing. */
void step_run(struct step *s, const struct net_row *row, size_t n_rows, float lr, struct step_result *out);
/* The loss alone; the net stays (grad_norm 0). */
void step_measure(struct step *s, const struct net_row *row, size_t n_rows, struct step_result *out);

/* The optimiser, for saving and restoring between steps. */
struct adamw *step_adamw(struct step *s);

#endif
