/* See support_kv.h. */
#include "tests/support_kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/hash.h"

static const double freq[KVT_DIM / 2] = {1.0, 0.1, 0.01, 0.001};

struct kv_config kvt_config(uint32_t bound, const char *type) {
    const struct num_type *t = num_find_name(type);
    return (struct kv_config){.n_layers = KVT_LAYERS,
                              .n_kv_heads = KVT_HEADS,
                              .head_dim_k = KVT_DIM,
                              .head_dim_v = KVT_DIM,
                              .type_k = t,
                              .type_v = t,
                              .rope = {.n_rot = KVT_DIM, .magnitude = 1, .freq = freq},
                              .bound = bound};
}

struct kv *kvt_open(const struct kv_config *g) {
    struct kv *c;
    struct err e = {0};
    if (kv_open(&c, g, &e)) fail_msg("kv_open: %s", e.text);
    return c;
}

void kvt_row(int32_t t, int64_t pos, uint32_t layer, bool value, float *row) {
    uint64_t key[4] = {(uint64_t)t, (uint64_t)pos, layer, value};
    uint64_t h = hash_bytes(key, sizeof key, 1);
    for (int i = 0; i < KVT_ROW; i++) row[i] = (float)(int)((h >> i * 3) % 1024) / 64.0f - 8.0f;
}

static void write_row(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i, int32_t token) {
    float k[KVT_ROW], v[KVT_ROW];
    kvt_row(token, b->pos + i, layer, false, k);
    kvt_row(token, b->pos + i, layer, true, v);
    kv_write(c, b, layer, i, i + 1, k, KVT_ROW, v, KVT_ROW);
}

static int feed(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct err *e);

/* Tokens of a micro-batch. */
static size_t at_once(const struct kv *c, size_t left) {
    size_t most = c->config.n_ubatch ? c->config.n_ubatch : 100;
    return left < most ? left : most;
}

/* In micro-batches. */
int kvt_make_room(struct kv *c, int seq, uint32_t n, struct err *e) {
    struct kv_plan plan;
    int rc = kv_make_room(c, seq, n, &plan, e);
    if (rc || !plan.n_todo) return rc;
    struct kv_range todo[64];
    assert_true(plan.n_todo <= 64);
    memcpy(todo, plan.todo, plan.n_todo * sizeof *todo);
    for (size_t i = 0; i < plan.n_todo && !rc; i++)
        for (size_t at = todo[i].first, end = at + todo[i].n; at < end && !rc;) {
            int32_t token[100];
            const int32_t *all;
            uint32_t now = (uint32_t)at_once(c, end - at);
            kv_tokens(c, seq, &all);
            memcpy(token, all + at, now * sizeof *token);
            rc = feed(c, seq, token, now, at, e);
            at += now;
        }
    return rc;
}

/* A state is a number, over and over: the hash of all tokens that it has seen. */
static uint64_t see(uint64_t state, int32_t token) { return hash_bytes(&token, sizeof token, state + 1); }

static void write_state(struct kv *c, const struct kv_batch *b, const int32_t *token) {
    uint64_t state;
    memcpy(&state, kv_state_read(c, b), sizeof state);
    for (uint32_t i = 0; i < b->n; i++) state = see(state, token[i]);
    uint8_t *out = kv_state_write(c, b);
    for (uint64_t i = 0; i < c->config.state_bytes; i += sizeof state) memcpy(out + i, &state, sizeof state);
}

static void check_state(struct kv *c, int seq) {
    const struct kv_seq *s = &c->seq[seq];
    const struct kv_state *z = &c->state_of[seq];
    uint64_t want = 0, got;
    if (!s->n_runs) return;
    for (size_t i = 0; i < s->n_runs; i++)
        for (uint32_t k = 0; k < s->run[i].n; k++) want = see(want, s->token[s->run[i].index + k]);
    assert_int_equal(z->index, s->n_tokens);
    for (uint64_t i = 0; i < c->config.state_bytes; i += sizeof got) {
        memcpy(&got, z->bytes[z->now] + i, sizeof got);
        assert_true(got == want);
    }
}

