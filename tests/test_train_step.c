/* Tests of the trainer's step: the optimiser against its formulas in double, sums over shares, clipping, and that a small net learns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/train/step.h"

static const struct net_shape small = {.n_vocab = 128, .n_layers = 2, .n_embd = 32, .n_heads = 2, .n_kv_heads = 1, .head_dim = 16,
                                       .n_ff = 64, .n_ctx = 64, .rope_base = 10000, .norm_eps = 1e-5f};
static const struct adamw_options adamw = {.beta1 = 0.9f, .beta2 = 0.98f, .eps = 1e-8f, .decay = 0.1f};

/* Lines to learn, each a row of one segment. */
static const char *const lines[] = {"the cache holds keys and values.", "a turn that leaves is shown in the text.",
                                    "what was said stays on the disk.", "one head reads what two have asked.",
                                    "nothing is computed twice."};
enum { N_LINES = sizeof lines / sizeof *lines, LONGEST = 64 };
static int32_t tokens[N_LINES][LONGEST];
static float ones[LONGEST];
static struct net_segment whole[N_LINES];
static struct net_row rows[N_LINES];

static int fill_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < LONGEST; i++) ones[i] = 1;
    for (size_t i = 0; i < N_LINES; i++) {
        whole[i].n = (uint32_t)strlen(lines[i]);
        for (size_t j = 0; j < whole[i].n; j++) tokens[i][j] = lines[i][j];
        rows[i] = (struct net_row){tokens[i], ones, whole[i].n, &whole[i], 1};
    }
    return 0;
}

struct run {
    struct net *net;
    struct step *step;
};

static struct run run_open(int n_shares, float clip) {
    struct run r;
    struct err e = {0};
    struct step_options o = {.n_shares = n_shares, .n_row = LONGEST, .adamw = adamw, .clip = clip};
    if (net_new(&r.net, &small, 3, &e) || step_open(&r.step, r.net, &o, &e)) fail_msg("%s", e.text);
    return r;
}

static struct run run_with_momentum(float momentum) {
    struct run r;
    struct err e = {0};
    struct step_options o = {.n_shares = 2, .n_row = LONGEST, .adamw = adamw, .momentum = momentum, .clip = 1};
    if (net_new(&r.net, &small, 3, &e) || step_open(&r.step, r.net, &o, &e)) fail_msg("%s", e.text);
    return r;
}

static void run_close(struct run *r) {
    step_close(r->step);
    net_free(r->net);
}

static void check_near(double found, double expected, double off) {
    if (!(fabs(found - expected) <= off)) fail_msg("found %.9g, expected %.9g", found, expected);
}

static void adamw_does_what_its_formulas_say(void **state) {
    (void)state;
    enum { N = 40 };
    struct adamw a;
    assert_int_equal(adamw_init(&a, N, &adamw, NULL), 0);
    float param[N], grad[N];
    double p[N], m[N] = {0}, v[N] = {0}, b1 = (double)adamw.beta1, b2 = (double)adamw.beta2, lr = (double)0.01f;
    for (int i = 0; i < N; i++) p[i] = (double)(param[i] = (float)(i - 20) * 0.1f);
    for (int t = 1; t <= 5; t++) {
        adamw_begin(&a);
        for (int i = 0; i < N; i++) grad[i] = (float)((i * 7 + t * 5) % 11 - 5) * 0.3f;
        adamw_update(&a, param, grad, 0.5f, 0.01f, true, 20, N); /* parts, in any order */
        adamw_update(&a, param, grad, 0.5f, 0.01f, false, 0, 20);
        for (int i = 0; i < N; i++) {
            double g = 0.5 * (double)grad[i];
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            double by = m[i] / (1 - pow(b1, t)) / (sqrt(v[i] / (1 - pow(b2, t))) + (double)adamw.eps);
            p[i] -= lr * (by + (i >= 20 ? (double)adamw.decay * p[i] : 0));
            check_near((double)param[i], p[i], 2e-6);
        }
    }
    assert_int_equal(a.n_steps, 5);
    adamw_free(&a);
}

static void a_small_net_learns_a_few_lines(void **state) {
    (void)state;
    struct run r = run_open(2, 1);
    struct step_result first, last;
    step_run(r.step, rows, N_LINES, 3e-3f, &first);
    check_near(first.loss, log(small.n_vocab), 0.1);
    for (uint64_t i = 0; i < 200; i++) step_run(r.step, rows, N_LINES, 5e-3f, &last);
    if (!(last.loss < 0.2)) fail_msg("the loss went from %g to %g", first.loss, last.loss);
    run_close(&r);
}

static void two_runs_have_the_same_bits(void **state) {
    (void)state;
    struct run a = run_open(3, 0.5f), b = run_open(3, 0.5f);
    for (uint64_t i = 0; i < 5; i++) {
        struct step_result x, y;
        step_run(a.step, rows, N_LINES, 1e-3f, &x);
        step_run(b.step, rows, N_LINES, 1e-3f, &y);
        assert_memory_equal(&x, &y, sizeof x);
    }
    assert_memory_equal(a.net->param, b.net->param, a.net->n_params * sizeof(float));
    run_close(&a);
    run_close(&b);
}

