/* screen: the ncurses front end. Transcript above, input below, the status bar between.
 *
 * Handlers and operations set dirty flags; the loop draws what is dirty, at most once a frame. Curses only writes: bytes are
 * read here and go to readline (input.c), so that its bindings hold everywhere. Main thread only. */
#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ui/editor.h"
#include "ui/front.h"
#include "ui/input.h"
#include "ui/keys.h"
#include "ui/paint.h"
#include "ui/screen_draw.h"
#include "ui/signals.h"
#include "ui/terminal.h"

enum { FRAME_US = 16667, BUSY_US = 50000, IDLE_US = 1000000, SPIN_US = 100000, KEY_MS = 50, SEQUENCE_MS = 500, WHEEL_ROWS = 3 };

struct screen {
    struct ui *u;
    struct screen_view view;
    SCREEN *curses;
    struct keys keys;
    unsigned dirty;
    int64_t drawn_us, ticked_us, spun_us, keyed_us;
    bool warned; /* one Ctrl-C on an empty line has come */
};

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- the terminal ---- */

static void take_size(struct screen *s) {
    terminal_measure(&s->view.rows, &s->view.columns);
    s->dirty = SCREEN_ALL;
}

static void take_terminal(struct screen *s) {
    terminal_take();
    take_size(s);
}

static void show_matches(void *ctx, char **match, int n) {
    struct screen *s = ctx;
    screen_view_matches(&s->view, match, n);
    s->dirty |= SCREEN_ALL;
}

static char **complete(void *ctx, const char *line, const char *word) {
    struct ui *u = ((struct screen *)ctx)->u;
    return u->h.complete ? u->h.complete(u->h.ctx, line, word) : NULL;
}

static void screen_close(struct ui *u) {
    struct screen *s = u->own;
    if (!s) return;
    if (s->curses) terminal_give();
    if (s->curses) delscreen(s->curses);
    input_close();
    signals_close();
    screen_view_matches(&s->view, NULL, 0);
    transcript_close(s->view.transcript);
    buf_free(&s->keys.paste);
    free(s);
    u->own = NULL;
}

static int screen_open(struct ui *u, const struct ui_options *o, struct err *e) {
    struct screen *s = u->own = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_MEMORY, "no memory for the screen");
    s->u = u;
    struct input_options io = {
        .prompt = u->prompt, .history = o->history, .ctx = s, .matches = show_matches, .complete = complete};
    int rc = transcript_open(&s->view.transcript, e);
    if (rc == 0) rc = signals_open(e);
    if (rc == 0) rc = input_open(&io, e); /* before curses: both keep the terminal's description in one place */
    if (rc == 0) rc = terminal_open(&s->curses, e);
    if (rc != 0) {
        screen_close(u);
        return rc;
    }
    paint_theme(u->theme);
    take_terminal(s);
    snprintf(s->view.hint, sizeof s->view.hint, "a message, or /help");
    return 0;
}

/* ---- keys ---- */

static void suspend(struct screen *s) {
    terminal_give();
    signals_stop_here();
    take_terminal(s);
}

static void edit(struct screen *s) {
    const char *prompt, *text;
    size_t n, cursor;
    char *edited;
    struct err e = {0};
    input_view(&prompt, &text, &n, &cursor);
    terminal_give();
    int rc = editor_run(text, &edited, &e);
    take_terminal(s);
    if (rc == 0) input_replace(edited);
    else snprintf(s->view.hint, sizeof s->view.hint, "%s", e.text);
    free(edited);
}

static void interrupt(struct screen *s) {
    if (ui_busy(s->u)) {
        s->u->h.interrupt(s->u->h.ctx);
        return;
    }
    if (input_drop()) return;
    if (s->warned) s->u->leaving = true;
    s->warned = true;
    snprintf(s->view.hint, sizeof s->view.hint, "Ctrl-C again leaves");
}

static void send_line(struct screen *s) {
    char *line = input_take();
    transcript_to_end(s->view.transcript);
    if (line) s->u->h.line(s->u->h.ctx, line);
    free(line);
}

static void act(struct screen *s, enum input_action a) {
    struct transcript *t = s->view.transcript;
    int page = s->view.transcript_rows > 2 ? s->view.transcript_rows - 1 : 1;
    switch (a) {
    case INPUT_NONE: return;
    case INPUT_LINE: send_line(s); break;
    case INPUT_END: s->u->leaving = true; break;
    case INPUT_INTERRUPT: interrupt(s); break;
    case INPUT_SUSPEND: suspend(s); break;
    case INPUT_EDITOR: edit(s); break;
    case INPUT_REDRAW: clearok(curscr, TRUE); break;
    case INPUT_PAGE_UP: transcript_scroll(t, -page); break;
    case INPUT_PAGE_DOWN: transcript_scroll(t, page); break;
    case INPUT_TO_START: transcript_to_start(t); break;
    case INPUT_TO_END: transcript_to_end(t); break;
    }
    s->dirty |= SCREEN_ALL;
}

