/* attention: see attention.h. */
#include "model/attention.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/cpu.h"
#include "model/attention_kernels.h"

#define DECODED_FLOATS 4096u
#define FETCH_BYTES 4096u
#define GROUP_RUNS 4u                          /* runs merged to a group: a task's share where rows are few */
#define GROUP_CELLS (GROUP_RUNS * ATTENTION_RUN)
#define SERIAL_WORK 65536u                       /* products that one thread does sooner than it wakes another */
#define SPLIT_ROWS 4u                            /* up to here the groups of a head may go to different threads */

/* A tile's running softmax: greatest score, sum of exponents, weighted values. Rows of acc are acc_stride floats. */
struct partial {
    float *max, *sum, *acc;
};

/* Where a run starts in the list of spans. */
struct run_start {
    size_t span;
    uint32_t skip; /* cells of that span before the run */
};

/* Keys or values, and how a layer's are read. */
struct side {
    const struct attention_kernels *kernels;
    void (*decode)(const void *row, float *out, size_t n); /* NULL: read as they are stored */
    size_t dim, in_layer, head_bytes, row_bytes; /* of what is stored */
    size_t read_bytes, at_once; /* of a row as it is read; cells decoded together */
};

struct thread_scratch {
    float *scores;             /* [ATTENTION_QUERIES][ATTENTION_SCORES] */
    float *decoded;            /* [decoded_cells(dim)][dim], the larger dim */
    struct partial run, group, total; /* [ATTENTION_QUERIES] each */
};

struct attention {
    struct attention_shape shape;
    struct pool *pool;
    size_t max_rows, acc_stride, n_threads;
    uint32_t n_shared;         /* query heads that share a KV head */
    float *turned;             /* [offset][row][head][head_dim_k] rotated queries */
    size_t cap_offsets;
    struct run_start *start;   /* [n_runs + 1] */
    size_t cap_runs;
    struct thread_scratch *scratch; /* [n_threads] */
    struct partial split;      /* [group][row * n_heads + head], rows <= SPLIT_ROWS */
    struct softmax { float max, sum; } *whole; /* [max_rows * n_heads] of all cells; kept where the view asks for the cells' mass */
    size_t cap_groups;

    /* the call in progress */
    struct side key, value;
    const struct kv_view *view;
    const struct kv_layout *layout;
    const float *q;
    size_t q_stride, n_rows, n_runs, n_groups, rows_per_tile, n_tiles, n_tasks;
    int64_t pos;
    float *out;
    size_t out_stride;
    bool is_split;
    atomic_size_t next;
};

