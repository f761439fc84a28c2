/* num: see num.h. How the blocks of each type are laid out is drawn in num_blocks.h. */
#include "config/num.h"

#include <assert.h>
#include <math.h>
#include <strings.h>

#include "config/num_blocks.h"

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t num_f16(float x) {
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x1ff));
    if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* from 65520 up the nearest is infinity */
    if (u < 0x38800000) {
        /* Subnormal: the last place of 0.5f weighs 2^-24, as that of a subnormal half, so that this sum rounds it. */
        return (uint16_t)(sign | (bits_of(float_of(u) + 0.5f) - 0x3f000000));
    }
    u += 0xfff + (u >> 13 & 1);
    return (uint16_t)(sign | (u - 0x38000000) >> 13);
}

float num_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return float_of(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    if (exponent == 0) return float_of(bits_of((float)mantissa * 0x1p-24f) | sign);
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t num_bf16(float x) {
    uint32_t u = bits_of(x);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static float load_f16(const uint8_t *p) { return num_from_f16(load_u16(p)); }
static void store_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void f32_to_f32(const void *row, float *out, size_t n) { memcpy(out, row, n * sizeof *out); }
static void f32_from_f32(const float *in, void *row, size_t n) { memcpy(row, in, n * sizeof *in); }

static void f16_to_f32(const void *row, float *out, size_t n) {
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i++) out[i] = load_f16(p + 2 * i);
}

static void f16_from_f32(const float *in, void *row, size_t n) {
    uint8_t *p = row;
    for (size_t i = 0; i < n; i++) store_u16(p + 2 * i, num_f16(in[i]));
}

static void bf16_to_f32(const void *row, float *out, size_t n) {
    const uint8_t *p = row;
    for (size_t i = 0; i < n; i++) out[i] = num_from_bf16(load_u16(p + 2 * i));
}

static void bf16_from_f32(const float *in, void *row, size_t n) {
    uint8_t *p = row;
    for (size_t i = 0; i < n; i++) store_u16(p + 2 * i, num_bf16(in[i]));
}

/* ---- blocks of 32 -------------------------------------------------------------------------------------------- */

static void q4_0_to_f32(const void *row, float *out, size_t n) {
    const struct q4_0 *b = row;
    for (; n; n -= 32, b++, out += 32) {
        float d = load_f16(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b->q[j] & 15) - 8);
            out[j + 16] = d * (float)((b->q[j] >> 4) - 8);
        }
    }
}

static void q4_1_to_f32(const void *row, float *out, size_t n) {
    const struct q4_1 *b = row;
    for (; n; n -= 32, b++, out += 32) {
        float d = load_f16(b->d), m = load_f16(b->m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(b->q[j] & 15) + m;
            out[j + 16] = d * (float)(b->q[j] >> 4) + m;
        }
    }
}

static void q5_0_to_f32(const void *row, float *out, size_t n) {
    const struct q5_0 *b = row;
    for (; n; n -= 32, b++, out += 32) {
        float d = load_f16(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(((b->q[j] & 15) | num_fifth_bit(b->h, j)) - 16);
            out[j + 16] = d * (float)((b->q[j] >> 4 | num_fifth_bit(b->h, j + 16)) - 16);
        }
    }
}

static void q5_1_to_f32(const void *row, float *out, size_t n) {
    const struct q5_1 *b = row;
    for (; n; n -= 32, b++, out += 32) {
        float d = load_f16(b->d), m = load_f16(b->m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b->q[j] & 15) | num_fifth_bit(b->h, j)) + m;
            out[j + 16] = d * (float)(b->q[j] >> 4 | num_fifth_bit(b->h, j + 16)) + m;
        }
    }
}

static void q8_0_to_f32(const void *row, float *out, size_t n) {
    const struct q8_0 *b = row;
    for (; n; n -= 32, b++, out += 32) {
        float d = load_f16(b->d);
        for (int j = 0; j < 32; j++) out[j] = d * (float)b->q[j];
    }
}

