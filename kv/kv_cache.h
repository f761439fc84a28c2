/* kv_cache: what stands behind struct kv, for the files of kv/ alone (and for tests that look inside). */
#ifndef KV_KV_CACHE_H
#define KV_KV_CACHE_H

#include <pthread.h>

#include "kv/kv.h"
#include "kv/kv_arena.h"
#include "kv/kv_budget.h"
#include "kv/kv_cells.h"
#include "kv/kv_memory.h"
#include "kv/kv_prefault.h"
#include "kv/kv_seq.h"
#include "kv/kv_state.h"

#define KV_MAX_HEAD 1024u /* numbers of a head whose keys are turned */
#define KV_RETRY_US                                                                                                    \
    1000000u          /* a refused growth is not asked for again within it: a token must not wait for a refusal */
#define KV_HOLD_US 60000000u /* what was given back and taken again within it is not given back once more */
#define KV_EVENTS 256 /* kept for kv_events */

/* What physical memory a block takes. */
enum { KV_UNTOUCHED, KV_WRITTEN, KV_PREFAULTED };

struct kv_event_log {
    struct kv_event event[KV_EVENTS]; /* event number n lies at (n - 1) % KV_EVENTS */
    uint64_t n;                       /* number of the last one */
    uint32_t n_grow, n_shrink;
    uint64_t evicted_tokens, evicted_turns;
    bool slides;               /* an event has told that the window slides, */
    uint32_t slid, slid_turns; /* and this slid out since the last one that told */
};

/* A micro-batch that has its cells. */
struct kv_slot {
    int seq;
    size_t index;   /* token index of its first token */
    uint32_t at, n; /* its cells among all */
    int64_t pos;
};

/* The micro-batches that were prepared, and the one that is being computed. */
struct kv_running {
    bool on;
    int seq;
    size_t index; /* of the one that is being computed, as in its slot */
    struct kv_run *run;
    size_t n_runs;
    uint32_t *cell; /* [n] of all */
    uint32_t n;     /* 0: none is */
    int64_t pos;
    struct kv_slot *slot;
    size_t n_slots, next, cap_slots; /* next: the first that is not finished */
    uint32_t *all, cap;              /* cap: of all and run */
};

/* What the cache holds: cells, rings, states, checkpoints. A ring that has begun counts as a whole, since a conversation must not end because
 * cells have taken what its ring still needs. */
struct kv_held {
    uint64_t committed, touched; /* bytes; of these, those that take physical memory */
};

struct kv {
    struct kv_config config; /* bound and evict may change; start, step and keep are as given */
    _Atomic(const struct kv_memory *) memory; /* the default memory, or a plug-in's over it; never NULL */
    const struct kv_memory *created;          /* to be destroyed: also one that has broken, which another thread may still be asking for figures */
    void *state;                              /* of a plug-in */
    struct kv_layout layout;
    size_t cell_bytes;
    struct kv_arena arena;
    struct kv_cells cells; /* as many as the committed blocks have */
    uint8_t *touched;      /* [blocks] whether anything was ever written there, or its pages taken all the same */
    uint32_t n_touched, n_prefaulted; /* the first counts both */
    struct kv_prefault *prefault;     /* NULL: the system offers none */
    uint32_t ahead;                   /* the block that it was last asked for, */
    size_t ahead_bytes;               /* and what of it had to be committed */
    uint64_t ahead_short_us;          /* when the budget last left no room for one; 0: never */
    uint32_t cut_from;                /* blocks before a shrink that nobody asked for; 0: none since the last growth */
    uint64_t cut_us;                  /* when it was */
    uint32_t hold;                    /* blocks that were needed again after such a shrink, */
    uint64_t hold_us;                 /* and when */
    uint64_t *written;      /* [blocks] the clock when a cell of it was last written */
    uint64_t clock;         /* saves and loads, from 1 */
    struct kv_saved *saved; /* what stands in which file: see kv_saved.h */
    struct kv_seq seq[KV_MAX_SEQS];
    struct kv_state state_of[KV_MAX_SEQS]; /* of recurrent layers and of those in rings */
    struct kv_ring_shape ring_shape;
    struct kv_layer_place {
        uint32_t at;   /* as kv_layer says */
        bool ring, writes;
    } *place; /* [n_model_layers] */
    uint32_t n_places;
    struct kv_running running;
    uint32_t parked_cells; /* most that the prompt cache may own */
    uint64_t n_uses;       /* of its entries, so far */