const struct attention_kernels *attention_kernels_get(enum num_id type) {
    const struct attention_kernels *t = attention_kernels_portable;
#ifdef __x86_64__
    if (cpu_isa() >= CPU_AVX512) t = attention_kernels_avx512;
    else if (cpu_isa() >= CPU_AVX2) t = attention_kernels_avx2;
#endif
    for (; t->name; t++)
        if (t->type == type) return t;
    return NULL;
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Not cleared: nothing is read before it is written, and what no batch needs is never touched. */
static float *floats(size_t n) {
    return n > SIZE_MAX / sizeof(float) / 2 ? NULL : aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
}

static bool partial_open(const struct attention *a, struct partial *p, size_t n) {
    *p = (struct partial){floats(n), floats(n), floats(n * a->acc_stride)};
    return p->max && p->sum && p->acc;
}

static void partial_close(struct partial *p) {
    free(p->max);
    free(p->sum);
    free(p->acc);
    *p = (struct partial){0};
}

/* Cells whose numbers fit into half a first-level cache; tiles take 16. */
static size_t decoded_cells(size_t dim) {
    size_t n = DECODED_FLOATS / dim / 16 * 16;
    return n < 16 ? 16 : n > ATTENTION_RUN ? ATTENTION_RUN : n;
}

static size_t decoded_floats(const struct attention *a) {
    size_t k = decoded_cells(a->shape.head_dim_k) * a->shape.head_dim_k, v = decoded_cells(a->shape.head_dim_v) * a->shape.head_dim_v;
    return k > v ? k : v;
}

static bool scratch_open(const struct attention *a, struct thread_scratch *s) {
    s->decoded = floats(decoded_floats(a));
    s->scores = floats((size_t)ATTENTION_QUERIES * ATTENTION_SCORES);
    return s->decoded && s->scores && partial_open(a, &s->run, ATTENTION_QUERIES) && partial_open(a, &s->group, ATTENTION_QUERIES) &&
           partial_open(a, &s->total, ATTENTION_QUERIES);
}

static size_t turned_floats(const struct attention *a) { return a->max_rows * a->shape.n_heads * a->shape.head_dim_k; }

int attention_open(struct attention **out, struct pool *p, const struct attention_shape *s, size_t max_rows, struct err *e) {
    *out = NULL;
    struct attention *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_MEMORY, "no memory for attention");
    a->shape = *s;
    a->pool = p;
    a->max_rows = max_rows;
    a->n_threads = (size_t)pool_threads(p);
    a->n_shared = s->n_heads / s->n_kv_heads;
    a->acc_stride = (s->head_dim_v + 15u) / 16u * 16u;
    a->cap_offsets = 2; /* the kept part and the tail */
    a->cap_runs = 64;
    a->turned = floats(a->cap_offsets * turned_floats(a));
    a->start = malloc((a->cap_runs + 1) * sizeof *a->start);
    a->scratch = calloc(a->n_threads, sizeof *a->scratch);
    a->whole = malloc(max_rows * s->n_heads * sizeof *a->whole);
    bool ok = a->turned && a->start && a->scratch && a->whole;
    for (size_t i = 0; ok && i < a->n_threads; i++) ok = scratch_open(a, &a->scratch[i]);
    a->cap_groups = 8;
    if (!ok || !partial_open(a, &a->split, a->cap_groups * SPLIT_ROWS * s->n_heads)) {
        attention_close(a);
        return err_set(e, ERR_MEMORY, "no memory for the buffers of attention");
    }
    *out = a;
    return 0;
}

void attention_close(struct attention *a) {
    if (!a) return;
    for (size_t i = 0; a->scratch && i < a->n_threads; i++) {
        free(a->scratch[i].scores);
        free(a->scratch[i].decoded);
        partial_close(&a->scratch[i].run);
        partial_close(&a->scratch[i].group);
        partial_close(&a->scratch[i].total);
    }
    partial_close(&a->split);
    free(a->scratch);
    free(a->start);
    free(a->turned);
    free(a->whole);
    free(a);
}

size_t attention_bytes(const struct attention *a) {
    size_t row = a->acc_stride + 2;
    size_t per_thread = decoded_floats(a) + ATTENTION_QUERIES * (ATTENTION_SCORES + 3 * row);
    size_t n = a->cap_offsets * turned_floats(a) + a->n_threads * per_thread + a->cap_groups * SPLIT_ROWS * a->shape.n_heads * row;
    return n * sizeof(float) + (a->cap_runs + 1) * sizeof *a->start + a->max_rows * a->shape.n_heads * sizeof *a->whole;
}

int attention_reserve(struct attention *a, size_t n_cells, size_t n_offsets, struct err *e) {
    size_t n_runs = n_cells / ATTENTION_RUN + 1, n_groups = n_runs / GROUP_RUNS + 1;
    if (n_runs > a->cap_runs) {
        struct run_start *start = realloc(a->start, (2 * n_runs + 1) * sizeof *start);
        if (!start) return err_set(e, ERR_MEMORY, "no memory for attention over %zu cells", n_cells);
        a->start = start;
        a->cap_runs = 2 * n_runs;
    }
    if (n_offsets > a->cap_offsets) {
        float *turned = floats(2 * n_offsets * turned_floats(a));
        if (!turned) return err_set(e, ERR_MEMORY, "no memory for attention with %zu offsets", n_offsets);
        free(a->turned);
        a->turned = turned;
        a->cap_offsets = 2 * n_offsets;
    }
    if (n_groups > a->cap_groups) {
        struct partial split;
        if (!partial_open(a, &split, 2 * n_groups * SPLIT_ROWS * a->shape.n_heads)) {
            partial_close(&split);
            return err_set(e, ERR_MEMORY, "no memory for attention over %zu cells", n_cells);
        }
        partial_close(&a->split);
        a->split = split;
        a->cap_groups = 2 * n_groups;
    }
    return 0;
}

