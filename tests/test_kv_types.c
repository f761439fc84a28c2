/* Tests of what a cache holds in each type of keys and values: rows as they are stored, the rotation of keys of few bits, moved
 * keys, snapshots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"
#include "tests/support_folder.h"
#include "tests/support_quant.h"

enum { DIM_K = 96, DIM_V = 64, HEADS = 2, ROT = 64, MOST_DIM = 128 };

/* step: of the numbers between -1 and 1 that these tests store, no two levels of the type lie further apart. */
static const struct {
    const char *name;
    bool rotated;
    double step;
} types[] = {
    {"f32", false, 1e-7},    {"f16", false, 1.0 / 1024}, {"bf16", false, 1.0 / 128}, {"q8_0", false, 1.0 / 127}, {"q4_0", true, 1.0 / 7},
    {"q4_1", true, 2.0 / 15}, {"q5_0", true, 1.0 / 15},  {"q5_1", true, 2.0 / 31},   {"iq4_nl", true, 1.0 / 4},
};
#define N_TYPES (sizeof types / sizeof *types)

static double freq[ROT / 2];

static struct kv *open_cache(const char *type_k, const char *type_v) {
    struct kv *c;
    struct err e = {0};
    for (int i = 0; i < ROT / 2; i++) freq[i] = pow(100, -2.0 * i / ROT);
    struct kv_config g = {.n_layers = 2,
                          .n_kv_heads = HEADS,
                          .head_dim_k = DIM_K,
                          .head_dim_v = DIM_V,
                          .type_k = num_find_name(type_k),
                          .type_v = num_find_name(type_v),
                          .rope = {.n_rot = ROT, .magnitude = 1, .freq = freq},
                          .bound = 600};
    if (kv_open(&c, &g, &e)) fail_msg("%s", e.text);
    return c;
}

/* Keys before their rope, and values, of token i. */
static void make_rows(uint32_t i, uint32_t layer, float k[HEADS * DIM_K], float v[HEADS * DIM_V]) {
    uint64_t random = i * 2 + layer + 1;
    for (int d = 0; d < HEADS * DIM_K; d++) k[d] = support_random_float(&random);
    for (int d = 0; d < HEADS * DIM_V; d++) v[d] = support_random_float(&random);
}

static void turn_key(const struct kv *c, int64_t pos, float *k) {
    float angle[ROT];
    kv_rope_angles(&c->config.rope, pos, angle);
    for (int h = 0; h < HEADS; h++) kv_rope_turn(&c->config.rope, angle, 1, k + h * DIM_K);
}

static void feed(struct kv *c, uint32_t n) {
    static int32_t token[600];
    struct kv_batch b;
    struct err e = {0};
    if (kv_begin(c, 0, token, n, SIZE_MAX, &b, &e)) fail_msg("%s", e.text);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t layer = 0; layer < 2; layer++) {
            float k[HEADS * DIM_K], v[HEADS * DIM_V];
            make_rows(i, layer, k, v);
            turn_key(c, b.pos + i, k);
            kv_write(c, &b, layer, i, i + 1, k, HEADS * DIM_K, v, HEADS * DIM_V);
        }
    kv_finish(c, &b);
}

/* Where the row of sequence 0's token i lies, whose cells are in order. */
static const uint8_t *row_at(const struct kv *c, uint32_t i, uint32_t layer, uint32_t head, bool value) {
    const struct kv_layout *l = &c->layout;
    uint32_t cell = c->seq[0].run[0].cell + i;
    assert_int_equal(c->seq[0].n_runs, 1);
    const uint8_t *at = c->arena.base + cell / KV_BLOCK * l->block_bytes + layer * l->layer_bytes;
    return value ? at + l->v_base + head * l->v_head_bytes + cell % KV_BLOCK * l->v_row_bytes
                 : at + head * l->k_head_bytes + cell % KV_BLOCK * l->k_row_bytes;
}

static void every_pair_of_types_stores_rows_as_their_encoders_make_them(void **state) {
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++) {
        size_t u = (t * 2 + 3) % N_TYPES;
        struct kv *c = open_cache(types[t].name, types[u].name);
        assert_int_equal(c->layout.rotated, types[t].rotated);
        feed(c, 300);
        for (uint32_t i = 0; i < 300; i += 7)
            for (uint32_t layer = 0; layer < 2; layer++) {
                float k[HEADS * DIM_K], v[HEADS * DIM_V];
                uint8_t want[DIM_K * 4];
                make_rows(i, layer, k, v);
                turn_key(c, i, k);
                for (uint32_t h = 0; h < HEADS; h++) {
                    if (types[t].rotated) kv_rotate(k + h * DIM_K, DIM_K);
                    c->layout.type_k->from_f32(k + h * DIM_K, want, DIM_K);
                    assert_memory_equal(row_at(c, i, layer, h, false), want, c->layout.k_row_bytes);
                    c->layout.type_v->from_f32(v + h * DIM_V, want, DIM_V);
                    assert_memory_equal(row_at(c, i, layer, h, true), want, c->layout.v_row_bytes);
                }
            }
        kv_close(c);
    }
}