static void iq4_nl_to_f32(const void *row, float *out, size_t n) {
    const struct iq4_nl *b = row;
    for (; n; n -= 32, b++, out += 32) {
        float d = load_f16(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)num_iq4_nl[b->q[j] & 15];
            out[j + 16] = d * (float)num_iq4_nl[b->q[j] >> 4];
        }
    }
}

/* ---- to blocks of 32 ----------------------------------------------------------------------------------------- */

/* The number of greatest magnitude, with its sign. */
static float block_extreme(const float *x) {
    float most = x[0];
    for (int j = 1; j < 32; j++)
        if (fabsf(x[j]) > fabsf(most)) most = x[j];
    return most;
}

static void block_range(const float *x, float *low, float *high) {
    *low = *high = x[0];
    for (int j = 1; j < 32; j++) {
        *low = fminf(*low, x[j]);
        *high = fmaxf(*high, x[j]);
    }
}

static float inverse_of(float d) { return fabsf(d) > 0 ? 1 / d : 0; }

/* x in steps of 1 / inverse above -zero, as one of 0..most. */
static int level(float x, float inverse, int zero, int most) {
    long q = lrintf(x * inverse) + zero;
    return q < 0 ? 0 : q > most ? most : (int)q;
}

static void store_nibbles(uint8_t q[16], const int level[32]) {
    for (int j = 0; j < 16; j++) q[j] = (uint8_t)((level[j] & 15) | (level[j + 16] & 15) << 4);
}

static void store_fifths(uint8_t h[4], const int level[32]) {
    memset(h, 0, 4);
    for (int j = 0; j < 32; j++) h[j / 8] = (uint8_t)(h[j / 8] | (level[j] >> 4) << j % 8);
}

/* Stores x and returns what can be read back, so that levels are chosen by the scale that they will have. */
static float store_f16(uint8_t *p, float x) {
    uint16_t h = num_f16(x);
    store_u16(p, h);
    return num_from_f16(h);
}

/* The types without a minimum: the number of greatest magnitude becomes level 0, the one that has no counterpart. */
static void levels_around_zero(const float *x, int zero, uint8_t *d, int level_of[32]) {
    float inverse = inverse_of(store_f16(d, block_extreme(x) / (float)-zero));
    for (int j = 0; j < 32; j++) level_of[j] = level(x[j], inverse, zero, 2 * zero - 1);
}

/* The types with a minimum: levels 0..most reach from the least number to the greatest. */
static void levels_from_least(const float *x, int most, uint8_t *d, uint8_t *m, int level_of[32]) {
    float low, high;
    block_range(x, &low, &high);
    low = store_f16(m, low);
    float inverse = inverse_of(store_f16(d, (high - low) / (float)most));
    for (int j = 0; j < 32; j++) level_of[j] = level(x[j] - low, inverse, 0, most);
}

static void q8_0_from_f32(const float *in, void *row, size_t n) {
    struct q8_0 *b = row;
    for (; n; n -= 32, b++, in += 32) {
        float most = 0;
        for (int j = 0; j < 32; j++) most = fmaxf(most, fabsf(in[j]));
        float d = most / 127, inverse = d > 0 ? 127 / most : 0;
        store_u16(b->d, num_f16(d));
        for (int j = 0; j < 32; j++) b->q[j] = (int8_t)lrintf(in[j] * inverse);
    }
}

static void q4_0_from_f32(const float *in, void *row, size_t n) {
    int q[32];
    for (struct q4_0 *b = row; n; n -= 32, b++, in += 32) {
        levels_around_zero(in, 8, b->d, q);
        store_nibbles(b->q, q);
    }
}

