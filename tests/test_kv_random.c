/* Random operations on a cache beside a naive model of it: each sequence a list of (token, its index, position, cell), each
 * cell a vector and a count of owners. KVETCH_SOAK in the environment makes it ten million of them; KVETCH_KV_OPS and
 * KVETCH_KV_SEED choose another length and start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/hash.h"
#include "kv/kv_slot.h"

enum { SEQS = 5, DIM = 4, MOST = 1200, POOL = SEQS * MOST };

struct cell {
    float k[DIM], v[DIM];
    int owners;
};
struct item {
    size_t index;
    int64_t pos;
    int cell;
    int32_t token;
};
struct list {
    struct item item[MOST];
    int n;
    size_t n_tokens;
    bool leased;
};
struct naive {
    struct kv *c;
    struct cell cell[POOL];
    struct list seq[SEQS];
    uint32_t bound;
    uint64_t random;
    struct kv_config config;
};

static const double freq[DIM / 2] = {1.0, 0.03};

static uint32_t below(struct naive *m, uint32_t n) {
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((m->random >> 33) % n);
}

/* ---- the model ---- */

static uint32_t used(const struct naive *m) {
    uint32_t n = 0;
    for (int i = 0; i < POOL; i++) n += m->cell[i].owners > 0;
    return n;
}

static bool sole(const struct naive *m, const struct item *it) {
    return m->cell[it->cell].owners == 1;
}

static int free_cell(const struct naive *m) {
    int i = 0;
    while (m->cell[i].owners) i++;
    return i;
}

/* Removes items [from, to). */
static void cut(struct naive *m, int seq, int from, int to) {
    struct list *l = &m->seq[seq];
    for (int i = from; i < to; i++) m->cell[l->item[i].cell].owners--;
    memmove(l->item + from, l->item + to, (size_t)(l->n - to) * sizeof *l->item);
    l->n -= to - from;
}

/* The same by a caller's wish: a tail is forgotten. */
static void take(struct naive *m, int seq, int from, int to) {
    struct list *l = &m->seq[seq];
    if (from >= to) return;
    size_t first = l->item[from].index;
    bool tail = to == l->n;
    cut(m, seq, from, to);
    if (l->n == 0)
        l->n_tokens = 0;
    else if (tail)
        l->n_tokens = first;
}

static int find(const struct list *l, int64_t pos) {
    int i = 0;
    while (i < l->n && l->item[i].pos < pos) i++;
    return i;
}

static void range(struct naive *m, const struct list *l, int64_t *p0, int64_t *p1) {
    int64_t end = l->n ? l->item[l->n - 1].pos + 2 : 3;
    *p0 = below(m, 8) ? (int64_t)below(m, (uint32_t)(end < 4000 ? end : 4000)) + (end < 4000 ? 0 : end - 4000) : -1;
    *p1 = below(m, 3) ? *p0 + (int64_t)below(m, 60) : -1;
}

/* Evicts so that n more fit; false, with nothing changed, where that cannot be. */
static bool evict(struct naive *m, int seq, uint32_t n) {
    struct list *l = &m->seq[seq];
    uint32_t own = 0, kept = 0;
    enum kv_evict mode = m->c->config.evict;
    size_t keep = m->config.keep;
    if (mode == KV_EVICT_SLIDE && keep < 4) keep = 4;
    for (int i = 0; i < l->n; i++)
        if (sole(m, &l->item[i])) *(l->item[i].index < keep ? &kept : &own) += 1;
    uint32_t others = m->config.streams ? 0 : used(m) - own - kept, limit = m->bound > others ? m->bound - others : 0, total = own + kept + n;
    if (total <= limit) return true;
    uint32_t want = total - limit;
    if (mode == KV_EVICT_STOP || want > own) return false;
    if (mode == KV_EVICT_SHIFT) {
        uint32_t beside = limit > kept ? limit - kept : 0, share = (uint32_t)ceil(0.5 * beside), goal = limit - share;
        if (total - n > goal && total - n - goal > want) want = total - n - goal;
        if (beside >= 512) want = (want + 255) / 256 * 256;
        if (want > own) want = own;
    }
    int from = 0, to;
    while (from < l->n && l->item[from].index < keep) from++;
    uint32_t cells = 0;
    for (to = from; to < l->n && cells < want; to++) cells += sole(m, &l->item[to]);
    if (mode == KV_EVICT_SLIDE && want == own) to = l->n;
    if (to < l->n) {
        int64_t raise = l->item[to].pos - l->item[from].pos;
        for (int i = 0; i < from; i++) l->item[i].pos += raise;
    }
    cut(m, seq, from, to);
    return true;
}

