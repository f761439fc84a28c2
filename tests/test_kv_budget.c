/* Tests of the budget: how much may still be taken, and what is done, in which order, where that is short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support_folder.h"
#include "tests/support_kv.h"

#define MIB ((uint64_t)1 << 20)

/* ---- readings, of a made-up machine ---- */

static const char *tree;

static void put(const char *folder, const char *name, const char *text) {
    char path[500];
    snprintf(path, sizeof path, "%s", tree);
    for (const char *p = folder; *p;) { /* mkdir -p */
        size_t n = strcspn(p + 1, "/") + 1;
        strncat(path, p, n);
        mkdir(path, 0700);
        p += n;
    }
    strncat(path, "/", 2);
    strncat(path, name, 100);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void room_is(uint64_t mib, const char *limit, uint64_t weights, uint64_t committed, uint64_t touched) {
    struct kv_budget b = {.weight_bytes = weights * MIB, .reserved = true, .root = tree};
    struct kv_room r = kv_budget_room(&b, committed * MIB, touched * MIB);
    assert_int_equal(r.bytes, mib * MIB);
    assert_string_equal(r.limit, limit);
}

static void the_room_is_what_the_tightest_limit_leaves(void **state) {
    (void)state;
    tree = support_folder_make();
    assert_non_null(tree);
    struct kv_budget none = {.reserved = true, .root = tree};
    assert_true(kv_budget_room(&none, 0, 0).bytes == UINT64_MAX); /* nothing can be read */
    put("/proc", "meminfo", "MemTotal:       8388608 kB\nMemAvailable:   4194304 kB\n");
    room_is(4096 - 256, "memory", 0, 0, 0);
    room_is(4096 - 256 - 1000, "memory", 1000, 0, 0);
    room_is(4096 - 256 - 90, "memory", 0, 100, 10); /* 90 MiB are committed and will yet be touched */
    put("/proc/self", "cgroup", "0::/user/app\n");
    put("/sys/fs/cgroup/user/app", "memory.max", "2147483648\n");
    put("/sys/fs/cgroup/user/app", "memory.high", "max\n");
    put("/sys/fs/cgroup/user/app", "memory.current", "1073741824\n");
    room_is(1024, "cgroup", 0, 0, 0);
    put("/sys/fs/cgroup/user/app", "memory.stat", "anon 5\nactive_file 104857600\ninactive_file 209715200\n");
    room_is(1324, "cgroup", 0, 0, 0);
    room_is(1124, "cgroup", 200, 0, 0); /* weights are not ours to evict */
    put("/sys/fs/cgroup/user/app", "memory.high", "1258291200\n");
    room_is(1200 - 1024 + 300, "cgroup", 0, 0, 0);
    put("/sys/fs/cgroup/user", "memory.max", "1100000000\n"); /* an ancestor's limit */
    put("/sys/fs/cgroup/user", "memory.current", "1100000000\n");
    room_is(0, "cgroup", 0, 0, 0);
    put("/proc/self", "cgroup", "5:cpu:/x\n4:memory:/old\n");
    put("/sys/fs/cgroup/memory/old", "memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/old", "memory.usage_in_bytes", "536870912\n");
    put("/sys/fs/cgroup/memory/old", "memory.stat", "inactive_file 7\ntotal_inactive_file 1048576\n");
    room_is(513, "cgroup", 0, 0, 0);
    support_folder_remove();
}

/* Groups of six levels; the tightest is each of them in turn. */
static void every_ancestor_counts_in_both_versions(void **state) {
    (void)state;
    static const char *const level[] = {"", "/a", "/a/b", "/a/b/c.slice", "/a/b/c.slice/d", "/a/b/c.slice/d/e.scope"};
    enum { LEVELS = sizeof level / sizeof *level };
    static const struct {
        const char *mount, *line, *limit, *used;
    } version[] = {
        {"/sys/fs/cgroup", "0::/a/b/c.slice/d/e.scope\n", "memory.max", "memory.current"},
        {"/sys/fs/cgroup", "0::/a/b/c.slice/d/e.scope\n", "memory.high", "memory.current"},
        {"/sys/fs/cgroup/unified", "4:cpu:/\n0::/a/b/c.slice/d/e.scope\n", "memory.max", "memory.current"},
        {"/sys/fs/cgroup/memory", "4:cpu,memory:/a/b/c.slice/d/e.scope\n0::/elsewhere\n", "memory.limit_in_bytes", "memory.usage_in_bytes"},
    };
    for (size_t v = 0; v < sizeof version / sizeof *version; v++) {
        tree = support_folder_make();
        assert_non_null(tree);
        put("/proc/self", "cgroup", version[v].line);
        put("/proc", "meminfo", "MemAvailable: 100000000 kB\n");
        for (int tightest = 0; tightest < LEVELS; tightest++) {
            for (int i = 0; i < LEVELS; i++) {
                char folder[200];
                snprintf(folder, sizeof folder, "%s%s", version[v].mount, level[i]);
                put(folder, version[v].limit, i == tightest ? "524288000\n" : i % 2 ? "max\n" : "1048576000\n"); /* 500, 1000 MiB */
                put(folder, version[v].used, "104857600\n");
                put(folder, "memory.stat", "anon 7\nfile 8\nactive_file 10485760\ninactive_file 10485760\n");
            }
            room_is(420, "cgroup", 0, 0, 0);
            room_is(415, "cgroup", 5, 0, 0);   /* of the files, the weights */
            room_is(400, "cgroup", 500, 0, 0); /* no more than there are */
            room_is(320, "cgroup", 0, 150, 50); /* granted and not yet touched */
            struct kv_room pages = kv_budget_pages(&(struct kv_budget){.budget_bytes = 1, .root = tree}, 0);
            assert_int_equal(pages.bytes, 420 * MIB); /* whatever the user's budget */
        }
        support_folder_remove();
    }
}

static void limits_of_the_process_count_and_addresses_only_where_they_are_not_reserved(void **state) {
    (void)state;
    tree = support_folder_make();
    assert_non_null(tree);
    put("/proc/self", "status", "Name:\tx\nVmSize:\t 409600 kB\nVmData:\t 204800 kB\n"); /* 400, 200 MiB */
    static const int resource[] = {RLIMIT_DATA, RLIMIT_AS};
    struct kv_room data[2], as[2];
    for (int i = 0; i < 2; i++) {
        struct rlimit old, low;
        assert_int_equal(getrlimit(resource[i], &old), 0);
        low = old;
        low.rlim_cur = 1000000 * MIB; /* more than there is, so that nothing else feels it */
        if (setrlimit(resource[i], &low)) skip();
        struct kv_room *r = i ? as : data;
        for (int reserved = 0; reserved < 2; reserved++)
            r[reserved] = kv_budget_room(&(struct kv_budget){.reserved = reserved, .root = tree}, 0, 0);
        setrlimit(resource[i], &old);
    }
    for (int reserved = 0; reserved < 2; reserved++) {
        assert_string_equal(data[reserved].limit, "RLIMIT_DATA");
        assert_int_equal(data[reserved].bytes, (1000000 - 200) * MIB);
    }
    assert_string_equal(as[0].limit, "RLIMIT_AS");
    assert_int_equal(as[0].bytes, (1000000 - 400 - 16) * MIB); /* 16 MiB of addresses stay for the rest of the program */
    assert_true(as[1].bytes == UINT64_MAX);
    support_folder_remove();
}

/* ---- what is done where memory is short ---- */

static struct kv *open_big(uint64_t budget, enum kv_evict mode) { /* 8 MiB a block */
    struct kv_config g = kvt_config(131072, "f16");
    g.n_layers = 16;
    g.n_kv_heads = 8;
    g.head_dim_k = g.head_dim_v = 64;
    g.budget_bytes = budget;
    g.prompt_bytes = 64 * MIB;
    g.evict = mode;
    struct kv *c = kvt_open(&g);
    c->budget.root = "/nonexistent";
    return c;
}

static int place(struct kv *c, int seq, uint32_t n) {
    static int32_t token[4096];
    struct kv_batch b;
    int rc = kv_begin(c, seq, token, n, SIZE_MAX, &b, NULL);
    if (!rc) kv_finish(c, &b);
    return rc;
}

/* Two conversations parked, of 100 and 300 tokens, the first one longer ago. */
static void park_two(struct kv *c) {
    static const int32_t name[2] = {1, 2};
    for (int i = 0; i < 2; i++) {
        struct kv_batch b;
        assert_int_equal(kv_begin(c, 0, &name[i], 1, SIZE_MAX, &b, NULL), 0);
        kv_finish(c, &b);
        assert_int_equal(place(c, 0, i ? 299 : 99), 0);
        kv_prompt_park(c, 0);
    }
    assert_int_equal(c->cells.n_parked, 400);
}

static void the_measures_come_in_their_order_and_each_is_told_of(void **state) {
    (void)state;
    for (int stop = 0; stop < 2; stop++) {
        struct kv *c = open_big(7 * 8 * MIB, stop ? KV_EVICT_STOP : KV_EVICT_SHIFT);
        park_two(c);
        int rc = 0;
        for (int i = 0; i < 190 && !rc; i++) {
            rc = place(c, 0, 10);
            assert_true(c->arena.committed_bytes <= 56 * MIB);
        }
        assert_int_equal(rc, stop ? ERR_MEMORY : 0);
        static const struct {
            enum kv_event_kind kind;
            uint32_t cells, tokens;
            const char *reason;
        } want[] = {
            {KV_EVENT_GROW, 512, 0, "full"},
            {KV_EVENT_GROW, 1024, 0, "full"},
            {KV_EVENT_FORGET, 1024, 100, "memory"}, /* short of 2048 cells: entries of the prompt cache go, the oldest first; */
            {KV_EVENT_FORGET, 1024, 300, "memory"},
            {KV_EVENT_GROW, 1792, 0, "less than a step: memory is short"}, /* a growth by less; */
            {KV_EVENT_REFUSED, 1792, 0, "budget"},
            {KV_EVENT_EVICT, 1792, 1024, "full"}, /* and what the mode says: a half, in whole blocks */
        };
        size_t n_want = sizeof want / sizeof *want - (size_t)stop;
        struct kv_event ev[16];
        size_t n = kv_events(c, 0, ev, 16);
        assert_int_equal(n, n_want);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(ev[i].kind, want[i].kind);
            assert_int_equal(ev[i].cells_after, want[i].cells);
            assert_string_equal(ev[i].reason, want[i].reason);
            if (want[i].tokens) assert_int_equal(ev[i].evicted_tokens, want[i].tokens);
        }
        assert_int_equal(c->cells.parked, 0);
        kv_close(c);
    }
}

