/* Tests of the arena, of growth and shrinking, and of the budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support_kv.h"

#define MIB ((uint64_t)1 << 20)

/* ---- arena ---- */

/* Whole huge pages, but for what is less than one. */
static void a_small_part_of_a_large_arena_takes_no_huge_page(void **state) {
    (void)state;
    static const size_t bytes[] = {0, MIB / 2, MIB, 3 * MIB / 2, 2 * MIB, 4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB, 6 * MIB};
    struct kv_arena a;
    assert_int_equal(kv_arena_open(&a, MIB / 2, 1000, KV_ARENA_RESERVE), 0);
    for (uint32_t n = 1; n < 10; n++) {
        assert_int_equal(kv_arena_bytes(&a, n), bytes[n]);
        assert_int_equal(kv_arena_commit(&a, n), 0);
        assert_int_equal(a.committed_bytes, bytes[n]);
        a.base[n * (MIB / 2) - 1] = 1;
    }
    kv_arena_uncommit(&a, 3);
    assert_int_equal(a.committed_bytes, 3 * MIB / 2);
    assert_int_equal(a.base[3 * MIB / 2 - 1], 1);
    assert_int_equal(kv_arena_fit(&a, 2 * MIB - 1), 3);
    assert_int_equal(kv_arena_fit(&a, 2 * MIB), 4);
    assert_int_equal(kv_arena_fit(&a, 4 * MIB - 1), 4);
    kv_arena_close(&a);
}

static void an_arena_grows_without_moving_and_shrinks_to_zeros(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        bool reserve = way == KV_ARENA_RESERVE;
        struct kv_arena a;
        assert_int_equal(kv_arena_open(&a, 12288, 1000, (enum kv_arena_way)way), 0);
        assert_int_equal(a.reserved_bytes > 0, reserve);
        assert_int_equal((uintptr_t)a.base % (2 * MIB), 0);
        uint8_t *base = NULL;
        for (uint32_t n = 1; n <= 1000; n += n / 2 + 1) {
            assert_int_equal(kv_arena_commit(&a, n), 0);
            if (n == 1) base = a.base;
            assert_true(!reserve || a.base == base);
            for (uint32_t b = 0; b < n; b++) {
                uint8_t *p = a.base + (size_t)b * 12288;
                if (p[0] == 0) memset(p, (int)(b % 250 + 1), 12288); /* new */
                assert_int_equal(p[0], b % 250 + 1);
                assert_int_equal(p[12287], b % 250 + 1);
            }
        }
        kv_arena_uncommit(&a, 7);
        assert_int_equal(a.n_blocks, 7);
        assert_true(a.committed_bytes <= 2 * MIB);
        assert_int_equal(kv_arena_commit(&a, 300), 0);
        for (size_t i = 0; i < 12288 * 7; i++) assert_int_equal(a.base[i], i / 12288 + 1);
        for (size_t i = 12288 * 7; i < 12288 * 300; i++) assert_int_equal(a.base[i], 0);
        kv_arena_discard(&a, 3);
        assert_int_equal(a.base[12288 * 3 - 1], 3);
        assert_int_equal(a.base[12288 * 3], 0);
        assert_int_equal(a.base[12288 * 4 - 1], 0);
        assert_int_equal(a.base[12288 * 4], 5);
        assert_int_equal(a.copied_bytes > 0, way == KV_ARENA_COPY);
        kv_arena_close(&a);
    }
}

/* The kernel's flags of the mapping that holds p (proc(5), VmFlags), "" where it does not tell. */
static void mapping_flags(const void *p, char flags[512]) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool in = false;
    *flags = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) in = from <= (uintptr_t)p && (uintptr_t)p < to;
        if (in && !strncmp(line, "VmFlags:", 8)) strcpy(flags, line + 8);
    }
    if (f) fclose(f);
}

