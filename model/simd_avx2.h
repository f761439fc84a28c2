/* simd_avx2: vectors of 8 and their operations, as quant_rows.h and float_rows.h want them. For files compiled for AVX2, FMA and
 * F16C alone. */
#ifndef MODEL_SIMD_AVX2_H
#define MODEL_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m256i vi;
typedef __m256 vf;
enum { LANES = 8, Q8_OFFSET = 0, GROUP_32 = 3, GROUP_256 = 2 };
#define SUFFIX avx2
#define OP static inline __attribute__((always_inline))

OP vi v_zero(void) { return _mm256_setzero_si256(); }
OP vi v_set(int x) { return _mm256_set1_epi32(x); }
OP vi v_set8(int x) { return _mm256_set1_epi8((char)x); }
OP vi v_and(vi a, vi b) { return _mm256_and_si256(a, b); }
OP vi v_or(vi a, vi b) { return _mm256_or_si256(a, b); }
OP vi v_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
OP vi v_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
OP vi v_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
OP vi v_shr(vi a, int n) { return _mm256_srli_epi32(a, n); }
OP vi v_shl(vi a, int n) { return _mm256_slli_epi32(a, n); }
OP vi v_sar(vi a, int n) { return _mm256_srai_epi32(a, n); }
OP vi v_bcast(const void *p) {
    int x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}
OP vi v_dot_16(vi sum, vi a, vi b) { return v_add(sum, _mm256_madd_epi16(a, b)); }
/* The sums of two products stay within 16 bits: 2 * 63 * 127 and, below, 2 * 128 * 127. */
OP vi v_dot(vi sum, vi u, vi s) { return v_dot_16(sum, _mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1)); }

/* The instruction wants one factor unsigned: the weight's sign goes over to the activation. */
OP vi v_q8(vi w) { return w; }
OP vi v_dot_q8(vi sum, vi w, vi s) { return v_dot(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(s, w)); }

/* ---- floats ------------------------------------------------------------------------------------------------------ */

OP vf f_zero(void) { return _mm256_setzero_ps(); }
OP vf f_load(const float *p) { return _mm256_loadu_ps(p); }
OP void f_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
OP vf f_bcast(const float *p) { return _mm256_set1_ps(*p); }
OP vf f_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
OP vf f_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
OP vf f_from(vi x) { return _mm256_cvtepi32_ps(x); }
OP vf f_set(float x) { return _mm256_set1_ps(x); }
OP vf f_add(vf a, vf b) { return _mm256_add_ps(a, b); }
OP vf f_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
OP vf f_div(vf a, vf b) { return _mm256_div_ps(a, b); }
OP vf f_max(vf a, vf b) { return _mm256_max_ps(a, b); } /* b where one is NaN */
OP vf f_abs(vf a) { return _mm256_andnot_ps(f_set(-0.0f), a); }
OP vf f_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/* a 2^k, k whole, -127 to 128: in two steps, each of which has a finite normal factor. */
OP vf f_scale(vf a, vf k) {
    vi whole = _mm256_cvtps_epi32(k), half = v_sar(whole, 1);
    vi bits0 = v_shl(v_add(half, v_set(127)), 23), bits1 = v_shl(v_add(v_sub(whole, half), v_set(127)), 23);
    return f_mul(f_mul(a, _mm256_castsi256_ps(bits0)), _mm256_castsi256_ps(bits1));
}

/* x, but 0 where at < least. */
OP vf f_zero_below(vf x, vf at, vf least) { return _mm256_and_ps(_mm256_cmp_ps(at, least, _CMP_NLT_UQ), x); }

OP float f_sum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
OP float f_most(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* The first n < LANES of a vector; what is not loaded is 0, what is not stored is left. */
OP vi first_n(size_t n) { return _mm256_cmpgt_epi32(v_set((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
OP vf f_load_n(const float *p, size_t n) { return _mm256_maskload_ps(p, first_n(n)); }
OP void f_store_n(float *p, vf x, size_t n) { _mm256_maskstore_ps(p, first_n(n), x); }

OP __m128i load_u16_n(const uint8_t *p, size_t n) {
    uint16_t x[LANES] = {0};
    memcpy(x, p, n * sizeof *x);
    return _mm_loadu_si128((const void *)x);
}
OP vf f_load_f16(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
OP vf f_load_f16_n(const uint8_t *p, size_t n) { return _mm256_cvtph_ps(load_u16_n(p, n)); }
OP vf widen_bf16(__m128i x) { return _mm256_castsi256_ps(v_shl(_mm256_cvtepu16_epi32(x), 16)); }
OP vf f_load_bf16(const uint8_t *p) { return widen_bf16(_mm_loadu_si128((const void *)p)); }
OP vf f_load_bf16_n(const uint8_t *p, size_t n) { return widen_bf16(load_u16_n(p, n)); }

/* ---- rows of weights into lanes ---------------------------------------------------------------------------------- */

OP vf v_half(vi x) {
    vi halves = _mm256_packus_epi32(v_and(x, v_set(0xffff)), v_zero()); /* four in each 128 bits */
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, 0x08)));
}

/* 16 bytes of row r and of row r + 4. */
OP vi two_rows(const uint8_t *p, size_t stride) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)p)),
                                   _mm_loadu_si128((const void *)(p + 4 * stride)), 1);
}

OP void v_rows16(const uint8_t *p, size_t stride, vi out[4]) {
    vi a = two_rows(p, stride), b = two_rows(p + stride, stride);
    vi c = two_rows(p + 2 * stride, stride), d = two_rows(p + 3 * stride, stride);
    vi ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
    vi cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(ab0, cd0);
    out[1] = _mm256_unpackhi_epi64(ab0, cd0);
    out[2] = _mm256_unpacklo_epi64(ab1, cd1);
    out[3] = _mm256_unpackhi_epi64(ab1, cd1);
}

OP vi v_rows4(const uint8_t *p, size_t stride) {
    int x[LANES];
    for (size_t r = 0; r < LANES; r++) memcpy(&x[r], p + r * stride, sizeof x[r]);
    return _mm256_setr_epi32(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]);
}

OP vi v_fifth(vi h, int k) {
    /* byte i of a lane: byte k / 2 of h, of which bit 4 (k % 2) + i is asked */
    vi spread = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c);
    vi byte = _mm256_shuffle_epi8(h, _mm256_add_epi8(spread, v_set8(k / 2)));
    vi asked = v_set(k % 2 ? (int)0x80402010 : 0x08040201);
    return v_and(_mm256_cmpeq_epi8(v_and(byte, asked), asked), v_set8(16));
}

/* LANES floats as signed bytes, rounded to nearest even; returns them. */
OP vi store_int8(int8_t *q, vf x) {
    vi i = _mm256_cvtps_epi32(x);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((void *)q, _mm_packs_epi16(words, words));
    return i;
}
OP int32_t v_sum(vi x) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

#endif
