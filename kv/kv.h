/* kv: the growing key-value cache, everything that model/ and app/ may see of it.
 *
 * A cell holds the keys and values of one token in all layers. Cells come in blocks of 256; blocks lie one behind the
 * other in one reserved range of addresses, so that growing appends a block and moves nothing:
 *
 *     arena   [block][layer][K|V][kv head][256 cells][head dim]
 *
 * A sequence is a list of runs of cells in position order. A run stores the positions at which its keys were rotated,
 * and an offset: effective position = stored position + offset. A shift changes offsets and drops cells; it touches
 * no key. Attention rotates the query back by the offset instead (see struct kv_view).
 *
 * The cache knows nothing of roles, templates or screens: it is given token ids, turn spans and pins. It remembers
 * the token ids of each sequence, also of those that have left, so that only it converts between the index of a token in a conversation
 * and a position.
 *
 * Thread rules: one thread owns the cache and makes every call, except kv_write (any thread, distinct rows) and
 * kv_get_stats (any thread: copied under a lock). */
#ifndef KV_KV_H
#define KV_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "config/num.h"

#define KV_BLOCK 256u         /* cells in a block */
#define KV_MIN_BOUND 32u      /* the least bound */
#define KV_MAX_SEQS 64        /* sequences a cache can hold, with what the prompt cache has */
#define KV_MAX_CELLS (1u << 31)
#define KV_NO_LAYER UINT32_MAX
#define KV_CHECKPOINTS 8u     /* of a sequence, where the configuration says nothing */
#define KV_PROMPT_AUTO UINT64_MAX /* prompt cache: an eighth of the budget, or of what the machine has left at opening */

/* ---- rope: how keys are turned ------------------------------------------------------------------------------- */

/* Rotary positions with every scaling folded in (linear, llama3 factors, YaRN): pair i of a head turns by
 * pos * freq[i] radians. Angles are computed in double and reduced, since positions only rise. */
struct kv_rope {
    uint32_t n_rot;      /* numbers of a head that are rotated, even, <= head dim; 0: no rotation */
    bool neox;           /* pairs (i, i + n_rot/2) instead of (2i, 2i + 1) */
    float magnitude;     /* factor on the rotated part of the FIRST rotation (YaRN); 1 otherwise */
    const double *freq;  /* [n_rot / 2], owned by the model and outliving the cache */
};
/* cos and sin of every pair at pos: cs[2i] = cos, cs[2i+1] = sin, [n_rot], without the magnitude. */
void kv_rope_angles(const struct kv_rope *r, int64_t pos, float *cs);
/* Turns one head of head-dim numbers in place by the angles, times scale. */
void kv_rope_turn(const struct kv_rope *r, const float *cs, float scale, float *head);

/* Keys of 4 and 5 bits are stored in the Walsh-Hadamard basis, in which a single large number does not take the levels of the
 * others: a key is turned by kv_rotate after its rope, a query after the turn to its offset. */
bool kv_rotates(const struct num_type *type_k);
/* The normalised transform of each part of the head whose length is the greatest power of two in dim (64: the whole; 80: five of
 * 16). Its own inverse. */
void kv_rotate(float *head, uint32_t dim);

/* ---- opening ------------------------------------------------------------------------------------------------- */

enum kv_grow { KV_GROW_AUTO, KV_GROW_DOUBLE, KV_GROW_LINEAR, KV_GROW_FIXED };
enum kv_evict { KV_EVICT_SHIFT, KV_EVICT_SLIDE, KV_EVICT_STOP, KV_EVICT_RESEED };

/* What a layer with a window masks of what stands before position p1: nothing; p0 with p1 - p0 >= n; what is in another chunk of n positions; what is more
 * than n / 2 away. */
enum kv_window { KV_WINDOW_NONE, KV_WINDOW_STANDARD, KV_WINDOW_CHUNKED, KV_WINDOW_SYMMETRIC };

struct kv_config {
    uint32_t n_layers, n_kv_heads, head_dim_k, head_dim_v;
    const struct num_type *type_k, *type_v; /* f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 iq4_nl */
    struct kv_rope rope;

