/* chat: see chat.h. This file opens a chat, hands on what the user types, and leaves in order. */
#include "app/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/chat_parts.h"
#include "app/opening.h"
#include "config/paths.h"

/* ---- what the user does -------------------------------------------------------------------------------------- */

/* What a command says is shown after what it does. */
static void print_lines(void *ctx, const char *text) {
    struct chat *c = ctx;
    buf_printf(&c->printed, "%s%s", c->printed.len ? "\n" : "", text);
}

static void say_printed(struct chat *c) {
    if (c->printed.len) chat_say(c, UI_NOTICE, "%s", buf_text(&c->printed));
    buf_free(&c->printed);
}

static void switch_conversation(struct chat *c) {
    if (c->result) worker_event_free(&(struct worker_event){.result = c->result});
    c->result = NULL;
    c->slash.mark = NULL;
    c->slash.n_marks = 0;
    c->told_diverged = false;
    worker_park(c->app->worker);
}

/* The marks of a branch that was cut hold for what is left of it. */
static void cut_marks(struct chat *c) {
    size_t n = conversation_count(c->slash.conversation);
    size_t left = n > c->slash.first_mark ? n - c->slash.first_mark : 0;
    if (c->slash.n_marks > left) c->slash.n_marks = left;
}

static void act(struct chat *c, unsigned todo) {
    cut_marks(c);
    if (todo & SLASH_SWITCHED) switch_conversation(c);
    if (todo & SLASH_SHOW) chat_show(c);
    if (todo & SLASH_CUT) chat_cut(c);
    if (todo & SLASH_CUT && !conversation_n_turns(c->slash.conversation)) worker_clear(c->app->worker);
    say_printed(c);
    if (todo & SLASH_LOAD) chat_load(c);
    else if (todo & SLASH_SWITCHED) chat_restore(c);
    if (todo & SLASH_REPLY) chat_answer(c, 0, false);
    if (todo & SLASH_THEME) ui_set_theme(c->ui, settings_text(c->app->settings, SET_THEME));
    if (todo & SLASH_LEAVE) ui_leave(c->ui);
}

static void run_command(struct chat *c, const char *line) {
    unsigned todo;
    struct err e = {0};
    c->in_command = true;
    if (slash_run(&c->slash, line, !chat_is_ready(c), &todo, &e)) chat_say_error(c, &e);
    else act(c, todo);
    buf_free(&c->printed);
    c->in_command = false;
}

static void on_line(void *ctx, const char *text) {
    struct chat *c = ctx;
    if (slash_is_command(text)) run_command(c, text);
    else chat_send(c, slash_message(text));
    chat_refresh(c);
}

/* A running reply stops; messages that wait for it are sent all the same. While the first model loads there is nothing to stop but the program. */
static void on_interrupt(void *ctx) {
    struct chat *c = ctx;
    if (c->reply) worker_cancel(c->app->worker);
    else if (c->is_opening) ui_leave(c->ui);
}

static void on_wake(void *ctx) {
    struct chat *c = ctx;
    chat_events(c);
    chat_refresh(c);
}