static void turn(struct naive *m, float *k, int64_t by) {
    float cs[DIM];
    if (by == 0) return;
    kv_rope_angles(&m->config.rope, by, cs);
    kv_rope_turn(&m->config.rope, cs, 1, k);
}

/* Moves items [from, to) to where `to_pos` says; shared cells become copies. */
static void move_items(struct naive *m, struct list *l, int from, int to, int64_t add, int div) {
    for (int i = from; i < to; i++) {
        struct item *it = &l->item[i];
        int64_t pos = div ? it->pos / div : it->pos + add;
        if (m->cell[it->cell].owners > 1) {
            int copy = free_cell(m);
            m->cell[copy] = m->cell[it->cell];
            m->cell[copy].owners = 1;
            m->cell[it->cell].owners--;
            it->cell = copy;
        }
        turn(m, m->cell[it->cell].k, pos - it->pos);
        it->pos = pos;
    }
}

/* ---- operations, on both ---- */

static void random_row(struct naive *m, float *x) {
    for (int i = 0; i < DIM; i++) x[i] = (float)below(m, 2001) / 1000 - 1;
}

/* Computes the batch: all of it becomes visible. */
static void enter(struct naive *m, int seq, struct kv_batch *b, const int32_t *token) {
    struct list *l = &m->seq[seq];
    for (uint32_t i = 0; i < b->n; i++) {
        int cell = free_cell(m);
        struct cell *z = &m->cell[cell];
        z->owners = 1;
        random_row(m, z->k);
        random_row(m, z->v);
        kv_write(m->c, b, 0, i, i + 1, z->k, DIM, z->v, DIM);
        assert_true(l->n < MOST);
        l->item[l->n++] = (struct item){l->n_tokens++, b->pos + i, cell, token[i]};
    }
    kv_finish(m->c, b);
}

static void op_append(struct naive *m, int seq) {
    struct list *l = &m->seq[seq];
    uint32_t n = below(m, 4) ? 1 + below(m, 3) : 1 + below(m, 60);
    int32_t token[60];
    struct kv_batch b;
    for (uint32_t i = 0; i < n; i++) token[i] = (int32_t)below(m, 1000);
    size_t room = kv_batch_room(m->c, seq);
    bool fits = evict(m, seq, n);
    int rc = kv_begin(m->c, seq, token, n, SIZE_MAX, &b, NULL);
    assert_int_equal(rc, fits ? 0 : ERR_CONTEXT);
    assert_int_equal(fits, n <= room);
    if (rc) return;
    assert_int_equal(b.pos, l->n ? l->item[l->n - 1].pos + 1 : 0);
    if (below(m, 10) == 0) {
        kv_abandon(m->c, &b);
        return;
    }
    enter(m, seq, &b, token);
}

static void op_rm(struct naive *m, int seq) {
    int64_t p0, p1;
    range(m, &m->seq[seq], &p0, &p1);
    bool all = below(m, 12) == 0;
    assert_true(kv_seq_rm(m->c, all ? -1 : seq, p0, p1));
    for (int s = all ? 0 : seq; s < (all ? SEQS : seq + 1); s++) {
        struct list *l = &m->seq[s];
        take(m, s, p0 < 0 ? 0 : find(l, p0), p1 < 0 ? l->n : find(l, p1));
        if (l->n == 0 && p0 <= 0 && p1 < 0) l->n_tokens = 0;
    }
}