    uint32_t bound;        /* most cells, >= KV_MIN_BOUND */
    uint32_t start;        /* cells at opening, rounded up to blocks; 0: one block */
    enum kv_grow grow;
    uint64_t step_bytes;   /* linear: the step, when step_cells is 0; auto: the step past the threshold; 0: 1 GiB */
    uint32_t step_cells;   /* linear: the step in cells */
    uint64_t threshold_bytes; /* auto: where doubling ends; 0: 1 GiB */
    uint64_t budget_bytes; /* most bytes the cache may commit; 0: what the machine and its limits leave */
    uint64_t weight_bytes; /* resident weights, which must not be pushed out */

    uint32_t n_window_layers; /* layers beside the n_layers whose cells are in rings of the window; 0: there are none. With rings or states there is no
                               * prompt cache */
    enum kv_window window; uint32_t n_window; /* of all of those. Under chunked windows nothing shifts (see cannot_shift); else a drop behind
                                               * which less stays than the window reaches is a reseed, where the ring lacks what moves into it */
    uint32_t n_ubatch;      /* most tokens of a micro-batch, for which rings have room; 0: 512 */
    /* Which of the cache's layers a layer of the model has: [0, n_layers) have cells, n_layers and on are in rings, KV_NO_LAYER has none. Of several
     * with the same number the first one is written, the others read it. NULL: layer i is number i. Borrowed while opening. */
    const uint32_t *layer; uint32_t n_model_layers;

    uint64_t state_bytes;   /* of a sequence, for layers that keep a state in place of cells (state-space, delta rule, convolution), all of them together;
                             * 0: there are none. With states nothing shifts (see cannot_shift) */
    uint32_t n_checkpoints; /* of a state, at most; 0: KV_CHECKPOINTS */

    uint64_t prompt_bytes; /* most bytes of cells that the prompt cache may hold; 0: there is none; KV_PROMPT_AUTO */
    uint32_t prompt_tokens; /* and most tokens; 0: as many as fit */

    uint32_t streams;      /* 0: one pool for all sequences, which share cells. Else sequences [0, streams) each have a stream of
                            * their own, of bound cells that no other one takes, and share none */

    enum kv_evict evict;
    uint32_t keep;         /* first cells that never leave when the prompt names no kept part (slide: at least 4 are kept) */
    double evict_free;     /* share of what is not kept that a shift frees, 0 < x <= 1; 0: a half */
    bool cannot_shift;     /* nothing stays as computed once something before it left (recurrent states, chunked windows, learned
                            * positions): shift and slide become reseed, and an event says so once */
    int memory;             /* number of a built-in memory, by kv_memory_find */
    const char *plugin;    /* shared object of a memory plug-in, see kv_memory.h; NULL: the default memory. One that cannot be used is
                            * refused by an event, and the default memory is used. Borrowed while opening */
};

struct kv;

/* Reserves addresses for the bound and commits the first blocks. ERR_MEMORY: refused by the system or the budget
 * (says the least that would do); ERR_USAGE: a value out of range (says the least possible value). */
int kv_open(struct kv **out, const struct kv_config *c, struct err *e);
void kv_close(struct kv *c); /* NULL is fine */

/* Parses the names users write: "auto", "double", "linear", "fixed"; "shift", "slide", "stop", "reseed". -1: unknown. */
int kv_grow_find(const char *name);
int kv_evict_find(const char *name);
const char *kv_grow_name(enum kv_grow g);
const char *kv_evict_name(enum kv_evict m);
/* Number of a built-in memory by its name, "default"; -1: unknown. */
int kv_memory_find(const char *name);

/* ---- a conversation in a sequence ---------------------------------------------------------------------------- */

/* One turn: a user message and everything up to the next one. Turns are in order, do not overlap and cover all tokens
 * after the kept part. */
struct kv_turn {
    size_t first, n;   /* tokens [first, first + n) of the prompt */
    bool pinned;
};
struct kv_prompt {
    const int32_t *token; size_t n_tokens; /* the whole conversation, also what has left the context */
    size_t n_keep;                         /* its first tokens that never leave: BOS and the system prompt */
    const struct kv_turn *turn; size_t n_turns;
    uint64_t conversation; /* whose tokens they are: cells that saw what has left match only in their own one */
};
struct kv_range { size_t first, n; };

/* What sync found and did. Ranges are indices into prompt.token. */
struct kv_plan {
    size_t n_cached;              /* tokens that need not be computed again */
    struct kv_range *todo;        /* what is to be computed, in order; at least one token; borrowed until the next kv_sync */
    size_t n_todo;                /* ranges */
    size_t n_todo_tokens;
    size_t evicted_turns, evicted_tokens; /* what left the context for this prompt to fit */
};

