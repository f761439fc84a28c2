/* Tests of kv_save and kv_load. Files lie in a fresh folder of TMPDIR. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/hash.h"
#include "kv/kv_snapshot.h"
#include "tests/support_kv.h"

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

static const struct kv_snapshot_info info = {
    .model_fingerprint = 11, .rope_fingerprint = 22, .extra = "random state", .extra_bytes = 12};

/* A cache whose sequence 0 has turns, a hole, offsets and scattered cells. */
static struct kv *worn(const char *type) {
    struct kv_config g = kvt_config(700, type);
    struct kv *c = kvt_open(&g);
    int32_t token[2000];
    struct kv_turn turn[6];
    for (int i = 0; i < 2000; i++) token[i] = i * 3;
    for (size_t i = 0; i < 6; i++) turn[i] = (struct kv_turn){20 + i * 100, 100, i == 1};
    struct kv_prompt p = {token, 620, 20, turn, 6};
    struct kv_plan plan;
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, NULL), 0);
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    assert_true(c->seq[0].n_left >= 2);
    return c;
}

static void save(struct kv *c, int seq, const char *to) {
    struct err e = {0};
    uint64_t bytes;
    if (kv_save(c, seq, to, &info, &bytes, &e)) fail_msg("%s", e.text);
    struct stat st;
    assert_int_equal(stat(to, &st), 0);
    assert_int_equal(st.st_size, bytes);
}

static int load(struct kv *c, int seq, const char *from, struct err *e) {
    void *extra;
    size_t n;
    int rc = kv_load(c, seq, from, &info, &extra, &n, NULL, e);
    if (!rc) {
        assert_int_equal(n, 12);
        assert_memory_equal(extra, "random state", 12);
    } else
        assert_null(extra);
    free(extra);
    return rc;
}

/* The sequences are the same, wherever their cells lie. */
static void assert_same(struct kv *a, int sa, struct kv *b, int sb) {
    const struct kv_seq *x = &a->seq[sa], *y = &b->seq[sb];
    kvt_check(b, sb);
    assert_int_equal(x->n_tokens, y->n_tokens);
    assert_memory_equal(x->token, y->token, x->n_tokens * sizeof *x->token);
    assert_int_equal(x->n_left, y->n_left);
    assert_memory_equal(x->left, y->left, x->n_left * sizeof *x->left);
    assert_int_equal(x->n_turns, y->n_turns);
    for (size_t i = 0; i < x->n_turns; i++)
        assert_true(x->turn[i].first == y->turn[i].first && x->turn[i].pinned == y->turn[i].pinned);
    assert_int_equal(x->n_keep, y->n_keep);
    assert_int_equal(x->n_cells, y->n_cells);
    for (size_t i = 0; i < x->n_tokens; i++) {
        assert_true(kvt_hash(a, sa, i) == kvt_hash(b, sb, i));
        if (!kvt_hash(a, sa, i)) continue;
        const struct kv_run *r = &x->run[kv_seq_find_index(x, i)], *q = &y->run[kv_seq_find_index(y, i)];
        assert_int_equal(r->pos + (int64_t)(i - r->index), q->pos + (int64_t)(i - q->index));
        assert_int_equal(r->offset, q->offset);
    }
}

static void a_sequence_comes_back_as_it_was(void **state) {
    (void)state;
    const char *type[2] = {"f16", "f32"};
    for (int i = 0; i < 2; i++) {
        struct kv *c = worn(type[i]);
        save(c, 0, path);
        assert_int_equal(access(folder, F_OK), 0);
        struct kv_config g = kvt_config(700, type[i]);
        struct kv *d = kvt_open(&g);
        assert_int_equal(load(d, 0, path, NULL), 0);
        assert_same(c, 0, d, 0);
        for (int k = 0; k < 500; k++) { /* and goes on the same way */
            assert_int_equal(kvt_append(c, 0, k, NULL), 0);
            assert_int_equal(kvt_append(d, 0, k, NULL), 0);
        }
        assert_same(c, 0, d, 0);
        kv_close(c);
        kv_close(d);
    }
}

static void it_enters_any_capacity_beside_other_sequences(void **state) {
    (void)state;
    struct kv *c = worn("f16");
    save(c, 0, path);
    uint32_t bound[] = {c->seq[0].n_cells, c->seq[0].n_cells + 300, 5000};
    for (int i = 0; i < 3; i++) {
        struct kv_config g = kvt_config(bound[i], "f16");
        g.grow = KV_GROW_LINEAR;
        g.step_cells = 256;
        struct kv *d = kvt_open(&g);
        int32_t token[300] = {5, 6};
        if (i) assert_int_equal(kvt_feed(d, 3, token, 0, 150, NULL), 0);
        assert_int_equal(kvt_feed(d, 7, token, 0, 150, NULL), 0); /* what it replaces */
        assert_int_equal(load(d, 7, path, NULL), 0);
        assert_same(c, 0, d, 7);
        if (i) kvt_check(d, 3);
        kv_close(d);
    }
    kv_close(c);
}

