/* quant_rows: products of quantised weights with LANES rows of weights in the lanes of a vector, once for every instruction
 * set. A quant_*.c file defines the vectors and their operations, then includes this file; what is made here is
 *
 *     one_TYPE_SUFFIX    one row of activations: blocks are unpacked in registers and multiplied at once
 *     many_TYPE_SUFFIX   many rows: a tile of weights (2 x LANES rows, CHUNK columns) is unpacked to scratch in the first-level
 *                        cache, then multiplied with the activations, six rows at a time
 *
 * The file including this one gives: LANES; SUFFIX; GROUP_32 and GROUP_256, the rows of
 * activations that are computed together; vi (LANES int32, also seen as 4 x LANES bytes) and vf (LANES floats);
 *
 *     v_rows16(p, stride, out)  out[j], lane r = bytes 4j..4j+3 of the 16 at p + r * stride
 *     v_rows4(p, stride)        lane r = the 4 bytes at p + r * stride
 *     v_dot(sum, u, s)          sum + u0 s0 + u1 s1 + u2 s2 + u3 s3, bytes, u unsigned (at most 63), s signed
 *     v_dot_q8(sum, w, s)       the same where w came from v_q8: signed bytes, to which Q8_OFFSET may have been added
 *     v_dot_16(sum, a, b)       sum + a0 b0 + a1 b1, signed 16-bit halves
 *     v_half(x)                 the half in the low 16 bits of each lane as a float
 *     v_fifth(h, k)             bytes with bit 4 set where bits 4k..4k+3 of h are
 *
 * and the plain v_* and f_* operations used below. Integer sums are exact in any order; floats are rounded only where
 * kernels.h says. Rows that do not fill the lanes are left to the portable version, which gives the same bits. */
#include <stdbool.h>

#include "config/num_blocks.h"
#include "model/kernels_portable.h"
#include "model/kernels_x86.h"

#define ALWAYS static inline __attribute__((always_inline))
#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)
#define UNROLL _Pragma("GCC unroll 16")

enum { TILE = 2 * LANES, CHUNK = 1024 }; /* rows and columns of a tile; CHUNK is a multiple of 256 */

/* A block of 32 of LANES rows: q[k] holds numbers 4k..4k+3, unsigned. m only where the type has a minimum. */
struct tile32 { vi q[8]; vf d, m; };

/* A super-block of LANES rows: scales of the 8 or 16 sub-blocks, and pairs of 16-bit factors for the activations' sums: the
 * minima of Q4_K and Q5_K, the scales of Q6_K. */
struct tile256 { vi q[64]; vf d, dmin; vi scale[16], pair[8]; };

_Static_assert(2 * CHUNK / 32 * sizeof(struct tile32) <= KERNELS_SCRATCH, "tile of blocks");
_Static_assert(2 * CHUNK / 256 * sizeof(struct tile256) <= KERNELS_SCRATCH, "tile of super-blocks");

/* What the fetching of one tile ahead costs nothing of: rows of a tile are neighbours in memory, but are read side by
 * side, a pattern that the processor does not foresee. */
