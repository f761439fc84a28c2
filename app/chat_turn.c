/* chat_turn: turns of a chat and what the engine says about them. See chat_parts.h. */
#include <stdlib.h>
#include <string.h>

#include "app/chat_parts.h"
#include "app/opening.h"
#include "app/process.h"
#include "app/report.h"
#include "app/snapshots.h"
#include "config/paths.h"

static struct conversation *conversation(const struct chat *c) { return c->slash.conversation; }

bool chat_is_ready(const struct chat *c) { return !c->load && !c->restore && !c->reply; }

/* ---- sending ------------------------------------------------------------------------------------------------- */

static void wait_with(struct chat *c, const char *text) {
    char **more = realloc(c->waiting, (c->n_waiting + 1) * sizeof *more);
    char *copy = strdup(text);
    if (more) c->waiting = more;
    if (!more || !copy) {
        free(copy);
        ui_set_input(c->ui, text);
        return;
    }
    chat_hide_waiting(c);
    c->waiting[c->n_waiting++] = copy;
    chat_show_waiting(c);
}

void chat_send(struct chat *c, const char *text) {
    if (!text[strspn(text, " \t\r\n")]) return;
    if (!chat_is_ready(c)) {
        wait_with(c, text);
        return;
    }
    struct err e = {0};
    store_ticket ticket;
    if (!worker_model(c->app->worker)) {
        ui_set_input(c->ui, text);
        chat_say(c, UI_ERROR, "no model is loaded: /persona NAME or /set model FILE loads one");
        return;
    }
    if (conversation_add_user(conversation(c), text, strlen(text), &ticket, &e)) {
        ui_set_input(c->ui, text);
        chat_say_error(c, &e);
        return;
    }
    chat_hide_waiting(c);
    chat_show_message(c, conversation_count(conversation(c)) - 1);
    chat_answer(c, ticket, true);
    chat_show_waiting(c);
}

void chat_send_waiting(struct chat *c) {
    if (!c->n_waiting || !chat_is_ready(c)) return;
    char *text = c->waiting[0];
    chat_hide_waiting(c);
    memmove(c->waiting, c->waiting + 1, --c->n_waiting * sizeof *c->waiting);
    chat_send(c, text);
    free(text);
}

/* On the engine thread: a message is on the disk before it is computed; where it cannot be saved the chat goes on all the same. */
static int wait_for_commit(void *ctx, uint64_t ticket, struct err *e) {
    (void)e;
    store_wait(ctx, ticket, NULL);
    return 0;
}

/* How the reply is sampled, for its row. NULL on no memory. */
static char *sampling_json(const struct sample_params *p) {
    struct buf b = {0};
    struct json *j = report_sampling(p);
    if (json_print(j, false, &b)) buf_clear(&b);
    json_free(j);
    return buf_take(&b);
}

static int ask(struct chat *c, uint64_t ticket, struct err *e) {
    struct model_info info;
    struct worker_turn t = {.conversation = conversation_key(conversation(c)), .n_max = options_predict(c->app->settings), .ticket = ticket, .start_ctx = c->app->store};
    size_t first;
    options_sampling(c->app->settings, &t.sampling);
    t.n_stop = settings_list(c->app->settings, SET_STOP, &t.stop);
    if (ticket) t.may_start = wait_for_commit;
    model_get_info(worker_model(c->app->worker), &info);
    char *sampling = sampling_json(&t.sampling);
    int rc = conversation_begin_reply(conversation(c), info.fingerprint, sampling, e);
    free(sampling);
    if (!rc) rc = conversation_prompt(conversation(c), info.fingerprint, &t.message, &t.n_messages, &first, e);
    if (!rc && !(c->reply = worker_reply(c->app->worker, &t))) rc = err_set(e, ERR_FAILED, "the engine has too much to do; try again");
    if (!rc) c->slash.first_mark = first;
    return rc;
}

