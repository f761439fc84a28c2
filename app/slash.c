/* slash: see slash.h. The table of commands; adding one is adding a row here and a function in slash_do.h. */
#include "app/slash.h"

#include <stdlib.h>
#include <string.h>

#include "app/slash_do.h"
#include "config/persona.h"
#include "config/utf8.h"

enum argument { NO_ARGUMENT, MAY_HAVE, MUST_HAVE };
enum candidates { OF_NOTHING, OF_COMMANDS, OF_PERSONAS, OF_TITLES, OF_SETTINGS, OF_MODES };

struct command_row {
    const char *names; /* blank-separated, without the slash; the first is the one shown */
    const char *usage; /* arguments */
    const char *help;  /* one line */
    slash_handler *run;
    enum argument argument;
    enum candidates candidates;
    bool while_busy;   /* may run while a reply is written */
};

static slash_handler run_help;

static const struct command_row rows[] = {
    {"help ?", "[COMMAND]", "this list, or one command", run_help, MAY_HAVE, OF_COMMANDS, true},
    {"new", "", "another conversation", slash_new, NO_ARGUMENT, OF_NOTHING, false},
    {"clear", "", "empty the context; what was said is kept as a branch", slash_clear, NO_ARGUMENT, OF_NOTHING, false},
    {"regen", "", "another reply to the last message", slash_regen, NO_ARGUMENT, OF_NOTHING, false},
    {"undo", "[N]", "take back the last N exchanges; kept as a branch", slash_undo, MAY_HAVE, OF_NOTHING, false},
    {"list", "", "the saved conversations, newest first", slash_list, NO_ARGUMENT, OF_NOTHING, true},
    {"load", "NAME|ID", "go on with a saved conversation", slash_load, MUST_HAVE, OF_TITLES, false},
    {"rename", "NAME", "give this conversation a name", slash_rename, MUST_HAVE, OF_TITLES, true},
    {"persona", "[NAME]", "talk to another persona; without a name, list them", slash_persona, MAY_HAVE, OF_PERSONAS, false},
    {"system", "[TEXT]", "another system prompt; without a text, show it", slash_system, MAY_HAVE, OF_NOTHING, false},
    {"set", "[NAME [VALUE]]", "change a setting, or show it, or all", slash_set, MAY_HAVE, OF_SETTINGS, false},
    {"stats", "", "memory, cache and speeds, measured now", slash_stats, NO_ARGUMENT, OF_NOTHING, true},
    {"context", "", "tokens by message, and what has left the context", slash_context, NO_ARGUMENT, OF_NOTHING, true},
    {"evict", "MODE", "what happens at the bound: shift, slide, reseed, stop", slash_evict, MUST_HAVE, OF_MODES, false},
    {"limit", "CELLS", "bound of the context; 0: what the model was trained for", slash_limit, MUST_HAVE, OF_NOTHING, false},
    {"exit quit bye", "", "leave", slash_exit, NO_ARGUMENT, OF_NOTHING, true},
};
#define N_ROWS (sizeof rows / sizeof *rows)
#define MAX_NAMES 40 /* all names of all rows */

/* The next of a row's names, and its length; 0: no more. Start with *at = names. */
static size_t next_name(const char **at, const char **name) {
    *name = *at + strspn(*at, " ");
    size_t n = strcspn(*name, " ");
    *at = *name + n;
    return n;
}

static const struct command_row *find_row(const char *name, size_t n) {
    for (size_t i = 0; i < N_ROWS; i++) {
        const char *at = rows[i].names, *one;
        for (size_t len = next_name(&at, &one); len; len = next_name(&at, &one)) {
            if (len == n && !memcmp(one, name, n)) return &rows[i];
        }
    }
    return NULL;
}

