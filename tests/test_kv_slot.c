/* Tests of where tokens go: finding cells, placing several micro-batches or none, and that the place does not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/hash.h"
#include "config/pool.h"
#include "kv/kv_slot.h"
#include "model/attention.h"
#include "tests/support_kv.h"

static void feed(struct kv *c, int seq, int n) {
    for (int i = 0; i < n; i++) assert_int_equal(kvt_append(c, seq, seq * 1000 + i, NULL), 0);
}

static void expect_cells(const uint32_t *cell, uint32_t n, uint32_t first) {
    for (uint32_t i = 0; i < n; i++) assert_int_equal(cell[i], first + i);
}

/* Cells 0..99 and 150..249 in use, 100..149 and 250..255 free. */
static struct kv *open_with_holes(uint32_t bound) {
    struct kv_config g = kvt_config(bound, "f16");
    struct kv *c = kvt_open(&g);
    feed(c, 0, 100);
    feed(c, 1, 50);
    feed(c, 2, 100);
    assert_true(kv_seq_rm(c, 1, -1, -1));
    assert_int_equal(c->cells.hint, 100);
    return c;
}

static void a_run_of_free_cells_is_searched_from_the_hint_and_wraps(void **state) {
    (void)state;
    struct kv *c = open_with_holes(256);
    uint32_t cell[256];
    assert_true(kv_slot_find(c, 3, 50, true, cell));
    expect_cells(cell, 50, 100);
    assert_true(kv_slot_find(c, 3, 6, true, cell)); /* behind the last ones found */
    expect_cells(cell, 6, 250);
    assert_int_equal(c->cells.hint, 0);
    c->cells.hint = 200;
    assert_true(kv_slot_find(c, 3, 7, true, cell)); /* the end has 6 */
    expect_cells(cell, 7, 100);
    c->cells.hint = 120;
    assert_true(kv_slot_find(c, 3, 40, true, cell)); /* begins before the hint, and goes on past it */
    expect_cells(cell, 40, 100);
    c->cells.hint = 120;
    assert_false(kv_slot_find(c, 3, 51, true, cell));
    assert_int_equal(c->cells.hint, 120);
    assert_true(kv_seq_rm(c, 0, -1, 10));
    c->cells.hint = 249;
    assert_true(kv_slot_find(c, 3, 10, true, cell)); /* a run does not go on at the beginning */
    expect_cells(cell, 10, 0);
    kv_close(c);
}

static void scattered_cells_are_the_free_ones_from_the_hint_on(void **state) {
    (void)state;
    struct kv *c = open_with_holes(256);
    uint32_t cell[256];
    c->cells.hint = 107;
    assert_false(kv_slot_find(c, 3, 57, false, cell));
    assert_int_equal(c->cells.hint, 107);
    assert_true(kv_slot_find(c, 3, 56, false, cell));
    expect_cells(cell, 43, 107);
    expect_cells(cell + 43, 6, 250);
    expect_cells(cell + 49, 7, 100);
    assert_int_equal(c->cells.hint, 107);
    assert_int_equal(c->cells.used, 200); /* found is not taken */
    kv_close(c);
}

static void compute(struct kv *c, struct kv_batch *b, const int32_t *token) {
    float k[KVT_ROW], v[KVT_ROW];
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
        for (uint32_t i = 0; i < b->n; i++) {
            kvt_row(token[i], b->pos + i, layer, false, k);
            kvt_row(token[i], b->pos + i, layer, true, v);
            kv_write(c, b, layer, i, i + 1, k, KVT_ROW, v, KVT_ROW);
        }
    kv_finish(c, b);
}

