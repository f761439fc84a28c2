/* Tests of config/utf8: decoding, columns, the stream that removes control sequences, normal form, nearest names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "config/err.h"
#include "config/utf8.h"

/* ---- decoding ---- */

/* A naive decoder: takes the bits first and judges the number afterwards. 0: nothing valid starts here. */
static size_t naive_decode(const unsigned char *s, size_t n, uint32_t *cp) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80             ? 1
                 : (s[0] & 0xE0) == 0xC0 ? 2
                 : (s[0] & 0xF0) == 0xE0 ? 3
                 : (s[0] & 0xF8) == 0xF0 ? 4
                                         : 0;
    if (!len || len > n) return 0;
    *cp = len == 1 ? s[0] : s[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (s[i] >> 6 != 2) return 0;
        *cp = *cp * 64 + (s[i] & 63u);
    }
    bool good = *cp >= least[len] && *cp <= 0x10FFFF && !(*cp >= 0xD800 && *cp <= 0xDFFF);
    return good ? len : 0;
}

static void every_code_point_survives_encoding_and_decoding(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        char s[4];
        uint32_t back;
        size_t n = utf8_encode(cp, s);
        bool surrogate = cp >= 0xD800 && cp < 0xE000;
        if (utf8_decode(s, n, &back) != n || back != (surrogate ? 0xFFFD : cp) || !utf8_valid(s, n))
            fail_msg("U+%04X", (unsigned)cp);
    }
    char s[4];
    assert_int_equal(utf8_encode(0x110000, s), 3);
    assert_memory_equal(s, "\xEF\xBF\xBD", 3);
}

static void bytes_decode_as_a_naive_decoder_has_them(void **state) {
    (void)state;
    static const unsigned char tail[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    for (unsigned pair = 0; pair < 65536; pair++) {
        for (size_t i = 0; i < sizeof tail; i++) {
            for (size_t j = 0; j < sizeof tail; j++) {
                unsigned char s[4] = {(unsigned char)(pair >> 8), (unsigned char)pair, tail[i], tail[j]};
                for (size_t n = 1; n <= 4; n++) {
                    uint32_t cp = 0, expected = 0;
                    size_t want = naive_decode(s, n, &expected), got = utf8_decode((const char *)s, n, &cp);
                    if (got != (want ? want : 1) || cp != (want ? expected : 0xFFFD))
                        fail_msg("%02x %02x %02x %02x, %zu bytes", s[0], s[1], s[2], s[3], n);
                }
            }
        }
    }
}

static void the_start_of_a_character_is_told_from_a_broken_one(void **state) {
    (void)state;
    assert_int_equal(utf8_incomplete("a\xF0\x9F\x92", 4), 3);
    assert_int_equal(utf8_incomplete("a\xF0\x9F", 3), 2);
    assert_int_equal(utf8_incomplete("a\xE2", 2), 1);
    assert_int_equal(utf8_incomplete("a\xC3\xA9", 3), 0);
    assert_int_equal(utf8_incomplete("a\xE0\x80", 3), 0); /* overlong: no character begins so */
    assert_int_equal(utf8_incomplete("\x80\x80", 2), 0);
    assert_int_equal(utf8_incomplete("\xFF", 1), 0);
    assert_int_equal(utf8_incomplete("", 0), 0);
    assert_false(utf8_valid("a\xC3", 2));
    assert_true(utf8_valid("a\0b", 3));
}

/* ---- columns ---- */

static void a_grapheme_is_one_whatever_it_is_made_of(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int width;
    } whole[] = {
        {"a", 1},
        {"é", 1},
        {"e\xCC\x81", 1}, /* e + combining acute */
        {"a\xCC\x80\xCC\x81\xCC\x82\xCC\x83", 1},
        {"漢", 2},
        {"Ａ", 2}, /* full width */
        {"ｱ", 1},  /* half width */
        {"한", 2},
        {"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", 2}, /* the same syllable in jamo */
        {"😀", 2},
        {"👍🏽", 2},                  /* with a skin tone */
        {"👨‍👩‍👧‍👦", 2}, /* a family of four */
        {"🏳️‍🌈", 2},
        {"❤️", 2},
        {"❤", 1},
        {"1️⃣", 2},
        {"🇫🇷", 2},
        {"कि", 2}, /* a vowel sign that takes a column of its own */
        {"กำ", 2},
        {"\xCC\x81", 0},     /* a lone combining mark */
        {"\xE2\x80\x8B", 0}, /* zero-width space */
        {"\r\n", 0},
        {"\x1b", 0},
        {"\xC2\x9B", 0},
        {"\xEF\xBF\xBD", 1},
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        char twice[128];
        int width = -1;
        size_t n = strlen(whole[i].text);
        snprintf(twice, sizeof twice, "%sx", whole[i].text);
        size_t len = utf8_grapheme(twice, n + 1, &width);
        if (len != n || width != whole[i].width)
            fail_msg("\"%s\": %zu of %zu bytes, %d columns", whole[i].text, len, n, width);
    }
}

