/* chat: a conversation on a terminal: between the screen, the engine thread and the store. Main thread. */
#ifndef APP_CHAT_H
#define APP_CHAT_H

#include "app/app.h"

/* Runs until the user leaves. Settings and folders must be there (app_configure). Returns the exit status; what went wrong has been said on stderr. */
int chat_run(struct app *a);

#endif
