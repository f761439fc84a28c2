/* vocabulary: see vocabulary.h. */
#include "model/train/vocabulary.h"

#include <unistd.h>

/* What a fact's questions weigh together, and its answers; it divides by most numbers of wordings. */
static const uint64_t FACT = 5040;

static int add_list(struct bpe *b, const struct corpus_list *l, uint64_t weight, struct err *e) {
    int rc = 0;
    for (size_t i = 0; i < l->n && !rc; i++) rc = bpe_add(b, l->text[i], weight / l->n + 1, e);
    return rc;
}

static int add_corpus(struct bpe *b, const struct corpus *c, struct err *e) {
    int rc = 0;
    for (size_t i = 0; i < c->n_facts && !rc; i++) {
        const struct corpus_fact *f = &c->fact[i];
        rc = add_list(b, &f->ask, FACT, e);
        if (!rc) rc = add_list(b, &f->follow, FACT / 4, e);
        if (!rc) rc = add_list(b, &f->answer, FACT, e);
        for (size_t j = 0; j < f->n_next && !rc; j++) rc = bpe_add(b, f->next[j].text, FACT / 16, e);
    }
    for (size_t i = 0; i < c->n_dialogues && !rc; i++) {
        for (size_t j = 0; j < c->dialogue[i].n_turns && !rc; j++) {
            const struct corpus_turn *t = &c->dialogue[i].turn[j];
            rc = bpe_add(b, t->user, FACT / 16, e);
            if (!rc && t->reply) rc = bpe_add(b, t->reply, FACT / 8, e);
        }
    }
    return rc;
}

int vocabulary_learn(struct bpe **out, const struct corpus *c, const char *system, const char *pre, uint32_t n_tokens, struct err *e) {
    struct bpe *b;
    *out = NULL;
    int rc = bpe_open(&b, pre, e);
    if (!rc) rc = add_corpus(b, c, e);
    if (!rc) rc = bpe_add(b, system, FACT * (c->n_facts / 2 + 1), e); /* its words are to be whole tokens: it takes room in every context */
    for (enum chat_role r = CHAT_SYSTEM; r <= CHAT_ASSISTANT && !rc; r++) rc = bpe_add(b, chat_role_name(r), FACT * (c->n_facts + 1), e);
    if (!rc) rc = bpe_learn(b, n_tokens, e);
    if (rc) bpe_close(b);
    else *out = b;
    return rc;
}

int vocabulary_open(struct model **out, const struct bpe *b, const char *path, struct err *e) {
    struct gguf_write w = {0};
    *out = NULL;
    gguf_write_text(&w, "general.architecture", "llama");
    int rc = bpe_write(b, &w, e);
    if (!rc) rc = gguf_write_save(&w, path, e);
    if (!rc) rc = model_open(out, path, &(struct model_options){.vocab_only = true}, e);
    unlink(path); /* an open model keeps it */
    gguf_write_free(&w);
    return rc;
}