static void neighbours_are_not_joined(void **state) {
    (void)state;
    assert_int_equal(utf8_grapheme("🇫🇷🇩🇪", 16, NULL), 8);
    assert_int_equal(utf8_grapheme("ab", 2, NULL), 1);
    assert_int_equal(utf8_grapheme("\n\n", 2, NULL), 1);
    assert_int_equal(utf8_grapheme("\xFF\xFF", 2, NULL), 1);
    assert_int_equal(utf8_grapheme("", 0, NULL), 0);
}

static void a_text_is_as_wide_as_its_graphemes(void **state) {
    (void)state;
    static const char text[] = "ab\n漢字 👨‍👩‍👧‍👦e\xCC\x81\xFF";
    assert_int_equal(utf8_width(text, sizeof text - 1), 2 + 4 + 1 + 2 + 1 + 1);
    assert_int_equal(utf8_width("", 0), 0);
}

/* ncurses moves the cursor by wcwidth: where the two disagree the screen is torn. */
static void columns_are_those_of_the_c_library(void **state) {
    (void)state;
    if (!setlocale(LC_ALL, "C.UTF-8")) {
        print_message("[  MISSING ] the locale C.UTF-8\n");
        skip();
    }
    unsigned known = 0, other = 0;
    for (uint32_t cp = 0x20; cp < 0x20000; cp++) {
        char s[4];
        int columns = wcwidth((wchar_t)cp), ours;
        if (columns < 0) continue;
        utf8_grapheme(s, utf8_encode(cp, s), &ours);
        known++;
        other += ours != columns;
    }
    setlocale(LC_ALL, "C");
    assert_true(known > 60000);
    if (other > known / 2000) fail_msg("%u of %u differ", other, known);
}

/* ---- the stream ---- */

/* in becomes out, whole, byte by byte, and split at every place. */
static void cleans(const char *in, size_t n, const char *out) {
    struct buf b = {0};
    for (size_t split = 0; split <= n + 1; split++) {
        struct utf8_stream st = {0};
        buf_clear(&b);
        if (split <= n) {
            assert_int_equal(utf8_stream_add(&st, in, split, &b), 0);
            assert_int_equal(utf8_stream_add(&st, in + split, n - split, &b), 0);
        } else {
            for (size_t i = 0; i < n; i++) assert_int_equal(utf8_stream_add(&st, in + i, 1, &b), 0);
        }
        assert_int_equal(utf8_stream_end(&st, &b), 0);
        assert_string_equal(buf_text(&b), out);
        assert_true(utf8_valid(b.data ? b.data : "", b.len));
    }
    buf_free(&b);
}
#define CLEANS(in, out) cleans(in, sizeof in - 1, out)
#define FFFD "\xEF\xBF\xBD"

static void text_passes_as_it_is(void **state) {
    (void)state;
    CLEANS("plain\ttext\nwith é, 漢 and 👨‍👩‍👧‍👦\n",
           "plain\ttext\nwith é, 漢 and 👨‍👩‍👧‍👦\n");
    CLEANS("", "");
    CLEANS("[0m and ]0; are text, \\ too", "[0m and ]0; are text, \\ too");
    CLEANS("really " FFFD " sent", "really " FFFD " sent");
    CLEANS("\xE2\x80\x8Ftext", "\xE2\x80\x8Ftext"); /* a right-to-left mark is part of ordinary text */
}

