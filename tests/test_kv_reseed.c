/* Tests of the mode reseed, of the modes that become it, and of what every mode keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support_kv.h"

/* A conversation of a kept part of 40 tokens and turns of 100; token i is i + 1000. */
struct talk {
    int32_t token[8192];
    struct kv_turn turn[64];
    struct kv_prompt p;
};

static struct talk *talk_new(size_t n_turns) {
    struct talk *t = calloc(1, sizeof *t);
    for (int i = 0; i < 8192; i++) t->token[i] = i + 1000;
    for (size_t i = 0; i < 64; i++) t->turn[i] = (struct kv_turn){40 + i * 100, 100, false};
    t->p = (struct kv_prompt){t->token, 40 + n_turns * 100, 40, t->turn, n_turns, 0};
    return t;
}

static void say(struct talk *t, size_t n_turns) {
    t->p.n_turns = n_turns;
    t->p.n_tokens = 40 + n_turns * 100;
}

static struct kv *open_mode(enum kv_evict mode, uint32_t bound) {
    struct kv_config g = kvt_config(bound, "f16");
    g.evict = mode;
    return kvt_open(&g);
}

static struct kv_plan prompt(struct kv *c, const struct talk *t) {
    struct err e = {0};
    struct kv_plan plan;
    if (kvt_prompt(c, 0, &t->p, &plan, &e)) fail_msg("%s", e.text);
    kvt_check(c, 0);
    return plan;
}

/* All that is live stands where a fresh computation would have put it. */
static void assert_fresh(const struct kv *c) {
    const struct kv_seq *s = &c->seq[0];
    int64_t pos = 0;
    for (size_t i = 0; i < s->n_runs; pos += s->run[i].n, i++) {
        assert_int_equal(s->run[i].pos, pos);
        assert_int_equal(s->run[i].offset, 0);
    }
    assert_true(kv_seq_taint(s) == SIZE_MAX);
}

static void assert_left(struct kv *c, size_t first, size_t n) {
    const struct kv_range *left;
    assert_int_equal(kv_left(c, 0, &left), n > 0);
    if (!n) return;
    assert_int_equal(left[0].first, first);
    assert_int_equal(left[0].n, n);
}

static void reseed_drops_what_shift_drops_and_computes_what_stays_again(void **state) {
    (void)state;
    struct talk *t = talk_new(9);
    struct kv *shift = open_mode(KV_EVICT_SHIFT, 1000), *c = open_mode(KV_EVICT_RESEED, 1000);
    prompt(shift, t);
    prompt(c, t);
    for (size_t i = 940; i < 1000; i++) {
        assert_int_equal(kvt_append(shift, 0, t->token[i], NULL), 0);
        assert_int_equal(kvt_append(c, 0, t->token[i], NULL), 0);
    }
    struct kv_plan plan;
    assert_int_equal(kv_make_room(c, 0, 1, &plan, NULL), 0);
    assert_int_equal(plan.evicted_turns, 5);
    assert_int_equal(plan.evicted_tokens, 500);
    assert_int_equal(plan.n_cached, 40);
    assert_int_equal(plan.n_todo, 1);
    assert_int_equal(plan.todo[0].first, 540);
    assert_int_equal(plan.todo[0].n, 460);
    const int32_t *token;
    kv_tokens(c, 0, &token);
    assert_memory_equal(token, t->token, 1000 * sizeof *token);
    for (size_t at = 540; at < 1000; at += 92) assert_int_equal(kvt_feed(c, 0, t->token, at, 92, NULL), 0);
    for (size_t i = 1000; i < 4000; i++) { /* through many more */
        assert_int_equal(kvt_append(shift, 0, t->token[i], NULL), 0);
        assert_int_equal(kvt_append(c, 0, t->token[i], NULL), 0);
        assert_fresh(c);
        const struct kv_range *a, *b;
        size_t n = kv_left(shift, 0, &a);
        assert_int_equal(kv_left(c, 0, &b), n);
        assert_memory_equal(a, b, n * sizeof *a);
    }
    kvt_check(c, 0);
    assert_false(kv_seq_taint(&shift->seq[0]) == SIZE_MAX);
    kv_close(shift);
    kv_close(c);
    free(t);
}

static void a_prompt_past_the_bound_is_computed_again_from_the_first_difference(void **state) {
    (void)state;
    struct talk *t = talk_new(9);
    struct kv *c = open_mode(KV_EVICT_RESEED, 1000);
    t->turn[0].pinned = true;
    prompt(c, t);
    say(t, 10);
    struct kv_plan plan = prompt(c, t); /* of 860 beside the kept part and the pinned turn 430 are to be free */
    assert_left(c, 140, 500);
    assert_int_equal(plan.n_cached, 140);
    assert_int_equal(plan.todo[0].first, 640);
    assert_int_equal(plan.n_todo_tokens, 400);
    assert_int_equal(plan.evicted_turns, 5);
    assert_fresh(c);
    say(t, 11);
    plan = prompt(c, t);
    assert_int_equal(plan.n_todo_tokens, 100); /* nothing leaves, nothing is computed again */
    assert_int_equal(plan.evicted_tokens, 0);
    kv_close(c);
    free(t);
}

