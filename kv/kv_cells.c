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

void kv_cells_own(struct kv_cells *t, uint32_t cell, uint32_t n, int seq) {
    uint64_t bit = (uint64_t)1 << seq;
    for (uint32_t i = cell; i < cell + n; i++) {
        uint64_t was = t->owner[i];
        assert(!(was & bit));
        if (!was)
            t->used++;
        else if (!(was & (was - 1)))
            t->n_shared++;
        t->owner[i] = was | bit;
    }
}

void kv_cells_disown(struct kv_cells *t, uint32_t cell, uint32_t n, int seq) {
    uint64_t bit = (uint64_t)1 << seq;
    for (uint32_t i = cell; i < cell + n; i++) {
        assert(t->owner[i] & bit);
        uint64_t left = t->owner[i] & ~bit;
        if (!left)
            t->used--;
        else if (!(left & (left - 1)))
            t->n_shared--;
        t->owner[i] = left;
    }
}

uint32_t kv_cells_count_sole(const struct kv_cells *t, uint32_t cell, uint32_t n) {
    if (t->n_shared == 0) return n;
    uint32_t count = 0;
    for (uint32_t i = cell; i < cell + n; i++) count += !(t->owner[i] & (t->owner[i] - 1));
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
