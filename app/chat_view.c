/* chat_view: the transcript, notices and the status bar of a chat. See chat_parts.h. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "app/chat_parts.h"
#include "app/process.h"

/* ---- notices ------------------------------------------------------------------------------------------------- */

static void say_later(struct chat *c, enum ui_role role, char *text) {
    struct chat_notice *more = realloc(c->later, (c->n_later + 1) * sizeof *more);
    if (!more) {
        free(text);
        return;
    }
    c->later = more;
    c->later[c->n_later++] = (struct chat_notice){role, text};
}

static void say_text(struct chat *c, enum ui_role role, char *text) {
    if (!text) return;
    if (c->reply && !c->in_command) {
        say_later(c, role, text);
        return;
    }
    chat_hide_waiting(c);
    ui_add(c->ui, ++c->last_id, role, text);
    chat_show_waiting(c);
    free(text);
}

void chat_say(struct chat *c, enum ui_role role, const char *fmt, ...) {
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    say_text(c, role, buf_take(&b));
}

void chat_say_error(struct chat *c, const struct err *e) { chat_say(c, UI_ERROR, "%s", e->text[0] ? e->text : "something went wrong"); }

void chat_say_later(struct chat *c) {
    for (size_t i = 0; i < c->n_later; i++) say_text(c, c->later[i].role, c->later[i].text);
    c->n_later = 0;
}

void chat_event(struct chat *c, const char *fmt, ...) {
    va_list ap;
    buf_clear(&c->event);
    va_start(ap, fmt);
    buf_vprintf(&c->event, fmt, ap);
    va_end(ap);
    c->event_us = process_now_us() + CHAT_EVENT_US;
}

/* ---- the transcript ------------------------------------------------------------------------------------------ */

static void set_shown(struct chat *c, size_t i, uint64_t id) {
    if (i >= c->cap_shown) {
        size_t cap = c->cap_shown ? 2 * c->cap_shown : 64;
        if (cap <= i) cap = i + 1;
        uint64_t *more = realloc(c->shown, cap * sizeof *more);
        if (!more) return;
        c->shown = more;
        c->cap_shown = cap;
    }
    for (; c->n_shown < i; c->n_shown++) c->shown[c->n_shown] = 0;
    c->shown[i] = id;
    c->n_shown = i + 1;
}

static bool is_transcript(const struct store_message *m) { return m->role != CHAT_SYSTEM && strcmp(m->finish_reason, STORE_EXAMPLE) != 0; }

/* "cut off", "stopped", "12 tokens", "‹2/3›" */
static void note_of(const struct chat *c, size_t i, bool may_have_siblings, struct buf *out) {
    static const struct { const char *reason, *note; } notes[] = {
        {"cancel", "stopped"}, {"error", "broke off by an error"}, {"length", "reached the limit of tokens"}, {"context", "the context is full"}};
    const struct store_message *m = conversation_message(c->slash.conversation, i);
    for (size_t k = 0; k < sizeof notes / sizeof *notes; k++) if (!strcmp(m->finish_reason, notes[k].reason)) buf_add_text(out, notes[k].note);
    if (m->role == CHAT_ASSISTANT && m->partial && !out->len) buf_add_text(out, "cut off");
    size_t place = 1, of = 1;
    if (may_have_siblings) conversation_place(c->slash.conversation, i, &place, &of);
    if (of > 1) buf_printf(out, "%s‹%zu/%zu›", out->len ? " " : "", place, of);
}

void chat_mark_message(struct chat *c, size_t i, bool may_have_siblings) {
    struct buf note = {0};
    if (i >= c->n_shown || !c->shown[i]) return;
    note_of(c, i, may_have_siblings, &note);
    ui_mark(c->ui, c->shown[i], buf_text(&note));
    buf_free(&note);
}

uint64_t chat_show_message(struct chat *c, size_t i) {
    const struct store_message *m = conversation_message(c->slash.conversation, i);
    uint64_t id = ++c->last_id;
    ui_add(c->ui, id, m->role == CHAT_USER ? UI_USER : UI_ASSISTANT, m->text);
    set_shown(c, i, id);
    return id;
}

void chat_show(struct chat *c) {
    struct conversation *conversation = c->slash.conversation;
    ui_clear(c->ui);
    c->n_shown = 0;
    c->waiting_id = 0;
    const char *greeting = settings_text(c->app->settings, SET_GREETING);
    if (!conversation_n_turns(conversation) && greeting && *greeting) ui_add(c->ui, ++c->last_id, UI_ASSISTANT, greeting);
    for (size_t i = 0; i < conversation_count(conversation); i++) {
        if (!is_transcript(conversation_message(conversation, i))) continue;
        chat_show_message(c, i);
        chat_mark_message(c, i, true);
    }
    chat_show_context(c);
    chat_show_waiting(c);
}