void chat_answer(struct chat *c, uint64_t ticket, bool is_new_message) {
    struct err e = {0};
    c->is_new_message = is_new_message;
    c->is_writing = false;
    c->done = c->total = 0;
    c->reading_us = process_now_us();
    c->slash.n_marks = 0;
    if (ask(c, ticket, &e)) {
        conversation_drop_reply(conversation(c));
        chat_say_error(c, &e);
        return;
    }
    c->reply_id = chat_show_message(c, conversation_count(conversation(c)) - 1);
}

/* ---- loading and saving -------------------------------------------------------------------------------------- */

void chat_load(struct chat *c) {
    struct session_options o;
    struct err e = {0};
    char *path = NULL;
    int rc = options_session(c->app->settings, &o, &e);
    if (!rc) rc = app_find_model(c->app, &path, &e);
    if (!rc && !(c->load = worker_load(c->app->worker, path, &o))) rc = err_set(&e, ERR_FAILED, "the engine has too much to do; try again");
    if (rc) chat_say_error(c, &e);
    free(path);
}

/* Appends the snapshot's path; false where the conversation has none. */
static bool snapshot_path(const struct chat *c, struct buf *path) {
    int64_t id = conversation_row(conversation(c))->id;
    return c->app->store && id > 0 && !app_snapshot_path(c->app, id, path, NULL);
}

void chat_restore(struct chat *c) {
    struct buf path = {0};
    if (conversation_n_turns(conversation(c))) {
        bool is_kept = snapshot_path(c, &path) && paths_is_file(buf_text(&path));
        c->restore = worker_restore(c->app->worker, is_kept ? buf_text(&path) : NULL, conversation_key(conversation(c)));
    }
    buf_free(&path);
}

static void save_snapshot(struct chat *c) {
    struct buf path = {0};
    struct err e = {0};
    if (snapshot_path(c, &path) && !c->save && !c->not_saved && !c->no_save) {
        if (!paths_make_folder(c->app->cache_dir, &e)) c->save = worker_save(c->app->worker, buf_text(&path));
        else chat_event(c, "the cache is not saved: %s", e.text);
    }
    buf_free(&path);
}

struct trim {
    char *folder;
    int64_t keep;
};

/* On the store's thread. */
static void trim_snapshots(void *arg) {
    struct trim *t = arg;
    snapshots_trim(t->folder, 0, t->keep);
    free(t->folder);
    free(t);
}

static void bound_snapshots(const struct chat *c) {
    struct trim *t = calloc(1, sizeof *t);
    if (t) *t = (struct trim){.folder = strdup(c->app->cache_dir), .keep = conversation_row(conversation(c))->id};
    if (t && t->folder && store_run(c->app->store, trim_snapshots, t)) return;
    if (t) free(t->folder);
    free(t);
}

/* What is said from here on is this model's. */
static void note_model(struct chat *c) {
    struct model_info info;
    const struct store_conversation *row = conversation_row(conversation(c));
    model_get_info(worker_model(c->app->worker), &info);
    if (strcmp(row->model, info.path) != 0) conversation_set_model(conversation(c), row->persona, info.path, NULL);
}

static void on_loaded(struct chat *c, const struct err *e) {
    struct err does_not_fit = {0};
    struct buf warning = {0};
    c->load = 0;
    if (!e && opening_check_system(c->app, conversation(c), &does_not_fit)) e = &does_not_fit;
    if (e && c->is_opening) {
        c->fatal = *e;
        ui_leave(c->ui);
        return;
    }
    if (e) chat_say_error(c, e);
    c->is_opening = false;
    if (e) return;
    note_model(c);
    opening_warn_bound(c->app, &warning);
    if (warning.len) chat_say(c, UI_NOTICE, "%s", buf_text(&warning));
    buf_free(&warning);
    chat_restore(c);
}