/* ---- one call ------------------------------------------------------------------------------------------------ */

/* Finds where each run of 256 cells starts. */
static void index_runs(struct attention *a) {
    size_t run = 0;
    uint32_t need = 0; /* cells until the next run starts */
    for (size_t i = 0; i < a->view->n_spans; i++) {
        uint32_t n = a->view->span[i].n, at = need;
        for (; at < n; at += ATTENTION_RUN) a->start[run++] = (struct run_start){i, at};
        need = at - n;
    }
    a->n_runs = run;
    a->n_groups = (run + GROUP_RUNS - 1) / GROUP_RUNS;
}

static const float *turned_row(const struct attention *a, size_t offset, size_t row, size_t head) {
    return a->turned + ((offset * a->max_rows + row) * a->shape.n_heads + head) * a->shape.head_dim_k;
}

/* Rotates this thread's share of the queries, once for each offset. */
static void turn_queries(struct attention *a, size_t from, size_t to) {
    const struct attention_shape *s = &a->shape;
    float angle[512];
    for (size_t o = 0; o < a->view->n_offsets; o++)
        for (size_t r = from; r < to; r++) {
            if (s->rope.n_rot) kv_rope_angles(&s->rope, a->pos + (int64_t)r - a->view->offset[o], angle);
            float *to_row = (float *)turned_row(a, o, r, 0);
            memcpy(to_row, a->q + r * a->q_stride, (size_t)s->n_heads * s->head_dim_k * sizeof *to_row);
            for (size_t h = 0; s->rope.n_rot && h < s->n_heads; h++)
                kv_rope_turn(&s->rope, angle, s->rope.magnitude, to_row + h * s->head_dim_k);
            for (size_t h = 0; a->layout->rotated && h < s->n_heads; h++) kv_rotate(to_row + h * s->head_dim_k, s->head_dim_k);
            for (size_t i = 0; i < (size_t)s->n_heads * s->head_dim_k; i++) to_row[i] *= s->scale;
        }
}

/* Cells that query row r may see. */
static size_t visible(const struct attention *a, size_t row) { return a->view->n_cells - a->n_rows + row + 1; }

static void partial_clear(const struct attention *a, const struct partial *p, size_t n) {
    for (size_t i = 0; i < n; i++) p->max[i] = -INFINITY, p->sum[i] = 0;
    memset(p->acc, 0, n * a->acc_stride * sizeof *p->acc);
}

/* Merges row `from` of one partial into row `to` of another. */
static void partial_merge(const struct attention *a, const struct partial *into, size_t to, const struct partial *p, size_t from) {
    if (p->max[from] == -INFINITY) return;
    float max = fmaxf(into->max[to], p->max[from]);
    float keep = expf(into->max[to] - max), add = expf(p->max[from] - max);
    into->max[to] = max;
    into->sum[to] = into->sum[to] * keep + p->sum[from] * add;
    a->key.kernels->blend(into->acc + to * a->acc_stride, keep, p->acc + from * a->acc_stride, add, a->acc_stride);
}

/* A tile: the query heads of one KV head for some rows. */
struct tile {
    size_t row, n_rows, kv_head, n_q;
};

/* Part of a run that lies in one span. */
struct piece {
    const struct kv_span *span;
    uint32_t first, n;  /* cells of the block */
    size_t at;          /* cells of the run before it */
};

/* The next piece of a run that has `left` cells to go; false at its end. */
static bool next_piece(const struct kv_view *v, struct run_start *at, size_t done, size_t n_run, struct piece *p) {
    if (done >= n_run || at->span >= v->n_spans) return false;
    const struct kv_span *s = &v->span[at->span];
    uint32_t n = s->n - at->skip;
    if (n > n_run - done) n = (uint32_t)(n_run - done);
    *p = (struct piece){s, s->first + at->skip, n, done};
    *at = (struct run_start){at->span + 1, 0};
    return true;
}

static size_t query_row(const struct attention *a, const struct tile *t, size_t i) { return t->row + i / a->n_shared; }

