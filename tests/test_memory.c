/* The conformance tests of memories: what every one must do that stands behind kv/kv.h, the built-in and plug-ins alike.
 *
 *     make check-plugin PLUGIN=file.so      # one plug-in
 *     build/tests/test_memory               # the default memory and the example
 *
 * They ask only what the cache's users rely on: which tokens are live, where they stand, what is shown of them, that what fails has changed
 * nothing. Which tokens leave at the bound is the memory's own business, as long as what must stay does. What a memory's flags say
 * that it cannot do is not asked of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/buf.h"
#include "kv/kv_memory.h"
#include "tests/support_kv.h"

static const char *plugin; /* NULL: the default memory */

static struct kv_config config(uint32_t bound) {
    struct kv_config g = kvt_config(bound, "f32");
    g.plugin = plugin;
    return g;
}

/* The memory must be the one that was asked for. */
static struct kv *open(const struct kv_config *g) {
    struct kv *c = kvt_open(g);
    struct kv_event ev[4];
    if (plugin && c->memory == &kv_memory_default) {
        size_t n = kv_events(c, 0, ev, 4);
        fail_msg("%s", n ? ev[n - 1].reason : "the plug-in leaves the cache to the default memory");
    }
    return c;
}

static bool can(const struct kv *c, uint32_t flag) { return c->memory->flags & flag; }

/* ---- what is shown ------------------------------------------------------------------------------------------- */

/* Whether token number index of the conversation has left. */
static bool has_left(struct kv *c, int seq, size_t index) {
    const struct kv_range *left;
    size_t n = kv_left(c, seq, &left);
    for (size_t i = 0; i < n; i++)
        if (index >= left[i].first && index < left[i].first + left[i].n) return true;
    return false;
}

static void check_row(const struct kv_layout *l, const struct kv_span *s, uint32_t i, bool value, int32_t token, int64_t stored) {
    float want[KVT_ROW], got[KVT_DIM];
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++) {
        kvt_row(token, stored, layer, value, want);
        const uint8_t *at = s->block + layer * l->layer_bytes + (value ? l->v_base : 0) + (s->first + i) * (value ? l->v_row_bytes : l->k_row_bytes);
        for (uint32_t h = 0; h < KVT_HEADS; h++) {
            const struct num_type *type = value ? l->type_v : l->type_k;
            type->to_f32(at + h * (value ? l->v_head_bytes : l->k_head_bytes), got, KVT_DIM);
            assert_memory_equal(got, want + h * KVT_DIM, sizeof got);
        }
    }
}

/* Queries of zeros weigh all cells alike, so what comes out is the mean of the values. */
static void check_attention(const struct kv_view *v, const struct kv_batch *b) {
    float q[KVT_ROW] = {0}, out[KVT_ROW];
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++) {
        v->attend(v, &(struct kv_queries){layer, KVT_HEADS, 1, b->pos, 1, q, KVT_ROW, out, KVT_ROW});
        for (int i = 0; i < KVT_ROW; i++) assert_true(isfinite(out[i]) && out[i] >= -8.5f && out[i] <= 8.5f);
    }
}

/* Puts one more token on its way, looks at what attention would see, and takes it back: all live tokens in order, the new one last, with the
 * rows that were written, unless the memory stores them in its own way. */
static void check(struct kv *c, int seq) {
    struct kv_batch b;
    struct kv_view v;
    struct kv_stats s;
    int32_t token = 77;
    const int32_t *all;
    assert_int_equal(kv_begin(c, seq, &token, 1, SIZE_MAX, &b, NULL), 0);
    kv_get_view(c, &b, &v);
    size_t n_all = kv_tokens(c, seq, &all), at = 0, seen = 0;
    bool plain = c->memory->write == kv_memory_default.write;
    int64_t before = -1;
    for (size_t i = 0; i < v.n_spans; i++) {
        assert_true(v.span[i].first + v.span[i].n <= KV_BLOCK && v.span[i].rot < v.n_offsets);
        for (uint32_t k = 0; k < v.span[i].n; k++, seen++) {
            int64_t pos = v.span[i].pos + k;
            assert_true(pos > before);
            before = pos;
            while (at < n_all && has_left(c, seq, at)) at++;
            if (at == n_all) {
                assert_int_equal(pos, b.pos); /* the new one, last */
                continue;
            }
            if (plain && !v.attend) {
                check_row(kv_get_layout(c), &v.span[i], k, false, all[at], pos - v.offset[v.span[i].rot]);
                check_row(kv_get_layout(c), &v.span[i], k, true, all[at], pos - v.offset[v.span[i].rot]);
            }
            at++;
        }
    }
    assert_int_equal(at, n_all);
    assert_int_equal(seen, v.n_cells);
    if (v.attend) check_attention(&v, &b);
    kv_abandon(c, &b);
    kv_get_stats(c, &s);
    assert_true(s.used <= s.bound && s.used <= s.reserved && s.committed <= s.bound);
    assert_string_equal(s.memory, c->memory->name);
}

