/* Tests of the forward pass: logits against libllama's and against a plain computation in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"
#include "model/model.h"
#include "model/session.h"
#include "tests/support_reference.h"

#define N_TOKENS 64
#define N_VOCAB 264
static const int32_t tokens[N_TOKENS] = {207, 21,  45,  60,  46,  205, 222, 149, 10,  24,  85,  110, 159, 122, 67,  40,
                                         177, 188, 8,   29,  115, 100, 227, 132, 107, 110, 170, 150, 44,  188, 193, 244,
                                         201, 72,  81,  166, 166, 178, 222, 74,  240, 0,   19,  249, 241, 76,  35,  80,
                                         11,  228, 169, 149, 62,  120, 48,  197, 121, 7,   65,  180, 133, 95,  64,  23};

/* A file of tests/vectors and the types that its tensors must have for it to test what its name says. */
struct vector {
    const char *name, *types;
    bool quantised;
};
static const struct vector vectors[] = {
    {"llama-f32", "f32", false},
    {"llama-linear-f16", "f32 f16", false},
    {"llama-factors-f16", "f32 f16", false},
    {"llama-yarn-f32", "f32", false},
    {"qwen2-f16", "f32 f16", false},
    {"qwen3-f16", "f32 f16", false},
    {"llama-bf16", "f32 bf16", true},
    {"qwen3-q4_0", "f32 q4_0", true},
    {"llama-q4_1", "f32 q4_1 q8_0", true},
    {"llama-q5_0", "f32 q5_0 q8_0", true},
    {"llama-q5_1", "f32 q5_1 q8_0", true},
    {"qwen2-q8_0", "f32 q8_0", true},
    {"llama-q4_k_m", "f32 q4_k q6_k", true},
    {"qwen2-q5_k_m", "f32 q5_k q6_k", true},
    {"qwen3-q6_k", "f32 q6_k", true},
};
#define N_VECTORS (sizeof vectors / sizeof *vectors)

static const char *vector_path(char path[256], const char *name, const char *ending) {
    snprintf(path, 256, "tests/vectors/%s.%s", name, ending);
    return path;
}

static struct model *open_model(const char *name) {
    char path[256];
    struct err e = {0};
    struct model *m;
    if (model_open(&m, vector_path(path, name, "gguf"), NULL, &e)) fail_msg("%s", e.text);
    return m;
}

static struct session *open_session(struct model *m, const struct session_options *o) {
    struct err e = {0};
    struct session *s;
    if (session_open(&s, m, o, &e)) fail_msg("%s", e.text);
    return s;
}

/* The 64 tokens' logits, with ubatch and a cache of F32 or F16. */
static float *our_logits(const char *name, uint32_t ubatch, int n_threads, bool f32_cache) {
    struct model *m = open_model(name);
    const struct num_type *t = num_find(f32_cache ? NUM_F32 : NUM_F16);
    struct session *s =
        open_session(m, &(struct session_options){.keep = -1, .n_threads = n_threads, .type_k = t, .type_v = t});
    float *out = malloc(N_TOKENS * N_VOCAB * sizeof *out);
    struct err e = {0};
    if (session_logits(s, tokens, N_TOKENS, ubatch, out, &e)) fail_msg("%s", e.text);
    session_close(s);
    model_close(m);
    return out;
}

static float *their_logits(const char *name) {
    char path[256];
    float *out = malloc(N_TOKENS * N_VOCAB * sizeof *out);
    FILE *f = fopen(vector_path(path, name, "logits"), "rb");
    assert_non_null(f);
    assert_int_equal(fread(out, sizeof *out * N_VOCAB, N_TOKENS, f), N_TOKENS);
    fclose(f);
    return out;
}

static double *widen(const float *x) {
    double *y = malloc(N_TOKENS * N_VOCAB * sizeof *y);
    for (size_t i = 0; i < N_TOKENS * N_VOCAB; i++) y[i] = (double)x[i];
    return y;
}

static double mean_kl(const double *p, const double *q) {
    double sum = 0;
    for (size_t i = 0; i < N_TOKENS; i++) sum += reference_kl(p + i * N_VOCAB, q + i * N_VOCAB, N_VOCAB);
    return sum / N_TOKENS;
}

