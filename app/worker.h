/* worker: the engine thread. It alone touches the session; the main thread asks and is told.
 *
 * A request is put on one queue and returns at once with its number; what comes of it arrives as events on another queue, whose
 * pipe wakes the main loop. Every request ends with exactly one event that has `last` set: WORKER_DONE, WORKER_REPLY or
 * WORKER_ERROR. Requests are served in order. Calls are the main thread's, except where noted. */
#ifndef APP_WORKER_H
#define APP_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "model/engine.h"

#define WORKER_TEXT_BYTES 120 /* of one text event; longer text comes in several, split between characters */

enum worker_event_kind {
    WORKER_LOADING,  /* the model is being opened */
    WORKER_PLAN,     /* sync is done: n_prompt, n_cached, n_todo, evicted_* */
    WORKER_PROGRESS, /* done of total prompt tokens are read */
    WORKER_TEXT,     /* text, n_text, token */
    WORKER_CACHE,    /* cache */
    WORKER_REPLY,    /* last: reply, context; err where the reply ended early by an error */
    WORKER_DONE,     /* last: bytes and us where they apply */
    WORKER_ERROR,    /* last: err */
};

/* What a reply left behind, message by message of its request, for marks in the transcript and /context. */
struct worker_message {
    size_t n_tokens; /* of the rendered prompt, the template's own included */
    bool left;       /* has left the context wholly */
};

struct worker_event {
    enum worker_event_kind kind;
    uint64_t request;               /* the number that the request's call returned */
    bool last;                      /* nothing more comes for this request */
    size_t n_prompt, n_cached, n_todo, evicted_turns, evicted_tokens;
    size_t done, total;
    struct kv_event cache;
    int32_t token;                  /* the last one in text */
    size_t n_text;
    char text[WORKER_TEXT_BYTES];   /* whole UTF-8 characters, not NUL-ended */
    uint64_t bytes;
    double us;
    struct worker_result *result;   /* REPLY and ERROR: owned by whoever popped the event; worker_event_free frees. NULL otherwise, and
                                       in an ERROR for want of memory */
};
struct worker_result {
    struct reply reply;
    struct err err;                 /* code 0, or why the reply ended early or why the request failed */
    struct worker_message *message; /* one for each message of the request */
    size_t n_messages;
};

/* One turn. Everything is copied by the call. */
struct worker_turn {
    const struct chat_message *message; size_t n_messages; /* an `open` last one is continued; else a reply is opened */
    struct sample_params sampling;
    uint64_t conversation;                                 /* see reply_request */
    int64_t n_max;                                         /* most tokens; -1: no limit */
    const char *const *stop; size_t n_stop;
    /* The gate: called on the engine thread before anything is computed, waits until the user's message is on the disk. Not 0:
     * the turn fails with that error. NULL: nothing to wait for. */
    int (*may_start)(void *ctx, uint64_t ticket, struct err *e);
    void *start_ctx;
    uint64_t ticket;
};

struct worker;

int worker_open(struct worker **out, struct err *e); /* starts the thread; no model yet */
void worker_close(struct worker *w);                 /* cancels, waits for the thread, closes the session; NULL is fine */

int worker_wake_fd(const struct worker *w);          /* read end of the wake pipe */
void worker_drain(struct worker *w);                 /* reads the pipe empty; then pop until nothing is there */
bool worker_pop(struct worker *w, struct worker_event *ev);  /* false: none now */
bool worker_wait(struct worker *w, struct worker_event *ev); /* waits for one; false only after worker_close has begun */
void worker_event_free(struct worker_event *ev);
/* The error an event carries; NULL: none. Borrowed from the event. */
const struct err *worker_event_error(const struct worker_event *ev);

/* Requests. Each returns its number, counted from 1, or 0 where it was refused at once (no memory, or too many waiting). */
uint64_t worker_load(struct worker *w, const char *model_path, const struct session_options *o); /* closes what was open, opens model and session */
uint64_t worker_reply(struct worker *w, const struct worker_turn *t);
uint64_t worker_clear(struct worker *w);                         /* the conversation was emptied */
uint64_t worker_park(struct worker *w);                          /* another conversation */
uint64_t worker_save(struct worker *w, const char *path);        /* the session's snapshot: DONE has bytes and us */
/* After worker_park: takes the conversation up where the session holds it ready, else from the snapshot at path (NULL: there is none). ERROR: ERR_FAILED where
 * there is neither, else refused; the cache is as it was and the transcript is read again. */
uint64_t worker_restore(struct worker *w, const char *path, uint64_t conversation);
enum worker_limit { WORKER_SET_EVICT, WORKER_SET_BOUND, WORKER_GROW_TO, WORKER_SHRINK };
uint64_t worker_set_limit(struct worker *w, enum worker_limit what, int64_t value); /* value: enum kv_evict, cells, cells, nothing */

/* Stops every reply asked for so far: a running one ends with FINISH_CANCEL, a waiting one fails with ERR_CANCELLED. Other requests are
 * served all the same. Also from a signal handler. */
void worker_cancel(struct worker *w);

/* Any thread; false while nothing is loaded. */
bool worker_get_stats(struct worker *w, struct session_stats *st);
/* The open model, for what is cheap (info, tokens): valid from a load's DONE until the next worker_load. NULL: none. */
struct model *worker_model(struct worker *w);

#endif
