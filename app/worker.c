/* worker: see worker.h. The main thread has its half at the end; what is named serve_* and on_* runs on the engine thread. */
#include "app/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "app/process.h"
#include "app/queue.h"

#define MAX_REQUESTS 64
#define MAX_EVENTS 256

struct worker {
    pthread_t thread;
    struct queue *requests; /* of struct request * */
    struct queue *events;   /* of struct worker_event */
    uint64_t n_requests;    /* main thread */
    _Atomic uint64_t asked; /* the same, for a signal handler */
    _Atomic uint64_t cancelled; /* replies up to this number are to stop */

    pthread_mutex_t lock;   /* of the two pointers, not of what they point to */
    struct model *model;
    struct session *session;
};

struct request {
    const struct request_kind *kind;
    uint64_t number;
    char *path;
    struct session_options options;
    enum worker_limit limit;
    int64_t value;
    uint64_t conversation;
    struct worker_turn turn; /* its pointers are owned */
};

/* Serves one request: fills the last event (already zeroed but for kind DONE) or fails. */
struct request_kind {
    int (*serve)(struct worker *w, struct request *r, struct worker_event *last, struct err *e);
};

/* ---- events -------------------------------------------------------------------------------------------------- */

static void tell(struct worker *w, struct worker_event *ev) {
    if (!queue_push(w->events, ev)) worker_event_free(ev); /* closing: nobody listens any more */
}

static void tell_error(struct worker *w, uint64_t number, const struct err *e) {
    struct worker_event ev = {.kind = WORKER_ERROR, .request = number, .last = true};
    ev.result = calloc(1, sizeof *ev.result);
    if (ev.result) ev.result->err = *e;
    tell(w, &ev);
}

void worker_event_free(struct worker_event *ev) {
    if (!ev->result) return;
    reply_free(&ev->result->reply);
    free(ev->result->message);
    free(ev->result);
    ev->result = NULL;
}

