/* Tests of model/sampler: what is drawn is compared with a version that sorts everything, in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/sampler.h"

static const struct sample_params neutral = {.temp = 1, .top_p = 1, .repeat_penalty = 1, .seed = 42};

static struct sampler *open_sampler(uint32_t n, const struct sample_params *p) {
    struct sampler *s;
    struct err e = {0};
    if (sampler_open(&s, n, p, &e)) fail_msg("%s", e.text);
    return s;
}

/* Logits that a test can tell apart, with ties and a wide range. */
static void fill(float *x, uint32_t n, uint32_t salt) {
    uint32_t r = salt * 2654435761u + 1;
    for (uint32_t i = 0; i < n; i++) {
        r = r * 1664525u + 1013904223u;
        x[i] = (float)(r >> 24) / 32.0f - 4.0f;
    }
}

/* ---- the naive version --------------------------------------------------------------------------------------- */

struct naive { double logit, p; int id; };

static int naive_order(const void *a, const void *b) {
    const struct naive *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id - y->id;
}

static void naive_softmax(struct naive *c, size_t n, double temp) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += c[i].p = exp((c[i].logit - c[0].logit) / temp);
    for (size_t i = 0; i < n; i++) c[i].p /= sum;
}

/* The probability of each id under p, without penalties. */
static void naive_probabilities(const float *logit, size_t n, const struct sample_params *p, double *out) {
    struct naive *c = calloc(n, sizeof *c);
    size_t m = n, kept = 0;
    for (size_t i = 0; i < n; i++) c[i] = (struct naive){logit[i], 0, (int)i};
    qsort(c, n, sizeof *c, naive_order);
    if (p->top_k > 0 && (size_t)p->top_k < m) m = (size_t)p->top_k;
    naive_softmax(c, m, 1);
    if (p->top_p < 1) {
        double sum = 0;
        size_t i = 0;
        while (i < m && sum < p->top_p) sum += c[i++].p;
        m = i ? i : 1;
        naive_softmax(c, m, 1);
    }
    for (size_t i = 0; i < m; i++)
        if (c[i].p >= p->min_p * c[0].p) c[kept++] = c[i];
    naive_softmax(c, kept, p->temp);
    for (size_t i = 0; i < n; i++) out[i] = 0;
    for (size_t i = 0; i < kept; i++) out[c[i].id] = c[i].p;
    free(c);
}

/* Draws many times and compares with the naive probabilities: nothing that it forbids, and a chi-square over the ids
 * that are expected at least five times, which may lie at most five standard deviations above its mean. */
static void check_distribution(const struct sample_params *p, uint32_t n, uint32_t salt) {
    enum { DRAWS = 10000 };
    float *logit = malloc(n * sizeof *logit), *work = malloc(n * sizeof *work);
    double *want = malloc(n * sizeof *want);
    uint32_t *seen = calloc(n, sizeof *seen);
    fill(logit, n, salt);
    naive_probabilities(logit, n, p, want);
    struct sampler *s = open_sampler(n, p);
    for (int i = 0; i < DRAWS; i++) {
        memcpy(work, logit, n * sizeof *work);
        seen[sampler_sample(s, work)]++;
    }
    double chi = 0, rest_want = 0, rest_seen = 0;
    int cells = 0;
    for (uint32_t i = 0; i < n; i++) {
        double x = want[i] * DRAWS;
        if (want[i] == 0 && seen[i]) fail_msg("id %u was drawn %u times, but is filtered out", i, seen[i]);
        if (x < 5) {
            rest_want += x;
            rest_seen += seen[i];
            continue;
        }
        chi += (seen[i] - x) * (seen[i] - x) / x;
        cells++;
    }
    if (rest_want >= 5) {
        chi += (rest_seen - rest_want) * (rest_seen - rest_want) / rest_want;
        cells++;
    }
    if (chi > cells + 5 * sqrt(2.0 * cells)) fail_msg("chi-square %g over %d cells", chi, cells);
    sampler_close(s);
    free(logit);
    free(work);
    free(want);
    free(seen);
}

/* ---- drawing ------------------------------------------------------------------------------------------------- */

