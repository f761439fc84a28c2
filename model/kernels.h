/* kernels: the arithmetic of a forward pass, one table of functions an instruction set.
 *
 * kernels_get() picks the table for cpu_isa(). Portable C (kernels_portable.c) is the reference; kernels_avx2.c and
 * kernels_avx512.c replace what they do better. Within one table results are the same bits whatever the number of
 * threads, the number of rows computed together and the placement of cells. All functions may run in any thread. */
#ifndef MODEL_KERNELS_H
#define MODEL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "config/num.h"

struct kernels {
    const char *name;

    /* Activations for the int8 products: n floats of one row to the form that weights of this type are multiplied with.
     * act_bytes(n) gives its size; an opaque layout private to kernels*.c (blocks of 32 for Q4_0..Q8_0, of 256 for K types). */

    /* element-wise, n numbers */
    void (*rms_norm)(const float *x, const float *weight, float eps, float *out, size_t n); /* out may be x; sum in double or pairwise */
    void (*add)(float *x, const float *y, size_t n);         /* x += y */
    void (*swiglu)(float *gate, const float *up, size_t n);  /* gate = silu(gate) * up */
    float (*dot_f32)(const float *a, const float *b, size_t n);
    void (*softmax)(float *x, size_t n);                     /* in place */
};
const struct kernels *kernels_get(void);

#endif
