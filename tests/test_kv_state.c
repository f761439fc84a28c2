/* Tests of kv/kv_state: recurrent states beside cells. A state here is a hash of all tokens that its sequence holds (support_kv.c), so whatever was
 * seen too often, not at all or in another order shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/kv_slot.h"
#include "tests/support_kv.h"

enum { STATE = 64 };

static struct kv *open_with(uint32_t bound) {
    struct kv_config g = kvt_config(bound, "f16");
    g.state_bytes = STATE;
    g.prompt_bytes = 1 << 20;
    return kvt_open(&g);
}

static void append(struct kv *c, int seq, int32_t from, int n) {
    for (int i = 0; i < n; i++) assert_int_equal(kvt_append(c, seq, from + i, NULL), 0);
}

static void a_state_follows_its_tokens_through_batches_of_any_size(void **state) {
    (void)state;
    struct kv *c = open_with(2000);
    int32_t token[1000];
    for (int i = 0; i < 1000; i++) token[i] = i * 3;
    for (uint32_t at = 0, n = 1; at + n <= 1000; at += n, n = n % 97 + 1) {
        assert_int_equal(kvt_feed(c, 0, token, at, n, NULL), 0);
        kvt_check(c, 0);
    }
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.state_bytes, 2 * STATE);
    assert_int_equal(s.checkpoint_bytes, 0);
    kv_checkpoint(c, 0);
    kv_get_stats(c, &s);
    assert_int_equal(s.state_bytes, 2 * STATE);
    assert_int_equal(s.checkpoint_bytes, STATE);
    assert_int_equal(s.evict, KV_EVICT_RESEED); /* what left cannot be taken out of a state */
    assert_int_equal(s.parked_limit_bytes, 0);
    kv_close(c);
}

static void an_abandoned_batch_leaves_the_state_alone(void **state) {
    (void)state;
    struct kv *c = open_with(1000);
    struct kv_batch b;
    int32_t token[5] = {9, 9, 9, 9, 9};
    append(c, 0, 0, 50);
    assert_int_equal(kv_begin(c, 0, token, 5, SIZE_MAX, &b, NULL), 0);
    memset(kv_state_write(c, &b), 0xee, STATE);
    kv_abandon(c, &b);
    kvt_check(c, 0);
    append(c, 0, 50, 5);
    kvt_check(c, 0);
    kv_close(c);
}

static void a_state_is_cut_at_checkpoints_alone(void **state) {
    (void)state;
    struct kv *c = open_with(1000);
    append(c, 0, 0, 100);
    kv_checkpoint(c, 0);
    append(c, 0, 100, 100);
    assert_int_equal(kv_resume_point(c, 0, 150), 100);
    assert_int_equal(kv_resume_point(c, 0, 99), 0);
    assert_int_equal(kv_resume_point(c, 0, 200), 200);
    assert_false(kv_seq_rm(c, 0, 150, -1));
    assert_false(kv_seq_rm(c, 0, 20, 30));
    assert_false(kv_seq_rm(c, -1, 150, -1));
    assert_int_equal(kv_seq_pos_max(c, 0), 199);
    kvt_check(c, 0);
    assert_true(kv_seq_rm(c, 0, 300, 400)); /* nothing is there */
    assert_true(kv_seq_rm(c, 0, 100, -1));
    assert_int_equal(kv_seq_pos_max(c, 0), 99);
    kvt_check(c, 0);
    append(c, 0, 700, 20);
    kvt_check(c, 0);
    assert_true(kv_seq_rm(c, 0, 100, -1)); /* the checkpoint is still good */
    kvt_check(c, 0);
    assert_true(kv_seq_rm(c, 0, -1, -1));
    append(c, 0, 5, 30);
    kvt_check(c, 0);
    assert_int_equal(kv_resume_point(c, 0, 29), 0); /* what belonged to the old conversation is forgotten */
    kv_close(c);
}

static void an_edited_prompt_is_replayed_from_the_newest_checkpoint_before_it(void **state) {
    (void)state;
    struct kv *c = open_with(1000);
    int32_t token[300];
    struct kv_plan plan;
    for (int i = 0; i < 300; i++) token[i] = i;
    for (size_t n = 60; n <= 300; n += 60) {
        struct kv_prompt p = {.token = token, .n_tokens = n};
        assert_int_equal(kvt_prompt(c, 0, &p, &plan, NULL), 0);
        kv_checkpoint(c, 0);
    }
    token[200] = 7777;
    struct kv_prompt p = {.token = token, .n_tokens = 300};
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, NULL), 0);
    assert_int_equal(plan.n_todo, 1);
    assert_int_equal(plan.todo[0].first, 180);
    assert_int_equal(plan.n_cached, 180);
    kvt_check(c, 0);
    token[10] = 8888;
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, NULL), 0);
    assert_int_equal(plan.todo[0].first, 0); /* there is none */
    kvt_check(c, 0);
    kv_close(c);
}

