/* measure_avx2: the loops of measure.h with AVX2 and FMA. */
#include <immintrin.h>

#include "model/measure.h"

enum { REGISTERS = 10, INNER = 256 }; /* enough to hide the latency of either unit, few enough to stay in registers */

static double loop_f32(size_t n, float *sink) {
    __m256 a[REGISTERS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f * *sink);
    for (int i = 0; i < REGISTERS; i++) a[i] = _mm256_set1_ps((float)i);
    for (size_t k = 0; k < n * INNER; k++)
#pragma GCC unroll 10
        for (int i = 0; i < REGISTERS; i++) a[i] = _mm256_fmadd_ps(a[i], x, y);
    for (int i = 1; i < REGISTERS; i++) a[0] = _mm256_add_ps(a[0], a[i]);
    *sink = _mm256_cvtss_f32(a[0]);
    return (double)n * INNER * REGISTERS * 8 * 2;
}

static double loop_int8(size_t n, int32_t *sink) {
    __m256i a[REGISTERS], x = _mm256_set1_epi8((char)*sink), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < REGISTERS; i++) a[i] = _mm256_set1_epi32(i);
    for (size_t k = 0; k < n * INNER; k++)
#pragma GCC unroll 10
        for (int i = 0; i < REGISTERS; i++)
            a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, a[i]), ones));
    for (int i = 1; i < REGISTERS; i++) a[0] = _mm256_add_epi32(a[0], a[i]);
    *sink = _mm_cvtsi128_si32(_mm256_castsi256_si128(a[0]));
    return (double)n * INNER * REGISTERS * 32 * 2;
}

static uint64_t loop_read(const void *p, size_t bytes) {
    const __m256i *x = p;
    __m256i a = _mm256_setzero_si256(), b = a;
    for (size_t i = 0; i < bytes / 32; i += 2) {
        _mm_prefetch((const char *)(x + i) + 1024, _MM_HINT_T0);
        a = _mm256_add_epi64(a, _mm256_load_si256(x + i));
        b = _mm256_add_epi64(b, _mm256_load_si256(x + i + 1));
    }
    return (uint64_t)_mm256_extract_epi64(_mm256_add_epi64(a, b), 0);
}

const struct measure_loops measure_avx2 = {loop_f32, loop_int8, loop_read};
