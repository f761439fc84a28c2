/* Tests of config/persona: shipped personas, the user's folder, extends, mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/paths.h"
#include "config/persona.h"
#include "tests/support_folder.h"

static const char *folder; /* a fresh XDG_CONFIG_HOME for each test */

static int fresh(void **state) {
    (void)state;
    if (!(folder = support_folder_make())) return -1;
    setenv("XDG_CONFIG_HOME", folder, 1);
    return paths_make_folder(support_folder_path("kvetch/personas"), NULL);
}

static int cleared(void **state) {
    (void)state;
    support_folder_remove();
    return 0;
}

/* Puts a file into the user's folder of personas; returns its path, until the next call. */
static const char *put(const char *name, const char *text) {
    static char written[512];
    snprintf(written, sizeof written, "%s/kvetch/personas/%s.yaml", folder, name);
    assert_int_equal(paths_write_private(written, text, strlen(text), NULL), 0);
    return written;
}

static struct settings *opened(void) {
    struct settings *s;
    assert_int_equal(settings_open(&s, NULL), 0);
    return s;
}

/* The persona cannot be opened, and the message holds each of the texts up to NULL; the settings stay as they were. */
static void refused(const char *name, ...) {
    struct settings *s = opened();
    struct persona *p;
    struct err e = {0};
    assert_int_equal(settings_set(s, SET_TOP_K, "7", ORIGIN_PERSONA, "before", NULL), 0);
    assert_int_equal(persona_open(&p, name, s, &e), ERR_FILE);
    assert_int_equal(e.code, ERR_FILE);
    assert_null(p);
    assert_int_equal(settings_int(s, SET_TOP_K), 7);
    assert_false(settings_is_set(s, SET_SYSTEM));
    va_list ap;
    va_start(ap, name);
    for (const char *part; (part = va_arg(ap, const char *));)
        if (!strstr(e.text, part)) fail_msg("\"%s\" does not hold \"%s\"", e.text, part);
    va_end(ap);
    settings_close(s);
}

static void wrong(const char *text, const char *place, const char *a, const char *b) {
    char expected[600];
    snprintf(expected, sizeof expected, "%s:%s: ", put("bad", text), place);
    refused("bad", expected, a, b, NULL);
}

static void every_shipped_persona_opens_and_says_who_it_is(void **state) {
    (void)state;
    static const char *const names[] = {"assistant", "coder", "editor", "guide", "storyteller", "translator"};
    for (size_t i = 0; i < 6; i++) {
        struct settings *s = opened();
        struct persona *p;
        struct err e = {0};
        if (persona_open(&p, names[i], s, &e)) fail_msg("%s", e.text);
        assert_string_equal(p->id, names[i]);
        assert_string_equal(p->name, names[i]);
        assert_string_equal(p->from, "shipped");
        assert_true(strlen(settings_text(s, SET_SYSTEM)) > 60);
        assert_null(strstr(settings_text(s, SET_SYSTEM), "{{"));
        assert_non_null(settings_text(s, SET_GREETING));
        assert_true(strlen(settings_text(s, SET_DESCRIPTION)) < 60);
        persona_close(p);
        settings_close(s);
    }
}

static void the_guide_is_asked_as_its_model_was_trained(void **state) {
    (void)state;
    struct settings *s = opened();
    struct persona *p;
    assert_int_equal(persona_open(&p, "guide", s, NULL), 0);
    assert_string_equal(settings_text(s, SET_MODEL), "guide");
    assert_string_equal(settings_text(s, SET_SYSTEM), "You are the guide of kvetch. Answer briefly, or say that you do not know.");
    assert_int_equal(settings_int(s, SET_START), 256);
    assert_int_equal(settings_int(s, SET_BOUND), 512);
    persona_close(p);
    settings_close(s);
}

