/* bench: what a model's speeds and the cache's costs are on this machine, now. For cmd_bench.c. Main thread, which here computes itself: nothing else runs.
 *
 * A test is a row of a table; it opens sessions of its own and reports rows as it goes. Figures that do not apply are NaN. */
#ifndef APP_BENCH_H
#define APP_BENCH_H

#include <math.h>
#include <stdint.h>

#include "config/err.h"
#include "model/engine.h"

struct bench_row {
    const char *test, *type;  /* type: of the weights, or of the numbers that `peak` computes with */
    double n, depth, bound;
    double tokens_per_s, us, us_max, us_median, bytes, rss_bytes, per_s, perplexity;
    double ratio; /* us against the plainest way to the same end, or a step that grew against its neighbours: see the test */
};

struct bench {
    struct model *model;
    struct model_info info;
    struct session_options options;   /* bound: 0 where the user named none */
    uint32_t n_prompt, n_decode;
    const uint32_t *depth; size_t n_depths;
    const char *text;                 /* file for the perplexity; NULL: not measured */
    const char *folder;               /* for the files of save, load and resume */
    void *ctx;
    void (*report)(void *ctx, const struct bench_row *row);
};

struct bench_test {
    const char *name;
    int (*run)(const struct bench *b, struct err *e);
};
/* In the order in which they run; ended by a NULL name. */
extern const struct bench_test bench_tests[];

#endif
