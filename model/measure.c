/* measure: see measure.h, and engine_measure in engine.h. */
#include "model/measure.h"

#include <stdlib.h>
#include <string.h>

#include "config/cpu.h"
#include "config/pool.h"
#include "model/session.h"

#define READ_BYTES ((size_t)256 << 20) /* more than any cache holds, all threads together */
#define ROUND_US 30e3                  /* how long one measurement takes */
#define TRIES 3                        /* the best of these counts */

/* ---- portable loops ------------------------------------------------------------------------------------------ */

enum { LANES = 32, INNER = 256 };

static double loop_f32(size_t n, float *sink) {
    float a[LANES];
    for (int i = 0; i < LANES; i++) a[i] = (float)i * *sink;
    for (size_t k = 0; k < n * INNER; k++)
        for (int i = 0; i < LANES; i++) a[i] = a[i] * 0.999f + 0.001f;
    for (int i = 0; i < LANES; i++) *sink += a[i] * 1e-9f;
    return (double)n * INNER * LANES * 2;
}

static double loop_int8(size_t n, int32_t *sink) {
    int8_t x[LANES];
    int32_t a[LANES] = {0};
    for (int i = 0; i < LANES; i++) x[i] = (int8_t)(i + *sink);
    for (size_t k = 0; k < n * INNER; k++)
        for (int i = 0; i < LANES; i++) a[i] += x[i] * (int8_t)k;
    for (int i = 0; i < LANES; i++) *sink ^= a[i];
    return (double)n * INNER * LANES * 2;
}

static uint64_t loop_read(const void *p, size_t bytes) {
    const uint64_t *x = p;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes / 64; i++)
        for (int j = 0; j < 8; j++) sum[j] += x[i * 8 + (size_t)j];
    for (int j = 1; j < 8; j++) sum[0] += sum[j];
    return sum[0];
}

const struct measure_loops measure_portable = {loop_f32, loop_int8, loop_read};

static const struct measure_loops *loops(void) {
#ifdef __x86_64__
    if (cpu_isa() == CPU_AVX512) return &measure_avx512;
    if (cpu_isa() == CPU_AVX2) return &measure_avx2;
#endif
    return &measure_portable;
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

/* One measurement by all threads: the best rate that any try reached. */
struct trial {
    const struct measure_loops *l;
    int what; /* 0 read, 1 f32, 2 int8 */
    const uint8_t *memory;
    size_t bytes;
    double *done; /* [n_threads] operations or bytes of each */
    double best;
};

static double trial_round(const struct trial *t, int ith, int nth) {
    float f = 1;
    int32_t i = 1;
    size_t from, to;
    switch (t->what) {
    case 1: return t->l->f32(64, &f);
    case 2: return t->l->int8(64, &i);
    }
    pool_share(t->bytes, 4096, ith, nth, &from, &to);
    volatile uint64_t sum = t->l->read(t->memory + from, to - from);
    (void)sum;
    return (double)(to - from);
}

static void trial_share(void *arg, int ith, int nth) {
    struct trial *t = arg;
    double start = session_now_us(), done = 0, us = 0;
    for (; us < ROUND_US; us = session_now_us() - start) done += trial_round(t, ith, nth);
    t->done[ith] = done * 1e6 / us;
}

static double trial_run(struct trial *t, struct pool *p) {
    for (int i = 0; i < TRIES; i++) {
        pool_run(p, trial_share, t);
        double sum = 0;
        for (int k = 0; k < pool_threads(p); k++) sum += t->done[k];
        if (sum > t->best) t->best = sum;
    }
    return t->best;
}

void engine_measure(int n_threads, double *read_bytes_s, double *f32_ops_s, double *int8_ops_s) {
    double *const out[] = {read_bytes_s, f32_ops_s, int8_ops_s};
    for (int i = 0; i < 3; i++) *out[i] = 0;
    if (n_threads <= 0) n_threads = cpu_count();
    struct pool *p;
    if (pool_open(&p, n_threads, NULL)) return;
    uint8_t *memory = aligned_alloc(4096, READ_BYTES);
    double *done = calloc((size_t)n_threads, sizeof *done);
    if (memory && done) {
        memset(memory, 1, READ_BYTES);
        for (int what = 0; what < 3; what++) {
            struct trial t = {.l = loops(), .what = what, .memory = memory, .bytes = READ_BYTES, .done = done};
            *out[what] = trial_run(&t, p);
        }
    }
    free(done);
    free(memory);
    pool_close(p);
}
