/* Tests of how well a text is foreseen: against logits of the whole text, and with the cache grown, shifted and slid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/engine.h"

#define VECTOR "tests/vectors/qwen3-q4_0.gguf" /* random weights, 264 tokens, context 2048 */
#define N_VOCAB 264
#define N 700 /* tokens: more than two blocks */
#define N_KEEP 20
#define N_TURN 40

static struct model *model;
static int32_t id[N];
static bool counts[N];
static struct kv_turn turn[(N - N_KEEP) / N_TURN];
static const struct rendered text = {.id = id, .n = N};
static const struct rendered chat = {.id = id, .n = N, .n_keep = N_KEEP, .turn = turn, .n_turns = (N - N_KEEP) / N_TURN};

static int open_vector(void **state) {
    (void)state;
    uint32_t x = 7;
    for (size_t i = 0; i < N; i++) {
        x = x * 1664525u + 1013904223u;
        id[i] = (int32_t)((x >> 8) % N_VOCAB);
        counts[i] = x >> 30 == 0;
    }
    for (size_t i = 0; i < chat.n_turns; i++) turn[i] = (struct kv_turn){N_KEEP + i * N_TURN, N_TURN, false};
    return model_open(&model, VECTOR, NULL, NULL);
}

static int close_vector(void **state) {
    (void)state;
    model_close(model);
    return 0;
}

/* What a text costs in a session of these options; *st (may be NULL): how the session was then. */
static double measure(const struct session_options *o, const struct rendered *t, const bool *which, size_t *n, struct session_stats *st) {
    struct err e = {0};
    struct session *s;
    double perplexity;
    if (session_open(&s, model, o, &e) || session_bench_perplexity(s, t, which, &perplexity, n, &e)) fail_msg("%s", e.text);
    if (st) session_get_stats(s, st);
    session_close(s);
    return perplexity;
}

/* The same from the logits of all tokens at once. */
static double plainly(const bool *which, size_t *n) {
    struct err e = {0};
    struct session *s;
    float *logits = malloc((size_t)N * N_VOCAB * sizeof *logits);
    double nats = 0;
    if (session_open(&s, model, NULL, &e) || session_logits(s, id, N, 0, logits, &e)) fail_msg("%s", e.text);
    *n = 0;
    for (size_t i = 1; i < N; i++) {
        const float *row = logits + (i - 1) * N_VOCAB;
        double sum = 0;
        if (which && !which[i]) continue;
        for (size_t k = 0; k < N_VOCAB; k++) sum += exp((double)row[k]);
        nats -= log(exp((double)row[id[i]]) / sum);
        ++*n;
    }
    session_close(s);
    free(logits);
    return exp(nats / (double)*n);
}

static void it_is_that_of_the_whole_texts_logits(void **state) {
    (void)state;
    const bool *which[] = {NULL, counts};
    for (int i = 0; i < 2; i++) {
        size_t n, want_n;
        double want = plainly(which[i], &want_n);
        assert_true(fabs(measure(NULL, &text, which[i], &n, NULL) / want - 1) < 1e-9);
        assert_int_equal(n, want_n);
        assert_true(fabs(measure(NULL, &chat, which[i], &n, NULL) / want - 1) < 1e-9); /* turn by turn */
        assert_int_equal(n, want_n);
    }
}

static void it_has_the_same_bits_whether_the_cache_grows_or_is_there_at_once(void **state) {
    (void)state;
    const struct session_options at_once = {.keep = -1, .bound = 1024, .grow = KV_GROW_FIXED}, grown = {.keep = -1, .bound = 1024, .start = 256};
    const struct rendered *both[] = {&text, &chat};
    for (int i = 0; i < 2; i++) {
        struct session_stats st;
        size_t n;
        double a = measure(&at_once, both[i], NULL, &n, &st);
        assert_int_equal(st.kv.n_grow, 0);
        double b = measure(&grown, both[i], NULL, &n, &st);
        assert_int_equal(st.kv.n_grow, 2);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void past_the_bound_every_token_is_counted_once(void **state) {
    (void)state;
    const struct rendered *both[] = {&text, &chat};
    for (int i = 0; i < 4; i++) {
        struct session_options o = {.keep = -1, .bound = 256, .evict = i & 1 ? KV_EVICT_SLIDE : KV_EVICT_SHIFT};
        struct session_stats st;
        size_t n;
        double p = measure(&o, both[i / 2], NULL, &n, &st);
        assert_int_equal(n, N - 1);
        assert_int_equal(st.kv.used + st.kv.evicted_tokens, N);
        if (o.evict == KV_EVICT_SHIFT && i / 2) assert_true(st.kv.evicted_turns > 8 && st.kv.evicted_tokens == st.kv.evicted_turns * N_TURN);
        assert_true(isfinite(p) && fabs(p - measure(NULL, &text, NULL, &n, NULL)) > 1e-6); /* it no longer sees all */
    }
}

static void under_stop_a_text_that_does_not_fit_is_refused(void **state) {
    (void)state;
    struct session *s;
    struct err e = {0};
    double p;
    size_t n;
    if (session_open(&s, model, &(struct session_options){.keep = -1, .bound = 256, .evict = KV_EVICT_STOP}, &e)) fail_msg("%s", e.text);
    assert_int_equal(session_bench_perplexity(s, &text, NULL, &p, &n, &e), ERR_CONTEXT);
    assert_int_equal(session_bench_perplexity(s, &chat, NULL, &p, &n, &e), ERR_CONTEXT);
    assert_int_equal(session_bench_perplexity(s, &(struct rendered){.id = id, .n = 1}, NULL, &p, &n, &e), ERR_USAGE);
    session_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_that_of_the_whole_texts_logits),
        cmocka_unit_test(it_has_the_same_bits_whether_the_cache_grows_or_is_there_at_once),
        cmocka_unit_test(past_the_bound_every_token_is_counted_once),
        cmocka_unit_test(under_stop_a_text_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, open_vector, close_vector);
}
