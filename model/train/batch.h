/* batch: rows of tokens to learn from, made of the corpus: conversations as people might have them with the guide.
 *
 * A row is a function of its kind, its index and the options alone. Mixed rows hold long conversations that fill a context, short ones of
 * one to four exchanges, and branches of both: another question where one was asked, with the beginning of its reply. Tokens are those
 * that the program makes of the same messages (model_render). */
#ifndef MODEL_TRAIN_BATCH_H
#define MODEL_TRAIN_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/model.h"
#include "model/train/augment.h"
#include "model/train/corpus.h"
#include "model/train/net.h"

struct batch_options {
    const char *system;    /* the system prompt of nearly all conversations */
    size_t row_tokens;     /* most tokens of a row */
    uint64_t seed;
    double refusals;       /* share of refusals among exchanges that are drawn */
    double no_system;      /* share of conversations without the system prompt */
    float first_loss;      /* what each of a reply's first tokens weighs */
    float user_loss;       /* what a token of a user's text weighs; the reply's weigh 1, marks and system prompt 0 */
    bool hold;             /* some wordings are kept out, for batch_held */
    struct augment_options augment;
};

enum batch_kind {
    BATCH_MIXED,      /* what is trained on */
    BATCH_FIRST,      /* the first question of a conversation, one that the guide knows */
    BATCH_REFUSAL,    /* the same, one that it must refuse */
    BATCH_CHAIN,      /* many exchanges on many subjects */
    BATCH_DIALOGUE,   /* dialogues as they were written */
    BATCH_N_KINDS
};
const char *batch_kind_name(enum batch_kind k);

/* Zero before the first use; used again and again; batch_row_free frees. */
struct batch_row {
    int32_t *token;
    float *weight;
    struct net_segment *segment;
    size_t n, n_segments;
    size_t cap, cap_segments;
};
void batch_row_free(struct batch_row *r);
struct net_row batch_row_view(const struct batch_row *r); /* borrowed until the row changes */

struct batch;
/* Corpus, model (of which the vocabulary is enough) and options.system are borrowed. ERR_USAGE: row_tokens has no room for the
 * longest exchange. */
int batch_open(struct batch **out, const struct corpus *c, const struct model *m, const struct batch_options *o, struct err *e);
void batch_close(struct batch *b); /* NULL is fine */

/* Fills row with row number index of a kind. A kind that the corpus has nothing of gives an empty row. */
int batch_make(const struct batch *b, enum batch_kind kind, uint64_t index, struct batch_row *row, struct err *e);

/* Fills row with the held wordings from *from on, each the first question of a conversation, as written, and raises *from. row->n is 0
 * after the last. */
int batch_held(const struct batch *b, size_t *from, struct batch_row *row, struct err *e);
size_t batch_n_held(const struct batch *b);
bool batch_held_is_refused(const struct batch *b, size_t i); /* held wording i: must be refused */

/* Appends the row as text: conversations and branches with a line before each, marks spelt out. */
int batch_show(const struct batch *b, const struct batch_row *row, struct buf *out);

#endif
