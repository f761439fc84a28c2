/* transcript: see transcript.h.
 *
 * Rows of an entry, from its `at`: a blank (but before the first entry and between notices), the rule where the context
 * begins here, its lines, its mark. Invariant: entry[i].at is the sum of the rows of the entries before it. */
#include "ui/transcript.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "config/utf8.h"
#include "ui/wrap.h"

enum { HANG_LEAST = 4 };

struct line {
    size_t start, end; /* bytes; what lies between end and the next start is a newline or blanks */
    int indent;        /* columns */
};

struct entry {
    uint64_t id;
    enum ui_role role;
    struct buf text;
    struct utf8_stream stream;
    char *mark; /* NULL: none */
    struct line *line;
    size_t n_lines, cap_lines; /* n_lines >= 1 */
    size_t at;                 /* its first row */
};

struct transcript {
    struct entry *entry;
    size_t n, cap;
    uint64_t context_id; /* 0: nothing has left */
    size_t context_at;   /* its entry, or 0 */
    int width, height;
    bool follow;
    size_t top;
    /* The reader's place while not following: an entry, and in it a row before the text (head < 0, counted back from it), or
     * the line that holds a byte, or the mark (offset SIZE_MAX). */
    size_t anchor_entry, anchor_offset;
    long anchor_head;
};

int transcript_open(struct transcript **out, struct err *e) {
    *out = calloc(1, sizeof **out);
    if (!*out) return err_set(e, ERR_MEMORY, "no memory for the transcript");
    (*out)->width = 78;
    (*out)->height = 22;
    (*out)->follow = true;
    return 0;
}

static void entry_free(struct entry *x) {
    buf_free(&x->text);
    free(x->mark);
    free(x->line);
}

void transcript_close(struct transcript *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n; i++) entry_free(&t->entry[i]);
    free(t->entry);
    free(t);
}

/* ---- wrapping ---- */

static int entry_push_line(struct entry *x, struct line line) {
    if (x->n_lines == x->cap_lines) {
        size_t cap = x->cap_lines ? x->cap_lines * 2 : 4;
        struct line *bigger = realloc(x->line, cap * sizeof *bigger);
        if (!bigger) return ERR_MEMORY;
        x->line = bigger;
        x->cap_lines = cap;
    }
    x->line[x->n_lines++] = line;
    return 0;
}

/* How far a wrapped line of a notice goes on to the right: to the last column that two blanks set apart, or a little where that leaves
 * less than half. 0 for what begins a line, and for what people and models write. */
static int hanging(const struct entry *x, size_t from, int width) {
    const char *s = buf_text(&x->text);
    size_t start = from, column = 0;
    if (x->role != UI_NOTICE || !from || s[from - 1] == '\n') return 0;
    while (start > 0 && s[start - 1] != '\n') start--;
    for (size_t i = start + 2; i < from; i++)
        if (s[i] != ' ' && s[i - 1] == ' ' && s[i - 2] == ' ') column = i;
    if (column <= start) return 0;
    size_t w = utf8_width(s + start, column - start);
    return w <= (size_t)width / 2 ? (int)w : HANG_LEAST < width / 2 ? HANG_LEAST : 0;
}

/* Wraps from line `keep` on; the lines before it stay. On no memory the rest of the text is one long line. */
static int entry_wrap(struct entry *x, size_t keep, int width) {
    size_t from = keep < x->n_lines ? x->line[keep].start : 0, end, next;
    bool more = true;
    x->n_lines = keep < x->n_lines ? keep : 0;
    while (more) {
        int indent = hanging(x, from, width);
        more = wrap_line(buf_text(&x->text), x->text.len, from, width - indent, WRAP_WORDS, &end, &next);
        if (entry_push_line(x, (struct line){from, end, indent}) != 0) {
            if (x->n_lines) x->line[x->n_lines - 1].end = x->text.len;
            return ERR_MEMORY;
        }
        from = next;
    }
    return 0;
}

