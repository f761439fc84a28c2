/* muon: the direction of an update for a matrix of weights, by momentum and orthogonalisation (Jordan et al. 2024, "Muon"), scaled so that
 * its numbers are as large as AdamW's and one learning rate does for both (Liu et al. 2025, "Muon is scalable for LLM training"). */
#ifndef MODEL_TRAIN_MUON_H
#define MODEL_TRAIN_MUON_H

#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

struct muon_options {
    float momentum;
    float decay; /* a parameter loses lr * decay of itself a step */
};

/* What a thread needs for matrices of up to so many numbers, of which the shorter side has up to so many. */
struct muon_work {
    float *x, *y, *step; /* [n] */
    float *a, *b; /* [side * side] */
};
int muon_work_open(struct muon_work *w, size_t n, size_t side, struct err *e); /* ERR_MEMORY */
void muon_work_close(struct muon_work *w);

/* Updates param[rows][cols] with grad * scale as gradient. m: [rows][cols], the momentum, zeros at first. */
void muon_update(const struct muon_options *o, struct muon_work *w, float *param, const float *grad, float *m, uint32_t rows, uint32_t cols, float scale,
                 float lr);

/* The rows of g[rows][cols] (or the columns, where there are more rows) made nearly orthonormal, in place: five steps of a Newton-Schulz
 * iteration bring all singular values near to 1. */
void muon_orthogonalise(struct muon_work *w, float *g, uint32_t rows, uint32_t cols);

#endif
