/* kv_rotate: the basis that keys of few bits are stored in. Pure functions, any thread.
 *
 * A block of 4- or 5-bit numbers shares one step, so a single large number, as the keys of real models have in a few
 * dimensions, leaves the others no levels. The Walsh-Hadamard matrix of order n, divided by sqrt(n), spreads it over n
 * numbers. It is orthogonal and symmetric: products of a key and a query that were both turned are what they were, and
 * turning twice gives back the head. */
#include <math.h>

#include "kv/kv_cache.h"

bool kv_rotates(const struct num_type *type_k) {
    switch (type_k->id) {
    case NUM_Q4_0:
    case NUM_Q4_1:
    case NUM_Q5_0:
    case NUM_Q5_1:
    case NUM_IQ4_NL:
        return true;
    default:
        return false;
    }
}

/* The fast transform of n numbers, a power of two. */
static void transform(float *x, uint32_t n, float scale) {
    for (uint32_t half = 1; half < n; half *= 2)
        for (uint32_t i = 0; i < n; i += 2 * half)
            for (uint32_t j = i; j < i + half; j++) {
                float a = x[j], b = x[j + half];
                x[j] = a + b;
                x[j + half] = a - b;
            }
    for (uint32_t i = 0; i < n; i++) x[i] *= scale;
}

void kv_rotate(float *head, uint32_t dim) {
    uint32_t n = dim & -dim; /* the greatest power of two that divides it */
    float scale = 1.0f / sqrtf((float)n);
    for (uint32_t i = 0; i < dim; i += n) transform(head + i, n, scale);
}
