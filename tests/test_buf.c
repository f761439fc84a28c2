/* Tests of config/buf and config/err. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "config/buf.h"
#include "config/err.h"

static void text_grows_and_stays_terminated(void **state) {
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 1000; i++) assert_int_equal(buf_printf(&b, "%d,", i), 0);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(buf_text(&b)), b.len);
    buf_cut(&b, 4);
    assert_memory_equal(buf_text(&b), "2,3,", 4);
    buf_free(&b);
    assert_string_equal(buf_text(&b), "");
}

static void an_impossible_size_fails_and_keeps_the_content(void **state) {
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_add_text(&b, "kept"), 0);
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 2), ERR_MEMORY);
    assert_int_equal(buf_add_char(&b, 'x'), ERR_MEMORY);
    assert_string_equal(buf_text(&b), "kept");
    buf_free(&b);
}

static void an_error_is_one_sentence_with_a_status(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(err_set(&e, ERR_FILE, "%s is empty", "a.gguf"), ERR_FILE);
    assert_int_equal(err_prefix(&e, "line %d", 3), ERR_FILE);
    assert_string_equal(e.text, "line 3: a.gguf is empty");
    assert_int_equal(err_status(e.code), 3);
    assert_int_equal(err_set(NULL, ERR_MEMORY, "nowhere to write"), ERR_MEMORY);
}

static void an_error_is_one_clean_line_whatever_it_names(void **state) {
    (void)state;
    struct err e = {0};
    char long_name[2000];
    memset(long_name, 'n', sizeof long_name);
    long_name[sizeof long_name - 1] = 0;
    err_set(&e, ERR_FILE, "cannot read %s: %s", "a\x1b[2J\nb.gguf", "gone");
    assert_string_equal(e.text, "cannot read a b.gguf: gone");
    err_set(&e, ERR_FILE, "%sé", long_name);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_string_equal(e.text + sizeof e.text - 5, "n...");
    err_prefix(&e, "%s", "tensor 3");
    assert_memory_equal(e.text, "tensor 3: nnnn", 14);
    assert_string_equal(e.text + sizeof e.text - 5, "n...");
    err_prefix(&e, "%s", long_name);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_and_stays_terminated),
        cmocka_unit_test(an_impossible_size_fails_and_keeps_the_content),
        cmocka_unit_test(an_error_is_one_sentence_with_a_status),
        cmocka_unit_test(an_error_is_one_clean_line_whatever_it_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