static void a_persona_gives_settings_below_flags_and_above_the_configuration(void **state) {
    (void)state;
    put("tea",
        "name: tea-master\nextends: assistant\ndescription: Knows tea.\nmodel: ~/m.gguf\nsystem: |\n  You are "
        "{{name}}. Today is {{ date }}.\n"
        "greeting: What are you brewing?\nexamples: [{user: Best water?, assistant: \"Soft, just off the boil.\"}]\n"
        "sampling: {temp: 0.7, top_p: 0.9, min_p: 0.1, seed: 1}\n"
        "context: {start: 256, bound: 8192, grow: auto, step: 1GiB, evict: slide, keep: system, type_k: f16, type_v: "
        "f16, budget: auto}\n"
        "stop: [\"\\nUser:\"]\ntheme: dark\n");
    struct settings *s = opened();
    struct persona *p;
    struct err e = {0};
    settings_set(s, SET_TEMP, "0.1", ORIGIN_FLAG, "--temp", NULL);
    settings_set(s, SET_TOP_P, "0.2", ORIGIN_CONFIG, "config.yaml:1:1", NULL);
    setenv("HOME", "/home/tea", 1);
    char before[16], after[16], text[64], other[64];
    time_t t = time(NULL);
    strftime(before, sizeof before, "%Y-%m-%d", localtime(&t));
    if (persona_open(&p, "tea", s, &e)) fail_msg("%s", e.text);
    t = time(NULL);
    strftime(after, sizeof after, "%Y-%m-%d", localtime(&t));
    snprintf(text, sizeof text, "You are tea-master. Today is %s.\n", before);
    snprintf(other, sizeof other, "You are tea-master. Today is %s.\n", after);
    if (strcmp(settings_text(s, SET_SYSTEM), text)) assert_string_equal(settings_text(s, SET_SYSTEM), other);
    assert_true(settings_real(s, SET_TEMP) == 0.1);
    assert_true(settings_real(s, SET_TOP_P) == 0.9);
    assert_string_equal(settings_text(s, SET_MODEL), "/home/tea/m.gguf");
    assert_string_equal(settings_text(s, SET_EVICT), "slide");
    assert_int_equal(settings_int(s, SET_STEP), 1 << 30);
    assert_int_equal(p->n_examples, 1);
    assert_string_equal(p->example[0].user, "Best water?");
    assert_string_equal(p->example[0].assistant, "Soft, just off the boil.");
    assert_string_equal(p->id, "tea");
    assert_string_equal(p->name, "tea-master");
    assert_non_null(strstr(p->from, "/personas/tea.yaml"));
    assert_non_null(strstr(settings_where(s, SET_SYSTEM), "tea.yaml:5:9"));
    persona_close(p);
    settings_close(s);
}

static void another_persona_takes_the_place_of_the_first(void **state) {
    (void)state;
    struct settings *s = opened();
    struct persona *p;
    put("one", "system: one\nsampling: {top_k: 3}\nstop: [a, b]\n");
    put("two", "system: two\nstop: c\n");
    assert_int_equal(persona_open(&p, "one", s, NULL), 0);
    persona_close(p);
    assert_int_equal(persona_open(&p, "two", s, NULL), 0);
    persona_close(p);
    assert_string_equal(settings_text(s, SET_SYSTEM), "two");
    assert_int_equal(settings_int(s, SET_TOP_K), 40);
    const char *const *stop;
    assert_int_equal(settings_list(s, SET_STOP, &stop), 1);
    settings_close(s);
}

static void what_extends_wins_over_what_is_extended(void **state) {
    (void)state;
    struct settings *s = opened();
    struct persona *p;
    struct err e = {0};
    put("base", "name: base\nsystem: \"I am {{name}}\"\nsampling: {temp: 0.1, top_k: 5}\nstop: [x, y]\nexamples: "
                "[{user: a, assistant: b}]\n");
    put("middle", "extends: base\nsampling: {temp: 0.2}\n");
    put("top", "extends: ./middle.yaml\nstop: [z]\n");
    if (persona_open(&p, "top", s, &e)) fail_msg("%s", e.text);
    assert_string_equal(settings_text(s, SET_SYSTEM), "I am top");
    assert_true(settings_real(s, SET_TEMP) == 0.2);
    assert_int_equal(settings_int(s, SET_TOP_K), 5);
    const char *const *stop;
    assert_int_equal(settings_list(s, SET_STOP, &stop), 1);
    assert_string_equal(stop[0], "z");
    assert_int_equal(p->n_examples, 1);
    persona_close(p);
    settings_close(s);
}

