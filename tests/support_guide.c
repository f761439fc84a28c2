/* support_guide: see support_guide.h. */
#include "tests/support_guide.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "config/paths.h"
#include "config/persona.h"
#include "config/settings.h"

#define MAX_FILE_BYTES (1u << 20)
#define MOST_TOKENS 160 /* of a reply: one that gets there has not found its end */

const char guide_refusal[] = "I only know about kvetch. For anything else, load a bigger model with -m.";
const char guide_refusal_command[] = "I know of no such thing in kvetch. /help lists the commands, and kvetch help lists the flags.";

/* ---- questions ----------------------------------------------------------------------------------------------- */

/* The next line of *at, ended by a NUL in place; NULL: no more. */
static char *next_line(char **at) {
    char *line = *at;
    if (!*line) return NULL;
    char *end = line + strcspn(line, "\n");
    *at = *end ? end + 1 : end;
    *end = 0;
    return line;
}

static int add_question(struct guide_questions *all, const char *text, const char *area, int line, struct err *e) {
    struct guide_question *q = realloc(all->q, (all->n + 1) * sizeof *q);
    if (!q) return err_set(e, ERR_MEMORY, "no memory for the questions");
    all->q = q;
    q[all->n++] = (struct guide_question){.text = text, .area = area, .line = line};
    return 0;
}

static int add_demand(struct guide_questions *all, const char *line, int number, const char *path, struct err *e) {
    struct guide_question *q = all->n ? &all->q[all->n - 1] : NULL;
    bool demand = line[0] == '=' || line[0] == '!';
    if (q && !strcmp(line, "refuse")) q->kind = GUIDE_REFUSE;
    else if (q && !strcmp(line, "refuse command")) q->kind = GUIDE_REFUSE_COMMAND;
    else if (q && demand && line[1] == ' ' && q->n_demands < GUIDE_MAX_DEMANDS) q->demand[q->n_demands++] = line;
    else return err_set(e, ERR_FILE, "%s:%d: what is this: %s", path, number, line);
    return 0;
}

int guide_questions_read(struct guide_questions *all, const char *path, struct err *e) {
    *all = (struct guide_questions){0};
    int rc = paths_read(path, MAX_FILE_BYTES, &all->file, e), number = 0;
    char *at = all->file.data;
    const char *area = "";
    for (char *line; !rc && (line = next_line(&at));) {
        number++;
        if (!strncmp(line, "## area: ", 9)) area = line + 9;
        else if (!strncmp(line, "? ", 2)) rc = add_question(all, line + 2, area, number, e);
        else if (*line && *line != '#') rc = add_demand(all, line, number, path, e);
    }
    for (size_t i = 0; i < all->n && !rc; i++) {
        const struct guide_question *q = &all->q[i];
        if ((q->kind == GUIDE_FACT) != (q->n_demands > 0)) rc = err_set(e, ERR_FILE, "%s:%d: a question needs demands, or to be refused", path, q->line);
    }
    if (rc) guide_questions_free(all);
    return rc;
}

void guide_questions_free(struct guide_questions *all) {
    buf_free(&all->file);
    free(all->q);
    *all = (struct guide_questions){0};
}

/* ---- what is right ------------------------------------------------------------------------------------------- */

static bool is_word(char c) { return isalnum((unsigned char)c) != 0; }

/* Whether a match of text[0..n) at s, within whole, begins and ends where it may (see the head of the questions). */
static bool may_stand(const char *whole, const char *s, const char *text, size_t n) {
    char before = s > whole ? s[-1] : ' ', after = s[n];
    char first = text[0], last = text[n - 1];
    if (is_word(before)) return false;
    if (first == '/' && strchr("/.~", before)) return false;
    if (first == '-' && before == '-') return false;
    if (isdigit((unsigned char)first) && before == '.' && s > whole + 1 && isdigit((unsigned char)s[-2])) return false;
    if (n > 3 && first != '-' && first != '/' && !isdigit((unsigned char)last)) return true;
    if (is_word(after)) return false;
    if ((first == '-' || first == '/') && (after == '-' || after == '_')) return false;
    return !(isdigit((unsigned char)last) && after == '.' && isdigit((unsigned char)s[n + 1]));
}

