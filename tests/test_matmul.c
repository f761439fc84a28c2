/* Tests of model/matmul: against sums in double over the widened weights, and against itself for any number of threads and
 * any split of the rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/blas.h"
#include "model/matmul.h"
#include "tests/support_quant.h"

static const enum num_id all_types[] = {NUM_F32,  NUM_F16,  NUM_BF16, NUM_Q4_0, NUM_Q4_1, NUM_Q5_0,
                                        NUM_Q5_1, NUM_Q8_0, NUM_Q4_K, NUM_Q5_K, NUM_Q6_K};
enum { N_TYPES = sizeof all_types / sizeof *all_types, N_ACT = 11 };

struct setup {
    struct matrix w;
    uint8_t *bytes;
    float *x, *bias;
};

static struct setup setup_make(enum num_id id, size_t rows, size_t cols) {
    struct setup s = {.w = {.type = num_find(id), .rows = rows, .cols = cols}};
    uint64_t seed = rows * 31 + cols + id;
    s.w.row_bytes = num_row_bytes(s.w.type, cols);
    s.w.data = s.bytes = malloc(rows * s.w.row_bytes);
    s.x = malloc(N_ACT * cols * sizeof *s.x);
    s.bias = malloc(rows * sizeof *s.bias);
    for (size_t i = 0; i < rows; i++) support_random_row(s.w.type, s.bytes + i * s.w.row_bytes, cols, &seed);
    for (size_t i = 0; i < N_ACT * cols; i++) s.x[i] = support_random_float(&seed);
    for (size_t i = 0; i < rows; i++) s.bias[i] = support_random_float(&seed);
    return s;
}

static void setup_free(struct setup *s) {
    free(s->bytes);
    free(s->x);
    free(s->bias);
}

/* One product by a pool of n_threads, rows taken `split` at a time. The caller frees. */
static float *run(const struct setup *s, int n_threads, size_t split) {
    struct pool *p;
    struct matmul *m;
    assert_int_equal(pool_open(&p, n_threads, NULL), 0);
    assert_int_equal(matmul_open(&m, p, N_ACT, s->w.cols, NULL), 0);
    float *out = malloc(N_ACT * s->w.rows * sizeof *out);
    for (size_t r = 0; r < N_ACT; r += split) {
        struct matmul_job job = {&s->w, s->bias, out + r * s->w.rows, s->w.rows};
        matmul_run(m, &job, 1, s->x + r * s->w.cols, s->w.cols, N_ACT - r < split ? N_ACT - r : split);
    }
    matmul_close(m);
    pool_close(p);
    return out;
}

/* The largest difference from the exact product, in standard deviations of a sum of that many such terms. */
static double error_of(const struct setup *s, const float *out) {
    float *wide = malloc(s->w.cols * sizeof *wide);
    double worst = 0;
    for (size_t i = 0; i < s->w.rows; i++) {
        s->w.type->to_f32(s->bytes + i * s->w.row_bytes, wide, s->w.cols);
        double norm = 0;
        for (size_t j = 0; j < s->w.cols; j++) norm += (double)wide[j] * (double)wide[j];
        for (size_t r = 0; r < N_ACT; r++) {
            double sum = (double)s->bias[i];
            for (size_t j = 0; j < s->w.cols; j++) sum += (double)wide[j] * (double)s->x[r * s->w.cols + j];
            double error = fabs(sum - (double)out[r * s->w.rows + i]) / sqrt(norm / 3);
            if (!(error <= worst)) worst = error;
        }
    }
    free(wide);
    return worst;
}

static const struct { size_t rows, cols; } shapes[] = {{64, 256}, {1, 256}, {17, 512}, {100, 2048}, {300, 768}};

static void a_product_is_near_the_exact_sum(void **state) {
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++)
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
            struct setup s = setup_make(all_types[t], shapes[k].rows, shapes[k].cols);
            for (size_t split = 1; split <= N_ACT; split += N_ACT - 1) {
                float *out = run(&s, 2, split);
                /* int8 activations: steps of 1/127 of the largest, uniform rounding error */
                double limit = s.w.type->block == 1 ? 1e-5 : 5 * 0.5 / 127;
                double error = error_of(&s, out);
                if (!(error < limit)) fail_msg("%s %zux%zu split %zu: error %g", s.w.type->name, s.w.rows, s.w.cols, split, error);
                free(out);
            }
            setup_free(&s);
        }
}

