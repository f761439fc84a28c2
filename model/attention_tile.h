/* attention_tile: the loops of attention over one vector type. A file attention_<isa>.c includes its simd_*.h first (or defines
 * the same names: LANES, vf, f_load, f_fma, ...), and defines
 *
 *   f_sums(const vf acc[16], float out[16])   the sum of each of 16 vectors
 *
 * Every score is summed in one order: lane j takes dims j, j + LANES, ...; then the lanes by f_sums. So the bits of a
 * score depend neither on the tile it is computed in nor on the queries beside it. */

#define TILE_INLINE static inline __attribute__((always_inline))

/* type is constant in every use: f16, bf16, or else f32. */
TILE_INLINE vf tile_load(const uint8_t *row, size_t d, enum num_id type) {
    if (type == NUM_F16) return f_load_f16(row + 2 * d);
    if (type == NUM_BF16) return f_load_bf16(row + 2 * d);
    return f_load((const float *)(const void *)row + d);
}

TILE_INLINE vf tile_load_n(const uint8_t *row, size_t d, size_t n, enum num_id type) {
    if (type == NUM_F16) return f_load_f16_n(row + 2 * d, n);
    if (type == NUM_BF16) return f_load_bf16_n(row + 2 * d, n);
    return f_load_n((const float *)(const void *)row + d, n);
}

/* Rows are read once and in order; the processor's own prefetching ends at each page. */
#define PREFETCH_BYTES 4096u
TILE_INLINE void tile_prefetch(const uint8_t *row, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + PREFETCH_BYTES + i);
}

/* nq x nc = 16 scores: cells from c on, those past last count as the last one. whole: dim is a multiple of LANES (a branch
 * here would send the accumulators through memory). */
TILE_INLINE void tile_scores(const float *const *q, int nq, int nc, const uint8_t *key, size_t row_bytes, size_t c, size_t last, size_t dim,
                             float *scores, enum num_id type, bool whole) {
    vf acc[16];
    const uint8_t *row[16];
    UNROLL
    for (int i = 0; i < 16; i++) acc[i] = f_zero();
    UNROLL
    for (int j = 0; j < nc; j++) row[j] = key + (c + (size_t)j < last ? c + (size_t)j : last) * row_bytes;
    size_t d = 0;
    for (; d + LANES <= dim; d += LANES) {
        vf k[16];
        UNROLL
        for (int j = 0; j < nc; j++) k[j] = tile_load(row[j], d, type);
        UNROLL
        for (int i = 0; i < nq; i++) {
            vf x = f_load(q[i] + d);
            UNROLL
            for (int j = 0; j < nc; j++) acc[i * nc + j] = f_fma(x, k[j], acc[i * nc + j]);
        }
    }
    if (!whole) {
        UNROLL
        for (int j = 0; j < nc; j++) {
            vf k = tile_load_n(row[j], d, dim - d, type);
            UNROLL
            for (int i = 0; i < nq; i++) acc[i * nc + j] = f_fma(f_load_n(q[i] + d, dim - d), k, acc[i * nc + j]);
        }
    }
    float sum[16];
    f_sums(acc, sum);
    UNROLL
    for (int i = 0; i < nq; i++) memcpy(scores + (size_t)i * ATTENTION_SCORES + c, sum + i * nc, (size_t)nc * sizeof *sum);
}

#define TILE_SCORES(nq, nc)                                                                                                \
    for (; i + (nq) <= n_q; i += (nq))                                                                                      \
        for (size_t c = 0; c < n_cells; c += (nc)) {                                                                        \
            if (i == 0) tile_prefetch(key + c * row_bytes, (nc) * row_bytes);                                               \
            tile_scores(q + i, nq, nc, key, row_bytes, c, n_cells - 1, dim, scores + i * ATTENTION_SCORES, type, whole);  \
        }

TILE_INLINE void tile_all_scores(const float *const *q, size_t n_q, const uint8_t *key, size_t row_bytes, size_t n_cells, size_t dim,
                                 float *scores, enum num_id type, bool whole) {
    size_t i = 0;
    TILE_SCORES(4, 4)
    TILE_SCORES(2, 8)
    TILE_SCORES(1, 16)
}

/* nq queries, nv vectors of the value from dim d on. */
TILE_INLINE void tile_mix(const float *weights, int nq, int nv, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t d, float *acc,
                          size_t acc_stride, enum num_id type) {
    vf a[16];
    UNROLL
    for (int i = 0; i < nq; i++)
        UNROLL
        for (int j = 0; j < nv; j++) a[i * nv + j] = f_load(acc + (size_t)i * acc_stride + d + (size_t)j * LANES);
    for (size_t c = 0; c < n_cells; c++) {
        if (d == 0) tile_prefetch(value + c * row_bytes, row_bytes);
        vf v[16];
        UNROLL
        for (int j = 0; j < nv; j++) v[j] = tile_load(value + c * row_bytes, d + (size_t)j * LANES, type);
        UNROLL
        for (int i = 0; i < nq; i++) {
            vf w = f_set(weights[(size_t)i * ATTENTION_SCORES + c]);
            UNROLL
            for (int j = 0; j < nv; j++) a[i * nv + j] = f_fma(w, v[j], a[i * nv + j]);
        }
    }
    UNROLL
    for (int i = 0; i < nq; i++)
        UNROLL
        for (int j = 0; j < nv; j++) f_store(acc + (size_t)i * acc_stride + d + (size_t)j * LANES, a[i * nv + j]);
}

