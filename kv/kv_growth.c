/* kv_growth: when and by how much the cache grows and shrinks.
 *
 * A growth is all or nothing: the arrays that depend on the number of cells are widened first (harmless when the rest
 * fails), the commit comes last. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kv/kv_cache.h"

#define GIB ((uint64_t)1 << 30)

/* Each gives the blocks to commit next, from n (>= 1) committed; more than n, and not yet clipped to the bound. */
static uint64_t next_double(const struct kv *c, uint64_t n) {
    (void)c;
    return n * 2;
}
static uint64_t step_blocks(const struct kv *c, uint64_t bytes) {
    uint64_t n = bytes / c->layout.block_bytes;
    return n ? n : 1;
}
static uint64_t next_linear(const struct kv *c, uint64_t n) {
    const struct kv_config *g = &c->config;
    if (g->step_cells) return n + kv_blocks(g->step_cells);
    return n + step_blocks(c, g->step_bytes ? g->step_bytes : GIB);
}
static uint64_t next_auto(const struct kv *c, uint64_t n) {
    const struct kv_config *g = &c->config;
    if (n < step_blocks(c, g->threshold_bytes ? g->threshold_bytes : GIB)) return n * 2;
    return n + step_blocks(c, g->step_bytes ? g->step_bytes : GIB);
}
static uint64_t next_fixed(const struct kv *c, uint64_t n) {
    uint64_t all = kv_blocks(kv_pool(c));
    return all > n ? all : n + 1;
}

static const struct policy {
    const char *name;
    uint64_t (*next)(const struct kv *c, uint64_t n);
} policies[] = {
    [KV_GROW_AUTO] = {"auto", next_auto},
    [KV_GROW_DOUBLE] = {"double", next_double},
    [KV_GROW_LINEAR] = {"linear", next_linear},
    [KV_GROW_FIXED] = {"fixed", next_fixed},
};

int kv_grow_find(const char *name) {
    for (int i = 0; i < (int)(sizeof policies / sizeof *policies); i++)
        if (!strcasecmp(policies[i].name, name)) return i;
    return -1;
}

const char *kv_grow_name(enum kv_grow g) {
    return policies[g].name;
}

uint32_t kv_growth_target(const struct kv *c, uint32_t cells) {
    uint64_t need = kv_blocks(cells), bound = kv_blocks(kv_pool(c)), n = c->arena.n_blocks;
    if (n == 0 && kv_grow_policy(c) == KV_GROW_FIXED)
        n = bound;
    else if (n == 0)
        n = need;
    while (n < need) n = policies[kv_grow_policy(c)].next(c, n);
    return (uint32_t)(n < bound ? n : bound) * KV_BLOCK;
}

static int widen(void **p, size_t n, size_t item) {
    void *q = realloc(*p, n * item);
    if (!q) return -1;
    *p = q;
    return 0;
}

/* Everything whose size follows the number of cells. */
static int widen_arrays(struct kv *c, uint32_t blocks) {
    uint32_t cells = blocks * KV_BLOCK;
    void *span = c->span, *offset = c->offset, *touched = c->touched, *written = c->written;
    int rc = widen(&span, cells, sizeof *c->span);
    c->span = span;
    if (!rc) rc = widen(&offset, cells, sizeof *c->offset);
    c->offset = offset;
    if (!rc) rc = widen(&touched, blocks, sizeof *c->touched);
    c->touched = touched;
    if (!rc) rc = widen(&written, blocks, sizeof *c->written);
    c->written = written;
    for (int s = 0; s < KV_MAX_SEQS && !rc; s++)
        if (c->seq[s].cap_runs && !(c->cells.parked >> s & 1)) rc = kv_seq_reserve(&c->seq[s], cells, c->seq[s].n_tokens + cells);
    return rc;
}

static int commit(struct kv *c, uint32_t blocks) {
    uint32_t before = c->arena.n_blocks, spare = c->arena.n_spare;
    if (widen_arrays(c, blocks)) return -1;
    if (kv_cells_resize(&c->cells, blocks * KV_BLOCK)) return -1;
    if (kv_arena_commit(&c->arena, blocks)) {
        kv_cells_resize(&c->cells, before * KV_BLOCK); /* smaller: if that is refused the larger array stays, */
        c->cells.n = before * KV_BLOCK;                /* which does no harm */
        return -1;
    }
    memset(c->touched + before, KV_UNTOUCHED, blocks - before);
    for (uint32_t b = before; b < blocks; b++) c->written[b] = c->clock;
    kv_spare_take_over(c, before, spare - c->arena.n_spare);
    return 0;
}