    struct kv_span *span;   /* [cells.n] of kv_get_view */
    int64_t *offset;        /* [cells.n] */
    struct kv_range *range; /* scratch of eviction: [n_turns + 2] */
    size_t cap_ranges;
    struct kv_todo {
        struct kv_range *range;
        size_t cap;
    } todo, again; /* of kv_sync's plan and of kv_make_room's */
    struct kv_memory_cell *candidate; /* [cap_candidates] of a plug-in's eviction */
    size_t cap_candidates;
    bool told_mode; /* that another mode than the one asked for is carried out */

    struct kv_event_log log;
    struct kv_budget budget;
    uint64_t refused_us;   /* when a growth was last refused; 0: never */
    pthread_mutex_t lock;  /* guards what follows, nothing else */
    struct kv_stats stats; /* the copy that other threads may take, */
    struct kv_held held;   /* and what the room is beside */
    uint64_t room_us;      /* when its room was last measured; 0: never */
};

static inline uint32_t kv_blocks(uint64_t cells) {
    return (uint32_t)((cells + KV_BLOCK - 1) / KV_BLOCK);
}

/* Sequences that there may be. */
static inline int kv_seqs(const struct kv *c) {
    return c->config.streams ? (int)c->config.streams : KV_MAX_SEQS;
}

/* Cells that the bound makes of the whole. Streams have whole blocks each. */
static inline uint32_t kv_bound_cells(const struct kv *c) {
    return c->config.streams ? kv_blocks(c->config.bound) * KV_BLOCK * c->config.streams : c->config.bound;
}

/* Cells that may have an owner now: the bound's, and those of entries of the prompt cache alone. After the bound of streams was lowered
 * some of them still have more than others. */
static inline uint32_t kv_pool(const struct kv *c) {
    return c->config.streams ? c->arena.cap_blocks * KV_BLOCK : c->config.bound + c->cells.n_resting;
}
/* The same, of those that are committed. */
static inline uint32_t kv_usable(const struct kv *c) {
    return c->cells.n < kv_pool(c) ? c->cells.n : kv_pool(c);
}
/* What a sequence's stream, or else all of them together, may have. */
static inline uint32_t kv_limit(const struct kv *c) {
    return c->config.streams ? c->config.bound : kv_pool(c);
}

/* Notes that the cell's block is written to: before or after each change of stored bytes, always, or a save will think
 * that they stand in the file. */
static inline void kv_touch(struct kv *c, uint32_t cell) {
    uint32_t block = cell / KV_BLOCK;
    c->n_touched += !c->touched[block];
    c->n_prefaulted -= c->touched[block] == KV_PREFAULTED;
    c->touched[block] = KV_WRITTEN;
    c->written[block] = c->clock;
}

/* Notes that the block's pages have been given back. */
static inline void kv_untouch(struct kv *c, uint32_t block) {
    c->n_touched -= c->touched[block] != KV_UNTOUCHED;
    c->n_prefaulted -= c->touched[block] == KV_PREFAULTED;
    c->touched[block] = KV_UNTOUCHED;
}

/* Committed bytes that take physical memory. */
static inline uint64_t kv_touched_bytes(const struct kv *c) {
    return ((uint64_t)c->n_touched + c->arena.n_spare) * c->layout.block_bytes;
}

/* The default memory: what the calls of kv/kv.h do where no plug-in does it (see kv_memory.c). */
int kv_cache_begin(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e);
void kv_cache_finish(struct kv *c, struct kv_batch *b);
void kv_cache_abandon(struct kv *c, struct kv_batch *b);
void kv_cache_write(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k, size_t k_stride,
                    const float *v, size_t v_stride);
void kv_cache_view(struct kv *c, const struct kv_batch *b, struct kv_view *v);
bool kv_ops_rm(struct kv *c, int seq, int64_t p0, int64_t p1);
void kv_ops_keep(struct kv *c, int seq);
int kv_copy_cp(struct kv *c, int src, int dst, int64_t p0, int64_t p1, struct err *e);
int kv_move_add(struct kv *c, int seq, int64_t p0, int64_t p1, int64_t d, struct err *e);
int kv_move_div(struct kv *c, int seq, int64_t p0, int64_t p1, int d, struct err *e);
int kv_save_seq(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *info, uint64_t *bytes, struct err *e);
int kv_load_seq(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *expect, uint64_t *bytes, struct err *e);
void kv_stats_get(struct kv *c, struct kv_stats *s);

