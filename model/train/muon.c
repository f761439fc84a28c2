/* muon: see muon.h. */
#include "model/train/muon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/blas.h"
#include "model/train/net_math.h"

int muon_work_open(struct muon_work *w, size_t n, size_t side, struct err *e) {
    *w = (struct muon_work){malloc(n * sizeof *w->x), malloc(n * sizeof *w->y), malloc(n * sizeof *w->step), malloc(side * side * sizeof *w->a), malloc(side * side * sizeof *w->b)};
    if (w->x && w->y && w->step && w->a && w->b) return 0;
    muon_work_close(w);
    return err_set(e, ERR_MEMORY, "no memory to update matrices of %zu parameters", n);
}

void muon_work_close(struct muon_work *w) {
    free(w->x);
    free(w->y);
    free(w->step);
    free(w->a);
    free(w->b);
    *w = (struct muon_work){0};
}

/* to[n][m] = from[m][n] turned over. */
static void transpose(const float *from, size_t m, size_t n, float *to) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) to[j * m + i] = from[i * n + j];
}

/* x[m][n], m <= n: x = (a + b A + c A A) x with A = x x^T, five times. */
static void iterate(struct muon_work *w, size_t m, size_t n) {
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f; /* Jordan et al.: steepest at 0 */
    for (int step = 0; step < 5; step++) {
        blas_sgemm(m, m, n, w->x, n, w->x, n, false, w->a, m);
        blas_sgemm_nn(m, m, m, w->a, m, w->a, m, false, w->b, m);
        for (size_t i = 0; i < m * m; i++) w->b[i] = b * w->a[i] + c * w->b[i];
        for (size_t i = 0; i < m; i++) w->b[i * m + i] += a;
        blas_sgemm_nn(m, n, m, w->b, m, w->x, n, false, w->y, n);
        float *x = w->y;
        w->y = w->x;
        w->x = x;
    }
}

void muon_orthogonalise(struct muon_work *w, float *g, uint32_t rows, uint32_t cols) {
    size_t n = (size_t)rows * cols;
    bool tall = rows > cols;
    double squares = 0;
    for (size_t i = 0; i < rows; i++) squares += (double)net_math_dot(g + i * cols, g + i * cols, cols);
    float scale = (float)(1 / (sqrt(squares) + 1e-7));
    if (tall) transpose(g, rows, cols, w->x);
    else memcpy(w->x, g, n * sizeof *g);
    for (size_t i = 0; i < n; i++) w->x[i] *= scale;
    iterate(w, tall ? cols : rows, tall ? rows : cols);
    if (tall) transpose(w->x, cols, rows, g);
    else memcpy(g, w->x, n * sizeof *g);
}

void muon_update(const struct muon_options *o, struct muon_work *w, float *param, const float *grad, float *m, uint32_t rows, uint32_t cols, float scale,
                 float lr) {
    size_t n = (size_t)rows * cols;
    float *step = w->step;
    for (size_t i = 0; i < n; i++) {
        float g = grad[i] * scale;
        m[i] = o->momentum * m[i] + g;
        step[i] = g + o->momentum * m[i];
    }
    muon_orthogonalise(w, step, rows, cols);
    float by = lr * 0.2f * sqrtf((float)(rows > cols ? rows : cols)), rest = 1 - lr * o->decay;
    for (size_t i = 0; i < n; i++) param[i] = param[i] * rest - by * step[i];
}
