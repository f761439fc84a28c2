/* forward: see forward.h. The recipe is run_layer; everything above it serves that it can be read. */
#include "model/forward.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "config/cpu.h"
#include "model/attention.h"
#include "model/kernels.h"
#include "model/matmul.h"

struct forward {
    const struct weights *w;
    const struct kernels *k;
    struct pool *pool;
    struct matmul *matmul;
    struct attention *attention;
    struct kv_rope rope;
    uint32_t max_rows;
    /* activations, [max_rows][...] */
    float *x;           /* [n_embd] the residual stream */
    float *h;           /* [n_embd] normalised, or a layer's contribution to x */
    float *q;           /* [n_heads * head_dim_k] */
    float *key, *value; /* [n_kv_heads * head_dim] */
    float *mix;         /* [n_heads * head_dim_v] what attention gives */
    float *gate, *up;   /* [n_ff] */
    float *angles;      /* [n_rot] cos and sin of each row's position */
    size_t n_q, n_k, n_v, n_mix;
    float scale; /* of attention's scores */
    float *memory; /* owned: all of the above */
    size_t memory_bytes;
    /* the run in progress */
    const struct forward_step *step;
    struct kv_view view;
    uint32_t il; /* layer */
};

#define ALIGN_FLOATS 16u /* rows of scratch begin on cache lines */