/* What must not change when something is refused. */
static uint64_t fingerprint(const struct kv *c) {
    uint64_t h = hash_bytes(c->cells.owner, c->cells.n * sizeof *c->cells.owner, c->cells.n);
    h = hash_bytes(&c->cells.hint, sizeof c->cells.hint, h + c->arena.n_blocks);
    for (int s = 0; s < SEQS; s++) {
        const struct kv_seq *q = &c->seq[s];
        for (size_t i = 0; i < q->n_runs; i++) {
            const struct kv_run *r = &q->run[i];
            int64_t run[5] = {r->pos, r->offset, (int64_t)r->index, r->cell, r->n};
            h = hash_bytes(run, sizeof run, h);
        }
        if (q->n_tokens) h = hash_bytes(q->token, q->n_tokens * sizeof *q->token, h + q->n_cells);
    }
    return h;
}

/* Whether n cells side by side are free, or would be after growing to the bound. */
static bool has_run(const struct naive *m, uint32_t n) {
    uint32_t len = 0, pool = kv_pool(m->c);
    for (uint32_t i = 0; i < pool && len < n; i++) len = i < m->c->cells.n && m->c->cells.owner[i] ? 0 : len + 1;
    return len >= n;
}

static bool side_by_side(const struct kv_batch *b) {
    for (uint32_t i = 1; i < b->n; i++)
        if (b->cell[i] != b->cell[0] + i) return false;
    return true;
}

/* Several micro-batches of several sequences: all are placed or none. */
static void op_prepare(struct naive *m, int seq) {
    (void)seq;
    int32_t token[4][60];
    struct kv_ubatch u[4];
    size_t n = 1 + below(m, 4);
    uint32_t more[SEQS] = {0}, all = 0;
    bool contiguous = below(m, 2), fits = true;
    for (size_t i = 0; i < n; i++) {
        u[i] = (struct kv_ubatch){(int)below(m, SEQS), token[i], 1 + below(m, below(m, 2) ? 60 : 5), SIZE_MAX};
        for (uint32_t k = 0; k < u[i].n; k++) token[i][k] = (int32_t)below(m, 1000);
        more[u[i].seq] += u[i].n;
        all += u[i].n;
    }
    if (m->config.streams)
        for (int s = 0; s < SEQS; s++) fits = fits && (!more[s] || (uint32_t)m->seq[s].n + more[s] <= m->bound);
    else
        fits = used(m) + all <= m->bound;
    bool sure = !contiguous || (n == 1 && !m->config.streams);
    if (sure && contiguous) fits = fits && has_run(m, all);
    uint64_t before = fingerprint(m->c);
    int rc = kv_prepare(m->c, u, n, contiguous, NULL);
    if (sure)
        assert_int_equal(rc, fits ? 0 : ERR_CONTEXT);
    else
        assert_true(rc == 0 ? fits : rc == ERR_CONTEXT);
    if (rc) {
        assert_true(before == fingerprint(m->c));
        return;
    }
    struct kv_batch b;
    for (size_t i = 0; i < n; i++) {
        const struct list *l = &m->seq[u[i].seq];
        assert_true(kv_slot_next(m->c, &b));
        assert_true(b.seq == u[i].seq && b.n == u[i].n && (!contiguous || side_by_side(&b)));
        assert_int_equal(b.pos, l->n ? l->item[l->n - 1].pos + 1 : 0);
        assert_false(kv_seq_rm(m->c, 0, -1, -1));
        if (below(m, 12) == 0) {
            kv_abandon(m->c, &b);
            return;
        }
        enter(m, b.seq, &b, token[i]);
    }
    assert_false(m->c->running.on);
}