static void every_part_of_an_arena_stays_out_of_forks_and_dumps_and_is_accounted_for(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct kv_arena a;
        char flags[512];
        assert_int_equal(kv_arena_open(&a, MIB, 64, (enum kv_arena_way)way), 0);
        static const uint32_t size[] = {2, 10, 40, 6, 20}; /* grown, shrunk, grown again */
        for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
            kv_arena_uncommit(&a, size[i]);
            assert_int_equal(kv_arena_commit(&a, size[i]), 0);
            size_t end = (way == KV_ARENA_RESERVE ? 64 : size[i]) * MIB;
            for (size_t at = 0; at < end; at += MIB) {
                mapping_flags(a.base + at, flags);
                if (!*flags) skip();
                assert_true(strstr(flags, " dc") && strstr(flags, " dd")); /* MADV_DONTFORK, MADV_DONTDUMP */
                assert_null(strstr(flags, " nr"));                         /* MAP_NORESERVE */
            }
        }
        kv_arena_close(&a);
    }
}

static void a_larger_reservation_takes_the_contents_along(void **state) {
    (void)state;
    for (int copy = 0; copy < 2; copy++) {
        struct kv_arena a;
        assert_int_equal(kv_arena_open(&a, 4096, 10, KV_ARENA_RESERVE), 0);
        if (copy) a.way = KV_ARENA_COPY;
        assert_int_equal(kv_arena_commit(&a, 10), 0);
        for (size_t i = 0; i < 40960; i++) a.base[i] = i / 4096 == 3 ? 0 : (uint8_t)(i % 251);
        assert_int_equal(kv_arena_reserve(&a, 100000), 0);
        assert_int_equal(a.copied_bytes, copy ? 9 * 4096 : 0); /* a page of zeros is none to copy */
        assert_int_equal(kv_arena_commit(&a, 5000), 0);
        for (size_t i = 0; i < 40960; i++) assert_int_equal(a.base[i], i / 4096 == 3 ? 0 : i % 251);
        a.base[4096 * 5000 - 1] = 1;
        kv_arena_close(&a);
    }
}

static void an_impossible_size_is_refused(void **state) {
    (void)state;
    struct kv_arena a;
    assert_int_equal(kv_arena_open(&a, SIZE_MAX / 8192 * 4096, UINT32_MAX, KV_ARENA_RESERVE), -1);
}

/* ---- policies ---- */

static void each_policy_grows_by_its_steps_inside_the_call(void **state) {
    (void)state;
    static const struct {
        enum kv_grow grow;
        uint32_t step_cells;
        uint32_t blocks[12]; /* committed, in order, up to 10 blocks */
    } row[] = {
        {KV_GROW_DOUBLE, 0, {1, 2, 4, 8, 10}},    {KV_GROW_LINEAR, 300, {1, 3, 5, 7, 9, 10}},
        {KV_GROW_LINEAR, 0, {1, 3, 5, 7, 9, 10}}, /* by step_bytes */
        {KV_GROW_AUTO, 0, {1, 2, 4, 6, 8, 10}},   {KV_GROW_FIXED, 0, {10}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct kv_config g = kvt_config(2500, "f16");
        g.grow = row[i].grow;
        g.step_cells = row[i].step_cells;
        g.threshold_bytes = 4 * 32768; /* a block is 32 KiB */
        g.step_bytes = 2 * 32768;
        struct kv *c = kvt_open(&g);
        assert_int_equal(c->layout.block_bytes, 32768);
        int step = 0;
        for (uint32_t n = 1; n <= 2500; n++) {
            assert_int_equal(kvt_append(c, 0, (int32_t)n, NULL), 0);
            if (kv_blocks(n) > row[i].blocks[step]) step++;
            assert_int_equal(c->cells.n, row[i].blocks[step] * KV_BLOCK); /* grown at 257, not at 256 */
        }
        struct kv_event ev[KV_EVENTS];
        assert_int_equal(kv_events(c, 0, ev, KV_EVENTS), step); /* opening is none */
        for (int k = 0; k < step; k++) {
            assert_int_equal(ev[k].kind, KV_EVENT_GROW);
            assert_int_equal(ev[k].n, k + 1);
            assert_int_equal(ev[k].cells_before, row[i].blocks[k] * KV_BLOCK);
            uint32_t after = row[i].blocks[k + 1] * KV_BLOCK;
            assert_int_equal(ev[k].cells_after, after < g.bound ? after : g.bound);
            assert_int_equal(ev[k].bytes_after, row[i].blocks[k + 1] * 32768);
            assert_string_equal(ev[k].reason, "full");
        }
        assert_int_equal(kv_events(c, step ? (uint64_t)step - 1 : 0, ev, KV_EVENTS), step ? 1 : 0);
        kvt_check(c, 0);
        kv_close(c);
    }
}

static void names_of_policies_and_modes_are_found(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kv_grow_find(kv_grow_name((enum kv_grow)i)), i);
        assert_int_equal(kv_evict_find(kv_evict_name((enum kv_evict)i)), i);
    }
    assert_int_equal(kv_grow_find("LINEAR"), KV_GROW_LINEAR);
    assert_int_equal(kv_grow_find("x"), -1);
    assert_int_equal(kv_evict_find(""), -1);
}

