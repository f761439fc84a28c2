/* Tests of model/kernels*: every table this processor can run against plain sums in double, and the quantised products of every table
 * against the portable ones, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/cpu.h"
#include "model/kernels.h"
#include "tests/support_quant.h"

static const struct kernels *tables[3];
static size_t n_tables;

static void find_tables(void) {
    tables[n_tables++] = kernels_portable();
#if defined(__x86_64__)
    if (cpu_isa() >= CPU_AVX2) tables[n_tables++] = kernels_avx2();
    if (cpu_isa() >= CPU_AVX512) tables[n_tables++] = kernels_avx512();
#endif
}

enum { MAX = 300 };
static float a[MAX], b[MAX], out[MAX + 1];

static void fill(size_t n, float scale) {
    uint64_t seed = n;
    for (size_t i = 0; i < n; i++) {
        a[i] = support_random_float(&seed) * scale;
        b[i] = support_random_float(&seed);
    }
    for (size_t i = 0; i <= MAX; i++) out[i] = 12345;
}

static void assert_near(double got, double want, double relative, const char *table, const char *what) {
    if (!(fabs(got - want) <= relative * fabs(want) + 1e-30)) fail_msg("%s of %s: %.9g, not %.9g", what, table, got, want);
}

static void the_norm_divides_by_the_root_of_the_mean_square(void **state) {
    (void)state;
    for (size_t t = 0; t < n_tables; t++)
        for (size_t n = 1; n < MAX; n += n < 40 ? 1 : 37) {
            fill(n, 3);
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)a[i];
            double scale = 1 / sqrt(sum / (double)n + 1e-5);
            tables[t]->rms_norm(a, b, 1e-5f, out, n);
            for (size_t i = 0; i < n; i++) assert_near((double)out[i], (double)a[i] * scale * (double)b[i], 1e-6, tables[t]->name, "rms_norm");
            assert_true(out[n] == 12345);
            tables[t]->rms_norm(a, b, 1e-5f, a, n);
            assert_memory_equal(a, out, n * sizeof *a);
        }
}

static void sums_and_dot_products_are_right_for_any_length(void **state) {
    (void)state;
    for (size_t t = 0; t < n_tables; t++)
        for (size_t n = 0; n < MAX; n += n < 40 ? 1 : 37) {
            fill(n, 1);
            double dot = 0, norm = 0;
            for (size_t i = 0; i < n; i++) {
                dot += (double)a[i] * (double)b[i];
                norm += fabs((double)a[i] * (double)b[i]);
            }
            assert_true(fabs((double)tables[t]->dot_f32(a, b, n) - dot) <= 1e-6 * norm);
            memcpy(out, a, n * sizeof *a);
            tables[t]->add(out, b, n);
            for (size_t i = 0; i < n; i++) assert_true(out[i] == a[i] + b[i]);
            assert_true(out[n] == 12345);
        }
}

static void swiglu_is_accurate_from_end_to_end(void **state) {
    (void)state;
    for (size_t t = 0; t < n_tables; t++)
        for (size_t n = 1; n < MAX; n += n < 40 ? 1 : 37) {
            fill(n, n % 2 ? 5 : 80);
            memcpy(out, a, n * sizeof *a);
            tables[t]->swiglu(out, b, n);
            for (size_t i = 0; i < n; i++) {
                double want = (double)a[i] / (1 + exp(-(double)a[i])) * (double)b[i];
                assert_near((double)out[i], want, 1e-6, tables[t]->name, "swiglu");
            }
            assert_true(out[n] == 12345);
        }
    for (size_t t = 0; t < n_tables; t++) {
        float far[2] = {-1000, 1000}, one[2] = {1, 1};
        tables[t]->swiglu(far, one, 2);
        assert_true(fabsf(far[0]) < 1e-30f && far[1] == 1000);
    }
}

static void softmax_adds_up_to_one_and_masks_to_zero(void **state) {
    (void)state;
    for (size_t t = 0; t < n_tables; t++)
        for (size_t n = 1; n < MAX; n += n < 40 ? 1 : 37) {
            fill(n, 20);
            if (n > 2) a[n / 2] = -INFINITY;
            double sum = 0, most = -INFINITY;
            for (size_t i = 0; i < n; i++) most = fmax(most, (double)a[i]);
            for (size_t i = 0; i < n; i++) sum += exp((double)a[i] - most);
            memcpy(out, a, n * sizeof *a);
            tables[t]->softmax(out, n);
            for (size_t i = 0; i < n; i++) assert_near((double)out[i], exp((double)a[i] - most) / sum, 4e-6, tables[t]->name, "softmax");
            if (n > 2) assert_true(out[n / 2] == 0);
            assert_true(out[n] == 12345);
        }
}

static void the_exponential_is_right_to_a_millionth(void **state) {
    (void)state;
    for (float x = -87; x < 88.7f; x += 0.0137f) assert_near((double)kernels_exp(x), exp((double)x), 3e-7, "portable", "exp");
    assert_true(kernels_exp(89) == INFINITY);
    assert_true(kernels_exp(-INFINITY) == 0);
    assert_true(isnan(kernels_exp(NAN)));
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

static void activations_are_rounded_alike_by_every_table(void **state) {
    (void)state;
    enum { N = 1024 };
    static float x[N];
    static struct act32 want32[N / 32], got32[N / 32];
    static struct act256 want256[N / 256], got256[N / 256];
    uint64_t seed = 5;
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < N; i++) x[i] = support_random_float(&seed) * expf((float)(round - 25));
        memset(x + 32 * (round % 8), 0, 32 * sizeof *x);
        if (round == 7) memset(x, 0, sizeof x);
        if (round == 8) for (size_t i = 0; i < N; i++) x[i] *= 1e-33f;
        tables[0]->quantize_32(x, want32, N);
        tables[0]->quantize_256(x, want256, N);
        for (size_t i = 0; i < N; i++) {
            assert_true(fabsf(x[i] - want32[i / 32].d * want32[i / 32].q[i % 32]) <= want32[i / 32].d * 0.5001f + 1e-30f);
            assert_true(fabsf(x[i] - want256[i / 256].d * want256[i / 256].q[i % 256]) <= want256[i / 256].d * 0.5001f + 1e-30f);
        }
        for (size_t t = 1; t < n_tables; t++) {
            tables[t]->quantize_32(x, got32, N);
            tables[t]->quantize_256(x, got256, N);
            assert_memory_equal(got32, want32, sizeof want32);
            assert_memory_equal(got256, want256, sizeof want256);
        }
    }
    for (int i = 0, sum = 0; i < 32; i++) {
        sum -= want32[0].q[i];
        if (i == 31) assert_int_equal(want32[0].nsum, sum);
    }
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static const enum num_id quantised[] = {NUM_Q4_0, NUM_Q4_1, NUM_Q5_0, NUM_Q5_1, NUM_Q8_0, NUM_Q4_K, NUM_Q5_K, NUM_Q6_K};
enum { N_ACT = 15, MAX_ROWS = 70, MAX_COLS = 8192 };

struct buffers {
    uint8_t *w, *act;
    float *x, *want, *got;
    void *scratch;
};

/* Extremes of every field in the first row, random bits in the others. */
static void make_weights(const struct num_type *t, struct buffers *m, size_t rows, size_t cols, uint64_t *seed) {
    size_t row_bytes = num_row_bytes(t, cols);
    for (size_t i = 0; i < rows; i++) support_random_row(t, m->w + i * row_bytes, cols, seed);
    for (size_t i = 0; i < row_bytes; i++) {
        size_t at = i % t->bytes;
        bool half = t->id == NUM_Q6_K ? at >= 208 : at < 2 || (at < 4 && (t->id == NUM_Q4_1 || t->id == NUM_Q5_1 || t->block == 256));
        if (!half) m->w[i] = i / t->bytes % 2 ? 0xff : t->id == NUM_Q8_0 || t->id == NUM_Q6_K ? 0x80 : 0;
    }
}

