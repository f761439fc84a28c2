/* Tests of ui/wrap and ui/transcript: lines, rows, the reader's place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "config/utf8.h"
#include "ui/transcript.h"
#include "ui/wrap.h"

/* The lines of a text, joined by '|'. */
static const char *wrapped(const char *s, int width, enum wrap_how how) {
    static char out[4096];
    size_t n = strlen(s), from = 0, end, next, at = 0;
    for (bool more = true; more; from = next) {
        more = wrap_line(s, n, from, width, how, &end, &next);
        assert_true(end >= from && next >= end && next <= n && (next > from || !more));
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%.*s", from || at ? "|" : "", (int)(end - from), s + from);
    }
    return out;
}

static void lines_break_between_words(void **state) {
    (void)state;
    assert_string_equal(wrapped("the quick brown fox", 10, WRAP_WORDS), "the quick|brown fox");
    assert_string_equal(wrapped("the quick brown fox", 9, WRAP_WORDS), "the quick|brown fox");
    assert_string_equal(wrapped("abcdefghij", 4, WRAP_WORDS), "abcd|efgh|ij");
    assert_string_equal(wrapped("to abcdefghij", 4, WRAP_WORDS), "to|abcd|efgh|ij");
    assert_string_equal(wrapped("full    \nnext", 4, WRAP_WORDS), "full|next");
    assert_string_equal(wrapped("    if (x)\n        y();", 20, WRAP_WORDS), "    if (x)|        y();");
    assert_string_equal(wrapped("", 5, WRAP_WORDS), "");
    assert_string_equal(wrapped("a\n\nb\n", 5, WRAP_WORDS), "a||b|");
    assert_string_equal(wrapped("a bc  def", 4, WRAP_HARD), "a bc|  de|f");
}

static void wide_and_joined_characters_are_never_cut(void **state) {
    (void)state;
    assert_string_equal(wrapped("日本語です", 4, WRAP_WORDS), "日本|語で|す");
    assert_string_equal(wrapped("日本語です", 5, WRAP_WORDS), "日本|語で|す");
    assert_string_equal(wrapped("日abc", 4, WRAP_WORDS), "日|abc");
    assert_string_equal(wrapped("日本", 1, WRAP_WORDS), "日|本"); /* wider than the line: one a line all the same */
    assert_string_equal(wrapped("e\u0301e\u0301e\u0301", 2, WRAP_WORDS), "e\u0301e\u0301|e\u0301");
    assert_string_equal(wrapped("\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466x", 2, WRAP_WORDS),
                        "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466|x");
    int w;
    assert_int_equal(wrap_grapheme("\t", 1, 3, &w), 1);
    assert_int_equal(w, 1);
    assert_int_equal(wrap_grapheme("\033", 1, 0, &w), 1);
    assert_int_equal(w, 2);
}

static const char *const pieces[] = {"a", "word ", "longerword ", "\n", "日本", "e\u0301", "\U0001F44D\U0001F3FD", " ", "  ", "\t", "\u0301",
                                     "\U0001F468\u200D\U0001F469", "\u200D", "x", "\xff", "\xe6\x97"};
enum { N_PIECES = sizeof pieces / sizeof pieces[0] };

static unsigned seed;
static unsigned any(unsigned n) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % n;
}

static void every_visible_character_is_on_exactly_one_line_and_fits(void **state) {
    (void)state;
    for (seed = 1; seed < 400; seed++) {
        unsigned keep = seed;
        struct buf b = {0};
        for (unsigned i = any(60); i > 0; i--) buf_add_text(&b, pieces[any(N_PIECES)]);
        int width = (int)any(30) + 4; /* no character is wider */
        for (int how = WRAP_WORDS; how <= WRAP_HARD; how++) {
            size_t from = 0, end, next;
            for (bool more = true; more; from = next) {
                more = wrap_line(buf_text(&b), b.len, from, width, (enum wrap_how)how, &end, &next);
                int column = 0, w;
                for (size_t at = from, len; at < end; at += len, column += w) len = wrap_grapheme(b.data + at, end - at, column, &w);
                if (how == WRAP_HARD) assert_true(column <= width);
                for (size_t at = end; at < next; at++) /* hidden: blanks and the newline alone */
                    assert_true(how == WRAP_WORDS ? strchr(" \t\n", b.data[at]) != NULL : b.data[at] == '\n');
                while (end > from && (b.data[end - 1] == ' ' || b.data[end - 1] == '\t')) end--;
                column = 0;
                for (size_t at = from, len; at < end; at += len, column += w) len = wrap_grapheme(b.data + at, end - at, column, &w);
                assert_true(column <= width);
            }
        }
        buf_free(&b);
        seed = keep;
    }
}

/* ---- transcript ---- */

static struct transcript *open_one(int width, int height) {
    struct transcript *t;
    assert_int_equal(transcript_open(&t, NULL), 0);
    transcript_resize(t, width, height);
    return t;
}

