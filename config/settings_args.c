/* settings_args: the command line's side of settings.h: flags and --help. */
#include <stdio.h>
#include <string.h>

#include "config/settings.h"
#include "config/settings_value.h"
#include "config/utf8.h"

#define MAX_SPELLINGS 256

/* Every flag's every spelling, copied into store; returns how many. */
static size_t all_flags(const char *names[MAX_SPELLINGS], struct buf *store) {
    size_t count = 0, n;
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *at = setting_get((enum setting_id)id)->flags, *word;
        while (count < MAX_SPELLINGS && settings_value_word(&at, &word, &n)) {
            buf_add(store, word, n);
            buf_add_char(store, 0);
            count++;
        }
    }
    const char *p = buf_text(store);
    for (size_t i = 0; i < count && !store->failed; i++, p += strlen(p) + 1) names[i] = p;
    return store->failed ? 0 : count;
}

const char *setting_nearest_name(const char *name, char *out, size_t size) {
    const char *names[MAX_SPELLINGS + SETTING_COUNT];
    struct buf store = {0};
    size_t n = all_flags(names, &store);
    bool full = strchr(name, '.') != NULL;
    for (size_t i = 0; i < n; i++) names[i] += strspn(names[i], "-");
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *key = setting_get((enum setting_id)id)->key, *dot = key ? strrchr(key, '.') : NULL;
        if (key) names[n++] = dot && !full ? dot + 1 : key;
    }
    const char *near = utf8_nearest(name + strspn(name, "-"), names, n);
    if (near) snprintf(out, size, "%s", near);
    buf_free(&store);
    return near ? out : NULL;
}

static int fail_unknown(const char *flag, struct err *e) {
    const char *names[MAX_SPELLINGS];
    char shown[64];
    struct buf store = {0};
    const char *nearest = utf8_nearest(flag, names, all_flags(names, &store));
    utf8_show(flag, shown, sizeof shown);
    int rc = err_set(e, ERR_USAGE, "unknown flag %s%s%s; see --help, and write -- before a text that begins with -",
                     shown, nearest ? ", nearest: " : "", nearest ? nearest : "");
    buf_free(&store);
    return rc;
}

/* The flag argv[*i], and where it needs one the value after it: *i is left at the last word used. */
static int parse_flag(struct settings *s, int argc, char **argv, int *i, struct err *e) {
    char flag[64];
    const char *word = argv[*i], *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL;
    size_t n = equals ? (size_t)(equals - word) : strlen(word);
    if (n >= sizeof flag) return fail_unknown(word, e);
    memcpy(flag, word, n);
    flag[n] = 0;
    const struct setting *d = setting_find_flag(flag);
    if (!d) return fail_unknown(flag, e);
    if (!value && d->type == SETTING_FLAG) value = "true";
    if (!value && d->type == SETTING_OPTIONAL) value = "";
    if (!value) {
        if (*i + 1 >= argc) return err_set(e, ERR_USAGE, "%s needs a value: %s %s", flag, flag, d->value_name);
        value = argv[++*i];
        if (setting_find_flag(value))
            return err_set(e, ERR_USAGE,
                           "%s needs a value: %s %s; the flag %s follows instead (if that is the value: %s=%s)", flag,
                           flag, d->value_name, value, flag, value);
    }
    return settings_set(s, d->id, value, ORIGIN_FLAG, flag, e);
}

int settings_parse_args(struct settings *s, int argc, char **argv, const char **words, size_t *n_words, struct err *e) {
    *n_words = 0;
    bool flags = true;
    for (int i = 1; i < argc; i++) {
        if (flags && !strcmp(argv[i], "--")) {
            flags = false;
        } else if (flags && argv[i][0] == '-' && argv[i][1]) {
            int rc = parse_flag(s, argc, argv, &i, e);
            if (rc) return rc;
        } else {
            words[(*n_words)++] = argv[i];
        }
    }
    return 0;
}

/* ---- help ---- */

#define HELP_INDENT 30

/* "  -c, --ctx-size CELLS" */
static void add_spellings(const struct setting *d, struct buf *out) {
    const char *at = d->flags, *word, *gap = "  ";
    size_t n;
    while (settings_value_word(&at, &word, &n)) {
        buf_add_text(out, gap);
        buf_add(out, word, n);
        gap = ", ";
    }
    if (d->type == SETTING_OPTIONAL)
        buf_printf(out, "[=%s]", d->value_name);
    else if (d->value_name)
        buf_printf(out, " %s", d->value_name);
}

/* What the help line says, with the choices and the default. */
static void add_meaning(const struct setting *d, struct buf *out) {
    buf_add_text(out, d->help);
    if (d->type == SETTING_CHOICE || d->type == SETTING_FORM) {
        buf_add_text(out, ": ");
        settings_value_allowed(d, out);
    }
    if (d->fallback && d->type != SETTING_FLAG) buf_printf(out, " (default: %s)", d->fallback);
}

/* Words of text from column on, wrapped before width, further lines indented. */
static void add_wrapped(const char *text, size_t column, size_t indent, size_t width, struct buf *out) {
    const char *word;
    size_t n;
    bool first = true;
    while (settings_value_word(&text, &word, &n)) {
        size_t columns = utf8_width(word, n);
        if (!first && column + 1 + columns > width) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            buf_add_char(out, ' ');
            column++;
        }
        buf_add(out, word, n);
        column += columns;
        first = false;
    }
    buf_add_char(out, '\n');
}

void settings_help(struct buf *out, int width) {
    size_t columns = width < 40 ? 40 : (size_t)width;
    size_t indent = columns < 70 ? 8 : HELP_INDENT;
    const char *group = "";
    struct buf meaning = {0};
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *d = setting_get((enum setting_id)id);
        if (!*d->flags) continue;
        if (strcmp(group, d->group)) buf_printf(out, "%s%s\n", *group ? "\n" : "", d->group);
        group = d->group;
        size_t line = out->len;
        add_spellings(d, out);
        size_t used = out->len - line;
        if (used + 2 > indent) {
            buf_add_char(out, '\n');
            used = 0;
        }
        buf_printf(out, "%*s", (int)(indent - used), "");
        buf_clear(&meaning);
        add_meaning(d, &meaning);
        add_wrapped(buf_text(&meaning), indent, indent, columns, out);
    }
    if (meaning.failed) out->failed = true;
    buf_free(&meaning);
}