static void micro_batches_are_placed_together_and_seen_one_by_one(void **state) {
    (void)state;
    struct kv *c = open_with_holes(1000);
    int32_t token[300];
    for (int i = 0; i < 300; i++) token[i] = i * 3;
    struct kv_ubatch u[4] = {{1, token, 30, SIZE_MAX}, {2, token, 5, SIZE_MAX}, {1, token + 30, 200, 30}, {3, token, 60, 0}};
    struct kv_batch b;
    assert_int_equal(kv_prepare(c, u, 4, false, NULL), 0);
    assert_int_equal(c->cells.used, 200);
    assert_false(kv_seq_rm(c, -1, -1, -1)); /* while they wait nothing else is done */
    int64_t first[4] = {0, 100, 30, 0};
    uint32_t used = 200;
    for (int i = 0; i < 4; i++) {
        struct kv_view v;
        assert_true(kv_slot_next(c, &b));
        assert_int_equal(b.seq, u[i].seq);
        assert_int_equal(b.pos, first[i]);
        assert_int_equal(c->cells.used, used);
        assert_int_equal(kv_seq_pos_max(c, b.seq), first[i] - 1);
        kv_get_view(c, &b, &v);
        assert_int_equal(v.n_cells, first[i] + b.n);
        compute(c, &b, u[i].token);
        used += u[i].n;
    }
    assert_false(c->running.on);
    for (int s = 0; s < 4; s++) kvt_check(c, s);
    assert_int_equal(kv_seq_gaps(c, 1), 0);
    assert_int_equal(kv_seq_pos_max(c, 1), 229);
    kv_close(c);
}

/* What a refusal must leave as it was. */
static uint64_t fingerprint(const struct kv *c) {
    uint64_t h = hash_bytes(c->cells.owner, c->cells.n * sizeof *c->cells.owner, c->cells.hint);
    for (int s = 0; s < 4; s++) {
        const struct kv_seq *q = &c->seq[s];
        h = hash_bytes(&q->n_tokens, sizeof q->n_tokens, h + q->n_cells);
        if (q->n_runs) h = hash_bytes(q->run, q->n_runs * sizeof *q->run, h);
        if (q->n_tokens) h = hash_bytes(q->token, q->n_tokens * sizeof *q->token, h);
    }
    return h + c->arena.n_blocks + c->cells.used;
}

static void one_that_does_not_fit_takes_all_back(void **state) {
    (void)state;
    struct kv *c = open_with_holes(1000);
    static int32_t token[900];
    uint64_t before = fingerprint(c);
    struct kv_ubatch u[3] = {{1, token, 300, SIZE_MAX}, {3, token, 500, SIZE_MAX}, {1, token, 1, SIZE_MAX}};
    assert_int_equal(kv_prepare(c, u, 3, false, NULL), ERR_CONTEXT); /* 801 beside 200 */
    assert_true(fingerprint(c) == before);
    u[2].first = 299; /* it goes on behind the first one's 300 */
    assert_int_equal(kv_prepare(c, u, 3, false, NULL), ERR_USAGE);
    assert_true(fingerprint(c) == before);
    c->arena.fail_in = 2; /* a growth of the second is refused, and what it then asks for less */
    u[1].n = 499;
    c->config.grow = KV_GROW_LINEAR;
    c->config.step_cells = KV_BLOCK;
    assert_int_equal(kv_prepare(c, u, 2, false, NULL), ERR_MEMORY);
    assert_true(fingerprint(c) == before);
    assert_false(c->running.on);
    c->arena.fail_in = 0;
    assert_int_equal(kv_prepare(c, u, 2, false, NULL), 0);
    kv_close(c);
}

static void a_cancel_leaves_what_was_finished(void **state) {
    (void)state;
    struct kv *c = open_with_holes(1000);
    int32_t token[40] = {0};
    struct kv_ubatch u[3] = {{1, token, 10, SIZE_MAX}, {1, token, 10, SIZE_MAX}, {3, token, 10, SIZE_MAX}};
    struct kv_batch b;
    assert_int_equal(kv_prepare(c, u, 3, false, NULL), 0);
    assert_true(kv_slot_next(c, &b));
    compute(c, &b, token);
    assert_true(kv_slot_next(c, &b));
    kv_abandon(c, &b);
    assert_false(c->running.on);
    assert_int_equal(c->cells.used, 210);
    assert_int_equal(kv_seq_pos_max(c, 1), 9);
    assert_int_equal(kv_seq_pos_max(c, 3), -1);
    kvt_check(c, 1);
    kv_close(c);
}

