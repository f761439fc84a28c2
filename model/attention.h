/* attention: softmax(q K^T / sqrt(d)) V over the cells of a sequence, read where they lie in the cache's blocks.
 *
 * Cells are visited in position order in runs of 256 counted from the sequence's first cell, whatever their placement.
 * Each run is reduced on its own, four runs are merged in order to a group, and the groups in order to the whole; so the
 * bits depend neither on placement, capacity and threads, nor on how many query rows are computed together. A task is
 * one tile of queries that share a KV head over one group (few rows) or over all groups (many). */
#ifndef MODEL_ATTENTION_H
#define MODEL_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "config/pool.h"
#include "kv/kv.h"

struct attention_shape {
    uint32_t n_heads, n_kv_heads, head_dim_k, head_dim_v; /* head dims up to 512, even; n_heads a multiple of n_kv_heads, at most 32 times it */
    float scale;                                          /* usually 1 / sqrt(head_dim_k) */
    struct kv_rope rope;                                  /* to turn queries for offsets */
};
struct attention; /* scratch */

int attention_open(struct attention **out, struct pool *p, const struct attention_shape *s, size_t max_rows, struct err *e);
void attention_close(struct attention *a);
size_t attention_bytes(const struct attention *a);

/* Makes room for a view of that many cells and offsets; cheap when there is. Call it before attention_run whenever a view has
 * grown. ERR_MEMORY leaves it usable as before. */
int attention_reserve(struct attention *a, size_t n_cells, size_t n_offsets, struct err *e);

/* One layer, for the last n_rows of v->n_cells cells; what the view's spans hold beyond those is not seen. q: [n_rows][n_heads * head_dim_k] f32, NOT rotated yet (normalised where the model does that); row r is at effective position
 * pos + r and sees every cell up to its own. out: [n_rows][n_heads * head_dim_v]. Rotation (with the magnitude) of the
 * query for each of the view's offsets happens here. cells of the layer: block + layer * layout->layer_bytes. */
void attention_run(struct attention *a, const struct kv_view *v, const struct kv_layout *layout, uint32_t layer, const float *q, size_t q_stride,
                   int64_t pos, size_t n_rows, float *out, size_t out_stride);

#endif