static bool contains(const char *answer, const char *text, size_t n) {
    for (const char *s = answer; strlen(s) >= n; s++) {
        bool same = text[0] == '-' ? !strncmp(s, text, n) : !strncasecmp(s, text, n);
        if (same && may_stand(answer, s, text, n)) return true;
    }
    return false;
}

/* alternatives: "one | another". */
static bool contains_any(const char *answer, const char *alternatives) {
    for (const char *at = alternatives;;) {
        const char *bar = strstr(at, " | ");
        if (contains(answer, at, bar ? (size_t)(bar - at) : strlen(at))) return true;
        if (!bar) return false;
        at = bar + 3;
    }
}

bool guide_is_right(const struct guide_question *q, const char *answer, struct buf *why) {
    const char *wrong = NULL;
    struct buf squeezed = {0};
    for (const char *s = answer; *s; s++) {
        bool blank = isspace((unsigned char)*s);
        if (!blank) buf_add_char(&squeezed, *s);
        else if (squeezed.len && squeezed.data[squeezed.len - 1] != ' ') buf_add_char(&squeezed, ' ');
    }
    while (squeezed.len && squeezed.data[squeezed.len - 1] == ' ') squeezed.data[--squeezed.len] = 0;
    const char *text = buf_text(&squeezed);
    if (q->kind != GUIDE_FACT) {
        const char *want = q->kind == GUIDE_REFUSE ? guide_refusal : guide_refusal_command;
        if (strcmp(text, want) != 0) wrong = "not refused";
    } else if (!strcmp(text, guide_refusal) || !strcmp(text, guide_refusal_command)) {
        wrong = "refused";
    }
    for (size_t i = 0; i < q->n_demands && !wrong; i++)
        if (contains_any(text, q->demand[i] + 2) != (q->demand[i][0] == '=')) wrong = q->demand[i];
    if (wrong && why) buf_add_text(why, wrong);
    buf_free(&squeezed);
    return !wrong;
}

