/* slash_do: what the commands of slash.c do. arg is what stands after the name, trimmed, "" where nothing does. */
#ifndef APP_SLASH_DO_H
#define APP_SLASH_DO_H

#include "app/slash.h"

typedef int slash_handler(struct slash *s, const char *arg, unsigned *todo, struct err *e);

/* slash_do.c: conversations */
slash_handler slash_new, slash_clear, slash_regen, slash_undo, slash_load, slash_rename, slash_persona, slash_system, slash_exit;
/* slash_set.c: settings and limits */
slash_handler slash_set, slash_evict, slash_limit;
/* slash_show.c: what is shown */
slash_handler slash_list, slash_stats, slash_context;

/* print, from a buffer that is freed; ERR_MEMORY where it could not be filled. */
int slash_print(struct slash *s, struct buf *text, struct err *e);

#endif
