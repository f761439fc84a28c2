/* kv_memory: the table of operations that a memory plug-in replaces some of. Read kv/README.md, "A memory plug-in", first.
 *
 * A plug-in is a shared object with one symbol, kvetch_memory. It is given the table of the default memory, copies it,
 * puts its own functions in place of those that it changes, and returns the copy. What it does not change, and what it
 * calls through host->base from within its own functions, is the default memory itself: cells, growth, budget,
 * sequences, snapshots. An eviction policy is one function (evict), a lossy format is one (write), keys and values in
 * storage of one's own are five (place, write, view with attend, drop, copy).
 *
 * Contracts and thread rules of the functions are those of the kv_* call in kv/kv.h that is named beside each: that call
 * is nothing but the call of the function. A function that fails with ERR_FAILED has broken: the plug-in is let go, all
 * sequences are emptied, and the default memory goes on; what it held is computed again at the next kv_sync. Other codes are
 * answers, and so is all that save and load say: where those fail it is the file, and the cache is as it was. */
#ifndef KV_KV_MEMORY_H
#define KV_KV_MEMORY_H

#include "kv/kv.h"

#define KV_MEMORY_VERSION 2u
#define KV_MEMORY_SYMBOL "kvetch_memory"

/* What a memory can do. Where a flag is missing the cache does without:
 * can_grow: all of the bound is committed at opening and stays so, the bound cannot be raised above that, and there is no prompt cache;
 * can_shrink: nothing is given back; can_shift: shift and slide become reseed, and kv_seq_add and kv_seq_div are refused; can_trim: where
 * anything is cut, all is computed again from the first token, shift and slide are reseed, and there is no prompt cache; exact_restore:
 * kv_save is refused, and a resumed conversation is read again. */
#define KV_CAN_GROW 1u
#define KV_CAN_SHRINK 2u
#define KV_CAN_SHIFT 4u
#define KV_CAN_TRIM 8u
#define KV_EXACT_RESTORE 16u
#define KV_CAN_ALL 31u

/* A cell of a sequence that is asked for room, in position order. */
struct kv_memory_cell {
    size_t token;  /* index in the conversation */
    int64_t pos;   /* effective position */
    uint32_t cell; /* its number, by which a plug-in keeps what it knows of it */
    bool kept;     /* must stay: the kept part, a pinned turn, a cell that others share, a turn that must be whole */
    bool leaves;   /* to be set */
};
struct kv_memory_ask {
    int seq;
    struct kv_memory_cell *cell;
    size_t n_cells;
    size_t n_need;  /* cells that must leave at least; no more than are not kept */
    size_t n_bound; /* most cells that the sequence may have */
};

struct kv_memory {
    uint32_t version, bytes; /* KV_MEMORY_VERSION, sizeof(struct kv_memory) */
    const char *name;        /* for messages; static */
    uint32_t flags;          /* KV_CAN_..., KV_EXACT_RESTORE */

    int (*create)(struct kv *c, const struct kv_config *g, struct err *e); /* a part of kv_open, before memory is committed; fails: never used, not destroyed */
    void (*destroy)(struct kv *c);                                          /* the first part of kv_close */

    int (*place)(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e); /* kv_begin */
    void (*apply)(struct kv *c, struct kv_batch *b);                                                                       /* kv_finish */
    void (*abandon)(struct kv *c, struct kv_batch *b);                                                                     /* kv_abandon */
    void (*write)(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k, size_t k_stride,
                  const float *v, size_t v_stride);            /* kv_write: any thread */
    void (*view)(struct kv *c, const struct kv_batch *b, struct kv_view *v); /* kv_get_view; may set v->mass and v->attend */

    bool (*rm)(struct kv *c, int seq, int64_t p0, int64_t p1);                            /* kv_seq_rm */
    int (*cp)(struct kv *c, int src, int dst, int64_t p0, int64_t p1, struct err *e);     /* kv_seq_cp */
    void (*keep)(struct kv *c, int seq);                                                  /* kv_seq_keep */
    int (*add)(struct kv *c, int seq, int64_t p0, int64_t p1, int64_t d, struct err *e);  /* kv_seq_add */
    int (*div)(struct kv *c, int seq, int64_t p0, int64_t p1, int d, struct err *e);      /* kv_seq_div */

    /* What a plug-in keeps of a token it keeps by the number of its cell, which is known from place on (b->cell) and never changes: which
     * sequences and entries of the prompt cache own a cell is the default memory's business. Both are called from within other calls, and
     * may call their like of the base, nothing else of the cache.
     * drop: cells [cell, cell + n), which had been applied, have lost their last owner, whatever took it: rm and the like, a rewind, an eviction,
     * the prompt cache, a closing or clearing of sequences, a load over them. They may be placed again at once.
     * copy: cell `to`, which has no owner yet, becomes a copy of `from`, with the key as it is turned: where cells that others share move (add,
     * div), and between streams (cp). A copy that finds no memory is answered by the call that it is made within, with ERR_FAILED. */
    void (*drop)(struct kv *c, uint32_t cell, uint32_t n);
    void (*copy)(struct kv *c, uint32_t from, uint32_t to);

    /* Which cells leave, where the bound is reached and the mode is shift or slide. Marks at least n_need of those that are not kept; none: the
     * mode decides, as it does where too few are left to choose from. Too few, or one that is kept, counts as broken; where write is the base's the
     * cache's cells hold everything, and the conversation stays. */
    int (*evict)(struct kv *c, const struct kv_memory_ask *ask, struct err *e);

    int (*save)(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *info, uint64_t *bytes, struct err *e); /* kv_save */
    int (*load)(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *expect, uint64_t *bytes, struct err *e); /* kv_load */
    void (*stats)(struct kv *c, struct kv_stats *s); /* kv_get_stats: any thread */
};

/* What a plug-in, which links nothing of the program, may call. Lives as long as the program. */
struct kv_memory_host {
    uint32_t version, bytes;      /* KV_MEMORY_VERSION, sizeof(struct kv_memory_host) */
    const struct kv_memory *base; /* the default memory; its functions are called with the plug-in's own struct kv. base->view shows also what a sequence
                                   * has outside of a batch: (struct kv_batch){.seq = seq} */
    void **(*state)(struct kv *c); /* where the plug-in keeps a pointer to what is its own; NULL at first */
    const struct kv_config *(*config)(const struct kv *c);
    const struct kv_layout *(*layout)(const struct kv *c);
    size_t (*tokens)(const struct kv *c, int seq, const int32_t **token);                        /* kv_tokens */
    void (*rope_angles)(const struct kv_rope *r, int64_t pos, float *cs);                        /* kv_rope_angles */
    void (*rope_turn)(const struct kv_rope *r, const float *cs, float scale, float *head);       /* kv_rope_turn */
    int (*fail)(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4))); /* err_set */
};

/* The one symbol of a plug-in: its table, which must stay where it is, or NULL: the default memory, please. */
const struct kv_memory *kvetch_memory(const struct kv_memory_host *host);

/* ---- for kv/ ------------------------------------------------------------------------------------------------- */

extern const struct kv_memory kv_memory_default;
extern const struct kv_memory_host kv_memory_host;

/* Loads the plug-in, for good, and asks it for its table. ERR_FILE: it cannot be used, by the file's name and with the reason. *m: NULL where the
 * factory returned that. */
int kv_plugin_open(const char *path, const struct kv_memory **m, struct err *e);

#endif