size_t guide_count_sentences(const char *text) {
    size_t n = 0;
    bool open = false;
    for (const char *s = text; *s; s++) {
        bool end = strchr(".!?", *s) && (!s[1] || isspace((unsigned char)s[1]) || strchr("\")", s[1]));
        if (end && open) n++;
        if (end) open = false;
        else if (is_word(*s)) open = true;
    }
    return n + open;
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

int guide_open(struct guide *g, const char *path, uint32_t bound, enum kv_evict evict, struct err *e) {
    struct settings *s = NULL;
    struct persona *p = NULL;
    *g = (struct guide){0};
    int rc = settings_open(&s, e);
    if (!rc) rc = persona_open(&p, "guide", s, e);
    if (!rc) rc = options_session(s, &g->options, e);
    if (!rc) rc = options_system(s, &g->system, e);
    if (!rc) options_sampling(s, &g->sampling);
    if (bound) g->options.bound = bound, g->options.evict = evict;
    g->options.n_threads = 1; /* what there is to compute is too little to share */
    if (!rc) rc = model_open(&g->model, path, NULL, e);
    if (!rc) rc = session_open(&g->session, g->model, &g->options, e);
    persona_close(p);
    settings_close(s);
    if (rc) guide_close(g);
    return rc;
}

void guide_close(struct guide *g) {
    session_close(g->session);
    model_close(g->model);
    for (size_t i = 0; i < g->n_said; i++) free((char *)(uintptr_t)g->said[i].text), free((int32_t *)(uintptr_t)g->said[i].id);
    free(g->said);
    free(g->system);
    *g = (struct guide){0};
}

static int say(struct guide *g, enum chat_role role, const char *text, size_t n, const struct tokens *t, struct err *e) {
    if (g->n_said == g->cap_said) {
        size_t cap = g->cap_said ? g->cap_said * 2 : 64;
        struct chat_message *more = realloc(g->said, cap * sizeof *more);
        if (!more) return err_set(e, ERR_MEMORY, "no memory for the conversation");
        g->said = more;
        g->cap_said = cap;
    }
    struct chat_message m = {.role = role, .text = strndup(text, n), .n_text = n};
    if (t && t->n) {
        int32_t *id = malloc(t->n * sizeof *id);
        if (id) memcpy(id, t->id, t->n * sizeof *id);
        m.id = id;
        m.n_ids = id ? t->n : 0;
    }
    if (!m.text) return err_set(e, ERR_MEMORY, "no memory for the conversation");
    g->said[g->n_said++] = m;
    return 0;
}

static void forget(struct guide *g) {
    while (g->n_said) {
        const struct chat_message *m = &g->said[--g->n_said];
        free((char *)(uintptr_t)m->text);
        free((int32_t *)(uintptr_t)m->id);
    }
}

static int begin(struct guide *g, struct err *e) {
    return g->n_said || !g->system ? 0 : say(g, CHAT_SYSTEM, g->system, strlen(g->system), NULL, e);
}

int guide_ask(struct guide *g, const char *question, bool running, uint64_t seed, struct reply *out, struct err *e) {
    struct sample_params sampling = g->sampling;
    struct rendered prompt = {0};
    *out = (struct reply){0};
    if (!running) forget(g);
    if (seed == UINT64_MAX) sampling.temp = 0;
    else sampling.seed = seed;
    int rc = begin(g, e);
    if (!rc) rc = say(g, CHAT_USER, question, strlen(question), NULL, e);
    if (!rc) rc = model_render(g->model, g->said, g->n_said, true, &prompt, e);
    struct reply_request r = {.prompt = &prompt, .sampling = &sampling, .n_max = MOST_TOKENS};
    if (!rc) rc = session_reply(g->session, &r, NULL, out, e);
    rendered_free(&prompt);
    if (!rc) rc = say(g, CHAT_ASSISTANT, buf_text(&out->text), out->text.len, &out->tokens, e);
    return rc;
}

const struct guide_way guide_ways[GUIDE_WAYS] = {
    {.name = "temperature 0", .seed = UINT64_MAX},
    {.name = "seed 1", .seed = 1},
    {.name = "seed 2", .seed = 2},
    {.name = "seed 3", .seed = 3},
    {.name = "one conversation, shift at 512", .running = true, .bound = 512, .evict = KV_EVICT_SHIFT, .seed = UINT64_MAX},
    {.name = "one conversation, slide at 512", .running = true, .bound = 512, .evict = KV_EVICT_SLIDE, .seed = UINT64_MAX},
};

int guide_examine(const char *path, const struct guide_questions *all, const struct guide_way *way, size_t step, guide_fn *fn, void *ctx, uint64_t *evicted,
                  struct err *e) {
    struct guide g;
    int rc = guide_open(&g, path, way->bound, way->evict, e);
    if (rc) return rc;
    for (size_t i = 0; i < all->n && !rc; i += step) {
        struct reply r;
        struct buf wrong = {0};
        rc = guide_ask(&g, all->q[i].text, way->running, way->seed, &r, e);
        if (rc) break;
        struct guide_answer a = {.question = &all->q[i], .text = buf_text(&r.text)};
        if (!guide_is_right(a.question, a.text, &wrong)) a.wrong = buf_text(&wrong);
        a.ended = r.finish == FINISH_STOP && *r.stopped_by;
        a.n_sentences = guide_count_sentences(a.text);
        fn(ctx, &a);
        buf_free(&wrong);
        reply_free(&r);
    }
    struct session_stats st;
    session_get_stats(g.session, &st);
    if (evicted) *evicted = st.kv.evicted_tokens;
    guide_close(&g);
    return rc;
}

/* ---- dialogues ----------------------------------------------------------------------------------------------- */

/* The guide's: in each of its messages from behind what opens it to its end token. */
static int mark_its(struct guide *g, const struct rendered *r, bool *its, struct err *e) {
    static const char end_text[] = "<|im_end|>";
    struct tokens end = {0};
    int rc = model_tokenize(g->model, end_text, strlen(end_text), true, false, &end, e);
    if (!rc && end.n != 1) rc = err_set(e, ERR_FILE, "the model has no token %s", end_text);
    for (size_t i = 0; i < g->n_said && !rc; i++) {
        struct rendered before;
        if (g->said[i].role != CHAT_ASSISTANT) continue;
        rc = model_render(g->model, g->said, i, true, &before, e);
        for (size_t k = before.n; !rc && k < r->n; k++) {
            its[k] = true;
            if (r->id[k] == end.id[0]) break;
        }
        if (!rc) rendered_free(&before);
    }
    tokens_free(&end);
    return rc;
}

/* Says what the nth dialogue of the text says. */
static int say_dialogue(struct guide *g, char *text, const char *path, size_t nth, struct err *e) {
    int rc = 0, number = 0;
    size_t at = SIZE_MAX; /* before the first */
    for (char *line; !rc && (line = next_line(&text));) {
        bool user = !strncmp(line, "u: ", 3), its = !strncmp(line, "k: ", 3);
        number++;
        if (!strncmp(line, "dialogue: ", 10)) at++;
        else if (!user && !its && *line && *line != '#') rc = err_set(e, ERR_FILE, "%s:%d: what is this: %s", path, number, line);
        else if ((user || its) && (nth == SIZE_MAX || nth == at)) rc = say(g, user ? CHAT_USER : CHAT_ASSISTANT, line + 3, strlen(line + 3), NULL, e);
    }
    return rc;
}

/* The nth dialogue of a file, or all of them as one long conversation (SIZE_MAX), under the persona's system prompt, and which of its
 * tokens are the guide's. Where there are not so many out->n is 0. The caller frees with rendered_free and free. */
static int render_dialogue(struct guide *g, const char *path, size_t nth, struct rendered *out, bool **its, struct err *e) {
    struct buf file = {0};
    *out = (struct rendered){0};
    *its = NULL;
    forget(g);
    int rc = paths_read(path, MAX_FILE_BYTES, &file, e);
    if (!rc) rc = begin(g, e);
    if (!rc) rc = say_dialogue(g, file.data, path, nth, e);
    if (!rc && g->n_said > 1) {
        rc = model_render(g->model, g->said, g->n_said, false, out, e);
        if (!rc && !(*its = calloc(out->n, 1))) rc = err_set(e, ERR_MEMORY, "no memory for the dialogues");
        if (!rc) rc = mark_its(g, out, *its, e);
        if (rc) rendered_free(out);
    }
    buf_free(&file);
    return rc;
}

const struct guide_pass guide_passes[GUIDE_PASSES] = {
    {"each by itself, room there at once", false, 2048, KV_EVICT_STOP, KV_GROW_FIXED},
    {"each by itself, room grown from 256", false, 2048, KV_EVICT_STOP, KV_GROW_DOUBLE},
    {"one after the other, shift at 512", true, 512, KV_EVICT_SHIFT, KV_GROW_DOUBLE},
    {"one after the other, slide at 512", true, 512, KV_EVICT_SLIDE, KV_GROW_DOUBLE},
};

/* Adds one dialogue, *there, to out, whose perplexity is a sum of nats until all are added. */
static int foresee_one(struct guide *g, const struct session_options *o, size_t nth, struct guide_foresight *out, bool *there, struct err *e) {
    struct rendered text;
    struct session *s = NULL;
    struct session_stats st;
    bool *its;
    double perplexity;
    size_t n;
    int rc = render_dialogue(g, GUIDE_DIALOGUES, nth, &text, &its, e);
    *there = !rc && text.n;
    if (!*there) return rc;
    rc = session_open(&s, g->model, o, e);
    if (!rc) rc = session_bench_perplexity(s, &text, its, &perplexity, &n, e);
    if (!rc) {
        session_get_stats(s, &st);
        out->perplexity += log(perplexity) * (double)n;
        out->n += n, out->n_grown += st.kv.n_grow, out->n_left += st.kv.evicted_tokens;
    }
    session_close(s);
    rendered_free(&text);
    free(its);
    return rc;
}

int guide_foresee(struct guide *g, const struct guide_pass *pass, struct guide_foresight *out, struct err *e) {
    struct session_options o = g->options;
    bool there = true;
    int rc = 0;
    *out = (struct guide_foresight){0};
    o.bound = pass->bound, o.evict = pass->evict, o.grow = pass->grow;
    if (pass->joined) rc = foresee_one(g, &o, SIZE_MAX, out, &there, e);
    else
        for (size_t i = 0; there && !rc; i++) rc = foresee_one(g, &o, i, out, &there, e);
    if (out->n) out->perplexity = exp(out->perplexity / (double)out->n);
    return rc;
}