static void a_run_that_no_hole_holds_comes_behind_the_last_cell(void **state) {
    (void)state;
    struct kv *c = open_with_holes(350);
    static int32_t token[100];
    struct kv_batch b;
    struct kv_ubatch u[2] = {{1, token, 40, SIZE_MAX}, {3, token, 80, SIZE_MAX}};
    assert_int_equal(kv_prepare(c, u, 2, true, NULL), 0);
    assert_true(kv_slot_next(c, &b));
    expect_cells(b.cell, 40, 100);
    compute(c, &b, token);
    assert_true(kv_slot_next(c, &b));
    expect_cells(b.cell, 80, 250);
    compute(c, &b, token);
    uint64_t before = fingerprint(c);
    u[0].n = 10;
    u[1].n = 21; /* 30 are free, 10 and 20 of them side by side */
    assert_int_equal(kv_prepare(c, u, 2, true, NULL), ERR_CONTEXT);
    assert_true(fingerprint(c) == before);
    u[1].n = 20;
    c->cells.hint = 0; /* the first that is long enough from the hint on is taken */
    assert_int_equal(kv_prepare(c, u, 2, true, NULL), 0);
    kv_close(c);
}

static void free_cells_that_are_too_scattered_for_a_run_make_the_cache_grow(void **state) {
    (void)state;
    struct kv *c = open_with_holes(400);
    static int32_t token[60];
    struct kv_batch b;
    struct kv_ubatch u = {1, token, 51, SIZE_MAX};
    assert_int_equal(c->cells.n, 256);
    assert_int_equal(kv_prepare(c, &u, 1, true, NULL), 0); /* 56 are free, 50 of them side by side */
    assert_true(kv_slot_next(c, &b));
    expect_cells(b.cell, 51, 250);
    compute(c, &b, token);
    kv_close(c);
}

static void gaps_are_a_callers_own_and_told_of(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    feed(c, 0, 100);
    assert_int_equal(kv_seq_gaps(c, 0), 0);
    assert_true(kv_seq_rm(c, 0, 20, 30));
    assert_true(kv_seq_rm(c, 0, 50, 51));
    assert_int_equal(kv_seq_gaps(c, 0), 11);
    feed(c, 0, 20);
    assert_int_equal(kv_seq_gaps(c, 0), 11); /* they stay open */
    assert_int_equal(kv_seq_pos_max(c, 0), 119);
    assert_true(kv_seq_rm(c, 0, -1, 40));
    assert_int_equal(kv_seq_gaps(c, 0), 1); /* what goes at an end leaves none */
    assert_int_equal(kv_seq_pos_min(c, 0), 40);
    kv_close(c);
}

/* ---- the same bits ---- */

enum { N = 700, N_ROWS = 3, HEADS = 4, DIM = 64 };

static const double freq[DIM / 2] = {1.0, 0.5, 0.1, 0.02};

/* Attention of the last rows over N cells that were placed some way. */
static void attend(struct kv *c, int seq, float *out) {
    struct pool *pool;
    struct attention *a;
    struct kv_view v;
    float q[N_ROWS][HEADS * DIM];
    struct attention_shape shape = {HEADS, KVT_HEADS, DIM, DIM, 0.125f, c->config.rope};
    for (int i = 0; i < N_ROWS * HEADS * DIM; i++) q[i / (HEADS * DIM)][i % (HEADS * DIM)] = (float)(i * 37 % 101) / 50 - 1;
    kv_get_view(c, &(struct kv_batch){.seq = seq}, &v);
    assert_int_equal(v.n_cells, N);
    assert_int_equal(pool_open(&pool, 2, NULL), 0);
    assert_int_equal(attention_open(&a, pool, &shape, N_ROWS, NULL), 0);
    assert_int_equal(attention_reserve(a, v.n_cells, v.n_offsets, NULL), 0);
    attention_run(a, &v, kv_get_layout(c), 1, q[0], HEADS * DIM, N - N_ROWS, N_ROWS, out, HEADS * DIM);
    attention_close(a);
    pool_close(pool);
}

