/* attention_tile: the loops of attention over one vector type. Included by attention_<isa>.c after it has defined
 *
 *   VW                        numbers in a vector
 *   vf                        the vector type
 *   vf_zero() vf_set1(x) vf_load(p) vf_load_n(p, n) vf_store(p, v) vf_fma(a, b, c) vf_mul vf_add vf_sub vf_max
 *   vf_load_f16(p) vf_load_f16_n(p, n)   n < VW: the rest is zero and not read
 *   vf_sums(vf acc[16], float out[16])   the sum of each of 16 vectors
 *   vf_hmax(v) vf_hsum(v) vf_exp(v)      exp(-inf) must be 0
 *
 * Every score is summed in one order: lane j takes dims j, j + VW, ...; then the lanes by vf_sums. So the bits of a
 * score depend neither on the tile it is computed in nor on the queries beside it. */

#define TILE_INLINE static inline __attribute__((always_inline))

TILE_INLINE vf tile_load(const uint8_t *row, size_t d, bool half) {
    return half ? vf_load_f16((const uint16_t *)(const void *)row + d) : vf_load((const float *)(const void *)row + d);
}

TILE_INLINE vf tile_load_n(const uint8_t *row, size_t d, size_t n, bool half) {
    return half ? vf_load_f16_n((const uint16_t *)(const void *)row + d, n) : vf_load_n((const float *)(const void *)row + d, n);
}

/* Rows are read once and in order; the processor's own prefetching ends at each page. */
#define PREFETCH_BYTES 4096u
TILE_INLINE void tile_prefetch(const uint8_t *row, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + PREFETCH_BYTES + i);
}

/* nq x nc = 16 scores: cells from c on, those past last count as the last one. whole: dim is a multiple of VW (a branch
 * here would send the accumulators through memory). */
TILE_INLINE void tile_scores(const float *const *q, int nq, int nc, const uint8_t *key, size_t row_bytes, size_t c, size_t last, size_t dim,
                             float *scores, bool half, bool whole) {
    vf acc[16];
    const uint8_t *row[16];
    UNROLL
    for (int i = 0; i < 16; i++) acc[i] = vf_zero();
    UNROLL
    for (int j = 0; j < nc; j++) row[j] = key + (c + (size_t)j < last ? c + (size_t)j : last) * row_bytes;
    size_t d = 0;
    for (; d + VW <= dim; d += VW) {
        vf k[16];
        UNROLL
        for (int j = 0; j < nc; j++) k[j] = tile_load(row[j], d, half);
        UNROLL
        for (int i = 0; i < nq; i++) {
            vf x = vf_load(q[i] + d);
            UNROLL
            for (int j = 0; j < nc; j++) acc[i * nc + j] = vf_fma(x, k[j], acc[i * nc + j]);
        }
    }
    if (!whole) {
        UNROLL
        for (int j = 0; j < nc; j++) {
            vf k = tile_load_n(row[j], d, dim - d, half);
            UNROLL
            for (int i = 0; i < nq; i++) acc[i * nc + j] = vf_fma(vf_load_n(q[i] + d, dim - d), k, acc[i * nc + j]);
        }
    }
    float sum[16];
    vf_sums(acc, sum);
    UNROLL
    for (int i = 0; i < nq; i++) memcpy(scores + (size_t)i * ATTENTION_SCORES + c, sum + i * nc, (size_t)nc * sizeof *sum);
}

#define TILE_SCORES(nq, nc)                                                                                                \
    for (; i + (nq) <= n_q; i += (nq))                                                                                      \
        for (size_t c = 0; c < n_cells; c += (nc)) {                                                                        \
            if (i == 0) tile_prefetch(key + c * row_bytes, (nc) * row_bytes);                                               \
            tile_scores(q + i, nq, nc, key, row_bytes, c, n_cells - 1, dim, scores + i * ATTENTION_SCORES, half, whole);  \
        }

TILE_INLINE void tile_all_scores(const float *const *q, size_t n_q, const uint8_t *key, size_t row_bytes, size_t n_cells, size_t dim,
                                 float *scores, bool half, bool whole) {
    size_t i = 0;
    TILE_SCORES(4, 4)
    TILE_SCORES(2, 8)
    TILE_SCORES(1, 16)
}

/* nq queries, nv vectors of the value from dim d on. */
TILE_INLINE void tile_mix(const float *weights, int nq, int nv, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t d, float *acc,
                          size_t acc_stride, bool half) {
    vf a[16];
    UNROLL
    for (int i = 0; i < nq; i++)
        UNROLL
        for (int j = 0; j < nv; j++) a[i * nv + j] = vf_load(acc + (size_t)i * acc_stride + d + (size_t)j * VW);
    for (size_t c = 0; c < n_cells; c++) {
        if (d == 0) tile_prefetch(value + c * row_bytes, row_bytes);
        vf v[16];
        UNROLL
        for (int j = 0; j < nv; j++) v[j] = tile_load(value + c * row_bytes, d + (size_t)j * VW, half);
        UNROLL
        for (int i = 0; i < nq; i++) {
            vf w = vf_set1(weights[(size_t)i * ATTENTION_SCORES + c]);
            UNROLL
            for (int j = 0; j < nv; j++) a[i * nv + j] = vf_fma(w, v[j], a[i * nv + j]);
        }
    }
    UNROLL
    for (int i = 0; i < nq; i++)
        UNROLL
        for (int j = 0; j < nv; j++) vf_store(acc + (size_t)i * acc_stride + d + (size_t)j * VW, a[i * nv + j]);
}