struct kv_held kv_growth_held(const struct kv *c) {
    uint64_t states = kv_state_bytes(c) + kv_state_point_bytes(c);
    return (struct kv_held){c->arena.committed_bytes + kv_ring_most_bytes(c) + states, kv_touched_bytes(c) + kv_ring_bytes(c) + states};
}

struct kv_room kv_growth_room(const struct kv *c) {
    struct kv_held held = kv_growth_held(c);
    return kv_budget_room(&c->budget, held.committed, held.touched);
}

/* Blocks that fit into the room, beside those that are committed. */
static uint64_t affordable(const struct kv *c, uint64_t room) {
    uint64_t bytes = c->arena.committed_bytes + (room < UINT64_MAX / 2 ? room : UINT64_MAX / 2);
    return kv_arena_fit(&c->arena, bytes);
}

uint32_t kv_growth_reach(const struct kv *c) {
    bool lately = c->refused_us && kv_now_us() - c->refused_us < KV_RETRY_US;
    uint64_t blocks = lately ? c->arena.n_blocks : affordable(c, kv_growth_room(c).bytes);
    if (blocks < c->arena.n_blocks) blocks = c->arena.n_blocks;
    return blocks < kv_blocks(kv_pool(c)) ? (uint32_t)blocks * KV_BLOCK : kv_pool(c);
}

/* What was committed ahead is no good where the cache cannot grow into it. */
static void give_back_spare(struct kv *c, const char *limit) {
    uint64_t since = kv_now_us(), bytes = c->arena.committed_bytes;
    if (!c->arena.n_spare) return;
    kv_arena_uncommit(&c->arena, c->arena.n_blocks);
    kv_event_size(c, KV_EVENT_SHRINK, c->arena.n_blocks, bytes, since, limit);
}

int kv_growth_ask(struct kv *c, uint64_t bytes, const char *what, struct err *e) {
    kv_spare_rest(c);
    struct kv_room room = kv_growth_room(c);
    if (bytes > room.bytes && c->arena.n_spare) {
        give_back_spare(c, room.limit);
        room = kv_growth_room(c);
    }
    if (bytes <= room.bytes) return 0;
    return err_set(e, ERR_MEMORY, "%s needs %.1f MiB, and %.1f MiB are left (%s)", what, (double)bytes / (1 << 20), (double)room.bytes / (1 << 20),
                   room.limit);
}

static int refuse(struct kv *c, uint32_t least, uint64_t since, const struct kv_room *room, struct err *e) {
    uint64_t more = kv_arena_bytes(&c->arena, least) - c->arena.committed_bytes;
    c->refused_us = since;
    kv_event_size(c, KV_EVENT_REFUSED, c->arena.n_blocks, c->arena.committed_bytes, since,
                  room ? room->limit : "system");
    if (room && !c->arena.n_blocks && !strcmp(room->limit, "budget"))
        return err_set(e, ERR_MEMORY,
                       "the cache cannot be opened: its first %u cells need a --budget (context.budget) of at least %lluk",
                       least * KV_BLOCK, ((unsigned long long)more + 1023) / 1024);
    if (!room)
        return err_set(e, ERR_MEMORY, "the system refuses the %.1f MiB that %u cells need", (double)more / (1 << 20),
                       least * KV_BLOCK);
    return err_set(e, ERR_MEMORY, "%u cells need %.1f MiB more, and %.1f MiB are left (%s)", least * KV_BLOCK,
                   (double)more / (1 << 20), (double)room->bytes / (1 << 20), room->limit);
}