/* All names with their slash, NULL-ended, each malloc'd; NULL on no memory. */
static char **all_names(void) {
    char **list = calloc(MAX_NAMES + 1, sizeof *list);
    size_t k = 0;
    for (size_t i = 0; list && i < N_ROWS; i++) {
        const char *at = rows[i].names, *one;
        for (size_t len = next_name(&at, &one); len && k < MAX_NAMES; len = next_name(&at, &one)) {
            struct buf b = {0};
            buf_add_char(&b, '/');
            buf_add(&b, one, len);
            list[k] = buf_take(&b);
            if (list[k]) k++;
        }
    }
    return list;
}

static void free_list(char **list) {
    for (size_t i = 0; list && list[i]; i++) free(list[i]);
    free(list);
}

static int fail_unknown(const char *name, size_t n, struct err *e) {
    char **names = all_names();
    size_t k = 0;
    while (names && names[k]) k++;
    struct buf word = {0};
    buf_add_char(&word, '/');
    buf_add(&word, name, n);
    const char *near = names ? utf8_nearest(buf_text(&word), (const char *const *)names, k) : NULL;
    if (near) err_set(e, ERR_USAGE, "there is no command %s; the nearest is %s", buf_text(&word), near);
    else err_set(e, ERR_USAGE, "there is no command %s; /help lists them, and // begins a message with a slash", buf_text(&word));
    buf_free(&word);
    free_list(names);
    return ERR_USAGE;
}

bool slash_is_command(const char *line) { return line[0] == '/' && line[1] != '/'; }

const char *slash_message(const char *line) { return line[0] == '/' && line[1] == '/' ? line + 1 : line; }

/* The row's first name, for messages. */
static int first_name(const struct command_row *r) { return (int)strcspn(r->names, " "); }

int slash_run(struct slash *s, const char *line, bool busy, unsigned *todo, struct err *e) {
    *todo = 0;
    const char *name = line + 1;
    size_t n = strcspn(name, " \t\n");
    const struct command_row *r = find_row(name, n);
    if (!r) return fail_unknown(name, n, e);
    struct buf arg = {0};
    buf_add_text(&arg, name + n + strspn(name + n, " \t\n"));
    while (arg.len && strchr(" \t\n", arg.data[arg.len - 1])) arg.data[--arg.len] = 0;
    int rc = 0;
    if (arg.failed) rc = err_set(e, ERR_MEMORY, "no memory for the command");
    else if ((arg.len && r->argument == NO_ARGUMENT) || (!arg.len && r->argument == MUST_HAVE)) {
        rc = err_set(e, ERR_USAGE, "the command is /%.*s%s%s: %s", first_name(r), r->names, *r->usage ? " " : "", r->usage, r->help);
    } else if (busy && !r->while_busy) {
        rc = err_set(e, ERR_USAGE, "/%.*s has to wait for the reply; Ctrl-C stops it", first_name(r), r->names);
    } else {
        rc = r->run(s, buf_text(&arg), todo, e);
    }
    if (rc) *todo = 0;
    buf_free(&arg);
    return rc;
}

int slash_print(struct slash *s, struct buf *text, struct err *e) {
    int rc = text->failed ? err_set(e, ERR_MEMORY, "no memory to show this") : 0;
    while (text->len && text->data[text->len - 1] == '\n') text->data[--text->len] = 0;
    if (!rc) s->print(s->ctx, buf_text(text));
    buf_free(text);
    return rc;
}

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void help_row(const struct command_row *r, struct buf *out) {
    struct buf head = {0};
    const char *at = r->names, *one;
    for (size_t n = next_name(&at, &one); n; n = next_name(&at, &one)) {
        buf_printf(&head, "%s/%.*s", head.len ? " " : "", (int)n, one);
    }
    buf_printf(&head, " %s", r->usage);
    buf_printf(out, "%-20s  %s\n", buf_text(&head), r->help);
    buf_free(&head);
}

void slash_help(struct buf *out) {
    for (size_t i = 0; i < N_ROWS; i++) help_row(&rows[i], out);
    buf_add_text(out, "//TEXT                a message that begins with a slash\n");
}

static int run_help(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)todo;
    struct buf text = {0};
    if (*arg) {
        const char *name = arg + (*arg == '/');
        const struct command_row *r = find_row(name, strlen(name));
        if (!r) return fail_unknown(name, strlen(name), e);
        help_row(r, &text);
    } else {
        slash_help(&text);
    }
    return slash_print(s, &text, e);
}

