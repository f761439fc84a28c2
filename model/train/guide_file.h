/* guide_file: the guide as a GGUF file: what it is, its vocabulary, its weights, and what it was made of. */
#ifndef MODEL_TRAIN_GUIDE_FILE_H
#define MODEL_TRAIN_GUIDE_FILE_H

#include <stdint.h>

#include "model/train/bpe.h"
#include "model/train/net.h"

#define GUIDE_FILE_CORPUS_HASH "kvetch.guide.corpus_hash" /* 16 hexadecimal digits, see corpus_hash */

struct guide_file_origin { uint64_t corpus_hash, seed, steps, threads; };

/* Matrices are stored as Q8_0 where their rows are whole blocks of it, as F16 elsewhere, norms as F32. *bytes: the file's size. */
int guide_file_save(const char *path, const struct net *n, const struct bpe *b, const struct guide_file_origin *o, uint64_t *bytes, struct err *e);

#endif
