/* net_math: what the network does besides products of matrices: norms, rotations, gates, the loss, and their gradients. Rows are
 * contiguous unless a stride is given; arrays do not overlap unless it is said. Formulas: README.md. Any thread. */
#ifndef MODEL_TRAIN_NET_MATH_H
#define MODEL_TRAIN_NET_MATH_H

#include <stddef.h>
#include <stdint.h>

struct net_norm {
    const float *gain; /* [cols] */
    float eps;
    size_t cols;
};
/* out = x + branch, h = RMSNorm(out); inv[row] is what out was multiplied by, before the gain. x NULL: zeros. */
void net_math_join_norm(const struct net_norm *o, size_t n, const float *x, const float *branch, float *out, float *inv, float *h);
/* Back through it: d_x holds the gradient that reaches out on the residual stream, and becomes the whole one, which is also x's and the branch's;
 * the gain's is added to d_gain. */
void net_math_join_norm_back(const struct net_norm *o, size_t n, const float *out, const float *inv, const float *d_h,
                             float *d_x, float *d_gain);

/* Turns adjacent pairs of n_heads heads of a row by a table of cosine and sine; back: by the opposite angle. */
void net_math_turn(float *row, size_t n_heads, size_t head_dim, const float *turn);
void net_math_turn_back(float *row, size_t n_heads, size_t head_dim, const float *turn);

/* act[n][n_ff] = silu(gate) * up; a row of gate_up is n_ff gates, then n_ff ups. */
void net_math_swiglu(size_t n, size_t n_ff, const float *gate_up, float *act);
/* act holds its gradient and becomes act again; gate_up becomes its own gradient. */
void net_math_swiglu_back(size_t n, size_t n_ff, float *gate_up, float *act);

/* score[n] becomes exp(scale * (score - max)); returns the sum, and the largest score times scale. */
float net_math_exp_row(float *score, size_t n, float scale, float *max);
/* score[n] becomes exp(scale * score - lse). */
void net_math_exp_again(float *score, size_t n, float scale, float lse);
/* d_p[n] becomes the gradient of the score: p * (d_p - dot) * scale. */
void net_math_softmax_back(float *d_p, const float *p, size_t n, float dot, float scale);
float net_math_dot(const float *a, const float *b, size_t n);
void net_math_scale(float *x, size_t n, float by);

/* -ln softmax(logit)[target]; logit becomes weight times that loss's gradient. */
double net_math_cross_entropy(float *logit, size_t n, uint32_t target, float weight);

void net_math_add(float *to, const float *x, size_t n);

#endif