static void shares_add_up_to_the_whole_batch(void **state) {
    (void)state;
    struct run a = run_open(1, 0), b = run_open(3, 0);
    struct step_result x, y;
    step_run(a.step, rows, N_LINES, 1e-3f, &x);
    step_run(b.step, rows, N_LINES, 1e-3f, &y);
    check_near(y.loss, x.loss, 1e-6);
    check_near(y.grad_norm, x.grad_norm, 1e-5);
    assert_true(x.weights == y.weights);
    const struct adamw *am = step_adamw(a.step), *bm = step_adamw(b.step);
    for (size_t i = 0; i < am->n; i++) check_near((double)bm->m[i], (double)am->m[i], 1e-6);
    run_close(&a);
    run_close(&b);
}

/* The first step's m is (1 - beta1) times the gradient that was used. */
static void a_long_gradient_is_cut_to_the_length_allowed(void **state) {
    (void)state;
    struct run r = run_open(2, 0.25f), free_run = run_open(2, 0);
    struct step_result out;
    step_run(free_run.step, rows, N_LINES, 1e-3f, &out);
    const struct run *runs[2] = {&r, &free_run};
    double expected[2] = {0.25, out.grad_norm};
    assert_true(out.grad_norm > 0.5);
    step_run(r.step, rows, N_LINES, 1e-3f, &out);
    check_near(out.grad_norm, expected[1], 1e-9);
    for (int k = 0; k < 2; k++) {
        const struct adamw *a = step_adamw(runs[k]->step);
        double squares = 0;
        for (size_t i = 0; i < a->n; i++) squares += (double)a->m[i] * (double)a->m[i];
        check_near(sqrt(squares), 0.1 * expected[k], 1e-4 * expected[k]);
    }
    run_close(&r);
    run_close(&free_run);
}

static void norms_do_not_decay_and_the_rest_does(void **state) {
    (void)state;
    struct run r = run_open(1, 0);
    struct step_options o = {.n_shares = 1, .n_row = LONGEST, .adamw = adamw};
    o.adamw.decay = 0;
    struct run other;
    struct err e = {0};
    struct step_result out;
    if (net_new(&other.net, &small, 3, &e) || step_open(&other.step, other.net, &o, &e)) fail_msg("%s", e.text);
    step_run(r.step, rows, N_LINES, 0.01f, &out);
    step_run(other.step, rows, N_LINES, 0.01f, &out);
    struct net *start;
    assert_int_equal(net_new(&start, &small, 3, &e), 0);
    for (size_t it = 0; it < start->n_tensors; it++) {
        const struct net_tensor *t = &start->tensor[it];
        for (size_t i = t->offset; i < t->offset + (size_t)t->rows * t->cols; i++) {
            double lost = (double)other.net->param[i] - (double)r.net->param[i];
            check_near(lost, t->rows == 1 ? 0 : 0.01 * 0.1 * (double)start->param[i], 1e-7);
        }
    }
    net_free(start);
    run_close(&r);
    run_close(&other);
}

static void measuring_changes_nothing(void **state) {
    (void)state;
    struct run r = run_open(2, 1);
    struct net *start;
    struct net_work *w;
    struct step_result out;
    double loss = 0, weights = 0, weight;
    assert_int_equal(net_new(&start, &small, 3, NULL), 0);
    assert_int_equal(net_work_open(&w, start, LONGEST, NULL), 0);
    step_measure(r.step, rows, N_LINES, &out);
    for (size_t i = 0; i < N_LINES; i++) {
        loss += net_row_loss(start, w, &rows[i], NULL, &weight);
        weights += weight;
    }
    check_near(out.loss, loss / weights, 1e-6);
    check_near(out.weights, weights, 0);
    assert_memory_equal(r.net->param, start->param, start->n_params * sizeof(float));
    assert_int_equal(step_adamw(r.step)->n_steps, 0);
    net_work_close(w);
    net_free(start);
    run_close(&r);
}

static void a_batch_without_weight_changes_nothing(void **state) {
    (void)state;
    static const float none[LONGEST];
    struct run r = run_open(2, 1);
    struct net *start;
    struct step_result out;
    struct net_row row = rows[0];
    row.weight = none;
    assert_int_equal(net_new(&start, &small, 3, NULL), 0);
    step_run(r.step, &row, 1, 1e-2f, &out);
    assert_true(out.loss == 0 && out.weights == 0 && out.grad_norm == 0);
    assert_memory_equal(r.net->param, start->param, start->n_params * sizeof(float));
    net_free(start);
    run_close(&r);
}

/* ---- matrices --------------------------------------------------------------------------------------------------- */

