/* bench_train: how many tokens a second the trainer computes. bench_train [SHARES [ROW [SEGMENT]]] (2, 1024, 128): steps of two rows a
 * share of a network of 3.5 million parameters. Not a test. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/engine.h"
#include "model/train/net_noise.h"
#include "model/train/step.h"

enum { ROWS_A_SHARE = 2, STEPS = 8 };

static const struct net_shape shape = {.n_vocab = 2048, .n_layers = 4, .n_embd = 256, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64,
                                       .n_ff = 704, .n_ctx = 1024, .rope_base = 10000, .norm_eps = 1e-5f};

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t number(int argc, char **argv, int i, size_t otherwise) {
    long n = argc > i ? strtol(argv[i], NULL, 10) : 0;
    return n > 0 && n <= 4096 ? (size_t)n : otherwise;
}

static void fill_row(struct net_row *row, size_t index, size_t n, uint32_t n_segment) {
    int32_t *token = calloc(n, sizeof *token);
    float *weight = calloc(n, sizeof *weight);
    struct net_segment *segment = calloc(n, sizeof *segment);
    if (!token || !weight || !segment) abort();
    *row = (struct net_row){.token = token, .weight = weight, .n = n, .segment = segment};
    for (size_t i = 0; i < n; i++) {
        token[i] = (int32_t)(net_noise_mix(index << 32 | i) % shape.n_vocab);
        weight[i] = 1;
    }
    for (size_t left = n; left; left -= segment[row->n_segments++].n)
        segment[row->n_segments].n = left < n_segment ? (uint32_t)left : n_segment;
}

int main(int argc, char **argv) {
    engine_prepare_process(argv);
    size_t shares = number(argc, argv, 1, 2), n = number(argc, argv, 2, 1024), n_segment = number(argc, argv, 3, 128);
    size_t n_rows = shares * ROWS_A_SHARE;
    struct net *net;
    struct step *s;
    struct err e = {0};
    struct step_options o = {.n_shares = (int)shares, .n_row = n, .adamw = {0.9f, 0.98f, 1e-8f, 0.1f}, .clip = 1};
    struct net_row *row = calloc(n_rows, sizeof *row);
    if (!row || net_new(&net, &shape, 1, &e) || step_open(&s, net, &o, &e)) {
        fprintf(stderr, "bench_train: %s\n", e.text);
        return 1;
    }
    for (size_t i = 0; i < n_rows; i++) fill_row(&row[i], i, n, n_segment < shape.n_ctx ? (uint32_t)n_segment : shape.n_ctx);
    double best = 1e9, best_cpu = 1e9; /* the fastest step is one that other programs did not disturb */
    for (uint64_t i = 0; i < STEPS; i++) {
        struct step_result r;
        double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        step_run(s, row, n_rows, 1e-3f, &r);
        wall = seconds(CLOCK_MONOTONIC) - wall;
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        best = wall < best ? wall : best;
        best_cpu = cpu < best_cpu ? cpu : best_cpu;
    }
    double n_tokens = (double)(n_rows * n);
    printf("%zu parameters, %zu shares, rows of %zu, segments of %zu: %.0f tokens/s, %.0f for each second of a processor\n",
           net->n_params, shares, n, n_segment, n_tokens / best, n_tokens / best_cpu);
    return 0; /* the system takes the memory */
}
