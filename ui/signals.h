/* signals: signals as bytes in a pipe, and the terminal given back when the program dies of one. Main thread only.
 *
 * Caught: SIGWINCH SIGINT SIGTERM SIGHUP SIGTSTP SIGCONT, handed on through the pipe; a second SIGTERM or SIGHUP that finds the
 * first not yet taken ends the program. SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT give the terminal back and then do what
 * they always do. */
#ifndef UI_SIGNALS_H
#define UI_SIGNALS_H

#include <stddef.h>

#include "config/err.h"

int signals_open(struct err *e);  /* also notes how the terminal's line settings are now, as what to give back */
void signals_close(void);         /* puts the old handlers back */
int signals_fd(void);             /* readable where a signal waits */
int signals_next(void);           /* takes one: its number, or 0 */

/* What is written to the terminal to give it back; "" while it is not taken. Copied; at most 255 bytes. */
void signals_on_death(const char *sequence);
/* Stops the program as Ctrl-Z does, and returns when it is continued. */
void signals_stop_here(void);

#endif