/* kv_memory */
/* Gives a cache that is being opened its memory, before anything is committed: what the memory cannot do governs that. */
void kv_memory_open(struct kv *c);
/* No cells can be had, as why says. True where that is because the memory cannot grow: the default memory is used then, and may try again. */
bool kv_memory_decline(struct kv *c, const struct err *why);
/* It does what m says from here on. */
void kv_memory_use(struct kv *c, const struct kv_memory *m);
void kv_memory_destroy(struct kv *c);
/* The plug-in has broken, as why says: the default memory goes on, with what the cache holds, or (break) with nothing in it. */
void kv_memory_retire(struct kv *c, const char *call, const struct err *why);
void kv_memory_break(struct kv *c, const char *call, const struct err *why);
/* What a call of the memory answered: rc, after it has been let go for ERR_FAILED. */
int kv_memory_answer(struct kv *c, const char *call, int rc, struct err *e);
static inline bool kv_memory_can(const struct kv *c, uint32_t flags) {
    return (c->memory->flags & flags) == flags;
}
/* What was asked for, as far as the memory can do it. */
static inline enum kv_grow kv_grow_policy(const struct kv *c) {
    return kv_memory_can(c, KV_CAN_GROW) ? c->config.grow : KV_GROW_FIXED;
}
static inline bool kv_cannot_shift(const struct kv *c) {
    return c->config.cannot_shift || !kv_memory_can(c, KV_CAN_SHIFT | KV_CAN_TRIM);
}

/* kv_growth */
/* Sees to it that the arena holds at least that many cells (<= kv_pool), by the policy's steps, or by less where memory is
 * short; exact: no more than that. ERR_MEMORY: refused, with everything as it was. */
int kv_growth_make(struct kv *c, uint32_t cells, bool exact, const char *reason, struct err *e);
/* Cells that the arena would hold after growing for `cells`, by the policy alone. */
uint32_t kv_growth_target(const struct kv *c, uint32_t cells);
/* Cells that the arena holds or could hold with the memory there is, at most kv_pool. Reads files: not for every
 * token. */
uint32_t kv_growth_reach(const struct kv *c);
struct kv_held kv_growth_held(const struct kv *c);
/* Room left beside that. */
struct kv_room kv_growth_room(const struct kv *c);
/* To be called before anything but cells is allocated: whether there is room for so many bytes more, giving back the spare block where that
 * helps. ERR_MEMORY, beginning with what needs it. */
int kv_growth_ask(struct kv *c, uint64_t bytes, const char *what, struct err *e);
/* Where memory is short of a whole step, drops entries of the prompt cache, until n more cells find room in what there is, or
 * the step fits, or no entry is left. */
void kv_growth_drop_entries(struct kv *c, uint64_t n);
/* Gives back wholly free blocks and the spare one: those behind the last cell in use, but not below floor blocks, are uncommitted; the
 * pages of those in the middle are returned. */
void kv_growth_shrink(struct kv *c, uint32_t floor, const char *reason);
/* The same, but only where it is worth it, so that memory does not go back and forth; soon: cells about to be needed.
 */
void kv_growth_settle(struct kv *c, uint32_t soon, const char *reason);

/* kv_spare */
void kv_spare_open(struct kv *c);
/* To be called for each batch, with its last cell: collects what has been prefaulted, and asks for the next block where the cell stands in
 * the second half of its own. Neither waits nor allocates. */
void kv_spare_follow(struct kv *c, uint32_t cell);
/* Nothing is under way any more: to be called before memory is mapped or unmapped. */
void kv_spare_rest(struct kv *c);
/* Blocks [from, from + n) were spare and belong to the cache now. */
void kv_spare_take_over(struct kv *c, uint32_t from, uint32_t n);

/* kv_events */
uint64_t kv_now_us(void);
void kv_event_size(struct kv *c, enum kv_event_kind kind, uint32_t blocks_before, uint64_t bytes_before,
                   uint64_t since_us, const char *reason);
void kv_event_evict(struct kv *c, size_t tokens, size_t turns, bool slid, uint64_t since_us, const char *reason);
void kv_event_mode(struct kv *c, const char *reason);
void kv_event_forget(struct kv *c, size_t tokens, uint64_t since_us, const char *reason);
const char *kv_text_keep(const char *text); /* a copy that lives as long as the program */
void kv_event_memory(struct kv *c, const char *text); /* copied */
void kv_stats_publish(struct kv *c);

