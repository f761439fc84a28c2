/* stream: see stream.h. */
#include "model/stream.h"

#include <string.h>

void stream_init(struct stream *s, const struct vocab *v, const char *const *stop, size_t n_stop) {
    *s = (struct stream){.vocab = v, .stop = stop, .n_stop = n_stop};
}

void stream_free(struct stream *s) {
    buf_free(&s->piece);
    buf_free(&s->held);
}

int stream_reserve(struct stream *s, size_t bytes) {
    int rc = buf_reserve(&s->piece, bytes);
    return rc ? rc : buf_reserve(&s->held, bytes);
}

/* Where the first stop string begins in the held text, or its length; s->found is the longest of those that begin
 * there. */
static size_t find_stop(struct stream *s) {
    size_t first = s->held.len;
    for (size_t i = 0; i < s->n_stop; i++) {
        const char *at = *s->stop[i] ? strstr(buf_text(&s->held), s->stop[i]) : NULL;
        size_t pos = at ? (size_t)(at - s->held.data) : first;
        if (!at || pos > first || (pos == first && s->found && strlen(s->stop[i]) <= strlen(s->found))) continue;
        first = pos;
        s->found = s->stop[i];
    }
    return first;
}

/* How many bytes at the end of the held text are the beginning of a stop string. */
static size_t possible_stop(const struct stream *s) {
    size_t longest = 0;
    for (size_t i = 0; i < s->n_stop; i++) {
        size_t n = strlen(s->stop[i]);
        for (size_t k = n && n - 1 < s->held.len ? n - 1 : s->held.len; n && k > longest; k--)
            if (!memcmp(s->held.data + s->held.len - k, s->stop[i], k)) longest = k;
    }
    return longest;
}

int stream_add(struct stream *s, int32_t token, bool strip_first, struct buf *text) {
    buf_clear(&s->piece);
    int rc = strip_first ? vocab_decode(s->vocab, &token, 1, false, true, &s->piece)
                         : vocab_piece(s->vocab, token, false, &s->piece);
    size_t before = s->held.len;
    if (rc || (rc = utf8_stream_add(&s->utf8, buf_text(&s->piece), s->piece.len, &s->held))) return rc;
    s->n_clean += s->held.len - before;
    size_t show = find_stop(s);
    if (!s->found) show = s->held.len - possible_stop(s);
    if ((rc = buf_add(text, buf_text(&s->held), show))) return rc;
    if (s->found)
        buf_clear(&s->held);
    else
        buf_cut(&s->held, show);
    return 0;
}

int stream_end(struct stream *s, struct buf *text) {
    if (s->found) return 0;
    int rc = utf8_stream_end(&s->utf8, &s->held);
    if (!rc) rc = buf_add(text, buf_text(&s->held), s->held.len);
    buf_clear(&s->held);
    return rc;
}
