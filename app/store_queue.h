/* store_queue: the store's thread and what waits for it.
 *
 * Jobs run one after the other on a thread of their own, in the order in which they were added. Each is given a ticket, tickets
 * count up, and so "everything up to ticket t is done" is one comparison. Failures are kept by ranges of tickets.
 * Calls come from one thread (the main thread); run and the callback are called on the queue's thread. */
#ifndef APP_STORE_QUEUE_H
#define APP_STORE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "config/err.h"

struct store_queue;

struct store_job {
    int (*run)(struct store_job *j, struct err *e); /* queue's thread; 0 or an error code */
    void (*drop)(struct store_job *j);              /* frees the job; called exactly once */
    int64_t replaces;  /* not 0: where the last job that waits has the same number, this one takes its place (both tickets end together) */
    bool is_write;     /* its result is what store_queue_failed tells */
    uint64_t ticket;   /* filled by the queue */
    struct store_job *next;
};

/* Starts the thread. ERR_MEMORY, ERR_FAILED. */
int store_queue_open(struct store_queue **out, struct err *e);
/* Waits for what is queued, ends the thread. NULL is fine. */
void store_queue_close(struct store_queue *q);

uint64_t store_queue_add(struct store_queue *q, struct store_job *j);        /* takes the job over; returns its ticket */
/* Runs fn on the queue's thread after what is queued, and waits for it. Its result is the caller's alone. */
int store_queue_call(struct store_queue *q, int (*fn)(void *arg, struct err *e), void *arg, struct err *e);
int store_queue_wait(struct store_queue *q, uint64_t ticket, struct err *e); /* the job's result */
bool store_queue_is_done(struct store_queue *q, uint64_t ticket);
void store_queue_on_done(struct store_queue *q, void (*fn)(void *ctx, uint64_t ticket, const struct err *failed), void *ctx);
/* Whether the last write failed, and why. */
bool store_queue_failed(struct store_queue *q, struct err *why);
void store_queue_set_failed(struct store_queue *q, const struct err *why); /* as if a write had just failed so */

#endif
