/* support_corpus: see support_corpus.h. */
#include "tests/support_corpus.h"

static void each_of(const struct corpus_list *list, const struct corpus_fact *f, enum corpus_whose whose,
                    corpus_text_fn *fn, void *ctx) {
    for (size_t i = 0; i < list->n; i++) fn(ctx, &(struct corpus_text){list->text[i], whose, f->id, f->place});
}

static void each_next(const struct corpus *c, const struct corpus_fact *f, corpus_text_fn *fn, void *ctx) {
    for (size_t i = 0; i < f->n_next; i++) fn(ctx, &(struct corpus_text){f->next[i].text, ASKED, c->fact[f->next[i].fact].id, f->next[i].place});
}

static void each_turn(const struct corpus_dialogue *d, corpus_text_fn *fn, void *ctx) {
    for (size_t k = 0; k < d->n_turns; k++) {
        const struct corpus_turn *t = &d->turn[k];
        const char *fact = t->fact_id ? t->fact_id : "";
        fn(ctx, &(struct corpus_text){t->user, ASKED, fact, t->place});
        if (t->reply) fn(ctx, &(struct corpus_text){t->reply, ANSWERED, fact, t->place});
    }
}

void corpus_each_text(const struct corpus *c, corpus_text_fn *fn, void *ctx) {
    for (size_t i = 0; i < c->n_facts; i++) {
        const struct corpus_fact *f = &c->fact[i];
        each_of(&f->ask, f, ASKED, fn, ctx);
        each_of(&f->follow, f, ASKED, fn, ctx);
        each_of(&f->answer, f, ANSWERED, fn, ctx);
        each_next(c, f, fn, ctx);
    }
    for (size_t i = 0; i < c->n_dialogues; i++) each_turn(&c->dialogue[i], fn, ctx);
}
