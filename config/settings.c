/* settings: see settings.h. Here: the table, and values by origin. Text to values: settings_value.c; flags and help:
 * settings_args.c; documents: settings_yaml.c.
 *
 * Every origin keeps its own value of a setting; the strongest one that is there counts. So nothing is lost when a
 * persona is left. */
#include "config/settings.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/settings_value.h"
#include "config/utf8.h"

static const struct setting table[] = {
#define SETTING(...) {__VA_ARGS__},
#include "config/settings_table.h"
#undef SETTING
};

#define N_ORIGINS (ORIGIN_COMMAND + 1)

struct settings {
    struct settings_value *value[SETTING_COUNT][N_ORIGINS];
};

const struct setting *setting_get(enum setting_id id) {
    assert((unsigned)id < SETTING_COUNT);
    return &table[id];
}

/* Keys are the same with - for _, as flags have it. */
static bool same_key(const char *a, const char *b) {
    for (; *a || *b; a++, b++)
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b)) return false;
    return true;
}

const struct setting *setting_find_full_key(const char *key) {
    for (int id = 0; id < SETTING_COUNT; id++)
        if (table[id].key && !strcmp(key, table[id].key)) return &table[id];
    return NULL;
}

const struct setting *setting_find_key(const char *key) {
    const struct setting *found = NULL;
    for (int id = 0; id < SETTING_COUNT; id++)
        if (table[id].key && same_key(key, table[id].key)) return &table[id];
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *dot = table[id].key ? strrchr(table[id].key, '.') : NULL;
        if (!dot || !same_key(key, dot + 1)) continue;
        if (found) return NULL;
        found = &table[id];
    }
    return found;
}

const struct setting *setting_find_flag(const char *flag) {
    size_t len = strlen(flag), n;
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *at = table[id].flags, *word;
        while (settings_value_word(&at, &word, &n))
            if (n == len && !memcmp(word, flag, n)) return &table[id];
    }
    return NULL;
}

const struct setting *setting_find_name(const char *name) {
    const struct setting *found = setting_find_key(name);
    for (int id = 0; id < SETTING_COUNT && !found; id++) {
        const char *at = table[id].flags, *word;
        char flag[64];
        size_t n;
        while (!found && settings_value_word(&at, &word, &n)) {
            size_t dashes = strspn(word, "-");
            snprintf(flag, sizeof flag, "%.*s", (int)(n - dashes), word + dashes);
            if (same_key(name + strspn(name, "-"), flag)) found = &table[id];
        }
    }
    return found;
}

/* ---- values ---- */

static int no_memory(struct err *e) {
    return err_set(e, ERR_MEMORY, "no memory for the settings");
}

static void drop(struct settings *s, enum setting_id id, enum setting_origin origin) {
    if (!s->value[id][origin]) return;
    settings_value_free(s->value[id][origin]);
    free(s->value[id][origin]);
    s->value[id][origin] = NULL;
}

