/* stream: from generated tokens to the text of a reply.
 *
 * Bytes become text only as whole, clean UTF-8; what may be the beginning of a stop string is held back until it is
 * known not to be. Nothing allocates while the text stays within what was reserved. One thread. */
#ifndef MODEL_STREAM_H
#define MODEL_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/buf.h"
#include "config/utf8.h"
#include "model/vocab.h"

struct stream {
    const struct vocab *vocab;
    const char *const *stop;
    size_t n_stop; /* borrowed; empty strings stop nothing */
    struct utf8_stream utf8;
    struct buf piece;  /* bytes of one token */
    struct buf held;   /* clean text that is not shown yet */
    size_t n_clean;    /* bytes of clean text so far, shown, held, or part of the stop string */
    const char *found; /* the stop string that ended the text, or NULL */
};

void stream_init(struct stream *s, const struct vocab *v, const char *const *stop, size_t n_stop);
void stream_free(struct stream *s);
int stream_reserve(struct stream *s, size_t bytes); /* ERR_MEMORY */

/* Adds a token's bytes and appends to text what may be shown. strip_first: drop the blank that a SPM vocabulary puts
 * before a text's first word. s->found is set where a stop string has ended the text; nothing may follow then. */
int stream_add(struct stream *s, int32_t token, bool strip_first, struct buf *text);
/* The text ends: appends what was held. */
int stream_end(struct stream *s, struct buf *text);

#endif
