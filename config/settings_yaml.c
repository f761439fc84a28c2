/* settings_yaml: documents (config.yaml, personas) into settings. A document counts as a whole or not at all. */
#include <stdio.h>
#include <string.h>

#include "config/paths.h"
#include "config/settings.h"
#include "config/utf8.h"

/* Keys that users will look for and that no setting stands behind. */
static const char *const not_yet[] = {"engine", "reasoning"};

struct walk {
    struct settings *s;
    const char *path;
    enum setting_origin origin;
    const char *const *extra;
    struct err *e;
};

static int fail(const struct walk *w, const struct yaml_node *at, const char *what) {
    return err_set(w->e, ERR_FILE, "%s:%d:%d: %s", w->path, at->line, at->column, what);
}

static bool is_extra(const struct walk *w, const char *key) {
    for (const char *const *x = w->extra; x && *x; x++)
        if (!strcmp(*x, key)) return true;
    return false;
}

/* ---- unknown keys ---- */

/* Sections are what stands before the dot of a key. */
static bool is_section(const char *name) {
    size_t n = strlen(name);
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *key = setting_get((enum setting_id)id)->key;
        if (key && !strncmp(key, name, n) && key[n] == '.') return true;
    }
    return false;
}

#define MAX_NAMES (SETTING_COUNT * 2 + 16)

static void add_name(const char *names[], size_t *n, const char *name) {
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(names[i], name)) return;
    if (*n < MAX_NAMES) names[(*n)++] = name;
}

/* The names that may stand in a section; "" is the top level, whose sections' own names are kept in heads. */
static size_t section_names(const struct walk *w, const char *section, const char *names[], char heads[][32]) {
    size_t n = 0, prefix = strlen(section);
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *full = setting_get((enum setting_id)id)->key;
        const char *dot = full ? strchr(full, '.') : NULL;
        size_t head = dot ? (size_t)(dot - full) : 0;
        if (*section && dot && head == prefix && !strncmp(full, section, head)) add_name(names, &n, dot + 1);
        if (*section || !full) continue;
        snprintf(heads[id], sizeof heads[id], "%.*s", (int)head, full);
        add_name(names, &n, dot ? heads[id] : full);
    }
    for (const char *const *x = w->extra; !*section && x && *x; x++) add_name(names, &n, *x);
    return n;
}

/* The last parts of the keys of all sections. */
static size_t last_names(const char *names[]) {
    size_t n = 0;
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *full = setting_get((enum setting_id)id)->key, *dot = full ? strchr(full, '.') : NULL;
        if (dot) add_name(names, &n, dot + 1);
    }
    return n;
}

/* Writes the key that was probably meant, as in "sampling.temp"; false where none is near. */
static bool nearest_key(const struct walk *w, const char *section, const char *key, char *out, size_t size) {
    const char *names[MAX_NAMES], *near = NULL;
    char heads[SETTING_COUNT][32];
    const struct setting *same = setting_find_key(key); /* the right key in the wrong section */
    if (!same && (near = utf8_nearest(key, names, section_names(w, section, names, heads))))
        return snprintf(out, size, "%s%s%s", section, *section ? "." : "", near) > 0;
    if (!same && (near = utf8_nearest(key, names, last_names(names)))) same = setting_find_key(near);
    return same && snprintf(out, size, "%s", same->key) > 0;
}

static int fail_unknown(const struct walk *w, const char *section, const struct yaml_node *key) {
    char shown[64], near[96];
    utf8_show(key->text, shown, sizeof shown);
    for (size_t i = 0; !*section && i < sizeof not_yet / sizeof *not_yet; i++)
        if (!strcmp(key->text, not_yet[i]))
            return err_set(w->e, ERR_FILE, "%s:%d:%d: the key %s is not supported yet", w->path, key->line, key->column,
                           shown);
    bool found = nearest_key(w, section, key->text, near, sizeof near);
    return err_set(w->e, ERR_FILE, "%s:%d:%d: unknown key %s%s%s%s%s%s", w->path, key->line, key->column, section,
                   *section ? "." : "", shown, found ? ", nearest: " : "", found ? near : "",
                   strchr(key->text, ':') ? " (a colon needs a blank after it)" : "");
}

/* ---- values ---- */

