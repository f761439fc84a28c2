/* simd_avx512: vectors of 16 and their operations, as quant_rows.h and float_rows.h want them. For files compiled for AVX-512
 * alone. */
#ifndef MODEL_SIMD_AVX512_H
#define MODEL_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m512i vi;
typedef __m512 vf;
enum { LANES = 16, Q8_OFFSET = 128, GROUP_32 = 6, GROUP_256 = 4 };
#define SUFFIX avx512
#define OP static inline __attribute__((always_inline))

OP vi v_zero(void) { return _mm512_setzero_si512(); }
OP vi v_set(int x) { return _mm512_set1_epi32(x); }
OP vi v_set8(int x) { return _mm512_set1_epi8((char)x); }
OP vi v_and(vi a, vi b) { return _mm512_and_si512(a, b); }
OP vi v_or(vi a, vi b) { return _mm512_or_si512(a, b); }
OP vi v_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
OP vi v_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
OP vi v_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
OP vi v_shr(vi a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }
OP vi v_shl(vi a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
OP vi v_sar(vi a, int n) { return _mm512_srai_epi32(a, (unsigned)n); }
OP vi v_bcast(const void *p) {
    int x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}
OP vi v_dot(vi sum, vi u, vi s) { return _mm512_dpbusd_epi32(sum, u, s); }
OP vi v_dot_16(vi sum, vi a, vi b) { return _mm512_dpwssd_epi32(sum, a, b); }

/* The instruction wants one factor unsigned: -128..127 is moved to 0..255. */
OP vi v_q8(vi w) { return _mm512_xor_si512(w, v_set8(-128)); }
OP vi v_dot_q8(vi sum, vi w, vi s) { return _mm512_dpbusd_epi32(sum, w, s); }

/* ---- floats ------------------------------------------------------------------------------------------------------ */

OP vf f_zero(void) { return _mm512_setzero_ps(); }
OP vf f_load(const float *p) { return _mm512_loadu_ps(p); }
OP void f_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
OP vf f_bcast(const float *p) { return _mm512_set1_ps(*p); }
OP vf f_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
OP vf f_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
OP vf f_from(vi x) { return _mm512_cvtepi32_ps(x); }

OP vf f_set(float x) { return _mm512_set1_ps(x); }
OP vf f_add(vf a, vf b) { return _mm512_add_ps(a, b); }
OP vf f_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
OP vf f_div(vf a, vf b) { return _mm512_div_ps(a, b); }
OP vf f_max(vf a, vf b) { return _mm512_max_ps(a, b); } /* b where one is NaN */
OP vf f_abs(vf a) { return _mm512_abs_ps(a); }
OP vf f_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
OP vf f_scale(vf a, vf k) { return _mm512_scalef_ps(a, k); } /* a 2^k, k whole */
OP vf f_zero_below(vf x, vf at, vf least) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(at, least, _CMP_NLT_UQ), x); } /* 0 where at < least */
OP float f_sum(vf a) { return _mm512_reduce_add_ps(a); }
OP float f_most(vf a) { return _mm512_reduce_max_ps(a); }

/* The first n < LANES of a vector; what is not loaded is 0, what is not stored is left. */
OP __mmask16 first_n(size_t n) { return (__mmask16)((1u << n) - 1); }
OP vf f_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(first_n(n), p); }
OP void f_store_n(float *p, vf x, size_t n) { _mm512_mask_storeu_ps(p, first_n(n), x); }

OP vf f_load_f16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
OP vf f_load_f16_n(const uint8_t *p, size_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_n(n), p)); }
OP vf widen_bf16(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
OP vf f_load_bf16(const uint8_t *p) { return widen_bf16(_mm256_loadu_si256((const void *)p)); }
OP vf f_load_bf16_n(const uint8_t *p, size_t n) { return widen_bf16(_mm256_maskz_loadu_epi16(first_n(n), p)); }

/* ---- rows of weights into lanes ---------------------------------------------------------------------------------- */

OP vf v_half(vi x) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)); }

/* Rows r, r + 4, r + 8, r + 12: 16 bytes of each in one quarter of the vector. */
OP vi four_rows(const uint8_t *p, size_t stride) {
    vi v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)p));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128((const void *)(p + 4 * stride)));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128((const void *)(p + 8 * stride)));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128((const void *)(p + 12 * stride)));
}

OP void v_rows16(const uint8_t *p, size_t stride, vi out[4]) {
    vi a = four_rows(p, stride), b = four_rows(p + stride, stride);
    vi c = four_rows(p + 2 * stride, stride), d = four_rows(p + 3 * stride, stride);
    vi ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
    vi cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
    out[0] = _mm512_unpacklo_epi64(ab0, cd0);
    out[1] = _mm512_unpackhi_epi64(ab0, cd0);
    out[2] = _mm512_unpacklo_epi64(ab1, cd1);
    out[3] = _mm512_unpackhi_epi64(ab1, cd1);
}

OP vi v_rows4(const uint8_t *p, size_t stride) {
    vi even = v_zero(), odd = v_zero();
#pragma GCC unroll 8
    for (unsigned r = 0; r < 16; r += 2) {
        even = _mm512_mask_broadcastd_epi32(even, (__mmask16)(1u << r), _mm_loadu_si32(p + r * stride));
        odd = _mm512_mask_broadcastd_epi32(odd, (__mmask16)(2u << r), _mm_loadu_si32(p + (r + 1) * stride));
    }
    return v_or(even, odd);
}

OP vi v_fifth(vi h, int k) {
    /* byte i of a lane: byte k / 2 of h, of which bit 4 (k % 2) + i is asked */
    vi byte = _mm512_shuffle_epi8(h, _mm512_add_epi8(_mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0), v_set8(k / 2)));
    __mmask64 set = _mm512_test_epi8_mask(byte, v_set(k % 2 ? (int)0x80402010 : 0x08040201));
    return _mm512_maskz_mov_epi8(set, v_set8(16));
}

/* LANES floats as signed bytes, rounded to nearest even; returns them. */
OP vi store_int8(int8_t *q, vf x) {
    vi i = _mm512_cvtps_epi32(x);
    _mm_storeu_si128((void *)q, _mm512_cvtsepi32_epi8(i));
    return i;
}
OP int32_t v_sum(vi x) { return _mm512_reduce_add_epi32(x); }

#endif
