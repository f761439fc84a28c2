/* Tests of kv_sync and of what leaves at the bound: shift, slide, stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support_kv.h"

/* A conversation of a kept part and turns of equal length; token i is i + 1000. */
struct talk {
    int32_t token[8192];
    struct kv_turn turn[64];
    struct kv_prompt p;
};

static struct talk *talk_new(size_t keep, size_t n_turns, size_t per_turn) {
    struct talk *t = calloc(1, sizeof *t);
    for (int i = 0; i < 8192; i++) t->token[i] = i + 1000;
    for (size_t i = 0; i < n_turns; i++) t->turn[i] = (struct kv_turn){keep + i * per_turn, per_turn, false};
    t->p = (struct kv_prompt){t->token, keep + n_turns * per_turn, keep, t->turn, n_turns, 0};
    return t;
}

static void assert_left(struct kv *c, int seq, size_t n, const struct kv_range *want) {
    const struct kv_range *got;
    assert_int_equal(kv_left(c, seq, &got), n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i].first, want[i].first);
        assert_int_equal(got[i].n, want[i].n);
    }
}

static void prompt(struct kv *c, const struct talk *t, struct kv_plan *plan) {
    struct err e = {0};
    if (kvt_prompt(c, 0, &t->p, plan, &e)) fail_msg("%s", e.text);
    kvt_check(c, 0);
}

static void a_longer_prompt_computes_only_what_is_new(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(10, 3, 100);
    struct kv_plan plan;
    t->p.n_tokens = 210;
    t->p.n_turns = 2;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 0);
    assert_int_equal(plan.n_todo_tokens, 210);
    t->p.n_tokens = 310;
    t->p.n_turns = 3;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 210);
    assert_int_equal(plan.n_todo, 1);
    assert_int_equal(plan.todo[0].first, 210);
    assert_int_equal(plan.todo[0].n, 100);
    kv_close(c);
    free(t);
}

static void an_edit_rewinds_to_the_first_difference(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(10, 3, 100);
    struct kv_plan plan;
    prompt(c, t, &plan);
    t->token[150] = 7;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 150);
    assert_int_equal(plan.todo[0].first, 150);
    assert_int_equal(plan.n_todo_tokens, 160);
    const int32_t *token;
    assert_int_equal(kv_tokens(c, 0, &token), 310);
    assert_memory_equal(token, t->token, 310 * sizeof *token);
    kv_close(c);
    free(t);
}

static void the_same_prompt_again_computes_its_last_token(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(10, 3, 100);
    struct kv_plan plan;
    prompt(c, t, &plan);
    for (int i = 0; i < 50; i++) kvt_append(c, 0, 5, NULL); /* a reply, to be generated again */
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 309);
    assert_int_equal(plan.n_todo_tokens, 1);
    assert_int_equal(plan.todo[0].first, 309);
    assert_int_equal(kv_seq_pos_max(c, 0), 309);
    kv_close(c);
    free(t);
}

static void shift_drops_whole_oldest_turns_and_changes_no_stored_byte(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 9, 100); /* 940 tokens */
    struct kv_plan plan;
    prompt(c, t, &plan);
    uint64_t hash[1000];
    for (size_t i = 0; i < 940; i++) hash[i] = kvt_hash(c, 0, i);
    for (int i = 0; i < 61; i++) assert_int_equal(kvt_append(c, 0, 9, NULL), 0); /* the 61st does not fit */
    kvt_check(c, 0);
    /* half of 960 are to be free of 1000, so at most 520 may stay: five turns leave */
    assert_left(c, 0, 1, &(struct kv_range){40, 500});
    for (size_t i = 0; i < 940; i++) assert_true(kvt_hash(c, 0, i) == (i < 40 || i >= 540 ? hash[i] : 0));
    const struct kv_seq *s = &c->seq[0];
    assert_int_equal(s->run[0].offset, 500);
    assert_int_equal(s->run[0].pos, 0);
    assert_int_equal(kv_seq_pos_min(c, 0), 500);
    assert_int_equal(kv_seq_pos_max(c, 0), 1000);
    struct kv_event ev[KV_EVENTS];
    size_t n = kv_events(c, 0, ev, KV_EVENTS);
    assert_int_equal(ev[n - 1].kind, KV_EVENT_EVICT);
    assert_int_equal(ev[n - 1].evicted_tokens, 500);
    assert_int_equal(ev[n - 1].evicted_turns, 5);
    kv_close(c);
    free(t);
}

