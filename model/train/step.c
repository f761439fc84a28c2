/* step: see step.h. */
#include "model/train/step.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/pool.h"
#include "model/blas.h"
#include "model/train/net_math.h"

enum { BLOCK = 4096 }; /* parameters whose squares are summed together: fixed, so that threads change no bits */

struct share {
    struct net_work *work;
    struct muon_work muon;
    float *grad;
    double loss, weights;
};

struct step {
    struct net *net;
    struct step_options o;
    struct adamw adamw;
    struct pool *pool;
    struct share *share; /* [n_shares] */
    size_t n_blocks;
    double *square; /* [n_blocks] */
    /* of the running call */
    const struct net_row *row;
    size_t n_rows;
    bool update;
    float lr, scale;
};

/* The embedding and the norms are none. */
static bool is_muons(const struct step *s, size_t tensor) { return s->o.momentum > 0 && tensor > 0 && s->net->tensor[tensor].rows > 1; }

static int open_muon(struct muon_work *w, const struct step *s, struct err *e) {
    size_t n = 1, side = 1;
    for (size_t i = 0; i < s->net->n_tensors; i++) {
        const struct net_tensor *t = &s->net->tensor[i];
        size_t shorter = t->rows < t->cols ? t->rows : t->cols;
        if (!is_muons(s, i)) continue;
        if ((size_t)t->rows * t->cols > n) n = (size_t)t->rows * t->cols;
        if (shorter > side) side = shorter;
    }
    return muon_work_open(w, n, side, e);
}

static int open_share(struct share *s, const struct step *st, struct err *e) {
    int rc = net_work_open(&s->work, st->net, st->o.n_row, e);
    if (!rc) rc = open_muon(&s->muon, st, e);
    if (rc) return rc;
    s->grad = aligned_alloc(64, (st->net->n_params + 15) / 16 * 16 * sizeof *s->grad);
    return s->grad ? 0 : err_set(e, ERR_MEMORY, "no memory for a gradient of %zu numbers", st->net->n_params);
}

