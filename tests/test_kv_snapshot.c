/* Tests of kv_save and kv_load. Files lie in a fresh folder of TMPDIR. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/hash.h"
#include "kv/kv_snapshot.h"
#include "tests/support_snapshot.h"

static char folder[256], path[300], other[300];

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/kvetch-snapshot-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/a.kv", folder);
    snprintf(other, sizeof other, "%s/b.kv", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    unlink(other);
    return rmdir(folder);
}

static void a_sequence_comes_back_as_it_was(void **state) {
    (void)state;
    const char *type[2] = {"f16", "f32"};
    for (int i = 0; i < 2; i++) {
        struct kv *c = kvs_worn(type[i]);
        kvs_save(c, 0, path);
        assert_int_equal(access(folder, F_OK), 0);
        struct kv_config g = kvt_config(700, type[i]);
        struct kv *d = kvt_open(&g);
        assert_int_equal(kvs_load(d, 0, path, NULL), 0);
        assert_true(kvs_same(c, 0, d, 0));
        for (int k = 0; k < 500; k++) { /* and goes on the same way */
            assert_int_equal(kvt_append(c, 0, k, NULL), 0);
            assert_int_equal(kvt_append(d, 0, k, NULL), 0);
        }
        assert_true(kvs_same(c, 0, d, 0));
        kv_close(c);
        kv_close(d);
    }
}

static void it_enters_any_capacity_beside_other_sequences(void **state) {
    (void)state;
    struct kv *c = kvs_worn("f16");
    kvs_save(c, 0, path);
    uint32_t bound[] = {c->seq[0].n_cells, c->seq[0].n_cells + 300, 5000};
    for (int i = 0; i < 3; i++) {
        struct kv_config g = kvt_config(bound[i], "f16");
        g.grow = KV_GROW_LINEAR;
        g.step_cells = 256;
        struct kv *d = kvt_open(&g);
        int32_t token[300] = {5, 6};
        if (i) assert_int_equal(kvt_feed(d, 3, token, 0, 150, NULL), 0);
        assert_int_equal(kvt_feed(d, 7, token, 0, 150, NULL), 0); /* what it replaces */
        assert_int_equal(kvs_load(d, 7, path, NULL), 0);
        assert_true(kvs_same(c, 0, d, 7));
        if (i) kvt_check(d, 3);
        kv_close(d);
    }
    kv_close(c);
}

static void one_that_does_not_fit_is_refused(void **state) {
    (void)state;
    struct kv *c = kvs_worn("f16");
    kvs_save(c, 0, path);
    struct kv_config g = kvt_config(c->seq[0].n_cells + 10, "f16");
    struct kv *d = kvt_open(&g);
    int32_t token[30] = {5, 6};
    assert_int_equal(kvt_feed(d, 3, token, 0, 11, NULL), 0);
    assert_int_equal(kvt_feed(d, 0, token, 0, 30, NULL), 0);
    struct err e = {0};
    assert_int_equal(kvs_load(d, 0, path, &e), ERR_FILE);
    assert_non_null(strstr(e.text, path));
    assert_int_equal(d->seq[0].n_cells, 30);
    assert_int_equal(d->cells.used, 41);
    kvt_check(d, 0);
    kv_close(d);
    kv_close(c);
}

static void anothers_snapshot_is_refused_by_name(void **state) {
    (void)state;
    struct kv *c = kvs_worn("f16");
    kvs_save(c, 0, path);
    struct err e = {0};
    struct kv_snapshot_info expect = kvs_info;
    expect.model_fingerprint++;
    assert_int_equal(kv_load(c, 1, path, &expect, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "model"));
    expect = kvs_info;
    expect.rope_fingerprint++;
    assert_int_equal(kv_load(c, 1, path, &expect, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "rope"));
    struct kv_config g = kvt_config(1000, "f32");
    struct kv *d = kvt_open(&g);
    assert_int_equal(kvs_load(d, 0, path, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "f16 and f16, expected f32 and f32"));
    kv_close(d);
    g = kvt_config(1000, "f16");
    g.n_layers = 3;
    d = kvt_open(&g);
    assert_int_equal(kvs_load(d, 0, path, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "n_layers is 2, expected 3"));
    kv_close(d);
    assert_int_equal(kvs_load(c, 1, "/nonexistent/a.kv", &e), ERR_FILE);
    kv_close(c);
}

/* A small cache with something in it, the file of its sequence 1, and what sequence 0 must still be after a refusal. */
struct target {
    struct kv *c;
    uint64_t hash[40];
    uint8_t *file;
    size_t n;
    size_t index_at, index_bytes; /* the data lies between the heads and it */
};

enum { DATA_AT = sizeof(struct kv_snapshot_header) + sizeof(struct kv_snapshot_generation) };

