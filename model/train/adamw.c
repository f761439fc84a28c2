/* adamw: see adamw.h. */
#include "model/train/adamw.h"

#include <math.h>
#include <stdlib.h>

int adamw_init(struct adamw *a, size_t n, const struct adamw_options *o, struct err *e) {
    *a = (struct adamw){.o = *o, .n = n, .m = calloc(n, sizeof *a->m), .v = calloc(n, sizeof *a->v)};
    if (a->m && a->v) return 0;
    adamw_free(a);
    return err_set(e, ERR_MEMORY, "no memory for the moments of %zu parameters", n);
}

void adamw_free(struct adamw *a) {
    free(a->m);
    free(a->v);
    *a = (struct adamw){0};
}

void adamw_begin(struct adamw *a) { a->n_steps++; }

void adamw_update(struct adamw *a, float *param, const float *grad, float scale, float lr, bool decay, size_t from, size_t to) {
    const struct adamw_options *o = &a->o;
    float *restrict m = a->m, *restrict v = a->v, *restrict p = param;
    double t = (double)a->n_steps;
    float by_m = (float)(1 / (1 - pow((double)o->beta1, t))), by_v = (float)(1 / (1 - pow((double)o->beta2, t)));
    float rest = decay ? 1 - lr * o->decay : 1, b1 = o->beta1, b2 = o->beta2, eps = o->eps;
    for (size_t i = from; i < to; i++) {
        float g = grad[i] * scale;
        m[i] = b1 * m[i] + (1 - b1) * g;
        v[i] = b2 * v[i] + (1 - b2) * g * g;
        p[i] = p[i] * rest - lr * (m[i] * by_m) / (sqrtf(v[i] * by_v) + eps);
    }
}
