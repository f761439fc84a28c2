/* kv_seq: the runs of a sequence, and what it remembers of its conversation.
 *
 * Invariants: runs are in order of token index and of effective position; they do not overlap; none is empty. A run's
 * cells, stored positions and token indices each rise by one. left is in order, merged, and never covers a token that
 * a run holds. Runs and left have room for one more than every committed cell could make necessary (kv_seq_reserve),
 * so that nothing below but the reserving fails. Owner thread only. */
#ifndef KV_KV_SEQ_H
#define KV_KV_SEQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/kv.h"
#include "kv/kv_cells.h"

#define KV_MAX_POS ((int64_t)1 << 60) /* no position or offset is larger, so that sums of them do not overflow */

struct kv_run {
    int64_t pos, offset; /* stored position of the first cell; effective = pos + offset */
    size_t index;        /* token index of the first cell */
    uint32_t cell, n;
};

struct kv_seq {
    struct kv_run *run;
    size_t n_runs, cap_runs;
    int32_t *token; /* [n_tokens] what is computed or has left; behind it lies the prompt that is being computed */
    size_t n_tokens, cap_tokens;
    struct kv_range *left; /* may reach beyond n_tokens, into the prompt */
    size_t n_left, cap_left;
    struct kv_turn *turn; /* only first and pinned are used: a turn ends where the next begins */
    size_t n_turns, cap_turns;
    size_t n_keep;
    uint32_t n_cells; /* cells in runs */
    bool leased;
    uint64_t conversation; /* 0: not told */
    uint64_t used_at;      /* of an entry of the prompt cache: the number of its last use */
    bool moved; /* its positions were changed by hand: none of it is as if computed afresh */
};

void kv_seq_free(struct kv_seq *s);
/* Room for the runs and ranges of that many cells, and for n_tokens tokens. 0 or -1. */
int kv_seq_reserve(struct kv_seq *s, size_t cells, size_t n_tokens);
int kv_seq_set_turns(struct kv_seq *s, const struct kv_turn *turn, size_t n);
/* Forgets everything but the lease and the memory; its cells must have been disowned. */
void kv_seq_forget(struct kv_seq *s);
/* Disowns its cells and forgets. */
void kv_seq_strip(struct kv_seq *s, struct kv_cells *t, int seq);

static inline int64_t kv_run_first(const struct kv_run *r) {
    return r->pos + r->offset;
} /* effective position */
static inline int64_t kv_run_end(const struct kv_run *r) {
    return r->pos + r->offset + r->n;
}
int64_t kv_seq_next_pos(const struct kv_seq *s); /* effective position that the next token gets */

/* The first run that ends behind the token index (or the position); n_runs: none. */
size_t kv_seq_find_index(const struct kv_seq *s, size_t index);
size_t kv_seq_find_pos(const struct kv_seq *s, int64_t pos);
/* Splits, where needed, so that a run begins there; returns its number. */
size_t kv_seq_cut_index(struct kv_seq *s, size_t index);
size_t kv_seq_cut_pos(struct kv_seq *s, int64_t pos);
/* Appends a run, lengthening the last one where it goes on. */
void kv_seq_push(struct kv_seq *s, const struct kv_run *r);
/* Removes runs [from, to), disowning their cells; returns how many cells. */
uint32_t kv_seq_remove_runs(struct kv_seq *s, struct kv_cells *t, int seq, size_t from, size_t to);
/* The same by a caller's wish: a tail is forgotten like a rewind; what goes from the middle has left. */
void kv_seq_take(struct kv_seq *s, struct kv_cells *t, int seq, size_t from, size_t to);
/* Drops the live tokens of [first, first + n) and closes the positions up: what stands before moves, by its offsets. */
uint32_t kv_seq_drop(struct kv_seq *s, struct kv_cells *t, int seq, struct kv_range range);
/* The first live token that may have seen what is not there any more, SIZE_MAX: none. A token that is computed is stored at the number of
 * those before it; where some of them leave, it stays where it is, and so do all that saw it. */
size_t kv_seq_taint(const struct kv_seq *s);
/* Where all of it is as if computed afresh, its offsets become 0: with nothing behind, what left need not be closed up. */
void kv_seq_settle(struct kv_seq *s);
/* Live tokens in [from, to), or, sole, those in cells that nobody else owns. */
size_t kv_seq_count(const struct kv_seq *s, const struct kv_cells *t, size_t from, size_t to, bool sole);

void kv_seq_add_left(struct kv_seq *s, struct kv_range range);
void kv_seq_cut_left(struct kv_seq *s, size_t end); /* forgets what left at end and behind it */
size_t kv_seq_count_left(const struct kv_seq *s, size_t from, size_t to);

#endif