/* kv_cache */
/* Whether a sequence has more than cells: what cannot be cut anywhere. */
static inline bool kv_has_states(const struct kv *c) {
    return c->config.state_bytes || c->config.n_window_layers;
}
/* Nothing is in the sequence any more, and what it took beside cells is given back. */
void kv_ops_strip(struct kv *c, int seq);
int kv_check_bound(uint32_t bound, uint32_t streams, struct err *e); /* ERR_USAGE */

/* kv_move */
void kv_move_copy(struct kv *c, uint32_t from, uint32_t to); /* keys and values of all layers from cell to cell */

/* kv_evict */
/* What a conversation needs, or will need once a prompt is computed. */
struct kv_ask {
    int seq;
    const struct kv_turn *turn;
    size_t n_turns; /* starts in order; none: one open-ended turn */
    size_t n_keep;
    size_t live_end;  /* tokens before it are live or have left, */
    size_t redo;      /* set by kv_evict_plan: of those, the live ones from it on are to be computed again (reseed); else live_end */
    size_t end;       /* those from live_end to here are still to be computed, */
    size_t known_end; /* those before this one again: some of them may have left before */
    size_t extra;     /* cells for what follows */
    size_t limit;     /* cells that this sequence may use alone */
    bool whole_last;  /* the last turn may not be cut */
};
struct kv_dropped {
    struct kv_range *range;
    size_t n;             /* token indices to drop, in order; scratch of the cache */
    size_t tokens, turns; /* newly dropped */
};
/* Decides what leaves. Nothing changes. ERR_CONTEXT with both counts where it cannot be made to fit; ERR_MEMORY. */
int kv_evict_plan(struct kv *c, struct kv_ask *a, struct kv_dropped *d, struct err *e);
void kv_evict_apply(struct kv *c, int seq, const struct kv_dropped *d);
/* Frees room for n more cells of seq within limit cells of the whole cache. plan: see kv_make_room; NULL: ERR_CONTEXT where something
 * would have to be computed again. */
int kv_evict_make_room(struct kv *c, int seq, uint32_t n, uint32_t limit, struct kv_plan *plan, struct err *e);
enum kv_evict kv_evict_mode(const struct kv *c); /* that is carried out */
size_t kv_evict_keep(const struct kv *c, size_t n_keep); /* the kept part that the mode and the settings make of it */
/* Cells of the cache that seq does not own alone: they are not its to give. */
size_t kv_evict_others(const struct kv *c, int seq);
size_t kv_evict_reply_cells(const struct kv *c); /* cells that must stay free behind a prompt */

/* kv_choice */
/* Asks a plug-in for n_need cells. *n_ranges of c->range, in order, are to leave, *n_cells cells; none: the mode decides. A plug-in whose choice
 * cannot be carried out has broken, and the mode decides, unless it kept keys and values itself: ERR_FAILED. ERR_MEMORY. */
int kv_choice_make(struct kv *c, const struct kv_ask *a, size_t n_need, size_t *n_ranges, size_t *n_cells, struct err *e);

/* kv_sync */
int kv_todo_reserve(struct kv_todo *t, size_t n); /* room for that many ranges; 0 or -1 */
/* What is to be computed, [from, end) without what has left, into t and the plan. */
void kv_todo_make(struct kv_todo *t, const struct kv_seq *s, size_t from, size_t end, struct kv_plan *plan);
/* Disowns what seq holds from the token index on. What has left, also behind it, stays so; nothing fails. */
void kv_rewind(struct kv *c, int seq, size_t index);

/* kv_prompt */
/* Tokens of the prompt, from the first on, that the sequence knows and that are good for its conversation. */
size_t kv_prompt_common(const struct kv *c, int seq, const struct kv_prompt *p);
bool kv_prompt_drop_oldest(struct kv *c); /* because memory is short; false: there is no entry */
void kv_prompt_drop_all(struct kv *c);
/* Drops entries, the oldest first, while the memory there is does not reach for so many cells in use. */
void kv_prompt_yield(struct kv *c, uint64_t cells);
void kv_prompt_set_limit(struct kv *c); /* from the configuration, at opening */
void kv_prompt_count(const struct kv *c, struct kv_stats *s);

#endif
