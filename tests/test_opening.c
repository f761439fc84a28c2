/* Tests of app/opening: which persona a conversation gets for which neither persona nor model was named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "app/opening.h"
#include "config/paths.h"
#include "tests/support_folder.h"

static struct app app;

static int open_folder(void **state) {
    (void)state;
    if (!support_folder_make()) return -1;
    for (const char *const *home = (const char *const[]){"XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME", NULL}; *home; home++)
        setenv(*home, support_folder_path(""), 1);
    return paths_make_folder(support_folder_path("kvetch/personas"), NULL);
}

static int remove_folder(void **state) {
    (void)state;
    app_close(&app);
    support_folder_remove();
    return 0;
}

static void put(const char *name, const char *text) { assert_int_equal(paths_write_private(support_folder_path(name), text, strlen(text), NULL), 0); }

/* Another run of the program with these flags; "": no persona. */
static void expect_persona(const char *id, const char *model, bool as_last, const char *flag, const char *value) {
    struct err e = {0}, missing = {0};
    char *argv[] = {(char *)"kvetch", (char *)flag, (char *)value, NULL};
    const char *words[4];
    size_t n_words;
    app_close(&app);
    if (app_open(&app, flag ? 3 : 1, argv, words, &n_words, &e) || app_configure(&app, true, &e)) fail_msg("%s", e.text);
    opening_choose_persona(&app, as_last, &missing);
    assert_string_equal(app.persona ? app.persona->id : "", id);
    const char *now = settings_text(app.settings, SET_MODEL);
    assert_string_equal(now ? now : "", model);
}

static void the_guide_is_for_whoever_names_neither_persona_nor_model(void **state) {
    (void)state;
    expect_persona("guide", "guide", true, NULL, NULL);
    expect_persona("guide", "guide", false, NULL, NULL);
    expect_persona("", "m.gguf", true, "-m", "m.gguf");
    expect_persona("coder", "", true, "-P", "coder");
    expect_persona("", "", true, "-P", "");
    put("kvetch/config.yaml", "model: /m.gguf\n");
    expect_persona("", "/m.gguf", true, NULL, NULL);
    expect_persona("guide", "guide", true, "-P", "guide");
    put("kvetch/config.yaml", "persona: coder\n");
    expect_persona("coder", "", false, NULL, NULL);
}

static void the_persona_used_last_comes_back_in_a_chat_where_it_has_a_model(void **state) {
    (void)state;
    put("kvetch/personas/tea.yaml", "model: /tea.gguf\n");
    expect_persona("tea", "/tea.gguf", true, "-P", "tea");
    opening_remember_persona(&app);
    expect_persona("tea", "/tea.gguf", true, NULL, NULL);
    expect_persona("guide", "guide", false, NULL, NULL); /* a script is the same every time */
    expect_persona("", "m.gguf", true, "-m", "m.gguf");
    opening_remember_persona(&app);
    expect_persona("tea", "/tea.gguf", true, "-P", "tea");
    expect_persona("coder", "", true, "-P", "coder");
    opening_remember_persona(&app);
    expect_persona("guide", "guide", true, NULL, NULL); /* coder has no model here */
    put("kvetch/config.yaml", "model: /m.gguf\n");
    expect_persona("coder", "/m.gguf", true, NULL, NULL);
}

static void that_the_guide_was_asked_last_does_not_hide_a_model_configured_since(void **state) {
    (void)state;
    put("kvetch/personas/tea.yaml", "model: /tea.gguf\n");
    expect_persona("tea", "/tea.gguf", true, "-P", "tea");
    opening_remember_persona(&app);
    expect_persona("guide", "guide", true, "-P", "guide");
    opening_remember_persona(&app);
    expect_persona("guide", "guide", true, NULL, NULL);
    put("kvetch/config.yaml", "model: /m.gguf\n");
    expect_persona("", "/m.gguf", true, NULL, NULL);
}

static void a_chat_that_saves_nothing_is_not_remembered(void **state) {
    (void)state;
    put("kvetch/personas/tea.yaml", "model: /tea.gguf\n");
    put("kvetch/config.yaml", "no_save: true\n");
    expect_persona("tea", "/tea.gguf", true, "-P", "tea");
    opening_remember_persona(&app);
    expect_persona("guide", "guide", true, NULL, NULL);
}

static void a_last_persona_that_is_gone_gives_way_to_the_guide_and_is_named(void **state) {
    (void)state;
    struct err missing = {0};
    put("kvetch/persona", "vanished");
    expect_persona("guide", "guide", true, NULL, NULL);
    app_close(&app);
    assert_int_equal(app_open(&app, 1, (char *[]){(char *)"kvetch", NULL}, (const char *[2]){NULL}, &(size_t){0}, NULL), 0);
    opening_choose_persona(&app, true, &missing);
    assert_non_null(strstr(missing.text, "no persona vanished"));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(the_guide_is_for_whoever_names_neither_persona_nor_model),
        TEST(the_persona_used_last_comes_back_in_a_chat_where_it_has_a_model),
        TEST(that_the_guide_was_asked_last_does_not_hide_a_model_configured_since),
        TEST(a_chat_that_saves_nothing_is_not_remembered),
        TEST(a_last_persona_that_is_gone_gives_way_to_the_guide_and_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
