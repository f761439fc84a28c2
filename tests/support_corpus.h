/* support_corpus: every text of the guide's corpus, one after the other. */
#ifndef TESTS_SUPPORT_CORPUS_H
#define TESTS_SUPPORT_CORPUS_H

#include "model/train/corpus.h"

enum corpus_whose { ASKED, ANSWERED };
struct corpus_text {
    const char *text;
    enum corpus_whose whose;
    const char *fact; /* id of the fact that it belongs to, or that answers it; "" none */
    struct corpus_place place;
};
typedef void corpus_text_fn(void *ctx, const struct corpus_text *t);
void corpus_each_text(const struct corpus *c, corpus_text_fn *fn, void *ctx);

#endif
