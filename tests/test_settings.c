/* Tests of config/settings: flags, documents, origins, help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/paths.h"
#include "config/settings.h"
#include "config/utf8.h"
#include "config/yaml.h"
#include "tests/support_folder.h"

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
        if (d->type == SETTING_CHOICE || d->type == SETTING_FORM || d->type == SETTING_OPTIONAL)
            assert_non_null(d->choices);
        if (d->type != SETTING_FLAG) assert_non_null(d->value_name);
    }
    settings_close(s);
}

static void flags_are_whole_words_with_values_beside_or_after_an_equals_sign(void **state) {
    (void)state;
    struct settings *s = opened();
    struct line l;
    struct err e = {0};
    assert_int_equal(parse(s, &l, &e,
                           ARGS("-m", "a.gguf", "--temp=0.5", "-sys", "be brief", "hello", "-c", "4096", "-", "-s",
                                "-1", "--plain")),
                     0);
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

/* The command line is refused with words that hold both parts. */
static void refused(char *const *argv, const char *a, const char *b) {
    struct settings *s = opened();
    struct line l;
    struct err e = {0};
    assert_int_equal(parse(s, &l, &e, argv), ERR_USAGE);
    assert_int_equal(e.code, ERR_USAGE);
    if (!strstr(e.text, a) || !strstr(e.text, b)) fail_msg("\"%s\" does not hold \"%s\" and \"%s\"", e.text, a, b);
    settings_close(s);
}

static void two_dashes_end_the_flags(void **state) {
    (void)state;
    struct settings *s = opened();
    struct line l;
    assert_int_equal(parse(s, &l, NULL, ARGS("-q", "--", "--temp", "--", "-x")), 0);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.word[0], "--temp");
    assert_string_equal(l.word[1], "--");
    assert_true(settings_bool(s, SET_QUIET));
    assert_false(settings_is_set(s, SET_TEMP));
    settings_close(s);
}

static void turns_takes_its_value_only_with_an_equals_sign(void **state) {
    (void)state;
    struct settings *s = opened();
    struct line l;
    assert_null(settings_text(s, SET_TURNS));
    assert_int_equal(parse(s, &l, NULL, ARGS("--turns", "0")), 0);
    assert_string_equal(settings_text(s, SET_TURNS), "");
    assert_int_equal(l.n, 1);
    assert_int_equal(parse(s, &l, NULL, ARGS("--turns=0")), 0);
    assert_string_equal(settings_text(s, SET_TURNS), "0");
    settings_close(s);
    refused(ARGS("--turns=5"), "--turns: '5'", "allowed: no value, 0");
}

static void a_setting_is_known_by_its_key_and_by_its_flags(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int id;
    } cases[] = {{"sampling.predict", SET_PREDICT}, {"predict", SET_PREDICT}, {"n", SET_PREDICT}, {"-n", SET_PREDICT}, {"ctx_start", SET_START},
                 {"ctx-size", SET_BOUND}, {"--ctx-size", SET_BOUND}, {"c", SET_BOUND}, {"ctx", -1}, {"", -1}, {"-", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct setting *d = setting_find_name(cases[i].name);
        if ((d ? (int)d->id : -1) != cases[i].id) fail_msg("%s", cases[i].name);
    }
    char near[64];
    assert_string_equal(setting_nearest_name("ctx", near, sizeof near), "ctx-size");
    assert_string_equal(setting_nearest_name("tmep", near, sizeof near), "temp");
    assert_string_equal(setting_nearest_name("context.bond", near, sizeof near), "context.bound");
    assert_null(setting_nearest_name("zzzzzzz", near, sizeof near));
}