void chat_cut(struct chat *c) {
    size_t n = conversation_count(c->slash.conversation), i = n;
    while (i < c->n_shown && !c->shown[i]) i++;
    if (i < c->n_shown) ui_remove_from(c->ui, c->shown[i]);
    if (c->n_shown > n) c->n_shown = n;
    chat_show_context(c);
}

void chat_hide_waiting(struct chat *c) {
    if (c->waiting_id) ui_remove_from(c->ui, c->waiting_id);
    c->waiting_id = 0;
}

void chat_show_waiting(struct chat *c) {
    for (size_t i = 0; i < c->n_waiting; i++) {
        struct buf b = {0};
        buf_printf(&b, "waits for its turn: %s", c->waiting[i]);
        uint64_t id = ++c->last_id;
        if (!c->waiting_id) c->waiting_id = id;
        ui_add(c->ui, id, UI_NOTICE, buf_text(&b));
        buf_free(&b);
    }
}

/* The first message that is still seen after one that is not. */
void chat_show_context(struct chat *c) {
    const struct slash *s = &c->slash;
    uint64_t begins = 0;
    bool any_left = false;
    for (size_t k = 0; k < s->n_marks && !begins; k++) {
        size_t i = s->first_mark + k;
        if (s->mark[k].left) any_left = true;
        else if (any_left && i < c->n_shown) begins = c->shown[i];
    }
    ui_context_begins(c->ui, begins);
}

/* ---- the status bar ------------------------------------------------------------------------------------------ */

static void check_saving(struct chat *c) {
    if (c->no_save) return;
    struct err why = {0};
    bool failed = c->app->store && store_failed(c->app->store, &why);
    if (!c->app->store) failed = c->not_saved; /* said when it was opened */
    if (failed && !c->not_saved) chat_say(c, UI_ERROR, "not saved: %s", why.text);
    if (!failed && c->not_saved) chat_say(c, UI_NOTICE, "saved again");
    c->not_saved = failed;
    if (conversation_diverged(c->slash.conversation) && !c->told_diverged) {
        c->told_diverged = true;
        chat_say(c, UI_NOTICE, "another program writes to this conversation too: what is said here goes on in a branch of its own");
    }
}

static enum ui_state state_of(const struct chat *c, double now) {
    if (c->load || c->restore) return UI_LOADING;
    if (c->reply && now < c->flash_us) return c->flash;
    if (c->reply) return c->is_writing && c->done >= c->total ? UI_WRITING : UI_READING;
    return c->save ? UI_SAVING : UI_IDLE;
}

static void fill_progress(const struct chat *c, struct ui_status *st, double now) {
    st->progress = c->total ? (double)c->done / (double)c->total : 0;
    st->seconds_left = -1;
    if (c->done && c->done < c->total) st->seconds_left = (now - c->reading_us) / 1e6 * (double)(c->total - c->done) / (double)c->done;
}

void chat_refresh(struct chat *c) {
    double now = process_now_us();
    struct session_stats s = {0};
    check_saving(c);
    bool loaded = worker_get_stats(c->app->worker, &s);
    const struct store_conversation *row = conversation_row(c->slash.conversation);
    struct buf type = {0}, name = {0};
    if (loaded) buf_printf(&type, strcmp(s.type_k, s.type_v) ? "%s/%s" : "%s", s.type_k, s.type_v);
    if (*row->title) buf_add_text(&name, row->title);
    else if (row->id > 0) buf_printf(&name, "#%lld", (long long)row->id);
    struct ui_status st = {.state = state_of(c, now), .used = s.kv.used, .committed = s.kv.committed, .bound = s.kv.bound,
                           .cache_bytes = s.kv.committed_bytes, .cache_type = buf_text(&type), .n_grow = s.kv.n_grow, .n_shrink = s.kv.n_shrink,
                           .rss_bytes = process_rss_bytes(), .room_bytes = s.kv.room_bytes, .room_limit = s.kv.room_limit,
                           .conversation = buf_text(&name), .persona = c->app->persona ? c->app->persona->name : "",
                           .not_saved = c->not_saved || c->no_save,
                           .event = now < c->event_us ? buf_text(&c->event) : ""};
    if (!loaded || !st.room_limit) st.room_limit = "";
    st.tokens_per_s = c->reply && !c->is_writing ? s.prefill_tps : s.decode_tps;
    fill_progress(c, &st, now);
    ui_set_status(c->ui, &st);
    buf_free(&type);
    buf_free(&name);
}

void chat_view_free(struct chat *c) {
    for (size_t i = 0; i < c->n_later; i++) free(c->later[i].text);
    free(c->later);
    free(c->shown);
    buf_free(&c->event);
}
