/* Tests of app/worker: what is told for each request, and that a cancel, a gate and a close do what they say. The model is stories260K;
 * without it the tests that need one are skipped. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "app/worker.h"
#include "tests/support_folder.h"
#include "tests/support_gguf.h"

static char *model;

static int find_model(void **state) {
    (void)state;
    model = support_data("stories260K/stories260K.gguf");
    return support_folder_make() ? 0 : -1;
}

static int forget_model(void **state) {
    (void)state;
    free(model);
    support_folder_remove();
    return 0;
}

static struct worker *open_worker(void) {
    struct worker *w;
    assert_int_equal(worker_open(&w, NULL), 0);
    return w;
}

/* Takes events up to the last one of the request; frees the others. */
static struct worker_event end_of(struct worker *w, uint64_t request) {
    struct worker_event ev;
    assert_true(request > 0);
    while (worker_wait(w, &ev)) {
        if (ev.last && ev.request == request) return ev;
        worker_event_free(&ev);
    }
    fail_msg("the worker was closed");
    return ev;
}

static void assert_done(struct worker *w, uint64_t request) {
    struct worker_event ev = end_of(w, request);
    if (worker_event_error(&ev)) fail_msg("%s", worker_event_error(&ev)->text);
    assert_int_equal(ev.kind, WORKER_DONE);
}

static struct worker *open_loaded(void) {
    if (!model) skip();
    struct worker *w = open_worker();
    assert_done(w, worker_load(w, model, &(struct session_options){.n_threads = 1, .start = 256}));
    return w;
}

static const struct chat_message EMPTY = {.role = CHAT_USER, .text = ""};

static struct worker_turn turn_of(int64_t n_max) {
    return (struct worker_turn){.message = &EMPTY, .n_messages = 1, .n_max = n_max, .sampling = {.top_p = 1, .repeat_penalty = 1}};
}

static void a_request_without_a_model_ends_with_an_error(void **state) {
    (void)state;
    struct worker *w = open_worker();
    struct worker_turn t = turn_of(1);
    const uint64_t requests[] = {worker_reply(w, &t), worker_clear(w), worker_save(w, "x"), worker_set_limit(w, WORKER_SHRINK, 0)};
    for (size_t i = 0; i < 4; i++) {
        struct worker_event ev = end_of(w, requests[i]);
        assert_int_equal(ev.kind, WORKER_ERROR);
        assert_int_equal(worker_event_error(&ev)->code, ERR_FILE);
        worker_event_free(&ev);
    }
    assert_false(worker_get_stats(w, &(struct session_stats){0}));
    assert_null(worker_model(w));
    worker_close(w);
}

static void a_model_that_cannot_be_opened_is_an_error_of_its_load(void **state) {
    (void)state;
    struct worker *w = open_worker();
    struct worker_event ev = end_of(w, worker_load(w, support_folder_path("missing.gguf"), &(struct session_options){0}));
    assert_int_equal(ev.kind, WORKER_ERROR);
    assert_int_equal(worker_event_error(&ev)->code, ERR_FILE);
    worker_event_free(&ev);
    worker_close(w);
}

static void a_reply_comes_as_a_plan_then_text_then_the_whole(void **state) {
    (void)state;
    struct worker *w = open_loaded();
    struct worker_turn t = turn_of(20);
    uint64_t request = worker_reply(w, &t);
    struct buf text = {0};
    struct worker_event ev;
    bool planned = false;
    while (worker_wait(w, &ev) && !ev.last) {
        assert_int_equal(ev.request, request);
        if (ev.kind == WORKER_PLAN) planned = true;
        if (ev.kind == WORKER_TEXT) {
            assert_true(planned);
            buf_add(&text, ev.text, ev.n_text);
        }
        worker_event_free(&ev);
    }
    assert_int_equal(ev.kind, WORKER_REPLY);
    assert_int_equal(ev.result->reply.n_completion, 20);
    assert_string_equal(buf_text(&ev.result->reply.text), buf_text(&text));
    assert_int_equal(ev.result->n_messages, 1);
    assert_false(ev.result->message[0].left);
    worker_event_free(&ev);
    buf_free(&text);
    worker_close(w);
}

static void the_pipe_wakes_a_loop_that_waits(void **state) {
    (void)state;
    struct worker *w = open_worker();
    struct pollfd p = {.fd = worker_wake_fd(w), .events = POLLIN};
    uint64_t request = worker_clear(w);
    struct worker_event ev;
    assert_int_equal(poll(&p, 1, -1), 1);
    worker_drain(w);
    assert_true(worker_pop(w, &ev));
    assert_int_equal(ev.request, request);
    worker_event_free(&ev);
    assert_false(worker_pop(w, &ev));
    worker_close(w);
}

static void a_cancel_ends_a_running_reply_and_keeps_its_text(void **state) {
    (void)state;
    struct worker *w = open_loaded();
    struct worker_turn t = turn_of(-1);
    uint64_t request = worker_reply(w, &t);
    struct worker_event ev;
    do {
        assert_true(worker_wait(w, &ev));
        worker_event_free(&ev);
    } while (ev.kind != WORKER_TEXT);
    worker_cancel(w); /* the events that wait are fewer than the story's tokens: it is not over */
    ev = end_of(w, request);
    assert_int_equal(ev.kind, WORKER_REPLY);
    assert_int_equal(ev.result->reply.finish, FINISH_CANCEL);
    assert_true(ev.result->reply.text.len > 0);
    worker_event_free(&ev);
    ev = end_of(w, worker_reply(w, &t)); /* and the next one is not cancelled */
    assert_int_equal(ev.kind, WORKER_REPLY);
    assert_int_not_equal(ev.result->reply.finish, FINISH_CANCEL);
    worker_event_free(&ev);
    worker_close(w);
}

