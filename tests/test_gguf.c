/* Tests of model/gguf: well-formed files are read as written, everything else is refused in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support_folder.h"
#include "tests/support_gguf.h"

/* Opens the bytes as a file; expects the refusal to hold each of the texts. The path stays out of the way of the texts. */
static void expect_refusal(const void *bytes, size_t n, const char *field, const char *found) {
    char *path = support_file(bytes, n);
    struct gguf *g;
    struct err e = {0};
    int rc = gguf_open(&g, path, &e);
    if (rc != ERR_FILE || strncmp(e.text, path, strlen(path)) || !strstr(e.text, field) || !strstr(e.text, found) || !strstr(e.text, "expected"))
        fail_msg("rc %d, \"%s\" instead of a refusal with \"%s\" and \"%s\"", rc, e.text, field, found);
    assert_null(g);
    assert_null(strchr(e.text, '\n'));
    unlink(path);
    free(path);
}

static void expect_built_refusal(struct support_gguf *b, const char *field, const char *found) {
    struct buf f = {0};
    support_gguf_bytes(b, &f);
    expect_refusal(f.data, f.len, field, found);
    buf_free(&f);
    support_gguf_free(b);
}

static struct gguf *open_built(const struct support_gguf *b) {
    char *path = support_gguf_file(b);
    struct gguf *g;
    struct err e = {0};
    if (gguf_open(&g, path, &e)) fail_msg("%s", e.text);
    unlink(path);
    free(path);
    return g;
}

static void build_sample(struct support_gguf *b) {
    static const float w[6] = {1, 2, 3, 4, 5, 6};
    support_gguf_text(b, "general.name", "sample");
    support_gguf_u32(b, "a.count", 7);
    support_gguf_key(b, "a.small", GGUF_I8, &(int8_t){-3}, 1);
    support_gguf_f32(b, "a.real", 0.5f);
    support_gguf_bool(b, "a.flag", true);
    support_gguf_texts(b, "a.words", (const char *const[]){"one", "", "three"}, 3);
    support_gguf_array(b, "a.numbers", GGUF_I16, (const int16_t[]){-1, 2, -300}, 3, 2);
    support_gguf_tensor(b, "first", NUM_F32, (const uint64_t[]){3}, 1, w, 12);
    support_gguf_tensor(b, "second", NUM_F32, (const uint64_t[]){3, 2}, 2, w, 24);
}

static void keys_and_tensors_are_read_as_written(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct support_gguf b = {.version = version};
        build_sample(&b);
        struct gguf *g = open_built(&b);
        struct err e = {0};
        uint64_t u = 1;
        double r = 0;
        bool flag = false;
        struct gguf_text t = {0};
        assert_int_equal(g->version, version);
        assert_int_equal(g->n_kv, 7);
        assert_int_equal(gguf_uint(g, "a.count", &u, &e), 0);
        assert_int_equal(u, 7);
        assert_int_equal(gguf_uint(g, "a.absent", &u, &e), 0);
        assert_int_equal(u, 7);
        assert_int_equal(gguf_real(g, "a.real", &r, &e), 0);
        assert_true(r == 0.5);
        assert_int_equal(gguf_real(g, "a.small", &r, &e), 0);
        assert_true(r == -3);
        assert_int_equal(gguf_bool(g, "a.flag", &flag, &e), 0);
        assert_true(flag);
        assert_int_equal(gguf_string(g, "general.name", &t, &e), 0);
        assert_int_equal(t.n, 6);
        assert_memory_equal(t.p, "sample", 6);
        const struct gguf_tensor *second = gguf_find_tensor(g, "second");
        assert_non_null(second);
        assert_int_equal(second->bytes, 24);
        assert_int_equal(second->dim[1], 2);
        assert_int_equal(second->dim[3], 1);
        assert_memory_equal(second->data, ((float[]){1, 2, 3, 4, 5, 6}), 24);
        assert_null(gguf_find_tensor(g, "third"));
        gguf_close(g);
        support_gguf_free(&b);
    }
}

static void array_items_come_in_order(void **state) {
    (void)state;
    struct support_gguf b = {0};
    build_sample(&b);
    struct gguf *g = open_built(&b);
    const struct gguf_kv *words = gguf_find(g, "a.words"), *numbers = gguf_find(g, "a.numbers");
    static const char *const expected[] = {"one", "", "three"};
    const uint8_t *at = words->data;
    for (size_t i = 0; i < 3; i++) {
        struct gguf_text t, u = gguf_item_text(words, i);
        at = gguf_next_text(words, at, &t);
        assert_non_null(at);
        assert_int_equal(t.n, strlen(expected[i]));
        assert_memory_equal(t.p, expected[i], t.n);
        assert_ptr_equal(t.p, u.p);
    }
    assert_null(gguf_next_text(words, at, &(struct gguf_text){0}));
    assert_int_equal(gguf_item_int(numbers, 2), -300);
    assert_true(gguf_item_real(numbers, 0) == -1.0);
    gguf_close(g);
    support_gguf_free(&b);
}

