/* kv_copy: one sequence, or a range of it, into another (kv_seq_cp).
 *
 * What dst becomes is built beside it: its own tokens before the range, those of src, its own behind. Owners change when nothing can
 * fail any more. Token indices are those of src and dst as long as they rise; where they do not, what comes later is numbered on. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_slot.h"

/* A part of a sequence: runs in [p0, p1). */
struct part {
    const struct kv_seq *s;
    int64_t p0, p1;
    bool any;
    size_t first, end; /* its token indices, */
    size_t shift;      /* which rise by that much */
};

/* The run's cells within the part; n is 0 where there are none. */
static struct kv_run clip(const struct part *p, const struct kv_run *r) {
    struct kv_run z = *r;
    int64_t skip = p->p0 > kv_run_first(r) ? p->p0 - kv_run_first(r) : 0, over = kv_run_end(r) > p->p1 ? kv_run_end(r) - p->p1 : 0;
    z.n = skip + over < r->n ? r->n - (uint32_t)(skip + over) : 0;
    z.cell += (uint32_t)skip;
    z.index += (size_t)skip;
    z.pos += skip;
    return z;
}

static struct part part_of(const struct kv_seq *s, int64_t p0, int64_t p1) {
    struct part p = {.s = s, .p0 = p0, .p1 = p1};
    for (size_t i = kv_seq_find_pos(s, p0); i < s->n_runs && kv_run_first(&s->run[i]) < p1; i++) {
        struct kv_run r = clip(&p, &s->run[i]);
        if (!r.n) continue;
        if (!p.any) p.first = r.index;
        p.any = true;
        p.end = r.index + r.n;
    }
    return p;
}

static void push_part(struct kv_seq *out, const struct part *p) {
    for (size_t i = kv_seq_find_pos(p->s, p->p0); p->any && i < p->s->n_runs && kv_run_first(&p->s->run[i]) < p->p1; i++) {
        struct kv_run r = clip(p, &p->s->run[i]);
        r.index += p->shift;
        if (r.n) kv_seq_push(out, &r);
    }
}

static void push_turns(struct kv_seq *out, const struct kv_seq *s, size_t from, size_t end, size_t shift) {
    for (size_t i = 0; i < s->n_turns; i++)
        if (s->turn[i].first >= from && s->turn[i].first < end) {
            out->turn[out->n_turns] = s->turn[i];
            out->turn[out->n_turns++].first += shift;
        }
}

/* Whether both parts hold the same cells at the same positions: runs are the longest there can be, but for cuts. */
static bool same_cells(const struct part *a, const struct part *b) {
    size_t i = kv_seq_find_pos(a->s, a->p0), j = kv_seq_find_pos(b->s, b->p0);
    uint32_t ia = 0, jb = 0;
    for (;;) {
        struct kv_run x = i < a->s->n_runs ? clip(a, &a->s->run[i]) : (struct kv_run){0};
        struct kv_run y = j < b->s->n_runs ? clip(b, &b->s->run[j]) : (struct kv_run){0};
        if (!x.n || !y.n) return x.n == y.n;
        if (x.cell + ia != y.cell + jb || kv_run_first(&x) + ia != kv_run_first(&y) + jb || x.offset != y.offset) return false;
        uint32_t n = x.n - ia < y.n - jb ? x.n - ia : y.n - jb;
        ia += n;
        jb += n;
        if (ia == x.n) i++, ia = 0;
        if (jb == y.n) j++, jb = 0;
    }
}

/* What is between live tokens has left. */
static void fill_left(struct kv_seq *out) {
    size_t at = 0;
    out->n_left = 0;
    for (size_t i = 0; i < out->n_runs; at = out->run[i].index + out->run[i].n, i++)
        kv_seq_add_left(out, (struct kv_range){at, out->run[i].index - at});
    kv_seq_add_left(out, (struct kv_range){at, out->n_tokens - at});
}

struct splice {
    struct part low, mid, high; /* of dst, src, dst */
    size_t low_end, mid_first, mid_end, n_tokens;
};