/* A group of 100 MiB, of which others have 30 and the cache what it touched. */
static void in_a_control_group_the_conversation_goes_on_below_its_limit(void **state) {
    (void)state;
    for (int v2 = 0; v2 < 2; v2++) {
        struct kv *c = open_big(0, KV_EVICT_SHIFT);
        const char *folder = v2 ? "/sys/fs/cgroup/box/app" : "/sys/fs/cgroup/memory/box/app";
        tree = c->budget.root = support_folder_make();
        assert_non_null(tree);
        put("/proc/self", "cgroup", v2 ? "0::/box/app\n" : "3:memory:/box/app\n");
        put(folder, v2 ? "memory.max" : "memory.limit_in_bytes", "104857600\n");
        for (int i = 0; i < 400; i++) {
            char used[40];
            if (c->prefault) kv_prefault_wait(c->prefault);
            snprintf(used, sizeof used, "%llu\n", (unsigned long long)(30 * MIB + (c->n_touched + c->arena.n_spare) * 8 * MIB));
            put(folder, v2 ? "memory.current" : "memory.usage_in_bytes", used);
            if (i % 20 == 0) c->refused_us = c->ahead_short_us = 0; /* a second later */
            assert_int_equal(place(c, 0, 10), 0);
            assert_true(c->arena.committed_bytes <= 70 * MIB);
        }
        struct kv_stats s;
        kv_get_stats(c, &s);
        assert_int_equal(s.committed_bytes, 64 * MIB);
        assert_true(s.evicted_tokens > 0);
        struct kv_event ev[KV_EVENTS];
        size_t n = kv_events(c, 0, ev, KV_EVENTS), refused = 0;
        for (size_t i = 0; i < n; i++)
            if (ev[i].kind == KV_EVENT_REFUSED) {
                assert_string_equal(ev[i].reason, "cgroup");
                refused++;
            }
        assert_true(refused > 0);
        kv_close(c);
        support_folder_remove();
    }
}