static void one_that_does_not_fit_is_refused(void **state) {
    (void)state;
    struct kv *c = worn("f16");
    save(c, 0, path);
    struct kv_config g = kvt_config(c->seq[0].n_cells + 10, "f16");
    struct kv *d = kvt_open(&g);
    int32_t token[30] = {5, 6};
    assert_int_equal(kvt_feed(d, 3, token, 0, 11, NULL), 0);
    assert_int_equal(kvt_feed(d, 0, token, 0, 30, NULL), 0);
    struct err e = {0};
    assert_int_equal(load(d, 0, path, &e), ERR_FILE);
    assert_non_null(strstr(e.text, path));
    assert_int_equal(d->seq[0].n_cells, 30);
    assert_int_equal(d->cells.used, 41);
    kvt_check(d, 0);
    kv_close(d);
    kv_close(c);
}

static void anothers_snapshot_is_refused_by_name(void **state) {
    (void)state;
    struct kv *c = worn("f16");
    save(c, 0, path);
    struct err e = {0};
    struct kv_snapshot_info expect = info;
    void *extra;
    size_t n;
    expect.model_fingerprint++;
    assert_int_equal(kv_load(c, 1, path, &expect, &extra, &n, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "model"));
    expect = info;
    expect.rope_fingerprint++;
    assert_int_equal(kv_load(c, 1, path, &expect, &extra, &n, NULL, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "rope"));
    struct kv_config g = kvt_config(1000, "f32");
    struct kv *d = kvt_open(&g);
    assert_int_equal(load(d, 0, path, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "f16 and f16, expected f32 and f32"));
    kv_close(d);
    g = kvt_config(1000, "f16");
    g.n_layers = 3;
    d = kvt_open(&g);
    assert_int_equal(load(d, 0, path, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "n_layers is 2, expected 3"));
    kv_close(d);
    assert_int_equal(load(c, 1, "/nonexistent/a.kv", &e), ERR_FILE);
    kv_close(c);
}

static uint8_t *read_all(const char *from, size_t *n) {
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*n);
    assert_int_equal(fread(data, 1, *n, f), *n);
    fclose(f);
    return data;
}

static void write_all(const char *to, const uint8_t *data, size_t n) {
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* A small cache with something in it, its snapshot, and a copy of what it must still be after a refusal. */
struct target {
    struct kv *c;
    uint64_t hash[40];
    uint8_t *file;
    size_t n, index_end;
};

static struct target target_open(void) {
    struct kv_config g = kvt_config(600, "f16");
    struct target t = {.c = kvt_open(&g)};
    int32_t token[300];
    for (int i = 0; i < 300; i++) token[i] = 300 - i;
    struct kv_turn turn[2] = {{10, 20, false}, {30, 10, false}};
    struct kv_prompt p = {token, 40, 10, turn, 2};
    struct kv_plan plan;
    assert_int_equal(kvt_prompt(t.c, 1, &p, &plan, NULL), 0);
    kv_seq_rm(t.c, 1, 12, 20);
    save(t.c, 1, path);
    assert_int_equal(kvt_feed(t.c, 0, token, 0, 40, NULL), 0);
    for (size_t i = 0; i < 40; i++) t.hash[i] = kvt_hash(t.c, 0, i);
    t.file = read_all(path, &t.n);
    t.index_end = t.n - 32 * t.c->cell_bytes;
    return t;
}

static void assert_refused(struct target *t, size_t n, const char *what, size_t at) {
    struct err e = {0};
    write_all(other, t->file, n);
    if (load(t->c, 0, other, &e) != ERR_FILE) fail_msg("%s at %zu was accepted", what, at);
    assert_int_equal(t->c->cells.used, 72);
    assert_int_equal(t->c->seq[0].n_tokens, 40);
    for (size_t i = 0; i < 40; i++) assert_true(t->hash[i] == kvt_hash(t->c, 0, i));
}

static void every_flipped_byte_is_refused_and_the_cache_stays(void **state) {
    (void)state;
    struct target t = target_open();
    for (size_t i = 0; i < t.n; i += i < t.index_end ? 1 : 97) {
        t.file[i] ^= (uint8_t)(1u << i % 8);
        assert_refused(&t, t.n, "a flipped bit", i);
        t.file[i] ^= (uint8_t)(1u << i % 8);
    }
    free(t.file);
    kv_close(t.c);
}

static void what_a_refused_file_has_touched_is_counted(void **state) {
    (void)state;
    struct kv_config g = kvt_config(600, "f16");
    struct kv *c = kvt_open(&g);
    int32_t token[300] = {0};
    size_t n;
    assert_int_equal(kvt_feed(c, 0, token, 0, 300, NULL), 0);
    save(c, 0, path);
    kv_close(c);
    uint8_t *file = read_all(path, &n);
    file[n - 1] ^= 1; /* the second block; the first is in its place by then */
    write_all(other, file, n);
    free(file);
    g.start = 600;
    c = kvt_open(&g);
    struct kv_stats s;
    assert_int_equal(load(c, 0, other, NULL), ERR_FILE);
    kv_get_stats(c, &s);
    assert_int_equal(s.used, 0);
    assert_int_equal(s.touched_bytes, s.block_bytes);
    assert_int_equal(load(c, 0, path, NULL), 0);
    kv_get_stats(c, &s);
    assert_int_equal(s.touched_bytes, 2 * s.block_bytes);
    kv_close(c);
}

static void every_truncation_is_refused_and_the_cache_stays(void **state) {
    (void)state;
    struct target t = target_open();
    for (size_t i = 0; i < t.n; i += i < t.index_end ? 1 : 101) assert_refused(&t, i, "a truncation", i);
    t.file = realloc(t.file, t.n + 1);
    t.file[t.n] = 0;
    assert_refused(&t, t.n + 1, "a longer file", t.n);
    free(t.file);
    kv_close(t.c);
}

/* What a checksum cannot see: a file made to deceive. It is refused, or else what it makes is sound. */
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
    for (size_t i = offsetof(struct kv_snapshot_header, file_bytes); i + 8 <= t.index_end - 12 - 8; i += 4)
        for (size_t v = 0; v < sizeof value / sizeof *value; v++) {
            uint8_t *forged = malloc(t.n);
            memcpy(forged, t.file, t.n);
            memcpy(&value[0], forged + i, 8); /* one less and one more than what is there */
            value[1] = value[0] + 1;
            value[0]--;
            memcpy(forged + i, &value[v], 8);
            struct kv_snapshot_header h;
            memcpy(&h, forged, sizeof h);
            h.checksum = 0;
            memcpy(forged, &h, sizeof h);
            h.checksum = hash_bytes(forged + sizeof h, t.index_end - sizeof h, hash_bytes(&h, sizeof h, 0));
            memcpy(forged, &h, sizeof h);
            write_all(other, forged, t.n);
            void *extra;
            size_t n;
            int rc = kv_load(t.c, 2, other, &info, &extra, &n, NULL, NULL);
            free(extra);
            refused += rc != 0;
            accepted += rc == 0;
            const struct kv_seq *s = &t.c->seq[2];
            if (rc == 0) assert_int_equal(s->n_cells + kv_seq_count_left(s, 0, s->n_tokens), s->n_tokens);
            for (size_t q = 0; q < s->n_runs; q++)
                assert_int_equal(kv_seq_count_left(s, s->run[q].index, s->run[q].index + s->run[q].n), 0);
            kv_seq_rm(t.c, 2, -1, -1);
            assert_int_equal(t.c->cells.used, 72);
            free(forged);
        }
    assert_true(refused > accepted);
    free(t.file);
    kv_close(t.c);
}