static void a_user_persona_hides_and_may_extend_the_shipped_one_of_its_name(void **state) {
    (void)state;
    struct settings *s = opened();
    struct persona *p;
    put("coder", "extends: coder\nsampling: {temp: 0.9}\n");
    assert_int_equal(persona_open(&p, "coder", s, NULL), 0);
    assert_true(settings_real(s, SET_TEMP) == 0.9);
    assert_non_null(strstr(settings_text(s, SET_SYSTEM), "programmer"));
    assert_non_null(strstr(p->from, "coder.yaml"));
    persona_close(p);
    settings_close(s);
}

static void a_file_anywhere_is_a_persona_by_its_path(void **state) {
    (void)state;
    struct settings *s = opened();
    struct persona *p;
    const char *path = put("far", "system: far\n");
    assert_int_equal(persona_open(&p, path, s, NULL), 0);
    assert_string_equal(p->name, "far");
    assert_string_equal(p->id, path);
    persona_close(p);
    settings_close(s);
    refused("./nothing/here.yaml", "cannot read ./nothing/here.yaml", "No such file", NULL);
    refused(folder, "it is a folder", NULL);
}

static void braces_can_be_meant_as_they_stand(void **state) {
    (void)state;
    struct settings *s = opened();
    struct persona *p;
    put("x", "system: 'write \\{{ x }} and {not} this'\n");
    assert_int_equal(persona_open(&p, "x", s, NULL), 0);
    assert_string_equal(settings_text(s, SET_SYSTEM), "write {{ x }} and {not} this");
    persona_close(p);
    settings_close(s);
}

static void an_unknown_name_is_answered_with_the_nearest(void **state) {
    (void)state;
    put("tea-master", "system: t\n");
    refused("codr", "no persona codr", "nearest: coder", "there are: ", "guide", NULL);
    refused("tea-mastre", "nearest: tea-master", NULL);
    refused("zzzzzzzz", "there are: ", "guide", "tea-master", NULL);
    refused("", "no persona", NULL);
    refused("\033[31mred", "no persona red", NULL);
}

static void circles_of_extends_are_named(void **state) {
    (void)state;
    put("a", "extends: b\n");
    put("b", "extends: c\n");
    put("c", "system: x\nextends: a\n");
    refused("a", "c.yaml:2:10: ", "a extends b extends c extends a", NULL);
    put("lonely", "extends: lonely\n");
    refused("lonely", "lonely.yaml:1:10: ", "extends itself", NULL);
    put("p", "extends: ./p.yaml\n");
    refused("p", "p extends p", NULL);
    put("lost", "extends: asistant\n");
    refused("lost", "lost.yaml:1:10: ", "nearest: assistant", NULL);
    put("broken", "sampling: {temp: hot}\n");
    put("heir", "extends: broken\n");
    refused("heir", "broken.yaml:1:18: ", NULL);
}

