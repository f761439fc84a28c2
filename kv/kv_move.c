/* kv_move: the two operations that change the positions of stored keys, by rotating them (kv_seq_add, kv_seq_div), and
 * sharing cells between sequences (kv_seq_cp). Shifts at the bound never come here: see kv_seq_drop.
 *
 * Rotations add up, so turning a key from position p to q is turning it by q - p. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"

/* Where a position goes. */
struct motion {
    int64_t add;
    int div; /* > 0: divides instead */
};

static int64_t moved(const struct motion *m, int64_t pos) {
    return m->div ? pos / m->div : pos + m->add;
}

static uint8_t *layer_of_cell(const struct kv *c, uint32_t cell, uint32_t layer) {
    return c->arena.base + (size_t)(cell / KV_BLOCK) * c->layout.block_bytes + layer * c->layout.layer_bytes;
}

/* Copies keys and values of all layers. */
static void copy_cell(struct kv *c, uint32_t from, uint32_t to) {
    const struct kv_layout *l = &c->layout;
    size_t kf = from % KV_BLOCK * l->k_row_bytes, kt = to % KV_BLOCK * l->k_row_bytes;
    size_t vf = l->v_base + from % KV_BLOCK * l->v_row_bytes, vt = l->v_base + to % KV_BLOCK * l->v_row_bytes;
    for (uint32_t i = 0; i < c->config.n_layers; i++) {
        const uint8_t *src = layer_of_cell(c, from, i);
        uint8_t *dst = layer_of_cell(c, to, i);
        for (uint32_t h = 0; h < c->config.n_kv_heads; h++) {
            memcpy(dst + kt + h * l->k_head_bytes, src + kf + h * l->k_head_bytes, l->k_row_bytes);
            memcpy(dst + vt + h * l->v_head_bytes, src + vf + h * l->v_head_bytes, l->v_row_bytes);
        }
    }
    kv_touch(c, to);
}

static void turn_cell(struct kv *c, uint32_t cell, const float *cs) {
    const struct kv_layout *l = &c->layout;
    float head[KV_MAX_HEAD];
    for (uint32_t i = 0; i < c->config.n_layers; i++) {
        uint8_t *row = layer_of_cell(c, cell, i) + cell % KV_BLOCK * l->k_row_bytes;
        for (uint32_t h = 0; h < c->config.n_kv_heads; h++, row += l->k_head_bytes) {
            l->type_k->to_f32(row, head, c->config.head_dim_k);
            if (l->rotated) kv_rotate(head, c->config.head_dim_k);
            kv_rope_turn(&c->config.rope, cs, 1, head);
            if (l->rotated) kv_rotate(head, c->config.head_dim_k);
            l->type_k->from_f32(head, row, c->config.head_dim_k);
        }
    }
}

/* What move_range needs, all allocated before anything changes. */
struct work {
    struct kv_run *run; /* [n] what becomes of the moved runs */
    size_t n_runs;
    uint32_t *fresh; /* [n_shared] cells for copies of shared ones */
    uint32_t n, n_shared, used;
    float *cs;
};

static void work_free(struct work *w) {
    free(w->run);
    free(w->fresh);
    free(w->cs);
}

static int work_open(struct kv *c, struct work *w, size_t from, size_t to, const struct kv_seq *s, struct err *e) {
    for (size_t i = from; i < to; i++) {
        w->n += s->run[i].n;
        w->n_shared += kv_cells_count_shared(&c->cells, s->run[i].cell, s->run[i].n);
    }
    uint64_t need = (uint64_t)c->cells.used + w->n_shared;
    if (need > kv_pool(c))
        return err_set(e, ERR_MEMORY, "%u shared cells must be copied and %u are in use; the bound is %u", w->n_shared,
                       c->cells.used, c->config.bound);
    int rc = kv_growth_make(c, (uint32_t)need, false, "copies", e);
    if (rc) return rc;
    w->run = malloc((w->n + 1) * sizeof *w->run);
    w->fresh = malloc((w->n_shared + 1) * sizeof *w->fresh);
    w->cs = malloc((c->config.rope.n_rot + 1) * sizeof *w->cs);
    uint32_t limit = kv_usable(c);
    if (!w->run || !w->fresh || !w->cs || !kv_cells_find(&c->cells, limit, w->n_shared, w->fresh))
        return err_set(e, ERR_MEMORY, "no memory to move %u cells", w->n);
    return 0;
}

