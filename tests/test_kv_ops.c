/* Tests of operations on sequences: ranges copied into others, leases, rebuilding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support_kv.h"

static void feed(struct kv *c, int seq, int32_t first, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) assert_int_equal(kvt_append(c, seq, first + (int32_t)i, NULL), 0);
}

static void expect_tokens(const struct kv *c, int seq, const int32_t *want, size_t n) {
    const int32_t *token;
    assert_int_equal(kv_tokens(c, seq, &token), n);
    assert_memory_equal(token, want, n * sizeof *want);
}

static uint32_t cell_at(const struct kv *c, int seq, int64_t pos) {
    const struct kv_seq *s = &c->seq[seq];
    const struct kv_run *r = &s->run[kv_seq_find_pos(s, pos)];
    assert_true(kv_run_first(r) <= pos);
    return r->cell + (uint32_t)(pos - kv_run_first(r));
}

static void a_range_takes_the_place_of_what_was_there_and_shares_its_cells(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    feed(c, 0, 100, 20);
    feed(c, 1, 200, 20);
    uint32_t touched = c->n_touched;
    assert_int_equal(kv_seq_cp(c, 0, 1, 5, 9, NULL), 0);
    int32_t want[20];
    for (int i = 0; i < 20; i++) want[i] = (i >= 5 && i < 9 ? 100 : 200) + i;
    expect_tokens(c, 1, want, 20);
    assert_int_equal(c->cells.used, 36); /* 4 of them twice, and what was there is free */
    assert_int_equal(c->cells.n_shared, 4);
    assert_int_equal(c->n_touched, touched);
    for (int64_t p = 0; p < 20; p++) assert_true((cell_at(c, 0, p) == cell_at(c, 1, p)) == (p >= 5 && p < 9));
    assert_int_equal(kv_seq_gaps(c, 1), 0);
    for (int s = 0; s < 2; s++) kvt_check(c, s);
    assert_int_equal(kv_seq_cp(c, 0, 1, 5, 9, NULL), 0); /* once more is the same */
    expect_tokens(c, 1, want, 20);
    assert_int_equal(c->cells.n_shared, 4);
    assert_true(kv_seq_rm(c, 0, -1, -1)); /* shared cells stay for the other one */
    kvt_check(c, 1);
    kv_close(c);
}

static void a_fork_is_lengthened_and_is_as_if_computed(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    feed(c, 0, 100, 30);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, 10, NULL), 0);
    assert_int_equal(kv_seq_cp(c, 0, 1, 10, 20, NULL), 0);
    int32_t want[30];
    for (int i = 0; i < 30; i++) want[i] = 100 + i;
    expect_tokens(c, 1, want, 20);
    assert_int_equal(c->seq[1].n_runs, 1);
    assert_true(kv_seq_taint(&c->seq[1]) == SIZE_MAX);
    feed(c, 1, 500, 3);
    assert_int_equal(kv_seq_cp(c, 0, 1, 15, 23, NULL), 0); /* over its own, up to its end */
    expect_tokens(c, 1, want, 23);
    assert_true(kv_seq_taint(&c->seq[1]) == SIZE_MAX);
    feed(c, 2, 700, 10);
    assert_int_equal(kv_seq_cp(c, 0, 2, 10, 20, NULL), 0); /* these saw another beginning */
    assert_true(kv_seq_taint(&c->seq[2]) != SIZE_MAX);
    for (int s = 0; s < 3; s++) kvt_check(c, s);
    kv_close(c);
}

static void indices_rise_whatever_is_joined(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    feed(c, 0, 100, 10);
    assert_int_equal(kv_seq_add(c, 0, -1, -1, 20, NULL), 0); /* tokens 0..9 at positions 20..29 */
    feed(c, 1, 200, 25);
    assert_int_equal(kv_seq_cp(c, 0, 1, 22, 27, NULL), 0);
    assert_int_equal(kv_seq_pos_max(c, 1), 26);
    int32_t want[30];
    for (int i = 0; i < 22; i++) want[i] = 200 + i;
    for (int i = 0; i < 5; i++) want[22 + i] = 102 + i;
    expect_tokens(c, 1, want, 27); /* the ones from behind position 22 were tokens 2..6: they are 22..26 now */
    const struct kv_range *left;
    assert_int_equal(kv_left(c, 1, &left), 0);
    assert_int_equal(kv_seq_cp(c, 1, 2, 24, -1, NULL), 0); /* in an empty one what lies before has left */
    assert_int_equal(kv_left(c, 2, &left), 1);
    assert_int_equal(left->n, 24);
    expect_tokens(c, 2, want, 27);
    kv_close(c);
}