static struct target target_open(void) {
    struct kv_config g = kvt_config(600, "f16");
    struct target t = {.c = kvt_open(&g)};
    int32_t token[300];
    for (int i = 0; i < 300; i++) token[i] = 300 - i;
    struct kv_turn turn[2] = {{10, 20, false}, {30, 10, false}};
    struct kv_prompt p = {token, 40, 10, turn, 2, 0};
    struct kv_plan plan;
    assert_int_equal(kvt_prompt(t.c, 1, &p, &plan, NULL), 0);
    kv_seq_rm(t.c, 1, 12, 20);
    kvs_save(t.c, 1, path);
    assert_int_equal(kvt_feed(t.c, 0, token, 0, 40, NULL), 0);
    for (size_t i = 0; i < 40; i++) t.hash[i] = kvt_hash(t.c, 0, i);
    t.file = kvs_read(path, &t.n);
    struct kv_snapshot_generation head;
    memcpy(&head, t.file + sizeof(struct kv_snapshot_header), sizeof head);
    t.index_bytes = head.index_bytes;
    t.index_at = t.n - t.index_bytes;
    assert_int_equal(t.index_at, DATA_AT + 32 * t.c->cell_bytes);
    return t;
}

static void assert_unharmed(const struct target *t) {
    assert_int_equal(t->c->cells.used, 72);
    assert_int_equal(t->c->seq[0].n_tokens, 40);
    for (size_t i = 0; i < 40; i++) assert_true(t->hash[i] == kvt_hash(t->c, 0, i));
}

static void assert_refused(const struct target *t, size_t n, const char *what, size_t at) {
    struct err e = {0};
    kvs_write(other, t->file, n);
    if (kvs_load(t->c, 0, other, &e) != ERR_FILE) fail_msg("%s at %zu was accepted", what, at);
    assert_true(strlen(e.text) > strlen(other) + 4 && !strchr(e.text, '\n'));
    assert_unharmed(t);
}

static bool is_data(const struct target *t, size_t at) {
    return at >= DATA_AT && at < t->index_at;
}

static void every_flipped_bit_is_refused_and_the_cache_stays(void **state) {
    (void)state;
    struct target t = target_open();
    for (size_t i = 0; i < t.n; i += is_data(&t, i) ? kvs_count(97, 1) : 1)
        for (unsigned bit = 0; bit < kvs_count(1, 8); bit++) {
            uint8_t mask = (uint8_t)(1u << (i + bit) % 8);
            t.file[i] ^= mask;
            assert_refused(&t, t.n, "a flipped bit", i);
            t.file[i] ^= mask;
        }
    free(t.file);
    kv_close(t.c);
}

static void every_truncation_is_refused_and_the_cache_stays(void **state) {
    (void)state;
    struct target t = target_open();
    for (size_t i = 0; i < t.n; i += is_data(&t, i) ? kvs_count(101, 1) : 1) assert_refused(&t, i, "a truncation", i);
    free(t.file);
    kv_close(t.c);
}

/* Loads a sealed forgery into sequence 2: it is refused, or else what it makes is sound. */
static bool is_accepted(struct target *t, const uint8_t *file) {
    kvs_write(other, file, t->n);
    bool accepted = !kv_load(t->c, 2, other, &kvs_info, NULL, NULL);
    const struct kv_seq *s = &t->c->seq[2];
    if (accepted) assert_int_equal(s->n_cells + kv_seq_count_left(s, 0, s->n_tokens), s->n_tokens);
    for (size_t q = 0; q < s->n_runs; q++)
        assert_int_equal(kv_seq_count_left(s, s->run[q].index, s->run[q].index + s->run[q].n), 0);
    kv_seq_rm(t->c, 2, -1, -1);
    assert_unharmed(t);
    return accepted;
}

/* What a checksum cannot see: a file made to deceive. */
static void a_forged_file_with_good_checksums_does_no_harm(void **state) {
    (void)state;
    struct target t = target_open();
    uint64_t value[] = {0,
                        0,
                        0,
                        1,
                        2,
                        7,
                        255,
                        256,
                        257,
                        1u << 20,
                        0x7fffffff,
                        0xffffffff,
                        (uint64_t)1 << 40,
                        INT64_MAX,
                        UINT64_MAX,
                        UINT64_MAX - 255};
    size_t refused = 0, accepted = 0;
    uint8_t *forged = malloc(t.n);
    for (size_t i = 0; i + 8 <= t.n - 12; i = i + 4 == DATA_AT ? t.index_at : i + 4)
        for (size_t v = 0; v < sizeof value / sizeof *value; v++) {
            memcpy(forged, t.file, t.n);
            memcpy(&value[0], forged + i, 8); /* one less and one more than what is there */
            value[1] = value[0] + 1;
            value[0]--;
            memcpy(forged + i, &value[v], 8);
            kvs_seal(forged, t.n, t.index_bytes);
            bool ok = is_accepted(&t, forged);
            accepted += ok;
            refused += !ok;
        }
    assert_true(refused > accepted);
    free(forged);
    free(t.file);
    kv_close(t.c);
}