/* ---- completion ---------------------------------------------------------------------------------------------- */

struct completion {
    const char *typed; /* what the candidate must begin with */
    size_t skip;       /* bytes of it before the word that is replaced */
    char **list;
    size_t n;
};

/* Adds a candidate that fits, from its skip-th byte on. text[0..n). */
static void offer(struct completion *c, const char *text, size_t n) {
    size_t len = strlen(c->typed);
    if (n < len || memcmp(text, c->typed, len) != 0) return;
    char **more = realloc(c->list, (c->n + 2) * sizeof *more);
    if (!more) return;
    c->list = more;
    c->list[c->n] = strndup(text + c->skip, n - c->skip);
    if (c->list[c->n]) c->n++;
    c->list[c->n] = NULL;
}

static void offer_names(struct completion *c) {
    char **names = all_names();
    for (size_t i = 0; names && names[i]; i++) offer(c, names[i], strlen(names[i]));
    free_list(names);
}

static void offer_words(struct completion *c, const char *words) {
    const char *at = words, *one;
    for (size_t n = next_name(&at, &one); n; n = next_name(&at, &one)) offer(c, one, n);
}

static void offer_personas(struct completion *c) {
    struct persona_entry *list = NULL;
    size_t n = 0;
    if (persona_list(&list, &n, NULL)) return;
    for (size_t i = 0; i < n; i++) offer(c, list[i].id, strlen(list[i].id));
    persona_list_free(list, n);
}

static void offer_titles(struct completion *c, struct store *store) {
    struct store_conversation *list;
    size_t n;
    if (!store || store_list(store, &list, &n, NULL)) return;
    for (size_t i = 0; i < n; i++) {
        if (*list[i].title) offer(c, list[i].title, strlen(list[i].title));
        store_conversation_free(&list[i]);
    }
    free(list);
}

/* Names of settings; after a name and a blank, its choices. */
static void offer_settings(struct completion *c) {
    const char *blank = strchr(c->typed, ' ');
    if (blank) {
        struct buf name = {0};
        buf_add(&name, c->typed, (size_t)(blank - c->typed));
        const struct setting *d = setting_find_key(buf_text(&name));
        buf_free(&name);
        size_t before = (size_t)(blank + 1 - c->typed);
        c->typed += before;
        c->skip -= before <= c->skip ? before : c->skip;
        if (d && d->choices) offer_words(c, d->choices);
        return;
    }
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *d = setting_get((enum setting_id)id);
        if (!d->key) continue;
        offer(c, d->key, strlen(d->key));
        const char *last = strrchr(d->key, '.');
        if (last && setting_find_key(last + 1) == d) offer(c, last + 1, strlen(last + 1));
    }
}

char **slash_complete(struct slash *s, const char *line, const char *word) {
    if (!slash_is_command(line)) return NULL;
    size_t n = strcspn(line + 1, " ");
    struct completion c = {.typed = line};
    if (!line[1 + n]) {
        offer_names(&c);
        return c.list;
    }
    const struct command_row *r = find_row(line + 1, n);
    c.typed = line + 1 + n + strspn(line + 1 + n, " ");
    size_t typed = strlen(c.typed), len = strlen(word);
    c.skip = typed > len ? typed - len : 0;
    switch (r ? r->candidates : OF_NOTHING) {
    case OF_NOTHING: break;
    case OF_COMMANDS:
        if (c.typed[0] == '/') offer_names(&c);
        else for (size_t i = 0; i < N_ROWS; i++) offer_words(&c, rows[i].names);
        break;
    case OF_PERSONAS: offer_personas(&c); break;
    case OF_TITLES: offer_titles(&c, s->app->store); break;
    case OF_SETTINGS: offer_settings(&c); break;
    case OF_MODES: offer_words(&c, setting_get(SET_EVICT)->choices); break;
    }
    return c.list;
}
