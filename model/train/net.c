/* net: see net.h. Parameters: which there are, where, and what they start from. */
#include "model/train/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/train/net_layout.h"
#include "model/train/net_noise.h"

/* Rows and columns in terms of the shape; enum size's order is that of sizes(). */
enum size { ONE, VOCAB, EMBD, Q, KV, FF, N_SIZES };

struct part {
    const char *name;
    enum size rows, cols;
    bool to_stream; /* writes to the residual stream */
};
static const struct part parts[NET_N_PARTS] = {
    [NET_ATTN_NORM] = {"attn_norm.weight", ONE, EMBD, false},
    [NET_ATTN_Q] = {"attn_q.weight", Q, EMBD, false},
    [NET_ATTN_K] = {"attn_k.weight", KV, EMBD, false},
    [NET_ATTN_V] = {"attn_v.weight", KV, EMBD, false},
    [NET_ATTN_OUTPUT] = {"attn_output.weight", EMBD, Q, true},
    [NET_FFN_NORM] = {"ffn_norm.weight", ONE, EMBD, false},
    [NET_FFN_GATE] = {"ffn_gate.weight", FF, EMBD, false},
    [NET_FFN_UP] = {"ffn_up.weight", FF, EMBD, false},
    [NET_FFN_DOWN] = {"ffn_down.weight", EMBD, FF, true},
};
static const struct part embedding = {"token_embd.weight", VOCAB, EMBD, false};
static const struct part output_norm = {"output_norm.weight", ONE, EMBD, false};

static void sizes(const struct net_shape *s, uint32_t size[N_SIZES]) {
    size[ONE] = 1;
    size[VOCAB] = s->n_vocab;
    size[EMBD] = s->n_embd;
    size[Q] = s->n_heads * s->head_dim;
    size[KV] = s->n_kv_heads * s->head_dim;
    size[FF] = s->n_ff;
}

/* Bounds that keep every product of sizes far from overflow. */
static int check_shape(const struct net_shape *s, struct err *e) {
    const uint32_t most = 1u << 20;
    if (!s->n_vocab || s->n_vocab > most || !s->n_layers || s->n_layers > 1000 || !s->n_embd || s->n_embd > most || !s->n_ff ||
        s->n_ff > most || !s->n_ctx || s->n_ctx > most)
        return err_set(e, ERR_USAGE, "a network's sizes are 1 to %u, and its layers at most 1000", most);
    if (!s->n_kv_heads || !s->n_heads || s->n_heads > 1024 || s->n_heads % s->n_kv_heads)
        return err_set(e, ERR_USAGE, "%u heads cannot share the keys of %u", s->n_heads, s->n_kv_heads);
    if (!s->head_dim || s->head_dim > 1024 || s->head_dim % 2)
        return err_set(e, ERR_USAGE, "a head has an even number of dimensions up to 1024, not %u", s->head_dim);
    if (!(s->rope_base > 1) || !(s->norm_eps >= 0))
        return err_set(e, ERR_USAGE, "the rotary base is above 1, and a norm's epsilon not below 0");
    return 0;
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

static void add_tensor(struct net *n, const struct part *p, const char *name) {
    uint32_t size[N_SIZES];
    sizes(&n->shape, size);
    struct net_tensor *t = &n->tensor[n->n_tensors++];
    *t = (struct net_tensor){.rows = size[p->rows], .cols = size[p->cols], .offset = n->n_params, .decay = p->rows != ONE};
    snprintf(t->name, sizeof t->name, "%s", name);
    n->n_params += (size_t)t->rows * t->cols;
}

static void add_tensors(struct net *n) {
    add_tensor(n, &embedding, embedding.name);
    for (uint32_t il = 0; il < n->shape.n_layers; il++)
        for (size_t i = 0; i < NET_N_PARTS; i++) {
            char name[sizeof n->tensor->name];
            snprintf(name, sizeof name, "blk.%u.%s", il, parts[i].name);
            add_tensor(n, &parts[i], name);
        }
    add_tensor(n, &output_norm, output_norm.name);
}

/* ---- the first values ---------------------------------------------------------------------------------------- */

/* The i-th number of a normal distribution (Box, Muller 1958). */
static double normal(uint64_t seed, uint64_t i) {
    double a = (double)((net_noise_mix(seed + 2 * i) >> 11) + 1) * 0x1p-53;
    double b = (double)(net_noise_mix(seed + 2 * i + 1) >> 11) * 0x1p-53;
    return sqrt(-2 * log(a)) * cos(2 * M_PI * b);
}

static void fill(struct net *n, uint64_t seed) {
    uint64_t key = net_noise_mix(seed);
    for (size_t it = 0; it < n->n_tensors; it++) {
        const struct net_tensor *t = &n->tensor[it];
        size_t part = (it - 1) % NET_N_PARTS; /* means nothing for the first and the last, which write to no stream */
        bool to_stream = it && it < n->n_tensors - 1 && parts[part].to_stream;
        double deviation = to_stream ? 0.02 / sqrt(2.0 * n->shape.n_layers) : 0.02;
        for (size_t i = t->offset; i < t->offset + (size_t)t->rows * t->cols; i++)
            n->param[i] = t->decay ? (float)(deviation * normal(key, i)) : 1;
    }
}

/* Su et al. 2021, RoFormer: pair i turns by base^(-2i / head_dim) a position. */
static void fill_turn(struct net *n) {
    size_t pairs = n->shape.head_dim / 2;
    for (size_t pos = 0; pos < n->shape.n_ctx; pos++)
        for (size_t i = 0; i < pairs; i++) {
            double angle = (double)pos * pow((double)n->shape.rope_base, -2.0 * (double)i / n->shape.head_dim);
            n->turn[(pos * pairs + i) * 2] = (float)cos(angle);
            n->turn[(pos * pairs + i) * 2 + 1] = (float)sin(angle);
        }
}

int net_new(struct net **out, const struct net_shape *shape, uint64_t seed, struct err *e) {
    *out = NULL;
    int rc = check_shape(shape, e);
    if (rc) return rc;
    struct net *n = calloc(1, sizeof *n);
    if (!n) return err_set(e, ERR_MEMORY, "no memory for a network");
    n->shape = *shape;
    n->tensor = calloc((size_t)shape->n_layers * NET_N_PARTS + 2, sizeof *n->tensor);
    if (n->tensor) add_tensors(n);
    n->param = calloc(n->n_params, sizeof *n->param);
    n->turn = calloc((size_t)shape->n_ctx * shape->head_dim, sizeof *n->turn);
    if (!n->tensor || !n->param || !n->turn) {
        rc = err_set(e, ERR_MEMORY, "no memory for a network of %zu parameters", n->n_params);
        net_free(n);
        return rc;
    }
    fill(n, seed);
    fill_turn(n);
    *out = n;
    return 0;
}

void net_free(struct net *n) {
    if (!n) return;
    free(n->param);
    free(n->tensor);
    free(n->turn);
    free(n);
}
