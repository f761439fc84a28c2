/* draw: random numbers by counting: number i of a key is the same whatever was drawn elsewhere, so that any part of a run can be made
 * again alone. */
#ifndef MODEL_TRAIN_DRAW_H
#define MODEL_TRAIN_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/train/net_noise.h"

struct draw { uint64_t key, n; };

/* The numbers of item i of a run. */
static inline struct draw draw_open(uint64_t seed, uint64_t i) { return (struct draw){net_noise_mix(net_noise_mix(seed) ^ i), 0}; }

static inline uint64_t draw_next(struct draw *d) { return net_noise_mix(d->key ^ net_noise_mix(d->n++)); }

/* From 0 up to 1. */
static inline double draw_real(struct draw *d) { return (double)(draw_next(d) >> 11) * 0x1p-53; }

static inline bool draw_chance(struct draw *d, double p) { return draw_real(d) < p; }

/* 0 to n - 1. n: 1 or more. */
static inline size_t draw_below(struct draw *d, size_t n) { return (size_t)(draw_real(d) * (double)n); }

#endif