ALWAYS void fetch_ahead(const uint8_t *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

/* What is left of a product from weight row i on. */
ALWAYS struct product rows_from(const struct product *p, size_t i) {
    struct product left = *p;
    left.rows -= i, left.w += i * p->row_bytes, left.out += i;
    return left;
}

/* A product with many rows of activations: whole tiles by tile(), the rows of weights after them by one(), row by row. */
#define MANY(p, tile, one)                                                                                                 \
    do {                                                                                                                   \
        size_t i = 0;                                                                                                      \
        for (; i + TILE <= (p)->rows; i += TILE) tile;                                                                     \
        struct product left = rows_from(p, i);                                                                             \
        left.n_act = 1;                                                                                                    \
        for (size_t r = 0; left.rows && r < (p)->n_act; r++, left.act += left.act_stride, left.out += left.out_stride)     \
            one(&left);                                                                                                    \
    } while (0)

/* ---- blocks of 32 ---------------------------------------------------------------------------------------------- */

ALWAYS void nibbles(const uint8_t *p, size_t stride, vi q[8]) {
    vi packed[4];
    v_rows16(p, stride, packed);
    UNROLL for (int k = 0; k < 4; k++) {
        q[k] = v_and(packed[k], v_set8(15));
        q[k + 4] = v_and(v_shr(packed[k], 4), v_set8(15));
    }
}

ALWAYS void unpack_q4_0(const uint8_t *w, size_t stride, struct tile32 *t) {
    nibbles(w + offsetof(struct q4_0, q), stride, t->q);
    t->d = v_half(v_rows4(w, stride));
}

ALWAYS void unpack_q4_1(const uint8_t *w, size_t stride, struct tile32 *t) {
    nibbles(w + offsetof(struct q4_1, q), stride, t->q);
    vi dm = v_rows4(w, stride);
    t->d = v_half(dm);
    t->m = v_half(v_shr(dm, 16));
}

ALWAYS void fifths(const uint8_t *p, size_t stride, vi q[8]) {
    vi h = v_rows4(p, stride);
    UNROLL for (int k = 0; k < 8; k++) q[k] = v_or(q[k], v_fifth(h, k));
}

ALWAYS void unpack_q5_0(const uint8_t *w, size_t stride, struct tile32 *t) {
    nibbles(w + offsetof(struct q5_0, q), stride, t->q);
    fifths(w + offsetof(struct q5_0, h), stride, t->q);
    t->d = v_half(v_rows4(w, stride));
}

ALWAYS void unpack_q5_1(const uint8_t *w, size_t stride, struct tile32 *t) {
    nibbles(w + offsetof(struct q5_1, q), stride, t->q);
    fifths(w + offsetof(struct q5_1, h), stride, t->q);
    vi dm = v_rows4(w, stride);
    t->d = v_half(dm);
    t->m = v_half(v_shr(dm, 16));
}

ALWAYS void unpack_q8_0(const uint8_t *w, size_t stride, struct tile32 *t) {
    v_rows16(w + offsetof(struct q8_0, q), stride, t->q);
    v_rows16(w + offsetof(struct q8_0, q) + 16, stride, t->q + 4);
    UNROLL for (int k = 0; k < 8; k++) t->q[k] = v_q8(t->q[k]);
    t->d = v_half(v_rows4(w, stride));
}

typedef void unpack32_fn(const uint8_t *w, size_t stride, struct tile32 *t);

/* What distinguishes the types of a block of 32; constant in every use, so that the branches on it vanish. */
struct kind32 {
    unpack32_fn *unpack;
    size_t bytes;
    int offset; /* the value 0 is stored as this */
    bool has_min, is_q8;
};

ALWAYS vi dot32(const struct kind32 *kind, vi sum, vi w, vi a) {
    return kind->is_q8 ? v_dot_q8(sum, w, a) : v_dot(sum, w, a);
}

/* The end of a block: its integer dot products i join the sums. */
ALWAYS vf close32(const struct kind32 *kind, const struct tile32 *t, const struct act32 *a, vi i, vf sum) {
    vf da = f_bcast(&a->d);
    sum = f_fma(f_from(i), f_mul(t->d, da), sum);
    if (kind->has_min) sum = f_fma(t->m, f_mul(da, f_from(v_sub(v_zero(), v_bcast(&a->nsum)))), sum);
    return sum;
}

ALWAYS vi open32(const struct kind32 *kind, const struct act32 *a) {
    return kind->offset ? v_mul(v_bcast(&a->nsum), v_set(kind->offset)) : v_zero();
}

ALWAYS void one32(const struct product *p, struct kind32 kind, void (*rest)(const struct product *)) {
    size_t i = 0, stride = p->row_bytes;
    for (; i + LANES <= p->rows; i += LANES) {
        const uint8_t *w = p->w + i * stride, *ahead = w + LANES * stride;
        const struct act32 *a = (const void *)p->act, *end = a + p->cols / 32;
        vf sum = f_zero();
        for (; a < end; a++, w += kind.bytes, ahead += LANES * kind.bytes) {
            fetch_ahead(ahead, LANES * kind.bytes);
            struct tile32 t;
            kind.unpack(w, stride, &t);
            vi s0 = open32(&kind, a), s1 = v_zero();
            UNROLL for (int k = 0; k < 4; k++) {
                s0 = dot32(&kind, s0, t.q[k], v_bcast(a->q + 4 * k));
                s1 = dot32(&kind, s1, t.q[k + 4], v_bcast(a->q + 4 * k + 16));
            }
            sum = close32(&kind, &t, a, v_add(s0, s1), sum);
        }
        f_store(p->out + i, sum);
    }
    struct product left = rows_from(p, i);
    if (left.rows) rest(&left);
}

/* n_act rows of activations from a times a tile of weights, over n blocks; starts from 0 or adds to out. */
ALWAYS void tile_times32(struct kind32 kind, const struct tile32 *t, size_t n, const uint8_t *a, size_t a_stride, int n_act,
                         float *out, size_t out_stride, bool first) {
    vf sum[GROUP_32][2];
    UNROLL for (int r = 0; r < n_act; r++)
        UNROLL for (int c = 0; c < 2; c++)
            sum[r][c] = first ? f_zero() : f_load(out + (size_t)r * out_stride + c * LANES);
    for (; n; n--, t += 2, a += sizeof(struct act32)) {
        vi i[GROUP_32][2];
        UNROLL for (int r = 0; r < n_act; r++) i[r][0] = i[r][1] = open32(&kind, (const void *)(a + (size_t)r * a_stride));
        UNROLL for (int k = 0; k < 8; k++) {
            vi w0 = t[0].q[k], w1 = t[1].q[k];
            UNROLL for (int r = 0; r < n_act; r++) {
                const struct act32 *ar = (const void *)(a + (size_t)r * a_stride);
                vi x = v_bcast(ar->q + 4 * k);
                i[r][0] = dot32(&kind, i[r][0], w0, x);
                i[r][1] = dot32(&kind, i[r][1], w1, x);
            }
        }
        UNROLL for (int r = 0; r < n_act; r++)
            UNROLL for (int c = 0; c < 2; c++)
                sum[r][c] = close32(&kind, &t[c], (const void *)(a + (size_t)r * a_stride), i[r][c], sum[r][c]);
    }
    UNROLL for (int r = 0; r < n_act; r++)
        UNROLL for (int c = 0; c < 2; c++) f_store(out + (size_t)r * out_stride + c * LANES, sum[r][c]);
}

/* One tile of weight rows, from `row` on, times all rows of activations. */
ALWAYS void many32_tile(const struct product *p, struct kind32 kind, size_t row) {
    struct tile32 *t = p->scratch;
    for (size_t c = 0; c < p->cols; c += CHUNK) {
        size_t n = (p->cols - c < CHUNK ? p->cols - c : CHUNK) / 32;
        const uint8_t *w = p->w + row * p->row_bytes + c / 32 * kind.bytes;
        for (size_t b = 0; b < 2 * n; b++)
            kind.unpack(w + b / 2 * kind.bytes + b % 2 * LANES * p->row_bytes, p->row_bytes, &t[b]);
        const uint8_t *a = p->act + c / 32 * sizeof(struct act32), *end = a + p->n_act * p->act_stride;
        float *out = p->out + row;
        for (; a + (GROUP_32 - 1) * p->act_stride < end; a += GROUP_32 * p->act_stride, out += GROUP_32 * p->out_stride)
            tile_times32(kind, t, n, a, p->act_stride, GROUP_32, out, p->out_stride, c == 0);
        for (; a < end; a += p->act_stride, out += p->out_stride)
            tile_times32(kind, t, n, a, p->act_stride, 1, out, p->out_stride, c == 0);
    }
}

#define PRODUCT_32(type, offset, has_min, is_q8)                                                                           \
    static const struct kind32 kind_##type = {unpack_##type, sizeof(struct type), offset, has_min, is_q8};                 \
    void JOIN(one_##type, SUFFIX)(const struct product *p) { one32(p, kind_##type, product_##type##_portable); }           \
    void JOIN(many_##type, SUFFIX)(const struct product *p) {                                                              \
        MANY(p, many32_tile(p, kind_##type, i), JOIN(one_##type, SUFFIX));                                                 \
    }

PRODUCT_32(q4_0, 8, false, false)
PRODUCT_32(q4_1, 0, true, false)
PRODUCT_32(q5_0, 16, false, false)
PRODUCT_32(q5_1, 0, true, false)
PRODUCT_32(q8_0, Q8_OFFSET, false, true)

/* ---- super-blocks of 256 --------------------------------------------------------------------------------------- */

/* Scales and minima of Q4_K and Q5_K: with d and dmin they are the first 16 bytes of the block. */
ALWAYS void unpack_k_head(const uint8_t *w, size_t stride, struct tile256 *t) {
    vi v[4], min[8];
    v_rows16(w, stride, v);
    t->d = v_half(v[0]);
    t->dmin = v_half(v_shr(v[0], 16));
    vi high_scale = v_and(v_shr(v[1], 2), v_set8(0x30)), high_min = v_and(v_shr(v[2], 2), v_set8(0x30));
    vi scale[2] = {v_and(v[1], v_set8(63)), v_or(v_and(v[3], v_set8(15)), high_scale)};
    vi mins[2] = {v_and(v[2], v_set8(63)), v_or(v_and(v_shr(v[3], 4), v_set8(15)), high_min)};
    UNROLL for (int s = 0; s < 8; s++) {
        t->scale[s] = v_and(v_shr(scale[s / 4], s % 4 * 8), v_set(255));
        min[s] = v_and(v_shr(mins[s / 4], s % 4 * 8), v_set(255));
    }
    UNROLL for (int s = 0; s < 4; s++) t->pair[s] = v_or(min[2 * s], v_shl(min[2 * s + 1], 16));
}

/* Quarter g of Q4_K: sub-blocks 2g and 2g + 1. */
ALWAYS void unpack_q4_k(const uint8_t *w, size_t stride, int g, vi q[16]) {
    vi packed[8];
    const uint8_t *p = w + offsetof(struct q4_k, q) + 32 * g;
    v_rows16(p, stride, packed);
    v_rows16(p + 16, stride, packed + 4);
    UNROLL for (int k = 0; k < 8; k++) {
        q[k] = v_and(packed[k], v_set8(15));
        q[k + 8] = v_and(v_shr(packed[k], 4), v_set8(15));
    }
}

ALWAYS void unpack_q5_k(const uint8_t *w, size_t stride, int g, vi q[16]) {
    vi packed[8], h[8];
    const uint8_t *p = w + offsetof(struct q5_k, q) + 32 * g, *ph = w + offsetof(struct q5_k, h);
    v_rows16(p, stride, packed);
    v_rows16(p + 16, stride, packed + 4);
    v_rows16(ph, stride, h);
    v_rows16(ph + 16, stride, h + 4);
    UNROLL for (int k = 0; k < 8; k++) {
        vi low = v_and(v_shr(h[k], 2 * g), v_set8(1)), high = v_and(v_shr(h[k], 2 * g + 1), v_set8(1));
        q[k] = v_or(v_and(packed[k], v_set8(15)), v_shl(low, 4));
        q[k + 8] = v_or(v_and(v_shr(packed[k], 4), v_set8(15)), v_shl(high, 4));
    }
}

ALWAYS void unpack_q6_k_head(const uint8_t *w, size_t stride, struct tile256 *t) {
    vi v[4];
    v_rows16(w + offsetof(struct q6_k, scales), stride, v);
    t->d = v_half(v_shr(v_rows4(w + offsetof(struct q6_k, d) - 2, stride), 16));
    UNROLL for (int s = 0; s < 16; s++) t->scale[s] = v_sar(v_shl(v[s / 4], 24 - s % 4 * 8), 24);
    UNROLL for (int s = 0; s < 8; s++)
        t->pair[s] = v_or(v_and(t->scale[2 * s], v_set(0xffff)), v_shl(t->scale[2 * s + 1], 16));
}

/* Runs 32 (4 (g / 2) + g % 2) and 64 further: they share their low bytes. */
ALWAYS void unpack_q6_k(const uint8_t *w, size_t stride, int g, vi q[16]) {
    vi low[8], high[8];
    const uint8_t *pl = w + offsetof(struct q6_k, low) + 64 * (g / 2) + 32 * (g % 2);
    const uint8_t *ph = w + offsetof(struct q6_k, high) + 32 * (g / 2);
    v_rows16(pl, stride, low);
    v_rows16(pl + 16, stride, low + 4);
    v_rows16(ph, stride, high);
    v_rows16(ph + 16, stride, high + 4);
    UNROLL for (int k = 0; k < 8; k++) {
        vi h = v_shr(high[k], 2 * (g % 2));
        q[k] = v_or(v_and(low[k], v_set8(15)), v_and(v_shl(h, 4), v_set8(0x30)));
        q[k + 8] = v_or(v_and(v_shr(low[k], 4), v_set8(15)), v_and(h, v_set8(0x30)));
    }
}

/* What distinguishes the K types. A group of q[16] is two runs of 32 numbers; sub-blocks have 32 or 16. */
struct kind256 {
    void (*head)(const uint8_t *w, size_t stride, struct tile256 *t);
    void (*unpack)(const uint8_t *w, size_t stride, int g, vi q[16]);
    size_t bytes;
    bool is_q6;
};

/* Which 32 numbers of the super-block the second or first half of group g is. */
ALWAYS int run_of(const struct kind256 *kind, int g, int second) {
    return kind->is_q6 ? 4 * (g / 2) + g % 2 + 2 * second : 2 * g + second;
}

/* The dot products of run r's 8 vectors with the activations, times the scales of their sub-blocks. */
ALWAYS vi run_dot(const struct kind256 *kind, const vi q[8], const struct tile256 *t, int r, const int8_t *a, vi sum) {
    vi s0 = v_zero(), s1 = v_zero();
    UNROLL for (int k = 0; k < 4; k++) {
        s0 = v_dot(s0, q[k], v_bcast(a + 32 * r + 4 * k));
        s1 = v_dot(s1, q[k + 4], v_bcast(a + 32 * r + 16 + 4 * k));
    }
    if (!kind->is_q6) return v_add(sum, v_mul(v_add(s0, s1), t->scale[r]));
    return v_add(sum, v_add(v_mul(s0, t->scale[2 * r]), v_mul(s1, t->scale[2 * r + 1])));
}

/* The end of a super-block: the scaled dot products i and the sums of activations times `pair` join the sum. */
ALWAYS vf close256(const struct kind256 *kind, const struct tile256 *t, const struct act256 *a, vi i, vf sum) {
    vf da = f_bcast(&a->d);
    vi m = v_zero();
    if (kind->is_q6) {
        UNROLL for (int s = 0; s < 8; s++) m = v_dot_16(m, t->pair[s], v_bcast(&a->nsum16[2 * s]));
        return f_fma(f_from(v_add(i, v_shl(m, 5))), f_mul(t->d, da), sum);
    }
    UNROLL for (int s = 0; s < 4; s++) m = v_dot_16(m, t->pair[s], v_bcast(&a->nsum32[2 * s]));
    sum = f_fma(f_from(i), f_mul(t->d, da), sum);
    return f_fma(f_from(m), f_mul(t->dmin, da), sum);
}

ALWAYS void one256(const struct product *p, struct kind256 kind, void (*rest)(const struct product *)) {
    size_t i = 0, stride = p->row_bytes;
    for (; i + LANES <= p->rows; i += LANES) {
        const uint8_t *w = p->w + i * stride, *ahead = w + LANES * stride;
        const struct act256 *a = (const void *)p->act, *end = a + p->cols / 256;
        vf sum = f_zero();
        for (; a < end; a++, w += kind.bytes) {
            struct tile256 t;
            vi dot = v_zero();
            kind.head(w, stride, &t);
            UNROLL for (int g = 0; g < 4; g++, ahead += LANES / 4 * kind.bytes) {
                fetch_ahead(ahead, LANES / 4 * kind.bytes);
                vi q[16];
                kind.unpack(w, stride, g, q);
                dot = run_dot(&kind, q, &t, run_of(&kind, g, 0), a->q, dot);
                dot = run_dot(&kind, q + 8, &t, run_of(&kind, g, 1), a->q, dot);
            }
            sum = close256(&kind, &t, a, dot, sum);
        }
        f_store(p->out + i, sum);
    }
    struct product left = rows_from(p, i);
    if (left.rows) rest(&left);
}

/* Run r of n_act rows of activations times a tile: the scaled dot products are added to dot. */
ALWAYS void tile_run(struct kind256 kind, const struct tile256 *t, int r, const uint8_t *a, size_t a_stride, int n_act,
                     vi dot[GROUP_256][2]) {
    int subs = kind.is_q6 ? 2 : 1, each = 8 / subs;
    for (int s = 0; s < subs; s++) {
        vi i[GROUP_256][2];
        UNROLL for (int x = 0; x < n_act; x++) i[x][0] = i[x][1] = v_zero();
        UNROLL for (int k = 0; k < each; k++) {
            int at = 8 * r + each * s + k;
            vi w0 = t[0].q[at], w1 = t[1].q[at];
            UNROLL for (int x = 0; x < n_act; x++) {
                const struct act256 *ax = (const void *)(a + (size_t)x * a_stride);
                vi b = v_bcast(ax->q + 4 * at);
                i[x][0] = v_dot(i[x][0], w0, b);
                i[x][1] = v_dot(i[x][1], w1, b);
            }
        }
        UNROLL for (int x = 0; x < n_act; x++)
            UNROLL for (int c = 0; c < 2; c++) dot[x][c] = v_add(dot[x][c], v_mul(i[x][c], t[c].scale[subs * r + s]));
    }
}

ALWAYS void tile_times256(struct kind256 kind, const struct tile256 *t, size_t n, const uint8_t *a, size_t a_stride,
                          int n_act, float *out, size_t out_stride, bool first) {
    vf sum[GROUP_256][2];
    UNROLL for (int x = 0; x < n_act; x++)
        UNROLL for (int c = 0; c < 2; c++)
            sum[x][c] = first ? f_zero() : f_load(out + (size_t)x * out_stride + c * LANES);
    for (; n; n--, t += 2, a += sizeof(struct act256)) {
        vi dot[GROUP_256][2];
        UNROLL for (int x = 0; x < n_act; x++) dot[x][0] = dot[x][1] = v_zero();
        for (int r = 0; r < 8; r++) tile_run(kind, t, r, a, a_stride, n_act, dot);
        UNROLL for (int x = 0; x < n_act; x++)
            UNROLL for (int c = 0; c < 2; c++)
                sum[x][c] = close256(&kind, &t[c], (const void *)(a + (size_t)x * a_stride), dot[x][c], sum[x][c]);
    }
    UNROLL for (int x = 0; x < n_act; x++)
        UNROLL for (int c = 0; c < 2; c++) f_store(out + (size_t)x * out_stride + c * LANES, sum[x][c]);
}

ALWAYS void unpack256(struct kind256 kind, const uint8_t *w, size_t stride, struct tile256 *t) {
    kind.head(w, stride, t);
    UNROLL for (int g = 0; g < 4; g++) {
        vi q[16];
        kind.unpack(w, stride, g, q);
        UNROLL for (int k = 0; k < 8; k++) {
            t->q[8 * run_of(&kind, g, 0) + k] = q[k];
            t->q[8 * run_of(&kind, g, 1) + k] = q[k + 8];
        }
    }
}

ALWAYS void many256_tile(const struct product *p, struct kind256 kind, size_t row) {
    struct tile256 *t = p->scratch;
    for (size_t c = 0; c < p->cols; c += CHUNK) {
        size_t n = (p->cols - c < CHUNK ? p->cols - c : CHUNK) / 256;
        const uint8_t *w = p->w + row * p->row_bytes + c / 256 * kind.bytes;
        for (size_t b = 0; b < 2 * n; b++)
            unpack256(kind, w + b / 2 * kind.bytes + b % 2 * LANES * p->row_bytes, p->row_bytes, &t[b]);
        const uint8_t *a = p->act + c / 256 * sizeof(struct act256), *end = a + p->n_act * p->act_stride;
        float *out = p->out + row;
        for (; a + (GROUP_256 - 1) * p->act_stride < end; a += GROUP_256 * p->act_stride, out += GROUP_256 * p->out_stride)
            tile_times256(kind, t, n, a, p->act_stride, GROUP_256, out, p->out_stride, c == 0);
        for (; a < end; a += p->act_stride, out += p->out_stride)
            tile_times256(kind, t, n, a, p->act_stride, 1, out, p->out_stride, c == 0);
    }
}

#define PRODUCT_256(type, head, is_q6)                                                                                     \
    static const struct kind256 kind_##type = {head, unpack_##type, sizeof(struct type), is_q6};                          \
    void JOIN(one_##type, SUFFIX)(const struct product *p) { one256(p, kind_##type, product_##type##_portable); }          \
    void JOIN(many_##type, SUFFIX)(const struct product *p) {                                                              \
        MANY(p, many256_tile(p, kind_##type, i), JOIN(one_##type, SUFFIX));                                                \
    }

PRODUCT_256(q4_k, unpack_k_head, false)
PRODUCT_256(q5_k, unpack_k_head, false)
PRODUCT_256(q6_k, unpack_q6_k_head, true)

/* ---- activations ------------------------------------------------------------------------------------------------- */

/* The scale of n numbers and its inverse; both 0 where the numbers are nearly 0 (as in quant_portable.c). */
ALWAYS float scale_of(const float *x, int n, float *inverse) {
    vf most = f_zero();
    UNROLL for (int i = 0; i < n; i += LANES) most = f_max(f_abs(f_load(x + i)), most);
    float m = f_most(most);
    bool some = m >= QUANTIZE_LEAST;
    *inverse = some ? 127 / m : 0;
    return some ? m / 127 : 0;
}

/* Rounds n numbers, a multiple of LANES; returns their sum. */
ALWAYS int32_t round_all(const float *x, int8_t *q, int n, vf inverse) {
    vi sum = v_zero();
    UNROLL for (int i = 0; i < n; i += LANES) sum = v_add(sum, store_int8(q + i, f_mul(f_load(x + i), inverse)));
    return v_sum(sum);
}

void JOIN(quantize_32, SUFFIX)(const float *x, struct act32 *out, size_t n) {
    for (; n; n -= 32, x += 32, out++) {
        float inverse;
        out->d = scale_of(x, 32, &inverse);
        out->nsum = -round_all(x, out->q, 32, f_set(inverse));
    }
}

void JOIN(quantize_256, SUFFIX)(const float *x, struct act256 *out, size_t n) {
    for (; n; n -= 256, x += 256, out++) {
        float inverse;
        out->d = scale_of(x, 256, &inverse);
        for (int k = 0; k < 16; k++)
            out->nsum16[k] = (int16_t)-round_all(x + 16 * k, out->q + 16 * k, 16, f_set(inverse));
        for (int k = 0; k < 8; k++) out->nsum32[k] = (int16_t)(out->nsum16[2 * k] + out->nsum16[2 * k + 1]);
    }
}
