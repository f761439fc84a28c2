/* script_output: what a script says. stdout has the answer and nothing else; everything for people goes to stderr. Main thread.
 *
 * While an answer is written nothing goes to stderr but progress on a terminal: notices wait for the answer's end, so that the two do not mix
 * on a screen, and so that a reader who closes the pipe finds stderr empty. */
#ifndef APP_SCRIPT_OUTPUT_H
#define APP_SCRIPT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/buf.h"

struct script_output {
    bool quiet;            /* nothing for people but errors */
    bool on_terminal;      /* stderr is one: progress overwrites itself there */
    char separator;        /* after each answer: a newline, or NUL */
    size_t held_newlines;  /* at the end of the answer so far: written only when more follows, since one ends it */
    int failed;            /* errno of the first write to stdout that did not succeed, else 0; nothing is written after it */
    struct buf pending;    /* on its way to stdout */
    struct buf notices;
    bool progress_shown;
    double progress_us;    /* when progress was last written */
};

void script_output_init(struct script_output *o, bool quiet, char separator);
void script_output_free(struct script_output *o);

void script_output_text(struct script_output *o, const char *text, size_t n); /* a part of the answer, flushed */
void script_output_end(struct script_output *o);                              /* ends the answer with the separator */
void script_output_line(struct script_output *o, const char *text, size_t n); /* a line of its own on stdout: JSON */

void script_output_notice(struct script_output *o, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* one line, for later */
void script_output_notices(struct script_output *o);                          /* writes what waits */
/* What is going on, as a line that the next one replaces; on a terminal at once, elsewhere at most every two seconds. "" removes it. */
void script_output_progress(struct script_output *o, const char *text);

#endif
