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

#include "app/bench.h"
#include "app/command.h"
#include "app/report.h"
#include "app/slash.h"
#include "config/paths.h"
#include "config/persona.h"
#include "config/settings.h"
#include "tests/support_corpus.h"
#include "tests/support_guide.h"
#include "tests/support_wording.h"
#include "ui/input.h"
#include "ui/statusbar.h"

#define FOLDER "model/guide"
#define LEAST_FACTS 400
#define LEAST_WORDINGS 15 /* a fact, in the mean */
#define LEAST_DIALOGUES 300

static struct corpus corpus;

/* ---- apart from the examination ------------------------------------------------------------------------------ */

/* What is kept apart: the questions of the examination, and what users say in its dialogues. */
struct apart {
    struct {
        char *normal; /* the text in normal form */
        const char *file;
        int line;
    } *text;
    size_t n, n_found;
};

static void keep_apart(struct apart *a, const char *text, const char *file, int line) {
    a->text = realloc(a->text, (a->n + 1) * sizeof *a->text);
    assert_non_null(a->text);
    a->text[a->n].normal = wording_normal(text, corpus.group, corpus.n_groups);
    a->text[a->n].file = file;
    a->text[a->n++].line = line;
}

static void keep_questions_apart(struct apart *a) {
    struct guide_questions all;
    struct err e = {0};
    if (guide_questions_read(&all, GUIDE_QUESTIONS, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < all.n; i++) keep_apart(a, all.q[i].text, GUIDE_QUESTIONS, all.q[i].line);
    guide_questions_free(&all);
}

static size_t count_words(const char *s) {
    size_t n = 0;
    for (s += strspn(s, " "); *s; s += strspn(s, " "), n++) s += strcspn(s, " ");
    return n;
}

/* What is short anybody says: "thanks", "what else is there". */
static void keep_dialogues_apart(struct apart *a) {
    struct buf text = {0};
    struct err e = {0};
    int number = 1;
    if (paths_read(GUIDE_DIALOGUES, 1 << 20, &text, &e)) fail_msg("%s", e.text);
    for (char *line = text.data, *end; (end = strchr(line, '\n')); line = end + 1, number++) {
        *end = 0;
        if (!strncmp(line, "u: ", 3) && count_words(line + 3) >= 5) keep_apart(a, line + 3, GUIDE_DIALOGUES, number);
    }
    buf_free(&text);
}

static void compare_text(void *ctx, const struct corpus_text *t) {
    struct apart *a = ctx;
    if (t->whose != ASKED) return;
    char *normal = wording_normal(t->text, corpus.group, corpus.n_groups);
    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(normal, a->text[i].normal) != 0) continue;
        print_message("%s:%d: %s: \"%s\" is kept apart in %s:%d\n", t->place.file, t->place.line, t->fact, t->text, a->text[i].file, a->text[i].line);
        a->n_found++;
    }
    free(normal);
}

static void no_wording_is_a_question_of_the_examination_or_of_its_dialogues(void **state) {
    (void)state;
    struct apart a = {0};
    keep_questions_apart(&a);
    assert_true(a.n >= 150);
    keep_dialogues_apart(&a);
    assert_true(a.n >= 250);
    corpus_each_text(&corpus, compare_text, &a);
    for (size_t i = 0; i < a.n; i++) free(a.text[i].normal);
    free(a.text);
    assert_int_equal(a.n_found, 0);
}

/* ---- of the program that there is ---------------------------------------------------------------------------- */

