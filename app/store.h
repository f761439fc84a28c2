/* store: conversations in SQLite, on a thread of its own. The only user of sqlite3.
 *
 * A conversation is a tree of messages: edits, regenerations and forks are siblings. Writes are queued and return at once
 * with a ticket (a commit waits for the disk, typing must not); store_wait or the callback tells when a ticket is on the disk.
 * Reads run on the store thread too and are waited for. Two programs may use one store (WAL); each message is
 * written in one transaction. Calls come from the main thread (store_wait from any: the engine thread waits with it); the callback runs
 * on the store thread.
 *
 * Where the store cannot be written, tickets complete with an error and store_failed() tells it: the chat goes on, marked "not saved". */
#ifndef APP_STORE_H
#define APP_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "model/engine.h"

#define STORE_VERSION 1 /* PRAGMA user_version; a newer file is refused by name, an older one is migrated */

struct store;

/* Opens or creates DIR/kvetch.db (0600; folders 0700). read_only: never creates, a missing file is an empty store.
 * ERR_FILE where it is no store of ours or too new, ERR_FAILED where it cannot be created. A file that can be read but not
 * written opens, and store_failed says so from the start. */
int store_open(struct store **out, const char *dir, bool read_only, struct err *e);
const char *store_path(const struct store *s); /* borrowed */
void store_close(struct store *s); /* waits for what is queued; NULL is fine */

struct store_conversation {
    int64_t id;
    char *title;          /* or name; "" none yet */
    char *persona;        /* "" none */
    char *model;          /* path, "" none */
    char *settings;       /* JSON, "" none */
    int64_t created, updated; /* Unix seconds */
    int64_t head;         /* message at the end of the branch in use; 0: none */
    int64_t n_turns;      /* user messages on that branch, a persona's examples not among them */
};
void store_conversation_free(struct store_conversation *c);
int store_conversation_copy(struct store_conversation *out, const struct store_conversation *from, struct err *e); /* ERR_MEMORY */

#define STORE_EXAMPLE "example"
struct store_message {
    int64_t id, conversation, parent; /* parent 0: a root */
    enum chat_role role;
    char *text; size_t n_text;        /* owned */
    int32_t *ids; size_t n_ids;       /* generated token ids, owned; NULL: none */
    bool partial;                     /* still streaming, or cut off by a cancel, an error or a crash */
    bool pinned;
    char *finish_reason;              /* "", "stop", ...; STORE_EXAMPLE: the persona's, said by nobody */
    uint64_t fingerprint;             /* of the model that wrote it; 0 none */
    char *settings;                   /* JSON of the sampling settings, "" none */
    char *timings;                    /* JSON, "" none */
    int64_t created;
};
void store_message_free(struct store_message *m);
int store_message_copy(struct store_message *out, const struct store_message *from, struct err *e); /* ERR_MEMORY */

/* ---- reading (waits; ERR_FAILED on a database error) ---- */
int store_list(struct store *s, struct store_conversation **out, size_t *n, struct err *e); /* newest first; caller frees each and the array */
int store_get(struct store *s, int64_t id, struct store_conversation *out, struct err *e);
/* By id ("12"), exact title, or unique beginning of one. ERR_FILE: unknown, with the nearest title. */
int store_find(struct store *s, const char *name_or_id, struct store_conversation *out, struct err *e);
int store_has_title(struct store *s, const char *title, bool *has, struct err *e); /* whether a conversation is called exactly so */
int store_last(struct store *s, struct store_conversation *out, struct err *e); /* ERR_FILE: there is none */
/* The messages from the root to leaf, in order. */
int store_branch(struct store *s, int64_t conversation, int64_t leaf, struct store_message **out, size_t *n, struct err *e);
/* The messages beside one (itself among them: same parent), oldest first, for regenerated and edited turns. Caller frees. */
int store_siblings(struct store *s, int64_t message, int64_t **ids, size_t *n, struct err *e);

/* ---- writing (queued) ---- */
typedef uint64_t store_ticket; /* counts up; 0: refused at once, for want of memory */
/* Ids of messages are given before the row is written, so that the caller can go on with them. A conversation's comes from the file; until
 * its row is there it has a number below 0, which the writes below take as well. A new one is watched from the start. */
store_ticket store_add_conversation(struct store *s, struct store_conversation *c);          /* fills c->id (< 0) and times */
int64_t store_conversation_id(struct store *s, int64_t id);                                  /* the id in the file; 0: the row is not written. Does not wait */
store_ticket store_update_conversation(struct store *s, const struct store_conversation *c); /* title, persona, model, settings, head */
store_ticket store_delete_conversation(struct store *s, int64_t id);
store_ticket store_add_message(struct store *s, struct store_message *m);                    /* fills m->id; also moves the conversation's head to it */
store_ticket store_update_message(struct store *s, const struct store_message *m);           /* text, ids, partial, pinned, finish_reason, timings */
store_ticket store_delete_message(struct store *s, int64_t conversation, int64_t id);        /* and what follows it; a head among it moves to its parent */
/* Runs fn on the store thread after everything queued before it (snapshots are written there, off the reply's path). */
store_ticket store_run(struct store *s, void (*fn)(void *arg), void *arg);

/* Two programs in one conversation: from now on this one goes on from head. A write that finds the conversation's head elsewhere
 * than this program left it makes store_diverged true, once; the write is made all the same, as a sibling branch. */
void store_watch(struct store *s, int64_t conversation, int64_t head);
bool store_diverged(struct store *s, int64_t conversation);

int store_wait(struct store *s, store_ticket t, struct err *e); /* 0 when it is on the disk */
bool store_is_done(struct store *s, store_ticket t); /* it has ended, one way or the other */
void store_on_commit(struct store *s, void (*fn)(void *ctx, store_ticket t, const struct err *failed), void *ctx); /* store thread */
bool store_failed(struct store *s, struct err *why); /* the last write did not succeed */

#endif
