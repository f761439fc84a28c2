/* blas: the one door to OpenBLAS: single-threaded products of float matrices. Any thread, also several at once. */
#ifndef MODEL_BLAS_H
#define MODEL_BLAS_H

#include <stdbool.h>
#include <stddef.h>

/* Makes OpenBLAS compute in the calling thread, and room for so many calls of blas_sgemm at once; to be called before them.
 * False: the system grants no memory for that, and blas_sgemm might never return. Any number of times. */
bool blas_reserve(size_t n_calls);

/* c[m][n] = a[m][k] b[n][k]^T + (add ? c : 0), row-major, rows lda, ldb, ldc floats apart. */
void blas_sgemm(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add, float *c,
                size_t ldc);
/* The same of matrices that lie otherwise: a[m][k] b[k][n], and a[k][m]^T b[k][n]. */
void blas_sgemm_nn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add, float *c,
                   size_t ldc);
void blas_sgemm_tn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add, float *c,
                   size_t ldc);

/* The kernels that OpenBLAS should be told to use on this processor (a value of OPENBLAS_CORETYPE), where it does not
 * find the best ones itself; NULL where nothing is to be arranged. */
const char *blas_wanted_core(void);

#endif
