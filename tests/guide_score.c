/* guide_score: puts the examination to a guide and prints what it got wrong, by area and in all; then how well it foresees the dialogues that
 * it never saw. guide_score [--model FILE]: without one, the model that is shipped. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support_guide.h"

#define MAX_AREAS 16

struct score {
    struct {
        const char *name;
        size_t right, asked;
    } area[MAX_AREAS];
    size_t n_areas, right, asked, n_unended, n_long;
};

static void count(void *ctx, const struct guide_answer *a) {
    struct score *s = ctx;
    size_t i = 0;
    while (i < s->n_areas && strcmp(s->area[i].name, a->question->area) != 0) i++;
    if (i == MAX_AREAS) abort();
    if (i == s->n_areas) s->area[s->n_areas++].name = a->question->area;
    s->area[i].asked++, s->asked++;
    s->area[i].right += !a->wrong, s->right += !a->wrong;
    s->n_unended += !a->ended;
    s->n_long += a->n_sentences < 1 || a->n_sentences > 4;
    if (a->wrong) printf("  %s:%d: %s\n      said: %s\n      but:  %s\n", GUIDE_QUESTIONS, a->question->line, a->question->text, a->text, a->wrong);
    if (!a->ended) printf("  %s:%d: %s\n      did not end: %s\n", GUIDE_QUESTIONS, a->question->line, a->question->text, a->text);
}

static void print_score(const struct guide_way *way, const struct score *s, uint64_t evicted) {
    printf("%s:", way->name);
    for (size_t i = 0; i < s->n_areas; i++) printf(" %s %zu/%zu,", s->area[i].name, s->area[i].right, s->area[i].asked);
    printf(" in all %zu of %zu, %.1f %%", s->right, s->asked, 100.0 * (double)s->right / (double)s->asked);
    if (s->n_unended) printf(", %zu without an end", s->n_unended);
    if (s->n_long) printf(", %zu of no or more than four sentences", s->n_long);
    if (way->running) printf(", %llu tokens left the context", (unsigned long long)evicted);
    printf("\n");
    fflush(stdout);
}

static int score_answers(const char *model, struct err *e) {
    struct guide_questions all;
    int rc = guide_questions_read(&all, GUIDE_QUESTIONS, e);
    for (size_t i = 0; i < GUIDE_WAYS && !rc; i++) {
        struct score s = {0};
        uint64_t evicted;
        rc = guide_examine(model, &all, &guide_ways[i], 1, count, &s, &evicted, e);
        if (!rc) print_score(&guide_ways[i], &s, evicted);
    }
    guide_questions_free(&all);
    return rc;
}

/* Ways for the dialogues to go through the cache. */
static const struct pass {
    const char *name;
    bool joined;
    uint32_t bound;
    enum kv_evict evict;
    enum kv_grow grow;
} passes[] = {
    {"each by itself, room there at once", false, 2048, KV_EVICT_STOP, KV_GROW_FIXED},
    {"each by itself, room grown from 256", false, 2048, KV_EVICT_STOP, KV_GROW_DOUBLE},
    {"one after the other, shift at 512", true, 512, KV_EVICT_SHIFT, KV_GROW_DOUBLE},
    {"one after the other, slide at 512", true, 512, KV_EVICT_SLIDE, KV_GROW_DOUBLE},
};

/* Sums up over the dialogues, or takes all at once. */
static int score_pass(struct guide *g, const struct pass *pass, struct err *e) {
    struct session_options o = g->options;
    struct session *s;
    double nats = 0;
    size_t all = 0, grown = 0, left = 0;
    o.bound = pass->bound, o.evict = pass->evict, o.grow = pass->grow;
    int rc = 0;
    for (size_t i = pass->joined ? SIZE_MAX : 0;; i++) {
        struct rendered text;
        bool *its;
        struct session_stats st;
        double perplexity;
        size_t n;
        if ((rc = guide_render_dialogue(g, GUIDE_DIALOGUES, i, &text, &its, e)) || !text.n) break;
        rc = session_open(&s, g->model, &o, e);
        if (!rc) rc = session_bench_perplexity(s, &text, its, &perplexity, &n, e);
        if (!rc) {
            session_get_stats(s, &st);
            nats += log(perplexity) * (double)n;
            all += n, grown += st.kv.n_grow, left += st.kv.evicted_tokens;
        }
        session_close(s);
        rendered_free(&text);
        free(its);
        if (rc || i == SIZE_MAX) break;
    }
    if (!rc && all)
        printf("dialogues, %s: perplexity %.4f of %zu tokens, %zu growths, %zu tokens left\n", pass->name, exp(nats / (double)all), all, grown, left);
    return rc;
}

static int score_dialogues(const char *model, struct err *e) {
    struct guide g;
    int rc = guide_open(&g, model, 0, 0, e);
    for (size_t i = 0; i < sizeof passes / sizeof *passes && !rc; i++) rc = score_pass(&g, &passes[i], e);
    guide_close(&g);
    return rc;
}

int main(int argc, char **argv) {
    const char *model = GUIDE_MODEL;
    struct err e = {0};
    engine_prepare_process(argv);
    if (argc == 3 && !strcmp(argv[1], "--model")) model = argv[2];
    else if (argc != 1) return fprintf(stderr, "guide_score [--model FILE]\n"), 2;
    int rc = score_answers(model, &e);
    if (!rc) rc = score_dialogues(model, &e);
    if (rc) fprintf(stderr, "guide_score: %s\n", e.text);
    return rc ? 1 : 0;
}
