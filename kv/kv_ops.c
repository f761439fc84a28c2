/* kv_ops: operations on whole sequences and ranges of positions. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"

/* An entry of the prompt cache: no sequence for callers. */
static bool parked(const struct kv *c, int seq) {
    return c->cells.parked >> seq & 1;
}

static bool valid(const struct kv *c, int seq) {
    return seq >= 0 && seq < kv_seqs(c);
}

int64_t kv_seq_pos_min(const struct kv *c, int seq) {
    assert(valid(c, seq));
    return c->seq[seq].n_runs ? kv_run_first(&c->seq[seq].run[0]) : -1;
}

int64_t kv_seq_pos_max(const struct kv *c, int seq) {
    assert(valid(c, seq));
    return c->seq[seq].n_runs ? kv_seq_next_pos(&c->seq[seq]) - 1 : -1;
}

uint64_t kv_seq_gaps(const struct kv *c, int seq) {
    assert(valid(c, seq));
    const struct kv_seq *s = &c->seq[seq];
    uint64_t n = 0;
    for (size_t i = 1; i < s->n_runs; i++) {
        int64_t gap = kv_run_first(&s->run[i]) - kv_run_end(&s->run[i - 1]);
        n += gap > 0 ? (uint64_t)gap : 0;
    }
    return n;
}

void kv_ops_strip(struct kv *c, int seq) {
    kv_seq_strip(&c->seq[seq], &c->cells, seq);
    kv_state_free(&c->state_of[seq]);
}

/* The token index from which [p0, p1) takes everything, SIZE_MAX where something stays behind it or nothing is taken. */
static size_t tail_index(const struct kv_seq *s, int64_t p0, int64_t p1) {
    size_t i = p0 < 0 ? 0 : kv_seq_find_pos(s, p0);
    if (i == s->n_runs || (p1 >= 0 && p1 < kv_seq_next_pos(s))) return SIZE_MAX;
    const struct kv_run *r = &s->run[i];
    return r->index + (p0 > kv_run_first(r) ? (size_t)(p0 - kv_run_first(r)) : 0);
}

/* Whether [p0, p1) of the sequence can go: state and ring can only go back to a resume point. */
static bool can_remove(const struct kv *c, int seq, int64_t p0, int64_t p1) {
    const struct kv_seq *s = &c->seq[seq];
    if (!kv_has_states(c) || !s->n_runs || (p1 >= 0 && (p1 <= p0 || p1 <= kv_run_first(&s->run[0]))) || p0 >= kv_seq_next_pos(s)) return true;
    size_t index = tail_index(s, p0, p1);
    if (index == SIZE_MAX) return !c->config.state_bytes; /* a ring passes over what has left */
    return (index == s->run[0].index || kv_resume_point(c, seq, index) == index);
}

/* Removes effective positions [p0, p1). */
static void remove_range(struct kv *c, int seq, int64_t p0, int64_t p1) {
    struct kv_seq *s = &c->seq[seq];
    size_t index = tail_index(s, p0, p1);
    if (kv_has_states(c) && index != SIZE_MAX) kv_state_rewind(c, seq, index == s->run[0].index ? 0 : index);
    size_t from = p0 < 0 ? 0 : kv_seq_cut_pos(s, p0), to = p1 < 0 ? s->n_runs : kv_seq_cut_pos(s, p1);
    if (from < to)
        kv_seq_take(s, &c->cells, seq, from, to);
    else if (s->n_runs == 0 && p0 <= 0 && p1 < 0)
        kv_seq_forget(s); /* all of it has left */
    if (s->n_tokens == 0) kv_state_free(&c->state_of[seq]);
}

bool kv_ops_rm(struct kv *c, int seq, int64_t p0, int64_t p1) {
    if (c->running.on || seq >= kv_seqs(c)) return false;
    for (int s = seq < 0 ? 0 : seq; s < (seq < 0 ? kv_seqs(c) : seq + 1); s++)
        if (!can_remove(c, s, p0, p1)) return false;
    for (int s = seq < 0 ? 0 : seq; s < (seq < 0 ? kv_seqs(c) : seq + 1); s++)
        if (!parked(c, s)) remove_range(c, s, p0, p1);
    kv_growth_settle(c, 0, "removed");
    kv_stats_publish(c);
    return true;
}

void kv_ops_keep(struct kv *c, int seq) {
    assert(!c->running.on && valid(c, seq));
    for (int s = 0; s < kv_seqs(c); s++)
        if (s != seq && !parked(c, s)) kv_ops_strip(c, s);
    kv_growth_settle(c, 0, "removed");
    kv_stats_publish(c);
}

