/* Tests of the guide's corpus (model/guide): it keeps away from the examination, and it speaks of the program that there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <readline/readline.h>

#include "app/command.h"
#include "app/slash.h"
#include "config/settings.h"
#include "model/train/corpus.h"
#include "tests/support_guide.h"
#include "tests/support_wording.h"
#include "ui/input.h"

#define FOLDER "model/guide"
#define LEAST_FACTS 400
#define LEAST_WORDINGS 15 /* a fact, in the mean */
#define LEAST_DIALOGUES 300

static struct corpus corpus;

/* ---- every text of the corpus -------------------------------------------------------------------------------- */

enum whose { ASKED, ANSWERED };
struct line {
    const char *text;
    enum whose whose;
    const char *fact; /* id of the fact that it belongs to, or that answers it; "" none */
    struct corpus_place place;
};
typedef void line_fn(void *ctx, const struct line *l);

static void each_of(const struct corpus_list *list, const struct corpus_fact *f, enum whose whose, line_fn *fn, void *ctx) {
    for (size_t i = 0; i < list->n; i++) fn(ctx, &(struct line){list->text[i], whose, f->id, f->place});
}

static void each_line(line_fn *fn, void *ctx) {
    for (size_t i = 0; i < corpus.n_facts; i++) {
        const struct corpus_fact *f = &corpus.fact[i];
        each_of(&f->ask, f, ASKED, fn, ctx);
        each_of(&f->follow, f, ASKED, fn, ctx);
        each_of(&f->answer, f, ANSWERED, fn, ctx);
    }
    for (size_t i = 0; i < corpus.n_dialogues; i++) {
        for (size_t k = 0; k < corpus.dialogue[i].n_turns; k++) {
            const struct corpus_turn *t = &corpus.dialogue[i].turn[k];
            const char *fact = t->fact_id ? t->fact_id : "";
            fn(ctx, &(struct line){t->user, ASKED, fact, t->place});
            if (t->reply) fn(ctx, &(struct line){t->reply, ANSWERED, fact, t->place});
        }
    }
}

/* ---- apart from the examination ------------------------------------------------------------------------------ */

struct apart {
    char **question; /* in normal form */
    const struct guide_questions *all;
    size_t n_found;
};

static void compare_line(void *ctx, const struct line *l) {
    struct apart *a = ctx;
    if (l->whose != ASKED) return;
    char *normal = wording_normal(l->text, corpus.group, corpus.n_groups);
    for (size_t i = 0; i < a->all->n; i++) {
        if (strcmp(normal, a->question[i]) != 0) continue;
        print_message("%s:%d: %s: \"%s\" is question %d of the examination\n", l->place.file, l->place.line, l->fact, l->text, a->all->q[i].line);
        a->n_found++;
    }
    free(normal);
}

static void no_wording_is_a_question_of_the_examination(void **state) {
    (void)state;
    struct guide_questions all;
    struct err e = {0};
    if (guide_questions_read(&all, GUIDE_QUESTIONS, &e)) fail_msg("%s", e.text);
    assert_true(all.n >= 150);
    struct apart a = {.all = &all, .question = calloc(all.n, sizeof *a.question)};
    for (size_t i = 0; i < all.n; i++) a.question[i] = wording_normal(all.q[i].text, corpus.group, corpus.n_groups);
    each_line(compare_line, &a);
    for (size_t i = 0; i < all.n; i++) free(a.question[i]);
    free(a.question);
    guide_questions_free(&all);
    assert_int_equal(a.n_found, 0);
}

/* ---- of the program that there is ---------------------------------------------------------------------------- */

/* What exists and is spoken of. */
struct spoken {
    struct buf slash_help;
    struct corpus_list slash, flag; /* without repetition; owned */
    rl_command_func_t *key[64];
    size_t n_keys, n_wrong;
    const struct line *line; /* the one that is being read */
};

static void note(struct corpus_list *list, const char *word) {
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->text[i], word)) return;
    list->text = realloc(list->text, (list->n + 1) * sizeof *list->text);
    assert_non_null(list->text);
    list->text[list->n++] = strdup(word);
}

static bool is_noted(const struct corpus_list *list, const char *word) {
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->text[i], word)) return true;
    return false;
}

static void free_notes(struct corpus_list *list) {
    for (size_t i = 0; i < list->n; i++) free((char *)(uintptr_t)list->text[i]);
    free(list->text);
}

