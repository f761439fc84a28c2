/* kernels: the arithmetic of a forward pass, one table of functions an instruction set.
 *
 * kernels_get() picks the table for cpu_isa(). Portable C (kernels_portable.c, quant_portable.c) is the reference; the files
 * with the suffixes of instruction sets replace what they do better. Within one table results are the same bits whatever
 * the number of threads, the number of rows computed together and the placement of cells. Products of quantised weights are the same bits in
 * every table. All functions may run in any thread.
 *
 * What a product of quantised weights is, exactly. The row of activations is rounded to int8 in blocks (struct act32 for the
 * types whose block is 32, struct act256 for the K types). An output element starts at 0; for each block in ascending order
 * i = the integer dot product (K types: of the sub-blocks times their integer scales), exact, then
 *
 *     element = fma(i, d_weight * d_act, element)
 *
 * and for the types with a minimum one more: Q4_1, Q5_1 fma(m, d_act * sum(q_act), element); Q4_K, Q5_K
 * fma(-sum(min * sum(q_act)), dmin * d_act, element). Since nothing else rounds, rows of weights may lie in the lanes of a
 * vector, and one row of activations or many may be computed together. */
#ifndef MODEL_KERNELS_H
#define MODEL_KERNELS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/num.h"

/* How a product reads its activations. */
enum act_format { ACT_F32, ACT_32, ACT_256, ACT_N };

/* x = d q, for 32 and for 256 numbers; d = 0 where all are (nearly) 0. */
struct act32 {
    float d;
    int32_t nsum; /* -sum(q) */
    int8_t q[32];
};
struct act256 {
    float d;
    int16_t nsum32[8];  /* -sum(q) of each 32 */
    int16_t nsum16[16]; /* and of each 16 */
    int8_t q[256];
};
static_assert(sizeof(struct act32) == 40 && sizeof(struct act256) == 308, "activation blocks");

/* out[r * out_stride + i] = row i of w times row r of act. */
struct product {
    const uint8_t *w;
    size_t row_bytes, rows, cols;
    const uint8_t *act; /* of the type's format: rows of floats, struct act32 or struct act256 */
    size_t act_stride;  /* bytes */
    size_t n_act;       /* rows of activations */
    float *out;
    size_t out_stride;  /* floats */
    void *scratch;      /* KERNELS_SCRATCH bytes at a multiple of 64, for this call alone */
};
enum { KERNELS_SCRATCH = 96 << 10, KERNELS_TYPES = NUM_BF16 + 1 };

struct kernels {
    const char *name;

    /* element-wise, n numbers */
    void (*rms_norm)(const float *x, const float *weight, float eps, float *out, size_t n); /* out may be x */
    void (*add)(float *x, const float *y, size_t n);         /* x += y */
    void (*swiglu)(float *gate, const float *up, size_t n);  /* gate = silu(gate) * up */
    float (*dot_f32)(const float *a, const float *b, size_t n);
    void (*softmax)(float *x, size_t n);                     /* in place */

    /* n weights to floats, where the table has something faster than the type's own to_f32; else NULL. */
    void (*widen[KERNELS_TYPES])(const void *w, float *out, size_t n);

    /* A row of n activations to int8; n is a multiple of 32, of 256. */
    void (*quantize_32)(const float *x, struct act32 *out, size_t n);
    void (*quantize_256)(const float *x, struct act256 *out, size_t n);

    /* Products by the weights' type (enum num_id): for one row of activations, and for many. many is NULL for the float
     * types. */
    void (*one[KERNELS_TYPES])(const struct product *p);
    void (*many[KERNELS_TYPES])(const struct product *p);
};
const struct kernels *kernels_get(void);

/* Can weights be of this type? (The cache has types that weights do not.) */
bool kernels_can_multiply(const struct num_type *t);

/* The format in which weights of a type want their activations, and the bytes of such a row of n. */
enum act_format kernels_act_format(const struct num_type *t);
size_t kernels_act_bytes(enum act_format f, size_t n);

/* The tables, for kernels_get and for tests; NULL where this program was built for another architecture. */
const struct kernels *kernels_portable(void);
const struct kernels *kernels_avx2(void);
const struct kernels *kernels_avx512(void);

/* e^x to about an ulp: what swiglu and softmax of the portable table use. */
float kernels_exp(float x);

#endif
