/* kv_choice: what a memory plug-in lets leave at the bound. It is shown the live cells and marks some; what it marked is checked here, and
 * becomes ranges of tokens as the modes make them. */
#include <stdlib.h>

#include "kv/kv_cache.h"

static int reserve(struct kv *c, size_t n, struct err *e) {
    if (c->cap_candidates < n) {
        struct kv_memory_cell *p = realloc(c->candidate, n * 2 * sizeof *p);
        if (!p) return err_set(e, ERR_MEMORY, "no memory to choose among %zu cells", n);
        c->candidate = p;
        c->cap_candidates = n * 2;
    }
    if (c->cap_ranges < n) {
        struct kv_range *r = realloc(c->range, n * 2 * sizeof *r);
        if (!r) return err_set(e, ERR_MEMORY, "no memory to choose among %zu cells", n);
        c->range = r;
        c->cap_ranges = n * 2;
    }
    return 0;
}

/* Whether the token must stay; *turn: the one it may belong to, for tokens that come in order. */
static bool is_kept(const struct kv_ask *a, size_t token, size_t *turn) {
    if (token < a->n_keep) return true;
    while (*turn + 1 < a->n_turns && a->turn[*turn + 1].first <= token) ++*turn;
    if (!a->n_turns || token < a->turn[*turn].first) return a->whole_last && !a->n_turns;
    bool last = *turn + 1 == a->n_turns;
    return last ? a->whole_last : a->turn[*turn].pinned;
}

/* Fills the candidates with the cells that are live and stay so; returns how many of them may leave. */
static size_t show(struct kv *c, const struct kv_ask *a, struct kv_memory_ask *ask) {
    const struct kv_seq *s = &c->seq[a->seq];
    size_t turn = 0, n_free = 0;
    for (size_t i = 0; i < s->n_runs && s->run[i].index < a->redo; i++) {
        const struct kv_run *r = &s->run[i];
        for (uint32_t k = 0; k < r->n && r->index + k < a->redo; k++) {
            bool kept = is_kept(a, r->index + k, &turn) || !kv_cells_count_sole(&c->cells, r->cell + k, 1);
            ask->cell[ask->n_cells++] = (struct kv_memory_cell){
                .token = r->index + k, .pos = kv_run_first(r) + k, .cell = r->cell + k, .kept = kept};
            n_free += !kept;
        }
    }
    return n_free;
}

/* Ranges of what is marked: neighbours in the sequence, with what had left between them, are one. */
static int collect(struct kv *c, const struct kv_memory_ask *ask, size_t *n_ranges, size_t *n_cells, struct err *e) {
    bool open = false;
    *n_ranges = *n_cells = 0;
    for (size_t i = 0; i < ask->n_cells; i++) {
        const struct kv_memory_cell *x = &ask->cell[i];
        if (x->leaves && x->kept) return err_set(e, ERR_FAILED, "token %zu must stay, and was to leave", x->token);
        if (x->leaves && !open) c->range[(*n_ranges)++].first = x->token;
        if (x->leaves) {
            struct kv_range *r = &c->range[*n_ranges - 1];
            r->n = x->token + 1 - r->first;
            ++*n_cells;
        }
        open = x->leaves;
    }
    if (*n_cells && *n_cells < ask->n_need)
        return err_set(e, ERR_FAILED, "%zu cells had to leave, and %zu were chosen", ask->n_need, *n_cells);
    return 0;
}

int kv_choice_make(struct kv *c, const struct kv_ask *a, size_t n_need, size_t *n_ranges, size_t *n_cells, struct err *e) {
    *n_ranges = *n_cells = 0;
    if (c->memory->evict == kv_memory_default.evict) return 0;
    int rc = reserve(c, c->seq[a->seq].n_cells + 1, e);
    if (rc) return rc;
    struct kv_memory_ask ask = {.seq = a->seq, .cell = c->candidate, .n_need = n_need, .n_bound = a->limit};
    if (show(c, a, &ask) < n_need) return 0;
    struct err why = {0};
    rc = c->memory->evict(c, &ask, &why);
    if (!rc) rc = collect(c, &ask, n_ranges, n_cells, &why);
    if (!rc) return 0;
    if (rc != ERR_FAILED) return err_set(e, rc, "%s", why.text);
    if (c->memory->write != kv_memory_default.write) return err_set(e, rc, "what it lets leave: %s", why.text); /* the cells may hold nothing */
    *n_ranges = *n_cells = 0;
    kv_memory_retire(c, "evict", &why);
    return 0;
}