static void positions_close_up_and_the_view_has_an_offset_for_the_kept_part(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 9, 100);
    t->turn[1].pinned = true;
    struct kv_plan plan;
    prompt(c, t, &plan);
    for (int i = 0; i < 60; i++) assert_int_equal(kvt_append(c, 0, 9, NULL), 0);
    struct kv_batch b;
    struct kv_view v;
    int32_t one = 9;
    assert_int_equal(kv_begin(c, 0, &one, 1, SIZE_MAX, &b, NULL), 0);
    kv_get_view(c, &b, &v);
    int64_t pos = v.span[0].pos;
    for (size_t i = 0; i < v.n_spans; i++) { /* no gap is left between what stays */
        assert_int_equal(v.span[i].pos, pos);
        pos += v.span[i].n;
    }
    assert_int_equal(pos, b.pos + 1);
    assert_int_equal(v.n_offsets, 3); /* kept part, pinned turn, tail */
    assert_int_equal(v.offset[v.span[v.n_spans - 1].rot], 0);
    assert_true(v.offset[0] > v.offset[1] && v.offset[1] > 0);
    kv_finish(c, &b);
    struct kv_range want[2] = {{40, 100}, {240, 400}};
    assert_left(c, 0, 2, want);
    kv_close(c);
    free(t);
}

static void a_turn_that_is_alone_loses_its_own_oldest_tokens_by_blocks(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 1, 100);
    struct kv_plan plan;
    prompt(c, t, &plan);
    for (int i = 0; i < 861; i++) assert_int_equal(kvt_append(c, 0, 9, NULL), 0);
    assert_left(c, 0, 1, &(struct kv_range){40, 512}); /* 480 are asked for */
    for (int i = 0; i < 5000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    const struct kv_range *left;
    assert_int_equal(kv_left(c, 0, &left), 1);
    assert_int_equal(left[0].n % KV_BLOCK, 0);
    kv_close(c);
    free(t);
}

static void slide_drops_one_token_for_each_that_comes_and_keeps_the_sinks(void **state) {
    (void)state;
    struct kv_config g = kvt_config(300, "f16");
    g.evict = KV_EVICT_SLIDE;
    struct kv *c = kvt_open(&g);
    uint64_t sink[4];
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    for (size_t i = 0; i < 4; i++) sink[i] = kvt_hash(c, 0, i);
    for (int i = 300; i < 3000; i++) {
        assert_int_equal(kvt_append(c, 0, i, NULL), 0);
        assert_left(c, 0, 1, &(struct kv_range){4, (size_t)i - 299});
        assert_int_equal(c->cells.used, 300);
    }
    kvt_check(c, 0);
    for (size_t i = 0; i < 4; i++) assert_true(sink[i] == kvt_hash(c, 0, i));
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.evicted_tokens, 2700);
    assert_true(s.n_runs <= 4);
    assert_int_equal(s.n_offsets, 2);
    struct kv_event ev[KV_EVENTS]; /* told at the first token, then once a block */
    size_t n = kv_events(c, 0, ev, KV_EVENTS), told = 0, tokens = 0;
    for (size_t i = 0; i < n; i++)
        if (ev[i].kind == KV_EVENT_EVICT) {
            told++;
            tokens += ev[i].evicted_tokens;
        }
    assert_int_equal(told, 1 + 2699 / KV_BLOCK);
    assert_int_equal(tokens, 1 + 2699 / KV_BLOCK * KV_BLOCK);
    /* the whole window at once */
    assert_int_equal(kv_batch_room(c, 0), 296);
    int32_t token[297] = {0};
    struct err e = {0};
    assert_int_equal(kvt_feed(c, 0, token, 0, 297, &e), ERR_USAGE);
    struct kv_batch b;
    assert_int_equal(kv_begin(c, 0, token, 297, SIZE_MAX, &b, &e), ERR_CONTEXT);
    assert_int_equal(kv_begin(c, 0, token, 296, SIZE_MAX, &b, &e), 0);
    kv_finish(c, &b);
    assert_int_equal(c->cells.used, 300);
    kv_close(c);
}

