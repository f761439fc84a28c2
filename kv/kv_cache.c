/* kv_cache: opening and closing, and a micro-batch's way into the cache and to attention. */
#include "kv/kv_cache.h"
#include "kv/kv_saved.h"
#include "kv/kv_slot.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- opening ---- */

/* Fills the layout; false where the shape is impossible. */
static bool lay_out(struct kv_layout *l, const struct kv_config *g) {
    size_t k_row = num_row_bytes(g->type_k, g->head_dim_k), v_row = num_row_bytes(g->type_v, g->head_dim_v);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), k, v, layer, block;
    if (!k_row || !v_row || !g->n_layers || !g->n_kv_heads) return false;
    if (__builtin_mul_overflow(k_row * KV_BLOCK, g->n_kv_heads, &k) ||
        __builtin_mul_overflow(v_row * KV_BLOCK, g->n_kv_heads, &v))
        return false;
    if (__builtin_add_overflow(k, v, &layer) || __builtin_mul_overflow(layer, g->n_layers, &block) ||
        block > SIZE_MAX / 8)
        return false;
    *l = (struct kv_layout){.block_bytes = (block + page - 1) / page * page,
                            .layer_bytes = layer,
                            .k_head_bytes = k_row * KV_BLOCK,
                            .k_row_bytes = k_row,
                            .v_base = k,
                            .v_head_bytes = v_row * KV_BLOCK,
                            .v_row_bytes = v_row,
                            .type_k = g->type_k,
                            .type_v = g->type_v,
                            .rotated = kv_rotates(g->type_k)};
    return true;
}

/* What a cache can hold; settings_table.h has the same list. */
static const enum num_id types[] = {NUM_F32,  NUM_F16,  NUM_BF16, NUM_Q8_0,  NUM_Q4_0,
                                    NUM_Q4_1, NUM_Q5_0, NUM_Q5_1, NUM_IQ4_NL};
#define N_TYPES (sizeof types / sizeof *types)

/* The names of those that a head divides into (0: of all). */
static const char *name_types(uint32_t head_dim, char *text, size_t n) {
    size_t len = 0;
    text[0] = 0;
    for (size_t i = 0; i < N_TYPES && len < n; i++) {
        const struct num_type *t = num_find(types[i]);
        if (head_dim % t->block == 0) len += (size_t)snprintf(text + len, n - len, "%s%s", len ? ", " : "", t->name);
    }
    return text;
}

static int check_type(const struct num_type *t, uint32_t head_dim, const char *what, struct err *e) {
    char names[128];
    size_t i = 0;
    while (i < N_TYPES && types[i] != t->id) i++;
    if (i == N_TYPES)
        return err_set(e, ERR_USAGE, "the cache cannot hold %s as %s; it can as %s", what, t->name,
                       name_types(0, names, sizeof names));
    if (head_dim == 0 || head_dim % t->block)
        return err_set(e, ERR_USAGE, "%s of %u numbers a head do not divide into the blocks of %u of %s; allowed: %s",
                       what, head_dim, t->block, t->name, name_types(head_dim, names, sizeof names));
    return 0;
}

static int check_rotation(const struct kv_config *g, struct err *e) {
    if (g->head_dim_k <= KV_MAX_HEAD || !kv_rotates(g->type_k)) return 0;
    return err_set(e, ERR_USAGE, "keys of %u numbers a head cannot be held as %s; at most %u can", g->head_dim_k,
                   g->type_k->name, KV_MAX_HEAD);
}

int kv_check_bound(uint32_t bound, uint32_t streams, struct err *e) {
    if (bound < KV_MIN_BOUND)
        return err_set(e, ERR_USAGE, "a context of %u cells is too small; the least is %u", bound, KV_MIN_BOUND);
    if (bound > KV_MAX_CELLS)
        return err_set(e, ERR_USAGE, "a context of %u cells is too large; the most is %u", bound, KV_MAX_CELLS);
    if (streams > KV_MAX_SEQS)
        return err_set(e, ERR_USAGE, "a cache cannot have %u streams; the most is %u", streams, KV_MAX_SEQS);
    if (streams && bound > UINT32_MAX / streams - KV_BLOCK)
        return err_set(e, ERR_USAGE, "%u streams cannot have %u cells each; the most is %u", streams, bound,
                       UINT32_MAX / streams - KV_BLOCK);
    return 0;
}

