/* screen_draw: see screen_draw.h. */
#include "ui/screen_draw.h"

#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "config/utf8.h"
#include "ui/input.h"
#include "ui/paint.h"
#include "ui/wrap.h"

enum { SIGN_COLUMNS = 2, NARROW = 12 /* fewer columns have no room for signs */ };

/* ---- transcript ---- */

static int indent(const struct screen_view *v) { return v->columns >= NARROW ? SIGN_COLUMNS : 0; }

static void draw_rule(const struct screen_view *v, int y) {
    static const char text[] = "above here the model no longer sees";
    int x = paint_text(y, 0, v->columns, THEME_RULE, "── ", strlen("── "));
    x = paint_text(y, x, v->columns, THEME_RULE, text, sizeof text - 1);
    x = paint_text(y, x, v->columns, THEME_RULE, " ", 1);
    while (x < v->columns) x = paint_text(y, x, v->columns, THEME_RULE, "─", strlen("─"));
}

static void draw_row(const struct screen_view *v, int y, const struct transcript_row *r) {
    enum theme_style style = r->left ? THEME_LEFT : (enum theme_style)r->role;
    const char *sign = r->first ? theme_role_sign(r->role) : "";
    int x = indent(v);
    switch (r->kind) {
    case TRANSCRIPT_BLANK: break;
    case TRANSCRIPT_RULE: draw_rule(v, y); break;
    case TRANSCRIPT_TEXT:
        if (x) paint_text(y, 0, x, style, sign, strlen(sign));
        paint_text(y, x + r->indent, v->columns, style, r->text, r->n);
        break;
    case TRANSCRIPT_MARK: paint_text(y, x, v->columns, r->left ? THEME_LEFT : THEME_MARK, r->text, r->n); break;
    }
}

static void draw_transcript(const struct screen_view *v) {
    struct transcript_row row;
    size_t top = transcript_top(v->transcript);
    for (int y = 0; y < v->transcript_rows; y++) {
        paint_blank(y, 0, THEME_ASSISTANT);
        if (transcript_get(v->transcript, top + (size_t)y, &row)) draw_row(v, y, &row);
    }
}

/* ---- completions ---- */

void screen_view_matches(struct screen_view *v, char **match, int n) {
    for (int i = 0; i < v->n_matches; i++) free(v->match[i]);
    free(v->match);
    v->n_matches = 0;
    v->match = n > 0 ? calloc((size_t)n, sizeof *v->match) : NULL;
    while (v->match && v->n_matches < n && (v->match[v->n_matches] = strdup(match[v->n_matches]))) v->n_matches++;
}

/* In columns over the last rows of the transcript, at most half of them; the last row says how many are not shown. */
static void draw_matches(const struct screen_view *v) {
    int wide = 1;
    for (int i = 0; i < v->n_matches; i++) {
        int w = (int)utf8_width(v->match[i], strlen(v->match[i])) + 2;
        if (w > wide) wide = w;
    }
    if (wide > v->columns) wide = v->columns;
    int across = v->columns / wide, rows = (v->n_matches + across - 1) / across, most = (v->transcript_rows + 1) / 2;
    int shown = rows > most ? most : rows, y = v->transcript_rows - shown;
    for (int r = 0; r < shown; r++, y++) {
        paint_blank(y, 0, THEME_HINT);
        if (r == shown - 1 && shown < rows) {
            char more[48];
            snprintf(more, sizeof more, "... %d more", v->n_matches - r * across);
            paint_text(y, 0, v->columns, THEME_HINT, more, strlen(more));
            return;
        }
        for (int c = 0; c < across && r * across + c < v->n_matches; c++) {
            const char *m = v->match[r * across + c];
            paint_text(y, c * wide, (c + 1) * wide, THEME_HINT, m, strlen(m));
        }
    }
}

/* ---- status bar ---- */

static void draw_status(const struct screen_view *v, const struct statusbar *bar) {
    static const enum theme_style levels[] = {THEME_ROOM, THEME_NEAR, THEME_FULL};
    struct statusbar_line line;
    struct ui_status st = bar->st;
    char below[48];
    size_t rows = transcript_below(v->transcript);
    if (v->hint[0] && !input_empty()) {
        st.event = v->hint;
    } else if (rows > 0 && !bar->event[0]) {
        snprintf(below, sizeof below, "↓ %zu below", rows);
        st.event = below;
    }
    int y = v->transcript_rows, x = 0;
    statusbar_format(&st, v->columns, v->frame, &line);
    paint_blank(y, 0, THEME_BAR);
    size_t after = line.meter_at + line.meter_n, n = strlen(line.text);
    if (line.meter_n == 0) after = 0;
    else {
        x = paint_text(y, x, v->columns, THEME_BAR, line.text, line.meter_at);
        x = paint_text(y, x, v->columns, levels[line.level], line.text + line.meter_at, line.meter_n);
    }
    paint_text(y, x, v->columns, THEME_BAR, line.text + after, n - after);
}

