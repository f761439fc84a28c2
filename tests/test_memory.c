/* The conformance tests of memories: what every one must do that stands behind kv/kv.h, the built-in and plug-ins alike.
 *
 *     make check-plugin PLUGIN=file.so      # one plug-in
 *     build/tests/test_memory               # the default memory and those of tests/plugins
 *
 * They ask only what the cache's users rely on: which tokens are live, where they stand, what is shown of them, that what fails has changed
 * nothing; and what a memory relies on: that it is told of each cell's end and of each copy. Which tokens leave at the bound is the memory's own
 * business, as long as what must stay does. What a memory's flags say that it cannot do is not asked of it. */
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
#include "tests/support_watch.h"

enum { HEADS = 2 * KVT_HEADS, NEW = 3 };

static const char *plugin; /* NULL: the default memory */
static bool exact;         /* it attends to what was written, and to nothing less */

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

/* A cell that is shown, and the token in it. */
struct shown {
    int32_t token;
    int64_t pos, offset;
    int64_t written; /* the position that its key was written for: what is stored was turned from there */
};

static int64_t stored(const struct shown *x) { return x->pos - x->offset; }

/* What the cell holds. */
static void make_row(const struct kv *c, const struct shown *x, uint32_t layer, bool value, float *row) {
    float cs[KVT_DIM];
    kvt_row(x->token, x->written, layer, value, row);
    if (value || stored(x) == x->written) return;
    kv_rope_angles(&c->config.rope, stored(x) - x->written, cs);
    for (uint32_t h = 0; h < KVT_HEADS; h++) kv_rope_turn(&c->config.rope, cs, 1, row + h * KVT_DIM);
}

static void check_row(struct kv *c, const struct kv_span *s, uint32_t i, bool value, const struct shown *x, float most) {
    const struct kv_layout *l = kv_get_layout(c);
    float want[KVT_ROW], got[KVT_DIM];
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++) {
        make_row(c, x, layer, value, want);
        const uint8_t *at = s->block + layer * l->layer_bytes + (value ? l->v_base : 0) + (s->first + i) * (value ? l->v_row_bytes : l->k_row_bytes);
        for (uint32_t h = 0; h < KVT_HEADS; h++) {
            const struct num_type *type = value ? l->type_v : l->type_k;
            type->to_f32(at + h * (value ? l->v_head_bytes : l->k_head_bytes), got, KVT_DIM);
            for (uint32_t d = 0; d < KVT_DIM; d++) assert_true(fabsf(got[d] - want[h * KVT_DIM + d]) <= most);
        }
    }
}

/* What one head of the last of the cells gives, after all of them. */
static void naive_attention(const struct kv *c, const struct shown *x, size_t n, uint32_t layer, uint32_t head, const float *q, float *out) {
    static double weight[4096];
    const struct kv_rope *rope = &c->config.rope;
    double most = -INFINITY, total = 0;
    float row[KVT_ROW], turned[KVT_DIM], cs[KVT_DIM];
    uint32_t at = head / (HEADS / KVT_HEADS) * KVT_DIM;
    assert_true(n <= 4096);
    for (size_t i = 0; i < n; i++) {
        memcpy(turned, q, sizeof turned);
        kv_rope_angles(rope, x[n - 1].pos - x[i].offset, cs);
        kv_rope_turn(rope, cs, rope->magnitude, turned);
        make_row(c, &x[i], layer, false, row);
        weight[i] = 0;
        for (int d = 0; d < KVT_DIM; d++) weight[i] += (double)turned[d] * (double)row[at + (uint32_t)d];
        if (weight[i] > most) most = weight[i];
    }
    for (size_t i = 0; i < n; i++) total += weight[i] = exp(weight[i] - most);
    memset(out, 0, KVT_DIM * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        make_row(c, &x[i], layer, true, row);
        for (int d = 0; d < KVT_DIM; d++) out[d] += (float)(weight[i] / total) * row[at + (uint32_t)d];
    }
}