/* Which token gets which number. */
static struct splice splice_plan(const struct kv_seq *a, const struct kv_seq *z, int64_t p0, int64_t p1) {
    struct splice x = {.low = part_of(z, 0, p0), .mid = part_of(a, p0, p1), .high = part_of(z, p1, INT64_MAX)};
    x.low_end = x.mid_first = x.mid_end = x.low.any ? x.low.end : 0;
    if (x.mid.any) {
        x.mid.shift = x.low_end > x.mid.first ? x.low_end - x.mid.first : 0;
        x.mid_first = x.mid.first + x.mid.shift;
        x.mid_end = x.mid.end + x.mid.shift;
    }
    x.n_tokens = x.mid_end;
    if (x.high.any) {
        x.high.shift = x.high.first < x.mid_end ? x.mid_end - x.high.first : 0;
        x.n_tokens = z->n_tokens + x.high.shift;
    } else if (x.mid.any && p1 == INT64_MAX)
        x.n_tokens = a->n_tokens + x.mid.shift;
    return x;
}

static void splice_tokens(struct kv_seq *out, const struct kv_seq *a, const struct kv_seq *z, const struct splice *x) {
    out->n_tokens = x->n_tokens;
    size_t mid_end = x->high.any ? x->mid_end : x->n_tokens;
    if (x->low_end) memcpy(out->token, z->token, x->low_end * sizeof *z->token);
    if (mid_end > x->low_end)
        memcpy(out->token + x->low_end, a->token + (x->low_end - x->mid.shift), (mid_end - x->low_end) * sizeof *a->token);
    if (x->n_tokens > mid_end)
        memcpy(out->token + mid_end, z->token + (mid_end - x->high.shift), (x->n_tokens - mid_end) * sizeof *z->token);
}

/* Builds in out, which has dst's other fields and no memory yet, what dst becomes. */
static int splice(const struct kv *c, const struct kv_seq *a, const struct kv_seq *z, const struct splice *x, struct kv_seq *out,
                  struct err *e) {
    out->turn = malloc((a->n_turns + z->n_turns + 1) * sizeof *out->turn);
    out->cap_turns = a->n_turns + z->n_turns + 1;
    if (!out->turn || kv_seq_reserve(out, c->cells.n, x->n_tokens > c->cells.n ? x->n_tokens : c->cells.n))
        return err_set(e, ERR_MEMORY, "no memory for a copy of %zu tokens", x->n_tokens);
    bool alone = !x->low.any && !x->high.any;
    struct part same = part_of(a, 0, x->low.p1);
    push_part(out, &x->low);
    push_part(out, &x->mid);
    push_part(out, &x->high);
    splice_tokens(out, a, z, x);
    fill_left(out);
    push_turns(out, z, 0, x->low_end, 0);
    if (x->mid.any) push_turns(out, a, alone ? 0 : x->mid.first, alone ? SIZE_MAX : x->mid.end, x->mid.shift);
    if (x->high.any) push_turns(out, z, x->high.first, SIZE_MAX, x->high.shift);
    if (!x->mid.any) return 0;
    if (!x->low.any) out->n_keep = a->n_keep;
    if (alone) out->conversation = a->conversation;
    /* what did not see the same tokens before it is not as if computed afresh */
    out->moved = alone ? a->moved : z->moved || a->moved || x->high.any || !same_cells(&x->low, &same);
    return 0;
}

/* out, which is complete, takes the place of what z was. */
static void replace(struct kv_seq *z, struct kv_seq *out) {
    free(z->run);
    free(z->token);
    free(z->left);
    free(z->turn);
    *z = *out;
}

static void unmark_runs(struct kv *c, int seq, const struct kv_seq *s, size_t n_runs) {
    for (size_t i = 0; i < n_runs; i++) kv_cells_unmark(&c->cells, s->run[i].cell, s->run[i].n, seq);
}

static void tell_runs(const struct kv *c, const struct kv_seq *s) {
    for (size_t i = 0; i < s->n_runs; i++) kv_cells_tell(&c->cells, s->run[i].cell, s->run[i].n);
}

/* seq, which owns nothing, becomes the owner of the runs of s; false, with nothing changed, where a cell is there twice. */
static bool own_runs(struct kv *c, int seq, const struct kv_seq *s) {
    for (size_t i = 0; i < s->n_runs; i++) {
        const struct kv_run *r = &s->run[i];
        for (uint32_t k = 0; k < r->n; k++)
            if (c->cells.owner[r->cell + k] >> seq & 1) {
                unmark_runs(c, seq, s, i);
                return false;
            }
        kv_cells_own(&c->cells, r->cell, r->n, seq);
    }
    return true;
}

