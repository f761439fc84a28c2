/* attention_portable: the loops of attention_tile.h in plain C, on short arrays that a compiler may turn into vectors. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model/attention_kernels.h"

/* Without it the accumulators live in memory. */
#define UNROLL _Pragma("GCC unroll 16")
#define VW 4u
typedef struct { float x[VW]; } vf;

#define EACH(expression)                                                                                                    \
    vf v;                                                                                                                   \
    for (unsigned i = 0; i < VW; i++) v.x[i] = (expression);                                                                \
    return v

static inline vf vf_set1(float x) { EACH(x); }
static inline vf vf_zero(void) { return vf_set1(0); }
static inline vf vf_load_n(const float *p, size_t n) { EACH(i < n ? p[i] : 0); }
static inline vf vf_load(const float *p) { EACH(p[i]); }
static inline vf vf_load_f16_n(const uint16_t *p, size_t n) { EACH(i < n ? num_from_f16(p[i]) : 0); }
static inline vf vf_load_f16(const uint16_t *p) { EACH(num_from_f16(p[i])); }
static inline void vf_store(float *p, vf v) { memcpy(p, v.x, sizeof v.x); }
static inline vf vf_fma(vf a, vf b, vf c) { EACH(a.x[i] * b.x[i] + c.x[i]); }
static inline vf vf_mul(vf a, vf b) { EACH(a.x[i] * b.x[i]); }
static inline vf vf_add(vf a, vf b) { EACH(a.x[i] + b.x[i]); }
static inline vf vf_sub(vf a, vf b) { EACH(a.x[i] - b.x[i]); }
static inline vf vf_max(vf a, vf b) { EACH(a.x[i] > b.x[i] ? a.x[i] : b.x[i]); }
static inline vf vf_exp(vf a) { EACH(expf(a.x[i])); }
static inline float vf_hsum(vf a) { return (a.x[0] + a.x[2]) + (a.x[1] + a.x[3]); }
static inline float vf_hmax(vf a) { return fmaxf(fmaxf(a.x[0], a.x[2]), fmaxf(a.x[1], a.x[3])); }
static inline void vf_sums(const vf acc[16], float out[16]) {
    UNROLL
    for (int i = 0; i < 16; i++) out[i] = vf_hsum(acc[i]);
}

#include "model/attention_tile.h"

ATTENTION_TABLE(portable)