/* ---- refusals ---- */

static void a_refused_commit_leaves_the_old_capacity_and_the_conversation_goes_on(void **state) {
    (void)state;
    for (uint32_t nth = 1; nth < 8; nth++) {
        struct kv_config g = kvt_config(5000, "f16");
        struct kv *c = kvt_open(&g);
        c->arena.fail_in = nth;
        for (int i = 0; i < 3000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
        kvt_check(c, 0);
        kv_close(c);
    }
    struct kv_config g = kvt_config(5000, "f16");
    struct kv *c = kvt_open(&g);
    for (int i = 0; i < 512; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    c->refused_us = kv_now_us(); /* as if a commit had just been refused */
    assert_int_equal(kvt_append(c, 0, 512, NULL), 0);
    assert_int_equal(c->cells.n, 512);
    assert_true(c->seq[0].n_left == 1); /* the mode's rule made room */
    assert_int_equal(kv_set_evict(c, KV_EVICT_STOP, NULL), 0);
    while (c->cells.used < 512) {
        c->refused_us = kv_now_us();
        assert_int_equal(kvt_append(c, 0, 1, NULL), 0);
    }
    c->refused_us = kv_now_us();
    assert_int_equal(kvt_append(c, 0, 1, NULL), ERR_MEMORY);
    c->refused_us = 0;
    assert_int_equal(kvt_append(c, 0, 1, NULL), 0);
    assert_int_equal(c->cells.n, 1024);
    kvt_check(c, 0);
    kv_close(c);
}

static void a_budget_bounds_what_is_committed(void **state) {
    (void)state;
    struct kv_config g = kvt_config(10000, "f16");
    struct kv *c;
    struct err e = {0};
    g.budget_bytes = 1000;
    assert_int_equal(kv_open(&c, &g, &e), ERR_MEMORY);
    assert_non_null(strstr(e.text, "cannot be opened"));
    char *least = strstr(e.text, "at least "), *end;
    assert_non_null(least);
    g.budget_bytes = strtoull(least + 9, &end, 10) * 1024; /* the least that would do does, and nothing less */
    assert_string_equal(end, "k");
    kv_close(kvt_open(&g));
    g.budget_bytes -= 1024;
    assert_int_equal(kv_open(&c, &g, &e), ERR_MEMORY);
    g.budget_bytes = 5 * 32768 + 100;
    c = kvt_open(&g);
    c->arena.unit = 4096;
    kv_arena_uncommit(&c->arena, 1);
    for (int i = 0; i < 4000; i++) {
        assert_int_equal(kvt_append(c, 0, i, NULL), 0);
        assert_true(c->arena.committed_bytes <= g.budget_bytes);
    }
    assert_int_equal(c->cells.n, 5 * KV_BLOCK); /* 1, 2, 4, and one more instead of four */
    struct kv_event ev[KV_EVENTS];
    size_t n = kv_events(c, 0, ev, KV_EVENTS), refused = 0;
    for (size_t i = 0; i < n; i++)
        if (ev[i].kind == KV_EVENT_REFUSED) {
            assert_string_equal(ev[i].reason, "budget");
            refused++;
        }
    assert_true(refused > 0);
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_true(s.room_bytes < 32768);
    assert_string_equal(s.room_limit, "budget");
    assert_int_equal(kv_grow_to(c, 6 * KV_BLOCK, &e), ERR_MEMORY);
    kvt_check(c, 0);
    kv_close(c);
}

static void cells_beyond_the_bound_are_not_told_of(void **state) {
    (void)state;
    struct kv_config g = kvt_config(300, "f16");
    struct kv *c = kvt_open(&g);
    struct kv_stats s;
    struct kv_event ev[KV_EVENTS];
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kv_get_stats(c, &s);
    assert_int_equal(s.committed, 300);
    assert_int_equal(s.committed_bytes, c->arena.committed_bytes);
    assert_int_equal(kv_events(c, 0, ev, KV_EVENTS), 1);
    assert_int_equal(ev[0].cells_before, 256);
    assert_int_equal(ev[0].cells_after, 300);
    kv_close(c);
}

static void a_prompt_that_memory_cannot_hold_is_read_without_its_oldest_turns(void **state) {
    (void)state;
    struct kv_config g = kvt_config(70, "f16"); /* small enough for pages instead of 2 MiB */
    g.bound = 16000;
    struct kv *c = kvt_open(&g);
    c->arena.unit = 4096;
    kv_arena_uncommit(&c->arena, 1);
    c->budget.budget_bytes = 4 * 32768;
    static int32_t token[3000];
    static struct kv_turn turn[30];
    for (size_t i = 0; i < 30; i++) turn[i] = (struct kv_turn){i * 100, 100, false};
    struct kv_prompt p = {token, 3000, 0, turn, 30, 0};
    struct kv_plan plan;
    struct err e = {0};
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, &e), 0);
    assert_int_equal(plan.n_todo_tokens + plan.evicted_tokens, 3000);
    assert_true(plan.evicted_turns > 19 && c->cells.used <= 1024);
    kvt_check(c, 0);
    p.n_turns = 0;
    token[0] = 9;
    assert_int_equal(kv_sync(c, 0, &p, &plan, &e), ERR_MEMORY);
    assert_non_null(strstr(e.text, "memory is short"));
    kv_close(c);
}

