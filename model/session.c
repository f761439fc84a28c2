/* session: one conversation with a model: its cache, buffers, sampler and threads. See engine.h for the contracts.
 *
 * A reply never uses logits from an earlier call: each begins by computing at least the prompt's last token. */
#include "model/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/cpu.h"
#include "model/stream.h"

#define N_BATCH 2048u
#define N_UBATCH 512u

double session_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static void fill_defaults(struct session_options *o, const struct model *m) {
    if (!o->bound) o->bound = m->weights.shape.n_ctx_train;
    if (!o->type_k) o->type_k = num_find(NUM_F16);
    if (!o->type_v) o->type_v = num_find(NUM_F16);
    if (o->n_threads <= 0) o->n_threads = cpu_count();
    if (!o->n_batch) o->n_batch = N_BATCH;
    if (!o->n_ubatch) o->n_ubatch = N_UBATCH;
    if (o->n_ubatch > o->n_batch) o->n_ubatch = o->n_batch;
    if (o->n_ubatch > o->bound) o->n_ubatch = o->bound;
}

static int open_cache(struct session *s, struct err *e) {
    const struct weights_shape *shape = &s->model->weights.shape;
    const struct session_options *o = &s->o;
    struct kv_config c = {
        .n_layers = shape->n_layers,
        .n_kv_heads = shape->n_kv_heads,
        .head_dim_k = shape->head_dim_k,
        .head_dim_v = shape->head_dim_v,
        .type_k = o->type_k,
        .type_v = o->type_v,
        .rope = s->model->rope.kv,
        .bound = o->bound,
        .start = o->start,
        .grow = o->grow,
        .step_bytes = o->step_bytes,
        .step_cells = o->step_cells,
        .threshold_bytes = o->threshold_bytes,
        .budget_bytes = o->budget_bytes,
        .weight_bytes = s->model->weight_bytes,
        .prompt_bytes = o->prompt_bytes,
        .prompt_tokens = o->prompt_tokens,
        .evict = o->evict,
        .keep = o->keep > 0 ? (uint32_t)o->keep : 0,
        .evict_free = o->evict_free,
        .memory = o->memory,
        .plugin = *o->plugin ? o->plugin : NULL,
    };
    int rc = kv_open(&s->kv, &c, e);
    if (!rc) s->seq = kv_acquire(s->kv);
    assert(rc || s->seq >= 0);
    return rc;
}

int session_open(struct session **out, struct model *m, const struct session_options *o, struct err *e) {
    *out = NULL;
    if (!m->weights.arch) return err_set(e, ERR_USAGE, "%s was opened for its vocabulary alone", m->gguf->path);
    struct session *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_MEMORY, "no memory for a session");
    static const struct session_options automatic = {.keep = -1};
    static const struct sample_params arg_max = {.top_p = 1, .repeat_penalty = 1};
    uint32_t n_vocab = m->weights.shape.n_vocab;
    int rc;
    s->model = m;
    s->o = o ? *o : automatic;
    fill_defaults(&s->o, m);
    pthread_mutex_init(&s->lock, NULL);
    residency_init(&s->residency, m->gguf->map, m->gguf->map_bytes);
    if ((rc = pool_open(&s->pool, s->o.n_threads, e))) goto out;
    if ((rc = open_cache(s, e))) goto out;
    if ((rc = forward_open(&s->forward, m, s->pool, s->o.n_ubatch, e))) goto out;
    s->scratch_bytes = forward_bytes(s->forward);
    if ((rc = sampler_open(&s->sampler, n_vocab, &arg_max, e))) goto out;
    s->logits = calloc(n_vocab, sizeof *s->logits);
    s->again = calloc(s->o.n_ubatch, sizeof *s->again);
    if (!s->logits || !s->again) rc = err_set(e, ERR_MEMORY, "no memory for the logits of %u tokens", n_vocab);
out:
    if (rc)
        session_close(s);
    else
        *out = s;
    return rc;
}

int session_check_system(const struct model *m, const struct session_options *o, const char *text, size_t n, struct err *e) {
    uint32_t bound = o->bound ? o->bound : m->weights.shape.n_ctx_train;
    if (o->keep >= 0) return kv_check_keep(o->evict, bound, (size_t)o->keep, e);
    const struct chat_message system = {.role = CHAT_SYSTEM, .text = text, .n_text = n};
    struct rendered r;
    int rc = model_render(m, &system, n > 0, false, &r, e);
    if (!rc) rc = kv_check_keep(o->evict, bound, r.n_keep, e);
    rendered_free(&r);
    return rc;
}

