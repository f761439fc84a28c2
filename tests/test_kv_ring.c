/* Tests of kv/kv_ring and of layers that share cells or have none. What a ring shows is compared with what the same tokens' cells in the linear cache
 * show, cut by the window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/kv_slot.h"
#include "tests/support_kv.h"
#include "tests/support_snapshot.h"

enum { RING_LAYER = KVT_LAYERS, UBATCH = 40 };

static struct kv_config config(uint32_t bound, enum kv_window kind, uint32_t window) {
    struct kv_config g = kvt_config(bound, "f32");
    g.n_window_layers = 2;
    g.window = kind;
    g.n_window = window;
    g.n_ubatch = UBATCH;
    return g;
}

static struct kv *open_with(uint32_t bound, enum kv_window kind, uint32_t window) {
    struct kv_config g = config(bound, kind, window);
    return kvt_open(&g);
}

static void append(struct kv *c, int seq, int32_t from, int n) {
    for (int i = 0; i < n; i++) assert_int_equal(kvt_append(c, seq, from + i, NULL), 0);
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

struct cell {
    int64_t pos, stored;
    const uint8_t *block;
    uint32_t at; /* cell in the block */
};

static size_t flatten(const struct kv_view *v, struct cell *out) {
    size_t n = 0;
    for (size_t i = 0; i < v->n_spans; i++) {
        const struct kv_span *s = &v->span[i];
        assert_true(s->first + s->n <= KV_BLOCK && s->rot < v->n_offsets);
        for (uint32_t k = 0; k < s->n; k++) out[n++] = (struct cell){s->pos + k, s->pos + k - v->offset[s->rot], s->block, s->first + k};
    }
    assert_int_equal(n, v->n_cells);
    return n;
}

static bool sees(const struct kv_config *g, int64_t row, int64_t pos) {
    switch (g->window) {
    case KV_WINDOW_STANDARD: return row - pos < (int64_t)g->n_window;
    case KV_WINDOW_CHUNKED: return row / g->n_window == pos / g->n_window;
    case KV_WINDOW_SYMMETRIC: return row - pos <= (int64_t)(g->n_window / 2);
    default: return true;
    }
}

static void check_rows(struct kv *c, const struct cell *a, int32_t token) {
    const struct kv_layout *l = kv_get_layout(c);
    float want[KVT_ROW], got[KVT_DIM];
    for (uint32_t layer = 0; layer < 2; layer++)
        for (int value = 0; value < 2; value++) {
            kvt_row(token, a->stored, RING_LAYER + layer, value, want);
            const uint8_t *at = a->block + layer * l->layer_bytes + (value ? l->v_base : 0) + a->at * (value ? l->v_row_bytes : l->k_row_bytes);
            for (uint32_t h = 0; h < KVT_HEADS; h++, at += value ? l->v_head_bytes : l->k_head_bytes) {
                l->type_k->to_f32(at, got, KVT_DIM);
                assert_memory_equal(got, want + h * KVT_DIM, sizeof got);
            }
        }
}

/* For one more token: the ring shows the cells of the linear view that the window lets it see, with the rows of their tokens. */
static void check(struct kv *c, int seq) {
    static struct cell all[4096], ring[4096];
    const struct kv_seq *s = &c->seq[seq];
    struct kv_batch b;
    struct kv_view v, w;
    int32_t token = 77;
    kvt_check(c, seq);
    int rc = kvt_make_room(c, seq, 1, NULL);
    if (rc == ERR_CONTEXT) return; /* the other sequences have all the cells */
    assert_int_equal(rc, 0);
    assert_int_equal(kv_begin(c, seq, &token, 1, SIZE_MAX, &b, NULL), 0);
    kv_get_view(c, &b, &v);
    size_t n_all = flatten(&v, all), at = 0;
    kv_get_window_view(c, &b, &w);
    size_t n_ring = flatten(&w, ring), i = 0;
    for (size_t run = 0; run < s->n_runs; run++)
        for (uint32_t k = 0; k < s->run[run].n; k++, i++) {
            size_t index = s->run[run].index + k;
            if (!sees(&c->config, b.pos, all[i].pos)) continue;
            assert_true(at < n_ring);
            assert_int_equal(ring[at].pos, all[i].pos);
            assert_int_equal(ring[at].stored, all[i].stored);
            check_rows(c, &ring[at], s->token[index]);
            at++;
        }
    assert_int_equal(i + 1, n_all);
    assert_int_equal(at + 1, n_ring);
    assert_int_equal(ring[at].pos, b.pos);
    if (!s->n_left && c->config.window == KV_WINDOW_STANDARD) assert_int_equal(n_ring, n_all < c->config.n_window ? n_all : c->config.n_window);
    kv_abandon(c, &b);
}

/* ---- rings --------------------------------------------------------------------------------------------------- */

