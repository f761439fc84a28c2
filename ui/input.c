/* input: see input.h. */
#include "ui/input.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <readline/history.h>
#include <readline/readline.h>

#include "config/buf.h"
#include "config/utf8.h"
#include "ui/history.h"

static struct {
    struct input_options o;
    char *history;
    char *prompt;
    int fed;                   /* the byte that readline is to read next, or -1 */
    bool more;                 /* others follow an escape that ends a search: it is the beginning of a key */
    enum input_action action;  /* what the last byte led to */
    char *line;                /* entered, not yet taken */
    char *next_text;           /* goes into the line when the prompt is shown again */
    bool installed, hidden;
    FILE *nowhere;
} in;

/* ---- commands of ours that readline calls ---- */

static int newline(int count, int key) {
    (void)key;
    while (count-- > 0) rl_insert_text("\n");
    return 0;
}

#define ACTION(name, value)             \
    static int name(int count, int key) { \
        (void)count, (void)key;         \
        in.action = value;              \
        return 0;                       \
    }
ACTION(interrupt, INPUT_INTERRUPT)
ACTION(suspend, INPUT_SUSPEND)
ACTION(editor, INPUT_EDITOR)
ACTION(redraw, INPUT_REDRAW)
ACTION(page_up, INPUT_PAGE_UP)
ACTION(page_down, INPUT_PAGE_DOWN)
ACTION(to_start, INPUT_TO_START)
ACTION(to_end, INPUT_TO_END)
#undef ACTION

static int line_start(int at) {
    while (at > 0 && rl_line_buffer[at - 1] != '\n') at--;
    return at;
}

/* Moves the cursor into the line that begins at `to`, as many graphemes in as it is in its own. */
static void move_to_line(int to) {
    int from = line_start(rl_point), w;
    size_t column = 0;
    for (int at = from; at < rl_point; column++) at += (int)utf8_grapheme(rl_line_buffer + at, (size_t)(rl_end - at), &w);
    while (column-- > 0 && to < rl_end && rl_line_buffer[to] != '\n')
        to += (int)utf8_grapheme(rl_line_buffer + to, (size_t)(rl_end - to), &w);
    rl_point = to;
}

static int line_up(int count, int key) {
    int start = line_start(rl_point);
    if (start == 0) return rl_get_previous_history(count, key);
    move_to_line(line_start(start - 1));
    return 0;
}

static int line_down(int count, int key) {
    int at = rl_point;
    while (at < rl_end && rl_line_buffer[at] != '\n') at++;
    if (at == rl_end) return rl_get_next_history(count, key);
    move_to_line(at + 1);
    return 0;
}

/* Names for inputrc, and the keys they have unless inputrc says otherwise. screen: only where the screen is ours. */
static const struct command {
    const char *name;
    rl_command_func_t *run;
    bool screen;
    const char *keys[8];
} commands[] = {
    {"kvetch-newline", newline, false, {"\\C-j", "\\e\\C-m", "\\e\\C-j", "\\e[13;2u", "\\e[13;3u", "\\e[27;2;13~"}},
    {"kvetch-editor", editor, false, {"\\C-g"}},
    {"kvetch-interrupt", interrupt, true, {"\\C-c"}},
    {"kvetch-suspend", suspend, true, {"\\C-z"}},
    {"kvetch-redraw", redraw, true, {"\\C-l"}},
    {"kvetch-page-up", page_up, true, {"\\e[5~"}},
    {"kvetch-page-down", page_down, true, {"\\e[6~"}},
    {"kvetch-to-start", to_start, true, {"\\e[1;5H", "\\e[7^"}},
    {"kvetch-to-end", to_end, true, {"\\e[1;5F", "\\e[8^"}},
    {"kvetch-up", line_up, true, {"\\e[A", "\\eOA", "\\C-p"}},
    {"kvetch-down", line_down, true, {"\\e[B", "\\eOB", "\\C-n"}},
};

static void bind_commands(void) {
    Keymap maps[] = {emacs_standard_keymap, vi_insertion_keymap, vi_movement_keymap};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (commands[i].screen && in.o.own_display) continue;
        rl_add_defun(commands[i].name, commands[i].run, -1);
        for (int m = 0; m < 3; m++)
            for (const char *const *k = commands[i].keys; *k; k++) rl_bind_keyseq_in_map(*k, commands[i].run, maps[m]);
    }
}