/* The first cells of a piece, all or as many as are decoded together, as the kernels of the side read them; how many in *n. */
static const uint8_t *read_cells(const struct side *x, const struct tile *t, const struct piece *p, size_t done, float *decoded, size_t *n) {
    const uint8_t *row = p->span->block + x->in_layer + t->kv_head * x->head_bytes + (p->first + done) * x->row_bytes;
    *n = p->n - done;
    if (!x->decode) return row;
    if (*n > x->at_once) *n = x->at_once;
    x->decode(row, decoded, *n * x->dim);
    return (const uint8_t *)decoded;
}

/* Fetches the first cells of a slice while another is computed: the loops fetch ahead within one. */
static void fetch_first(const struct side *x, const struct tile *t, const struct kv_span *span, uint32_t first) {
    const uint8_t *row = span->block + x->in_layer + t->kv_head * x->head_bytes + first * x->row_bytes;
    for (size_t i = 0; i < FETCH_BYTES; i += 64) __builtin_prefetch(row + i);
}

static void score_piece(const struct attention *a, const struct tile *t, const struct piece *p, struct thread_scratch *s) {
    const struct side *x = &a->key;
    const float *q[ATTENTION_QUERIES];
    for (size_t i = 0; i < t->n_q; i++)
        q[i] = turned_row(a, p->span->rot, query_row(a, t, i), t->kv_head * a->n_shared + i % a->n_shared);
    for (size_t done = 0, n; done < p->n; done += n) {
        const uint8_t *key = read_cells(x, t, p, done, s->decoded, &n);
        x->kernels->scores(q, t->n_q, key, x->read_bytes, n, x->dim, s->scores + p->at + done);
    }
}

static void mix_piece(const struct attention *a, const struct tile *t, const struct piece *p, struct thread_scratch *s) {
    const struct side *x = &a->value;
    for (size_t done = 0, n; done < p->n; done += n) {
        const uint8_t *value = read_cells(x, t, p, done, s->decoded, &n);
        x->kernels->mix(s->scores + p->at + done, t->n_q, value, x->read_bytes, n, x->dim, s->run.acc, a->acc_stride);
    }
}

/* The exponents of a tile's scores for one run of cells, with their greatest and their sum; 0 for what a row may not see. Returns how many
 * cells of the run any row sees. */
static size_t score_run(struct attention *a, const struct tile *t, size_t run, struct thread_scratch *s) {
    size_t first = run * ATTENTION_RUN, last = visible(a, t->row + t->n_rows - 1);
    if (first >= last) return 0;
    size_t n = last - first < ATTENTION_RUN ? last - first : ATTENTION_RUN;
    struct piece p;
    struct run_start at = a->start[run];
    fetch_first(&a->value, t, &a->view->span[at.span], a->view->span[at.span].first + at.skip);
    for (size_t done = 0; next_piece(a->view, &at, done, n, &p); done += p.n) score_piece(a, t, &p, s);
    partial_clear(a, &s->run, t->n_q);
    for (size_t i = 0; i < t->n_q; i++) {
        size_t sees = visible(a, query_row(a, t, i));
        float *x = s->scores + i * ATTENTION_SCORES;
        if (sees > first) s->run.sum[i] = a->key.kernels->exponents(x, sees - first < n ? sees - first : n, n, &s->run.max[i]);
        else memset(x, 0, n * sizeof *x);
    }
    return n;
}

/* One run of cells for one tile, merged into `group`. */
static void tile_run(struct attention *a, const struct tile *t, size_t run, struct thread_scratch *s) {
    size_t n = score_run(a, t, run, s);
    if (!n) return;
    struct piece p;
    struct run_start at = a->start[run + 1 < a->n_runs ? run + 1 : run];
    fetch_first(&a->key, t, &a->view->span[at.span], a->view->span[at.span].first + at.skip);
    at = a->start[run];
    for (size_t done = 0; next_piece(a->view, &at, done, n, &p); done += p.n) mix_piece(a, t, &p, s);
    for (size_t i = 0; i < t->n_q; i++) partial_merge(a, &s->group, i, &s->run, i);
}