static void of_too_many_checkpoints_the_oldest_goes(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    g.state_bytes = STATE;
    g.n_checkpoints = 2;
    struct kv *c = kvt_open(&g);
    for (int i = 0; i < 5; i++) {
        append(c, 0, i * 10, 10);
        for (int k = 0; k < 3; k++) kv_checkpoint(c, 0); /* one place, one checkpoint */
    }
    append(c, 0, 50, 1);
    assert_int_equal(kv_resume_point(c, 0, 50), 50);
    assert_int_equal(kv_resume_point(c, 0, 49), 40);
    assert_int_equal(kv_resume_point(c, 0, 39), 0);
    kv_close(c);
}

/* At the bound what is dropped must leave the state too: it is computed again from a checkpoint that has not seen it, or from the first token. */
static void beyond_the_bound_a_state_has_seen_what_is_live_and_nothing_else(void **state) {
    (void)state;
    enum { KEEP = 12, TURN = 24, TURNS = 40 };
    static int32_t token[KEEP + TURN * TURNS];
    static struct kv_turn turn[TURNS];
    struct kv *c = open_with(256);
    struct kv_plan plan;
    struct err e = {0};
    for (size_t i = 0; i < sizeof token / sizeof *token; i++) token[i] = (int32_t)(i * 7 % 501);
    for (size_t n = 1; n <= TURNS; n++) {
        turn[n - 1] = (struct kv_turn){KEEP + (n - 1) * TURN, TURN, false};
        struct kv_prompt p = {token, KEEP + n * TURN, KEEP, turn, n, 1};
        if (kvt_prompt(c, 0, &p, &plan, &e)) fail_msg("turn %zu: %s", n, e.text);
        kvt_check(c, 0);
        kv_checkpoint(c, 0);
    }
    for (int i = 0; i < 600; i++) assert_int_equal(kvt_append(c, 0, 1000 + i, &e), 0); /* a long reply */
    kvt_check(c, 0);
    kv_close(c);
}

/* All behind the kept part leaves at once, and nothing is to be computed again: the state is that of the checkpoint behind the kept part. */
static void where_only_the_kept_part_stays_the_state_is_its(void **state) {
    (void)state;
    struct kv_config g = kvt_config(300, "f16");
    g.state_bytes = STATE;
    g.keep = 100;
    g.evict_free = 1;
    struct kv *c = kvt_open(&g);
    append(c, 0, 0, 100);
    kv_checkpoint(c, 0);
    append(c, 0, 100, 201);
    assert_int_equal(c->seq[0].n_cells, 101);
    assert_int_equal(c->seq[0].n_tokens, 301);
    kvt_check(c, 0);
    kv_close(c);
}

static void what_a_state_has_seen_is_not_freed_by_moving_it_below_0(void **state) {
    (void)state;
    struct kv *c = open_with(1000);
    struct err e = {0};
    append(c, 0, 0, 100);
    assert_int_equal(kv_seq_add(c, 0, 50, -1, -200, &e), ERR_USAGE);
    assert_int_equal(kv_seq_add(c, 0, -1, -1, -200, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "cannot be taken out of a state"));
    assert_int_equal(kv_seq_pos_max(c, 0), 99);
    append(c, 0, 100, 3);
    kvt_check(c, 0);
    kv_close(c);
}

static void a_copy_has_a_state_and_checkpoints_of_its_own(void **state) {
    (void)state;
    struct kv *c = open_with(2000);
    append(c, 0, 0, 100);
    kv_checkpoint(c, 0);
    append(c, 0, 100, 50);
    assert_int_equal(kv_seq_cp(c, 0, 1, 0, 120, NULL), ERR_USAGE);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    append(c, 0, 500, 10);
    append(c, 1, 900, 30);
    kvt_check(c, 0);
    kvt_check(c, 1);
    assert_true(kv_seq_rm(c, 1, 100, -1));
    kvt_check(c, 1);
    kvt_check(c, 0);
    assert_int_equal(kv_seq_pos_max(c, 0), 159);
    kv_close(c);
}

