/* own: a memory plug-in that keeps keys and values outside of the cache, a piece of memory for each cell, and attends to them itself: the plain
 * form of a memory whose format the engine knows nothing of. A piece is there from the placing of its cell until nobody owns it any more. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_memory.h"

#define MAX_HEAD 256u

static const struct kv_memory_host *host;
static struct kv_memory table;

/* Keys and values of one cell: [layer] of the rows of all heads, a key and a value. */
struct piece {
    int64_t pos; /* the keys' rotation */
    float x[];
};
struct own {
    const struct kv_config *config;
    size_t n_key, n_row; /* floats of a layer's keys, and of keys and values */
    struct piece **piece; /* [cap] by the cell's number */
    size_t cap;
    bool lost; /* a copy found no memory */
};

static struct own *own_of(struct kv *c) {
    return *host->state(c);
}

static int create(struct kv *c, const struct kv_config *g, struct err *e) {
    if (g->n_window_layers || g->state_bytes || (g->n_model_layers && g->n_model_layers != g->n_layers))
        return host->fail(e, ERR_USAGE, "only layers with cells of their own are known to it");
    if (g->head_dim_k > MAX_HEAD || g->head_dim_v > MAX_HEAD)
        return host->fail(e, ERR_USAGE, "heads of more than %u numbers are too large", MAX_HEAD);
    struct own *o = *host->state(c) = calloc(1, sizeof *o);
    if (!o) return host->fail(e, ERR_MEMORY, "no memory");
    o->config = g;
    o->n_key = (size_t)g->n_kv_heads * g->head_dim_k;
    o->n_row = o->n_key + (size_t)g->n_kv_heads * g->head_dim_v;
    return 0;
}

static void drop(struct kv *c, uint32_t cell, uint32_t n) {
    struct own *o = own_of(c);
    for (uint32_t i = cell; i < cell + n && i < o->cap; i++) {
        free(o->piece[i]);
        o->piece[i] = NULL;
    }
}

static void destroy(struct kv *c) {
    struct own *o = own_of(c);
    drop(c, 0, (uint32_t)o->cap);
    free(o->piece);
    free(o);
}

/* The cell's piece, made where there is none; NULL for want of memory. */
static struct piece *make_piece(struct own *o, uint32_t cell) {
    if (cell >= o->cap) {
        size_t cap = ((size_t)cell + 1) * 2;
        struct piece **p = realloc(o->piece, cap * sizeof(struct piece *));
        if (!p) return NULL;
        for (size_t i = o->cap; i < cap; i++) p[i] = NULL;
        o->piece = p;
        o->cap = cap;
    }
    if (!o->piece[cell]) o->piece[cell] = calloc(1, sizeof **o->piece + o->config->n_layers * o->n_row * sizeof(float));
    return o->piece[cell];
}

static void abandon(struct kv *c, struct kv_batch *b) {
    for (uint32_t i = 0; i < b->n; i++) drop(c, b->cell[i], 1);
    host->base->abandon(c, b);
}

static int place(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e) {
    struct own *o = own_of(c);
    int rc = host->base->place(c, seq, token, n, first, b, e);
    for (uint32_t i = 0; i < n && !rc; i++) {
        struct piece *p = make_piece(o, b->cell[i]);
        if (p) {
            p->pos = b->pos + i;
            continue;
        }
        abandon(c, b);
        rc = host->fail(e, ERR_MEMORY, "no memory for %u tokens", n);
    }
    return rc;
}

static void write(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k, size_t k_stride, const float *v,
                  size_t v_stride) {
    struct own *o = own_of(c);
    for (uint32_t i = i0; i < i1; i++, k += k_stride, v += v_stride) {
        float *row = o->piece[b->cell[i]]->x + layer * o->n_row;
        memcpy(row, k, o->n_key * sizeof *k);
        memcpy(row + o->n_key, v, (o->n_row - o->n_key) * sizeof *v);
    }
}

/* Nothing can be answered here: the call that it is made within tells of it. */
static void copy(struct kv *c, uint32_t from, uint32_t to) {
    struct own *o = own_of(c);
    struct piece *p = make_piece(o, to);
    if (p)
        memcpy(p, o->piece[from], sizeof *p + o->config->n_layers * o->n_row * sizeof(float));
    else
        o->lost = true;
}

/* ---- attention ----------------------------------------------------------------------------------------------- */

