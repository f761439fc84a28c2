/* vocabulary: the guide's tokens, learned from its corpus. */
#ifndef MODEL_TRAIN_VOCABULARY_H
#define MODEL_TRAIN_VOCABULARY_H

#include "model/engine.h"
#include "model/train/bpe.h"
#include "model/train/corpus.h"

/* Learns n_tokens from what the corpus says, each text weighted about as often as it is trained on. */
int vocabulary_learn(struct bpe **out, const struct corpus *c, const char *system, const char *pre, uint32_t n_tokens, struct err *e);
/* Writes it to path, which is removed again, and opens that as the program opens a model for its tokenizer alone. */
int vocabulary_open(struct model **out, const struct bpe *b, const char *path, struct err *e);

#endif