/* "210 µs", "12 ms", "3.2 s" */
static void add_time(struct buf *out, double us) {
    if (us < 1e3) buf_printf(out, "%.0f µs", us);
    else if (us < 1e6) buf_printf(out, "%.0f ms", us / 1e3);
    else buf_printf(out, "%.1f s", us / 1e6);
}

static void on_restored(struct chat *c, const struct worker_event *ev, const struct err *e) {
    c->restore = 0;
    if (e && e->code == ERR_FAILED) {
        chat_say(c, UI_NOTICE, "%s: your next message has the conversation read again", e->text);
        return;
    }
    if (e) {
        chat_say(c, UI_NOTICE, "your next message has the conversation read again: %s", e->text);
        return;
    }
    struct buf time = {0};
    add_time(&time, ev->us);
    chat_say(c, UI_NOTICE, "resumed in %s: the cache is as it was left", buf_text(&time));
    buf_free(&time);
}

static void on_saved(struct chat *c, const struct worker_event *ev, const struct err *e) {
    c->save = 0;
    if (e) {
        chat_event(c, "the cache is not saved: %s", e->text);
        return;
    }
    struct buf time = {0};
    add_time(&time, ev->us);
    if (ev->bytes < 1 << 20) chat_event(c, "cache saved, %.0f KiB in %s", (double)ev->bytes / 1024, buf_text(&time));
    else chat_event(c, "cache saved, %.1f MiB in %s", (double)ev->bytes / 1048576, buf_text(&time));
    buf_free(&time);
    bound_snapshots(c);
}

/* ---- a reply's end ------------------------------------------------------------------------------------------- */

/* It was refused before anything was computed: the message goes back to where it came from. */
static void take_back(struct chat *c) {
    size_t i = conversation_count(conversation(c)) - 1;
    char *text = strdup(conversation_message(conversation(c), i)->text);
    ui_remove_from(c->ui, c->shown[i]);
    c->n_shown = i;
    conversation_take_back(conversation(c));
    if (text) ui_set_input(c->ui, text);
    free(text);
}

static void on_refused(struct chat *c, const struct err *e) {
    ui_remove_from(c->ui, c->reply_id);
    conversation_drop_reply(conversation(c));
    c->n_shown = conversation_count(conversation(c));
    if (c->is_new_message && (e->code == ERR_CONTEXT || e->code == ERR_USAGE)) take_back(c);
    if (e->code == ERR_CONTEXT) chat_say(c, UI_ERROR, "%s; /limit CELLS, /evict shift, /undo or /clear make room", e->text);
    else if (e->code != ERR_CANCELLED) chat_say_error(c, e);
    else chat_event(c, "stopped before the first word");
}

static void on_reply(struct chat *c, struct worker_event *ev) {
    struct err e = {0};
    store_ticket ticket;
    size_t i = conversation_count(conversation(c)) - 1;
    if (conversation_finish(conversation(c), &ev->result->reply, &ticket, &e)) chat_say_error(c, &e);
    if (conversation_count(conversation(c)) == i) { /* nothing came of it */
        ui_remove_from(c->ui, c->reply_id);
        c->n_shown = i;
    } else {
        chat_mark_message(c, i, !c->is_new_message);
    }
    const struct err *why = worker_event_error(ev);
    if (why && why->code != ERR_CANCELLED) chat_say_error(c, why); /* that it was stopped stands at its end */
    if (c->result) worker_event_free(&(struct worker_event){.result = c->result});
    c->result = ev->result;
    ev->result = NULL;
    c->slash.mark = c->result->message;
    c->slash.n_marks = c->result->n_messages;
    chat_show_context(c);
}

static void on_turn_end(struct chat *c, struct worker_event *ev) {
    chat_hide_waiting(c);
    c->reply = 0;
    bool has_reply = ev->kind == WORKER_REPLY && ev->result;
    if (has_reply) on_reply(c, ev);
    else on_refused(c, worker_event_error(ev));
    chat_say_later(c);
    chat_show_waiting(c);
    if (has_reply && !c->n_waiting) save_snapshot(c);
}

