/* utf8: text as bytes become characters and columns. The only user of utf8proc. Any thread. */
#ifndef CONFIG_UTF8_H
#define CONFIG_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/buf.h"

/* Decodes one code point of s[0..n). Returns its length in bytes (1..4), 0 where n is 0; *cp is U+FFFD and the
 * length 1 for a byte that starts nothing valid. */
size_t utf8_decode(const char *s, size_t n, uint32_t *cp);
size_t utf8_encode(uint32_t cp, char out[4]); /* bytes written; surrogates and numbers out of range become U+FFFD */
bool utf8_valid(const char *s, size_t n);

/* How many bytes at the end of s[0..n) are the start of a character that is not complete yet: 0..3. */
size_t utf8_incomplete(const char *s, size_t n);

/* The grapheme cluster (extended, UAX 29) that starts at s: its length in bytes, and in *width its terminal
 * columns (0, 1 or 2; control characters are 0). 0 where n is 0. */
size_t utf8_grapheme(const char *s, size_t n, int *width);
/* Columns of a whole text, newlines counting nothing. */
size_t utf8_width(const char *s, size_t n);

/* A stream of bytes on its way to a terminal or a transcript: takes bytes as they come, gives whole, valid UTF-8,
 * with control sequences (ESC ..., CSI, OSC; C0 but \n and \t; C1; DEL) and bidirectional overrides removed and
 * invalid bytes replaced by U+FFFD. Zero it before use. */
struct utf8_stream {
    char held[8];      /* bytes of a character that is not complete */
    unsigned char n_held;
    unsigned char state; /* inside which kind of control sequence */
};
int utf8_stream_add(struct utf8_stream *st, const char *bytes, size_t n, struct buf *out); /* appends; ERR_MEMORY */
int utf8_stream_end(struct utf8_stream *st, struct buf *out); /* what is held at the end is replaced by U+FFFD */

/* NFC form of a text, appended to out. ERR_MEMORY. Invalid UTF-8 is copied as it is. */
int utf8_nfc(const char *s, size_t n, struct buf *out);

/* Copies text into out[0..size) as one line fit for a message: control sequences removed, line ends and tabs as blanks, cut at a
 * whole character with "..." where it is too long. Allocates nothing. Returns out. size >= 8. */
char *utf8_show(const char *text, char *out, size_t size);
/* The same without an end: appends all of text to out. ERR_MEMORY. */
int utf8_add_line(const char *text, struct buf *out);

/* The entry of names[0..n) nearest to word by edit distance (case and _ for - count nothing), or NULL where none is
 * near enough to suggest. */
const char *utf8_nearest(const char *word, const char *const *names, size_t n);

#endif
