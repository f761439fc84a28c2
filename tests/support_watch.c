/* See support_watch.h. */
#include "tests/support_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "kv/kv_memory.h"
#include "tests/support_kv.h"

enum { WATCHED = 4096 };
static struct {
    const struct kv_memory *inner;
    struct kv_memory table;
    float key[WATCHED][KVT_ROW]; /* of layer 0 */
    bool held[WATCHED];
} watch;

static void watch_write(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k, size_t k_stride, const float *v,
                        size_t v_stride) {
    watch.inner->write(c, b, layer, i0, i1, k, k_stride, v, v_stride);
    for (uint32_t i = i0; i < i1 && layer == 0; i++) memcpy(watch.key[b->cell[i]], k + (i - i0) * k_stride, sizeof watch.key[0]);
}

static void watch_apply(struct kv *c, struct kv_batch *b) {
    for (uint32_t i = 0; i < b->n; i++) {
        assert_true(b->cell[i] < WATCHED && !watch.held[b->cell[i]]);
        watch.held[b->cell[i]] = true;
    }
    watch.inner->apply(c, b);
}

static void watch_drop(struct kv *c, uint32_t cell, uint32_t n) {
    for (uint32_t i = cell; i < cell + n; i++) {
        assert_true(watch.held[i]);
        watch.held[i] = false;
    }
    watch.inner->drop(c, cell, n);
}

static void watch_copy(struct kv *c, uint32_t from, uint32_t to) {
    assert_true(watch.held[from] && !watch.held[to] && to < WATCHED);
    memcpy(watch.key[to], watch.key[from], sizeof watch.key[0]);
    watch.held[to] = true;
    watch.inner->copy(c, from, to);
}

/* What a file brings is the memory's to find out. */
static int watch_load(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *expect, uint64_t *bytes, struct err *e) {
    int rc = watch.inner->load(c, seq, path, expect, bytes, e);
    const struct kv_seq *s = &c->seq[seq];
    for (size_t i = 0; i < s->n_runs && !rc; i++)
        for (uint32_t k = 0; k < s->run[i].n; k++) {
            assert_false(watch.held[s->run[i].cell + k]);
            watch.held[s->run[i].cell + k] = true;
            kvt_row(s->token[s->run[i].index + k], s->run[i].pos + k, 0, false, watch.key[s->run[i].cell + k]);
        }
    return rc;
}

void watch_open(struct kv *c) {
    memset(watch.held, 0, sizeof watch.held);
    watch.inner = c->memory;
    watch.table = *c->memory;
    watch.table.write = watch_write;
    watch.table.apply = watch_apply;
    watch.table.drop = watch_drop;
    watch.table.copy = watch_copy;
    watch.table.load = watch_load;
    kv_memory_use(c, &watch.table);
}

void watch_check(struct kv *c) {
    for (uint32_t i = 0; i < WATCHED; i++) assert_int_equal(watch.held[i], i < c->cells.n && c->cells.owner[i]);
    for (int q = 0; q < KV_MAX_SEQS; q++) {
        const struct kv_seq *s = &c->seq[q];
        for (size_t i = 0; i < s->n_runs && !s->moved; i++)
            for (uint32_t k = 0; k < s->run[i].n; k++) {
                float row[KVT_ROW];
                kvt_row(s->token[s->run[i].index + k], s->run[i].pos + k, 0, false, row);
                assert_memory_equal(row, watch.key[s->run[i].cell + k], sizeof row);
            }
    }
}