int step_open(struct step **out, struct net *net, const struct step_options *o, struct err *e) {
    *out = NULL;
    assert(o->n_shares >= 1);
    struct step *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_MEMORY, "no memory to train in");
    s->net = net;
    s->o = *o;
    s->n_blocks = (net->n_params + BLOCK - 1) / BLOCK;
    s->share = calloc((size_t)o->n_shares, sizeof *s->share);
    s->square = calloc(s->n_blocks, sizeof *s->square);
    int rc = s->share && s->square ? 0 : err_set(e, ERR_MEMORY, "no memory to train in");
    for (int i = 0; !rc && i < o->n_shares; i++) rc = open_share(&s->share[i], s, e);
    if (!rc) rc = adamw_init(&s->adamw, net->n_params, &o->adamw, e);
    if (!rc) rc = pool_open(&s->pool, o->n_shares, e);
    if (!rc && !blas_reserve((size_t)o->n_shares)) rc = err_set(e, ERR_MEMORY, "no memory for %d products at once", o->n_shares);
    if (rc) {
        step_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void step_close(struct step *s) {
    if (!s) return;
    pool_close(s->pool);
    for (int i = 0; s->share && i < s->o.n_shares; i++) {
        net_work_close(s->share[i].work);
        muon_work_close(&s->share[i].muon);
        free(s->share[i].grad);
    }
    adamw_free(&s->adamw);
    free(s->share);
    free(s->square);
    free(s);
}

struct adamw *step_adamw(struct step *s) { return &s->adamw; }

/* ---- what the threads do ------------------------------------------------------------------------------------- */

static void run_share(struct step *s, size_t is) {
    struct share *sh = &s->share[is];
    sh->loss = sh->weights = 0;
    if (s->update) memset(sh->grad, 0, s->net->n_params * sizeof *sh->grad);
    for (size_t i = is; i < s->n_rows; i += (size_t)s->o.n_shares) {
        double weights;
        sh->loss += net_row_loss(s->net, sh->work, &s->row[i], s->update ? sh->grad : NULL, &weights);
        sh->weights += weights;
    }
}

static void run_shares(void *arg, int ith, int nth) {
    struct step *s = arg;
    for (int i = ith; i < s->o.n_shares; i += nth) run_share(s, (size_t)i);
}

/* All shares' gradients into the first's, and the sum of squares of each block. */
static void sum_blocks(void *arg, int ith, int nth) {
    struct step *s = arg;
    size_t from, to, n = s->net->n_params;
    pool_share(s->n_blocks, 1, ith, nth, &from, &to);
    for (size_t b = from; b < to; b++) {
        size_t at = b * BLOCK, len = n - at < BLOCK ? n - at : BLOCK;
        float *sum = s->share[0].grad + at;
        for (int i = 1; i < s->o.n_shares; i++) net_math_add(sum, s->share[i].grad + at, len);
        s->square[b] = (double)net_math_dot(sum, sum, len);
    }
}

static void update_part(void *arg, int ith, int nth) {
    struct step *s = arg;
    size_t from, to;
    pool_share(s->net->n_params, 16, ith, nth, &from, &to);
    for (size_t i = 0; i < s->net->n_tensors; i++) {
        const struct net_tensor *t = &s->net->tensor[i];
        size_t begin = t->offset, end = begin + (size_t)t->rows * t->cols;
        begin = begin > from ? begin : from;
        end = end < to ? end : to;
        if (begin < end && !is_muons(s, i))
            adamw_update(&s->adamw, s->net->param, s->share[0].grad, s->scale, s->lr, t->decay, begin, end);
    }
}

/* Whole matrices, in turn. */
static void update_matrices(void *arg, int ith, int nth) {
    struct step *s = arg;
    const struct muon_options o = {.momentum = s->o.momentum, .decay = s->o.adamw.decay};
    for (size_t i = 0, k = 0; i < s->net->n_tensors; i++) {
        const struct net_tensor *t = &s->net->tensor[i];
        if (!is_muons(s, i) || (int)(k++ % (size_t)nth) != ith) continue;
        muon_update(&o, &s->share[ith].muon, s->net->param + t->offset, s->share[0].grad + t->offset, s->adamw.m + t->offset, t->rows, t->cols, s->scale, s->lr);
    }
}

/* ---- a step -------------------------------------------------------------------------------------------------- */

static void run_rows(struct step *s, const struct net_row *row, size_t n_rows, bool update, struct step_result *out) {
    s->row = row;
    s->n_rows = n_rows;
    s->update = update;
    pool_run(s->pool, run_shares, s);
    *out = (struct step_result){0};
    for (int i = 0; i < s->o.n_shares; i++) {
        out->loss += s->share[i].loss;
        out->weights += s->share[i].weights;
    }
    if (out->weights > 0) out->loss /= out->weights;
}

void step_measure(struct step *s, const struct net_row *row, size_t n_rows, struct step_result *out) {
    run_rows(s, row, n_rows, false, out);
}

void step_run(struct step *s, const struct net_row *row, size_t n_rows, float lr, struct step_result *out) {
    run_rows(s, row, n_rows, true, out);
    if (!(out->weights > 0)) return;
    pool_run(s->pool, sum_blocks, s);
    double squares = 0;
    for (size_t b = 0; b < s->n_blocks; b++) squares += s->square[b];
    out->grad_norm = sqrt(squares) / out->weights;
    double clip = (double)s->o.clip, scale = 1 / out->weights;
    if (clip > 0 && out->grad_norm > clip) scale *= clip / out->grad_norm;
    s->scale = (float)scale;
    s->lr = lr;
    adamw_begin(&s->adamw);
    pool_run(s->pool, update_part, s);
    if (s->o.momentum > 0) pool_run(s->pool, update_matrices, s);
}