static void compare(const struct num_type *t, struct buffers *m, size_t rows, size_t cols) {
    enum act_format f = kernels_act_format(t);
    struct product p = {.w = m->w, .row_bytes = num_row_bytes(t, cols), .rows = rows, .cols = cols, .act = m->act,
                        .act_stride = kernels_act_bytes(f, cols), .n_act = N_ACT, .out = m->want, .out_stride = rows,
                        .scratch = m->scratch};
    for (size_t r = 0; r < N_ACT; r++) {
        void *act = m->act + r * p.act_stride;
        if (f == ACT_32) tables[0]->quantize_32(m->x + r * cols, act, cols);
        else tables[0]->quantize_256(m->x + r * cols, act, cols);
    }
    tables[0]->one[t->id](&(struct product){p.w, p.row_bytes, rows, cols, p.act, p.act_stride, 1, m->want, rows, m->scratch});
    tables[0]->many[t->id](&p);
    p.out = m->got;
    for (size_t k = 0; k < n_tables; k++)
        for (size_t n = 1; n <= N_ACT; n += k ? 1 : N_ACT - 1) {
            memset(m->got, 0x55, (N_ACT + 1) * rows * sizeof(float));
            p.n_act = n;
            (n == 1 ? tables[k]->one : tables[k]->many)[t->id](&p);
            for (size_t i = n * rows; i < (N_ACT + 1) * rows; i++) assert_int_equal(((uint8_t *)m->got)[i * sizeof(float)], 0x55);
            if (memcmp(m->got, m->want, n * rows * sizeof(float)))
                fail_msg("%s %s, %zu x %zu, %zu rows: other bits than portable", tables[k]->name, t->name, rows, cols, n);
        }
}