/* Attention by the memory itself, for the batch's n rows, all but the last in a run of their own. Queries of zeros weigh all cells alike, so what comes out is
 * a mean of values; a memory that is exact gives for others what its cells say. */
static void check_attention(struct kv *c, const struct kv_view *v, const struct kv_batch *b, const struct shown *x) {
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
        for (int zero = 0; zero < 2; zero++) {
            float q[NEW * HEADS * KVT_DIM] = {0}, out[NEW * HEADS * KVT_DIM], want[KVT_DIM];
            size_t stride = HEADS * KVT_DIM;
            for (size_t i = 0; i < sizeof q / sizeof *q && !zero; i++) q[i] = (float)((i * 7 + layer) % 11) / 50.0f - 0.1f;
            for (uint32_t from = 0, n; from < b->n; from += n) {
                struct kv_view part = *v;
                n = from + 1 < b->n ? b->n - 1 : 1;
                part.n_cells -= b->n - from - n;
                v->attend(&part, &(struct kv_queries){layer, HEADS, n, b->pos + from, 1, q + from * stride, stride, out + from * stride, stride});
            }
            for (size_t i = 0; i < b->n * stride; i++) assert_true(isfinite(out[i]) && out[i] >= -8.5f && out[i] <= 8.5f);
            for (uint32_t r = 0; r < b->n && exact; r++)
                for (uint32_t h = 0; h < HEADS; h++) {
                    naive_attention(c, x, v->n_cells - (b->n - 1 - r), layer, h, q + r * stride + h * KVT_DIM, want);
                    for (int d = 0; d < KVT_DIM; d++) assert_true(fabsf(out[r * stride + h * KVT_DIM + (size_t)d] - want[d]) < 1e-3f);
                }
        }
}

static void write_rows(struct kv *c, const struct kv_batch *b, const int32_t *token) {
    float k[KVT_ROW], v[KVT_ROW];
    for (uint32_t i = 0; i < b->n; i++)
        for (uint32_t layer = 0; layer < KVT_LAYERS; layer++) {
            kvt_row(token[i], b->pos + i, layer, false, k);
            kvt_row(token[i], b->pos + i, layer, true, v);
            kv_write(c, b, layer, i, i + 1, k, KVT_ROW, v, KVT_ROW);
        }
}

/* Puts some more tokens on their way, looks at what attention would see, and takes them back: all live tokens in order, the new ones last, with the
 * rows that were written, unless the memory stores them in its own way. moved: positions were changed by hand; each token is the one it was written for. */
static void check_cells(struct kv *c, int seq, bool moved) {
    static const int32_t token[NEW] = {77, 78, 79};
    static struct shown x[4096];
    struct kv_batch b;
    struct kv_view v;
    struct kv_stats s;
    const int32_t *all;
    size_t room = kv_batch_room(c, seq);
    assert_int_equal(kv_begin(c, seq, token, room < NEW ? (uint32_t)room : NEW, SIZE_MAX, &b, NULL), 0);
    write_rows(c, &b, token);
    kv_get_view(c, &b, &v);
    size_t n_all = kv_tokens(c, seq, &all), at = 0, seen = 0;
    bool plain = c->memory->write == kv_memory_default.write && !v.attend;
    for (size_t i = 0; i < v.n_spans; i++) {
        assert_true(v.span[i].first + v.span[i].n <= KV_BLOCK && v.span[i].rot < v.n_offsets);
        for (uint32_t k = 0; k < v.span[i].n; k++, seen++) {
            assert_true(seen < sizeof x / sizeof *x);
            while (at < n_all && has_left(c, seq, at)) at++;
            size_t fresh = at < n_all ? 0 : seen - (v.n_cells - b.n);
            x[seen] = (struct shown){at < n_all ? all[at] : token[fresh], v.span[i].pos + k, v.offset[v.span[i].rot], 0};
            x[seen].written = moved && at < n_all ? all[at] : stored(&x[seen]);
            at += at < n_all;
            assert_true(seen == 0 || x[seen].pos > x[seen - 1].pos || (moved && x[seen].pos == x[seen - 1].pos));
            if (seen >= v.n_cells - b.n) assert_int_equal(x[seen].pos, b.pos + (int64_t)fresh); /* the new ones, last */
            if (!plain) continue;
            check_row(c, &v.span[i], k, false, &x[seen], moved ? 1e-3f : 0);
            check_row(c, &v.span[i], k, true, &x[seen], moved ? 1e-3f : 0);
        }
    }
    assert_int_equal(at, n_all);
    assert_int_equal(seen, v.n_cells);
    if (v.attend) check_attention(c, &v, &b, x);
    kv_abandon(c, &b);
    kv_get_stats(c, &s);
    assert_true(s.used <= s.bound && s.used <= s.reserved && s.committed <= s.bound);
    assert_string_equal(s.memory, c->memory->name);
}

