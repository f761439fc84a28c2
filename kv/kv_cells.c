/* kv_cells: see kv_cells.h. */
#include "kv/kv_cells.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv.h"

int kv_cells_resize(struct kv_cells *t, uint32_t n) {
    assert(n % KV_BLOCK == 0);
    uint32_t blocks = n / KV_BLOCK, before = t->n / KV_BLOCK;
    uint64_t *owner = realloc(t->owner, (n ? n : 1) * sizeof *owner);
    if (!owner) return -1;
    t->owner = owner;
    struct kv_block_use *block = realloc(t->block, (blocks ? blocks : 1) * sizeof *block);
    if (!block) return -1;
    t->block = block;
    if (n > t->n) {
        memset(owner + t->n, 0, (n - t->n) * sizeof *owner);
        memset(block + before, 0, (blocks - before) * sizeof *block);
    }
    t->n = n;
    if (t->hint >= n) t->hint = 0;
    return 0;
}

void kv_cells_free(struct kv_cells *t) {
    free(t->owner);
    free(t->block);
    memset(t, 0, sizeof *t);
}

static uint32_t several(uint64_t owner) {
    return (owner & (owner - 1)) != 0;
}

static void set_owner(struct kv_cells *t, uint32_t cell, uint64_t now) {
    uint64_t was = t->owner[cell], p = t->parked;
    t->used += (uint32_t)(now != 0) - (uint32_t)(was != 0);
    t->n_shared += several(now) - several(was);
    t->owner[cell] = now;
    struct kv_block_use *b = &t->block[cell / KV_BLOCK];
    b->n = (uint16_t)(b->n + (now != 0) - (was != 0));
    if (!((was | now) & p)) return;
    t->n_parked += (uint32_t)((now & p) != 0) - (uint32_t)((was & p) != 0);
    t->n_resting += (uint32_t)(now && !(now & ~p)) - (uint32_t)(was && !(was & ~p));
}

void kv_cells_own(struct kv_cells *t, uint32_t cell, uint32_t n, int seq) {
    uint64_t bit = (uint64_t)1 << seq;
    for (uint32_t i = cell; i < cell + n; i++) {
        struct kv_block_use *b = &t->block[i / KV_BLOCK];
        assert(!(t->owner[i] & bit) && (!t->stream_blocks || b->n == 0 || b->seq == seq));
        if (!t->owner[i]) b->seq = (int16_t)seq;
        set_owner(t, i, t->owner[i] | bit);
    }
}

void kv_cells_unmark(struct kv_cells *t, uint32_t cell, uint32_t n, int seq) {
    uint64_t bit = (uint64_t)1 << seq;
    for (uint32_t i = cell; i < cell + n; i++) {
        assert(t->owner[i] & bit);
        set_owner(t, i, t->owner[i] & ~bit);
    }
}

void kv_cells_tell(const struct kv_cells *t, uint32_t cell, uint32_t n) {
    for (uint32_t i = cell, end = cell + n, from; t->freed && i < end; i++) {
        for (from = i; i < end && !t->owner[i]; i++);
        if (i > from) t->freed(t->ctx, from, i - from);
    }
}

void kv_cells_disown(struct kv_cells *t, uint32_t cell, uint32_t n, int seq) {
    kv_cells_unmark(t, cell, n, seq);
    kv_cells_tell(t, cell, n);
}

uint32_t kv_cells_count_shared(const struct kv_cells *t, uint32_t cell, uint32_t n) {
    uint32_t count = 0;
    for (uint32_t i = cell; t->n_shared && i < cell + n; i++) count += several(t->owner[i]);
    return count;
}

uint32_t kv_cells_count_sole(const struct kv_cells *t, uint32_t cell, uint32_t n) {
    if (t->n_shared == 0) return n;
    uint32_t count = 0;
    for (uint32_t i = cell; i < cell + n; i++) count += !several(t->owner[i] & ~t->parked);
    return count;
}

/* ---- searching ---- */

enum blocks { ANY, OWN, FRESH };

static bool is_fresh(const struct kv_cells *t, uint32_t block) {
    return t->block[block].n == 0;
}

/* Whether seq may look for cells in the block. */
static bool admits(const struct kv_cells *t, uint32_t block, int seq, enum blocks which) {
    const struct kv_block_use *b = &t->block[block];
    if (b->n == KV_BLOCK) return false;
    if (which == FRESH) return b->n == 0;
    if (which == OWN) return b->n && b->seq == seq;
    return !t->stream_blocks || b->n == 0 || b->seq == seq;
}