static void control_sequences_are_removed(void **state) {
    (void)state;
    CLEANS("a\x1b[31mb\x1b[0mc", "abc");
    CLEANS("a\x1b[2J\x1b[H\x1b[?25lb", "ab");
    CLEANS("a\x1b[38:2:1:2:3mb", "ab");
    CLEANS("a\x1b[1 qb", "ab");
    CLEANS("a\x1b]0;title\x07"
           "b",
           "ab");
    CLEANS("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb");
    CLEANS("a\x1b]52;c;AAAA\xC2\x9C"
           "b",
           "ab");
    CLEANS("a\x1bPq#0\x1b\\b", "ab");
    CLEANS("a\x1b_Gi=1;AAAA\x1b\\b", "ab");
    CLEANS("a\x1b^pm\x1b\\\x1bXsos\x1b\\b", "ab");
    CLEANS("a\x1bktitle\x1b\\b", "ab");
    CLEANS("a\x1b(0b\x1b)Bc\x1b#8d", "abcd");
    CLEANS("a\x1b"
           "7b\x1b"
           "8c\x1b=d\x1b"
           "ce",
           "abcde");
    CLEANS("a\x1b\x1b[1mb", "ab");
    CLEANS("a\x1b]x\x1b[31mb", "ab");
    CLEANS("a\xC2\x9B"
           "31mb",
           "ab"); /* CSI as one C1 character */
    CLEANS("a\xC2\x9D"
           "0;t\x07"
           "b",
           "ab");
    CLEANS("a\xC2\x90q\xC2\x9C"
           "b",
           "ab");
}

static void other_controls_are_removed(void **state) {
    (void)state;
    CLEANS("a\0b\x01\x08\x0B\x0C\x0E\x7F"
           "c\r\n",
           "abc\n");
    CLEANS("a\xC2\x80\xC2\x84\xC2\x85\xC2\x9A"
           "b",
           "ab");
    CLEANS("\xE2\x80\xAE"
           "evil\xE2\x80\xAC \xE2\x81\xA6x\xE2\x81\xA9\xE2\x80\xAA",
           "evil x");
}

static void a_sequence_that_never_ends_loses_no_more_than_its_line(void **state) {
    (void)state;
    CLEANS("a\x1b]never\nb", "a\nb");
    CLEANS("a\x1b[12\nb", "a\nb");
    CLEANS("a\x1b", "a");
    CLEANS("a\x1b[", "a");
    CLEANS("a\x1b\nb", "a\nb");
    CLEANS("a\x1b[1\x18"
           "b",
           "ab");
    CLEANS("a\x1b]x\x1a"
           "b",
           "ab");
    CLEANS("a\x1b[1é", "aé");
    CLEANS("a\x1bé", "aé");
    CLEANS("a\x1b(é", "aé");
    CLEANS("a\x1b]ünder\x07"
           "b",
           "ab");
}

static void broken_bytes_become_one_mark_each(void **state) {
    (void)state;
    CLEANS("a\xFF"
           "b",
           "a" FFFD "b");
    CLEANS("a\xC3"
           "b",
           "a" FFFD "b");
    CLEANS("a\xE2\x82"
           "b",
           "a" FFFD "b"); /* one for the part of a character, as Unicode recommends */
    CLEANS("a\xF0\x9F\x92", "a" FFFD);
    CLEANS("\xE2\x82\xE2\x82\xAC", FFFD "€");
    CLEANS("\xED\xA0\x80", FFFD FFFD FFFD);
    CLEANS("\xC0\x80", FFFD FFFD);
    CLEANS("\x9B"
           "31m",
           FFFD "31m"); /* a raw C1 byte is no character */
    CLEANS("\xC3\x1b[31mx", FFFD "x");
}

/* Whatever comes in, what goes out is valid and holds no control character. */
static void random_bytes_never_get_a_control_through(void **state) {
    (void)state;
    static const char pool[] =
        "\x1b\x1b\x1b[[]P\\;0m1\x07\x18\n\t ab\x7f\xC2\x9B\x9C\xE2\x80\xAE\x81\xA6\xF0\x9F\x92\xA9\xFF";
    uint32_t random = 12345;
    struct buf b = {0};
    for (int round = 0; round < 2000; round++) {
        struct utf8_stream st = {0};
        buf_clear(&b);
        for (int i = 0; i < 100; i++) {
            random = random * 1664525u + 1013904223u;
            utf8_stream_add(&st, &pool[(random >> 16) % (sizeof pool - 1)], 1, &b);
        }
        utf8_stream_end(&st, &b);
        assert_true(utf8_valid(b.data ? b.data : "", b.len));
        for (size_t i = 0; i < b.len;) {
            uint32_t cp;
            i += utf8_decode(b.data + i, b.len - i, &cp);
            bool control = (cp < 32 && cp != '\n' && cp != '\t') || (cp >= 127 && cp < 160) ||
                           (cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069);
            assert_false(control);
        }
    }
    buf_free(&b);
}