static void a_ring_shows_what_a_linear_cache_shows_of_the_window(void **state) {
    (void)state;
    static const struct { enum kv_window kind; uint32_t n; } row[] = {
        {KV_WINDOW_STANDARD, 1}, {KV_WINDOW_STANDARD, 2}, {KV_WINDOW_STANDARD, 100}, {KV_WINDOW_STANDARD, 216}, {KV_WINDOW_STANDARD, 217},
        {KV_WINDOW_STANDARD, 256}, {KV_WINDOW_STANDARD, 257}, {KV_WINDOW_CHUNKED, 64}, {KV_WINDOW_SYMMETRIC, 101}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct kv *c = open_with(2000, row[i].kind, row[i].n);
        uint32_t cells = c->ring_shape.n_cells;
        for (uint32_t n = 0; n < 1200; n++) {
            bool edge = n % cells <= 1 || n % cells == cells - 1 || (n + 2 > row[i].n && n < row[i].n + 2) || n % KV_BLOCK <= 1 || n % 61 == 0;
            if (edge) check(c, 0);
            append(c, 0, (int32_t)n, 1);
        }
        kv_close(c);
    }
}

static void a_ring_starts_with_a_block_grows_to_its_cap_and_wraps(void **state) {
    (void)state;
    struct kv *c = open_with(3000, KV_WINDOW_STANDARD, 600);
    struct kv_stats s;
    uint32_t caps[] = {256, 512, 768, 768};
    assert_int_equal(c->ring_shape.n_cells, 768); /* 600 and 40 in whole blocks */
    for (int i = 0; i < 4; i++) {
        append(c, 0, i * 256, 256);
        kv_get_stats(c, &s);
        assert_int_equal(c->state_of[0].ring.arena.n_blocks * KV_BLOCK, caps[i]);
        assert_int_equal(s.ring_bytes, c->state_of[0].ring.arena.committed_bytes);
    }
    assert_int_equal(c->state_of[0].ring.arena.copied_bytes, 0);
    check(c, 0);
    kv_clear(c, false);
    kv_get_stats(c, &s);
    assert_int_equal(s.ring_bytes, 0);
    append(c, 0, 5, 10);
    check(c, 0);
    kv_close(c);
}

static uint64_t held(struct kv *c) {
    struct kv_stats s;
    kv_get_stats(c, &s);
    return s.ring_bytes + s.state_bytes + s.checkpoint_bytes;
}

static void a_sequence_that_is_emptied_in_any_way_gives_its_ring_state_and_checkpoints_back(void **state) {
    (void)state;
    struct kv_config g = config(3000, KV_WINDOW_STANDARD, 600);
    g.state_bytes = 64;
    struct kv *c = kvt_open(&g);
    for (int way = 0; way < 8; way++) {
        int a = kv_acquire(c), b = kv_acquire(c);
        append(c, a, 0, 1);
        kv_checkpoint(c, a);
        uint64_t one = held(c);
        append(c, b, 0, 700);
        kv_checkpoint(c, b);
        assert_true(held(c) > one);
        switch (way) {
        case 0: kv_evict(c, b); break;
        case 1: kv_retain(c, a); break;
        case 2: kv_seq_keep(c, a); break;
        case 3: assert_true(kv_seq_rm(c, b, -1, -1)); break;
        case 4: assert_int_equal(kv_seq_cp(c, a, b, -1, -1, NULL), 0); kv_evict(c, b); break;
        case 5: kv_evict_all(c); break;
        case 6: kv_clear(c, false); break;
        default: kv_prompt_park(c, b); /* there is no prompt cache */
        }
        assert_int_equal(held(c), way == 5 || way == 6 ? 0 : one);
        check(c, a);
        check(c, b);
        kv_evict_all(c);
        assert_int_equal(held(c), 0);
    }
    kv_close(c);
}

/* All that the cache has taken, against the budget and the room that is shown. */
static void check_budget(struct kv *c, uint64_t budget) {
    struct kv_stats s;
    kv_prefault_wait(c->prefault);
    c->room_us = 0;
    kv_get_stats(c, &s);
    uint64_t sum = c->arena.committed_bytes + s.ring_bytes + s.state_bytes + s.checkpoint_bytes;
    assert_true(sum <= budget);
    assert_true(s.room_bytes <= budget - sum);
}

/* A block of cells and one of a ring take 64 KiB, a full ring and a copy of it 512 KiB. */
static void the_budget_holds_with_rings_states_and_checkpoints(void **state) {
    (void)state;
    static const uint32_t kib[] = {820, 1333, 1900, 2600};
    for (int with_state = 0; with_state < 2; with_state++)
        for (int k = 0; k < 4; k++) {
            struct kv_config g = config(4000, KV_WINDOW_STANDARD, 2000);
            g.state_bytes = with_state ? 20480 : 0;
            g.budget_bytes = kib[k] * 1024;
            struct kv *c = kvt_open(&g);
            struct err e = {0};
            struct kv_stats s;
            assert_non_null(c->prefault);
            for (int i = 0; i < 3300; i++) {
                if (kvt_append(c, 0, i, &e)) fail_msg("token %d: %s", i, e.text);
                if (i % 300 == 0) kv_checkpoint(c, 0);
                if (i % 300 == 0 || i % 64 == 9 || i % 256 == 129) check_budget(c, g.budget_bytes);
            }
            check(c, 0);
            kv_get_stats(c, &s);
            assert_true((s.checkpoint_bytes > 0) == (k > 0));
            uint32_t n = c->seq[0].n_cells;
            if (k < 3) assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, &e), ERR_MEMORY);
            check_budget(c, g.budget_bytes);
            assert_int_equal(c->seq[0].n_cells, n);
            assert_int_equal(c->seq[1].n_cells, k < 3 ? 0 : c->seq[1].n_cells);
            check(c, 0);
            kv_close(c);
        }
}