static size_t count_live(struct kv *c, int seq) {
    const int32_t *all;
    size_t n = kv_tokens(c, seq, &all), live = 0;
    for (size_t i = 0; i < n; i++) live += !has_left(c, seq, i);
    return live;
}

static void append(struct kv *c, int seq, int32_t from, int n) {
    for (int i = 0; i < n; i++) assert_int_equal(kvt_append(c, seq, from + i, NULL), 0);
}

/* ---- the tests ----------------------------------------------------------------------------------------------- */

static void a_memory_opens_and_closes_again_and_again(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct kv_config g = config(1000);
        struct kv *c = open(&g);
        append(c, 0, 0, i);
        kv_close(c);
    }
}

static void tokens_are_shown_in_order_while_the_cache_grows(void **state) {
    (void)state;
    struct kv_config g = config(2000);
    struct kv *c = open(&g);
    int32_t token[300];
    for (int i = 0; i < 300; i++) token[i] = i * 3;
    append(c, 0, 0, 200);
    check(c, 0);
    for (uint32_t n = 1, at = 200; at + n < 1500; at += n, n = n * 2 < 300 ? n * 2 : 299) {
        const int32_t *all;
        struct kv_batch b;
        assert_int_equal(kv_begin(c, 0, token, n, SIZE_MAX, &b, NULL), 0);
        assert_int_equal(b.pos, at);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t layer = 0; layer < KVT_LAYERS; layer++) {
                float k[KVT_ROW], v[KVT_ROW];
                kvt_row(token[i], b.pos + i, layer, false, k);
                kvt_row(token[i], b.pos + i, layer, true, v);
                kv_write(c, &b, layer, i, i + 1, k, KVT_ROW, v, KVT_ROW);
            }
        kv_finish(c, &b);
        assert_int_equal(kv_tokens(c, 0, &all), at + n);
        check(c, 0);
    }
    kv_close(c);
}

static void what_is_abandoned_was_never_there(void **state) {
    (void)state;
    struct kv_config g = config(1000);
    struct kv *c = open(&g);
    struct kv_batch b;
    int32_t token[9] = {0};
    append(c, 0, 0, 100);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(kv_begin(c, 0, token, 9, SIZE_MAX, &b, NULL), 0);
        kv_abandon(c, &b);
    }
    assert_int_equal(kv_seq_pos_max(c, 0), 99);
    assert_int_equal(count_live(c, 0), 100);
    check(c, 0);
    kv_close(c);
}

static void what_is_cut_off_is_gone_and_the_rest_stays(void **state) {
    (void)state;
    struct kv_config g = config(1000);
    struct kv *c = open(&g);
    append(c, 0, 0, 600);
    if (!can(c, KV_CAN_TRIM)) {
        kv_close(c);
        return;
    }
    assert_true(kv_seq_rm(c, 0, 500, -1));
    assert_int_equal(count_live(c, 0), 500);
    check(c, 0);
    append(c, 0, 9000, 50);
    check(c, 0);
    assert_true(kv_seq_rm(c, 0, 100, 200)); /* from the middle */
    assert_int_equal(count_live(c, 0), 450);
    check(c, 0);
    assert_true(kv_seq_rm(c, -1, -1, -1));
    assert_int_equal(kv_seq_pos_max(c, 0), -1);
    check(c, 0);
    kv_close(c);
}

static void a_copy_and_what_it_was_made_of_live_apart(void **state) {
    (void)state;
    struct kv_config g = config(2000);
    struct kv *c = open(&g);
    append(c, 0, 0, 300);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    check(c, 1);
    append(c, 1, 5000, 40);
    append(c, 0, 7000, 70);
    check(c, 0);
    check(c, 1);
    if (can(c, KV_CAN_TRIM)) assert_true(kv_seq_rm(c, 0, 10, -1));
    check(c, 1);
    assert_int_equal(count_live(c, 1), 340);
    kv_seq_keep(c, 1);
    assert_int_equal(kv_seq_pos_max(c, 0), -1);
    assert_int_equal(count_live(c, 1), 340);
    check(c, 1);
    kv_close(c);
}

static void positions_move_and_divide(void **state) {
    (void)state;
    struct kv_config g = config(1000);
    struct kv *c = open(&g);
    append(c, 0, 0, 64);
    if (can(c, KV_CAN_SHIFT)) {
        assert_int_equal(kv_seq_add(c, 0, -1, -1, 64, NULL), 0);
        assert_int_equal(kv_seq_pos_min(c, 0), 64);
        assert_int_equal(kv_seq_pos_max(c, 0), 127);
        assert_int_equal(kv_seq_add(c, 0, -1, -1, -64, NULL), 0);
        assert_int_equal(kv_seq_pos_max(c, 0), 63);
        assert_int_equal(count_live(c, 0), 64);
    }
    kv_close(c);
}

