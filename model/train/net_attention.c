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

/* One head's block of queries: tokens [from, from + rows) of a span, with the trunk's keys and those of its tokens [0, keys). Scores are
 * [rows][trunk + keys]. */
struct block {
    size_t from, rows, keys, trunk, width;
    const float *q, *k, *v;   /* of the block's first token, and of the span's first */
    size_t ld, trunk_back;    /* of q, k, v; floats from the trunk's first row to the span's */
    size_t head, kv_offset;   /* floats from a row's start to its key */
};

static size_t row_floats(const struct net_attention *a) { return (a->n_heads + 2 * a->n_kv_heads) * a->head_dim; }

static struct block block_make(const struct net_attention *a, const struct net_span *s, const float *qkv, size_t head, size_t from) {
    size_t rows = s->n - from < BLOCK ? s->n - from : BLOCK, ld = row_floats(a);
    size_t k_offset = (a->n_heads + head / (a->n_heads / a->n_kv_heads)) * a->head_dim;
    const float *k = qkv + k_offset;
    return (struct block){.from = from,
                          .rows = rows,
                          .keys = from + rows,
                          .trunk = s->n_trunk,
                          .width = s->n_trunk + from + rows,
                          .q = qkv + from * ld + head * a->head_dim,
                          .k = k,
                          .v = k + a->n_kv_heads * a->head_dim,
                          .ld = ld,
                          .trunk_back = s->back * ld,
                          .head = head,
                          .kv_offset = k_offset};
}

/* score[rows][width] = a[rows][dim] b^T, b the keys or the values of the trunk and of the span. */
static void against_all(const struct block *b, size_t dim, const float *a, size_t ld_a, const float *of, float *score) {
    if (b->trunk) blas_sgemm(b->rows, b->trunk, dim, a, ld_a, of - b->trunk_back, b->ld, false, score, b->width);
    blas_sgemm(b->rows, b->keys, dim, a, ld_a, of, b->ld, false, score + b->trunk, b->width);
}

/* out[rows][dim] = score[rows][width] b */
static void sum_of_all(const struct block *b, size_t dim, const float *score, const float *of, float *out, size_t ld_out) {
    blas_sgemm_nn(b->rows, dim, b->keys, score + b->trunk, b->width, of, b->ld, false, out, ld_out);
    if (b->trunk) blas_sgemm_nn(b->rows, dim, b->trunk, score, b->width, of - b->trunk_back, b->ld, true, out, ld_out);
}

/* To the gradient of the keys or values of all, d_score^T a[rows][dim] is added. */
static void back_to_all(const struct block *b, size_t dim, const float *d_score, const float *a, size_t ld_a, float *d_of) {
    blas_sgemm_tn(b->keys, dim, b->rows, d_score + b->trunk, b->width, a, ld_a, true, d_of, b->ld);
    if (b->trunk) blas_sgemm_tn(b->trunk, dim, b->rows, d_score, b->width, a, ld_a, true, d_of - b->trunk_back, b->ld);
}

static void block_run(const struct net_attention *a, const struct block *b, float *out, float *lse) {
    size_t dim = a->head_dim, ld_out = a->n_heads * dim;
    float scale = 1 / sqrtf((float)dim), sum[BLOCK];
    against_all(b, dim, b->q, b->ld, b->k, a->score);
    for (size_t r = 0; r < b->rows; r++) {
        float *p = a->score + r * b->width, max;
        size_t seen = b->trunk + b->from + r + 1;
        sum[r] = net_math_exp_row(p, seen, scale, &max);
        memset(p + seen, 0, (b->width - seen) * sizeof *p);
        lse[(b->from + r) * a->n_heads + b->head] = max + logf(sum[r]);
    }
    float *o = out + b->from * ld_out + b->head * dim;
    sum_of_all(b, dim, a->score, b->v, o, ld_out);
    for (size_t r = 0; r < b->rows; r++) net_math_scale(o + r * ld_out, dim, 1 / sum[r]);
}

void net_attention_run(const struct net_attention *a, const struct net_span *s, const float *qkv, float *out, float *lse) {
    for (size_t h = 0; h < a->n_heads; h++)
        for (size_t from = 0; from < s->n; from += BLOCK) {
            struct block b = block_make(a, s, qkv, h, from);
            block_run(a, &b, out, lse);
        }
}

/* d_q is set, d_k and d_v are added to. */
static void block_back(const struct net_attention *a, const struct block *b, const float *out, const float *lse,
                       const float *d_out, float *d_qkv) {
    size_t dim = a->head_dim, ld_out = a->n_heads * dim, at = b->from * ld_out + b->head * dim;
    float scale = 1 / sqrtf((float)dim);
    float *p = a->score, *d_p = a->score + b->rows * b->width;
    float *d_q = d_qkv + b->from * b->ld + b->head * dim, *d_k = d_qkv + b->kv_offset, *d_v = d_k + (b->v - b->k);
    against_all(b, dim, b->q, b->ld, b->k, p);
    against_all(b, dim, d_out + at, ld_out, b->v, d_p);
    for (size_t r = 0; r < b->rows; r++) {
        float *row = p + r * b->width, *d_row = d_p + r * b->width;
        size_t seen = b->trunk + b->from + r + 1, rest = (b->width - seen) * sizeof *row;
        net_math_exp_again(row, seen, scale, lse[(b->from + r) * a->n_heads + b->head]);
        float dot = net_math_dot(d_out + at + r * ld_out, out + at + r * ld_out, dim);
        net_math_softmax_back(d_row, row, seen, dot, scale);
        memset(row + seen, 0, rest);
        memset(d_row + seen, 0, rest);
    }
    back_to_all(b, dim, p, d_out + at, ld_out, d_v);
    sum_of_all(b, dim, d_p, b->k, d_q, b->ld);
    back_to_all(b, dim, d_p, b->q, b->ld, d_k);
}

void net_attention_back(const struct net_attention *a, const struct net_span *s, const float *qkv, const float *out, const float *lse,
                        const float *d_out, float *d_qkv) {
    memset(d_qkv, 0, s->n * row_floats(a) * sizeof *d_qkv);
    for (size_t h = 0; h < a->n_heads; h++)
        for (size_t from = 0; from < s->n; from += BLOCK) {
            struct block b = block_make(a, s, qkv, h, from);
            block_back(a, &b, out, lse, d_out, d_qkv);
        }
}