static uint64_t status_bytes(const char *key) {
    char line[256];
    uint64_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) kib = strtoull(line + strlen(key) + 1, NULL, 10);
    fclose(f);
    return kib * 1024;
}

static struct kv_config big(uint32_t bound) { /* 8 MiB a block */
    struct kv_config g = kvt_config(bound, "f16");
    g.n_layers = 16;
    g.n_kv_heads = 8;
    g.head_dim_k = g.head_dim_v = 64;
    return g;
}

static int place(struct kv *c, uint32_t n) {
    static int32_t token[4096];
    struct kv_batch b;
    int rc = kv_begin(c, 0, token, n, SIZE_MAX, &b, NULL);
    if (!rc) kv_finish(c, &b);
    return rc;
}

static void rlimit_data_lets_the_conversation_go_on_by_the_bounds_rule(void **state) {
    (void)state;
    const char *root[2] = {"", "/nonexistent"}; /* foreseen, and found out by the refused commit */
    for (int i = 0; i < 2; i++) {
        struct kv_config g = big(131072);
        struct kv *c = kvt_open(&g);
        c->budget.root = root[i];
        struct rlimit old, low;
        assert_int_equal(getrlimit(RLIMIT_DATA, &old), 0);
        low = old;
        low.rlim_cur = status_bytes("VmData:") + 20 * MIB;
        assert_int_equal(setrlimit(RLIMIT_DATA, &low), 0);
        int bad = 0;
        for (int k = 0; k < 30; k++) bad += place(c, 100) != 0;
        setrlimit(RLIMIT_DATA, &old);
        assert_int_equal(bad, 0);
        assert_true(c->cells.n > 256 && c->cells.n <= 3 * 256);
        assert_int_equal(c->seq[0].n_left, 1);
        kv_close(c);
    }
}

