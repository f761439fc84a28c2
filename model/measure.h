/* measure: loops that do nothing but keep one processor's arithmetic units or its memory busy. See engine_measure.
 *
 * Each instruction set has its own; what a machine can do at most is measured with the best it has. */
#ifndef MODEL_MEASURE_H
#define MODEL_MEASURE_H

#include <stddef.h>
#include <stdint.h>

struct measure_loops {
    /* Multiply-adds in registers; return how many operations (two a multiply-add) n rounds did. *sink keeps them alive.
     */
    double (*f32)(size_t n, float *sink);
    double (*int8)(size_t n, int32_t *sink);
    /* Sums bytes at p, a multiple of 64 of them, aligned so. */
    uint64_t (*read)(const void *p, size_t bytes);
};
extern const struct measure_loops measure_portable, measure_avx2, measure_avx512;

#endif
