/* matmul: see matmul.h.
 *
 * The rows of all weight matrices of a call are cut into units; where the cuts lie depends on the shapes alone. Each of the pool's
 * threads walks through a range of neighbouring units, so that it reads memory in order, and then helps the others with
 * theirs, one unit at a time: a thread that is held up delays nobody. */
#include "model/matmul.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "model/blas.h"
#include "model/kernels.h"

enum {
    UNIT_ONE = 64,     /* weight rows of a unit: one row of activations (a multiple of 16) */
    UNIT_MANY = 32,    /* many rows, quantised weights */
    UNIT_BLAS = 256,   /* many rows, float weights: widened to a tile of UNIT_BLAS rows, TILE_COLS of each at a time */
    TILE_COLS = 1024,
    BLAS_ROWS = 8,     /* from this many rows of activations on OpenBLAS is used */
};

/* A thread's range of units: the next to be taken, by whomever, and the end. A cache line of its own. */
struct range {
    _Alignas(64) atomic_size_t next;
    size_t end;
};

struct matmul {
    const struct kernels *kernels;
    struct pool *pool;
    size_t max_rows, max_cols;
    uint8_t *act;      /* [max_rows] activations as int8 */
    size_t act_bytes;
    uint8_t *scratch;  /* [threads] scratch_bytes each */
    size_t scratch_bytes;
    struct range *range; /* [threads] */
};

/* One parallel section: the jobs of a call whose activations have one format. */
struct section {
    struct matmul *m;
    const struct matmul_job *job;
    size_t n_jobs, n_rows;
    enum act_format format;
    bool blas;                /* float weights, many rows, and OpenBLAS has the memory it needs */
    const float *x;
    size_t x_stride;          /* floats */
    size_t act_stride;        /* bytes */
};

static size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

int matmul_open(struct matmul **out, struct pool *p, size_t max_rows, size_t max_cols, struct err *e) {
    *out = NULL;
    struct matmul *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_MEMORY, "no memory for matrix products");
    m->kernels = kernels_get();
    m->pool = p;
    m->max_rows = max_rows;
    m->max_cols = max_cols;
    size_t cols = round_up(max_cols, 256), row = kernels_act_bytes(ACT_256, cols);
    if (row < kernels_act_bytes(ACT_32, cols)) row = kernels_act_bytes(ACT_32, cols);
    m->scratch_bytes = KERNELS_SCRATCH;
    if (m->scratch_bytes < UNIT_BLAS * TILE_COLS * sizeof(float))
        m->scratch_bytes = UNIT_BLAS * TILE_COLS * sizeof(float);
    size_t bytes;
    if (!__builtin_mul_overflow(row, max_rows, &bytes) && bytes < SIZE_MAX / 2) {
        m->act_bytes = round_up(bytes, 64);
        m->act = aligned_alloc(64, m->act_bytes);
        m->scratch = aligned_alloc(64, m->scratch_bytes * (size_t)pool_threads(p));
        m->range = aligned_alloc(64, sizeof *m->range * (size_t)pool_threads(p));
    }
    if (!m->act || !m->scratch || !m->range) {
        matmul_close(m);
        return err_set(e, ERR_MEMORY, "no memory for products of %zu rows of %zu", max_rows, max_cols);
    }
    *out = m;
    return 0;
}

void matmul_close(struct matmul *m) {
    if (!m) return;
    free(m->act);
    free(m->scratch);
    free(m->range);
    free(m);
}

size_t matmul_bytes(const struct matmul *m) {
    return sizeof *m + m->act_bytes + (m->scratch_bytes + sizeof *m->range) * (size_t)pool_threads(m->pool);
}

static void quantize_row(const struct section *s, size_t r) {
    const struct kernels *k = s->m->kernels;
    size_t cols = s->job->w->cols;
    void *act = s->m->act + r * s->act_stride;
    if (s->format == ACT_32) k->quantize_32(s->x + r * s->x_stride, act, cols);
    else k->quantize_256(s->x + r * s->x_stride, act, cols);
}

static size_t unit_rows(const struct section *s) {
    return s->blas ? UNIT_BLAS : s->n_rows == 1 || s->format == ACT_F32 ? UNIT_ONE : UNIT_MANY;
}

static void add_bias(const struct matmul_job *job, size_t from, size_t rows, size_t n_act) {
    if (!job->bias) return;
    for (size_t r = 0; r < n_act; r++)
        for (size_t i = from; i < from + rows; i++) job->out[r * job->out_stride + i] += job->bias[i];
}

/* Weight rows [from, from + rows) of float type times all rows of x, in tiles that lie the same whatever the threads. */
static void unit_blas(const struct section *s, const struct matmul_job *job, size_t from, size_t rows, float *tile) {
    const struct matrix *w = job->w;
    const uint8_t *first = w->data + from * w->row_bytes;
    if (w->type->id == NUM_F32) {
        blas_sgemm(s->n_rows, rows, w->cols, s->x, s->x_stride, (const void *)first, w->row_bytes / sizeof(float), false,
                   job->out + from, job->out_stride);
        return;
    }
    void (*widen)(const void *, float *, size_t) = s->m->kernels->widen[w->type->id];
    if (!widen) widen = w->type->to_f32;
    for (size_t c = 0; c < w->cols; c += TILE_COLS) {
        size_t n = w->cols - c < TILE_COLS ? w->cols - c : TILE_COLS;
        for (size_t i = 0; i < rows; i++) widen(first + i * w->row_bytes + c * w->type->bytes, tile + i * n, n);
        blas_sgemm(s->n_rows, rows, n, s->x + c, s->x_stride, tile, n, c > 0, job->out + from, job->out_stride);
    }
}

