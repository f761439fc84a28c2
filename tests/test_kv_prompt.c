/* Tests of the prompt cache: parked sequences, which of them a prompt takes, and limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support_snapshot.h"

#define KEEP 40u /* tokens that all talks have in common */

/* A conversation of a kept part and one turn; token i is i + 1000 * its number, but for the kept part. */
struct talk {
    int32_t token[4096];
    struct kv_turn turn[40];
    struct kv_prompt p;
};

static struct talk *talk_new(int number, size_t n_turns) {
    struct talk *t = calloc(1, sizeof *t);
    for (int i = 0; i < 4096; i++) t->token[i] = i < (int)KEEP ? i : i + 10000 * number;
    for (size_t i = 0; i < 40; i++) t->turn[i] = (struct kv_turn){KEEP + i * 100, 100, false};
    t->p = (struct kv_prompt){t->token, KEEP + n_turns * 100, KEEP, t->turn, n_turns, (uint64_t)number};
    return t;
}

static void say(struct talk *t, size_t n_turns) {
    t->p.n_turns = n_turns;
    t->p.n_tokens = KEEP + n_turns * 100;
}

static struct kv *open_cache(uint32_t bound, uint32_t parked, enum kv_evict mode) {
    struct kv_config g = kvt_config(bound, "f16");
    g.prompt_bytes = (uint64_t)parked * 2 * KVT_LAYERS * KVT_ROW * 2;
    g.evict = mode;
    struct kv *c = kvt_open(&g);
    assert_int_equal(c->parked_cells, parked);
    return c;
}

static void check_counts(struct kv *c) {
    uint32_t n_parked = 0, n_resting = 0, used = 0;
    for (uint32_t i = 0; i < c->cells.n; i++) {
        uint64_t o = c->cells.owner[i];
        used += o != 0;
        n_parked += (o & c->cells.parked) != 0;
        n_resting += o && !(o & ~c->cells.parked);
    }
    assert_int_equal(c->cells.used, used);
    assert_int_equal(c->cells.n_parked, n_parked);
    assert_int_equal(c->cells.n_resting, n_resting);
    assert_true(n_parked <= c->parked_cells);
    assert_true(used - n_resting <= c->config.bound);
    for (int s = 0; s < KV_MAX_SEQS; s++) kvt_check(c, s);
}

/* Switches sequence 0 to the talk; returns what had to be computed. */
static size_t ask(struct kv *c, const struct talk *t) {
    struct err e = {0};
    struct kv_plan plan;
    kv_prompt_choose(c, 0, &t->p);
    check_counts(c);
    if (kvt_prompt(c, 0, &t->p, &plan, &e)) fail_msg("%s", e.text);
    check_counts(c);
    return plan.n_todo_tokens;
}

static uint32_t entries(struct kv *c) {
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.parked_bytes, (uint64_t)s.parked_cells * s.cell_bytes);
    assert_true(s.parked_bytes <= s.parked_limit_bytes);
    return s.n_parked;
}

static void there_and_back_again_computes_one_token(void **state) {
    (void)state;
    struct kv *c = open_cache(2000, 4000, KV_EVICT_SHIFT);
    struct talk *a = talk_new(1, 10), *b = talk_new(2, 5);
    uint64_t hash[1040];
    assert_int_equal(ask(c, a), 1040);
    for (size_t i = 0; i < 1040; i++) hash[i] = kvt_hash(c, 0, i);
    assert_int_equal(ask(c, b), 500); /* the kept part is shared */
    assert_int_equal(entries(c), 1);
    assert_int_equal(c->cells.used, 1540);
    assert_int_equal(ask(c, a), 1);
    for (size_t i = 0; i < 1039; i++) assert_true(hash[i] == kvt_hash(c, 0, i));
    assert_int_equal(entries(c), 1);
    assert_int_equal(ask(c, b), 1);
    assert_int_equal(ask(c, a), 1);
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.used, 1040); /* of the live one */
    assert_int_equal(s.parked_cells, 540);
    kv_close(c);
    free(a);
    free(b);
}

