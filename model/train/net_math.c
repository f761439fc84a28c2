/* net_math: see net_math.h. Loops are written for the compiler to turn into vectors; where sums are split into lanes, it is said. */
#include "model/train/net_math.h"

#include <math.h>
#include <string.h>

/* ---- exp ----------------------------------------------------------------------------------------------------- */

/* e^x: 2^k e^r with |r| <= ln 2 / 2, the series to the 7th power. What would leave the normal numbers stays at their edge. */
static inline float fast_exp(float x) {
    const float to_integer = 12582912; /* 1.5 * 2^23: adding it rounds */
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float k = (x * 1.44269504f + to_integer) - to_integer;
    float r = x - k * 0.693359375f;
    r = r + k * 2.12194440e-4f;
    float e = 1.0f / 5040;
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    int32_t bits = ((int32_t)k + 127) * (1 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return e * power;
}

/* ---- norms and the residual stream --------------------------------------------------------------------------- */

void net_math_join_norm(const struct net_norm *o, size_t n, const float *x, const float *branch, float *out, float *inv, float *h) {
    size_t cols = o->cols;
    const float *restrict gain = o->gain;
    for (size_t r = 0; r < n; r++) {
        float *restrict y = out + r * cols, *restrict to = h + r * cols;
        memcpy(y, branch + r * cols, cols * sizeof *y);
        if (x)
            for (size_t j = 0; j < cols; j++) y[j] += x[r * cols + j];
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t j = 0; j < cols; j++) sum += y[j] * y[j];
        float by = inv[r] = 1 / sqrtf(sum / (float)cols + o->eps);
        for (size_t j = 0; j < cols; j++) to[j] = y[j] * by * gain[j];
    }
}

void net_math_join_norm_back(const struct net_norm *o, size_t n, const float *out, const float *inv, const float *d_h,
                             float *d_x, float *d_gain) {
    size_t cols = o->cols;
    const float *restrict gain = o->gain;
    for (size_t r = 0; r < n; r++) {
        const float *restrict y = out + r * cols, *d = d_h + r * cols;
        float *restrict dx = d_x + r * cols, *restrict dg = d_gain;
        float by = inv[r], dot = 0;
#pragma omp simd reduction(+ : dot)
        for (size_t j = 0; j < cols; j++) {
            dot += d[j] * gain[j] * y[j];
            dg[j] += d[j] * y[j] * by;
        }
        float back = dot * by * by * by / (float)cols;
#pragma omp simd
        for (size_t j = 0; j < cols; j++) dx[j] += d[j] * gain[j] * by - y[j] * back;
    }
}

/* ---- rotations ----------------------------------------------------------------------------------------------- */

static inline void turn_row(float *restrict row, size_t n_heads, size_t head_dim, const float *restrict turn, float sign) {
    for (size_t h = 0; h < n_heads; h++, row += head_dim)
#pragma omp simd
        for (size_t i = 0; i < head_dim; i += 2) {
            float a = row[i], b = row[i + 1], c = turn[i], s = sign * turn[i + 1];
            row[i] = a * c - b * s;
            row[i + 1] = a * s + b * c;
        }
}

void net_math_turn(float *row, size_t n_heads, size_t head_dim, const float *turn) { turn_row(row, n_heads, head_dim, turn, 1); }

void net_math_turn_back(float *row, size_t n_heads, size_t head_dim, const float *turn) {
    turn_row(row, n_heads, head_dim, turn, -1);
}

/* ---- gates --------------------------------------------------------------------------------------------------- */

void net_math_swiglu(size_t n, size_t n_ff, const float *gate_up, float *act) {
    for (size_t r = 0; r < n; r++) {
        const float *restrict gate = gate_up + r * 2 * n_ff, *restrict up = gate + n_ff;
        float *restrict to = act + r * n_ff;
        for (size_t j = 0; j < n_ff; j++) to[j] = gate[j] / (1 + fast_exp(-gate[j])) * up[j];
    }
}

void net_math_swiglu_back(size_t n, size_t n_ff, float *gate_up, float *act) {
    for (size_t r = 0; r < n; r++) {
        float *restrict gate = gate_up + r * 2 * n_ff, *restrict up = gate + n_ff, *restrict a = act + r * n_ff;
        for (size_t j = 0; j < n_ff; j++) {
            float g = gate[j], u = up[j], d = a[j];
            float sigma = 1 / (1 + fast_exp(-g)), silu = g * sigma;
            gate[j] = d * u * (sigma + silu * (1 - sigma));
            up[j] = d * silu;
            a[j] = silu * u;
        }
    }
}

/* ---- softmax ------------------------------------------------------------------------------------------------- */

float net_math_exp_row(float *score, size_t n, float scale, float *max) {
    float top = score[0], sum = 0;
#pragma omp simd reduction(max : top)
    for (size_t j = 0; j < n; j++) top = score[j] > top ? score[j] : top;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++) {
        float p = fast_exp(scale * (score[j] - top));
        score[j] = p;
        sum += p;
    }
    *max = top * scale;
    return sum;
}

void net_math_exp_again(float *score, size_t n, float scale, float lse) {
    for (size_t j = 0; j < n; j++) score[j] = fast_exp(scale * score[j] - lse);
}

void net_math_softmax_back(float *restrict d_p, const float *restrict p, size_t n, float dot, float scale) {
    for (size_t j = 0; j < n; j++) d_p[j] = p[j] * (d_p[j] - dot) * scale;
}

double net_math_cross_entropy(float *logit, size_t n, uint32_t target, float weight) {
    float top, wanted = logit[target];
    float sum = net_math_exp_row(logit, n, 1, &top);
    net_math_scale(logit, n, weight / sum);
    logit[target] -= weight;
    return log((double)sum) + (double)top - (double)wanted;
}

/* ---- small things -------------------------------------------------------------------------------------------- */

float net_math_dot(const float *a, const float *b, size_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; j++) sum += a[j] * b[j];
    return sum;
}

void net_math_scale(float *x, size_t n, float by) {
    for (size_t j = 0; j < n; j++) x[j] *= by;
}

void net_math_add(float *restrict to, const float *restrict x, size_t n) {
    for (size_t j = 0; j < n; j++) to[j] += x[j];
}
