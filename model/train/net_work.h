/* net_work: what a thread keeps of a row between the way forth and the way back. n tokens a row, at most n_max. */
#ifndef MODEL_TRAIN_NET_WORK_H
#define MODEL_TRAIN_NET_WORK_H

#include "model/train/net.h"

struct net_layer_work {
    float *x, *inv, *h;             /* [n][n_embd] stream before attention, [n], normed */
    float *qkv, *att, *lse;         /* [n][q + 2 kv] turned, [n][q], [n][n_heads] */
    float *x_mid, *inv_mid, *h_mid; /* before the gates */
    float *gate_up;                 /* [n][2 n_ff] */
};

/* A token whose loss counts: guessed after token `from`. */
struct net_guess {
    uint32_t from, target;
    float weight;
};

enum { NET_CHUNK = 128 }; /* tokens whose logits are there at once */

struct net_work {
    size_t n_max, n_layers;
    struct net_layer_work *layer;  /* [n_layers] */
    float *x_end, *inv_end, *h_end; /* from here on the last layer's, too, after attention: one row a guess */
    float *x_picked, *att_picked;  /* the last layer's x and att of those rows */
    float *branch, *act;           /* [n][n_embd], [n][n_ff] */
    float *d_x, *d_h, *d_qkv;      /* gradients of the stream, of what is normed, of qkv */
    float *score;                  /* attention's */
    float *logit;                  /* [NET_CHUNK][n_vocab] */
    uint32_t *pos;                 /* [n] */
    struct net_guess *guess;       /* [n], by rising `from` */
    size_t n_guesses;
    void *memory;                  /* what all floats lie in */
};

#endif
