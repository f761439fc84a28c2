/* train: a training run from the corpus to the model file. One thread calls; a step has its own threads.
 *
 * The same options, corpus and kind of processor give the same file, bit for bit. */
#ifndef MODEL_TRAIN_TRAIN_H
#define MODEL_TRAIN_TRAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config/err.h"
#include "model/train/augment.h"

struct train_options { /* train_defaults fills all but system; numbers are checked by train_run */
    const char *corpus, *out;
    const char *checkpoint;        /* NULL: none is written */
    bool resume;                   /* goes on from the checkpoint where it is there */
    bool validate;                 /* some wordings are kept out and asked */
    const char *system;            /* the persona's system prompt */
    const char *pre;
    uint64_t vocab, layers, embd, ff, heads, kv_heads, context;
    uint64_t steps, batch_tokens, warm_up, threads, seed;
    double lr, lr_end, decay, beta2, momentum, clip; /* lr_end: share of lr that is left at the last step */
    double first_loss, user_loss, refusals, no_system;
    struct augment_options augment;
    uint64_t report_every, measure_every, save_every; /* steps; 0: never */
    uint64_t stop_after;           /* steps, after which the run ends as if broken off, with a checkpoint; 0: never */
};
void train_defaults(struct train_options *o);

/* Trains and writes o->out. Progress goes to log, where that is not NULL. ERR_USAGE: options that make no sense together. */
int train_run(const struct train_options *o, FILE *log, struct err *e);

/* Writes the first n rows to out as text. */
int train_show(const struct train_options *o, uint64_t n, FILE *out, struct err *e);

#endif