static void count_blocks(const struct kv_cells *t, int seq, uint32_t *own, uint32_t *fresh) {
    *own = *fresh = 0;
    for (uint32_t b = 0; b < t->n / KV_BLOCK; b++) {
        *fresh += is_fresh(t, b);
        *own += t->block[b].n && t->block[b].seq == seq;
    }
}

/* New blocks that a stream may still take. */
static uint32_t quota(const struct kv_cells *t, int seq) {
    uint32_t own, fresh;
    count_blocks(t, seq, &own, &fresh);
    return own < t->stream_blocks ? t->stream_blocks - own : 0;
}

uint32_t kv_cells_capacity(const struct kv_cells *t, int seq) {
    if (!t->stream_blocks) return t->n;
    uint32_t own, fresh;
    count_blocks(t, seq, &own, &fresh);
    uint32_t most = own < t->stream_blocks ? t->stream_blocks - own : 0;
    return (own + (fresh < most ? fresh : most)) * KV_BLOCK;
}

/* Adds free cells to out, which has `found`, until it has n; returns how many it has then. most: blocks to take from. */
static uint32_t gather(const struct kv_cells *t, int seq, uint32_t limit, enum blocks which, uint32_t most, uint32_t found,
                       uint32_t n, uint32_t *out) {
    uint32_t at = t->hint < limit ? t->hint : 0;
    if (which == FRESH) at -= at % KV_BLOCK; /* so that it meets each block once */
    for (uint32_t seen = 0; found < n && seen < limit && most;) {
        uint32_t block = at / KV_BLOCK, stop = (block + 1) * KV_BLOCK;
        if (stop > limit) stop = limit;
        if (stop - at > limit - seen) stop = at + limit - seen;
        seen += stop - at;
        if (admits(t, block, seq, which)) {
            most--;
            for (uint32_t i = at; i < stop && found < n; i++)
                if (!t->owner[i]) out[found++] = i;
        }
        at = stop == limit ? 0 : stop;
    }
    return found;
}

static uint32_t count_fresh(const struct kv_cells *t, uint32_t cell, uint32_t n) {
    uint32_t count = 0;
    for (uint32_t b = cell / KV_BLOCK; b <= (cell + n - 1) / KV_BLOCK; b++) count += is_fresh(t, b);
    return count;
}

/* The first n neighbours within [from, to) that are free, with at most that many new blocks among theirs; to: none. */
static uint32_t find_run(const struct kv_cells *t, int seq, uint32_t from, uint32_t to, uint32_t n, uint32_t most) {
    uint32_t start = from;
    for (uint32_t at = from; at < to;) {
        if (!admits(t, at / KV_BLOCK, seq, ANY)) {
            at = start = (at / KV_BLOCK + 1) * KV_BLOCK;
            continue;
        }
        if (t->owner[at++]) start = at;
        if (at - start < n) continue;
        if (count_fresh(t, start, n) <= most) return start;
        start++;
    }
    return to;
}

static bool find_contiguous(const struct kv_cells *t, int seq, uint32_t limit, uint32_t n, uint32_t *out) {
    uint32_t most = t->stream_blocks ? quota(t, seq) : UINT32_MAX, hint = t->hint < limit ? t->hint : 0;
    uint32_t at = find_run(t, seq, hint, limit, n, most);
    if (at == limit && hint) {
        uint32_t to = n - 1 < limit - hint ? hint + n - 1 : limit;
        at = find_run(t, seq, 0, to, n, most);
        if (at == to) return false;
    } else if (at == limit)
        return false;
    for (uint32_t i = 0; i < n; i++) out[i] = at + i;
    return true;
}

bool kv_cells_find(struct kv_cells *t, int seq, uint32_t limit, uint32_t n, bool contiguous, uint32_t *out) {
    if (limit > t->n) limit = t->n;
    if (n == 0) return true;
    if (n > limit) return false;
    if (contiguous) {
        if (!find_contiguous(t, seq, limit, n, out)) return false;
    } else {
        uint32_t found = gather(t, seq, limit, t->stream_blocks ? OWN : ANY, UINT32_MAX, 0, n, out);
        if (found < n && t->stream_blocks) found = gather(t, seq, limit, FRESH, quota(t, seq), found, n, out);
        if (found < n) return false;
    }
    t->hint = out[n - 1] + 1 < limit ? out[n - 1] + 1 : 0;
    return true;
}

uint32_t kv_cells_end(const struct kv_cells *t) {
    uint32_t n = t->n;
    while (n > 0 && kv_cells_block_free(t, n / KV_BLOCK - 1)) n -= KV_BLOCK;
    while (n > 0 && !t->owner[n - 1]) n--;
    return n;
}

bool kv_cells_block_free(const struct kv_cells *t, uint32_t block) {
    return is_fresh(t, block);
}
