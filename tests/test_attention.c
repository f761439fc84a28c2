/* Tests of model/attention against a naive one in double, once for each instruction set of this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/cpu.h"
#include "config/num.h"
#include "config/pool.h"
#include "model/attention.h"
#include "model/attention_kernels.h"
#include "tests/support_kv.h"
#include "tests/support_quant.h"

#define MAX_BLOCKS 12

static const enum num_id types[] = {NUM_F32, NUM_F16, NUM_BF16, NUM_Q8_0, NUM_Q4_0, NUM_Q4_1, NUM_Q5_0, NUM_Q5_1, NUM_IQ4_NL};
#define N_TYPES (sizeof types / sizeof *types)

/* A hand-made cache of one layer out of two, and the sequence's cells in order. */
struct fixture {
    struct attention_shape shape;
    struct kv_layout layout;
    uint8_t *block[MAX_BLOCKS];
    struct kv_span span[4096];
    int64_t offset[3];
    struct kv_view view;
    double freq[256];
    uint64_t random;
};

static float next_float(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 33) / 2147483648.0 * 2.0 - 1.0);
}

static void fixture_open(struct fixture *f, enum num_id type_k, enum num_id type_v, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t n_rot) {
    memset(f, 0, sizeof *f);
    f->random = 7;
    for (uint32_t i = 0; i < n_rot / 2; i++) f->freq[i] = pow(10000.0, -2.0 * i / n_rot);
    f->shape = (struct attention_shape){heads, kv_heads, dim, dim, 1.0f / sqrtf((float)dim), {n_rot, false, 1.0f, f->freq}};
    size_t k_row = num_row_bytes(num_find(type_k), dim), v_row = num_row_bytes(num_find(type_v), dim);
    f->layout = (struct kv_layout){.k_row_bytes = k_row, .v_row_bytes = v_row, .k_head_bytes = k_row * KV_BLOCK, .v_head_bytes = v_row * KV_BLOCK};
    f->layout.v_base = f->layout.k_head_bytes * kv_heads;
    f->layout.layer_bytes = f->layout.v_base + f->layout.v_head_bytes * kv_heads;
    f->layout.block_bytes = 2 * f->layout.layer_bytes;
    f->layout.type_k = num_find(type_k);
    f->layout.type_v = num_find(type_v);
    f->layout.rotated = kv_rotates(f->layout.type_k);
    for (int b = 0; b < MAX_BLOCKS; b++) assert_non_null(f->block[b] = malloc(f->layout.block_bytes));
}

static void fixture_close(struct fixture *f) {
    for (int b = 0; b < MAX_BLOCKS; b++) free(f->block[b]);
}

static uint8_t *row_of(const struct fixture *f, uint32_t cell, uint32_t head, bool value) {
    const struct kv_layout *l = &f->layout;
    size_t at = l->layer_bytes + (value ? l->v_base + head * l->v_head_bytes + cell % KV_BLOCK * l->v_row_bytes
                                        : head * l->k_head_bytes + cell % KV_BLOCK * l->k_row_bytes);
    return f->block[cell / KV_BLOCK] + at;
}

/* Puts logical cells 0..n at the physical cells given, as spans that are as long as they can be; the first n_kept have offset 100 and
 * were stored 100 positions earlier. Contents depend on the logical index alone. */
static void place(struct fixture *f, const uint32_t *cell, uint32_t n, uint32_t n_kept) {
    float x[512];
    size_t n_spans = 0;
    f->offset[0] = 100, f->offset[1] = 0;
    for (uint32_t i = 0; i < n; i++) {
        f->random = 1000003u * (i + 1);
        for (uint32_t h = 0; h < f->shape.n_kv_heads; h++)
            for (int value = 0; value < 2; value++) {
                for (uint32_t d = 0; d < f->shape.head_dim_k; d++) x[d] = next_float(&f->random);
                if (!value && f->layout.rotated) kv_rotate(x, f->shape.head_dim_k);
                (value ? f->layout.type_v : f->layout.type_k)->from_f32(x, row_of(f, cell[i], h, value), f->shape.head_dim_k);
            }
        uint32_t rot = i < n_kept ? 0 : 1;
        struct kv_span *last = n_spans ? &f->span[n_spans - 1] : NULL;
        if (last && cell[i] == cell[i - 1] + 1 && cell[i] % KV_BLOCK && last->rot == rot) last->n++;
        else f->span[n_spans++] = (struct kv_span){f->block[cell[i] / KV_BLOCK], cell[i] % KV_BLOCK, 1, (int64_t)i, rot, cell[i]};
    }
    f->view = (struct kv_view){.span = f->span, .n_spans = n_spans, .offset = f->offset, .n_offsets = 2, .n_cells = n};
}

