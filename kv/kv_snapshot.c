/* kv_snapshot: see kv_snapshot.h. */
#include "kv/kv_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "config/hash.h"
#include "kv/kv_cache.h"

uint64_t kv_snapshot_header_sum(const struct kv_snapshot_header *h) {
    struct kv_snapshot_header z = *h;
    z.checksum = 0;
    return hash_bytes(&z, sizeof z, 0);
}

uint64_t kv_snapshot_generation_sum(const struct kv_snapshot_generation *g) {
    struct kv_snapshot_generation z = *g;
    z.checksum = 0;
    return hash_bytes(&z, sizeof z, g->previous);
}

void kv_snapshot_describe(const struct kv *c, const struct kv_snapshot_info *info, struct kv_snapshot_header *h) {
    const struct kv_rope *r = &c->config.rope;
    *h = (struct kv_snapshot_header){.magic = KV_SNAPSHOT_MAGIC,
                                     .version = KV_SNAPSHOT_VERSION,
                                     .byte_order = KV_SNAPSHOT_ORDER,
                                     .model_fingerprint = info->model_fingerprint,
                                     .rope_fingerprint = info->rope_fingerprint,
                                     .n_rot = r->n_rot,
                                     .neox = r->neox,
                                     .rotated = c->layout.rotated,
                                     .magnitude = r->magnitude,
                                     .freq = hash_bytes(r->freq, r->n_rot / 2 * sizeof *r->freq, 0),
                                     .n_layers = c->config.n_layers,
                                     .n_kv_heads = c->config.n_kv_heads,
                                     .head_dim_k = c->config.head_dim_k,
                                     .head_dim_v = c->config.head_dim_v,
                                     .block_cells = KV_BLOCK,
                                     .cell_bytes = (uint32_t)c->cell_bytes};
    memcpy(h->type_k, c->layout.type_k->name, strlen(c->layout.type_k->name));
    memcpy(h->type_v, c->layout.type_v->name, strlen(c->layout.type_v->name));
    h->checksum = kv_snapshot_header_sum(h);
}

/* ---- masks ---- */

uint32_t kv_snapshot_count(const uint64_t *mask) {
    return kv_snapshot_rank(mask, KV_BLOCK);
}

uint32_t kv_snapshot_rank(const uint64_t *mask, uint32_t cell) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < cell / 64; i++) n += (uint32_t)__builtin_popcountll(mask[i]);
    if (cell % 64) n += (uint32_t)__builtin_popcountll(mask[cell / 64] << (64 - cell % 64));
    return n;
}

bool kv_snapshot_add(uint64_t *mask, uint32_t first, uint32_t n) {
    bool fresh = true;
    for (uint32_t i = first; i < first + n; i++) {
        uint64_t bit = (uint64_t)1 << i % 64;
        fresh &= !(mask[i / 64] & bit);
        mask[i / 64] |= bit;
    }
    return fresh;
}

bool kv_snapshot_has(const uint64_t *mask, const uint64_t *part) {
    for (uint32_t i = 0; i < KV_BLOCK / 64; i++)
        if (part[i] & ~mask[i]) return false;
    return true;
}

/* ---- bytes ---- */

void kv_snapshot_copy(struct kv *c, uint32_t cell, uint32_t n, uint8_t *file, uint32_t n_block, uint32_t at,
                      bool store) {
    const struct kv_layout *l = &c->layout;
    uint32_t first = cell % KV_BLOCK;
    uint8_t *layer = c->arena.base + (size_t)(cell / KV_BLOCK) * l->block_bytes;
    if (!store) kv_touch(c, cell);
    for (uint32_t i = 0; i < c->config.n_layers; i++, layer += l->layer_bytes)
        for (uint32_t kv = 0; kv < 2; kv++) {
            size_t row = kv ? l->v_row_bytes : l->k_row_bytes, head = kv ? l->v_head_bytes : l->k_head_bytes;
            uint8_t *mem = layer + (kv ? l->v_base : 0) + first * row;
            for (uint32_t h = 0; h < c->config.n_kv_heads; h++, mem += head, file += n_block * row) {
                if (store)
                    memcpy(file + at * row, mem, n * row);
                else
                    memcpy(mem, file + at * row, n * row);
            }
        }
}

int kv_snapshot_write(int fd, const void *data, size_t n, uint64_t at) {
    for (const uint8_t *p = data; n;) {
        ssize_t done = pwrite(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = ENOSPC;
        if (done <= 0) return -1;
        p += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return 0;
}

int kv_snapshot_read(int fd, void *data, size_t n, uint64_t at) {
    for (uint8_t *p = data; n;) {
        ssize_t done = pread(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = EIO; /* it became shorter meanwhile */
        if (done <= 0) return -1;
        p += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return 0;
}

static size_t slice_size(size_t left) {
    return left < KV_SNAPSHOT_SLICE ? left : KV_SNAPSHOT_SLICE;
}

int kv_snapshot_write_block(int fd, const void *data, size_t n, uint64_t at, uint64_t *checksum) {
    const uint8_t *p = data;
    *checksum = 0;
    for (size_t done = 0, now; done < n; done += now) {
        now = slice_size(n - done);
        *checksum = hash_bytes(p + done, now, *checksum);
        if (kv_snapshot_write(fd, p + done, now, at + done)) return -1;
    }
    sync_file_range(fd, (off_t)at, (off_t)n, SYNC_FILE_RANGE_WRITE); /* a hint: the disk begins meanwhile */
    return 0;
}

int kv_snapshot_read_block(int fd, void *data, size_t n, uint64_t at, uint64_t *checksum) {
    uint8_t *p = data;
    *checksum = 0;
    for (size_t done = 0, now; done < n; done += now) {
        now = slice_size(n - done);
        if (kv_snapshot_read(fd, p + done, now, at + done)) return -1;
        *checksum = hash_bytes(p + done, now, *checksum);
    }
    return 0;
}
