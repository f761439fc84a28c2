/* augment: writes a user's words as many users would: other phrases, letters in the wrong place, a greeting before, no question mark.
 *
 * What is done depends on the draw alone. Words that begin with / or - are never changed: they are names. */
#ifndef MODEL_TRAIN_AUGMENT_H
#define MODEL_TRAIN_AUGMENT_H

#include <stdbool.h>

#include "config/buf.h"
#include "model/train/corpus.h"
#include "model/train/draw.h"

struct augment_options {
    bool synonyms; /* phrases of a group of synonyms.txt for each other */
    bool typos;
    bool openers;  /* "hi, " before, " please" after */
    bool letters;  /* lower-case, Capitalised; ? . or nothing at the end */
    bool drops;    /* a small word left out, or all of them */
    bool noise;    /* any word left out, a filler put in */
    bool twice;    /* two wordings of a question, one after the other (batch.c) */
    bool splits;   /* a word in two parts, each with tokens of its own (batch.c): parts of words get a meaning too */
};

/* Appends text as it might have been typed. Synonyms are c's. ERR_MEMORY. */
int augment_user(const struct corpus *c, const struct augment_options *o, struct draw *d, const char *text, struct buf *out);

#endif
