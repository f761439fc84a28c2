/* kv_events: what happened to the cache, kept for display, and how things stand. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/kv_cache.h"

uint64_t kv_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* Memory is committed in whole blocks; cells beyond the bound are never used, and not told of. */
static uint32_t usable(const struct kv *c, uint32_t cells) {
    return cells < kv_pool(c) ? cells : kv_pool(c);
}

/* Texts that were made at run time: an event and the statistics are read by other threads, also after the cache was closed. There are few,
 * and equal ones are kept once. */
const char *kv_text_keep(const char *text) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct kept {
        struct kept *next;
        char text[];
    } *first;
    size_t n = strlen(text) + 1;
    pthread_mutex_lock(&lock);
    struct kept *k = first;
    while (k && strcmp(k->text, text)) k = k->next;
    if (!k && (k = malloc(sizeof *k + n))) {
        memcpy(k->text, text, n);
        k->next = first;
        first = k;
    }
    pthread_mutex_unlock(&lock);
    return k ? k->text : "";
}

static struct kv_event *add(struct kv *c, enum kv_event_kind kind, uint64_t since_us, const char *reason) {
    struct kv_event *ev = &c->log.event[c->log.n++ % KV_EVENTS];
    uint32_t cells = usable(c, c->arena.n_blocks * KV_BLOCK);
    *ev = (struct kv_event){.kind = kind, .n = c->log.n, .cells_before = cells, .cells_after = cells, .reason = reason};
    ev->bytes_before = ev->bytes_after = c->arena.committed_bytes;
    ev->us = (double)(kv_now_us() - since_us);
    return ev;
}

void kv_event_size(struct kv *c, enum kv_event_kind kind, uint32_t blocks_before, uint64_t bytes_before,
                   uint64_t since_us, const char *reason) {
    struct kv_event *ev = add(c, kind, since_us, reason);
    ev->cells_before = usable(c, blocks_before * KV_BLOCK);
    ev->bytes_before = bytes_before;
    c->log.n_grow += kind == KV_EVENT_GROW;
    c->log.n_shrink += kind == KV_EVENT_SHRINK;
    kv_stats_publish(c);
}

/* A sliding window drops something for every token: it is told at the first, then once a block. */
void kv_event_evict(struct kv *c, size_t tokens, size_t turns, bool slid, uint64_t since_us, const char *reason) {
    struct kv_event_log *log = &c->log;
    log->evicted_tokens += tokens;
    log->evicted_turns += turns;
    if (slid) {
        tokens = log->slid += (uint32_t)tokens;
        turns = log->slid_turns += (uint32_t)turns;
        if (log->slides && tokens < KV_BLOCK) return;
        log->slides = true;
        log->slid = log->slid_turns = 0;
    }
    struct kv_event *ev = add(c, KV_EVENT_EVICT, since_us, reason);
    ev->evicted_tokens = (uint32_t)tokens;
    ev->evicted_turns = (uint32_t)turns;
}

void kv_event_mode(struct kv *c, const char *reason) {
    add(c, KV_EVENT_MODE, kv_now_us(), reason);
}

void kv_event_forget(struct kv *c, size_t tokens, uint64_t since_us, const char *reason) {
    add(c, KV_EVENT_FORGET, since_us, reason)->evicted_tokens = (uint32_t)tokens;
}

void kv_event_memory(struct kv *c, const char *text) {
    add(c, KV_EVENT_MEMORY, kv_now_us(), kv_text_keep(text));
}

size_t kv_events(const struct kv *c, uint64_t after, struct kv_event *ev, size_t max) {
    uint64_t oldest = c->log.n > KV_EVENTS ? c->log.n - KV_EVENTS : 0;
    if (after < oldest) after = oldest;
    size_t n = 0;
    for (; n < max && after + n < c->log.n; n++) ev[n] = c->log.event[(after + n) % KV_EVENTS];
    return n;
}

static uint32_t count_offsets(const struct kv_seq *s) {
    uint32_t n = 0;
    for (size_t i = 0; i < s->n_runs; i++) n += i == 0 || s->run[i].offset != s->run[i - 1].offset;
    return n;
}

void kv_stats_publish(struct kv *c) {
    uint64_t cap = c->arena.cap_blocks;
    uint32_t used = c->cells.used - c->cells.n_resting;
    struct kv_stats s = {
        .used = used,
        .committed = usable(c, c->cells.n),
        .reserved = (uint32_t)cap * KV_BLOCK,
        .bound = c->config.bound,
        .used_bytes = (uint64_t)used * c->cell_bytes,
        .committed_bytes = c->arena.committed_bytes,
        .reserved_bytes = c->arena.reserved_bytes,
        .cell_bytes = c->cell_bytes,
        .block_bytes = c->layout.block_bytes,
        .touched_bytes = kv_touched_bytes(c),
        .spare = (c->n_prefaulted + c->arena.n_spare) * KV_BLOCK,
        .spare_bytes = (uint64_t)(c->n_prefaulted + c->arena.n_spare) * c->layout.block_bytes,
        .copied_bytes = c->arena.copied_bytes,
        .n_grow = c->log.n_grow,
        .n_shrink = c->log.n_shrink,
        .evicted_tokens = c->log.evicted_tokens,
        .evicted_turns = c->log.evicted_turns,
        .grow = kv_grow_policy(c),
        .evict = kv_evict_mode(c),
        .n_runs = (uint32_t)c->seq[0].n_runs,
        .n_offsets = count_offsets(&c->seq[0]),
        .ring_bytes = kv_ring_bytes(c),
        .state_bytes = kv_state_bytes(c),
        .checkpoint_bytes = kv_state_point_bytes(c),
        .memory = c->memory->name,
    };
    kv_prompt_count(c, &s);
    pthread_mutex_lock(&c->lock);
    s.room_bytes = c->stats.room_bytes;
    s.room_limit = c->stats.room_limit;
    c->stats = s;
    c->held = kv_growth_held(c);
    pthread_mutex_unlock(&c->lock);
}

/* The room is measured at most once a second, outside the lock: it takes a dozen small files. */
void kv_stats_get(struct kv *c, struct kv_stats *s) {
    uint64_t now = kv_now_us();
    pthread_mutex_lock(&c->lock);
    bool stale = c->room_us == 0 || now - c->room_us > 1000000;
    if (stale) c->room_us = now;
    *s = c->stats;
    struct kv_held held = c->held;
    pthread_mutex_unlock(&c->lock);
    if (!stale) return;
    struct kv_room room = kv_budget_room(&c->budget, held.committed, held.touched);
    uint64_t parked = c->config.streams ? 0 : s->parked_cells, streams = c->config.streams ? c->config.streams : 1;
    uint64_t bound_bytes = kv_blocks(s->bound + parked) * streams * s->block_bytes;
    uint64_t to_bound = bound_bytes > s->committed_bytes ? bound_bytes - s->committed_bytes : 0;
    if (to_bound < room.bytes) room = (struct kv_room){to_bound, "bound"};
    pthread_mutex_lock(&c->lock);
    s->room_bytes = c->stats.room_bytes = room.bytes;
    s->room_limit = c->stats.room_limit = room.limit;
    pthread_mutex_unlock(&c->lock);
}
