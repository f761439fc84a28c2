/* attention_avx2: the loops of attention_tile.h on AVX2, FMA and F16C. */
#include "model/simd_avx2.h"

#include <math.h>
#include <stdbool.h>

#include "model/attention_kernels.h"
#include "model/simd_exp.h"

static inline void f_sums(const vf acc[16], float out[16]) {
    UNROLL
    for (int i = 0; i < 16; i += 8) {
        const vf *a = acc + i;
        vf s = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
        vf t = _mm256_hadd_ps(_mm256_hadd_ps(a[4], a[5]), _mm256_hadd_ps(a[6], a[7]));
        _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_permute2f128_ps(s, t, 0x20), _mm256_permute2f128_ps(s, t, 0x31)));
    }
}

static inline void f_bytes(__m256i q, vf out[4]) {
    __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
    out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
    out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(low, 8)));
    out[2] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high));
    out[3] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(high, 8)));
}

#include "model/attention_rows.h"
#include "model/attention_tile.h"

#define DECODER(type) rows_##type
ATTENTION_TABLE(avx2, DECODER)
