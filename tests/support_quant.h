/* support_quant: pseudo-random weights of any type, for tests and benchmarks of products. */
#ifndef TESTS_SUPPORT_QUANT_H
#define TESTS_SUPPORT_QUANT_H

#include <stddef.h>
#include <stdint.h>

#include "config/num.h"

uint32_t support_random(uint64_t *state);      /* 32 bits */
float support_random_float(uint64_t *state);   /* -1 to 1 */

/* n numbers (whole blocks) of random bits, whose halves (scales and minima) are small finite numbers; float types
 * get numbers of -1 to 1. */
void support_random_row(const struct num_type *t, void *row, size_t n, uint64_t *state);

#endif
