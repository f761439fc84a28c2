/* pool: a few threads that run one function together and wait for each other.
 *
 * The thread that calls pool_run is worker 0 and takes part. Workers spin for a moment between runs (a token is
 * hundreds of short runs), then sleep. One caller at a time. */
#ifndef CONFIG_POOL_H
#define CONFIG_POOL_H

#include <stddef.h>

#include "config/err.h"

struct pool;

/* n_threads >= 1 counts the caller; 1 starts none. Where the system starts no more threads the pool has fewer. ERR_MEMORY. */
int pool_open(struct pool **out, int n_threads, struct err *e);
void pool_close(struct pool *p); /* NULL is fine */
int pool_threads(const struct pool *p);

/* Calls fn(arg, ith, nth) once in each of the nth threads, and returns when all have. */
void pool_run(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg);

/* The same for a fn that shares its work out as threads come for it: it is called in the calling thread, and in each other
 * thread that comes before that call has returned. So a thread that the system keeps waiting is not waited for. */
void pool_run_any(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg);

/* Splits n items into nth shares in whole multiples of unit; share ith is [*from, *to). */
void pool_share(size_t n, size_t unit, int ith, int nth, size_t *from, size_t *to);

#endif
