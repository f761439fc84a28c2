/* attention_rows: rows of blocks of 32 to floats, with the bits of the type's own to_f32. A file attention_<isa>.c of x86 includes
 * its simd_*.h first and defines
 *
 *   f_bytes(__m256i q, vf out[32 / LANES])   32 signed bytes as floats, in order
 *
 * A block's numbers are made bytes in their order, then floats, times its scale. */
#include "config/num_blocks.h"

#define ROWS_INLINE static inline __attribute__((always_inline))
#define ROWS_AHEAD 4096u /* bytes; the processor's own prefetching ends at each page */

typedef __m256i rows_bytes_fn(const uint8_t *block);

ROWS_INLINE __m256i rows_nibbles(const uint8_t *q) {
    __m128i x = _mm_loadu_si128((const void *)q);
    __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(x), _mm_srli_epi16(x, 4), 1);
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

/* -1 where the number's fifth bit is set. */
ROWS_INLINE __m256i rows_fifths(const uint8_t *h) {
    int bits;
    memcpy(&bits, h, sizeof bits);
    __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i x = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte);
    return _mm256_cmpeq_epi8(_mm256_and_si256(x, bit), bit);
}

ROWS_INLINE __m256i rows_bytes_q8_0(const uint8_t *b) { return _mm256_loadu_si256((const void *)(b + offsetof(struct q8_0, q))); }
ROWS_INLINE __m256i rows_bytes_q4_0(const uint8_t *b) {
    return _mm256_sub_epi8(rows_nibbles(b + offsetof(struct q4_0, q)), _mm256_set1_epi8(8));
}
ROWS_INLINE __m256i rows_bytes_q4_1(const uint8_t *b) { return rows_nibbles(b + offsetof(struct q4_1, q)); }
ROWS_INLINE __m256i rows_bytes_q5_0(const uint8_t *b) { /* without the fifth bit it is 16 less: the upper bits of a negative byte */
    __m256i less = _mm256_andnot_si256(rows_fifths(b + offsetof(struct q5_0, h)), _mm256_set1_epi8(-16));
    return _mm256_or_si256(rows_nibbles(b + offsetof(struct q5_0, q)), less);
}
ROWS_INLINE __m256i rows_bytes_q5_1(const uint8_t *b) {
    __m256i more = _mm256_and_si256(rows_fifths(b + offsetof(struct q5_1, h)), _mm256_set1_epi8(16));
    return _mm256_or_si256(rows_nibbles(b + offsetof(struct q5_1, q)), more);
}
ROWS_INLINE __m256i rows_bytes_iq4_nl(const uint8_t *b) {
    __m256i steps = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)num_iq4_nl));
    return _mm256_shuffle_epi8(steps, rows_nibbles(b + offsetof(struct iq4_nl, q)));
}

ROWS_INLINE vf rows_half(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f_set(_cvtsh_ss(h));
}

ROWS_INLINE void rows_decode(const uint8_t *b, float *out, size_t n, size_t bytes, rows_bytes_fn *get, bool has_min) {
    for (; n; n -= 32, b += bytes, out += 32) {
        __builtin_prefetch(b + ROWS_AHEAD);
        vf x[32 / LANES], d = rows_half(b), m = has_min ? rows_half(b + 2) : f_zero();
        f_bytes(get(b), x);
        UNROLL
        for (int i = 0; i < 32 / LANES; i++) {
            x[i] = f_mul(d, x[i]);
            if (has_min) x[i] = f_add(x[i], m);
            f_store(out + i * LANES, x[i]);
        }
    }
}

#define ROWS(type, has_min)                                                                                                 \
    static void rows_##type(const void *row, float *out, size_t n) {                                                        \
        rows_decode(row, out, n, sizeof(struct type), rows_bytes_##type, has_min);                                          \
    }
ROWS(q8_0, false)
ROWS(q4_0, false)
ROWS(q4_1, true)
ROWS(q5_0, false)
ROWS(q5_1, true)
ROWS(iq4_nl, false)
