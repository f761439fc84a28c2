/* kv_move: the two operations that change the positions of stored keys, by rotating them (kv_seq_add, kv_seq_div).
 * Shifts at the bound never come here: see kv_seq_drop.
 *
 * Rotations add up, so turning a key from position p to q is turning it by q - p. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_slot.h"

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

void kv_move_copy(struct kv *c, uint32_t from, uint32_t to) {
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

static int work_open(struct kv *c, int seq, struct work *w, size_t from, size_t to, struct err *e) {
    const struct kv_seq *s = &c->seq[seq];
    for (size_t i = from; i < to; i++) {
        w->n += s->run[i].n;
        w->n_shared += kv_cells_count_shared(&c->cells, s->run[i].cell, s->run[i].n);
    }
    uint64_t need = (uint64_t)kv_slot_used(c, seq) + w->n_shared;
    if (w->n_shared && need > kv_limit(c))
        return err_set(e, ERR_MEMORY, "%u shared cells must be copied and %u are in use; the bound is %u", w->n_shared,
                       c->cells.used, c->config.bound);
    int rc = w->n_shared ? kv_slot_grow(c, seq, (uint32_t)need, "copies", e) : 0;
    if (rc) return rc;
    w->run = malloc((w->n + 1) * sizeof *w->run);
    w->fresh = malloc((w->n_shared + 1) * sizeof *w->fresh);
    w->cs = malloc((c->config.rope.n_rot + 1) * sizeof *w->cs);
    if (!w->run || !w->fresh || !w->cs || !kv_slot_find(c, seq, w->n_shared, false, w->fresh))
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
            c->memory->copy(c, cell, to);
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
    int rc = work_open(c, seq, &w, from, to, e);
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
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    if (c->config.head_dim_k > KV_MAX_HEAD)
        return err_set(e, ERR_USAGE, "keys of %u numbers cannot be moved; %u can", c->config.head_dim_k, KV_MAX_HEAD);
    if (c->config.n_window_layers) return err_set(e, ERR_USAGE, "positions of a sequence with a ring cannot be changed");
    return 0;
}

int kv_move_add(struct kv *c, int seq, int64_t p0, int64_t p1, int64_t d, struct err *e) {
    int rc = check_move(c, seq, e);
    if (rc || d == 0) return rc;
    struct kv_seq *s = &c->seq[seq];
    if (d < -KV_MAX_POS || d > KV_MAX_POS - kv_seq_next_pos(s))
        return err_set(e, ERR_USAGE, "positions cannot move by %lld: the highest that there is is %lld", (long long)d, (long long)KV_MAX_POS);
    if (p0 < 0) p0 = 0;
    size_t from = kv_seq_cut_pos(s, p0);
    size_t live =
        d < 0 && p0 < -d ? kv_seq_cut_pos(s, -d) : from; /* runs [from, live) would stand below 0: they are freed */
    size_t to = p1 < 0 ? s->n_runs : kv_seq_cut_pos(s, p1);
    if (live > to) live = to;
    if (from < live && kv_has_states(c)) return err_set(e, ERR_USAGE, "what would stand below 0 cannot be taken out of a state");
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

int kv_move_div(struct kv *c, int seq, int64_t p0, int64_t p1, int d, struct err *e) {
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