const struct err *worker_event_error(const struct worker_event *ev) {
    static const struct err no_memory = {ERR_MEMORY, "no memory to tell what went wrong"};
    if (ev->result && ev->result->err.code) return &ev->result->err;
    return ev->kind == WORKER_ERROR ? &no_memory : NULL;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static void put_session(struct worker *w, struct model *m, struct session *s) {
    pthread_mutex_lock(&w->lock);
    struct model *old_model = w->model;
    struct session *old = w->session;
    w->model = m;
    w->session = s;
    pthread_mutex_unlock(&w->lock);
    session_close(old);
    model_close(old_model);
}

static int serve_load(struct worker *w, struct request *r, struct worker_event *last, struct err *e) {
    (void)last;
    struct worker_event ev = {.kind = WORKER_LOADING, .request = r->number};
    tell(w, &ev);
    put_session(w, NULL, NULL); /* the old one first: two models may not fit */
    struct model *m = NULL;
    struct session *s = NULL;
    int rc = model_open(&m, r->path, NULL, e);
    if (!rc) rc = session_open(&s, m, &r->options, e);
    if (rc) {
        model_close(m);
        return rc;
    }
    put_session(w, m, s);
    return 0;
}

static int need_session(const struct worker *w, struct err *e) {
    return w->session ? 0 : err_set(e, ERR_FILE, "no model is loaded: name one with -m FILE");
}

/* ---- a turn -------------------------------------------------------------------------------------------------- */

struct running {
    struct worker *w;
    uint64_t number;
};

static bool is_cancelled(void *ctx) {
    struct running *run = ctx;
    return atomic_load(&run->w->cancelled) >= run->number;
}

static void on_plan(void *ctx, const struct kv_plan *plan, size_t n_prompt) {
    struct running *run = ctx;
    struct worker_event ev = {.kind = WORKER_PLAN, .request = run->number, .n_prompt = n_prompt, .n_cached = plan->n_cached,
                              .n_todo = plan->n_todo_tokens, .evicted_turns = plan->evicted_turns,
                              .evicted_tokens = plan->evicted_tokens};
    tell(run->w, &ev);
}

static void on_progress(void *ctx, size_t done, size_t total) {
    struct running *run = ctx;
    struct worker_event ev = {.kind = WORKER_PROGRESS, .request = run->number, .done = done, .total = total};
    tell(run->w, &ev);
}

static void on_text(void *ctx, const char *utf8, size_t n, int32_t token) {
    struct running *run = ctx;
    while (n) {
        size_t part = n < WORKER_TEXT_BYTES ? n : WORKER_TEXT_BYTES;
        while (part < n && part > 1 && ((unsigned char)utf8[part] & 0xc0) == 0x80) part--; /* not inside a character */
        struct worker_event ev = {.kind = WORKER_TEXT, .request = run->number, .token = token, .n_text = part};
        memcpy(ev.text, utf8, part);
        tell(run->w, &ev);
        utf8 += part;
        n -= part;
    }
}

static void on_cache(void *ctx, const struct kv_event *cache) {
    struct running *run = ctx;
    struct worker_event ev = {.kind = WORKER_CACHE, .request = run->number, .cache = *cache};
    tell(run->w, &ev);
}

/* Which messages have left: those whose tokens all lie in ranges that left. Ranges and messages are both in order. */
static void mark_left(struct worker_result *res, const struct rendered *prompt, const struct session *s) {
    const struct kv_range *left;
    size_t n_left = session_left(s, &left), from = 0;
    for (size_t i = 0; i < prompt->n_messages; i++) {
        size_t to = prompt->message_end[i];
        res->message[i].n_tokens = to - from;
        for (size_t k = 0; k < n_left; k++)
            if (left[k].first <= from && to <= left[k].first + left[k].n) res->message[i].left = to > from;
        from = to;
    }
    res->n_messages = prompt->n_messages;
}

static int reply_to(struct worker *w, struct request *r, const struct rendered *prompt, struct worker_event *last, struct err *e) {
    struct worker_result *res = calloc(1, sizeof *res);
    if (res) res->message = calloc(prompt->n_messages + 1, sizeof *res->message);
    if (!res || !res->message) {
        free(res);
        return err_set(e, ERR_MEMORY, "no memory for a reply");
    }
    const struct worker_turn *t = &r->turn;
    struct running run = {w, r->number};
    const struct session_events ev = {.ctx = &run, .plan = on_plan, .progress = on_progress, .text = on_text, .cache = on_cache,
                                      .cancelled = is_cancelled};
    const struct reply_request ask = {.prompt = prompt, .sampling = &t->sampling, .n_max = t->n_max, .stop = t->stop, .n_stop = t->n_stop,
                                       .conversation = t->conversation};
    last->kind = WORKER_REPLY;
    last->result = res;
    int rc = session_reply(w->session, &ask, &ev, &res->reply, &res->err);
    if (rc) {
        if (e) *e = res->err;
        worker_event_free(last);
        return rc;
    }
    mark_left(res, prompt, w->session);
    return 0;
}

static int serve_reply(struct worker *w, struct request *r, struct worker_event *last, struct err *e) {
    const struct worker_turn *t = &r->turn;
    struct rendered prompt = {0};
    int rc = need_session(w, e);
    if (!rc && t->may_start) rc = t->may_start(t->start_ctx, t->ticket, e);
    if (!rc && is_cancelled(&(struct running){w, r->number})) rc = err_set(e, ERR_CANCELLED, "stopped before it began");
    if (rc) return rc;
    bool open = t->n_messages && t->message[t->n_messages - 1].open;
    rc = model_render(w->model, t->message, t->n_messages, !open, &prompt, e);
    if (!rc) rc = reply_to(w, r, &prompt, last, e);
    rendered_free(&prompt);
    return rc;
}

/* ---- the other requests -------------------------------------------------------------------------------------- */

static int serve_clear(struct worker *w, struct request *r, struct worker_event *last, struct err *e) {
    (void)r;
    (void)last;
    int rc = need_session(w, e);
    if (!rc && session_clear(w->session)) rc = err_set(e, ERR_FAILED, "the context cannot be cleared");
    return rc;
}

static int serve_park(struct worker *w, struct request *r, struct worker_event *last, struct err *e) {
    (void)r;
    (void)last;
    int rc = need_session(w, e);
    if (!rc) session_park(w->session);
    return rc;
}

static int serve_save(struct worker *w, struct request *r, struct worker_event *last, struct err *e) {
    int rc = need_session(w, e);
    return rc ? rc : session_save(w->session, r->path, &last->bytes, e);
}

static int serve_restore(struct worker *w, struct request *r, struct worker_event *last, struct err *e) {
    int rc = need_session(w, e);
    if (rc || session_resume(w->session, r->conversation)) return rc;
    return r->path ? session_load(w->session, r->path, &last->bytes, e) : err_set(e, ERR_FAILED, "no snapshot of the cache");
}

static int serve_limit(struct worker *w, struct request *r, struct worker_event *last, struct err *e) {
    (void)last;
    int rc = need_session(w, e);
    if (rc) return rc;
    struct kv *kv = session_kv(w->session);
    switch (r->limit) {
    case WORKER_SET_EVICT: return kv_set_evict(kv, (enum kv_evict)r->value, e);
    case WORKER_SET_BOUND:
    case WORKER_GROW_TO:
        if (r->value < 0 || r->value > UINT32_MAX) return err_set(e, ERR_USAGE, "%lld is no number of cells", (long long)r->value);
        return r->limit == WORKER_SET_BOUND ? kv_set_bound(kv, (uint32_t)r->value, e) : kv_grow_to(kv, (uint32_t)r->value, e);
    case WORKER_SHRINK: kv_shrink(kv); return 0;
    }
    return 0;
}

static const struct request_kind LOAD = {serve_load}, REPLY = {serve_reply}, CLEAR = {serve_clear}, PARK = {serve_park}, SAVE = {serve_save},
                                 RESTORE = {serve_restore}, LIMIT = {serve_limit};

static void request_free(struct request *r) {
    if (!r) return;
    for (size_t i = 0; r->turn.message && i < r->turn.n_messages; i++) {
        free((void *)r->turn.message[i].text);
        free((void *)r->turn.message[i].id);
    }
    free((void *)r->turn.message);
    for (size_t i = 0; r->turn.stop && i < r->turn.n_stop; i++) free((void *)r->turn.stop[i]);
    free((void *)r->turn.stop);
    free(r->path);
    free(r);
}

static void *serve_all(void *arg) {
    struct worker *w = arg;
    struct request *r;
    while (queue_pop(w->requests, &r)) {
        struct worker_event last = {.kind = WORKER_DONE, .request = r->number, .last = true};
        struct err e = {0};
        double start = process_now_us();
        int rc = r->kind->serve(w, r, &last, &e);
        last.us = process_now_us() - start;
        if (rc) tell_error(w, r->number, &e);
        else tell(w, &last);
        request_free(r);
    }
    put_session(w, NULL, NULL);
    return NULL;
}

/* ---- the main thread's half ---------------------------------------------------------------------------------- */

/* Signals are for the main thread: the engine thread, and the kernel threads it starts, take none but those of their own faults. */
static int start_thread(struct worker *w) {
    static const int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t all, old;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) sigdelset(&all, FAULTS[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&w->thread, NULL, serve_all, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}

int worker_open(struct worker **out, struct err *e) {
    *out = NULL;
    struct worker *w = calloc(1, sizeof *w);
    if (!w) return err_set(e, ERR_MEMORY, "no memory for the engine thread");
    pthread_mutex_init(&w->lock, NULL);
    int rc = queue_open(&w->requests, sizeof(struct request *), MAX_REQUESTS, false, e);
    if (!rc) rc = queue_open(&w->events, sizeof(struct worker_event), MAX_EVENTS, true, e);
    if (!rc && start_thread(w)) rc = err_set(e, ERR_MEMORY, "the engine thread cannot be started");
    if (rc) {
        queue_free(w->requests);
        queue_free(w->events);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return rc;
    }
    *out = w;
    return 0;
}

void worker_close(struct worker *w) {
    if (!w) return;
    worker_cancel(w);
    queue_close(w->requests);
    queue_close(w->events);
    pthread_join(w->thread, NULL);
    struct worker_event ev;
    while (queue_try_pop(w->events, &ev)) worker_event_free(&ev);
    queue_free(w->events);
    queue_free(w->requests);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

int worker_wake_fd(const struct worker *w) { return queue_wake_fd(w->events); }
void worker_drain(struct worker *w) { queue_drain(w->events); }
bool worker_pop(struct worker *w, struct worker_event *ev) { return queue_try_pop(w->events, ev); }
bool worker_wait(struct worker *w, struct worker_event *ev) { return queue_pop(w->events, ev); }

static uint64_t ask(struct worker *w, const struct request_kind *kind, struct request *r) {
    if (!r) return 0;
    r->kind = kind;
    r->number = w->n_requests + 1;
    uint64_t number = r->number;
    if (!queue_try_push(w->requests, &r)) {
        request_free(r);
        return 0;
    }
    atomic_store(&w->asked, number);
    return w->n_requests = number;
}

static struct request *request_new(const char *path) {
    struct request *r = calloc(1, sizeof *r);
    if (!r || !path) return r;
    r->path = strdup(path);
    if (r->path) return r;
    request_free(r);
    return NULL;
}

uint64_t worker_load(struct worker *w, const char *model_path, const struct session_options *o) {
    struct request *r = request_new(model_path);
    if (r) r->options = *o;
    return ask(w, &LOAD, r);
}

static void *copy_bytes(const void *from, size_t n) {
    char *to = malloc(n + 1);
    if (!to) return NULL;
    if (n) memcpy(to, from, n);
    to[n] = 0;
    return to;
}

static bool copy_message(struct chat_message *to, const struct chat_message *from) {
    *to = *from;
    to->text = copy_bytes(from->text, from->n_text);
    to->id = from->id ? copy_bytes(from->id, from->n_ids * sizeof *from->id) : NULL;
    return to->text && (to->id || !from->id);
}

/* Copies what t points to into r->turn. false: no memory; what was copied is freed with r. */
static bool copy_turn(struct request *r, const struct worker_turn *t) {
    struct chat_message *message = calloc(t->n_messages + 1, sizeof *message);
    const char **stop = calloc(t->n_stop + 1, sizeof *stop);
    r->turn = *t;
    r->turn.message = message;
    r->turn.stop = stop;
    r->turn.n_messages = r->turn.n_stop = 0;
    if (!message || !stop) return false;
    for (; r->turn.n_messages < t->n_messages; r->turn.n_messages++)
        if (!copy_message(&message[r->turn.n_messages], &t->message[r->turn.n_messages])) {
            r->turn.n_messages++; /* half copied: freed with the others */
            return false;
        }
    for (; r->turn.n_stop < t->n_stop; r->turn.n_stop++)
        if (!(stop[r->turn.n_stop] = copy_bytes(t->stop[r->turn.n_stop], strlen(t->stop[r->turn.n_stop])))) return false;
    return true;
}

uint64_t worker_reply(struct worker *w, const struct worker_turn *t) {
    struct request *r = request_new(NULL);
    if (r && !copy_turn(r, t)) {
        request_free(r);
        r = NULL;
    }
    return ask(w, &REPLY, r);
}

uint64_t worker_clear(struct worker *w) { return ask(w, &CLEAR, request_new(NULL)); }
uint64_t worker_save(struct worker *w, const char *path) { return ask(w, &SAVE, request_new(path)); }
uint64_t worker_park(struct worker *w) { return ask(w, &PARK, request_new(NULL)); }

uint64_t worker_restore(struct worker *w, const char *path, uint64_t conversation) {
    struct request *r = request_new(path);
    if (r) r->conversation = conversation;
    return ask(w, &RESTORE, r);
}

uint64_t worker_set_limit(struct worker *w, enum worker_limit what, int64_t value) {
    struct request *r = request_new(NULL);
    if (r) {
        r->limit = what;
        r->value = value;
    }
    return ask(w, &LIMIT, r);
}

void worker_cancel(struct worker *w) { atomic_store(&w->cancelled, atomic_load(&w->asked)); }

bool worker_get_stats(struct worker *w, struct session_stats *st) {
    pthread_mutex_lock(&w->lock);
    bool loaded = w->session != NULL;
    if (loaded) session_get_stats(w->session, st);
    pthread_mutex_unlock(&w->lock);
    return loaded;
}

struct model *worker_model(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    struct model *m = w->model;
    pthread_mutex_unlock(&w->lock);
    return m;
}