static void check(struct kv *c, int seq) { check_cells(c, seq, false); }

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
        write_rows(c, &b, token);
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
        check_cells(c, 0, true);
        assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
        assert_int_equal(kv_seq_div(c, 1, 80, -1, 4, NULL), ERR_USAGE); /* past their neighbours */
        assert_int_equal(kv_seq_div(c, 1, -1, -1, 4, NULL), 0);
        assert_int_equal(kv_seq_pos_min(c, 1), 16);
        assert_int_equal(kv_seq_pos_max(c, 1), 31);
        assert_int_equal(count_live(c, 1), 64);
        check_cells(c, 1, true);
        check_cells(c, 0, true); /* with which they were shared */
        assert_int_equal(kv_seq_add(c, 0, -1, -1, -64, NULL), 0);
        assert_int_equal(kv_seq_pos_max(c, 0), 63);
        assert_int_equal(count_live(c, 0), 64);
        assert_int_equal(kv_seq_add(c, 0, -1, -1, -10, NULL), 0); /* the first ten go */
        assert_int_equal(kv_seq_pos_max(c, 0), 53);
        check_cells(c, 0, true);
        check_cells(c, 1, true);
    } else {
        assert_int_equal(kv_seq_add(c, 0, -1, -1, 64, NULL), ERR_USAGE);
        assert_int_equal(kv_seq_div(c, 0, -1, -1, 2, NULL), ERR_USAGE);
    }
    check_cells(c, 0, true);
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

static void what_benchmarks_fill_in_is_written_to_the_memory(void **state) {
    (void)state;
    struct kv_config g = config(1000);
    struct kv *c = open(&g);
    struct kv_batch b;
    struct kv_view v;
    int32_t token[NEW] = {0};
    assert_int_equal(kv_fill_random(c, 0, 300, 1, NULL), 0);
    assert_int_equal(count_live(c, 0), 300);
    assert_int_equal(kv_begin(c, 0, token, 1, SIZE_MAX, &b, NULL), 0);
    write_rows(c, &b, token);
    kv_get_view(c, &b, &v);
    assert_int_equal(v.n_cells, 301);
    for (uint32_t layer = 0; layer < KVT_LAYERS && v.attend; layer++) {
        float q[HEADS * KVT_DIM] = {0}, out[HEADS * KVT_DIM], row[KVT_ROW];
        kvt_row(0, 300, layer, true, row);
        v.attend(&v, &(struct kv_queries){layer, HEADS, 1, b.pos, 1, q, HEADS * KVT_DIM, out, HEADS * KVT_DIM});
        for (uint32_t i = 0; i < HEADS * KVT_DIM; i++) /* not what a mean with 300 zeros would be */
            assert_true(fabsf(out[i] - row[i / (HEADS / KVT_HEADS * KVT_DIM) * KVT_DIM + i % KVT_DIM] / 301) > 1e-4f);
    }
    kv_abandon(c, &b);
    kv_close(c);
}

/* ---- what a memory is told of -------------------------------------------------------------------------------- */

static struct kv *open_watched(const struct kv_config *g) {
    struct kv *c = open(g);
    watch_open(c);
    return c;
}

