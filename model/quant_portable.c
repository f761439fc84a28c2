/* quant_portable: activations to int8 and products of quantised weights in plain C: the definition that every other
 * version meets bit for bit (see kernels.h). */
#include <math.h>
#include <string.h>

#include "config/num_blocks.h"
#include "model/kernels_portable.h"

static float half_at(const uint8_t *p) { return num_from_f16((uint16_t)(p[0] | p[1] << 8)); }

/* The largest magnitude; a NaN counts as nothing. */
static float most_of(const float *x, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        most = a > most ? a : most;
    }
    return most;
}

static float to_int8(const float *x, int8_t *q, size_t n) {
    float most = most_of(x, n);
    if (!(most >= QUANTIZE_LEAST)) {
        memset(q, 0, n);
        return 0;
    }
    float inverse = 127 / most;
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)(int)lrintf(x[i] * inverse);
    return most / 127;
}

static int32_t sum_of(const int8_t *q, size_t n) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += q[i];
    return sum;
}

void quantize_32_portable(const float *x, struct act32 *out, size_t n) {
    for (size_t i = 0; i < n; i += 32, out++) {
        out->d = to_int8(x + i, out->q, 32);
        out->nsum = -sum_of(out->q, 32);
    }
}

void quantize_256_portable(const float *x, struct act256 *out, size_t n) {
    for (size_t i = 0; i < n; i += 256, out++) {
        out->d = to_int8(x + i, out->q, 256);
        for (size_t k = 0; k < 16; k++) out->nsum16[k] = (int16_t)-sum_of(out->q + 16 * k, 16);
        for (size_t k = 0; k < 8; k++) out->nsum32[k] = (int16_t)(out->nsum16[2 * k] + out->nsum16[2 * k + 1]);
    }
}

/* ---- a row of weights times a row of activations --------------------------------------------------------------- */

static float dot_q4_0(const void *row, const void *act, size_t cols) {
    const struct q4_0 *w = row;
    const struct act32 *a = act;
    float sum = 0;
    for (; cols; cols -= 32, w++, a++) {
        int32_t i = 8 * a->nsum;
        for (int j = 0; j < 16; j++) i += (w->q[j] & 15) * a->q[j] + (w->q[j] >> 4) * a->q[j + 16];
        sum = fmaf((float)i, half_at(w->d) * a->d, sum);
    }
    return sum;
}

static float dot_q4_1(const void *row, const void *act, size_t cols) {
    const struct q4_1 *w = row;
    const struct act32 *a = act;
    float sum = 0;
    for (; cols; cols -= 32, w++, a++) {
        int32_t i = 0;
        for (int j = 0; j < 16; j++) i += (w->q[j] & 15) * a->q[j] + (w->q[j] >> 4) * a->q[j + 16];
        sum = fmaf((float)i, half_at(w->d) * a->d, sum);
        sum = fmaf(half_at(w->m), a->d * (float)-a->nsum, sum);
    }
    return sum;
}

static int32_t idot_q5(const uint8_t *q, const uint8_t *h, const int8_t *a) {
    int32_t i = 0;
    for (int j = 0; j < 16; j++)
        i += ((q[j] & 15) | num_fifth_bit(h, j)) * a[j] + (q[j] >> 4 | num_fifth_bit(h, j + 16)) * a[j + 16];
    return i;
}

static float dot_q5_0(const void *row, const void *act, size_t cols) {
    const struct q5_0 *w = row;
    const struct act32 *a = act;
    float sum = 0;
    for (; cols; cols -= 32, w++, a++) {
        int32_t i = 16 * a->nsum + idot_q5(w->q, w->h, a->q);
        sum = fmaf((float)i, half_at(w->d) * a->d, sum);
    }
    return sum;
}

static float dot_q5_1(const void *row, const void *act, size_t cols) {
    const struct q5_1 *w = row;
    const struct act32 *a = act;
    float sum = 0;
    for (; cols; cols -= 32, w++, a++) {
        sum = fmaf((float)idot_q5(w->q, w->h, a->q), half_at(w->d) * a->d, sum);
        sum = fmaf(half_at(w->m), a->d * (float)-a->nsum, sum);
    }
    return sum;
}

