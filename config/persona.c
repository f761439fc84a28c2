/* persona: see persona.h. A persona is a chain of sources, from the one that was asked for to the one that extends
 * nothing. */
#include "config/persona.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/persona_source.h"
#include "config/utf8.h"
#include "config/yaml.h"

#define MAX_CHAIN 16

/* Top-level keys of a persona that are settings or sections of settings. */
static const char *const setting_keys[] = {"description", "model", "system", "greeting", "sampling",
                                           "context",     "stop",  "theme",  NULL};
/* Those that are read here. */
static const char *const own_keys[] = {"name", "extends", "examples", NULL};

struct chain {
    struct persona_source source[MAX_CHAIN]; /* [0] was asked for, [n - 1] extends nothing */
    size_t n;
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_MEMORY, "no memory for the persona");
}

static int fail(const struct persona_source *s, const struct yaml_node *at, struct err *e, const char *what) {
    return err_set(e, ERR_FILE, "%s:%d:%d: %s", s->path, at->line, at->column, what);
}

static bool is_one_of(const char *const *names, const char *name) {
    for (; *names; names++)
        if (!strcmp(*names, name)) return true;
    return false;
}

/* ---- checking ---- */

/* The text of a top-level key, NULL where it is absent. */
static int get_text(const struct persona_source *s, const char *key, const char **text, struct err *e) {
    const struct yaml_node *node = yaml_get(s->doc, key);
    *text = NULL;
    if (!node) return 0;
    if (node->kind != YAML_SCALAR || !*node->text) {
        char what[64];
        snprintf(what, sizeof what, "%s must be a text", key);
        return fail(s, node, e, what);
    }
    *text = node->text;
    return 0;
}

/* A setting that is none of a persona's business is told apart from an unknown key. */
static int check_keys(const struct persona_source *s, struct err *e) {
    for (size_t i = 0; i < s->doc->n; i++) {
        const char *key = s->doc->key[i]->text;
        if (is_one_of(setting_keys, key) || is_one_of(own_keys, key)) continue;
        if (setting_find_full_key(key) || !strcmp(key, "models")) {
            char what[128];
            snprintf(what, sizeof what, "%s is no key of a persona: it belongs in config.yaml", key);
            return fail(s, s->doc->key[i], e, what);
        }
    }
    return 0;
}

/* ---- the chain ---- */

static void chain_free(struct chain *c) {
    while (c->n) persona_source_free(&c->source[--c->n]);
}

/* "a extends b extends a" */
static int fail_cycle(const struct chain *c, size_t first, const struct yaml_node *at, struct err *e) {
    struct buf text = {0};
    buf_add_text(&text, "personas that extend each other: ");
    for (size_t i = first; i < c->n; i++) buf_printf(&text, "%s extends ", c->source[i].name);
    buf_add_text(&text, c->source[first].name);
    int rc = text.failed ? no_memory(e) : fail(&c->source[c->n - 1], at, e, text.data);
    buf_free(&text);
    return rc;
}

