/* support_messages: see support_messages.h. */
#include "tests/support_messages.h"

#include <ctype.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "config/paths.h"

/* ---- reading sources ----------------------------------------------------------------------------------------- */

static const char *skip_comment(const char *s) {
    if (s[0] == '/' && s[1] == '/') return s + strcspn(s, "\n");
    const char *end = strstr(s + 2, "*/");
    return end ? end + 2 : s + strlen(s);
}

static const char *skip_char(const char *s) {
    for (s++; *s && *s != '\''; s++) s += *s == '\\' && s[1];
    return s + (*s != 0);
}

/* The literal at s, whose text is appended. Returns what follows its closing quote. */
static const char *take_literal(const char *s, struct buf *text) {
    for (s++; *s && *s != '"'; s++) {
        if (*s != '\\') {
            buf_add_char(text, *s);
            continue;
        }
        s++;
        buf_add_char(text, *s == '"' || *s == '\\' ? *s : ' '); /* line ends and the like are blanks */
    }
    return s + (*s != 0);
}

/* Blanks and PRIu64 and the like, between two literals that are one. */
static const char *skip_between(const char *s) {
    for (;;) {
        s += strspn(s, " \t\n");
        if (strncmp(s, "PRI", 3) != 0) return s;
        while (isalnum((unsigned char)*s)) s++;
    }
}

static bool stands_in_error(const char *from, const char *at) {
    while (at > from && *at != ';' && *at != '{' && *at != '}') {
        at--;
        if (!strncmp(at, "err_set(", 8) || !strncmp(at, "err_prefix(", 11)) return true;
    }
    return false;
}

static void add_message(struct messages *all, struct buf *text, const char *file, int line, bool is_error) {
    struct message *m = realloc(all->m, (all->n + 1) * sizeof *m);
    assert_non_null(m);
    all->m = m;
    m[all->n] = (struct message){.text = buf_take(text), .line = line, .is_error = is_error};
    assert_non_null(m[all->n].text);
    snprintf(m[all->n++].file, sizeof m->file, "%s", file);
}

static void read_source(struct messages *all, const char *file) {
    struct buf source = {0};
    struct err e = {0};
    if (paths_read(file, 1 << 20, &source, &e)) fail_msg("%s", e.text);
    const char *start = buf_text(&source);
    int line = 1;
    for (const char *s = start, *to; *s; s = to) {
        to = s + 1;
        if (s[0] == '/' && (s[1] == '/' || s[1] == '*'))
            to = skip_comment(s);
        else if (*s == '\'')
            to = skip_char(s);
        else if (!strncmp(s, "#include", 8))
            to = s + strcspn(s, "\n");
        else if (*s == '"') {
            struct buf text = {0};
            to = s;
            while (*to == '"') to = skip_between(take_literal(to, &text));
            add_message(all, &text, file, line, stands_in_error(start, s));
        }
        for (const char *c = s; c < to; c++) line += *c == '\n';
    }
    buf_free(&source);
}

void messages_read(struct messages *out) {
    static const char *const sources[] = {"app/*.c", "config/*.c", "kv/*.c", "model/*.c", "ui/*.c"};
    *out = (struct messages){0};
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++) {
        glob_t found;
        assert_int_equal(glob(sources[k], 0, NULL, &found), 0);
        for (size_t i = 0; i < found.gl_pathc; i++) read_source(out, found.gl_pathv[i]);
        globfree(&found);
    }
}

void messages_free(struct messages *all) {
    for (size_t i = 0; i < all->n; i++) free(all->m[i].text);
    free(all->m);
    *all = (struct messages){0};
}

/* ---- looking for a text -------------------------------------------------------------------------------------- */

const char *messages_skip_conversion(const char *s) {
    s++;
    s += strspn(s, "-+ #0123456789.*lzhjt");
    return s + (*s != 0);
}

/* Whether text begins what format prints from here on, and ends anywhere. */
static bool begins(const char *format, const char *text) {
    for (;; format++) {
        while (*text == '"') text++;
        while (*format == '"') format++;
        if (!*text) return true;
        if (format[0] == '%' && format[1] != '%') {
            const char *rest = messages_skip_conversion(format);
            for (; *text && *text != ' '; text++)
                if (begins(rest, text)) return true;
            return !*text || begins(rest, text);
        }
        if (*format == '%') format++;
        if (*format != *text || !*format) return false;
        text++;
    }
}

bool messages_say(const struct messages *all, const char *text) {
    for (size_t i = 0; i < all->n; i++)
        for (const char *s = all->m[i].text; *s; s++)
            if (*s == *text && begins(s, text)) return true;
    return false;
}