static int feed(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct err *e) {
    struct kv_batch b;
    int rc = kv_evict_mode(c) == KV_EVICT_RESEED || c->config.n_window_layers ? kvt_make_room(c, seq, n, e) : 0;
    if (!rc) rc = kv_begin(c, seq, token, n, first, &b, e);
    if (rc) return rc;
    for (uint32_t layer = 0; layer < c->n_places; layer++)
        for (uint32_t i = 0; i < n; i++) write_row(c, &b, layer, i, token[i]);
    if (c->config.state_bytes) write_state(c, &b, token);
    kv_finish(c, &b);
    return 0;
}

int kvt_feed(struct kv *c, int seq, const int32_t *token, size_t index, uint32_t n, struct err *e) {
    return feed(c, seq, token + index, n, index, e);
}

int kvt_append(struct kv *c, int seq, int32_t token, struct err *e) {
    return feed(c, seq, &token, 1, SIZE_MAX, e);
}

int kvt_prompt(struct kv *c, int seq, const struct kv_prompt *p, struct kv_plan *plan, struct err *e) {
    int rc = kv_sync(c, seq, p, plan, e);
    for (size_t i = 0; i < plan->n_todo && !rc; i++)
        for (size_t done = 0; done < plan->todo[i].n && !rc;) {
            size_t n = at_once(c, plan->todo[i].n - done);
            rc = kvt_feed(c, seq, p->token, plan->todo[i].first + done, (uint32_t)n, e);
            done += n;
        }
    return rc;
}

static void check_row(struct kv *c, uint32_t cell, int32_t token, int64_t pos) {
    const struct kv_layout *l = &c->layout;
    float want[KVT_ROW], got[KVT_DIM];
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
        for (int value = 0; value < 2; value++) {
            kvt_row(token, pos, layer, value, want);
            const uint8_t *at =
                c->arena.base + cell / KV_BLOCK * l->block_bytes + layer * l->layer_bytes + (value ? l->v_base : 0);
            for (uint32_t h = 0; h < KVT_HEADS; h++) {
                at += h ? (value ? l->v_head_bytes : l->k_head_bytes) : 0;
                (value ? l->type_v : l->type_k)
                    ->to_f32(at + cell % KV_BLOCK * (value ? l->v_row_bytes : l->k_row_bytes), got, KVT_DIM);
                assert_memory_equal(got, want + h * KVT_DIM, sizeof got);
            }
        }
}

void kvt_check(struct kv *c, int seq) {
    const struct kv_seq *s = &c->seq[seq];
    uint32_t cells = 0;
    for (size_t i = 0; i < s->n_runs; i++) {
        const struct kv_run *r = &s->run[i];
        assert_true(r->n > 0 && r->index + r->n <= s->n_tokens && r->cell + r->n <= c->cells.n);
        if (i) {
            assert_true(r->index >= r[-1].index + r[-1].n);
            assert_true(kv_run_first(r) >= kv_run_end(r - 1));
        }
        for (uint32_t k = 0; k < r->n; k++) {
            assert_true(c->cells.owner[r->cell + k] >> seq & 1);
            check_row(c, r->cell + k, s->token[r->index + k], r->pos + k);
        }
        assert_int_equal(kv_seq_count_left(s, r->index, r->index + r->n), 0);
        cells += r->n;
    }
    assert_int_equal(cells, s->n_cells);
    if (s->n_runs) assert_int_equal(kv_seq_count_left(s, 0, s->n_tokens) + cells, s->n_tokens);
    if (c->config.state_bytes) check_state(c, seq);
}

uint64_t kvt_hash(struct kv *c, int seq, size_t index) {
    const struct kv_seq *s = &c->seq[seq];
    const struct kv_layout *l = &c->layout;
    size_t i = kv_seq_find_index(s, index);
    if (i == s->n_runs || s->run[i].index > index) return 0;
    uint32_t cell = s->run[i].cell + (uint32_t)(index - s->run[i].index);
    const uint8_t *block = c->arena.base + cell / KV_BLOCK * l->block_bytes;
    uint64_t h = 1;
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
        for (uint32_t head = 0; head < KVT_HEADS; head++) {
            const uint8_t *k =
                block + layer * l->layer_bytes + head * l->k_head_bytes + cell % KV_BLOCK * l->k_row_bytes;
            const uint8_t *v =
                block + layer * l->layer_bytes + l->v_base + head * l->v_head_bytes + cell % KV_BLOCK * l->v_row_bytes;
            h = hash_bytes(k, l->k_row_bytes, h);
            h = hash_bytes(v, l->v_row_bytes, h);
        }
    return h;
}
