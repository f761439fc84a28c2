/* settings_value: see settings_value.h. A row of a table a type; numbers are read the same in every locale. */
#include "config/settings_value.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/paths.h"
#include "config/utf8.h"

bool settings_value_word(const char **at, const char **word, size_t *n) {
    const char *p = *at;
    while (p && *p == ' ') p++;
    if (!p || !*p) return false;
    *word = p;
    *n = strcspn(p, " ");
    *at = p + *n;
    return true;
}

/* ---- numbers ---- */

/* strtod with a decimal point whatever the locale, without hexadecimals, infinities and blanks. */
static bool parse_real(const char *text, double *x, const char **end) {
    size_t n = strspn(text, "0123456789.eE+-");
    if (!n || !strpbrk(text, "0123456789") || n >= 64) return false;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return false;
    char *stop;
    *x = strtod_l(text, &stop, c);
    freelocale(c);
    *end = stop;
    return stop != text && (size_t)(stop - text) <= n && isfinite(*x);
}

static bool parse_int(const char *text, int64_t *i) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (!*digits || digits[strspn(digits, "0123456789")]) return false;
    errno = 0;
    *i = strtoll(text, NULL, 10);
    return errno == 0;
}

static const struct {
    const char *name;
    double factor;
} units[] = {
    {"k", 0x1p10},   {"KiB", 0x1p10}, {"M", 0x1p20}, {"MiB", 0x1p20}, {"G", 0x1p30}, {"GiB", 0x1p30}, {"T", 0x1p40},
    {"TiB", 0x1p40}, {"kB", 1e3},     {"MB", 1e6},   {"GB", 1e9},     {"TB", 1e12},  {"B", 1},        {"", 1},
};

bool setting_parse_size(const char *text, int64_t *bytes, bool *unit) {
    double x;
    const char *end;
    /* "1e" of "1eB" is no exponent that anybody means */
    if (!*text || strspn(text, "0123456789.") == 0 || !parse_real(text, &x, &end) || strpbrk(text, "eE")) return false;
    while (*end == ' ') end++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(end, units[i].name)) continue;
        x *= units[i].factor;
        if (x > 0x1p62 || (units[i].factor == 1 && x != floor(x))) return false;
        *bytes = (int64_t)x;
        if (unit) *unit = units[i].name[0] != 0;
        return true;
    }
    return false;
}

static bool in_range(const struct setting *d, double x) {
    return (d->min == 0 && d->max == 0) || (x >= d->min && x <= d->max);
}

/* ---- what is allowed ---- */

static void add_number(struct buf *out, double x) {
    char digits[40];
    snprintf(digits, sizeof digits, "%.16g", x);
    for (char *p = digits; *p; p++)
        if (*p == ',') *p = '.'; /* the locale's decimal point */
    buf_add_text(out, digits);
}

static void add_choices(const struct setting *d, struct buf *out) {
    const char *at = d->choices, *word, *gap = "";
    size_t n;
    while (settings_value_word(&at, &word, &n)) {
        buf_add_text(out, gap);
        if (n == 1 && *word == 'N')
            buf_add_text(out, "a whole number");
        else
            buf_add(out, word, n);
        if (d->type == SETTING_FORM && memchr(word, ':', n)) buf_add_text(out, " (SIZE above 0)");
        gap = ", ";
    }
}

static void add_range(const struct setting *d, const char *what, struct buf *out) {
    buf_add_text(out, what);
    if (d->min == 0 && d->max == 0) return;
    buf_add_text(out, " from ");
    add_number(out, d->min);
    buf_add_text(out, " to ");
    add_number(out, d->max);
}