/* Adds one cell to the runs of the work. */
static void work_add(struct work *w, const struct kv_run *cell) {
    struct kv_run *z = w->n_runs ? &w->run[w->n_runs - 1] : NULL;
    if (z && z->cell + z->n == cell->cell && z->index + z->n == cell->index && z->pos + z->n == cell->pos &&
        z->offset == cell->offset)
        z->n++;
    else
        w->run[w->n_runs++] = *cell;
}

/* Moves every cell of run r; shared ones into copies. */
static void move_run(struct kv *c, int seq, struct work *w, const struct kv_run *r, const struct motion *m) {
    int64_t turned = 0;
    for (uint32_t k = 0; k < r->n; k++) {
        int64_t pos = kv_run_first(r) + k, by = moved(m, pos) - pos;
        uint32_t cell = r->cell + k;
        if (kv_cells_count_shared(&c->cells, cell, 1)) {
            uint32_t to = w->fresh[w->used++];
            copy_cell(c, cell, to);
            kv_cells_disown(&c->cells, cell, 1, seq);
            kv_cells_own(&c->cells, to, 1, seq);
            cell = to;
        }
        if (by && by != turned) kv_rope_angles(&c->config.rope, by, w->cs);
        if (by) {
            turn_cell(c, cell, w->cs);
            kv_touch(c, cell);
            turned = by;
        }
        work_add(w, &(struct kv_run){
                        .pos = r->pos + k + by, .offset = r->offset, .index = r->index + k, .cell = cell, .n = 1});
    }
}

/* Moves runs [from, to); their order among the others was checked. */
static int move_runs(struct kv *c, int seq, size_t from, size_t to, const struct motion *m, struct err *e) {
    struct kv_seq *s = &c->seq[seq];
    struct work w = {0};
    int rc = work_open(c, &w, from, to, s, e);
    if (rc) goto out;
    s->moved = true;
    for (size_t i = from; i < to; i++) move_run(c, seq, &w, &s->run[i], m);
    memmove(s->run + from + w.n_runs, s->run + to, (s->n_runs - to) * sizeof *s->run);
    if (w.n_runs) memcpy(s->run + from, w.run, w.n_runs * sizeof *w.run);
    s->n_runs = s->n_runs - (to - from) + w.n_runs;
    kv_stats_publish(c);
out:
    work_free(&w);
    return rc;
}

static int check_move(const struct kv *c, int seq, struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < KV_MAX_SEQS);
    if (c->config.head_dim_k > KV_MAX_HEAD)
        return err_set(e, ERR_USAGE, "keys of %u numbers cannot be moved; %u can", c->config.head_dim_k, KV_MAX_HEAD);
    return 0;
}

int kv_seq_add(struct kv *c, int seq, int64_t p0, int64_t p1, int64_t d, struct err *e) {
    int rc = check_move(c, seq, e);
    if (rc || d == 0) return rc;
    struct kv_seq *s = &c->seq[seq];
    if (p0 < 0) p0 = 0;
    size_t from = kv_seq_cut_pos(s, p0);
    size_t live =
        d < 0 && p0 < -d ? kv_seq_cut_pos(s, -d) : from; /* runs [from, live) would stand below 0: they are freed */
    size_t to = p1 < 0 ? s->n_runs : kv_seq_cut_pos(s, p1);
    if (live > to) live = to;
    if (live < to) {
        bool low = from > 0 && kv_run_first(&s->run[live]) + d < kv_run_end(&s->run[from - 1]);
        bool high = to < s->n_runs && kv_run_end(&s->run[to - 1]) + d > kv_run_first(&s->run[to]);
        if (low || high) return err_set(e, ERR_USAGE, "positions cannot move past their neighbours");
        struct motion m = {.add = d};
        if ((rc = move_runs(c, seq, live, to, &m, e))) return rc;
    }
    if (from < live) kv_seq_take(s, &c->cells, seq, from, live);
    kv_stats_publish(c);
    return 0;
}