static void a_token_that_needs_room_alone_is_refused_and_nothing_changes(void **state) {
    (void)state;
    struct kv *c = open_mode(KV_EVICT_RESEED, 300);
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    struct kv_batch b;
    struct err e = {0};
    assert_int_equal(kv_begin(c, 0, &(int32_t){7}, 1, SIZE_MAX, &b, &e), ERR_CONTEXT);
    assert_non_null(strstr(e.text, "computed again"));
    assert_int_equal(c->cells.used, 300);
    assert_left(c, 0, 0);
    kvt_check(c, 0);
    kv_close(c);
}

static void a_turn_that_is_alone_loses_its_own_oldest_tokens_by_blocks(void **state) {
    (void)state;
    struct talk *t = talk_new(1);
    struct kv *c = open_mode(KV_EVICT_RESEED, 1000);
    prompt(c, t);
    for (int i = 0; i < 861; i++) assert_int_equal(kvt_append(c, 0, 9, NULL), 0);
    assert_left(c, 40, 512);
    assert_fresh(c);
    for (int i = 0; i < 5000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    const struct kv_range *left;
    assert_int_equal(kv_left(c, 0, &left), 1);
    assert_int_equal(left[0].first, 40);
    assert_int_equal(left[0].n % KV_BLOCK, 0);
    assert_fresh(c);
    kvt_check(c, 0);
    kv_close(c);
    free(t);
}

static void what_a_shift_left_behind_is_computed_again_once_the_mode_is_reseed(void **state) {
    (void)state;
    struct talk *t = talk_new(9);
    struct kv *c = open_mode(KV_EVICT_SHIFT, 1000);
    prompt(c, t);
    say(t, 10);
    prompt(c, t);
    assert_left(c, 40, 600);
    assert_int_equal(kv_set_evict(c, KV_EVICT_RESEED, NULL), 0);
    say(t, 11);
    struct kv_plan plan = prompt(c, t);
    assert_int_equal(plan.n_cached, 40);
    assert_int_equal(plan.evicted_tokens, 0);
    assert_int_equal(plan.todo[0].first, 640); /* what had left does not come back */
    assert_int_equal(plan.n_todo_tokens, 500);
    assert_left(c, 40, 600);
    assert_fresh(c);
    /* and what was moved by hand */
    assert_int_equal(kv_seq_add(c, 0, 100, -1, 5, NULL), 0);
    plan = prompt(c, t);
    assert_int_equal(plan.n_cached, 0);
    assert_int_equal(plan.n_todo_tokens, 540);
    assert_fresh(c);
    kv_close(c);
    free(t);
}

static void a_computation_that_was_stopped_in_its_middle_goes_on_at_the_next_prompt(void **state) {
    (void)state;
    struct talk *t = talk_new(9);
    struct kv *c = open_mode(KV_EVICT_RESEED, 941);
    prompt(c, t);
    struct kv_plan plan;
    assert_int_equal(kv_make_room(c, 0, 2, &plan, NULL), 0);
    size_t first = plan.todo[0].first;
    assert_int_equal(first, 540);
    assert_int_equal(kvt_feed(c, 0, t->token, first, 100, NULL), 0);
    plan = prompt(c, t);
    assert_int_equal(plan.n_cached + plan.n_todo_tokens, c->cells.used);
    assert_int_equal(plan.n_cached, 140);
    assert_left(c, 40, 500);
    assert_fresh(c);
    kv_close(c);
    free(t);
}

static void shared_cells_stay_for_the_others_and_what_is_computed_again_has_its_own(void **state) {
    (void)state;
    struct talk *t = talk_new(5);
    struct kv *c = open_mode(KV_EVICT_RESEED, 1000);
    prompt(c, t);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    uint64_t hash[540];
    for (size_t i = 0; i < 540; i++) hash[i] = kvt_hash(c, 1, i);
    say(t, 8);
    prompt(c, t);
    assert_int_equal(c->cells.used, 840);
    say(t, 10); /* 1040: of sequence 0 what stays is computed again beside the 540 of the other one */
    prompt(c, t);
    assert_fresh(c);
    assert_true(c->cells.used <= 1000);
    kvt_check(c, 1);
    assert_int_equal(c->seq[1].n_cells, 540);
    for (size_t i = 0; i < 540; i++) assert_true(hash[i] == kvt_hash(c, 1, i));
    kv_close(c);
    free(t);
}

static void every_mode_keeps_the_kept_part_and_pinned_turns(void **state) {
    (void)state;
    static const enum kv_evict mode[3] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE, KV_EVICT_RESEED};
    for (int m = 0; m < 3; m++) {
        struct talk *t = talk_new(1);
        struct kv *c = open_mode(mode[m], 1000);
        t->turn[1].pinned = t->turn[4].pinned = true;
        for (size_t n = 1; n < 40; n++) {
            say(t, n);
            prompt(c, t);
            const struct kv_seq *s = &c->seq[0];
            assert_int_equal(kv_seq_count(s, &c->cells, 0, 40, false), 40);
            assert_int_equal(kv_seq_count(s, &c->cells, 140, 240, false), n > 1 ? 100 : 0);
            assert_int_equal(kv_seq_count(s, &c->cells, 440, 540, false), n > 4 ? 100 : 0);
            assert_true(c->cells.used <= 1000);
        }
        /* they leave in a reply as little as with a prompt */
        for (int i = 0; i < 3000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
        assert_int_equal(kv_seq_count(&c->seq[0], &c->cells, 140, 240, false), 100);
        assert_int_equal(kv_seq_count(&c->seq[0], &c->cells, 440, 540, false), 100);
        kvt_check(c, 0);
        kv_close(c);
        free(t);
    }
}

static void modes_that_cannot_be_carried_out_become_reseed_and_say_so_once(void **state) {
    (void)state;
    static const enum kv_evict mode[2] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE};
    for (int m = 0; m < 2; m++) {
        struct kv_config g = kvt_config(1000, "f16");
        g.evict = mode[m];
        g.cannot_shift = true;
        struct kv *c = kvt_open(&g), *like = open_mode(KV_EVICT_RESEED, 1000);
        struct talk *t = talk_new(1);
        for (size_t n = 1; n < 40; n++) {
            const struct kv_range *a, *b;
            say(t, n);
            prompt(c, t);
            prompt(like, t);
            assert_fresh(c);
            size_t n_left = kv_left(like, 0, &a);
            assert_int_equal(kv_left(c, 0, &b), n_left);
            assert_memory_equal(a, b, n_left * sizeof *a);
        }
        struct kv_stats s;
        kv_get_stats(c, &s);
        assert_int_equal(s.evict, KV_EVICT_RESEED);
        assert_int_equal(kv_set_evict(c, KV_EVICT_STOP, NULL), 0);
        kv_get_stats(c, &s);
        assert_int_equal(s.evict, KV_EVICT_STOP);
        assert_int_equal(kv_set_evict(c, mode[1 - m], NULL), 0);
        struct kv_event ev[KV_EVENTS];
        size_t told = 0, n = kv_events(c, 0, ev, KV_EVENTS);
        for (size_t i = 0; i < n; i++) told += ev[i].kind == KV_EVENT_MODE;
        assert_int_equal(told, 1);
        assert_int_equal(ev[0].kind, KV_EVENT_MODE);
        assert_string_equal(ev[0].reason, m ? "reseed in place of slide" : "reseed in place of shift");
        kv_close(c);
        kv_close(like);
        free(t);
    }
}

