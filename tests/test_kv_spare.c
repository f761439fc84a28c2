/* Tests of the block that is faulted in before a token needs it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support_folder.h"
#include "tests/support_kv.h"

#define MIB ((size_t)1 << 20)

/* Pages of a range that take physical memory. */
static size_t resident(const void *at, size_t bytes) {
    static unsigned char page[64 * 1024];
    size_t n = bytes / (size_t)sysconf(_SC_PAGESIZE), count = 0;
    assert_true(n <= sizeof page);
    assert_int_equal(mincore((void *)at, bytes, page), 0);
    for (size_t i = 0; i < n; i++) count += page[i] & 1;
    return count;
}

static bool all_zero(const uint8_t *at, size_t bytes) {
    return !at[0] && !memcmp(at, at + 1, bytes - 1);
}

/* A cache of 8 MiB a block, whose prefaults are offered here. */
static struct kv *open_big(uint32_t bound, enum kv_grow grow) {
    struct kv_config g = kvt_config(bound, "f16");
    g.n_layers = 16;
    g.n_kv_heads = 8;
    g.head_dim_k = g.head_dim_v = 64;
    g.grow = grow;
    struct kv *c = kvt_open(&g);
    if (!c->prefault) {
        kv_close(c);
        print_message("the kernel does not populate pages\n");
        skip();
    }
    c->budget.root = "/nonexistent"; /* nothing limits */
    return c;
}

static void place(struct kv *c, uint32_t n) {
    static int32_t token[4096];
    struct kv_batch b;
    assert_int_equal(kv_begin(c, 0, token, n, SIZE_MAX, &b, NULL), 0);
    kv_finish(c, &b);
}

/* As if the next token came when what it asked for is done. */
static void settle(struct kv *c, struct kv_stats *s) {
    kv_prefault_wait(c->prefault);
    place(c, 1);
    kv_get_stats(c, s);
}

static const uint8_t *block_at(const struct kv *c, uint32_t block) {
    return c->arena.base + block * c->layout.block_bytes;
}

static void the_block_behind_the_last_is_taken_when_that_is_half_full(void **state) {
    (void)state;
    struct kv *c = open_big(131072, KV_GROW_DOUBLE);
    struct kv_stats s;
    place(c, 127);
    settle(c, &s);
    assert_int_equal(s.spare, 0); /* cell 127 is the last of the first half */
    settle(c, &s);
    settle(c, &s);
    assert_int_equal(s.spare, 256);
    assert_int_equal(s.spare_bytes, 8 * MIB);
    assert_int_equal(s.committed, 256); /* it is no capacity yet */
    assert_int_equal(s.committed_bytes, 16 * MIB);
    assert_int_equal(s.touched_bytes, 16 * MIB);
    assert_int_equal(resident(block_at(c, 1), 8 * MIB), 8 * MIB / (size_t)sysconf(_SC_PAGESIZE));
    assert_true(all_zero(block_at(c, 1), 8 * MIB));
    assert_int_equal(s.n_grow, 0);
    place(c, 126);
    kv_get_stats(c, &s);
    assert_int_equal(s.used, 256);
    assert_int_equal(s.n_grow, 0);
    place(c, 1);
    kv_get_stats(c, &s);
    assert_int_equal(s.n_grow, 1);
    assert_int_equal(s.committed, 512);
    assert_int_equal(s.committed_bytes, 16 * MIB);
    assert_int_equal(s.spare, 0); /* its first cell is written */
    assert_int_equal(s.touched_bytes, 16 * MIB);
    kv_close(c);
}

