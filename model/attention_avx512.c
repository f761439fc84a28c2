/* attention_avx512: the loops of attention_tile.h on AVX-512. */
#include "model/simd_avx512.h"

#include <math.h>
#include <stdbool.h>

#include "model/attention_kernels.h"
#include "model/simd_exp.h"

/* Pairs, then quarters of each 128-bit lane, then the lanes: the order is the same for each of the 16 sums. */
static inline void f_sums(const vf acc[16], float out[16]) {
    vf t[8], u[4];
    UNROLL
    for (int i = 0; i < 8; i++)
        t[i] = _mm512_add_ps(_mm512_unpacklo_ps(acc[2 * i], acc[2 * i + 1]), _mm512_unpackhi_ps(acc[2 * i], acc[2 * i + 1]));
    UNROLL
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(t[2 * i]), b = _mm512_castps_pd(t[2 * i + 1]);
        u[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    vf v = _mm512_add_ps(_mm512_shuffle_f32x4(u[0], u[1], 0x88), _mm512_shuffle_f32x4(u[0], u[1], 0xdd));
    vf w = _mm512_add_ps(_mm512_shuffle_f32x4(u[2], u[3], 0x88), _mm512_shuffle_f32x4(u[2], u[3], 0xdd));
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_shuffle_f32x4(v, w, 0x88), _mm512_shuffle_f32x4(v, w, 0xdd)));
}

static inline void f_bytes(__m256i q, vf out[2]) {
    out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(q)));
    out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(q, 1)));
}

#include "model/attention_rows.h"
#include "model/attention_tile.h"

#define DECODER(type) rows_##type
ATTENTION_TABLE(avx512, DECODER)