static void a_repeated_list_flag_appends_and_another_flag_is_replaced(void **state) {
    (void)state;
    struct settings *s = opened();
    struct line l;
    const char *const *stop;
    assert_int_equal(parse(s, &l, NULL, ARGS("-r", "a", "--stop=b", "-r=--temp", "-s", "1", "-s", "2")), 0);
    assert_int_equal(settings_list(s, SET_STOP, &stop), 3);
    assert_string_equal(stop[0], "a");
    assert_string_equal(stop[2], "--temp");
    assert_int_equal(settings_int(s, SET_SEED), 2);
    struct buf b = {0};
    settings_print(s, SET_STOP, &b);
    assert_string_equal(buf_text(&b), "[\"a\", \"b\", \"--temp\"]");
    buf_free(&b);
    settings_close(s);
}

static void unknown_flags_are_answered_with_the_nearest(void **state) {
    (void)state;
    refused(ARGS("--tepm", "1"), "unknown flag --tepm", "nearest: --temp");
    refused(ARGS("--temperature=1"), "unknown flag --temperature", "nearest: --temp");
    refused(ARGS("-ys"), "unknown flag -ys", "-- before a text");
    refused(ARGS("-c4096"), "unknown flag -c4096", "");
    refused(ARGS("--ctxsize", "1"), "nearest: --ctx-size", "");
    refused(ARGS("-vq"), "unknown flag -vq", "");
    refused(ARGS("--\x1b[2Jx"), "unknown flag --x", "");
    refused(ARGS("--no-such-flag-of-a-length-that-nobody-would-ever-give-to-one-in-earnest"), "unknown flag", "");
}

static void flags_without_a_value_say_so(void **state) {
    (void)state;
    refused(ARGS("-m"), "-m needs a value: -m FILE", "");
    refused(ARGS("-m", "--temp", "1"), "-m needs a value", "-m=--temp");
    refused(ARGS("-c", "-m", "x"), "-c needs a value: -c CELLS", "");
    refused(ARGS("--persona", "-p", ""), "--persona needs a value", "--persona=-p"); /* a text too */
    refused(ARGS("-r", "-p", ""), "-r needs a value", "-r=-p");
    struct settings *s = opened();
    struct line l;
    assert_int_equal(parse(s, &l, NULL, ARGS("-p=--help", "-m=--temp", "-sys", "-5")), 0); /* what follows = may be any text */
    assert_string_equal(settings_text(s, SET_PROMPT), "--help");
    assert_string_equal(settings_text(s, SET_MODEL), "--temp");
    assert_string_equal(settings_text(s, SET_SYSTEM), "-5");
    assert_int_equal(parse(s, &l, NULL, ARGS("-p", "")), 0);
    assert_string_equal(settings_text(s, SET_PROMPT), "");
    settings_close(s);
}

static void bad_values_say_what_is_allowed(void **state) {
    (void)state;
    refused(ARGS("--temp", "hot"), "--temp: 'hot'", "a number from 0 to 100");
    refused(ARGS("--temp", "-1"), "'-1'", "from 0 to 100");
    refused(ARGS("--temp", "nan"), "'nan'", "a number");
    refused(ARGS("--temp", "inf"), "'inf'", "a number");
    refused(ARGS("--temp", "0x1"), "'0x1'", "a number");
    refused(ARGS("--temp", "1,5"), "'1,5'", "a number");
    refused(ARGS("--temp", "1 "), "'1 '", "a number");
    refused(ARGS("--temp", ""), "an empty text", "a number");
    refused(ARGS("--temp", "1e999"), "'1e999'", "a number");
    refused(ARGS("--top-p=1.01"), "--top-p", "from 0 to 1");
    refused(ARGS("-c", "1.5"), "-c: '1.5'", "0, or a whole number from 32 to 1073741824");
    refused(ARGS("-c", "31"), "-c: '31'", "from 32");
    refused(ARGS("--grow", "linear:0"), "linear:0", "SIZE above 0");
    refused(ARGS("-c", "-1"), "'-1'", "a whole number");
    refused(ARGS("-c", "99999999999999999999"), "99999999999999999999", "a whole number");
    refused(ARGS("-c", "12x"), "'12x'", "a whole number");
    refused(ARGS("--evict", "slid"), "nearest: slide", "shift, slide, reseed, stop");
    refused(ARGS("--theme", "pink"), "'pink'", "dark, light, mono, high-contrast");
    refused(ARGS("-ctk", "q4_k"), "-ctk: 'q4_k'", "f16, f32, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl");
    refused(ARGS("--grow", "linear:"), "'linear:'", "auto, double, linear, linear:SIZE (SIZE above 0), fixed");
    refused(ARGS("--grow", "linear:0"), "'linear:0'", "linear:SIZE");
    refused(ARGS("--grow", "triple"), "'triple'", "double");
    refused(ARGS("--keep", "all"), "'all'", "system, a whole number");
    refused(ARGS("--grow-step", "0"), "--grow-step: '0'", "1B or more");
    refused(ARGS("--grow-threshold=0k"), "--grow-threshold: '0k'", "1B or more");
    refused(ARGS("--budget", "lots"), "'lots'", "512MiB");
    refused(ARGS("--budget", "-5"), "'-5'", "512MiB");
    refused(ARGS("--plain=maybe"), "--plain: 'maybe'", "true or false");
    refused(ARGS("-m", ""), "an empty text", "a path");
    refused(ARGS("-r", ""), "an empty text", "");
}

