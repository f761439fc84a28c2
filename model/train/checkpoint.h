/* checkpoint: all that a training run needs to go on where it was, in a file that is replaced as a whole.
 *
 *   "kvetchgd", u32 version, u32 0, u64 options, u64 steps done, u64 n_params, u64 the optimiser's n_steps, n_params floats each of the
 *   parameters and both moments, a float a step: its loss, u64 XXH3 of all before it
 *
 * For the machine that wrote it: numbers lie as they do in memory. */
#ifndef MODEL_TRAIN_CHECKPOINT_H
#define MODEL_TRAIN_CHECKPOINT_H

#include <stdint.h>

#include "config/err.h"
#include "model/train/adamw.h"
#include "model/train/net.h"

/* options: a hash of all that decides the run's bits: corpus, seed, sizes, rates. loss: [step], of each step so far. ERR_FILE. */
int checkpoint_save(const char *path, uint64_t options, const struct net *n, const struct adamw *a, const float *loss, uint64_t step, struct err *e);

/* Fills net, optimiser, loss[0, *step) and *step. n_steps: how many losses there is room for. ERR_FILE: damaged, of a run with other
 * options, or further than n_steps; nothing is changed then. */
int checkpoint_load(const char *path, uint64_t options, struct net *n, struct adamw *a, float *loss, uint64_t n_steps, uint64_t *step, struct err *e);

#endif
