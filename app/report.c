/* report: see report.h. */
#include "app/report.h"

#include <math.h>
#include <time.h>

#include "app/process.h"

static double per_second(double n, double us) { return us > 0 ? round(n * 1e9 / us) / 1e3 : 0; }
/* Clocks count in nanoseconds; more digits would be noise. */
static void add_us(struct json *j, const char *key, double us) { json_add_number(j, key, round(us * 1e3) / 1e3); }

static struct json *report_messages(const struct report_turn *t) {
    struct json *list = json_array();
    for (size_t i = 0; i < t->n_messages; i++) {
        const struct chat_message *m = &t->message[i];
        struct json *j = json_object();
        json_add_string(j, "role", chat_role_name(m->role));
        json_add_text(j, "content", m->text, m->n_text);
        json_add(list, NULL, j);
    }
    return list;
}

static struct json *report_usage(const struct reply *r, size_t n_read) {
    struct json *j = json_object();
    json_add_number(j, "prompt", (double)r->n_prompt);
    json_add_number(j, "read", (double)n_read);
    json_add_number(j, "cached", (double)r->n_cached);
    json_add_number(j, "completion", (double)r->n_completion);
    return j;
}

static struct json *report_timings(const struct reply *r, size_t n_read) {
    struct json *j = json_object();
    add_us(j, "prompt_us", r->prompt_us);
    json_add_number(j, "prompt_per_s", per_second((double)n_read, r->prompt_us));
    add_us(j, "first_token_us", r->first_token_us);
    add_us(j, "completion_us", r->completion_us);
    json_add_number(j, "completion_per_s", per_second((double)r->n_completion, r->completion_us));
    return j;
}

struct json *report_sampling(const struct sample_params *p) {
    struct json *j = json_object();
    json_add_number(j, "temp", p->temp);
    json_add_number(j, "top_k", p->top_k);
    json_add_number(j, "top_p", p->top_p);
    json_add_number(j, "min_p", p->min_p);
    json_add_number(j, "repeat_penalty", p->repeat_penalty);
    json_add_number(j, "repeat_last_n", p->repeat_last_n);
    json_add_number(j, "presence_penalty", p->presence_penalty);
    json_add_number(j, "frequency_penalty", p->frequency_penalty);
    if (p->seed == UINT64_MAX) json_add_null(j, "seed");
    else json_add_number(j, "seed", (double)p->seed);
    return j;
}

static struct json *report_context(const struct session_stats *st) {
    struct json *j = json_object();
    json_add_number(j, "used", st->kv.used);
    json_add_number(j, "committed", st->kv.committed);
    json_add_number(j, "spare", st->kv.spare);
    json_add_number(j, "bound", st->kv.bound);
    json_add_number(j, "evicted_turns", (double)st->kv.evicted_turns);
    json_add_number(j, "evicted_tokens", (double)st->kv.evicted_tokens);
    json_add_number(j, "growths", st->kv.n_grow);
    json_add_number(j, "shrinks", st->kv.n_shrink);
    return j;
}

static struct json *report_memory(const struct session_stats *st) {
    struct json *j = json_object();
    json_add_number(j, "rss_bytes", (double)process_rss_bytes());
    json_add_number(j, "cache_used_bytes", (double)st->kv.used_bytes);
    json_add_number(j, "cache_committed_bytes", (double)st->kv.committed_bytes);
    json_add_number(j, "cache_reserved_bytes", (double)st->kv.reserved_bytes);
    json_add_number(j, "ring_bytes", (double)st->kv.ring_bytes);
    json_add_number(j, "state_bytes", (double)st->kv.state_bytes);
    json_add_number(j, "checkpoint_bytes", (double)st->kv.checkpoint_bytes);
    json_add_number(j, "parked", st->kv.n_parked);
    json_add_number(j, "parked_bytes", (double)st->kv.parked_bytes);
    json_add_number(j, "weight_resident_bytes", (double)st->weight_resident_bytes);
    json_add_number(j, "weight_mapped_bytes", (double)st->weight_mapped_bytes);
    json_add_number(j, "room_bytes", (double)st->kv.room_bytes);
    json_add_string(j, "room_limit", st->kv.room_limit);
    return j;
}

/* id, model and persona: what the start of a conversation, each of its turns and the list of all say alike. */
static void add_identity(struct json *j, int64_t id, const char *model_path, const char *persona) {
    if (id) json_add_number(j, "id", (double)id);
    else json_add_null(j, "id");
    json_add_string(j, "model", model_path && *model_path ? model_path : NULL);
    json_add_string(j, "persona", persona && *persona ? persona : NULL);
}

