/* editor: a text written in the user's own editor. */
#ifndef UI_EDITOR_H
#define UI_EDITOR_H

#include "config/err.h"

/* Runs $VISUAL, $EDITOR or vi on a private temporary file with this text, and gives what was saved, without its final
 * newline; the caller frees. The terminal must have been given back. ERR_FAILED: the editor could not run or said no. */
int editor_run(const char *text, char **out, struct err *e);

#endif