/* A conversation five times as long as the bound: what must stay stays, and it goes on. */
static void beyond_the_bound_what_must_stay_stays(void **state) {
    (void)state;
    static const enum kv_evict modes[] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE, KV_EVICT_RESEED};
    enum { BOUND = 256, KEEP = 10, TURN = 30, TURNS = 43 };
    static int32_t token[KEEP + TURN * TURNS];
    static struct kv_turn turn[TURNS];
    for (size_t i = 0; i < sizeof token / sizeof *token; i++) token[i] = (int32_t)i;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        struct kv_config g = config(BOUND);
        struct kv_plan plan;
        struct kv_stats s;
        struct err e = {0};
        g.evict = modes[m];
        struct kv *c = open(&g);
        for (size_t n = 1; n <= TURNS; n++) {
            turn[n - 1] = (struct kv_turn){KEEP + (n - 1) * TURN, TURN, n == 2};
            struct kv_prompt p = {token, KEEP + n * TURN, KEEP, turn, n, 1};
            if (kvt_prompt(c, 0, &p, &plan, &e)) fail_msg("turn %zu under %s: %s", n, kv_evict_name(modes[m]), e.text);
            assert_true(count_live(c, 0) <= BOUND);
            for (size_t i = 0; i < KEEP; i++) assert_false(has_left(c, 0, i));
            for (size_t i = 0; n > 1 && i < TURN && modes[m] != KV_EVICT_SLIDE; i++) assert_false(has_left(c, 0, turn[1].first + i));
            for (size_t i = 0; i < TURN; i++) assert_false(has_left(c, 0, turn[n - 1].first + i));
        }
        kv_get_stats(c, &s);
        assert_true(s.evicted_tokens >= KEEP + TURN * TURNS - BOUND);
        check(c, 0);
        kv_close(c);
    }
}

static void a_full_cache_that_stops_is_left_as_it_was(void **state) {
    (void)state;
    struct kv_config g = config(64);
    struct err e = {0};
    g.evict = KV_EVICT_STOP;
    struct kv *c = open(&g);
    append(c, 0, 0, 63);
    check(c, 0);
    append(c, 0, 63, 1);
    assert_int_equal(kvt_append(c, 0, 64, &e), ERR_CONTEXT);
    assert_int_equal(count_live(c, 0), 64);
    kv_close(c);
}

static void a_snapshot_brings_back_what_was_there_or_is_refused(void **state) {
    (void)state;
    char path[] = "/tmp/kvetch-memory-XXXXXX";
    struct kv_config g = config(1000);
    struct kv_snapshot_info info = {.model_fingerprint = 1, .rope_fingerprint = 2};
    struct err e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct kv *c = open(&g);
    append(c, 0, 0, 400);
    int rc = kv_save(c, 0, path, &info, NULL, &e);
    if (can(c, KV_EXACT_RESTORE)) {
        assert_int_equal(rc, 0);
        append(c, 0, 4000, 20);
        assert_int_equal(kv_load(c, 0, path, &info, NULL, &e), 0);
        assert_int_equal(count_live(c, 0), 400);
        check(c, 0);
        struct kv *other = open(&g);
        assert_int_equal(kv_load(other, 0, path, &info, NULL, &e), 0);
        assert_int_equal(count_live(other, 0), 400);
        check(other, 0);
        append(other, 0, 4000, 20);
        check(other, 0);
        kv_close(other);
        info.model_fingerprint = 9;
        assert_int_equal(kv_load(c, 0, path, &info, NULL, &e), ERR_FILE);
        assert_int_equal(count_live(c, 0), 400);
        check(c, 0);
    } else {
        assert_int_equal(rc, ERR_USAGE);
        check(c, 0);
    }
    kv_close(c);
    unlink(path);
}

static int run(const char *path) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_memory_opens_and_closes_again_and_again),
        cmocka_unit_test(tokens_are_shown_in_order_while_the_cache_grows),
        cmocka_unit_test(what_is_abandoned_was_never_there),
        cmocka_unit_test(what_is_cut_off_is_gone_and_the_rest_stays),
        cmocka_unit_test(a_copy_and_what_it_was_made_of_live_apart),
        cmocka_unit_test(positions_move_and_divide),
        cmocka_unit_test(beyond_the_bound_what_must_stay_stays),
        cmocka_unit_test(a_full_cache_that_stops_is_left_as_it_was),
        cmocka_unit_test(a_snapshot_brings_back_what_was_there_or_is_refused),
    };
    plugin = path;
    return cmocka_run_group_tests_name(path ? path : "default", tests, NULL, NULL);
}

int main(int argc, char **argv) {
    struct buf example = {0};
    if (argc > 1) {
        buf_printf(&example, "%s%s", strchr(argv[1], '/') ? "" : "./", argv[1]);
    } else {
        const char *slash = strrchr(argv[0], '/');
        buf_printf(&example, "%.*s/plugins/heavy.so", slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
    }
    int failed = argc > 1 ? 0 : run(NULL);
    failed += run(buf_text(&example));
    buf_free(&example);
    return failed;
}
