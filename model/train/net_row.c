/* net_row: a row's way through the network and back. run_layer and back_layer mirror each other: each line of the one has its line in
 * the other, in reverse. */
#include <assert.h>
#include <string.h>

#include "model/blas.h"
#include "model/train/net_attention.h"
#include "model/train/net_layout.h"
#include "model/train/net_math.h"
#include "model/train/net_work.h"

struct pass {
    const struct net *net;
    struct net_work *w;
    const struct net_row *row;
    float *grad;
    size_t n, n_embd, n_ff, q, qkv; /* tokens at this place: all, or those that are guessed from; floats of a row of ... */
    struct net_attention attention;
};

static struct pass pass_make(const struct net *n, struct net_work *w, const struct net_row *row, float *grad) {
    const struct net_shape *s = &n->shape;
    assert(row->n <= w->n_max && w->n_layers == s->n_layers);
    return (struct pass){
        .net = n,
        .w = w,
        .row = row,
        .grad = grad,
        .n = row->n,
        .n_embd = s->n_embd,
        .n_ff = s->n_ff,
        .q = (size_t)s->n_heads * s->head_dim,
        .qkv = ((size_t)s->n_heads + 2 * (size_t)s->n_kv_heads) * s->head_dim,
        .attention = {.n_heads = s->n_heads, .n_kv_heads = s->n_kv_heads, .head_dim = s->head_dim, .score = w->score},
    };
}

/* ---- segments ------------------------------------------------------------------------------------------------ */

/* The way through a row's segments, zero before the first. */
struct walk {
    size_t n, at, trunk_at; /* segments so far; where this one and its trunk begin */
    struct net_span span;
};

static bool walk_on(const struct net_row *row, struct walk *k) {
    if (k->n == row->n_segments) return false;
    const struct net_segment *s = &row->segment[k->n++];
    k->at += k->span.n;
    if (!s->trunk) k->trunk_at = k->at;
    k->span = (struct net_span){.n = s->n, .n_trunk = s->trunk, .back = k->at - k->trunk_at};
    return true;
}

/* ---- products ------------------------------------------------------------------------------------------------ */

/* out[n][rows] = in[n][cols] W^T */
static void mul(const struct pass *p, const float *in, size_t cols, size_t at, size_t rows, float *out) {
    blas_sgemm(p->n, rows, cols, in, cols, p->net->param + at, cols, false, out, rows);
}

/* The gradient of in, from that of out. */
static void mul_back(const struct pass *p, const float *d_out, size_t rows, size_t at, size_t cols, float *d_in) {
    blas_sgemm_nn(p->n, cols, rows, d_out, rows, p->net->param + at, cols, false, d_in, cols);
}

/* The gradient of W is added to. */
static void mul_grad(const struct pass *p, const float *d_out, size_t rows, const float *in, size_t cols, size_t at) {
    blas_sgemm_tn(rows, cols, p->n, d_out, rows, in, cols, true, p->grad + at, cols);
}

/* ---- norms, and the stream between them ---------------------------------------------------------------------- */

/* The stream at a norm. Norm 2 l is layer l's before attention, 2 l + 1 the one before its gates, the last the output's; before it
 * something was added to the stream: the embedding at first, then a branch. */
struct stream {
    size_t at; /* the norm's gain among the parameters */
    float *x, *inv, *h;
};

static struct stream stream_get(const struct pass *p, size_t norm) {
    const struct net_work *w = p->w;
    size_t il = norm / 2;
    if (il == w->n_layers) return (struct stream){net_output_norm_at(p->net), w->x_end, w->inv_end, w->h_end};
    const struct net_layer_work *l = &w->layer[il];
    if (norm % 2) return (struct stream){net_layer_at(p->net, il, NET_FFN_NORM), l->x_mid, l->inv_mid, l->h_mid};
    return (struct stream){net_layer_at(p->net, il, NET_ATTN_NORM), l->x, l->inv, l->h};
}

/* The stream that the branch before a norm is added to; NULL: there is none yet. */
static const float *stream_before(const struct pass *p, size_t norm) {
    if (norm + 1 == 2 * p->w->n_layers) return p->w->x_picked;
    return norm ? stream_get(p, norm - 1).x : NULL;
}

/* The branch is added to the stream, which is normed. */
static void join(const struct pass *p, size_t norm) {
    struct stream to = stream_get(p, norm);
    const float *x = stream_before(p, norm);
    struct net_norm o = {p->net->param + to.at, p->net->shape.norm_eps, p->n_embd};
    net_math_join_norm(&o, p->n, x, p->w->branch, to.x, to.inv, to.h);
}

static void join_back(const struct pass *p, size_t norm) {
    struct stream to = stream_get(p, norm);
    struct net_norm o = {p->net->param + to.at, p->net->shape.norm_eps, p->n_embd};
    net_math_join_norm_back(&o, p->n, to.x, to.inv, p->w->d_h, p->w->d_x, p->grad + to.at);
}

