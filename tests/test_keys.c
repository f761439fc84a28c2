/* Tests of ui/keys: pastes and the wheel told apart from what readline is to get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "ui/keys.h"

/* What came out: bytes as they are, a paste as {text}, the wheel as ^ and v. */
static void note(void *ctx, enum keys_kind kind, const char *bytes, size_t n) {
    struct buf *out = ctx;
    if (kind == KEYS_BYTE) buf_add(out, bytes, n);
    if (kind == KEYS_PASTE) buf_printf(out, "{%.*s}", (int)n, bytes);
    if (kind == KEYS_WHEEL_UP) buf_add_char(out, '^');
    if (kind == KEYS_WHEEL_DOWN) buf_add_char(out, 'v');
}

/* However the bytes arrive, the same comes out. */
static void assert_becomes(const char *in, const char *want) {
    size_t n = strlen(in);
    for (size_t split = 0; split <= n; split++) {
        struct keys k = {0};
        struct buf out = {0};
        keys_feed(&k, in, split, note, &out);
        for (size_t i = split; i < n; i++) keys_feed(&k, in + i, 1, note, &out);
        keys_flush(&k, note, &out);
        assert_false(keys_holds(&k));
        assert_string_equal(buf_text(&out), want);
        buf_free(&out);
        buf_free(&k.paste);
    }
}

static void keys_of_readline_pass_unchanged(void **state) {
    (void)state;
    static const char *const same[] = {"abc", "\033", "\033\033", "\033[A", "\033[5~", "\033[20~", "\033[2", "\033[1;5H", "\033[20", "\033x\033[", "\033[<x", "\033[<1;a"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) assert_becomes(same[i], same[i]);
}

static void a_paste_comes_whole_with_one_kind_of_newline(void **state) {
    (void)state;
    assert_becomes("a\033[200~one\rtwo\r\nthree\nfour\033[201~b", "a{one\ntwo\nthree\nfour}b");
    assert_becomes("\033[200~\033[201~x", "x");
    assert_becomes("\033[200~\033[A\003\033[200~\033[201~", "{\033[A\003\033[200~}");
    assert_becomes("\033\033[200~p\033[201~", "\033{p}");
}

static void the_wheel_is_seen_and_other_mouse_events_are_dropped(void **state) {
    (void)state;
    assert_becomes("\033[<64;10;20Mx\033[<65;1;1M", "^xv");
    assert_becomes("\033[<0;10;20M\033[<0;10;20mok", "ok");
    assert_becomes("\033[<99999999999999999999;1;1Mok", "ok");
}

static void a_sequence_that_never_ends_is_let_go(void **state) {
    (void)state;
    char in[200] = "\033[<";
    memset(in + 3, '1', 150);
    assert_becomes(in, in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_readline_pass_unchanged),
        cmocka_unit_test(a_paste_comes_whole_with_one_kind_of_newline),
        cmocka_unit_test(the_wheel_is_seen_and_other_mouse_events_are_dropped),
        cmocka_unit_test(a_sequence_that_never_ends_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
