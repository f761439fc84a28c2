/* Random switching, editing, forking and parking beside a naive model of what each cell has seen. A cell's trace is a hash of its token
 * and of the trace of the live token before it when it was computed: where the traces of a sequence are those of its live tokens
 * computed afresh, so are its keys and values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/hash.h"
#include "tests/support_kv.h"

enum { TALKS = 12, MOST = 900, BOUND = 600, PARKED = 900, POOL = 4096 };

struct talk {
    int32_t token[MOST];
    size_t n;
};
struct naive {
    struct kv *c;
    struct talk talk[TALKS];
    uint64_t trace[POOL];
    uint64_t random, n_computed, n_kept;
};

static uint32_t below(struct naive *m, uint32_t n) {
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((m->random >> 33) % n);
}

static uint64_t next_trace(uint64_t before, int32_t token) {
    uint64_t key[2] = {before, (uint64_t)token};
    return hash_bytes(key, sizeof key, 0);
}

static void feed(struct naive *m, const int32_t *token, size_t first, uint32_t n) {
    const struct kv_seq *s = &m->c->seq[0];
    struct kv_batch b;
    struct err e = {0};
    if (kv_begin(m->c, 0, token, n, first, &b, &e)) fail_msg("%s", e.text);
    const struct kv_run *z = s->n_runs ? &s->run[s->n_runs - 1] : NULL;
    uint64_t trace = z ? m->trace[z->cell + z->n - 1] : 0;
    for (uint32_t i = 0; i < n; i++) {
        float row[KVT_ROW];
        for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
            for (int value = 0; value < 2; value++) {
                kvt_row(token[i], b.pos + i, layer, value, row);
                if (!value) kv_write(m->c, &b, layer, i, i + 1, row, KVT_ROW, row, KVT_ROW);
            }
        m->trace[b.cell[i]] = trace = next_trace(trace, token[i]);
    }
    kv_finish(m->c, &b);
}

static void compute(struct naive *m, const struct kv_range *todo, size_t n, const int32_t *all) {
    struct kv_range range[64];
    int32_t token[70];
    assert_true(n <= 64);
    if (n) memcpy(range, todo, n * sizeof *todo);
    for (size_t i = 0; i < n; i++)
        for (size_t at = range[i].first, end = at + range[i].n; at < end;) {
            uint32_t now = end - at < 70 ? (uint32_t)(end - at) : 70;
            memcpy(token, all + at, now * sizeof *token);
            feed(m, token, at, now);
            m->n_computed += now;
            at += now;
        }
}

/* What is live was computed as it stands now, and where it was not the cache knows. */
static void check_traces(struct naive *m, bool exact) {
    const struct kv_seq *s = &m->c->seq[0];
    size_t taint = kv_seq_taint(s);
    uint64_t trace = 0;
    for (size_t i = 0; i < s->n_runs; i++)
        for (uint32_t k = 0; k < s->run[i].n; k++) {
            uint32_t cell = s->run[i].cell + k;
            trace = next_trace(trace, s->token[s->run[i].index + k]);
            bool same = m->trace[cell] == trace;
            assert_true(same || s->run[i].index + k >= taint);
            assert_true(same || !exact);
        }
}

static void check_counts(const struct naive *m) {
    const struct kv_cells *t = &m->c->cells;
    uint32_t used = 0, parked = 0, resting = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        used += t->owner[i] != 0;
        parked += (t->owner[i] & t->parked) != 0;
        resting += t->owner[i] && !(t->owner[i] & ~t->parked);
    }
    assert_int_equal(used, t->used);
    assert_int_equal(parked, t->n_parked);
    assert_int_equal(resting, t->n_resting);
    assert_true(parked <= PARKED && used - resting <= BOUND && t->n <= POOL);
}

/* ---- operations ---- */

/* Turns of 50 tokens behind 20 that are kept. */
static size_t make_turns(const struct talk *t, struct kv_turn *turn) {
    size_t n = 0;
    for (size_t first = 20; first < t->n; first += 50)
        turn[n++] = (struct kv_turn){first, t->n - first < 50 ? t->n - first : 50, first == 70};
    return n;
}

