/* batch: see batch.h. A conversation is added message by message; one that does not fit is taken back. Other questions may then branch off
 * where its own were asked: most of what there is to learn is which reply a question calls for, and a branch shows it in half the tokens. */
#include "model/train/batch.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <ctype.h>
#include <string.h>

#include "config/hash.h"

/* What conversations are made of. */
static const double LONG_ROW = 0.3;          /* rows that begin with a long conversation: it takes 3/4 of the row on the average */
static const double LONG_DIALOGUE = 0.45;    /* long conversations that hold written dialogues */
static const double DIALOGUE_LATER = 0.4;    /* dialogues that follow other exchanges */
static const double SHORT_DIALOGUE = 0.15;   /* short conversations that are the beginning of a dialogue */
static const double NEXT = 0.3;              /* exchanges whose question leans on the last answer, where that has such, */
static const double FOLLOW = 0.25;           /* and of the others those that go on with the same subject */
static const double TWICE = 0.1;             /* questions that are asked in two wordings, one after the other */
static const double AS_WRITTEN = 0.5;        /* questions with capitals and marks at most to tell them from what is written */
static const double SHORT_TURNS[] = {0.55, 0.25, 0.13, 0.07};

enum { ASK_TWICE = 80 }; /* characters that two wordings have together at most */
enum { LEAST_BRANCHES = 14, MOST_BRANCHES = 26, MOST_FORKS = 32 }; /* of a conversation */
enum { HELD_OF = 50, HELD_LEAST = 8 }; /* one wording of so many, of facts that have at least so many */

static const char REFUSAL[] = "refuse-"; /* what the ids of facts that refuse begin with */

static const char *const kind_names[BATCH_N_KINDS] = {"mixed", "first", "refusal", "chain", "dialogue"};

const char *batch_kind_name(enum batch_kind k) { return kind_names[k]; }

struct held { size_t fact, ask; };

struct batch {
    const struct corpus *c;
    const struct model *m;
    struct batch_options o;
    size_t *known, n_known;             /* facts that are answered */
    size_t *refused, n_refused;         /* facts that are refused, */
    double *refused_up_to;              /* and the share of those up to each */
    struct held *held; size_t n_held, cap_held;
    size_t head[CHAT_ASSISTANT + 1];    /* tokens before a message's text, by its role */
};

/* Where a conversation might have gone on otherwise: after n tokens, with what was answered last. */
struct fork { size_t n; const struct corpus_fact *last; };

/* A row while it is made. */
struct making {
    const struct batch *b;
    struct draw d;
    struct batch_row *row;
    size_t first;                       /* where the open conversation begins, or its branch */
    const struct corpus_fact *last;     /* what was answered last in it, or NULL */
    size_t trunk;                       /* tokens that the open branch goes on from; 0: it is none */
    struct fork fork[MOST_FORKS];       /* of the last conversation */
    size_t n_forks;
    bool splits;                        /* words of the running question are taken apart */
    struct buf user;
    struct err *e;
};

static int no_memory(struct err *e) { return err_set(e, ERR_MEMORY, "no memory for the rows to learn from"); }

/* ---- rows ---------------------------------------------------------------------------------------------------- */

void batch_row_free(struct batch_row *r) {
    free(r->token);
    free(r->weight);
    free(r->segment);
    *r = (struct batch_row){0};
}

struct net_row batch_row_view(const struct batch_row *r) {
    return (struct net_row){.token = r->token, .weight = r->weight, .n = r->n, .segment = r->segment, .n_segments = r->n_segments};
}

static int reserve(struct batch_row *r, size_t n) {
    if (r->n + n <= r->cap) return 0;
    size_t cap = (r->n + n) * 2;
    int32_t *token = realloc(r->token, cap * sizeof *token);
    if (token) r->token = token;
    float *weight = realloc(r->weight, cap * sizeof *weight);
    if (weight) r->weight = weight;
    if (!token || !weight) return ERR_MEMORY;
    r->cap = cap;
    return 0;
}