static size_t best(const double *x) {
    size_t b = 0;
    for (size_t i = 1; i < N_VOCAB; i++)
        if (x[i] > x[b]) b = i;
    return b;
}

/* How far the best lies before the second. */
static double lead(const double *x) {
    size_t b = best(x);
    double second = -INFINITY;
    for (size_t i = 0; i < N_VOCAB; i++)
        if (i != b && x[i] > second) second = x[i];
    return x[b] - second;
}

/* ---- parity -------------------------------------------------------------------------------------------------- */

static void float_models_have_the_logits_of_libllama(void **state) {
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        if (vectors[i].quantised) continue;
        for (uint32_t ubatch = 0; ubatch < 2; ubatch++) {
            float *a = their_logits(vectors[i].name), *b = our_logits(vectors[i].name, ubatch, 2, false);
            double *p = widen(a), *q = widen(b), kl = mean_kl(p, q);
            if (!(kl < 1e-6)) fail_msg("%s, ubatch %u: mean KL divergence %g", vectors[i].name, ubatch, kl);
            for (size_t t = 0; t < N_TOKENS; t++)
                if (lead(p + t * N_VOCAB) > 0.01 && best(p + t * N_VOCAB) != best(q + t * N_VOCAB))
                    fail_msg("%s: token %zu: another choice", vectors[i].name, t);
            free(a), free(b), free(p), free(q);
        }
    }
}

static double *reference_logits(const char *name) {
    char path[256];
    struct reference *r = reference_open(vector_path(path, name, "gguf"));
    assert_int_equal(reference_n_vocab(r), N_VOCAB);
    double *out = malloc(N_TOKENS * N_VOCAB * sizeof *out);
    for (size_t t = 0; t < N_TOKENS; t++) reference_step(r, tokens[t], out + t * N_VOCAB);
    reference_close(r);
    return out;
}

static void quantised_models_stray_no_further_from_their_weights_than_libllama(void **state) {
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        if (!vectors[i].quantised) continue;
        double *p = reference_logits(vectors[i].name);
        float *a = their_logits(vectors[i].name), *b = our_logits(vectors[i].name, 0, 2, false);
        double *q = widen(a), *r = widen(b), theirs = mean_kl(p, q), ours = mean_kl(p, r);
        if (!(ours <= 1.2 * theirs))
            fail_msg("%s: mean KL divergence %g, libllama's %g", vectors[i].name, ours, theirs);
        free(p), free(a), free(b), free(q), free(r);
    }
}

static void with_a_float_cache_float_models_agree_with_the_computation_in_double(void **state) {
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        if (vectors[i].quantised) continue;
        double *p = reference_logits(vectors[i].name);
        float *b = our_logits(vectors[i].name, 0, 2, true);
        for (size_t k = 0; k < N_TOKENS * N_VOCAB; k++)
            if (!(fabs(p[k] - (double)b[k]) < 1e-4))
                fail_msg("%s: token %zu: %g, expected %g", vectors[i].name, k / N_VOCAB, (double)b[k], p[k]);
        free(p), free(b);
    }
}

static void each_vector_holds_the_types_that_it_is_there_for(void **state) {
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        struct model *m = open_model(vectors[i].name);
        char found[128] = "";
        for (uint32_t id = 0; id <= NUM_BF16; id++)
            for (size_t t = 0; t < m->gguf->n_tensors; t++)
                if (m->gguf->tensor[t].type_id == id) {
                    snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s", *found ? " " : "",
                             num_find(id)->name);
                    break;
                }
        assert_string_equal(found, vectors[i].types);
        model_close(m);
    }
}

/* ---- determinism --------------------------------------------------------------------------------------------- */

static void quantised_logits_are_the_same_bits_for_any_batch_split_and_thread_count(void **state) {
    (void)state;
    for (size_t i = 0; i < N_VECTORS; i++) {
        if (!vectors[i].quantised || strstr(vectors[i].name, "bf16")) continue;
        float *a = our_logits(vectors[i].name, 0, 1, false);
        static const struct {
            uint32_t ubatch;
            int n_threads;
        } other[] = {{0, 2}, {0, 3}, {1, 1}, {1, 2}, {7, 2}, {33, 4}};
        for (size_t k = 0; k < sizeof other / sizeof *other; k++) {
            float *b = our_logits(vectors[i].name, other[k].ubatch, other[k].n_threads, false);
            if (memcmp(a, b, N_TOKENS * N_VOCAB * sizeof *a))
                fail_msg("%s: ubatch %u, %d threads", vectors[i].name, other[k].ubatch, other[k].n_threads);
            free(b);
        }
        free(a);
    }
}

