/* attention_portable: the loops of attention_tile.h in plain C, on short arrays that a compiler may turn into vectors. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model/attention_kernels.h"

#define UNROLL _Pragma("GCC unroll 16")
enum { LANES = 4 };
typedef struct { float x[LANES]; } vf;

#define EACH(expression)                                                                                                    \
    vf v;                                                                                                                   \
    for (unsigned i = 0; i < LANES; i++) v.x[i] = (expression);                                                                \
    return v

static inline float half_at(const uint8_t *p, unsigned i) {
    uint16_t h;
    memcpy(&h, p + 2 * i, sizeof h);
    return num_from_f16(h);
}

static inline float bfloat_at(const uint8_t *p, unsigned i) {
    uint16_t h;
    memcpy(&h, p + 2 * i, sizeof h);
    return num_from_bf16(h);
}

static inline vf f_set(float x) { EACH(x); }
static inline vf f_zero(void) { return f_set(0); }
static inline vf f_load_n(const float *p, size_t n) { EACH(i < n ? p[i] : 0); }
static inline vf f_load(const float *p) { EACH(p[i]); }
static inline vf f_load_f16_n(const uint8_t *p, size_t n) { EACH(i < n ? half_at(p, i) : 0); }
static inline vf f_load_f16(const uint8_t *p) { EACH(half_at(p, i)); }
static inline vf f_load_bf16_n(const uint8_t *p, size_t n) { EACH(i < n ? bfloat_at(p, i) : 0); }
static inline vf f_load_bf16(const uint8_t *p) { EACH(bfloat_at(p, i)); }
static inline void f_store(float *p, vf v) { memcpy(p, v.x, sizeof v.x); }
static inline vf f_fma(vf a, vf b, vf c) { EACH(a.x[i] * b.x[i] + c.x[i]); }
static inline vf f_mul(vf a, vf b) { EACH(a.x[i] * b.x[i]); }
static inline vf f_add(vf a, vf b) { EACH(a.x[i] + b.x[i]); }
static inline vf f_sub(vf a, vf b) { EACH(a.x[i] - b.x[i]); }
static inline vf f_max(vf a, vf b) { EACH(a.x[i] > b.x[i] ? a.x[i] : b.x[i]); }
static inline vf f_exp(vf a) { EACH(expf(a.x[i])); }
static inline float f_sum(vf a) { return (a.x[0] + a.x[2]) + (a.x[1] + a.x[3]); }
static inline float f_most(vf a) { return fmaxf(fmaxf(a.x[0], a.x[2]), fmaxf(a.x[1], a.x[3])); }
static inline void f_sums(const vf acc[16], float out[16]) {
    UNROLL
    for (int i = 0; i < 16; i++) out[i] = f_sum(acc[i]);
}

#include "model/attention_tile.h"

#define DECODER(type) NULL
ATTENTION_TABLE(portable, DECODER)