/* Makes seq ready for a prompt: finds the longest common prefix of the whole token list with what the sequence holds (dropped
 * tokens included), rewinds to it (further, to read it again, where it ends inside what has left or where the last turn
 * has lost its beginning and fits whole), and decides, by the mode, which turns leave so that prompt and a reply's first
 * cells fit. Under reseed all that saw something that has left since is to be computed again. At least one token is always left to compute. Nothing has been computed yet when it returns; the caller
 * feeds plan.todo through kv_begin in order.
 * ERR_CONTEXT: the last turn does not fit beside the kept part (both counts in the sentence), or mode stop and the
 * prompt does not fit; the sequence is as it was. ERR_USAGE: kept part larger than half the bound. ERR_MEMORY. */
int kv_sync(struct kv *c, int seq, const struct kv_prompt *p, struct kv_plan *plan, struct err *e);

/* Whether a cache of this bound can keep so many tokens: ERR_USAGE where they are more than half of it and the mode evicts. */
int kv_check_keep(enum kv_evict mode, uint32_t bound, size_t n_keep, struct err *e);

/* Empties seq so that it can be computed again from its first `sinks` tokens and its last `tail`: plan.todo says what to feed, what lies between
 * has left. The room is checked first: ERR_CONTEXT, ERR_MEMORY (they do not fit) and ERR_USAGE (it has not so many) leave the old state alone. */
int kv_clear_and_reseed(struct kv *c, int seq, size_t sinks, size_t tail, struct kv_plan *plan, struct err *e);

/* Token indices of a sequence's conversation that have left the context, in order, merged. Borrowed until the next call
 * that changes the sequence. */
size_t kv_left(const struct kv *c, int seq, const struct kv_range **ranges);
/* The conversation's tokens that the sequence remembers (computed ones, and those that left before them). Borrowed likewise. */
size_t kv_tokens(const struct kv *c, int seq, const int32_t **token);

/* ---- a micro-batch ------------------------------------------------------------------------------------------- */

/* n tokens of one sequence on their way into the cache. They become visible to other calls only with kv_finish. */
struct kv_batch {
    int seq;
    uint32_t n;
    int64_t pos;           /* effective (and stored) position of the first token; the rest follow by one */
    const uint32_t *cell;  /* [n] the cells given to them; borrowed until kv_finish or kv_abandon */
};

/* Places n tokens at the end of seq, growing the cache inside this call where there is no room, evicting by the mode
 * at the bound. All or nothing. ERR_CONTEXT under stop, where n is more than kv_batch_room, or
 * where something would have to be computed again, which takes kv_make_room; ERR_MEMORY when not even evicting
 * helps; ERR_USAGE where first leaves out tokens that have not left. A growth that was refused is tried again after a second.
 * first: index of token[0] in the conversation (from plan.todo); (size_t)-1 appends. */
int kv_begin(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e);
/* The most tokens that kv_begin can place now, evicting where the mode allows (memory that is refused may allow less). Never
 * less than kv_sync's plan.n_todo_tokens before the first of them. */
size_t kv_batch_room(const struct kv *c, int seq);
/* To be called before kv_begin where the mode may be reseed, or there are rings: makes room for n more tokens as kv_begin would. Where turns had to leave,
 * what stays behind them is to be computed again before anything else: plan.todo says what, in order, none where n_todo is 0 (borrowed
 * until the next kv_make_room). Its ids lie in kv_tokens' array, which keeps them up to where the sequence ended. Errors as kv_begin's. */
int kv_make_room(struct kv *c, int seq, uint32_t n, struct kv_plan *plan, struct err *e);
void kv_finish(struct kv *c, struct kv_batch *b);
void kv_abandon(struct kv *c, struct kv_batch *b); /* as if kv_begin had not been called (a growth or eviction stays) */

/* Stores the keys (already rotated to b->pos + i) and values of tokens [i0, i1) of the batch in one layer.
 * k: [i1 - i0][n_kv_heads * head_dim_k] f32, rows k_stride floats apart; v likewise. */
void kv_write(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k, size_t k_stride,
              const float *v, size_t v_stride);

/* ---- recurrent states ----------------------------------------------------------------------------------------- */
/* Where config.state_bytes is not 0. Who computes a batch reads the state that the tokens before it left, zeros where there are none, and writes all of the
 * one that it leaves itself, which holds from kv_finish on. */
