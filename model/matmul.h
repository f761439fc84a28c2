/* matmul: out = W x for a weight matrix of any type, for one row of activations or many, by the whole pool.
 *
 * Quantised weights are multiplied as int8 with int8 activations (never expanded to float); F32, F16 and BF16 weights with one row
 * by own kernels, with many rows through single-threaded OpenBLAS calls on fixed tiles shared among the pool's threads. Quantised products are the
 * same bits for any number of threads and any split of a batch. Nothing allocates: scratch is sized at open. */
#ifndef MODEL_MATMUL_H
#define MODEL_MATMUL_H

#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "config/num.h"
#include "config/pool.h"

/* A weight matrix: rows of cols numbers, as it lies in the file (mapped, unaligned beyond 32 bytes). */
struct matrix {
    const struct num_type *type;
    const uint8_t *data;
    size_t rows, cols, row_bytes;
};

struct matmul; /* scratch: quantised activations, float tiles */

/* max_rows: most activation rows of one call; max_cols: longest row of any weight matrix that will be used. */
int matmul_open(struct matmul **out, struct pool *p, size_t max_rows, size_t max_cols, struct err *e);
void matmul_close(struct matmul *m);
size_t matmul_bytes(const struct matmul *m); /* scratch held */

/* One product of a group that shares its input: out[r * out_stride + i] = sum_j w.data[i][j] * x[r * x_stride + j] (+ bias[i]). */
struct matmul_job {
    const struct matrix *w;
    const float *bias;   /* [w->rows] or NULL */
    float *out; size_t out_stride; /* floats */
};
/* Runs all jobs (the same x, same cols: q, k and v; gate and up) as one parallel section, n_rows rows of x.
 * Called outside pool_run; the calling thread is worker 0. */
void matmul_run(struct matmul *m, const struct matmul_job *job, size_t n_jobs, const float *x, size_t x_stride, size_t n_rows);

#endif
