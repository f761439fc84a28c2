/* conversation: the branch in use of one conversation, in memory, and its rows in the store.
 *
 * The first message of every conversation is the system prompt, which may be empty; a persona's examples follow, then what was
 * said. Rows are written from the first user message on, in order, so that a chat that never began leaves nothing behind. What could
 * not be written is written again with the next change: a disk that was full for a while costs nothing. Without a store all is the same but the
 * writing. Main thread. Indices count the messages of the branch from its root; they hold until the branch is cut. */
#ifndef APP_CONVERSATION_H
#define APP_CONVERSATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/store.h"
#include "config/err.h"
#include "config/persona.h"
#include "model/engine.h"

#define CONVERSATION_SAVE_US 1e6 /* a streaming reply is written at least this often */

struct conversation;

/* What a conversation starts with. Texts may be NULL: none. */
struct conversation_start {
    const char *title, *persona, *model, *settings;
    const char *system;
    const struct persona_example *example;
    size_t n_examples;
};

/* A conversation that nothing has been said in. s may be NULL: it is never saved. Everything is copied; of a title what fits on a line of a screen.
 * ERR_MEMORY. */
int conversation_new(struct conversation **out, struct store *s, const struct conversation_start *start, struct err *e);
/* A saved one, with the branch that its head is on. A reply that was cut off before its first character is left out. ERR_FILE: there is none. */
int conversation_open(struct conversation **out, struct store *s, int64_t id, struct err *e);
/* From now on nothing of it is written, though a saved one goes on from what the store has. */
void conversation_keep_unsaved(struct conversation *c);
bool conversation_is_saved(const struct conversation *c); /* its changes go to a store (which may fail) */
void conversation_close(struct conversation *c); /* the store may still be writing; NULL is fine */

/* ---- what it holds ---- */
const struct store_conversation *conversation_row(struct conversation *c); /* id 0 or below: not in the store (yet) */
uint64_t conversation_key(struct conversation *c); /* tells it from every other one that is open or saved; never 0 */
size_t conversation_count(const struct conversation *c);
/* Borrowed until the next change. The text of a reply that streams may lag by a second. */
const struct store_message *conversation_message(const struct conversation *c, size_t i);
/* Index of the nth user message from the last, which is 1, examples not counted. false: there are not so many. */
bool conversation_find_user(const struct conversation *c, size_t n, size_t *i);
size_t conversation_n_turns(const struct conversation *c);
/* Which of how many siblings message i is, from 1. 1 of 1 where the store does not know. */
void conversation_place(const struct conversation *c, size_t i, size_t *place, size_t *of);

/* The branch for model_render: without an empty system prompt, and without the reply that is being written. Generated ids are given
 * where fingerprint says that the same model wrote them. *first: index in the branch of message[0]. Borrowed until the next change. ERR_MEMORY. */
int conversation_prompt(struct conversation *c, uint64_t fingerprint, const struct chat_message **message, size_t *n, size_t *first, struct err *e);

/* ---- a turn ---- */
/* Gives it its row and id now instead of with the first message: waits until it is written, and then
 * conversation_row(c)->id is above 0. Nothing where it is not saved; a row in which nothing comes to be said goes with conversation_close. */
void conversation_begin_row(struct conversation *c);
/* Appends a user's message. *ticket: when it ends well, message and conversation are on the disk; 0 without a store. ERR_MEMORY. */
int conversation_add_user(struct conversation *c, const char *text, size_t n, store_ticket *ticket, struct err *e);
/* Opens a partial reply. settings: JSON of how it is sampled, or NULL. */
int conversation_begin_reply(struct conversation *c, uint64_t fingerprint, const char *settings, struct err *e);
/* The same for the last message, a reply that is to go on: it stays, and what comes is added to its text and ids. The prompt ends with it, open.
 * ERR_USAGE: the last message is no reply. */
int conversation_continue_reply(struct conversation *c, uint64_t fingerprint, struct err *e);
/* More text of it (n may be 0: time has passed), written at once the first time, then every CONVERSATION_SAVE_US. now_us: a clock that only runs forward. */
int conversation_extend(struct conversation *c, const char *text, size_t n, double now_us, struct err *e);
/* Ends it with what the engine says (of a continued one, the new part): text, ids, finish reason, timings; it stays partial after a cancel or an error. A reply without any
 * text that was cancelled or failed is dropped. The first reply gives the conversation its title, when it begins. */
int conversation_finish(struct conversation *c, const struct reply *r, store_ticket *ticket, struct err *e);
void conversation_drop_reply(struct conversation *c); /* as if it had not been begun */
/* Takes back the last message, a user's that was refused, as if it had not been said. */
void conversation_take_back(struct conversation *c);

/* ---- other branches ---- */
/* ERR_USAGE: there is nothing of the kind. The branch that is left is kept in the store. */
int conversation_regenerate(struct conversation *c, struct err *e);        /* ends with the last user message: begin a reply to it */
int conversation_undo(struct conversation *c, size_t n, struct err *e);    /* ends before the nth user message from the last */
int conversation_clear(struct conversation *c, struct err *e);             /* ends before the first */
/* Replaces the nth user message from the last, and drops what follows from the branch. */
int conversation_edit(struct conversation *c, size_t n, const char *text, size_t n_text, store_ticket *ticket, struct err *e);

int conversation_set_title(struct conversation *c, const char *title, struct err *e); /* keeps of it what fits on a line of a screen */
int conversation_set_system(struct conversation *c, const char *text, struct err *e); /* NULL or "": none */
int conversation_set_model(struct conversation *c, const char *persona, const char *model, struct err *e);

/* ---- the store ---- */
/* Another program has written to this conversation: what is said here is a branch beside its. True once for each time. */
bool conversation_diverged(struct conversation *c);
/* A title from what a user wrote: its first line, cut at a word to at most columns. Appended to out. ERR_MEMORY. */
int conversation_make_title(const char *text, size_t columns, struct buf *out);

#endif