static int fail_type(const struct walk *w, const struct setting *d, const struct yaml_node *at, const char *found) {
    static const char *const wanted[] = {
        [SETTING_FLAG] = "true or false",
        [SETTING_BOOL] = "true or false",
        [SETTING_INT] = "a whole number",
        [SETTING_REAL] = "a number",
        [SETTING_SIZE] = "a size as 512MiB, or auto",
        [SETTING_TEXT] = "a text",
        [SETTING_PATH] = "a path",
        [SETTING_CHOICE] = "a name",
        [SETTING_LIST] = "a text or a list of texts",
        [SETTING_FORM] = "a name or a number",
        [SETTING_OPTIONAL] = "a text",
    };
    return err_set(w->e, ERR_FILE, "%s:%d:%d: %s must be %s, not %s", w->path, at->line, at->column, d->key,
                   wanted[d->type], found);
}

static bool never_quoted(enum setting_type t) {
    return t == SETTING_FLAG || t == SETTING_BOOL || t == SETTING_INT || t == SETTING_REAL;
}

static int set_scalar(const struct walk *w, const struct setting *d, const struct yaml_node *node) {
    if (node->kind == YAML_MAP) return fail_type(w, d, node, "a map");
    if (node->kind == YAML_LIST) return fail_type(w, d, node, "a list");
    if (!node->quoted && (!*node->text || !strcmp(node->text, "~") || !strcmp(node->text, "null")))
        return fail_type(w, d, node, "nothing (an empty text is \"\")");
    if (node->quoted && never_quoted(d->type)) return fail_type(w, d, node, "a text in quotes");
    struct buf place = {0};
    if (buf_printf(&place, "%s:%d:%d", w->path, node->line, node->column))
        return err_set(w->e, ERR_MEMORY, "%s: no memory to read it", w->path);
    int rc = settings_set(w->s, d->id, node->text, w->origin, place.data, w->e);
    buf_free(&place);
    if (rc != ERR_USAGE) return rc;
    if (w->e) w->e->code = ERR_FILE; /* what the command line calls usage is a fault of the file here */
    return ERR_FILE;
}

static int set_value(const struct walk *w, const struct setting *d, const struct yaml_node *node) {
    if (d->type == SETTING_LIST) settings_unset(w->s, d->id, w->origin);
    if (d->type != SETTING_LIST || node->kind != YAML_LIST) return set_scalar(w, d, node);
    for (size_t i = 0; i < node->n; i++) {
        int rc = set_scalar(w, d, node->item[i]);
        if (rc) return rc;
    }
    return 0;
}

static int walk_map(const struct walk *w, const char *section, const struct yaml_node *map) {
    for (size_t i = 0; i < map->n; i++) {
        const struct yaml_node *key = map->key[i], *item = map->item[i];
        if (!*section && is_extra(w, key->text)) continue;
        struct buf full = {0};
        if (buf_printf(&full, "%s%s%s", section, *section ? "." : "", key->text))
            return err_set(w->e, ERR_MEMORY, "%s: no memory to read it", w->path);
        const struct setting *d = strchr(key->text, '.') ? NULL : setting_find_full_key(full.data);
        buf_free(&full);
        int rc;
        if (d) {
            rc = set_value(w, d, item);
        } else if (!*section && is_section(key->text)) {
            if (item->kind != YAML_MAP) return fail(w, item, "a section is a map, as in {key: value}");
            rc = walk_map(w, key->text, item);
        } else {
            rc = fail_unknown(w, section, key);
        }
        if (rc) return rc;
    }
    return 0;
}

int settings_apply_yaml(struct settings *s, const struct yaml_node *doc, const char *path, enum setting_origin origin,
                        const char *const *extra, struct err *e) {
    struct walk w = {.path = path, .origin = origin, .extra = extra, .e = e};
    if (doc->kind != YAML_MAP) return fail(&w, doc, "the file must be a map: lines of \"key: value\"");
    int rc = settings_copy(&w.s, s, e);
    if (!rc) rc = walk_map(&w, "", doc);
    if (!rc)
        settings_take(s, w.s);
    else
        settings_close(w.s);
    return rc;
}

int settings_apply_config(struct settings *s, struct err *e) {
    struct buf path = {0};
    struct yaml_node *doc = NULL;
    const char *given = settings_text(s, SET_CONFIG);
    int rc = 0;
    bool there = true;
    if (given) {
        if (buf_add_text(&path, given)) rc = err_set(e, ERR_MEMORY, "%s: no memory to read it", given);
    } else {
        /* without a home folder there is no configuration file either */
        there = !paths_home(PATH_CONFIG, "config.yaml", &path, NULL) && paths_exists(path.data);
    }
    if (!rc && there) rc = yaml_read(&doc, path.data, e);
    if (!rc && there) rc = settings_apply_yaml(s, doc, path.data, ORIGIN_CONFIG, NULL, e);
    yaml_node_free(doc);
    buf_free(&path);
    return rc;
}