static void tile_group(struct attention *a, const struct tile *t, size_t group, struct thread_scratch *s) {
    partial_clear(a, &s->group, t->n_q);
    for (size_t run = group * GROUP_RUNS; run < a->n_runs && run < (group + 1) * GROUP_RUNS; run++) tile_run(a, t, run, s);
}

static void write_row(const struct attention *a, const struct partial *p, size_t i, size_t row, size_t head) {
    float *out = a->out + row * a->out_stride + head * a->shape.head_dim_v, scale = 1.0f / p->sum[i];
    const float *acc = p->acc + i * a->acc_stride;
    for (size_t d = 0; d < a->shape.head_dim_v; d++) out[d] = acc[d] * scale;
    if (a->view->mass) a->whole[row * a->shape.n_heads + head] = (struct softmax){p->max[i], p->sum[i]};
}

static size_t split_index(const struct attention *a, size_t group, size_t row, size_t head) {
    return (group * SPLIT_ROWS + row) * a->shape.n_heads + head;
}

/* Few rows: one group of one tile, kept for merge_split. */
static void task_split(struct attention *a, const struct tile *t, size_t group, struct thread_scratch *s) {
    tile_group(a, t, group, s);
    for (size_t i = 0; i < t->n_q; i++) {
        size_t to = split_index(a, group, query_row(a, t, i), t->kv_head * a->n_shared + i % a->n_shared);
        a->split.max[to] = s->group.max[i];
        a->split.sum[to] = s->group.sum[i];
        memcpy(a->split.acc + to * a->acc_stride, s->group.acc + i * a->acc_stride, a->acc_stride * sizeof(float));
    }
}

/* Many rows: all groups of one tile. */
static void task_whole(struct attention *a, const struct tile *t, struct thread_scratch *s) {
    partial_clear(a, &s->total, t->n_q);
    for (size_t g = 0; g < a->n_groups; g++) {
        tile_group(a, t, g, s);
        for (size_t i = 0; i < t->n_q; i++) partial_merge(a, &s->total, i, &s->group, i);
    }
    for (size_t i = 0; i < t->n_q; i++) write_row(a, &s->total, i, query_row(a, t, i), t->kv_head * a->n_shared + i % a->n_shared);
}

static void merge_split(struct attention *a, struct thread_scratch *s, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        size_t row = i / a->shape.n_heads, head = i % a->shape.n_heads;
        partial_clear(a, &s->total, 1);
        for (size_t g = 0; g < a->n_groups; g++) partial_merge(a, &s->total, 0, &a->split, split_index(a, g, row, head));
        write_row(a, &s->total, 0, row, head);
    }
}

static struct tile tile_at(const struct attention *a, size_t tile, size_t kv_head) {
    struct tile t = {.row = tile * a->rows_per_tile, .kv_head = kv_head};
    t.n_rows = a->n_rows - t.row < a->rows_per_tile ? a->n_rows - t.row : a->rows_per_tile;
    t.n_q = t.n_rows * a->n_shared;
    return t;
}

/* Adds what each cell of the run was given, which is known only now that all sums are: so its scores are computed once more. By one thread, in
 * one order. */
static void run_mass(struct attention *a, size_t run, struct thread_scratch *s) {
    float *mass = a->view->mass + run * ATTENTION_RUN;
    for (size_t i = 0; i < a->n_tiles * a->shape.n_kv_heads; i++) {
        struct tile t = tile_at(a, i / a->shape.n_kv_heads, i % a->shape.n_kv_heads);
        size_t n = score_run(a, &t, run, s);
        for (size_t k = 0; k < t.n_q && n; k++) {
            size_t row = query_row(a, &t, k);
            if (visible(a, row) <= run * ATTENTION_RUN) continue;
            const struct softmax *w = &a->whole[row * a->shape.n_heads + t.kv_head * a->n_shared + k % a->n_shared];
            const float *x = s->scores + k * ATTENTION_SCORES, scale = expf(s->run.max[k] - w->max) / w->sum;
            for (size_t c = 0; c < n; c++) mass[c] += x[c] * scale;
        }
    }
}