static void sizes_are_read_as_people_write_them(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
        bool unit;
    } good[] = {
        {"0", 0, false},
        {"4096", 4096, false},
        {"64k", 65536, true},
        {"64K", 65536, true},
        {"64KiB", 65536, true},
        {"64kB", 64000, true},
        {"512MiB", 1 << 29, true},
        {"512M", 1 << 29, true},
        {"1GiB", 1 << 30, true},
        {"1.5GiB", 3 << 29, true},
        {"1 GiB", 1 << 30, true},
        {"2T", 1LL << 41, true},
        {"1GB", 1000000000LL, true},
        {"10B", 10, true},
        {"0.5k", 512, true},
    };
    static const char *const bad[] = {"",      "k",    "1Q",   "-1",  "+1",  "1e3",
                                      "1e",    "0x10", "1.5",  "nan", "1 2", "999999999999999999999T",
                                      "1GiBs", ".",    "1..2k"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t bytes = -1;
        bool unit;
        if (!setting_parse_size(good[i].text, &bytes, &unit) || bytes != good[i].bytes || unit != good[i].unit)
            fail_msg("%s: %lld", good[i].text, (long long)bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t bytes;
        if (setting_parse_size(bad[i], &bytes, NULL)) fail_msg("%s is a size: %lld", bad[i], (long long)bytes);
    }
    struct settings *s = opened();
    assert_int_equal(settings_int(s, SET_BUDGET), 0); /* auto */
    assert_int_equal(settings_int(s, SET_STEP), 1 << 30);
    settings_close(s);
}

static void names_are_found_whatever_their_case_and_spelt_as_the_table_has_them(void **state) {
    (void)state;
    struct settings *s = opened();
    struct line l;
    assert_int_equal(parse(s, &l, NULL, ARGS("--evict", "SLIDE", "--grow", "Linear:64k", "--keep", "128")), 0);
    assert_string_equal(settings_text(s, SET_EVICT), "slide");
    assert_int_equal(settings_int(s, SET_EVICT), 1);
    assert_string_equal(settings_text(s, SET_GROW), "linear:64k");
    assert_string_equal(settings_text(s, SET_KEEP), "128");
    settings_close(s);
}

static void a_path_has_its_tilde_expanded_and_is_printed_as_written(void **state) {
    (void)state;
    struct settings *s = opened();
    struct buf b = {0};
    setenv("HOME", "/home/u", 1);
    assert_int_equal(settings_set(s, SET_MODEL, "~/m.gguf", ORIGIN_COMMAND, "/set", NULL), 0);
    assert_string_equal(settings_text(s, SET_MODEL), "/home/u/m.gguf");
    settings_print(s, SET_MODEL, &b);
    assert_string_equal(buf_text(&b), "~/m.gguf");
    buf_free(&b);
    settings_close(s);
}

