/* wrap: see wrap.h. A line can always be wrapped again from its own start: what stands before it does not matter. */
#include "ui/wrap.h"

#include "config/utf8.h"

size_t wrap_grapheme(const char *s, size_t n, int col, int *width) {
    *width = 0;
    if (n == 0) return 0;
    unsigned char c = (unsigned char)s[0];
    if (c >= 0x20 && c < 0x7f && (n == 1 || (unsigned char)s[1] < 0x80)) {
        *width = 1; /* most text: nothing that follows can join this character */
        return 1;
    }
    if (c < 0x20 || c == 0x7f) {
        *width = c == '\n' ? 0 : c == '\t' ? 4 - col % 4 : 2;
        return 1;
    }
    return utf8_grapheme(s, n, width);
}

static size_t skip_blanks(const char *s, size_t n, size_t at) {
    while (at < n && (s[at] == ' ' || s[at] == '\t')) at++;
    return at;
}

bool wrap_line(const char *s, size_t n, size_t from, int width, enum wrap_how how, size_t *end, size_t *next) {
    size_t at = from, len, break_end = 0, break_next = 0; /* the last place between two words */
    int col = 0, w;
    bool word = false;
    for (; at < n; at += len, col += w) {
        len = wrap_grapheme(s + at, n - at, col, &w);
        if (s[at] == '\n') {
            *end = at, *next = at + 1;
            return true;
        }
        bool blank = s[at] == ' ' || s[at] == '\t';
        if (how == WRAP_WORDS && blank && word) {
            size_t after = skip_blanks(s, n, at);
            break_end = at, break_next = after;
            if (col + w > width && (after == n || s[after] == '\n')) { /* blanks that end a full line */
                *end = at, *next = after == n ? n : after + 1;
                return after < n;
            }
        }
        if (how == WRAP_WORDS && w == 2 && at > from && word) break_end = break_next = at; /* between ideographs */
        if (col + w > width && at > from) {
            bool at_word = break_next > from;
            *end = at_word ? break_end : at, *next = at_word ? break_next : at;
            return true;
        }
        if (!blank) word = true;
        if (how == WRAP_WORDS && w == 2) break_end = break_next = at + len;
    }
    *end = *next = n;
    return false;
}