/* ---- input ---- */

/* The input as it is drawn: the prompt in a margin, or, where it is long (a search), before the text. */
struct layout {
    struct buf text;
    size_t cursor;      /* byte in text */
    const char *margin; /* "" where there is none */
    int indent, width;
    size_t rows, cursor_row;
    int cursor_column;
};

static int columns_between(const char *s, size_t from, size_t to) {
    int column = 0, w;
    for (size_t len; from < to; from += len, column += w) {
        len = wrap_grapheme(s + from, to - from, column, &w);
        if (len == 0) break;
    }
    return column;
}

static void lay_out(const struct screen_view *v, struct layout *l) {
    const char *prompt, *text;
    size_t n, cursor, from = 0, end, next;
    memset(l, 0, sizeof *l);
    input_view(&prompt, &text, &n, &cursor);
    int prompt_width = (int)utf8_width(prompt, strlen(prompt));
    bool margin = prompt_width <= v->columns / 3;
    l->margin = margin ? prompt : "";
    l->indent = margin ? prompt_width : 0;
    l->width = v->columns - l->indent - 1 > 1 ? v->columns - l->indent - 1 : 1; /* the cursor has room after the last */
    if (!margin) buf_add_text(&l->text, prompt);
    l->cursor = l->text.len + cursor;
    buf_add(&l->text, text, n);
    for (bool more = true; more; from = next) {
        more = wrap_line(buf_text(&l->text), l->text.len, from, l->width, WRAP_HARD, &end, &next);
        if (l->cursor >= from && (l->cursor < next || !more)) {
            l->cursor_row = l->rows;
            l->cursor_column = columns_between(buf_text(&l->text), from, l->cursor);
        }
        l->rows++;
    }
}

static void draw_input(struct screen_view *v, const struct layout *l) {
    int top = v->rows - v->input_rows;
    size_t from = 0, end, next, shown = (size_t)v->input_rows;
    if (l->cursor_row < v->input_first) v->input_first = l->cursor_row;
    if (l->cursor_row >= v->input_first + shown) v->input_first = l->cursor_row - shown + 1;
    if (v->input_first + shown > l->rows) v->input_first = l->rows > shown ? l->rows - shown : 0;
    for (size_t row = 0; row < v->input_first + shown; row++) {
        bool more = wrap_line(buf_text(&l->text), l->text.len, from, l->width, WRAP_HARD, &end, &next);
        int y = top + (int)(row - v->input_first);
        if (row >= v->input_first) {
            paint_blank(y, 0, THEME_INPUT);
            if (row == 0) paint_text(y, 0, v->columns, THEME_PROMPT, l->margin, strlen(l->margin));
            paint_text(y, l->indent, v->columns, THEME_INPUT, buf_text(&l->text) + from, end - from);
        }
        if (!more) break;
        from = next;
    }
    if (l->text.len == 0 && v->hint[0]) paint_text(top, l->indent, v->columns, THEME_HINT, v->hint, strlen(v->hint));
}

/* ---- all ---- */

static bool divide(struct screen_view *v, const struct layout *l) {
    int most = v->rows / 3 > 1 ? v->rows / 3 : 1;
    int input = l->rows > (size_t)most ? most : (int)l->rows, above = v->rows - input - 1;
    bool changed = input != v->input_rows || above != v->transcript_rows;
    v->input_rows = input;
    v->transcript_rows = above > 0 ? above : 0;
    transcript_resize(v->transcript, v->columns - indent(v), v->transcript_rows);
    return changed;
}

void screen_draw(struct screen_view *v, const struct statusbar *bar, unsigned dirty) {
    struct layout l;
    lay_out(v, &l);
    if (divide(v, &l)) dirty = SCREEN_ALL;
    if (dirty & SCREEN_TRANSCRIPT) draw_transcript(v);
    if (dirty & SCREEN_TRANSCRIPT && v->n_matches && v->transcript_rows) draw_matches(v);
    if (dirty & SCREEN_STATUS && v->rows > 1) draw_status(v, bar);
    if (dirty & SCREEN_INPUT) draw_input(v, &l);
    int row = (int)(l.cursor_row - v->input_first), column = l.indent + l.cursor_column;
    if (row >= 0 && row < v->input_rows)
        move(v->rows - v->input_rows + row, column < v->columns ? column : v->columns - 1);
    buf_free(&l.text);
    refresh();
}
