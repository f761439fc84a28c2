/* num: the number types that weights and cache rows are stored in.
 *
 * One descriptor a type; the type ids are those of GGUF files, the names the usual ones. A row is n numbers
 * stored in whole blocks; n must be a multiple of the type's block. Pure functions, any thread. */
#ifndef CONFIG_NUM_H
#define CONFIG_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The ids of GGUF (ggml.h, enum ggml_type). Ids that are not listed are other engines' and are refused by name. */
enum num_id {
    NUM_F32 = 0,
    NUM_F16 = 1,
    NUM_Q4_0 = 2,
    NUM_Q4_1 = 3,
    NUM_Q5_0 = 6,
    NUM_Q5_1 = 7,
    NUM_Q8_0 = 8,
    NUM_Q4_K = 12,
    NUM_Q5_K = 13,
    NUM_Q6_K = 14,
    NUM_IQ4_NL = 20,
    NUM_BF16 = 30,
};

struct num_type {
    enum num_id id;
    const char *name;   /* "q4_0", lower case */
    uint32_t block;     /* numbers in a block */
    uint32_t bytes;     /* bytes of a block */
    void (*to_f32)(const void *row, float *out, size_t n);
    void (*from_f32)(const float *in, void *row, size_t n); /* rounds to nearest; NULL where we never write the type */
};

const struct num_type *num_find(uint32_t id);            /* NULL: unknown or not supported */
const struct num_type *num_find_name(const char *name);  /* NULL: unknown; case does not matter */
const char *num_id_name(uint32_t id);                    /* the usual name of any GGUF type id, also of those we cannot read, or NULL */

/* Bytes of a row of n numbers; 0 where n is no multiple of the block or the product overflows. */
size_t num_row_bytes(const struct num_type *t, uint64_t n);

/* IEEE 754 half and bfloat16, round to nearest even, NaN stays NaN, subnormals kept. Bit-exact everywhere. */
uint16_t num_f16(float x);
float num_from_f16(uint16_t h);
static inline float num_from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
uint16_t num_bf16(float x);

#endif