static bool same_source(const struct persona_source *a, const struct persona_source *b) {
    if (a->shipped != b->shipped) return false;
    if (a->shipped) return !strcmp(a->name, b->name);
    char *x = realpath(a->path, NULL), *y = realpath(b->path, NULL);
    bool same = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

/* Adds what the last source extends; *more: it extends something. */
static int chain_extend(struct chain *c, bool *more, struct err *e) {
    struct persona_source *last = &c->source[c->n - 1];
    const struct yaml_node *at = yaml_get(last->doc, "extends");
    const char *name;
    int rc = get_text(last, "extends", &name, e);
    *more = !rc && name;
    if (!*more) return rc;
    if (c->n == MAX_CHAIN) return fail(last, at, e, "too many personas extend each other (at most 16)");
    struct persona_source *next = &c->source[c->n];
    rc = persona_source_open(next, name, last, e);
    for (size_t i = 0; !rc && i < c->n; i++)
        if (same_source(&c->source[i], next)) rc = fail_cycle(c, i, at, e);
    /* a mistake inside the other file names its own place; that there is no such file is this one's mistake */
    if (rc && !next->path) err_prefix(e, "%s:%d:%d", last->path, at->line, at->column);
    if (rc)
        persona_source_free(next);
    else
        c->n++;
    return rc;
}

static int chain_open(struct chain *c, const char *name, struct err *e) {
    bool more = true;
    int rc = persona_source_open(&c->source[0], name, NULL, e);
    if (rc) {
        persona_source_free(&c->source[0]);
        return rc;
    }
    c->n = 1;
    while (!rc && more) {
        rc = check_keys(&c->source[c->n - 1], e);
        if (!rc) rc = chain_extend(c, &more, e);
    }
    if (rc) chain_free(c);
    return rc;
}

/* The nearest source to the one asked for that has the key. */
static const struct persona_source *chain_find(const struct chain *c, const char *key) {
    for (size_t i = 0; i < c->n; i++)
        if (yaml_get(c->source[i].doc, key)) return &c->source[i];
    return NULL;
}

/* ---- {{name}} ---- */

/* Fails where needle first stands at or after a node in the file as it was written, or at the node itself. */
static int fail_inside(const struct persona_source *s, const struct yaml_node *node, const char *needle, struct err *e,
                       const char *what) {
    const char *text = buf_text(&s->text), *end = text + s->text.len, *found;
    int line = 1, column = 1;
    const char *p = text;
    for (; p < end && line < node->line; p++) line += *p == '\n';
    found = strstr(p, needle);
    if (!found) return fail(s, node, e, what);
    while (p < found) {
        uint32_t cp;
        p += utf8_decode(p, (size_t)(end - p), &cp);
        column++;
        if (cp == '\n') line++, column = 1;
    }
    return err_set(e, ERR_FILE, "%s:%d:%d: %s", s->path, line, column, what);
}

struct variable {
    const char *name, *value;
};

/* Copies text with what stands in double braces filled in. */
static int fill_in(const struct persona_source *s, const struct yaml_node *node, const struct variable *vars,
                   struct buf *out, struct err *e) {
    for (const char *p = node->text; *p;) {
        bool escaped = !strncmp(p, "\\{{", 3);
        if (escaped || strncmp(p, "{{", 2)) {
            size_t n = escaped ? 3 : 1;
            buf_add(out, p + escaped, n - escaped);
            p += n;
            continue;
        }
        const char *close = strstr(p, "}}"), *again = strstr(p + 2, "{{"), *from = p + 2, *to = close;
        if (!close || (again && again < close))
            return fail_inside(s, node, p, e, "{{ is not closed by }}; write \\{{ where {{ itself is meant");
        while (from < to && *from == ' ') from++;
        while (to > from && to[-1] == ' ') to--;
        size_t n = (size_t)(to - from);
        const struct variable *v = vars;
        while (v->name && (strlen(v->name) != n || memcmp(v->name, from, n))) v++;
        if (!v->name) {
            char whole[64], shown[64], what[256];
            snprintf(whole, sizeof whole, "%.*s", (int)(close + 2 - p), p);
            snprintf(what, sizeof what, "unknown %s; allowed: {{name}}, {{date}}, {{version}}, and \\{{ for {{ itself",
                     utf8_show(whole, shown, sizeof shown));
            return fail_inside(s, node, whole, e, what);
        }
        buf_add_text(out, v->value);
        p = close + 2;
    }
    return out->failed ? no_memory(e) : 0;
}

static int set_filled_in(const struct chain *c, const char *key, enum setting_id id, const char *name,
                         struct settings *settings, struct err *e) {
    const struct persona_source *s = chain_find(c, key);
    if (!s) return 0;
    const struct yaml_node *node = yaml_get(s->doc, key);
    char date[16];
    time_t now = time(NULL);
    struct tm tm;
    if (!localtime_r(&now, &tm) || !strftime(date, sizeof date, "%Y-%m-%d", &tm))
        return err_set(e, ERR_FAILED, "the clock tells no date");
    const struct variable vars[] = {{"name", name}, {"date", date}, {"version", KVETCH_VERSION}, {NULL, NULL}};
    struct buf text = {0}, place = {0};
    int rc = fill_in(s, node, vars, &text, e);
    if (!rc && buf_printf(&place, "%s:%d:%d", s->path, node->line, node->column)) rc = no_memory(e);
    if (!rc) rc = settings_set(settings, id, buf_text(&text), ORIGIN_PERSONA, place.data, e);
    buf_free(&text);
    buf_free(&place);
    return rc;
}

/* ---- opening ---- */

static int read_example(const struct persona_source *s, const struct yaml_node *node, struct persona_example *x,
                        struct err *e) {
    static const char wanted[] = "an example is a map of two texts: {user: ..., assistant: ...}";
    const struct yaml_node *user = yaml_get(node, "user"), *assistant = yaml_get(node, "assistant");
    if (!user || !assistant) return fail(s, node, e, wanted);
    for (size_t i = 0; i < node->n; i++)
        if (node->item[i] != user && node->item[i] != assistant) return fail(s, node->key[i], e, wanted);
    if (user->kind != YAML_SCALAR) return fail(s, user, e, wanted);
    if (assistant->kind != YAML_SCALAR) return fail(s, assistant, e, wanted);
    x->user = strdup(user->text);
    x->assistant = strdup(assistant->text);
    return x->user && x->assistant ? 0 : no_memory(e);
}

static int read_examples(const struct persona_source *s, struct persona *p, struct err *e) {
    const struct yaml_node *list = s ? yaml_get(s->doc, "examples") : NULL;
    if (!list) return 0;
    if (list->kind != YAML_LIST) return fail(s, list, e, "examples must be a list of {user: ..., assistant: ...}");
    p->example = calloc(list->n + 1, sizeof *p->example);
    if (!p->example) return no_memory(e);
    int rc = 0;
    for (size_t i = 0; i < list->n && !rc; i++) {
        p->n_examples = i + 1;
        rc = read_example(s, list->item[i], &p->example[i], e);
    }
    return rc;
}

static int chain_apply(const struct chain *c, struct persona *p, struct settings *s, struct err *e) {
    int rc = 0;
    for (size_t i = c->n; i-- > 0 && !rc;) /* what is extended first, so that what extends it wins */
        rc = settings_apply_yaml(s, c->source[i].doc, c->source[i].path, ORIGIN_PERSONA, own_keys, e);
    if (!rc) rc = set_filled_in(c, "system", SET_SYSTEM, p->name, s, e);
    if (!rc) rc = set_filled_in(c, "greeting", SET_GREETING, p->name, s, e);
    if (!rc) rc = read_examples(chain_find(c, "examples"), p, e);
    return rc;
}

int persona_open(struct persona **out, const char *name, struct settings *s, struct err *e) {
    *out = NULL;
    struct chain c = {.n = 0};
    struct settings *trial = NULL;
    struct persona *p = calloc(1, sizeof *p);
    const char *called;
    int rc = p ? chain_open(&c, name, e) : no_memory(e);
    if (rc) goto out;
    rc = get_text(&c.source[0], "name", &called, e);
    if (rc) goto out;
    p->id = strdup(c.source[0].id);
    p->name = strdup(called ? called : c.source[0].name);
    p->from = strdup(c.source[0].shipped ? "shipped" : c.source[0].path);
    rc = p->id && p->name && p->from ? settings_copy(&trial, s, e) : no_memory(e);
    if (rc) goto out;
    settings_forget(trial, ORIGIN_PERSONA);
    rc = chain_apply(&c, p, trial, e);
    if (rc) goto out;
    settings_take(s, trial);
    trial = NULL;
    *out = p;
    p = NULL;
out:
    settings_close(trial);
    persona_close(p);
    chain_free(&c);
    return rc;
}

void persona_close(struct persona *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n_examples; i++) {
        free(p->example[i].user);
        free(p->example[i].assistant);
    }
    free(p->example);
    free(p->id);
    free(p->name);
    free(p->from);
    free(p);
}

