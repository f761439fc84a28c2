/* kv_ring: the keys and values of layers with a sliding window. Such a layer needs no cell for what no row sees any more: each sequence has a
 * ring of as many cells as the window and one micro-batch have, in whole blocks, in an arena of its own. It starts with one block, grows to its cap
 * without moving anything, and then wraps.
 *
 * Tokens enter in the order in which they are computed: number w (from 0) lies in cell w modulo the ring's cells. What a row sees is the last of them
 * that are still live; one that has left is passed over. Those that left in between take up cells, so there may only be so many that nothing is
 * overwritten before it is out of the window (kv_ring_can): a shift or a rewind that leaves more is none. A ring goes back by as much
 * as it has not overwritten; beyond that it needs a checkpoint (kv_state.h). Owner thread only, but for kv_write. */
#ifndef KV_KV_RING_H
#define KV_KV_RING_H

#include "config/buf.h"
#include "kv/kv.h"
#include "kv/kv_arena.h"

struct kv_dropped;
struct kv_seq;

/* Of all rings of a cache. */
struct kv_ring_shape {
    uint32_t n_cells;   /* of a full ring; 0: there are none */
    uint32_t reach;     /* cells that a row can see at most, itself among them */
    uint32_t slack;     /* cells beyond those and a micro-batch */
    size_t block_bytes, cell_bytes;
    uint64_t full_bytes; /* that a full ring has committed */
    struct kv_span *span; /* [n_cells] of a view */
    int64_t *offset;      /* [n_cells] */
};

struct kv_ring {
    struct kv_arena arena;
    size_t *index;     /* [n_cells] token index of what a cell holds; NULL: nothing was computed yet */
    uint64_t next, lo; /* tokens [lo, next) are there */
};

/* What a ring held, with all its bytes. */
struct kv_ring_copy {
    uint8_t *bytes;
    size_t *index;
    uint64_t next, lo;
};

int kv_ring_open(struct kv *c, struct err *e); /* sizes, from the configuration. ERR_USAGE, ERR_MEMORY */
void kv_ring_close(struct kv *c);              /* what kv_ring_open made; rings are freed one by one */
void kv_ring_free(struct kv_ring *r);

/* Memory for a micro-batch of n tokens behind `ahead` others that are prepared. ERR_MEMORY; ERR_USAGE: more than a micro-batch may have. */
int kv_ring_reserve(struct kv *c, int seq, uint64_t ahead, uint32_t n, struct err *e);
void kv_ring_forget(struct kv_ring *r);
void kv_ring_trim(const struct kv *c, struct kv_ring *r); /* gives back blocks that it has not come to yet */
/* n tokens are about to be written: what they overwrite is not there any more. */
void kv_ring_begin(struct kv *c, int seq, uint32_t n);
/* They have been: tokens [index, index + n). */
void kv_ring_advance(struct kv *c, int seq, size_t index, uint32_t n);
/* First byte of the layer in the block that token number i of the batch lies in, and its cell there. */
uint8_t *kv_ring_place(const struct kv *c, const struct kv_batch *b, uint32_t i, uint32_t *cell);

/* Whether the ring (or a copy of it, where from is not NULL) has what a row at the token index sees, and rows behind it will, when what is dropped
 * (NULL: nothing) has left. */
bool kv_ring_can(const struct kv *c, int seq, const struct kv_ring_copy *from, size_t index, const struct kv_dropped *d);
/* Goes back there. */
void kv_ring_rewind(struct kv *c, int seq, size_t index);

/* The copy's memory is used again. 0 or -1. */
int kv_ring_store(const struct kv *c, int seq, struct kv_ring_copy *to);
void kv_ring_restore(struct kv *c, int seq, const struct kv_ring_copy *from);
void kv_ring_copy_free(struct kv_ring_copy *p);
/* For the memory, that of a full ring, the caller asks before. 0 or -1. */
int kv_ring_clone(const struct kv *c, const struct kv_ring *from, struct kv_ring *out);

/* A ring in a snapshot's section RING: uint64 seen and n, then for each of n tokens its uint64 index and its rows: those that a row at the token
 * index `seen` sees beside itself, the last live ones before it. */
struct kv_ring_part {
    uint64_t seen, n;
    const uint8_t *token;
};
/* Appends the ring, or a copy of it, where from is not NULL, as seen at that token index. */
void kv_ring_put(const struct kv *c, int seq, const struct kv_ring_copy *from, size_t seen, struct buf *out);
/* Reads the part at *at, which moves behind it. false: it is not whole before end. */
bool kv_ring_next(const struct kv *c, const uint8_t **at, const uint8_t *end, struct kv_ring_part *p);
/* ERR_FILE where the tokens are not those that must be there of the sequence. */
int kv_ring_check(const struct kv *c, const struct kv_ring_part *p, const struct kv_seq *q, struct err *e);
/* What has been checked, as a ring or as a copy of one; for the memory the caller asks before. 0 or -1, with nothing in out. */
int kv_ring_take(const struct kv *c, const struct kv_ring_part *p, struct kv_ring *out);
int kv_ring_take_copy(const struct kv *c, const struct kv_ring_part *p, struct kv_ring_copy *out);

uint64_t kv_ring_bytes(const struct kv *c);      /* committed, of all */
uint64_t kv_ring_most_bytes(const struct kv *c); /* that those which have begun will have committed when they are full */
uint64_t kv_ring_copy_bytes(const struct kv *c); /* of one copy */

#endif
