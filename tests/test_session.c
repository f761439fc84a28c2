/* Tests of a session: replies, limits, cancels, growth, bounds, saving. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "model/session.h"
#include "tests/support_folder.h"
#include "tests/support_gguf.h"

#define TRAINED "stories260K/stories260K.gguf"
#define SHORT "stories260K/short-context.gguf" /* the same weights, trained context 128 */
#define VECTOR "tests/vectors/llama-f32.gguf"  /* random weights, 264 tokens, context 2048 */

/* ---- allocation, counted where the linker sends calls of the project (see the Makefile) ---------------------- */

static size_t n_allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n) {
    return n_allocations++, __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size) {
    return n_allocations++, __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n) {
    return n_allocations++, __real_realloc(p, n);
}
void *__wrap_aligned_alloc(size_t align, size_t n) {
    return n_allocations++, __real_aligned_alloc(align, n);
}

/* ---- a fixture ----------------------------------------------------------------------------------------------- */

/* A model, a session on it, and what its events have said. */
struct bench {
    struct model *m;
    struct session *s;
    struct buf shown;
    size_t n_text, progress_done, progress_total, n_cached, n_grown, n_evicted;
    size_t cancel_after, n_asked; /* asked that often, it says yes; 0: never */
    size_t allocations_from, allocations_to, count_from,
        count_to; /* allocations when text events count_from and count_to came */
};

static void on_plan(void *ctx, const struct kv_plan *p, size_t n) {
    struct bench *b = ctx;
    (void)n;
    b->n_cached = p->n_cached;
}
static void on_progress(void *ctx, size_t done, size_t total) {
    struct bench *b = ctx;
    assert_true(done > b->progress_done && done <= total);
    b->progress_done = done, b->progress_total = total;
}
static void on_text(void *ctx, const char *utf8, size_t n, int32_t token) {
    struct bench *b = ctx;
    assert_true(n > 0 && token >= 0);
    buf_add(&b->shown, utf8, n);
    b->n_text++;
    if (b->n_text == b->count_from) b->allocations_from = n_allocations;
    if (b->n_text == b->count_to) b->allocations_to = n_allocations;
}
static void on_cache(void *ctx, const struct kv_event *e) {
    struct bench *b = ctx;
    b->n_grown += e->kind == KV_EVENT_GROW;
    b->n_evicted += e->evicted_tokens;
}
static bool on_cancelled(void *ctx) {
    struct bench *b = ctx;
    return b->cancel_after && ++b->n_asked >= b->cancel_after;
}

static void bench_open(struct bench *b, const char *path, const struct session_options *o) {
    struct err e = {0};
    *b = (struct bench){0};
    buf_reserve(&b->shown, 1 << 14); /* so that the test's own buffer does not count */
    if (model_open(&b->m, path, NULL, &e) || session_open(&b->s, b->m, o, &e)) fail_msg("%s", e.text);
}

static void bench_close(struct bench *b) {
    session_close(b->s);
    model_close(b->m);
    buf_free(&b->shown);
}

static const struct sample_params arg_max = {.top_p = 1, .repeat_penalty = 1};

/* A reply to the given tokens, the first n_keep of which are kept, one turn behind them. */
static int reply_to(struct bench *b, const int32_t *id, size_t n, struct reply_request r, struct reply *out,
                    struct err *e) {
    struct kv_turn turn = {1, n - 1, false};
    struct rendered prompt = {.id = (int32_t *)(uintptr_t)id, .n = n, .n_keep = 1, .turn = &turn, .n_turns = n > 1};
    struct session_events ev = {b, on_plan, on_progress, on_text, on_cache, on_cancelled};
    r.prompt = &prompt;
    if (!r.sampling) r.sampling = &arg_max;
    buf_clear(&b->shown);
    b->n_text = b->progress_done = b->n_asked = 0;
    return session_reply(b->s, &r, &ev, out, e);
}

static const int32_t begin[] = {1}; /* BOS of the trained model */

