/* paint: see paint.h. */
#include "ui/paint.h"

#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "config/utf8.h"
#include "ui/wrap.h"

static struct {
    attr_t attributes;
    short pair;
} styles[THEME_STYLES];

static enum theme_depth depth(void) {
    if (!has_colors()) return THEME_NO_COLOR;
    if (COLORS > 256 && tigetflag("RGB") > 0) return THEME_TRUE;
    return COLORS >= 256 ? THEME_256 : THEME_8;
}

static attr_t attributes_of(unsigned a) {
    return (a & THEME_BOLD ? A_BOLD : 0) | (a & THEME_DIM ? A_DIM : 0) | (a & THEME_REVERSE ? A_REVERSE : 0) |
           (a & THEME_UNDERLINE ? A_UNDERLINE : 0) | (a & THEME_ITALIC ? A_ITALIC : 0);
}

void paint_theme(const struct theme *t) {
    enum theme_depth d = t->colors ? depth() : THEME_NO_COLOR;
    for (int i = 0; i < THEME_STYLES; i++) {
        const struct theme_look *look = &t->look[i];
        int fg = theme_number(&look->fg, d), bg = theme_number(&look->bg, d);
        styles[i].attributes = attributes_of(look->attributes);
        styles[i].pair = 0;
        if (fg < 0 && bg < 0) continue;
        if (init_extended_pair(i + 1, fg, bg) == OK) styles[i].pair = (short)(i + 1);
    }
}

static void set_style(enum theme_style s) { attr_set(styles[s].attributes, styles[s].pair, NULL); }

void paint_blank(int y, int x, enum theme_style s) {
    bkgdset(' ' | styles[s].attributes | (chtype)COLOR_PAIR(styles[s].pair));
    move(y, x);
    clrtoeol();
    bkgdset(' ');
}

/* One grapheme as the wide characters of a cell: all of them where curses and the C library agree on its width, else the
 * first, else a mark that something is there. */
static void cell_characters(const char *g, size_t n, int width, wchar_t out[CCHARW_MAX + 1]) {
    size_t count = 0;
    bool whole = true;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t len = utf8_decode(g + at, n - at, &cp);
        if (len == 0) break;
        at += len;
        if (count == CCHARW_MAX || (count > 0 && wcwidth((wchar_t)cp) != 0)) {
            whole = false;
            break;
        }
        out[count++] = (wchar_t)cp;
    }
    int first = count ? wcwidth(out[0]) : -1;
    if (first == 0 && count < CCHARW_MAX) { /* a mark without a letter */
        wmemmove(out + 1, out, count);
        out[0] = L' ';
        out[++count < CCHARW_MAX ? count : CCHARW_MAX] = 0;
        return;
    }
    if (first < 0 || first > width) out[0] = L'\uFFFD', whole = false;
    out[whole && first == width ? count : 1] = 0;
}

static void put(int y, int x, const char *g, size_t n, int width) {
    wchar_t wide[CCHARW_MAX + 2] = {0};
    cchar_t cell;
    attr_t attributes;
    short pair;
    attr_get(&attributes, &pair, NULL);
    cell_characters(g, n, width, wide);
    if (setcchar(&cell, wide, attributes, pair, NULL) == OK) mvadd_wch(y, x, &cell);
}

int paint_text(int y, int x, int right, enum theme_style s, const char *text, size_t n) {
    int width, from = x;
    set_style(s);
    for (size_t at = 0, len; at < n; at += len) {
        len = wrap_grapheme(text + at, n - at, x - from, &width);
        if (len == 0) break;
        if (width == 0) continue;
        if (x + width > right) break;
        unsigned char c = (unsigned char)text[at];
        if (c == '\t') {
            for (int i = 0; i < width; i++) put(y, x + i, " ", 1, 1);
        } else if (c < 0x20 || c == 0x7f) {
            char shown[2] = {'^', (char)(c ^ 0x40)};
            put(y, x, shown, 1, 1);
            put(y, x + 1, shown + 1, 1, 1);
        } else {
            put(y, x, text + at, len, width);
        }
        x += width;
    }
    attr_set(A_NORMAL, 0, NULL);
    return x;
}
