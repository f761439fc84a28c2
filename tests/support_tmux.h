/* support_tmux: a program in a terminal that a test can read: a detached tmux server of its own, killed at the end.
 *
 * Nothing sleeps for a fixed time: waiting polls the screen until it shows what is wanted, and fails the test with the screen's
 * text where it never does. */
#ifndef TESTS_SUPPORT_TMUX_H
#define TESTS_SUPPORT_TMUX_H

#include <stdbool.h>

/* Runs a shell command in a terminal of that size. The environment is clean: no inputrc but $INPUTRC (default none), HOME and the
 * XDG folders inside tmux_folder(), TERM=tmux-256color. One at a time. Skips the test where tmux is missing. */
void tmux_start(int columns, int rows, const char *command);
void tmux_stop(void);                  /* also removes the folder; safe when nothing runs */
const char *tmux_folder(void);         /* a fresh empty folder for this run; made by tmux_start or the first call */

void tmux_key(const char *key);        /* by tmux's names: "Enter", "C-c", "PPage", "M-Enter" */
void tmux_type(const char *text);      /* as typed */
void tmux_bytes(const char *bytes);    /* the same, unchanged: control characters too */
void tmux_paste(const char *text);     /* bracketed, where the program asked for that */
void tmux_resize(int columns, int rows);

const char *tmux_screen(void);         /* what is shown now, rows ended by newlines; until the next call */
const char *tmux_colors(void);         /* the same with its escape sequences */
const char *tmux_format(const char *format); /* tmux's own knowledge of the pane, "#{cursor_y}" */

typedef bool tmux_predicate(const char *screen, const void *arg);
void tmux_until(tmux_predicate *p, const void *arg, const char *what);
void tmux_see(const char *text);       /* until it is on the screen */
void tmux_see_no(const char *text);    /* until it is not */

#endif