static void a_committed_block_is_taken_before_its_first_token(void **state) {
    (void)state;
    struct kv *c = open_big(2048, KV_GROW_FIXED);
    struct kv_stats s;
    place(c, 300); /* the second half of block 1 is not reached */
    settle(c, &s);
    assert_int_equal(s.spare, 0);
    place(c, 100);
    settle(c, &s);
    assert_int_equal(s.spare, 256);
    assert_int_equal(s.committed_bytes, 64 * MIB);
    assert_int_equal(s.touched_bytes, 24 * MIB);
    assert_int_equal(resident(block_at(c, 2), 8 * MIB), 8 * MIB / (size_t)sysconf(_SC_PAGESIZE));
    assert_int_equal(resident(block_at(c, 3), 8 * MIB), 0);
    place(c, 150);
    kv_get_stats(c, &s);
    assert_int_equal(s.spare, 0);
    kv_clear(c, false);
    for (uint32_t b = 0; b < 8; b++) assert_int_equal(resident(block_at(c, b), 8 * MIB), 0);
    kv_close(c);
}

static void no_block_is_taken_where_cells_are_free_or_the_bound_ends(void **state) {
    (void)state;
    struct kv *c = open_big(1024, KV_GROW_DOUBLE);
    struct kv_stats s;
    place(c, 1024);
    settle(c, &s); /* an eviction */
    assert_int_equal(s.spare, 0);
    kv_close(c);
    c = open_big(4096, KV_GROW_DOUBLE);
    place(c, 508);
    kv_prefault_wait(c->prefault);
    assert_true(kv_seq_rm(c, 0, 0, 300));
    kv_shrink(c);        /* nothing under way */
    c->cells.hint = 508; /* the search goes on at the end, and will wrap */
    place(c, 1);
    settle(c, &s);
    assert_int_equal(c->cells.hint, 510);
    assert_int_equal(s.spare, 0);
    kv_close(c);
}

static void the_spare_block_goes_with_a_shrink_a_clear_and_a_lower_bound(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct kv *c = open_big(131072, KV_GROW_DOUBLE);
        struct kv_stats s;
        place(c, 200);
        settle(c, &s);
        assert_int_equal(s.spare_bytes, 8 * MIB);
        if (how == 0) kv_shrink(c);
        if (how == 1) kv_clear(c, true);
        if (how == 2) assert_int_equal(kv_set_bound(c, 256, NULL), 0);
        kv_get_stats(c, &s);
        assert_int_equal(s.spare, 0);
        assert_int_equal(s.committed_bytes, 8 * MIB);
        assert_int_equal(s.n_shrink, 1);
        assert_int_equal(s.touched_bytes, how == 1 ? 0 : 8 * MIB);
        kv_close(c);
    }
}

static void a_larger_reservation_takes_the_spare_block_along(void **state) {
    (void)state;
    struct kv *c = open_big(600, KV_GROW_DOUBLE);
    struct kv_stats s;
    place(c, 200);
    settle(c, &s);
    assert_int_equal(s.spare, 256);
    assert_int_equal(kv_set_bound(c, 131072, NULL), 0);
    kv_get_stats(c, &s);
    assert_int_equal(s.spare, 256);
    place(c, 400);
    kv_get_stats(c, &s);
    assert_int_equal(s.committed, 1024);
    kv_close(c);
}

/* ---- the budget is asked again ---- */

static void where_the_budget_leaves_no_room_no_block_is_taken(void **state) {
    (void)state;
    struct kv *c = open_big(131072, KV_GROW_DOUBLE);
    struct kv_stats s;
    c->budget.budget_bytes = 16 * MIB - 1;
    place(c, 200);
    settle(c, &s);
    assert_int_equal(s.spare, 0);
    assert_int_equal(s.committed_bytes, 8 * MIB);
    c->budget.budget_bytes = 16 * MIB;
    settle(c, &s);
    settle(c, &s);
    assert_int_equal(s.spare, 0); /* it is not asked for every token */
    c->ahead_short_us = 0;
    settle(c, &s);
    settle(c, &s);
    assert_int_equal(s.spare, 256);
    kv_close(c);
}

/* Lets the made-up machine say how many KiB it has. */
static void available(const char *kib) {
    mkdir(support_folder_path("proc"), 0700);
    FILE *f = fopen(support_folder_path("proc/meminfo"), "w");
    assert_non_null(f);
    fprintf(f, "MemAvailable: %s kB\n", kib);
    assert_int_equal(fclose(f), 0);
}

