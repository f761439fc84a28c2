/* net_work: see net_work.h. */
#include "model/train/net_work.h"

#include <stdlib.h>

#include "model/train/net_attention.h"

/* Gives out parts of one piece of memory, or, without it, counts what they would take. */
struct taker {
    float *base;
    size_t n;
};

static float *take(struct taker *t, size_t n) {
    float *p = t->base ? t->base + t->n : NULL;
    t->n += (n + 15) / 16 * 16; /* each begins a cache line */
    return p;
}

static void take_all(struct net_work *w, const struct net_shape *s, struct taker *t) {
    size_t n = w->n_max, q = (size_t)s->n_heads * s->head_dim, kv = (size_t)s->n_kv_heads * s->head_dim;
    for (size_t il = 0; il < w->n_layers; il++) {
        struct net_layer_work *l = &w->layer[il];
        l->x = take(t, n * s->n_embd), l->inv = take(t, n), l->h = take(t, n * s->n_embd);
        l->qkv = take(t, n * (q + 2 * kv)), l->att = take(t, n * q), l->lse = take(t, n * s->n_heads);
        l->x_mid = take(t, n * s->n_embd), l->inv_mid = take(t, n), l->h_mid = take(t, n * s->n_embd);
        l->gate_up = take(t, n * 2 * s->n_ff);
    }
    w->x_end = take(t, n * s->n_embd), w->inv_end = take(t, n), w->h_end = take(t, n * s->n_embd);
    w->x_picked = take(t, n * s->n_embd), w->att_picked = take(t, n * q);
    w->branch = take(t, n * s->n_embd), w->act = take(t, n * s->n_ff);
    w->d_x = take(t, n * s->n_embd), w->d_h = take(t, n * (s->n_embd > q ? s->n_embd : q)), w->d_qkv = take(t, n * (q + 2 * kv));
    w->score = take(t, net_attention_floats(s->n_ctx < n ? s->n_ctx : n));
    w->logit = take(t, (size_t)NET_CHUNK * s->n_vocab);
}

int net_work_open(struct net_work **out, const struct net *n, size_t n_max, struct err *e) {
    *out = NULL;
    if (!n_max || n_max > 1u << 20) return err_set(e, ERR_USAGE, "a row has 1 to %u tokens, not %zu", 1u << 20, n_max);
    struct net_work *w = calloc(1, sizeof *w);
    if (!w) return err_set(e, ERR_MEMORY, "no memory to compute a row in");
    w->n_max = n_max;
    w->n_layers = n->shape.n_layers;
    w->layer = calloc(w->n_layers, sizeof *w->layer);
    w->pos = calloc(n_max, sizeof *w->pos);
    w->guess = calloc(n_max, sizeof *w->guess);
    struct taker t = {0};
    if (w->layer) {
        take_all(w, &n->shape, &t);
        t.base = w->memory = aligned_alloc(64, t.n * sizeof(float));
        t.n = 0;
    }
    if (!w->layer || !w->pos || !w->guess || !w->memory) {
        net_work_close(w);
        return err_set(e, ERR_MEMORY, "no memory to compute a row of %zu tokens in", n_max);
    }
    take_all(w, &n->shape, &t);
    *out = w;
    return 0;
}

void net_work_close(struct net_work *w) {
    if (!w) return;
    free(w->memory);
    free(w->layer);
    free(w->pos);
    free(w->guess);
    free(w);
}
