/* Tests of kv/: opening, micro-batches, what attention is shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support_kv.h"

static void tokens_enter_across_growths_and_keep_their_rows(void **state) {
    (void)state;
    struct kv_config g = kvt_config(2000, "f16");
    struct kv *c = kvt_open(&g);
    for (int i = 0; i < 2000; i++) assert_int_equal(kvt_append(c, 0, i * 7, NULL), 0);
    kvt_check(c, 0);
    assert_int_equal(c->seq[0].n_runs, 1);
    assert_int_equal(kv_seq_pos_max(c, 0), 1999);
    kv_close(c);
}

static void a_view_holds_the_batch_last_and_never_crosses_a_block(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f32");
    struct kv *c = kvt_open(&g);
    int32_t token[600] = {0};
    assert_int_equal(kvt_feed(c, 0, token, 0, 300, NULL), 0);
    struct kv_batch b;
    struct kv_view v;
    assert_int_equal(kv_begin(c, 0, token, 300, SIZE_MAX, &b, NULL), 0);
    assert_int_equal(b.pos, 300);
    kv_get_view(c, &b, &v);
    assert_int_equal(v.n_cells, 600);
    assert_int_equal(v.n_offsets, 1);
    assert_int_equal(v.offset[0], 0);
    int64_t pos = 0;
    for (size_t i = 0; i < v.n_spans; i++) {
        const struct kv_span *s = &v.span[i];
        assert_int_equal(s->pos, pos);
        assert_true(s->first + s->n <= KV_BLOCK);
        pos += s->n;
    }
    assert_int_equal(pos, 600);
    kv_abandon(c, &b);
    assert_int_equal(kv_seq_pos_max(c, 0), 299);
    assert_int_equal(c->cells.used, 300);
    kv_close(c);
}

static void an_abandoned_batch_leaves_no_trace(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1000, "f16");
    struct kv *c = kvt_open(&g);
    struct kv_batch b;
    int32_t a[3] = {1, 2, 3}, z[3] = {7, 8, 9};
    assert_int_equal(kv_begin(c, 0, a, 3, SIZE_MAX, &b, NULL), 0);
    kv_abandon(c, &b);
    assert_int_equal(kv_seq_pos_max(c, 0), -1);
    assert_int_equal(kvt_feed(c, 0, z, 0, 3, NULL), 0);
    const int32_t *token;
    assert_int_equal(kv_tokens(c, 0, &token), 3);
    assert_memory_equal(token, z, sizeof z);
    kvt_check(c, 0);
    kv_close(c);
}

static void a_bound_of_131072_cells_opens_with_one_block(void **state) {
    (void)state;
    struct kv_config g = kvt_config(131072, "f16");
    g.n_layers = 16; /* the shape of a 1B model */
    g.n_kv_heads = 8;
    g.head_dim_k = g.head_dim_v = 64;
    struct kv *c = kvt_open(&g);
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.committed, 256);
    assert_int_equal(s.committed_bytes, 8u << 20);
    assert_int_equal(s.cell_bytes, 32768);
    assert_int_equal(s.touched_bytes, 0);
    assert_int_equal(s.bound, 131072);
    kv_close(c);
}

struct watch {
    struct kv *c;
    atomic_bool stop;
    uint32_t bad;
};

static void *watch_stats(void *arg) {
    struct watch *w = arg;
    while (!atomic_load(&w->stop)) {
        struct kv_stats s;
        kv_get_stats(w->c, &s);
        w->bad += s.used > s.committed || s.committed > s.reserved || s.used_bytes != s.used * s.cell_bytes;
    }
    return NULL;
}

static void another_thread_sees_consistent_figures(void **state) {
    (void)state;
    struct kv_config g = kvt_config(3000, "f16");
    struct watch w = {.c = kvt_open(&g)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch_stats, &w), 0);
    for (int i = 0; i < 6000; i++) {
        assert_int_equal(kvt_append(w.c, 0, i, NULL), 0);
        if (i % 1000 == 999) kv_clear(w.c, i % 2000 == 999);
    }
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(w.bad, 0);
    kv_close(w.c);
}