/* Lists in the order of their positions; indices rise on where they would not. */
static void join(struct naive *m, struct list *z, const struct list *a, const int64_t p[2], const int part[4]) {
    static struct list out;
    int low = part[0], high = part[1], from = part[2], to = part[3];
    out = (struct list){.leased = z->leased};
    size_t end = 0;
    for (int i = 0; i < low; i++) out.item[out.n++] = z->item[i];
    if (low) end = z->item[low - 1].index + 1;
    out.n_tokens = end;
    if (from < to) {
        size_t shift = end > a->item[from].index ? end - a->item[from].index : 0;
        for (int i = from; i < to; i++) {
            out.item[out.n] = a->item[i];
            out.item[out.n++].index += shift;
        }
        end = a->item[to - 1].index + 1 + shift;
        out.n_tokens = p[1] < 0 ? a->n_tokens + shift : end;
    }
    if (high < z->n) {
        size_t shift = end > z->item[high].index ? end - z->item[high].index : 0;
        for (int i = high; i < z->n; i++) {
            out.item[out.n] = z->item[i];
            out.item[out.n++].index += shift;
        }
        out.n_tokens = z->n_tokens + shift;
    }
    for (int i = 0; i < z->n; i++) m->cell[z->item[i].cell].owners--;
    for (int i = 0; i < out.n; i++) {
        assert_true(i < MOST - 1);
        m->cell[out.item[i].cell].owners++;
    }
    *z = out;
}

/* Every item gets a cell of its own. */
static void copy_items(struct naive *m, struct list *z) {
    for (int i = 0; i < z->n; i++) {
        int copy = free_cell(m);
        m->cell[copy] = m->cell[z->item[i].cell];
        m->cell[copy].owners = 1;
        m->cell[z->item[i].cell].owners--;
        z->item[i].cell = copy;
    }
}

/* Whether a cell would stand twice in z: outside the range and, by another shift, in it. */
static bool twice(const struct list *z, const struct list *a, const int part[4]) {
    static bool seen[POOL];
    bool found = false;
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < z->n; i++)
        if (i < part[0] || i >= part[1]) seen[z->item[i].cell] = true;
    for (int i = part[2]; i < part[3]; i++) found = found || seen[a->item[i].cell];
    return found;
}

static void op_cp(struct naive *m, int seq) {
    int dst = (int)below(m, SEQS), want = 0;
    struct list *a = &m->seq[seq], *z = &m->seq[dst];
    int64_t p[2];
    range(m, a, &p[0], &p[1]);
    if (below(m, m->config.streams ? 2 : 6) == 0) p[0] = p[1] = -1;
    int from = p[0] < 0 ? 0 : find(a, p[0]), to = p[1] < 0 ? a->n : find(a, p[1]);
    int low = p[0] < 0 ? 0 : find(z, p[0]), high = p[1] < 0 ? z->n : find(z, p[1]);
    if (p[1] >= 0 && p[1] < p[0]) to = from, high = low;
    if (m->config.streams && a->n) {
        if (from > 0 || to < a->n || (p[0] > a->item[0].pos)) want = ERR_USAGE;
        if (!want && (uint32_t)a->n > m->bound) want = ERR_CONTEXT;
    }
    if (m->config.streams && !want) from = low = 0, to = a->n, high = z->n, p[1] = -1;
    const int part[4] = {low, high, from, to};
    if (!want && !m->config.streams && twice(z, a, part)) want = ERR_USAGE;
    uint64_t before = fingerprint(m->c);
    int rc = kv_seq_cp(m->c, seq, dst, p[0], p[1], NULL);
    if (seq == dst) return;
    assert_int_equal(rc, want);
    if (rc || (from >= to && low >= high)) {
        assert_true(before == fingerprint(m->c));
        return;
    }
    join(m, z, a, p, part);
    if (m->config.streams) copy_items(m, z);
}