static float dot_q8_0(const void *row, const void *act, size_t cols) {
    const struct q8_0 *w = row;
    const struct act32 *a = act;
    float sum = 0;
    for (; cols; cols -= 32, w++, a++) {
        int32_t i = 0;
        for (int j = 0; j < 32; j++) i += w->q[j] * a->q[j];
        sum = fmaf((float)i, half_at(w->d) * a->d, sum);
    }
    return sum;
}

/* Q4_K, and Q5_K where h is not NULL: adds one super-block to sum. */
static float k_step(const uint8_t *d, const uint8_t *dmin, const uint8_t *scales, const uint8_t *h, const uint8_t *q,
                    const struct act256 *a, float sum) {
    int32_t i = 0, nmins = 0;
    for (int s = 0; s < 8; s++) {
        int scale, min;
        int32_t dot = 0;
        num_k_scale_min(scales, s, &scale, &min);
        for (int j = 0; j < 32; j++) {
            int v = q[s / 2 * 32 + j] >> s % 2 * 4 & 15;
            if (h) v |= (h[j] >> s & 1) << 4;
            dot += v * a->q[32 * s + j];
        }
        i += scale * dot;
        nmins += min * a->nsum32[s];
    }
    sum = fmaf((float)i, half_at(d) * a->d, sum);
    return fmaf((float)nmins, half_at(dmin) * a->d, sum);
}

static float dot_q4_k(const void *row, const void *act, size_t cols) {
    const struct q4_k *w = row;
    const struct act256 *a = act;
    float sum = 0;
    for (; cols; cols -= 256, w++, a++) sum = k_step(w->d, w->dmin, w->scales, NULL, w->q, a, sum);
    return sum;
}

static float dot_q5_k(const void *row, const void *act, size_t cols) {
    const struct q5_k *w = row;
    const struct act256 *a = act;
    float sum = 0;
    for (; cols; cols -= 256, w++, a++) sum = k_step(w->d, w->dmin, w->scales, w->h, w->q, a, sum);
    return sum;
}

static float dot_q6_k(const void *row, const void *act, size_t cols) {
    const struct q6_k *w = row;
    const struct act256 *a = act;
    float sum = 0;
    for (; cols; cols -= 256, w++, a++) {
        int32_t i = 0;
        for (int s = 0; s < 16; s++) {
            int half = s / 8, k = s / 2 % 4, from = s % 2 * 16;
            const uint8_t *low = w->low + 64 * half + k % 2 * 32 + from, *high = w->high + 32 * half + from;
            int32_t dot = 32 * a->nsum16[s];
            for (int j = 0; j < 16; j++)
                dot += ((low[j] >> k / 2 * 4 & 15) | (high[j] >> 2 * k & 3) << 4) * a->q[16 * s + j];
            i += w->scales[s] * dot;
        }
        sum = fmaf((float)i, half_at(w->d) * a->d, sum);
    }
    return sum;
}

static void product(const struct product *p, float (*dot)(const void *row, const void *act, size_t cols)) {
    for (size_t i = 0; i < p->rows; i++)
        for (size_t r = 0; r < p->n_act; r++)
            p->out[r * p->out_stride + i] = dot(p->w + i * p->row_bytes, p->act + r * p->act_stride, p->cols);
}

void product_q4_0_portable(const struct product *p) { product(p, dot_q4_0); }
void product_q4_1_portable(const struct product *p) { product(p, dot_q4_1); }
void product_q5_0_portable(const struct product *p) { product(p, dot_q5_0); }
void product_q5_1_portable(const struct product *p) { product(p, dot_q5_1); }
void product_q8_0_portable(const struct product *p) { product(p, dot_q8_0); }
void product_q4_k_portable(const struct product *p) { product(p, dot_q4_k); }
void product_q5_k_portable(const struct product *p) { product(p, dot_q5_k); }
void product_q6_k_portable(const struct product *p) { product(p, dot_q6_k); }
