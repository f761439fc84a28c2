/* kv_slot: see kv_slot.h. */
#include "kv/kv_slot.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- how many cells ---- */

uint32_t kv_slot_used(const struct kv *c, int seq) {
    return c->config.streams ? c->seq[seq].n_cells : c->cells.used;
}

uint32_t kv_slot_capacity(const struct kv *c, int seq) {
    return kv_cells_capacity(&c->cells, seq);
}

/* Cells that the arena must have for seq to have so many. */
static uint64_t arena_for(const struct kv *c, int seq, uint32_t cells) {
    uint32_t capacity = kv_slot_capacity(c, seq);
    if (!c->config.streams) return cells;
    return cells > capacity ? c->cells.n + (uint64_t)kv_blocks(cells - capacity) * KV_BLOCK : c->cells.n;
}

uint32_t kv_slot_reach(const struct kv *c, int seq) {
    uint32_t limit = kv_limit(c), capacity = kv_slot_capacity(c, seq), all = kv_growth_reach(c);
    uint64_t most = (uint64_t)capacity + (all > c->cells.n ? all - c->cells.n : 0);
    return most < limit ? (uint32_t)most : limit;
}

int kv_slot_grow(struct kv *c, int seq, uint32_t cells, const char *reason, struct err *e) {
    uint64_t need = arena_for(c, seq, cells);
    assert(need <= kv_blocks(kv_pool(c)) * (uint64_t)KV_BLOCK);
    return kv_growth_make(c, (uint32_t)need, false, reason, e);
}

bool kv_slot_find(struct kv *c, int seq, uint32_t n, bool contiguous, uint32_t *cell) {
    return kv_cells_find(&c->cells, seq, kv_usable(c), n, contiguous, cell);
}

/* ---- preparing ---- */

/* Buffers for that many micro-batches with so many tokens in all. */
static int size_running(struct kv_running *r, size_t n_slots, uint64_t n) {
    if (n > r->cap) {
        uint32_t cap = n < 512 ? 512 : (uint32_t)n;
        void *all = realloc(r->all, cap * sizeof *r->all);
        if (!all) return -1;
        r->all = all;
        void *run = realloc(r->run, cap * sizeof *r->run);
        if (!run) return -1;
        r->run = run;
        r->cap = cap;
    }
    if (n_slots > r->cap_slots) {
        void *slot = realloc(r->slot, n_slots * sizeof *r->slot);
        if (!slot) return -1;
        r->slot = slot;
        r->cap_slots = n_slots;
    }
    return 0;
}

/* Tokens that seq will have before slot i, and the position that follows. */
static size_t tokens_before(const struct kv *c, size_t i, int seq, int64_t *pos) {
    const struct kv_slot *slot = c->running.slot;
    while (i-- > 0)
        if (slot[i].seq == seq) {
            *pos = slot[i].pos + slot[i].n;
            return slot[i].index + slot[i].n;
        }
    *pos = kv_seq_next_pos(&c->seq[seq]);
    return c->seq[seq].n_tokens;
}

int kv_slot_check(const struct kv *c, const struct kv_ubatch *u, size_t known, struct err *e) {
    if (u->first == SIZE_MAX) return 0;
    if (u->first >= known && kv_seq_count_left(&c->seq[u->seq], known, u->first) == u->first - known) return 0;
    return err_set(e, ERR_USAGE, "token %zu cannot follow the %zu tokens of the sequence", u->first, known);
}

/* Lays the micro-batches out as slots without cells. */
static int lay_slots(struct kv *c, const struct kv_ubatch *u, size_t n, struct err *e) {
    struct kv_running *r = &c->running;
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += u[i].n;
    if (total > UINT32_MAX / 2 || size_running(r, n, total))
        return err_set(e, ERR_MEMORY, "no memory for a batch of %llu tokens", (unsigned long long)total);
    for (size_t i = 0, at = 0; i < n; at += u[i++].n) {
        assert(u[i].n > 0 && u[i].seq >= 0 && u[i].seq < kv_seqs(c));
        int64_t pos;
        size_t known = tokens_before(c, i, u[i].seq, &pos), index = u[i].first == SIZE_MAX ? known : u[i].first;
        int rc = kv_slot_check(c, &u[i], known, e);
        if (rc) return rc;
        r->slot[i] = (struct kv_slot){.seq = u[i].seq, .index = index, .at = (uint32_t)at, .n = u[i].n, .pos = pos};
    }
    r->n_slots = n;
    r->next = 0;
    return 0;
}

/* Cells for one slot. Where there is no run of neighbours, new cells behind the last one in use give one. */
static int place(struct kv *c, const struct kv_slot *z, bool contiguous, struct err *e) {
    uint32_t *cell = c->running.all + z->at, used = kv_slot_used(c, z->seq), limit = kv_limit(c);
    uint64_t need = (uint64_t)used + z->n;
    if (need > limit)
        return err_set(e, ERR_CONTEXT, "%u tokens do not fit beside %u into %u cells", z->n, used, limit);
    int rc = need > kv_slot_capacity(c, z->seq) ? kv_slot_grow(c, z->seq, (uint32_t)need, "full", e) : 0;
    if (rc || kv_slot_find(c, z->seq, z->n, contiguous, cell)) return rc;
    uint64_t end = kv_cells_end(&c->cells);
    if (c->config.streams) end = kv_blocks(end) * (uint64_t)KV_BLOCK; /* the last block may be another's */
    end += z->n;
    if (contiguous && end > c->cells.n && end <= kv_pool(c)) {
        rc = kv_growth_make(c, (uint32_t)end, false, "full", e);
        if (rc || kv_slot_find(c, z->seq, z->n, true, cell)) return rc;
    }
    return err_set(e, ERR_CONTEXT, "no %u free cells%s among %u", z->n, contiguous ? " side by side" : "", c->cells.n);
}

