/* Tests of config/num: halves against their definition, every block against a decoder written number by number from
 * the drawing of its layout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/num.h"

static uint64_t random_state;
static uint32_t random_u32(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static float half_value(unsigned h) { /* the definition: sign, 5 exponent bits, 10 mantissa bits */
    double sign = h & 0x8000 ? -1 : 1, m = h & 1023;
    int e = (int)(h >> 10 & 31);
    if (e == 31) return m > 0 ? NAN : (float)(sign * INFINITY);
    return (float)(sign * (e ? ldexp(1 + m / 1024, e - 15) : ldexp(m, -24)));
}

static void every_half_has_its_value_and_comes_back(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float want = half_value(h), got = num_from_f16((uint16_t)h);
        if (isnan(want)) {
            assert_true(isnan(got));
            assert_true(isnan(num_from_f16(num_f16(got))));
            assert_int_equal(num_f16(got) & 0x8000, h & 0x8000);
            continue;
        }
        assert_memory_equal(&got, &want, sizeof got);
        assert_int_equal(num_f16(got), h);
    }
}

static void floats_between_halves_round_to_the_nearest_even(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x7c00; h++) {
        float low = half_value(h), high = h == 0x7bff ? 65536.0f : half_value(h + 1);
        float middle = (float)(((double)low + high) / 2);
        unsigned even = h % 2 ? h + 1 : h;
        assert_int_equal(num_f16(middle), even);
        assert_int_equal(num_f16(-middle), even | 0x8000);
        assert_int_equal(num_f16(nextafterf(middle, 0)), h);
        assert_int_equal(num_f16(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(num_f16(INFINITY), 0x7c00);
    assert_int_equal(num_f16(1e30f), 0x7c00);
    assert_int_equal(num_f16(1e-30f), 0);
}

static void bfloat_rounds_to_the_nearest_even(void **state) {
    (void)state;
    static const struct { uint32_t bits; uint16_t want; } cases[] = {
        {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x3f807fff, 0x3f80},
        {0xbf818000, 0xbf82}, {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80}, {0x00008001, 0x0001}, {0x80000000, 0x8000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float x;
        memcpy(&x, &cases[i].bits, 4);
        assert_int_equal(num_bf16(x), cases[i].want);
    }
    assert_true(isnan(num_from_bf16(num_bf16(NAN))));
    assert_true(isnan(num_from_bf16(num_bf16(-NAN))));
    for (unsigned h = 0; h < 0x7f80; h++) assert_int_equal(num_bf16(num_from_bf16((uint16_t)h)), h);
}

/* ---- naive decoders: number i of a block, as the layout has it ------------------------------------------------- */

static float half_at(const uint8_t *p) { return half_value((unsigned)(p[0] | p[1] << 8)); }
static int nibble32(const uint8_t *q, int i) { return i < 16 ? q[i] & 15 : q[i - 16] >> 4; }
static int bit_of(const uint8_t *p, int i) { return p[i / 8] >> i % 8 & 1; }

static float naive_q4_0(const uint8_t *b, int i) { return half_at(b) * (float)(nibble32(b + 2, i) - 8); }
static float naive_q4_1(const uint8_t *b, int i) { return half_at(b) * (float)nibble32(b + 4, i) + half_at(b + 2); }
static float naive_q5_0(const uint8_t *b, int i) {
    return half_at(b) * (float)(nibble32(b + 6, i) + 16 * bit_of(b + 2, i) - 16);
}
static float naive_q5_1(const uint8_t *b, int i) {
    return half_at(b) * (float)(nibble32(b + 8, i) + 16 * bit_of(b + 4, i)) + half_at(b + 2);
}
static float naive_q8_0(const uint8_t *b, int i) { return half_at(b) * (float)(int8_t)b[2 + i]; }

static float naive_iq4_nl(const uint8_t *b, int i) {
    static const int steps[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return half_at(b) * (float)steps[nibble32(b + 2, i)];
}

/* Six-bit scales and minima: the low four 6-bit values lie plainly, the others in pieces. */
static int naive_scale(const uint8_t *s, int k, int min) {
    if (k < 4) return s[4 * min + k] % 64;
    int low = min ? s[8 + k - 4] / 16 : s[8 + k - 4] % 16;
    return low + 16 * (s[4 * min + k - 4] / 64);
}
static float naive_k(const uint8_t *b, const uint8_t *q, int i, int fifth) {
    int s = i / 32, low = q[s / 2 * 32 + i % 32];
    low = s % 2 ? low / 16 : low % 16;
    return half_at(b) * (float)naive_scale(b + 4, s, 0) * (float)(low + 16 * fifth) -
           half_at(b + 2) * (float)naive_scale(b + 4, s, 1);
}
static float naive_q4_k(const uint8_t *b, int i) { return naive_k(b, b + 16, i, 0); }
static float naive_q5_k(const uint8_t *b, int i) { return naive_k(b, b + 48, i, b[16 + i % 32] >> i / 32 & 1); }
static float naive_q6_k(const uint8_t *b, int i) {
    int half = i / 128, in = i % 128, low = b[64 * half + in % 64], high = b[128 + 32 * half + in % 32];
    int q = (in < 64 ? low % 16 : low / 16) + 16 * (high >> in / 32 * 2 & 3) - 32;
    return half_at(b + 208) * (float)(int8_t)b[192 + i / 16] * (float)q;
}

static const struct naive {
    enum num_id id;
    uint32_t block, bytes;
    float (*at)(const uint8_t *block, int i);
    int halves[3]; /* where in the block its halves lie, -1 ends */
} naive[] = {
    {NUM_Q4_0, 32, 18, naive_q4_0, {0, -1, -1}},    {NUM_Q4_1, 32, 20, naive_q4_1, {0, 2, -1}},
    {NUM_Q5_0, 32, 22, naive_q5_0, {0, -1, -1}},    {NUM_Q5_1, 32, 24, naive_q5_1, {0, 2, -1}},
    {NUM_Q8_0, 32, 34, naive_q8_0, {0, -1, -1}},    {NUM_Q4_K, 256, 144, naive_q4_k, {0, 2, -1}},
    {NUM_Q5_K, 256, 176, naive_q5_k, {0, 2, -1}},   {NUM_Q6_K, 256, 210, naive_q6_k, {208, -1, -1}},
    {NUM_IQ4_NL, 32, 18, naive_iq4_nl, {0, -1, -1}},
};

static void every_quantised_type_decodes_as_its_layout_says(void **state) {
    (void)state;
    enum { BLOCKS = 50 };
    static uint8_t row[BLOCKS * 256];
    static float out[BLOCKS * 256];
    random_state = 7;
    for (size_t t = 0; t < sizeof naive / sizeof *naive; t++) {
        const struct num_type *type = num_find(naive[t].id);
        assert_non_null(type);
        assert_int_equal(type->block, naive[t].block);
        assert_int_equal(type->bytes, naive[t].bytes);
        for (size_t i = 0; i < BLOCKS * type->bytes; i++) row[i] = (uint8_t)random_u32();
        for (size_t b = 0; b < BLOCKS; b++)
            for (int h = 0; naive[t].halves[h] >= 0; h++) { /* no infinity, no NaN */
                uint16_t d = num_f16((float)((double)random_u32() / 0x7fffffff - 0.5));
                memcpy(row + b * type->bytes + naive[t].halves[h], &d, 2);
            }
        type->to_f32(row, out, BLOCKS * type->block);
        for (size_t i = 0; i < BLOCKS * type->block; i++) {
            float want = naive[t].at(row + i / type->block * type->bytes, (int)(i % type->block));
            assert_memory_equal(&out[i], &want, sizeof want);
        }
    }
}

static void q8_0_keeps_a_row_to_half_a_step(void **state) {
    (void)state;
    float in[64], out[64];
    uint8_t row[68];
    random_state = 3;
    for (int i = 0; i < 64; i++) in[i] = (float)((double)random_u32() / 0x7fffffff - 0.5);
    in[40] = 3;
    num_find(NUM_Q8_0)->from_f32(in, row, 64);
    num_find(NUM_Q8_0)->to_f32(row, out, 64);
    for (int i = 0; i < 64; i++) {
        float step = (i < 32 ? 0.5f : 3.0f) / 127;
        assert_true(fabsf(out[i] - in[i]) <= step * 0.57f);
    }
    memset(in, 0, sizeof in);
    num_find(NUM_Q8_0)->from_f32(in, row, 64);
    num_find(NUM_Q8_0)->to_f32(row, out, 64);
    assert_memory_equal(in, out, sizeof in);
}

/* Each number of a block, decoded, is as near to what was encoded as any level of that block: all of them are tried. What lies
 * beyond the levels (in q4_0 and its like the far end of the other sign) is one level off at most. */
static void every_encoder_takes_the_nearest_level(void **state) {
    (void)state;
    static const enum num_id ids[] = {NUM_Q4_0, NUM_Q4_1, NUM_Q5_0, NUM_Q5_1, NUM_IQ4_NL};
    enum { N = 32 * 40 };
    static float in[N], out[N], level[32];
    static uint8_t row[N * 2], all[64];
    random_state = 11;
    for (size_t t = 0; t < sizeof ids / sizeof *ids; t++) {
        const struct num_type *type = num_find(ids[t]);
        size_t quants = type->bytes - 16;
        for (size_t i = 0; i < N; i++) in[i] = (float)((double)random_u32() / 0x7fffffff - 0.4) * (float)(1 + i / 32 % 7) + (float)(i / 320);
        type->from_f32(in, row, N);
        type->to_f32(row, out, N);
        for (size_t b = 0; b < N / 32; b++) {
            double spread = 0; /* between neighbouring levels */
            memcpy(all, row + b * type->bytes, type->bytes);
            for (int j = 0; j < 32; j++) { /* a block of all levels with the same scale */
                uint8_t *nibble = &all[quants + (size_t)j % 16];
                *nibble = (uint8_t)(j < 16 ? (*nibble & 0xf0) | j : (*nibble & 15) | (j & 15) << 4);
                if (ids[t] == NUM_Q5_0 || ids[t] == NUM_Q5_1) all[quants - 4 + (size_t)j / 8] = j < 16 ? 0 : 0xff;
            }
            type->to_f32(all, level, 32);
            for (int j = 0; j < 15; j++) spread = fmax(spread, fabs((double)level[j + 1] - level[j]));
            for (int j = 0; j < 32; j++) {
                double x = in[b * 32 + (size_t)j], off = fabs(out[b * 32 + (size_t)j] - x), best = INFINITY;
                for (int k = 0; k < 32; k++) best = fmin(best, fabs(level[k] - x));
                if (!(off <= best + spread / 1000)) fail_msg("%s: %g became %g", type->name, x, (double)out[b * 32 + (size_t)j]);
                if (!(off <= spread * 1.05)) fail_msg("%s: %g became %g, levels are %g apart", type->name, x, (double)out[b * 32 + (size_t)j], spread);
            }
        }
        memset(in, 0, sizeof in);
        type->from_f32(in, row, N);
        type->to_f32(row, out, N);
        for (size_t i = 0; i < N; i++) assert_true(out[i] >= 0 && out[i] <= 0);
    }
}

static void float_rows_come_back_at_any_address(void **state) {
    (void)state;
    static const enum num_id ids[] = {NUM_F32, NUM_F16, NUM_BF16};
    const float in[5] = {1, -0.5f, 0, 65504, 0x1p-14f};
    for (size_t t = 0; t < 3; t++) {
        uint8_t row[32];
        float out[5];
        num_find(ids[t])->from_f32(in, row + 1, 5);
        num_find(ids[t])->to_f32(row + 1, out, 5);
        for (int i = 0; i < 5; i++) assert_true(fabsf(out[i] - in[i]) <= fabsf(in[i]) / 256);
        if (ids[t] != NUM_BF16) assert_memory_equal(in, out, sizeof in);
    }
}

static void types_are_found_by_id_and_name(void **state) {
    (void)state;
    assert_ptr_equal(num_find_name("Q4_K"), num_find(12));
    assert_ptr_equal(num_find_name("bf16"), num_find(30));
    assert_null(num_find(10));
    assert_null(num_find_name("q2_k"));
    assert_string_equal(num_id_name(20), "iq4_nl");
    assert_null(num_id_name(4096));
    assert_int_equal(num_row_bytes(num_find(NUM_Q6_K), 512), 420);
    assert_int_equal(num_row_bytes(num_find(NUM_Q4_0), 33), 0);
    assert_int_equal(num_row_bytes(num_find(NUM_F32), UINT64_MAX / 2), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_has_its_value_and_comes_back),
        cmocka_unit_test(floats_between_halves_round_to_the_nearest_even),
        cmocka_unit_test(bfloat_rounds_to_the_nearest_even),
        cmocka_unit_test(every_quantised_type_decodes_as_its_layout_says),
        cmocka_unit_test(q8_0_keeps_a_row_to_half_a_step),
        cmocka_unit_test(every_encoder_takes_the_nearest_level),
        cmocka_unit_test(float_rows_come_back_at_any_address),
        cmocka_unit_test(types_are_found_by_id_and_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
