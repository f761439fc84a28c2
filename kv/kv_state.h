/* kv_state: what recurrent layers keep of a sequence in place of cells: a state of fixed size, opaque here, and checkpoints of it, which hold its
 * ring (kv_ring.h) too.
 *
 * A state cannot be cut: it goes back only to where a checkpoint was taken, or to the beginning. A state belongs to its sequence as long as it
 * has seen as many tokens as that has; one of a sequence that was emptied meanwhile is as good as none. Two buffers take turns, so that a batch
 * that is abandoned leaves no trace. Owner thread only. */
#ifndef KV_KV_STATE_H
#define KV_KV_STATE_H

#include "config/buf.h"
#include "kv/kv.h"
#include "kv/kv_ring.h"

struct kv_checkpoint {
    size_t index;   /* tokens that it has seen */
    uint8_t *bytes; /* [state_bytes] */
    struct kv_ring_copy ring;
};

struct kv_state {
    uint8_t *bytes[2];           /* [state_bytes], NULL before the first batch */
    int now;                     /* the one that holds; the other one is being computed */
    size_t index;                /* tokens of the conversation that state and ring have seen */
    struct kv_ring ring;
    struct kv_checkpoint *point; /* [cap_points], n_points of them in use, in order of index */
    size_t n_points, cap_points;
};

void kv_state_free(struct kv_state *s);
/* Buffers for a micro-batch that is about to be computed, as kv_ring_reserve. ERR_MEMORY, ERR_USAGE. */
int kv_state_reserve(struct kv *c, int seq, uint64_t ahead, uint32_t n, struct err *e);
/* A batch of n tokens is on its way; it has been computed, and what it wrote holds, tokens [index, index + n). */
void kv_state_begin(struct kv *c, int seq, uint32_t n);
void kv_state_advance(struct kv *c, int seq, size_t index, uint32_t n);
/* Gives back what a sequence does not use: all where it is empty, else checkpoints that were forgotten and blocks of a ring that went back. */
void kv_state_trim(struct kv *c, int seq);
/* Goes back to what it was at a resume point (kv_resume_point). Later checkpoints are forgotten. Nothing fails. */
void kv_state_rewind(struct kv *c, int seq, size_t index);
/* A copy with the checkpoints, to be set (which takes it) or freed. ERR_MEMORY. */
int kv_state_clone(struct kv *c, int seq, struct kv_state *out, struct err *e);
void kv_state_set(struct kv *c, int seq, struct kv_state *s);
/* Appends what a snapshot says of a sequence's state (its section STAT), and of its rings (RING). */
void kv_state_put(const struct kv *c, int seq, struct buf *out);
void kv_state_put_rings(const struct kv *c, int seq, struct buf *out);
/* The bytes of both, none where the file has none. */
struct kv_state_parts {
    const uint8_t *state, *ring;
    uint64_t n_state, n_ring;
};
/* The other way: of a sequence with these tokens, some of which have left. ERR_FILE, ERR_MEMORY, with nothing in out. */
int kv_state_take(struct kv *c, const struct kv_state_parts *in, const struct kv_seq *q, struct kv_state *out, struct err *e);
uint64_t kv_state_bytes(const struct kv *c);       /* of all of them */
uint64_t kv_state_point_bytes(const struct kv *c); /* of their checkpoints, with those of rings */

#endif
