/* support_reference: a model computed the plainest way, in double, for tests to compare with.
 *
 * Reads the GGUF file by itself (through gguf.c and the number types alone), expands every weight, keeps every key
 * unrotated, and computes attention at whatever positions the tokens have at the moment. Slow; for models of a few
 * hundred thousand weights. Anything unexpected ends the test program (assert). */
#ifndef TESTS_SUPPORT_REFERENCE_H
#define TESTS_SUPPORT_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

struct reference;

struct reference *reference_open(const char *path);
void reference_close(struct reference *r);
uint32_t reference_n_vocab(const struct reference *r);

/* Computes a token behind the others; logits: [n_vocab], or NULL. */
void reference_step(struct reference *r, int32_t token, double *logits);
/* Forgets tokens [first, first + n) of those that are there; the later ones move up, keeping what was computed for
 * them. */
void reference_drop(struct reference *r, size_t first, size_t n);
size_t reference_length(const struct reference *r);
void reference_clear(struct reference *r);

/* KL divergence of q from p, two rows of n logits. */
double reference_kl(const double *p, const double *q, size_t n);

#endif