/* ---- layers -------------------------------------------------------------------------------------------------- */

static const float *turn_at(const struct pass *p, size_t i) {
    return p->net->turn + (size_t)p->w->pos[i] * p->net->shape.head_dim;
}

static void attend(const struct pass *p, const struct net_layer_work *l) {
    const struct net_shape *s = &p->net->shape;
    for (size_t i = 0; i < p->n; i++) net_math_turn(l->qkv + i * p->qkv, s->n_heads + s->n_kv_heads, s->head_dim, turn_at(p, i));
    for (struct walk k = {0}; walk_on(p->row, &k);)
        net_attention_run(&p->attention, &k.span, l->qkv + k.at * p->qkv, l->att + k.at * p->q, l->lse + k.at * s->n_heads);
}

static void attend_back(const struct pass *p, const struct net_layer_work *l, const float *d_att, float *d_qkv) {
    const struct net_shape *s = &p->net->shape;
    for (struct walk k = {0}; walk_on(p->row, &k);) /* a trunk before its branches, which add to it */
        net_attention_back(&p->attention, &k.span, l->qkv + k.at * p->qkv, l->att + k.at * p->q, l->lse + k.at * s->n_heads,
                           d_att + k.at * p->q, d_qkv + k.at * p->qkv);
    for (size_t i = 0; i < p->n; i++)
        net_math_turn_back(d_qkv + i * p->qkv, s->n_heads + s->n_kv_heads, s->head_dim, turn_at(p, i));
}

/* ---- from all tokens to those that are guessed from ---- */

/* Behind the last attention no token looks at another, and only these are asked for anything. */
static void pick(struct pass *p, const struct net_layer_work *l) {
    struct net_work *w = p->w;
    for (size_t i = 0; i < w->n_guesses; i++) {
        memcpy(w->x_picked + i * p->n_embd, l->x + w->guess[i].from * p->n_embd, p->n_embd * sizeof(float));
        memcpy(w->att_picked + i * p->q, l->att + w->guess[i].from * p->q, p->q * sizeof(float));
    }
    p->n = w->n_guesses;
}

/* Rows of the picked to where they belong, the others zero; from the end, since they move up. */
static void spread(const struct pass *p, float *rows, size_t cols) {
    size_t left = p->w->n_guesses;
    for (size_t i = p->row->n; i-- > 0;) {
        if (left && p->w->guess[left - 1].from == i) memmove(rows + i * cols, rows + --left * cols, cols * sizeof(float));
        else memset(rows + i * cols, 0, cols * sizeof(float));
    }
}

static void pick_back(struct pass *p) {
    spread(p, p->w->d_h, p->q);
    spread(p, p->w->d_x, p->n_embd);
    p->n = p->row->n;
}

static bool is_last(const struct pass *p, size_t il) { return il + 1 == p->w->n_layers; }

static void run_layer(struct pass *p, size_t il) {
    const struct net *n = p->net;
    struct net_work *w = p->w;
    struct net_layer_work *l = &w->layer[il];
    join(p, 2 * il);
    mul(p, l->h, p->n_embd, net_layer_at(n, il, NET_ATTN_Q), p->qkv, l->qkv);
    attend(p, l);
    if (is_last(p, il)) pick(p, l);
    mul(p, is_last(p, il) ? w->att_picked : l->att, p->q, net_layer_at(n, il, NET_ATTN_OUTPUT), p->n_embd, w->branch);
    join(p, 2 * il + 1);
    mul(p, l->h_mid, p->n_embd, net_layer_at(n, il, NET_FFN_GATE), 2 * p->n_ff, l->gate_up);
    net_math_swiglu(p->n, p->n_ff, l->gate_up, w->act);
    mul(p, w->act, p->n_ff, net_layer_at(n, il, NET_FFN_DOWN), p->n_embd, w->branch);
}

/* d_x is the gradient of the stream, and so of what the layer added last. */
static void back_layer(struct pass *p, size_t il) {
    const struct net *n = p->net;
    struct net_work *w = p->w;
    struct net_layer_work *l = &w->layer[il];
    mul_back(p, w->d_x, p->n_embd, net_layer_at(n, il, NET_FFN_DOWN), p->n_ff, w->act);
    net_math_swiglu_back(p->n, p->n_ff, l->gate_up, w->act);
    mul_grad(p, w->d_x, p->n_embd, w->act, p->n_ff, net_layer_at(n, il, NET_FFN_DOWN));
    mul_back(p, l->gate_up, 2 * p->n_ff, net_layer_at(n, il, NET_FFN_GATE), p->n_embd, w->d_h);
    mul_grad(p, l->gate_up, 2 * p->n_ff, l->h_mid, p->n_embd, net_layer_at(n, il, NET_FFN_GATE));
    join_back(p, 2 * il + 1);
    mul_back(p, w->d_x, p->n_embd, net_layer_at(n, il, NET_ATTN_OUTPUT), p->q, w->d_h);
    mul_grad(p, w->d_x, p->n_embd, is_last(p, il) ? w->att_picked : l->att, p->q, net_layer_at(n, il, NET_ATTN_OUTPUT));
    if (is_last(p, il)) pick_back(p);
    attend_back(p, l, w->d_h, w->d_qkv);
    mul_back(p, w->d_qkv, p->qkv, net_layer_at(n, il, NET_ATTN_Q), p->n_embd, w->d_h);
    mul_grad(p, w->d_qkv, p->qkv, l->h, p->n_embd, net_layer_at(n, il, NET_ATTN_Q));
    join_back(p, 2 * il);
}

