/* Tests of caches with a stream for each sequence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/kv_slot.h"
#include "tests/support_folder.h"
#include "tests/support_kv.h"

static struct kv *open_streams(uint32_t streams, uint32_t bound, enum kv_evict evict) {
    struct kv_config g = kvt_config(bound, "f16");
    g.streams = streams;
    g.evict = evict;
    return kvt_open(&g);
}

static void feed(struct kv *c, int seq, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) assert_int_equal(kvt_append(c, seq, seq * 1000 + (int32_t)i, NULL), 0);
}

/* Each block is one sequence's, and no sequence has more than its bound's. */
static void check_blocks(const struct kv *c) {
    uint32_t blocks[KV_MAX_SEQS] = {0};
    for (uint32_t b = 0; b < c->arena.n_blocks; b++) {
        uint64_t owners = 0;
        for (uint32_t i = 0; i < KV_BLOCK; i++) owners |= c->cells.owner[b * KV_BLOCK + i];
        assert_true((owners & (owners - 1)) == 0);
        if (owners) blocks[__builtin_ctzll(owners)]++;
    }
    for (int s = 0; s < KV_MAX_SEQS; s++) assert_true(blocks[s] <= kv_blocks(c->config.bound));
}

static void each_stream_has_its_bound_whatever_the_others_hold(void **state) {
    (void)state;
    struct kv *c = open_streams(3, 300, KV_EVICT_STOP);
    for (int i = 0; i < 300; i++)
        for (int s = 0; s < 3; s++) assert_int_equal(kvt_append(c, s, s * 1000 + i, NULL), 0);
    check_blocks(c);
    for (int s = 0; s < 3; s++) {
        assert_int_equal(kv_batch_room(c, s), 0);
        assert_int_equal(kvt_append(c, s, 1, NULL), ERR_CONTEXT);
        kvt_check(c, s);
    }
    assert_int_equal(c->arena.n_blocks, 6);
    assert_true(kv_seq_rm(c, 1, -1, -1));
    assert_int_equal(kvt_append(c, 0, 1, NULL), ERR_CONTEXT); /* what another one gives back is not its */
    feed(c, 1, 300);
    kvt_check(c, 1);
    kv_close(c);
}

static void a_full_stream_evicts_its_own(void **state) {
    (void)state;
    struct kv *c = open_streams(2, 100, KV_EVICT_SLIDE);
    feed(c, 0, 60);
    feed(c, 1, 500);
    assert_int_equal(c->seq[0].n_cells, 60);
    assert_int_equal(c->seq[1].n_cells, 100);
    assert_int_equal(kv_seq_pos_max(c, 0), 59);
    for (int s = 0; s < 2; s++) kvt_check(c, s);
    check_blocks(c);
    kv_close(c);
}

static void a_prompt_counts_on_its_own_stream(void **state) {
    (void)state;
    struct kv *c = open_streams(2, 300, KV_EVICT_SHIFT);
    feed(c, 0, 300);
    int32_t token[290] = {0};
    struct kv_turn turn = {0, 290, false};
    struct kv_prompt p = {.token = token, .n_tokens = 290, .turn = &turn, .n_turns = 1};
    struct kv_plan plan;
    assert_int_equal(kvt_prompt(c, 1, &p, &plan, NULL), 0);
    assert_int_equal(plan.evicted_tokens, 0);
    assert_int_equal(c->seq[0].n_cells, 300);
    kvt_check(c, 1);
    kv_close(c);
}

static void between_streams_bytes_are_copied_and_the_whole_alone(void **state) {
    (void)state;
    struct kv *c = open_streams(3, 600, KV_EVICT_SHIFT);
    feed(c, 0, 400);
    feed(c, 2, 500);
    uint32_t used = c->cells.used;
    assert_int_equal(kv_seq_cp(c, 0, 1, 0, 399, NULL), ERR_USAGE);
    assert_int_equal(kv_seq_cp(c, 0, 1, 1, -1, NULL), ERR_USAGE);
    assert_int_equal(c->cells.used, used);
    assert_int_equal(kv_seq_cp(c, 0, 1, 0, 400, NULL), 0);
    assert_int_equal(c->cells.used, used + 400);
    assert_int_equal(c->cells.n_shared, 0);
    assert_int_equal(kv_seq_cp(c, 0, 2, -1, -1, NULL), 0); /* takes the place of what was there */
    assert_int_equal(c->seq[2].n_cells, 400);
    for (size_t i = 0; i < 400; i++) {
        assert_true(kvt_hash(c, 0, i) == kvt_hash(c, 1, i));
        assert_true(kvt_hash(c, 0, i) == kvt_hash(c, 2, i));
    }
    assert_true(kv_seq_rm(c, 0, -1, -1)); /* the copies are their own */
    for (int s = 1; s < 3; s++) kvt_check(c, s);
    check_blocks(c);
    assert_int_equal(kv_set_bound(c, 399, NULL), 0);
    assert_int_equal(kv_seq_cp(c, 1, 2, -1, -1, NULL), ERR_CONTEXT);
    assert_int_equal(c->seq[2].n_cells, 400);
    kv_close(c);
}