/* Lines that are shown: empty ones at the end are not. */
static size_t entry_lines(const struct entry *x) {
    size_t n = x->n_lines;
    while (n > 1 && x->line[n - 1].start == x->line[n - 1].end) n--;
    return n;
}

static bool has_blank(const struct transcript *t, size_t i) {
    return i > 0 && !(t->entry[i].role == UI_NOTICE && t->entry[i - 1].role == UI_NOTICE);
}

static size_t head_rows(const struct transcript *t, size_t i) {
    return (size_t)has_blank(t, i) + (t->context_id != 0 && t->entry[i].id == t->context_id);
}

static size_t entry_rows(const struct transcript *t, size_t i) {
    return head_rows(t, i) + entry_lines(&t->entry[i]) + (t->entry[i].mark != NULL);
}

size_t transcript_rows(const struct transcript *t) {
    return t->n ? t->entry[t->n - 1].at + entry_rows(t, t->n - 1) : 0;
}

static size_t entry_of_row(const struct transcript *t, size_t row) {
    size_t lo = 0, hi = t->n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->entry[mid].at <= row) lo = mid;
        else hi = mid;
    }
    return lo;
}

/* ---- the reader's place ---- */

static size_t last_top(const struct transcript *t) {
    size_t rows = transcript_rows(t), height = (size_t)t->height;
    return rows > height ? rows - height : 0;
}

static void anchor_set(struct transcript *t) {
    if (t->follow || t->n == 0) return;
    size_t i = entry_of_row(t, t->top), head = head_rows(t, i), in = t->top - t->entry[i].at;
    t->anchor_entry = i;
    t->anchor_head = in < head ? (long)in - (long)head : 0;
    size_t lines = entry_lines(&t->entry[i]);
    t->anchor_offset = in < head ? 0 : in - head < lines ? t->entry[i].line[in - head].start : SIZE_MAX;
}

static size_t anchor_row(const struct transcript *t) {
    const struct entry *x = &t->entry[t->anchor_entry];
    size_t head = head_rows(t, t->anchor_entry);
    if (t->anchor_head < 0) {
        size_t back = (size_t)-t->anchor_head;
        return x->at + (back > head ? 0 : head - back);
    }
    size_t lines = entry_lines(x), lo = 0, hi = lines;
    if (t->anchor_offset == SIZE_MAX) return x->at + head + lines - 1 + (x->mark != NULL);
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (x->line[mid].start <= t->anchor_offset) lo = mid;
        else hi = mid;
    }
    return x->at + head + lo;
}

static void find_context(struct transcript *t) {
    t->context_at = 0;
    for (size_t i = t->n; t->context_id && i-- > 0;)
        if (t->entry[i].id == t->context_id) {
            t->context_at = i;
            return;
        }
}

/* Puts the rows in order after entries from i on have changed. */
static void settle(struct transcript *t, size_t i) {
    for (; i < t->n; i++) t->entry[i].at = i ? t->entry[i - 1].at + entry_rows(t, i - 1) : 0;
    if (!t->follow && t->anchor_entry >= t->n) t->follow = true;
    size_t last = last_top(t);
    t->top = t->follow ? last : anchor_row(t);
    if (t->top > last) t->top = last;
}

void transcript_scroll(struct transcript *t, long rows) {
    size_t last = last_top(t);
    if (rows < 0) t->top = t->top > (size_t)-rows ? t->top - (size_t)-rows : 0;
    else t->top = last - t->top > (size_t)rows ? t->top + (size_t)rows : last;
    t->follow = t->top == last;
    anchor_set(t);
}

void transcript_to_start(struct transcript *t) {
    t->top = 0;
    t->follow = last_top(t) == 0;
    anchor_set(t);
}

void transcript_to_end(struct transcript *t) {
    t->follow = true;
    settle(t, t->n);
}

size_t transcript_top(const struct transcript *t) { return t->top; }

size_t transcript_below(const struct transcript *t) { return last_top(t) - t->top; }

