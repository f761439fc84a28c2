/* kernels_avx512: the table for AVX-512 with VNNI. */
#include "model/simd_avx512.h"

#include "model/float_rows.h"
#include "model/kernels_x86.h"

static const struct kernels table = {
    .name = "avx512",
    FLOAT_KERNELS,
    .quantize_32 = quantize_32_avx512,
    .quantize_256 = quantize_256_avx512,
    .one = {[NUM_F32] = one_f32, [NUM_F16] = one_f16, [NUM_BF16] = one_bf16, KERNELS_X86_QUANT(one, avx512)},
    .many = {KERNELS_X86_QUANT(many, avx512)},
};

const struct kernels *kernels_avx512(void) { return &table; }
