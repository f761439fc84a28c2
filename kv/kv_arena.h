/* kv_arena: the memory of the cells, one range of addresses that grows at its end.
 *
 * The whole bound is reserved without access and committed block by block, so that growing moves nothing. Where the
 * system refuses the reservation (RLIMIT_AS), the arena holds what is committed alone and grows by mremap, which moves
 * page tables, and where that is refused too by copying: base may then change with every kv_arena_commit, the contents
 * never do. Owner thread only. */
#ifndef KV_KV_ARENA_H
#define KV_KV_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kv_arena_way { KV_ARENA_RESERVE, KV_ARENA_REMAP, KV_ARENA_COPY };

struct kv_arena {
    uint8_t *base;          /* first byte of block 0 */
    size_t block_bytes;     /* a multiple of the page */
    uint32_t n_blocks;      /* committed */
    uint32_t n_spare;       /* committed behind them, by kv_arena_add_spare: the next commit takes them over */
    uint32_t cap_blocks;    /* reserved; may be committed */
    size_t committed_bytes; /* with the spare blocks and the rounding up to whole huge pages */
    size_t reserved_bytes;  /* 0 where there is no reservation */
    size_t unit;            /* commits are rounded up to it: a page, or, from 2 MiB on, 2 MiB in a reservation larger than that */
    enum kv_arena_way way;  /* the best that may be tried; tests ask for worse ones */
    uint64_t copied_bytes;  /* by growing, so far */
    uint32_t fail_in;       /* for tests: the fail_in-th commit from now is refused, */
    uint32_t fail_more;     /* and so many after it; 0: none is */
};

/* Reserves cap_blocks, where way allows it. Commits nothing. 0, or -1 where the size is impossible. */
int kv_arena_open(struct kv_arena *a, size_t block_bytes, uint32_t cap_blocks, enum kv_arena_way way);
void kv_arena_close(struct kv_arena *a);

/* Bytes that n_blocks take when committed. */
size_t kv_arena_bytes(const struct kv_arena *a, uint32_t n_blocks);
/* The most blocks that take no more than so many bytes. */
uint64_t kv_arena_fit(const struct kv_arena *a, uint64_t bytes);
/* Commits blocks up to n_blocks (<= cap_blocks). 0, or -1 with everything as it was. New blocks read as zeros. */
int kv_arena_commit(struct kv_arena *a, uint32_t n_blocks);
/* The range to make accessible for one spare block, 0 bytes where it is. False: no block can be spare. */
bool kv_arena_next_spare(const struct kv_arena *a, uint8_t **at, size_t *bytes);
/* Notes that the range has been made accessible, by whomever. */
void kv_arena_add_spare(struct kv_arena *a, size_t bytes);
/* Gives the blocks from n_blocks on back, spare ones too, pages and commit charge. */
void kv_arena_uncommit(struct kv_arena *a, uint32_t n_blocks);
/* Gives back the pages of one committed block, which reads as zeros from now on. */
void kv_arena_discard(struct kv_arena *a, uint32_t block);
/* Changes the reservation to cap_blocks >= n_blocks. 0, or -1 with everything as it was. base may change. */
int kv_arena_reserve(struct kv_arena *a, uint32_t cap_blocks);

#endif