static void stop_refuses_and_changes_nothing(void **state) {
    (void)state;
    struct kv_config g = kvt_config(300, "f16");
    g.evict = KV_EVICT_STOP;
    struct kv *c = kvt_open(&g);
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    struct err e = {0};
    assert_int_equal(kvt_append(c, 0, 300, &e), ERR_CONTEXT);
    assert_non_null(strstr(e.text, "stop"));
    kvt_check(c, 0);
    assert_int_equal(c->cells.used, 300);
    struct talk *t = talk_new(10, 3, 100);
    struct kv_plan plan;
    assert_int_equal(kv_sync(c, 0, &t->p, &plan, &e), ERR_CONTEXT);
    assert_int_equal(c->cells.used, 300);
    const int32_t *token;
    assert_int_equal(kv_tokens(c, 0, &token), 300);
    kv_close(c);
    free(t);
}

static void a_transcript_longer_than_the_bound_is_read_without_its_oldest_turns(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 20, 100); /* 2040 tokens */
    struct kv_plan plan;
    prompt(c, t, &plan);
    /* at most 520 may be in use when it is read: the kept 40 and four turns */
    assert_left(c, 0, 1, &(struct kv_range){40, 1600});
    assert_int_equal(plan.n_todo, 2);
    assert_int_equal(plan.todo[0].n, 40);
    assert_int_equal(plan.todo[1].first, 1640);
    assert_int_equal(plan.todo[1].n, 400);
    assert_int_equal(plan.evicted_turns, 16);
    assert_int_equal(plan.evicted_tokens, 1600);
    const int32_t *token;
    assert_int_equal(kv_tokens(c, 0, &token), 2040);
    assert_memory_equal(token, t->token, 2040 * sizeof *token);
    /* and the next turn finds all of it again */
    t->turn[20] = (struct kv_turn){2040, 60, false};
    t->p.n_turns = 21;
    t->p.n_tokens = 2100;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 440);
    assert_int_equal(plan.n_todo_tokens, 60);
    assert_int_equal(plan.evicted_tokens, 0);
    assert_left(c, 0, 1, &(struct kv_range){40, 1600});
    kv_close(c);
    free(t);
}

static void a_message_that_cannot_fit_is_refused_with_both_counts(void **state) {
    (void)state;
    enum kv_evict mode[2] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE};
    for (int i = 0; i < 2; i++) {
        struct kv_config g = kvt_config(500, "f16");
        g.evict = mode[i];
        struct kv *c = kvt_open(&g);
        struct talk *t = talk_new(44, 3, 100);
        struct kv_plan plan;
        prompt(c, t, &plan);
        t->turn[3] = (struct kv_turn){344, 900, false};
        t->p.n_turns = 4;
        t->p.n_tokens = 1244;
        struct err e = {0};
        assert_int_equal(kv_sync(c, 0, &t->p, &plan, &e), ERR_CONTEXT);
        assert_non_null(strstr(e.text, "900 tokens, 455 fit beside the 44"));
        assert_int_equal(c->cells.used, 344);
        kvt_check(c, 0);
        t->p.n_turns = 0; /* one open-ended text */
        assert_int_equal(kv_sync(c, 0, &t->p, &plan, &e), ERR_CONTEXT);
        t->p.n_keep = 251;
        assert_int_equal(kv_sync(c, 0, &t->p, &plan, &e), ERR_USAGE);
        kv_close(c);
        free(t);
    }
}

static void slide_reads_the_newest_of_a_long_transcript(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    g.evict = KV_EVICT_SLIDE;
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 20, 100);
    struct kv_plan plan;
    prompt(c, t, &plan);
    assert_left(c, 0, 1, &(struct kv_range){40, 1041});
    assert_int_equal(plan.evicted_turns, 10);
    assert_int_equal(c->cells.used, 999);
    kv_close(c);
    free(t);
}