void transcript_resize(struct transcript *t, int width, int height) {
    if (width < 1) width = 1;
    if (height < 1) height = 1;
    bool wrap = width != t->width;
    t->width = width;
    t->height = height;
    for (size_t i = 0; wrap && i < t->n; i++) entry_wrap(&t->entry[i], 0, width);
    settle(t, wrap ? 0 : t->n);
}

/* ---- changes ---- */

static struct entry *find(struct transcript *t, uint64_t id) {
    for (size_t i = t->n; i-- > 0;)
        if (t->entry[i].id == id) return &t->entry[i];
    return NULL;
}

int transcript_add(struct transcript *t, uint64_t id, enum ui_role role, const char *text) {
    assert(id > 0);
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        struct entry *bigger = realloc(t->entry, cap * sizeof *bigger);
        if (!bigger) return ERR_MEMORY;
        t->entry = bigger;
        t->cap = cap;
    }
    struct entry *x = &t->entry[t->n];
    *x = (struct entry){.id = id, .role = role};
    if (utf8_stream_add(&x->stream, text, strlen(text), &x->text) != 0 || entry_wrap(x, 0, t->width) != 0) {
        entry_free(x);
        return ERR_MEMORY;
    }
    t->n++;
    if (id == t->context_id) t->context_at = t->n - 1;
    settle(t, t->n - 1);
    return 0;
}

int transcript_append(struct transcript *t, uint64_t id, const char *text, size_t n) {
    struct entry *x = find(t, id);
    if (!x) return ERR_USAGE;
    int rc = utf8_stream_add(&x->stream, text, n, &x->text);
    if (rc == 0) rc = entry_wrap(x, x->n_lines - 1, t->width);
    settle(t, (size_t)(x - t->entry) + 1);
    return rc;
}

void transcript_mark(struct transcript *t, uint64_t id, const char *note) {
    struct entry *x = find(t, id);
    struct buf b = {0};
    struct utf8_stream stream = {0};
    if (!x) return;
    utf8_stream_add(&stream, note, strlen(note), &b);
    utf8_stream_end(&stream, &b);
    free(x->mark);
    x->mark = b.len ? buf_take(&b) : NULL;
    buf_free(&b);
    settle(t, (size_t)(x - t->entry) + 1);
}

void transcript_remove_from(struct transcript *t, uint64_t id) {
    struct entry *x = find(t, id);
    if (!x) return;
    size_t keep = (size_t)(x - t->entry);
    while (t->n > keep) entry_free(&t->entry[--t->n]);
    find_context(t);
    settle(t, t->n);
}

void transcript_clear(struct transcript *t) {
    while (t->n > 0) entry_free(&t->entry[--t->n]);
    t->context_id = t->context_at = 0;
    t->follow = true;
    settle(t, 0);
}

void transcript_context_begins(struct transcript *t, uint64_t id) {
    t->context_id = id;
    find_context(t);
    settle(t, 0);
}

/* ---- rows ---- */

bool transcript_get(const struct transcript *t, size_t row, struct transcript_row *out) {
    if (row >= transcript_rows(t)) return false;
    size_t i = entry_of_row(t, row), head = head_rows(t, i), in = row - t->entry[i].at;
    const struct entry *x = &t->entry[i];
    *out = (struct transcript_row){.role = x->role, .left = i < t->context_at, .text = ""};
    if (in < head) {
        out->kind = in == 0 && has_blank(t, i) ? TRANSCRIPT_BLANK : TRANSCRIPT_RULE;
        return true;
    }
    in -= head;
    if (in < entry_lines(x)) {
        out->kind = TRANSCRIPT_TEXT;
        out->first = in == 0;
        out->indent = x->line[in].indent;
        out->text = buf_text(&x->text) + x->line[in].start;
        out->n = x->line[in].end - x->line[in].start;
    } else {
        out->kind = TRANSCRIPT_MARK;
        out->text = x->mark;
        out->n = strlen(x->mark);
    }
    return true;
}
