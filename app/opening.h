/* opening: which conversation is begun or gone on with, and with what. For chat, script and slash commands alike. Main thread. */
#ifndef APP_OPENING_H
#define APP_OPENING_H

#include "app/app.h"
#include "app/conversation.h"
#include "config/err.h"

/* The saved conversation that --continue or --resume asks for; row->id 0 where neither is given. The store must be open. ERR_FILE: there is none. */
int opening_find(struct app *a, struct store_conversation *row, struct err *e);

/* Makes persona and model of the settings those of a saved conversation, where the command line does not say otherwise. What is no
 * longer there is left as it is, and missing (may be NULL) says so. */
void opening_adopt(struct app *a, const struct store_conversation *row, struct err *missing);

#define OPENING_GUIDE "guide" /* the persona for whoever has named neither persona nor model */

/* The persona of a new conversation for which neither a persona nor, by a flag, a model was named: the one that the last chat had (where
 * as_last), else none where the configuration names a model, else the guide. missing (may be NULL): why it is not the last one. */
void opening_choose_persona(struct app *a, bool as_last, struct err *missing);
/* For the next chat: at a chat's end. That it was the guide is not kept, since the guide would stand before a model configured later. */
void opening_remember_persona(const struct app *a);

/* Both are saved where the store is open and --no-save is not given.
 * A new conversation as the settings have it: system prompt, the persona's examples. title may be NULL. */
int opening_new(struct app *a, const char *title, struct conversation **out, struct err *e);
/* A saved one; a system prompt that the command line gives replaces its own. */
int opening_resume(struct app *a, int64_t id, struct conversation **out, struct err *e);

/* Whether its system prompt fits the loaded model's context as the settings have it. See session_check_system. */
int opening_check_system(struct app *a, const struct conversation *c, struct err *e);

/* Appends a sentence where the settings' bound is more than what the loaded model was trained for; else nothing. */
void opening_warn_bound(const struct app *a, struct buf *out);

#endif
