/* bench_matmul: how fast matrix products are. bench_matmul [THREADS] [TYPE...]: for the shapes of a 1B model prints GB/s of
 * weights with one row of activations and GMAC/s with 512. Not a test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/cpu.h"
#include "model/kernels.h"
#include "model/matmul.h"
#include "tests/support_quant.h"

enum { MANY = 512, MAX_COLS = 8192 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of the fastest of `repeat` runs through `copies` matrices (of one row: more than the caches hold), each timed alone:
 * where other programs run too, some runs are undisturbed. */
static double time_of(struct matmul *m, struct matrix *w, size_t copies, const float *x, float *out, size_t rows, int repeat) {
    double best = 1e9;
    for (size_t k = 0; k < copies * (size_t)repeat; k++) {
        struct matrix *now_w = &w[k % copies];
        struct matmul_job job = {now_w, NULL, out, now_w->rows};
        double start = now();
        matmul_run(m, &job, 1, x, now_w->cols, rows);
        double t = now() - start;
        if (t < best) best = t;
    }
    return best;
}

static void bench(struct matmul *m, const struct num_type *t, size_t rows, size_t cols, const float *x, float *out) {
    enum { COPIES = 12 };
    size_t row_bytes = num_row_bytes(t, cols), bytes = rows * row_bytes, copies = rows > 20000 ? 1 : COPIES;
    uint8_t *data = aligned_alloc(64, (bytes * copies + 63) / 64 * 64);
    if (!data) exit(1);
    uint64_t seed = 1;
    for (size_t i = 0; i < 64; i++) support_random_row(t, data + i * row_bytes, cols, &seed);
    for (size_t i = 64 * row_bytes; i < bytes * copies; i += 64 * row_bytes)
        memcpy(data + i, data, bytes * copies - i < 64 * row_bytes ? bytes * copies - i : 64 * row_bytes);
    struct matrix w[COPIES];
    for (size_t c = 0; c < copies; c++) w[c] = (struct matrix){t, data + c * bytes, rows, cols, row_bytes};
    double one = time_of(m, w, copies, x, out, 1, 20);
    double many = rows > 20000 ? 0 : time_of(m, w, 1, x, out, MANY, 8);
    printf("%-5s %6zu x %4zu   one %6.1f GB/s %7.1f us", t->name, rows, cols, 1e-9 * (double)bytes / one, 1e6 * one);
    if (many > 0) printf("   many %7.1f GMAC/s", 1e-9 * (double)(rows * cols) * MANY / many);
    putchar('\n');
    fflush(stdout);
    free(data);
}

int main(int argc, char **argv) {
    static const char *const types[] = {"q4_0", "q8_0", "q4_k", "q6_k", "q5_0", "q4_1", "q5_1", "q5_k", "f16", "bf16", "f32"};
    static const size_t shapes[][2] = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {512, 2048}, {128256, 2048}};
    int threads = argc > 1 ? atoi(argv[1]) : cpu_count();
    struct pool *p;
    struct matmul *m;
    if (threads < 1 || pool_open(&p, threads, NULL) || matmul_open(&m, p, MANY, MAX_COLS, NULL)) return 1;
    float *x = malloc(MANY * MAX_COLS * sizeof *x), *out = malloc((size_t)MANY * 8192 * sizeof *out);
    if (!x || !out) return 1;
    uint64_t seed = 2;
    for (size_t i = 0; i < MANY * MAX_COLS; i++) x[i] = support_random_float(&seed);
    printf("%s, %s, %d threads\n", cpu_model_name(), kernels_get()->name, threads);
    for (size_t t = 0; t < (argc > 2 ? (size_t)argc - 2 : sizeof types / sizeof *types); t++) {
        const struct num_type *type = num_find_name(argc > 2 ? argv[t + 2] : types[t]);
        if (!type) return 2;
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) bench(m, type, shapes[s][0], shapes[s][1], x, out);
    }
    free(x);
    free(out);
    matmul_close(m);
    pool_close(p);
    return 0;
}
