/* terminal: the terminal as curses takes it, and how it is given back. Main thread only. */
#ifndef UI_TERMINAL_H
#define UI_TERMINAL_H

#include <curses.h>

#include "config/err.h"

/* Starts curses; nothing is drawn yet. ERR_FAILED where curses cannot drive this terminal; then nothing has changed. The caller
 * calls delscreen. signals_open must have been called. */
int terminal_open(SCREEN **out, struct err *e);
void terminal_take(void);  /* full screen, mouse and pastes reported; also after terminal_give */
void terminal_give(void);  /* as it was before */
void terminal_measure(int *rows, int *across); /* takes over a size that has changed */

#endif
