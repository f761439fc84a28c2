/* Tests of ui/theme: the table, the environment, escape sequences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/utf8.h"
#include "ui/theme.h"
#include "ui/ui.h"

static int no_color_unset(void **state) {
    (void)state;
    unsetenv("NO_COLOR");
    return 0;
}

static void every_named_theme_is_found_and_an_unknown_one_is_dark(void **state) {
    (void)state;
    size_t n = 0;
    for (const char *const *name = ui_theme_names(); *name; name++, n++) assert_string_equal(theme_find(*name)->name, *name);
    assert_int_equal(n, 4);
    assert_string_equal(theme_find(NULL)->name, "dark");
    assert_string_equal(theme_find("plaid")->name, "dark");
}

static void no_color_makes_every_theme_mono_unless_it_is_empty(void **state) {
    (void)state;
    setenv("NO_COLOR", "1", 1);
    assert_string_equal(theme_find("high-contrast")->name, "mono");
    setenv("NO_COLOR", "", 1);
    assert_string_equal(theme_find("high-contrast")->name, "high-contrast");
}

static void mono_has_no_color_and_numbers_stay_in_the_range_of_their_depth(void **state) {
    (void)state;
    for (const char *const *name = ui_theme_names(); *name; name++) {
        const struct theme *t = theme_find(*name);
        for (int s = 0; s < THEME_STYLES; s++) {
            const struct theme_color *both[] = {&t->look[s].fg, &t->look[s].bg};
            for (int i = 0; i < 2; i++) {
                if (!t->colors) assert_true(both[i]->c8 == -1 && both[i]->c256 == -1 && both[i]->rgb == -1);
                assert_in_range(theme_number(both[i], THEME_8) + 1, 0, 8);
                assert_in_range(theme_number(both[i], THEME_256) + 1, 0, 256);
                assert_in_range(theme_number(both[i], THEME_TRUE) + 1, 0, 0x1000000);
                assert_int_equal(theme_number(both[i], THEME_NO_COLOR), -1);
            }
        }
    }
}

static void roles_differ_by_sign_or_look_in_every_theme(void **state) {
    (void)state;
    for (const char *const *name = ui_theme_names(); *name; name++) {
        const struct theme *t = theme_find(*name);
        for (unsigned a = UI_SYSTEM; a <= UI_ERROR; a++) {
            assert_int_equal(utf8_width(theme_role_sign(a), strlen(theme_role_sign(a))), 2);
            for (unsigned b = UI_SYSTEM; b < a; b++)
                assert_true(strcmp(theme_role_sign(a), theme_role_sign(b)) != 0 || memcmp(&t->look[a], &t->look[b], sizeof t->look[a]) != 0);
        }
    }
}

static void escape_sequences_suit_the_depth(void **state) {
    (void)state;
    char out[64];
    const struct theme *t = theme_find("dark");
    theme_sgr(t, THEME_ERROR, THEME_8, out, sizeof out);
    assert_string_equal(out, "\033[0;1;31m");
    theme_sgr(t, THEME_ERROR, THEME_256, out, sizeof out);
    assert_string_equal(out, "\033[0;1;38;5;203m");
    theme_sgr(t, THEME_FULL, THEME_TRUE, out, sizeof out);
    assert_string_equal(out, "\033[0;1;38;2;255;95;95;48;2;58;58;58m");
    theme_sgr(t, THEME_ASSISTANT, THEME_TRUE, out, sizeof out);
    assert_string_equal(out, "");
    theme_sgr(theme_find("mono"), THEME_ERROR, THEME_256, out, sizeof out);
    assert_string_equal(out, "\033[0;1;4m");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_named_theme_is_found_and_an_unknown_one_is_dark, no_color_unset),
        cmocka_unit_test_setup(no_color_makes_every_theme_mono_unless_it_is_empty, no_color_unset),
        cmocka_unit_test_setup(mono_has_no_color_and_numbers_stay_in_the_range_of_their_depth, no_color_unset),
        cmocka_unit_test_setup(roles_differ_by_sign_or_look_in_every_theme, no_color_unset),
        cmocka_unit_test_setup(escape_sequences_suit_the_depth, no_color_unset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