/* One head of one row over all cells up to position `last`: a softmax whose sum is kept below its greatest score so far. */
static void attend_head(const struct own *o, const struct kv_view *v, const struct kv_queries *q, uint32_t head, int64_t last, const float *query, float *out) {
    const struct kv_config *g = o->config;
    uint32_t kv_head = head / (q->n_heads / g->n_kv_heads);
    float turned[MAX_HEAD], cs[MAX_HEAD];
    double most = -INFINITY, total = 0, sum[MAX_HEAD] = {0};
    for (size_t s = 0; s < v->n_spans && v->span[s].pos <= last; s++) {
        memcpy(turned, query, g->head_dim_k * sizeof *query);
        host->rope_angles(&g->rope, last - v->offset[v->span[s].rot], cs);
        host->rope_turn(&g->rope, cs, g->rope.magnitude, turned);
        for (uint32_t i = 0; i < v->span[s].n && v->span[s].pos + i <= last; i++) {
            const float *row = o->piece[v->span[s].cell + i]->x + q->layer * o->n_row, *key = row + (size_t)kv_head * g->head_dim_k;
            const float *value = row + o->n_key + (size_t)kv_head * g->head_dim_v;
            double score = 0;
            for (uint32_t d = 0; d < g->head_dim_k; d++) score += (double)turned[d] * (double)key[d];
            score *= (double)q->scale;
            double fade = score > most ? exp(most - score) : 1, weight = score > most ? 1 : exp(score - most);
            if (score > most) most = score;
            total = total * fade + weight;
            for (uint32_t d = 0; d < g->head_dim_v; d++) sum[d] = sum[d] * fade + weight * (double)value[d];
        }
    }
    for (uint32_t d = 0; d < g->head_dim_v; d++) out[d] = (float)(sum[d] / total);
}

static void attend(const struct kv_view *v, const struct kv_queries *q) {
    const struct own *o = v->attend_ctx;
    for (size_t r = 0; r < q->n_rows; r++)
        for (uint32_t h = 0; h < q->n_heads; h++)
            attend_head(o, v, q, h, q->pos + (int64_t)r, q->q + r * q->q_stride + (size_t)h * o->config->head_dim_k,
                        q->out + r * q->out_stride + (size_t)h * o->config->head_dim_v);
}

static void view(struct kv *c, const struct kv_batch *b, struct kv_view *v) {
    host->base->view(c, b, v);
    v->attend = attend;
    v->attend_ctx = own_of(c);
}

/* ---- positions that change ----------------------------------------------------------------------------------- */

/* Turns the sequence's keys to the positions that they now have. */
static void follow(struct kv *c, int seq) {
    struct own *o = own_of(c);
    const struct kv_config *g = o->config;
    struct kv_view v;
    float cs[MAX_HEAD];
    host->base->view(c, &(struct kv_batch){.seq = seq}, &v);
    for (size_t s = 0; s < v.n_spans; s++)
        for (uint32_t i = 0; i < v.span[s].n; i++) {
            struct piece *p = o->piece[v.span[s].cell + i];
            int64_t pos = v.span[s].pos + i - v.offset[v.span[s].rot];
            if (p->pos == pos) continue;
            host->rope_angles(&g->rope, pos - p->pos, cs);
            for (uint32_t layer = 0; layer < g->n_layers; layer++)
                for (uint32_t h = 0; h < g->n_kv_heads; h++) host->rope_turn(&g->rope, cs, 1, p->x + layer * o->n_row + (size_t)h * g->head_dim_k);
            p->pos = pos;
        }
}

/* After a call that may have copied cells of the sequence or moved it. */
static int finish(struct kv *c, int seq, int rc, struct err *e) {
    if (own_of(c)->lost) return host->fail(e, ERR_FAILED, "no memory for copies of cells");
    if (!rc) follow(c, seq);
    return rc;
}

static int cp(struct kv *c, int src, int dst, int64_t p0, int64_t p1, struct err *e) {
    return finish(c, dst, host->base->cp(c, src, dst, p0, p1, e), e);
}

static int add(struct kv *c, int seq, int64_t p0, int64_t p1, int64_t d, struct err *e) {
    return finish(c, seq, host->base->add(c, seq, p0, p1, d, e), e);
}

static int divide(struct kv *c, int seq, int64_t p0, int64_t p1, int d, struct err *e) {
    return finish(c, seq, host->base->div(c, seq, p0, p1, d, e), e);
}

const struct kv_memory *kvetch_memory(const struct kv_memory_host *from) {
    if (from->version != KV_MEMORY_VERSION || from->bytes != sizeof *from) return NULL;
    host = from;
    table = *host->base;
    table.name = "own";
    table.flags &= ~KV_EXACT_RESTORE; /* a file would hold the cache's own cells */
    table.create = create;
    table.destroy = destroy;
    table.place = place;
    table.abandon = abandon;
    table.write = write;
    table.view = view;
    table.cp = cp;
    table.add = add;
    table.div = divide;
    table.drop = drop;
    table.copy = copy;
    return &table;
}