/* What exists and is spoken of. */
struct spoken {
    struct buf slash_help;
    struct corpus_list slash, flag; /* without repetition; owned */
    rl_command_func_t *key[64];
    size_t n_keys, n_wrong;
    const struct corpus_text *line; /* the one that is being read */
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
    const struct corpus_text *l = s->line;
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

static bool is_word_of(const char *list, const char *word, size_t n) {
    for (const char *at = list; at && *at; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");
        if (strcspn(at, " :") == n && !strncmp(at, word, n)) return true;
        at += len;
    }
    return false;
}

/* A word that goes on with the sentence, and is no name of anything: a verb of the third person among others. */
static bool is_prose(const char *word) {
    static const char ordinary[] = "again and apart before can cannot do ended in may move never no only or program say under without wrote you";
    size_t n = strlen(word);
    return word[n - 1] == 's' || is_word_of(ordinary, word, n);
}

static void hear_value(struct spoken *s, const struct setting *d, const char *value) {
    if (!d || !islower((unsigned char)*value) || is_prose(value)) return;
    if (d->type != SETTING_CHOICE && d->type != SETTING_FORM && d->type != SETTING_OPTIONAL) return;
    if (!is_word_of(d->choices, value, strcspn(value, ":"))) complain(s, d->key ? d->key : d->flags, value);
}

static void hear_test(struct spoken *s, const char *name) {
    if (!islower((unsigned char)*name) || is_prose(name)) return;
    for (size_t i = 0; bench_tests[i].name; i++)
        if (!strcmp(bench_tests[i].name, name)) return;
    complain(s, "test of kvetch bench", name);
}

static void hear(void *ctx, enum wording_kind kind, const char *word, const char *value) {
    struct spoken *s = ctx;
    bool is_answer = s->line->whose == ANSWERED; /* users' words are their own */
    switch (kind) {
    case WORDING_SLASH:
        if (each_slash(s, is_same, (char *)(uintptr_t)word)) note(&s->slash, word);
        else complain(s, "command", word);
        if (is_answer) hear_value(s, setting_find_name(word + 1), value);
        break;
    case WORDING_FLAG:
        if (flag_exists(word)) note(&s->flag, word);
        else complain(s, "flag", word);
        if (is_answer) hear_value(s, setting_find_flag(word), value);
        if (is_answer && !strcmp(word, "--test")) hear_test(s, value);
        break;
    case WORDING_SETTING:
        if (is_answer && !setting_exists(word)) complain(s, "setting", word);
        if (is_answer) hear_value(s, setting_find_name(word), value);
        break;
    case WORDING_CALL:
        if (is_answer && !command_find(word) && !is_prose(word)) complain(s, "subcommand", word);
        break;
    case WORDING_KEY: hear_key(s, word); break;
    }
}

/* Is it a fact about what there is not? In its questions that may be called whatever its asker likes. */
static bool is_about_nothing(const char *id) {
    size_t n = strlen(id);
    return !strncmp(id, "refuse-", 7) || strstr(id, "-no-") || strstr(id, "unknown") || (n > 4 && !strcmp(id + n - 4, "-not"));
}

static void hear_line(void *ctx, const struct corpus_text *l) {
    struct spoken *s = ctx;
    if (l->whose == ASKED && is_about_nothing(l->fact)) return;
    s->line = l;
    wording_mentions(l->text, hear, s);
}

static struct spoken spoken; /* by the whole corpus */

static void it_names_no_command_flag_key_or_setting_that_does_not_exist(void **state) {
    (void)state;
    corpus_each_text(&corpus, hear_line, &spoken);
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

static void look_for(void *ctx, const struct corpus_text *l) {
    struct wanted *w = ctx;
    bool here = !w->id;
    for (size_t i = 0; w->id && w->id[i]; i++) here |= !strncmp(l->fact, w->id[i], strlen(w->id[i]));
    if (here && wording_has(l->text, w->text) && (!w->section || wording_has(l->text, w->section))) w->found = true;
}

static bool is_said(const char *text, const char *section, const char *const *id) {
    struct wanted w = {.text = text, .section = section, .id = id};
    corpus_each_text(&corpus, look_for, &w);
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

/* One of the names that a setting may have, said beside its key or a flag of it. */
static void miss_choice(const struct setting *d, const char *choice) {
    char flag[32];
    const char *last = d->key ? strrchr(d->key, '.') : NULL;
    bool said = d->key && is_said(choice, last ? last + 1 : d->key, NULL);
    for (const char *at = d->flags; *at && !said; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        snprintf(flag, sizeof flag, "%.*s", (int)n, at);
        said = is_said(choice, flag, NULL);
        at += n;
    }
    if (!said) miss(d->key ? d->key : d->flags, choice);
}

static void miss_choices(void) {
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *d = setting_get((enum setting_id)id);
        if (d->type != SETTING_CHOICE && d->type != SETTING_FORM) continue;
        char choice[32];
        for (const char *at = d->choices; *at; at += strspn(at, " ")) {
            size_t n = strcspn(at, " ");
            snprintf(choice, sizeof choice, "%.*s", (int)strcspn(at, " :"), at);
            if (islower((unsigned char)*choice)) miss_choice(d, choice);
            at += n;
        }
    }
}

/* The words of the bar when everything is in it: "ctx", "kv", ... */
static void miss_bar(void) {
    struct statusbar_line line;
    struct ui_status st = {.committed = 512, .bound = 1024, .cache_bytes = 1, .rss_bytes = 1, .room_bytes = 1, .not_saved = true};
    static const char *const bar[] = {"bar-", NULL};
    for (int state = UI_IDLE; state <= UI_SAVING; state++) {
        st.state = (enum ui_state)state;
        statusbar_format(&st, 200, 0, &line);
        for (const char *at = line.text; *at; at += strcspn(at, " ")) {
            char word[32];
            at += strspn(at, " ");
            size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz");
            snprintf(word, sizeof word, "%.*s", (int)n, at);
            if (n > 1 && (at[n] == ' ' || !at[n]) && strcmp(word, "of") != 0 && !is_said(word, NULL, bar)) miss("word of the status bar", word);
        }
    }
}

/* What scripts read: events, why a reply ended, exit statuses. */
static void miss_outcomes(void) {
    for (int kind = KV_EVENT_GROW; kind <= KV_EVENT_MEMORY; kind++) {
        struct buf text = {0};
        struct json *j = report_cache(&(struct kv_event){.kind = (enum kv_event_kind)kind, .reason = ""});
        assert_int_equal(json_print(j, false, &text), 0);
        char *name = strstr(buf_text(&text), "\"event\":\"");
        assert_non_null(name);
        name += strlen("\"event\":\"");
        name[strcspn(name, "\"")] = 0;
        if (!is_said(name, "--jsonl", NULL)) miss("event", name);
        buf_free(&text);
        json_free(j);
    }
    for (int f = FINISH_STOP; f <= FINISH_ERROR; f++)
        if (!is_said(finish_name((enum finish_reason)f), "finish_reason", NULL)) miss("finish_reason", finish_name((enum finish_reason)f));
    for (int code = ERR_CLOSED; code <= 0; code++) {
        char status[8];
        snprintf(status, sizeof status, "%d", err_status(code));
        if (!is_said(status, "exit status", NULL)) miss("exit status", status);
    }
}

static void miss_personas(void) {
    struct persona_entry *list;
    size_t n;
    assert_int_equal(persona_list(&list, &n, NULL), 0);
    for (size_t i = 0; i < n; i++)
        if (!is_said(list[i].id, "persona", NULL)) miss("persona", list[i].id);
    persona_list_free(list, n);
}

static void miss_bench(void) {
    for (size_t i = 0; bench_tests[i].name; i++)
        if (!is_said(bench_tests[i].name, "--test", NULL)) miss("test of kvetch bench", bench_tests[i].name);
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

static void it_leaves_out_no_value_field_event_status_persona_or_test(void **state) {
    (void)state;
    n_missing = 0;
    miss_choices();
    miss_bar();
    miss_outcomes();
    miss_personas();
    miss_bench();
    assert_int_equal(n_missing, 0);
}

/* ---- how much there is --------------------------------------------------------------------------------------- */

static void there_is_as_much_of_it_as_the_guide_needs(void **state) {
    (void)state;
    size_t wordings = 0, turns = 0, next = 0;
    for (size_t i = 0; i < corpus.n_facts; i++) {
        wordings += corpus.fact[i].ask.n + corpus.fact[i].follow.n;
        next += corpus.fact[i].n_next;
    }
    for (size_t i = 0; i < corpus.n_dialogues; i++) turns += corpus.dialogue[i].n_turns;
    print_message("%zu facts, %.1f wordings each, %zu that lean on an answer, %zu dialogues of %.1f exchanges\n", corpus.n_facts, (double)wordings / (double)(corpus.n_facts + !corpus.n_facts),
                  next, corpus.n_dialogues, (double)turns / (double)(corpus.n_dialogues + !corpus.n_dialogues));
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
        cmocka_unit_test(no_wording_is_a_question_of_the_examination_or_of_its_dialogues),
        cmocka_unit_test(it_names_no_command_flag_key_or_setting_that_does_not_exist),
        cmocka_unit_test(it_leaves_out_no_command_flag_key_or_setting),
        cmocka_unit_test(it_leaves_out_no_value_field_event_status_persona_or_test),
        cmocka_unit_test(there_is_as_much_of_it_as_the_guide_needs),
    };
    return cmocka_run_group_tests(tests, open_corpus, close_corpus);
}