static void a_text_in_a_message_is_one_short_clean_line(void **state) {
    (void)state;
    char out[16];
    assert_string_equal(utf8_show("short", out, sizeof out), "short");
    assert_string_equal(utf8_show("two\nlines\tx", out, sizeof out), "two lines x");
    assert_string_equal(utf8_show("\x1b[31mred\x1b[0m", out, sizeof out), "red");
    assert_string_equal(utf8_show("exactly fifteen", out, sizeof out), "exactly fifteen");
    assert_string_equal(utf8_show("exactly sixteen!", out, sizeof out), "exactly sixt...");
    assert_string_equal(utf8_show("漢漢漢漢漢漢漢", out, sizeof out), "漢漢漢漢...");
    assert_string_equal(utf8_show("", out, sizeof out), "");
}

/* ---- normal form, names ---- */

static void composed(const char *in, const char *out) {
    struct buf b = {0};
    buf_add_text(&b, "<");
    assert_int_equal(utf8_nfc(in, strlen(in), &b), 0);
    assert_string_equal(b.data + 1, out);
    buf_free(&b);
}

static void text_is_composed_and_broken_text_left_alone(void **state) {
    (void)state;
    composed("e\xCC\x81t\xC3\xA9", "été");
    composed("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "한");
    composed("\xE2\x84\xAB", "Å"); /* the Angstrom sign is an A with ring */
    composed("ﬁ", "ﬁ");            /* a ligature stays: that is NFKC's */
    composed("e\xCC\x81\xFF", "e\xCC\x81\xFF");
    composed("", "");
}

static void a_misspelt_name_finds_the_one_that_was_meant(void **state) {
    (void)state;
    static const char *const names[] = {"temp", "top_p", "top_k", "seed", "repeat_penalty", "min_p", "-m", "rex"};
    static const struct {
        const char *word, *meant;
    } cases[] = {
        {"temp", "temp"},
        {"tmep", "temp"},
        {"Temp", "temp"},
        {"tem", "temp"},
        {"temperature", "temp"},
        {"top-p", "top_p"},
        {"topk", "top_k"},
        {"rep", "repeat_penalty"}, /* an abbreviation, though "rex" is nearer by its letters */
        {"sed", "seed"},
        {"sede", "seed"},
        {"repeat_penalyt", "repeat_penalty"},
        {"repeat", "repeat_penalty"},
        {"minp", "min_p"},
        {"-M", "-m"},
        {"-x", NULL},
        {"engine", NULL},
        {"x", NULL},
        {"", NULL},
        {"zzzzzzzzzz", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *found = utf8_nearest(cases[i].word, names, sizeof names / sizeof *names);
        if (!found != !cases[i].meant || (found && strcmp(found, cases[i].meant)))
            fail_msg("%s: %s", cases[i].word, found ? found : "none");
    }
    static const char *const alike[] = {"x.y", "x_y"};
    assert_string_equal(utf8_nearest("X-Y", alike, 2), "x_y");
    char longest[400];
    memset(longest, 't', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_null(utf8_nearest(longest, names, sizeof names / sizeof *names));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_survives_encoding_and_decoding),
        cmocka_unit_test(bytes_decode_as_a_naive_decoder_has_them),
        cmocka_unit_test(the_start_of_a_character_is_told_from_a_broken_one),
        cmocka_unit_test(a_grapheme_is_one_whatever_it_is_made_of),
        cmocka_unit_test(neighbours_are_not_joined),
        cmocka_unit_test(a_text_is_as_wide_as_its_graphemes),
        cmocka_unit_test(columns_are_those_of_the_c_library),
        cmocka_unit_test(text_passes_as_it_is),
        cmocka_unit_test(control_sequences_are_removed),
        cmocka_unit_test(other_controls_are_removed),
        cmocka_unit_test(a_sequence_that_never_ends_loses_no_more_than_its_line),
        cmocka_unit_test(broken_bytes_become_one_mark_each),
        cmocka_unit_test(random_bytes_never_get_a_control_through),
        cmocka_unit_test(a_text_in_a_message_is_one_short_clean_line),
        cmocka_unit_test(text_is_composed_and_broken_text_left_alone),
        cmocka_unit_test(a_misspelt_name_finds_the_one_that_was_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