/* The text of n greedy tokens from BOS; the caller frees. */
static char *tell(struct bench *b, int64_t n) {
    struct reply out;
    struct err e = {0};
    if (reply_to(b, begin, 1, (struct reply_request){.n_max = n, .keep_end_tokens = true}, &out, &e))
        fail_msg("%s", e.text);
    char *text = strdup(buf_text(&out.text));
    assert_string_equal(buf_text(&b->shown), text);
    assert_int_equal(out.tokens.n, n);
    reply_free(&out);
    return text;
}

static char *need(const char *name) {
    char *path = support_data(name);
    if (!path) skip();
    return path;
}

/* ---- the trained model --------------------------------------------------------------------------------------- */

static void the_trained_model_tells_the_published_story(void **state) {
    (void)state;
    char *path = need(TRAINED), *known = need("stories260K/greedy.txt"), expected[1024];
    FILE *f = fopen(known, "rb");
    size_t n = fread(expected, 1, sizeof expected - 1, f);
    expected[n] = 0;
    fclose(f);
    struct bench b;
    bench_open(&b, path, NULL);
    char *text = tell(&b, 200);
    assert_string_equal(text, expected);
    free(text);
    bench_close(&b);
    free(path), free(known);
}

#define LONG 1000

static void a_long_story_is_the_same_however_the_cache_grows_and_whoever_computes(void **state) {
    (void)state;
    char *path = need(TRAINED), *first = NULL;
    static const struct session_options how[] = {
        {.keep = -1, .n_threads = 1, .grow = KV_GROW_FIXED},
        {.keep = -1, .n_threads = 1, .grow = KV_GROW_AUTO},
        {.keep = -1, .n_threads = 1, .grow = KV_GROW_DOUBLE},
        {.keep = -1, .n_threads = 1, .grow = KV_GROW_LINEAR, .step_cells = 256},
        {.keep = -1, .n_threads = 2, .grow = KV_GROW_LINEAR, .step_cells = 256},
        {.keep = -1, .n_threads = 2, .grow = KV_GROW_FIXED},
    };
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        struct bench b;
        bench_open(&b, path, &how[i]);
        char *text = tell(&b, LONG);
        struct session_stats st;
        session_get_stats(b.s, &st);
        assert_int_equal(st.kv.committed, how[i].grow == KV_GROW_FIXED ? 2048 : 1024);
        assert_true(how[i].grow == KV_GROW_FIXED || b.n_grown >= 2);
        if (first)
            assert_string_equal(text, first);
        else
            first = strdup(text);
        free(text);
        bench_close(&b);
    }
    free(first);
    free(path);
}

static void a_story_saved_and_resumed_in_the_middle_goes_on_with_the_same_bytes(void **state) {
    (void)state;
    char *path = need(TRAINED);
    for (uint32_t ubatch = 0; ubatch < 2; ubatch++) { /* 0: the default, where the prompt is one batch */
        struct session_options o = {.keep = -1, .n_threads = 1, .n_ubatch = ubatch};
        struct sample_params drawn = {.temp = 1, .top_p = 0.9f, .repeat_penalty = 1.1f, .repeat_last_n = 32, .seed = 7};
        struct reply_request r = {.n_max = LONG / 2, .keep_end_tokens = true, .sampling = ubatch ? &drawn : &arg_max};
        struct bench a, b;
        struct reply half, whole, resumed;
        struct err e = {0};
        bench_open(&a, path, &o);
        if (reply_to(&a, begin, 1, r, &half, &e)) fail_msg("%s", e.text);
        assert_non_null(support_folder_make());
        const char *file = support_folder_path("saved");
        if (session_save(a.s, file, NULL, &e)) fail_msg("%s", e.text);

        int32_t id[1 + LONG / 2] = {1};
        memcpy(id + 1, half.tokens.id, half.tokens.n * sizeof *id);
        if (reply_to(&a, id, 1 + half.tokens.n, r, &whole, &e)) fail_msg("%s", e.text);
        o.start = 1024; /* another capacity */
        bench_open(&b, path, &o);
        if (session_load(b.s, file, NULL, &e)) fail_msg("%s", e.text);
        if (reply_to(&b, id, 1 + half.tokens.n, r, &resumed, &e)) fail_msg("%s", e.text);
        assert_int_equal(resumed.n_cached, half.tokens.n); /* all but the last, which was never computed */
        assert_string_equal(buf_text(&resumed.text), buf_text(&whole.text));
        assert_memory_equal(a.s->logits, b.s->logits, a.m->weights.shape.n_vocab * sizeof *a.s->logits);
        reply_free(&half), reply_free(&whole), reply_free(&resumed);
        bench_close(&a), bench_close(&b);
        support_folder_remove();
    }
    free(path);
}