static int end_segment(struct making *g) {
    struct batch_row *r = g->row;
    if (r->n_segments == r->cap_segments) {
        size_t cap = r->cap_segments * 2 + 16;
        struct net_segment *s = realloc(r->segment, cap * sizeof *s);
        if (!s) return no_memory(g->e);
        r->segment = s;
        r->cap_segments = cap;
    }
    r->segment[r->n_segments++] = (struct net_segment){.n = (uint32_t)(r->n - g->first), .trunk = (uint32_t)g->trunk};
    return 0;
}

/* ---- messages ------------------------------------------------------------------------------------------------ */

enum {
    TAIL = 2,    /* tokens after a message's text: the end mark and a newline */
    CHOOSING = 4, /* first tokens of a reply: they choose the answer, the others follow from them */
    CUT_AFTER = 8 /* tokens */
};

static const double SPLIT = 0.03; /* at each place between two letters */

/* The tokens of text with some words taken apart: what stands before and behind such a place is tokenised by itself. */
static int tokenize_split(struct making *g, const char *text, struct tokens *out) {
    size_t n = strlen(text), from = 0;
    *out = (struct tokens){0};
    for (size_t at = 1; at <= n; at++) {
        bool inside = at < n && isalpha((unsigned char)text[at - 1]) && isalpha((unsigned char)text[at]);
        if (at < n && !(inside && draw_chance(&g->d, SPLIT))) continue;
        struct tokens part;
        int rc = model_tokenize(g->b->m, text + from, at - from, false, false, &part, g->e);
        int32_t *id = rc ? NULL : realloc(out->id, (out->n + part.n + 1) * sizeof *id);
        if (!id) {
            if (!rc) tokens_free(&part);
            tokens_free(out);
            return rc ? rc : no_memory(g->e);
        }
        memcpy(id + out->n, part.id, part.n * sizeof *id);
        *out = (struct tokens){id, out->n + part.n};
        tokens_free(&part);
        from = at;
    }
    return 0;
}

static int put_token(struct making *g, int32_t id, float weight) {
    if (reserve(g->row, 1)) return no_memory(g->e);
    g->row->token[g->row->n] = id;
    g->row->weight[g->row->n++] = weight;
    return 0;
}

/* Adds a message as the template writes it:
 *   <|im_start|> role newline TEXT <|im_end|> newline
 * or only its beginning, of a branch's reply: what chose it has been seen.
 * TEXT and the reply's end count in the loss, a reply's first tokens more than the rest. */
static int put_message(struct making *g, enum chat_role role, const char *text) {
    struct chat_message msg = {.role = role, .text = text, .n_text = strlen(text)};
    struct rendered r;
    int rc = model_render(g->b->m, &msg, 1, false, &r, g->e);
    if (rc) return rc;
    size_t head = g->b->head[role];
    struct tokens body = {r.id + head, r.n - TAIL - head}, split = {0};
    if (role == CHAT_USER && g->splits) {
        rc = tokenize_split(g, text, &split);
        body = split;
    }
    const struct batch_options *o = &g->b->o;
    float w = role == CHAT_ASSISTANT ? 1 : role == CHAT_USER ? o->user_loss : 0;
    bool cut = role == CHAT_ASSISTANT && g->trunk && body.n > CUT_AFTER;
    if (cut) body.n = CUT_AFTER;
    for (size_t i = 0; !rc && i < head; i++) rc = put_token(g, r.id[i], 0);
    for (size_t i = 0; !rc && i < body.n; i++) rc = put_token(g, body.id[i], role == CHAT_ASSISTANT && i < CHOOSING ? o->first_loss : w);
    for (size_t i = r.n - TAIL; !rc && !cut && i < r.n; i++) rc = put_token(g, r.id[i], role == CHAT_ASSISTANT && i == r.n - TAIL ? w : 0);
    tokens_free(&split);
    rendered_free(&r);
    return rc;
}