void settings_value_allowed(const struct setting *d, struct buf *out) {
    switch (d->type) {
    case SETTING_FLAG:
    case SETTING_BOOL: buf_add_text(out, "true or false (also on, off, yes, no)"); break;
    case SETTING_INT:
        add_choices(d, out);
        add_range(d, d->choices ? ", or a whole number" : "a whole number", out);
        break;
    case SETTING_REAL: add_range(d, "a number", out); break;
    case SETTING_SIZE:
        buf_add_text(out, "a size as 64k, 512MiB or 1GiB");
        if (d->min > 0) buf_printf(out, " (%.0fB or more)", d->min);
        buf_add_text(out, ", or auto");
        break;
    case SETTING_TEXT: buf_add_text(out, "a text"); break;
    case SETTING_PATH: buf_add_text(out, "a path"); break;
    case SETTING_LIST: buf_add_text(out, "a text or a list of texts"); break;
    case SETTING_CHOICE:
    case SETTING_FORM: add_choices(d, out); break;
    case SETTING_OPTIONAL:
        buf_add_text(out, "no value, ");
        add_choices(d, out);
        break;
    }
}

/* ---- one reader a type: 0, ERR_USAGE (the caller says what is allowed), or another code with its message in e ---- */

static int read_flag(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    static const char *const names[] = {"false", "true", "off", "on", "no", "yes", "0", "1"};
    (void)d, (void)e;
    for (int i = 0; i < 8; i++) {
        if (strcasecmp(text, names[i])) continue;
        v->i = i % 2;
        return 0;
    }
    return ERR_USAGE;
}

/* One of the numbers that are allowed outside the range, as a 0 that means something of its own. */
static bool is_exception(const struct setting *d, int64_t i) {
    const char *at = d->choices, *word;
    size_t n;
    while (settings_value_word(&at, &word, &n))
        if (strtoll(word, NULL, 10) == i) return true;
    return false;
}

static int read_int(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    (void)e;
    return parse_int(text, &v->i) && (in_range(d, (double)v->i) || is_exception(d, v->i)) ? 0 : ERR_USAGE;
}

static int read_real(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    const char *end;
    (void)e;
    return parse_real(text, &v->d, &end) && !*end && in_range(d, v->d) ? 0 : ERR_USAGE;
}

static int read_size(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    (void)e;
    if (!strcasecmp(text, "auto")) return 0;
    return setting_parse_size(text, &v->i, NULL) && in_range(d, (double)v->i) ? 0 : ERR_USAGE;
}

static int read_text(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    (void)v, (void)d, (void)text, (void)e;
    return 0;
}

static int read_path(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    (void)d;
    if (!*text) return ERR_USAGE;
    if (*text != '~') return 0;
    struct buf b = {0};
    int rc = paths_expand(text, &b, e);
    if (!rc && !(v->use = buf_take(&b))) rc = err_set(e, ERR_MEMORY, "no memory for a setting");
    buf_free(&b);
    return rc;
}

/* How many bytes of text the choice word[0..n) itself covers: all of them, or in the forms of SETTING_FORM what stands
 * before a number; (size_t)-1: text is not of that form. */
static size_t match_choice(const struct setting *d, const char *word, size_t n, const char *text) {
    size_t len = strlen(text);
    int64_t number;
    const char *colon = memchr(word, ':', n);
    if (d->type == SETTING_FORM && n == 1 && *word == 'N')
        return parse_int(text, &number) && in_range(d, (double)number) ? 0 : (size_t)-1;
    size_t head = d->type == SETTING_FORM && colon ? (size_t)(colon - word) + 1 : n;
    if (len < head || strncasecmp(text, word, head)) return (size_t)-1;
    if (head < n) return setting_parse_size(text + head, &number, NULL) && number > 0 ? head : (size_t)-1;
    return len == n ? n : (size_t)-1;
}

static int read_choice(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    const char *at = d->choices, *word;
    size_t n;
    for (int64_t index = 0; settings_value_word(&at, &word, &n); index++) {
        size_t head = match_choice(d, word, n, text);
        if (head == (size_t)-1) continue;
        struct buf spelt = {0};
        buf_add(&spelt, word, head);
        buf_add_text(&spelt, text + head);
        v->i = index;
        v->use = buf_take(&spelt);
        return v->use ? 0 : err_set(e, ERR_MEMORY, "no memory for a setting");
    }
    return ERR_USAGE;
}

