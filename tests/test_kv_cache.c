/* Tests of kv/: opening, micro-batches, what attention is shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
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
    g = kvt_config(100, "f16");
    g.evict = KV_EVICT_RESEED;
    assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "reseed"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_enter_across_growths_and_keep_their_rows),
        cmocka_unit_test(a_view_holds_the_batch_last_and_never_crosses_a_block),
        cmocka_unit_test(an_abandoned_batch_leaves_no_trace),
        cmocka_unit_test(a_bound_of_131072_cells_opens_with_one_block),
        cmocka_unit_test(impossible_settings_are_refused_with_the_least_possible_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