/* ---- types of the cache -------------------------------------------------------------------------------------- */

/* What each type may cost, as the mean KL divergence of a model with random weights from itself with a cache of f32. */
static const struct {
    enum num_id id;
    double keys, values;
} cache_types[] = {
    {NUM_F16, 1e-7, 1e-7},    {NUM_BF16, 1e-6, 1e-6},   {NUM_Q8_0, 1e-5, 1e-5},     {NUM_Q5_1, 3e-4, 8e-4},
    {NUM_Q5_0, 3e-4, 8e-4},   {NUM_Q4_1, 1.5e-3, 4e-3}, {NUM_IQ4_NL, 1.5e-3, 4e-3}, {NUM_Q4_0, 1.5e-3, 4e-3},
};
#define N_CACHE_TYPES (sizeof cache_types / sizeof *cache_types)

/* The 64 tokens' logits with keys and values of these types; plain: keys that would be rotated are not. */
static double *typed_logits(struct model *m, enum num_id k, enum num_id v, bool plain) {
    struct session *s = open_session(m, &(struct session_options){.keep = -1, .n_threads = 1, .type_k = num_find(k), .type_v = num_find(v)});
    float *out = malloc(N_TOKENS * N_VOCAB * sizeof *out);
    struct err e = {0};
    if (plain) session_kv(s)->layout.rotated = false;
    if (session_logits(s, tokens, N_TOKENS, 0, out, &e)) fail_msg("%s", e.text);
    double *wide = widen(out);
    free(out);
    session_close(s);
    return wide;
}

static void each_type_of_the_cache_costs_no_more_than_its_bound(void **state) {
    (void)state;
    struct model *m = open_model("qwen3-f16"); /* heads of 32; what is quantised would add its own rounding */
    double *want = typed_logits(m, NUM_F32, NUM_F32, false);
    for (size_t t = 0; t < N_CACHE_TYPES; t++) {
        double *k = typed_logits(m, cache_types[t].id, NUM_F32, false), *v = typed_logits(m, NUM_F32, cache_types[t].id, false);
        double kl_k = mean_kl(want, k), kl_v = mean_kl(want, v);
        if (!(kl_k < cache_types[t].keys && kl_v < cache_types[t].values))
            fail_msg("%s: mean KL divergence %g for keys, %g for values", num_find(cache_types[t].id)->name, kl_k, kl_v);
        free(k);
        free(v);
    }
    free(want);
    model_close(m);
}

static void rotated_keys_of_4_bits_are_better_than_plain_ones(void **state) {
    (void)state;
    static const char *const names[] = {"qwen3-f16", "llama-q4_k_m", "qwen2-q5_k_m"};
    double rotated = 0, plain = 0;
    for (size_t i = 0; i < 3; i++) {
        struct model *m = open_model(names[i]);
        double *want = typed_logits(m, NUM_F32, NUM_F32, false);
        double *a = typed_logits(m, NUM_Q4_0, NUM_F32, false), *b = typed_logits(m, NUM_Q4_0, NUM_F32, true);
        rotated += mean_kl(want, a);
        plain += mean_kl(want, b);
        free(want);
        free(a);
        free(b);
        model_close(m);
    }
    if (!(rotated < plain)) fail_msg("mean KL divergence %g rotated, %g plain", rotated / 3, plain / 3);
}

/* ---- past the bound ------------------------------------------------------------------------------------------ */

struct past {
    size_t n_gone;       /* tokens that left */
    double worst;        /* difference of two logits */
    double early, late;  /* mean KL divergence while and after the first half of the tokens was computed */
};

/* Feeds n tokens one by one into a session with a small bound and into the reference, which drops what the cache says
 * has left, and compares the logits all the way. */