static void tokens_come_as_often_as_the_softmax_says(void **state) {
    (void)state;
    struct sample_params p = neutral;
    check_distribution(&p, 40, 1);
    p.temp = 0.6f;
    check_distribution(&p, 40, 2);
    p.temp = 2.5f;
    check_distribution(&p, 300, 3);
}

static void each_filter_keeps_what_sorting_everything_keeps(void **state) {
    (void)state;
    static const struct { int k; float p, min_p, temp; } rows[] = {
        {1, 1, 0, 1}, {7, 1, 0, 1},  {300, 1, 0, 1},    {9999, 1, 0, 1},      {0, 0.5f, 0, 1},     {0, 0.99f, 0, 1}, {0, 0, 0, 1},
        {0, 1, 0.2f, 1}, {0, 1, 1, 1}, {40, 0.9f, 0, 1}, {40, 0.95f, 0.05f, 0.8f}, {0, 0.9f, 0.01f, 2}, {5, 0.01f, 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sample_params p = neutral;
        p.top_k = rows[i].k;
        p.top_p = rows[i].p;
        p.min_p = rows[i].min_p;
        p.temp = rows[i].temp;
        for (uint32_t n = 1; n <= 3000; n = n * 7 + 3) check_distribution(&p, n, (uint32_t)i);
    }
}

static void without_temperature_the_best_is_taken_and_the_lowest_id_of_equals(void **state) {
    (void)state;
    struct sample_params p = neutral;
    p.temp = 0;
    struct sampler *s = open_sampler(5, &p);
    assert_int_equal(sampler_sample(s, (float[]){1, 3, 2, 3, -1}), 1);
    p.temp = 1;
    p.top_k = 1;
    assert_int_equal(sampler_set(s, &p, NULL), 0);
    for (int i = 0; i < 100; i++) assert_int_equal(sampler_sample(s, (float[]){1, 3, 2, 3, -1}), 1);
    sampler_close(s);
}

static void numbers_that_are_none_do_no_harm(void **state) {
    (void)state;
    static const struct { int k; float p, min_p, temp; } rows[] = {{0, 1, 0, 0}, {0, 1, 0, 1}, {3, 1, 0, 1}, {0, 0.9f, 0, 1}, {2, 0.5f, 0.1f, 1e-30f}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sample_params p = neutral;
        p.top_k = rows[i].k;
        p.top_p = rows[i].p;
        p.min_p = rows[i].min_p;
        p.temp = rows[i].temp;
        struct sampler *s = open_sampler(4, &p);
        for (int r = 0; r < 50; r++) {
            assert_int_equal(sampler_sample(s, (float[]){NAN, 1, NAN, -INFINITY}), 1);
            assert_int_equal(sampler_sample(s, (float[]){NAN, NAN, NAN, NAN}), 0);
            assert_int_equal(sampler_sample(s, (float[]){-INFINITY, NAN, -INFINITY, NAN}), 0);
            assert_int_equal(sampler_sample(s, (float[]){0, 5, INFINITY, -INFINITY}), 2);
        }
        sampler_close(s);
    }
}

static void a_seed_gives_the_same_tokens_again(void **state) {
    (void)state;
    struct sampler *a = open_sampler(100, &neutral), *b = open_sampler(100, &neutral);
    struct sample_params p = neutral;
    p.seed = 43;
    struct sampler *c = open_sampler(100, &p);
    float x[100];
    int32_t first[50];
    int differ = 0;
    for (int i = 0; i < 50; i++) {
        fill(x, 100, 5);
        first[i] = sampler_sample(a, x);
        fill(x, 100, 5);
        assert_int_equal(sampler_sample(b, x), first[i]);
        fill(x, 100, 5);
        differ += sampler_sample(c, x) != first[i];
    }
    assert_true(differ > 25);
    sampler_reset(a);
    for (int i = 0; i < 50; i++) {
        fill(x, 100, 5);
        assert_int_equal(sampler_sample(a, x), first[i]);
    }
    sampler_close(a);
    sampler_close(b);
    sampler_close(c);
}

/* ---- penalties ----------------------------------------------------------------------------------------------- */

/* What the sampler leaves in the logits after accepting tokens, against the window counted by hand. */
static void check_penalties(int32_t last_n, const int32_t *token, size_t n) {
    struct sample_params p = neutral;
    p.temp = 0;
    p.repeat_last_n = last_n;
    p.repeat_penalty = 1.5f;
    p.presence_penalty = 0.25f;
    p.frequency_penalty = 0.125f;
    struct sampler *s = open_sampler(8, &p);
    for (size_t i = 0; i < n; i++) {
        float got[8] = {2, -2, 1, -1, 0.5f, 0, 3, -3}, want[8];
        sampler_accept(s, token[i]);
        memcpy(want, got, sizeof want);
        size_t from = last_n < 0 || (size_t)last_n > i + 1 ? 0 : i + 1 - (size_t)last_n;
        for (int id = 0; id < 8; id++) {
            float count = 0;
            for (size_t k = from; k <= i; k++) count += token[k] == id;
            if (count == 0) continue;
            want[id] = want[id] > 0 ? want[id] / 1.5f : want[id] * 1.5f;
            want[id] -= count * 0.125f + 0.25f;
        }
        sampler_sample(s, got);
        for (int id = 0; id < 8; id++) assert_true(fabsf(got[id] - want[id]) < 1e-6f);
    }
    sampler_close(s);
}

static void penalties_count_the_window_and_no_more(void **state) {
    (void)state;
    static const int32_t token[] = {1, 1, 2, 0, 7, 7, 7, 6, 5, 1, 1, 4, 3, 2, 2, 2, 2, 0};
    for (int32_t n = -1; n <= 20; n++) check_penalties(n, token, sizeof token / sizeof *token);
}

static void another_window_keeps_what_fits(void **state) {
    (void)state;
    struct sample_params p = neutral;
    p.temp = 0;
    p.repeat_last_n = 4;
    p.presence_penalty = 1;
    struct sampler *s = open_sampler(6, &p);
    for (int32_t i = 0; i < 6; i++) sampler_accept(s, i); /* the window holds 2 3 4 5 */
    p.repeat_last_n = 2;
    assert_int_equal(sampler_set(s, &p, NULL), 0);
    float x[6] = {0};
    sampler_sample(s, x);
    assert_memory_equal(x, ((float[]){0, 0, 0, 0, -1, -1}), sizeof x);
    p.repeat_last_n = 3;
    assert_int_equal(sampler_set(s, &p, NULL), 0);
    sampler_accept(s, 0);
    sampler_accept(s, 1); /* 5 0 1 */
    memset(x, 0, sizeof x);
    sampler_sample(s, x);
    assert_memory_equal(x, ((float[]){-1, -1, 0, 0, 0, -1}), sizeof x);
    p.repeat_last_n = -1;
    assert_int_equal(sampler_set(s, &p, NULL), 0);
    sampler_accept(s, 2);
    memset(x, 0, sizeof x);
    sampler_sample(s, x);
    assert_memory_equal(x, ((float[]){-1, -1, -1, 0, 0, -1}), sizeof x);
    sampler_close(s);
}

/* ---- saving -------------------------------------------------------------------------------------------------- */

static void a_saved_sampler_goes_on_as_if_it_had_not_stopped(void **state) {
    (void)state;
    static const int32_t last_n[] = {0, 5, 1000, -1};
    for (size_t k = 0; k < 4; k++) {
        struct sample_params p = neutral;
        p.top_k = 20;
        p.repeat_penalty = 1.3f;
        p.frequency_penalty = 0.2f;
        p.repeat_last_n = last_n[k];
        struct sampler *a = open_sampler(50, &p), *b = open_sampler(50, &p);
        float x[50];
        for (uint32_t i = 0; i < 100; i++) {
            fill(x, 50, i);
            sampler_accept(a, sampler_sample(a, x));
        }
        size_t n = sampler_save(a, NULL);
        void *bytes = malloc(n);
        assert_int_equal(sampler_save(a, bytes), n);
        assert_int_equal(sampler_load(b, bytes, n, NULL), 0);
        for (uint32_t i = 0; i < 100; i++) {
            fill(x, 50, i);
            int32_t t = sampler_sample(a, x);
            sampler_accept(a, t);
            fill(x, 50, i);
            assert_int_equal(sampler_sample(b, x), t);
            sampler_accept(b, t);
        }
        free(bytes);
        sampler_close(a);
        sampler_close(b);
    }
}

static void a_damaged_state_is_refused_and_changes_nothing(void **state) {
    (void)state;
    struct sample_params p = neutral;
    p.repeat_last_n = 8;
    struct sampler *a = open_sampler(50, &p), *b = open_sampler(49, &p);
    for (int32_t i = 0; i < 5; i++) sampler_accept(a, 45 + i);
    uint8_t bytes[256], after[256];
    size_t n = sampler_save(a, bytes);
    assert_true(n < sizeof bytes);
    struct err e = {0};
    for (size_t m = 0; m < n; m++) assert_int_equal(sampler_load(a, bytes, m, &e), ERR_FILE);
    assert_int_equal(sampler_load(b, bytes, n, &e), ERR_FILE);
    bytes[n - 1] = 0x7f; /* the last token: far beyond the vocabulary */
    assert_int_equal(sampler_load(a, bytes, n, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "expected one below 50"));
    bytes[n - 1] = 0;
    assert_int_equal(sampler_save(a, after), n);
    assert_memory_equal(after, bytes, n);
    sampler_close(a);
    sampler_close(b);
}

static void values_out_of_range_are_named(void **state) {
    (void)state;
    struct sampler *s;
    struct err e = {0};
    struct sample_params p = neutral;
    p.temp = NAN;
    assert_int_equal(sampler_open(&s, 4, &p, &e), ERR_USAGE);
    assert_null(s);
    assert_non_null(strstr(e.text, "temp is "));
    p = neutral;
    p.top_p = 1.5f;
    assert_int_equal(sampler_open(&s, 4, &p, &e), ERR_USAGE);
    assert_string_equal(e.text, "top-p is 1.5, but must be from 0 to 1");
    p = neutral;
    p.repeat_penalty = 0;
    assert_int_equal(sampler_open(&s, 4, &p, &e), ERR_USAGE);
}

static void forgetting_keeps_the_random_state_and_a_loaded_one_survives_the_same_seed(void **state) {
    (void)state;
    struct sample_params p = {.temp = 1, .top_p = 1, .repeat_penalty = 1.5f, .repeat_last_n = 8, .seed = 42};
    struct sampler *a, *b;
    assert_int_equal(sampler_open(&a, 16, &p, NULL), 0);
    float logits[16];
    int32_t drawn[2][20];
    for (int i = 0; i < 5; i++) {
        memset(logits, 0, sizeof logits);
        sampler_accept(a, sampler_sample(a, logits));
    }
    uint8_t saved[256];
    size_t n = sampler_save(a, NULL);
    assert_true(n <= sizeof saved);
    assert_int_equal(sampler_save(a, saved), n);
    struct sample_params other = {.top_p = 1, .repeat_penalty = 1};
    assert_int_equal(sampler_open(&b, 16, &other, NULL), 0);
    assert_int_equal(sampler_load(b, saved, n, NULL), 0);
    struct sampler *s[] = {a, b};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(sampler_set(s[k], &p, NULL), 0); /* as a resumed reply does, with the seed that was in use */
        sampler_forget(s[k]);
        for (int i = 0; i < 20; i++) {
            memset(logits, 0, sizeof logits);
            drawn[k][i] = sampler_sample(s[k], logits);
        }
    }
    assert_memory_equal(drawn[0], drawn[1], sizeof drawn[0]);
    sampler_close(a);
    sampler_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_come_as_often_as_the_softmax_says),
        cmocka_unit_test(each_filter_keeps_what_sorting_everything_keeps),
        cmocka_unit_test(without_temperature_the_best_is_taken_and_the_lowest_id_of_equals),
        cmocka_unit_test(numbers_that_are_none_do_no_harm),
        cmocka_unit_test(a_seed_gives_the_same_tokens_again),
        cmocka_unit_test(penalties_count_the_window_and_no_more),
        cmocka_unit_test(another_window_keeps_what_fits),
        cmocka_unit_test(a_saved_sampler_goes_on_as_if_it_had_not_stopped),
        cmocka_unit_test(a_damaged_state_is_refused_and_changes_nothing),
        cmocka_unit_test(values_out_of_range_are_named),
        cmocka_unit_test(forgetting_keeps_the_random_state_and_a_loaded_one_survives_the_same_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