static void a_rewind_into_what_left_reads_it_again(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 20, 100);
    struct kv_plan plan;
    prompt(c, t, &plan);
    assert_left(c, 0, 1, &(struct kv_range){40, 1600});
    t->token[300] = 1; /* inside what left, and inside a turn */
    t->p.n_tokens = 340;
    t->p.n_turns = 3;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 40);
    assert_int_equal(plan.todo[0].first, 40);
    assert_int_equal(plan.n_todo_tokens, 300);
    assert_left(c, 0, 0, NULL);
    assert_int_equal(kv_seq_pos_max(c, 0), 339);
    /* only as much as there is room for, the newest first */
    t->p.n_tokens = 2040;
    t->p.n_turns = 20;
    prompt(c, t, &plan);
    assert_int_equal(plan.evicted_turns, 16);
    t->p.n_tokens = 1540;
    t->p.n_turns = 15;
    t->token[1500] = 1;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 40);
    assert_left(c, 0, 1, &(struct kv_range){40, 1100});
    assert_int_equal(plan.n_todo_tokens, 400);
    assert_int_equal(plan.evicted_turns + plan.evicted_tokens, 0); /* they had left before */
    kv_close(c);
    free(t);
}

static void a_turn_that_lost_its_beginning_is_read_whole_where_it_fits(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 1, 800);
    struct kv_plan plan;
    prompt(c, t, &plan);
    for (size_t i = 840; i < 1001; i++) assert_int_equal(kvt_append(c, 0, t->token[i], NULL), 0);
    assert_left(c, 0, 1, &(struct kv_range){40, 512});
    t->p.n_tokens = 1001; /* with its reply it is too long: it goes on as it is */
    t->turn[0].n = 961;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_todo_tokens, 1);
    assert_left(c, 0, 1, &(struct kv_range){40, 512});
    t->p.n_tokens = 840; /* to be answered anew */
    t->turn[0].n = 800;
    prompt(c, t, &plan);
    assert_int_equal(plan.n_todo_tokens, 800);
    assert_left(c, 0, 0, NULL);
    kv_close(c);
    free(t);
}

static void a_cancelled_prompt_goes_on_where_it_stopped(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 20, 100);
    struct kv_plan plan;
    assert_int_equal(kv_sync(c, 0, &t->p, &plan, NULL), 0);
    assert_int_equal(kvt_feed(c, 0, t->token, 0, 30, NULL), 0);
    struct kv_batch b;
    assert_int_equal(kv_begin(c, 0, t->token + 30, 10, 30, &b, NULL), 0);
    kv_abandon(c, &b);
    prompt(c, t, &plan);
    assert_int_equal(plan.n_cached, 30);
    assert_int_equal(plan.n_todo_tokens, 410);
    assert_left(c, 0, 1, &(struct kv_range){40, 1600});
    kv_close(c);
    free(t);
}

