/* persona_source: see persona_source.h. */
#include "config/persona_source.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/paths.h"
#include "config/persona.h"
#include "config/utf8.h"

#define MAX_BYTES (1u << 20)

static int no_memory(struct err *e) {
    return err_set(e, ERR_MEMORY, "no memory for the personas");
}

/* ---- names ---- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && !strcmp(text + n - m, end);
}

static bool is_path(const char *name) {
    return strchr(name, '/') || ends_with(name, ".yaml") || ends_with(name, ".yml");
}

static const struct persona_file *find_shipped(const char *name) {
    for (const struct persona_file *f = persona_files; f->name; f++)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}

static int add_name(char ***names, size_t *n, const char *name, size_t len) {
    for (size_t i = 0; i < *n; i++)
        if (strlen((*names)[i]) == len && !memcmp((*names)[i], name, len)) return 0;
    char **grown = realloc(*names, (*n + 2) * sizeof *grown);
    if (!grown) return ERR_MEMORY;
    *names = grown;
    grown[*n + 1] = NULL;
    grown[*n] = strndup(name, len);
    if (!grown[*n]) return ERR_MEMORY;
    (*n)++;
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The user's folder may be absent or unreadable: then there are none. */
static int add_users(char ***names, size_t *n) {
    struct buf folder = {0};
    DIR *d = paths_home(PATH_CONFIG, "personas", &folder, NULL) ? NULL : opendir(folder.data);
    int rc = 0;
    for (struct dirent *f; d && !rc && (f = readdir(d));)
        if (f->d_name[0] != '.' && ends_with(f->d_name, ".yaml"))
            rc = add_name(names, n, f->d_name, strlen(f->d_name) - 5);
    if (d) closedir(d);
    buf_free(&folder);
    if (*n) qsort(*names, *n, sizeof **names, by_name);
    return rc;
}

int persona_source_names(char ***out, size_t *n, struct err *e) {
    *n = 0;
    *out = calloc(1, sizeof **out);
    int rc = *out ? add_users(out, n) : ERR_MEMORY;
    for (const struct persona_file *f = persona_files; f->name && !rc; f++)
        rc = add_name(out, n, f->name, strlen(f->name));
    if (!rc) return 0;
    persona_source_names_free(*out);
    *out = NULL;
    *n = 0;
    return no_memory(e);
}

void persona_source_names_free(char **names) {
    for (char **p = names; p && *p; p++) free(*p);
    free(names);
}

static int fail_unknown(const char *name, struct err *e) {
    char **names, shown[64];
    size_t n;
    int rc = persona_source_names(&names, &n, e);
    if (rc) return rc;
    const char *near = utf8_nearest(name, (const char *const *)names, n);
    utf8_show(name, shown, sizeof shown);
    struct buf all = {0};
    for (size_t i = 0; i < n; i++) buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    rc = err_set(e, ERR_FILE, "there is no persona %s%s%s; there are: %s", shown, near ? ", nearest: " : "", near ? near : "", buf_text(&all));
    buf_free(&all);
    persona_source_names_free(names);
    return rc;
}

/* ---- finding and reading ---- */

/* A path as written in from's file, or on the command line. */
static int resolve(const char *written, const struct persona_source *from, struct buf *out, struct err *e) {
    struct buf plain = {0};
    int rc = paths_expand(written, &plain, e);
    const char *slash = from && !from->shipped ? strrchr(from->path, '/') : NULL;
    if (!rc && slash && plain.data[0] != '/') buf_add(out, from->path, (size_t)(slash - from->path) + 1);
    if (!rc) buf_add_text(out, buf_text(&plain));
    buf_free(&plain);
    return !rc && out->failed ? no_memory(e) : rc;
}

static int set_shipped(struct persona_source *s, const struct persona_file *f, struct err *e) {
    struct buf path = {0};
    s->shipped = true;
    s->id = strdup(f->name);
    s->name = strdup(f->name);
    buf_printf(&path, "personas/%s.yaml", f->name);
    s->path = buf_take(&path);
    buf_add_text(&s->text, f->text);
    return s->id && s->name && s->path && !s->text.failed ? 0 : no_memory(e);
}

static int set_file(struct persona_source *s, struct buf *path, const char *id, struct err *e) {
    const char *base = strrchr(path->data, '/');
    base = base ? base + 1 : path->data;
    size_t n = strlen(base);
    if (ends_with(base, ".yaml"))
        n -= 5;
    else if (ends_with(base, ".yml"))
        n -= 4;
    s->name = strndup(base, n);
    int rc = paths_read(path->data, MAX_BYTES, &s->text, e);
    char *whole = rc || id ? NULL : realpath(path->data, NULL);
    s->id = id ? strdup(id) : whole ? whole : strdup(path->data);
    s->path = buf_take(path);
    return rc ? rc : s->id && s->name && s->path ? 0 : no_memory(e);
}

static int find(struct persona_source *s, const char *name, const struct persona_source *from, struct err *e) {
    struct buf path = {0};
    int rc = 0;
    if (is_path(name)) {
        rc = resolve(name, from, &path, e);
        if (!rc) rc = set_file(s, &path, NULL, e);
        buf_free(&path);
        return rc;
    }
    bool itself = from && !from->shipped && !strcmp(from->name, name);
    bool own = false;
    if (*name && !itself) {
        /* without a home folder there are the shipped ones still */
        if (!paths_home(PATH_CONFIG, "personas", &path, NULL)) buf_printf(&path, "/%s.yaml", name);
        own = !path.failed && path.len && paths_is_file(path.data);
    }
    const struct persona_file *shipped = own ? NULL : find_shipped(name);
    if (own)
        rc = set_file(s, &path, name, e);
    else if (shipped)
        rc = set_shipped(s, shipped, e);
    else if (itself)
        rc = err_set(e, ERR_FILE, "%s extends itself, and no shipped persona has that name", name);
    else
        rc = fail_unknown(name, e);
    buf_free(&path);
    return rc;
}

int persona_source_open(struct persona_source *s, const char *name, const struct persona_source *from, struct err *e) {
    *s = (struct persona_source){0};
    int rc = find(s, name, from, e);
    if (!rc) rc = yaml_parse(&s->doc, s->path, buf_text(&s->text), s->text.len, e);
    if (!rc && s->doc->kind != YAML_MAP)
        rc = err_set(e, ERR_FILE, "%s:%d:%d: a persona must be a map: lines of \"key: value\"", s->path, s->doc->line,
                     s->doc->column);
    return rc;
}

void persona_source_free(struct persona_source *s) {
    yaml_node_free(s->doc);
    buf_free(&s->text);
    free(s->id);
    free(s->name);
    free(s->path);
    *s = (struct persona_source){0};
}