static void q5_0_from_f32(const float *in, void *row, size_t n) {
    int q[32];
    for (struct q5_0 *b = row; n; n -= 32, b++, in += 32) {
        levels_around_zero(in, 16, b->d, q);
        store_nibbles(b->q, q);
        store_fifths(b->h, q);
    }
}

static void q4_1_from_f32(const float *in, void *row, size_t n) {
    int q[32];
    for (struct q4_1 *b = row; n; n -= 32, b++, in += 32) {
        levels_from_least(in, 15, b->d, b->m, q);
        store_nibbles(b->q, q);
    }
}

static void q5_1_from_f32(const float *in, void *row, size_t n) {
    int q[32];
    for (struct q5_1 *b = row; n; n -= 32, b++, in += 32) {
        levels_from_least(in, 31, b->d, b->m, q);
        store_nibbles(b->q, q);
        store_fifths(b->h, q);
    }
}

/* The nearest of the uneven steps: how many of the middles between them lie below. */
static int nearest_iq4_nl(float x) {
    int q = 0;
    for (int j = 0; j < 15; j++) q += x > 0.5f * (float)(num_iq4_nl[j] + num_iq4_nl[j + 1]);
    return q;
}

/* The scale that brings the number of greatest magnitude to the widest step, then the one that is best, by squares that weigh
 * a number by its own, for the levels which that gave. */
static void iq4_nl_from_f32(const float *in, void *row, size_t n) {
    int q[32];
    for (struct iq4_nl *b = row; n; n -= 32, b++, in += 32) {
        float d = block_extreme(in) / (float)num_iq4_nl[0], inverse = inverse_of(d), xv = 0, vv = 0;
        for (int j = 0; j < 32; j++) {
            float v = (float)num_iq4_nl[nearest_iq4_nl(in[j] * inverse)], w = in[j] * in[j];
            xv += w * in[j] * v;
            vv += w * v * v;
        }
        inverse = inverse_of(store_f16(b->d, vv > 0 ? xv / vv : d));
        for (int j = 0; j < 32; j++) q[j] = nearest_iq4_nl(in[j] * inverse);
        store_nibbles(b->q, q);
    }
}

/* ---- super-blocks of 256 ------------------------------------------------------------------------------------- */

static void q4_k_to_f32(const void *row, float *out, size_t n) {
    const struct q4_k *b = row;
    for (; n; n -= 256, b++, out += 256) {
        float d = load_f16(b->d), dmin = load_f16(b->dmin);
        for (int s = 0; s < 8; s++) {
            int scale, min, shift = s % 2 * 4;
            num_k_scale_min(b->scales, s, &scale, &min);
            const uint8_t *q = b->q + s / 2 * 32;
            float ds = d * (float)scale, ms = dmin * (float)min;
            for (int j = 0; j < 32; j++) out[32 * s + j] = ds * (float)(q[j] >> shift & 15) - ms;
        }
    }
}

static void q5_k_to_f32(const void *row, float *out, size_t n) {
    const struct q5_k *b = row;
    for (; n; n -= 256, b++, out += 256) {
        float d = load_f16(b->d), dmin = load_f16(b->dmin);
        for (int s = 0; s < 8; s++) {
            int scale, min, shift = s % 2 * 4;
            num_k_scale_min(b->scales, s, &scale, &min);
            const uint8_t *q = b->q + s / 2 * 32;
            float ds = d * (float)scale, ms = dmin * (float)min;
            for (int j = 0; j < 32; j++)
                out[32 * s + j] = ds * (float)((q[j] >> shift & 15) | (b->h[j] >> s & 1) << 4) - ms;
        }
    }
}