static void a_rewind_to_what_never_saw_what_left_starts_at_its_own_positions(void **state) {
    (void)state;
    struct talk *t = talk_new(9);
    struct kv *c = open_mode(KV_EVICT_SHIFT, 1000);
    prompt(c, t);
    say(t, 10);
    prompt(c, t);
    assert_false(c->seq[0].run[0].offset == 0);
    t->token[40] = 1; /* another conversation under the same system prompt */
    say(t, 1);
    prompt(c, t);
    assert_fresh(c);
    assert_int_equal(kv_seq_pos_max(c, 0), 139);
    kv_close(c);
    free(t);
}

static void a_mode_that_cannot_keep_so_much_is_refused(void **state) {
    (void)state;
    struct kv_config g = kvt_config(100, "f16");
    g.evict = KV_EVICT_STOP;
    g.keep = 60;
    struct kv *c = kvt_open(&g);
    struct err e = {0};
    assert_int_equal(kv_set_evict(c, KV_EVICT_RESEED, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "60 tokens is larger than half the bound of 100"));
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.evict, KV_EVICT_STOP);
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reseed_drops_what_shift_drops_and_computes_what_stays_again),
        cmocka_unit_test(a_prompt_past_the_bound_is_computed_again_from_the_first_difference),
        cmocka_unit_test(a_token_that_needs_room_alone_is_refused_and_nothing_changes),
        cmocka_unit_test(a_turn_that_is_alone_loses_its_own_oldest_tokens_by_blocks),
        cmocka_unit_test(what_a_shift_left_behind_is_computed_again_once_the_mode_is_reseed),
        cmocka_unit_test(a_computation_that_was_stopped_in_its_middle_goes_on_at_the_next_prompt),
        cmocka_unit_test(shared_cells_stay_for_the_others_and_what_is_computed_again_has_its_own),
        cmocka_unit_test(every_mode_keeps_the_kept_part_and_pinned_turns),
        cmocka_unit_test(modes_that_cannot_be_carried_out_become_reseed_and_say_so_once),
        cmocka_unit_test(a_rewind_to_what_never_saw_what_left_starts_at_its_own_positions),
        cmocka_unit_test(a_mode_that_cannot_keep_so_much_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
