/* Tests of app/snapshots: the folder's bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/snapshots.h"
#include "config/paths.h"
#include "tests/support_folder.h"

static const char *folder;

static int make_folder(void **state) {
    (void)state;
    folder = support_folder_make();
    return folder ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    support_folder_remove();
    return 0;
}

/* A file of some bytes, last written at a second. */
static void put(const char *name, int bytes, long second) {
    const char *path = support_folder_path(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < bytes; i++) fputc('x', f);
    fclose(f);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){{second, 0}, {second, 0}}, 0), 0);
}

static bool is_there(const char *name) { return paths_is_file(support_folder_path(name)); }

static void the_oldest_go_until_the_rest_fits(void **state) {
    (void)state;
    put("1.kv", 100, 50);
    put("20.kv", 100, 10);
    put("3.kv", 100, 30);
    put("4.kv", 100, 40);
    assert_int_equal(snapshots_trim(folder, 400, 1), 0);
    assert_int_equal(snapshots_trim(folder, 250, 1), 2);
    assert_false(is_there("20.kv"));
    assert_false(is_there("3.kv"));
    assert_true(is_there("4.kv"));
    assert_true(is_there("1.kv"));
}

static void the_conversation_in_use_is_kept_and_so_are_other_files(void **state) {
    (void)state;
    put("7.kv", 100, 1);
    put("8.kv", 100, 2);
    put("notes.kv", 1000, 1);
    put("9.kv.part", 1000, 1);
    put("10.kv.tmp4711", 1000, 1);
    put("11.kv.tmp4711", 1000, (long)time(NULL));
    put("12", 1000, 1);
    assert_int_equal(snapshots_trim(folder, 1, 7), 1);
    assert_true(is_there("7.kv"));
    assert_false(is_there("8.kv"));
    assert_true(is_there("notes.kv"));
    assert_true(is_there("9.kv.part"));
    assert_false(is_there("10.kv.tmp4711"));
    assert_true(is_there("11.kv.tmp4711")); /* it may be being written */
    assert_true(is_there("12"));
    snapshots_remove(folder, 7);
    assert_false(is_there("7.kv"));
    assert_int_equal(snapshots_trim("/nonexistent", 1, 0), 0);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(the_oldest_go_until_the_rest_fits),
        TEST(the_conversation_in_use_is_kept_and_so_are_other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