static void a_copy_that_memory_refuses_changes_nothing(void **state) {
    (void)state;
    struct kv *c = open_streams(2, 2000, KV_EVICT_SHIFT);
    feed(c, 0, 500);
    feed(c, 1, 3);
    c->config.grow = KV_GROW_LINEAR;
    c->config.step_cells = KV_BLOCK;
    kv_shrink(c);
    uint32_t blocks = c->arena.n_blocks;
    c->arena.fail_in = 1;
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), ERR_MEMORY);
    assert_int_equal(c->arena.n_blocks, blocks);
    assert_int_equal(c->seq[1].n_cells, 3);
    for (int s = 0; s < 2; s++) kvt_check(c, s);
    c->arena.fail_in = 0;
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    kvt_check(c, 1);
    kv_close(c);
}

static void a_snapshot_enters_a_stream(void **state) {
    (void)state;
    assert_non_null(support_folder_make());
    const char *path = support_folder_path("stream");
    struct kv *c = open_streams(2, 600, KV_EVICT_SHIFT);
    feed(c, 0, 290);
    feed(c, 1, 600);
    assert_true(kv_seq_rm(c, 0, 100, 130));
    assert_true(kv_seq_rm(c, 1, 10, 590)); /* a stream of few cells in several blocks */
    struct kv_snapshot_info info = {.model_fingerprint = 1, .rope_fingerprint = 2};
    struct err e = {0};
    assert_int_equal(kv_save(c, 0, path, &info, NULL, &e), 0);
    if (kv_load(c, 1, path, &info, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(c->seq[1].n_cells, 260);
    for (int s = 0; s < 2; s++) kvt_check(c, s);
    check_blocks(c);
    feed(c, 1, 340);
    kvt_check(c, 1);
    check_blocks(c);
    kv_close(c);
    support_folder_remove();
}

static void the_bound_of_streams_changes(void **state) {
    (void)state;
    struct kv *c = open_streams(2, 600, KV_EVICT_SHIFT);
    feed(c, 0, 600);
    feed(c, 1, 10);
    assert_int_equal(kv_set_bound(c, 200, NULL), 0);
    feed(c, 1, 190);
    assert_int_equal(c->seq[1].n_cells, 200);
    feed(c, 0, 1);
    assert_true(c->seq[0].n_cells <= 200);
    assert_int_equal(kv_set_bound(c, 1000, NULL), 0);
    feed(c, 1, 800);
    assert_int_equal(c->seq[1].n_cells, 1000);
    for (int s = 0; s < 2; s++) kvt_check(c, s);
    check_blocks(c);
    kv_close(c);
}

static void there_are_as_many_sequences_as_streams(void **state) {
    (void)state;
    struct kv_config g = kvt_config(300, "f16");
    struct kv *c;
    struct err e = {0};
    g.streams = KV_MAX_SEQS + 1;
    assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "64"));
    g.streams = 64;
    g.bound = 1u << 27;
    assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
    c = open_streams(2, 300, KV_EVICT_SHIFT);
    assert_int_equal(kv_available(c), 2);
    assert_int_equal(kv_acquire(c), 0);
    assert_int_equal(kv_acquire(c), 1);
    assert_int_equal(kv_acquire(c), -1);
    assert_false(kv_seq_rm(c, 2, -1, -1));
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_stream_has_its_bound_whatever_the_others_hold),
        cmocka_unit_test(a_full_stream_evicts_its_own),
        cmocka_unit_test(a_prompt_counts_on_its_own_stream),
        cmocka_unit_test(between_streams_bytes_are_copied_and_the_whole_alone),
        cmocka_unit_test(a_copy_that_memory_refuses_changes_nothing),
        cmocka_unit_test(a_snapshot_enters_a_stream),
        cmocka_unit_test(the_bound_of_streams_changes),
        cmocka_unit_test(there_are_as_many_sequences_as_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
