/* statusbar: formats the status line. See statusbar.h and ui.h.
 *
 * Fields are tried in their order of importance, each only where all before it were shown, so that what does not fit is
 * left out least important first; they are then written in the order in which they stand on the screen. */
#include "ui/statusbar.h"

#include <stdio.h>
#include <string.h>

#include "config/utf8.h"

/* In order of importance, which is not their order on the screen. */
enum field { F_CTX, F_STATE, F_SPEED, F_EVENT, F_METER, F_UNSAVED, F_CACHE, F_RSS, F_FREE, F_LIMIT, F_CONVERSATION, F_PERSONA, F_COUNT };

static const enum field screen_order[F_COUNT] = {
    F_CTX,   F_METER, F_STATE, F_SPEED,   F_UNSAVED,      F_CACHE,
    F_RSS,   F_FREE,  F_LIMIT, F_PERSONA, F_CONVERSATION, F_EVENT,
};

#define JOIN " · " /* between persona and conversation */
enum { METER_CELLS = 8, METER_LEAST = 3, FIELD_BYTES = 320 };

/* Fields get shorter wordings where that makes room for another figure (not for a name). */
enum tightness { T_FULL, T_METER, T_TIME, T_PERCENT, T_LEVELS };

struct fields {
    char text[F_COUNT][FIELD_BYTES];
    bool shown[F_COUNT];
};

static const char *const state_names[] = {
    [UI_IDLE] = "idle",       [UI_LOADING] = "loading",   [UI_READING] = "reading", [UI_WRITING] = "writing",
    [UI_GROWING] = "growing", [UI_EVICTING] = "evicting", [UI_SAVING] = "saving",
};

/* Copies printable text alone, cut at whole characters. */
static void clean(char *out, size_t out_bytes, const char *text) {
    struct utf8_stream stream = {0};
    struct buf b = {0};
    if (text) {
        utf8_stream_add(&stream, text, strlen(text), &b);
        utf8_stream_end(&stream, &b);
    }
    size_t n = 0;
    for (size_t len = 0; n < b.len; n += len) {
        int w;
        len = utf8_grapheme(b.data + n, b.len - n, &w);
        if (len == 0 || n + len >= out_bytes) break;
    }
    if (n) memcpy(out, b.data, n);
    out[n] = 0;
    for (char *p = out; *p; p++)
        if (*p == '\n' || *p == '\t') *p = ' ';
    buf_free(&b);
}

void statusbar_set(struct statusbar *b, const struct ui_status *st) {
    b->st = *st;
    clean(b->cache_type, sizeof b->cache_type, st->cache_type);
    clean(b->room_limit, sizeof b->room_limit, st->room_limit);
    clean(b->conversation, sizeof b->conversation, st->conversation);
    clean(b->persona, sizeof b->persona, st->persona);
    clean(b->event, sizeof b->event, st->event);
    b->st.cache_type = b->cache_type;
    b->st.room_limit = b->room_limit;
    b->st.conversation = b->conversation;
    b->st.persona = b->persona;
    b->st.event = b->event;
}

/* 3.2M, 18M, 21G: three figures at most. */
static const char *short_bytes(uint64_t bytes, char out[16]) {
    static const char units[] = "BKMGTPE";
    double v = (double)bytes;
    int u = 0;
    while (v >= 999.5 && units[u + 1]) v /= 1024, u++;
    snprintf(out, 16, u > 0 && v < 9.95 ? "%.1f%c" : "%.0f%c", v, units[u]);
    return out;
}

static const char *short_seconds(double s, char out[16]) {
    if (s < 59.5) snprintf(out, 16, "%.0fs", s);
    else if (s < 3600) snprintf(out, 16, "%dm%02ds", (int)s / 60, (int)s % 60);
    else if (s < 360000) snprintf(out, 16, "%dh%02dm", (int)s / 3600, (int)s % 3600 / 60);
    else snprintf(out, 16, "days");
    return out;
}

static double share(uint64_t part, uint64_t whole) {
    if (whole == 0) return 0;
    double x = (double)part / (double)whole;
    return x > 1 ? 1 : x;
}