static void without_a_reservation_everything_is_the_same(void **state) {
    (void)state;
    struct kv_config g = kvt_config(100000000, "f16"); /* 12 GiB of addresses */
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    low = old;
    low.rlim_cur = status_bytes("VmSize:") + 256 * MIB;
    assert_int_equal(setrlimit(RLIMIT_AS, &low), 0);
    struct kv *c, *d;
    int rc = kv_open(&c, &g, NULL);
    setrlimit(RLIMIT_AS, &old);
    assert_int_equal(rc, 0);
    assert_int_equal(c->arena.reserved_bytes, 0);
    d = kvt_open(&g);
    assert_true(d->arena.reserved_bytes > 0);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(kvt_append(c, 0, i, NULL), 0);
        assert_int_equal(kvt_append(d, 0, i, NULL), 0);
    }
    assert_true(kv_seq_rm(c, 0, 100, -1) && kv_seq_rm(d, 0, 100, -1));
    assert_int_equal(c->cells.n, d->cells.n);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(kvt_append(c, 0, i, NULL), 0);
        assert_int_equal(kvt_append(d, 0, i, NULL), 0);
    }
    kvt_check(c, 0);
    kvt_check(d, 0);
    for (size_t i = 0; i < 2100; i++) assert_true(kvt_hash(c, 0, i) == kvt_hash(d, 0, i));
    assert_int_equal(kv_set_bound(c, 200000000, NULL), 0);
    assert_int_equal(kv_set_bound(d, 200000000, NULL), 0);
    kvt_check(d, 0);
    kv_close(c);
    kv_close(d);
}

/* ---- shrinking ---- */