/* Where the section with that tag has its head. */
static size_t find_section(const struct target *t, const char *tag) {
    for (size_t at = t->index_at + sizeof(struct kv_snapshot_index); at < t->n;) {
        struct kv_snapshot_section s;
        memcpy(&s, t->file + at, sizeof s);
        if (!memcmp(s.tag, tag, sizeof s.tag)) return at;
        at += sizeof s + s.bytes;
    }
    fail_msg("no section %s", tag);
    return 0;
}

static void a_section_of_a_later_version_is_refused_where_it_is_needed_else_skipped(void **state) {
    (void)state;
    struct target t = target_open();
    struct kv_snapshot_section extra = {.tag = "SOON"};
    uint8_t *longer = malloc(t.n + sizeof extra), *was = t.file;
    for (uint32_t flags = 0; flags <= KV_SNAPSHOT_NEEDED; flags++) {
        struct kv_snapshot_generation g;
        struct err e = {0};
        extra.flags = flags;
        memcpy(longer, was, t.n);
        memcpy(longer + t.n, &extra, sizeof extra);
        memcpy(&g, longer + sizeof(struct kv_snapshot_header), sizeof g);
        g.index_bytes += sizeof extra;
        memcpy(longer + sizeof(struct kv_snapshot_header), &g, sizeof g);
        struct target z = t;
        z.n += sizeof extra;
        z.index_bytes += sizeof extra;
        z.file = longer;
        kvs_seal(longer, z.n, z.index_bytes);
        kvs_write(other, longer, z.n);
        assert_int_equal(kvs_load(t.c, 2, other, &e), flags ? ERR_FILE : 0);
        if (flags) assert_non_null(strstr(e.text, "\"SOON\""));
    }
    memcpy(longer, was, t.n);
    memcpy(longer + find_section(&t, "TURN"), "RUNS", 4); /* and one is missing, another there twice */
    kvs_seal(longer, t.n, t.index_bytes);
    assert_false(is_accepted(&t, longer));
    free(longer);
    free(was);
    kv_close(t.c);
}

/* Opening one would wait until somebody writes. */
static void a_pipe_in_its_place_is_refused_and_replaced(void **state) {
    (void)state;
    struct kv *c = kvs_worn("f16"), *d = kvs_worn("f16");
    struct err e = {0};
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(kvs_load(c, 0, path, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_true(kvs_same(c, 0, d, 0));
    kvs_save(c, 0, path);
    e = (struct err){0};
    assert_int_equal(kvs_load(d, 0, path, &e), 0);
    assert_int_equal(e.code, 0);
    kv_close(c);
    kv_close(d);
}

static void what_a_refused_file_has_touched_is_counted(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    int32_t token[300] = {0};
    size_t n;
    assert_int_equal(kvt_feed(c, 0, token, 0, 300, NULL), 0);
    kvs_save(c, 0, path);
    kv_close(c);
    uint8_t *file = kvs_read(path, &n);
    struct kv_snapshot_generation head;
    memcpy(&head, file + sizeof(struct kv_snapshot_header), sizeof head);
    file[n - head.index_bytes - 1] ^= 1; /* the second block; the first is in its place by then */
    kvs_write(other, file, n);
    free(file);
    g.start = 600;
    c = kvt_open(&g);
    struct kv_stats s;
    assert_int_equal(kvs_load(c, 0, other, NULL), ERR_FILE);
    kv_get_stats(c, &s);
    assert_int_equal(s.used, 0);
    assert_int_equal(s.touched_bytes, s.block_bytes);
    assert_int_equal(kvs_load(c, 0, path, NULL), 0);
    kv_get_stats(c, &s);
    assert_int_equal(s.touched_bytes, 2 * s.block_bytes);
    kv_close(c);
}

static int refuse(void *ctx, const void *extra, size_t n, struct err *e) {
    (void)ctx;
    (void)extra;
    (void)n;
    return err_set(e, ERR_FILE, "another sampler");
}

static void a_state_that_the_caller_refuses_leaves_the_cache(void **state) {
    (void)state;
    struct target t = target_open();
    struct kv_snapshot_info no = kvs_info;
    struct err e = {0};
    no.accept = refuse;
    assert_int_equal(kv_load(t.c, 0, path, &no, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "another sampler"));
    assert_unharmed(&t);
    free(t.file);
    kv_close(t.c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_comes_back_as_it_was),
        cmocka_unit_test(it_enters_any_capacity_beside_other_sequences),
        cmocka_unit_test(one_that_does_not_fit_is_refused),
        cmocka_unit_test(anothers_snapshot_is_refused_by_name),
        cmocka_unit_test(every_flipped_bit_is_refused_and_the_cache_stays),
        cmocka_unit_test(a_pipe_in_its_place_is_refused_and_replaced),
        cmocka_unit_test(what_a_refused_file_has_touched_is_counted),
        cmocka_unit_test(every_truncation_is_refused_and_the_cache_stays),
        cmocka_unit_test(a_forged_file_with_good_checksums_does_no_harm),
        cmocka_unit_test(a_section_of_a_later_version_is_refused_where_it_is_needed_else_skipped),
        cmocka_unit_test(a_state_that_the_caller_refuses_leaves_the_cache),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
