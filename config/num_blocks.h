/* num_blocks: how quantised numbers lie in GGUF files, one struct a type. For config/num.c and the kernels that read the
 * blocks themselves. The layouts are those of the ggml project. A half is two bytes, little-endian; blocks may lie at
 * any address. */
#ifndef CONFIG_NUM_BLOCKS_H
#define CONFIG_NUM_BLOCKS_H

#include <assert.h>
#include <stdint.h>

/* Q4_0, 18 bytes: half d, 16 bytes; byte j holds number j in its low and j + 16 in its high nibble. x = d (q - 8). */
struct q4_0 { uint8_t d[2], q[16]; };
static_assert(sizeof(struct q4_0) == 18, "Q4_0 block");

/* Q4_1, 20 bytes: half d, half m, nibbles as in Q4_0. x = d q + m. */
struct q4_1 { uint8_t d[2], m[2], q[16]; };
static_assert(sizeof(struct q4_1) == 20, "Q4_1 block");

/* Number j's fifth bit, in place, where bit j of the four bytes h is it. */
static inline int num_fifth_bit(const uint8_t h[4], int j) { return (h[j / 8] >> j % 8 & 1) << 4; }

/* Q5_0, 22 bytes: half d, 4 bytes of fifth bits, nibbles as in Q4_0. x = d (q - 16). */
struct q5_0 { uint8_t d[2], h[4], q[16]; };
static_assert(sizeof(struct q5_0) == 22, "Q5_0 block");

/* Q5_1, 24 bytes: half d, half m, 4 bytes of fifth bits, nibbles as in Q4_0. x = d q + m. */
struct q5_1 { uint8_t d[2], m[2], h[4], q[16]; };
static_assert(sizeof(struct q5_1) == 24, "Q5_1 block");

/* Q8_0, 34 bytes: half d, 32 signed bytes. x = d q. */
struct q8_0 { uint8_t d[2]; int8_t q[32]; };
static_assert(sizeof(struct q8_0) == 34, "Q8_0 block");

/* IQ4_NL, 18 bytes: as Q4_0, but x = d num_iq4_nl[q], sixteen steps that are finer near 0. */
struct iq4_nl { uint8_t d[2], q[16]; };
static_assert(sizeof(struct iq4_nl) == 18, "IQ4_NL block");
static const int8_t num_iq4_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* Q4_K, 144 bytes: half d, half dmin, 12 bytes of eight 6-bit scales and eight 6-bit minima, 128 bytes of nibbles.
 * Sub-block s has 32 numbers. x = d scale[s] q - dmin min[s].
 *
 *   byte 0..3    scale[0..3] in bits 0-5, bits 4-5 of scale[4..7] in bits 6-7
 *   byte 4..7    min[0..3] in bits 0-5, bits 4-5 of min[4..7] in bits 6-7
 *   byte 8..11   bits 0-3 of scale[4..7] in the low, of min[4..7] in the high nibble
 *
 * Nibbles: 32 bytes hold two sub-blocks, the even one in the low nibbles. */
struct q4_k { uint8_t d[2], dmin[2], scales[12], q[128]; };
static_assert(sizeof(struct q4_k) == 144, "Q4_K block");

static inline void num_k_scale_min(const uint8_t scales[12], int s, int *scale, int *min) {
    if (s < 4) {
        *scale = scales[s] & 63;
        *min = scales[s + 4] & 63;
    } else {
        *scale = (scales[s + 4] & 15) | scales[s - 4] >> 6 << 4;
        *min = scales[s + 4] >> 4 | scales[s] >> 6 << 4;
    }
}

/* Q5_K, 176 bytes: Q4_K with 32 bytes of fifth bits before the nibbles: bit s of byte j belongs to number j of
 * sub-block s. */
struct q5_k { uint8_t d[2], dmin[2], scales[12], h[32], q[128]; };
static_assert(sizeof(struct q5_k) == 176, "Q5_K block");

/* Q6_K, 210 bytes: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales (one for 16 numbers), half d.
 * x = d scale (q - 32). Each half of the block (128 numbers) has 64 low and 32 high bytes; its quarter k, number j:
 *
 *   low nibble    byte 32 (k % 2) + j, the low one for k < 2, else the high one
 *   high bits     byte j, bits 2 k and 2 k + 1 */
struct q6_k { uint8_t low[128], high[64]; int8_t scales[16]; uint8_t d[2]; };
static_assert(sizeof(struct q6_k) == 210, "Q6_K block");

#endif