/* ---- origins ---- */

static void the_strongest_origin_counts_and_what_it_hid_comes_back(void **state) {
    (void)state;
    struct settings *s = opened();
    assert_int_equal(settings_set(s, SET_TEMP, "0.4", ORIGIN_FLAG, "--temp", NULL), 0);
    assert_int_equal(settings_set(s, SET_TEMP, "0.2", ORIGIN_CONFIG, "c.yaml:1:1", NULL), 0);
    assert_int_equal(settings_set(s, SET_TEMP, "0.3", ORIGIN_PERSONA, "p.yaml:1:1", NULL), 0);
    assert_int_equal(settings_set(s, SET_TEMP, "0.1", ORIGIN_MODEL, "general.sampling.temp", NULL), 0);
    static const struct {
        enum setting_origin origin;
        double value;
        const char *where;
    } steps[] = {
        {ORIGIN_FLAG, 0.4, "flag --temp"},  {ORIGIN_PERSONA, 0.3, "p.yaml:1:1"},
        {ORIGIN_CONFIG, 0.2, "c.yaml:1:1"}, {ORIGIN_MODEL, 0.1, "general.sampling.temp"},
        {ORIGIN_DEFAULT, 0.8, "default"},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(settings_origin(s, SET_TEMP), steps[i].origin);
        assert_true(settings_real(s, SET_TEMP) == steps[i].value);
        assert_string_equal(settings_where(s, SET_TEMP), steps[i].where);
        assert_true(settings_is_set(s, SET_TEMP) == (steps[i].origin != ORIGIN_DEFAULT));
        if (steps[i].origin != ORIGIN_DEFAULT) settings_forget(s, steps[i].origin);
    }
    settings_close(s);
}

static void a_list_of_a_stronger_origin_stands_alone(void **state) {
    (void)state;
    struct settings *s = opened();
    const char *const *stop;
    assert_int_equal(settings_list(s, SET_STOP, &stop), 0);
    assert_int_equal(apply(s, "stop: [a, b]\n", ORIGIN_PERSONA, NULL), 0);
    assert_int_equal(settings_set(s, SET_STOP, "x", ORIGIN_FLAG, "-r", NULL), 0);
    assert_int_equal(settings_list(s, SET_STOP, &stop), 1);
    assert_int_equal(apply(s, "stop: c\n", ORIGIN_PERSONA, NULL), 0);
    settings_forget(s, ORIGIN_FLAG);
    assert_int_equal(settings_list(s, SET_STOP, &stop), 1);
    assert_string_equal(stop[0], "c");
    assert_int_equal(apply(s, "stop: []\n", ORIGIN_PERSONA, NULL), 0);
    assert_int_equal(settings_list(s, SET_STOP, &stop), 0);
    settings_close(s);
}

static void a_copy_stands_on_its_own(void **state) {
    (void)state;
    struct settings *s = opened(), *copy;
    settings_set(s, SET_MODEL, "a", ORIGIN_FLAG, "-m", NULL);
    settings_set(s, SET_STOP, "x", ORIGIN_CONFIG, "c", NULL);
    assert_int_equal(settings_copy(&copy, s, NULL), 0);
    settings_set(s, SET_MODEL, "b", ORIGIN_FLAG, "-m", NULL);
    settings_set(s, SET_STOP, "y", ORIGIN_CONFIG, "c", NULL);
    const char *const *stop;
    assert_string_equal(settings_text(copy, SET_MODEL), "a");
    assert_int_equal(settings_list(copy, SET_STOP, &stop), 1);
    settings_take(s, copy);
    assert_string_equal(settings_text(s, SET_MODEL), "a");
    settings_close(s);
}

