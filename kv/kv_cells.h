/* kv_cells: who owns which cell, and where a free one is. Owner thread only. */
#ifndef KV_KV_CELLS_H
#define KV_KV_CELLS_H

#include <stdbool.h>
#include <stdint.h>

/* A block's cells that have an owner. With a stream for each sequence seq has them all; another one may take of the block
 * once n is 0. */
struct kv_block_use {
    uint16_t n;
    int16_t seq;
};

struct kv_cells {
    uint64_t *owner;            /* [n] one bit a sequence; 0: free */
    struct kv_block_use *block; /* [n / KV_BLOCK] */
    uint32_t n;                 /* cells of the committed blocks */
    uint32_t used;              /* cells with an owner */
    uint32_t n_shared;          /* cells with several */
    uint64_t parked;            /* the sequences that are entries of the prompt cache; changed only where they own nothing */
    uint32_t n_parked;          /* cells that such a one owns */
    uint32_t n_resting;         /* and nobody else */
    uint32_t hint;              /* where the search for a free cell starts */
    void (*freed)(void *ctx, uint32_t cell, uint32_t n); /* is told of neighbours that have lost their last owner; NULL: nobody asks */
    void *ctx;
    uint32_t stream_blocks;     /* blocks that a sequence may have where each has a stream of its own; 0: one pool for all */
};

int kv_cells_resize(struct kv_cells *t, uint32_t n); /* 0, or -1 for want of memory; cells beyond n must be free */
void kv_cells_free(struct kv_cells *t);

void kv_cells_own(struct kv_cells *t, uint32_t cell, uint32_t n, int seq);
void kv_cells_disown(struct kv_cells *t, uint32_t cell, uint32_t n, int seq); /* a cell without owner is free */
/* The two halves of it, for where owners are put back or changed before it is known what is free: an owner that goes silently, and
 * those of [cell, cell + n) that have none told of. */
void kv_cells_unmark(struct kv_cells *t, uint32_t cell, uint32_t n, int seq);
void kv_cells_tell(const struct kv_cells *t, uint32_t cell, uint32_t n);
/* Cells of [cell, cell + n) with several owners. */
uint32_t kv_cells_count_shared(const struct kv_cells *t, uint32_t cell, uint32_t n);
/* Cells of [cell, cell + n), a live sequence's, that no other live one owns. */
uint32_t kv_cells_count_sole(const struct kv_cells *t, uint32_t cell, uint32_t n);
/* Fills out with n free cells below limit that seq may take, from the hint on, wrapping: one run of neighbours, or scattered.
 * False, with nothing changed, where there are not so many. They stay free until they are owned; the next search starts
 * behind them. A stream takes what is free in its own blocks before it takes a new one. */
bool kv_cells_find(struct kv_cells *t, int seq, uint32_t limit, uint32_t n, bool contiguous, uint32_t *out);
/* The most cells that seq could own of those there are, without regard to who owns cells of the one pool. */
uint32_t kv_cells_capacity(const struct kv_cells *t, int seq);
/* One more than the last cell that is owned. */
uint32_t kv_cells_end(const struct kv_cells *t);
bool kv_cells_block_free(const struct kv_cells *t, uint32_t block);

#endif