static void the_rotation_is_the_walsh_hadamard_matrix_of_each_part(void **state) {
    (void)state;
    static const struct { uint32_t dim, part; } shapes[] = {{2, 2}, {32, 32}, {64, 64}, {80, 16}, {96, 32}, {128, 128}, {66, 2}};
    uint64_t random = 5;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        float x[MOST_DIM], y[MOST_DIM];
        uint32_t n = shapes[s].part;
        for (uint32_t i = 0; i < shapes[s].dim; i++) y[i] = x[i] = support_random_float(&random);
        kv_rotate(y, shapes[s].dim);
        for (uint32_t i = 0; i < shapes[s].dim; i++) {
            double want = 0; /* the sign of element (i, j) is that of the bits that both have */
            for (uint32_t j = 0; j < n; j++) want += (__builtin_popcount(i % n & j) % 2 ? -1 : 1) * (double)x[i / n * n + j];
            assert_true(fabs(y[i] - want / sqrt(n)) < 1e-5);
        }
        kv_rotate(y, shapes[s].dim);
        for (uint32_t i = 0; i < shapes[s].dim; i++) assert_true(fabsf(y[i] - x[i]) < 1e-5f);
    }
}

/* Root of the mean square by which products of queries with stored keys are off, when two numbers of each key are large. */
static double score_error(const char *type, bool rotated) {
    struct kv *c = open_cache(type, "f16");
    c->layout.rotated = rotated;
    static int32_t token[200];
    struct kv_batch b;
    double sum = 0;
    uint64_t random = 3;
    assert_int_equal(kv_begin(c, 0, token, 200, SIZE_MAX, &b, NULL), 0);
    static float key[200][HEADS * DIM_K], value[200][HEADS * DIM_V];
    for (uint32_t i = 0; i < 200; i++) {
        make_rows(i, 0, key[i], value[i]);
        for (int h = 0; h < HEADS; h++) key[i][h * DIM_K + 5] = 12, key[i][h * DIM_K + 70] = -9;
    }
    kv_write(c, &b, 0, 0, 200, key[0], HEADS * DIM_K, value[0], HEADS * DIM_V);
    kv_finish(c, &b);
    for (uint32_t i = 0; i < 200; i++) {
        float q[DIM_K], stored[DIM_K];
        double exact = 0, got = 0;
        for (int d = 0; d < DIM_K; d++) exact += (double)(q[d] = support_random_float(&random)) * key[i][d];
        if (rotated) kv_rotate(q, DIM_K);
        c->layout.type_k->to_f32(row_at(c, i, 0, 0, false), stored, DIM_K);
        for (int d = 0; d < DIM_K; d++) got += (double)q[d] * stored[d];
        sum += (got - exact) * (got - exact);
    }
    kv_close(c);
    return sqrt(sum / 200);
}

static void the_rotation_nearly_halves_the_error_of_keys_with_large_numbers(void **state) {
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++) {
        if (!types[t].rotated) continue;
        double plain = score_error(types[t].name, false), rotated = score_error(types[t].name, true);
        if (!(rotated < 0.6 * plain)) fail_msg("%s: off by %g rotated, %g plain", types[t].name, rotated, plain);
    }
}

static void moved_keys_are_those_of_the_new_position_within_the_types_error(void **state) {
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++) {
        struct kv *c = open_cache(types[t].name, types[t].name);
        struct err e = {0};
        double worst = 0;
        feed(c, 40);
        if (kv_seq_add(c, 0, 0, -1, 1000, &e)) fail_msg("%s", e.text);
        assert_int_equal(kv_seq_pos_max(c, 0), 1039);
        for (uint32_t i = 0; i < 40; i++) {
            float k[HEADS * DIM_K], v[HEADS * DIM_V], stored[DIM_K];
            make_rows(i, 1, k, v);
            turn_key(c, 1000 + i, k);
            c->layout.type_k->to_f32(row_at(c, i, 1, 1, false), stored, DIM_K);
            if (types[t].rotated) kv_rotate(stored, DIM_K);
            for (int d = 0; d < DIM_K; d++) worst = fmax(worst, fabs(stored[d] - k[DIM_K + d]));
        }
        /* rounded twice, a turned or rotated number being larger than what it comes from */
        if (!(worst < 4 * types[t].step)) fail_msg("%s: off by %g", types[t].name, worst);
        kv_close(c);
    }
}