static void past_the_bound_five_times_the_story_goes_on(void **state) {
    (void)state;
    char *path = need(SHORT);
    static const enum kv_evict modes[] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE};
    for (size_t i = 0; i < 2; i++) {
        struct bench b;
        bench_open(&b, path, &(struct session_options){.keep = -1, .n_threads = 1, .evict = modes[i]});
        char *text = tell(&b, 6 * 128);
        struct session_stats st;
        session_get_stats(b.s, &st);
        assert_true(st.kv.used <= 128);
        assert_true(st.kv.evicted_tokens >= 5 * 128 - 1); /* the last token needed no room */
        assert_true(b.n_evicted > 0 &&
                    b.n_evicted <= st.kv.evicted_tokens); /* a sliding window tells it once a block */
        free(text);
        bench_close(&b);
    }
    free(path);
}

static void under_stop_a_reply_ends_at_the_bound_and_says_so(void **state) {
    (void)state;
    char *path = need(SHORT);
    struct bench b;
    struct reply out;
    struct err e = {0};
    bench_open(&b, path, &(struct session_options){.keep = -1, .n_threads = 1, .evict = KV_EVICT_STOP});
    assert_int_equal(reply_to(&b, begin, 1, (struct reply_request){.n_max = -1, .keep_end_tokens = true}, &out, &e), 0);
    assert_int_equal(out.finish, FINISH_CONTEXT);
    assert_int_equal(out.n_completion, 128); /* BOS and 127 of them are in the cache; the last one needed no room */
    reply_free(&out);
    bench_close(&b);
    free(path);
}

static void a_stop_string_is_held_back_and_its_tokens_are_not_in_the_reply(void **state) {
    (void)state;
    char *path = need(TRAINED);
    struct bench b;
    struct reply out;
    struct err e = {0};
    static const char *const stop[] = {
        "never said", " play outside in the par"}; /* the second ends inside a word and across tokens */
    bench_open(&b, path, &(struct session_options){.keep = -1, .n_threads = 1});
    assert_int_equal(reply_to(&b, begin, 1, (struct reply_request){.n_max = 200, .stop = stop, .n_stop = 2}, &out, &e),
                     0);
    assert_int_equal(out.finish, FINISH_STOP);
    assert_string_equal(out.stopped_by, stop[1]);
    assert_string_equal(buf_text(&out.text), "Once upon a time, there was a little girl named Lily. She loved to");
    assert_string_equal(buf_text(&b.shown), buf_text(&out.text));
    struct buf again = {0};
    assert_int_equal(vocab_decode(b.m->vocab, out.tokens.id, out.tokens.n, false, true, &again), 0);
    assert_string_equal(buf_text(&again), buf_text(&out.text));
    assert_true(out.n_completion > out.tokens.n);
    buf_free(&again);
    reply_free(&out);
    bench_close(&b);
    free(path);
}

static void an_end_token_ends_the_reply_and_names_itself(void **state) {
    (void)state;
    char *path = need(TRAINED);
    struct bench b;
    struct reply out;
    struct err e = {0};
    bench_open(&b, path, &(struct session_options){.keep = -1, .n_threads = 1});
    assert_int_equal(reply_to(&b, begin, 1, (struct reply_request){.n_max = 2000}, &out, &e), 0);
    assert_int_equal(out.finish, FINISH_STOP);
    assert_true(out.stopped_by[0] == '<' && out.n_completion > 200 && out.n_completion < 2000);
    reply_free(&out);
    bench_close(&b);
    free(path);
}

