/* kernels_avx2: the table for AVX2, FMA and F16C. */
#include "model/simd_avx2.h"

#include "model/float_rows.h"
#include "model/kernels_x86.h"

static const struct kernels table = {
    .name = "avx2",
    FLOAT_KERNELS,
    .quantize_32 = quantize_32_avx2,
    .quantize_256 = quantize_256_avx2,
    .one = {[NUM_F32] = one_f32, [NUM_F16] = one_f16, [NUM_BF16] = one_bf16, KERNELS_X86_QUANT(one, avx2)},
    .many = {KERNELS_X86_QUANT(many, avx2)},
};

const struct kernels *kernels_avx2(void) { return &table; }
