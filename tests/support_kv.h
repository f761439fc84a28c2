/* Helpers of the tests of kv/: a small cache, and keys and values that tell what token they belong to. */
#ifndef TESTS_SUPPORT_KV_H
#define TESTS_SUPPORT_KV_H

#include "kv/kv_cache.h"

enum { KVT_LAYERS = 2, KVT_HEADS = 2, KVT_DIM = 8, KVT_ROW = KVT_HEADS * KVT_DIM };

struct kv_config kvt_config(uint32_t bound, const char *type);
struct kv *kvt_open(const struct kv_config *g); /* fails the test where the cache does not open */

/* The row that token t at position pos stores in a layer; exact in f16. */
void kvt_row(int32_t t, int64_t pos, uint32_t layer, bool value, float *row);
/* Makes room for n more tokens, computing again what that takes; returns kv_make_room's code. */
int kvt_make_room(struct kv *c, int seq, uint32_t n, struct err *e);
/* Does that where the mode may reseed, begins, writes and finishes tokens [index, index + n) of token; returns kv_begin's code. */
int kvt_feed(struct kv *c, int seq, const int32_t *token, size_t index, uint32_t n, struct err *e);
/* The same for one appended token. */
int kvt_append(struct kv *c, int seq, int32_t token, struct err *e);
/* Syncs and feeds what is to be computed, in micro-batches. */
int kvt_prompt(struct kv *c, int seq, const struct kv_prompt *p, struct kv_plan *plan, struct err *e);

/* Fails the test unless the sequence is sound, each of its cells holds the row of its token at its stored position, and its state (where the
 * configuration has one, of a multiple of 8 bytes) is that of its live tokens, one after the other. */
void kvt_check(struct kv *c, int seq);
/* Hash of the stored bytes of the token's cell, or 0 where it is not live. */
uint64_t kvt_hash(struct kv *c, int seq, size_t index);

#endif