/* The words that begin with a slash before each line's arguments. fn stops it by saying true. */
static bool each_slash(const struct spoken *s, bool (*fn)(void *ctx, const char *word), void *ctx) {
    char word[64];
    for (const char *at = buf_text(&s->slash_help); *at;) {
        for (; *at == '/' && at[1] != '/'; at += strspn(at, " ")) {
            size_t n = strcspn(at, " \n");
            snprintf(word, sizeof word, "%.*s", (int)n, at);
            if (fn(ctx, word)) return true;
            at += n;
        }
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    return false;
}

static bool is_same(void *ctx, const char *word) { return !strcmp(ctx, word); }

static bool flag_exists(const char *word) {
    const struct command *c;
    if (setting_find_flag(word)) return true;
    for (size_t i = 0; (c = command_get(i)); i++)
        for (size_t f = 0; f < COMMAND_MAX_FLAGS && c->flag[f].name; f++)
            if (!strcmp(c->flag[f].name, word)) return true;
    return false;
}

/* A setting's key or a name for it; or another word with a _ that the program prints. */
static bool setting_exists(const char *word) {
    static const char *const printed[] = {"finish_reason", "ctx_train", "chat_template"};
    for (size_t i = 0; i < sizeof printed / sizeof *printed; i++)
        if (!strcmp(word, printed[i])) return true;
    return setting_find_name(word) != NULL;
}

static void complain(struct spoken *s, const char *kind, const char *word) {
    const struct line *l = s->line;
    print_message("%s:%d: %s: there is no %s %s: \"%s\"\n", l->place.file, l->place.line, l->fact, kind, word, l->text);
    s->n_wrong++;
}

static void hear_key(struct spoken *s, const char *word) {
    char raw[16];
    int type = 0;
    size_t n = wording_key_bytes(word, raw);
    rl_command_func_t *f = n ? rl_function_of_keyseq_len(raw, n, NULL, &type) : NULL;
    if (!f || f == rl_insert || f == rl_do_lowercase_version) {
        complain(s, "key", word);
        return;
    }
    for (size_t i = 0; i < s->n_keys; i++)
        if (s->key[i] == f) return;
    assert_true(s->n_keys < 64);
    s->key[s->n_keys++] = f;
}

static void hear(void *ctx, enum wording_kind kind, const char *word) {
    struct spoken *s = ctx;
    switch (kind) {
    case WORDING_SLASH:
        if (each_slash(s, is_same, (char *)(uintptr_t)word)) note(&s->slash, word);
        else complain(s, "command", word);
        break;
    case WORDING_FLAG:
        if (flag_exists(word)) note(&s->flag, word);
        else complain(s, "flag", word);
        break;
    case WORDING_SETTING:
        if (s->line->whose == ANSWERED && !setting_exists(word)) complain(s, "setting", word); /* users' words are their own */
        break;
    case WORDING_KEY: hear_key(s, word); break;
    }
}

/* Is it a fact about what there is not? In its questions that may be called whatever its asker likes. */
static bool is_about_nothing(const char *id) {
    size_t n = strlen(id);
    return !strncmp(id, "refuse-", 7) || strstr(id, "-no-") || strstr(id, "unknown") || (n > 4 && !strcmp(id + n - 4, "-not"));
}

static void hear_line(void *ctx, const struct line *l) {
    struct spoken *s = ctx;
    if (l->whose == ASKED && is_about_nothing(l->fact)) return;
    s->line = l;
    wording_mentions(l->text, hear, s);
}

static struct spoken spoken; /* by the whole corpus */

static void it_names_no_command_flag_key_or_setting_that_does_not_exist(void **state) {
    (void)state;
    each_line(hear_line, &spoken);
    assert_int_equal(spoken.n_wrong, 0);
}

static size_t n_missing;

static void miss(const char *kind, const char *what) {
    print_message("nothing is said about the %s %s\n", kind, what);
    n_missing++;
}

static bool miss_slash(void *ctx, const char *word) {
    (void)ctx;
    if (!is_noted(&spoken.slash, word)) miss("command", word);
    return false;
}

static void miss_flag(const char *word) {
    if (!is_noted(&spoken.flag, word)) miss("flag", word);
}

struct wanted {
    const char *text, *section; /* section: NULL, or a word that must stand beside it */
    const char *const *id;      /* NULL, or how the fact's name begins, NULL-ended */
    bool found;
};

static void look_for(void *ctx, const struct line *l) {
    struct wanted *w = ctx;
    bool here = !w->id;
    for (size_t i = 0; w->id && w->id[i]; i++) here |= !strncmp(l->fact, w->id[i], strlen(w->id[i]));
    if (here && wording_has(l->text, w->text) && (!w->section || wording_has(l->text, w->section))) w->found = true;
}

static bool is_said(const char *text, const char *section, const char *const *id) {
    struct wanted w = {.text = text, .section = section, .id = id};
    each_line(look_for, &w);
    return w.found;
}

/* Its whole key; or its last part, if that is no English word, or stands beside the section where settings and personas are the subject. */
static bool key_is_said(const char *key) {
    static const char *const subjects[] = {"conf-", "persona-", NULL};
    const char *dot = strchr(key, '.');
    char section[32];
    if (is_said(key, NULL, dot ? NULL : subjects)) return true;
    if (!dot) return false;
    if (strchr(dot, '_')) return is_said(dot + 1, NULL, NULL);
    snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
    return is_said(dot + 1, section, subjects);
}

static void miss_settings(void) {
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *d = setting_get((enum setting_id)id);
        char flag[32];
        for (const char *at = d->flags; *at; at += strspn(at, " ")) {
            size_t n = strcspn(at, " ");
            snprintf(flag, sizeof flag, "%.*s", (int)n, at);
            miss_flag(flag);
            at += n;
        }
        if (d->key && !key_is_said(d->key)) miss("setting", d->key);
    }
}