static void a_save_that_fails_leaves_the_old_file(void **state) {
    (void)state;
    struct kv *c = worn("f16");
    save(c, 0, path);
    size_t n, m;
    uint8_t *before = read_all(path, &n);
    char temp[320];
    snprintf(temp, sizeof temp, "%s.tmp%ld", path, (long)getpid());
    assert_int_equal(mkdir(temp, 0700), 0); /* the temporary file cannot be made */
    struct err e = {0};
    assert_int_equal(kv_save(c, 0, path, &info, NULL, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, path));
    rmdir(temp);
    uint8_t *after = read_all(path, &m);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    assert_int_equal(kv_save(c, 0, "/nonexistent/a.kv", &info, NULL, &e), ERR_FAILED);
    free(before);
    free(after);
    kv_close(c);
}

static void a_disk_that_fills_up_at_any_byte_leaves_the_old_file(void **state) {
    (void)state;
    struct kv *c = worn("f16");
    save(c, 0, path);
    size_t n, m;
    uint8_t *before = read_all(path, &n);
    kvt_append(c, 0, 77, NULL);
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*was)(int) = signal(SIGXFSZ, SIG_IGN);
    char temp[320];
    snprintf(temp, sizeof temp, "%s.tmp%ld", path, (long)getpid());
    for (size_t most = 0; most < n; most += 4999) {
        struct err e = {0};
        low = old;
        low.rlim_cur = most;
        setrlimit(RLIMIT_FSIZE, &low);
        int rc = kv_save(c, 0, path, &info, NULL, &e);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(rc, ERR_FAILED);
        assert_int_equal(access(temp, F_OK), -1);
        uint8_t *after = read_all(path, &m);
        assert_int_equal(n, m);
        assert_memory_equal(before, after, n);
        free(after);
    }
    signal(SIGXFSZ, was);
    free(before);
    save(c, 0, path);
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_comes_back_as_it_was),
        cmocka_unit_test(it_enters_any_capacity_beside_other_sequences),
        cmocka_unit_test(one_that_does_not_fit_is_refused),
        cmocka_unit_test(anothers_snapshot_is_refused_by_name),
        cmocka_unit_test(every_flipped_byte_is_refused_and_the_cache_stays),
        cmocka_unit_test(what_a_refused_file_has_touched_is_counted),
        cmocka_unit_test(every_truncation_is_refused_and_the_cache_stays),
        cmocka_unit_test(a_forged_file_with_good_checksums_does_no_harm),
        cmocka_unit_test(a_save_that_fails_leaves_the_old_file),
        cmocka_unit_test(a_disk_that_fills_up_at_any_byte_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