/* Numbers that look random, of either sign. */
static float *matrix_new(size_t n, unsigned seed) {
    float *a = malloc(n * sizeof *a);
    for (size_t i = 0; i < n; i++) a[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1;
    return a;
}

/* |a x| / |x| for a[high][wide], or |a^T x| / |x|. */
static double stretch(const float *a, size_t high, size_t wide, bool turned, const float *x) {
    double out = 0, in = 0;
    size_t m = turned ? wide : high, n = turned ? high : wide;
    for (size_t i = 0; i < m; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++) sum += (double)(turned ? a[j * wide + i] : a[i * wide + j]) * (double)x[j];
        out += sum * sum;
    }
    for (size_t j = 0; j < n; j++) in += (double)x[j] * (double)x[j];
    return sqrt(out / in);
}

static void orthogonalised_rows_and_columns_stretch_nothing(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{24, 40}, {40, 24}, {32, 32}};
    for (size_t k = 0; k < 3; k++) {
        size_t high = sizes[k][0], wide = sizes[k][1], n = high * wide, side = high < wide ? high : wide;
        struct muon_work w;
        assert_int_equal(muon_work_open(&w, n, side, NULL), 0);
        float *a = matrix_new(n, 5);
        for (size_t i = 0; i < n; i++) a[i] *= i % wide == 3 ? 21.0f : 1.0f; /* one direction far above the others */
        muon_orthogonalise(&w, a, (uint32_t)high, (uint32_t)wide);
        for (unsigned t = 0; t < 20; t++) { /* from the shorter side nothing is lost and nothing grows */
            float *x = matrix_new(side, 100 + t);
            double by = stretch(a, high, wide, high < wide, x);
            if (!(by > 0.6 && by < 1.3)) fail_msg("%zu x %zu: %g", high, wide, by);
            free(x);
        }
        free(a);
        muon_work_close(&w);
    }
}

static void muon_does_what_its_formulas_say(void **state) {
    (void)state;
    enum { ROWS = 6, COLS = 10, N = ROWS * COLS };
    const struct muon_options o = {.momentum = 0.9f, .decay = 0.1f};
    struct muon_work w;
    assert_int_equal(muon_work_open(&w, N, ROWS, NULL), 0);
    float *param = matrix_new(N, 1), m[N] = {0};
    double p[N], sum[N] = {0};
    for (size_t i = 0; i < N; i++) p[i] = (double)param[i];
    for (unsigned t = 0; t < 5; t++) {
        float *grad = matrix_new(N, 10 + t), step[N];
        muon_update(&o, &w, param, grad, m, ROWS, COLS, 0.5f, 0.01f);
        for (size_t i = 0; i < N; i++) {
            double g = 0.5 * (double)grad[i];
            sum[i] = (double)0.9f * sum[i] + g;
            step[i] = (float)(g + (double)0.9f * sum[i]);
        }
        muon_orthogonalise(&w, step, ROWS, COLS); /* tested above */
        for (size_t i = 0; i < N; i++) p[i] = p[i] * (1 - (double)0.01f * (double)0.1f) - (double)0.01f * 0.2 * sqrt(10) * (double)step[i];
        free(grad);
    }
    for (size_t i = 0; i < N; i++) check_near((double)param[i], p[i], 1e-4);
    free(param);
    muon_work_close(&w);
}

/* The layers' matrices alone are muon's: a run with another momentum changes them, and the same one gives the same bits on two shares. */
static void with_momentum_a_small_net_learns_as_well(void **state) {
    (void)state;
    struct run a = run_with_momentum(0.95f), b = run_with_momentum(0.95f);
    struct step_result first = {0}, last = {0};
    for (uint64_t i = 0; i < 60; i++) {
        step_run(a.step, rows, N_LINES, 0.01f, i ? &last : &first);
        step_run(b.step, rows, N_LINES, 0.01f, &(struct step_result){0});
    }
    assert_true(last.loss < first.loss / 4);
    assert_memory_equal(a.net->param, b.net->param, a.net->n_params * sizeof *a.net->param);
    const struct net_tensor *q = &a.net->tensor[2], *embedding = &a.net->tensor[0];
    assert_true(q->rows > 1);
    assert_true(step_adamw(a.step)->v[q->offset] == 0); /* only adamw has a second moment */
    bool any = false;
    for (size_t i = 0; i < (size_t)embedding->rows * embedding->cols; i++) any |= step_adamw(a.step)->v[i] != 0;
    assert_true(any);
    run_close(&a);
    run_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_does_what_its_formulas_say),
        cmocka_unit_test(orthogonalised_rows_and_columns_stretch_nothing),
        cmocka_unit_test(muon_does_what_its_formulas_say),
        cmocka_unit_test(with_momentum_a_small_net_learns_as_well),
        cmocka_unit_test(a_small_net_learns_a_few_lines),
        cmocka_unit_test(two_runs_have_the_same_bits),
        cmocka_unit_test(shares_add_up_to_the_whole_batch),
        cmocka_unit_test(a_long_gradient_is_cut_to_the_length_allowed),
        cmocka_unit_test(norms_do_not_decay_and_the_rest_does),
        cmocka_unit_test(measuring_changes_nothing),
        cmocka_unit_test(a_batch_without_weight_changes_nothing),
    };
    return cmocka_run_group_tests(tests, fill_rows, NULL);
}