static void compute(struct kv *c, int seq, int32_t *token, size_t n, int32_t first, uint64_t conversation) {
    struct kv_plan plan;
    struct err e = {0};
    for (size_t i = 0; i < n; i++) token[i] = first + (int32_t)i;
    struct kv_prompt p = {.token = token, .n_tokens = n, .conversation = conversation};
    kv_prompt_choose(c, seq, &p);
    watch_check(c);
    if (kvt_prompt(c, seq, &p, &plan, &e)) fail_msg("%s", e.text);
    watch_check(c);
}

static void rewinds_cuts_and_closings_are_told_of(void **state) {
    (void)state;
    static int32_t token[600];
    struct kv_config g = config(1000);
    struct kv *c = open_watched(&g);
    struct kv_batch b;
    int one = kv_acquire(c), two = kv_acquire(c);
    compute(c, one, token, 500, 0, 1);
    compute(c, one, token, 400, 0, 1); /* its end is read again */
    token[100] = 9999;
    struct kv_prompt p = {.token = token, .n_tokens = 300, .conversation = 1};
    struct kv_plan plan;
    assert_int_equal(kvt_prompt(c, one, &p, &plan, NULL), 0);
    watch_check(c);
    assert_int_equal(kv_begin(c, one, token, 9, SIZE_MAX, &b, NULL), 0);
    kv_abandon(c, &b);
    watch_check(c);
    assert_int_equal(kv_seq_cp(c, one, two, -1, -1, NULL), 0);
    append(c, two, 7000, 30);
    watch_check(c);
    if (can(c, KV_CAN_TRIM)) {
        assert_true(kv_seq_rm(c, one, 150, 200));
        watch_check(c);
        assert_true(kv_seq_rm(c, one, 250, -1));
        watch_check(c);
        append(c, one, 8000, 40);
        assert_int_equal(kv_seq_cp(c, two, one, 20, 270, NULL), 0); /* of which one has some, and twenty of its own; twenty more stay */
        watch_check(c);
        assert_int_equal(kv_clear_and_reseed(c, two, 10, 20, &plan, NULL), 0);
        watch_check(c);
    }
    kv_seq_keep(c, two);
    watch_check(c);
    compute(c, one, token, 200, 3000, 2);
    kv_retain(c, one);
    watch_check(c);
    assert_int_equal(kv_seq_cp(c, one, two, -1, -1, NULL), 0);
    kv_evict(c, one);
    watch_check(c);
    kv_evict_all(c);
    watch_check(c);
    append(c, 0, 0, 300);
    kv_clear(c, true);
    watch_check(c);
    append(c, 0, 0, 300);
    assert_true(kv_seq_rm(c, -1, -1, -1));
    watch_check(c);
    kv_close(c);
}

static void cells_that_are_copied_and_moved_are_told_of(void **state) {
    (void)state;
    struct kv_config g = config(1000);
    struct kv *c = open_watched(&g);
    append(c, 0, 0, 100);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    if (can(c, KV_CAN_SHIFT)) {
        assert_int_equal(kv_seq_add(c, 1, 50, -1, 5, NULL), 0);
        watch_check(c);
        assert_int_equal(kv_seq_add(c, 1, -1, -1, -20, NULL), 0);
        watch_check(c);
        assert_int_equal(kv_seq_div(c, 0, -1, -1, 3, NULL), 0);
        watch_check(c);
    }
    kv_close(c);
    g.streams = 3;
    c = open_watched(&g);
    append(c, 0, 0, 300);
    append(c, 1, 1000, 700);
    assert_int_equal(kv_seq_cp(c, 0, 2, -1, -1, NULL), 0);
    watch_check(c);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0); /* over what was there */
    watch_check(c);
    append(c, 1, 5000, 300);
    kv_evict(c, 0);
    watch_check(c);
    kv_close(c);
}

