/* net_attention: causal attention within one text, and its gradient. A row of qkv is the queries of all heads, then the keys, then the
 * values of the heads that have their own; query heads share keys and values in order. Any thread. */
#ifndef MODEL_TRAIN_NET_ATTENTION_H
#define MODEL_TRAIN_NET_ATTENTION_H

#include <stddef.h>

struct net_attention {
    size_t n_heads, n_kv_heads, head_dim;
    float *score;  /* net_attention_floats() of scratch, for its longest text */
};
size_t net_attention_floats(size_t n_ctx);

/* n tokens, and the n_trunk before them in their text, whose first one lies `back` rows before the first of the n. */
struct net_span {
    size_t n, n_trunk, back;
};

/* All arrays begin at the first of the n tokens.
 * out becomes [n][n_heads * head_dim], and lse [n][n_heads] the logarithm of each softmax's denominator, for the way back. */
void net_attention_run(const struct net_attention *a, const struct net_span *s, const float *qkv, float *out, float *lse);
/* d_qkv becomes the gradient of the n rows of qkv, for that of out; to the trunk's keys and values theirs is added. */
void net_attention_back(const struct net_attention *a, const struct net_span *s, const float *qkv, const float *out, const float *lse,
                        const float *d_out, float *d_qkv);

#endif
