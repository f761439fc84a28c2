/* simd_exp: exp with the vectors of a simd_*.h, which stands before it, and how loops over accumulators are unrolled (without that
 * the accumulators live in memory). */
#ifndef MODEL_SIMD_EXP_H
#define MODEL_SIMD_EXP_H

#define UNROLL _Pragma("GCC unroll 16")

/* kernels_exp in lanes; exp(-inf) is 0. */
OP vf f_exp(vf x) {
    vf k = f_round(f_mul(x, f_set(1.44269504f)));
    k = f_max(f_set(-127), f_sub(f_zero(), f_max(f_set(-128), f_sub(f_zero(), k)))); /* -127 to 128 */
    vf r = f_fma(k, f_set(-0.693359375f), x);
    r = f_fma(k, f_set(2.12194440e-4f), r);
    vf e = f_set(1.0f / 5040);
    e = f_fma(e, r, f_set(1.0f / 720));
    e = f_fma(e, r, f_set(1.0f / 120));
    e = f_fma(e, r, f_set(1.0f / 24));
    e = f_fma(e, r, f_set(1.0f / 6));
    e = f_fma(e, r, f_set(0.5f));
    e = f_fma(e, r, f_set(1));
    e = f_fma(e, r, f_set(1));
    return f_zero_below(f_scale(e, k), x, f_set(-87.33654f));
}

#endif
