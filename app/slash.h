/* slash: the commands that begin with a slash, from one table. It knows no screen: what a command has to say goes through a
 * callback, and what its caller must do then is told by flags, so that chat and scripts share it. Main thread. */
#ifndef APP_SLASH_H
#define APP_SLASH_H

#include <stdbool.h>
#include <stddef.h>

#include "app/app.h"
#include "app/conversation.h"
#include "config/buf.h"
#include "config/err.h"

/* What the caller must do after a command, in this order. */
enum slash_todo {
    SLASH_LOAD = 1,      /* load the model again: another file, or settings that are fixed when it is opened */
    SLASH_SWITCHED = 2,  /* s->conversation is another one: clear the session, restore its snapshot */
    SLASH_SHOW = 4,      /* show the branch anew */
    SLASH_CUT = 8,       /* the branch ends earlier than it did */
    SLASH_REPLY = 16,    /* have the last user message answered */
    SLASH_THEME = 32,
    SLASH_LEAVE = 64,
};

/* What commands work on. */
struct slash {
    struct app *app;
    struct conversation *conversation; /* /new, /load and /persona may close it and put another here */
    const struct worker_message *mark; /* of the last reply's prompt, for /context; NULL: none */
    size_t n_marks, first_mark;        /* mark[0] is message first_mark of the branch */
    void (*print)(void *ctx, const char *text); /* one or more lines, without a final newline */
    void *ctx;
};

/* A line that is a command: it begins with one slash. */
bool slash_is_command(const char *line);
/* A line that is a message: with a slash before its own first slash taken off. Points into line. */
const char *slash_message(const char *line);

/* Runs a command line. busy: a reply is being written, so commands that change the conversation are refused. *todo: see above, 0 after an
 * error. ERR_USAGE: unknown (with the nearest name), or wrong arguments (with the right ones). */
int slash_run(struct slash *s, const char *line, bool busy, unsigned *todo, struct err *e);

/* What may stand for word at the end of line: commands, then by command personas, titles, settings, modes. NULL-ended, all malloc'd; NULL: nothing. */
char **slash_complete(struct slash *s, const char *line, const char *word);

void slash_help(struct buf *out); /* a line for each command */

#endif
