/* support_wording: what a text about the program says, told by its looks: commands, flags, keys and settings that it names; and whether two
 * questions are the same. */
#ifndef TESTS_SUPPORT_WORDING_H
#define TESTS_SUPPORT_WORDING_H

#include <stdbool.h>
#include <stddef.h>

#include "model/train/corpus.h"

enum wording_kind {
    WORDING_SLASH,   /* "/undo"; paths and "//" are none */
    WORDING_FLAG,    /* "-c", "--ctx-size"; "--" and numbers are none */
    WORDING_KEY,     /* "Ctrl-C", "ctrl c", "PgUp", "F1" */
    WORDING_SETTING, /* "sampling.temp", "top_k", what "/set" gives a value */
    WORDING_CALL,    /* "list" of "kvetch list": what stands behind the program's name */
};
/* value: the word behind it in the same sentence, also behind "=" or ":"; "" none. */
typedef void wording_fn(void *ctx, enum wording_kind kind, const char *word, const char *value);
void wording_mentions(const char *text, wording_fn *fn, void *ctx);

/* What a terminal sends for a key of that name: the number of bytes in raw; 0: there is no such key. */
size_t wording_key_bytes(const char *name, char raw[16]);

/* A question without what does not count: capitals, punctuation, blanks, words that only open it; of phrases that mean the same (groups) the
 * first. The caller frees; NULL on no memory. */
char *wording_normal(const char *text, const struct corpus_list *group, size_t n_groups);

/* Whether word stands in text, as a whole word. */
bool wording_has(const char *text, const char *word);

#endif
