/* measure_avx512: the loops of measure.h with AVX-512 and VNNI. */
#include <immintrin.h>

#include "model/measure.h"

enum { REGISTERS = 20, INNER = 256 }; /* enough to hide the latency of either unit, few enough to stay in registers */

static double loop_f32(size_t n, float *sink) {
    __m512 a[REGISTERS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f * *sink);
    for (int i = 0; i < REGISTERS; i++) a[i] = _mm512_set1_ps((float)i);
    for (size_t k = 0; k < n * INNER; k++)
#pragma GCC unroll 20
        for (int i = 0; i < REGISTERS; i++) a[i] = _mm512_fmadd_ps(a[i], x, y);
    for (int i = 1; i < REGISTERS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    *sink = _mm512_cvtss_f32(a[0]);
    return (double)n * INNER * REGISTERS * 16 * 2;
}

static double loop_int8(size_t n, int32_t *sink) {
    __m512i a[REGISTERS], x = _mm512_set1_epi8((char)*sink), y = _mm512_set1_epi8(3);
    for (int i = 0; i < REGISTERS; i++) a[i] = _mm512_set1_epi32(i);
    for (size_t k = 0; k < n * INNER; k++)
#pragma GCC unroll 20
        for (int i = 0; i < REGISTERS; i++) a[i] = _mm512_dpbusd_epi32(a[i], x, y);
    for (int i = 1; i < REGISTERS; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    *sink = _mm_cvtsi128_si32(_mm512_castsi512_si128(a[0]));
    return (double)n * INNER * REGISTERS * 64 * 2;
}

static uint64_t loop_read(const void *p, size_t bytes) {
    const __m512i *x = p;
    __m512i a = _mm512_setzero_si512();
    for (size_t i = 0; i < bytes / 64; i++) {
        _mm_prefetch((const char *)(x + i) + 2048, _MM_HINT_T0);
        a = _mm512_add_epi64(a, _mm512_load_si512(x + i));
    }
    uint64_t lane[8], sum = 0; /* the compiler's own reduction adds signed numbers, which may not overflow */
    _mm512_storeu_si512(lane, a);
    for (int i = 0; i < 8; i++) sum += lane[i];
    return sum;
}

const struct measure_loops measure_avx512 = {loop_f32, loop_int8, loop_read};