static int check_config(const struct kv_config *g, struct err *e) {
    int rc = kv_check_bound(g->bound, g->streams, e);
    if (!rc) rc = kv_check_keep(g->evict, g->bound, g->keep, e);
    if (rc) return rc;
    if (g->evict_free < 0 || g->evict_free > 1)
        return err_set(e, ERR_USAGE, "an eviction cannot free a share of %g; it is more than 0 and at most 1",
                       g->evict_free);
    rc = check_type(g->type_k, g->head_dim_k, "keys", e);
    if (!rc) rc = check_rotation(g, e);
    return rc ? rc : check_type(g->type_v, g->head_dim_v, "values", e);
}

/* Where each of the model's layers is. */
static int place_layers(struct kv *c, const struct kv_config *g, struct err *e) {
    uint32_t all = g->n_layers + g->n_window_layers, n = g->layer ? g->n_model_layers : all;
    c->place = calloc((size_t)n + 1, sizeof *c->place);
    if (!c->place) return err_set(e, ERR_MEMORY, "no memory for %u layers", n);
    c->n_places = n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = g->layer ? g->layer[i] : i;
        if (at != KV_NO_LAYER && at >= all) return err_set(e, ERR_USAGE, "layer %u is number %u of a cache that has %u", i, at, all);
        bool first = at != KV_NO_LAYER;
        for (uint32_t k = 0; k < i && first && g->layer; k++) first = g->layer[k] != at;
        c->place[i].ring = at != KV_NO_LAYER && at >= g->n_layers;
        c->place[i].at = c->place[i].ring ? at - g->n_layers : at;
        c->place[i].writes = first;
    }
    return 0;
}

uint32_t kv_layer(const struct kv *c, uint32_t layer, bool *ring) {
    assert(layer < c->n_places);
    *ring = c->place[layer].ring;
    return c->place[layer].at;
}

/* Addresses for bound and prompt cache; where those are too many, there is no prompt cache. */
static int open_arena(struct kv *c) {
    size_t bytes = c->layout.block_bytes;
    int rc = kv_arena_open(&c->arena, bytes, kv_blocks((uint64_t)kv_bound_cells(c) + c->parked_cells), KV_ARENA_RESERVE);
    if (c->parked_cells && (rc || !c->arena.reserved_bytes)) {
        kv_arena_close(&c->arena);
        c->parked_cells = 0;
        rc = kv_arena_open(&c->arena, bytes, kv_blocks(c->config.bound), KV_ARENA_RESERVE);
    }
    c->budget.reserved = c->arena.reserved_bytes > 0;
    return rc;
}

/* Addresses, and the first cells. */
static int open_cells(struct kv *c, struct err *e) {
    kv_prompt_set_limit(c);
    if (open_arena(c))
        return err_set(e, ERR_MEMORY, "no address space holds a cache of %u cells of %zu bytes", c->config.bound, c->cell_bytes);
    uint32_t cells = kv_grow_policy(c) == KV_GROW_FIXED ? kv_bound_cells(c) : c->config.start;
    return kv_growth_make(c, cells, false, "opened", e);
}

static int open_memory(struct kv *c, struct err *e) {
    struct err why = {0};
    kv_memory_open(c);
    int rc = open_cells(c, &why);
    if (!rc || !kv_memory_decline(c, &why)) return rc ? err_set(e, rc, "%s", why.text) : 0;
    kv_arena_close(&c->arena);
    return open_cells(c, e);
}

int kv_open(struct kv **out, const struct kv_config *g, struct err *e) {
    *out = NULL;
    int rc = check_config(g, e);
    if (rc) return rc;
    struct kv *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_MEMORY, "no memory for a cache");
    pthread_mutex_init(&c->lock, NULL);
    c->config = *g;
    c->clock = 1;
    if (g->state_bytes || (g->n_window_layers && g->window == KV_WINDOW_CHUNKED)) c->config.cannot_shift = true;
    if (kv_has_states(c)) c->config.prompt_bytes = 0;
    c->config.layer = NULL; /* borrowed */
    if (c->config.evict_free == 0) c->config.evict_free = 0.5;
    if (c->config.start > kv_bound_cells(c)) c->config.start = kv_bound_cells(c);
    c->cells.stream_blocks = g->streams ? kv_blocks(g->bound) : 0;
    if (c->config.start == 0) c->config.start = 1;
    if (!lay_out(&c->layout, g)) {
        rc = err_set(e, ERR_USAGE, "no cache can hold %u layers of %u heads", g->n_layers, g->n_kv_heads);
        goto out;
    }
    c->cell_bytes = c->layout.layer_bytes * g->n_layers / KV_BLOCK;
    rc = place_layers(c, g, e);
    if (!rc) rc = kv_ring_open(c, e);
    if (rc) goto out;
    c->budget = (struct kv_budget){
        .budget_bytes = g->budget_bytes, .weight_bytes = g->weight_bytes, .reserved = true, .root = ""};
    rc = open_memory(c, e);
    if (!rc) rc = kv_set_evict(c, g->evict, e);
    if (!rc) kv_spare_open(c);
