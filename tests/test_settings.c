/* Tests of config/settings: flags, documents, origins, help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/settings.h"
#include "config/utf8.h"
#include "config/yaml.h"

static struct settings *opened(void) {
    struct settings *s;
    struct err e = {0};
    assert_int_equal(settings_open(&s, &e), 0);
    return s;
}

#define MAX_WORDS 16
struct line {
    const char *word[MAX_WORDS];
    size_t n;
};

/* Parses a NULL-ended command line. */
static int parse(struct settings *s, struct line *l, struct err *e, char *const *argv) {
    int argc = 0;
    while (argv[argc]) argc++;
    assert_true(argc <= MAX_WORDS);
    return settings_parse_args(s, argc, (char **)argv, l->word, &l->n, e);
}
#define ARGS(...) ((char *const[]){"kvetch", __VA_ARGS__, NULL})

static int apply(struct settings *s, const char *text, enum setting_origin origin, struct err *e) {
    static const char *const extra[] = {"name", "extends", "examples", NULL};
    struct yaml_node *doc;
    int rc = yaml_parse(&doc, "p.yaml", text, strlen(text), e);
    if (!rc) rc = settings_apply_yaml(s, doc, "p.yaml", origin, extra, e);
    yaml_node_free(doc);
    return rc;
}

static void every_row_has_a_default_that_its_own_type_accepts(void **state) {
    (void)state;
    struct settings *s = opened();
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *d = setting_get((enum setting_id)id);
        assert_int_equal(d->id, id);
        assert_int_equal(settings_origin(s, d->id), ORIGIN_DEFAULT);
        assert_string_equal(settings_where(s, d->id), "default");
        if (d->key) assert_ptr_equal(setting_find_full_key(d->key), d);
        assert_true(d->key || *d->flags);
        if (d->type == SETTING_CHOICE || d->type == SETTING_FORM || d->type == SETTING_OPTIONAL) assert_non_null(d->choices);
        if (d->type != SETTING_FLAG) assert_non_null(d->value_name);
    }
    settings_close(s);
}

static void flags_are_whole_words_with_values_beside_or_after_an_equals_sign(void **state) {
    (void)state;
    struct settings *s = opened();
    struct line l;
    struct err e = {0};
    assert_int_equal(parse(s, &l, &e, ARGS("-m", "a.gguf", "--temp=0.5", "-sys", "be brief", "hello", "-c", "4096", "-", "-s", "-1", "--plain")), 0);
    assert_string_equal(settings_text(s, SET_MODEL), "a.gguf");
    assert_true(settings_real(s, SET_TEMP) == 0.5);
    assert_string_equal(settings_text(s, SET_SYSTEM), "be brief");
    assert_int_equal(settings_int(s, SET_BOUND), 4096);
    assert_int_equal(settings_int(s, SET_SEED), -1);
    assert_true(settings_bool(s, SET_PLAIN));
    assert_false(settings_bool(s, SET_ONCE));
    assert_int_equal(l.n, 2);
    assert_string_equal(l.word[0], "hello");
    assert_string_equal(l.word[1], "-");
    assert_string_equal(settings_where(s, SET_TEMP), "flag --temp");
    assert_int_equal(settings_origin(s, SET_TEMP), ORIGIN_FLAG);
    settings_close(s);
}

static void a_document_sets_values_and_remembers_where(void **state) {
    (void)state;
    struct settings *s = opened();
    struct err e = {0};
    const char *doc = "name: x\nmodel: a.gguf\nsampling: {temp: 0.25, seed: 7}\nstop: [a, \"b\\n\"]\ncontext:\n  grow: linear:64k\n  keep: 12\n";
    assert_int_equal(apply(s, doc, ORIGIN_PERSONA, &e), 0);
    assert_true(settings_real(s, SET_TEMP) == 0.25);
    assert_string_equal(settings_where(s, SET_TEMP), "p.yaml:3:18");
    const char *const *stop;
    assert_int_equal(settings_list(s, SET_STOP, &stop), 2);
    assert_string_equal(stop[1], "b\n");
    assert_string_equal(settings_text(s, SET_GROW), "linear:64k");
    assert_string_equal(settings_text(s, SET_KEEP), "12");
    settings_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_default_that_its_own_type_accepts),
        cmocka_unit_test(flags_are_whole_words_with_values_beside_or_after_an_equals_sign),
        cmocka_unit_test(a_document_sets_values_and_remembers_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