static void mistakes_name_line_column_and_what_is_allowed(void **state) {
    (void)state;
    wrong("system: x\nsamplng: {temp: 1}\n", "2:1", "unknown key samplng", "nearest: sampling");
    wrong("sampling: {tmep: 1}\n", "1:12", "unknown key sampling.tmep", "nearest: sampling.temp");
    wrong("system: x\ntemp: 0.5\n", "2:1", "unknown key temp", "nearest: sampling.temp");
    wrong("sampling:\n  temp: 101\n", "2:9", "'101'", "from 0 to 100");
    wrong("sampling:\n  temp: \"0.5\"\n", "2:9", "must be a number", "in quotes");
    wrong("sampling:\n  top_k: 4.5\n", "2:10", "'4.5'", "a whole number");
    wrong("sampling: 5\n", "1:11", "a section is a map", "");
    wrong("sampling: [temp]\n", "1:11", "a section is a map", "");
    wrong("context: {evict: shft}\n", "1:18", "nearest: shift", "shift, slide, reseed, stop");
    wrong("context: {grow: \"linear:\"}\n", "1:17", "cannot be used", "linear:SIZE");
    wrong("context: {step: 5 apples}\n", "1:17", "cannot be used", "512MiB");
    wrong("context: {keep: -4}\n", "1:17", "cannot be used", "system, a whole number");
    wrong("system: [a, b]\n", "1:9", "system must be a text", "a list");
    wrong("system:\nstop: x\n", "1:8", "system must be a text", "nothing");
    wrong("stop: {a: b}\n", "1:7", "stop must be a text or a list of texts", "a map");
    wrong("stop: [a, [b]]\n", "1:11", "stop must be", "a list");
    wrong("name: [x]\n", "1:7", "name must be a text", "");
    wrong("extends: {}\n", "1:10", "extends must be a text", "");
    wrong("engine: {url: x}\n", "1:1", "engine is not supported yet", "");
    wrong("reasoning: fold\n", "1:1", "reasoning is not supported yet", "");
    wrong("threads: 4\n", "1:1", "threads is no key of a persona", "config.yaml");
    wrong("theme: drak\n", "1:8", "nearest: dark", "high-contrast");
    wrong("examples: hello\n", "1:11", "examples must be a list", "");
    wrong("examples:\n  - user: a\n", "2:5", "an example is a map", "");
    wrong("examples:\n  - {user: a, asistant: b}\n", "2:5", "an example is a map", "");
    wrong("examples:\n  - {user: a, assistant: b, system: c}\n", "2:29", "an example is a map", "");
    wrong("examples:\n  - {user: a, assistant: [b]}\n", "2:26", "an example is a map", "");
    wrong("- a\n- b\n", "1:1", "a persona must be a map", "");
    wrong("just words\n", "1:1", "a persona must be a map", "");
    wrong("system: x\nsystem: y\n", "2:1", "twice", "line 1");
    wrong("system: {{name}} it is\n", "1:9", "{{", "quotes");
    wrong("system: \"never closed\nstop: x\n", "1:9", "not closed", "");
}

static void an_unknown_brace_word_is_shown_where_it_stands(void **state) {
    (void)state;
    wrong("name: x\nsystem: |\n  Hello,\n  I am {{nmae}}.\n", "4:8", "unknown {{nmae}}", "{{name}}, {{date}}");
    wrong("system: \"é {{x}}\"\n", "1:12", "unknown {{x}}", "allowed");
    wrong("system: 'open {{name'\n", "1:15", "not closed", "");
    wrong("system: '{{name} and {{date}}'\n", "1:10", "not closed", "");
    wrong("greeting: 'I am {{me}}'\n", "1:17", "unknown {{me}}", "");
}

static void the_list_shows_all_with_where_they_are_from(void **state) {
    (void)state;
    put("zebra", "description: \"Stripes\\nand more\"\nsystem: x\n");
    put("coder", "extends: coder\n");
    put("bad", "sampling: {temp: hot}\n");
    struct persona_entry *list;
    size_t n;
    assert_int_equal(persona_list(&list, &n, NULL), 0);
    assert_int_equal(n, 8); /* three of the user's, of which one hides a shipped one, and five more */
    assert_string_equal(list[0].id, "bad");
    assert_non_null(strstr(list[0].error, "bad.yaml:1:18"));
    assert_string_equal(list[1].id, "coder");
    assert_string_equal(list[1].description, "Writes, explains and reviews code.");
    assert_non_null(strstr(list[1].from, "coder.yaml"));
    assert_null(list[1].error);
    assert_string_equal(list[2].description, "Stripes and more");
    assert_string_equal(list[3].id, "assistant");
    assert_string_equal(list[3].from, "shipped");
    persona_list_free(list, n);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, cleared)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_shipped_persona_opens_and_says_who_it_is),
        TEST(the_guide_is_asked_as_its_model_was_trained),
        TEST(a_persona_gives_settings_below_flags_and_above_the_configuration),
        TEST(another_persona_takes_the_place_of_the_first),
        TEST(what_extends_wins_over_what_is_extended),
        TEST(a_user_persona_hides_and_may_extend_the_shipped_one_of_its_name),
        TEST(a_file_anywhere_is_a_persona_by_its_path),
        TEST(braces_can_be_meant_as_they_stand),
        TEST(an_unknown_name_is_answered_with_the_nearest),
        TEST(circles_of_extends_are_named),
        TEST(mistakes_name_line_column_and_what_is_allowed),
        TEST(an_unknown_brace_word_is_shown_where_it_stands),
        TEST(the_list_shows_all_with_where_they_are_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
