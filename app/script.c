/* script: see script.h. */
#include "app/script.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/conversation.h"
#include "app/opening.h"
#include "app/process.h"
#include "app/report.h"
#include "app/script_input.h"
#include "app/script_output.h"
#include "app/slash.h"
#include "app/snapshots.h"
#include "app/stats.h"
#include "config/paths.h"

enum script_form { FORM_TEXT, FORM_JSON, FORM_JSONL };

struct script {
    struct app *app;
    enum script_form form;
    bool stream;
    struct script_input in;
    struct script_output out;
    struct worker_result *result; /* of the last reply; its marks are lent to slash */
    struct slash slash;           /* holds the conversation, and serves --commands */
    bool saving;                  /* it was asked for: the conversation is written, and its cache at the end */
    bool resumed;                 /* the conversation is a saved one */
    uint64_t fingerprint;         /* of the model */
    size_t n_turns;
    double read_us;               /* when reading the prompt began; 0 once there is text */
    size_t n_read;                /* tokens of it that had to be computed */
};

/* ---- signals ------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t stopped_by; /* the signal, 0: none */
static struct worker *volatile signal_worker;
static volatile sig_atomic_t signal_null = -1; /* /dev/null */

/* A read of stdin that has begun is interrupted; one that is about to begin finds an end. */
static void on_signal(int sig) {
    int saved = errno;
    stopped_by = sig;
    if (signal_worker) worker_cancel(signal_worker);
    if (signal_null >= 0) dup2(signal_null, STDIN_FILENO);
    errno = saved;
}

