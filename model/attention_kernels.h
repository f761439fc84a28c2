/* attention_kernels: the inner loops of attention, one row of the table an instruction set. Private to attention*.c.
 *
 * The loops are written once, in attention_tile.h, over a vector type that each instruction set defines. */
#ifndef MODEL_ATTENTION_KERNELS_H
#define MODEL_ATTENTION_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "config/num.h"

#define ATTENTION_RUN 256u      /* cells reduced on their own before they are merged */
#define ATTENTION_QUERIES 32u   /* most query vectors of one tile */
#define ATTENTION_SCORES (ATTENTION_RUN + 16u) /* floats of a row of scores: a run and what a tile may write past it */

struct attention_kernels {
    const char *name;
    enum num_id type; /* of keys or values */

    /* n numbers of a type in blocks to floats, which scores and mix of its row read; has the bits of the type's to_f32. NULL: they read
     * the type itself, or to_f32 is the fastest there is. */
    void (*decode)(const void *row, float *out, size_t n);

    /* scores[i * ATTENTION_SCORES + c] = q[i] . key c, for n_q queries and n_cells neighbouring cells, keys of dim numbers each row_bytes
     * apart. May write up to 15 scores past n_cells. Each score's sum has one fixed order. */
    void (*scores)(const float *const *q, size_t n_q, const uint8_t *key, size_t row_bytes, size_t n_cells, size_t dim, float *scores);

    /* acc[i * acc_stride + d] += sum_c weights[i * ATTENTION_SCORES + c] * value[c][d], c ascending. */
    void (*mix)(const float *weights, size_t n_q, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t dim, float *acc,
                size_t acc_stride);

    /* x[0..n) becomes exp(x - max) and x[n..n_total) zero; returns the sum and stores the greatest x. n >= 1. */
    float (*exponents)(float *x, size_t n, size_t n_total, float *max);

    /* acc = acc * a + other * b, n numbers */
    void (*blend)(float *acc, float a, const float *other, float b, size_t n);
};

/* The best table for the processor and the type of the cache; NULL: the type has none. */
const struct attention_kernels *attention_kernels_get(enum num_id type);

extern const struct attention_kernels attention_kernels_portable[], attention_kernels_avx2[], attention_kernels_avx512[]; /* ended by a NULL name */

#endif