static void without_room_for_a_ring_or_state_nothing_changes(void **state) {
    (void)state;
    for (int with_state = 0; with_state < 2; with_state++) {
        struct kv_config g = config(4000, KV_WINDOW_STANDARD, with_state ? 10 : 2000);
        char path[] = "/tmp/kvetch-ring-XXXXXX";
        struct err e = {0};
        g.state_bytes = with_state ? 512 << 10 : 0;
        struct kv *c = kvt_open(&g);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        append(c, 0, 0, 20);
        kvs_save(c, 0, path);
        kv_close(c);
        g.budget_bytes = 400 << 10;
        c = kvt_open(&g);
        assert_int_equal(kvt_append(c, 0, 5, &e), ERR_MEMORY);
        assert_non_null(strstr(e.text, with_state ? "a recurrent state needs 1.0 MiB, and 0.3 MiB are left (budget)" : "a ring of the window needs 0.5 MiB, and 0.3 MiB are left (budget)"));
        assert_int_equal(kvs_load(c, 0, path, &e), ERR_MEMORY);
        assert_int_equal(c->seq[0].n_tokens, 0);
        check_budget(c, g.budget_bytes);
        kv_close(c);
        unlink(path);
    }
}

static void on_request_checkpoints_and_blocks_that_are_not_in_use_any_more_go(void **state) {
    (void)state;
    struct kv *c = open_with(3000, KV_WINDOW_STANDARD, 700);
    append(c, 0, 0, 100);
    kv_checkpoint(c, 0);
    uint64_t before = held(c);
    append(c, 0, 100, 600);
    kv_checkpoint(c, 0);
    assert_true(kv_seq_rm(c, 0, 120, -1));
    check(c, 0);
    assert_true(held(c) > before);
    kv_shrink(c);
    assert_int_equal(held(c), before);
    check(c, 0);
    append(c, 0, 900, 500);
    check(c, 0);
    assert_true(kv_seq_rm(c, 0, 100, -1));
    check(c, 0);
    kv_close(c);
}

static void batches_of_any_size_fill_it_and_abandoned_ones_leave_what_is_seen(void **state) {
    (void)state;
    struct kv *c = open_with(3000, KV_WINDOW_STANDARD, 200);
    struct err e = {0};
    static int32_t token[2500];
    struct kv_batch b;
    for (int i = 0; i < 2500; i++) token[i] = i;
    for (uint32_t at = 0, n = 1; at + n <= 2500; at += n, n = n % UBATCH + 1) {
        assert_int_equal(kv_begin(c, 0, token, UBATCH, SIZE_MAX, &b, NULL), 0);
        float junk[KVT_ROW] = {9, 9, 9};
        for (uint32_t i = 0; i < UBATCH; i++) kv_write(c, &b, RING_LAYER, i, i + 1, junk, KVT_ROW, junk, KVT_ROW);
        kv_abandon(c, &b);
        assert_int_equal(kvt_feed(c, 0, token, at, n, NULL), 0);
        check(c, 0);
    }
    assert_int_equal(kv_begin(c, 0, token, UBATCH + 1, SIZE_MAX, &b, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "a micro-batch of 41 tokens is more than the 40 that rings have room for"));
    check(c, 0);
    kv_close(c);
}

/* Thirty micro-batches at once, 1200 tokens: the ring has all its blocks before the first of them is written. */
static void micro_batches_that_were_prepared_together_all_find_room(void **state) {
    (void)state;
    struct kv *c = open_with(3000, KV_WINDOW_STANDARD, 600);
    struct kv_ubatch u[30];
    struct kv_batch b;
    static int32_t token[30 * UBATCH];
    float row[KVT_ROW];
    for (int i = 0; i < 30; i++) u[i] = (struct kv_ubatch){0, token + i * UBATCH, UBATCH, SIZE_MAX};
    assert_int_equal(kv_prepare(c, u, 30, false, NULL), 0);
    assert_int_equal(c->state_of[0].ring.arena.n_blocks, 3);
    for (int k = 0; k < 30; k++) {
        assert_true(kv_slot_next(c, &b));
        for (uint32_t layer = 0; layer < c->n_places; layer++)
            for (uint32_t i = 0; i < b.n; i++) {
                float v[KVT_ROW];
                kvt_row(0, b.pos + i, layer, false, row);
                kvt_row(0, b.pos + i, layer, true, v);
                kv_write(c, &b, layer, i, i + 1, row, KVT_ROW, v, KVT_ROW);
            }
        kv_finish(c, &b);
    }
    check(c, 0);
    kv_close(c);
}