void kv_growth_drop_entries(struct kv *c, uint64_t n) {
    while (c->cells.parked && c->cells.used + n > c->cells.n && c->cells.n < kv_pool(c)) {
        uint64_t need = c->cells.used + n;
        uint32_t cells = need < kv_pool(c) ? (uint32_t)need : kv_pool(c);
        bool lately = c->refused_us && kv_now_us() - c->refused_us < KV_RETRY_US;
        if (!lately && kv_blocks(kv_growth_target(c, cells)) <= affordable(c, kv_growth_room(c).bytes)) return;
        if (!kv_prompt_drop_oldest(c)) return;
    }
}

/* A growth beyond what was given back a short while ago: that size is needed. */
static void note_hold(struct kv *c) {
    uint64_t now = kv_now_us();
    if (c->cut_from && now - c->cut_us < KV_HOLD_US) {
        c->hold = c->arena.n_blocks < c->cut_from ? c->arena.n_blocks : c->cut_from;
        c->hold_us = now;
    }
    if (c->arena.n_blocks >= c->cut_from) c->cut_from = 0;
}

int kv_growth_make(struct kv *c, uint32_t cells, bool exact, const char *reason, struct err *e) {
    assert(cells <= kv_blocks(kv_pool(c)) * KV_BLOCK);
    uint32_t before = c->arena.n_blocks, least = kv_blocks(cells);
    if (least <= before) return 0;
    uint64_t since = kv_now_us(), bytes_before = c->arena.committed_bytes;
    kv_spare_rest(c);
    uint32_t want = exact ? least : kv_blocks(kv_growth_target(c, cells)), step = want;
    struct kv_room room = kv_growth_room(c);
    uint64_t most = affordable(c, room.bytes);
    if (most < least) {
        give_back_spare(c, room.limit);
        return refuse(c, least, since, &room, e);
    }
    if (want > most) want = (uint32_t)most; /* grow by less */
    if (commit(c, want)) {
        if (want == least || commit(c, least)) return refuse(c, least, since, NULL, e);
        want = least;
    }
    c->refused_us = 0;
    note_hold(c);
    if (before) kv_event_size(c, KV_EVENT_GROW, before, bytes_before, since, want < step ? "less than a step: memory is short" : reason);
    else kv_stats_publish(c); /* opening is no growth */
    return 0;
}

void kv_growth_shrink(struct kv *c, uint32_t floor, const char *reason) {
    kv_spare_rest(c);
    uint32_t before = c->arena.n_blocks, keep = kv_blocks(kv_cells_end(&c->cells));
    uint64_t since = kv_now_us(), bytes_before = c->arena.committed_bytes;
    if (!kv_memory_can(c, KV_CAN_GROW | KV_CAN_SHRINK)) return; /* what it could not take again is not given back */
    if (keep < floor) keep = floor;
    if (keep < 1) keep = 1;
    if (keep > before) keep = before;
    for (uint32_t b = 0; b < before; b++) {
        if (!c->touched[b] || (b < keep && !kv_cells_block_free(&c->cells, b))) continue;
        if (b < keep) kv_arena_discard(&c->arena, b);
        kv_untouch(c, b);
    }
    if (keep == before && !c->arena.n_spare) return;
    kv_arena_uncommit(&c->arena, keep);
    c->cells.n = c->arena.n_blocks * KV_BLOCK;
    if (c->cells.hint >= c->cells.n) c->cells.hint = 0;
    kv_event_size(c, KV_EVENT_SHRINK, before, bytes_before, since, reason);
}

void kv_growth_settle(struct kv *c, uint32_t soon, const char *reason) {
    if (kv_grow_policy(c) == KV_GROW_FIXED) return;
    uint32_t used = kv_blocks((uint64_t)c->cells.used + soon), n = c->arena.n_blocks,
             start = kv_blocks(c->config.start);
    uint64_t now = kv_now_us();
    /* Down to twice what is used, and only from four times: a regenerated reply does not shrink what it will need
     * again. What turned out to be needed again all the same stays for a while. */
    if (n < 4 || used > n / 4) return;
    uint32_t floor = used * 2 > start ? used * 2 : start;
    if (c->hold && now - c->hold_us < KV_HOLD_US && floor < c->hold) floor = c->hold;
    if (floor >= n) return;
    kv_growth_shrink(c, floor, reason);
    if (c->arena.n_blocks == n) return;
    if (c->cut_from < n) c->cut_from = n;
    c->cut_us = now;
}
