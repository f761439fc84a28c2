/* kv_prefault: takes the pages of a block before a token needs them, on a thread of its own.
 *
 * Faulting a block of 8 MiB in takes from half a millisecond to sixty; nobody who waits for a token should. One job at a
 * time: the owner asks, goes on, and later collects what came of it. The thread changes no byte: pages are populated
 * (MADV_POPULATE_WRITE, Linux 5.14; where the kernel does not know it, no job is ever carried out), so the owner may
 * write to the same block meanwhile. It must not unmap it: kv_prefault_stop first. Owner thread only. */
#ifndef KV_KV_PREFAULT_H
#define KV_KV_PREFAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/kv_budget.h"

struct kv_prefault_job {
    uint8_t *at; /* the block */
    size_t bytes;
    uint8_t *commit; /* what is to be made accessible before, and its bytes; 0: all of it is */
    size_t commit_bytes;
    struct kv_budget budget; /* asked again before anything is taken */
    uint64_t committed, touched;
};

enum kv_prefault_end {
    KV_PREFAULT_TAKEN,   /* committed, if that was asked for, and faulted in, as far as the system let it or until it was stopped */
    KV_PREFAULT_SHORT,   /* the budget left no room: nothing was done */
    KV_PREFAULT_REFUSED, /* the commit was refused, or the job stopped before it: nothing was done */
};
struct kv_prefault_result {
    enum kv_prefault_end end;
    const char *limit; /* static: what left no room */
};

struct kv_prefault;
/* NULL where there is to be no thread: then everything works without. */
struct kv_prefault *kv_prefault_open(void);
void kv_prefault_close(struct kv_prefault *p); /* NULL is fine */

/* Whether a job is under way or its result not yet collected. */
bool kv_prefault_busy(const struct kv_prefault *p);
void kv_prefault_ask(struct kv_prefault *p, const struct kv_prefault_job *job); /* only when not busy; neither waits nor allocates */
/* True once for each job, when it is over. */
bool kv_prefault_collect(struct kv_prefault *p, struct kv_prefault_result *r);
/* Ends the job under way, waiting for 2 MiB at most. Its result is still to be collected. */
void kv_prefault_stop(struct kv_prefault *p);
void kv_prefault_wait(struct kv_prefault *p); /* until the job is over */

#endif
