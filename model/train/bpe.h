/* bpe: learns a byte-level BPE vocabulary from text (Sennrich, Haddow, Birch 2016, algorithm 1, on the bytes of each word).
 *
 * The tokens are, in this order: the control tokens, the 256 bytes, one token a merge. Text is cut into words by the same expressions
 * that will cut it when the vocabulary is used (model/pretokenizer.h). Which pair is joined next depends on the words and weights
 * alone: of pairs that weigh the same, the one with the lower ids. */
#ifndef MODEL_TRAIN_BPE_H
#define MODEL_TRAIN_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "model/gguf.h"
#include "model/train/gguf_write.h"

enum { BPE_N_CONTROL = 3, BPE_N_BASE = BPE_N_CONTROL + 256 };

struct bpe_merge { int32_t left, right; }; /* makes token BPE_N_BASE + its index */

struct bpe;

/* pre: the pre-tokeniser's name, as in tokenizer.ggml.pre. */
int bpe_open(struct bpe **out, const char *pre, struct err *e);
void bpe_close(struct bpe *b); /* NULL is fine */

/* Enters the words of text (valid UTF-8), each occurrence with that weight. */
int bpe_add(struct bpe *b, const char *text, uint64_t weight, struct err *e);
/* Joins pairs until there are n_tokens (at least BPE_N_BASE), or no pair is left. To be called once, after every bpe_add. */
int bpe_learn(struct bpe *b, uint32_t n_tokens, struct err *e);

uint32_t bpe_n_tokens(const struct bpe *b);
const struct bpe_merge *bpe_merges(const struct bpe *b, size_t *n); /* in the order in which they are applied; borrowed */
/* The bytes of a token that is no control token; borrowed. */
struct gguf_text bpe_token(const struct bpe *b, int32_t id);

/* Writes the keys tokenizer.*, with a ChatML template. */
int bpe_write(const struct bpe *b, struct gguf_write *w, struct err *e);

#endif
