/* script_input: the prompts of a script, from arguments, files and stdin. Main thread. */
#ifndef APP_SCRIPT_INPUT_H
#define APP_SCRIPT_INPUT_H

#include <stdbool.h>

#include "config/buf.h"
#include "config/err.h"
#include "config/settings.h"

struct script_input {
    struct buf given;      /* -p, -f and the words of the command line, a blank line between them */
    bool has_given;        /* there was one of them, if an empty one */
    bool read_stdin;       /* stdin belongs to the prompt, or holds the turns */
    bool turns;            /* --turns */
    char separator;        /* between turns: a newline or NUL */
    bool begun;
    bool quiet;            /* do not say that stdin is waited for */
    char *record; size_t record_bytes; /* getdelim's */
};

/* words: the message on the command line, or NULL. name_stdin: read stdin even from a terminal. ERR_FILE: -f cannot be read. */
int script_input_open(struct script_input *in, const struct settings *s, const char *words, bool name_stdin, struct err *e);
void script_input_close(struct script_input *in);

/* The next prompt, valid UTF-8, into text (cleared first). *got: there is one. Without --turns there is at most one: what was given, then
 * stdin after a blank line; where that keeps one waiting, stderr says so. Reads no further than it must, so that a program can write a
 * line, read the reply, and write the next. ERR_CANCELLED: interrupted. */
int script_input_next(struct script_input *in, struct buf *text, bool *got, struct err *e);

#endif