static char **on_complete(void *ctx, const char *line, const char *word) {
    struct chat *c = ctx;
    return slash_complete(&c->slash, line, word);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

/* The store; only for reading where nothing is to be saved, and then only if a saved conversation was asked for. Where it cannot be opened the
 * chat goes on without, unless one was. */
static int open_store(struct chat *c, struct err *not_saved, struct err *e) {
    const struct settings *s = c->app->settings;
    bool asked = settings_text(s, SET_RESUME) || settings_bool(s, SET_CONTINUE);
    c->no_save = settings_bool(s, SET_NO_SAVE);
    if (c->no_save && !asked) return 0;
    int rc = app_open_store(c->app, c->no_save, not_saved);
    if (rc && (asked || rc != ERR_FAILED)) {
        *e = *not_saved;
        return rc;
    }
    c->not_saved = rc != 0;
    return 0;
}

static int open_conversation(struct chat *c, struct err *missing, struct err *e) {
    struct store_conversation row = {0};
    int rc = c->app->store ? opening_find(c->app, &row, e) : 0;
    if (!rc && row.id) {
        opening_adopt(c->app, &row, missing);
        rc = opening_resume(c->app, row.id, &c->slash.conversation, e);
    } else if (!rc) {
        opening_choose_persona(c->app, true, missing);
        rc = opening_new(c->app, settings_text(c->app->settings, SET_NAME), &c->slash.conversation, e);
    }
    store_conversation_free(&row);
    return rc;
}

/* A model that cannot be found is said before the terminal is taken. */
static int check_model(const struct chat *c, struct err *e) {
    struct session_options o;
    char *path = NULL;
    int rc = options_session(c->app->settings, &o, e);
    if (!rc) rc = app_find_model(c->app, &path, e);
    free(path);
    return rc;
}

static int open_ui(struct chat *c, struct err *e) {
    struct buf folder = {0}, history = {0};
    if (!settings_bool(c->app->settings, SET_NO_SAVE) && !paths_home(PATH_STATE, NULL, &folder, NULL) &&
        !paths_make_folder(buf_text(&folder), NULL)) {
        paths_join(buf_text(&folder), "history", &history);
    }
    struct ui_options o = {.plain = settings_bool(c->app->settings, SET_PLAIN), .theme = settings_text(c->app->settings, SET_THEME),
                           .history = history.len ? buf_text(&history) : NULL, .wake_fd = worker_wake_fd(c->app->worker)};
    struct ui_handlers h = {.ctx = c, .line = on_line, .interrupt = on_interrupt, .wake = on_wake, .complete = on_complete};
    int rc = ui_open(&c->ui, &o, &h, e);
    buf_free(&folder);
    buf_free(&history);
    return rc;
}

/* ---- leaving ------------------------------------------------------------------------------------------------- */

/* The terminal has been given back. What runs is stopped, what was written is kept, and a snapshot on its way is waited for. */
static void leave(struct chat *c) {
    struct worker_event ev;
    if (c->reply) worker_cancel(c->app->worker);
    while ((c->reply || c->save) && worker_wait(c->app->worker, &ev)) {
        bool last = ev.last;
        uint64_t request = ev.request;
        if (request == c->reply && ev.kind == WORKER_REPLY && ev.result) {
            store_ticket ticket;
            conversation_finish(c->slash.conversation, &ev.result->reply, &ticket, NULL);
        }
        if (last && request == c->reply) c->reply = 0;
        if (last && request == c->save) c->save = 0;
        worker_event_free(&ev);
    }
}

static void chat_free(struct chat *c) {
    if (c->result) worker_event_free(&(struct worker_event){.result = c->result});
    for (size_t i = 0; i < c->n_waiting; i++) free(c->waiting[i]);
    free(c->waiting);
    chat_view_free(c);
    conversation_close(c->slash.conversation);
}

static int run(struct chat *c, const struct err *not_saved, const struct err *missing, struct err *e) {
    int rc = open_ui(c, e);
    if (rc) return rc;
    chat_show(c);
    if (not_saved->code) chat_say(c, UI_ERROR, "not saved: %s", not_saved->text);
    if (missing->code) chat_say_error(c, missing);
    c->is_opening = true;
    chat_load(c);
    if (c->app->message) chat_send(c, c->app->message);
    chat_refresh(c);
    c->status = ui_run(c->ui);
    ui_close(c->ui);
    leave(c);
    if (c->fatal.code) *e = c->fatal;
    else opening_remember_persona(c->app);
    return c->fatal.code;
}

int chat_run(struct app *a) {
    struct chat c = {.app = a};
    struct err e = {0}, not_saved = {0}, missing = {0};
    c.slash = (struct slash){.app = a, .print = print_lines, .ctx = &c};
    int rc = open_store(&c, &not_saved, &e);
    if (!rc) rc = open_conversation(&c, &missing, &e);
    if (!rc) rc = check_model(&c, &e);
    if (rc && missing.code && !settings_text(a->settings, SET_MODEL)) e = missing; /* why there is no model */
    if (!rc) rc = app_start(a, &e);
    if (!rc) rc = run(&c, &not_saved, &missing, &e);
    chat_free(&c);
    return rc ? app_complain(&e) : c.status;
}
