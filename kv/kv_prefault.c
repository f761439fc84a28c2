/* kv_prefault: see kv_prefault.h. */
#include "kv/kv_prefault.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK ((size_t)2 << 20) /* populated at a time: what stopping may have to wait for */
#define STACK ((size_t)512 << 10)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum state { IDLE, ASKED, RUNNING, OVER };

struct kv_prefault {
    pthread_t thread;
    pthread_mutex_t lock; /* guards job, result, quit, and changes of state */
    pthread_cond_t wake, over;
    atomic_int state; /* the owner looks at it for every token: without the lock */
    atomic_bool stop;
    bool quit;
    struct kv_prefault_job job;
    struct kv_prefault_result result;
};

/* Until the system refuses or the owner has other plans. */
static void populate(struct kv_prefault *p, const struct kv_prefault_job *job) {
    for (size_t done = 0; done < job->bytes && !atomic_load(&p->stop);) {
        size_t n = job->bytes - done < CHUNK ? job->bytes - done : CHUNK;
        if (madvise(job->at + done, n, MADV_POPULATE_WRITE)) return;
        done += n;
    }
}

static struct kv_prefault_result carry_out(struct kv_prefault *p, const struct kv_prefault_job *job) {
    struct kv_prefault_result r = {.end = KV_PREFAULT_TAKEN};
    /* A block that is committed has been granted; whether the machine still has the pages is another question. */
    struct kv_room room = job->commit_bytes ? kv_budget_room(&job->budget, job->committed, job->touched)
                                            : kv_budget_pages(&job->budget, 0);
    uint64_t need = job->commit_bytes ? job->commit_bytes : job->bytes;
    if (room.bytes < need) return (struct kv_prefault_result){KV_PREFAULT_SHORT, room.limit};
    r.limit = room.limit;
    if (job->commit_bytes &&
        (atomic_load(&p->stop) || mprotect(job->commit, job->commit_bytes, PROT_READ | PROT_WRITE)))
        r.end = KV_PREFAULT_REFUSED;
    else
        populate(p, job);
    return r;
}

static void *thread_main(void *arg) {
    struct kv_prefault *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (atomic_load(&p->state) != ASKED && !p->quit) pthread_cond_wait(&p->wake, &p->lock);
        if (p->quit) break;
        struct kv_prefault_job job = p->job;
        atomic_store(&p->state, RUNNING);
        pthread_mutex_unlock(&p->lock);
        struct kv_prefault_result r = carry_out(p, &job);
        pthread_mutex_lock(&p->lock);
        p->result = r;
        atomic_store(&p->state, OVER);
        pthread_cond_signal(&p->over);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* A small stack, since it counts against RLIMIT_DATA, and no signals: they are for the thread that keeps the screen. */
static int start(struct kv_prefault *p) {
    pthread_attr_t a;
    sigset_t all, old;
    if (pthread_attr_init(&a)) return -1;
    pthread_attr_setstacksize(&a, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&p->thread, &a, thread_main, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&a);
    return rc ? -1 : 0;
}

/* Whether the kernel can populate at all. */
static bool offered(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return false;
    bool yes = !madvise(at, page, MADV_POPULATE_WRITE);
    munmap(at, page);
    return yes;
}

struct kv_prefault *kv_prefault_open(void) {
    struct kv_prefault *p = offered() ? calloc(1, sizeof *p) : NULL;
    if (!p) return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->over, NULL);
    if (!start(p)) return p;
    pthread_cond_destroy(&p->over);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

void kv_prefault_close(struct kv_prefault *p) {
    if (!p) return;
    kv_prefault_stop(p);
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->over);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

bool kv_prefault_busy(const struct kv_prefault *p) {
    return atomic_load(&p->state) != IDLE;
}

void kv_prefault_ask(struct kv_prefault *p, const struct kv_prefault_job *job) {
    assert(!kv_prefault_busy(p));
    pthread_mutex_lock(&p->lock);
    p->job = *job;
    atomic_store(&p->stop, false);
    atomic_store(&p->state, ASKED);
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

bool kv_prefault_collect(struct kv_prefault *p, struct kv_prefault_result *r) {
    if (atomic_load(&p->state) != OVER) return false;
    pthread_mutex_lock(&p->lock);
    *r = p->result;
    atomic_store(&p->state, IDLE);
    pthread_mutex_unlock(&p->lock);
    return true;
}

void kv_prefault_wait(struct kv_prefault *p) {
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->state) == ASKED || atomic_load(&p->state) == RUNNING) pthread_cond_wait(&p->over, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void kv_prefault_stop(struct kv_prefault *p) {
    if (atomic_load(&p->state) == IDLE) return;
    atomic_store(&p->stop, true);
    pthread_mutex_lock(&p->lock);
    if (atomic_load(&p->state) == ASKED) { /* not begun: it need not be waited for */
        p->result = (struct kv_prefault_result){.end = KV_PREFAULT_REFUSED};
        atomic_store(&p->state, OVER);
    }
    while (atomic_load(&p->state) == RUNNING) pthread_cond_wait(&p->over, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