static struct past compare_past_the_bound(const char *name, enum num_id type, enum kv_evict evict, uint32_t bound, size_t n) {
    char path[256];
    struct model *m = open_model(name);
    const struct num_type *cells = num_find(type);
    struct session *s =
        open_session(m, &(struct session_options){
                            .keep = 6, .n_threads = 2, .bound = bound, .evict = evict, .type_k = cells, .type_v = cells});
    struct reference *r = reference_open(vector_path(path, name, "gguf"));
    bool *gone = calloc(n, sizeof *gone);
    double logits[N_VOCAB], ours[N_VOCAB];
    struct past p = {0};
    struct err e = {0};
    for (size_t t = 0; t < n; t++) {
        int32_t token = tokens[(t * 7 + t / N_TOKENS) % N_TOKENS];
        struct session_batch b = {.token = &token, .n = 1, .first = (size_t)-1, .logits = s->logits};
        if (session_compute(s, &b, &e)) fail_msg("token %zu: %s", t, e.text);
        const struct kv_range *left;
        size_t n_left = session_left(s, &left);
        for (size_t k = 0; k < n_left; k++)
            for (size_t i = left[k].first; i < left[k].first + left[k].n; i++) {
                if (gone[i]) continue;
                size_t place = 0;
                for (size_t j = 0; j < i; j++) place += !gone[j];
                reference_drop(r, place, 1);
                gone[i] = true;
                p.n_gone++;
            }
        reference_step(r, token, logits);
        assert_true(reference_length(r) <= bound);
        for (size_t i = 0; i < N_VOCAB; i++) {
            ours[i] = (double)s->logits[i];
            p.worst = fmax(p.worst, fabs(logits[i] - ours[i]));
        }
        *(t < n / 2 ? &p.early : &p.late) += reference_kl(logits, ours, N_VOCAB) / (double)(t < n / 2 ? n / 2 : n - n / 2);
    }
    free(gone);
    reference_close(r);
    session_close(s);
    model_close(m);
    return p;
}

static void after_shifts_attention_is_exact_at_the_effective_positions(void **state) {
    (void)state;
    static const char *const names[] = {"llama-f32", "llama-yarn-f32", "qwen3-f16"};
    for (size_t i = 0; i < 3; i++) {
        struct past p = compare_past_the_bound(names[i], NUM_F32, KV_EVICT_SHIFT, 48, 300);
        assert_true(p.n_gone > 5 * 20);
        if (!(p.worst < 1e-4)) fail_msg("%s: off by %g after %zu tokens left", names[i], p.worst, p.n_gone);
    }
}

static void after_shifts_each_type_of_the_cache_is_as_near_as_before(void **state) {
    (void)state;
    for (size_t t = 0; t < N_CACHE_TYPES; t++) {
        struct past p = compare_past_the_bound("qwen3-f16", cache_types[t].id, KV_EVICT_SHIFT, 48, 300);
        const char *name = num_find(cache_types[t].id)->name;
        assert_true(p.n_gone > 5 * 20);
        if (!(p.late < 2 * (cache_types[t].keys + cache_types[t].values) && p.late < 1.5 * p.early + 1e-7))
            fail_msg("%s: mean KL divergence %g in the first half, %g in the second", name, p.early, p.late);
    }
}

static void a_sliding_window_is_exact_at_the_effective_positions(void **state) {
    (void)state;
    struct past p = compare_past_the_bound("llama-f32", NUM_F32, KV_EVICT_SLIDE, 40, 250);
    assert_true(p.n_gone > 200);
    if (!(p.worst < 1e-4)) fail_msg("off by %g after %zu tokens left", p.worst, p.n_gone);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_vector_holds_the_types_that_it_is_there_for),
        cmocka_unit_test(float_models_have_the_logits_of_libllama),
        cmocka_unit_test(with_a_float_cache_float_models_agree_with_the_computation_in_double),
        cmocka_unit_test(quantised_models_stray_no_further_from_their_weights_than_libllama),
        cmocka_unit_test(quantised_logits_are_the_same_bits_for_any_batch_split_and_thread_count),
        cmocka_unit_test(each_type_of_the_cache_costs_no_more_than_its_bound),
        cmocka_unit_test(rotated_keys_of_4_bits_are_better_than_plain_ones),
        cmocka_unit_test(after_shifts_attention_is_exact_at_the_effective_positions),
        cmocka_unit_test(after_shifts_each_type_of_the_cache_is_as_near_as_before),
        cmocka_unit_test(a_sliding_window_is_exact_at_the_effective_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
