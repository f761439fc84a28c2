/* kv_ops: operations on whole sequences and ranges of positions. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"

/* An entry of the prompt cache: no sequence for callers. */
static bool parked(const struct kv *c, int seq) {
    return c->cells.parked >> seq & 1;
}

static bool valid(int seq) {
    return seq >= 0 && seq < KV_MAX_SEQS;
}

int64_t kv_seq_pos_min(const struct kv *c, int seq) {
    assert(valid(seq));
    return c->seq[seq].n_runs ? kv_run_first(&c->seq[seq].run[0]) : -1;
}

int64_t kv_seq_pos_max(const struct kv *c, int seq) {
    assert(valid(seq));
    return c->seq[seq].n_runs ? kv_seq_next_pos(&c->seq[seq]) - 1 : -1;
}

/* Removes effective positions [p0, p1). */
static void remove_range(struct kv *c, int seq, int64_t p0, int64_t p1) {
    struct kv_seq *s = &c->seq[seq];
    size_t from = p0 < 0 ? 0 : kv_seq_cut_pos(s, p0), to = p1 < 0 ? s->n_runs : kv_seq_cut_pos(s, p1);
    if (from < to)
        kv_seq_take(s, &c->cells, seq, from, to);
    else if (s->n_runs == 0 && p0 <= 0 && p1 < 0)
        kv_seq_forget(s); /* all of it has left */
}

bool kv_seq_rm(struct kv *c, int seq, int64_t p0, int64_t p1) {
    if (c->running.on || seq >= KV_MAX_SEQS) return false;
    for (int s = seq < 0 ? 0 : seq; s < (seq < 0 ? KV_MAX_SEQS : seq + 1); s++)
        if (!parked(c, s)) remove_range(c, s, p0, p1);
    kv_growth_settle(c, 0, "removed");
    kv_stats_publish(c);
    return true;
}

void kv_seq_keep(struct kv *c, int seq) {
    assert(!c->running.on && valid(seq));
    for (int s = 0; s < KV_MAX_SEQS; s++)
        if (s != seq && !parked(c, s)) kv_seq_strip(&c->seq[s], &c->cells, s);
    kv_growth_settle(c, 0, "removed");
    kv_stats_publish(c);
}

void kv_clear(struct kv *c, bool data) {
    assert(!c->running.on);
    kv_prompt_drop_all(c);
    for (int s = 0; s < KV_MAX_SEQS; s++) kv_seq_strip(&c->seq[s], &c->cells, s);
    c->cells.hint = 0;
    kv_spare_rest(c);
    if (data) /* pages that are given back read as zeros */
        for (uint32_t b = 0; b < c->arena.n_blocks; b++) {
            kv_arena_discard(&c->arena, b);
            kv_untouch(c, b);
        }
    c->hold = c->cut_from = 0;
    kv_growth_shrink(c, kv_blocks(c->config.grow == KV_GROW_FIXED ? c->config.bound : c->config.start), "cleared");
    kv_stats_publish(c);
}

/* ---- leases ---- */

static bool vacant(const struct kv_seq *s) {
    return !s->leased && s->n_runs == 0 && s->n_tokens == 0;
}

static int lease(struct kv *c) {
    for (int s = 0; s < KV_MAX_SEQS; s++)
        if (vacant(&c->seq[s])) {
            c->seq[s].leased = true;
            return s;
        }
    return -1;
}

int kv_acquire(struct kv *c) {
    int seq = lease(c);
    return seq < 0 && kv_prompt_drop_oldest(c) ? lease(c) : seq;
}

static void give_back(struct kv *c, int seq) {
    kv_seq_strip(&c->seq[seq], &c->cells, seq);
    kv_seq_free(&c->seq[seq]);
}

void kv_release(struct kv *c, int seq) {
    assert(!c->running.on && valid(seq));
    give_back(c, seq);
    kv_growth_settle(c, 0, "released");
    kv_stats_publish(c);
}

void kv_retain(struct kv *c, int seq) {
    assert(!c->running.on && seq < KV_MAX_SEQS);
    for (int s = 0; s < KV_MAX_SEQS; s++)
        if (s != seq && !parked(c, s)) give_back(c, s);
    kv_growth_settle(c, 0, "released");
    kv_stats_publish(c);
}

size_t kv_available(const struct kv *c) {
    size_t n = 0;
    for (int s = 0; s < KV_MAX_SEQS; s++) n += vacant(&c->seq[s]) || parked(c, s);
    return n;
}

/* ---- limits at run time ---- */

int kv_set_bound(struct kv *c, uint32_t bound, struct err *e) {
    if (bound < KV_MIN_BOUND)
        return err_set(e, ERR_USAGE, "a context of %u cells is too small; the least is %u", bound, KV_MIN_BOUND);
    uint32_t blocks = kv_blocks(bound);
    uint32_t pool = kv_blocks((uint64_t)bound + c->parked_cells);
    kv_spare_rest(c);
    if (pool > c->arena.cap_blocks && kv_arena_reserve(&c->arena, pool))
        return err_set(e, ERR_MEMORY, "no address space for a cache of %u cells", bound);
    c->config.bound = bound;
    if (blocks < c->arena.n_blocks + c->arena.n_spare) kv_growth_shrink(c, blocks, "bound lowered");
    kv_stats_publish(c);
    return 0;
}

int kv_grow_to(struct kv *c, uint32_t cells, struct err *e) {
    if (cells > c->config.bound)
        return err_set(e, ERR_USAGE, "%u cells are more than the bound of %u", cells, c->config.bound);
    int rc = kv_growth_make(c, cells, true, "asked for", e);
    kv_stats_publish(c);
    return rc;
}

void kv_shrink(struct kv *c) {
    c->hold = c->cut_from = 0;
    kv_growth_shrink(c, 1, "asked for");
    kv_stats_publish(c);
}