static void a_spare_block_that_the_cache_cannot_grow_into_is_given_back(void **state) {
    (void)state;
    struct kv *c = open_big(2 * 8 * MIB, KV_EVICT_SHIFT);
    if (!c->prefault) skip();
    struct kv_stats s;
    assert_int_equal(place(c, 0, 250), 0);
    kv_prefault_wait(c->prefault);
    assert_int_equal(place(c, 0, 1), 0);
    kv_get_stats(c, &s);
    assert_int_equal(s.spare, 256);
    assert_int_equal(kv_grow_to(c, 1024, NULL), ERR_MEMORY);
    kv_get_stats(c, &s);
    assert_int_equal(s.spare, 0);
    assert_int_equal(s.committed_bytes, 8 * MIB);
    struct kv_event ev[4];
    assert_int_equal(kv_events(c, 0, ev, 4), 2);
    assert_int_equal(ev[0].kind, KV_EVENT_SHRINK);
    assert_string_equal(ev[0].reason, "budget");
    assert_int_equal(ev[0].bytes_before - ev[0].bytes_after, 8 * MIB);
    assert_int_equal(ev[1].kind, KV_EVENT_REFUSED);
    assert_int_equal(place(c, 0, 5), 0);
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_room_is_what_the_tightest_limit_leaves),
        cmocka_unit_test(every_ancestor_counts_in_both_versions),
        cmocka_unit_test(limits_of_the_process_count_and_addresses_only_where_they_are_not_reserved),
        cmocka_unit_test(the_measures_come_in_their_order_and_each_is_told_of),
        cmocka_unit_test(in_a_control_group_the_conversation_goes_on_below_its_limit),
        cmocka_unit_test(a_spare_block_that_the_cache_cannot_grow_into_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