static void it_goes_back_by_what_is_not_overwritten_and_else_to_a_checkpoint(void **state) {
    (void)state;
    struct kv *c = open_with(3000, KV_WINDOW_STANDARD, 200); /* 256 cells */
    append(c, 0, 0, 1000);
    assert_int_equal(kv_resume_point(c, 0, 990), 990); /* 744 to 999 are there */
    assert_int_equal(kv_resume_point(c, 0, 943), 943);
    assert_int_equal(kv_resume_point(c, 0, 942), 0);
    assert_true(kv_seq_rm(c, 0, 960, -1));
    check(c, 0);
    assert_false(kv_seq_rm(c, 0, 900, -1));
    assert_int_equal(kv_seq_pos_max(c, 0), 959);
    check(c, 0);
    kv_checkpoint(c, 0);
    append(c, 0, 5000, 700);
    assert_int_equal(kv_resume_point(c, 0, 1300), 960);
    assert_true(kv_seq_rm(c, 0, 960, -1));
    check(c, 0);
    append(c, 0, 7000, 300);
    check(c, 0);
    kv_close(c);
}

/* Its window has closed up since over tokens that its ring does not have. */
static void a_checkpoint_that_lacks_what_stands_before_it_now_is_none(void **state) {
    (void)state;
    struct kv_config g = config(600, KV_WINDOW_STANDARD, 120); /* 256 cells */
    g.keep = 100;
    struct kv *c = kvt_open(&g);
    append(c, 0, 0, 450);
    kv_checkpoint(c, 0);
    append(c, 0, 450, 110);
    kv_checkpoint(c, 0);
    append(c, 0, 560, 41); /* 100 to 349 have left */
    assert_int_equal(kv_resume_point(c, 0, 599), 599);
    append(c, 0, 601, 150);
    assert_int_equal(kv_resume_point(c, 0, 559), 0);
    assert_int_equal(kv_resume_point(c, 0, 600), 560);
    assert_true(kv_seq_rm(c, 0, 560, -1));
    check(c, 0);
    kv_close(c);
}

static void prompts_are_replayed_from_where_the_ring_can_go_on(void **state) {
    (void)state;
    struct kv *c = open_with(2000, KV_WINDOW_STANDARD, 100);
    static int32_t token[900];
    struct kv_plan plan;
    for (int i = 0; i < 900; i++) token[i] = i;
    for (size_t n = 1, at; n <= 900; n += 89) {
        struct kv_prompt p = {.token = token, .n_tokens = n};
        assert_int_equal(kv_sync(c, 0, &p, &plan, NULL), 0);
        at = plan.todo[0].first;
        for (size_t i = at; i < n; i += UBATCH) assert_int_equal(kvt_feed(c, 0, token, i, (uint32_t)(n - i < UBATCH ? n - i : UBATCH), NULL), 0);
        check(c, 0);
        if (n == 357) kv_checkpoint(c, 0);
    }
    token[500] = 7;
    struct kv_prompt p = {.token = token, .n_tokens = 890};
    assert_int_equal(kv_sync(c, 0, &p, &plan, NULL), 0);
    assert_int_equal(plan.todo[0].first, 357);
    check(c, 0);
    kv_close(c);
}

static void at_the_bound_what_left_is_passed_over(void **state) {
    (void)state;
    static const enum kv_evict modes[] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE};
    for (int m = 0; m < 2; m++) {
        struct kv_config g = config(300, KV_WINDOW_STANDARD, 120);
        g.evict = modes[m];
        g.keep = 8;
        struct kv *c = kvt_open(&g);
        for (int i = 0; i < 1500; i++) {
            append(c, 0, i, 1);
            if (i % 13 == 0 || i > 290) check(c, 0);
        }
        assert_true(c->seq[0].n_left > 0);
        kv_close(c);
    }
}

