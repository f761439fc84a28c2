/* input: the line being typed, kept by readline through its callback interface. Main thread only; one at a time, as
 * readline itself.
 *
 * Whoever owns the terminal feeds it (the screen: byte by byte; the line front end lets readline read) and acts on what comes
 * back. The user's inputrc is read after our bindings, so it wins; its conditions may name kvetch. */
#ifndef UI_INPUT_H
#define UI_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/err.h"

enum input_action {
    INPUT_NONE,
    INPUT_LINE,      /* Enter: input_take has it */
    INPUT_END,       /* Ctrl-D on an empty line, or the terminal is gone */
    INPUT_INTERRUPT, /* Ctrl-C */
    INPUT_SUSPEND,   /* Ctrl-Z */
    INPUT_EDITOR,    /* Ctrl-G */
    INPUT_REDRAW,    /* Ctrl-L */
    INPUT_PAGE_UP,
    INPUT_PAGE_DOWN,
    INPUT_TO_START,
    INPUT_TO_END,
};

struct input_options {
    bool own_display;     /* readline draws the line itself (the line front end) */
    const char *prompt;
    const char *history;  /* file, or NULL */
    void *ctx;
    char **(*complete)(void *ctx, const char *line, const char *word); /* as in ui.h */
    void (*matches)(void *ctx, char **match, int n);                   /* to be shown; not own_display */
};
int input_open(const struct input_options *o, struct err *e);
void input_close(void);

enum input_action input_feed(unsigned char byte, bool more); /* a byte that was typed; whether more of its sequence are there */
enum input_action input_read(void);               /* own_display: readline reads what stdin has */
char *input_take(void);                           /* the line that was entered, valid UTF-8; the caller frees; NULL: none */

void input_insert(const char *text, size_t n);    /* a paste, at the cursor; cleaned */
void input_replace(const char *text);
/* Ctrl-C at the prompt, and a message that comes back: what was typed goes into the history. False where there was nothing. */
bool input_drop(void);
bool input_searching(void);                       /* an incremental search is on: readline's own keys win */

/* For drawing: the prompt as it is now (a search has its own), the text, the cursor's byte. Borrowed until the next byte. */
void input_view(const char **prompt, const char **text, size_t *n, size_t *cursor);
bool input_empty(void);

/* own_display: takes the prompt off the terminal before other text is written, and puts it back after. */
void input_hide(void);
void input_show(void);

#endif