static void a_cell_cannot_come_to_stand_twice(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    feed(c, 0, 100, 40);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    kv_seq_drop(&c->seq[1], &c->cells, 1, (struct kv_range){10, 4}); /* a shift: the first ten are at positions 4 to 13 now */
    kv_seq_add_left(&c->seq[1], (struct kv_range){10, 4});
    uint32_t used = c->cells.used, shared = c->cells.n_shared;
    assert_int_equal(kv_seq_pos_min(c, 1), 4);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, 2, NULL), ERR_USAGE); /* token 0 would be at 0 and at 4 */
    assert_true(c->cells.used == used && c->cells.n_shared == shared);
    assert_int_equal(c->seq[1].n_cells, 36);
    for (int s = 0; s < 2; s++) kvt_check(c, s);
    kv_close(c);
}

static void nothing_there_is_copied_too(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    feed(c, 0, 100, 10);
    feed(c, 1, 200, 20);
    assert_int_equal(kv_seq_cp(c, 0, 1, 12, 15, NULL), 0); /* in [p0, p1) both are alike afterwards */
    assert_int_equal(kv_seq_gaps(c, 1), 3);
    assert_int_equal(kv_seq_cp(c, 0, 1, 30, 40, NULL), 0);
    assert_int_equal(c->seq[1].n_cells, 17);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    assert_int_equal(c->seq[1].n_cells, 10);
    assert_int_equal(c->cells.used, 10);
    assert_int_equal(kv_seq_cp(c, 2, 1, -1, -1, NULL), 0);
    assert_int_equal(kv_tokens(c, 1, &(const int32_t *){NULL}), 0);
    kvt_check(c, 0);
    kv_close(c);
}

/* ---- leases ---- */

static void a_vacant_id_is_clean(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    assert_int_equal(kv_available(c), KV_MAX_SEQS);
    for (int s = 0; s < KV_MAX_SEQS; s++) assert_int_equal(kv_acquire(c), s);
    assert_int_equal(kv_acquire(c), -1);
    assert_int_equal(kv_available(c), 0);
    feed(c, 5, 1, 10);
    assert_false(kv_release(c, 5)); /* not clean: nothing happens */
    assert_int_equal(kv_seq_pos_max(c, 5), 9);
    assert_int_equal(kv_acquire(c), -1);
    assert_true(kv_seq_rm(c, 5, -1, -1));
    assert_int_equal(kv_acquire(c), -1); /* clean, and still leased */
    assert_true(kv_release(c, 5));
    assert_int_equal(kv_available(c), 1);
    feed(c, 7, 1, 10);
    kv_evict(c, 7);
    assert_int_equal(c->cells.used, 0);
    assert_int_equal(kv_available(c), 2);
    assert_int_equal(kv_acquire(c), 5);
    assert_int_equal(kv_acquire(c), 7);
    assert_int_equal(kv_tokens(c, 7, &(const int32_t *){NULL}), 0);
    kv_close(c);
}

static void one_is_kept_and_the_pool_is_whole_again(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    for (int s = 0; s < 4; s++) {
        kv_acquire(c);
        feed(c, s, s * 100, 20);
    }
    assert_int_equal(kv_seq_cp(c, 2, 3, 5, 10, NULL), 0);
    kv_retain(c, 2);
    assert_int_equal(c->cells.used, 20);
    assert_int_equal(c->cells.n_shared, 0);
    kvt_check(c, 2);
    assert_int_equal(kv_available(c), KV_MAX_SEQS - 1);
    assert_int_equal(kv_acquire(c), 0);
    assert_int_equal(kv_acquire(c), 1);
    assert_int_equal(kv_acquire(c), 3);
    kv_retain(c, 50); /* an empty one that nobody had */
    assert_int_equal(kv_available(c), KV_MAX_SEQS - 1);
    assert_int_equal(c->cells.used, 0);
    feed(c, 50, 1, 5);
    kv_evict_all(c);
    assert_int_equal(kv_available(c), KV_MAX_SEQS);
    assert_int_equal(c->cells.used, 0);
    kv_close(c);
}

/* ---- limits --------------------------------------------------------------------------------------------------- */