/* The dims past the last whole vector. acc rows are padded to whole vectors. */
TILE_INLINE void tile_mix_rest(const float *weights, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t d, size_t n, float *acc,
                               enum num_id type) {
    vf a = f_load(acc + d);
    for (size_t c = 0; c < n_cells; c++) a = f_fma(f_set(weights[c]), tile_load_n(value + c * row_bytes, d, n, type), a);
    f_store(acc + d, a);
}

#define TILE_MIX(nq)                                                                                                        \
    for (; i + (nq) <= n_q; i += (nq)) {                                                                                    \
        const float *w = weights + i * ATTENTION_SCORES;                                                                    \
        float *to = acc + i * acc_stride;                                                                                   \
        size_t d = 0;                                                                                                       \
        for (; d + 4 * LANES <= dim; d += 4 * LANES) tile_mix(w, nq, 4, value, row_bytes, n_cells, d, to, acc_stride, type);      \
        for (; d + LANES <= dim; d += LANES) tile_mix(w, nq, 1, value, row_bytes, n_cells, d, to, acc_stride, type);              \
        for (size_t k = 0; d < dim && k < (nq); k++)                                                                        \
            tile_mix_rest(w + k * ATTENTION_SCORES, value, row_bytes, n_cells, d, dim - d, to + k * acc_stride, type);      \
    }

TILE_INLINE void tile_all_mix(const float *weights, size_t n_q, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t dim, float *acc,
                              size_t acc_stride, enum num_id type) {
    size_t i = 0;
    TILE_MIX(4)
    TILE_MIX(2)
    TILE_MIX(1)
}

#define TILE_TYPE(name, type)                                                                                                  \
    static void tile_scores_##name(const float *const *q, size_t n_q, const uint8_t *key, size_t row_bytes, size_t n_cells, size_t dim, \
                                   float *scores) {                                                                         \
        if (dim % LANES) tile_all_scores(q, n_q, key, row_bytes, n_cells, dim, scores, type, false);                        \
        else tile_all_scores(q, n_q, key, row_bytes, n_cells, dim, scores, type, true);                                     \
    }                                                                                                                       \
    static void tile_mix_##name(const float *weights, size_t n_q, const uint8_t *value, size_t row_bytes, size_t n_cells, size_t dim,  \
                                float *acc, size_t acc_stride) {                                                            \
        tile_all_mix(weights, n_q, value, row_bytes, n_cells, dim, acc, acc_stride, type);                                  \
    }
TILE_TYPE(f16, NUM_F16)
TILE_TYPE(bf16, NUM_BF16)
TILE_TYPE(f32, NUM_F32)

static float tile_exponents(float *x, size_t n, size_t n_total, float *max) {
    size_t end = (n + LANES - 1) / LANES * LANES;
    for (size_t i = n; i < end; i++) x[i] = -INFINITY;
    vf m = f_load(x);
    for (size_t i = LANES; i < end; i += LANES) m = f_max(m, f_load(x + i));
    *max = f_most(m);
    vf sum = f_zero(), shift = f_set(*max);
    for (size_t i = 0; i < end; i += LANES) {
        vf e = f_exp(f_sub(f_load(x + i), shift));
        f_store(x + i, e);
        sum = f_add(sum, e);
    }
    for (size_t i = end; i < n_total; i++) x[i] = 0;
    return f_sum(sum);
}

static void tile_blend(float *acc, float a, const float *other, float b, size_t n) {
    for (size_t i = 0; i < n; i += LANES)
        f_store(acc + i, f_fma(f_load(other + i), f_set(b), f_mul(f_load(acc + i), f_set(a))));
}

#define ATTENTION_ROW(isa, id, name, decode) {#isa, id, decode, tile_scores_##name, tile_mix_##name, tile_exponents, tile_blend}
#define ATTENTION_TABLE(isa, decoder)                                                                                       \
    const struct attention_kernels attention_kernels_##isa[] = {                                                            \
        ATTENTION_ROW(isa, NUM_F16, f16, NULL),                                                                             \
        ATTENTION_ROW(isa, NUM_BF16, bf16, NULL),                                                                           \
        ATTENTION_ROW(isa, NUM_F32, f32, NULL),                                                                             \
        ATTENTION_ROW(isa, NUM_Q8_0, f32, decoder(q8_0)),                                                                   \
        ATTENTION_ROW(isa, NUM_Q4_0, f32, decoder(q4_0)),                                                                   \
        ATTENTION_ROW(isa, NUM_Q4_1, f32, decoder(q4_1)),                                                                   \
        ATTENTION_ROW(isa, NUM_Q5_0, f32, decoder(q5_0)),                                                                   \
        ATTENTION_ROW(isa, NUM_Q5_1, f32, decoder(q5_1)),                                                                   \
        ATTENTION_ROW(isa, NUM_IQ4_NL, f32, decoder(iq4_nl)),                                                               \
        {NULL, NUM_F32, NULL, NULL, NULL, NULL, NULL},                                                                      \
    };
