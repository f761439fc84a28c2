/* support_quant: see support_quant.h. */
#include "tests/support_quant.h"

#include <string.h>

uint32_t support_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

float support_random_float(uint64_t *state) { return (float)(int32_t)support_random(state) * 0x1p-31f; }

/* Where in a block of a type its halves lie; -1 ends. */
static const int *halves_of(enum num_id id) {
    static const int first[] = {0, -1}, two[] = {0, 2, -1}, last[] = {208, -1};
    switch (id) {
    case NUM_Q4_1: case NUM_Q5_1: case NUM_Q4_K: case NUM_Q5_K: return two;
    case NUM_Q6_K: return last;
    default: return first;
    }
}

void support_random_row(const struct num_type *t, void *row, size_t n, uint64_t *state) {
    uint8_t *p = row;
    for (size_t i = 0; i < n && t->block == 1; i++) {
        float x = support_random_float(state);
        t->from_f32(&x, p + i * t->bytes, 1);
    }
    for (size_t b = 0; b < n / t->block && t->block > 1; b++, p += t->bytes) {
        for (size_t i = 0; i < t->bytes; i++) p[i] = (uint8_t)support_random(state);
        for (const int *h = halves_of(t->id); *h >= 0; h++) {
            uint16_t d = num_f16(support_random_float(state) * 0.01f);
            memcpy(p + *h, &d, 2);
        }
    }
}
