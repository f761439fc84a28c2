/* ui: what the app may see of the screen. It sees strings and events only: nothing of models, caches or stores.
 *
 * Two front ends stand behind one table of operations: "screen" (ncurses) and "line" (readline, no full screen). Main thread only.
 * A front end runs its own loop over the terminal and a wake pipe, and calls the handlers; draws once a frame from dirty flags. */
#ifndef UI_UI_H
#define UI_UI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

enum ui_role { UI_SYSTEM, UI_USER, UI_ASSISTANT, UI_NOTICE, UI_ERROR };

/* What is going on, for the status bar. */
enum ui_state { UI_IDLE, UI_LOADING, UI_READING, UI_WRITING, UI_GROWING, UI_EVICTING, UI_SAVING };

/* Every figure is measured by the caller; the bar only formats. Text fields are borrowed for the call. */
struct ui_status {
    enum ui_state state;
    uint64_t used, committed, bound;      /* cells */
    uint64_t cache_bytes; const char *cache_type;
    uint32_t n_grow, n_shrink;
    uint64_t rss_bytes, room_bytes; const char *room_limit;
    double tokens_per_s;                  /* <= 0: none yet */
    double progress;                      /* reading: 0..1 */
    double seconds_left;                  /* reading; < 0: unknown */
    const char *conversation, *persona;
    bool not_saved;                       /* the store cannot be written */
    const char *event;                    /* last event, "" when none is recent: shown in place of the least important fields */
};

/* What the front end calls. It calls none of these from within an operation. */
struct ui_handlers {
    void *ctx;
    void (*line)(void *ctx, const char *text);     /* Enter: a whole message or command, valid UTF-8, may hold newlines */
    void (*interrupt)(void *ctx);                  /* Ctrl-C while busy (ui_status.state is neither idle nor saving) */
    void (*wake)(void *ctx);                       /* a byte came down the wake pipe (already read away), or time has passed: a frame while busy, a second while idle */
    /* Completions of the word before the cursor: NULL-ended malloc'd array of malloc'd strings, or NULL. line up to the cursor. */
    char **(*complete)(void *ctx, const char *line, const char *word);
};

struct ui;

struct ui_options {
    bool plain;            /* the line front end, also chosen where the terminal cannot do more */
    const char *theme;     /* "dark", "light", "mono", "high-contrast"; NULL: dark */
    const char *history;   /* file of the input history, or NULL */
    int wake_fd;           /* read end of the wake pipe */
    const char *word_mark; /* prompt, as "> "; NULL: that */
};
/* Takes the terminal. ERR_FAILED where it cannot be used. */
int ui_open(struct ui **out, const struct ui_options *o, const struct ui_handlers *h, struct err *e);
void ui_close(struct ui *u);          /* gives the terminal back as it was; NULL is fine. Also safe after a fatal error */
/* Runs until ui_leave. Returns 0, or 130 where a signal to terminate came. */
int ui_run(struct ui *u);
void ui_leave(struct ui *u);          /* ends ui_run at its next turn */

/* The transcript is a list of entries with ids of the caller's choosing (> 0, unique until ui_clear). Texts are copied. */
int ui_add(struct ui *u, uint64_t id, enum ui_role role, const char *text);   /* at the end */
int ui_append(struct ui *u, uint64_t id, const char *text, size_t n);         /* more text of an entry (streaming) */
void ui_mark(struct ui *u, uint64_t id, const char *note);                    /* a short note at the entry's end: "stopped", "512 tokens, 11 t/s"; "" removes */
void ui_remove_from(struct ui *u, uint64_t id);                               /* this entry and all after it */
void ui_clear(struct ui *u);
/* The context now begins at entry id (0: nothing has left): a line is drawn above it and what is above is dimmed. */
void ui_context_begins(struct ui *u, uint64_t id);
void ui_set_status(struct ui *u, const struct ui_status *st);
void ui_set_input(struct ui *u, const char *text);                            /* puts text back into the input line (a refused message); what stood there goes into the history */
void ui_set_theme(struct ui *u, const char *theme);
const char *const *ui_theme_names(void);                                      /* NULL-ended */

/* The text of the bar for a width in columns; both front ends and tests use it. Appends nothing but printable text. */
void ui_status_text(const struct ui_status *st, int columns, char *out, size_t out_bytes);

#endif
