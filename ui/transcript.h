/* transcript: what was said, as rows of a given width, and which of them are in view. No curses here.
 *
 * An entry keeps its wrapped lines; adding text wraps again from its last line alone. The view follows the end until the
 * reader scrolls away, then stays at an anchor in the text, which a change of the width keeps. Main thread only. */
#ifndef UI_TRANSCRIPT_H
#define UI_TRANSCRIPT_H

#include "ui/ui.h"

enum transcript_kind { TRANSCRIPT_BLANK, TRANSCRIPT_RULE, TRANSCRIPT_TEXT, TRANSCRIPT_MARK };

/* One row. text is borrowed until the transcript changes. */
struct transcript_row {
    enum transcript_kind kind;
    enum ui_role role;
    bool first;        /* of its entry: carries the role's sign */
    bool left;         /* the model no longer sees it */
    int indent;        /* columns before the text: a notice's columns stay columns where a line is wrapped */
    const char *text;
    size_t n;
};

struct transcript;
int transcript_open(struct transcript **out, struct err *e);
void transcript_close(struct transcript *t); /* NULL is fine */

/* As ui_add, ui_append, ... of ui.h. Text of any kind: what a terminal must not see is removed. ERR_MEMORY. */
int transcript_add(struct transcript *t, uint64_t id, enum ui_role role, const char *text);
int transcript_append(struct transcript *t, uint64_t id, const char *text, size_t n);
void transcript_mark(struct transcript *t, uint64_t id, const char *note);
void transcript_remove_from(struct transcript *t, uint64_t id);
void transcript_clear(struct transcript *t);
void transcript_context_begins(struct transcript *t, uint64_t id);

/* Columns of a row without the signs, and rows in view. The reader's place is kept. */
void transcript_resize(struct transcript *t, int width, int height);
void transcript_scroll(struct transcript *t, long rows); /* < 0: towards the beginning */
void transcript_to_start(struct transcript *t);
void transcript_to_end(struct transcript *t);

size_t transcript_rows(const struct transcript *t);      /* of all entries */
size_t transcript_top(const struct transcript *t);       /* first row in view */
size_t transcript_below(const struct transcript *t);     /* rows below the view */
bool transcript_get(const struct transcript *t, size_t row, struct transcript_row *out); /* false: no such row */

#endif
