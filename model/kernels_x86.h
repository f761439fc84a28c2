/* kernels_x86: what quant_avx2.c and quant_avx512.c make for the tables of kernels_avx2.c and kernels_avx512.c.
 * Contracts as in struct kernels. */
#ifndef MODEL_KERNELS_X86_H
#define MODEL_KERNELS_X86_H

#include "model/kernels.h"

#define KERNELS_X86_DECLARE(type)                                                                                         \
    void one_##type##_avx2(const struct product *p);                                                                      \
    void many_##type##_avx2(const struct product *p);                                                                     \
    void one_##type##_avx512(const struct product *p);                                                                    \
    void many_##type##_avx512(const struct product *p);
KERNELS_X86_DECLARE(q4_0)
KERNELS_X86_DECLARE(q4_1)
KERNELS_X86_DECLARE(q5_0)
KERNELS_X86_DECLARE(q5_1)
KERNELS_X86_DECLARE(q8_0)
KERNELS_X86_DECLARE(q4_k)
KERNELS_X86_DECLARE(q5_k)
KERNELS_X86_DECLARE(q6_k)
#undef KERNELS_X86_DECLARE

void quantize_32_avx2(const float *x, struct act32 *out, size_t n);
void quantize_256_avx2(const float *x, struct act256 *out, size_t n);
void quantize_32_avx512(const float *x, struct act32 *out, size_t n);
void quantize_256_avx512(const float *x, struct act256 *out, size_t n);

/* The quantised entries of a table's one or many. */
#define KERNELS_X86_QUANT(which, isa)                                                                                     \
    [NUM_Q4_0] = which##_q4_0_##isa, [NUM_Q4_1] = which##_q4_1_##isa, [NUM_Q5_0] = which##_q5_0_##isa,                    \
    [NUM_Q5_1] = which##_q5_1_##isa, [NUM_Q8_0] = which##_q8_0_##isa, [NUM_Q4_K] = which##_q4_k_##isa,                    \
    [NUM_Q5_K] = which##_q5_k_##isa, [NUM_Q6_K] = which##_q6_k_##isa

#endif