static void evictions_are_told_of(void **state) {
    (void)state;
    static const enum kv_evict modes[] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE, KV_EVICT_RESEED};
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        struct kv_config g = config(300);
        g.evict = modes[m];
        g.keep = 8;
        struct kv *c = open_watched(&g);
        for (int i = 0; i < 1000; i += 20) {
            append(c, 0, i, 20);
            watch_check(c);
        }
        assert_true(c->log.evicted_tokens > 0);
        assert_int_equal(kv_set_bound(c, 100, NULL), 0);
        append(c, 0, 5000, 20);
        watch_check(c);
        kv_close(c);
    }
}

static void what_the_prompt_cache_does_is_told_of(void **state) {
    (void)state;
    static int32_t token[600];
    struct kv_config g = config(600);
    g.prompt_bytes = 500 * 2 * KVT_LAYERS * KVT_ROW * sizeof(float);
    struct kv *c = open_watched(&g);
    if (can(c, KV_CAN_GROW | KV_CAN_TRIM)) assert_int_equal(c->parked_cells, 500);
    int one = kv_acquire(c), two = kv_acquire(c);
    for (int round = 0; round < 3; round++) {
        compute(c, one, token, 300, 0, 1);
        compute(c, one, token, 250, 1000, 2); /* the first is parked */
        compute(c, one, token, 320, 0, 1);    /* they change places */
        compute(c, two, token, 100, 0, 3);    /* the beginning of it */
        for (int i = 0; i < 5; i++) compute(c, one, token, 200, 2000 + 1000 * i, 4 + (uint64_t)i); /* the oldest make way */
        kv_prompt_park(c, two);
        watch_check(c);
        kv_prompt_resume(c, two, 8);
        watch_check(c);
        kv_evict(c, two);
        assert_int_equal(kv_acquire(c), two);
        watch_check(c);
    }
    kv_evict_all(c);
    watch_check(c);
    kv_close(c);
}

static void what_a_file_is_loaded_over_is_told_of(void **state) {
    (void)state;
    char path[] = "/tmp/kvetch-memory-XXXXXX";
    struct kv_config g = config(1000);
    struct kv_snapshot_info info = {.model_fingerprint = 1, .rope_fingerprint = 2};
    struct kv *c = open_watched(&g);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    append(c, 0, 0, 400);
    if (can(c, KV_EXACT_RESTORE)) {
        assert_int_equal(kv_save(c, 0, path, &info, NULL, NULL), 0);
        append(c, 0, 4000, 200);
        append(c, 1, 9000, 50);
        assert_int_equal(kv_load(c, 0, path, &info, NULL, NULL), 0);
        watch_check(c);
        assert_int_equal(kv_load(c, 1, path, &info, NULL, NULL), 0);
        watch_check(c);
    }
    kv_close(c);
    unlink(path);
}

static int run(const char *path, bool is_exact) {
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
        cmocka_unit_test(what_benchmarks_fill_in_is_written_to_the_memory),
        cmocka_unit_test(rewinds_cuts_and_closings_are_told_of),
        cmocka_unit_test(cells_that_are_copied_and_moved_are_told_of),
        cmocka_unit_test(evictions_are_told_of),
        cmocka_unit_test(what_the_prompt_cache_does_is_told_of),
        cmocka_unit_test(what_a_file_is_loaded_over_is_told_of),
    };
    plugin = path;
    exact = is_exact;
    return cmocka_run_group_tests_name(path ? path : "default", tests, NULL, NULL);
}

static int run_beside(const char *program, const char *name, bool is_exact) {
    struct buf path = {0};
    const char *slash = strrchr(program, '/');
    buf_printf(&path, "%.*s/plugins/%s", slash ? (int)(slash - program) : 1, slash ? program : ".", name);
    int failed = run(buf_text(&path), is_exact);
    buf_free(&path);
    return failed;
}

int main(int argc, char **argv) {
    if (argc == 1) return run(NULL, true) + run_beside(argv[0], "heavy.so", true) + run_beside(argv[0], "own.so", true);
    struct buf path = {0};
    buf_printf(&path, "%s%s", strchr(argv[1], '/') ? "" : "./", argv[1]);
    int failed = run(buf_text(&path), false);
    buf_free(&path);
    return failed;
}