static void place_in_order(struct fixture *f, uint32_t n, uint32_t n_kept) {
    uint32_t cell[MAX_BLOCKS * KV_BLOCK];
    for (uint32_t i = 0; i < n; i++) cell[i] = i;
    place(f, cell, n, n_kept);
}

/* The queries of n rows at the end of the sequence. */
static float *make_queries(const struct fixture *f, size_t n_rows) {
    size_t n = n_rows * f->shape.n_heads * f->shape.head_dim_k;
    float *q = malloc(n * sizeof *q);
    assert_non_null(q);
    uint64_t state = 99;
    for (size_t i = 0; i < n; i++) q[i] = 3 * next_float(&state);
    return q;
}

static float *run(const struct fixture *f, const float *q, size_t n_rows, size_t rows_at_once, int n_threads) {
    struct pool *pool;
    struct attention *a;
    size_t q_row = (size_t)f->shape.n_heads * f->shape.head_dim_k, out_row = (size_t)f->shape.n_heads * f->shape.head_dim_v;
    float *out = malloc(n_rows * out_row * sizeof *out);
    assert_non_null(out);
    assert_int_equal(pool_open(&pool, n_threads, NULL), 0);
    assert_int_equal(attention_open(&a, pool, &f->shape, rows_at_once, NULL), 0);
    assert_int_equal(attention_reserve(a, f->view.n_cells, f->view.n_offsets, NULL), 0);
    for (size_t r = 0; r < n_rows; r += rows_at_once) {
        size_t n = n_rows - r < rows_at_once ? n_rows - r : rows_at_once;
        struct fixture part = *f; /* the sequence as it was when these rows were its last */
        size_t cut = n_rows - r - n;
        part.view.span = part.span;
        part.view.n_cells -= cut;
        while (cut && rows_at_once % 2 == 0) { /* or its cells alone are fewer than the spans' */
            struct kv_span *last = &part.span[part.view.n_spans - 1];
            uint32_t less = cut < last->n ? (uint32_t)cut : last->n;
            last->n -= less, cut -= less;
            if (!last->n) part.view.n_spans--;
        }
        int64_t pos = (int64_t)(f->view.n_cells - n_rows + r);
        attention_run(a, &part.view, &f->layout, 1, q + r * q_row, q_row, pos, n, out + r * out_row, out_row);
    }
    attention_close(a);
    pool_close(pool);
    return out;
}

static void turn(const struct fixture *f, double *x, double pos) {
    for (uint32_t i = 0; i < f->shape.rope.n_rot / 2; i++) {
        double c = cos(pos * f->freq[i]), s = sin(pos * f->freq[i]), a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c - b * s, x[2 * i + 1] = a * s + b * c;
    }
}

/* softmax(q k / sqrt(d)) v of one row and head, in double. Stored keys are rotated already, by position - offset. */
static void naive(const struct fixture *f, const float *q, size_t row, size_t n_rows, uint32_t head, double *out) {
    uint32_t dim = f->shape.head_dim_k, kv_head = head / (f->shape.n_heads / f->shape.n_kv_heads);
    size_t sees = f->view.n_cells - n_rows + row + 1, cell = 0;
    double sum = 0, *weight = malloc(sees * sizeof *weight), max = -INFINITY;
    float x[512];
    for (int pass = 0; pass < 2; pass++, cell = 0) {
        for (size_t s = 0; s < f->view.n_spans; s++)
            for (uint32_t i = 0; i < f->view.span[s].n && cell < sees; i++, cell++) {
                const struct kv_span *p = &f->view.span[s];
                uint32_t physical = p->first + i, b = 0;
                while (f->block[b] != p->block) b++;
                (pass ? f->layout.type_v : f->layout.type_k)->to_f32(row_of(f, b * KV_BLOCK + physical, kv_head, pass == 1), x, dim);
                if (!pass && f->layout.rotated) kv_rotate(x, dim);
                double turned[512], score = 0;
                if (pass == 1) {
                    for (uint32_t d = 0; d < dim; d++) out[d] += weight[cell] / sum * x[d];
                    continue;
                }
                for (uint32_t d = 0; d < dim; d++) turned[d] = q[(row * f->shape.n_heads + head) * dim + d];
                turn(f, turned, (double)(f->view.n_cells - n_rows + row) - (double)f->view.offset[p->rot]);
                for (uint32_t d = 0; d < dim; d++) score += turned[d] * x[d];
                weight[cell] = score / sqrt(dim);
                max = fmax(max, weight[cell]);
            }
        for (size_t c = 0; pass == 0 && c < sees; c++) sum += weight[c] = exp(weight[c] - max);
    }
    free(weight);
}