static void op_move(struct naive *m, int seq) {
    struct list *l = &m->seq[seq];
    int64_t p0, p1, d = (int64_t)below(m, 41) - 20;
    int div = below(m, 2) ? (int)below(m, 3) + 1 : 0;
    range(m, l, &p0, &p1);
    int rc = div ? kv_seq_div(m->c, seq, p0, p1, div, NULL) : kv_seq_add(m->c, seq, p0, p1, d, NULL);
    if (div ? div == 1 : d == 0) return;
    int from = p0 < 0 ? 0 : find(l, p0), to = p1 < 0 ? l->n : find(l, p1), live = from;
    while (!div && live < to && l->item[live].pos + d < 0) live++;
    if (from >= to) return;
    int want = 0;
    uint32_t shared = 0;
    if (live < to) {
        int64_t first = div ? l->item[live].pos / div : l->item[live].pos + d;
        int64_t last = div ? l->item[to - 1].pos / div : l->item[to - 1].pos + d;
        if (from > 0 && first <= l->item[from - 1].pos) want = ERR_USAGE;
        if (to < l->n && last >= l->item[to].pos) want = ERR_USAGE;
    }
    for (int i = live; i < to; i++) shared += !sole(m, &l->item[i]);
    if (!want && shared && used(m) + shared > m->bound) want = ERR_MEMORY;
    assert_int_equal(rc, want);
    if (rc) return;
    move_items(m, l, live, to, d, div);
    take(m, seq, from, live);
}

static void release(struct naive *m, int seq) {
    struct list *l = &m->seq[seq];
    cut(m, seq, 0, l->n);
    l->n_tokens = 0;
    l->leased = false;
}

static bool is_clean(const struct list *l) {
    return l->n == 0 && l->n_tokens == 0;
}

static void op_lease(struct naive *m, int seq) {
    uint32_t what = below(m, 40);
    if (what < 10) {
        bool fits = is_clean(&m->seq[seq]);
        assert_true(kv_release(m->c, seq) == fits);
        if (fits) release(m, seq);
    } else if (what < 20) {
        kv_evict(m->c, seq);
        release(m, seq);
    } else if (what == 20) {
        kv_retain(m->c, seq);
        for (int s = 0; s < SEQS; s++)
            if (s != seq) release(m, s);
        m->seq[seq].leased = true;
    } else if (what == 21 && below(m, 3) == 0) {
        kv_evict_all(m->c);
        for (int s = 0; s < SEQS; s++) release(m, s);
        assert_int_equal(m->c->cells.used, 0);
    }
    size_t vacant = (size_t)kv_seqs(m->c) - SEQS;
    int want = -1;
    for (int s = SEQS - 1; s >= 0; s--)
        if (!m->seq[s].leased && is_clean(&m->seq[s])) {
            want = s;
            vacant++;
        }
    assert_int_equal(kv_available(m->c), vacant);
    if (want < 0 && vacant) return; /* it would be one that the model does not have */
    assert_int_equal(kv_acquire(m->c), want);
    if (want < 0) return;
    const int32_t *token;
    const struct kv_range *left;
    assert_int_equal(kv_tokens(m->c, want, &token), 0);
    assert_int_equal(kv_left(m->c, want, &left), 0);
    assert_int_equal(kv_seq_pos_max(m->c, want), -1);
    for (uint32_t i = 0; i < m->c->cells.n; i++) assert_false(m->c->cells.owner[i] >> want & 1);
    m->seq[want].leased = true;
}

static void op_limits(struct naive *m, int seq) {
    static const enum kv_evict mode[4] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE, KV_EVICT_SLIDE, KV_EVICT_STOP};
    (void)seq;
    uint32_t what = below(m, 6);
    if (what == 0) {
        m->bound = 64 + below(m, 1000);
        assert_int_equal(kv_set_bound(m->c, m->bound, NULL), 0);
    } else if (what < 3)
        assert_int_equal(kv_set_evict(m->c, mode[below(m, 4)], NULL), 0);
    else if (what == 3)
        kv_shrink(m->c);
    else if (what == 4)
        assert_int_equal(kv_grow_to(m->c, 1 + below(m, kv_bound_cells(m->c)), NULL), 0);
    else if (below(m, 4) == 0) {
        kv_clear(m->c, below(m, 2));
        for (int s = 0; s < SEQS; s++) {
            cut(m, s, 0, m->seq[s].n);
            m->seq[s].n_tokens = 0;
        }
    }
}

static void op_keep(struct naive *m, int seq) {
    if (below(m, 5)) return;
    kv_seq_keep(m->c, seq);
    for (int s = 0; s < SEQS; s++)
        if (s != seq) {
            cut(m, s, 0, m->seq[s].n);
            m->seq[s].n_tokens = 0;
        }
}