static void miss_commands(void) {
    const struct command *c;
    for (size_t i = 0; (c = command_get(i)); i++) {
        char call[64];
        snprintf(call, sizeof call, "kvetch %s", c->name);
        if (!is_said(call, NULL, NULL)) miss("command", call);
        for (size_t f = 0; f < COMMAND_MAX_FLAGS && c->flag[f].name; f++) miss_flag(c->flag[f].name);
    }
}

/* Those that are the program's own; readline has too many. */
static void miss_keys(void) {
    const char **name = rl_funmap_names();
    for (size_t i = 0; name[i]; i++) {
        bool heard = strncmp(name[i], "kvetch-", 7) != 0;
        for (size_t k = 0; k < spoken.n_keys && !heard; k++) heard = spoken.key[k] == rl_named_function(name[i]);
        if (!heard) miss("key", name[i]);
    }
    free(name);
}

static void it_leaves_out_no_command_flag_key_or_setting(void **state) {
    (void)state;
    static const char *const own[] = {"name", "extends", "examples"}, *const personas[] = {"persona-", NULL};
    n_missing = 0;
    each_slash(&spoken, miss_slash, NULL);
    miss_commands();
    miss_settings();
    miss_keys();
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!is_said(own[i], NULL, personas)) miss("key of personas", own[i]);
    assert_int_equal(n_missing, 0);
}

/* ---- how much there is --------------------------------------------------------------------------------------- */

static void there_is_as_much_of_it_as_the_guide_needs(void **state) {
    (void)state;
    size_t wordings = 0, turns = 0;
    for (size_t i = 0; i < corpus.n_facts; i++) wordings += corpus.fact[i].ask.n + corpus.fact[i].follow.n;
    for (size_t i = 0; i < corpus.n_dialogues; i++) turns += corpus.dialogue[i].n_turns;
    print_message("%zu facts, %.1f wordings each, %zu dialogues of %.1f exchanges\n", corpus.n_facts, (double)wordings / (double)(corpus.n_facts + !corpus.n_facts),
                  corpus.n_dialogues, (double)turns / (double)(corpus.n_dialogues + !corpus.n_dialogues));
    assert_true(wordings >= corpus.n_facts * LEAST_WORDINGS);
    assert_true(corpus.n_dialogues >= LEAST_DIALOGUES);
}

static int open_corpus(void **state) {
    struct err e = {0};
    (void)state;
    setenv("INPUTRC", "/dev/null", 1);
    if (input_open(&(struct input_options){.prompt = ""}, &e) || corpus_open(&corpus, FOLDER, &e)) {
        print_error("%s\n", e.text);
        return -1;
    }
    slash_help(&spoken.slash_help);
    return 0;
}

static int close_corpus(void **state) {
    (void)state;
    free_notes(&spoken.slash);
    free_notes(&spoken.flag);
    buf_free(&spoken.slash_help);
    corpus_close(&corpus);
    input_close();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_wording_is_a_question_of_the_examination),
        cmocka_unit_test(it_names_no_command_flag_key_or_setting_that_does_not_exist),
        cmocka_unit_test(it_leaves_out_no_command_flag_key_or_setting),
        cmocka_unit_test(there_is_as_much_of_it_as_the_guide_needs),
    };
    return cmocka_run_group_tests(tests, open_corpus, close_corpus);
}
