/* kv_spare: the block that the next tokens will need, faulted in before they come.
 *
 * It is either committed already, since growing takes several at a time, or the one behind the last: then it is
 * committed ahead, as spare, and the growth that comes when the cache is full takes it over. At most one block is
 * under way or spare at a time. */
#include <assert.h>

#include "kv/kv_cache.h"

void kv_spare_open(struct kv *c) {
    c->prefault = kv_prefault_open();
}

static void note_prefaulted(struct kv *c, uint32_t block) {
    if (c->touched[block]) return;
    c->touched[block] = KV_PREFAULTED;
    c->n_touched++;
    c->n_prefaulted++;
}

/* The pages of a block that has been granted are not to be had any more: what is not in use yet is given back before
 * a token touches it, and the cache goes on as with a growth refused. */
static void give_up(struct kv *c, const char *limit) {
    uint32_t used = kv_blocks(kv_cells_end(&c->cells)), floor = c->ahead > used ? c->ahead : used;
    c->refused_us = kv_now_us();
    kv_growth_shrink(c, floor, limit);
}

static void take_result(struct kv *c, const struct kv_prefault_result *r) {
    if (r->end == KV_PREFAULT_TAKEN) {
        if (c->ahead >= c->arena.n_blocks)
            kv_arena_add_spare(&c->arena, c->ahead_bytes);
        else
            note_prefaulted(c, c->ahead);
    } else if (r->end == KV_PREFAULT_SHORT) {
        c->ahead_short_us = kv_now_us();
        if (c->ahead < c->arena.n_blocks && !c->touched[c->ahead]) give_up(c, r->limit);
    }
}

/* Whether block is to be taken now; *job: how. */
static bool wanted(struct kv *c, uint32_t block, struct kv_prefault_job *job) {
    uint32_t n = c->arena.n_blocks;
    if (block >= kv_blocks(kv_pool(c)) || block > n) return false;
    *job = (struct kv_prefault_job){.bytes = c->layout.block_bytes, .budget = c->budget};
    if (block < n) {
        if (c->touched[block]) return false;
    } else if (c->arena.n_spare || c->cells.n - c->cells.used > KV_BLOCK / 2 ||
               !kv_arena_next_spare(&c->arena, &job->commit, &job->commit_bytes))
        return false;
    uint64_t now = kv_now_us();
    if (c->refused_us && now - c->refused_us < KV_RETRY_US) return false;
    if (c->ahead_short_us && now - c->ahead_short_us < KV_RETRY_US) return false;
    job->at = c->arena.base + (size_t)block * c->layout.block_bytes;
    struct kv_held held = kv_growth_held(c);
    job->committed = held.committed;
    job->touched = held.touched;
    return true;
}

void kv_spare_follow(struct kv *c, uint32_t cell) {
    struct kv_prefault_result r;
    struct kv_prefault_job job;
    if (!c->prefault) return;
    if (kv_prefault_collect(c->prefault, &r)) take_result(c, &r);
    uint32_t block = cell / KV_BLOCK + 1;
    if (cell % KV_BLOCK < KV_BLOCK / 2 || kv_prefault_busy(c->prefault) || !wanted(c, block, &job)) return;
    c->ahead = block;
    c->ahead_bytes = job.commit_bytes;
    kv_prefault_ask(c->prefault, &job);
}

void kv_spare_rest(struct kv *c) {
    struct kv_prefault_result r;
    if (!c->prefault) return;
    kv_prefault_stop(c->prefault);
    if (kv_prefault_collect(c->prefault, &r) && r.end == KV_PREFAULT_TAKEN) take_result(c, &r);
}

void kv_spare_take_over(struct kv *c, uint32_t from, uint32_t n) {
    for (uint32_t b = from; b < from + n; b++) note_prefaulted(c, b);
}
