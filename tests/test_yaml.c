/* Tests of config/yaml: trees with places, and the mistakes people make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "config/paths.h"
#include "config/yaml.h"
#include "tests/support_folder.h"

static struct yaml_node *parsed(const char *text) {
    struct yaml_node *n;
    struct err e = {0};
    if (yaml_parse(&n, "f.yaml", text, strlen(text), &e)) fail_msg("%s", e.text);
    return n;
}

/* The text is refused at a place, with words that hold a part. */
static void refused_bytes(const char *text, size_t n, const char *place, const char *part) {
    struct yaml_node *node;
    struct err e = {0};
    char head[64];
    snprintf(head, sizeof head, "f.yaml:%s: ", place);
    assert_int_equal(yaml_parse(&node, "f.yaml", text, n, &e), ERR_FILE);
    assert_int_equal(e.code, ERR_FILE);
    assert_null(node);
    if (strncmp(e.text, head, strlen(head)) || !strstr(e.text, part))
        fail_msg("\"%s\" is not at %s with \"%s\"", e.text, place, part);
}
static void refused(const char *text, const char *place, const char *part) {
    refused_bytes(text, strlen(text), place, part);
}

static void a_tree_remembers_where_everything_stood(void **state) {
    (void)state;
    struct yaml_node *n =
        parsed("name: tea\nsampling: {temp: 0.7, \"seed\": '1'}\nstop:\n  - a\n  - |\n    two\n    lines\n");
    assert_int_equal(n->kind, YAML_MAP);
    assert_int_equal(n->n, 3);
    assert_string_equal(n->key[0]->text, "name");
    assert_int_equal(n->item[0]->line, 1);
    assert_int_equal(n->item[0]->column, 7);
    assert_false(n->item[0]->quoted);
    const struct yaml_node *seed = yaml_get(yaml_get(n, "sampling"), "seed");
    assert_string_equal(seed->text, "1");
    assert_true(seed->quoted);
    assert_int_equal(seed->line, 2);
    assert_int_equal(seed->column, 31);
    const struct yaml_node *stop = yaml_get(n, "stop");
    assert_int_equal(stop->kind, YAML_LIST);
    assert_int_equal(stop->n, 2);
    assert_string_equal(stop->item[1]->text, "two\nlines\n");
    assert_true(stop->item[1]->quoted);
    assert_int_equal(stop->item[1]->line, 5);
    assert_null(yaml_get(n, "nothing"));
    assert_null(yaml_get(stop, "a"));
    yaml_node_free(n);
}

static void columns_count_characters_and_a_byte_order_mark_counts_nothing(void **state) {
    (void)state;
    struct yaml_node *n = parsed("\xEF\xBB\xBF{é: ü, x: y}\n");
    assert_int_equal(n->item[1]->column, 11);
    yaml_node_free(n);
    refused("\xEF\xBB\xBF# ünïcödé\nä: \"ö\n", "2:4", "not closed");
}

static void nothing_is_an_empty_map(void **state) {
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# only a remark\n", "---\n", "---\n...\n", "\xEF\xBB\xBF"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct yaml_node *n = parsed(texts[i]);
        assert_int_equal(n->kind, YAML_MAP);
        assert_int_equal(n->n, 0);
        yaml_node_free(n);
    }
}

static void windows_line_ends_are_line_ends(void **state) {
    (void)state;
    struct yaml_node *n = parsed("a: 1\r\nb: |\r\n  x\r\n  y\r\n");
    assert_string_equal(yaml_get(n, "b")->text, "x\ny\n");
    assert_int_equal(n->item[1]->line, 2);
    yaml_node_free(n);
    refused("a: 1\r\nb: @\r\n", "2:4", "must stand in quotes");
}

