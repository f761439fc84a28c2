/* kv_load: a file on its way into a sequence: what has been read of it, and checked. For kv_load*.c. */
#ifndef KV_KV_LOAD_H
#define KV_KV_LOAD_H

#include "kv/kv_cache.h"
#include "kv/kv_saved.h"

/* One section of the index. */
struct kv_load_part {
    const uint8_t *data; /* in the index, aligned for memcpy alone */
    uint64_t n;          /* items */
    bool found;
};
enum {
    KV_PART_TOKENS,
    KV_PART_SEQ,
    KV_PART_LEFT,
    KV_PART_TURNS,
    KV_PART_BLOCKS,
    KV_PART_RUNS,
    KV_PART_EXTRA,
    KV_PART_STATE,
    KV_PART_RING,
    KV_PARTS
};

struct kv_load {
    int fd;
    uint64_t size, bytes_read;
    struct kv_snapshot_header h;
    struct kv_snapshot_generation g; /* the newest one that is whole */
    uint64_t end;                    /* where it ends */
    uint8_t *index;
    struct kv_load_part part[KV_PARTS];

    struct kv_seq seq; /* what the sequence will be, but for its runs */
    struct kv_state state;
    struct kv_snapshot_block *block;
    struct kv_snapshot_run *run;
    uint64_t (*live)[KV_BLOCK / 64]; /* [n_blocks] the cells of each block that runs name */
    uint32_t n_blocks, n_runs, n_cells;

    uint32_t *first;  /* [n_runs] number of a run's first cell in `cell` */
    uint32_t *cell;   /* [n_cells] where the cells go, in the order of the runs */
    uint32_t *target; /* [n_blocks] the block of the cache that takes all of it, where `whole` */
    bool whole;       /* each block goes to a block of its own, its cells to the same places */
    uint8_t *own;     /* the blocks' bytes, where free cells are too few */
    uint8_t *scratch; /* one block */
};

/* Reads and checks all but the blocks, states and rings; l->fd is open. ERR_FILE with the reason, ERR_MEMORY. */
int kv_load_index(struct kv_load *l, const struct kv *c, const struct kv_snapshot_info *expect, struct err *e);

#endif