/* ---- any model ----------------------------------------------------------------------------------------------- */

static const struct session_options one_thread = {.keep = -1, .n_threads = 1};

/* A prompt of n tokens that the random model has. */
static int32_t *some_prompt(size_t n) {
    int32_t *id = malloc(n * sizeof *id);
    for (size_t i = 0; i < n; i++) id[i] = (int32_t)(i * 37 % 250);
    return id;
}

static void decoding_allocates_nothing(void **state) {
    (void)state;
    struct bench b;
    struct reply out;
    struct err e = {0};
    int32_t *id = some_prompt(20);
    bench_open(&b, VECTOR, &one_thread);
    b.count_from = 10, b.count_to = 60;
    size_t before = n_allocations;
    assert_int_equal(reply_to(&b, id, 20, (struct reply_request){.n_max = 200, .keep_end_tokens = true}, &out, &e), 0);
    assert_true(n_allocations > before); /* the hook is in place: a reply's own buffers */
    assert_true(b.n_text >= 60);
    assert_int_equal(b.allocations_to - b.allocations_from, 0);
    reply_free(&out);
    bench_close(&b);
    free(id);
}

static void a_cancel_while_reading_leaves_a_session_that_answers_as_a_fresh_one(void **state) {
    (void)state;
    int32_t *id = some_prompt(300);
    struct session_options o = {.keep = -1, .n_threads = 1, .n_ubatch = 64};
    struct reply_request r = {.n_max = 40, .keep_end_tokens = true};
    struct bench fresh, b;
    struct reply expected, out;
    struct err e = {0};
    bench_open(&fresh, VECTOR, &o);
    assert_int_equal(reply_to(&fresh, id, 300, r, &expected, &e), 0);
    bench_open(&b, VECTOR, &o);
    for (size_t after = 1; after <= 12;
         after++) { /* between batches and at every layer of each; the last time inside a batch */
        b.cancel_after = after;
        session_clear(b.s);
        assert_int_equal(reply_to(&b, id, 300, r, &out, &e), ERR_CANCELLED);
        assert_true(!out.text.len && !out.tokens.n);
    }
    b.cancel_after = 0;
    assert_int_equal(reply_to(&b, id, 300, r, &out, &e), 0);
    assert_int_equal(out.n_cached, 3 * 64); /* the finished batches are not read again, the broken one is */
    assert_memory_equal(out.tokens.id, expected.tokens.id, expected.tokens.n * sizeof *id);
    reply_free(&out), reply_free(&expected);
    bench_close(&b), bench_close(&fresh);
    free(id);
}

static void a_cancel_while_writing_keeps_what_was_written(void **state) {
    (void)state;
    int32_t *id = some_prompt(10);
    struct bench b;
    struct reply whole, out;
    struct err e = {0};
    bench_open(&b, VECTOR, &one_thread);
    assert_int_equal(reply_to(&b, id, 10, (struct reply_request){.n_max = 100, .keep_end_tokens = true}, &whole, &e),
                     0);
    b.cancel_after = 50;
    assert_int_equal(reply_to(&b, id, 10, (struct reply_request){.n_max = 100, .keep_end_tokens = true}, &out, &e), 0);
    assert_int_equal(out.finish, FINISH_CANCEL);
    assert_true(out.tokens.n > 5 && out.tokens.n < 100);
    assert_memory_equal(out.tokens.id, whole.tokens.id, out.tokens.n * sizeof *id);
    assert_string_equal(buf_text(&b.shown), buf_text(&out.text));
    reply_free(&out), reply_free(&whole);
    bench_close(&b);
    free(id);
}

