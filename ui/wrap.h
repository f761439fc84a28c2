/* wrap: text as lines of a given width, by grapheme. Pure functions, any thread. */
#ifndef UI_WRAP_H
#define UI_WRAP_H

#include <stdbool.h>
#include <stddef.h>

enum wrap_how {
    WRAP_WORDS, /* breaks between words where it can; blanks at a line's end take no room */
    WRAP_HARD,  /* breaks anywhere and hides nothing: for text that is being edited */
};

/* The grapheme at s: its length in bytes, its columns when it begins at column col (a tab reaches the next multiple of 4, a
 * control character is two columns, as ^X). A newline is 0 columns. 0 where n is 0. */
size_t wrap_grapheme(const char *s, size_t n, int col, int *width);

/* The line of s[0..n) that begins at `from`: where its visible part ends (*end), and where the next line begins. Returns false
 * where this is the last line (then *next is n). A text that ends in a newline has an empty last line. width >= 1. */
bool wrap_line(const char *s, size_t n, size_t from, int width, enum wrap_how how, size_t *end, size_t *next);

#endif