/* All rows as text: '>' before a first row of the user, '-' a rule, '~' a mark, '%' before what has left. */
static char *render(const struct transcript *t) {
    struct buf b = {0};
    struct transcript_row r;
    for (size_t i = 0; transcript_get(t, i, &r); i++) {
        buf_printf(&b, "%s%s%s%.*s\n", r.left ? "%" : "", r.first && r.role == UI_USER ? ">" : "",
                   r.kind == TRANSCRIPT_RULE ? "-" : r.kind == TRANSCRIPT_MARK ? "~" : "", (int)r.n, r.text);
    }
    char *s = buf_take(&b);
    return s ? s : strdup("");
}

static void assert_renders(const struct transcript *t, const char *want) {
    char *got = render(t);
    assert_string_equal(got, want);
    free(got);
}

static void entries_have_signs_blanks_marks_and_the_line_of_the_context(void **state) {
    (void)state;
    struct transcript *t = open_one(10, 5);
    transcript_add(t, 7, UI_USER, "hello there friend");
    transcript_add(t, 3, UI_ASSISTANT, "hi");
    transcript_mark(t, 3, "stopped");
    transcript_add(t, 9, UI_NOTICE, "one");
    transcript_add(t, 10, UI_NOTICE, "two\n\n");
    assert_renders(t, ">hello\nthere\nfriend\n\nhi\n~stopped\n\none\ntwo\n");
    transcript_context_begins(t, 9);
    assert_renders(t, "%>hello\n%there\n%friend\n%\n%hi\n%~stopped\n\n-\none\ntwo\n");
    transcript_mark(t, 3, "");
    transcript_context_begins(t, 0);
    transcript_remove_from(t, 9);
    assert_renders(t, ">hello\nthere\nfriend\n\nhi\n");
    transcript_add(t, 9, UI_ERROR, "a\033[2Jb\xff");
    assert_renders(t, ">hello\nthere\nfriend\n\nhi\n\nab\uFFFD\n");
    transcript_clear(t);
    assert_int_equal(transcript_rows(t), 0);
    transcript_close(t);
}

static void streamed_text_wraps_as_text_that_came_at_once(void **state) {
    (void)state;
    for (seed = 1; seed < 300; seed++) {
        unsigned keep = seed;
        int width = (int)any(25) + 1;
        struct transcript *a = open_one(width, 5), *b = open_one(width, 5);
        struct buf all = {0};
        transcript_add(a, 1, UI_ASSISTANT, "");
        for (unsigned i = any(80); i > 0; i--) {
            const char *p = pieces[any(N_PIECES)];
            buf_add_text(&all, p);
            assert_int_equal(transcript_append(a, 1, p, strlen(p)), 0);
        }
        transcript_add(b, 1, UI_ASSISTANT, buf_text(&all));
        char *want = render(b);
        assert_renders(a, want);
        assert_int_equal(transcript_rows(a), transcript_rows(b));
        free(want);
        buf_free(&all);
        transcript_close(a);
        transcript_close(b);
        seed = keep;
    }
}

/* Were the whole text wrapped again for each piece, this would take minutes. */
static void adding_to_a_hundred_thousand_lines_wraps_the_last_alone(void **state) {
    (void)state;
    struct transcript *t = open_one(40, 10);
    struct buf b = {0};
    for (int i = 0; i < 100000; i++) buf_printf(&b, "line %d\n", i);
    transcript_add(t, 1, UI_ASSISTANT, buf_text(&b));
    for (int i = 0; i < 20000; i++) transcript_append(t, 1, "and on ", 7);
    assert_int_equal(transcript_rows(t), 100000 + (2 * 20000 + 10) / 11); /* eleven of the words are 37 or 38 columns */
    assert_int_equal(transcript_top(t), transcript_rows(t) - 10);
    buf_free(&b);
    transcript_close(t);
}

static struct transcript *numbered(int n, int width, int height) {
    struct transcript *t = open_one(width, height);
    for (int i = 1; i <= n; i++) {
        char text[80];
        snprintf(text, sizeof text, "entry %d goes on for some words so that it wraps", i);
        transcript_add(t, (uint64_t)i, i % 2 ? UI_USER : UI_ASSISTANT, text);
    }
    return t;
}

static const char *top_text(const struct transcript *t) {
    static char out[200];
    struct transcript_row r;
    assert_true(transcript_get(t, transcript_top(t), &r));
    snprintf(out, sizeof out, "%.*s", (int)r.n, r.text);
    return out;
}