static void the_same_prompt_again_is_not_read_again(void **state) {
    (void)state;
    int32_t *id = some_prompt(100);
    struct reply_request r = {.n_max = 20, .keep_end_tokens = true};
    struct bench b;
    struct reply first, second;
    struct err e = {0};
    bench_open(&b, VECTOR, &one_thread);
    assert_int_equal(reply_to(&b, id, 100, r, &first, &e), 0);
    assert_int_equal(first.n_cached, 0);
    assert_int_equal(b.progress_done, 100);
    assert_int_equal(b.progress_total, 100);
    assert_int_equal(reply_to(&b, id, 100, r, &second, &e), 0);
    assert_int_equal(second.n_cached, 99); /* the last token is always computed */
    assert_int_equal(b.n_cached, 99);
    assert_int_equal(second.n_prompt, 100);
    assert_memory_equal(first.tokens.id, second.tokens.id, first.tokens.n * sizeof *id);
    reply_free(&first), reply_free(&second);
    bench_close(&b);
    free(id);
}

static void a_seed_draws_the_same_reply_again(void **state) {
    (void)state;
    int32_t *id = some_prompt(10);
    struct sample_params p = {.temp = 1.5f, .top_p = 1, .repeat_penalty = 1, .seed = 3};
    struct reply_request r = {.n_max = 30, .keep_end_tokens = true, .sampling = &p};
    struct reply a, b, c;
    struct err e = {0};
    struct bench x, y;
    bench_open(&x, VECTOR, &one_thread);
    bench_open(&y, VECTOR, &one_thread);
    assert_int_equal(reply_to(&x, id, 10, r, &a, &e), 0);
    assert_int_equal(reply_to(&x, id, 10, r, &b, &e),
                     0); /* goes on drawing: regenerating would be of no use otherwise */
    assert_int_equal(reply_to(&y, id, 10, r, &c, &e), 0);
    assert_memory_equal(a.tokens.id, c.tokens.id, 30 * sizeof *id);
    assert_memory_not_equal(a.tokens.id, b.tokens.id, 30 * sizeof *id);
    reply_free(&a), reply_free(&b), reply_free(&c);
    bench_close(&x), bench_close(&y);
    free(id);
}

static void what_cannot_be_answered_is_refused_with_a_reason(void **state) {
    (void)state;
    int32_t bad[] = {1, 264};
    struct bench b;
    struct reply out;
    struct err e = {0};
    bench_open(&b, VECTOR, &one_thread);
    assert_int_equal(reply_to(&b, bad, 2, (struct reply_request){.n_max = 1}, &out, &e), ERR_USAGE);
    assert_string_equal(e.text, "token 264: expected 0 to 263");
    struct rendered none = {0};
    assert_int_equal(session_reply(b.s, &(struct reply_request){.prompt = &none, .sampling = &arg_max}, NULL, &out, &e),
                     ERR_USAGE);
    assert_int_equal(reply_to(&b, bad, 1, (struct reply_request){.n_max = 0}, &out, &e), 0);
    assert_int_equal(out.finish, FINISH_LENGTH);
    assert_int_equal(out.n_completion, 0);
    reply_free(&out);
    bench_close(&b);
}

static void grown_and_fixed_caches_have_the_same_logits_in_both_types(void **state) {
    (void)state;
    enum { N = 520 };
    int32_t *id = some_prompt(N);
    for (int t = 0; t < 2; t++) {
        const struct num_type *type = num_find(t ? NUM_F32 : NUM_F16);
        float *first = NULL;
        for (int how = 0; how < 3; how++) {
            struct bench b;
            bench_open(&b, VECTOR,
                       &(struct session_options){.keep = -1,
                                                 .bound = 1024,
                                                 .n_threads = 1 + how % 2,
                                                 .n_ubatch = 100,
                                                 .type_k = type,
                                                 .type_v = type,
                                                 .grow = how ? KV_GROW_DOUBLE : KV_GROW_FIXED});
            float *out = malloc((size_t)N * 264 * sizeof *out);
            struct err e = {0};
            if (session_logits(b.s, id, N, how == 2 ? 1 : 100, out, &e)) fail_msg("%s", e.text);
            /* another split gives other bits in products of floats, but only there */
            if (first && how < 2) assert_memory_equal(out, first, (size_t)N * 264 * sizeof *out);
            if (first)
                free(out);
            else
                first = out;
            bench_close(&b);
        }
        free(first);
    }
    free(id);
}

