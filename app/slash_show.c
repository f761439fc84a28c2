/* slash_show: the commands that only show something. See slash_do.h. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/process.h"
#include "app/slash_do.h"
#include "app/stats.h"
#include "config/utf8.h"

#define LIST_MAX 50 /* conversations in /list; `kvetch list` has all */

int slash_list(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)arg;
    (void)todo;
    struct store_conversation *list;
    size_t n;
    struct buf text = {0};
    if (!s->app->store) return err_set(e, ERR_USAGE, "conversations are not saved here");
    int rc = store_list(s->app->store, &list, &n, e);
    if (rc) return rc;
    int64_t in_use = conversation_row(s->conversation)->id;
    for (size_t i = 0; i < n; i++) {
        char when[32] = "";
        struct tm tm;
        time_t t = (time_t)list[i].updated;
        if (localtime_r(&t, &tm)) strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
        if (i < LIST_MAX) {
            buf_printf(&text, "%c %4lld  %s  %3lld turn%s  ", list[i].id == in_use ? '*' : ' ', (long long)list[i].id, when,
                       (long long)list[i].n_turns, list[i].n_turns == 1 ? " " : "s");
            utf8_add_line(*list[i].title ? list[i].title : "(no title)", &text);
            buf_add_char(&text, '\n');
        }
        store_conversation_free(&list[i]);
    }
    free(list);
    if (n > LIST_MAX) buf_printf(&text, "  and %zu more: kvetch list shows all\n", n - LIST_MAX);
    if (!n) buf_add_text(&text, "there is no saved conversation yet");
    return slash_print(s, &text, e);
}

int slash_stats(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)arg;
    (void)todo;
    struct session_stats st;
    if (!s->app->worker || !worker_get_stats(s->app->worker, &st)) return err_set(e, ERR_FAILED, "no model is loaded yet");
    struct buf out = {0};
    stats_add(&out, &st);
    return slash_print(s, &out, e);
}

/* One line of /context: what a message costs, and its beginning. */
static void add_message_line(const struct slash *s, struct model *model, size_t i, struct buf *out) {
    static const char *const role[] = {[CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "reply"};
    const struct store_message *m = conversation_message(s->conversation, i);
    bool marked = s->mark && i >= s->first_mark && i - s->first_mark < s->n_marks;
    bool left = marked && s->mark[i - s->first_mark].left;
    size_t n = 0;
    struct tokens t = {0};
    struct buf line = {0};
    if (marked) n = s->mark[i - s->first_mark].n_tokens;
    else if (m->n_ids) n = m->n_ids;
    else if (model && !model_tokenize(model, m->text, m->n_text, false, false, &t, NULL)) n = t.n;
    tokens_free(&t);
    conversation_make_title(m->text, 50, &line);
    buf_printf(out, "%c %-7s %6zu  %s%s\n", left ? '-' : ' ', role[m->role], n, buf_text(&line), m->pinned ? "  (pinned)" : "");
    buf_free(&line);
}

static void add_context_line(const struct kv_stats *kv, struct buf *out) {
    buf_printf(out, "%u cells used, %u committed, %u bound", kv->used, kv->committed, kv->bound);
    if (!kv->n_parked) return;
    buf_printf(out, "\n%u other conversation%s held ready in ", kv->n_parked, kv->n_parked == 1 ? "" : "s");
    stats_add_bytes(out, kv->parked_bytes);
}

int slash_context(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)arg;
    (void)todo;
    struct buf out = {0};
    struct session_stats st;
    struct model *model = s->app->worker ? worker_model(s->app->worker) : NULL;
    bool any_left = false;
    for (size_t i = 0; i < s->n_marks; i++) any_left |= s->mark[i].left;
    for (size_t i = 0; i < conversation_count(s->conversation); i++) {
        if (conversation_message(s->conversation, i)->n_text) add_message_line(s, model, i, &out);
    }
    if (!out.len) buf_add_text(&out, "nothing has been said yet\n");
    if (any_left) buf_add_text(&out, "- has left the context: the model no longer sees it\n");
    if (model && worker_get_stats(s->app->worker, &st))
        add_context_line(&st.kv, &out);
    return slash_print(s, &out, e);
}
