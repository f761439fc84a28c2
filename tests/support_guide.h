/* support_guide: the guide's examination: its questions, what is right, and how they are put. */
#ifndef TESTS_SUPPORT_GUIDE_H
#define TESTS_SUPPORT_GUIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/buf.h"
#include "config/err.h"
#include "model/engine.h"

#define GUIDE_QUESTIONS "tests/guide/questions.txt" /* its head says how it is written */
#define GUIDE_DIALOGUES "tests/guide/dialogues.txt"
#define GUIDE_MODEL "model/guide/guide.gguf"
#define GUIDE_MAX_DEMANDS 4

/* What it says to anything outside kvetch, and to commands, flags and keys that do not exist. */
extern const char guide_refusal[], guide_refusal_command[];

enum guide_kind { GUIDE_FACT, GUIDE_REFUSE, GUIDE_REFUSE_COMMAND };
struct guide_question {
    const char *text, *area;
    int line;
    enum guide_kind kind;
    const char *demand[GUIDE_MAX_DEMANDS]; /* the lines "= ..." and "! ..." */
    size_t n_demands;
};
/* Views into the file's text. */
struct guide_questions {
    struct buf file;
    struct guide_question *q;
    size_t n;
};
int guide_questions_read(struct guide_questions *all, const char *path, struct err *e);
void guide_questions_free(struct guide_questions *all);

/* Whether an answer is right. If not, *why (may be NULL) gets what is wrong. */
bool guide_is_right(const struct guide_question *q, const char *answer, struct buf *why);
size_t guide_count_sentences(const char *text);

/* ---- asking -------------------------------------------------------------------------------------------------- */

/* A guide and one who asks it. */
struct guide {
    struct model *model;
    struct session *session;
    struct session_options options;      /* the persona's */
    struct sample_params sampling;       /* the persona's */
    char *system;
    struct chat_message *said; size_t n_said, cap_said; /* of a running conversation; owned, as are its texts and ids */
};
/* path: the model's file. bound, evict: of the cache; bound 0: as the persona has them. */
int guide_open(struct guide *g, const char *path, uint32_t bound, enum kv_evict evict, struct err *e);
void guide_close(struct guide *g);
/* One reply, in a conversation of its own, or after all that was asked so far (running). seed UINT64_MAX: at temperature 0. */
int guide_ask(struct guide *g, const char *question, bool running, uint64_t seed, struct reply *out, struct err *e);

/* A way to put all questions. */
struct guide_way {
    const char *name;
    bool running;         /* one after the other in one long conversation */
    uint32_t bound;       /* 0: the persona's */
    enum kv_evict evict;
    uint64_t seed;        /* UINT64_MAX: temperature 0 */
};
#define GUIDE_WAYS 6
extern const struct guide_way guide_ways[GUIDE_WAYS]; /* temperature 0, three seeds, and through shifts and slides */

struct guide_answer {
    const struct guide_question *question;
    const char *text;
    const char *wrong;    /* NULL: it is right; else what is missing */
    bool ended;           /* by its end token */
    size_t n_sentences;
};
typedef void guide_fn(void *ctx, const struct guide_answer *a);
/* Asks every step-th question, and tells fn of each answer. path: the model's file. *evicted (may be NULL): tokens that left meanwhile. */
int guide_examine(const char *path, const struct guide_questions *all, const struct guide_way *way, size_t step, guide_fn *fn, void *ctx, uint64_t *evicted,
                  struct err *e);

/* A way for the dialogues that are kept apart to go through the cache. */
struct guide_pass {
    const char *name;
    bool joined;          /* all of them as one long conversation */
    uint32_t bound;
    enum kv_evict evict;
    enum kv_grow grow;
};
#define GUIDE_PASSES 4
extern const struct guide_pass guide_passes[GUIDE_PASSES]; /* room there at once, grown, shifted, slid */

struct guide_foresight {
    double perplexity;    /* of the guide's own tokens */
    size_t n, n_grown, n_left; /* tokens; growths; tokens that left the context */
};
/* How well it foresees them. */
int guide_foresee(struct guide *g, const struct guide_pass *pass, struct guide_foresight *out, struct err *e);

#endif
