/* script: answers without a screen: prompts in from arguments, files and stdin, answers out on stdout. Main thread; the engine thread computes. */
#ifndef APP_SCRIPT_H
#define APP_SCRIPT_H

#include "app/app.h"

/* Runs the script that the settings describe, to its end. Returns the exit status; what went wrong has been said on stderr. */
int script_run(struct app *a);

#endif