/* A drop that brings the kept part, or what follows it, into the window again, where the ring has overwritten it. */
static void a_tail_shorter_than_the_window_is_a_reseed_and_told_of_once(void **state) {
    (void)state;
    static const struct { enum kv_evict mode; uint32_t bound, keep, window; double share; const char *told; } row[] = {
        {KV_EVICT_SHIFT, 300, 100, 120, .9, "reseed in place of shift"}, {KV_EVICT_SHIFT, 300, 8, 250, .5, "reseed in place of shift"},
        {KV_EVICT_SLIDE, 300, 140, 200, .5, "reseed in place of slide"}, {KV_EVICT_SLIDE, 300, 8, 700, .5, "reseed in place of slide"},
        {KV_EVICT_SHIFT, 300, 100, 90, .5, NULL}, {KV_EVICT_SLIDE, 300, 8, 250, .5, NULL}};
    for (size_t m = 0; m < sizeof row / sizeof *row; m++) {
        struct kv_config g = config(row[m].bound, KV_WINDOW_STANDARD, row[m].window);
        static struct kv_event ev[KV_EVENTS];
        g.evict = row[m].mode;
        g.keep = row[m].keep;
        g.evict_free = row[m].share;
        struct kv *c = kvt_open(&g);
        for (int i = 0; i < 2500; i++) {
            append(c, 0, i, 1);
            if (i % 13 == 0 || (i > 290 && i < 700)) check(c, 0);
        }
        size_t n = kv_events(c, 0, ev, KV_EVENTS), told = 0;
        for (size_t i = 0; i < n; i++)
            if (ev[i].kind == KV_EVENT_MODE) {
                assert_non_null(row[m].told);
                assert_string_equal(ev[i].reason, row[m].told);
                told++;
            }
        assert_int_equal(told, row[m].told != NULL);
        kv_close(c);
    }
    struct kv *c = open_with(300, KV_WINDOW_CHUNKED, 64);
    struct kv_stats s;
    kv_get_stats(c, &s);
    assert_int_equal(s.evict, KV_EVICT_RESEED); /* chunks do not shift */
    kv_close(c);
}

static void a_copy_and_a_snapshot_have_the_ring(void **state) {
    (void)state;
    char path[] = "/tmp/kvetch-ring-XXXXXX";
    struct kv_snapshot_info info = {.model_fingerprint = 1};
    struct err e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct kv *c = open_with(3000, KV_WINDOW_STANDARD, 300), *other = open_with(2000, KV_WINDOW_STANDARD, 300);
    append(c, 0, 0, 1000); /* wrapped */
    assert_int_equal(kv_seq_cp(c, 0, 1, 0, 10, NULL), ERR_USAGE);
    assert_int_equal(kv_seq_cp(c, 0, 1, -1, -1, NULL), 0);
    append(c, 0, 4000, 100);
    check(c, 1);
    append(c, 1, 8000, 500);
    check(c, 1);
    check(c, 0);
    assert_int_equal(kv_save(c, 0, path, &info, NULL, &e), 0);
    append(other, 0, 1, 77);
    if (kv_load(other, 0, path, &info, NULL, &e)) fail_msg("%s", e.text);
    check(other, 0);
    append(other, 0, 100, 400);
    check(other, 0);
    assert_int_equal(kv_seq_add(other, 0, -1, -1, 5, &e), ERR_USAGE);
    kv_close(other);
    struct kv_config g = kvt_config(2000, "f32");
    other = kvt_open(&g);
    assert_int_equal(kv_load(other, 0, path, &info, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "it has window rings, and this model has none"));
    kv_close(other);
    other = open_with(2000, KV_WINDOW_STANDARD, 299);
    assert_int_equal(kv_load(other, 0, path, &info, NULL, &e), ERR_FILE);
    kv_close(other);
    kv_close(c);
    unlink(path);
}

/* Every byte changed, every length: what is live stays. */
static void a_damaged_ring_or_state_is_refused_and_changes_nothing(void **state) {
    (void)state;
    struct kv_config g = config(700, KV_WINDOW_STANDARD, 30);
    g.state_bytes = 24;
    struct kv *c = kvt_open(&g), *other = kvt_open(&g);
    char folder[] = "/tmp/kvetch-ring-XXXXXX", whole[64], broken[64];
    size_t n;
    assert_non_null(mkdtemp(folder));
    snprintf(whole, sizeof whole, "%s/whole", folder);
    snprintf(broken, sizeof broken, "%s/broken", folder);
    append(c, 0, 0, 60);
    kv_checkpoint(c, 0);
    append(c, 0, 60, 5);
    append(other, 0, 900, 40);
    kvs_save(c, 0, whole);
    uint8_t *file = kvs_read(whole, &n);
    for (size_t at = 0; at < n; at++) {
        struct err e = {0};
        file[at] ^= 0x41;
        kvs_write(broken, file, n);
        assert_int_equal(kvs_load(other, 0, broken, &e), ERR_FILE);
        assert_true(*e.text);
        file[at] ^= 0x41;
        if (at % 8) continue;
        kvs_write(broken, file, at);
        assert_int_equal(kvs_load(other, 0, broken, &e), ERR_FILE);
        if (at % 512 == 0) check(other, 0);
    }
    check(other, 0);
    assert_int_equal(kvs_load(other, 0, whole, NULL), 0);
    check(other, 0);
    free(file);
    kv_close(c);
    kv_close(other);
    unlink(whole);
    unlink(broken);
    rmdir(folder);
}

static size_t index_bytes(const uint8_t *file) {
    struct kv_snapshot_generation g;
    memcpy(&g, file + sizeof(struct kv_snapshot_header), sizeof g);
    return g.index_bytes;
}