void session_close(struct session *s) {
    if (!s) return;
    free(s->logits);
    free(s->again);
    sampler_close(s->sampler);
    forward_close(s->forward);
    kv_close(s->kv);
    pool_close(s->pool);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct kv *session_kv(struct session *s) {
    return s->kv;
}
size_t session_left(const struct session *s, const struct kv_range **ranges) {
    return kv_left(s->kv, s->seq, ranges);
}

/* What is held ready of other conversations stays. */
int session_clear(struct session *s) {
    struct kv_stats st;
    kv_get_stats(s->kv, &st);
    if (st.n_parked) {
        kv_seq_rm(s->kv, s->seq, -1, -1);
        kv_shrink(s->kv);
    } else {
        kv_clear(s->kv, false);
    }
    sampler_reset(s->sampler);
    return 0;
}

void session_park(struct session *s) {
    struct kv_stats st;
    kv_prompt_park(s->kv, s->seq);
    kv_get_stats(s->kv, &st);
    if (!st.n_parked) kv_clear(s->kv, false);
    sampler_reset(s->sampler);
}

bool session_resume(struct session *s, uint64_t conversation) {
    return kv_prompt_resume(s->kv, s->seq, conversation);
}

/* ---- a micro-batch ------------------------------------------------------------------------------------------- */

static void report_cache(struct session *s, const struct session_events *ev) {
    struct kv_event event[8];
    for (size_t n; (n = kv_events(s->kv, s->last_event, event, sizeof event / sizeof *event)) > 0;) {
        for (size_t i = 0; ev && ev->cache && i < n; i++) ev->cache(ev->ctx, &event[i]);
        s->last_event = event[n - 1].n;
    }
}

/* Attention's scratch grows with the cache; another thread may be asking how much there is. */
static void note_scratch(struct session *s) {
    size_t bytes = forward_bytes(s->forward);
    if (bytes == s->scratch_bytes) return;
    pthread_mutex_lock(&s->lock);
    s->scratch_bytes = bytes;
    pthread_mutex_unlock(&s->lock);
}

static int compute_batch(struct session *s, const struct session_batch *b, struct err *e) {
    struct kv_batch placed;
    int rc = kv_begin(s->kv, s->seq, b->token, b->n, b->first, &placed, e);
    report_cache(s, b->ev);
    if (rc) return rc;
    struct forward_step step = {.kv = s->kv,
                                .batch = &placed,
                                .token = b->token,
                                .first_row = b->first_row,
                                .logits = b->logits,
                                .cancelled = b->ev ? b->ev->cancelled : NULL,
                                .ctx = b->ev ? b->ev->ctx : NULL};
    rc = forward_run(s->forward, &step, e);
    if (rc)
        kv_abandon(s->kv, &placed);
    else
        kv_finish(s->kv, &placed);
    note_scratch(s);
    return rc;
}

/* What stays behind turns that had to leave, once more. */
static int compute_again(struct session *s, const struct kv_plan *plan, const struct session_events *ev, struct err *e) {
    size_t done = 0;
    for (size_t i = 0; i < plan->n_todo; i++)
        for (size_t at = plan->todo[i].first, end = at + plan->todo[i].n; at < end;) {
            uint32_t n = end - at < s->o.n_ubatch ? (uint32_t)(end - at) : s->o.n_ubatch;
            const int32_t *token;
            kv_tokens(s->kv, s->seq, &token);
            memcpy(s->again, token + at, n * sizeof *token);
            struct session_batch b = {.token = s->again, .n = n, .first = at, .first_row = n, .ev = ev};
            int rc = ev && ev->cancelled && ev->cancelled(ev->ctx) ? err_set(e, ERR_CANCELLED, "stopped") : compute_batch(s, &b, e);
            if (rc) return rc;
            at += n;
            done += n;
            if (ev && ev->progress) ev->progress(ev->ctx, done, plan->n_todo_tokens);
        }
    return 0;
}

int session_compute(struct session *s, const struct session_batch *b, struct err *e) {
    struct kv_plan plan;
    int rc = kv_make_room(s->kv, s->seq, b->n, &plan, e);
    if (!rc && plan.n_todo) {
        report_cache(s, b->ev);
        rc = compute_again(s, &plan, b->ev, e);
    }
    return rc ? rc : compute_batch(s, b, e);
}

int session_check_tokens(const struct session *s, const int32_t *id, size_t n, struct err *e) {
    uint32_t n_vocab = s->model->weights.shape.n_vocab;
    for (size_t i = 0; i < n; i++)
        if (id[i] < 0 || (uint32_t)id[i] >= n_vocab)
            return err_set(e, ERR_USAGE, "token %d: expected 0 to %u", id[i], n_vocab - 1);
    return 0;
}

int session_logits(struct session *s, const int32_t *id, size_t n, uint32_t ubatch, float *out, struct err *e) {
    size_t n_vocab = s->model->weights.shape.n_vocab;
    int rc = session_check_tokens(s, id, n, e);
    kv_clear(s->kv, false);
    if (!ubatch || ubatch > s->o.n_ubatch) ubatch = s->o.n_ubatch;
    for (size_t i = 0; !rc && i < n; i += ubatch) {
        uint32_t m = n - i < ubatch ? (uint32_t)(n - i) : ubatch;
        struct session_batch b = {.token = id + i, .n = m, .first = (size_t)-1, .logits = out + i * n_vocab};
        rc = session_compute(s, &b, e);
    }
    return rc;
}

/* ---- a reply ------------------------------------------------------------------------------------------------- */

/* A reply in the making. */
struct turn {
    struct session *s;
    const struct reply_request *request;
    const struct session_events *ev; /* never NULL */
    struct reply *out;
    struct stream stream;
    size_t *end;              /* [cap] length of the clean text after each token */
    size_t cap;               /* tokens that there is room for */
    double start_us, read_us; /* the call; the prompt was read */
    double first_us;
};

#define ROOM_TOKENS 4096u /* a reply's first room */
#define ROOM_BYTES 16u    /* of text for each token */

/* Doubles the room for tokens and text: with a growing reply, off the path of nearly every token. */
static int turn_make_room(struct turn *t, struct err *e) {
    size_t cap = t->cap ? t->cap * 2 : ROOM_TOKENS;
    if (!t->cap && t->request->n_max >= 0 && (uint64_t)t->request->n_max < cap) cap = (size_t)t->request->n_max + 1;
    int32_t *id = realloc(t->out->tokens.id, cap * sizeof *id);
    if (id) t->out->tokens.id = id;
    size_t *end = realloc(t->end, cap * sizeof *end);
    if (end) t->end = end;
    if (!id || !end || buf_reserve(&t->out->text, (cap - t->cap) * ROOM_BYTES) || stream_reserve(&t->stream, 4096))
        return err_set(e, ERR_MEMORY, "no memory for more of the reply");
    t->cap = cap;
    return 0;
}

static bool turn_cancelled(const struct turn *t) {
    return t->ev->cancelled && t->ev->cancelled(t->ev->ctx);
}

static void turn_show(struct turn *t, size_t from, int32_t token) {
    size_t n = t->out->text.len - from;
    if (n && t->ev->text) t->ev->text(t->ev->ctx, t->out->text.data + from, n, token);
}

static void set_speed(struct session *s, double *place, size_t n, double us) {
    pthread_mutex_lock(&s->lock);
    *place = us > 0 ? (double)n * 1e6 / us : 0;
    pthread_mutex_unlock(&s->lock);
}

/* A SPM vocabulary's words begin with a blank: it is none where the text begins. */
static bool begins_text(const struct turn *t) {
    const struct rendered *p = t->request->prompt;
    return !t->out->tokens.n && vocab_is_control(t->s->model->vocab, p->id[p->n - 1]);
}

/* Takes a token into the reply and shows its text. */
static int turn_take(struct turn *t, int32_t token, struct err *e) {
    size_t shown = t->out->text.len;
    int rc = t->out->tokens.n == t->cap ? turn_make_room(t, e) : 0;
    if (!rc && (rc = stream_add(&t->stream, token, begins_text(t), &t->out->text)))
        err_set(e, rc, "no memory for more of the reply");
    if (rc) return rc;
    t->end[t->out->tokens.n] = t->stream.n_clean;
    t->out->tokens.id[t->out->tokens.n++] = token;
    t->out->n_completion++;
    turn_show(t, shown, token);
    return 0;
}

static void name_stop(struct reply *out, const char *text, size_t n) {
    if (n >= sizeof out->stopped_by) n = sizeof out->stopped_by - 1;
    memcpy(out->stopped_by, text, n);
    n -= utf8_incomplete(out->stopped_by, n);
    out->stopped_by[n] = 0;
    out->finish = FINISH_STOP;
}

/* Whether the reply ends here, because of what the model said or how much it may say. */
static bool turn_ends(struct turn *t) {
    struct reply *out = t->out;
    if (t->stream.found) {
        name_stop(out, t->stream.found, strlen(t->stream.found));
        while (out->tokens.n && t->end[out->tokens.n - 1] > out->text.len)
            out->tokens.n--; /* those of the stop string */
        return true;
    }
    if (t->request->n_max < 0 || out->n_completion < (uint64_t)t->request->n_max) return false;
    out->finish = FINISH_LENGTH;
    return true;
}

static bool turn_is_end_token(struct turn *t, int32_t token) {
    const struct vocab *v = t->s->model->vocab;
    if (t->request->keep_end_tokens || !vocab_is_end(v, token)) return false;
    buf_clear(&t->stream.piece);
    if (vocab_piece(v, token, true, &t->stream.piece)) buf_clear(&t->stream.piece);
    name_stop(t->out, buf_text(&t->stream.piece), t->stream.piece.len);
    return true;
}

/* One token after the other, until something ends the reply. */
static void turn_write(struct turn *t, struct err *e) {
    struct session *s = t->s;
    struct reply *out = t->out;
    if (t->request->n_max == 0) out->finish = FINISH_LENGTH;
    while (out->finish == FINISH_NONE) {
        int32_t token = sampler_sample(s->sampler, s->logits);
        if (!out->n_completion) t->first_us = session_now_us();
        sampler_accept(s->sampler, token);
        if (turn_is_end_token(t, token)) break;
        int rc = turn_take(t, token, e);
        if (!rc && turn_ends(t)) break;
        struct session_batch b = {.token = &token, .n = 1, .first = (size_t)-1, .logits = s->logits, .ev = t->ev};
        if (!rc) rc = session_compute(s, &b, e);
        if (rc) out->finish = rc == ERR_CANCELLED ? FINISH_CANCEL : rc == ERR_CONTEXT ? FINISH_CONTEXT : FINISH_ERROR;
        set_speed(s, &s->decode_tps, out->n_completion, session_now_us() - t->read_us);
    }
}

/* Computes what the plan says, the last token's logits with it. */
static int turn_read(struct turn *t, const struct kv_plan *plan, struct err *e) {
    struct session *s = t->s;
    const struct rendered *p = t->request->prompt;
    size_t done = 0;
    for (size_t i = 0; i < plan->n_todo; i++) {
        for (size_t at = plan->todo[i].first, end = at + plan->todo[i].n; at < end;) {
            uint32_t n = end - at < s->o.n_ubatch ? (uint32_t)(end - at) : s->o.n_ubatch;
            bool last = done + n == plan->n_todo_tokens;
            struct session_batch b = {.token = p->id + at,
                                      .n = n,
                                      .first = at,
                                      .first_row = last ? n - 1 : n,
                                      .logits = s->logits,
                                      .ev = t->ev};
            int rc = turn_cancelled(t) ? err_set(e, ERR_CANCELLED, "stopped") : session_compute(s, &b, e);
            if (rc) return rc;
            at += n;
            done += n;
            set_speed(s, &s->prefill_tps, done, session_now_us() - t->start_us);
            if (t->ev->progress) t->ev->progress(t->ev->ctx, done, plan->n_todo_tokens);
        }
    }
    return 0;
}

static int turn_sync(struct turn *t, struct kv_plan *plan, struct err *e) {
    struct session *s = t->s;
    const struct rendered *p = t->request->prompt;
    size_t n_keep = s->o.keep < 0 ? p->n_keep : (uint64_t)s->o.keep < p->n ? (size_t)s->o.keep : p->n;
    struct kv_prompt prompt = {
        .token = p->id, .n_tokens = p->n, .n_keep = n_keep, .turn = p->turn, .n_turns = p->n_turns, .conversation = t->request->conversation};
    kv_prompt_choose(s->kv, s->seq, &prompt);
    int rc = kv_sync(s->kv, s->seq, &prompt, plan, e);
    report_cache(s, t->ev);
    if (rc) return rc;
    if (t->ev->plan) t->ev->plan(t->ev->ctx, plan, p->n);
    return 0;
}

static int turn_begin(struct turn *t, struct err *e) {
    const struct rendered *p = t->request->prompt;
    struct session *s = t->s;
    if (!p->n) return err_set(e, ERR_USAGE, "the prompt is empty, and this model has no token to begin a text with");
    int rc = session_check_tokens(s, p->id, p->n, e);
    if (!rc) rc = turn_make_room(t, e);
    if (!rc) rc = sampler_set(s->sampler, t->request->sampling, e);
    if (rc) return rc;
    sampler_forget(s->sampler);
    for (size_t i = 0; i < p->n; i++) sampler_accept(s->sampler, p->id[i]);
    return 0;
}

static void turn_count(struct turn *t, const struct kv_plan *plan, const struct kv_stats *before) {
    struct reply *out = t->out;
    struct kv_stats after;
    kv_get_stats(t->s->kv, &after);
    out->n_prompt = t->request->prompt->n;
    out->n_cached = plan->n_cached;
    out->evicted_turns = after.evicted_turns - before->evicted_turns;
    out->evicted_tokens = after.evicted_tokens - before->evicted_tokens;
    out->prompt_us = t->read_us - t->start_us;
    out->completion_us = session_now_us() - t->read_us;
    out->first_token_us = t->first_us > 0 ? t->first_us - t->start_us : 0;
}

int session_reply(struct session *s, const struct reply_request *r, const struct session_events *ev, struct reply *out,
                  struct err *e) {
    static const struct session_events no_events;
    *out = (struct reply){0};
    struct turn t = {.s = s, .request = r, .ev = ev ? ev : &no_events, .out = out, .start_us = session_now_us()};
    struct kv_plan plan;
    struct kv_stats before;
    kv_get_stats(s->kv, &before);
    stream_init(&t.stream, s->model->vocab, r->stop, r->n_stop);
    int rc = turn_begin(&t, e);
    if (!rc) rc = turn_sync(&t, &plan, e);
    if (!rc) kv_checkpoint(s->kv, s->seq); /* where a state cannot be cut, another reply goes back to here; without one it replays more */
    if (!rc) rc = turn_read(&t, &plan, e);
    if (!rc) {
        t.read_us = session_now_us();
        turn_write(&t, e);
        size_t shown = out->text.len;
        if (stream_end(&t.stream, &out->text)) out->finish = FINISH_ERROR;
        turn_show(&t, shown, out->tokens.n ? out->tokens.id[out->tokens.n - 1] : 0);
        turn_count(&t, &plan, &before);
    } else {
        reply_free(out);
    }
    stream_free(&t.stream);
    free(t.end);
    return rc;
}

void reply_free(struct reply *r) {
    buf_free(&r->text);
    tokens_free(&r->tokens);
    *r = (struct reply){0};
}

const char *finish_name(enum finish_reason f) {
    static const char *const name[] = {"", "stop", "length", "context", "cancel", "error"};
    return name[f];
}

/* ---- figures ------------------------------------------------------------------------------------------------- */

void session_get_stats(struct session *s, struct session_stats *st) {
    const struct kv_layout *cache = kv_get_layout(s->kv); /* fixed when it was opened */
    *st = (struct session_stats){.weight_mapped_bytes = s->model->gguf->map_bytes,
                                 .n_threads = pool_threads(s->pool),
                                 .isa = cpu_isa_name(cpu_isa()),
                                 .type_k = cache->type_k->name,
                                 .type_v = cache->type_v->name};
    kv_get_stats(s->kv, &st->kv);
    pthread_mutex_lock(&s->lock);
    st->weight_resident_bytes = residency_get(&s->residency, session_now_us());
    st->scratch_bytes = s->scratch_bytes;
    st->prefill_tps = s->prefill_tps;
    st->decode_tps = s->decode_tps;
    pthread_mutex_unlock(&s->lock);
}