/* Rows of `seq` for n tokens from `from` on, in as few micro-batches as asked; between them another sequence's cells. */
static void fill(struct kv *c, int seq, uint32_t step, bool contiguous, int between) {
    static const int32_t token[N];
    float k[KVT_HEADS * DIM], v[KVT_HEADS * DIM];
    struct kv_batch b;
    for (uint32_t from = 0; from < N; from += step) {
        struct kv_ubatch u = {seq, token, N - from < step ? N - from : step, SIZE_MAX};
        assert_int_equal(kv_prepare(c, &u, 1, contiguous, NULL), 0);
        assert_true(kv_slot_next(c, &b));
        for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
            for (uint32_t i = 0; i < b.n; i++) {
                uint64_t h = hash_bytes(&(uint64_t){from + i}, 8, layer);
                for (int d = 0; d < KVT_HEADS * DIM; d++) k[d] = (float)(h >> d % 40 & 1023) / 512 - 1, v[d] = (float)(h >> d % 37 & 1023) / 256 - 2;
                kv_write(c, &b, layer, i, i + 1, k, KVT_HEADS * DIM, v, KVT_HEADS * DIM);
            }
        kv_finish(c, &b);
        if (between < 0) continue;
        u = (struct kv_ubatch){between, token, 1 + from / step % 3, SIZE_MAX};
        assert_int_equal(kv_prepare(c, &u, 1, false, NULL), 0);
        assert_true(kv_slot_next(c, &b));
        kv_finish(c, &b);
        if (from / step % 4 == 3) assert_true(kv_seq_rm(c, between, 0, 2)); /* and holes come back */
    }
}

static struct kv *open_cache(const char *type, uint32_t streams) {
    struct kv_config g = kvt_config(1400, type);
    g.head_dim_k = g.head_dim_v = DIM;
    g.rope = (struct kv_rope){.n_rot = DIM, .magnitude = 1, .freq = freq};
    g.streams = streams;
    return kvt_open(&g);
}

static void the_bits_of_attention_are_the_same_wherever_cells_lie(void **state) {
    (void)state;
    static const char *const types[] = {"f16", "f32", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"};
    static const struct {
        uint32_t streams, step;
        bool contiguous;
        int between;
        bool copy;
    } how[] = {{0, 512, true, -1, false}, {0, 512, false, -1, false}, {0, 7, false, 1, false}, {0, 13, true, 1, false},
               {3, 512, false, -1, false}, {3, 7, false, 1, false},  {3, 31, true, 1, false}, {0, 7, false, 1, true}, {3, 7, false, 1, true}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        float first[N_ROWS * HEADS * DIM], out[N_ROWS * HEADS * DIM];
        for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
            struct kv *c = open_cache(types[t], how[i].streams);
            fill(c, 0, how[i].step, how[i].contiguous, how[i].between);
            if (i == 0) assert_int_equal(c->seq[0].n_runs, 1);
            if (i == 2) assert_true(c->seq[0].n_runs > 50);
            if (how[i].copy) assert_int_equal(kv_seq_cp(c, 0, 2, -1, -1, NULL), 0);
            attend(c, how[i].copy ? 2 : 0, i ? out : first);
            if (i && memcmp(out, first, sizeof out)) fail_msg("%s: other bits in case %zu", types[t], i);
            kv_close(c);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_of_free_cells_is_searched_from_the_hint_and_wraps),
        cmocka_unit_test(scattered_cells_are_the_free_ones_from_the_hint_on),
        cmocka_unit_test(micro_batches_are_placed_together_and_seen_one_by_one),
        cmocka_unit_test(one_that_does_not_fit_takes_all_back),
        cmocka_unit_test(a_cancel_leaves_what_was_finished),
        cmocka_unit_test(a_run_that_no_hole_holds_comes_behind_the_last_cell),
        cmocka_unit_test(free_cells_that_are_too_scattered_for_a_run_make_the_cache_grow),
        cmocka_unit_test(gaps_are_a_callers_own_and_told_of),
        cmocka_unit_test(the_bits_of_attention_are_the_same_wherever_cells_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