static void add_own_identity(struct json *j, struct app *a, int64_t id) {
    struct model_info info = {0};
    struct model *m = worker_model(a->worker);
    if (m) model_get_info(m, &info);
    add_identity(j, id, info.path, a->persona ? a->persona->id : NULL);
    json_add_string(j, "model_name", info.name);
}

struct json *report_event(const char *event) {
    struct json *j = json_object();
    json_add_string(j, "event", event);
    return j;
}

struct json *report_turn(const struct report_turn *t, const char *event) {
    struct session_stats st = {0};
    worker_get_stats(t->app->worker, &st);
    struct json *j = event ? report_event(event) : json_object();
    add_own_identity(j, t->app, t->id);
    json_add(j, "messages", report_messages(t));
    json_add_text(j, "response", t->reply->text.data, t->reply->text.len);
    json_add_null(j, "reasoning");
    json_add_string(j, "finish_reason", finish_name(t->reply->finish));
    json_add(j, "usage", report_usage(t->reply, t->n_read));
    json_add(j, "timings", report_timings(t->reply, t->n_read));
    json_add(j, "context", report_context(&st));
    json_add(j, "memory", report_memory(&st));
    json_add_number(j, "schema_version", REPORT_VERSION);
    return j;
}

struct json *report_start(struct app *a, int64_t id) {
    struct session_stats st = {0};
    worker_get_stats(a->worker, &st);
    struct json *j = report_event("start");
    add_own_identity(j, a, id);
    json_add(j, "context", report_context(&st));
    json_add_number(j, "schema_version", REPORT_VERSION);
    return j;
}

struct json *report_token(const struct worker_event *ev) {
    struct json *j = report_event("token");
    json_add_text(j, "text", ev->text, ev->n_text);
    json_add_number(j, "token", ev->token);
    return j;
}

struct json *report_cache(const struct kv_event *ev) {
    static const char *const NAME[] = {[KV_EVENT_GROW] = "grow", [KV_EVENT_SHRINK] = "shrink", [KV_EVENT_EVICT] = "evict", [KV_EVENT_REFUSED] = "refused", [KV_EVENT_MODE] = "mode",
                                       [KV_EVENT_FORGET] = "forget", [KV_EVENT_MEMORY] = "memory"};
    struct json *j = report_event(NAME[ev->kind]);
    if (ev->kind == KV_EVENT_EVICT) {
        json_add_number(j, "turns", ev->evicted_turns);
        json_add_number(j, "tokens", ev->evicted_tokens);
    } else if (ev->kind == KV_EVENT_FORGET) {
        json_add_number(j, "tokens", ev->evicted_tokens);
    } else if (ev->kind != KV_EVENT_MODE && ev->kind != KV_EVENT_MEMORY) {
        json_add_number(j, "cells_before", ev->cells_before);
        json_add_number(j, "cells", ev->cells_after);
        json_add_number(j, "bytes_before", (double)ev->bytes_before);
        json_add_number(j, "bytes", (double)ev->bytes_after);
    }
    add_us(j, "us", ev->us);
    json_add_string(j, "reason", ev->reason);
    return j;
}

const char *report_time(int64_t unix_seconds, char out[REPORT_TIME_BYTES]) {
    time_t t = (time_t)unix_seconds;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || !strftime(out, REPORT_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm)) *out = 0;
    return out;
}

struct json *report_conversation(const struct store_conversation *c) {
    struct json *j = json_object();
    char when[REPORT_TIME_BYTES];
    add_identity(j, c->id, c->model, c->persona);
    json_add_string(j, "created", report_time(c->created, when));
    json_add_string(j, "updated", report_time(c->updated, when));
    json_add_number(j, "turns", (double)c->n_turns);
    json_add_string(j, "title", *c->title ? c->title : NULL);
    json_add_number(j, "schema_version", REPORT_VERSION);
    return j;
}

void report_left(size_t turns, size_t tokens, enum kv_evict mode, struct buf *out) {
    const char *s = tokens == 1 ? "" : "s";
    if (turns) buf_printf(out, "%zu turn%s (%zu token%s) left the context", turns, turns == 1 ? "" : "s", tokens, s);
    else buf_printf(out, "the oldest %zu token%s%s left the context", tokens, s, mode == KV_EVICT_SLIDE ? "" : " of this turn");
}

struct json *report_error(const struct err *e) {
    struct json *j = report_event("error");
    add_us(j, "status", err_status(e->code));
    json_add_string(j, "message", e->text);
    return j;
}