/* The dims past the last whole vector. acc rows are padded to whole vectors. */
TILE_INLINE void tile_mix_rest(const float *weights, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t d, size_t n, float *acc,
                               bool half) {
    vf a = vf_load(acc + d);
    for (size_t c = 0; c < n_cells; c++) a = vf_fma(vf_set1(weights[c]), tile_load_n(value + c * row_bytes, d, n, half), a);
    vf_store(acc + d, a);
}

#define TILE_MIX(nq)                                                                                                        \
    for (; i + (nq) <= n_q; i += (nq)) {                                                                                    \
        const float *w = weights + i * ATTENTION_SCORES;                                                                    \
        float *to = acc + i * acc_stride;                                                                                   \
        size_t d = 0;                                                                                                       \
        for (; d + 4 * VW <= dim; d += 4 * VW) tile_mix(w, nq, 4, value, row_bytes, n_cells, d, to, acc_stride, half);      \
        for (; d + VW <= dim; d += VW) tile_mix(w, nq, 1, value, row_bytes, n_cells, d, to, acc_stride, half);              \
        for (size_t k = 0; d < dim && k < (nq); k++)                                                                        \
            tile_mix_rest(w + k * ATTENTION_SCORES, value, row_bytes, n_cells, d, dim - d, to + k * acc_stride, half);      \
    }

TILE_INLINE void tile_all_mix(const float *weights, size_t n_q, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t dim, float *acc,
                              size_t acc_stride, bool half) {
    size_t i = 0;
    TILE_MIX(4)
    TILE_MIX(2)
    TILE_MIX(1)
}

static void tile_scores_f16(const float *const *q, size_t n_q, const uint8_t *key, size_t row_bytes, size_t n_cells, size_t dim, float *scores) {
    if (dim % VW) tile_all_scores(q, n_q, key, row_bytes, n_cells, dim, scores, true, false);
    else tile_all_scores(q, n_q, key, row_bytes, n_cells, dim, scores, true, true);
}
static void tile_scores_f32(const float *const *q, size_t n_q, const uint8_t *key, size_t row_bytes, size_t n_cells, size_t dim, float *scores) {
    if (dim % VW) tile_all_scores(q, n_q, key, row_bytes, n_cells, dim, scores, false, false);
    else tile_all_scores(q, n_q, key, row_bytes, n_cells, dim, scores, false, true);
}
static void tile_mix_f16(const float *weights, size_t n_q, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t dim, float *acc,
                         size_t acc_stride) {
    tile_all_mix(weights, n_q, value, row_bytes, n_cells, dim, acc, acc_stride, true);
}
static void tile_mix_f32(const float *weights, size_t n_q, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t dim, float *acc,
                         size_t acc_stride) {
    tile_all_mix(weights, n_q, value, row_bytes, n_cells, dim, acc, acc_stride, false);
}

static float tile_exponents(float *x, size_t n, size_t n_total, float *max) {
    size_t end = (n + VW - 1) / VW * VW;
    for (size_t i = n; i < end; i++) x[i] = -INFINITY;
    vf m = vf_load(x);
    for (size_t i = VW; i < end; i += VW) m = vf_max(m, vf_load(x + i));
    *max = vf_hmax(m);
    vf sum = vf_zero(), shift = vf_set1(*max);
    for (size_t i = 0; i < end; i += VW) {
        vf e = vf_exp(vf_sub(vf_load(x + i), shift));
        vf_store(x + i, e);
        sum = vf_add(sum, e);
    }
    for (size_t i = end; i < n_total; i++) x[i] = 0;
    return vf_hsum(sum);
}

static void tile_blend(float *acc, float a, const float *other, float b, size_t n) {
    for (size_t i = 0; i < n; i += VW)
        vf_store(acc + i, vf_fma(vf_load(other + i), vf_set1(b), vf_mul(vf_load(acc + i), vf_set1(a))));
}

#define ATTENTION_TABLE(isa)                                                                                                \
    const struct attention_kernels attention_kernels_##isa[] = {                                                            \
        {#isa, NUM_F16, tile_scores_f16, tile_mix_f16, tile_exponents, tile_blend},                                         \
        {#isa, NUM_F32, tile_scores_f32, tile_mix_f32, tile_exponents, tile_blend},                                         \
        {NULL, NUM_F32, NULL, NULL, NULL, NULL},                                                                            \
    };
