/* kv_budget: how much memory the cache may still take.
 *
 * The kernel guards nothing: it grants commits that it cannot back and kills later. So before each commit the room left
 * is the least of the user's budget, the process's limits, what every control group above us leaves, and what the
 * machine has; weights that are mapped from a file count as used, because evicting them ruins decoding. Any thread. */
#ifndef KV_KV_BUDGET_H
#define KV_KV_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct kv_budget {
    uint64_t budget_bytes; /* the user's; 0: none */
    uint64_t weight_bytes;
    bool reserved;    /* address space is taken already: RLIMIT_AS does not matter */
    const char *root; /* put before /proc and /sys: "", or a made-up tree of tests */
};
struct kv_room {
    uint64_t bytes;
    const char *limit; /* static: "budget", "RLIMIT_DATA", "RLIMIT_AS", "cgroup", "memory" */
};

/* committed: bytes the cache holds; touched: those of them that already take physical memory. */
struct kv_room kv_budget_room(const struct kv_budget *b, uint64_t committed, uint64_t touched);
/* Of these, what the control groups and the machine leave alone: for pages of memory that has been granted.
 * pending: bytes that are granted to somebody and not yet touched. */
struct kv_room kv_budget_pages(const struct kv_budget *b, uint64_t pending);

#endif