/* Tasks are numbered so that neighbours share cells: group, then tile, then KV head. */
static void run_task(struct attention *a, size_t task, struct thread_scratch *s) {
    size_t kv_head = task % a->shape.n_kv_heads, rest = task / a->shape.n_kv_heads;
    struct tile t = tile_at(a, rest % a->n_tiles, kv_head);
    if (a->is_split) task_split(a, &t, rest / a->n_tiles, s);
    else task_whole(a, &t, s);
}

/* A run takes items one after the other by whichever thread comes for them: which thread has an item does not reach its bits. */
static bool take(struct attention *a, size_t n, size_t *item) {
    *item = atomic_fetch_add_explicit(&a->next, 1, memory_order_relaxed);
    return *item < n;
}

static void take_rows(void *arg, int ith, int nth) {
    struct attention *a = arg;
    (void)ith, (void)nth;
    for (size_t row; take(a, a->n_rows, &row);) turn_queries(a, row, row + 1);
}

static void take_tasks(void *arg, int ith, int nth) {
    struct attention *a = arg;
    (void)nth;
    for (size_t task; take(a, a->n_tasks, &task);) run_task(a, task, &a->scratch[ith]);
}

static void take_masses(void *arg, int ith, int nth) {
    struct attention *a = arg;
    (void)nth;
    for (size_t run; take(a, a->n_runs, &run);) run_mass(a, run, &a->scratch[ith]);
}

/* Runs fn in all threads, or in this one alone where waking others costs more than they would do. */
static void share(struct attention *a, void (*fn)(void *arg, int ith, int nth), size_t work) {
    atomic_store_explicit(&a->next, 0, memory_order_relaxed);
    if (work < SERIAL_WORK) fn(a, 0, 1);
    else pool_run_any(a->pool, fn, a);
}

/* Completes a side whose place is known. */
static void side_read_as(struct side *x, const struct num_type *t) {
    x->kernels = attention_kernels_get(t->id);
    x->decode = t->block == 1 ? NULL : x->kernels->decode ? x->kernels->decode : t->to_f32;
    x->read_bytes = x->decode ? x->dim * sizeof(float) : x->row_bytes;
    x->at_once = decoded_cells(x->dim);
}

static void find_sides(struct attention *a, const struct kv_layout *l, uint32_t layer) {
    size_t at = layer * l->layer_bytes;
    a->key = (struct side){.dim = a->shape.head_dim_k, .in_layer = at, .head_bytes = l->k_head_bytes, .row_bytes = l->k_row_bytes};
    side_read_as(&a->key, l->type_k);
    a->value = (struct side){.dim = a->shape.head_dim_v, .in_layer = at + l->v_base, .head_bytes = l->v_head_bytes, .row_bytes = l->v_row_bytes};
    side_read_as(&a->value, l->type_v);
}

void attention_run(struct attention *a, const struct kv_view *v, const struct kv_layout *layout, uint32_t layer, const float *q, size_t q_stride,
                   int64_t pos, size_t n_rows, float *out, size_t out_stride) {
    assert(n_rows <= a->max_rows && v->n_cells >= n_rows && v->n_offsets <= a->cap_offsets);
    find_sides(a, layout, layer);
    a->view = v, a->layout = layout;
    a->q = q, a->q_stride = q_stride, a->pos = pos, a->n_rows = n_rows;
    a->out = out, a->out_stride = out_stride;
    index_runs(a);
    a->rows_per_tile = ATTENTION_QUERIES / a->n_shared ? ATTENTION_QUERIES / a->n_shared : 1;
    a->n_tiles = (n_rows + a->rows_per_tile - 1) / a->rows_per_tile;
    a->is_split = n_rows <= SPLIT_ROWS;
    a->n_tasks = a->n_tiles * a->shape.n_kv_heads * (a->is_split ? a->n_groups : 1);
    size_t numbers = n_rows * a->shape.n_heads * a->shape.head_dim_k;
    share(a, take_rows, numbers * v->n_offsets * 8);
    share(a, take_tasks, numbers * v->n_cells);
    if (a->is_split) merge_split(a, &a->scratch[0], 0, n_rows * a->shape.n_heads);
    if (v->mass) share(a, take_masses, numbers * v->n_cells);
}