int kv_seq_div(struct kv *c, int seq, int64_t p0, int64_t p1, int d, struct err *e) {
    int rc = check_move(c, seq, e);
    if (rc || d == 1) return rc;
    if (d < 1) return err_set(e, ERR_USAGE, "positions cannot be divided by %d", d);
    struct kv_seq *s = &c->seq[seq];
    size_t from = kv_seq_cut_pos(s, p0 < 0 ? 0 : p0), to = p1 < 0 ? s->n_runs : kv_seq_cut_pos(s, p1);
    if (from >= to) return 0;
    if (from > 0 && kv_run_first(&s->run[from]) / d < kv_run_end(&s->run[from - 1]))
        return err_set(e, ERR_USAGE, "positions cannot move past their neighbours");
    struct motion m = {.div = d};
    return move_runs(c, seq, from, to, &m, e);
}

/* ---- sharing ---- */

/* dst, empty and with room, becomes the owner of what src holds in [p0, p1). */
static void share(struct kv *c, int src, int dst, int64_t p0, int64_t p1) {
    const struct kv_seq *a = &c->seq[src];
    struct kv_seq *z = &c->seq[dst];
    for (size_t i = kv_seq_find_pos(a, p0); p0 < p1 && i < a->n_runs && kv_run_first(&a->run[i]) < p1; i++) {
        struct kv_run r = a->run[i];
        int64_t skip = p0 > kv_run_first(&r) ? p0 - kv_run_first(&r) : 0,
                over = kv_run_end(&r) > p1 ? kv_run_end(&r) - p1 : 0;
        r.n -= (uint32_t)(skip + over);
        r.cell += (uint32_t)skip;
        r.index += (size_t)skip;
        r.pos += skip;
        kv_cells_own(&c->cells, r.cell, r.n, dst);
        kv_seq_push(z, &r);
    }
}

int kv_seq_cp(struct kv *c, int src, int dst, int64_t p0, int64_t p1, struct err *e) {
    assert(!c->running.on && src >= 0 && src < KV_MAX_SEQS && dst >= 0 && dst < KV_MAX_SEQS);
    if (src == dst) return 0;
    const struct kv_seq *a = &c->seq[src];
    struct kv_seq *z = &c->seq[dst];
    if (z->n_tokens || z->n_runs) return err_set(e, ERR_USAGE, "sequence %d is not empty", dst);
    if (kv_seq_set_turns(z, a->turn, a->n_turns) || kv_seq_reserve(z, c->cells.n, a->n_tokens)) {
        kv_seq_forget(z);
        return err_set(e, ERR_MEMORY, "no memory for a copy of %zu tokens", a->n_tokens);
    }
    share(c, src, dst, p0 < 0 ? 0 : p0, p1 < 0 ? INT64_MAX : p1);
    if (z->n_runs == 0) {
        kv_seq_forget(z);
        return 0;
    }
    z->n_keep = a->n_keep;
    z->moved = a->moved;
    z->conversation = a->conversation;
    z->n_tokens = p1 < 0 ? a->n_tokens : z->run[z->n_runs - 1].index + z->run[z->n_runs - 1].n;
    memcpy(z->token, a->token, z->n_tokens * sizeof *z->token);
    size_t at = 0; /* what is not shared has left, for the copy */
    for (size_t i = 0; i < z->n_runs; at = z->run[i].index + z->run[i].n, i++)
        kv_seq_add_left(z, (struct kv_range){at, z->run[i].index - at});
    kv_seq_add_left(z, (struct kv_range){at, z->n_tokens - at});
    kv_stats_publish(c);
    return 0;
}
