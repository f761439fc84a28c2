/* man: the manual page, made from the tables of commands, settings and slash commands, so that it cannot say what is not so. */
#ifndef APP_MAN_H
#define APP_MAN_H

#include "config/buf.h"

/* The whole page as troff source, man(7) macros. Trouble is in out->failed. */
void man_print(struct buf *out);

#endif