const void *kv_state_read(struct kv *c, const struct kv_batch *b);
void *kv_state_write(struct kv *c, const struct kv_batch *b);
/* Keeps a copy of state and ring as they are; to be called before each reply. The oldest of too many goes. Without either nothing happens, and
 * without room for it none is taken: a rewind goes back further then. */
void kv_checkpoint(struct kv *c, int seq);
/* The last token index, at most index, from which the sequence can be computed on: index itself, or, where a state, a ring or a plug-in cannot be
 * cut there, that of the newest checkpoint before it, or 0. kv_sync goes back to such a point and plans what is to be replayed. */
size_t kv_resume_point(const struct kv *c, int seq, size_t index);

/* ---- what attention reads ------------------------------------------------------------------------------------ */

/* A run of neighbouring cells of one block with neighbouring positions. */
struct kv_span {
    const uint8_t *block;  /* first byte of the block */
    uint32_t first, n;     /* cells [first, first + n) of it */
    int64_t pos;           /* effective position of the first */
    uint32_t rot;          /* which of the view's offsets it has */
    uint32_t cell;         /* number of the first in the cache */
};
/* Queries of one layer, for a memory plug-in that attends itself: those of the last n_rows of the view's n_cells cells, which may be fewer than it
 * had at first. Row r stands at effective position pos + r and sees every cell up to its own. q is not rotated yet; out: [n_heads * head_dim_v]. */
struct kv_queries {
    uint32_t layer, n_heads;
    size_t n_rows;
    int64_t pos;
    float scale; /* of a score */
    const float *q; size_t q_stride; /* [n_rows][n_heads * head_dim_k] f32 */
    float *out; size_t out_stride;
};
/* A sequence as attention sees it: spans in position order, the batch's own cells last. A query at effective position P
 * meets the span's keys after being rotated to P - offset[span.rot]. Spans never cross a block. Borrowed until the
 * next kv_begin. */
struct kv_view {
    const struct kv_span *span; size_t n_spans;
    const int64_t *offset; size_t n_offsets;
    size_t n_cells;
    /* Of a memory plug-in; NULL otherwise: */
    float *mass; /* [n_cells] attention adds what all heads and rows of a layer that it computed give each cell; a row gives 1 in all a head */
    /* Attention by the plug-in itself, in place of the engine's; by the thread that owns the cache. */
    void (*attend)(const struct kv_view *v, const struct kv_queries *q);
    void *attend_ctx;
};
void kv_get_view(struct kv *c, const struct kv_batch *b, struct kv_view *v);
/* The same of the rings: what the batch's first row sees of them, and the batch itself. A later row sees less of the beginning, as the window says.
 * The layout is that of the cache but for block_bytes; layer i of it is the ring's i-th. */
void kv_get_window_view(struct kv *c, const struct kv_batch *b, struct kv_view *v);
/* Where a layer of the model is: its number among those with cells, or (*ring) among those in rings; KV_NO_LAYER: nowhere. */
uint32_t kv_layer(const struct kv *c, uint32_t layer, bool *ring);

/* Where things lie inside a block, fixed when the cache is opened. Key row of (layer, head, cell):
 * block + layer * layer_bytes + head * k_head_bytes + cell * k_row_bytes; value row the same with v_*, from v_base. */
struct kv_layout {
    size_t block_bytes, layer_bytes;
    size_t k_head_bytes, k_row_bytes;
    size_t v_base, v_head_bytes, v_row_bytes; /* v_base: from the layer's first byte to its first value */
    const struct num_type *type_k, *type_v;
    bool rotated;                             /* keys are stored as kv_rotate turns them */
};
const struct kv_layout *kv_get_layout(const struct kv *c);

/* ---- sequence operations ------------------------------------------------------------------------------------- */
/* Ranges are half-open and in effective positions; p0 < 0 means 0, p1 < 0 means the end; seq < 0 any sequence where
 * noted. A rewind, edit or clear gives wholly free blocks back (with hysteresis). */