static void check(const struct fixture *f, size_t n_rows) {
    float *q = make_queries(f, n_rows), *got = run(f, q, n_rows, n_rows, 2);
    uint32_t dim = f->shape.head_dim_k;
    for (size_t r = 0; r < n_rows; r += n_rows > 4 ? 7 : 1)
        for (uint32_t h = 0; h < f->shape.n_heads; h++) {
            double want[512] = {0};
            naive(f, q, r, n_rows, h, want);
            for (uint32_t d = 0; d < dim; d++)
                assert_true(fabs(got[(r * f->shape.n_heads + h) * dim + d] - want[d]) < 2e-5);
        }
    free(q);
    free(got);
}

static void attention_equals_a_naive_one_for_every_shape(void **state) {
    (void)state;
    static const struct { uint32_t heads, kv_heads, dim, n_rot; } shapes[] = {
        {8, 4, 8, 8}, {4, 2, 16, 16}, {4, 4, 20, 20}, {8, 2, 64, 64}, {6, 2, 80, 40}, {4, 1, 128, 128}, {3, 3, 256, 256}, {32, 1, 32, 32},
    };
    static struct fixture f;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t t = 0; t < N_TYPES; t++) {
            enum num_id type_v = types[(t + i) % N_TYPES];
            if (shapes[i].dim % num_find(types[t])->block || shapes[i].dim % num_find(type_v)->block) continue;
            fixture_open(&f, types[t], type_v, shapes[i].heads, shapes[i].kv_heads, shapes[i].dim, shapes[i].n_rot);
            static const uint32_t lengths[] = {1, 2, 17, 255, 256, 257, 1025, 1300};
            for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
                if (t > 1 && j != (t + 3 * i) % 8) continue; /* one of them */
                place_in_order(&f, lengths[j], lengths[j] / 5);
                check(&f, 1);
                if (lengths[j] >= 17) check(&f, 17);
            }
            fixture_close(&f);
        }
}

static void assert_same_bits(const struct fixture *f, const float *a, const float *b, size_t n_rows) {
    assert_memory_equal(a, b, n_rows * f->shape.n_heads * f->shape.head_dim_v * sizeof *a);
}

static void the_bits_depend_neither_on_threads_nor_on_the_split_of_a_batch(void **state) {
    (void)state;
    static struct fixture f;
    for (size_t t = 0; t < N_TYPES; t++) {
        uint32_t n = types[t] == NUM_F16 ? 2600 : 500;
        fixture_open(&f, types[t], types[t], 8, 2, 64, 64);
        place_in_order(&f, n, 44);
        float *q = make_queries(&f, 40), *want = run(&f, q, 40, 40, 1);
        static const size_t splits[] = {1, 2, 3, 4, 5, 9, 39, 40};
        for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
            for (int threads = 1; threads <= 3; threads++) {
                if (types[t] != NUM_F16 && (i + (size_t)threads) % 6) continue; /* a sixth of the ways */
                float *got = run(&f, q, 40, splits[i], threads);
                assert_same_bits(&f, got, want, 40);
                free(got);
            }
        free(q);
        free(want);
        fixture_close(&f);
    }
}