static void unit_kernel(const struct section *s, const struct matmul_job *job, size_t from, size_t rows, void *scratch) {
    const struct kernels *k = s->m->kernels;
    const struct matrix *w = job->w;
    struct product p = {
        .w = w->data + from * w->row_bytes, .row_bytes = w->row_bytes, .rows = rows, .cols = w->cols,
        .act = s->format == ACT_F32 ? (const uint8_t *)s->x : s->m->act, .act_stride = s->act_stride,
        .n_act = s->n_rows, .out = job->out + from, .out_stride = job->out_stride, .scratch = scratch,
    };
    if (s->n_rows > 1 && k->many[w->type->id]) {
        k->many[w->type->id](&p);
        return;
    }
    p.n_act = 1;
    for (size_t r = 0; r < s->n_rows; r++, p.act += p.act_stride, p.out += p.out_stride) k->one[w->type->id](&p);
}

/* Unit u of all jobs' units, one job's behind the other's. */
static void unit_run(const struct section *s, size_t u, void *scratch) {
    size_t each = unit_rows(s);
    const struct matmul_job *job = s->job;
    for (size_t n; u >= (n = round_up(job->w->rows, each) / each); job++) u -= n;
    size_t from = u * each, rows = job->w->rows - from < each ? job->w->rows - from : each;
    if (s->blas) unit_blas(s, job, from, rows, scratch);
    else unit_kernel(s, job, from, rows, scratch);
    add_bias(job, from, rows, s->n_rows);
}

/* Shares n units out among the threads' ranges. */
static void share_out(struct matmul *m, size_t n) {
    int nth = pool_threads(m->pool);
    for (int i = 0; i < nth; i++) {
        size_t from;
        pool_share(n, 1, i, nth, &from, &m->range[i].end);
        atomic_store_explicit(&m->range[i].next, from, memory_order_relaxed);
    }
}

/* The next unit for thread ith: of its own range, then of the others'. */
static bool take_unit(struct matmul *m, int ith, int nth, size_t *unit) {
    for (int k = 0; k < nth; k++) {
        struct range *range = &m->range[(ith + k) % nth];
        if (atomic_load_explicit(&range->next, memory_order_relaxed) >= range->end) continue;
        *unit = atomic_fetch_add_explicit(&range->next, 1, memory_order_relaxed);
        if (*unit < range->end) return true;
    }
    return false;
}

static void quantize_thread(void *arg, int ith, int nth) {
    struct section *s = arg;
    for (size_t r; take_unit(s->m, ith, nth, &r);) quantize_row(s, r);
}

static void multiply_thread(void *arg, int ith, int nth) {
    struct section *s = arg;
    void *scratch = s->m->scratch + (size_t)ith * s->m->scratch_bytes;
    for (size_t u; take_unit(s->m, ith, nth, &u);) unit_run(s, u, scratch);
}

static void section_run(struct section *s) {
    s->blas = s->format == ACT_F32 && s->n_rows >= BLAS_ROWS && blas_reserve((size_t)pool_threads(s->m->pool));
    size_t cols = s->job->w->cols, each = unit_rows(s), n_units = 0;
    s->act_stride = s->format == ACT_F32 ? s->x_stride * sizeof(float) : kernels_act_bytes(s->format, cols);
    if (s->format != ACT_F32 && s->n_rows > 1) {
        share_out(s->m, s->n_rows);
        pool_run_any(s->m->pool, quantize_thread, s);
    } else if (s->format != ACT_F32) {
        quantize_row(s, 0);
    }
    for (size_t j = 0; j < s->n_jobs; j++) {
        assert(s->job[j].w->cols == cols);
        n_units += round_up(s->job[j].w->rows, each) / each;
    }
    share_out(s->m, n_units);
    pool_run_any(s->m->pool, multiply_thread, s);
}

void matmul_run(struct matmul *m, const struct matmul_job *job, size_t n_jobs, const float *x, size_t x_stride,
                size_t n_rows) {
    assert(n_rows >= 1 && n_rows <= m->max_rows);
    /* Neighbours of one format run together; a group of mixed formats (rare) takes a section for each run. */
    for (size_t from = 0, to; from < n_jobs; from = to) {
        enum act_format f = kernels_act_format(job[from].w->type);
        for (to = from + 1; to < n_jobs && kernels_act_format(job[to].w->type) == f;) to++;
        assert(job[from].w->cols <= m->max_cols);
        struct section s = {.m = m, .job = job + from, .n_jobs = to - from, .n_rows = n_rows, .format = f,
                            .x = x, .x_stride = x_stride};
        section_run(&s);
    }
}