static void unclosed_quotes_are_shown_where_they_open(void **state) {
    (void)state;
    refused("a: 1\nb: \"never\nc: 1\nd: 2\n", "2:4", "not closed");
    refused("a: 'never\n", "1:4", "not closed");
    refused("a: \"x\n---\nb: 1\n", "1:4", "not closed");
    refused("a: {b: [\"c]}\n", "1:9", "not closed");
    refused("a: \"{{name}}\nb: 1\n", "1:4", "not closed");
}

static void bad_encoding_is_shown_at_its_byte(void **state) {
    (void)state;
    refused("a: 1\nb: x\xC3\n", "2:5", "not valid UTF-8");
    refused("a: \xFF\n", "1:4", "not valid UTF-8");
    refused("a: x\xE2\x82y\n", "1:5", "not valid UTF-8");
    refused("é: \xC0\x80\n", "1:4", "not valid UTF-8");
    refused("a: \xED\xA0\x80\n", "1:4", "not valid UTF-8");
    refused_bytes("\xFF\xFE"
                  "a\0:\0 \0b\0",
                  10, "1:1", "not valid UTF-8");
    refused("a: 1\nb: \x01\n", "2:4", "control character (U+0001)");
    refused("a: x\x1b[31m\n", "1:5", "control character (U+001B)");
    refused_bytes("a: b\0c\n", 7, "1:5", "control character (U+0000)");
    refused("a: \"x\\0y\"\n", "1:4", "NUL");
}

static void double_braces_outside_quotes_ask_for_quotes(void **state) {
    (void)state;
    refused("a: {{name}}\n", "1:4", "must stand in quotes");
    refused("a: hello {{name}}\n", "1:4", "must stand in quotes");
    refused("a: {{name}} and more\n", "1:4", "must stand in quotes");
    refused("a: 1\nb: [x, {{y}}]\n", "2:8", "must stand in quotes");
    refused("a: {b: {{c}}}\n", "1:8", "must stand in quotes");
    refused("- {{x}}\n", "1:3", "must stand in quotes");
    refused("a: {{x\n", "1:4", "must stand in quotes");
    refused("a: {{ x: }}\nb: 1\n", "1:4", "must stand in quotes");
    struct yaml_node *n = parsed("a: \"{{x}}\"\nb: '{{x}}'\nc: |\n  {{x}}\nd: {e: {f: g}} # {{x}}\n");
    assert_string_equal(yaml_get(n, "c")->text, "{{x}}\n");
    yaml_node_free(n);
}

static void a_key_may_stand_once(void **state) {
    (void)state;
    refused("a: 1\nb: 2\na: 3\n", "3:1", "the key a is there twice, first in line 1");
    refused("x: {b: 1, b: 2}\n", "1:11", "twice");
    refused("a: 1\n\"a\": 2\n", "2:1", "twice");
    struct yaml_node *n = parsed("a: {x: 1}\nb: {x: 1}\n");
    yaml_node_free(n);
}

static void what_hides_or_repeats_meaning_is_refused(void **state) {
    (void)state;
    refused("a: &x 1\n", "1:4", "anchors");
    refused("a: &x {b: 1}\n", "1:4", "anchors");
    refused("a: *x\n", "1:4", "aliases");
    refused("a: !int 3\n", "1:4", "tags");
    refused("a: !!str 3\n", "1:4", "tags");
    refused("a: ! [b]\n", "1:4", "tags");
    refused("&k a: 1\n", "1:1", "anchors");
    refused("a: 1\n---\nb: 2\n", "2:1", "second document");
}