/* ---- the two ends -------------------------------------------------------------------------------------------- */

static void forward(struct pass *p) {
    struct net_work *w = p->w;
    size_t n = 0;
    for (struct walk k = {0}; walk_on(p->row, &k); n += k.span.n)
        for (size_t i = 0; i < k.span.n; i++) w->pos[k.at + i] = (uint32_t)(k.span.n_trunk + i);
    assert(n == p->n);
    for (size_t i = 0; i < p->n; i++)
        memcpy(w->branch + i * p->n_embd, p->net->param + (size_t)p->row->token[i] * p->n_embd, p->n_embd * sizeof(float));
    for (size_t il = 0; il < w->n_layers; il++) run_layer(p, il);
    join(p, 2 * w->n_layers);
}

static void backward(struct pass *p) {
    struct net_work *w = p->w;
    memset(w->d_x, 0, p->n * p->n_embd * sizeof(float));
    join_back(p, 2 * w->n_layers);
    for (size_t il = w->n_layers; il-- > 0;) back_layer(p, il);
    for (size_t i = 0; i < p->n; i++)
        net_math_add(p->grad + (size_t)p->row->token[i] * p->n_embd, w->d_x + i * p->n_embd, p->n_embd);
}

/* ---- the loss ------------------------------------------------------------------------------------------------ */

static double find_guesses(const struct pass *p) {
    struct net_work *w = p->w;
    double weights = 0;
    w->n_guesses = 0;
    for (struct walk k = {0}; walk_on(p->row, &k);)
        for (size_t i = k.at + 1; i < k.at + k.span.n; i++) {
            float weight = p->row->weight[i];
            if (!(weight > 0)) continue;
            w->guess[w->n_guesses++] = (struct net_guess){(uint32_t)i - 1, (uint32_t)p->row->token[i], weight};
            weights += (double)weight;
        }
    return weights;
}

/* The loss of m guesses from number i on; their logits' gradient goes on to d_h, where a gradient is asked for. */
static double guess_chunk(const struct pass *p, size_t i, size_t m) {
    struct net_work *w = p->w;
    const struct net_guess *g = w->guess + i;
    size_t n_vocab = p->net->shape.n_vocab, cols = p->n_embd;
    const float *embd = p->net->param, *h = w->h_end + i * cols;
    double loss = 0;
    blas_sgemm(m, n_vocab, cols, h, cols, embd, cols, false, w->logit, n_vocab);
    for (size_t k = 0; k < m; k++)
        loss += (double)g[k].weight * net_math_cross_entropy(w->logit + k * n_vocab, n_vocab, g[k].target, g[k].weight);
    if (!p->grad) return loss;
    blas_sgemm_tn(n_vocab, cols, m, w->logit, n_vocab, h, cols, true, p->grad, cols);
    blas_sgemm_nn(m, cols, n_vocab, w->logit, n_vocab, embd, cols, false, w->d_h + i * cols, cols);
    return loss;
}

double net_row_loss(const struct net *n, struct net_work *w, const struct net_row *row, float *grad, double *weights) {
    struct pass p = pass_make(n, w, row, grad);
    double loss = 0, sum = find_guesses(&p);
    if (weights) *weights = sum;
    if (!w->n_guesses) return 0;
    forward(&p);
    for (size_t i = 0; i < w->n_guesses; i += NET_CHUNK) {
        size_t left = w->n_guesses - i;
        loss += guess_chunk(&p, i, left < NET_CHUNK ? left : NET_CHUNK);
    }
    if (grad) backward(&p);
    return loss;
}

void net_row_logits(const struct net *n, struct net_work *w, const struct net_row *row, float *out) {
    struct pass p = pass_make(n, w, row, NULL);
    for (w->n_guesses = 0; w->n_guesses < row->n; w->n_guesses++) w->guess[w->n_guesses] = (struct net_guess){.from = (uint32_t)w->n_guesses};
    forward(&p);
    mul(&p, w->h_end, p.n_embd, 0, n->shape.n_vocab, out);
}