/* A gate that notes that it was asked, and refuses where told to. */
struct gate {
    _Atomic uint64_t ticket;
    bool refuse;
};

static int ask_gate(void *ctx, uint64_t ticket, struct err *e) {
    struct gate *g = ctx;
    atomic_store(&g->ticket, ticket);
    return g->refuse ? err_set(e, ERR_FAILED, "not on the disk") : 0;
}

static void a_turn_starts_only_when_its_gate_opens(void **state) {
    (void)state;
    struct worker *w = open_loaded();
    struct gate g = {.refuse = true};
    struct worker_turn t = turn_of(2);
    t.may_start = ask_gate;
    t.start_ctx = &g;
    t.ticket = 7;
    struct worker_event ev = end_of(w, worker_reply(w, &t));
    assert_int_equal(ev.kind, WORKER_ERROR);
    assert_string_equal(worker_event_error(&ev)->text, "not on the disk");
    worker_event_free(&ev);
    assert_int_equal(atomic_load(&g.ticket), 7);
    struct session_stats st;
    assert_true(worker_get_stats(w, &st));
    assert_int_equal(st.kv.used, 0); /* nothing was computed */
    g.refuse = false;
    ev = end_of(w, worker_reply(w, &t));
    assert_int_equal(ev.kind, WORKER_REPLY);
    worker_event_free(&ev);
    worker_close(w);
}

static void what_a_turn_points_to_may_go_once_it_was_asked_for(void **state) {
    (void)state;
    struct worker *w = open_loaded();
    char text[] = "Once upon", stop[] = " a";
    const char *stops[] = {stop};
    struct chat_message message = {.role = CHAT_USER, .text = text, .n_text = strlen(text)};
    struct worker_turn t = turn_of(10);
    t.message = &message;
    t.stop = stops;
    t.n_stop = 1;
    uint64_t request = worker_reply(w, &t);
    memset(text, 'x', sizeof text);
    memset(stop, 'x', sizeof stop);
    message = (struct chat_message){0};
    struct worker_event ev = end_of(w, request);
    assert_int_equal(ev.kind, WORKER_REPLY);
    assert_string_equal(ev.result->reply.stopped_by, " a");
    assert_string_equal(buf_text(&ev.result->reply.text), ""); /* as its stories go: once upon a time */
    assert_int_equal(ev.result->reply.n_prompt, 3);            /* with BOS */
    worker_event_free(&ev);
    worker_close(w);
}

static void a_snapshot_goes_to_a_file_and_back(void **state) {
    (void)state;
    struct worker *w = open_loaded();
    struct worker_turn t = turn_of(20);
    struct session_stats before, after;
    const char *path = support_folder_path("session.kv");
    struct worker_event ev = end_of(w, worker_reply(w, &t));
    worker_event_free(&ev);
    assert_true(worker_get_stats(w, &before));
    ev = end_of(w, worker_save(w, path));
    assert_int_equal(ev.kind, WORKER_DONE);
    assert_true(ev.bytes > 0);
    assert_done(w, worker_clear(w));
    assert_done(w, worker_restore(w, path, 1));
    assert_true(worker_get_stats(w, &after));
    assert_int_equal(after.kv.used, before.kv.used);
    worker_close(w);
}

static void limits_change_while_nothing_runs(void **state) {
    (void)state;
    struct worker *w = open_loaded();
    struct session_stats st;
    assert_done(w, worker_set_limit(w, WORKER_GROW_TO, 512));
    assert_done(w, worker_set_limit(w, WORKER_SET_EVICT, KV_EVICT_SLIDE));
    assert_done(w, worker_set_limit(w, WORKER_SET_BOUND, 1024));
    assert_true(worker_get_stats(w, &st));
    assert_int_equal(st.kv.committed, 512);
    assert_int_equal(st.kv.bound, 1024);
    assert_int_equal(st.kv.evict, KV_EVICT_SLIDE);
    assert_done(w, worker_set_limit(w, WORKER_SHRINK, 0));
    assert_true(worker_get_stats(w, &st));
    assert_int_equal(st.kv.committed, 256);
    struct worker_event ev = end_of(w, worker_set_limit(w, WORKER_GROW_TO, -1));
    assert_int_equal(worker_event_error(&ev)->code, ERR_USAGE);
    worker_event_free(&ev);
    worker_close(w);
}

static void closing_in_the_middle_of_a_reply_waits_for_nothing(void **state) {
    (void)state;
    struct worker *w = open_loaded();
    struct worker_turn t = turn_of(-1);
    struct worker_event ev;
    assert_true(worker_reply(w, &t) > 0);
    assert_true(worker_reply(w, &t) > 0);
    do {
        assert_true(worker_wait(w, &ev));
        worker_event_free(&ev);
    } while (ev.kind != WORKER_TEXT);
    worker_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_without_a_model_ends_with_an_error),
        cmocka_unit_test(a_model_that_cannot_be_opened_is_an_error_of_its_load),
        cmocka_unit_test(a_reply_comes_as_a_plan_then_text_then_the_whole),
        cmocka_unit_test(the_pipe_wakes_a_loop_that_waits),
        cmocka_unit_test(a_cancel_ends_a_running_reply_and_keeps_its_text),
        cmocka_unit_test(a_turn_starts_only_when_its_gate_opens),
        cmocka_unit_test(what_a_turn_points_to_may_go_once_it_was_asked_for),
        cmocka_unit_test(a_snapshot_goes_to_a_file_and_back),
        cmocka_unit_test(limits_change_while_nothing_runs),
        cmocka_unit_test(closing_in_the_middle_of_a_reply_waits_for_nothing),
    };
    return cmocka_run_group_tests(tests, find_model, forget_model);
}