static void parked_and_taken_up_by_name(void **state) {
    (void)state;
    struct kv *c = open_cache(2000, 4000, KV_EVICT_SHIFT);
    struct talk *a = talk_new(1, 10);
    ask(c, a);
    kv_prompt_park(c, 0);
    assert_int_equal(kv_seq_pos_max(c, 0), -1);
    assert_int_equal(entries(c), 1);
    assert_false(kv_prompt_resume(c, 0, 2));
    assert_false(kv_prompt_resume(c, 0, 0));
    assert_true(kv_prompt_resume(c, 0, 1));
    assert_int_equal(entries(c), 0);
    check_counts(c);
    say(a, 11);
    assert_int_equal(ask(c, a), 100);
    kv_close(c);
    free(a);
}

static void what_is_live_counts_against_the_bound_and_what_is_parked_against_the_limit(void **state) {
    (void)state;
    struct kv *c = open_cache(1000, 900, KV_EVICT_STOP);
    struct talk *t[4];
    for (int i = 0; i < 4; i++) t[i] = talk_new(i + 1, 8);
    assert_int_equal(ask(c, t[0]), 840);
    assert_int_equal(ask(c, t[1]), 800);
    assert_int_equal(c->cells.used, 1640);
    assert_int_equal(kv_batch_room(c, 0), 160);
    for (int i = 0; i < 160; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0); /* up to the bound */
    assert_int_equal(kvt_append(c, 0, 1, NULL), ERR_CONTEXT);
    assert_int_equal(c->cells.used, 1800);
    check_counts(c);
    kv_close(c);
    for (int i = 0; i < 4; i++) free(t[i]);
}

static void the_least_recently_used_makes_way_and_what_is_too_large_is_refused(void **state) {
    (void)state;
    struct kv *c = open_cache(2000, 1000, KV_EVICT_SHIFT);
    struct talk *t[4];
    for (int i = 0; i < 4; i++) t[i] = talk_new(i + 1, 4); /* 440 cells, 40 of them shared by all */
    for (int i = 0; i < 3; i++) ask(c, t[i]);
    assert_int_equal(entries(c), 2); /* 1 and 2: 840 */
    assert_int_equal(ask(c, t[0]), 1);
    assert_int_equal(ask(c, t[3]), 400); /* 1 is parked anew and 2 goes */
    assert_int_equal(entries(c), 2);
    assert_int_equal(ask(c, t[2]), 1);
    assert_int_equal(ask(c, t[0]), 1);
    assert_int_equal(ask(c, t[1]), 400);
    struct talk *large = talk_new(9, 10); /* 1040: alone too large */
    assert_int_equal(ask(c, large), 1000);
    uint32_t before = entries(c);
    assert_int_equal(before, 2);
    struct talk *other = talk_new(8, 1);
    assert_int_equal(ask(c, other), 100);
    assert_int_equal(entries(c), before); /* it is not held, and nothing had to go for it */
    assert_int_equal(ask(c, large), 1000);
    kv_close(c);
    free(large);
    free(other);
    for (int i = 0; i < 4; i++) free(t[i]);
}

static void a_limit_of_tokens_holds_as_well_and_none_is_no_cache(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    g.prompt_bytes = 1 << 30;
    g.prompt_tokens = 500;
    struct kv *c = kvt_open(&g);
    assert_int_equal(c->parked_cells, 500);
    struct talk *a = talk_new(1, 6), *b = talk_new(2, 2);
    ask(c, a);
    ask(c, b);
    assert_int_equal(entries(c), 0);
    ask(c, a);
    assert_int_equal(entries(c), 1);
    kv_close(c);
    c = open_cache(1000, 0, KV_EVICT_SHIFT);
    assert_int_equal(ask(c, a), 640);
    assert_int_equal(ask(c, b), 200); /* what they have in common stays live */
    assert_int_equal(entries(c), 0);
    kv_prompt_park(c, 0);
    assert_int_equal(c->cells.used, 0);
    kv_close(c);
    g = kvt_config(1000, "f16");
    g.prompt_bytes = KV_PROMPT_AUTO;
    g.budget_bytes = 8 << 20;
    c = kvt_open(&g);
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.parked_limit_bytes, 1 << 20); /* an eighth */
    kv_close(c);
    free(a);
    free(b);
}