static void blocks_come_back_on_request_and_not_in_a_flutter(void **state) {
    (void)state;
    struct kv_config g = kvt_config(20000, "f16");
    struct kv *c = kvt_open(&g);
    for (int i = 0; i < 2000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    assert_int_equal(c->cells.n, 2048);
    for (int k = 0; k < 20; k++) { /* a reply regenerated again and again */
        assert_true(kv_seq_rm(c, 0, 600, -1));
        assert_int_equal(c->cells.n, 2048);
        for (int i = 0; i < 1400; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    }
    assert_true(kv_seq_rm(c, 0, 300, -1)); /* 2 blocks of 8 stay in use: worth it */
    assert_int_equal(c->cells.n, 4 * KV_BLOCK);
    kv_shrink(c);
    assert_int_equal(c->cells.n, 2 * KV_BLOCK);
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.n_shrink, 2);
    assert_int_equal(s.touched_bytes, 2 * 32768);
    kvt_check(c, 0);
    kv_clear(c, false);
    assert_int_equal(c->cells.n, KV_BLOCK);
    struct kv_event ev[KV_EVENTS];
    size_t n = kv_events(c, 0, ev, KV_EVENTS);
    assert_int_equal(ev[n - 1].kind, KV_EVENT_SHRINK);
    assert_string_equal(ev[n - 1].reason, "cleared");
    assert_int_equal(ev[n - 1].cells_before, 2 * KV_BLOCK);
    kv_close(c);
}

/* ---- never flapping ---- */

static void append(struct kv *c, uint32_t n) {
    static int32_t token[4096];
    while (n) {
        uint32_t now = n < 500 ? n : 500;
        struct kv_batch b;
        assert_int_equal(kv_begin(c, 0, token, now, SIZE_MAX, &b, NULL), 0);
        kv_finish(c, &b);
        n -= now;
    }
}

static void whatever_sizes_a_reply_goes_back_and_forth_between_memory_does_not(void **state) {
    (void)state;
    static const uint32_t size[] = {1, 100, 300, 600, 1100, 2100, 5000, 9000, 20000};
    enum { SIZES = sizeof size / sizeof *size };
    for (int lo = 0; lo < SIZES; lo++)
        for (int hi = lo + 1; hi < SIZES; hi++) {
            struct kv_config g = kvt_config(30000, "f16");
            struct kv *c = kvt_open(&g);
            append(c, size[hi]);
            uint32_t grown = c->log.n_grow;
            for (int k = 0; k < 12; k++) {
                assert_true(kv_seq_rm(c, 0, size[lo], -1));
                append(c, size[hi] - size[lo]);
            }
            assert_true(c->log.n_shrink <= 1);
            assert_true(c->log.n_grow - grown <= 16); /* the steps from the one shrink back up, at most */
            uint32_t shrunk = c->log.n_shrink;
            c->hold_us -= c->hold ? KV_HOLD_US : 0; /* a minute later it may try again, once */
            for (int k = 0; k < 12; k++) {
                assert_true(kv_seq_rm(c, 0, size[lo], -1));
                append(c, size[hi] - size[lo]);
            }
            assert_true(c->log.n_shrink <= shrunk + 1);
            kv_clear(c, false); /* and what is asked for is done at once */
            assert_int_equal(c->arena.n_blocks, 1);
            kv_close(c);
        }
}

static void random_rewinds_shrink_no_more_than_once_for_each_size(void **state) {
    (void)state;
    struct kv_config g = kvt_config(60000, "f16");
    struct kv *c = kvt_open(&g);
    uint32_t x = 7;
    for (int i = 0; i < 3000; i++) {
        x = x * 1664525u + 1013904223u;
        uint32_t want = (x >> 8) % 50000;
        if (c->cells.used > want) assert_true(kv_seq_rm(c, 0, want, -1));
        else append(c, want - c->cells.used);
    }
    assert_true(c->log.n_shrink < 20); /* each is held from then on: at most one for each size that doubling passes, and their halves */
    kv_close(c);
}

/* ---- how much is committed ---- */

static void no_more_is_committed_than_the_policy_makes_of_what_is_used_and_one_block(void **state) {
    (void)state;
    for (int grow = 0; grow < KV_GROW_FIXED; grow++)
        for (uint32_t n = 1; n <= 200; n += 33) {
            struct kv_config g = kvt_config(9000, "f16");
            g.grow = (enum kv_grow)grow;
            g.step_cells = 700;
            g.threshold_bytes = 8 * 32768;
            g.step_bytes = 6 * 32768;
            struct kv *c = kvt_open(&g), *d = kvt_open(&g); /* d tells what the policy makes of a number of cells */
            for (uint32_t used = n; used <= 8700; used += n) {
                append(c, n);
                if (c->prefault) kv_prefault_wait(c->prefault);
                uint32_t most = used + KV_BLOCK < 9000 ? used + KV_BLOCK : 9000;
                assert_int_equal(kv_growth_make(d, most, false, "full", NULL), 0);
                assert_true(c->arena.n_blocks <= d->arena.n_blocks);
                assert_true(c->arena.committed_bytes <= d->arena.committed_bytes);
            }
            kv_close(c);
            kv_close(d);
        }
}

/* ---- all or nothing ---- */

static void a_growth_refused_at_any_commit_leaves_everything_as_it_was(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++)
        for (uint32_t nth = 1; nth < 7; nth++) {
            struct kv_config g = kvt_config(50000, "f16");
            g.evict = KV_EVICT_STOP;
            struct kv *c = kvt_open(&g);
            kv_arena_close(&c->arena);
            assert_int_equal(kv_arena_open(&c->arena, c->layout.block_bytes, kv_blocks(50000), (enum kv_arena_way)way), 0);
            assert_int_equal(kv_arena_commit(&c->arena, 1), 0);
            c->arena.fail_in = nth;
            c->arena.fail_more = 1; /* nor is the least that would do granted */
            int i = 0, rc = 0;
            while (i < 20000 && !rc) rc = kvt_append(c, 0, i++, NULL);
            assert_int_equal(rc, ERR_MEMORY);
            uint32_t blocks = 1u << (nth - 1);
            assert_int_equal(i, blocks * KV_BLOCK + 1);
            assert_int_equal(c->arena.n_blocks, blocks);
            assert_int_equal(c->cells.n, blocks * KV_BLOCK);
            assert_int_equal(c->cells.used, blocks * KV_BLOCK);
            assert_int_equal(kv_seq_pos_max(c, 0), i - 2);
            kvt_check(c, 0);
            assert_int_equal(kvt_append(c, 0, i - 1, NULL), ERR_MEMORY); /* not asked for again at once */
            c->refused_us = 0;
            c->arena.fail_in = c->arena.fail_more = 0;
            for (i--; i < 20000; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
            kvt_check(c, 0);
            kv_close(c);
        }
}

static void grown_shrunk_and_grown_again_in_every_way_the_bytes_are_the_same(void **state) {
    (void)state;
    struct kv_config g = kvt_config(60000, "f16");
    struct kv *c[4];
    for (int way = 0; way < 3; way++) {
        c[way] = kvt_open(&g);
        kv_arena_close(&c[way]->arena);
        assert_int_equal(kv_arena_open(&c[way]->arena, c[way]->layout.block_bytes, kv_blocks(g.bound), (enum kv_arena_way)way), 0);
        assert_int_equal(kv_arena_commit(&c[way]->arena, 1), 0);
    }
    g.grow = KV_GROW_FIXED;
    c[3] = kvt_open(&g); /* never grows */
    for (int round = 0; round < 3; round++) {
        for (int way = 0; way < 4; way++) {
            if (round) assert_true(kv_seq_rm(c[way], 0, 700 * round, -1));
            if (round) kv_shrink(c[way]);
            for (int i = 0; i < 4000; i++) assert_int_equal(kvt_append(c[way], 0, i * (round + 1), NULL), 0);
            kvt_check(c[way], 0);
        }
        for (size_t i = 0; i < c[0]->seq[0].n_tokens; i++)
            for (int way = 1; way < 4; way++) assert_true(kvt_hash(c[way], 0, i) == kvt_hash(c[0], 0, i));
    }
    assert_int_equal(c[0]->arena.copied_bytes, 0);
    assert_int_equal(c[1]->arena.copied_bytes, 0);
    assert_true(c[2]->arena.copied_bytes > 0);
    for (int way = 0; way < 4; way++) kv_close(c[way]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_part_of_a_large_arena_takes_no_huge_page),
        cmocka_unit_test(an_arena_grows_without_moving_and_shrinks_to_zeros),
        cmocka_unit_test(every_part_of_an_arena_stays_out_of_forks_and_dumps_and_is_accounted_for),
        cmocka_unit_test(a_larger_reservation_takes_the_contents_along),
        cmocka_unit_test(an_impossible_size_is_refused),
        cmocka_unit_test(each_policy_grows_by_its_steps_inside_the_call),
        cmocka_unit_test(names_of_policies_and_modes_are_found),
        cmocka_unit_test(a_refused_commit_leaves_the_old_capacity_and_the_conversation_goes_on),
        cmocka_unit_test(a_budget_bounds_what_is_committed),
        cmocka_unit_test(cells_beyond_the_bound_are_not_told_of),
        cmocka_unit_test(a_prompt_that_memory_cannot_hold_is_read_without_its_oldest_turns),
        cmocka_unit_test(rlimit_data_lets_the_conversation_go_on_by_the_bounds_rule),
        cmocka_unit_test(without_a_reservation_everything_is_the_same),
        cmocka_unit_test(blocks_come_back_on_request_and_not_in_a_flutter),
        cmocka_unit_test(whatever_sizes_a_reply_goes_back_and_forth_between_memory_does_not),
        cmocka_unit_test(random_rewinds_shrink_no_more_than_once_for_each_size),
        cmocka_unit_test(no_more_is_committed_than_the_policy_makes_of_what_is_used_and_one_block),
        cmocka_unit_test(a_growth_refused_at_any_commit_leaves_everything_as_it_was),
        cmocka_unit_test(grown_shrunk_and_grown_again_in_every_way_the_bytes_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