static void the_figures_are_those_of_what_happened(void **state) {
    (void)state;
    int32_t *id = some_prompt(50);
    struct bench b;
    struct reply out;
    struct err e = {0};
    struct session_stats st;
    double us[8];
    bench_open(&b, VECTOR, &one_thread);
    assert_int_equal(reply_to(&b, id, 50, (struct reply_request){.n_max = 10, .keep_end_tokens = true}, &out, &e), 0);
    session_get_stats(b.s, &st);
    assert_int_equal(st.kv.used, 50 + 9);
    assert_int_equal(st.kv.committed, 256);
    assert_int_equal(st.n_threads, 1);
    assert_true(st.prefill_tps > 0 && st.decode_tps > 0 && st.scratch_bytes > 0);
    assert_true(st.weight_resident_bytes > 0 && st.weight_resident_bytes <= st.weight_mapped_bytes);
    assert_true(out.prompt_us > 0 && out.completion_us > 0 && out.first_token_us >= out.prompt_us);
    assert_int_equal(session_clear(b.s), 0);
    session_get_stats(b.s, &st);
    assert_int_equal(st.kv.used, 0);
    assert_int_equal(session_bench_fill(b.s, 300, &e), 0);
    assert_int_equal(session_bench_prefill(b.s, 20, us, &e), 0);
    assert_int_equal(session_bench_decode(b.s, 8, us, &e), 0);
    session_get_stats(b.s, &st);
    assert_int_equal(st.kv.used, 328);
    for (int i = 0; i < 8; i++) assert_true(us[i] > 0);
    reply_free(&out);
    bench_close(&b);
    free(id);
}

static void a_cleared_session_holds_what_it_was_opened_with(void **state) {
    (void)state;
    static const struct session_options how[] = {
        {.keep = -1, .n_threads = 1, .bound = 1024},
        {.keep = -1, .n_threads = 1, .bound = 1024, .start = 512},
        {.keep = -1, .n_threads = 1, .bound = 1024, .grow = KV_GROW_FIXED},
    };
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        struct bench b;
        struct err e = {0};
        struct session_stats opened, st;
        bench_open(&b, VECTOR, &how[i]);
        session_get_stats(b.s, &opened);
        assert_int_equal(session_bench_fill(b.s, 1000, &e), 0);
        assert_int_equal(session_clear(b.s), 0);
        session_get_stats(b.s, &st);
        assert_int_equal(st.kv.committed, opened.kv.committed);
        assert_int_equal(st.kv.touched_bytes, 0);
        bench_close(&b);
    }
}

static void the_64_logits_after_a_resume_are_those_of_a_session_never_closed(void **state) {
    (void)state;
    static const char *const names[] = {"tests/vectors/qwen3-q4_0.gguf", "tests/vectors/llama-yarn-f32.gguf"};
    int32_t *id = some_prompt(300);
    static const enum num_id types[] = {NUM_F32, NUM_BF16, NUM_Q8_0, NUM_Q4_0, NUM_Q4_1, NUM_Q5_0, NUM_Q5_1, NUM_IQ4_NL};
    for (size_t i = 0; i < 4 + sizeof types / sizeof *types; i++) { /* each model with room for all, and long past its bound, with offsets */
        const struct num_type *type = i < 4 ? NULL : num_find(types[i - 4]);
        struct session_options o = {
            .keep = 4, .n_threads = 1, .bound = i < 2 ? 512 : 100, .n_ubatch = 40, .type_k = type, .type_v = type};
        struct bench a, b;
        struct err e = {0};
        bench_open(&a, names[i < 4 ? i % 2 : 0], &o);
        o.start = o.bound; /* another capacity */
        bench_open(&b, names[i < 4 ? i % 2 : 0], &o);
        float *all = malloc((size_t)300 * 264 * sizeof *all);
        assert_int_equal(session_logits(a.s, id, 300, 40, all, &e), 0);
        free(all);
        assert_non_null(support_folder_make());
        if (session_save(a.s, support_folder_path("saved"), NULL, &e)) fail_msg("%s", e.text);
        for (int t = 0; t < 20; t++) { /* and again behind that, after a turn more */
            struct session_batch next = {.token = id + 100 + t, .n = 1, .first = (size_t)-1, .logits = a.s->logits};
            if (session_compute(a.s, &next, &e)) fail_msg("%s", e.text);
        }
        if (session_save(a.s, support_folder_path("saved"), NULL, &e)) fail_msg("%s", e.text);
        if (session_load(b.s, support_folder_path("saved"), NULL, &e)) fail_msg("%s", e.text);
        for (int t = 0; t < 64; t++) {
            struct bench *both[] = {&a, &b};
            for (int k = 0; k < 2; k++) {
                struct session_batch next = {
                    .token = id + t, .n = 1, .first = (size_t)-1, .logits = both[k]->s->logits};
                if (session_compute(both[k]->s, &next, &e)) fail_msg("%s", e.text);
            }
            assert_memory_equal(a.s->logits, b.s->logits, 264 * sizeof(float));
        }
        support_folder_remove();
        bench_close(&a), bench_close(&b);
    }
    free(id);
}