/* ---- what readline calls ---- */

static int take_byte(FILE *f) {
    unsigned char byte;
    if (in.fed >= 0) {
        byte = (unsigned char)in.fed;
        in.fed = -1;
        return byte;
    }
    for (;;) { /* a command that reads a key of its own */
        ssize_t n = read(fileno(f), &byte, 1);
        if (n == 1) return byte;
        if (n == 0 || (errno != EINTR && errno != EAGAIN)) return EOF;
        struct pollfd p = {.fd = fileno(f), .events = POLLIN};
        poll(&p, 1, -1);
    }
}

static int byte_waits(void) { return in.fed >= 0 || in.more; }
static void draw_nothing(void) {}
static void prepare_nothing(int meta) { (void)meta; }

static void add_clean(struct buf *b, const char *text, size_t n) {
    struct utf8_stream stream = {0};
    utf8_stream_add(&stream, text, n, b);
    utf8_stream_end(&stream, b);
}

static void on_line(char *line) {
    if (in.o.own_display) {
        rl_eof_found = 0; /* else each time the terminal is given back costs an empty line */
        rl_callback_handler_remove();
        rl_prep_terminal(1); /* no echo while a reply streams */
        in.installed = false;
    }
    if (!line) {
        in.action = INPUT_END;
        return;
    }
    struct buf b = {0};
    add_clean(&b, line, strlen(line));
    free(line);
    if (b.len == 0 || b.failed) {
        buf_free(&b);
        return;
    }
    free(in.line);
    in.line = buf_take(&b);
    if (!in.line) return;
    history_put(in.history, in.line);
    in.action = INPUT_LINE;
}

static size_t common_prefix(char **list) {
    size_t n = strlen(list[0]);
    for (char **p = list + 1; *p; p++) {
        size_t k = 0;
        while (k < n && (*p)[k] == list[0][k]) k++;
        while (k > 0 && ((*p)[k] & 0xc0) == 0x80) k--; /* a whole character */
        n = k;
    }
    return n;
}

/* readline wants the common prefix first, then the matches. */
static char **complete(const char *word, int start, int end) {
    (void)start, (void)end;
    rl_attempted_completion_over = 1;
    if (!in.o.complete) return NULL;
    char *before = strndup(rl_line_buffer, (size_t)rl_point);
    char **list = before ? in.o.complete(in.o.ctx, before, word) : NULL;
    free(before);
    if (!list || !list[0]) {
        free(list);
        return NULL;
    }
    size_t n = 0;
    while (list[n]) n++;
    if (n == 1) {
        size_t len = strlen(list[0]);
        if (len && list[0][len - 1] == '/') rl_completion_suppress_append = 1;
        return list;
    }
    char **out = malloc((n + 2) * sizeof *out), *prefix = strndup(list[0], common_prefix(list));
    if (out && prefix) {
        out[0] = prefix;
        memcpy(out + 1, list, (n + 1) * sizeof *out);
        free(list);
        return out;
    }
    while (n > 0) free(list[--n]);
    free(list);
    free(out);
    free(prefix);
    return NULL;
}

static void show_matches(char **matches, int n, int longest) {
    (void)longest;
    if (in.o.matches) in.o.matches(in.o.ctx, matches + 1, n);
}

/* ---- opening ---- */

static void configure(void) {
    rl_readline_name = "kvetch";
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0; /* else LINES and COLUMNS are exported, and a resize is missed */
    rl_completer_word_break_characters = " \t\n";
    rl_completer_quote_characters = "";
    rl_attempted_completion_function = complete;
    bool own = in.o.own_display;
    rl_outstream = own ? stdout : in.nowhere; /* the screen is drawn by its owner alone */
    rl_getc_function = own ? rl_getc : take_byte;
    rl_input_available_hook = own ? NULL : byte_waits;
    rl_redisplay_function = own ? rl_redisplay : draw_nothing;
    rl_prep_term_function = own ? rl_prep_terminal : prepare_nothing;
    rl_deprep_term_function = own ? rl_deprep_terminal : draw_nothing;
    rl_completion_query_items = own ? 100 : 0;
    rl_completion_display_matches_hook = own ? NULL : show_matches;
}