static void a_bound_is_refused_that_is_out_of_range_or_too_small_for_what_is_kept(void **state) {
    (void)state;
    struct kv_config g = kvt_config(512, "f16");
    struct err e = {0};
    g.keep = 200;
    struct kv *c = kvt_open(&g);
    assert_int_equal(kv_set_bound(c, 399, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "200 tokens is larger than half the bound of 399"));
    assert_int_equal(kv_set_bound(c, 31, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "the least is 32"));
    assert_int_equal(kv_set_bound(c, UINT32_MAX, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "the most is 2147483648"));
    assert_int_equal(c->config.bound, 512);
    assert_int_equal(kv_set_bound(c, 400, &e), 0);
    kv_close(c);
}

/* ---- rebuilding ---- */

static void a_rebuilding_that_memory_refuses_leaves_the_old_state(void **state) {
    (void)state;
    struct kv_config g = kvt_config(256, "f16");
    g.evict = KV_EVICT_SLIDE;
    struct kv *c = kvt_open(&g);
    struct kv_plan plan;
    feed(c, 0, 0, 600); /* 256 of them are live, */
    assert_int_equal(kv_set_bound(c, 1000, NULL), 0);
    uint64_t hash = kvt_hash(c, 0, 599);
    c->arena.fail_in = 1;
    assert_int_equal(kv_clear_and_reseed(c, 0, 10, 500, &plan, NULL), ERR_MEMORY); /* and 510 are to be */
    assert_int_equal(c->seq[0].n_cells, 256);
    assert_true(kvt_hash(c, 0, 599) == hash);
    kvt_check(c, 0);
    c->arena.fail_in = 0;
    c->refused_us = 0;
    assert_int_equal(kv_clear_and_reseed(c, 0, 10, 500, &plan, NULL), 0);
    assert_int_equal(plan.n_todo_tokens, 510);
    assert_int_equal(c->seq[0].n_cells, 0);
    kv_close(c);
}

static void positions_move_only_as_far_as_there_are_any(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    static const int64_t far[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1, ((int64_t)1 << 60) - 39, -((int64_t)1 << 60) - 1};
    struct err e = {0};
    feed(c, 0, 100, 40);
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        assert_int_equal(kv_seq_add(c, 0, -1, -1, far[i], &e), ERR_USAGE);
        assert_non_null(strstr(e.text, "the highest that there is"));
        assert_int_equal(kv_seq_pos_max(c, 0), 39);
    }
    kvt_check(c, 0);
    assert_int_equal(kv_seq_add(c, 0, -1, -1, ((int64_t)1 << 60) - 40, &e), 0);
    assert_int_equal(kv_seq_pos_max(c, 0), ((int64_t)1 << 60) - 1);
    assert_int_equal(kv_seq_add(c, 0, -1, -1, 1, &e), ERR_USAGE);
    assert_int_equal(kv_seq_add(c, 0, -1, -1, -((int64_t)1 << 60), &e), 0); /* all of it below 0 */
    assert_int_equal(c->seq[0].n_cells, 0);
    kv_close(c);
}

static void the_room_that_is_told_of_follows_the_bound_at_once(void **state) {
    (void)state;
    struct kv_config g = kvt_config(KV_BLOCK, "f32");
    struct kv *c = kvt_open(&g);
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.room_bytes, 0);
    assert_int_equal(kv_set_bound(c, 4 * KV_BLOCK, NULL), 0);
    kv_get_stats(c, &s);
    assert_int_equal(s.room_bytes, 3 * s.block_bytes);
    assert_string_equal(s.room_limit, "bound");
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_takes_the_place_of_what_was_there_and_shares_its_cells),
        cmocka_unit_test(a_fork_is_lengthened_and_is_as_if_computed),
        cmocka_unit_test(indices_rise_whatever_is_joined),
        cmocka_unit_test(a_cell_cannot_come_to_stand_twice),
        cmocka_unit_test(nothing_there_is_copied_too),
        cmocka_unit_test(a_vacant_id_is_clean),
        cmocka_unit_test(one_is_kept_and_the_pool_is_whole_again),
        cmocka_unit_test(a_bound_is_refused_that_is_out_of_range_or_too_small_for_what_is_kept),
        cmocka_unit_test(a_rebuilding_that_memory_refuses_leaves_the_old_state),
        cmocka_unit_test(positions_move_only_as_far_as_there_are_any),
        cmocka_unit_test(the_room_that_is_told_of_follows_the_bound_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