/* A section of the index, and how many bytes it has. */
static uint8_t *find_section(uint8_t *file, size_t n, const char *tag, uint64_t *bytes) {
    struct kv_snapshot_section s;
    for (uint8_t *at = file + n - index_bytes(file) + sizeof(struct kv_snapshot_index); at < file + n; at += sizeof s + s.bytes) {
        memcpy(&s, at, sizeof s);
        *bytes = s.bytes;
        if (!memcmp(s.tag, tag, sizeof s.tag)) return at + sizeof s;
    }
    return NULL;
}

/* Every other number that tells which tokens a ring or state has seen. */
static void forge(struct kv *other, uint8_t *file, size_t n, uint8_t *at, const char *path) {
    uint64_t was;
    memcpy(&was, at, sizeof was);
    uint64_t value[] = {was - 1, was + 1, 0, 1, 29, 59, 60, 1 << 20, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX / 264};
    for (size_t v = 0; v < sizeof value / sizeof *value; v++) {
        struct err e = {0};
        if (value[v] == was) continue;
        memcpy(at, &value[v], sizeof was);
        kvs_seal(file, n, index_bytes(file));
        kvs_write(path, file, n);
        assert_int_equal(kvs_load(other, 0, path, &e), ERR_FILE);
        assert_true(*e.text);
    }
    memcpy(at, &was, sizeof was);
}

static void a_forged_ring_or_state_with_good_checksums_is_refused(void **state) {
    (void)state;
    for (int with_state = 0; with_state < 2; with_state++) {
        struct kv_config g = config(700, KV_WINDOW_STANDARD, 30);
        g.state_bytes = with_state ? 24 : 0;
        struct kv *c = kvt_open(&g), *other = kvt_open(&g);
        char path[] = "/tmp/kvetch-ring-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        append(c, 0, 0, 50);
        if (!with_state) assert_true(kv_seq_rm(c, 0, 40, 44));
        kv_checkpoint(c, 0);
        append(c, 0, 50, 10);
        append(other, 0, 900, 40);
        kvs_save(c, 0, path);
        size_t n, items = 0;
        uint8_t *file = kvs_read(path, &n);
        uint64_t bytes, count, item = 8 + c->ring_shape.cell_bytes;
        uint8_t *ring = find_section(file, n, "RING", &bytes), *end = ring + bytes;
        uint8_t *first = ring;
        for (; ring < end; items++, ring += 16 + count * item) {
            memcpy(&count, ring + 8, sizeof count);
            assert_int_equal(count, 29);
            forge(other, file, n, ring, path);
            forge(other, file, n, ring + 8, path);
            for (uint64_t i = 0; i < count; i++) forge(other, file, n, ring + 16 + i * item, path);
        }
        assert_int_equal(items, 2); /* a checkpoint's and its own */
        if (with_state) {
            uint8_t *seen = find_section(file, n, "STAT", &bytes);
            assert_int_equal(bytes, 2 * 32);
            for (int i = 0; i < 2; i++) forge(other, file, n, seen + i * 32, path);
        }
        for (uint64_t i = 0; i < 29; i++) memcpy(first + 16 + 29 * item + 16 + i * item, &i, sizeof i); /* another end */
        kvs_seal(file, n, index_bytes(file));
        kvs_write(path, file, n);
        struct err e = {0};
        assert_int_equal(kvs_load(other, 0, path, &e), ERR_FILE);
        check(other, 0);
        free(file);
        kv_close(c);
        kv_close(other);
        unlink(path);
    }
}

static void after_a_load_a_reply_is_given_once_more_from_where_it_was_live(void **state) {
    (void)state;
    for (int with_state = 0; with_state < 2; with_state++)
        for (int turn = 0; turn < 3; turn++) {
            struct kv_config g = config(3000, KV_WINDOW_STANDARD, turn == 2 ? 1 : 30);
            struct kv_stats s;
            g.state_bytes = with_state ? 64 : 0;
            struct kv *c = kvt_open(&g), *other = kvt_open(&g), *poor;
            char path[] = "/tmp/kvetch-ring-XXXXXX";
            int fd = mkstemp(path);
            assert_true(fd >= 0);
            close(fd);
            append(c, 0, 0, 400);
            kv_checkpoint(c, 0);
            append(c, 0, 400, 100);
            if (!with_state && turn) assert_true(kv_seq_rm(c, 0, 480, 490));
            kv_checkpoint(c, 0);
            append(c, 0, 500, 300);
            kv_checkpoint(c, 0); /* of no use in the file: the ring itself is there */
            kvs_save(c, 0, path);
            assert_int_equal(kvs_load(other, 0, path, NULL), 0);
            check(other, 0);
            assert_int_equal(kv_resume_point(c, 0, 500), 500);
            assert_int_equal(kv_resume_point(other, 0, 500), 500);
            append(other, 0, 4000, 20);
            check(other, 0);
            assert_true(kv_seq_rm(other, 0, 500, -1));
            check(other, 0);
            append(other, 0, 5000, 600);
            check(other, 0);
            assert_int_equal(kv_seq_pos_max(other, 0), 1099);
            /* Without room for a checkpoint it comes without: cells of 800 tokens, the ring and the state. */
            g.budget_bytes = 4 * c->layout.block_bytes + c->ring_shape.full_bytes + 2 * g.state_bytes;
            g.grow = KV_GROW_LINEAR;
            g.step_cells = KV_BLOCK;
            poor = kvt_open(&g);
            kv_prefault_wait(poor->prefault);
            assert_int_equal(kvs_load(poor, 0, path, NULL), 0);
            kv_get_stats(poor, &s);
            assert_int_equal(s.checkpoint_bytes, 0);
            check_budget(poor, g.budget_bytes);
            check(poor, 0);
            kv_close(poor);
            kv_close(c);
            kv_close(other);
            unlink(path);
        }
}