static void the_view_follows_the_end_until_the_reader_scrolls_away(void **state) {
    (void)state;
    struct transcript *t = numbered(50, 80, 10);
    assert_int_equal(transcript_below(t), 0);
    transcript_append(t, 50, "\nmore\nand more", 14);
    assert_int_equal(transcript_below(t), 0);
    transcript_scroll(t, -7);
    size_t top = transcript_top(t);
    assert_int_equal(transcript_below(t), 7);
    transcript_append(t, 50, "\nmore\nand more", 14);
    transcript_add(t, 51, UI_NOTICE, "something");
    assert_int_equal(transcript_top(t), top);
    transcript_scroll(t, 1000);
    assert_int_equal(transcript_below(t), 0);
    transcript_append(t, 51, "\nx", 2);
    assert_int_equal(transcript_below(t), 0);
    transcript_scroll(t, -1000000);
    assert_int_equal(transcript_top(t), 0);
    assert_string_equal(top_text(t), "entry 1 goes on for some words so that it wraps");
    transcript_to_end(t);
    assert_int_equal(transcript_below(t), 0);
    transcript_to_start(t);
    assert_int_equal(transcript_top(t), 0);
    transcript_close(t);
}

static void a_resize_keeps_the_readers_place(void **state) {
    (void)state;
    struct transcript *t = numbered(100, 20, 10);
    transcript_to_start(t);
    transcript_scroll(t, 90);
    while (strncmp(top_text(t), "entry", 5) != 0) transcript_scroll(t, 1);
    char begin[9];
    snprintf(begin, sizeof begin, "%.8s", top_text(t));
    const int widths[] = {80, 12, 40, 1, 33, 20};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        transcript_resize(t, widths[i], 5 + (int)i * 7);
        assert_int_equal(top_text(t)[0], begin[0]);
    }
    assert_memory_equal(top_text(t), begin, 8);
    transcript_context_begins(t, 5); /* a row more above */
    assert_memory_equal(top_text(t), begin, 8);
    transcript_to_end(t);
    transcript_resize(t, 7, 3);
    assert_int_equal(transcript_below(t), 0);
    transcript_close(t);
}

static void removing_what_is_read_goes_to_the_end(void **state) {
    (void)state;
    struct transcript *t = numbered(100, 20, 10);
    transcript_scroll(t, -5);
    transcript_remove_from(t, 20);
    assert_int_equal(transcript_below(t), 0);
    transcript_to_start(t);
    transcript_remove_from(t, 10);
    assert_int_equal(transcript_top(t), 0);
    transcript_remove_from(t, 1);
    assert_int_equal(transcript_rows(t), 0);
    transcript_scroll(t, -3);
    transcript_scroll(t, 3);
    transcript_close(t);
}

static void rows_agree_with_a_count_of_each_entry(void **state) {
    (void)state;
    struct transcript *t = numbered(60, 24, 10);
    size_t rows = 0, blanks = 0, firsts = 0;
    struct transcript_row r;
    for (; transcript_get(t, rows, &r); rows++) blanks += r.kind == TRANSCRIPT_BLANK, firsts += r.first;
    assert_int_equal(rows, transcript_rows(t));
    assert_int_equal(blanks, 59);
    assert_int_equal(firsts, 60);
    transcript_close(t);
}

static void a_notices_columns_stay_columns_where_its_lines_are_wrapped(void **state) {
    (void)state;
    struct transcript *t = open_one(20, 10);
    struct transcript_row r;
    transcript_add(t, 1, UI_NOTICE, "/new    begins another one\n/x  not so far to the right as it is");
    assert_renders(t, "/new    begins\nanother one\n/x  not so far to\nthe right as it\nis\n");
    const int indents[] = {0, 8, 0, 4, 4};
    for (size_t i = 0; transcript_get(t, i, &r); i++) assert_int_equal(r.indent, indents[i]);
    transcript_clear(t);
    transcript_add(t, 1, UI_NOTICE, "a long first column  of words");
    assert_true(transcript_get(t, 1, &r));
    assert_int_equal(r.indent, 0); /* there is no column yet where it breaks */
    transcript_clear(t);
    transcript_add(t, 1, UI_ASSISTANT, "what  is said is never indented");
    assert_true(transcript_get(t, 1, &r));
    assert_int_equal(r.indent, 0);
    transcript_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_break_between_words),
        cmocka_unit_test(wide_and_joined_characters_are_never_cut),
        cmocka_unit_test(every_visible_character_is_on_exactly_one_line_and_fits),
        cmocka_unit_test(entries_have_signs_blanks_marks_and_the_line_of_the_context),
        cmocka_unit_test(streamed_text_wraps_as_text_that_came_at_once),
        cmocka_unit_test(adding_to_a_hundred_thousand_lines_wraps_the_last_alone),
        cmocka_unit_test(the_view_follows_the_end_until_the_reader_scrolls_away),
        cmocka_unit_test(a_resize_keeps_the_readers_place),
        cmocka_unit_test(removing_what_is_read_goes_to_the_end),
        cmocka_unit_test(a_notices_columns_stay_columns_where_its_lines_are_wrapped),
        cmocka_unit_test(rows_agree_with_a_count_of_each_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
