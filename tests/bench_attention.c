/* Times attention alone: one row, and a micro-batch, at a depth of the 1B shape (32 heads, 8 KV heads of 64, 16 layers, f16).
 *     bench_attention [threads [depth [rows]]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

int main(int argc, char **argv) {
    int n_threads = argc > 1 ? atoi(argv[1]) : 2;
    uint32_t depth = argc > 2 ? (uint32_t)atoi(argv[2]) : 8192, max_rows = argc > 3 ? (uint32_t)atoi(argv[3]) : 128;
    enum { LAYERS = 16, HEADS = 32, KV_HEADS = 8, DIM = 64 };
    struct kv_layout l = {.k_row_bytes = 2 * DIM, .v_row_bytes = 2 * DIM, .k_head_bytes = 2 * DIM * KV_BLOCK, .v_head_bytes = 2 * DIM * KV_BLOCK};
    l.v_base = KV_HEADS * l.k_head_bytes;
    l.layer_bytes = 2 * l.v_base;
    l.block_bytes = LAYERS * l.layer_bytes;
    l.type_k = l.type_v = num_find(NUM_F16);
    uint32_t n_blocks = (depth + KV_BLOCK - 1) / KV_BLOCK;
    uint8_t *arena = mmap(NULL, n_blocks * l.block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) return 1;
    madvise(arena, n_blocks * l.block_bytes, MADV_HUGEPAGE);
    uint16_t *half = (uint16_t *)(void *)arena;
    uint32_t x = 1;
    for (size_t i = 0; i < n_blocks * l.block_bytes / 2; i++) x = x * 1664525u + 1013904223u, half[i] = (uint16_t)(0x2c00u + (x >> 20 & 0x83ffu));
    struct kv_span *span = calloc(n_blocks, sizeof *span);
    for (uint32_t b = 0; b < n_blocks; b++) span[b] = (struct kv_span){arena + b * l.block_bytes, 0, KV_BLOCK, b * KV_BLOCK, 0};
    span[n_blocks - 1].n = depth - (n_blocks - 1) * KV_BLOCK;
    int64_t offset = 0;
    struct kv_view v = {span, n_blocks, &offset, 1, depth};
    double freq[DIM / 2];
    for (int i = 0; i < DIM / 2; i++) freq[i] = pow(500000.0, -2.0 * i / DIM);
    struct attention_shape s = {HEADS, KV_HEADS, DIM, DIM, 0.125f, {DIM, false, 1, freq}};
    struct pool *pool;
    struct attention *a;
    if (pool_open(&pool, n_threads, NULL) || attention_open(&a, pool, &s, max_rows, NULL) || attention_reserve(a, depth, 1, NULL)) return 1;
    float *q = calloc(max_rows, HEADS * DIM * sizeof *q), *out = calloc(max_rows, HEADS * DIM * sizeof *out);
    for (size_t i = 0; i < (size_t)max_rows * HEADS * DIM; i++) q[i] = (float)(i % 17) / 17 - 0.5f;
    uint32_t rows[] = {1, max_rows};
    for (int k = 0; k < 2; k++) {
        double us[11];
        int n = k ? 3 : 11;
        for (int i = 0; i < n; i++) {
            double from = now_us();
            for (uint32_t layer = 0; layer < LAYERS; layer++)
                attention_run(a, &v, &l, layer, q, HEADS * DIM, depth - rows[k], rows[k], out, HEADS * DIM);
            us[i] = now_us() - from;
        }
        qsort(us, (size_t)n, sizeof *us, by_size);
        double bytes = (double)depth * LAYERS * KV_HEADS * DIM * 4, ops = 4.0 * rows[k] * HEADS * DIM * depth * LAYERS;
        printf("%u rows at depth %u: %.2f ms (least %.2f), %.1f GB/s, %.0f Gop/s\n", rows[k], depth, us[n / 2] / 1e3, us[0] / 1e3,
               bytes / us[n / 2] / 1e3, ops / us[n / 2] / 1e3);
    }
    attention_close(a);
    pool_close(pool);
    free(q), free(out), free(span);
    return 0;
}
