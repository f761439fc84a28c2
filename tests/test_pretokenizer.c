/* Tests of model/pretokenizer. The expected words follow from the expressions in the models' tokenizer.json files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "model/pretokenizer.h"

static const char *const names[] = {"",       "default",    "gpt-2",  "mpt",    "gptneox",      "smollm",         "falcon",      "qwen2", "qwen35",  "llama-bpe",
                                    "dbrx",   "minicpm5",   "tekken", "gpt-4o", "deepseek-llm", "deepseek-coder", "deepseek-v3", "bloom", "viking", "seed-coder"};
enum { N_NAMES = sizeof names / sizeof *names };

struct seen {
    const char *text;
    struct buf words; /* each followed by a bar */
    size_t at, n;
    int stop_after;   /* words; 0: never */
};

static int see(void *ctx, size_t from, size_t n) {
    struct seen *s = ctx;
    assert_int_equal(from, s->at); /* nothing left out, nothing twice */
    assert_true(n > 0);
    s->at += n;
    s->n++;
    buf_add(&s->words, s->text + from, n);
    buf_add_char(&s->words, '|');
    return s->stop_after && s->n == (size_t)s->stop_after ? ERR_CANCELLED : 0;
}

static struct pretokenizer *open_rule(const char *name) {
    struct pretokenizer *p;
    struct err e = {0};
    if (pretokenizer_open(&p, name, &e)) fail_msg("%s: %s", name, e.text);
    return p;
}

static void expect_words(const char *name, const char *text, const char *words) {
    struct pretokenizer *p = open_rule(name);
    struct seen s = {.text = text};
    struct err e = {0};
    assert_int_equal(pretokenizer_split(p, text, strlen(text), see, &s, &e), 0);
    if (strcmp(buf_text(&s.words), words)) fail_msg("%s: \"%s\" gives %s instead of %s", name, text, buf_text(&s.words), words);
    buf_free(&s.words);
    pretokenizer_close(p);
}

static void each_family_cuts_words_as_it_was_trained(void **state) {
    (void)state;
    static const char text[] = "I'll SAY  it's 12345\n\n (ok)!";
    expect_words("gpt-2", text, "I|'ll| SAY| | it|'s| 12345|\n\n| (|ok|)!|");
    expect_words("smollm", text, "I|'ll| SAY| | it|'s| |1|2|3|4|5|\n\n| (|ok|)!|");
    expect_words("qwen2", text, "I|'ll| SAY| | it|'s| |1|2|3|4|5|\n\n| (|ok|)!|");
    expect_words("llama-bpe", text, "I|'ll| SAY| | it|'s| |123|45|\n\n| (|ok|)!|");
    expect_words("falcon", text, "I|'|ll| SAY| | it|'|s| |123|45|\n\n |(|ok|)!|"); /* what is cut off ends the blanks */
    expect_words("tekken", "NewLine iPhone", "New|Line| i|Phone|");
    expect_words("gpt-4o", "Don'T stop", "Don'T| stop|");
    expect_words("deepseek-v3", "a1234b", "a|123|4|b|");
    expect_words("qwen2", "A'S'T'RE'VE'M'LL'Dx", "A|'S|'T|'RE|'VE|'M|'LL|'D|x|");
    expect_words("qwen2", "a\xc5\xbf '\xc5\xbf", "a\xc5\xbf| '|\xc5\xbf|"); /* a long s is no s */
    expect_words("gpt-2", "DON'T", "DON|'|T|");
}

static void whitespace_is_what_unicode_calls_so(void **state) {
    (void)state;
    expect_words("qwen2", "a \xe1\xa0\x8e" "b", "a| \xe1\xa0\x8e|b|");       /* U+180E is none */
    expect_words("qwen2", "a \xc2\x85" "b", "a| |\xc2\x85" "b|");            /* U+0085 is */
    expect_words("qwen2", "a\xe3\x80\x80\xe3\x80\x80" "b", "a|\xe3\x80\x80|\xe3\x80\x80" "b|");
}

static void no_rule_loses_a_byte(void **state) {
    (void)state;
    static const char text[] = "Mixed \xe2\x80\xa8 123 \xe4\xbd\xa0\xe5\xa5\xbd\xe2\x80\x8b  caf\xc3\xa9 e\xcc\x81 \xf0\x9f\x99\x82\r\n\t'S \xe0\xa4\xb9";
    for (size_t i = 0; i < N_NAMES; i++) {
        struct pretokenizer *p = open_rule(names[i]);
        for (size_t n = 0; n < sizeof text; n++) {
            if ((text[n] & 0xc0) == 0x80) continue; /* in the middle of a character */
            struct seen s = {.text = text};
            assert_int_equal(pretokenizer_split(p, text, n, see, &s, NULL), 0);
            assert_int_equal(s.at, n);
            buf_free(&s.words);
        }
        pretokenizer_close(p);
    }
}

/* A rule that looked at a run from each of its bytes would need minutes here. */
static void long_runs_take_no_quadratic_time(void **state) {
    (void)state;
    static const char *const runs[] = {"a", " ", "\n", "1", "!", "\xcc\x81", "aA", " \n", " !"};
    size_t n = 200 * 1024;
    char *text = malloc(n + 2);
    for (size_t i = 0; i < N_NAMES; i++) {
        struct pretokenizer *p = open_rule(names[i]);
        for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
            size_t len = strlen(runs[r]);
            for (size_t at = 0; at < n; at += len) memcpy(text + at, runs[r], len);
            text[n] = 'x';
            struct seen s = {.text = text};
            assert_int_equal(pretokenizer_split(p, text, n + 1, see, &s, NULL), 0);
            assert_int_equal(s.at, n + 1);
            buf_free(&s.words);
        }
        pretokenizer_close(p);
    }
    free(text);
}

static void what_the_callback_returns_ends_it(void **state) {
    (void)state;
    struct pretokenizer *p = open_rule("gpt-2");
    struct seen s = {.text = "one two three", .stop_after = 2};
    assert_int_equal(pretokenizer_split(p, s.text, strlen(s.text), see, &s, NULL), ERR_CANCELLED);
    assert_string_equal(buf_text(&s.words), "one| two|");
    buf_free(&s.words);
    pretokenizer_close(p);
}

static void an_unknown_name_is_refused(void **state) {
    (void)state;
    struct pretokenizer *p;
    struct err e = {0};
    assert_int_equal(pretokenizer_open(&p, "qwen", &e), ERR_FILE);
    assert_null(p);
    assert_non_null(strstr(e.text, "tokenizer.ggml.pre: found \"qwen\""));
    assert_int_equal(pretokenizer_open(&p, "gpt-2 mpt", &e), ERR_FILE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_cuts_words_as_it_was_trained),
        cmocka_unit_test(whitespace_is_what_unicode_calls_so),
        cmocka_unit_test(no_rule_loses_a_byte),
        cmocka_unit_test(long_runs_take_no_quadratic_time),
        cmocka_unit_test(what_the_callback_returns_ends_it),
        cmocka_unit_test(an_unknown_name_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
