/* Tests of config/paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/paths.h"
#include "tests/support_folder.h"

static int fresh(void **state) {
    (void)state;
    return support_folder_make() ? 0 : -1;
}
static int cleared(void **state) {
    (void)state;
    support_folder_remove();
    return 0;
}

static void home_is(enum path_home kind, const char *name, const char *expected) {
    struct buf b = {0};
    assert_int_equal(paths_home(kind, name, &b, NULL), 0);
    assert_string_equal(buf_text(&b), expected);
    buf_free(&b);
}

static void folders_follow_xdg_or_fall_back_to_the_home_folder(void **state) {
    (void)state;
    setenv("HOME", "/home/u", 1);
    setenv("XDG_CONFIG_HOME", "/cfg", 1);
    unsetenv("XDG_DATA_HOME");
    setenv("XDG_CACHE_HOME", "", 1);
    setenv("XDG_STATE_HOME", "relative/is/ignored", 1);
    home_is(PATH_CONFIG, "personas", "/cfg/kvetch/personas");
    home_is(PATH_CONFIG, NULL, "/cfg/kvetch");
    home_is(PATH_DATA, "kvetch.db", "/home/u/.local/share/kvetch/kvetch.db");
    home_is(PATH_CACHE, NULL, "/home/u/.cache/kvetch");
    home_is(PATH_STATE, "log", "/home/u/.local/state/kvetch/log");
}

static void a_tilde_is_the_home_folder(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"~", "/home/u"}, {"~/m.gguf", "/home/u/m.gguf"}, {"~other/x", "~other/x"}, {"a/~", "a/~"}, {"/abs", "/abs"},
        {"", ""},
    };
    setenv("HOME", "/home/u", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        assert_int_equal(paths_expand(cases[i][0], &b, NULL), 0);
        assert_string_equal(buf_text(&b), cases[i][1]);
        buf_free(&b);
    }
}

static void without_home_the_password_file_knows(void **state) {
    (void)state;
    struct buf b = {0};
    setenv("HOME", "not/absolute", 1);
    struct err e = {0};
    int rc = paths_expand("~/x", &b, &e);
    if (rc)
        assert_non_null(strstr(e.text, "set HOME"));
    else
        assert_int_equal(buf_text(&b)[0], '/');
    buf_free(&b);
}

static void names_join_with_one_slash(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"/a", "b", "/a/b"},
        {"/a/", "b", "/a/b"},
        {"/a", "/b", "/b"},
        {"", "b", "b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        assert_int_equal(paths_join(cases[i][0], cases[i][1], &b), 0);
        assert_string_equal(buf_text(&b), cases[i][2]);
        buf_free(&b);
    }
}

static mode_t mode_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void folders_are_made_private_with_those_above(void **state) {
    (void)state;
    const char *deep = support_folder_path("a/b/c/");
    assert_int_equal(paths_make_folder(deep, NULL), 0);
    assert_true(paths_is_folder(deep));
    assert_int_equal(mode_of(support_folder_path("a")), 0700);
    assert_int_equal(mode_of(support_folder_path("a/b/c")), 0700);
    chmod(support_folder_path("a"), 0755);
    assert_int_equal(paths_make_folder(deep, NULL), 0);
    assert_int_equal(mode_of(support_folder_path("a")), 0755); /* what is there stays as it is */
}

static void a_file_in_the_way_of_a_folder_is_named(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(paths_write_private(support_folder_path("f"), "x", 1, NULL), 0);
    assert_int_equal(paths_make_folder(support_folder_path("f/g"), &e), ERR_FILE);
    assert_non_null(strstr(e.text, "/f is no folder"));
    assert_int_equal(paths_make_folder(support_folder_path("f"), &e), ERR_FILE);
}

