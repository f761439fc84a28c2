/* kv_snapshot: the file that a sequence is saved in.
 *
 *     header   struct kv_snapshot_header
 *     index    token   int32 [n_tokens]
 *              left    struct kv_snapshot_range [n_left]
 *              turn    struct kv_snapshot_turn [n_turns]
 *              run     struct kv_snapshot_run [n_runs]
 *              sum     uint64 [blocks], XXH3 of each block of data
 *              extra   [extra_bytes], the caller's
 *     data     blocks of 256 cells in the sequence's order, the last one of what is left:
 *              [layer][K|V][kv head][cells][head dim]
 *
 * All of it as the machine writes it; byte_order tells a machine of the other kind. checksum covers header (itself as
 * 0) and index. Where cells lie in memory is not part of it: a snapshot enters any capacity that has room. */
#ifndef KV_KV_SNAPSHOT_H
#define KV_KV_SNAPSHOT_H

#include <assert.h>
#include <stdint.h>

#define KV_SNAPSHOT_MAGIC "kvetchKV"
#define KV_SNAPSHOT_VERSION 1u
#define KV_SNAPSHOT_ORDER 0x01020304u

struct kv_snapshot_header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t checksum, file_bytes;
    uint64_t model_fingerprint, rope_fingerprint;
    uint32_t type_k, type_v; /* ids of config/num.h */
    uint32_t n_layers, n_kv_heads, head_dim_k, head_dim_v;
    uint32_t block_cells;
    uint32_t rotated; /* 1: keys lie in the basis of kv_rotate */
    uint64_t n_tokens, n_left, n_turns, n_runs, n_keep, n_cells, extra_bytes;
};
static_assert(sizeof(struct kv_snapshot_header) == 136, "the header has no padding");

struct kv_snapshot_range {
    uint64_t first, n;
};
struct kv_snapshot_turn {
    uint64_t first, n, pinned;
};
struct kv_snapshot_run {
    int64_t pos, offset;
    uint64_t index, n;
};

#endif