/* Asks for the figures until the reply is there. */
static atomic_bool asking;
static void *ask(void *session) {
    struct session_stats st = {0};
    while (atomic_load(&asking)) {
        session_get_stats(session, &st);
        if (st.kv.used > st.kv.bound) return session;
        usleep(200);
    }
    return NULL;
}

static void the_figures_may_be_asked_for_by_another_thread_while_a_reply_is_written(void **state) {
    (void)state;
    int32_t *id = some_prompt(200);
    struct bench b;
    struct reply out;
    struct err e = {0};
    pthread_t thread;
    bench_open(&b, VECTOR, &(struct session_options){.keep = -1, .n_threads = 2, .n_ubatch = 32});
    atomic_store(&asking, true);
    assert_int_equal(pthread_create(&thread, NULL, ask, b.s), 0);
    struct reply_request r = {.n_max = 300, .keep_end_tokens = true}; /* grows on the way */
    assert_int_equal(reply_to(&b, id, 200, r, &out, &e), 0);
    atomic_store(&asking, false);
    void *wrong;
    pthread_join(thread, &wrong);
    assert_null(wrong);
    reply_free(&out);
    bench_close(&b);
    free(id);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trained_model_tells_the_published_story),
        cmocka_unit_test(a_long_story_is_the_same_however_the_cache_grows_and_whoever_computes),
        cmocka_unit_test(a_story_saved_and_resumed_in_the_middle_goes_on_with_the_same_bytes),
        cmocka_unit_test(past_the_bound_five_times_the_story_goes_on),
        cmocka_unit_test(under_stop_a_reply_ends_at_the_bound_and_says_so),
        cmocka_unit_test(a_stop_string_is_held_back_and_its_tokens_are_not_in_the_reply),
        cmocka_unit_test(an_end_token_ends_the_reply_and_names_itself),
        cmocka_unit_test(decoding_allocates_nothing),
        cmocka_unit_test(a_cancel_while_reading_leaves_a_session_that_answers_as_a_fresh_one),
        cmocka_unit_test(a_cancel_while_writing_keeps_what_was_written),
        cmocka_unit_test(the_same_prompt_again_is_not_read_again),
        cmocka_unit_test(a_seed_draws_the_same_reply_again),
        cmocka_unit_test(what_cannot_be_answered_is_refused_with_a_reason),
        cmocka_unit_test(grown_and_fixed_caches_have_the_same_logits_in_both_types),
        cmocka_unit_test(a_cleared_session_holds_what_it_was_opened_with),
        cmocka_unit_test(the_64_logits_after_a_resume_are_those_of_a_session_never_closed),
        cmocka_unit_test(the_figures_are_those_of_what_happened),
        cmocka_unit_test(the_figures_may_be_asked_for_by_another_thread_while_a_reply_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