struct writer {
    struct kv *c;
    const struct kv_batch *b;
    const int32_t *token;
    uint32_t from, to;
};

static void *write_rows(void *arg) {
    struct writer *w = arg;
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
        for (uint32_t i = w->from; i < w->to; i++) {
            float k[KVT_ROW], v[KVT_ROW];
            kvt_row(w->token[i], w->b->pos + i, layer, false, k);
            kvt_row(w->token[i], w->b->pos + i, layer, true, v);
            kv_write(w->c, w->b, layer, i, i + 1, k, KVT_ROW, v, KVT_ROW);
        }
    return NULL;
}

static void several_threads_write_the_rows_of_one_batch(void **state) {
    (void)state;
    struct kv_config g = kvt_config(3000, "f16");
    struct kv *c = kvt_open(&g);
    int32_t token[600];
    for (int i = 0; i < 600; i++) token[i] = i;
    struct kv_batch b;
    assert_int_equal(kv_begin(c, 0, token, 600, SIZE_MAX, &b, NULL), 0);
    struct writer w[3];
    pthread_t thread[3];
    for (uint32_t i = 0; i < 3; i++) {
        w[i] = (struct writer){c, &b, token, i * 200, i * 200 + 200};
        assert_int_equal(pthread_create(&thread[i], NULL, write_rows, &w[i]), 0);
    }
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    kv_finish(c, &b);
    kvt_check(c, 0);
    kv_close(c);
}

static void random_cells_are_in_place_and_of_moderate_size(void **state) {
    (void)state;
    const char *type[2] = {"f16", "f32"};
    for (int t = 0; t < 2; t++) {
        struct kv_config g = kvt_config(9000, type[t]);
        struct kv *c = kvt_open(&g);
        assert_int_equal(kvt_append(c, 1, 5, NULL), 0);
        assert_int_equal(kv_fill_random(c, 0, 8500, 1, NULL), 0);
        kvt_check(c, 1);
        assert_int_equal(kv_seq_pos_max(c, 0), 8499);
        struct kv_view v;
        kv_get_view(c, &(struct kv_batch){.seq = 0}, &v);
        for (size_t s = 0; s < v.n_spans; s++)
            for (uint32_t k = 0; k < v.span[s].n; k++)
                for (int value = 0; value < 2; value++) {
                    float x[KVT_DIM];
                    const uint8_t *last = v.span[s].block + (KVT_LAYERS - 1) * c->layout.layer_bytes +
                                          (value ? c->layout.v_base + c->layout.v_head_bytes : c->layout.k_head_bytes);
                    c->layout.type_k->to_f32(last + (v.span[s].first + k) * c->layout.k_row_bytes, x, KVT_DIM);
                    for (int i = 0; i < KVT_DIM; i++) assert_true(fabsf(x[i]) < 2 && fabsf(x[i]) >= 1.0f / 128);
                }
        assert_int_equal(kv_fill_random(c, 0, 9000, 1, NULL), ERR_USAGE);
        kv_close(c);
    }
}

static void impossible_settings_are_refused_with_the_least_possible_value(void **state) {
    (void)state;
    struct kv_config g = kvt_config(31, "f16");
    struct kv *c;
    struct err e = {0};
    assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "32"));
    assert_null(c);
    g = kvt_config(100, "q4_0");
    assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_enter_across_growths_and_keep_their_rows),
        cmocka_unit_test(a_view_holds_the_batch_last_and_never_crosses_a_block),
        cmocka_unit_test(an_abandoned_batch_leaves_no_trace),
        cmocka_unit_test(a_bound_of_131072_cells_opens_with_one_block),
        cmocka_unit_test(another_thread_sees_consistent_figures),
        cmocka_unit_test(several_threads_write_the_rows_of_one_batch),
        cmocka_unit_test(random_cells_are_in_place_and_of_moderate_size),
        cmocka_unit_test(impossible_settings_are_refused_with_the_least_possible_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