static int read_optional(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    return *text ? read_choice(v, d, text, e) : 0;
}

static int read_item(struct settings_value *v, const struct setting *d, const char *text, struct err *e) {
    (void)d;
    char **item = *text ? realloc(v->item, (v->n + 1) * sizeof *item) : NULL;
    if (!*text) return ERR_USAGE; /* an empty stop string would stop everything, an empty folder names none */
    if (!item) return err_set(e, ERR_MEMORY, "no memory for a setting");
    v->item = item;
    if (!(item[v->n] = strdup(text))) return err_set(e, ERR_MEMORY, "no memory for a setting");
    v->n++;
    return 0;
}

static int (*const readers[])(struct settings_value *, const struct setting *, const char *, struct err *) = {
    [SETTING_FLAG] = read_flag,   [SETTING_BOOL] = read_flag,         [SETTING_INT] = read_int,
    [SETTING_REAL] = read_real,   [SETTING_SIZE] = read_size,         [SETTING_TEXT] = read_text,
    [SETTING_PATH] = read_path,   [SETTING_CHOICE] = read_choice,     [SETTING_LIST] = read_item,
    [SETTING_FORM] = read_choice, [SETTING_OPTIONAL] = read_optional,
};

/* The choice that was probably meant, or NULL; malloc'd words live in out. */
static const char *nearest_choice(const struct setting *d, const char *text, char out[64]) {
    const char *at = d->choices, *word, *best;
    char copy[16][64];
    const char *names[16];
    size_t n, count = 0;
    while (count < 16 && settings_value_word(&at, &word, &n)) {
        snprintf(copy[count], sizeof copy[count], "%.*s", (int)n, word);
        names[count] = copy[count];
        count++;
    }
    best = utf8_nearest(text, names, count);
    return best ? strcpy(out, best) : NULL;
}

static int refuse(const struct setting *d, const char *text, const char *place, struct err *e) {
    char shown[64], near_name[64];
    const char *meant = nearest_choice(d, text, near_name);
    struct buf allowed = {0};
    settings_value_allowed(d, &allowed);
    utf8_show(text, shown, sizeof shown);
    int rc = err_set(e, ERR_USAGE, "%s: %s%s%s cannot be used%s%s; allowed: %s", place, *text ? "'" : "",
                     *text ? shown : "an empty text", *text ? "'" : "", meant ? ", nearest: " : "", meant ? meant : "",
                     buf_text(&allowed));
    buf_free(&allowed);
    return rc;
}

int settings_value_parse(struct settings_value *v, const struct setting *d, const char *text, const char *place,
                         struct err *e) {
    int rc = readers[d->type](v, d, text, e);
    if (rc == ERR_USAGE) return refuse(d, text, place, e);
    if (rc) {
        err_prefix(e, "%s", place);
        return rc;
    }
    if (d->type != SETTING_LIST && !(v->text = strdup(text)))
        return err_set(e, ERR_MEMORY, "%s: no memory for a setting", place);
    return 0;
}

int settings_value_copy(struct settings_value *v, const struct settings_value *from) {
    *v = (struct settings_value){.i = from->i, .d = from->d};
    bool bad = (from->text && !(v->text = strdup(from->text))) || (from->use && !(v->use = strdup(from->use))) ||
               (from->where && !(v->where = strdup(from->where))) ||
               (from->n && !(v->item = calloc(from->n, sizeof *v->item)));
    for (; !bad && v->n < from->n; v->n++) bad = !(v->item[v->n] = strdup(from->item[v->n]));
    if (bad) settings_value_free(v);
    return bad ? ERR_MEMORY : 0;
}

void settings_value_free(struct settings_value *v) {
    for (size_t i = 0; i < v->n; i++) free(v->item[i]);
    free(v->item);
    free(v->text);
    free(v->use);
    free(v->where);
    *v = (struct settings_value){0};
}
