/* net_attention: see net_attention.h. Queries go in blocks, each with the keys up to its own last token: what lies above the diagonal
 * is computed for less than a block. The probabilities are not kept: the way back has them again from lse, as in FlashAttention (Dao et
 * al. 2022). */
#include "model/train/net_attention.h"

#include <math.h>
#include <string.h>

#include "model/blas.h"
#include "model/train/net_math.h"

enum { BLOCK = 64 };

size_t net_attention_floats(size_t n_ctx) { return 2 * BLOCK * n_ctx; }

/* One head's block of queries: tokens [from, from + rows) with keys [0, keys). */
struct block {
    size_t from, rows, keys;
    const float *q, *k, *v; /* of the block's first token, and of the segment's first */
    size_t ld;              /* of q, k, v */
    size_t head, kv_offset; /* floats from a row's start to its query, key */
};

static size_t row_floats(const struct net_attention *a) { return (a->n_heads + 2 * a->n_kv_heads) * a->head_dim; }

static struct block block_make(const struct net_attention *a, size_t n, const float *qkv, size_t head, size_t from) {
    size_t rows = n - from < BLOCK ? n - from : BLOCK, ld = row_floats(a);
    size_t k_offset = (a->n_heads + head / (a->n_heads / a->n_kv_heads)) * a->head_dim;
    const float *k = qkv + k_offset;
    return (struct block){.from = from,
                          .rows = rows,
                          .keys = from + rows,
                          .q = qkv + from * ld + head * a->head_dim,
                          .k = k,
                          .v = k + a->n_kv_heads * a->head_dim,
                          .ld = ld,
                          .head = head,
                          .kv_offset = k_offset};
}

static void block_run(const struct net_attention *a, const struct block *b, float *out, float *lse) {
    size_t dim = a->head_dim, ld_out = a->n_heads * dim;
    float scale = 1 / sqrtf((float)dim), sum[BLOCK];
    blas_sgemm(b->rows, b->keys, dim, b->q, b->ld, b->k, b->ld, false, a->score, b->keys);
    for (size_t r = 0; r < b->rows; r++) {
        float *p = a->score + r * b->keys, max;
        size_t seen = b->from + r + 1;
        sum[r] = net_math_exp_row(p, seen, scale, &max);
        memset(p + seen, 0, (b->keys - seen) * sizeof *p);
        lse[(b->from + r) * a->n_heads + b->head] = max + logf(sum[r]);
    }
    float *o = out + b->from * ld_out + b->head * dim;
    blas_sgemm_nn(b->rows, dim, b->keys, a->score, b->keys, b->v, b->ld, false, o, ld_out);
    for (size_t r = 0; r < b->rows; r++) net_math_scale(o + r * ld_out, dim, 1 / sum[r]);
}

void net_attention_run(const struct net_attention *a, size_t n, const float *qkv, float *out, float *lse) {
    for (size_t h = 0; h < a->n_heads; h++)
        for (size_t from = 0; from < n; from += BLOCK) {
            struct block b = block_make(a, n, qkv, h, from);
            block_run(a, &b, out, lse);
        }
}

/* d_q is set, d_k and d_v are added to. */
static void block_back(const struct net_attention *a, const struct block *b, const float *out, const float *lse,
                       const float *d_out, float *d_qkv) {
    size_t dim = a->head_dim, ld_out = a->n_heads * dim, at = b->from * ld_out + b->head * dim;
    float scale = 1 / sqrtf((float)dim);
    float *p = a->score, *d_p = a->score + b->rows * b->keys;
    float *d_q = d_qkv + b->from * b->ld + b->head * dim, *d_k = d_qkv + b->kv_offset, *d_v = d_k + (b->v - b->k);
    blas_sgemm(b->rows, b->keys, dim, b->q, b->ld, b->k, b->ld, false, p, b->keys);
    blas_sgemm(b->rows, b->keys, dim, d_out + at, ld_out, b->v, b->ld, false, d_p, b->keys);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = p + r * b->keys, *d_row = d_p + r * b->keys;
        size_t seen = b->from + r + 1, rest = (b->keys - seen) * sizeof *row;
        net_math_exp_again(row, seen, scale, lse[(b->from + r) * a->n_heads + b->head]);
        float dot = net_math_dot(d_out + at + r * ld_out, out + at + r * ld_out, dim);
        net_math_softmax_back(d_row, row, seen, dot, scale);
        memset(row + seen, 0, rest);
        memset(d_row + seen, 0, rest);
    }
    blas_sgemm_tn(b->keys, dim, b->rows, p, b->keys, d_out + at, ld_out, true, d_v, b->ld);
    blas_sgemm_nn(b->rows, dim, b->keys, d_p, b->keys, b->k, b->ld, false, d_q, b->ld);
    blas_sgemm_tn(b->keys, dim, b->rows, d_p, b->keys, b->q, b->ld, true, d_k, b->ld);
}

void net_attention_back(const struct net_attention *a, size_t n, const float *qkv, const float *out, const float *lse,
                        const float *d_out, float *d_qkv) {
    memset(d_qkv, 0, n * row_floats(a) * sizeof *d_qkv);
    for (size_t h = 0; h < a->n_heads; h++)
        for (size_t from = 0; from < n; from += BLOCK) {
            struct block b = block_make(a, n, qkv, h, from);
            block_back(a, &b, out, lse, d_out, d_qkv);
        }
}