/* seq < 0: all. false, and nothing was changed: a batch is on its way, or a state or ring would be cut where it cannot go back to. */
bool kv_seq_rm(struct kv *c, int seq, int64_t p0, int64_t p1);
/* In [p0, p1) dst becomes what src is there; what it held there before goes, the rest of it stays. Cells are shared, no bytes are copied.
 * Between streams the cells are copied, and the sequence as a whole takes the place of dst: ERR_USAGE where the range is less, or (unified) where
 * dst would hold a shared cell at two positions; with states or rings, where it is not the whole. ERR_MEMORY, ERR_CONTEXT (the bound is lower than what src holds). Nothing was changed then. */
int kv_seq_cp(struct kv *c, int src, int dst, int64_t p0, int64_t p1, struct err *e);
void kv_seq_keep(struct kv *c, int seq);
/* Moves positions by d, or divides them, and rotates the stored keys; cells that others share are copied first, and what
 * would stand below 0 is freed. ERR_USAGE: it would change the order of positions, move them
 * beyond 2^60, free what a state has seen, or there are rings. ERR_MEMORY: no room for the copies. */
int kv_seq_add(struct kv *c, int seq, int64_t p0, int64_t p1, int64_t d, struct err *e);
int kv_seq_div(struct kv *c, int seq, int64_t p0, int64_t p1, int d, struct err *e);
int64_t kv_seq_pos_min(const struct kv *c, int seq);                      /* -1: empty */
int64_t kv_seq_pos_max(const struct kv *c, int seq);
/* Positions between the first and the last that no cell holds. Only kv_seq_rm and the like leave any: new tokens come behind the last. */
uint64_t kv_seq_gaps(const struct kv *c, int seq);
void kv_clear(struct kv *c, bool data);   /* gives back what was not there at opening; data: also zero the bytes */

/* Sequence ids are leased. One that is vacant is clean, always. */
int kv_acquire(struct kv *c);            /* leases a vacant id, or -1 */
bool kv_release(struct kv *c, int seq);  /* gives back one that is clean already; false: it is not, and nothing was changed */
void kv_evict(struct kv *c, int seq);    /* strips it and gives it back */
void kv_evict_all(struct kv *c);         /* the same for all, and for what the prompt cache has */
void kv_retain(struct kv *c, int seq);   /* the same for all but this one, which is leased from now on */
size_t kv_available(const struct kv *c); /* vacant ids, with those that the prompt cache would make so */

/* ---- the prompt cache ----------------------------------------------------------------------------------------- */
/* Conversations that are not live are parked: their cells stay where they are, in the same pool, which is the bound and the prompt cache's
 * limit. They count against that limit (also those that a live sequence shares), which holds always: an entry that is larger is not
 * made, and the least recently used ones make way. They are the first to go when memory is short. */

/* To be called before kv_sync: gives seq the best there is for the prompt. sim is the common beginning as a share of the prompt, f_keep as a
 * share of what is cached. The entry of which at least a quarter is of use and which beats seq on both counts is taken, and they
 * change places; else seq is parked where less than half of it is of use, and the entry with the longest common beginning lends its cells,
 * uncopied, where that is longer. Entries that are the beginning of a new one are dropped. No failure: what cannot be had is computed. */
void kv_prompt_choose(struct kv *c, int seq, const struct kv_prompt *p);
/* The leased sequence that has the largest share of the prompt, more than a tenth; -1: none. */
int kv_prompt_pick(const struct kv *c, const struct kv_prompt *p);
/* Parks what seq holds, where the limit allows it; seq is empty then, and stays leased. */
void kv_prompt_park(struct kv *c, int seq);
/* seq, which is empty, takes up what was last parked of the conversation (not 0). false: nothing is. */
bool kv_prompt_resume(struct kv *c, int seq, uint64_t conversation);

/* ---- limits at run time -------------------------------------------------------------------------------------- */

int kv_set_evict(struct kv *c, enum kv_evict m, struct err *e); /* ERR_USAGE: config.keep is more than the mode allows; nothing changed */
/* Below what is used: evicts by the mode at the next kv_begin or kv_sync. ERR_USAGE: out of range, or config.keep is more than half of it; ERR_MEMORY:
 * there is no address space; nothing changed. */
int kv_set_bound(struct kv *c, uint32_t bound, struct err *e);
int kv_grow_to(struct kv *c, uint32_t cells, struct err *e);
void kv_shrink(struct kv *c);                                  /* gives back every wholly free block now */

/* ---- what happened, and how things stand --------------------------------------------------------------------- */