static void quantised_products_have_the_same_bits_in_every_table(void **state) {
    (void)state;
    static const size_t shapes[][2] = {{MAX_ROWS, 256}, {33, 2048}, {16, MAX_COLS}, {7, 512}, {64, 1280}, {49, 96}, {40, 32}};
    struct buffers m = {malloc(MAX_ROWS * MAX_COLS * 2), malloc(N_ACT * MAX_COLS * 2), malloc(N_ACT * MAX_COLS * sizeof(float)),
                        malloc(N_ACT * MAX_ROWS * sizeof(float)), malloc((N_ACT + 1) * MAX_ROWS * sizeof(float)),
                        aligned_alloc(64, KERNELS_SCRATCH)};
    uint64_t seed = 11;
    for (size_t i = 0; i < N_ACT * MAX_COLS; i++) m.x[i] = i % 512 < 40 ? (i % 2 ? 3.0f : -3.0f) : support_random_float(&seed);
    for (size_t t = 0; t < sizeof quantised / sizeof *quantised; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            const struct num_type *type = num_find(quantised[t]);
            if (shapes[s][1] % type->block) continue;
            make_weights(type, &m, shapes[s][0], shapes[s][1], &seed);
            compare(type, &m, shapes[s][0], shapes[s][1]);
        }
    free(m.w), free(m.act), free(m.x), free(m.want), free(m.got), free(m.scratch);
}

static void float_rows_are_multiplied_and_widened_right_for_any_length(void **state) {
    (void)state;
    static const enum num_id ids[] = {NUM_F32, NUM_F16, NUM_BF16};
    enum { ROWS = 7 };
    static uint8_t w[ROWS * MAX * 4];
    static float wide[MAX + 1], sums[ROWS];
    uint64_t seed = 3;
    for (size_t t = 0; t < 3 * n_tables; t++) {
        const struct kernels *k = tables[t / 3];
        const struct num_type *type = num_find(ids[t % 3]);
        for (size_t n = 1; n < MAX; n += n < 70 ? 1 : 37) {
            fill(n, 1);
            for (size_t i = 0; i < ROWS; i++) support_random_row(type, w + i * n * type->bytes, n, &seed);
            k->one[type->id](&(struct product){w, n * type->bytes, ROWS, n, (const void *)b, 0, 1, sums, ROWS, NULL});
            for (size_t i = 0; i < ROWS; i++) {
                double dot = 0, norm = 0;
                type->to_f32(w + i * n * type->bytes, a, n);
                for (size_t j = 0; j < n; j++) {
                    dot += (double)a[j] * (double)b[j];
                    norm += fabs((double)a[j] * (double)b[j]);
                }
                assert_true(fabs((double)sums[i] - dot) <= 1e-6 * norm);
                if (!k->widen[type->id]) continue;
                wide[n] = 12345;
                k->widen[type->id](w + i * n * type->bytes, wide, n);
                assert_memory_equal(wide, a, n * sizeof *a);
                assert_true(wide[n] == 12345);
            }
        }
    }
}

int main(void) {
    find_tables();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_norm_divides_by_the_root_of_the_mean_square),
        cmocka_unit_test(sums_and_dot_products_are_right_for_any_length),
        cmocka_unit_test(swiglu_is_accurate_from_end_to_end),
        cmocka_unit_test(softmax_adds_up_to_one_and_masks_to_zero),
        cmocka_unit_test(the_exponential_is_right_to_a_millionth),
        cmocka_unit_test(activations_are_rounded_alike_by_every_table),
        cmocka_unit_test(quantised_products_have_the_same_bits_in_every_table),
        cmocka_unit_test(float_rows_are_multiplied_and_widened_right_for_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