static void a_key_of_another_type_is_refused_by_name(void **state) {
    (void)state;
    struct support_gguf b = {0};
    build_sample(&b);
    struct gguf *g = open_built(&b);
    struct err e = {0};
    uint64_t u = 99;
    assert_int_equal(gguf_uint(g, "a.words", &u, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "a.words: found a value of type array, expected an integer"));
    assert_int_equal(gguf_uint(g, "a.small", &u, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "found -3"));
    assert_int_equal(gguf_uint(g, "a.real", &u, &e), ERR_FILE);
    assert_int_equal(u, 99);
    assert_int_equal(gguf_real(g, "general.name", &(double){0}, &e), ERR_FILE);
    assert_int_equal(gguf_bool(g, "a.count", &(bool){0}, &e), ERR_FILE);
    assert_int_equal(gguf_string(g, "a.count", &(struct gguf_text){0}, &e), ERR_FILE);
    gguf_close(g);
    support_gguf_free(&b);
}

static void headers_that_are_not_gguf_are_refused(void **state) {
    (void)state;
    uint8_t h[32] = "GGUF";
    struct gguf *g;
    struct err e = {0};
    expect_refusal("", 0, "size", "found 0 bytes");
    expect_refusal(h, 23, "size", "found 23 bytes");
    expect_refusal("<html>not a model at all</html>", 31, "magic", "3c 68 74 6d");
    expect_refusal("FUGG\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, "magic", "big-endian");
    h[4] = 1;
    expect_refusal(h, sizeof h, "version", "found 1 (obsolete)");
    h[4] = 4;
    expect_refusal(h, sizeof h, "version", "found 4,");
    memcpy(h + 4, "\0\0\0\3", 4);
    expect_refusal(h, sizeof h, "version", "big-endian");
    assert_int_equal(gguf_open(&g, "/nowhere/at/all.gguf", &e), ERR_FILE);
    assert_non_null(strstr(e.text, "/nowhere/at/all.gguf: cannot be opened: No such file"));
    assert_int_equal(gguf_open(&g, "/", &e), ERR_FILE);
    assert_non_null(strstr(e.text, "it is a folder"));
    support_folder_make();
    const char *pipe = support_folder_path("pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(gguf_open(&g, pipe, &e), ERR_FILE); /* and does not wait for a writer */
    assert_non_null(strstr(e.text, "no ordinary file"));
    support_folder_remove();
}

static void huge_counts_are_refused_before_anything_is_allocated(void **state) {
    (void)state;
    uint8_t h[64] = "GGUF\3";
    memset(h + 8, 0xff, 8);
    expect_refusal(h, sizeof h, "tensor count", "found 18446744073709551615");
    memset(h + 8, 0, 8);
    memset(h + 16, 0x7f, 8);
    expect_refusal(h, sizeof h, "key count", "found 9187201950435737471");
    struct support_gguf b = {0};
    struct { uint32_t item; uint64_t n; } __attribute__((packed)) head = {GGUF_U64, UINT64_MAX / 8};
    support_gguf_key(&b, "many", GGUF_ARRAY, &head, sizeof head);
    expect_built_refusal(&b, "many", "found 2305843009213693951 items");
    head.item = GGUF_STRING;
    support_gguf_key(&b, "many", GGUF_ARRAY, &head, sizeof head);
    expect_built_refusal(&b, "many", "found 2305843009213693951 items");
    support_gguf_key(&b, "text", GGUF_STRING, &(uint64_t){UINT64_MAX}, 8);
    expect_built_refusal(&b, "text", "expected 18446744073709551615");
}

static void bad_keys_are_refused(void **state) {
    (void)state;
    struct support_gguf b = {0};
    support_gguf_u32(&b, "twice", 1);
    support_gguf_u32(&b, "twice", 1);
    expect_built_refusal(&b, "twice", "found the key twice");
    support_gguf_u32(&b, "", 1);
    expect_built_refusal(&b, "key 1", "empty name");
    support_gguf_key(&b, "kind", (enum gguf_type)13, &(uint32_t){0}, 4);
    expect_built_refusal(&b, "kind", "value type 13");
    support_gguf_key(&b, "flag", GGUF_BOOL, &(uint8_t){2}, 1);
    expect_built_refusal(&b, "flag", "found 2");
    struct { uint32_t item; uint64_t n; } __attribute__((packed)) head = {GGUF_ARRAY, 1};
    support_gguf_key(&b, "nested", GGUF_ARRAY, &head, sizeof head);
    expect_built_refusal(&b, "nested", "array of arrays");
    support_gguf_u32(&b, "bad\033[2Jname", 1);
    support_gguf_u32(&b, "bad\033[2Jname", 1);
    expect_built_refusal(&b, "bad?[2Jname", "twice");
    static const uint32_t wrong[] = {0, 3, 4, 48, 131072};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char found[32];
        snprintf(found, sizeof found, "found %u,", wrong[i]);
        support_gguf_u32(&b, "general.alignment", wrong[i]);
        expect_built_refusal(&b, "general.alignment", found);
    }
}

static void bad_tensors_are_refused(void **state) {
    (void)state;
    static const float w[64] = {0};
    struct support_gguf b = {0};
    support_gguf_tensor(&b, "t", NUM_F32, (const uint64_t[]){4}, 1, w, 16);
    support_gguf_tensor(&b, "t", NUM_F32, (const uint64_t[]){4}, 1, w, 16);
    expect_built_refusal(&b, "t:", "found the tensor twice");
    support_gguf_entry(&b, "none", NUM_F32, NULL, 0, 0);
    buf_add(&b.data, w, 64);
    expect_built_refusal(&b, "none", "found 0 dimensions");
    support_gguf_entry(&b, "five", NUM_F32, (const uint64_t[]){1, 1, 1, 1, 1}, 5, 0);
    expect_built_refusal(&b, "five", "found 5 dimensions");
    support_gguf_entry(&b, "zero", NUM_F32, (const uint64_t[]){4, 0}, 2, 0);
    expect_built_refusal(&b, "zero", "found dimension 2 of 0");
    support_gguf_entry(&b, "vast", NUM_F32, (const uint64_t[]){1ULL << 40, 1ULL << 40}, 2, 0);
    expect_built_refusal(&b, "vast", "found dimension 2 of 1099511627776");
    support_gguf_entry(&b, "large", NUM_F32, (const uint64_t[]){1ULL << 40}, 1, 0);
    expect_built_refusal(&b, "large", "found 1099511627776 numbers of type f32");
    support_gguf_entry(&b, "ragged", NUM_Q4_0, (const uint64_t[]){33}, 1, 0);
    expect_built_refusal(&b, "ragged", "rows of 33 numbers, expected a multiple of 32");
    support_gguf_tensor(&b, "t", NUM_F32, (const uint64_t[]){4}, 1, w, 12);
    expect_built_refusal(&b, "t:", "found 16 bytes at offset 0");
    support_gguf_entry(&b, "far", NUM_F32, (const uint64_t[]){4}, 1, 1ULL << 62);
    expect_built_refusal(&b, "far", "offset 4611686018427387904");
    support_gguf_entry(&b, "skew", NUM_F32, (const uint64_t[]){4}, 1, 4);
    buf_add(&b.data, w, 64);
    expect_built_refusal(&b, "skew", "found offset 4, expected a multiple of the alignment 32");
    support_gguf_entry(&b, "under", NUM_F32, (const uint64_t[]){16}, 1, 0);
    support_gguf_entry(&b, "over", NUM_F32, (const uint64_t[]){4}, 1, 32);
    buf_add(&b.data, w, 64);
    expect_built_refusal(&b, "over", "overlaps that of under");
}

static void a_type_of_other_engines_is_kept_without_data(void **state) {
    (void)state;
    struct support_gguf b = {0};
    support_gguf_entry(&b, "odd", 16, (const uint64_t[]){256}, 1, 0);
    struct gguf *g = open_built(&b);
    assert_null(g->tensor[0].type);
    assert_int_equal(g->tensor[0].type_id, 16);
    assert_int_equal(g->tensor[0].bytes, 0);
    gguf_close(g);
    support_gguf_free(&b);
}

static void another_alignment_moves_the_data(void **state) {
    (void)state;
    struct support_gguf b = {.alignment = 256};
    support_gguf_u32(&b, "general.alignment", 256);
    support_gguf_tensor(&b, "t", NUM_F32, (const uint64_t[]){2}, 1, (const float[]){8, 9}, 8);
    struct gguf *g = open_built(&b);
    assert_int_equal(g->data_offset, 256);
    assert_memory_equal(g->tensor[0].data, ((float[]){8, 9}), 8);
    gguf_close(g);
    support_gguf_free(&b);
}

static void every_truncation_is_refused_and_no_flipped_byte_crashes(void **state) {
    (void)state;
    struct support_gguf b = {0};
    struct buf f = {0};
    build_sample(&b);
    support_gguf_bytes(&b, &f);
    for (size_t n = 0; n < f.len; n++) expect_refusal(f.data, n, ":", "found");
    for (size_t i = 0; i < f.len; i++) {
        char old = f.data[i];
        for (int bit = 0; bit < 8; bit += 7) {
            f.data[i] = (char)(old ^ (1 << bit));
            char *path = support_file(f.data, f.len);
            struct gguf *g;
            struct err e = {0};
            int rc = gguf_open(&g, path, &e);
            assert_true(rc == 0 || (rc == ERR_FILE && !g && strstr(e.text, "found")));
            gguf_close(g);
            unlink(path);
            free(path);
        }
        f.data[i] = old;
    }
    buf_free(&f);
    support_gguf_free(&b);
}

static void every_fuzzed_file_opens_or_is_refused_in_one_line(void **state) {
    (void)state;
    char *dir = support_data("fuzz/gguf");
    if (!dir) skip();
    DIR *d = opendir(dir);
    assert_non_null(d);
    size_t n = 0, opened = 0;
    for (struct dirent *f; (f = readdir(d));) {
        if (f->d_name[0] == '.') continue;
        struct buf path = {0};
        buf_printf(&path, "%s/%s", dir, f->d_name);
        struct gguf *g;
        struct err e = {0};
        int rc = gguf_open(&g, buf_text(&path), &e);
        if (rc && (rc != ERR_FILE || strchr(e.text, '\n') || !strstr(e.text, "expected"))) fail_msg("%d: %s", rc, e.text);
        n++;
        opened += !rc;
        gguf_close(g);
        buf_free(&path);
    }
    closedir(d);
    free(dir);
    printf("%zu files, %zu opened\n", n, opened);
    assert_true(n > 100 && opened > 0 && opened < n);
}

static void bytes_in_memory_are_read_where_they_lie(void **state) {
    (void)state;
    struct support_gguf b = {0};
    struct buf f = {0};
    struct gguf *g;
    struct err e = {0};
    build_sample(&b);
    support_gguf_bytes(&b, &f);
    size_t room = 65536; /* whole pages, as the built-in model's are: they could be unmapped */
    uint8_t *at = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED && f.len <= room);
    memcpy(at, f.data, f.len);
    if (gguf_open_memory(&g, "sample", at, f.len, &e)) fail_msg("%s", e.text);
    const struct gguf_tensor *t = gguf_find_tensor(g, "second");
    assert_non_null(t);
    assert_true(t->data > at && t->data + t->bytes <= at + f.len);
    gguf_close(g);
    assert_int_equal(msync(at, room, MS_ASYNC), 0); /* still mapped */
    assert_int_equal(gguf_open_memory(&g, "sample", at, 40, &e), ERR_FILE);
    assert_int_equal(strncmp(e.text, "sample: ", 8), 0);
    assert_null(g);
    munmap(at, room);
    buf_free(&f);
    support_gguf_free(&b);
}