enum kv_event_kind { KV_EVENT_GROW, KV_EVENT_SHRINK, KV_EVENT_EVICT, KV_EVENT_REFUSED, KV_EVENT_MODE /* another one than asked for */,
                     KV_EVENT_FORGET /* an entry of the prompt cache of evicted_tokens, for want of memory */,
                     KV_EVENT_MEMORY /* a memory plug-in is used, or why not */ };
struct kv_event {
    enum kv_event_kind kind;
    uint64_t n;                  /* number of this event, from 1 */
    uint32_t cells_before, cells_after;   /* committed, of the bound */
    uint64_t bytes_before, bytes_after;
    uint32_t evicted_tokens, evicted_turns;
    double us;                   /* what it took */
    const char *reason;          /* "full", "asked for", "cleared", "budget", ...; MEMORY: a sentence. Lives as long as the program */
};
/* Copies events with a number above after into ev[0..max), oldest first; returns how many. The last 256 are kept. Opening is
 * no event. A sliding window is told of at its first token and then once for every 256; kv_stats counts each. */
size_t kv_events(const struct kv *c, uint64_t after, struct kv_event *ev, size_t max);

struct kv_stats {
    uint32_t used, committed, reserved, bound;   /* cells; used counts cells that some live sequence owns, committed those of the bound alone; bound is one stream's */
    uint64_t used_bytes, committed_bytes, reserved_bytes, cell_bytes, block_bytes;
    uint64_t touched_bytes;                      /* committed bytes that take physical memory: written to, or spare */
    uint32_t spare;                              /* cells, in whole blocks, whose memory was taken before a token needs it; also of a block behind the committed ones */
    uint64_t spare_bytes;
    uint64_t copied_bytes;                       /* that growing has copied: 0 wherever the bound's addresses could be reserved */
    uint32_t n_grow, n_shrink;
    uint64_t evicted_tokens, evicted_turns;
    uint64_t room_bytes;                         /* what the cache may still take */
    const char *room_limit;                      /* what limits it: "bound", "budget", "cgroup", "memory", "RLIMIT_AS", ... */
    enum kv_grow grow;
    enum kv_evict evict;                         /* as it is carried out: see cannot_shift */
    uint32_t n_runs, n_offsets;                  /* of sequence 0 */
    uint32_t n_parked, parked_cells;             /* entries of the prompt cache; cells that they own, also together with live sequences */
    uint64_t parked_bytes, parked_limit_bytes;   /* of those cells, and the most there may be */
    uint64_t ring_bytes;                         /* of window rings, committed */
    uint64_t state_bytes;                        /* of recurrent states */
    uint64_t checkpoint_bytes;                   /* of checkpoints of states and rings */
    const char *memory;                          /* "default", or a plug-in's name; lives as long as the program */
};
void kv_get_stats(struct kv *c, struct kv_stats *s);

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

/* What a snapshot belongs to and carries beside the cache. */
struct kv_snapshot_info {
    uint64_t model_fingerprint;          /* refused when it differs */
    uint64_t rope_fingerprint;
    const void *extra; size_t extra_bytes; /* kv_save: the caller's own state (sampler, random numbers), kept as it is */
    /* kv_load: is given that state when all else has been checked; anything but 0 refuses the file. May be NULL. */
    int (*accept)(void *ctx, const void *extra, size_t n, struct err *e);
    void *accept_ctx;
};
/* Saves seq to path. A file that this cache has saved to or loaded from, and that nobody has changed since, gets the blocks
 * that changed and a new index behind what it holds; any other, and one that would be more than half dead, is written anew
 * beside it and renamed. Whatever fails, and wherever a crash cuts it off, the file holds the old state or the new one.
 * The save is made by the thread that owns the cache: changes wait for it. bytes: how many it wrote; may be NULL. */
int kv_save(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *info, uint64_t *bytes, struct err *e);
/* Replaces seq (vacant or not) by the newest state that the file holds whole, after validating all of it. Refused: ERR_FILE
 * (or ERR_MEMORY), one sentence with the reason, and the cache is as it was. bytes: how many were read; may be NULL. */
int kv_load(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *expect, uint64_t *bytes, struct err *e);

/* For benchmarks: fills seq, which is stripped first, with n cells of pseudo-random keys and values (2^-7 <= |x| < 2) at
 * positions 0..n, as if computed. */
int kv_fill_random(struct kv *c, int seq, uint32_t n, uint64_t seed, struct err *e);

#endif
