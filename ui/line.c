/* line: the front end without a full screen. readline draws the prompt, replies stream above it, scrollback stays in the terminal.
 *
 * While the app is busy there is no prompt and nothing is read: what is typed waits in the terminal, and Ctrl-C comes as a
 * signal. Main thread only. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <readline/readline.h>

#include "config/buf.h"
#include "config/utf8.h"
#include "ui/editor.h"
#include "ui/front.h"
#include "ui/input.h"
#include "ui/signals.h"

enum { BUSY_MS = 50, IDLE_MS = 1000 };

struct line {
    uint64_t id;                /* entry that is being written, 0: none */
    enum ui_role role;
    struct utf8_stream stream;  /* of its text */
    bool started;               /* something was written */
    bool middle;                /* the cursor stands within a line */
    bool replied;               /* a reply was written since the last status line */
    bool warned;
    char *typed;                /* the line just sent: the terminal already shows it */
    enum theme_depth depth;
};

/* ---- writing ---- */

static void put(struct line *l, const char *text, size_t n) {
    if (n == 0) return;
    fwrite(text, 1, n, stdout);
    l->middle = text[n - 1] != '\n';
    l->started = true;
}

static void style(struct ui *u, enum theme_style s) {
    struct line *l = u->own;
    char sgr[128];
    if (l->depth == THEME_NO_COLOR) return;
    theme_sgr(u->theme, s, u->theme->colors ? l->depth : THEME_NO_COLOR, sgr, sizeof sgr);
    fputs(sgr, stdout);
}

static void plain(struct ui *u) {
    if (((struct line *)u->own)->depth != THEME_NO_COLOR) fputs("\033[0m", stdout);
}

static void end_line(struct line *l) {
    if (l->middle) put(l, "\n", 1);
}

/* One line in a style of its own. */
static void put_line(struct ui *u, enum theme_style s, const char *text) {
    struct line *l = u->own;
    input_hide();
    end_line(l);
    style(u, s);
    put(l, text, strlen(text));
    plain(u);
    end_line(l);
    fflush(stdout);
}

static int put_text(struct ui *u, const char *text, size_t n) {
    struct line *l = u->own;
    struct buf b = {0};
    int rc = utf8_stream_add(&l->stream, text, n, &b);
    style(u, (enum theme_style)l->role);
    put(l, buf_text(&b), b.len);
    plain(u);
    fflush(stdout);
    buf_free(&b);
    return rc;
}

/* ---- operations ---- */

static int line_add(struct ui *u, uint64_t id, enum ui_role role, const char *text) {
    struct line *l = u->own;
    bool typed = role == UI_USER && l->typed && !strcmp(l->typed, text);
    input_hide();
    end_line(l);
    l->id = id;
    l->role = role;
    memset(&l->stream, 0, sizeof l->stream);
    if (role == UI_USER) {
        free(l->typed);
        l->typed = NULL;
    }
    if (typed) return 0;
    if (role == UI_ASSISTANT) l->replied = true;
    if (l->started && role != UI_NOTICE && role != UI_ASSISTANT) put(l, "\n", 1);
    style(u, (enum theme_style)role);
    if (role != UI_ASSISTANT) put(l, theme_role_sign(role), strlen(theme_role_sign(role)));
    plain(u);
    if (role != UI_NOTICE) return put_text(u, text, strlen(text));
    int rc = 0;
    for (size_t n; !rc && *text; text += n) { /* further lines begin where the first does, so that columns are columns */
        n = strcspn(text, "\n") + (strchr(text, '\n') != NULL);
        rc = put_text(u, text, n);
        if (text[n]) put(l, "  ", 2);
    }
    return rc;
}

static int line_append(struct ui *u, uint64_t id, const char *text, size_t n) {
    struct line *l = u->own;
    if (id != l->id) return ERR_USAGE; /* what has scrolled away cannot be added to */
    input_hide();
    return put_text(u, text, n);
}

static void line_mark(struct ui *u, uint64_t id, const char *note) {
    if (id != ((struct line *)u->own)->id || !*note) return;
    struct buf b = {0};
    struct utf8_stream clean = {0};
    buf_add_text(&b, "  ");
    utf8_stream_add(&clean, note, strlen(note), &b);
    put_line(u, THEME_MARK, buf_text(&b));
    buf_free(&b);
}

static void line_remove_from(struct ui *u, uint64_t id) {
    struct line *l = u->own;
    (void)id; /* the terminal keeps what was written */
    l->id = 0;
}

static void line_clear(struct ui *u) { line_remove_from(u, 0); }

static void line_context_begins(struct ui *u, uint64_t id) {
    (void)u, (void)id; /* the event in the status line tells of it */
}