/* Slots [from, to) own their cells, or do not any more. */
static void mark(struct kv *c, size_t from, size_t to, bool own) {
    for (size_t i = from; i < to; i++) {
        const struct kv_slot *z = &c->running.slot[i];
        for (uint32_t k = 0; k < z->n; k++)
            (own ? kv_cells_own : kv_cells_unmark)(&c->cells, c->running.all[z->at + k], 1, z->seq);
        if (own)
            c->seq[z->seq].n_cells += z->n;
        else
            c->seq[z->seq].n_cells -= z->n;
    }
}

/* Tokens of the slots before slot i that are of its sequence. */
static uint64_t tokens_ahead(const struct kv_running *r, size_t i) {
    uint64_t n = 0;
    for (size_t k = 0; k < i; k++) n += r->slot[k].seq == r->slot[i].seq ? r->slot[k].n : 0;
    return n;
}

/* Takes cells for all slots; those of one are no longer free for the next. */
static int place_all(struct kv *c, bool contiguous, struct err *e) {
    struct kv_running *r = &c->running;
    uint32_t hint = c->cells.hint, blocks = c->arena.n_blocks;
    size_t placed = 0;
    int rc = 0;
    for (size_t i = 0; i < r->n_slots && !rc; i++) {
        if (i) mark(c, i - 1, i, true);
        placed = i;
        rc = place(c, &r->slot[i], contiguous, e);
    }
    for (size_t i = 0; i < r->n_slots && !rc; i++) {
        const struct kv_slot *z = &r->slot[i];
        /* room for as many tokens as there are cells at once: decoding allocates nothing until the cache grows */
        size_t end = z->index + z->n;
        if (kv_seq_reserve(&c->seq[z->seq], c->cells.n, end > c->cells.n ? end : c->cells.n))
            rc = err_set(e, ERR_MEMORY, "no memory to remember %zu tokens", end);
        if (!rc && kv_has_states(c)) rc = kv_state_reserve(c, z->seq, tokens_ahead(r, i), z->n, e);
    }
    mark(c, 0, placed, false);
    if (rc) {
        if (c->arena.n_blocks > blocks) kv_growth_shrink(c, blocks, "did not fit");
        c->cells.hint = hint < c->cells.n ? hint : 0;
    }
    return rc;
}

int kv_prepare(struct kv *c, const struct kv_ubatch *u, size_t n, bool contiguous, struct err *e) {
    struct kv_running *r = &c->running;
    assert(!r->on && n > 0);
    int rc = lay_slots(c, u, n, e);
    if (!rc) rc = place_all(c, contiguous, e);
    if (rc) return rc;
    for (size_t i = 0; i < n; i++)
        memcpy(c->seq[u[i].seq].token + r->slot[i].index, u[i].token, u[i].n * sizeof *u[i].token);
    r->on = true;
    r->n = 0;
    return 0;
}

/* ---- computing ---- */

/* The cells of the one that is being computed as runs. */
static void make_runs(struct kv_running *r) {
    r->n_runs = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        struct kv_run *z = r->n_runs ? &r->run[r->n_runs - 1] : NULL;
        if (z && z->cell + z->n == r->cell[i])
            z->n++;
        else
            r->run[r->n_runs++] = (struct kv_run){.pos = r->pos + i, .index = r->index + i, .cell = r->cell[i], .n = 1};
    }
}

bool kv_slot_next(struct kv *c, struct kv_batch *b) {
    struct kv_running *r = &c->running;
    assert(r->on && r->n == 0);
    if (r->next == r->n_slots) return false;
    const struct kv_slot *z = &r->slot[r->next];
    r->seq = z->seq;
    r->index = z->index;
    r->pos = z->pos;
    r->n = z->n;
    r->cell = r->all + z->at;
    make_runs(r);
    for (uint32_t i = 0; i < r->n; i++) kv_touch(c, r->cell[i]);
    kv_state_begin(c, r->seq, r->n);
    *b = (struct kv_batch){.seq = r->seq, .n = r->n, .pos = r->pos, .cell = r->cell};
    return true;
}

void kv_slot_apply(struct kv *c) {
    struct kv_running *r = &c->running;
    struct kv_seq *s = &c->seq[r->seq];
    assert(r->on && r->n > 0 && r->pos == kv_seq_next_pos(s));
    for (size_t i = 0; i < r->n_runs; i++) {
        kv_cells_own(&c->cells, r->run[i].cell, r->run[i].n, r->seq);
        kv_seq_push(s, &r->run[i]);
    }
    s->n_tokens = r->index + r->n;
    if (kv_has_states(c)) kv_state_advance(c, r->seq, r->index, r->n);
    r->n = 0;
    r->on = ++r->next < r->n_slots;
}