int forward_open(struct forward **out, const struct model *m, struct pool *p, uint32_t max_rows, struct err *e) {
    *out = NULL;
    struct forward *f = calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_MEMORY, "no memory for the forward pass");
    const struct weights_shape *s = &m->weights.shape;
    *f = (struct forward){.w = &m->weights, .k = kernels_get(), .pool = p, .rope = m->rope.kv, .max_rows = max_rows};
    f->n_q = (size_t)s->n_heads * s->head_dim_k;
    f->n_k = (size_t)s->n_kv_heads * s->head_dim_k;
    f->n_v = (size_t)s->n_kv_heads * s->head_dim_v;
    f->n_mix = (size_t)s->n_heads * s->head_dim_v;
    struct {
        float **at;
        size_t n;
    } part[] = {{&f->x, s->n_embd},  {&f->h, s->n_embd},  {&f->q, f->n_q},   {&f->key, f->n_k},     {&f->value, f->n_v},
                {&f->mix, f->n_mix}, {&f->gate, s->n_ff}, {&f->up, s->n_ff}, {&f->angles, s->n_rot}};
    size_t n_parts = sizeof part / sizeof *part, floats = 0;
    for (size_t i = 0; i < n_parts; i++)
        floats += (part[i].n * max_rows + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    int rc = ERR_MEMORY;
    f->memory_bytes = floats * sizeof(float);
    f->memory = aligned_alloc(ALIGN_FLOATS * sizeof(float), f->memory_bytes);
    if (!f->memory) {
        err_set(e, rc, "no memory for the forward pass: %zu MiB", f->memory_bytes >> 20);
        goto out;
    }
    for (size_t i = 0, at = 0; i < n_parts; i++) {
        *part[i].at = f->memory + at;
        at += (part[i].n * max_rows + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    f->scale = 1.0f / sqrtf((float)s->head_dim_k);
    struct attention_shape shape = {s->n_heads, s->n_kv_heads, s->head_dim_k, s->head_dim_v, f->scale, f->rope};
    if ((rc = attention_open(&f->attention, p, &shape, max_rows, e))) goto out;
    if ((rc = matmul_open(&f->matmul, p, max_rows, m->weights.max_cols, e))) goto out;
    *out = f;
out:
    if (rc) forward_close(f);
    return rc;
}

void forward_close(struct forward *f) {
    if (!f) return;
    matmul_close(f->matmul);
    attention_close(f->attention);
    free(f->memory);
    free(f);
}

size_t forward_bytes(const struct forward *f) {
    return f->memory_bytes + matmul_bytes(f->matmul) + attention_bytes(f->attention);
}

static bool cancelled(const struct forward *f) {
    return f->step->cancelled && f->step->cancelled(f->step->ctx);
}

/* ---- products ------------------------------------------------------------------------------------------------ */

/* Multiplications after which a cancel is asked about: less than 100 ms on two cores of each kind. Larger would be a
 * little faster, since each run rounds its activations again. */
static const size_t product_work[] = {
    [CPU_PORTABLE] = (size_t)1 << 28, [CPU_AVX2] = (size_t)1 << 30, [CPU_AVX512] = (size_t)1 << 31};

/* matmul_run, with long products cut into runs of weight rows, by size alone, so that a cancel is seen in time. */
static bool product(struct forward *f, const struct matmul_job *job, size_t n_jobs, const float *x, size_t x_stride,
                    size_t n_rows) {
    size_t work = 0, most = product_work[cpu_isa()];
    for (size_t i = 0; i < n_jobs; i++) work += job[i].w->rows * job[i].w->cols * n_rows;
    if (work <= most) {
        matmul_run(f->matmul, job, n_jobs, x, x_stride, n_rows);
        return true;
    }
    for (size_t i = 0; i < n_jobs; i++) {
        const struct matrix *w = job[i].w;
        size_t slice = most / (w->cols * n_rows) / 64 * 64;
        if (!slice) slice = 64;
        for (size_t row = 0; row < w->rows; row += slice) {
            struct matrix part = *w;
            part.data += row * w->row_bytes;
            part.rows = w->rows - row < slice ? w->rows - row : slice;
            struct matmul_job one = {&part, job[i].bias ? job[i].bias + row : NULL, job[i].out + row,
                                     job[i].out_stride};
            matmul_run(f->matmul, &one, 1, x, x_stride, n_rows);
            if (cancelled(f)) return false;
        }
    }
    return true;
}

/* attention_run for the batch's rows from one on, in runs of rows where it takes long: a row's sums do not depend on
 * those that are computed beside it. The view of a run ends with the run's last row. */
static bool attend(struct forward *f, size_t from, const float *q, float *mix) {
    enum { LEAST_ROWS = 16 }; /* each run reads the whole cache */
    const struct forward_step *s = f->step;
    struct kv_view view = f->view;
    size_t end = s->batch->n, most = product_work[cpu_isa()] / 4 / (f->view.n_cells * (f->n_q + f->n_mix)) / LEAST_ROWS * LEAST_ROWS;
    if (most < LEAST_ROWS) most = LEAST_ROWS;
    for (size_t row = from, n; row < end; row += n) {
        n = end - row < most ? end - row : most;
        view.n_cells = f->view.n_cells - (end - row - n);
        const float *q_row = q + (row - from) * f->n_q;
        float *out = mix + (row - from) * f->n_mix;
        int64_t pos = s->batch->pos + (int64_t)row;
        if (view.attend)
            view.attend(&view, &(struct kv_queries){f->il, f->w->shape.n_heads, n, pos, f->scale, q_row, f->n_q, out, f->n_mix});
        else
            attention_run(f->attention, &view, kv_get_layout(s->kv), f->il, q_row, f->n_q, pos, n, out, f->n_mix);
        if (row + n < end && cancelled(f)) return false;
    }
    return true;
}

/* ---- what is done row by row --------------------------------------------------------------------------------- */

typedef void row_fn(struct forward *f, const struct weights_layer *l, size_t row);
struct row_work {
    struct forward *f;
    const struct weights_layer *l;
    row_fn *fn;
    size_t from, n;
    atomic_size_t next;
};

#define ROWS_AT_ONCE 4u

static void rows_take(void *arg, int ith, int nth) {
    struct row_work *w = arg;
    (void)ith, (void)nth;
    for (size_t i; (i = atomic_fetch_add(&w->next, ROWS_AT_ONCE)) < w->n;)
        for (size_t r = i; r < i + ROWS_AT_ONCE && r < w->n; r++) w->fn(w->f, w->l, w->from + r);
}

/* fn for each row from one on, by the pool where there are many. */
static void each_row(struct forward *f, const struct weights_layer *l, size_t from, row_fn *fn) {
    struct row_work w = {f, l, fn, from, f->step->batch->n - from, 0};
    if (w.n <= ROWS_AT_ONCE)
        rows_take(&w, 0, 1);
    else
        pool_run_any(f->pool, rows_take, &w);
}

static void row_start(struct forward *f, const struct weights_layer *l, size_t r) {
    (void)l;
    const struct matrix *w = &f->w->embd;
    w->type->to_f32(w->data + (size_t)f->step->token[r] * w->row_bytes, f->x + r * w->cols, w->cols);
    if (f->rope.n_rot) kv_rope_angles(&f->rope, f->step->batch->pos + (int64_t)r, f->angles + r * f->rope.n_rot);
}

static void row_attn_norm(struct forward *f, const struct weights_layer *l, size_t r) {
    size_t n = f->w->shape.n_embd;
    f->k->rms_norm(f->x + r * n, l->attn_norm, f->w->shape.norm_eps, f->h + r * n, n);
}

static void norm_heads(const struct forward *f, const float *weight, float *head, uint32_t n_heads) {
    size_t n = f->w->shape.head_dim_k;
    for (uint32_t i = 0; i < n_heads; i++) f->k->rms_norm(head + i * n, weight, f->w->shape.norm_eps, head + i * n, n);
}

/* The row's key, normalised and turned, and its value, into the cache. */
static void row_store(struct forward *f, const struct weights_layer *l, size_t r) {
    const struct weights_shape *s = &f->w->shape;
    float *key = f->key + r * f->n_k;
    if (l->k_norm) norm_heads(f, l->k_norm, key, s->n_kv_heads);
    for (uint32_t i = 0; i < s->n_kv_heads; i++)
        kv_rope_turn(&f->rope, f->angles + r * f->rope.n_rot, f->rope.magnitude, key + (size_t)i * s->head_dim_k);
    kv_write(f->step->kv, f->step->batch, f->il, (uint32_t)r, (uint32_t)r + 1, key, f->n_k, f->value + r * f->n_v,
             f->n_v);
}

static void row_query_norm(struct forward *f, const struct weights_layer *l, size_t r) {
    norm_heads(f, l->q_norm, f->q + r * f->n_q, f->w->shape.n_heads);
}

/* x += h, then normalised for the feed-forward part. */
static void row_add_ffn_norm(struct forward *f, const struct weights_layer *l, size_t r) {
    size_t n = f->w->shape.n_embd;
    f->k->add(f->x + r * n, f->h + r * n, n);
    f->k->rms_norm(f->x + r * n, l->ffn_norm, f->w->shape.norm_eps, f->h + r * n, n);
}

static void row_swiglu(struct forward *f, const struct weights_layer *l, size_t r) {
    (void)l;
    size_t n = f->w->shape.n_ff;
    f->k->swiglu(f->gate + r * n, f->up + r * n, n);
}

static void row_add(struct forward *f, const struct weights_layer *l, size_t r) {
    (void)l;
    size_t n = f->w->shape.n_embd;
    f->k->add(f->x + r * n, f->h + r * n, n);
}

static void row_output_norm(struct forward *f, const struct weights_layer *l, size_t r) {
    (void)l;
    size_t n = f->w->shape.n_embd;
    f->k->rms_norm(f->x + r * n, f->w->output_norm, f->w->shape.norm_eps, f->h + r * n, n);
}

/* ---- the recipe ---------------------------------------------------------------------------------------------- */

/* Layer il for all rows of the batch; what nobody reads later, the last layer's rows before from, is left out. */
static bool run_layer(struct forward *f, uint32_t il) {
    const struct weights_layer *l = &f->w->layer[il];
    const struct forward_step *s = f->step;
    size_t n = s->batch->n, d = f->w->shape.n_embd, ff = f->w->shape.n_ff;
    size_t from = il + 1 == f->w->shape.n_layers ? s->first_row : 0, rest = n - from;
    float *x_h = f->h + from * d, *q = f->q + from * f->n_q, *mix = f->mix + from * f->n_mix;
    float *gate = f->gate + from * ff, *up = f->up + from * ff;
    f->il = il;

    each_row(f, l, 0, row_attn_norm);
    struct matmul_job qkv[] = {
        {&l->k, l->k_bias, f->key, f->n_k}, {&l->v, l->v_bias, f->value, f->n_v}, {&l->q, l->q_bias, q, f->n_q}};
    if (!product(f, qkv, from ? 2 : 3, f->h, d, n)) return false;
    each_row(f, l, 0, row_store);
    if (!rest) return true;
    if (from && !product(f, &qkv[2], 1, x_h, d, rest)) return false;
    if (l->q_norm) each_row(f, l, from, row_query_norm);
    if (!attend(f, from, q, mix)) return false;
    struct matmul_job out = {&l->o, l->o_bias, x_h, d};
    if (!product(f, &out, 1, mix, f->n_mix, rest)) return false;

    each_row(f, l, from, row_add_ffn_norm);
    struct matmul_job wide[] = {{&l->gate, NULL, gate, ff}, {&l->up, NULL, up, ff}};
    if (!product(f, wide, 2, x_h, d, rest)) return false;
    each_row(f, l, from, row_swiglu);
    struct matmul_job down = {&l->down, NULL, x_h, d};
    if (!product(f, &down, 1, gate, ff, rest)) return false;
    each_row(f, l, from, row_add);
    return true;
}

int forward_run(struct forward *f, const struct forward_step *s, struct err *e) {
    assert(s->batch->n && s->batch->n <= f->max_rows && s->first_row <= s->batch->n);
    f->step = s;
    kv_get_view(s->kv, s->batch, &f->view);
    int rc = attention_reserve(f->attention, f->view.n_cells, f->view.n_offsets, e);
    if (rc) return rc;
    each_row(f, NULL, 0, row_start);
    for (uint32_t il = 0; il < f->w->shape.n_layers; il++)
        if (cancelled(f) || !run_layer(f, il)) return err_set(e, ERR_CANCELLED, "stopped");
    if (s->first_row == s->batch->n) return 0;
    each_row(f, NULL, s->first_row, row_output_norm);
    struct matmul_job logits = {&f->w->output, NULL, s->logits, f->w->shape.n_vocab};
    size_t d = f->w->shape.n_embd, n = s->batch->n - s->first_row;
    return product(f, &logits, 1, f->h + s->first_row * d, d, n) ? 0 : err_set(e, ERR_CANCELLED, "stopped");
}