static void a_refused_value_leaves_the_old_one(void **state) {
    (void)state;
    struct settings *s = opened();
    settings_set(s, SET_TOP_K, "7", ORIGIN_COMMAND, "/set", NULL);
    assert_int_equal(settings_set(s, SET_TOP_K, "many", ORIGIN_COMMAND, "/set", NULL), ERR_USAGE);
    assert_int_equal(settings_int(s, SET_TOP_K), 7);
    settings_close(s);
}

static void keys_are_found_in_full_or_by_their_last_part(void **state) {
    (void)state;
    assert_ptr_equal(setting_find_key("sampling.temp"), setting_get(SET_TEMP));
    assert_ptr_equal(setting_find_key("temp"), setting_get(SET_TEMP));
    assert_ptr_equal(setting_find_key("top-p"), setting_get(SET_TOP_P));
    assert_ptr_equal(setting_find_key("model"), setting_get(SET_MODEL));
    assert_null(setting_find_key("tmep"));
    assert_null(setting_find_key("sampling"));
    assert_null(setting_find_full_key("temp"));
    assert_ptr_equal(setting_find_flag("-sys"), setting_get(SET_SYSTEM));
    assert_ptr_equal(setting_find_flag("-s"), setting_get(SET_SEED));
    assert_null(setting_find_flag("-sy"));
    assert_null(setting_find_flag("sys"));
}

/* ---- documents ---- */

static void a_document_sets_values_and_remembers_where(void **state) {
    (void)state;
    struct settings *s = opened();
    struct err e = {0};
    const char *doc = "name: x\nmodel: a.gguf\nsampling: {temp: 0.25, seed: 7}\nstop: [a, \"b\\n\"]\ncontext:\n  grow: "
                      "linear:64k\n  keep: 12\n";
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

static void a_document_counts_as_a_whole_or_not_at_all(void **state) {
    (void)state;
    struct settings *s = opened();
    struct err e = {0};
    assert_int_equal(apply(s, "sampling: {temp: 0.25}\ntheme: pink\n", ORIGIN_CONFIG, &e), ERR_FILE);
    assert_int_equal(e.code, ERR_FILE);
    assert_string_equal(e.text, "p.yaml:2:8: 'pink' cannot be used; allowed: dark, light, mono, high-contrast");
    assert_false(settings_is_set(s, SET_TEMP));
    settings_close(s);
}

static void mistakes_in_documents_name_their_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *place, *part;
    } cases[] = {
        {"samplng: {temp: 1}\n", "1:1", "unknown key samplng, nearest: sampling"},
        {"sampling:\n  temprature: 1\n", "2:3", "unknown key sampling.temprature, nearest: sampling.temp"},
        {"sampling: {bound: 1}\n", "1:12", "nearest: context.bound"},
        {"bound: 1\n", "1:1", "nearest: context.bound"},
        {"sampling.temp: 1\n", "1:1", "nearest: sampling.temp"},
        {"verbos: true\n", "1:1", "nearest: verbose"},
        {"qqqqqqq: true\n", "1:1", "unknown key qqqqqqq"},
        {"extend: x\n", "1:1", "nearest: extends"},
        {"threads: four\n", "1:10", "'four' cannot be used; allowed: a whole number from 0 to 256"},
        {"threads: \"4\"\n", "1:10", "threads must be a whole number, not a text in quotes"},
        {"threads: [4]\n", "1:10", "not a list"},
        {"threads:\n", "1:9", "not nothing"},
        {"model: {a: b}\n", "1:8", "model must be a path, not a map"},
        {"verbose: 3\n", "1:10", "true or false"},
        {"context: {bound: 12}\n", "1:18", "'12' cannot be used; allowed: 0, or a whole number from 32"},
        {"models: {dirs: [a, {b: c}]}\n", "1:20", "models.dirs must be"},
        {"models: [a]\n", "1:9", "a section is a map"},
        {"config: x\n", "1:1", "unknown key config"}, /* a flag alone */
        {"\"\\e[31mx\": 1\n", "1:1", "unknown key x"},
        {"engine: x\n", "1:1", "not supported yet"},
        {"context: {bound:64, start: 1}\n", "1:11", "nearest: context.bound (a colon needs a blank after it)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings *s = opened();
        struct err e = {0};
        char head[32];
        snprintf(head, sizeof head, "p.yaml:%s: ", cases[i].place);
        int rc = apply(s, cases[i].text, ORIGIN_CONFIG, &e);
        if (rc != ERR_FILE || strncmp(e.text, head, strlen(head)) || !strstr(e.text, cases[i].part))
            fail_msg("%s gives %d, \"%s\"", cases[i].text, rc, e.text);
        settings_close(s);
    }
}

