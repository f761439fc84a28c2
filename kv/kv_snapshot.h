/* kv_snapshot: the file that a sequence is saved in, and what saving and loading share.
 *
 *     header       struct kv_snapshot_header, once
 *     generation   struct kv_snapshot_generation
 *                  data    blocks that changed: [layer][K|V][kv head][cells of the mask][head dim]
 *                  index   struct kv_snapshot_index, then sections: struct kv_snapshot_section and its bytes
 *     generation   ...
 *
 * A save appends a generation, whose index is whole: it names blocks of its own data and of earlier ones. The newest
 * generation whose index is valid is what the file holds; what stands behind it was cut off and counts for nothing.
 * Each head has the checksum of the one before, so that generations of another file are never taken for this one's.
 *
 * Sections, in any order, each once:
 *     TOKN   int32 [tokens]
 *     SEQU   struct kv_snapshot_seq, once
 *     LEFT   struct kv_snapshot_range [], what has left
 *     TURN   struct kv_snapshot_turn []
 *     BLKS   struct kv_snapshot_block [], where the blocks stand
 *     RUNS   struct kv_snapshot_run [], in the order of the sequence
 *     EXTR   the caller's bytes
 *     RING   where there are window rings: struct kv_ring_part of checkpoints in order, then of the ring itself
 *     STAT   where there are recurrent states: of the same checkpoints, then the state itself: uint64 tokens seen, then its bytes
 * A reader skips a section that it does not know, unless KV_SNAPSHOT_NEEDED says that the rest is wrong without it.
 *
 * All of it as the machine writes it; byte_order tells a machine of the other kind. Where cells lie in memory is not
 * part of it: a snapshot enters any capacity that has room. */
#ifndef KV_KV_SNAPSHOT_H
#define KV_KV_SNAPSHOT_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "kv/kv.h"

#define KV_SNAPSHOT_MAGIC "kvetchKV"
#define KV_SNAPSHOT_VERSION 2u
#define KV_SNAPSHOT_ORDER 0x01020304u
#define KV_SNAPSHOT_GENERATION "KVGN"

struct kv_snapshot_header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t checksum;                            /* of the header, itself as 0 */
    uint64_t model_fingerprint, rope_fingerprint; /* the caller's */
    uint32_t n_rot, neox;
    float magnitude;
    uint32_t rotated;            /* 1: keys lie in the basis of kv_rotate */
    uint64_t freq;               /* hash of the rope's frequencies */
    char type_k[16], type_v[16]; /* names */
    uint32_t n_layers, n_kv_heads, head_dim_k, head_dim_v;
    uint32_t block_cells, cell_bytes;
};
static_assert(sizeof(struct kv_snapshot_header) == 120, "the header has no padding");

struct kv_snapshot_generation {
    char magic[4];
    uint32_t number;   /* from 1 */
    uint64_t checksum; /* of this head, itself as 0, from `previous` on */
    uint64_t previous; /* checksum of the head before; of the first one, of the header */
    uint64_t data_bytes, index_bytes;
};
static_assert(sizeof(struct kv_snapshot_generation) == 40, "the head has no padding");

struct kv_snapshot_index {
    uint64_t checksum; /* of the index behind it, from the generation's on */
};

#define KV_SNAPSHOT_NEEDED 1u
struct kv_snapshot_section {
    char tag[4];
    uint32_t flags;
    uint64_t bytes;
};
static_assert(sizeof(struct kv_snapshot_section) == 16, "a section's head has no padding");

/* What is said of the sequence as a whole. */
struct kv_snapshot_seq {
    uint64_t n_keep, moved;
};
struct kv_snapshot_range {
    uint64_t first, n;
};
struct kv_snapshot_turn {
    uint64_t first, n, pinned;
};
/* Cells of one block of the cache: those of the mask, in order. */
struct kv_snapshot_block {
    uint64_t offset, checksum; /* of its bytes in the file: see kv_snapshot_write_block */
    uint64_t mask[KV_BLOCK / 64];
};
static_assert(sizeof(struct kv_snapshot_block) == 48, "a block has no padding");
/* Neighbouring cells of one block. */
struct kv_snapshot_run {
    int64_t pos, offset;
    uint64_t index;
    uint32_t block, cell, n; /* number in BLKS; cell in the block */
    uint32_t flags;          /* 0 */
};
static_assert(sizeof(struct kv_snapshot_run) == 40, "a run has no padding");

/* What the cache's snapshots say of it, with its checksum. */
void kv_snapshot_describe(const struct kv *c, const struct kv_snapshot_info *info, struct kv_snapshot_header *h);
uint64_t kv_snapshot_header_sum(const struct kv_snapshot_header *h);
uint64_t kv_snapshot_generation_sum(const struct kv_snapshot_generation *g);

/* Cells of a mask; and the number that a cell has among them. */
uint32_t kv_snapshot_count(const uint64_t *mask);
uint32_t kv_snapshot_rank(const uint64_t *mask, uint32_t cell);
/* Sets bits [first, first + n), false where one of them was set. */
bool kv_snapshot_add(uint64_t *mask, uint32_t first, uint32_t n);
/* Whether mask has all of part. */
bool kv_snapshot_has(const uint64_t *mask, const uint64_t *part);

/* Copies n neighbouring cells of one block of the cache to or from a block of the file that has n_block cells, there
 * from its cell `at` on. */
void kv_snapshot_copy(struct kv *c, uint32_t cell, uint32_t n, uint8_t *file, uint32_t n_block, uint32_t at,
                      bool store);

/* All of it, at that place. 0, or -1 with errno. */
int kv_snapshot_write(int fd, const void *data, size_t n, uint64_t at);
int kv_snapshot_read(int fd, void *data, size_t n, uint64_t at);
/* The same for a block's bytes, with their checksum: XXH3 of each slice of KV_SNAPSHOT_SLICE bytes, seeded with that of
 * the slice before (the first with 0), since a slice is still near when it is summed. */
#define KV_SNAPSHOT_SLICE ((size_t)256 << 10)
int kv_snapshot_write_block(int fd, const void *data, size_t n, uint64_t at, uint64_t *checksum);
int kv_snapshot_read_block(int fd, void *data, size_t n, uint64_t at, uint64_t *checksum);

#endif