static void op_ask(struct naive *m, uint32_t i) {
    struct talk *t = &m->talk[i];
    struct kv_turn turn[MOST / 50 + 2];
    struct kv_plan plan;
    struct err e = {0};
    struct kv_prompt p = {.token = t->token, .n_tokens = t->n, .n_keep = 20, .turn = turn, .conversation = i + 1};
    p.n_turns = make_turns(t, turn);
    const struct kv_cells *t0 = &m->c->cells;
    size_t before = kv_prompt_common(m->c, 0, &p), live_before = kv_seq_count(&m->c->seq[0], t0, 0, before, false);
    kv_prompt_choose(m->c, 0, &p);
    size_t after = kv_prompt_common(m->c, 0, &p), live_after = kv_seq_count(&m->c->seq[0], t0, 0, after, false);
    assert_true(after >= before || live_after >= live_before || kv_evict_mode(m->c) == KV_EVICT_RESEED);
    check_counts(m);
    uint64_t source = m->c->seq[0].conversation;
    int rc = kv_sync(m->c, 0, &p, &plan, &e);
    if (rc) {
        assert_int_equal(rc, ERR_CONTEXT);
        assert_int_equal(kv_evict_mode(m->c), KV_EVICT_STOP);
        return;
    }
    assert_true(plan.n_todo_tokens >= 1);
    m->n_kept += plan.n_cached;
    /* of another conversation nothing that saw what has left */
    check_traces(m, source != i + 1 && !plan.evicted_tokens);
    size_t live = plan.n_cached + plan.n_todo_tokens;
    compute(m, plan.todo, plan.n_todo, t->token);
    const int32_t *token;
    assert_int_equal(kv_tokens(m->c, 0, &token), t->n);
    assert_memory_equal(token, t->token, t->n * sizeof *token);
    assert_int_equal(m->c->seq[0].n_cells, live);
    check_traces(m, kv_evict_mode(m->c) == KV_EVICT_RESEED);
}

/* A reply, and now and then one that passes the bound. */
static void op_answer(struct naive *m, uint32_t i) {
    struct talk *t = &m->talk[i];
    op_ask(m, i);
    if (m->c->seq[0].n_tokens != t->n) return;
    for (uint32_t n = below(m, 8) ? below(m, 30) : below(m, 400); n > 0 && t->n < MOST; n--) {
        struct kv_plan plan;
        int32_t token = (int32_t)below(m, 50);
        if (kv_make_room(m->c, 0, 1, &plan, NULL)) break;
        const int32_t *all;
        kv_tokens(m->c, 0, &all);
        compute(m, plan.todo, plan.n_todo, all);
        feed(m, &token, SIZE_MAX, 1);
        t->token[t->n++] = token;
    }
    check_traces(m, kv_evict_mode(m->c) == KV_EVICT_RESEED);
}

static void op_edit(struct naive *m, uint32_t i) {
    struct talk *t = &m->talk[i];
    t->n = 21 + below(m, (uint32_t)t->n - 20);
    t->token[t->n - 1] = (int32_t)below(m, 50);
    op_ask(m, i);
}

static void op_fork(struct naive *m, uint32_t i) {
    struct talk *t = &m->talk[below(m, TALKS)];
    if (t == &m->talk[i]) return;
    m->talk[i] = *t;
    if (below(m, 2)) op_edit(m, i);
}

static void op_new(struct naive *m, uint32_t i) {
    struct talk *t = &m->talk[i];
    t->n = 21 + below(m, 200);
    for (size_t k = 20; k < t->n; k++) t->token[k] = (int32_t)below(m, 50);
    op_ask(m, i);
}

static void op_park(struct naive *m, uint32_t i) {
    kv_prompt_park(m->c, 0);
    assert_int_equal(m->c->seq[0].n_tokens, 0);
    check_counts(m);
    if (!kv_prompt_resume(m->c, 0, i + 1)) return;
    assert_int_equal(m->c->seq[0].conversation, i + 1);
    check_traces(m, false);
}

static void op_other(struct naive *m, uint32_t i) {
    static const enum kv_evict mode[6] = {KV_EVICT_SHIFT, KV_EVICT_SHIFT, KV_EVICT_SLIDE,
                                          KV_EVICT_RESEED, KV_EVICT_RESEED, KV_EVICT_STOP};
    (void)i;
    switch (below(m, 8)) {
    case 0: kv_shrink(m->c); break;
    case 1: kv_prompt_drop_oldest(m->c); break;
    case 2: kv_seq_rm(m->c, 0, -1, -1); break;
    default: assert_int_equal(kv_set_evict(m->c, mode[below(m, 6)], NULL), 0);
    }
}

static void parking_agrees_with_what_each_cell_has_seen(void **state) {
    (void)state;
    static void (*const op[])(struct naive *, uint32_t) = {op_ask,  op_ask,  op_ask,  op_answer, op_answer, op_answer,
                                                           op_edit, op_fork, op_park, op_new,    op_other};
    struct naive *m = calloc(1, sizeof *m);
    struct kv_config g = kvt_config(BOUND, "f16");
    g.prompt_bytes = 1 << 30;
    g.prompt_tokens = PARKED;
    m->c = kvt_open(&g);
    m->random = 7;
    for (uint32_t i = 0; i < TALKS; i++) op_new(m, i);
    int n = getenv("KVETCH_SOAK") ? 1000000 : 60000;
    for (int i = 0; i < n; i++) {
        op[below(m, sizeof op / sizeof *op)](m, below(m, TALKS));
        check_counts(m);
    }
    print_message("[ INFO     ] %llu tokens computed, %llu kept\n", (unsigned long long)m->n_computed, (unsigned long long)m->n_kept);
    assert_true(m->n_kept > m->n_computed);
    kv_close(m->c);
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parking_agrees_with_what_each_cell_has_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
