/* float_rows: the float kernels with vectors of LANES floats, once for every instruction set. A kernels_*.c file includes its
 * simd_*.h, then this file, and makes its table of what is here. Sums run over fixed lanes and are folded in a fixed order, so that
 * a row's result depends on that row alone. */
#include <math.h>

#include "model/kernels.h"
#include "model/simd_exp.h"

static void rms_norm(const float *x, const float *weight, float eps, float *out, size_t n) {
    vf s[4] = {f_zero(), f_zero(), f_zero(), f_zero()};
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        UNROLL for (size_t k = 0; k < 4; k++) {
            vf v = f_load(x + i + k * LANES);
            s[k] = f_fma(v, v, s[k]);
        }
    for (; i < n; i += LANES) {
        vf v = n - i < LANES ? f_load_n(x + i, n - i) : f_load(x + i);
        s[0] = f_fma(v, v, s[0]);
    }
    double sum = (double)f_sum(f_add(f_add(s[0], s[1]), f_add(s[2], s[3])));
    vf scale = f_set((float)(1 / sqrt(sum / (double)n + (double)eps)));
    for (i = 0; i + LANES <= n; i += LANES) f_store(out + i, f_mul(f_mul(f_load(x + i), scale), f_load(weight + i)));
    if (i < n) f_store_n(out + i, f_mul(f_mul(f_load_n(x + i, n - i), scale), f_load_n(weight + i, n - i)), n - i);
}

static void add(float *x, const float *y, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) f_store(x + i, f_add(f_load(x + i), f_load(y + i)));
    if (i < n) f_store_n(x + i, f_add(f_load_n(x + i, n - i), f_load_n(y + i, n - i)), n - i);
}

OP vf silu_times(vf g, vf up) { return f_mul(f_div(g, f_add(f_set(1), f_exp(f_sub(f_zero(), g)))), up); }

static void swiglu(float *gate, const float *up, size_t n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) f_store(gate + i, silu_times(f_load(gate + i), f_load(up + i)));
    if (i < n) f_store_n(gate + i, silu_times(f_load_n(gate + i, n - i), f_load_n(up + i, n - i)), n - i);
}

static void softmax(float *x, size_t n) {
    vf most = f_set(-INFINITY), sum = f_zero();
    size_t whole = n / LANES * LANES;
    float rest[LANES];
    /* the last few are padded with what adds nothing */
    for (size_t i = 0; i < LANES; i++) rest[i] = whole + i < n ? x[whole + i] : -INFINITY;
    for (size_t i = 0; i < whole; i += LANES) most = f_max(most, f_load(x + i));
    vf top = f_set(f_most(f_max(most, f_load(rest))));
    for (size_t i = 0; i < whole; i += LANES) {
        vf e = f_exp(f_sub(f_load(x + i), top));
        f_store(x + i, e);
        sum = f_add(sum, e);
    }
    vf last = f_exp(f_sub(f_load(rest), top)), scale = f_set(1 / f_sum(f_add(sum, last)));
    for (size_t i = 0; i < whole; i += LANES) f_store(x + i, f_mul(f_load(x + i), scale));
    if (whole < n) f_store_n(x + whole, f_mul(last, scale), n - whole);
}

/* ---- float weights ----------------------------------------------------------------------------------------------- */

typedef vf load_fn(const uint8_t *p);
typedef vf load_n_fn(const uint8_t *p, size_t n);

OP vf f_load_f32(const uint8_t *p) { return f_load((const void *)p); }
OP vf f_load_f32_n(const uint8_t *p, size_t n) { return f_load_n((const void *)p, n); }

/* `rows` neighbouring rows of weights of `size` bytes a number times x: each row has two sums of LANES. The next rows
 * are fetched meanwhile, in the order in which they lie: side by side is not an order that the processor foresees. */
OP void dot_rows(const uint8_t *w, size_t stride, size_t size, load_fn *load, load_n_fn *load_n, int rows, const float *x,
                 size_t n, float *out) {
    vf s[4][2];
    size_t j = 0;
    UNROLL for (int r = 0; r < rows; r++) s[r][0] = s[r][1] = f_zero();
    const uint8_t *ahead = w + (size_t)rows * stride;
    for (; j + 2 * LANES <= n; j += 2 * LANES, ahead += (size_t)rows * 2 * LANES * size) {
        for (size_t i = 0; i < (size_t)rows * 2 * LANES * size; i += 64) __builtin_prefetch(ahead + i, 0, 2);
        UNROLL for (size_t k = 0; k < 2; k++) {
            vf v = f_load(x + j + k * LANES);
            UNROLL for (int r = 0; r < rows; r++)
                s[r][k] = f_fma(load(w + (size_t)r * stride + (j + k * LANES) * size), v, s[r][k]);
        }
    }
    for (; j < n; j += LANES) {
        size_t m = n - j;
        vf v = m < LANES ? f_load_n(x + j, m) : f_load(x + j);
        for (int r = 0; r < rows; r++) {
            const uint8_t *p = w + (size_t)r * stride + j * size;
            s[r][0] = f_fma(m < LANES ? load_n(p, m) : load(p), v, s[r][0]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) out[r] = f_sum(f_add(s[r][0], s[r][1]));
}

OP void one_float(const struct product *p, size_t size, load_fn *load, load_n_fn *load_n) {
    size_t i = 0;
    for (; i + 4 <= p->rows; i += 4)
        dot_rows(p->w + i * p->row_bytes, p->row_bytes, size, load, load_n, 4, (const void *)p->act, p->cols, p->out + i);
    for (; i < p->rows; i++)
        dot_rows(p->w + i * p->row_bytes, p->row_bytes, size, load, load_n, 1, (const void *)p->act, p->cols, p->out + i);
}

static void one_f32(const struct product *p) { one_float(p, 4, f_load_f32, f_load_f32_n); }
static void one_f16(const struct product *p) { one_float(p, 2, f_load_f16, f_load_f16_n); }
static void one_bf16(const struct product *p) { one_float(p, 2, f_load_bf16, f_load_bf16_n); }

static float dot_f32(const float *a, const float *b, size_t n) {
    float out;
    dot_rows((const void *)a, 0, 4, f_load_f32, f_load_f32_n, 1, b, n, &out);
    return out;
}

OP void widen(const uint8_t *w, float *out, size_t n, load_fn *load, load_n_fn *load_n) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) f_store(out + i, load(w + 2 * i));
    if (i < n) f_store_n(out + i, load_n(w + 2 * i, n - i), n - i);
}

static void widen_f16(const void *w, float *out, size_t n) { widen(w, out, n, f_load_f16, f_load_f16_n); }
static void widen_bf16_row(const void *w, float *out, size_t n) { widen(w, out, n, f_load_bf16, f_load_bf16_n); }

#define FLOAT_KERNELS                                                                                                      \
    .rms_norm = rms_norm, .add = add, .swiglu = swiglu, .dot_f32 = dot_f32, .softmax = softmax,                            \
    .widen = {[NUM_F16] = widen_f16, [NUM_BF16] = widen_bf16_row}