static void a_file_comes_back_as_it_was_written(void **state) {
    (void)state;
    const char *path = support_folder_path("f");
    static char big[200001];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7);
    struct buf b = {0};
    assert_int_equal(paths_write_private(path, big, sizeof big, NULL), 0);
    assert_int_equal(mode_of(path), 0600);
    buf_add_text(&b, "before");
    assert_int_equal(paths_read(path, sizeof big, &b, NULL), 0);
    assert_int_equal(b.len, 6 + sizeof big);
    assert_memory_equal(b.data + 6, big, sizeof big);
    assert_int_equal(paths_write_private(path, "", 0, NULL), 0);
    buf_clear(&b);
    assert_int_equal(paths_read(path, 0, &b, NULL), 0);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

/* Starts a process that writes text into a pipe as soon as somebody reads it. */
static pid_t write_later(const char *pipe, const char *text) {
    pid_t pid = fork();
    if (pid) return pid;
    int fd = open(pipe, O_WRONLY);
    _exit(write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : 1);
}

static void a_pipe_is_waited_for_where_it_is_input_and_refused_elsewhere(void **state) {
    (void)state;
    const char *pipe = support_folder_path("pipe");
    struct err e = {0};
    struct buf b = {0};
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(paths_read(pipe, 100, &b, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "nobody writes to"));
    pid_t pid = write_later(pipe, "text");
    assert_int_equal(paths_read_input(pipe, 100, &b, &e), 0);
    assert_string_equal(buf_text(&b), "text");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    buf_free(&b);
}

static void unreadable(const char *path, size_t max, const char *why) {
    struct err e = {0};
    struct buf b = {0};
    buf_add_text(&b, "kept");
    assert_int_equal(paths_read(path, max, &b, &e), ERR_FILE);
    assert_int_equal(b.len, 4);
    assert_string_equal(buf_text(&b), "kept");
    assert_non_null(strstr(e.text, path));
    if (!strstr(e.text, why)) fail_msg("%s", e.text);
    buf_free(&b);
}

static void what_cannot_be_read_says_why(void **state) {
    (void)state;
    unreadable(support_folder_path("none"), 100, "No such file");
    unreadable(support_folder_path(""), 100, "it is a folder");
    paths_write_private(support_folder_path("f"), "12345", 5, NULL);
    unreadable(support_folder_path("f"), 4, "larger than 4 bytes");
    unreadable(support_folder_path("f/g"), 100, "Not a directory");
    unreadable("/dev/zero", 1 << 20, "larger than");
}

static size_t entries(const char *path) {
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void a_write_that_fails_leaves_nothing_behind(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(paths_write_private(support_folder_path("no/such"), "x", 1, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "No such file"));
    assert_int_equal(paths_make_folder(support_folder_path("dir/full"), NULL), 0);
    assert_int_equal(paths_write_private(support_folder_path("dir"), "x", 1, &e),
                     ERR_FILE); /* a folder cannot be replaced by a file */
    assert_int_equal(entries(support_folder_path("")), 1);
    assert_true(paths_is_folder(support_folder_path("dir/full")));
}

static void presence_is_told(void **state) {
    (void)state;
    paths_write_private(support_folder_path("f"), "x", 1, NULL);
    assert_true(paths_is_file(support_folder_path("f")));
    assert_false(paths_is_folder(support_folder_path("f")));
    assert_false(paths_is_file(support_folder_path("")));
    assert_true(paths_exists(support_folder_path("f")));
    assert_false(paths_exists(support_folder_path("g")));
    assert_int_equal(symlink("nowhere", support_folder_path("link")), 0);
    assert_true(paths_exists(support_folder_path("link")));
    assert_false(paths_is_file(support_folder_path("link")));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, cleared)
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_follow_xdg_or_fall_back_to_the_home_folder),
        cmocka_unit_test(a_tilde_is_the_home_folder),
        cmocka_unit_test(without_home_the_password_file_knows),
        cmocka_unit_test(names_join_with_one_slash),
        TEST(folders_are_made_private_with_those_above),
        TEST(a_file_in_the_way_of_a_folder_is_named),
        TEST(a_pipe_is_waited_for_where_it_is_input_and_refused_elsewhere),
        TEST(a_file_comes_back_as_it_was_written),
        TEST(what_cannot_be_read_says_why),
        TEST(a_write_that_fails_leaves_nothing_behind),
        TEST(presence_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
