/* kv_cells: see kv_cells.h. */
#include "kv/kv_cells.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv.h"

int kv_cells_resize(struct kv_cells *t, uint32_t n) {
    uint64_t *owner = realloc(t->owner, (n ? n : 1) * sizeof *owner);
    if (!owner) return -1;
    if (n > t->n) memset(owner + t->n, 0, (n - t->n) * sizeof *owner);
    t->owner = owner;
    t->n = n;
    if (t->hint >= n) t->hint = 0;
    return 0;
}

void kv_cells_free(struct kv_cells *t) {
    free(t->owner);
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
    if (!((was | now) & p)) return;
    t->n_parked += (uint32_t)((now & p) != 0) - (uint32_t)((was & p) != 0);
    t->n_resting += (uint32_t)(now && !(now & ~p)) - (uint32_t)(was && !(was & ~p));
}

void kv_cells_own(struct kv_cells *t, uint32_t cell, uint32_t n, int seq) {
    uint64_t bit = (uint64_t)1 << seq;
    for (uint32_t i = cell; i < cell + n; i++) {
        assert(!(t->owner[i] & bit));
        set_owner(t, i, t->owner[i] | bit);
    }
}

void kv_cells_disown(struct kv_cells *t, uint32_t cell, uint32_t n, int seq) {
    uint64_t bit = (uint64_t)1 << seq;
    for (uint32_t i = cell; i < cell + n; i++) {
        assert(t->owner[i] & bit);
        set_owner(t, i, t->owner[i] & ~bit);
    }
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

bool kv_cells_find(struct kv_cells *t, uint32_t limit, uint32_t n, uint32_t *out) {
    if (limit > t->n) limit = t->n;
    uint32_t found = 0, at = t->hint < limit ? t->hint : 0;
    for (uint32_t seen = 0; found < n && seen < limit; seen++) {
        if (!t->owner[at]) out[found++] = at;
        if (++at == limit) at = 0;
    }
    if (found < n) return false;
    t->hint = at;
    return true;
}

uint32_t kv_cells_end(const struct kv_cells *t) {
    uint32_t n = t->n;
    while (n > 0 && !t->owner[n - 1]) n--;
    return n;
}

bool kv_cells_block_free(const struct kv_cells *t, uint32_t block) {
    for (uint32_t i = block * KV_BLOCK; i < (block + 1) * KV_BLOCK; i++)
        if (t->owner[i]) return false;
    return true;
}
