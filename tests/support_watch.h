/* A memory before a cache's own that keeps a key of each token by the number of its cell, and knows what it is told alone: whether that is all there is to
 * know. One at a time, of less than 4096 cells. */
#ifndef TESTS_SUPPORT_WATCH_H
#define TESTS_SUPPORT_WATCH_H

#include "kv/kv_cache.h"

/* Stands before the memory of the cache, which is empty, until it is closed. */
void watch_open(struct kv *c);
/* Fails the test unless a cell is kept where, and only where, it has an owner, with the key of the owners' token at its stored position (which is
 * not looked at where positions were changed by hand). */
void watch_check(struct kv *c);

#endif
