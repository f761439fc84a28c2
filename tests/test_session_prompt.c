/* Tests of a session that goes from one conversation to another and back: what is computed, and that its bits are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"
#include "model/model.h"
#include "model/session.h"

#define QUANTISED "tests/vectors/qwen3-q4_0.gguf"
#define N_VOCAB 264u
#define N_REPLY 24

static struct model *m;

static struct session *open_session(uint64_t prompt_bytes, enum kv_evict evict) {
    struct err e = {0};
    struct session *s;
    struct session_options o = {.keep = 0, .bound = 400, .n_threads = 1, .prompt_bytes = prompt_bytes, .evict = evict};
    if (session_open(&s, m, &o, &e)) fail_msg("%s", e.text);
    return s;
}

/* Asks for a reply to n tokens of conversation c; what was cached. */
static size_t ask(struct session *s, uint64_t c, size_t n, struct reply *out) {
    static const struct sample_params arg_max = {.top_p = 1, .repeat_penalty = 1};
    struct err e = {0};
    int32_t id[1000];
    for (size_t i = 0; i < n; i++) id[i] = (int32_t)((i * 89 + i / 7 + (i < 10 ? 0 : c * 31)) % 256);
    struct rendered r = {.id = id, .n = n};
    struct reply_request q = {
        .prompt = &r, .sampling = &arg_max, .n_max = N_REPLY, .keep_end_tokens = true, .conversation = c};
    if (session_reply(s, &q, NULL, out, &e)) fail_msg("%s", e.text);
    return out->n_cached;
}

static void assert_same(const struct reply *a, const struct session *s, const struct reply *b, const struct session *z) {
    assert_int_equal(a->tokens.n, b->tokens.n);
    assert_memory_equal(a->tokens.id, b->tokens.id, a->tokens.n * sizeof *a->tokens.id);
    assert_memory_equal(s->logits, z->logits, N_VOCAB * sizeof *s->logits);
}

static void going_back_to_a_conversation_computes_one_token_and_gives_the_same_bits(void **state) {
    (void)state;
    struct session *s = open_session(KV_PROMPT_AUTO, KV_EVICT_SHIFT), *alone = open_session(0, KV_EVICT_SHIFT);
    struct reply a, b, again, want;
    assert_int_equal(ask(s, 1, 300, &a), 0);
    assert_int_equal(ask(s, 2, 200, &b), 10); /* what both begin with */
    assert_int_equal(ask(s, 1, 300, &again), 299);
    ask(alone, 1, 300, &want);
    assert_same(&again, s, &want, alone);
    assert_same(&a, s, &want, alone);
    reply_free(&again);
    assert_int_equal(ask(s, 2, 200, &again), 199);
    assert_int_equal(again.tokens.n, b.tokens.n);
    assert_memory_equal(again.tokens.id, b.tokens.id, b.tokens.n * sizeof *b.tokens.id);
    struct session_stats st;
    session_get_stats(s, &st);
    assert_int_equal(st.kv.n_parked, 1);
    assert_int_equal(st.kv.used, 200 + N_REPLY - 1);
    reply_free(&a), reply_free(&b), reply_free(&again), reply_free(&want);
    session_close(s);
    session_close(alone);
}

static void a_conversation_that_was_left_is_taken_up_by_its_name(void **state) {
    (void)state;
    struct session *s = open_session(KV_PROMPT_AUTO, KV_EVICT_RESEED);
    struct reply r;
    ask(s, 1, 300, &r), reply_free(&r);
    session_park(s);
    assert_false(session_resume(s, 2));
    ask(s, 2, 100, &r), reply_free(&r);
    session_park(s);
    assert_true(session_resume(s, 1));
    assert_int_equal(ask(s, 1, 300, &r), 299);
    reply_free(&r);
    struct session_stats st;
    assert_int_equal(session_clear(s), 0); /* this one alone */
    session_get_stats(s, &st);
    assert_int_equal(st.kv.n_parked, 1);
    assert_int_equal(st.kv.used, 0);
    session_close(s);
    s = open_session(0, KV_EVICT_SHIFT);
    ask(s, 1, 300, &r), reply_free(&r);
    session_park(s);
    assert_false(session_resume(s, 1));
    session_get_stats(s, &st);
    assert_int_equal(st.kv.n_parked, 0);
    assert_int_equal(st.kv.used, 0);
    session_close(s);
}

static void an_earlier_branch_is_there_again(void **state) {
    (void)state;
    struct session *s = open_session(KV_PROMPT_AUTO, KV_EVICT_SHIFT);
    struct reply first, r;
    ask(s, 1, 300, &first);
    ask(s, 1, 60, &r), reply_free(&r);         /* most of it taken back, and answered otherwise */
    assert_int_equal(ask(s, 1, 300, &r), 299); /* and what was taken back is said once more */
    assert_memory_equal(r.tokens.id, first.tokens.id, r.tokens.n * sizeof *r.tokens.id);
    reply_free(&r), reply_free(&first);
    session_close(s);
}

static int open_file(void **state) {
    (void)state;
    struct err e = {0};
    return model_open(&m, QUANTISED, NULL, &e);
}

static int close_file(void **state) {
    (void)state;
    model_close(m);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(going_back_to_a_conversation_computes_one_token_and_gives_the_same_bits),
        cmocka_unit_test(a_conversation_that_was_left_is_taken_up_by_its_name),
        cmocka_unit_test(an_earlier_branch_is_there_again),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
