/* kv_fill: random cells for benchmarks: raw bits of the types that are one number, encoded floats of those that come in
 * blocks. */
#include <stdlib.h>
#include <string.h>

#include "kv/kv_memory.h"
#include "kv/kv_slot.h"

#define CHUNK 4096u /* cells at a time */

#define ENCODED 1024u /* numbers encoded at a time, a multiple of every block */

/* Masks that make 64 random bits numbers of 2^-7 <= |x| < 2: the exponent's top bit cleared, the next ones set. */
static void masks(const struct num_type *t, uint64_t *keep, uint64_t *set) {
    *keep = t->bytes == 2 ? 0xBFFFBFFFBFFFBFFFu : 0xBFFFFFFFBFFFFFFFu;
    *set = t->id == NUM_F16 ? 0x2000200020002000u : t->id == NUM_BF16 ? 0x3C003C003C003C00u : 0x3C0000003C000000u;
}

/* xorshift64 (Marsaglia, 2003). */
static void fill_bits(uint8_t *at, size_t bytes, const struct num_type *t, uint64_t *random) {
    uint64_t x = *random, keep, set;
    masks(t, &keep, &set);
    for (size_t i = 0; i < bytes; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t word = (x & keep) | set;
        memcpy(at + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
    *random = x;
}

static void fill(uint8_t *at, size_t bytes, const struct num_type *t, uint64_t *random) {
    if (t->block == 1) {
        fill_bits(at, bytes, t, random);
        return;
    }
    float x[ENCODED];
    for (size_t left = bytes / t->bytes * t->block, n; left; left -= n) {
        n = left < ENCODED ? left : ENCODED;
        fill_bits((uint8_t *)x, n * sizeof *x, num_find(NUM_F32), random);
        t->from_f32(x, at, n);
        at += n / t->block * t->bytes;
    }
}

static void fill_run(struct kv *c, uint32_t cell, uint32_t n, uint64_t *random) {
    const struct kv_layout *l = &c->layout;
    uint32_t first = cell % KV_BLOCK;
    uint8_t *at = c->arena.base + (size_t)(cell / KV_BLOCK) * l->block_bytes;
    for (uint32_t i = 0; i < c->config.n_layers; i++, at += l->layer_bytes)
        for (uint32_t h = 0; h < c->config.n_kv_heads; h++) {
            fill(at + h * l->k_head_bytes + first * l->k_row_bytes, n * l->k_row_bytes, l->type_k, random);
            fill(at + l->v_base + h * l->v_head_bytes + first * l->v_row_bytes, n * l->v_row_bytes, l->type_v, random);
        }
}

static void fill_batch(struct kv *c, uint64_t *random) {
    for (size_t i = 0; i < c->running.n_runs; i++) {
        struct kv_run r = c->running.run[i];
        while (r.n) { /* block by block */
            uint32_t in = KV_BLOCK - r.cell % KV_BLOCK < r.n ? KV_BLOCK - r.cell % KV_BLOCK : r.n;
            fill_run(c, r.cell, in, random);
            r.cell += in;
            r.n -= in;
        }
    }
}

/* The same through the memory's own write, as slow as that is. */
static int write_batch(struct kv *c, const struct kv_batch *b, uint64_t *random, struct err *e) {
    size_t n_k = (size_t)c->config.n_kv_heads * c->config.head_dim_k, n = n_k + (size_t)c->config.n_kv_heads * c->config.head_dim_v;
    float *row = malloc(n * sizeof *row);
    if (!row) return err_set(e, ERR_MEMORY, "no memory for a row");
    for (uint32_t layer = 0; layer < c->n_places; layer++)
        for (uint32_t i = 0; i < b->n && c->place[layer].writes && !c->place[layer].ring; i++) {
            fill_bits((uint8_t *)row, n * sizeof *row, num_find(NUM_F32), random);
            kv_write(c, b, layer, i, i + 1, row, n_k, row + n_k, n - n_k);
        }
    free(row);
    return 0;
}

int kv_fill_random(struct kv *c, int seq, uint32_t n, uint64_t seed, struct err *e) {
    static const int32_t token[CHUNK];
    uint64_t random = seed * 2 + 1;
    kv_seq_rm(c, seq, -1, -1);
    uint64_t need = (uint64_t)kv_slot_used(c, seq) + n;
    if (need > kv_limit(c))
        return err_set(e, ERR_USAGE, "%u cells do not fit into the bound of %u", n, c->config.bound);
    int rc = kv_slot_grow(c, seq, (uint32_t)need, "full", e);
    for (uint32_t done = 0; done < n && !rc;) {
        struct kv_batch b;
        uint32_t now = n - done < CHUNK ? n - done : CHUNK;
        if ((rc = kv_begin(c, seq, token, now, SIZE_MAX, &b, e))) break;
        if (c->memory->write == kv_memory_default.write)
            fill_batch(c, &random);
        else if ((rc = write_batch(c, &b, &random, e))) {
            kv_abandon(c, &b);
            break;
        }
        kv_finish(c, &b);
        done += now;
    }
    return rc;
}
