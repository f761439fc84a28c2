/* Times attention alone: one row, and a micro-batch, at a depth of the 1B shape (32 heads, 8 KV heads of 64, 16 layers), with keys and
 * values of each type, or of those named.
 *     bench_attention [threads [depth [rows [type...]]]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "config/pool.h"
#include "model/attention.h"

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { LAYERS = 16, HEADS = 32, KV_HEADS = 8, DIM = 64 };

/* The median of n runs over all layers, the last `rows` cells being the batch, and the sum of what each layer took at least. */
static void time_rows(struct attention *a, struct kv *kv, uint32_t depth, uint32_t rows, const float *q, float *out) {
    double us[11], least[LAYERS], sum = 0;
    int n = rows > 1 ? 3 : 11;
    static int32_t token[8192];
    struct kv_batch b;
    struct kv_view v;
    if (kv_begin(kv, 0, token, rows, (size_t)-1, &b, NULL)) return;
    kv_get_view(kv, &b, &v);
    const struct kv_layout *l = kv_get_layout(kv);
    for (int i = 0; i < n; i++) {
        us[i] = 0;
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            double from = now_us();
            attention_run(a, &v, l, layer, q, HEADS * DIM, depth - rows, rows, out, HEADS * DIM);
            double took = now_us() - from;
            us[i] += took;
            if (!i || took < least[layer]) least[layer] = took;
        }
    }
    kv_abandon(kv, &b);
    qsort(us, (size_t)n, sizeof *us, by_size);
    for (int i = 0; i < LAYERS; i++) sum += least[i];
    double bytes = (double)depth * LAYERS * KV_HEADS * (double)(l->k_row_bytes + l->v_row_bytes), ops = 4.0 * rows * HEADS * DIM * depth * LAYERS;
    printf("%-6s %u rows at depth %u: %.2f ms (least %.2f), %.1f GB/s, %.0f Gop/s\n", l->type_k->name, rows, depth, us[n / 2] / 1e3, sum / 1e3,
           bytes / us[n / 2] / 1e3, ops / us[n / 2] / 1e3);
}

static int time_type(const char *type, struct pool *pool, uint32_t depth, uint32_t max_rows) {
    double freq[DIM / 2];
    for (int i = 0; i < DIM / 2; i++) freq[i] = pow(500000.0, -2.0 * i / DIM);
    struct kv_rope rope = {DIM, false, 1, freq};
    struct attention_shape s = {HEADS, KV_HEADS, DIM, DIM, 0.125f, rope};
    struct kv_config c = {.n_layers = LAYERS, .n_kv_heads = KV_HEADS, .head_dim_k = DIM, .head_dim_v = DIM, .type_k = num_find_name(type),
                          .type_v = num_find_name(type), .rope = rope, .bound = depth, .start = depth};
    struct kv *kv = NULL;
    struct attention *a = NULL;
    struct err e = {0};
    if (!c.type_k) return 1;
    int rc = kv_open(&kv, &c, &e);
    if (!rc) rc = attention_open(&a, pool, &s, max_rows, &e);
    if (!rc) rc = attention_reserve(a, depth, 1, &e);
    float *q = calloc(max_rows, HEADS * DIM * sizeof *q), *out = calloc(max_rows, HEADS * DIM * sizeof *out);
    for (size_t i = 0; q && i < (size_t)max_rows * HEADS * DIM; i++) q[i] = (float)(i % 17) / 17 - 0.5f;
    for (uint32_t rows = 1; !rc && q && out && rows <= max_rows; rows = rows < max_rows ? max_rows : max_rows + 1) {
        rc = kv_fill_random(kv, 0, depth - rows, 1, &e);
        if (!rc) time_rows(a, kv, depth, rows, q, out);
    }
    if (rc) fprintf(stderr, "%s\n", e.text);
    attention_close(a);
    kv_close(kv);
    free(q), free(out);
    return rc;
}

int main(int argc, char **argv) {
    static const char *const all[] = {"f16", "f32", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"};
    int n_threads = argc > 1 ? atoi(argv[1]) : 2;
    uint32_t depth = argc > 2 ? (uint32_t)atoi(argv[2]) : 8192, max_rows = argc > 3 ? (uint32_t)atoi(argv[3]) : 128;
    struct pool *pool;
    if (max_rows < 1 || max_rows > 8192 || depth <= max_rows || pool_open(&pool, n_threads, NULL)) return 1;
    int rc = 0;
    for (int i = 4; i < argc && !rc; i++) rc = time_type(argv[i], pool, depth, max_rows);
    for (size_t i = 0; argc <= 4 && i < sizeof all / sizeof *all && !rc; i++) rc = time_type(all[i], pool, depth, max_rows);
    pool_close(pool);
    return rc;
}
