/* pretokenizer: cuts text into the words that byte-level BPE tokenises one by one. The only user of PCRE2.
 *
 * The rules are expressions that the model was trained with, found by the name in tokenizer.ggml.pre. Each expression cuts
 * what the one before it left: a match is a piece, and so is what lies between two matches. Immutable once opened: any thread. */
#ifndef MODEL_PRETOKENIZER_H
#define MODEL_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "config/err.h"

struct pretokenizer;

/* ERR_FILE, with the name, where none is known by it; "" is the one that files without a name mean. */
int pretokenizer_open(struct pretokenizer **out, const char *name, struct err *e);
void pretokenizer_close(struct pretokenizer *p); /* NULL is fine */

bool pretokenizer_whole_words(const struct pretokenizer *p); /* a word that is a token is taken whole, whatever the merges say */
bool pretokenizer_add_bos(const struct pretokenizer *p);     /* its models want BOS where the file does not say */

/* Calls word for every word of text, which must be valid UTF-8, in order, with its place in it. A code other than 0 from word
 * ends it and is returned. */
int pretokenizer_split(const struct pretokenizer *p, const char *text, size_t n, int (*word)(void *ctx, size_t from, size_t n), void *ctx,
                       struct err *e);

#endif