static int measure_heads(struct batch *b, struct err *e) {
    int rc = 0;
    for (enum chat_role role = CHAT_SYSTEM; role <= CHAT_ASSISTANT && !rc; role++) {
        struct rendered r;
        if ((rc = model_render(b->m, &(struct chat_message){.role = role, .text = ""}, 1, false, &r, e))) break;
        b->head[role] = r.n - TAIL;
        rendered_free(&r);
    }
    return rc;
}

static const char *draw_text(struct draw *d, const struct corpus_list *l) { return l->text[draw_below(d, l->n)]; }

static int put_exchange(struct making *g, const char *user, const char *reply) {
    struct augment_options o = g->b->o.augment;
    if (draw_chance(&g->d, AS_WRITTEN)) o = (struct augment_options){.letters = o.letters};
    g->splits = o.splits;
    buf_clear(&g->user);
    if (augment_user(g->b->c, &o, &g->d, user, &g->user)) return no_memory(g->e);
    int rc = put_message(g, CHAT_USER, buf_text(&g->user));
    return rc ? rc : put_message(g, CHAT_ASSISTANT, reply);
}

/* ---- which fact ---------------------------------------------------------------------------------------------- */

static bool is_refusal(const struct corpus_fact *f) { return !strncmp(f->id, REFUSAL, sizeof REFUSAL - 1); }

/* Wordings are kept out of facts with one answer alone: a reply is right or wrong then. */
static bool is_held(const struct batch *b, const struct corpus_fact *f, size_t ask) {
    const char *text = f->ask.text[ask];
    return b->o.hold && ask && f->answer.n == 1 && f->ask.n >= HELD_LEAST && !(hash_bytes(text, strlen(text), 0) % HELD_OF);
}

static const struct corpus_fact *draw_known(struct making *g) { return &g->b->c->fact[g->b->known[draw_below(&g->d, g->b->n_known)]]; }

static const struct corpus_fact *draw_refused(struct making *g) {
    const struct batch *b = g->b;
    double x = draw_real(&g->d);
    size_t i = 0;
    while (i + 1 < b->n_refused && x >= b->refused_up_to[i]) i++;
    return &b->c->fact[b->refused[i]];
}

static const struct corpus_fact *draw_fact(struct making *g) {
    const struct batch *b = g->b;
    if (!b->n_known || (b->n_refused && draw_chance(&g->d, b->o.refusals))) return draw_refused(g);
    return draw_known(g);
}

/* Another fact of the last one's topic that can be asked for in passing, or NULL. */
static const struct corpus_fact *draw_follow(struct making *g) {
    const struct corpus_fact *found = NULL;
    size_t seen = 0;
    for (size_t i = 0; g->last && i < g->b->c->n_facts; i++) {
        const struct corpus_fact *f = &g->b->c->fact[i];
        if (f != g->last && f->topic == g->last->topic && f->follow.n && !draw_below(&g->d, ++seen)) found = f;
    }
    return found;
}

static const char *draw_ask(struct making *g, const struct corpus_fact *f) {
    size_t i;
    do i = draw_below(&g->d, f->ask.n); /* the first one is never held */
    while (is_held(g->b, f, i));
    return f->ask.text[i];
}

/* Asks for f, now and then in two wordings: what either says adds up. */
static int put_ask(struct making *g, const struct corpus_fact *f) {
    const char *ask = draw_ask(g, f), *again = "";
    struct buf both = {0};
    if (g->b->o.augment.twice && draw_chance(&g->d, TWICE)) again = draw_ask(g, f);
    bool twice = *again && strlen(ask) + strlen(again) <= ASK_TWICE;
    g->last = f;
    int rc = buf_printf(&both, "%s%s%s", ask, twice ? ". " : "", twice ? again : "") ? no_memory(g->e) : 0;
    if (!rc) rc = put_exchange(g, buf_text(&both), draw_text(&g->d, &f->answer));
    buf_free(&both);
    return rc;
}