static void on_key(void *ctx, enum keys_kind kind, const char *bytes, size_t n) {
    struct screen *s = ctx;
    enum input_action a = INPUT_NONE;
    const unsigned char ctrl_c = 3;
    if (kind == KEYS_WHEEL_UP || kind == KEYS_WHEEL_DOWN) {
        transcript_scroll(s->view.transcript, kind == KEYS_WHEEL_UP ? -WHEEL_ROWS : WHEEL_ROWS);
        s->dirty |= SCREEN_TRANSCRIPT | SCREEN_STATUS;
        return;
    }
    if (s->view.n_matches) s->dirty |= SCREEN_ALL;
    screen_view_matches(&s->view, NULL, 0);
    s->view.hint[0] = 0;
    if (kind == KEYS_PASTE) input_insert(bytes, n);
    else if ((unsigned char)bytes[0] == ctrl_c && ui_busy(s->u)) a = INPUT_INTERRUPT;
    else a = input_feed((unsigned char)bytes[0], keys_holds(&s->keys));
    if (a != INPUT_INTERRUPT) s->warned = false;
    s->dirty |= SCREEN_INPUT;
    act(s, a);
}

static void read_keys(struct screen *s) {
    char bytes[4096];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n > 0) {
        s->keyed_us = now_us();
        keys_feed(&s->keys, bytes, (size_t)n, on_key, s);
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) { /* the terminal is gone */
        s->u->leaving = true;
        s->u->status = 130;
    }
}

/* ---- the loop ---- */

static void take_signals(struct screen *s) {
    for (int sig; (sig = signals_next()) != 0;) {
        switch (sig) {
        case SIGWINCH: take_size(s); break;
        case SIGINT: interrupt(s); break;
        case SIGTSTP: suspend(s); break;
        case SIGCONT: take_terminal(s); break; /* also after a stop that could not be caught */
        case SIGTERM:
        case SIGHUP:
            s->u->leaving = true;
            s->u->status = 130;
            break;
        default: break;
        }
        s->dirty |= SCREEN_INPUT;
    }
}

static int64_t tick_us(const struct screen *s) { return ui_busy(s->u) ? BUSY_US : IDLE_US; }

/* Escape may have been typed alone; a longer beginning is a sequence that arrives slowly. */
static int64_t key_patience_us(const struct screen *s) { return 1000 * (s->keys.n_held <= 2 ? KEY_MS : SEQUENCE_MS); }

static int wait_ms(const struct screen *s, int64_t now) {
    int64_t us = s->ticked_us + tick_us(s) - now;
    if (s->dirty && s->drawn_us + FRAME_US - now < us) us = s->drawn_us + FRAME_US - now;
    if (keys_holds(&s->keys) && us > key_patience_us(s)) us = key_patience_us(s);
    return us <= 0 ? 0 : (int)((us + 999) / 1000);
}

static void tick(struct screen *s, int64_t now) {
    if (now - s->ticked_us >= tick_us(s)) {
        s->ticked_us = now;
        s->u->h.wake(s->u->h.ctx);
    }
    if (ui_busy(s->u) && now - s->spun_us >= SPIN_US) {
        s->spun_us = now;
        s->view.frame++;
        s->dirty |= SCREEN_STATUS;
    }
}

static int screen_run(struct ui *u) {
    struct screen *s = u->own;
    while (!u->leaving) {
        struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                             {.fd = signals_fd(), .events = POLLIN},
                             {.fd = u->wake_fd, .events = POLLIN}};
        int ready = poll(p, 3, wait_ms(s, now_us()));
        if (ready < 0 && errno != EINTR) return 130;
        if (ready > 0 && p[1].revents) take_signals(s);
        if (ready > 0 && p[0].revents) read_keys(s);
        if (ready > 0 && p[2].revents) ui_woken(u);
        int64_t now = now_us();
        if (keys_holds(&s->keys) && now - s->keyed_us >= key_patience_us(s)) keys_flush(&s->keys, on_key, s);
        tick(s, now);
        if (s->dirty && now - s->drawn_us >= FRAME_US) {
            screen_draw(&s->view, &u->bar, s->dirty);
            s->dirty = 0;
            s->drawn_us = now;
        }
    }
    return u->status;
}

/* ---- operations ---- */

static struct transcript *changed(struct ui *u) {
    struct screen *s = u->own;
    s->dirty |= SCREEN_TRANSCRIPT | SCREEN_STATUS;
    return s->view.transcript;
}

static int screen_add(struct ui *u, uint64_t id, enum ui_role role, const char *text) {
    return transcript_add(changed(u), id, role, text);
}
static int screen_append(struct ui *u, uint64_t id, const char *text, size_t n) {
    return transcript_append(changed(u), id, text, n);
}
static void screen_mark(struct ui *u, uint64_t id, const char *note) { transcript_mark(changed(u), id, note); }
static void screen_remove_from(struct ui *u, uint64_t id) { transcript_remove_from(changed(u), id); }
static void screen_clear(struct ui *u) { transcript_clear(changed(u)); }
static void screen_context_begins(struct ui *u, uint64_t id) { transcript_context_begins(changed(u), id); }

static void screen_status(struct ui *u, enum ui_state before) {
    (void)before;
    ((struct screen *)u->own)->dirty |= SCREEN_STATUS;
}

static void screen_input(struct ui *u, const char *text) {
    input_drop();
    input_replace(text);
    ((struct screen *)u->own)->dirty |= SCREEN_INPUT;
}

static void screen_theme(struct ui *u) {
    paint_theme(u->theme);
    ((struct screen *)u->own)->dirty = SCREEN_ALL;
}

const struct ui_front ui_screen = {
    .name = "screen",
    .open = screen_open,
    .close = screen_close,
    .run = screen_run,
    .add = screen_add,
    .append = screen_append,
    .mark = screen_mark,
    .remove_from = screen_remove_from,
    .clear = screen_clear,
    .context_begins = screen_context_begins,
    .status = screen_status,
    .input = screen_input,
    .theme = screen_theme,
};