static void blocks_of_32_need_no_256_columns(void **state) {
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++) {
        if (num_find(all_types[t])->block > 32) continue;
        struct setup s = setup_make(all_types[t], 40, num_find(all_types[t])->block == 1 ? 37 : 96);
        float *out = run(&s, 2, 1), *many = run(&s, 2, N_ACT);
        assert_true(error_of(&s, out) < 0.02);
        assert_true(error_of(&s, many) < 0.02);
        free(out);
        free(many);
        setup_free(&s);
    }
}

static void quantised_products_are_the_same_bits_for_any_threads_and_any_split(void **state) {
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++)
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
            if (num_find(all_types[t])->block == 1) continue;
            struct setup s = setup_make(all_types[t], shapes[k].rows, shapes[k].cols);
            float *want = run(&s, 1, 1);
            for (int threads = 1; threads <= 4; threads++)
                for (size_t split = 1; split <= N_ACT; split++) {
                    if (threads > 1 && split > 1 && split < 7) continue;
                    float *got = run(&s, threads, split);
                    assert_memory_equal(got, want, N_ACT * s.w.rows * sizeof *got);
                    free(got);
                }
            free(want);
            setup_free(&s);
        }
}

static void float_products_are_the_same_bits_for_any_number_of_threads(void **state) {
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        struct setup s = setup_make(all_types[t], 700, 1200);
        for (size_t split = 1; split <= N_ACT; split += N_ACT - 1) {
            float *want = run(&s, 1, split);
            for (int threads = 2; threads <= 4; threads++) {
                float *got = run(&s, threads, split);
                assert_memory_equal(got, want, N_ACT * s.w.rows * sizeof *got);
                free(got);
            }
            free(want);
        }
        setup_free(&s);
    }
}

static void jobs_of_several_types_share_one_input(void **state) {
    (void)state;
    static const enum num_id ids[] = {NUM_Q4_K, NUM_Q6_K, NUM_Q8_0, NUM_F16, NUM_Q4_0};
    enum { N = sizeof ids / sizeof *ids };
    struct setup s[N];
    float *want[N], *got[N];
    struct matmul_job job[N];
    for (size_t i = 0; i < N; i++) {
        s[i] = setup_make(ids[i], 48 + 16 * i, 512);
        memcpy(s[i].x, s[0].x, N_ACT * 512 * sizeof(float));
        want[i] = run(&s[i], 2, N_ACT);
        got[i] = malloc(N_ACT * s[i].w.rows * sizeof(float));
        job[i] = (struct matmul_job){&s[i].w, s[i].bias, got[i], s[i].w.rows};
    }
    struct pool *p;
    struct matmul *m;
    assert_int_equal(pool_open(&p, 3, NULL), 0);
    assert_int_equal(matmul_open(&m, p, N_ACT, 512, NULL), 0);
    assert_true(matmul_bytes(m) > N_ACT * 512);
    matmul_run(m, job, N, s[0].x, 512, N_ACT);
    for (size_t i = 0; i < N; i++) {
        assert_memory_equal(got[i], want[i], N_ACT * s[i].w.rows * sizeof(float));
        free(got[i]);
        free(want[i]);
        setup_free(&s[i]);
    }
    matmul_close(m);
    pool_close(p);
}

static void an_impossible_size_is_refused(void **state) {
    (void)state;
    struct pool *p;
    struct matmul *m;
    struct err e = {0};
    assert_int_equal(pool_open(&p, 1, NULL), 0);
    assert_int_equal(matmul_open(&m, p, SIZE_MAX / 16, 4096, &e), ERR_MEMORY);
    assert_null(m);
    pool_close(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_is_near_the_exact_sum),
        cmocka_unit_test(blocks_of_32_need_no_256_columns),
        cmocka_unit_test(quantised_products_are_the_same_bits_for_any_threads_and_any_split),
        cmocka_unit_test(float_products_are_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(jobs_of_several_types_share_one_input),
        cmocka_unit_test(an_impossible_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