/* Whatever is wrong with a document, the message is one clean line that begins with a place. */
static void damaged_documents_are_refused_in_one_clean_line(void **state) {
    (void)state;
    static const char good[] =
        "description: Knows tea.\nmodel: a.gguf\nsystem: |\n  You are\n  it.\nsampling: {temp: 0.7, seed: 1}\n"
        "context: {bound: 8192, grow: linear:64k, step: 1GiB, keep: 12}\nstop: [\"\\nUser:\", a]\ntheme: dark\nplain: "
        "off\n";
    static const char damage[] = "{}[]:,\"'|>-&*!%@`#\n\t {}\\?\xC3\xA9\xFF\x1B~01a";
    uint32_t random = 1;
    int refusals = 0;
    for (int round = 0; round < 1500; round++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        for (int i = 0; i <= round % 3; i++) {
            random = random * 1664525u + 1013904223u;
            text[(random >> 8) % (sizeof good - 1)] = damage[(random >> 20) % (sizeof damage - 1)];
        }
        struct settings *s = opened();
        struct err e = {0};
        int rc = apply(s, text, ORIGIN_CONFIG, &e);
        if (rc && (rc != ERR_FILE || strncmp(e.text, "p.yaml:", 7) || !utf8_valid(e.text, strlen(e.text)) ||
                   strpbrk(e.text, "\n\x1B")))
            fail_msg("%s", e.text);
        if (rc) assert_false(settings_is_set(s, SET_DESCRIPTION));
        refusals += rc != 0;
        settings_close(s);
    }
    assert_in_range(refusals, 500, 1499);
}

static void yes_and_on_are_true_and_no_and_off_are_not(void **state) {
    (void)state;
    static const char *const texts[] = {"plain: true\n", "plain: false\n", "plain: Yes\n",
                                        "plain: no\n",   "plain: on\n",    "plain: OFF\n"};
    for (size_t i = 0; i < 6; i++) {
        struct settings *s = opened();
        assert_int_equal(apply(s, texts[i], ORIGIN_CONFIG, NULL), 0);
        assert_int_equal(settings_bool(s, SET_PLAIN), i % 2 == 0);
        settings_close(s);
    }
}

static void the_configuration_file_is_read_where_it_is(void **state) {
    (void)state;
    struct settings *s = opened();
    struct err e = {0};
    setenv("XDG_CONFIG_HOME", support_folder_make(), 1);
    assert_int_equal(settings_apply_config(s, &e), 0); /* there is none: fine */
    assert_int_equal(paths_make_folder(support_folder_path("kvetch"), NULL), 0);
    const char *path = support_folder_path("kvetch/config.yaml"), *other = support_folder_path("other.yaml");
    assert_int_equal(paths_write_private(path, "threads: 3\n", 11, NULL), 0);
    assert_int_equal(settings_apply_config(s, &e), 0);
    assert_int_equal(settings_int(s, SET_THREADS), 3);
    assert_int_equal(settings_origin(s, SET_THREADS), ORIGIN_CONFIG);
    assert_non_null(strstr(settings_where(s, SET_THREADS), "kvetch/config.yaml:1:10"));
    assert_int_equal(settings_set(s, SET_CONFIG, other, ORIGIN_FLAG, "--config", NULL), 0);
    assert_int_equal(settings_apply_config(s, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "other.yaml: No such file"));
    assert_int_equal(paths_write_private(other, "threads: 300\n", 13, NULL), 0);
    assert_int_equal(settings_apply_config(s, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "other.yaml:1:10: '300'"));
    assert_int_equal(settings_int(s, SET_THREADS), 3);
    support_folder_remove();
    settings_close(s);
}