static void line_status(struct ui *u, enum ui_state before) {
    struct line *l = u->own;
    if (before == UI_IDLE || ui_busy(u) || !l->replied) return;
    struct winsize size;
    int columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
    struct statusbar_line bar;
    struct ui_status st = u->bar.st;
    st.state = UI_IDLE; /* the line stays: that a snapshot is on its way will not be true for long */
    statusbar_format(&st, columns, 0, &bar);
    put_line(u, THEME_MARK, bar.text);
    l->replied = false;
}

static void line_input(struct ui *u, const char *text) {
    (void)u;
    input_drop();
    input_replace(text);
}

static void line_theme(struct ui *u) { (void)u; }

/* ---- keys and signals ---- */

static void send_line(struct ui *u) {
    struct line *l = u->own;
    char *text = input_take();
    if (!text) return;
    free(l->typed);
    l->typed = strdup(text);
    l->middle = false;
    l->started = true;
    u->h.line(u->h.ctx, text);
    free(text);
}

static void edit(struct ui *u) {
    const char *prompt, *text;
    size_t n, cursor;
    char *edited;
    struct err e = {0};
    input_view(&prompt, &text, &n, &cursor);
    input_hide();
    rl_deprep_terminal();
    int rc = editor_run(text, &edited, &e);
    rl_prep_terminal(1);
    if (rc == 0) input_replace(edited);
    else put_line(u, THEME_ERROR, e.text);
    free(edited);
}

static void interrupt(struct ui *u) {
    struct line *l = u->own;
    if (ui_busy(u)) {
        u->h.interrupt(u->h.ctx);
        return;
    }
    input_hide();
    if (input_drop()) return;
    if (l->warned) {
        u->leaving = true;
        return;
    }
    l->warned = true;
    put_line(u, THEME_HINT, "Ctrl-C again leaves");
}

static void suspend(void) {
    input_hide();
    rl_deprep_terminal();
    signals_stop_here();
    rl_prep_terminal(1);
}

static void take_signals(struct ui *u) {
    for (int sig; (sig = signals_next()) != 0;) {
        switch (sig) {
        case SIGWINCH: rl_resize_terminal(); break;
        case SIGINT: interrupt(u); break;
        case SIGTSTP: suspend(); break;
        case SIGCONT: /* also after a stop that could not be caught */
            rl_deprep_terminal();
            rl_prep_terminal(1);
            input_hide();
            break;
        case SIGTERM:
        case SIGHUP:
            u->leaving = true;
            u->status = 130;
            break;
        default: break;
        }
    }
}

static void read_keys(struct ui *u) {
    struct line *l = u->own;
    enum input_action a = input_read();
    l->warned = false;
    if (a == INPUT_LINE) send_line(u);
    if (a == INPUT_EDITOR) edit(u);
    if (a == INPUT_END) {
        put(l, "\n", 1);
        u->leaving = true;
    }
}

static int line_run(struct ui *u) {
    while (!u->leaving) {
        bool busy = ui_busy(u);
        struct line *l = u->own;
        if (!busy) {
            end_line(l);
            fflush(stdout);
            input_show();
        }
        struct pollfd p[] = {{.fd = signals_fd(), .events = POLLIN},
                             {.fd = u->wake_fd, .events = POLLIN},
                             {.fd = busy ? -1 : STDIN_FILENO, .events = POLLIN}};
        int ready = poll(p, 3, busy ? BUSY_MS : IDLE_MS);
        if (ready < 0 && errno != EINTR) return 130;
        if (ready > 0 && p[0].revents) take_signals(u);
        if (ready > 0 && p[1].revents) ui_woken(u);
        else if (ready <= 0) u->h.wake(u->h.ctx);
        if (ready > 0 && p[2].revents && !ui_busy(u)) read_keys(u);
    }
    return u->status;
}

/* ---- opening ---- */

static char **complete(void *ctx, const char *before, const char *word) {
    struct ui *u = ctx;
    return u->h.complete ? u->h.complete(u->h.ctx, before, word) : NULL;
}

static void line_close(struct ui *u) {
    struct line *l = u->own;
    if (!l) return;
    input_hide();
    end_line(l);
    fflush(stdout);
    input_close();
    signals_close();
    free(l->typed);
    free(l);
    u->own = NULL;
}

static int line_open(struct ui *u, const struct ui_options *o, struct err *e) {
    struct line *l = u->own = calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_MEMORY, "no memory for the prompt");
    struct input_options io = {
        .own_display = true, .prompt = u->prompt, .history = o->history, .ctx = u, .complete = complete};
    l->depth = theme_depth_guess();
    int rc = signals_open(e);
    if (rc == 0) rc = input_open(&io, e);
    if (rc != 0) line_close(u);
    return rc;
}

const struct ui_front ui_line = {
    .name = "line",
    .open = line_open,
    .close = line_close,
    .run = line_run,
    .add = line_add,
    .append = line_append,
    .mark = line_mark,
    .remove_from = line_remove_from,
    .clear = line_clear,
    .context_begins = line_context_begins,
    .status = line_status,
    .input = line_input,
    .theme = line_theme,
};
