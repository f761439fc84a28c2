/* store_queue: see store_queue.h. One mutex guards everything but the running job. */
#include "app/store_queue.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Tickets [first, last] that ended with the same error. */
struct failure {
    uint64_t first, last;
    struct err why;
};

struct store_queue {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t added, ended;
    struct store_job *first, *last; /* that wait; the running one is not among them */
    uint64_t given, done;           /* last ticket given, and done */
    bool closing;
    struct failure *failure;
    size_t n_failures, cap_failures;
    bool forgot;                    /* a failure could not be kept for want of memory: every ticket not known to have succeeded is doubtful */
    struct err last_failure;        /* of the last write; code 0: it succeeded */
    void (*on_done)(void *ctx, uint64_t ticket, const struct err *failed);
    void *on_done_ctx;
};

static void remember_failure(struct store_queue *q, uint64_t ticket, const struct err *why) {
    struct failure *f = q->n_failures ? &q->failure[q->n_failures - 1] : NULL;
    if (f && f->last + 1 == ticket && f->why.code == why->code && !strcmp(f->why.text, why->text)) {
        f->last = ticket;
        return;
    }
    if (q->n_failures == q->cap_failures) {
        size_t cap = q->cap_failures ? 2 * q->cap_failures : 8;
        struct failure *more = realloc(q->failure, cap * sizeof *more);
        if (!more) {
            q->forgot = true;
            return;
        }
        q->failure = more;
        q->cap_failures = cap;
    }
    q->failure[q->n_failures++] = (struct failure){.first = ticket, .last = ticket, .why = *why};
}

static void finish_job(struct store_queue *q, struct store_job *j, int rc, struct err *e) {
    if (rc && !e->code) err_set(e, rc, "the store could not be written");
    if (rc) for (uint64_t t = q->done + 1; t <= j->ticket; t++) remember_failure(q, t, e);
    if (j->is_write) q->last_failure = rc ? *e : (struct err){0};
    q->done = j->ticket;
    pthread_cond_broadcast(&q->ended);
}

static void *run_jobs(void *arg) {
    struct store_queue *q = arg;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (!q->first && !q->closing) pthread_cond_wait(&q->added, &q->lock);
        struct store_job *j = q->first;
        if (!j) break;
        q->first = j->next;
        if (!q->first) q->last = NULL;
        pthread_mutex_unlock(&q->lock);
        struct err e = {0};
        int rc = j->run(j, &e);
        pthread_mutex_lock(&q->lock);
        finish_job(q, j, rc, &e);
        void (*tell)(void *, uint64_t, const struct err *) = q->on_done;
        void *ctx = q->on_done_ctx;
        pthread_mutex_unlock(&q->lock);
        if (tell) tell(ctx, j->ticket, rc ? &e : NULL);
        j->drop(j);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

int store_queue_open(struct store_queue **out, struct err *e) {
    *out = NULL;
    struct store_queue *q = calloc(1, sizeof *q);
    if (!q) return err_set(e, ERR_MEMORY, "no memory for the store");
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->added, NULL);
    pthread_cond_init(&q->ended, NULL);
    /* Signals are the main thread's: a terminal's Ctrl-C must not land in the middle of a commit. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&q->thread, NULL, run_jobs, q);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        free(q);
        return err_set(e, ERR_FAILED, "cannot start the store's thread: %s", strerror(rc));
    }
    *out = q;
    return 0;
}

void store_queue_close(struct store_queue *q) {
    if (!q) return;
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_cond_signal(&q->added);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->added);
    pthread_cond_destroy(&q->ended);
    free(q->failure);
    free(q);
}

/* Puts j where the waiting job *at stands, which is dropped. */
static struct store_job *replace_last(struct store_queue *q, struct store_job *j) {
    struct store_job **at = &q->first;
    while (*at != q->last) at = &(*at)->next;
    struct store_job *old = *at;
    *at = j;
    q->last = j;
    return old;
}

uint64_t store_queue_add(struct store_queue *q, struct store_job *j) {
    struct store_job *old = NULL;
    j->next = NULL;
    pthread_mutex_lock(&q->lock);
    uint64_t ticket = j->ticket = ++q->given;
    if (j->replaces && q->last && q->last->replaces == j->replaces) {
        old = replace_last(q, j);
    } else {
        if (q->last) q->last->next = j;
        else q->first = j;
        q->last = j;
    }
    pthread_cond_signal(&q->added);
    pthread_mutex_unlock(&q->lock);
    if (old) old->drop(old);
    return ticket;
}

struct call {
    struct store_job job;
    int (*fn)(void *arg, struct err *e);
    void *arg;
};

static int run_call(struct store_job *j, struct err *e) {
    struct call *c = (struct call *)j;
    return c->fn(c->arg, e);
}

static void drop_call(struct store_job *j) { free(j); }

int store_queue_call(struct store_queue *q, int (*fn)(void *arg, struct err *e), void *arg, struct err *e) {
    struct call *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_MEMORY, "no memory to read the store");
    *c = (struct call){.job = {.run = run_call, .drop = drop_call}, .fn = fn, .arg = arg};
    return store_queue_wait(q, store_queue_add(q, &c->job), e);
}

int store_queue_wait(struct store_queue *q, uint64_t ticket, struct err *e) {
    if (!ticket) return err_set(e, ERR_MEMORY, "no memory to write to the store");
    int rc = 0;
    pthread_mutex_lock(&q->lock);
    while (q->done < ticket) pthread_cond_wait(&q->ended, &q->lock);
    size_t i = q->n_failures;
    while (i > 0 && q->failure[i - 1].first > ticket) i--;
    if (i > 0 && ticket <= q->failure[i - 1].last) {
        rc = q->failure[i - 1].why.code;
        if (e) *e = q->failure[i - 1].why;
    } else if (q->forgot) {
        rc = err_set(e, ERR_MEMORY, "no memory to tell whether the store was written");
    }
    pthread_mutex_unlock(&q->lock);
    return rc;
}

bool store_queue_is_done(struct store_queue *q, uint64_t ticket) {
    pthread_mutex_lock(&q->lock);
    bool done = q->done >= ticket;
    pthread_mutex_unlock(&q->lock);
    return done;
}

void store_queue_on_done(struct store_queue *q, void (*fn)(void *ctx, uint64_t ticket, const struct err *failed), void *ctx) {
    pthread_mutex_lock(&q->lock);
    q->on_done = fn;
    q->on_done_ctx = ctx;
    pthread_mutex_unlock(&q->lock);
}

bool store_queue_failed(struct store_queue *q, struct err *why) {
    pthread_mutex_lock(&q->lock);
    bool failed = q->last_failure.code != 0;
    if (why) *why = q->last_failure;
    pthread_mutex_unlock(&q->lock);
    return failed;
}

void store_queue_set_failed(struct store_queue *q, const struct err *why) {
    pthread_mutex_lock(&q->lock);
    q->last_failure = *why;
    pthread_mutex_unlock(&q->lock);
}