/* The conversation might go on otherwise from here. Without a token to go on from it would be another one. */
static void note_fork(struct making *g) {
    size_t n = g->row->n - g->first;
    if (!g->trunk && n && g->n_forks < MOST_FORKS) g->fork[g->n_forks++] = (struct fork){n, g->last};
}

/* What is asked right after the last fact. */
static int put_next(struct making *g) {
    const struct corpus_next *n = &g->last->next[draw_below(&g->d, g->last->n_next)];
    g->last = &g->b->c->fact[n->fact];
    return put_exchange(g, n->text, draw_text(&g->d, &g->last->answer));
}

static int put_drawn(struct making *g) {
    note_fork(g);
    if (g->last && g->last->n_next && draw_chance(&g->d, NEXT)) return put_next(g);
    const struct corpus_fact *f = draw_chance(&g->d, FOLLOW) ? draw_follow(g) : NULL;
    if (!f) return put_ask(g, draw_fact(g));
    g->last = f;
    return put_exchange(g, draw_text(&g->d, &f->follow), draw_text(&g->d, &f->answer));
}

/* ---- conversations ------------------------------------------------------------------------------------------- */

static int open_conversation(struct making *g) {
    g->first = g->row->n;
    g->last = NULL;
    g->trunk = g->n_forks = 0;
    return draw_chance(&g->d, g->b->o.no_system) ? 0 : put_message(g, CHAT_SYSTEM, g->b->o.system);
}

static bool is_full(const struct making *g) { return g->row->n > g->b->o.row_tokens; }

/* Ends the conversation, or takes it back where it has grown too long: *fits. */
static int close_conversation(struct making *g, bool *fits) {
    *fits = !is_full(g);
    if (*fits) return end_segment(g);
    g->row->n = g->first;
    return 0;
}

/* Exchanges while they fit and the conversation has fewer than n tokens. */
static int put_chain(struct making *g, size_t n) {
    int rc = 0;
    while (!rc && g->row->n - g->first < n) {
        size_t before = g->row->n;
        rc = put_drawn(g);
        if (!is_full(g)) continue;
        g->row->n = before;
        break;
    }
    return rc;
}

/* The first exchanges of a dialogue, as many as fit. */
static int put_dialogue(struct making *g, size_t n_turns) {
    const struct corpus *c = g->b->c;
    const struct corpus_dialogue *d = &c->dialogue[draw_below(&g->d, c->n_dialogues)];
    int rc = 0;
    for (size_t i = 0; i < d->n_turns && i < n_turns && !rc; i++) {
        const struct corpus_turn *t = &d->turn[i];
        size_t before = g->row->n;
        note_fork(g);
        g->last = t->fact_id ? &c->fact[t->fact] : NULL;
        rc = put_exchange(g, t->user, t->fact_id ? draw_text(&g->d, &g->last->answer) : t->reply);
        if (!is_full(g)) continue;
        if (i) g->row->n = before; /* what has no exchange at all is taken back as a whole */
        break;
    }
    return rc;
}

static int add_short(struct making *g, bool *fits) {
    double x = draw_real(&g->d);
    size_t n = 1;
    while (n < sizeof SHORT_TURNS / sizeof *SHORT_TURNS && x >= SHORT_TURNS[n - 1]) x -= SHORT_TURNS[n++ - 1];
    int rc = open_conversation(g);
    if (!rc && g->b->c->n_dialogues && draw_chance(&g->d, SHORT_DIALOGUE)) rc = put_dialogue(g, n);
    else
        for (size_t i = 0; i < n && !rc; i++) rc = put_drawn(g);
    return rc ? rc : close_conversation(g, fits);
}

static int add_long(struct making *g, bool dialogue, bool *fits) {
    size_t most = g->b->o.row_tokens, n = most / 2 + draw_below(&g->d, most - most / 2);
    int rc = open_conversation(g);
    if (!rc && dialogue && draw_chance(&g->d, DIALOGUE_LATER)) rc = put_chain(g, draw_below(&g->d, most / 3));
    if (!rc && dialogue) rc = put_dialogue(g, SIZE_MAX);
    if (!rc) rc = put_chain(g, n);
    return rc ? rc : close_conversation(g, fits);
}