static void the_bits_do_not_depend_on_where_cells_lie(void **state) {
    (void)state;
    static struct fixture f;
    uint32_t cell[1200];
    for (size_t t = 0; t < N_TYPES; t++) {
        uint32_t n = types[t] == NUM_F16 ? 1200 : 500;
        fixture_open(&f, types[t], types[N_TYPES - 1 - t], 4, 2, 64, 64);
        place_in_order(&f, n, 30);
        float *q = make_queries(&f, 8), *want = run(&f, q, 8, 8, 2);
        for (uint32_t i = 0; i < n; i++) cell[i] = i * 2 + (i % 3 == 0); /* scattered */
        place(&f, cell, n, 30);
        float *got = run(&f, q, 8, 8, 2);
        assert_same_bits(&f, got, want, 8);
        free(got);
        for (uint32_t i = 0; i < n; i++) cell[i] = (i + 700) % 1400; /* shifted and wrapped */
        place(&f, cell, n, 30);
        got = run(&f, q, 8, 1, 1);
        assert_same_bits(&f, got, want, 8);
        free(got);
        free(q);
        free(want);
        fixture_close(&f);
    }
}

/* Decoders may be written anew for an instruction set: what they give is not. */
static void blocks_are_decoded_to_the_bits_of_their_type(void **state) {
    (void)state;
    enum { N = 64 * 40 };
    static uint8_t row[N * 2];
    static float got[N], want[N];
    uint64_t random = 9;
    for (size_t t = 0; t < N_TYPES; t++) {
        const struct num_type *type = num_find(types[t]);
        const struct attention_kernels *k = attention_kernels_get(types[t]);
        if (!k->decode) continue;
        assert_int_equal(type->block, 32);
        support_random_row(type, row, N, &random);
        k->decode(row, got, N);
        type->to_f32(row, want, N);
        assert_memory_equal(got, want, sizeof want);
    }
}

static void cells_behind_a_row_do_not_reach_it(void **state) {
    (void)state;
    static struct fixture f;
    fixture_open(&f, NUM_F32, NUM_F32, 2, 1, 16, 0);
    place_in_order(&f, 300, 0);
    float *q = make_queries(&f, 12), *want = run(&f, q, 12, 12, 1);
    for (uint32_t d = 0; d < 16; d++) ((float *)(void *)row_of(&f, 299, 0, true))[d] = 1e6f;
    float *got = run(&f, q, 12, 12, 1);
    assert_same_bits(&f, got, want, 11);
    assert_true(memcmp(got + 11 * 32, want + 11 * 32, 32 * sizeof *got) != 0);
    free(q);
    free(want);
    free(got);
    fixture_close(&f);
}

/* ---- rings ---------------------------------------------------------------------------------------------------- */

enum { RING_DIM = 32, RING_HEADS = 4, RING_ROW = KVT_HEADS * RING_DIM };

/* Keys and values of a token, the same in layer 0, which has cells, and in layer 1, which is in a ring. */
static void write_both(struct kv *c, const struct kv_batch *b, size_t index) {
    float k[RING_ROW], v[RING_ROW];
    for (uint32_t i = 0; i < b->n; i++) {
        uint64_t random = (index + i) * 7919 + 1;
        for (int d = 0; d < RING_ROW; d++) k[d] = next_float(&random), v[d] = next_float(&random);
        for (uint32_t layer = 0; layer < 2; layer++) kv_write(c, b, layer, i, i + 1, k, RING_ROW, v, RING_ROW);
    }
}

static void compute(struct kv *c, size_t index, size_t n) {
    static const int32_t token[64];
    for (size_t end = index + n; index < end;) {
        struct kv_batch b;
        uint32_t now = end - index < 40 ? (uint32_t)(end - index) : 40;
        assert_int_equal(kv_begin(c, 0, token, now, index, &b, NULL), 0);
        write_both(c, &b, index);
        kv_finish(c, &b);
        index += now;
    }
}

/* One more token, after what has to be computed again. Its rows are in both layers; to be finished. */
static void begin_token(struct kv *c, size_t index, struct kv_batch *b) {
    static const int32_t token[1];
    struct kv_plan plan;
    assert_int_equal(kv_make_room(c, 0, 1, &plan, NULL), 0);
    for (size_t i = 0; i < plan.n_todo; i++) compute(c, plan.todo[i].first, plan.todo[i].n);
    assert_int_equal(kv_begin(c, 0, token, 1, index, b, NULL), 0);
    write_both(c, b, index);
}

/* The linear view without what the window masks. */
static struct kv_view cut_view(const struct kv_view *v, int64_t row, uint32_t window, struct kv_span *span) {
    struct kv_view z = *v;
    z.span = span;
    z.n_spans = z.n_cells = 0;
    for (size_t i = 0; i < v->n_spans; i++) {
        struct kv_span s = v->span[i];
        int64_t first = row - (int64_t)window + 1, skip = first > s.pos ? first - s.pos : 0;
        if (skip >= s.n) continue;
        s.first += (uint32_t)skip, s.cell += (uint32_t)skip, s.n -= (uint32_t)skip, s.pos += skip;
        span[z.n_spans++] = s;
        z.n_cells += s.n;
    }
    return z;
}

