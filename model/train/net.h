/* net: the llama network in floats, as the trainer needs it: its parameters, the loss of a row of text, and the gradient.
 *
 * A struct net is written by whoever trains it and read by any number of threads meanwhile not; each thread brings a work of its own.
 * The same parameters, row and noise give the same bits on one kind of processor. The formulas and where they come from: README.md. */
#ifndef MODEL_TRAIN_NET_H
#define MODEL_TRAIN_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

struct net_shape {
    uint32_t n_vocab, n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_ctx;
    float rope_base, norm_eps;
};

/* One tensor of the file: rows of cols floats, row-major; a norm has one row. GGUF's dimensions are {cols, rows}, or {cols} for a norm. */
struct net_tensor {
    char name[40];       /* as llama GGUF files have it: "blk.0.attn_q.weight" */
    uint32_t rows, cols;
    size_t offset;       /* into net.param, and into a gradient */
    bool decay;          /* weight decay is for it: all but the norms */
};

struct net {
    struct net_shape shape;
    size_t n_params;
    float *param;              /* [n_params] */
    struct net_tensor *tensor; /* [n_tensors], in order of offset */
    size_t n_tensors;
    float *turn;               /* [n_ctx][head_dim / 2][2]: cosine and sine of each pair at each position */
};

/* Normal weights of deviation 0.02, those that write to the residual stream divided by sqrt(2 n_layers); norms 1. The output is the
 * embedding (tied). ERR_USAGE: sizes that do not fit together. ERR_MEMORY. */
int net_new(struct net **out, const struct net_shape *shape, uint64_t seed, struct err *e);
void net_free(struct net *n); /* NULL is fine */

/* n tokens of one text. A branch goes on from the first `trunk` tokens of the last segment before it that is none (trunk 0): it sees
 * them, and its positions follow theirs. Several ways on from one beginning have it computed once. */
struct net_segment {
    uint32_t n, trunk;
};

/* Several texts side by side; no segment sees another one but its trunk. weight[i] is what the loss of token i, guessed from those before
 * it, is multiplied by; that of a segment's first token counts for nothing. */
struct net_row {
    const int32_t *token;    /* [n], each below n_vocab */
    const float *weight;     /* [n], >= 0 */
    size_t n;
    const struct net_segment *segment; /* [n_segments], each of 1 to n_ctx tokens with its trunk, without it together n */
    size_t n_segments;
};

/* What one thread needs to compute a row of at most n_max tokens. */
struct net_work;
int net_work_open(struct net_work **out, const struct net *n, size_t n_max, struct err *e);
void net_work_close(struct net_work *w); /* NULL is fine */

/* The sum of weight * -ln p(token), in nats; *weights, where given, becomes the sum of the weights. grad, where given, is [n_params], and
 * the sum's gradient is added to it. */
double net_row_loss(const struct net *n, struct net_work *w, const struct net_row *row, float *grad, double *weights);

/* The logits after each token: out[row->n][n_vocab]. Weights are not looked at. */
void net_row_logits(const struct net *n, struct net_work *w, const struct net_row *row, float *out);

#endif
