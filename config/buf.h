/* buf: a growing run of bytes, always ended by a NUL that len does not count. Not shared between threads.
 *
 * Running out of memory is sticky: the call returns ERR_MEMORY, the content stays, and every later call fails
 * too, so that a run of buf_* calls needs one check, of buf.failed, at its end. */
#ifndef CONFIG_BUF_H
#define CONFIG_BUF_H

#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>

struct buf {
    char *data; /* owned; NULL while nothing was ever added: use buf_text() to read it as a string */
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
    bool failed;
};

/* A buf may be zeroed instead of initialised. buf_free leaves it empty and usable. */
void buf_init(struct buf *b);
void buf_free(struct buf *b);

int buf_reserve(struct buf *b, size_t extra); /* room for that many bytes more, and the NUL */
int buf_add(struct buf *b, const void *bytes, size_t n);
int buf_add_text(struct buf *b, const char *text);
int buf_add_char(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap);
void buf_clear(struct buf *b);               /* len = 0, memory kept */
void buf_cut(struct buf *b, size_t n);       /* drops the first n bytes */
const char *buf_text(const struct buf *b);   /* the content as a string, "" when empty; borrowed until the next change */
char *buf_take(struct buf *b);               /* the content as a malloc'd string; the caller frees; NULL on no memory. Empties b */

#endif
