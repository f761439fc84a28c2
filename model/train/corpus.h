/* corpus: the text that the guide learns from, as model/guide/README.md describes its files. Any thread, once it is open.
 *
 * Strings are views into the files, which live as long as the corpus; every one ends in a NUL. */
#ifndef MODEL_TRAIN_CORPUS_H
#define MODEL_TRAIN_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

struct corpus_list { const char **text; size_t n, cap; };

struct corpus_place { const char *file; int line; }; /* file: its name without the folder */

/* What may be asked next: words that lean on what was answered, and the fact that answers them there. */
struct corpus_next {
    const char *text, *fact_id;
    size_t fact;                /* index of struct corpus.fact */
    struct corpus_place place;
};

struct corpus_fact {
    const char *id;
    size_t topic;               /* index of struct corpus.topics */
    struct corpus_list ask;     /* q: lines */
    struct corpus_list follow;  /* f: lines, asked right after a fact of the same topic */
    struct corpus_next *next; size_t n_next, cap_next; /* n: lines, asked right after this one */
    struct corpus_list answer;  /* a: lines, any of which is right */
    struct corpus_place place;
};

struct corpus_turn {
    const char *user;
    const char *reply;          /* NULL: the answer of a fact */
    const char *fact_id;        /* NULL: a reply of its own */
    size_t fact;                /* index of struct corpus.fact, where fact_id is given */
    struct corpus_place place;
};

struct corpus_dialogue {
    const char *id;
    struct corpus_turn *turn; size_t n_turns, cap_turns;
    struct corpus_place place;
};

struct corpus {
    struct corpus_fact *fact; size_t n_facts, cap_facts;
    struct corpus_dialogue *dialogue; size_t n_dialogues, cap_dialogues;
    struct corpus_list topics;      /* names, in the order in which they first appear */
    struct corpus_list *group; size_t n_groups, cap_groups; /* synonyms: phrases that may stand for each other */
    uint64_t hash;                  /* as corpus_hash tells it */
    char **file; size_t n_files, cap_files; /* owned: names and contents */
};

/* Reads folder/ *.txt in the order of their names. ERR_FILE with "FILE:LINE: ...": a line of no known form or out of place, an id
 * that is there twice or not at all, a fact without a: or without q:, a dialogue that does not alternate, text that is not
 * printable ASCII. c is empty where it fails. */
int corpus_open(struct corpus *c, const char *folder, struct err *e);
void corpus_close(struct corpus *c);

/* XXH3 over the names and bytes of the same files, in order: what guide.gguf was trained on. */
int corpus_hash(const char *folder, uint64_t *hash, struct err *e);

/* The fact with that id, or NULL. */
const struct corpus_fact *corpus_find(const struct corpus *c, const char *id);

#endif
