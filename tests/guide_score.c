/* guide_score: puts the examination to a guide and prints what it got wrong, by area and in all; then how well it foresees the dialogues that
 * it never saw. guide_score [--model FILE]: without one, the model that is shipped. */
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

static int score_dialogues(const char *model, struct err *e) {
    struct guide g;
    int rc = guide_open(&g, model, 0, 0, e);
    for (size_t i = 0; i < GUIDE_PASSES && !rc; i++) {
        const char *name = guide_passes[i].name;
        struct guide_foresight f;
        rc = guide_foresee(&g, &guide_passes[i], &f, e);
        if (!rc) printf("dialogues, %s: perplexity %.4f of %zu tokens, %zu growths, %zu tokens left\n", name, f.perplexity, f.n, f.n_grown, f.n_left);
    }
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