static void a_lowered_bound_evicts_at_the_next_token(void **state) {
    (void)state;
    struct kv_config g = kvt_config(2000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 15, 100);
    struct kv_plan plan;
    prompt(c, t, &plan);
    assert_int_equal(kv_set_bound(c, 600, NULL), 0);
    assert_int_equal(kvt_append(c, 0, 1, NULL), 0);
    assert_true(c->cells.used <= 600);
    kvt_check(c, 0);
    for (int i = 0; i < 1000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    assert_true(c->cells.used <= 600);
    assert_int_equal(kv_set_bound(c, 5000, NULL), 0);
    for (int i = 0; i < 4000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    kv_close(c);
    free(t);
}

static void turns_out_of_order_are_refused(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(40, 3, 100);
    struct kv_plan plan;
    t->turn[1].first = 60;
    assert_int_equal(kv_sync(c, 0, &t->p, &plan, NULL), ERR_USAGE);
    t->turn[1].first = 140;
    t->turn[2].n = 101;
    assert_int_equal(kv_sync(c, 0, &t->p, &plan, NULL), ERR_USAGE);
    t->p.n_tokens = 0;
    assert_int_equal(kv_sync(c, 0, &t->p, &plan, NULL), ERR_USAGE);
    kv_close(c);
    free(t);
}

static void a_sequence_is_rebuilt_from_its_first_and_last_tokens(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(10, 3, 100);
    struct kv_plan plan;
    struct err e;
    prompt(c, t, &plan);
    assert_int_equal(kv_clear_and_reseed(c, 0, 4, 60, &plan, &e), 0);
    assert_int_equal(kv_seq_pos_max(c, 0), -1); /* nothing of it counts until it is computed again */
    assert_int_equal(plan.n_todo, 2);
    assert_int_equal(plan.n_todo_tokens, 64);
    assert_int_equal(plan.evicted_tokens, 246);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(kvt_feed(c, 0, t->token, plan.todo[i].first, (uint32_t)plan.todo[i].n, &e), 0);
    assert_int_equal(kv_seq_pos_min(c, 0), 0);
    assert_int_equal(kv_seq_pos_max(c, 0), 63);
    assert_left(c, 0, 1, &(struct kv_range){4, 246});
    assert_int_equal(kvt_hash(c, 0, 4), 0);
    assert_true(kvt_hash(c, 0, 250) != 0);
    kvt_check(c, 0); /* the rows are those of the new positions */
    free(t);
    kv_close(c);
}

static void a_rebuilding_that_cannot_be_leaves_the_old_state(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct talk *t = talk_new(10, 3, 100);
    struct kv_plan plan;
    struct err e;
    prompt(c, t, &plan);
    uint64_t before = kvt_hash(c, 0, 100);
    assert_int_equal(kv_clear_and_reseed(c, 0, 300, 11, &plan, &e), ERR_USAGE);
    assert_int_equal(kv_clear_and_reseed(c, 0, 0, 0, &plan, &e), ERR_USAGE);
    assert_int_equal(kv_set_bound(c, 64, &e), 0);
    assert_int_equal(kv_clear_and_reseed(c, 0, 4, 60, &plan, &e), ERR_CONTEXT);
    assert_int_equal(kv_seq_pos_max(c, 0), 309);
    assert_int_equal(kvt_hash(c, 0, 100), before);
    assert_left(c, 0, 0, NULL);
    assert_int_equal(kv_clear_and_reseed(c, 0, 4, 59, &plan, &e), 0);
    free(t);
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_longer_prompt_computes_only_what_is_new),
        cmocka_unit_test(an_edit_rewinds_to_the_first_difference),
        cmocka_unit_test(the_same_prompt_again_computes_its_last_token),
        cmocka_unit_test(shift_drops_whole_oldest_turns_and_changes_no_stored_byte),
        cmocka_unit_test(positions_close_up_and_the_view_has_an_offset_for_the_kept_part),
        cmocka_unit_test(a_turn_that_is_alone_loses_its_own_oldest_tokens_by_blocks),
        cmocka_unit_test(slide_drops_one_token_for_each_that_comes_and_keeps_the_sinks),
        cmocka_unit_test(stop_refuses_and_changes_nothing),
        cmocka_unit_test(a_transcript_longer_than_the_bound_is_read_without_its_oldest_turns),
        cmocka_unit_test(a_message_that_cannot_fit_is_refused_with_both_counts),
        cmocka_unit_test(slide_reads_the_newest_of_a_long_transcript),
        cmocka_unit_test(a_rewind_into_what_left_reads_it_again),
        cmocka_unit_test(a_turn_that_lost_its_beginning_is_read_whole_where_it_fits),
        cmocka_unit_test(a_cancelled_prompt_goes_on_where_it_stopped),
        cmocka_unit_test(a_lowered_bound_evicts_at_the_next_token),
        cmocka_unit_test(turns_out_of_order_are_refused),
        cmocka_unit_test(a_sequence_is_rebuilt_from_its_first_and_last_tokens),
        cmocka_unit_test(a_rebuilding_that_cannot_be_leaves_the_old_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