/* ---- the list ---- */

static int fill_entry(struct persona_entry *x, const char *name, struct err *e) {
    struct settings *s;
    struct persona *p;
    struct err wrong = {0};
    int rc = settings_open(&s, e);
    if (rc) return rc;
    rc = persona_open(&p, name, s, &wrong);
    char line[200];
    const char *description = rc ? NULL : settings_text(s, SET_DESCRIPTION);
    x->id = strdup(name);
    x->description = strdup(utf8_show(description ? description : "", line, sizeof line));
    x->from = strdup(p ? p->from : "");
    if (rc) x->error = strdup(wrong.text);
    persona_close(p);
    settings_close(s);
    return rc != ERR_MEMORY && x->id && x->description && x->from && (!rc || x->error) ? 0 : no_memory(e);
}

int persona_list(struct persona_entry **out, size_t *n, struct err *e) {
    char **names;
    size_t count;
    *out = NULL;
    *n = 0;
    int rc = persona_source_names(&names, &count, e);
    if (rc) return rc;
    struct persona_entry *list = calloc(count + 1, sizeof *list);
    if (!list) rc = no_memory(e);
    for (size_t i = 0; i < count && !rc; i++) rc = fill_entry(&list[i], names[i], e);
    persona_source_names_free(names);
    if (rc) {
        persona_list_free(list, count);
        return rc;
    }
    *out = list;
    *n = count;
    return 0;
}

void persona_list_free(struct persona_entry *list, size_t n) {
    for (size_t i = 0; list && i < n; i++) {
        free(list[i].id);
        free(list[i].description);
        free(list[i].from);
        free(list[i].error);
    }
    free(list);
}