static int add_first(struct making *g, bool refusal, bool *fits) {
    int rc = open_conversation(g);
    if (!rc) rc = put_ask(g, refusal ? draw_refused(g) : draw_known(g));
    return rc ? rc : close_conversation(g, fits);
}

/* Questions that branch off the last conversation, which stands, while there is room: *fits. */
static int add_branches(struct making *g, bool *fits) {
    size_t n = g->n_forks ? LEAST_BRANCHES + draw_below(&g->d, MOST_BRANCHES - LEAST_BRANCHES + 1) : 0;
    int rc = 0;
    for (; n && !rc && *fits; n--) {
        const struct fork *f = &g->fork[draw_below(&g->d, g->n_forks)];
        g->first = g->row->n;
        g->trunk = f->n;
        g->last = f->last;
        rc = put_drawn(g);
        if (!rc) rc = close_conversation(g, fits);
    }
    return rc;
}

static int fill_mixed(struct making *g) {
    int rc = 0;
    bool fits = false;
    if (draw_chance(&g->d, LONG_ROW)) rc = add_long(g, g->b->c->n_dialogues && draw_chance(&g->d, LONG_DIALOGUE), &fits);
    if (!rc && fits) rc = add_branches(g, &fits);
    do {
        if (!rc) rc = add_short(g, &fits);
        if (!rc && fits) rc = add_branches(g, &fits);
    } while (!rc && fits);
    return rc;
}

static int fill(struct making *g, enum batch_kind kind) {
    const struct batch *b = g->b;
    int rc = 0;
    bool fits = kind == BATCH_REFUSAL ? b->n_refused : b->n_known;
    switch (kind) {
    case BATCH_FIRST:
    case BATCH_REFUSAL:
        while (!rc && fits) rc = add_first(g, kind == BATCH_REFUSAL, &fits);
        return rc;
    case BATCH_CHAIN: return add_long(g, false, &fits);
    case BATCH_DIALOGUE: return b->c->n_dialogues ? add_long(g, true, &fits) : 0;
    default: return fill_mixed(g);
    }
}

int batch_make(const struct batch *b, enum batch_kind kind, uint64_t index, struct batch_row *row, struct err *e) {
    struct making g = {.b = b, .d = draw_open(b->o.seed ^ (uint64_t)kind << 56, index), .row = row, .e = e};
    row->n = row->n_segments = 0;
    int rc = fill(&g, kind);
    buf_free(&g.user);
    return rc;
}

/* ---- held wordings ------------------------------------------------------------------------------------------- */

size_t batch_n_held(const struct batch *b) { return b->n_held; }

bool batch_held_is_refused(const struct batch *b, size_t i) {
    assert(i < b->n_held);
    return is_refusal(&b->c->fact[b->held[i].fact]);
}

int batch_held(const struct batch *b, size_t *from, struct batch_row *row, struct err *e) {
    struct making g = {.b = b, .row = row, .e = e};
    int rc = 0;
    bool fits = true;
    row->n = row->n_segments = 0;
    for (; *from < b->n_held && !rc; ++*from) {
        const struct corpus_fact *f = &b->c->fact[b->held[*from].fact];
        g.first = row->n;
        rc = put_message(&g, CHAT_SYSTEM, b->o.system);
        if (!rc) rc = put_message(&g, CHAT_USER, f->ask.text[b->held[*from].ask]);
        if (!rc) rc = put_message(&g, CHAT_ASSISTANT, f->answer.text[0]);
        if (!rc) rc = close_conversation(&g, &fits);
        if (!fits) break;
    }
    return rc;
}