/* Fills eighths of cells by how much of what is committed is used; the colour tells of the bound. */
static void format_meter(const struct ui_status *st, int cells, char *out, size_t out_bytes) {
    static const char *const eighth[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int filled = (int)(share(st->used, st->committed) * cells * 8);
    size_t n = (size_t)snprintf(out, out_bytes, "▕");
    for (int i = 0; i < cells; i++) {
        int here = filled - 8 * i;
        const char *cell = here >= 8 ? "█" : here > 0 ? eighth[here] : "░";
        n += (size_t)snprintf(out + n, out_bytes - n, "%s", cell);
    }
    snprintf(out + n, out_bytes - n, "▏");
}

static void format_state(const struct ui_status *st, int tight, unsigned frame, char *out) {
    static const char *const spinner[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    const char *name = st->state <= UI_SAVING ? state_names[st->state] : "busy", *turn = spinner[frame % 10];
    char left[16] = "";
    double p = st->progress > 0 ? st->progress < 1 ? st->progress : 1 : 0;
    if (st->state == UI_IDLE) snprintf(out, FIELD_BYTES - 1, "%s", name);
    else if (st->state != UI_READING) snprintf(out, FIELD_BYTES - 1, "%s %s", name, turn);
    else if (tight >= T_PERCENT) snprintf(out, FIELD_BYTES - 1, "%d%% %s", (int)(p * 100), turn);
    else {
        if (tight < T_TIME && st->seconds_left >= 0) short_seconds(st->seconds_left, left);
        snprintf(out, FIELD_BYTES - 1, "%s %d%% %s%s%s", name, (int)(p * 100), left, *left ? " " : "", turn);
    }
}

static void format_fields(const struct ui_status *st, struct fields *f) {
    char b[16];
    snprintf(f->text[F_CTX], FIELD_BYTES, " ctx %llu/%llu of %llu", (unsigned long long)st->used,
             (unsigned long long)st->committed, (unsigned long long)st->bound);
    if (st->tokens_per_s > 0)
        snprintf(f->text[F_SPEED], FIELD_BYTES, st->tokens_per_s < 9.95 ? " %.1f t/s" : " %.0f t/s",
                 st->tokens_per_s < 1e6 ? st->tokens_per_s : 1e6);
    if (st->not_saved) snprintf(f->text[F_UNSAVED], FIELD_BYTES, "  not saved");
    size_t n = (size_t)snprintf(f->text[F_CACHE], FIELD_BYTES, "  kv %s", short_bytes(st->cache_bytes, b));
    if (st->cache_type && *st->cache_type)
        n += (size_t)snprintf(f->text[F_CACHE] + n, FIELD_BYTES - n, " %.15s", st->cache_type);
    if (st->n_grow) n += (size_t)snprintf(f->text[F_CACHE] + n, FIELD_BYTES - n, " ↑%u", st->n_grow);
    if (st->n_shrink) snprintf(f->text[F_CACHE] + n, FIELD_BYTES - n, " ↓%u", st->n_shrink);
    if (st->rss_bytes) snprintf(f->text[F_RSS], FIELD_BYTES, "  rss %s", short_bytes(st->rss_bytes, b));
    /* That the bound leaves no more is what ctx says already; any other limit at 0 is a warning. */
    const char *limit = st->room_limit ? st->room_limit : "";
    bool room = st->room_bytes || (*limit && strcmp(limit, "bound") != 0);
    if (room) snprintf(f->text[F_FREE], FIELD_BYTES, "  free %s", short_bytes(st->room_bytes, b));
    if (room && *limit) snprintf(f->text[F_LIMIT], FIELD_BYTES, " %.31s", limit);
    bool conversation = st->conversation && *st->conversation, persona = st->persona && *st->persona;
    if (persona) snprintf(f->text[F_PERSONA], FIELD_BYTES, "  %.79s", st->persona);
    if (conversation)
        snprintf(f->text[F_CONVERSATION], FIELD_BYTES, "%s%.159s", persona ? JOIN : "  ", st->conversation);
    if (st->event && *st->event) snprintf(f->text[F_EVENT], FIELD_BYTES, "  %.300s", st->event);
}

static int field_width(const struct fields *f, enum field i) {
    return (int)utf8_width(f->text[i], strlen(f->text[i]));
}

/* Cuts a text to so many columns, the last being an ellipsis. */
static void cut(char *text, int columns) {
    size_t n = strlen(text), at = 0;
    int used = 0;
    while (at < n) {
        int w;
        size_t len = utf8_grapheme(text + at, n - at, &w);
        if (len == 0 || used + w > columns - 1) break;
        used += w, at += len;
    }
    memcpy(text + at, "…", 4);
}

static void format_tight(const struct ui_status *st, enum tightness t, unsigned frame, struct fields *f) {
    f->text[F_METER][0] = f->text[F_STATE][0] = ' ';
    format_meter(st, t >= T_METER ? METER_LEAST : METER_CELLS, f->text[F_METER] + 1, FIELD_BYTES - 1);
    format_state(st, t, frame, f->text[F_STATE] + 1);
}

/* What must be shown even where it does not fit as it is: a share instead of cells, a part of the event. */
static bool shorten(const struct ui_status *st, struct fields *f, enum field i, int room) {
    if (i == F_CTX) snprintf(f->text[i], FIELD_BYTES, " ctx %d%%", (int)(share(st->used, st->bound) * 100));
    else if (i == F_EVENT && room >= 12) cut(f->text[i], room);
    return field_width(f, i) <= room;
}

/* Chooses the fields that fit, and returns how many figures are among them. */
static int choose(const struct ui_status *st, struct fields *f, int columns) {
    int room = columns, figures = 0;
    for (int i = 0; i < F_COUNT; i++) {
        if (!f->text[i][0]) continue;
        if (field_width(f, (enum field)i) > room && !shorten(st, f, (enum field)i, room)) {
            if (i == F_EVENT) continue; /* comes and goes: what matters less may still fit */
            break;
        }
        f->shown[i] = true;
        room -= field_width(f, (enum field)i);
        figures += i < F_CONVERSATION;
    }
    return figures;
}

void statusbar_format(const struct ui_status *st, int columns, unsigned frame, struct statusbar_line *out) {
    struct fields f;
    int best = -1;
    for (int t = T_FULL; t < T_LEVELS; t++) {
        struct fields tight = {0};
        format_fields(st, &tight);
        format_tight(st, (enum tightness)t, frame, &tight);
        int figures = choose(st, &tight, columns);
        if (figures > best) best = figures, f = tight;
    }
    memset(out, 0, sizeof *out);
    double near = share(st->used, st->bound);
    out->level = near < 0.7 ? STATUSBAR_ROOM : near < 0.9 ? STATUSBAR_NEAR : STATUSBAR_FULL;
    size_t n = 0;
    if (!f.shown[F_PERSONA] && !strncmp(f.text[F_CONVERSATION], JOIN, sizeof JOIN - 1)) { /* there is nothing that it joins */
        char *name = f.text[F_CONVERSATION] + sizeof JOIN - 1;
        memmove(f.text[F_CONVERSATION] + 2, name, strlen(name) + 1);
        memcpy(f.text[F_CONVERSATION], "  ", 2);
    }
    for (int i = 0; i < F_COUNT; i++) {
        enum field which = screen_order[i];
        size_t len = strlen(f.text[which]);
        if (!f.shown[which] || n + len >= sizeof out->text) continue;
        if (which == F_METER) out->meter_at = n + 1, out->meter_n = len - 1;
        memcpy(out->text + n, f.text[which], len + 1);
        n += len;
    }
}

void ui_status_text(const struct ui_status *st, int columns, char *out, size_t out_bytes) {
    struct statusbar b;
    struct statusbar_line line;
    if (out_bytes == 0) return;
    statusbar_set(&b, st);
    statusbar_format(&b.st, columns, 0, &line);
    clean(out, out_bytes, line.text);
}
