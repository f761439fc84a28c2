/* kv_slot: where tokens go. Finding cells for micro-batches, all or nothing, and making them visible. Owner thread only. */
#ifndef KV_KV_SLOT_H
#define KV_KV_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/kv_cache.h"

/* ---- how many cells a sequence may have: of the one pool, or of its stream ---- */

/* Cells in use that count against the bound of seq. */
uint32_t kv_slot_used(const struct kv *c, int seq);
/* Committed cells that these could be: what the bound allows beside it is another matter. */
uint32_t kv_slot_capacity(const struct kv *c, int seq);
/* The same with the memory there is, at most kv_limit. Reads files: not for every token. */
uint32_t kv_slot_reach(const struct kv *c, int seq);
/* Grows, by the policy, so that kv_slot_used can reach `cells` (<= kv_limit). ERR_MEMORY: refused, with everything as it was. */
int kv_slot_grow(struct kv *c, int seq, uint32_t cells, const char *reason, struct err *e);

/* ---- micro-batches ---- */

/* Finds n free cells for seq among those that are committed: one run of neighbours, or scattered. From the hint on, wrapping. They
 * stay free. False, with nothing changed: there are not so many. */
bool kv_slot_find(struct kv *c, int seq, uint32_t n, bool contiguous, uint32_t *cell);

/* A micro-batch that wants cells: see kv_begin. */
struct kv_ubatch {
    int seq;
    const int32_t *token;
    uint32_t n;
    size_t first;
};
/* ERR_USAGE where u.first leaves out tokens that have not left; known: tokens of the sequence before it. */
int kv_slot_check(const struct kv *c, const struct kv_ubatch *u, size_t known, struct err *e);
/* Places every one of them, in order, growing the cache where that is needed; each sequence's follow one another. All or nothing:
 * ERR_CONTEXT (there is no room; contiguous: no run so long), ERR_MEMORY, ERR_USAGE, and everything is as it was.
 * Then they are to be taken with kv_slot_next and finished one after the other. Until the last one is finished, or one abandoned and with it
 * all that follow, no other operation changes the cache. Evicts nothing: kv_begin does, for one. */
int kv_prepare(struct kv *c, const struct kv_ubatch *u, size_t n, bool contiguous, struct err *e);
/* The next one, to be computed; false: none is left. */
bool kv_slot_next(struct kv *c, struct kv_batch *b);
/* Writes owners and positions of the micro-batch that is being computed: behind the last position of its sequence, so that no gap comes
 * to be. */
void kv_slot_apply(struct kv *c);

#endif