/* ---- layers -------------------------------------------------------------------------------------------------- */

/* Layers 0 and 3 have cells, 1 is in a ring, 2 shares layer 0's, 4 has none, 5 shares the ring. */
static void layers_share_what_the_first_of_them_wrote_or_have_nothing(void **state) {
    (void)state;
    static const uint32_t layer[] = {0, 2, 0, 1, KV_NO_LAYER, 2};
    struct kv_config g = kvt_config(1000, "f32");
    struct err e = {0};
    g.n_window_layers = 1;
    g.window = KV_WINDOW_STANDARD;
    g.n_window = 50;
    g.layer = layer;
    g.n_model_layers = 6;
    struct kv *c = kvt_open(&g), *no;
    bool ring;
    assert_int_equal(kv_layer(c, 2, &ring), 0);
    assert_false(ring);
    assert_int_equal(kv_layer(c, 3, &ring), 1);
    assert_int_equal(kv_layer(c, 5, &ring), 0);
    assert_true(ring);
    assert_true(kv_layer(c, 4, &ring) == KV_NO_LAYER);
    append(c, 0, 0, 300);
    struct kv_batch b;
    struct kv_view v, w;
    static struct cell all[1024], seen[1024];
    int32_t token = 1;
    assert_int_equal(kv_begin(c, 0, &token, 1, SIZE_MAX, &b, NULL), 0);
    kv_get_view(c, &b, &v);
    kv_get_window_view(c, &b, &w);
    assert_int_equal(flatten(&v, all), 301);
    assert_int_equal(flatten(&w, seen), 50);
    const struct kv_layout *l = kv_get_layout(c);
    for (int i = 0; i < 300; i++) {
        float want[KVT_ROW], got[KVT_DIM];
        static const uint32_t written[] = {0, 3}; /* by layer 0, and by layer 3 */
        for (uint32_t k = 0; k < 2; k++) {
            kvt_row(i, all[i].stored, written[k], false, want);
            l->type_k->to_f32(all[i].block + k * l->layer_bytes + all[i].at * l->k_row_bytes, got, KVT_DIM);
            assert_memory_equal(got, want, sizeof got);
        }
        if (i < 251) continue;
        kvt_row(i, all[i].stored, 1, false, want);
        l->type_k->to_f32(seen[i - 251].block + seen[i - 251].at * l->k_row_bytes, got, KVT_DIM);
        assert_memory_equal(got, want, sizeof got);
    }
    kv_abandon(c, &b);
    kv_close(c);
    static const uint32_t wrong[] = {0, 3};
    g.layer = wrong;
    g.n_model_layers = 2;
    assert_int_equal(kv_open(&no, &g, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "layer 1 is number 3 of a cache that has 3"));
}

/* ---- at random ----------------------------------------------------------------------------------------------- */

static uint64_t random_state = 5;
static uint32_t draw(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}

/* Rings and states together or rings alone; replies, cuts anywhere and in the middle, checkpoints, copies. */
static void at_random_the_ring_shows_what_is_live(void **state) {
    (void)state;
    int rounds = getenv("KVETCH_SOAK") ? 100000 : 1500;
    for (int with_state = 0; with_state < 2; with_state++) {
        struct kv_config g = config(700, KV_WINDOW_STANDARD, 90);
        g.state_bytes = with_state ? 16 : 0;
        struct kv *c = kvt_open(&g);
        for (int i = 0; i < rounds; i++) {
            int s = (int)draw(3), other = (int)draw(3);
            int64_t end = kv_seq_pos_max(c, s) + 1, at = end ? (int64_t)draw((uint32_t)end) : 0;
            switch (draw(6)) {
            case 0:
            case 1: {
                int32_t token[UBATCH];
                uint32_t n = 1 + draw(UBATCH);
                const int32_t *all;
                for (uint32_t k = 0; k < n; k++) token[k] = (int32_t)draw(50);
                size_t index = kv_tokens(c, s, &all);
                struct err e = {0};
                int rc = 0;
                if (draw(2))
                    for (uint32_t k = 0; k < n && !rc; k++) rc = kvt_append(c, s, token[k], &e);
                else if (index + n < 650)
                    rc = kvt_feed(c, s, token - index, index, n, &e);
                if (rc) { /* the others leave it too little */
                    if (rc != ERR_CONTEXT) fail_msg("%s", e.text);
                    kv_clear(c, false);
                }
                break;
            }
            case 2: kv_checkpoint(c, s); break;
            case 3: kv_seq_rm(c, s, draw(2) ? at : end - (int64_t)draw(60), -1); break;
            case 4: kv_seq_rm(c, s, at, at + (int64_t)draw(9)); break;
            default:
                if (draw(3) == 0 && s != other) {
                    struct err e = {0};
                    int rc = kv_seq_cp(c, s, other, -1, -1, &e);
                    if (rc && !strstr(e.text, "two positions")) fail_msg("%s", e.text);
                } else if (draw(9) == 0) {
                    assert_true(kv_seq_rm(c, s, -1, -1));
                }
            }
            for (int k = 0; k < 3; k++) check(c, k);
        }
        kv_close(c);
    }
}