static int collect_held(struct batch *b) {
    for (size_t i = 0; i < b->c->n_facts; i++) {
        const struct corpus_fact *f = &b->c->fact[i];
        for (size_t j = 0; j < f->ask.n; j++) {
            if (!is_held(b, f, j)) continue;
            if (b->n_held == b->cap_held) {
                size_t cap = b->cap_held * 2 + 64;
                struct held *h = realloc(b->held, cap * sizeof *h);
                if (!h) return ERR_MEMORY;
                b->held = h;
                b->cap_held = cap;
            }
            b->held[b->n_held++] = (struct held){i, j};
        }
    }
    return 0;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static int sort_facts(struct batch *b) {
    const struct corpus *c = b->c;
    double sum = 0;
    b->known = calloc(c->n_facts + 1, sizeof *b->known);
    b->refused = calloc(c->n_facts + 1, sizeof *b->refused);
    b->refused_up_to = calloc(c->n_facts + 1, sizeof *b->refused_up_to);
    if (!b->known || !b->refused || !b->refused_up_to) return ERR_MEMORY;
    for (size_t i = 0; i < c->n_facts; i++) {
        if (!is_refusal(&c->fact[i])) {
            b->known[b->n_known++] = i;
            continue;
        }
        sum += sqrt((double)c->fact[i].ask.n); /* one with many questions comes more often, but each of them less */
        b->refused_up_to[b->n_refused] = sum;
        b->refused[b->n_refused++] = i;
    }
    for (size_t i = 0; i < b->n_refused; i++) b->refused_up_to[i] /= sum;
    return 0;
}

/* Whether the system prompt and any one exchange fit a row, also where the user's text has grown by a greeting and typos. */
static int check_room(const struct batch *b, struct err *e) {
    struct batch_row row = {0};
    struct making g = {.b = b, .row = &row, .e = e};
    size_t longest_user = 0, longest_reply = 0, system;
    int rc = put_message(&g, CHAT_SYSTEM, b->o.system);
    system = row.n;
    for (size_t i = 0; i < b->c->n_facts && !rc; i++) {
        const struct corpus_fact *f = &b->c->fact[i];
        for (size_t j = 0; j < f->ask.n + f->answer.n && !rc; j++) {
            bool user = j < f->ask.n;
            size_t *longest = user ? &longest_user : &longest_reply;
            row.n = 0;
            rc = put_message(&g, user ? CHAT_USER : CHAT_ASSISTANT, user ? f->ask.text[j] : f->answer.text[j - f->ask.n]);
            if (row.n > *longest) *longest = row.n;
        }
    }
    batch_row_free(&row);
    size_t need = system + 2 * longest_user + longest_reply;
    if (!rc && need > b->o.row_tokens)
        rc = err_set(e, ERR_USAGE, "rows of %zu tokens are too short for the corpus: it needs %zu", b->o.row_tokens, need);
    return rc;
}

int batch_open(struct batch **out, const struct corpus *c, const struct model *m, const struct batch_options *o, struct err *e) {
    *out = NULL;
    struct batch *b = calloc(1, sizeof *b);
    if (!b) return no_memory(e);
    *b = (struct batch){.c = c, .m = m, .o = *o};
    int rc = sort_facts(b) || collect_held(b) ? no_memory(e) : measure_heads(b, e);
    if (!rc) rc = check_room(b, e);
    if (rc) batch_close(b);
    else *out = b;
    return rc;
}

void batch_close(struct batch *b) {
    if (!b) return;
    free(b->known);
    free(b->refused);
    free(b->refused_up_to);
    free(b->held);
    free(b);
}

/* ---- as text ------------------------------------------------------------------------------------------------- */

int batch_show(const struct batch *b, const struct batch_row *row, struct buf *out) {
    int rc = 0;
    for (size_t i = 0, at = 0; i < row->n_segments && !rc; at += row->segment[i++].n) {
        const struct net_segment *s = &row->segment[i];
        buf_printf(out, s->trunk ? "---- %u tokens after %u\n" : "---- %u tokens\n", s->n, s->trunk);
        rc = vocab_decode(b->m->vocab, row->token + at, s->n, true, false, out);
    }
    return rc;
}