static void attend(struct kv *c, const struct kv_view *v, const struct attention_shape *shape, int64_t pos, float *out) {
    struct pool *pool;
    struct attention *a;
    float q[RING_HEADS * RING_DIM];
    uint64_t random = 5;
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) q[i] = 3 * next_float(&random);
    assert_int_equal(pool_open(&pool, 1, NULL), 0);
    assert_int_equal(attention_open(&a, pool, shape, 1, NULL), 0);
    assert_int_equal(attention_reserve(a, v->n_cells, v->n_offsets, NULL), 0);
    attention_run(a, v, kv_get_layout(c), 0, q, RING_HEADS * RING_DIM, pos, 1, out, RING_HEADS * RING_DIM);
    attention_close(a);
    pool_close(pool);
}

static void a_ring_gives_the_bits_of_a_linear_cache_under_the_window(void **state) {
    (void)state;
    static const uint32_t windows[] = {1, 2, 100, 216, 217, 256, 257, 300};
    static struct kv_span span[1024];
    size_t n_wrapped = 0, n_shifted = 0;
    for (size_t w = 0; w < 2 * sizeof windows / sizeof *windows; w++) {
        uint32_t n = windows[w / 2], cells;
        struct kv_config g = kvt_config(400, w % 2 ? "q8_0" : "f16");
        g.n_layers = g.n_window_layers = 1;
        g.head_dim_k = g.head_dim_v = RING_DIM;
        g.window = KV_WINDOW_STANDARD;
        g.n_window = n;
        g.n_ubatch = 40;
        g.keep = 100;
        g.evict_free = .6; /* 120 stay behind the kept part, which some windows see then */
        struct attention_shape shape = {RING_HEADS, KVT_HEADS, RING_DIM, RING_DIM, .2f, g.rope};
        struct kv *c = kvt_open(&g);
        cells = c->ring_shape.n_cells;
        for (size_t i = 0; i < 800; i++) {
            struct kv_batch b;
            begin_token(c, i, &b);
            if ((i + 3 > n && i < n + 3) || (i + 3) % cells < 5 || i % 97 == 0 || (i > 397 && i < 406)) {
                struct kv_view all, ring;
                float want[RING_HEADS * RING_DIM], got[RING_HEADS * RING_DIM];
                kv_get_view(c, &b, &all);
                all = cut_view(&all, b.pos, n, span);
                kv_get_window_view(c, &b, &ring);
                assert_int_equal(ring.n_cells, all.n_cells);
                attend(c, &all, &shape, b.pos, want);
                attend(c, &ring, &shape, b.pos, got);
                assert_memory_equal(got, want, sizeof got);
                n_wrapped += i > cells;
                n_shifted += ring.n_offsets > 1;
            }
            kv_finish(c, &b);
        }
        kv_close(c);
    }
    assert_true(n_wrapped > 100 && n_shifted > 10);
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_equals_a_naive_one_for_every_shape),
        cmocka_unit_test(the_bits_depend_neither_on_threads_nor_on_the_split_of_a_batch),
        cmocka_unit_test(the_bits_do_not_depend_on_where_cells_lie),
        cmocka_unit_test(blocks_are_decoded_to_the_bits_of_their_type),
        cmocka_unit_test(cells_behind_a_row_do_not_reach_it),
        cmocka_unit_test(a_ring_gives_the_bits_of_a_linear_cache_under_the_window),
    };
    return cmocka_run_group_tests_name(cpu_isa_name(cpu_isa()), tests, NULL, NULL);
}

int main(void) {
    if (getenv("KVETCH_ISA")) return all_tests();
    int failed = 0;
    for (int isa = CPU_PORTABLE; isa <= (int)cpu_isa(); isa++) {
        pid_t child = fork();
        if (child == 0) {
            setenv("KVETCH_ISA", cpu_isa_name((enum cpu_isa)isa), 1);
            execl("/proc/self/exe", "test_attention", (char *)NULL);
            _exit(127);
        }
        int status = 1;
        waitpid(child, &status, 0);
        failed |= status;
    }
    return failed != 0;
}