/* Conversations beyond the bound in turns, which go on, are edited anywhere and get long replies, under each mode. */
static void prompts_at_random_find_in_the_ring_what_the_window_sees(void **state) {
    (void)state;
    enum { MOST = 1200 };
    static int32_t token[MOST];
    static struct kv_turn turn[MOST];
    static const uint32_t window[] = {30, 90, 170, 230, 400};
    static const enum kv_evict modes[] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE, KV_EVICT_RESEED};
    int rounds = getenv("KVETCH_SOAK") ? 20000 : 150;
    for (size_t w = 0; w < 5; w++)
        for (int m = 0; m < 3; m++) {
            struct kv_config g = config(300, KV_WINDOW_STANDARD, window[w]);
            g.evict = modes[m];
            g.n_checkpoints = 3;
            struct kv *c = kvt_open(&g);
            size_t n = 0, n_turns = 0, n_keep = 1 + draw(120);
            for (int i = 0; i < rounds; i++) {
                size_t more = 1 + draw(60);
                struct kv_plan plan;
                if (n_turns && (draw(6) == 0 || n + more + 300 > MOST)) n_turns = draw((uint32_t)n_turns);
                if (n_turns == 0) n = n_keep;
                else n = turn[n_turns - 1].first + turn[n_turns - 1].n;
                turn[n_turns] = (struct kv_turn){n, more, draw(9) == 0};
                for (size_t k = n_turns++ ? n : 0; k < n + more; k++) token[k] = (int32_t)draw(50);
                n += more;
                struct kv_prompt p = {token, n, n_keep, turn, n_turns, 1};
                struct err e = {0};
                if (kvt_prompt(c, 0, &p, &plan, &e)) {
                    if (e.code != ERR_CONTEXT) fail_msg("%s", e.text);
                    n_turns = 0;
                    continue;
                }
                check(c, 0);
                if (draw(2)) kv_checkpoint(c, 0);
                size_t reply = draw(5) ? draw(20) : draw(280);
                for (size_t k = 0; k < reply; k++) {
                    token[n] = (int32_t)draw(50);
                    if (kvt_append(c, 0, token[n], &e)) fail_msg("%s", e.text);
                    turn[n_turns - 1].n++;
                    n++;
                    if (k % 7 == 0) check(c, 0);
                }
                check(c, 0);
            }
            kv_close(c);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_shows_what_a_linear_cache_shows_of_the_window),
        cmocka_unit_test(a_ring_starts_with_a_block_grows_to_its_cap_and_wraps),
        cmocka_unit_test(a_sequence_that_is_emptied_in_any_way_gives_its_ring_state_and_checkpoints_back),
        cmocka_unit_test(the_budget_holds_with_rings_states_and_checkpoints),
        cmocka_unit_test(without_room_for_a_ring_or_state_nothing_changes),
        cmocka_unit_test(on_request_checkpoints_and_blocks_that_are_not_in_use_any_more_go),
        cmocka_unit_test(batches_of_any_size_fill_it_and_abandoned_ones_leave_what_is_seen),
        cmocka_unit_test(micro_batches_that_were_prepared_together_all_find_room),
        cmocka_unit_test(it_goes_back_by_what_is_not_overwritten_and_else_to_a_checkpoint),
        cmocka_unit_test(a_checkpoint_that_lacks_what_stands_before_it_now_is_none),
        cmocka_unit_test(prompts_are_replayed_from_where_the_ring_can_go_on),
        cmocka_unit_test(at_the_bound_what_left_is_passed_over),
        cmocka_unit_test(a_tail_shorter_than_the_window_is_a_reseed_and_told_of_once),
        cmocka_unit_test(a_copy_and_a_snapshot_have_the_ring),
        cmocka_unit_test(a_damaged_ring_or_state_is_refused_and_changes_nothing),
        cmocka_unit_test(a_forged_ring_or_state_with_good_checksums_is_refused),
        cmocka_unit_test(after_a_load_a_reply_is_given_once_more_from_where_it_was_live),
        cmocka_unit_test(layers_share_what_the_first_of_them_wrote_or_have_nothing),
        cmocka_unit_test(at_random_the_ring_shows_what_is_live),
        cmocka_unit_test(prompts_at_random_find_in_the_ring_what_the_window_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
