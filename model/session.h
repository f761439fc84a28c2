/* session: the inside of engine.h's struct session, for the files that work on one. */
#ifndef MODEL_SESSION_H
#define MODEL_SESSION_H

#include <pthread.h>

#include "model/engine.h"
#include "model/forward.h"
#include "model/model.h"
#include "model/residency.h"
#include "model/sampler.h"

struct session {
    struct model *model;      /* borrowed: outlives the session */
    struct session_options o; /* defaults filled in */
    struct pool *pool;
    struct kv *kv;
    int seq; /* the conversation's sequence */
    struct forward *forward;
    struct sampler *sampler;
    float *logits;              /* [n_vocab] of the last token computed */
    int32_t *again;             /* [n_ubatch] tokens that are computed once more */
    uint64_t last_event;        /* number of the newest cache event that was reported */
    struct residency residency; /* of the mapped weights */
    pthread_mutex_t lock;       /* guards what follows and residency */
    double prefill_tps, decode_tps;
    size_t scratch_bytes; /* of forward; written by the session's thread alone, which may read it without the lock */
};

double session_now_us(void); /* a clock that only goes forward */

/* Computes tokens at the end of the sequence, or at index first of its conversation (see kv_begin), at most n_ubatch of
 * them; the last row's logits go to s->logits where wanted. Where that makes turns leave and the cache cannot close up, what
 * stays is computed again first. On failure the batch is abandoned. */
struct session_batch {
    const int32_t *token;
    uint32_t n;
    size_t first;                    /* (size_t)-1: the end */
    uint32_t first_row;              /* first row whose logits are wanted; n: none */
    float *logits;                   /* [n - first_row][n_vocab] */
    const struct session_events *ev; /* asked about a cancel; may be NULL */
};
int session_compute(struct session *s, const struct session_batch *b, struct err *e);
int session_check_tokens(const struct session *s, const int32_t *id, size_t n, struct err *e); /* ERR_USAGE: one is none of the vocabulary */

#endif