static void a_snapshot_holds_the_state_and_its_checkpoints(void **state) {
    (void)state;
    char path[] = "/tmp/kvetch-state-XXXXXX";
    struct kv_snapshot_info info = {.model_fingerprint = 1};
    struct err e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct kv *c = open_with(1000), *other = open_with(500);
    append(c, 0, 0, 100);
    kv_checkpoint(c, 0);
    append(c, 0, 100, 44);
    assert_int_equal(kv_save(c, 0, path, &info, NULL, &e), 0);
    append(other, 0, 5000, 30);
    if (kv_load(other, 0, path, &info, NULL, &e)) fail_msg("%s", e.text);
    kvt_check(other, 0);
    assert_true(kv_seq_rm(other, 0, 100, -1));
    kvt_check(other, 0);
    append(other, 0, 300, 7);
    kvt_check(other, 0);
    kv_close(other);

    struct kv_config g = kvt_config(1000, "f16");
    other = kvt_open(&g);
    append(other, 0, 0, 3);
    assert_int_equal(kv_load(other, 0, path, &info, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "it has recurrent states, and this model has none"));
    kvt_check(other, 0);
    kv_close(other);
    g.state_bytes = STATE * 2;
    other = kvt_open(&g);
    append(other, 0, 0, 3);
    assert_int_equal(kv_load(other, 0, path, &info, NULL, &e), ERR_FILE);
    assert_int_equal(kv_seq_pos_max(other, 0), 2);
    kvt_check(other, 0);
    kv_close(other);
    kv_close(c);
    unlink(path);
}

/* ---- at random ----------------------------------------------------------------------------------------------- */

static uint64_t random_state = 1;
static uint32_t draw(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}

/* Prompts that go on, are edited anywhere or cut, replies, copies, cuts: the state is always that of what is live. */
static void at_random_the_state_is_that_of_the_live_tokens(void **state) {
    (void)state;
    enum { SEQS = 3, MOST = 700 };
    static int32_t token[SEQS][MOST];
    size_t n[SEQS] = {0};
    struct kv *c = open_with(300);
    struct kv_plan plan;
    struct err e = {0};
    int rounds = getenv("KVETCH_SOAK") ? 300000 : 3000;
    for (int i = 0; i < rounds; i++) {
        int s = (int)draw(SEQS), other = (int)draw(SEQS);
        size_t at = n[s] ? draw((uint32_t)n[s]) : 0, more = 1 + draw(30);
        switch (draw(8)) {
        case 0:
        case 1: /* an edit */
        case 2: /* goes on */
            if (draw(3) == 0) n[s] = at;
            if (n[s] + more > MOST) n[s] = draw(20);
            for (size_t k = 0; k < more; k++) token[s][n[s]++] = (int32_t)draw(9);
            if (kvt_prompt(c, s, &(struct kv_prompt){.token = token[s], .n_tokens = n[s]}, &plan, &e)) {
                assert_int_equal(e.code, ERR_CONTEXT);
                kv_clear(c, false);
                memset(n, 0, sizeof n);
            }
            break;
        case 3:
        case 4: kv_checkpoint(c, s); break;
        case 5: {
            bool cut = kv_seq_rm(c, s, (int64_t)at, -1);
            const int32_t *all;
            if (cut) n[s] = kv_tokens(c, s, &all);
            break;
        }
        case 6:
            if (kv_seq_cp(c, s, other, -1, -1, &e) == 0 && s != other) {
                n[other] = n[s];
                memcpy(token[other], token[s], sizeof token[s]);
            }
            break;
        default:
            if (draw(4) == 0) {
                assert_true(kv_seq_rm(c, s, -1, -1));
                n[s] = 0;
            }
        }
        for (int k = 0; k < SEQS; k++) kvt_check(c, k);
    }
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_follows_its_tokens_through_batches_of_any_size),
        cmocka_unit_test(an_abandoned_batch_leaves_the_state_alone),
        cmocka_unit_test(a_state_is_cut_at_checkpoints_alone),
        cmocka_unit_test(an_edited_prompt_is_replayed_from_the_newest_checkpoint_before_it),
        cmocka_unit_test(of_too_many_checkpoints_the_oldest_goes),
        cmocka_unit_test(beyond_the_bound_a_state_has_seen_what_is_live_and_nothing_else),
        cmocka_unit_test(where_only_the_kept_part_stays_the_state_is_its),
        cmocka_unit_test(what_a_state_has_seen_is_not_freed_by_moving_it_below_0),
        cmocka_unit_test(a_copy_has_a_state_and_checkpoints_of_its_own),
        cmocka_unit_test(a_snapshot_holds_the_state_and_its_checkpoints),
        cmocka_unit_test(at_random_the_state_is_that_of_the_live_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