static void an_edit_keeps_what_is_common_and_the_old_branch_when_it_is_long(void **state) {
    (void)state;
    struct kv *c = open_cache(2000, 2000, KV_EVICT_SHIFT);
    struct talk *t = talk_new(1, 10);
    ask(c, t);
    for (int i = 0; i < 30; i++) kvt_append(c, 0, 5, NULL); /* a reply */
    assert_int_equal(ask(c, t), 1);                         /* made again: nearly all of it is of use, nothing is parked */
    assert_int_equal(entries(c), 0);
    int32_t old[2] = {t->token[300], t->token[301]};
    t->token[300] = 7; /* an early message edited: less than half stays */
    assert_int_equal(ask(c, t), 740);
    assert_int_equal(entries(c), 1);
    assert_int_equal(c->cells.used, 1070 + 740 - 30); /* the branches share their beginning */
    t->token[300] = old[0];
    assert_int_equal(ask(c, t), 1); /* and back */
    kv_close(c);
    free(t);
}

static void forks_share_their_cells(void **state) {
    (void)state;
    struct kv *c = open_cache(2000, 3000, KV_EVICT_SHIFT);
    struct talk *t = talk_new(1, 10);
    ask(c, t);
    kv_prompt_park(c, 0);
    for (int f = 0; f < 5; f++) { /* each goes on from the same 240 tokens otherwise */
        t->p.conversation = 10 + (uint64_t)f;
        t->token[240] = 70000 + f;
        assert_int_equal(ask(c, t), 800);
        kv_prompt_park(c, 0);
    }
    assert_int_equal(entries(c), 3); /* 240 and 800 each: more do not fit */
    assert_int_equal(c->cells.used, 240 + 3 * 800);
    kv_close(c);
    free(t);
}

static void entries_that_begin_a_new_one_are_dropped(void **state) {
    (void)state;
    struct kv *c = open_cache(2000, 3000, KV_EVICT_SHIFT);
    struct talk *t = talk_new(1, 3), *other = talk_new(2, 8);
    ask(c, t);
    kv_prompt_park(c, 0);
    for (size_t i = 0; i < 740; i++) assert_int_equal(kvt_append(c, 0, t->token[i], NULL), 0); /* the same, longer, computed anew */
    kv_prompt_park(c, 0);
    assert_int_equal(entries(c), 1);
    assert_int_equal(c->cells.used, 740);
    for (size_t i = 0; i < 440; i++) assert_int_equal(kvt_append(c, 0, t->token[i], NULL), 0); /* and shorter: not parked at all */
    kv_prompt_park(c, 0);
    assert_int_equal(entries(c), 1);
    assert_int_equal(c->cells.used, 740);
    kv_close(c);
    free(t);
    free(other);
}

static void an_entry_is_taken_only_where_it_beats_the_live_one_on_both_counts(void **state) {
    (void)state;
    struct kv *c = open_cache(3000, 3000, KV_EVICT_SHIFT);
    struct talk *a = talk_new(1, 20), *b = talk_new(2, 2);
    ask(c, a);
    kv_prompt_park(c, 0);
    say(a, 4); /* 440 of 2040: less than a quarter of the entry is of use. It stays, and lends its cells */
    a->token[439] = 3;
    assert_int_equal(ask(c, a), 1);
    assert_int_equal(entries(c), 1);
    assert_int_equal(c->cells.used, 2041);
    say(a, 6); /* 439 of what is live (all of it) against 439 of the entry: it is no better */
    assert_int_equal(ask(c, a), 200);
    assert_int_equal(entries(c), 1);
    a->token[439] = 439 + 10000;
    say(a, 7); /* the entry has 740 of its 2040 tokens, live has 439 of 640: its share is greater. The entry lends all the same */
    assert_int_equal(ask(c, a), 1);
    assert_int_equal(entries(c), 1);
    say(a, 19); /* 1940 of 2040 against all 740: lent; nothing is lost */
    assert_int_equal(ask(c, a), 1);
    kv_close(c);
    free(a);
    free(b);
}