static void where_the_machine_has_run_short_what_no_token_touched_is_given_back(void **state) {
    (void)state;
    struct kv *c = open_big(4096, KV_GROW_FIXED);
    struct kv_stats s;
    c->budget.root = support_folder_make();
    assert_non_null(c->budget.root);
    available("270000"); /* the margin of 256 MiB and less than a block */
    place(c, 200);
    settle(c, &s);
    assert_int_equal(s.committed, 256);
    assert_int_equal(s.committed_bytes, 8 * MIB);
    struct kv_event ev[4];
    assert_int_equal(kv_events(c, 0, ev, 4), 1);
    assert_int_equal(ev[0].kind, KV_EVENT_SHRINK);
    assert_string_equal(ev[0].reason, "memory");
    place(c, 55);
    c->refused_us = 0;
    place(c, 100); /* the conversation goes on, by the rule at the bound */
    assert_int_equal(c->cells.n, 256);
    available("2000000");
    c->refused_us = 0;
    while (c->cells.used < 256) place(c, 1);
    c->refused_us = 0;
    place(c, 1);
    assert_int_equal(c->cells.n, 4096);
    kv_close(c);
    support_folder_remove();
}

/* ---- together with everything else ---- */

static void rows_stay_in_place_while_blocks_are_taken_and_given_back(void **state) {
    (void)state;
    struct kv_config g = kvt_config(20000, "f16");
    struct kv *c = kvt_open(&g);
    uint32_t x = 1;
    for (int i = 0; i < 4000; i++) {
        x = x * 1664525u + 1013904223u;
        uint32_t n = 1 + (x >> 8) % 90;
        int32_t token[90];
        for (uint32_t k = 0; k < n; k++) token[k] = (int32_t)(x + k);
        struct kv_batch b;
        if (i % 7 == 0) { /* abandoned: as if it had not been */
            assert_int_equal(kv_begin(c, 0, token, n, SIZE_MAX, &b, NULL), 0);
            kv_abandon(c, &b);
        } else
            for (uint32_t k = 0; k < n; k++) assert_int_equal(kvt_append(c, 0, token[k], NULL), 0);
        if (i % 100 == 99) assert_true(kv_seq_rm(c, 0, (int64_t)(x >> 12) % 3000, -1));
        if (i % 250 == 249) kv_shrink(c);
        if (i % 500 == 499) {
            kvt_check(c, 0);
            kv_clear(c, i % 1000 == 999);
        }
        uint32_t resident_blocks = 0, ahead = 0;
        for (uint32_t k = 0; k < c->arena.n_blocks; k++) {
            resident_blocks += c->touched[k] != KV_UNTOUCHED;
            ahead += c->touched[k] == KV_PREFAULTED;
        }
        assert_int_equal(c->n_touched, resident_blocks);
        assert_int_equal(c->n_prefaulted, ahead);
        assert_true(c->arena.n_spare <= 1);
    }
    kvt_check(c, 0);
    kv_close(c);
}

static void closing_does_not_wait_for_what_is_under_way(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct kv *c = open_big(131072, KV_GROW_DOUBLE);
        place(c, 128 + (uint32_t)i);
        place(c, 1);
        if (i % 2) kv_shrink(c);
        kv_close(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_block_behind_the_last_is_taken_when_that_is_half_full),
        cmocka_unit_test(a_committed_block_is_taken_before_its_first_token),
        cmocka_unit_test(no_block_is_taken_where_cells_are_free_or_the_bound_ends),
        cmocka_unit_test(the_spare_block_goes_with_a_shrink_a_clear_and_a_lower_bound),
        cmocka_unit_test(a_larger_reservation_takes_the_spare_block_along),
        cmocka_unit_test(where_the_budget_leaves_no_room_no_block_is_taken),
        cmocka_unit_test(where_the_machine_has_run_short_what_no_token_touched_is_given_back),
        cmocka_unit_test(rows_stay_in_place_while_blocks_are_taken_and_given_back),
        cmocka_unit_test(closing_does_not_wait_for_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