int settings_open(struct settings **out, struct err *e) {
    *out = NULL;
    struct settings *s = calloc(1, sizeof *s);
    if (!s) return no_memory(e);
    for (int id = 0; id < SETTING_COUNT; id++) {
        if (!table[id].fallback) continue;
        int rc = settings_set(s, (enum setting_id)id, table[id].fallback, ORIGIN_DEFAULT, "default", e);
        if (!rc) continue;
        settings_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

int settings_copy(struct settings **out, const struct settings *from, struct err *e) {
    *out = NULL;
    struct settings *s = calloc(1, sizeof *s);
    if (!s) return no_memory(e);
    for (int id = 0; id < SETTING_COUNT; id++) {
        for (int o = 0; o < N_ORIGINS; o++) {
            if (!from->value[id][o]) continue;
            s->value[id][o] = calloc(1, sizeof *s->value[id][o]);
            if (s->value[id][o] && !settings_value_copy(s->value[id][o], from->value[id][o])) continue;
            settings_close(s);
            return no_memory(e);
        }
    }
    *out = s;
    return 0;
}

void settings_close(struct settings *s) {
    if (!s) return;
    for (int id = 0; id < SETTING_COUNT; id++)
        for (int o = 0; o < N_ORIGINS; o++) drop(s, (enum setting_id)id, (enum setting_origin)o);
    free(s);
}

void settings_take(struct settings *s, struct settings *from) {
    struct settings old = *s;
    *s = *from;
    *from = old;
    settings_close(from);
}

int settings_set(struct settings *s, enum setting_id id, const char *text, enum setting_origin origin,
                 const char *where, struct err *e) {
    const struct setting *d = setting_get(id);
    struct settings_value *old = s->value[id][origin];
    bool append = d->type == SETTING_LIST && old;
    struct settings_value *v = append ? old : calloc(1, sizeof *v);
    struct buf place = {0};
    int rc = 0;
    if (!v || buf_printf(&place, "%s%s", origin == ORIGIN_FLAG ? "flag " : "", where)) rc = no_memory(e);
    if (!rc) rc = settings_value_parse(v, d, text, where, e);
    if (!rc) {
        free(v->where);
        v->where = buf_take(&place);
        if (!append) drop(s, id, origin);
        s->value[id][origin] = v;
    } else if (v && !append) {
        settings_value_free(v);
        free(v);
    }
    buf_free(&place);
    return rc;
}

void settings_unset(struct settings *s, enum setting_id id, enum setting_origin origin) {
    assert(origin != ORIGIN_DEFAULT);
    drop(s, id, origin);
}

void settings_forget(struct settings *s, enum setting_origin origin) {
    for (int id = 0; id < SETTING_COUNT; id++) settings_unset(s, (enum setting_id)id, origin);
}

/* The value that counts; *origin (may be NULL) says whose. NULL: unset. */
static const struct settings_value *strongest(const struct settings *s, enum setting_id id,
                                              enum setting_origin *origin) {
    assert((unsigned)id < SETTING_COUNT);
    int o = ORIGIN_COMMAND;
    while (o > ORIGIN_DEFAULT && !s->value[id][o]) o--;
    if (origin) *origin = (enum setting_origin)o;
    return s->value[id][o];
}

enum setting_origin settings_origin(const struct settings *s, enum setting_id id) {
    enum setting_origin origin;
    strongest(s, id, &origin);
    return origin;
}

bool settings_is_set(const struct settings *s, enum setting_id id) {
    return settings_origin(s, id) != ORIGIN_DEFAULT;
}

const char *settings_where(const struct settings *s, enum setting_id id) {
    const struct settings_value *v = strongest(s, id, NULL);
    return v ? v->where : "default";
}

bool settings_bool(const struct settings *s, enum setting_id id) {
    const struct settings_value *v = strongest(s, id, NULL);
    assert(table[id].type == SETTING_FLAG || table[id].type == SETTING_BOOL);
    return v && v->i;
}

int64_t settings_int(const struct settings *s, enum setting_id id) {
    const struct settings_value *v = strongest(s, id, NULL);
    assert(table[id].type == SETTING_INT || table[id].type == SETTING_SIZE || table[id].type == SETTING_CHOICE);
    return v ? v->i : 0;
}

double settings_real(const struct settings *s, enum setting_id id) {
    const struct settings_value *v = strongest(s, id, NULL);
    assert(table[id].type == SETTING_REAL);
    return v ? v->d : 0;
}

const char *settings_text(const struct settings *s, enum setting_id id) {
    const struct settings_value *v = strongest(s, id, NULL);
    assert(table[id].type != SETTING_LIST);
    return !v ? NULL : v->use ? v->use : v->text;
}

size_t settings_list(const struct settings *s, enum setting_id id, const char *const **items) {
    const struct settings_value *v = strongest(s, id, NULL);
    assert(table[id].type == SETTING_LIST);
    *items = v ? (const char *const *)v->item : NULL;
    return v ? v->n : 0;
}

/* A text in double quotes, as YAML and JSON both read it. */
static void add_quoted(const char *text, struct buf *out) {
    buf_add_char(out, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            buf_add_text(out, "\\n");
        else if (*p == '\t')
            buf_add_text(out, "\\t");
        else if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if ((unsigned char)*p < ' ' || *p == 127)
            buf_printf(out, "\\u%04x", (unsigned)(unsigned char)*p);
        else
            buf_add_char(out, *p);
    }
    buf_add_char(out, '"');
}

void settings_print(const struct settings *s, enum setting_id id, struct buf *out) {
    const struct settings_value *v = strongest(s, id, NULL);
    if (!v) return;
    if (table[id].type != SETTING_LIST) {
        buf_add_text(out, v->text);
        return;
    }
    buf_add_char(out, '[');
    for (size_t i = 0; i < v->n; i++) {
        if (i) buf_add_text(out, ", ");
        add_quoted(v->item[i], out);
    }
    buf_add_char(out, ']');
}