static void what_saw_tokens_that_left_serves_its_own_conversation_alone(void **state) {
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        struct kv *c = open_cache(1000, 3000, mode ? KV_EVICT_RESEED : KV_EVICT_SHIFT);
        struct talk *a = talk_new(1, 1), *b = talk_new(2, 3);
        for (size_t n = 1; n < 20; n++) {
            say(a, n);
            ask(c, a);
        }
        size_t live = c->seq[0].n_cells;
        assert_true(c->seq[0].n_left > 0 && live > 300);
        ask(c, b);
        assert_int_equal(ask(c, a), 1); /* its own: all of it, also where it is as reseed made it */
        ask(c, b);
        a->p.conversation = 3; /* the same tokens in another conversation: the kept part alone is clean */
        size_t n = ask(c, a);
        assert_true(n > 300);
        assert_int_equal(c->seq[0].conversation, 3);
        kv_close(c);
        free(a);
        free(b);
    }
}

static void what_a_shift_left_behind_never_serves_reseed(void **state) {
    (void)state;
    struct kv *c = open_cache(1000, 3000, KV_EVICT_SHIFT);
    struct talk *a = talk_new(1, 1), *b = talk_new(2, 3);
    for (size_t n = 1; n < 20; n++) {
        say(a, n);
        ask(c, a);
    }
    size_t live = c->seq[0].n_cells;
    ask(c, b);
    assert_int_equal(kv_set_evict(c, KV_EVICT_RESEED, NULL), 0);
    size_t n = ask(c, a);
    assert_true(n >= live - KEEP);
    assert_true(kv_seq_taint(&c->seq[0]) == SIZE_MAX);
    kv_close(c);
    free(a);
    free(b);
}

static char folder[256];

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/kvetch-prompt-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

/* The pool is full, and what the sequence gives back is less than it holds. */
static void a_snapshot_replaces_a_sequence_whose_cells_an_entry_shares(void **state) {
    (void)state;
    struct kv *c = open_cache(512, 4000, KV_EVICT_SHIFT), *other = open_cache(512, 0, KV_EVICT_SHIFT);
    struct talk *t = talk_new(1, 4), *u = talk_new(2, 4), *v = talk_new(3, 4);
    struct err e = {0};
    char path[300];
    snprintf(path, sizeof path, "%s/a.kv", folder);
    memcpy(u->token, t->token, 430 * sizeof *u->token);
    assert_int_equal(ask(c, t), 440);
    kv_prompt_park(c, 0);
    say(u, 0); /* wholly alike, so it is the entry's cells that the rest shares */
    ask(c, u);
    say(u, 4);
    assert_int_equal(ask(c, u), 10);
    assert_int_equal(entries(c), 1);
    assert_int_equal(ask(other, v), 440);
    kvs_save(other, 0, path);
    assert_int_equal(kvs_load(c, 0, path, &e), 0);
    check_counts(c);
    assert_true(kvs_same(c, 0, other, 0));
    assert_int_equal(ask(c, v), 1);
    unlink(path);
    kv_close(c);
    kv_close(other);
    free(t);
    free(u);
    free(v);
}

static void entries_go_first_when_memory_is_short(void **state) {
    (void)state;
    struct kv_config g = kvt_config(2048, "f16");
    g.prompt_bytes = 1 << 20;
    g.grow = KV_GROW_LINEAR;
    g.step_cells = 256;
    struct kv *c = kvt_open(&g);
    kv_prefault_close(c->prefault); /* nothing is taken ahead */
    c->prefault = NULL;
    struct talk *a = talk_new(1, 6), *b = talk_new(2, 3);
    ask(c, a);
    ask(c, b);
    assert_int_equal(entries(c), 1);
    c->budget.budget_bytes = c->arena.committed_bytes; /* not a block more */
    c->refused_us = 0;
    for (uint32_t i = c->cells.used; i < c->cells.n; i++) assert_int_equal(kvt_append(c, 0, 5, NULL), 0);
    assert_int_equal(entries(c), 1);
    assert_int_equal(kvt_append(c, 0, 5, NULL), 0);
    assert_int_equal(entries(c), 0);
    const struct kv_range *left;
    assert_int_equal(kv_left(c, 0, &left), 0); /* nothing had to leave the conversation */
    struct kv_event ev[KV_EVENTS];
    size_t n = kv_events(c, 0, ev, KV_EVENTS);
    assert_int_equal(ev[n - 1].kind, KV_EVENT_FORGET);
    assert_int_equal(ev[n - 1].evicted_tokens, 640);
    assert_string_equal(ev[n - 1].reason, "memory");
    check_counts(c);
    /* and for a prompt */
    kv_prompt_park(c, 0);
    assert_int_equal(entries(c), 1);
    struct talk *d = talk_new(3, 8);
    assert_int_equal(ask(c, d), 800); /* it has lent the kept part */
    assert_int_equal(entries(c), 0);
    assert_int_equal(kv_left(c, 0, &left), 0);
    kv_close(c);
    free(a);
    free(b);
    free(d);
}