static void shapes_that_are_not_ours_are_refused(void **state) {
    (void)state;
    refused("? [x]\n: 1\n", "1:3", "a key must be a word");
    refused("? {x: 1}\n: 2\n", "1:3", "a key must be a word");
    refused("a:\n\tb: 1\n", "2:1", "a tab cannot indent");
    refused("a: @x\n", "1:4", "begins with @");
    refused("a: `x`\n", "1:4", "begins with `");
    refused("a: %x\n", "1:4", "begins with %");
    refused("a: [1, 2\nb: 3\n", "2:2", "opened at line 1, column 4");
    refused("a: {x: 1\n", "2:1", "opened at line 1, column 4");
    refused("a: b: c\n", "1:5", "quote a text that holds");
    refused("a: 1\n  b: 2\n", "2:4", "a key cannot stand here");
    refused("a: 1\nb\n", "2:1", "a key without a colon");
    refused("a: \"\\q\"\n", "1:5", "unknown escape");
    refused("a: 'it's'\n", "1:8", "check the quotes");
    refused("a: |\n  text\n bad\n", "3:2", "indentation");
    refused("a: - b\n", "1:4", "a list item cannot stand here");
    refused("]\n", "1:1", "");
}

static void depth_and_number_are_bounded(void **state) {
    (void)state;
    struct buf b = {0};
    buf_add_text(&b, "a: ");
    for (int i = 0; i < 40; i++) buf_add_char(&b, '[');
    for (int i = 0; i < 40; i++) buf_add_char(&b, ']');
    refused(buf_text(&b), "1:35", "nested too deeply");
    buf_clear(&b);
    for (int i = 0; i < 5000; i++) buf_printf(&b, "k%d: 1\n", i);
    refused(buf_text(&b), "4097:1", "too many entries");
    buf_free(&b);
}

/* Every beginning of a rich document either parses or is refused with a place: no crash, no leak (run under ASan). */
static void every_truncation_parses_or_says_where(void **state) {
    (void)state;
    static const char text[] = "name: \"té\\u00e9a\"\nextends: 'x''y'\nsystem: |\n  a {{b}}\n\n  c\ns: {t: 0.7, u: [1, "
                               "{v: w}], x: >-\n f}\nl:\n- a\n- - b\n  - c: d\n";
    for (size_t n = 0; n < sizeof text; n++) {
        char *exact = malloc(n + 1); /* so that a read past the end is seen */
        struct yaml_node *node;
        struct err e = {0};
        assert_non_null(exact);
        memcpy(exact, text, n);
        int rc = yaml_parse(&node, "f.yaml", exact, n, &e);
        assert_true(rc == 0 || rc == ERR_FILE);
        if (rc) assert_int_equal(strncmp(e.text, "f.yaml:", 7), 0);
        assert_true((rc == 0) == (node != NULL));
        yaml_node_free(node);
        free(exact);
    }
}

static void files_are_read_and_their_absence_explained(void **state) {
    (void)state;
    struct yaml_node *n;
    struct err e = {0};
    assert_non_null(support_folder_make());
    const char *path = support_folder_path("a.yaml");
    assert_int_equal(paths_write_private(path, "a: b\n", 5, NULL), 0);
    assert_int_equal(yaml_read(&n, path, &e), 0);
    assert_string_equal(yaml_get(n, "a")->text, "b");
    yaml_node_free(n);
    assert_int_equal(yaml_read(&n, support_folder_path("absent.yaml"), &e), ERR_FILE);
    assert_null(n);
    assert_non_null(strstr(e.text, "absent.yaml: No such file"));
    support_folder_remove();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_remembers_where_everything_stood),
        cmocka_unit_test(columns_count_characters_and_a_byte_order_mark_counts_nothing),
        cmocka_unit_test(nothing_is_an_empty_map),
        cmocka_unit_test(windows_line_ends_are_line_ends),
        cmocka_unit_test(unclosed_quotes_are_shown_where_they_open),
        cmocka_unit_test(bad_encoding_is_shown_at_its_byte),
        cmocka_unit_test(double_braces_outside_quotes_ask_for_quotes),
        cmocka_unit_test(a_key_may_stand_once),
        cmocka_unit_test(what_hides_or_repeats_meaning_is_refused),
        cmocka_unit_test(shapes_that_are_not_ours_are_refused),
        cmocka_unit_test(depth_and_number_are_bounded),
        cmocka_unit_test(every_truncation_parses_or_says_where),
        cmocka_unit_test(files_are_read_and_their_absence_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
