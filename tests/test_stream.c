/* Tests of model/stream: tokens become whole, clean text, and stop strings never show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/stream.h"
#include "tests/support_gguf.h"

enum { N_WORDS = 3, N = N_WORDS + 256 }; /* <unk>, <s>, </s>, then a token for each byte */

struct fixture {
    struct gguf *g;
    struct vocab *v;
};

static int open_vocab(void **state) {
    static struct fixture f;
    const char *word[N] = {"<unk>", "<s>", "</s>"};
    static char byte[256][8];
    float score[N] = {0};
    int32_t attr[N] = {VOCAB_UNKNOWN, VOCAB_CONTROL, VOCAB_CONTROL};
    for (int i = 0; i < 256; i++) {
        snprintf(byte[i], sizeof byte[i], "<0x%02X>", (unsigned)i);
        word[N_WORDS + i] = byte[i];
        attr[N_WORDS + i] = VOCAB_BYTE;
    }
    struct support_gguf b = {0};
    support_gguf_text(&b, "tokenizer.ggml.model", "llama");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", word, N);
    support_gguf_array(&b, "tokenizer.ggml.scores", GGUF_F32, score, N, 4);
    support_gguf_array(&b, "tokenizer.ggml.token_type", GGUF_I32, attr, N, 4);
    char *path = support_gguf_file(&b);
    int rc = gguf_open(&f.g, path, NULL);
    if (!rc) rc = vocab_open(&f.v, f.g, NULL);
    unlink(path);
    free(path);
    support_gguf_free(&b);
    *state = &f;
    return rc;
}

static int close_vocab(void **state) {
    struct fixture *f = *state;
    vocab_close(f->v);
    gguf_close(f->g);
    return 0;
}

/* Streams text byte by byte; at each step what is shown must be a beginning of expected. */
static void expect_text(void **state, const char *text, const char *const *stop, size_t n_stop, const char *expected,
                        const char *found) {
    struct stream s;
    struct buf shown = {0};
    stream_init(&s, ((struct fixture *)*state)->v, stop, n_stop);
    for (const char *p = text; *p && !s.found; p++) {
        assert_int_equal(stream_add(&s, N_WORDS + (unsigned char)*p, false, &shown), 0);
        assert_true(utf8_valid(buf_text(&shown), shown.len));
        if (strncmp(buf_text(&shown), expected, shown.len))
            fail_msg("shown \"%s\", which is no beginning of \"%s\"", buf_text(&shown), expected);
    }
    assert_int_equal(stream_end(&s, &shown), 0);
    assert_string_equal(buf_text(&shown), expected);
    if (found)
        assert_string_equal(s.found, found);
    else
        assert_null(s.found);
    stream_free(&s);
    buf_free(&shown);
}

static void characters_are_shown_whole_and_broken_ones_replaced(void **state) {
    expect_text(state, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80!", NULL, 0,
                "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80!", NULL);
    expect_text(state, "cut \xe2\x82", NULL, 0, "cut \xef\xbf\xbd", NULL);
}

static void control_sequences_never_reach_the_text(void **state) {
    expect_text(state, "a\033[2Jb\033]0;title\007c\td\n", NULL, 0, "abc\td\n", NULL);
}

static void what_may_be_a_stop_string_is_held_until_it_is_none(void **state) {
    static const char *const stop[] = {"User:", "\n\n\n"};
    expect_text(state, "Use it. UsUser is\n\nfine User", stop, 2, "Use it. UsUser is\n\nfine User", NULL);
    expect_text(state, "yes\n\nUsUser: no", stop, 2, "yes\n\nUs", "User:");
    expect_text(state, "yes\n\n\n\n", stop, 2, "yes", "\n\n\n");
}

static void of_several_stop_strings_the_first_to_end_wins_and_empty_ones_do_nothing(void **state) {
    static const char *const stop[] = {"", "bcd", "abcde"};
    expect_text(state, "xabcdef", stop, 3, "xa", "bcd");
    expect_text(state, "xyz", stop, 1, "xyz", NULL);
}

static void control_tokens_have_no_text(void **state) {
    struct stream s;
    struct buf shown = {0};
    stream_init(&s, ((struct fixture *)*state)->v, NULL, 0);
    assert_int_equal(stream_add(&s, 1, false, &shown), 0);
    assert_int_equal(stream_add(&s, 2, false, &shown), 0);
    assert_int_equal(shown.len, 0);
    assert_int_equal(stream_add(&s, N_WORDS + 'x', true, &shown), 0);
    assert_string_equal(buf_text(&shown), "x");
    assert_int_equal(s.n_clean, 1);
    stream_free(&s);
    buf_free(&shown);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_shown_whole_and_broken_ones_replaced),
        cmocka_unit_test(control_sequences_never_reach_the_text),
        cmocka_unit_test(what_may_be_a_stop_string_is_held_until_it_is_none),
        cmocka_unit_test(of_several_stop_strings_the_first_to_end_wins_and_empty_ones_do_nothing),
        cmocka_unit_test(control_tokens_have_no_text),
    };
    return cmocka_run_group_tests(tests, open_vocab, close_vocab);
}
