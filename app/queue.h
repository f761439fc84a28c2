/* queue: fixed-size items from one or more threads to one, with a pipe that wakes a loop.
 *
 * Bounded and allocated once, so that a push never allocates and a slow reader slows the writer down instead of filling
 * memory. The pipe gets one byte when an item enters an empty queue: a reader that has read the byte away must pop until
 * the queue is empty. Any thread may push, one thread pops. */
#ifndef APP_QUEUE_H
#define APP_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/err.h"

struct queue;

/* cap items of item_bytes each. wake: with a pipe. ERR_MEMORY, ERR_FAILED (no pipe). */
int queue_open(struct queue **out, size_t item_bytes, size_t cap, bool wake, struct err *e);
void queue_free(struct queue *q); /* no thread may be using it any more; NULL is fine */

int queue_wake_fd(const struct queue *q); /* read end, non-blocking; -1 without a pipe */
void queue_drain(struct queue *q);        /* reads away the bytes in the pipe */

bool queue_push(struct queue *q, const void *item);     /* copies; waits while full. false: the queue was closed */
bool queue_try_push(struct queue *q, const void *item); /* false: full or closed */
bool queue_pop(struct queue *q, void *item);            /* waits while empty. false: closed and empty */
bool queue_try_pop(struct queue *q, void *item);        /* false: empty */
/* Nothing enters any more: waiting pushes give up, pops get what is left. */
void queue_close(struct queue *q);

#endif