/* ---- comparing ---- */

static void compare(struct naive *m, int seq, bool bytes) {
    const struct list *l = &m->seq[seq];
    const struct kv_layout *o = kv_get_layout(m->c);
    struct kv_batch b = {.seq = seq};
    struct kv_view v;
    const int32_t *token;
    kv_get_view(m->c, &b, &v);
    kv_tokens(m->c, seq, &token);
    int i = 0;
    for (size_t s = 0; s < v.n_spans; s++)
        for (uint32_t k = 0; k < v.span[s].n; k++, i++) {
            const struct kv_span *p = &v.span[s];
            assert_true(i < l->n && p->first + p->n <= KV_BLOCK);
            assert_int_equal(p->pos + k, l->item[i].pos);
            assert_int_equal(token[l->item[i].index], l->item[i].token);
            if (!bytes) continue;
            assert_memory_equal(p->block + (p->first + k) * o->k_row_bytes, m->cell[l->item[i].cell].k,
                                sizeof(float[DIM]));
            assert_memory_equal(p->block + o->v_base + (p->first + k) * o->v_row_bytes, m->cell[l->item[i].cell].v,
                                sizeof(float[DIM]));
        }
    assert_int_equal(i, l->n);
    assert_int_equal(v.n_cells, l->n);
    assert_int_equal(kv_tokens(m->c, seq, &token), l->n_tokens);
    assert_int_equal(kv_seq_pos_max(m->c, seq), l->n ? l->item[l->n - 1].pos : -1);
    assert_int_equal(kv_seq_count_left(&m->c->seq[seq], 0, l->n_tokens) + (size_t)l->n, l->n_tokens);
    uint64_t gaps = 0;
    for (i = 1; i < l->n; i++) gaps += l->item[i].pos > l->item[i - 1].pos ? (uint64_t)(l->item[i].pos - l->item[i - 1].pos - 1) : 0;
    assert_int_equal(kv_seq_gaps(m->c, seq), gaps);
}

static uint64_t setting(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

/* n of the operations on one pool, or on streams. */
static void run(uint32_t streams, uint64_t n) {
    static void (*const op[])(struct naive *, int) = {op_append, op_append, op_append, op_append, op_append, op_append, op_append,
                                                      op_append, op_rm,     op_rm,     op_cp,     op_move,   op_lease,  op_limits,
                                                      op_keep,   op_prepare, op_prepare};
    struct naive *m = calloc(1, sizeof *m);
    m->bound = 300;
    m->random = setting("KVETCH_KV_SEED", 1);
    m->config = (struct kv_config){.n_layers = 1,
                                   .n_kv_heads = 1,
                                   .head_dim_k = DIM,
                                   .head_dim_v = DIM,
                                   .type_k = num_find(NUM_F32),
                                   .type_v = num_find(NUM_F32),
                                   .rope = {.n_rot = DIM, .magnitude = 1, .freq = freq},
                                   .bound = 300,
                                   .streams = streams,
                                   .keep = 7};
    assert_int_equal(kv_open(&m->c, &m->config, NULL), 0);
    for (uint64_t i = 0; i < n; i++) {
        int seq = (int)below(m, SEQS);
        op[below(m, sizeof op / sizeof *op)](m, seq);
        compare(m, seq, false);
        if (i % 32) continue;
        for (int s = 0; s < SEQS; s++) compare(m, s, true);
        assert_int_equal(m->c->cells.used, used(m));
    }
    kv_close(m->c);
    free(m);
}

static uint64_t n_operations(void) {
    return setting("KVETCH_KV_OPS", getenv("KVETCH_SOAK") ? 10000000 : 150000);
}

static void random_operations_on_one_pool_agree_with_a_naive_model(void **state) {
    (void)state;
    run(0, n_operations());
}

static void random_operations_on_streams_agree_with_a_naive_model(void **state) {
    (void)state;
    run(SEQS, n_operations());
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations_on_one_pool_agree_with_a_naive_model),
                                       cmocka_unit_test(random_operations_on_streams_agree_with_a_naive_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
