/* sampler: from logits to a token. One sampler a conversation; not shared between threads. Only open and set allocate.
 *
 * Order as llama.cpp's default chain: penalties, (temp 0: arg max), top-k, top-p, min-p, temperature, draw. */
#ifndef MODEL_SAMPLER_H
#define MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "model/engine.h"

struct sampler;

int sampler_open(struct sampler **out, uint32_t n_vocab, const struct sample_params *p, struct err *e);
void sampler_close(struct sampler *s);
/* Keeps the random state unless the seed changed, and of the penalties' window what fits the new one. ERR_USAGE names a value out of range. */
int sampler_set(struct sampler *s, const struct sample_params *p, struct err *e);

/* logits: [n_vocab], changed in place. Returns the token. Ties go to the lowest id; NaN counts as minus infinity, and where
 * every logit is one of these the token is 0. */
int32_t sampler_sample(struct sampler *s, float *logits);
void sampler_accept(struct sampler *s, int32_t token); /* for penalties: prompt tokens and sampled ones, in order */
void sampler_reset(struct sampler *s);                 /* forgets accepted tokens and starts the seed again */
void sampler_forget(struct sampler *s);                /* forgets accepted tokens, keeps the random state */

/* The random state and the window of accepted tokens, for snapshots. save returns the size (call with NULL to size); load refuses
 * (ERR_FILE) what is not such a state and then changes nothing. */
size_t sampler_save(const struct sampler *s, void *out);
int sampler_load(struct sampler *s, const void *bytes, size_t n, struct err *e);

#endif
