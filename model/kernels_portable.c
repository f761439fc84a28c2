/* kernels_portable: the float kernels in plain C, and the portable table. */
#include "model/kernels_portable.h"

#include <math.h>
#include <string.h>

/* e^x = 2^k e^r with k whole and |r| <= ln(2) / 2; ln(2) is taken off in two parts so that r is exact to the last place,
 * and e^r is its Taylor series to r^7 (the next term is below 2^-27). Overflows to infinity, underflows to 0 below
 * 2^-126. */
float kernels_exp(float x) {
    if (!(x < 88.72283f)) return x > 0 ? INFINITY : x; /* too large, or NaN */
    if (x < -87.33654f) return 0;
    float k = rintf(x * 1.44269504f);
    float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float e = 1.0f / 5040;
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1;
    e = e * r + 1;
    /* 2^k in two factors: k may be 128 here */
    int32_t whole = (int32_t)k, half = whole / 2;
    uint32_t bits[2] = {(uint32_t)(half + 127) << 23, (uint32_t)(whole - half + 127) << 23};
    float scale[2];
    memcpy(scale, bits, sizeof scale);
    return e * scale[0] * scale[1];
}

static void rms_norm(const float *x, const float *weight, float eps, float *out, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    float scale = (float)(1 / sqrt(sum / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++) out[i] = x[i] * scale * weight[i];
}

static void add(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

static void swiglu(float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) gate[i] = gate[i] / (1 + kernels_exp(-gate[i])) * up[i];
}

/* Eight sums, so that the compiler may use vectors and the error grows slowly. */
static float sum8(const float s[8]) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

static float dot_f32(const float *a, const float *b, size_t n) {
    float s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++) s[k] += a[i + k] * b[i + k];
    for (; i < n; i++) s[i % 8] += a[i] * b[i];
    return sum8(s);
}

static void softmax(float *x, size_t n) {
    float most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, x[i]);
    for (size_t i = 0; i < n; i++) sum += x[i] = kernels_exp(x[i] - most);
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}

/* ---- products of float weights with one row of activations ----------------------------------------------------- */

/* The same sums as dot_f32, the weights widened by the type's own function a few at a time. */
static float dot_widened(const struct num_type *t, const uint8_t *w, const float *x, size_t n) {
    enum { STEP = 256 };
    float wide[STEP], s[8] = {0};
    for (size_t i = 0; i < n; i += STEP) {
        size_t m = n - i < STEP ? n - i : STEP;
        t->to_f32(w + i * t->bytes, wide, m);
        for (size_t k = 0; k < m; k++) s[k % 8] += wide[k] * x[i + k];
    }
    return sum8(s);
}

static void one_float(const struct product *p, enum num_id id) {
    for (size_t i = 0; i < p->rows; i++)
        p->out[i] = dot_widened(num_find(id), p->w + i * p->row_bytes, (const void *)p->act, p->cols);
}

static void one_f32(const struct product *p) { one_float(p, NUM_F32); }
static void one_f16(const struct product *p) { one_float(p, NUM_F16); }
static void one_bf16(const struct product *p) { one_float(p, NUM_BF16); }

static const struct kernels table = {
    .name = "portable",
    .rms_norm = rms_norm,
    .add = add,
    .swiglu = swiglu,
    .dot_f32 = dot_f32,
    .softmax = softmax,
    .quantize_32 = quantize_32_portable,
    .quantize_256 = quantize_256_portable,
    .one = {[NUM_F32] = one_f32, [NUM_F16] = one_f16, [NUM_BF16] = one_bf16,
            [NUM_Q4_0] = product_q4_0_portable, [NUM_Q4_1] = product_q4_1_portable,
            [NUM_Q5_0] = product_q5_0_portable, [NUM_Q5_1] = product_q5_1_portable,
            [NUM_Q8_0] = product_q8_0_portable, [NUM_Q4_K] = product_q4_k_portable,
            [NUM_Q5_K] = product_q5_k_portable, [NUM_Q6_K] = product_q6_k_portable},
    .many = {[NUM_Q4_0] = product_q4_0_portable, [NUM_Q4_1] = product_q4_1_portable,
             [NUM_Q5_0] = product_q5_0_portable, [NUM_Q5_1] = product_q5_1_portable,
             [NUM_Q8_0] = product_q8_0_portable, [NUM_Q4_K] = product_q4_k_portable,
             [NUM_Q5_K] = product_q5_k_portable, [NUM_Q6_K] = product_q6_k_portable},
};

const struct kernels *kernels_portable(void) { return &table; }