static const struct kv_snapshot_info info = {.model_fingerprint = 1, .rope_fingerprint = 2};

static int load(struct kv *c, struct err *e) {
    return kv_load(c, 0, support_folder_path("saved"), &info, NULL, e);
}

static void a_snapshot_of_each_pair_of_types_comes_back_and_enters_no_other(void **state) {
    (void)state;
    assert_non_null(support_folder_make());
    for (size_t t = 0; t < N_TYPES; t++) {
        size_t u = (t + 4) % N_TYPES;
        struct kv *c = open_cache(types[t].name, types[u].name), *d = open_cache(types[t].name, types[u].name);
        struct kv *other = open_cache(types[t].name, types[t].name);
        struct err e = {0};
        char want[64];
        feed(c, 300);
        if (kv_save(c, 0, support_folder_path("saved"), &info, NULL, &e)) fail_msg("%s", e.text);
        if (load(d, &e)) fail_msg("%s", e.text);
        for (uint32_t i = 0; i < 300; i++)
            for (uint32_t h = 0; h < HEADS; h++) {
                assert_memory_equal(row_at(c, i, 1, h, false), row_at(d, i, 1, h, false), c->layout.k_row_bytes);
                assert_memory_equal(row_at(c, i, 1, h, true), row_at(d, i, 1, h, true), c->layout.v_row_bytes);
            }
        assert_int_equal(load(other, &e), ERR_FILE);
        snprintf(want, sizeof want, "%s and %s, expected %s and %s", types[t].name, types[u].name, types[t].name, types[t].name);
        assert_non_null(strstr(e.text, want));
        d->layout.rotated = !d->layout.rotated; /* as of a program that holds its keys otherwise */
        assert_int_equal(load(d, &e), ERR_FILE);
        assert_non_null(strstr(e.text, "rotated"));
        assert_int_equal(d->seq[0].n_cells, 300);
        kv_close(c);
        kv_close(d);
        kv_close(other);
    }
    support_folder_remove();
}

static void random_cells_of_each_type_are_of_moderate_size(void **state) {
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++) {
        struct kv *c = open_cache(types[t].name, types[t].name);
        float x[DIM_K];
        double most = 0;
        assert_int_equal(kv_fill_random(c, 0, 300, 1, NULL), 0);
        for (uint32_t i = 0; i < 300; i++)
            for (uint32_t h = 0; h < HEADS; h++)
                for (int value = 0; value < 2; value++) {
                    uint32_t dim = value ? DIM_V : DIM_K;
                    c->layout.type_k->to_f32(row_at(c, i, 1, h, value), x, dim);
                    for (uint32_t d = 0; d < dim; d++) most = fmax(most, fabsf(x[d]));
                }
        assert_true(most > 1.5 && most < 2.3);
        kv_close(c);
    }
}

static void what_no_head_divides_into_is_refused_with_the_types_that_do(void **state) {
    (void)state;
    struct kv_config g = {.n_layers = 1, .n_kv_heads = 1, .head_dim_k = 80, .head_dim_v = 80, .bound = 100};
    struct kv *c;
    struct err e = {0};
    g.type_k = g.type_v = num_find_name("f16");
    for (int value = 0; value < 2; value++) {
        *(value ? &g.type_v : &g.type_k) = num_find_name("q5_1");
        *(value ? &g.type_k : &g.type_v) = num_find_name("f16");
        assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
        assert_string_equal(e.text, value ? "values of 80 numbers a head do not divide into the blocks of 32 of q5_1; allowed: f32, f16, bf16"
                                          : "keys of 80 numbers a head do not divide into the blocks of 32 of q5_1; allowed: f32, f16, bf16");
        assert_null(c);
    }
    g.type_k = num_find_name("q4_k");
    assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
    assert_string_equal(e.text, "the cache cannot hold keys as q4_k; it can as f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl");
    g.head_dim_k = 2048;
    g.type_k = num_find_name("q4_0");
    assert_int_equal(kv_open(&c, &g, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "2048"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_types_stores_rows_as_their_encoders_make_them),
        cmocka_unit_test(the_rotation_is_the_walsh_hadamard_matrix_of_each_part),
        cmocka_unit_test(the_rotation_nearly_halves_the_error_of_keys_with_large_numbers),
        cmocka_unit_test(moved_keys_are_those_of_the_new_position_within_the_types_error),
        cmocka_unit_test(a_snapshot_of_each_pair_of_types_comes_back_and_enters_no_other),
        cmocka_unit_test(random_cells_of_each_type_are_of_moderate_size),
        cmocka_unit_test(what_no_head_divides_into_is_refused_with_the_types_that_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