static void leases_see_entries_as_vacant_and_operations_leave_them_alone(void **state) {
    (void)state;
    struct kv *c = open_cache(2000, 3000, KV_EVICT_SHIFT);
    struct talk *a = talk_new(1, 3), *b = talk_new(2, 3);
    int seq = kv_acquire(c);
    assert_int_equal(seq, 0);
    ask(c, a);
    ask(c, b);
    assert_int_equal(entries(c), 1);
    assert_int_equal(kv_available(c), KV_MAX_SEQS - 1);
    assert_true(kv_seq_rm(c, -1, -1, -1));
    kv_seq_keep(c, 0);
    kv_retain(c, 0);
    assert_int_equal(entries(c), 1);
    for (int i = 1; i < KV_MAX_SEQS; i++) assert_int_equal(kv_acquire(c), i); /* the last one is the entry's */
    assert_int_equal(entries(c), 0);
    assert_int_equal(kv_acquire(c), -1);
    kv_retain(c, 0);
    ask(c, b);
    ask(c, a);
    assert_int_equal(entries(c), 1);
    kv_clear(c, false);
    assert_int_equal(entries(c), 0);
    assert_int_equal(c->cells.used, 0);
    check_counts(c);
    kv_close(c);
    free(a);
    free(b);
}

static void the_live_sequence_with_the_greatest_share_is_picked(void **state) {
    (void)state;
    struct kv *c = open_cache(3000, 3000, KV_EVICT_SHIFT);
    struct talk *a = talk_new(1, 3), *b = talk_new(2, 3);
    struct kv_plan plan;
    assert_int_equal(kv_acquire(c), 0);
    assert_int_equal(kv_acquire(c), 1);
    assert_int_equal(kv_prompt_pick(c, &a->p), -1);
    assert_int_equal(kvt_prompt(c, 0, &a->p, &plan, NULL), 0);
    assert_int_equal(kvt_prompt(c, 1, &b->p, &plan, NULL), 0);
    say(a, 6);
    say(b, 6);
    assert_int_equal(kv_prompt_pick(c, &a->p), 0);
    assert_int_equal(kv_prompt_pick(c, &b->p), 1);
    struct talk *d = talk_new(3, 3);
    assert_int_equal(kv_prompt_pick(c, &d->p), 0); /* 40 of 340 */
    say(d, 4);
    assert_int_equal(kv_prompt_pick(c, &d->p), -1); /* 40 of 440: no more than a tenth */
    kv_close(c);
    free(a);
    free(b);
    free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back_again_computes_one_token),
        cmocka_unit_test(parked_and_taken_up_by_name),
        cmocka_unit_test(what_is_live_counts_against_the_bound_and_what_is_parked_against_the_limit),
        cmocka_unit_test(the_least_recently_used_makes_way_and_what_is_too_large_is_refused),
        cmocka_unit_test(a_limit_of_tokens_holds_as_well_and_none_is_no_cache),
        cmocka_unit_test(an_edit_keeps_what_is_common_and_the_old_branch_when_it_is_long),
        cmocka_unit_test(forks_share_their_cells),
        cmocka_unit_test(entries_that_begin_a_new_one_are_dropped),
        cmocka_unit_test(an_entry_is_taken_only_where_it_beats_the_live_one_on_both_counts),
        cmocka_unit_test(what_saw_tokens_that_left_serves_its_own_conversation_alone),
        cmocka_unit_test(what_a_shift_left_behind_never_serves_reseed),
        cmocka_unit_test_setup_teardown(a_snapshot_replaces_a_sequence_whose_cells_an_entry_shares, make_folder, remove_folder),
        cmocka_unit_test(entries_go_first_when_memory_is_short),
        cmocka_unit_test(leases_see_entries_as_vacant_and_operations_leave_them_alone),
        cmocka_unit_test(the_live_sequence_with_the_greatest_share_is_picked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