static void a_real_model_has_the_tensors_it_is_known_for(void **state) {
    (void)state;
    char *path = support_data("stories260K/stories260K.gguf");
    if (!path) skip();
    struct gguf *g;
    struct err e = {0};
    if (gguf_open(&g, path, &e)) fail_msg("%s", e.text);
    assert_int_equal(g->version, 3);
    assert_int_equal(g->n_tensors, 48);
    const struct gguf_tensor *t = gguf_find_tensor(g, "blk.0.ffn_down.weight");
    assert_non_null(t);
    assert_int_equal(t->dim[0], 172);
    assert_int_equal(t->bytes, 172 * 64 * 4);
    gguf_close(g);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_tensors_are_read_as_written),
        cmocka_unit_test(array_items_come_in_order),
        cmocka_unit_test(a_key_of_another_type_is_refused_by_name),
        cmocka_unit_test(headers_that_are_not_gguf_are_refused),
        cmocka_unit_test(huge_counts_are_refused_before_anything_is_allocated),
        cmocka_unit_test(bad_keys_are_refused),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(a_type_of_other_engines_is_kept_without_data),
        cmocka_unit_test(another_alignment_moves_the_data),
        cmocka_unit_test(every_truncation_is_refused_and_no_flipped_byte_crashes),
        cmocka_unit_test(every_fuzzed_file_opens_or_is_refused_in_one_line),
        cmocka_unit_test(bytes_in_memory_are_read_where_they_lie),
        cmocka_unit_test(a_real_model_has_the_tensors_it_is_known_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
