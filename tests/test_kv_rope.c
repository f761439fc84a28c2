/* Tests of rotary positions: against the formula in long double, and of what offsets rest on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv.h"

enum { ROT = 32, DIM = 40 };

static double freq[ROT / 2];

static struct kv_rope rope(bool neox) {
    for (int i = 0; i < ROT / 2; i++) freq[i] = pow(10000, -2.0 * i / ROT);
    return (struct kv_rope){.n_rot = ROT, .neox = neox, .magnitude = 1, .freq = freq};
}

static void random_head(float *x, unsigned seed) {
    for (int i = 0; i < DIM; i++) {
        seed = seed * 1103515245u + 12345u;
        x[i] = (float)(seed >> 16 & 1023) / 512 - 1;
    }
}

static void a_head_turns_as_complex_numbers_do(void **state) {
    (void)state;
    const int64_t pos[] = {0, 1, 77, -5, 131072, 1000000, 123456789};
    for (int neox = 0; neox < 2; neox++)
        for (size_t p = 0; p < sizeof pos / sizeof *pos; p++) {
            struct kv_rope r = rope(neox);
            float cs[ROT], x[DIM], y[DIM];
            random_head(x, 5);
            memcpy(y, x, sizeof y);
            kv_rope_angles(&r, pos[p], cs);
            kv_rope_turn(&r, cs, 1.5f, y);
            for (int i = 0; i < ROT / 2; i++) {
                int a = neox ? i : 2 * i, b = neox ? i + ROT / 2 : 2 * i + 1;
                long double angle = fmodl((long double)pos[p] * (long double)freq[i], 2 * acosl(-1));
                long double complex z = ((long double)x[a] + I * (long double)x[b]) * cexpl(I * angle) * 1.5L;
                assert_true(fabsl(creall(z) - (long double)y[a]) < 1e-6L);
                assert_true(fabsl(cimagl(z) - (long double)y[b]) < 1e-6L);
            }
            assert_memory_equal(x + ROT, y + ROT, (DIM - ROT) * sizeof *x); /* the rest of the head is not turned */
        }
}

/* What a shift rests on: a query turned to P - offset meets a key stored at position p as one turned to P meets a key
 * at p + offset. */
static void an_offset_on_the_query_is_a_shift_of_the_key(void **state) {
    (void)state;
    struct kv_rope r = rope(true);
    for (int64_t offset = 0; offset <= 1000000; offset += 99991) {
        float cs[ROT], q0[DIM], k0[DIM], q1[DIM], k1[DIM];
        const int64_t at = 900 + offset, stored = 3;
        double dot0 = 0, dot1 = 0;
        random_head(q0, 1);
        random_head(k0, 2);
        memcpy(q1, q0, sizeof q1);
        memcpy(k1, k0, sizeof k1);
        kv_rope_angles(&r, at - offset, cs);
        kv_rope_turn(&r, cs, 1, q0);
        kv_rope_angles(&r, stored, cs);
        kv_rope_turn(&r, cs, 1, k0);
        kv_rope_angles(&r, at, cs);
        kv_rope_turn(&r, cs, 1, q1);
        kv_rope_angles(&r, stored + offset, cs);
        kv_rope_turn(&r, cs, 1, k1);
        for (int i = 0; i < DIM; i++) {
            dot0 += (double)q0[i] * (double)k0[i];
            dot1 += (double)q1[i] * (double)k1[i];
        }
        assert_true(fabs(dot0 - dot1) < 1e-5);
    }
}

static void turning_twice_is_turning_by_the_sum(void **state) {
    (void)state;
    struct kv_rope r = rope(false);
    float cs[ROT], x[DIM], y[DIM];
    random_head(x, 3);
    memcpy(y, x, sizeof y);
    kv_rope_angles(&r, 500, cs);
    kv_rope_turn(&r, cs, 1, x);
    kv_rope_angles(&r, -120, cs);
    kv_rope_turn(&r, cs, 1, x);
    kv_rope_angles(&r, 380, cs);
    kv_rope_turn(&r, cs, 1, y);
    for (int i = 0; i < DIM; i++) assert_true(fabsf(x[i] - y[i]) < 1e-6f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_turns_as_complex_numbers_do),
        cmocka_unit_test(an_offset_on_the_query_is_a_shift_of_the_key),
        cmocka_unit_test(turning_twice_is_turning_by_the_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