int input_open(const struct input_options *o, struct err *e) {
    memset(&in, 0, sizeof in);
    in.o = *o;
    in.fed = -1;
    in.history = o->history ? strdup(o->history) : NULL;
    in.prompt = strdup(o->prompt);
    in.nowhere = fopen("/dev/null", "w");
    if (!in.prompt || !in.nowhere || (o->history && !in.history)) {
        input_close();
        return err_set(e, ERR_MEMORY, "no memory for the input line");
    }
    configure();
    rl_variable_bind("show-all-if-ambiguous", "on");
    bind_commands();
    rl_initialize();
    history_load(in.history);
    if (!o->own_display) input_show();
    return 0;
}

void input_close(void) {
    if (in.installed) rl_callback_handler_remove();
    if (in.o.own_display) rl_deprep_terminal();
    if (in.nowhere) {
        rl_outstream = stdout;
        fclose(in.nowhere);
    }
    free(in.history);
    free(in.prompt);
    free(in.line);
    free(in.next_text);
    memset(&in, 0, sizeof in);
}

/* ---- the line ---- */

bool input_searching(void) { return RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH) != 0; }

static void give_byte(unsigned char byte) {
    in.fed = byte;
    while (in.fed >= 0 && in.installed) rl_callback_read_char();
}

enum input_action input_feed(unsigned char byte, bool more) {
    const unsigned char ctrl_c = 3, ctrl_g = 7, escape = 27;
    if (byte == ctrl_c && RL_ISSTATE(RL_STATE_MULTIKEY)) give_byte(ctrl_g); /* half a key sequence does not swallow it */
    if (byte == ctrl_c && input_searching()) byte = ctrl_g;                 /* ends the search, as a signal would */
    in.action = INPUT_NONE;
    in.more = more && byte == escape && input_searching();
    give_byte(byte);
    in.more = false;
    return in.action;
}

enum input_action input_read(void) {
    in.action = INPUT_NONE;
    if (in.installed) rl_callback_read_char();
    return in.action;
}

char *input_take(void) {
    char *line = in.line;
    in.line = NULL;
    return line;
}

void input_insert(const char *text, size_t n) {
    struct buf b = {0};
    add_clean(&b, text, n);
    if (b.len) {
        rl_begin_undo_group();
        rl_insert_text(buf_text(&b));
        rl_end_undo_group();
    }
    buf_free(&b);
}

void input_replace(const char *text) {
    struct buf b = {0};
    add_clean(&b, text, strlen(text));
    if (in.installed) {
        rl_replace_line(buf_text(&b), 1);
        rl_point = rl_end;
    } else {
        free(in.next_text);
        in.next_text = buf_take(&b);
    }
    buf_free(&b);
}

bool input_drop(void) {
    struct buf b = {0};
    if (in.installed && rl_end > 0) add_clean(&b, rl_line_buffer, (size_t)rl_end);
    bool had = b.len > 0;
    if (had) history_put(in.history, buf_text(&b));
    if (in.installed) {
        rl_replace_line("", 1);
        rl_point = rl_mark = 0;
        using_history();
    }
    buf_free(&b);
    return had;
}

void input_view(const char **prompt, const char **text, size_t *n, size_t *cursor) {
    *prompt = rl_display_prompt ? rl_display_prompt : in.prompt;
    *text = rl_line_buffer ? rl_line_buffer : "";
    *n = (size_t)rl_end;
    *cursor = (size_t)rl_point;
}

bool input_empty(void) { return rl_end == 0; }

void input_hide(void) {
    if (!in.installed || in.hidden) return;
    rl_clear_visible_line();
    in.hidden = true;
}

void input_show(void) {
    if (!in.installed) {
        rl_callback_handler_install(in.prompt, on_line);
        in.installed = true;
    } else if (in.hidden) {
        rl_forced_update_display();
    }
    in.hidden = false;
    if (!in.next_text) return;
    rl_replace_line(in.next_text, 1);
    rl_point = rl_end;
    free(in.next_text);
    in.next_text = NULL;
    rl_redisplay();
}