void kv_clear(struct kv *c, bool data) {
    assert(!c->running.on);
    kv_prompt_drop_all(c);
    for (int s = 0; s < kv_seqs(c); s++) kv_ops_strip(c, s);
    c->cells.hint = 0;
    kv_spare_rest(c);
    if (data) /* pages that are given back read as zeros */
        for (uint32_t b = 0; b < c->arena.n_blocks; b++) {
            kv_arena_discard(&c->arena, b);
            kv_untouch(c, b);
        }
    c->hold = c->cut_from = 0;
    kv_growth_shrink(c, kv_blocks(kv_grow_policy(c) == KV_GROW_FIXED ? kv_bound_cells(c) : c->config.start), "cleared");
    kv_stats_publish(c);
}

/* ---- leases ---- */

static bool clean(const struct kv_seq *s) {
    return s->n_runs == 0 && s->n_tokens == 0;
}

static bool vacant(const struct kv_seq *s) {
    return !s->leased && clean(s);
}

static int lease(struct kv *c) {
    for (int s = 0; s < kv_seqs(c); s++)
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

/* Also the memory that it remembers its conversation in. */
static void give_back(struct kv *c, int seq) {
    kv_ops_strip(c, seq);
    kv_seq_free(&c->seq[seq]);
}

bool kv_release(struct kv *c, int seq) {
    assert(!c->running.on && valid(c, seq));
    if (!clean(&c->seq[seq])) return false;
    give_back(c, seq);
    return true;
}

void kv_evict(struct kv *c, int seq) {
    assert(!c->running.on && valid(c, seq));
    give_back(c, seq);
    kv_growth_settle(c, 0, "released");
    kv_stats_publish(c);
}

void kv_retain(struct kv *c, int seq) {
    assert(!c->running.on && valid(c, seq));
    for (int s = 0; s < kv_seqs(c); s++)
        if (s != seq && !parked(c, s)) give_back(c, s);
    c->seq[seq].leased = true;
    kv_growth_settle(c, 0, "released");
    kv_stats_publish(c);
}

void kv_evict_all(struct kv *c) {
    assert(!c->running.on);
    kv_prompt_drop_all(c);
    for (int s = 0; s < kv_seqs(c); s++) give_back(c, s);
    kv_growth_settle(c, 0, "released");
    kv_stats_publish(c);
}

size_t kv_available(const struct kv *c) {
    size_t n = 0;
    for (int s = 0; s < kv_seqs(c); s++) n += vacant(&c->seq[s]) || parked(c, s);
    return n;
}

/* ---- limits at run time ---- */

int kv_set_bound(struct kv *c, uint32_t bound, struct err *e) {
    int rc = kv_check_bound(bound, c->config.streams, e);
    if (!rc) rc = kv_check_keep(c->config.evict, bound, c->config.keep, e);
    if (rc) return rc;
    uint32_t before = c->config.bound;
    c->config.bound = bound;
    uint32_t all = kv_blocks((uint64_t)kv_bound_cells(c) + c->parked_cells), blocks = kv_blocks(kv_bound_cells(c));
    if (blocks > c->arena.n_blocks && !kv_memory_can(c, KV_CAN_GROW)) {
        c->config.bound = before;
        return err_set(e, ERR_USAGE, "memory %s cannot grow beyond %u cells", c->memory->name, c->cells.n);
    }
    kv_spare_rest(c);
    if (all > c->arena.cap_blocks && kv_arena_reserve(&c->arena, all)) {
        c->config.bound = before;
        return err_set(e, ERR_MEMORY, "no address space for a cache of %u cells", bound);
    }
    c->cells.stream_blocks = c->config.streams ? kv_blocks(bound) : 0;
    if (blocks < c->arena.n_blocks + c->arena.n_spare) kv_growth_shrink(c, blocks, "bound lowered");
    pthread_mutex_lock(&c->lock);
    c->room_us = 0; /* what was measured may have been the room to the old bound */
    pthread_mutex_unlock(&c->lock);
    kv_stats_publish(c);
    return 0;
}

int kv_grow_to(struct kv *c, uint32_t cells, struct err *e) {
    if (cells > kv_bound_cells(c))
        return err_set(e, ERR_USAGE, "%u cells are more than the bound of %u", cells, kv_bound_cells(c));
    int rc = kv_growth_make(c, cells, true, "asked for", e);
    kv_stats_publish(c);
    return rc;
}

void kv_shrink(struct kv *c) {
    c->hold = c->cut_from = 0;
    for (int s = 0; s < kv_seqs(c); s++) kv_state_trim(c, s);
    kv_growth_shrink(c, 1, "asked for");
    kv_stats_publish(c);
}
