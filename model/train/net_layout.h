/* net_layout: where a net's tensors are: the order of net.tensor, for those that compute with it. Queries, keys and values of a layer lie
 * behind each other, and so do gate and up: one product each. */
#ifndef MODEL_TRAIN_NET_LAYOUT_H
#define MODEL_TRAIN_NET_LAYOUT_H

#include "model/train/net.h"

enum net_part {
    NET_ATTN_NORM,
    NET_ATTN_Q,
    NET_ATTN_K,
    NET_ATTN_V,
    NET_ATTN_OUTPUT,
    NET_FFN_NORM,
    NET_FFN_GATE,
    NET_FFN_UP,
    NET_FFN_DOWN,
    NET_N_PARTS,
};

/* Offsets into the parameters. The embedding is at 0. */
static inline size_t net_layer_at(const struct net *n, size_t layer, enum net_part part) {
    return n->tensor[1 + layer * NET_N_PARTS + part].offset;
}
static inline size_t net_output_norm_at(const struct net *n) {
    return n->tensor[n->n_tensors - 1].offset;
}

#endif