static void q6_k_to_f32(const void *row, float *out, size_t n) {
    const struct q6_k *b = row;
    for (; n; n -= 256, b++, out += 256) {
        float d = load_f16(b->d);
        for (int quarter = 0; quarter < 8; quarter++) {
            int half = quarter / 4, k = quarter % 4;
            const uint8_t *low = b->low + 64 * half + k % 2 * 32, *high = b->high + 32 * half;
            for (int j = 0; j < 32; j++) {
                int q = (low[j] >> k / 2 * 4 & 15) | (high[j] >> 2 * k & 3) << 4;
                out[32 * quarter + j] = d * (float)b->scales[2 * quarter + j / 16] * (float)(q - 32);
            }
        }
    }
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

static const struct num_type types[] = {
    {NUM_F32, "f32", 1, 4, f32_to_f32, f32_from_f32},
    {NUM_F16, "f16", 1, 2, f16_to_f32, f16_from_f32},
    {NUM_BF16, "bf16", 1, 2, bf16_to_f32, bf16_from_f32},
    {NUM_Q4_0, "q4_0", 32, sizeof(struct q4_0), q4_0_to_f32, q4_0_from_f32},
    {NUM_Q4_1, "q4_1", 32, sizeof(struct q4_1), q4_1_to_f32, q4_1_from_f32},
    {NUM_Q5_0, "q5_0", 32, sizeof(struct q5_0), q5_0_to_f32, q5_0_from_f32},
    {NUM_Q5_1, "q5_1", 32, sizeof(struct q5_1), q5_1_to_f32, q5_1_from_f32},
    {NUM_Q8_0, "q8_0", 32, sizeof(struct q8_0), q8_0_to_f32, q8_0_from_f32},
    {NUM_Q4_K, "q4_k", 256, sizeof(struct q4_k), q4_k_to_f32, NULL},
    {NUM_Q5_K, "q5_k", 256, sizeof(struct q5_k), q5_k_to_f32, NULL},
    {NUM_Q6_K, "q6_k", 256, sizeof(struct q6_k), q6_k_to_f32, NULL},
    {NUM_IQ4_NL, "iq4_nl", 32, sizeof(struct iq4_nl), iq4_nl_to_f32, iq4_nl_from_f32},
};

/* All ids of GGUF, so that a type that cannot be read is refused by its name. */
static const char *const id_names[] = {
    [0] = "f32",      [1] = "f16",      [2] = "q4_0",      [3] = "q4_1",    [4] = "q4_2",      [5] = "q4_3",
    [6] = "q5_0",     [7] = "q5_1",     [8] = "q8_0",      [9] = "q8_1",    [10] = "q2_k",     [11] = "q3_k",
    [12] = "q4_k",    [13] = "q5_k",    [14] = "q6_k",     [15] = "q8_k",   [16] = "iq2_xxs",  [17] = "iq2_xs",
    [18] = "iq3_xxs", [19] = "iq1_s",   [20] = "iq4_nl",   [21] = "iq3_s",  [22] = "iq2_s",    [23] = "iq4_xs",
    [24] = "i8",      [25] = "i16",     [26] = "i32",      [27] = "i64",    [28] = "f64",      [29] = "iq1_m",
    [30] = "bf16",    [31] = "q4_0_4_4", [32] = "q4_0_4_8", [33] = "q4_0_8_8", [34] = "tq1_0", [35] = "tq2_0",
    [36] = "iq4_nl_4_4", [37] = "iq4_nl_4_8", [38] = "iq4_nl_8_8", [39] = "mxfp4",
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

const struct num_type *num_find(uint32_t id) {
    for (size_t i = 0; i < COUNT(types); i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const struct num_type *num_find_name(const char *name) {
    for (size_t i = 0; i < COUNT(types); i++)
        if (!strcasecmp(types[i].name, name)) return &types[i];
    return NULL;
}

const char *num_id_name(uint32_t id) { return id < COUNT(id_names) ? id_names[id] : NULL; }

size_t num_row_bytes(const struct num_type *t, uint64_t n) {
    uint64_t bytes;
    if (n % t->block || __builtin_mul_overflow(n / t->block, (uint64_t)t->bytes, &bytes) || bytes > SIZE_MAX) return 0;
    return (size_t)bytes;
}