/* ---- help ---- */

static void help_names_every_flag_and_keeps_to_the_width(void **state) {
    (void)state;
    static const int widths[] = {40, 60, 80, 100, 200};
    for (size_t w = 0; w < 5; w++) {
        struct buf b = {0};
        settings_help(&b, widths[w]);
        assert_false(b.failed);
        for (int id = 0; id < SETTING_COUNT; id++) {
            const struct setting *d = setting_get((enum setting_id)id);
            char first[32];
            snprintf(first, sizeof first, "  %.*s", (int)strcspn(d->flags, " "), d->flags);
            if (*d->flags && !strstr(b.data, first)) fail_msg("%s is missing", first);
        }
        for (char *line = strtok(b.data, "\n"); line; line = strtok(NULL, "\n"))
            if (utf8_width(line, strlen(line)) > (size_t)widths[w]) fail_msg("too wide for %d: %s", widths[w], line);
        buf_free(&b);
    }
}

static void help_shows_choices_and_defaults(void **state) {
    (void)state;
    struct buf b = {0};
    settings_help(&b, 400);
    assert_non_null(strstr(b.data, "Sampling\n"));
    assert_non_null(strstr(b.data, "  -c, --ctx-size CELLS"));
    assert_non_null(strstr(b.data, "what happens at the bound: shift, slide, reseed, stop (default: shift)"));
    assert_non_null(strstr(b.data, "--turns[=0]"));
    assert_null(strstr(b.data, "--plain false"));
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_default_that_its_own_type_accepts),
        cmocka_unit_test(flags_are_whole_words_with_values_beside_or_after_an_equals_sign),
        cmocka_unit_test(two_dashes_end_the_flags),
        cmocka_unit_test(turns_takes_its_value_only_with_an_equals_sign),
        cmocka_unit_test(a_setting_is_known_by_its_key_and_by_its_flags),
        cmocka_unit_test(a_repeated_list_flag_appends_and_another_flag_is_replaced),
        cmocka_unit_test(unknown_flags_are_answered_with_the_nearest),
        cmocka_unit_test(flags_without_a_value_say_so),
        cmocka_unit_test(bad_values_say_what_is_allowed),
        cmocka_unit_test(sizes_are_read_as_people_write_them),
        cmocka_unit_test(names_are_found_whatever_their_case_and_spelt_as_the_table_has_them),
        cmocka_unit_test(a_path_has_its_tilde_expanded_and_is_printed_as_written),
        cmocka_unit_test(the_strongest_origin_counts_and_what_it_hid_comes_back),
        cmocka_unit_test(a_list_of_a_stronger_origin_stands_alone),
        cmocka_unit_test(a_copy_stands_on_its_own),
        cmocka_unit_test(a_refused_value_leaves_the_old_one),
        cmocka_unit_test(keys_are_found_in_full_or_by_their_last_part),
        cmocka_unit_test(a_document_sets_values_and_remembers_where),
        cmocka_unit_test(a_document_counts_as_a_whole_or_not_at_all),
        cmocka_unit_test(mistakes_in_documents_name_their_place),
        cmocka_unit_test(damaged_documents_are_refused_in_one_clean_line),
        cmocka_unit_test(yes_and_on_are_true_and_no_and_off_are_not),
        cmocka_unit_test(the_configuration_file_is_read_where_it_is),
        cmocka_unit_test(help_names_every_flag_and_keeps_to_the_width),
        cmocka_unit_test(help_shows_choices_and_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