/* ---- events -------------------------------------------------------------------------------------------------- */

static void say_left(struct chat *c, size_t turns, size_t tokens) {
    struct session_stats st = {0};
    struct buf left = {0};
    worker_get_stats(c->app->worker, &st);
    report_left(turns, tokens, st.kv.evict, &left);
    chat_event(c, "%s", buf_text(&left));
    buf_free(&left);
}

static void on_plan(struct chat *c, const struct worker_event *ev) {
    c->done = 0;
    c->total = ev->n_todo;
    c->reading_us = process_now_us();
    if (ev->evicted_tokens) say_left(c, ev->evicted_turns, ev->evicted_tokens);
}

static void on_text(struct chat *c, const struct worker_event *ev) {
    struct err e = {0};
    c->is_writing = true;
    ui_append(c->ui, c->reply_id, ev->text, ev->n_text);
    if (conversation_extend(conversation(c), ev->text, ev->n_text, process_now_us(), &e)) chat_event(c, "%s", e.text);
}

static void on_cache(struct chat *c, const struct kv_event *ev) {
    double now = process_now_us();
    if (now >= c->flash_us + CHAT_FLASH_US) { /* where they come fast, that it writes is seen as well */
        c->flash_us = now + CHAT_FLASH_US;
        c->flash = ev->kind == KV_EVENT_EVICT ? UI_EVICTING : UI_GROWING;
    }
    switch (ev->kind) {
    case KV_EVENT_GROW: chat_event(c, "grew to %u cells in %.0f µs", ev->cells_after, ev->us); break;
    case KV_EVENT_SHRINK: chat_event(c, "shrank to %u cells in %.0f µs", ev->cells_after, ev->us); break;
    case KV_EVENT_REFUSED: chat_event(c, "cannot grow beyond %u cells: %s", ev->cells_before, ev->reason); break;
    case KV_EVENT_FORGET: chat_event(c, "another conversation's %u tokens are no longer held ready: %s", ev->evicted_tokens, ev->reason); break;
    case KV_EVENT_MODE: chat_event(c, "at the bound this model's context does %s", ev->reason); break;
    case KV_EVENT_MEMORY: chat_say(c, UI_NOTICE, "%s", ev->reason); break; /* too long for the bar, and it stays true */
    case KV_EVENT_EVICT:
        say_left(c, ev->evicted_turns, ev->evicted_tokens);
        break;
    }
}

void chat_handle(struct chat *c, struct worker_event *ev) {
    const struct err *e = worker_event_error(ev);
    switch (ev->kind) {
    case WORKER_LOADING: break;
    case WORKER_PLAN: on_plan(c, ev); break;
    case WORKER_PROGRESS:
        if (ev->done <= c->done) c->reading_us = process_now_us(); /* what stays at the bound, once more */
        c->done = ev->done;
        c->total = ev->total;
        break;
    case WORKER_TEXT: on_text(c, ev); break;
    case WORKER_CACHE: on_cache(c, &ev->cache); break;
    case WORKER_REPLY:
    case WORKER_DONE:
    case WORKER_ERROR:
        if (ev->request == c->load) on_loaded(c, e);
        else if (ev->request == c->restore) on_restored(c, ev, e);
        else if (ev->request == c->save) on_saved(c, ev, e);
        else if (ev->request == c->reply) on_turn_end(c, ev);
        else if (e && e->code != ERR_CANCELLED) chat_say_error(c, e);
        break;
    }
    worker_event_free(ev);
}

void chat_events(struct chat *c) {
    struct worker_event ev;
    struct err e = {0};
    worker_drain(c->app->worker);
    while (worker_pop(c->app->worker, &ev)) chat_handle(c, &ev);
    if (c->reply && conversation_extend(conversation(c), "", 0, process_now_us(), &e)) chat_event(c, "%s", e.text);
    chat_send_waiting(c);
}