out:
    if (rc) {
        kv_close(c);
        return rc;
    }
    kv_stats_publish(c);
    *out = c;
    return 0;
}

void kv_close(struct kv *c) {
    if (!c) return;
    kv_memory_destroy(c);
    kv_prefault_close(c->prefault);
    for (int s = 0; s < KV_MAX_SEQS; s++) {
        kv_seq_free(&c->seq[s]);
        kv_state_free(&c->state_of[s]);
    }
    kv_ring_close(c);
    free(c->place);
    kv_cells_free(&c->cells);
    kv_arena_close(&c->arena);
    free(c->touched);
    free(c->written);
    kv_saved_free(c);
    free(c->running.run);
    free(c->running.slot);
    free(c->running.all);
    free(c->span);
    free(c->offset);
    free(c->range);
    free(c->todo.range);
    free(c->again.range);
    free(c->candidate);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const struct kv_layout *kv_get_layout(const struct kv *c) {
    return &c->layout;
}

/* ---- a micro-batch ---- */

/* Sees to it that n more cells are committed, or as many as the bound allows. */
static int grow_for(struct kv *c, int seq, uint32_t n, struct err *e) {
    uint64_t need = (uint64_t)kv_slot_used(c, seq) + n;
    uint32_t to = need < kv_limit(c) ? (uint32_t)need : kv_limit(c);
    if (to <= kv_slot_capacity(c, seq)) return 0;
    if (c->refused_us && kv_now_us() - c->refused_us < KV_RETRY_US)
        return err_set(e, ERR_MEMORY, "no memory for more than %u cells", c->cells.n);
    return kv_slot_grow(c, seq, to, "full", e);
}

/* Room for n more cells of seq: by growing, or else by evicting. plan: see kv_evict_make_room. */
static int make_room(struct kv *c, int seq, uint32_t n, struct kv_plan *plan, struct err *e) {
    kv_growth_drop_entries(c, n);
    int rc = grow_for(c, seq, n, e);
    while (rc && kv_prompt_drop_oldest(c)) rc = grow_for(c, seq, n, e);
    uint64_t need = (uint64_t)kv_slot_used(c, seq) + n;
    uint32_t limit = rc ? kv_slot_capacity(c, seq) : kv_limit(c);
    if (need <= limit) return 0;
    if (rc && c->config.evict == KV_EVICT_STOP) return rc;
    struct err why = {0};
    int code = kv_evict_make_room(c, seq, n, limit, plan, &why);
    if (code && rc && code != ERR_FAILED) return rc; /* what is in the way is the memory */
    if (code) return err_set(e, code, "%s", why.text);
    uint32_t most = kv_blocks(c->config.streams ? kv_bound_cells(c) : kv_pool(c));
    if (c->arena.n_blocks > most) kv_growth_shrink(c, most, "bound lowered");
    kv_seq_reserve(&c->seq[seq], c->cells.n,
                   c->seq[seq].n_tokens + c->cells.n); /* now, so that no token to come has to */
    return 0;
}

int kv_make_room(struct kv *c, int seq, uint32_t n, struct kv_plan *plan, struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    *plan = (struct kv_plan){.n_cached = c->seq[seq].n_cells};
    return kv_memory_answer(c, "evict", make_room(c, seq, n, plan, e), e);
}

int kv_cache_begin(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c) && n > 0);
    struct kv_ubatch u = {seq, token, n, first};
    int rc = kv_slot_check(c, &u, c->seq[seq].n_tokens, e);
    if (!rc) rc = make_room(c, seq, n, NULL, e);
    if (!rc) rc = kv_prepare(c, &u, 1, false, e);
    if (rc) return rc;
    kv_slot_next(c, b);
    return 0;
}