/* The first one stops the reply and keeps what is there, a second one ends the program at once. */
static void catch_signals(struct worker *w) {
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    signal_worker = w;
    if (signal_null < 0) signal_null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

/* ---- what is said -------------------------------------------------------------------------------------------- */

static void print_json(struct script *s, struct json *j) {
    struct buf line = {0};
    if (!json_print(j, false, &line)) script_output_line(&s->out, line.data, line.len);
    else script_output_notice(&s->out, "no memory to print an event");
    buf_free(&line);
    json_free(j);
}

static void say_loading(struct script *s) {
    if (s->out.on_terminal) script_output_progress(&s->out, "loading the model");
}

static void say_progress(struct script *s, const struct worker_event *ev) {
    if (s->form == FORM_JSONL) {
        struct json *j = report_event("progress");
        json_add_number(j, "done", (double)ev->done);
        json_add_number(j, "total", (double)ev->total);
        print_json(s, j);
        return;
    }
    if (ev->done >= ev->total || s->read_us <= 0) return;
    double us = process_now_us() - s->read_us;
    struct buf b = {0};
    buf_printf(&b, "reading the prompt: %zu of %zu tokens", ev->done, ev->total);
    if (ev->done) buf_printf(&b, ", %.0f s left", us * (double)(ev->total - ev->done) / (double)ev->done / 1e6);
    script_output_progress(&s->out, buf_text(&b));
    buf_free(&b);
}

static bool is_verbose(const struct script *s) { return settings_bool(s->app->settings, SET_VERBOSE); }

static void say_cache(struct script *s, const struct kv_event *ev) {
    if (s->form == FORM_JSONL) print_json(s, report_cache(ev));
    switch (ev->kind) {
    case KV_EVENT_GROW:
    case KV_EVENT_SHRINK:
        script_output_notice(&s->out, "the context %s from %u to %u cells in %.0f us (%s)", ev->kind == KV_EVENT_GROW ? "grew" : "shrank",
                             ev->cells_before, ev->cells_after, ev->us, ev->reason);
        break;
    case KV_EVENT_EVICT: /* there may be many: the statistics tell what left in all */
        if (is_verbose(s)) script_output_notice(&s->out, "%u tokens left the context in %.0f us (%s)", ev->evicted_tokens, ev->us, ev->reason);
        break;
    case KV_EVENT_REFUSED: script_output_notice(&s->out, "the context could not grow beyond %u cells (%s)", ev->cells_before, ev->reason); break;
    case KV_EVENT_FORGET:
        script_output_notice(&s->out, "another conversation's %u tokens are no longer held ready (%s)", ev->evicted_tokens, ev->reason);
        break;
    case KV_EVENT_MODE: script_output_notice(&s->out, "at the bound this model's context does %s", ev->reason); break;
    case KV_EVENT_MEMORY: script_output_notice(&s->out, "%s", ev->reason); break;
    }
}

static void say_text(struct script *s, const struct worker_event *ev) {
    s->read_us = 0;
    /* What this cannot keep for want of memory, the end of the reply brings. */
    conversation_extend(s->slash.conversation, ev->text, ev->n_text, process_now_us(), NULL);
    if (s->form == FORM_JSONL) print_json(s, report_token(ev));
    else if (s->form == FORM_TEXT && s->stream) script_output_text(&s->out, ev->text, ev->n_text);
}

static void say_figures(struct script *s, const struct session_stats *st) {
    struct buf figures = {0};
    stats_add(&figures, st);
    for (const char *at = buf_text(&figures); *at;) {
        size_t n = strcspn(at, "\n");
        script_output_notice(&s->out, "%.*s", (int)n, at);
        at += n + (at[n] == '\n');
    }
    buf_free(&figures);
}

static void say_statistics(struct script *s, const struct reply *r) {
    struct session_stats st = {0};
    worker_get_stats(s->app->worker, &st);
    if (r->evicted_tokens) {
        struct buf left = {0};
        report_left(r->evicted_turns, r->evicted_tokens, st.kv.evict, &left);
        script_output_notice(&s->out, "%s", buf_text(&left));
        buf_free(&left);
    }
    script_output_notice(&s->out, "%zu tokens read (%zu cached) in %.2f s, %zu written in %.2f s (%.1f t/s), %s; ctx %u/%u of %u", s->n_read, r->n_cached,
                         r->prompt_us / 1e6, r->n_completion, r->completion_us / 1e6,
                         r->completion_us > 0 ? (double)r->n_completion * 1e6 / r->completion_us : 0.0, finish_name(r->finish), st.kv.used,
                         st.kv.committed, st.kv.bound);
    if (is_verbose(s)) say_figures(s, &st);
}

/* ---- the engine thread's events ------------------------------------------------------------------------------ */

/* Takes events until the request is over. The last event stays in *last, to be freed by the caller. */
static void follow(struct script *s, uint64_t request, struct worker_event *last) {
    struct worker *w = s->app->worker;
    if (stopped_by || s->out.failed) worker_cancel(w);
    while (worker_wait(w, last)) {
        switch (last->kind) {
        case WORKER_LOADING: say_loading(s); break;
        case WORKER_PLAN:
            s->read_us = process_now_us();
            s->n_read = last->n_todo;
            break;
        case WORKER_PROGRESS: say_progress(s, last); break;
        case WORKER_TEXT: say_text(s, last); break;
        case WORKER_CACHE: say_cache(s, &last->cache); break;
        case WORKER_REPLY:
        case WORKER_DONE:
        case WORKER_ERROR: break;
        }
        if (s->out.failed) worker_cancel(w);
        if (last->last && last->request == request) return;
        if (last->kind == WORKER_ERROR) script_output_notice(&s->out, "%s", worker_event_error(last)->text); /* of a command's request */
        worker_event_free(last);
    }
}

/* 0, or the error with which the request ended. */
static int finish_request(struct script *s, uint64_t request, struct worker_event *last, struct err *e) {
    if (!request) return e->code ? e->code : err_set(e, ERR_MEMORY, "no memory to ask the engine");
    follow(s, request, last);
    if (last->kind != WORKER_ERROR) return 0;
    *e = *worker_event_error(last);
    return e->code;
}

/* ---- the conversation ---------------------------------------------------------------------------------------- */

static int resume(struct script *s, struct err *e) {
    struct store_conversation row;
    struct err missing = {0};
    int rc = opening_find(s->app, &row, e);
    if (!rc) {
        opening_adopt(s->app, &row, &missing);
        rc = opening_resume(s->app, row.id, &s->slash.conversation, e);
    }
    if (missing.code) script_output_notice(&s->out, "%s", missing.text);
    store_conversation_free(&row);
    s->resumed = true;
    return rc;
}

/* Of two conversations of one name neither could be resumed by it. */
static int check_name(struct script *s, struct err *e) {
    const char *name = conversation_row(s->slash.conversation)->title;
    bool taken = false;
    int rc = *name ? store_has_title(s->app->store, name, &taken, e) : 0;
    if (rc || !taken) return rc;
    return err_set(e, ERR_USAGE, "there is a conversation \"%s\" already: --resume goes on with it, another --name begins another", name);
}

/* A saved conversation, or a new one, which is written only where that was asked for. */
static int open_conversation(struct script *s, struct err *e) {
    const struct settings *set = s->app->settings;
    bool old = settings_text(set, SET_RESUME) || settings_bool(set, SET_CONTINUE);
    s->saving = (old || settings_text(set, SET_NAME)) && !settings_bool(set, SET_NO_SAVE);
    int rc = old || s->saving ? app_open_store(s->app, !s->saving, e) : 0;
    if (rc) return rc;
    if (old) return resume(s, e);
    opening_choose_persona(s->app, false, NULL);
    rc = opening_new(s->app, settings_text(set, SET_NAME), &s->slash.conversation, e);
    return rc || !s->saving ? rc : check_name(s, e);
}

/* 0: of none that is in the store. */
static int64_t conversation_id(const struct script *s) {
    int64_t id = conversation_row(s->slash.conversation)->id;
    return id > 0 ? id : 0;
}

/* The gate of a turn that is saved: what cannot be written is not answered. */
static int wait_for_store(void *store, uint64_t ticket, struct err *e) { return store_wait(store, ticket, e); }

/* ---- turns --------------------------------------------------------------------------------------------------- */

/* What a reply that ended early means for the script: 0 where it ended as replies do. */
static int judge_reply(const struct worker_event *last, struct err *e) {
    const struct err *why = worker_event_error(last);
    switch (last->result->reply.finish) {
    case FINISH_NONE:
    case FINISH_STOP:
    case FINISH_LENGTH: return 0;
    case FINISH_CONTEXT: return err_set(e, ERR_CONTEXT, "the context is full, and --evict stop lets nothing leave it");
    case FINISH_CANCEL: return err_set(e, ERR_CANCELLED, "interrupted");
    case FINISH_ERROR: break;
    }
    if (why) *e = *why;
    else err_set(e, ERR_FAILED, "the reply ended by an error");
    return e->code;
}

/* Says the reply in the form that was asked for. It is still open in the conversation, so that the prompt is the messages before it. */
static int show_reply(struct script *s, const struct reply *r, struct err *e) {
    struct report_turn t = {.app = s->app, .id = conversation_id(s), .reply = r, .n_read = s->n_read};
    size_t first;
    int rc = conversation_prompt(s->slash.conversation, s->fingerprint, &t.message, &t.n_messages, &first, e);
    if (rc) return rc;
    if (s->form != FORM_TEXT) print_json(s, report_turn(&t, s->form == FORM_JSONL ? "turn" : NULL));
    else if (!s->stream) script_output_text(&s->out, r->text.data, r->text.len);
    if (s->form == FORM_TEXT) script_output_end(&s->out);
    say_statistics(s, r);
    return 0;
}

/* Asks the engine for a reply to the conversation as it stands, or for more of its last one. Returns the request's number, 0 where it could
 * not be made. */
static uint64_t ask_reply(struct script *s, store_ticket ticket, bool more, struct err *e) {
    const char *const *stop;
    struct buf settings = {0};
    struct worker_turn t = {.n_max = options_predict(s->app->settings), .start_ctx = s->app->store, .ticket = ticket,
                            .may_start = ticket ? wait_for_store : NULL,
                            .conversation = conversation_key(s->slash.conversation)};
    size_t first = 0;
    t.n_stop = settings_list(s->app->settings, SET_STOP, &stop);
    t.stop = stop;
    options_sampling(s->app->settings, &t.sampling);
    struct json *j = report_sampling(&t.sampling);
    json_print(j, false, &settings);
    json_free(j);
    int rc = more ? conversation_continue_reply(s->slash.conversation, s->fingerprint, e)
                  : conversation_begin_reply(s->slash.conversation, s->fingerprint, buf_text(&settings), e);
    if (!rc) rc = conversation_prompt(s->slash.conversation, s->fingerprint, &t.message, &t.n_messages, &first, e);
    s->slash.first_mark = first;
    buf_free(&settings);
    return rc ? 0 : worker_reply(s->app->worker, &t);
}

/* What the reply says of its prompt's messages is kept for /context. */
static void keep_marks(struct script *s, struct worker_event *last) {
    worker_event_free(&(struct worker_event){.result = s->result});
    s->result = last->result;
    last->result = NULL;
    s->slash.mark = s->result->message;
    s->slash.n_marks = s->result->n_messages;
}

static int run_turn(struct script *s, store_ticket ticket, bool more, struct err *e) {
    struct worker_event last = {0};
    int rc = finish_request(s, ask_reply(s, ticket, more, e), &last, e);
    if (rc) {
        conversation_drop_reply(s->slash.conversation);
        if (rc == ERR_CONTEXT && !more) conversation_take_back(s->slash.conversation);
    } else {
        store_ticket saved;
        struct reply *r = &last.result->reply;
        s->n_turns++;
        rc = show_reply(s, r, e);
        if (!rc) rc = conversation_finish(s->slash.conversation, r, &saved, e);
        if (!rc && s->saving && saved) rc = store_wait(s->app->store, saved, e);
        if (s->saving && conversation_diverged(s->slash.conversation))
            script_output_notice(&s->out, "another program has written to this conversation: this is a branch beside its");
        if (!rc) rc = judge_reply(&last, e);
        keep_marks(s, &last);
    }
    worker_event_free(&last);
    script_output_notices(&s->out);
    return rc;
}

/* ---- the model and its cache --------------------------------------------------------------------------------- */

static int load(struct script *s, struct err *e) {
    struct session_options o;
    struct worker_event last = {0};
    char *path = NULL;
    int rc = options_session(s->app->settings, &o, e);
    if (!rc) rc = app_find_model(s->app, &path, e);
    if (!rc) rc = app_start(s->app, e);
    if (!rc) {
        catch_signals(s->app->worker);
        rc = finish_request(s, worker_load(s->app->worker, path, &o), &last, e);
        worker_event_free(&last);
    }
    free(path);
    if (rc) return rc;
    struct model_info info;
    model_get_info(worker_model(s->app->worker), &info);
    s->fingerprint = info.fingerprint;
    struct buf warning = {0};
    opening_warn_bound(s->app, &warning);
    if (warning.len) script_output_notice(&s->out, "%s", buf_text(&warning));
    buf_free(&warning);
    return opening_check_system(s->app, s->slash.conversation, e);
}

/* Takes up the cache where the conversation was left. A cache that cannot be used costs time only: said, not an error. */
static int restore(struct script *s, struct err *e) {
    struct buf path = {0};
    struct worker_event last = {0};
    struct err why = {0};
    int64_t id = conversation_row(s->slash.conversation)->id;
    int rc = id > 0 ? app_snapshot_path(s->app, id, &path, e) : 0;
    const char *file = !rc && path.len && paths_is_file(buf_text(&path)) ? buf_text(&path) : NULL;
    int failed = rc ? 0 : finish_request(s, worker_restore(s->app->worker, file, conversation_key(s->slash.conversation)), &last, &why);
    if (failed && id <= 0) script_output_notice(&s->out, "the conversation is read again");
    else if (failed) script_output_notice(&s->out, "the conversation is read again: %s", file ? why.text : "no cache of it was kept");
    worker_event_free(&last);
    buf_free(&path);
    return rc;
}

/* After a command that has put another conversation in the place of the one before. */
static int switch_conversation(struct script *s, struct err *e) {
    struct worker_event last = {0};
    int rc = finish_request(s, worker_park(s->app->worker), &last, e);
    worker_event_free(&last);
    return rc || !conversation_n_turns(s->slash.conversation) ? rc : restore(s, e);
}

/* Keeps the cache of a saved conversation. Where that fails the conversation is still whole. */
static void keep_cache(struct script *s) {
    int64_t id = s->saving && s->slash.conversation ? conversation_row(s->slash.conversation)->id : 0;
    if (id <= 0 || !s->n_turns) return;
    struct buf path = {0};
    struct worker_event last = {0};
    struct err why = {0};
    int rc = app_snapshot_path(s->app, id, &path, &why);
    if (!rc) rc = paths_make_folder(s->app->cache_dir, &why);
    if (!rc) rc = finish_request(s, worker_save(s->app->worker, buf_text(&path)), &last, &why);
    if (!rc) snapshots_trim(s->app->cache_dir, 0, id);
    if (rc) script_output_notice(&s->out, "the cache of the conversation is not kept: %s", why.text);
    if (!rc && s->form == FORM_JSONL) {
        struct json *j = report_event("save");
        json_add_number(j, "id", (double)id);
        json_add_number(j, "bytes", (double)last.bytes);
        json_add_number(j, "us", round(last.us));
        print_json(s, j);
    }
    worker_event_free(&last);
    buf_free(&path);
}

/* ---- commands and turns -------------------------------------------------------------------------------------- */

static void print_command(void *ctx, const char *text) {
    struct script *s = ctx;
    script_output_notice(&s->out, "%s", text);
}

/* A slash command of a script that has --commands. *leave: it was the one to leave. */
static int run_command(struct script *s, const char *line, bool *leave, struct err *e) {
    unsigned todo;
    int rc = slash_run(&s->slash, line, false, &todo, e);
    if (!rc && todo & SLASH_LOAD) rc = load(s, e);
    if (!rc && todo & (SLASH_LOAD | SLASH_SWITCHED)) rc = switch_conversation(s, e);
    if (!rc && todo & SLASH_REPLY) rc = run_turn(s, 0, false, e);
    *leave = !rc && todo & SLASH_LEAVE;
    script_output_notices(&s->out);
    return rc;
}

static int run_message(struct script *s, const char *text, size_t n, struct err *e) {
    store_ticket ticket;
    int rc = conversation_add_user(s->slash.conversation, text, n, &ticket, e);
    if (!rc && s->saving && !ticket) rc = err_set(e, ERR_MEMORY, "no memory to save the message");
    return rc ? rc : run_turn(s, ticket, false, e);
}

static int run_turns(struct script *s, struct err *e) {
    struct buf text = {0};
    bool got = false, leave = false, commands = settings_bool(s->app->settings, SET_COMMANDS);
    int rc = script_input_next(&s->in, &text, &got, e);
    if (!rc && !got && s->resumed) rc = run_turn(s, 0, true, e);
    else if (!rc && !got && !s->in.turns) rc = err_set(e, ERR_USAGE, "no prompt: give one as an argument, with -p, -f or on stdin");
    while (!rc && got && !leave && !stopped_by && !s->out.failed) {
        const char *line = buf_text(&text), *message = commands ? slash_message(line) : line;
        if (commands && slash_is_command(line)) rc = run_command(s, line, &leave, e);
        else rc = run_message(s, message, text.len - (size_t)(message - line), e);
        if (!rc && !leave) rc = script_input_next(&s->in, &text, &got, e);
    }
    buf_free(&text);
    return rc;
}

/* The status for the end, and what is said about it. */
static int finish(struct script *s, int rc, const struct err *e) {
    int status = rc ? err_status(rc) : 0;
    if (stopped_by) status = 128 + stopped_by;
    if (s->out.failed) status = err_status(s->out.failed == EPIPE ? ERR_CLOSED : ERR_FAILED);
    if (s->form == FORM_JSONL) {
        if (rc) print_json(s, report_error(e));
        struct json *j = report_event("end");
        json_add_number(j, "status", status);
        json_add_number(j, "turns", (double)s->n_turns);
        print_json(s, j);
    }
    script_output_notices(&s->out);
    struct err cannot_write;
    if (s->out.failed && s->out.failed != EPIPE) {
        err_set(&cannot_write, ERR_FAILED, "stdout cannot be written: %s", strerror(s->out.failed));
        app_complain(&cannot_write);
    } else if (rc && !stopped_by && !s->out.failed) {
        app_complain(e);
    }
    return status;
}

int script_run(struct app *a) {
    struct script s = {.app = a, .stream = !settings_bool(a->settings, SET_NO_STREAM)};
    s.slash = (struct slash){.app = a, .print = print_command, .ctx = &s};
    struct err e = {0};
    if (settings_bool(a->settings, SET_JSON)) s.form = FORM_JSON;
    if (settings_bool(a->settings, SET_JSONL)) s.form = FORM_JSONL;
    const char *turns = settings_text(a->settings, SET_TURNS);
    script_output_init(&s.out, settings_bool(a->settings, SET_QUIET), turns && *turns == '0' ? 0 : '\n');
    int rc = script_input_open(&s.in, a->settings, a->message, a->name_stdin, &e);
    if (!rc) rc = open_conversation(&s, &e);
    if (!rc) rc = load(&s, &e);
    if (!rc && s.resumed) rc = restore(&s, &e);
    if (!rc && s.form == FORM_JSONL) {
        conversation_begin_row(s.slash.conversation);
        print_json(&s, report_start(a, conversation_id(&s)));
    }
    if (!rc) rc = run_turns(&s, &e);
    keep_cache(&s);
    signal_worker = NULL; /* it may go now */
    int status = finish(&s, rc, &e);
    conversation_close(s.slash.conversation);
    worker_event_free(&(struct worker_event){.result = s.result});
    script_input_close(&s.in);
    script_output_free(&s.out);
    return status;
}
