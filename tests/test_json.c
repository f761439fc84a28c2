/* Tests of app/json: what is printed, for values of every kind. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "app/json.h"
#include "config/err.h"

static void assert_prints(struct json *j, const char *expected) {
    struct buf b = {0};
    assert_int_equal(json_print(j, false, &b), 0);
    assert_string_equal(buf_text(&b), expected);
    buf_free(&b);
    json_free(j);
}

static void values_print_in_the_order_they_were_added(void **state) {
    (void)state;
    struct json *j = json_object(), *list = json_array();
    json_add_string(j, "s", "a\"b\n");
    json_add_number(j, "n", 9007199254740991.0);
    json_add_bool(j, "b", true);
    json_add_null(j, "z");
    json_add_number(list, NULL, 0.5);
    json_add_string(list, NULL, NULL);
    json_add(j, "l", list);
    assert_prints(j, "{\"s\":\"a\\\"b\\n\",\"n\":9007199254740991,\"b\":true,\"z\":null,\"l\":[0.5,null]}");
}

static void bytes_that_are_no_text_become_the_replacement_character(void **state) {
    (void)state;
    struct json *j = json_array();
    json_add_text(j, NULL, "a\xff", 2);
    json_add_text(j, NULL, "a\0b", 3);
    json_add_text(j, NULL, "\xc3\xa9", 2);
    assert_prints(j, "[\"a\xef\xbf\xbd\",\"a\xef\xbf\xbd" "b\",\"\xc3\xa9\"]");
}

static void a_number_that_is_not_finite_is_null(void **state) {
    (void)state;
    struct json *j = json_array();
    json_add_number(j, NULL, NAN);
    json_add_number(j, NULL, INFINITY);
    assert_prints(j, "[null,null]");
}

static void what_could_not_be_built_is_an_error_when_printed(void **state) {
    (void)state;
    struct json *j = json_object();
    struct buf b = {0};
    json_add(j, "x", NULL); /* as when there was no memory for x */
    assert_int_equal(json_print(j, false, &b), ERR_MEMORY);
    assert_int_equal(json_print(NULL, false, &b), ERR_MEMORY);
    json_free(j);
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_print_in_the_order_they_were_added),
        cmocka_unit_test(bytes_that_are_no_text_become_the_replacement_character),
        cmocka_unit_test(a_number_that_is_not_finite_is_null),
        cmocka_unit_test(what_could_not_be_built_is_an_error_when_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