/* dst owns what out has in place of what it has. Where they share cells and one was shifted, one of these could come to stand at two
 * positions. */
static int change_owners(struct kv *c, int dst, const struct kv_seq *out, struct err *e) {
    const struct kv_seq *z = &c->seq[dst];
    unmark_runs(c, dst, z, z->n_runs);
    if (own_runs(c, dst, out)) {
        tell_runs(c, z);
        return 0;
    }
    own_runs(c, dst, z);
    return err_set(e, ERR_USAGE, "sequence %d shares a cell of the range at another position", dst);
}

/* dst, a stream, becomes a copy of src: its cells are found anew, and their bytes copied. */
static int copy_stream(struct kv *c, int src, int dst, struct kv_seq *out, struct err *e) {
    const struct kv_seq *a = &c->seq[src];
    uint32_t n = a->n_cells, at = 0;
    if (n > c->config.bound) return err_set(e, ERR_CONTEXT, "%u cells are more than the bound of %u", n, c->config.bound);
    int rc = kv_slot_grow(c, dst, n, "copies", e);
    uint32_t *cell = rc ? NULL : malloc((n + 1) * sizeof *cell);
    if (rc) return rc;
    if (!cell || kv_seq_reserve(out, c->cells.n, 0)) {
        free(cell);
        return err_set(e, ERR_MEMORY, "no memory for a copy of %u cells", n);
    }
    unmark_runs(c, dst, &c->seq[dst], c->seq[dst].n_runs);
    tell_runs(c, &c->seq[dst]);
    bool found = kv_slot_find(c, dst, n, false, cell);
    assert(found);
    (void)found;
    out->n_runs = 0;
    out->n_cells = 0;
    for (size_t i = 0; i < a->n_runs; i++)
        for (uint32_t k = 0; k < a->run[i].n; k++, at++) {
            const struct kv_run *r = &a->run[i];
            c->memory->copy(c, r->cell + k, cell[at]);
            kv_seq_push(out, &(struct kv_run){r->pos + k, r->offset, r->index + k, cell[at], 1});
        }
    free(cell);
    own_runs(c, dst, out);
    return 0;
}

int kv_copy_cp(struct kv *c, int src, int dst, int64_t p0, int64_t p1, struct err *e) {
    assert(!c->running.on && src >= 0 && src < kv_seqs(c) && dst >= 0 && dst < kv_seqs(c));
    if (src == dst) return 0;
    const struct kv_seq *a = &c->seq[src];
    struct kv_seq *z = &c->seq[dst], out = *z;
    bool whole = p0 <= kv_seq_pos_min(c, src) && (p1 < 0 || p1 > kv_seq_pos_max(c, src));
    bool all = c->config.streams || kv_has_states(c);
    if (all && a->n_runs && !whole)
        return err_set(e, ERR_USAGE, c->config.streams ? "between streams a sequence is copied as a whole" : "a sequence with a state or a ring is copied as a whole");
    if (p0 < 0 || all) p0 = 0;
    if (p1 < 0 || all) p1 = INT64_MAX;
    struct splice x = splice_plan(a, z, p0, p1);
    if (!x.mid.any && !part_of(z, p0, p1).any) return 0;
    /* the lease and whatever else a sequence has stay */
    out.run = NULL, out.token = NULL, out.left = NULL, out.turn = NULL;
    out.cap_runs = out.cap_tokens = out.cap_left = out.cap_turns = 0;
    out.n_runs = out.n_tokens = out.n_left = out.n_turns = out.n_cells = 0;
    int rc = splice(c, a, z, &x, &out, e);
    struct kv_state state = {0};
    if (!rc) rc = kv_state_clone(c, src, &state, e);
    if (!rc) rc = c->config.streams ? copy_stream(c, src, dst, &out, e) : change_owners(c, dst, &out, e);
    if (rc) {
        kv_seq_free(&out);
        kv_state_free(&state);
        return rc;
    }
    kv_state_set(c, dst, &state);
    replace(z, &out);
    if (z->n_runs == 0) kv_ops_strip(c, dst);
    kv_growth_settle(c, 0, "copied");
    kv_stats_publish(c);
    return 0;
}