void kv_cache_finish(struct kv *c, struct kv_batch *b) {
    assert(b->seq == c->running.seq && b->n == c->running.n);
    uint32_t last = c->running.cell[c->running.n - 1];
    kv_slot_apply(c);
    kv_spare_follow(c, last);
    *b = (struct kv_batch){0};
    kv_stats_publish(c);
}

void kv_cache_abandon(struct kv *c, struct kv_batch *b) {
    assert(c->running.on && b->seq == c->running.seq && c->running.n > 0);
    c->cells.hint = c->running.cell[0];
    c->running.on = false;
    c->running.n = 0;
    *b = (struct kv_batch){0};
    kv_stats_publish(c);
}

static void write_key(const struct kv *c, const float *key, uint8_t *row) {
    uint32_t dim = c->config.head_dim_k;
    float turned[KV_MAX_HEAD];
    if (c->layout.rotated) {
        memcpy(turned, key, dim * sizeof *key);
        kv_rotate(turned, dim);
        key = turned;
    }
    c->layout.type_k->from_f32(key, row, dim);
}

void kv_cache_write(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k,
              size_t k_stride, const float *v, size_t v_stride) {
    const struct kv_layout *l = &c->layout;
    const struct kv_config *g = &c->config;
    assert(layer < c->n_places && i1 <= b->n);
    const struct kv_layer_place *p = &c->place[layer];
    if (!p->writes) return;
    for (uint32_t i = i0; i < i1; i++, k += k_stride, v += v_stride) {
        uint32_t cell = b->cell[i] % KV_BLOCK;
        uint8_t *block = c->arena.base + (size_t)(b->cell[i] / KV_BLOCK) * l->block_bytes;
        uint8_t *at = (p->ring ? kv_ring_place(c, b, i, &cell) : block) + p->at * l->layer_bytes;
        uint8_t *k_row = at + cell * l->k_row_bytes, *v_row = at + l->v_base + cell * l->v_row_bytes;
        for (uint32_t h = 0; h < g->n_kv_heads; h++) {
            write_key(c, k + (size_t)h * g->head_dim_k, k_row + h * l->k_head_bytes);
            l->type_v->from_f32(v + (size_t)h * g->head_dim_v, v_row + h * l->v_head_bytes, g->head_dim_v);
        }
    }
}

/* ---- what attention reads ---- */

/* Number of the offset in the view, adding it where it is new. Runs of equal offset stand together, so the last one
 * added is nearly always the one. */
static uint32_t offset_index(const struct kv *c, struct kv_view *v, int64_t offset) {
    for (size_t i = v->n_offsets; i > 0; i--)
        if (c->offset[i - 1] == offset) return (uint32_t)(i - 1);
    c->offset[v->n_offsets] = offset;
    return (uint32_t)v->n_offsets++;
}

/* Adds the run to the view, a span for each block. */
static void view_run(const struct kv *c, struct kv_view *v, const struct kv_run *r) {
    uint32_t rot = offset_index(c, v, r->offset), cell = r->cell, left = r->n;
    int64_t pos = kv_run_first(r);
    while (left) {
        uint32_t first = cell % KV_BLOCK, n = KV_BLOCK - first < left ? KV_BLOCK - first : left;
        c->span[v->n_spans++] =
            (struct kv_span){.block = c->arena.base + (size_t)(cell / KV_BLOCK) * c->layout.block_bytes,
                             .first = first,
                             .n = n,
                             .pos = pos,
                             .rot = rot,
                             .cell = cell};
        cell += n;
        left -= n;
        pos += n;
    }
    v->n_cells += r->n;
}

void kv_cache_view(struct kv *c, const struct kv_batch *b, struct kv_view *v) {
    const struct kv_seq *s = &c->seq[b->seq];
    const struct kv_running *r = &c->running;
    *v = (struct kv_view){.span = c->span, .offset = c->offset};
    for (size_t i = 0; i < s->n_runs; i++) view_run(c, v, &s->run[i]);
    if (r->on && r->n && r->seq == b->seq)
        for (size_t i = 0; i < r->n_runs; i++) view_run(c, v, &r->run[i]);
}
