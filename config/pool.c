/* pool: see pool.h.
 *
 * A run is announced by raising `epoch`; the last thread to end a run says so likewise. Whoever waits
 * for such a counter spins for some microseconds, then offers its processor to others a few times, then sleeps in the
 * kernel (futex), so that more threads than free processors cost sleep and not spinning.
 *
 * A worker joins a run by adding 1 to `entry`, which holds the run's number, how many have joined, and whether the run is closed to
 * those who have not; once joined it is waited for. */
#include "config/pool.h"

#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 1500, YIELDS = 8 };

/* A counter that threads wait on, with the number of those asleep, so that raising it costs no system call
 * while all spin. A cache line of its own. */
struct signal {
    _Alignas(64) atomic_uint value;
    atomic_uint asleep;
};

#define ENTRY_CLOSED (UINT64_C(1) << 31)
static unsigned entry_run(uint64_t entry) { return (unsigned)(entry >> 32); }
static int entry_joined(uint64_t entry) { return (int)(entry & (ENTRY_CLOSED - 1)); }

struct pool {
    struct signal epoch;   /* the number of the newest run; raised to start it */
    struct signal done;    /* raised when the last worker may have ended a run */
    _Alignas(64) _Atomic uint64_t entry; /* number of the run, ENTRY_CLOSED, workers that have joined */
    _Alignas(64) atomic_int finished;    /* of those, how many have ended */
    _Alignas(64) int n_threads;
    void (*fn)(void *arg, int ith, int nth); /* NULL: end */
    void *arg;
    struct worker { struct pool *pool; pthread_t thread; int ith; } *worker; /* [n_threads], 0 unused */
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until the counter is no longer old. */
static void signal_wait(struct signal *s, unsigned old) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&s->value, memory_order_acquire) != old) return;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (atomic_load_explicit(&s->value, memory_order_acquire) != old) return;
        sched_yield();
    }
    /* Both sides write, then read what the other wrote (sequentially consistent): either the raiser sees a sleeper or
     * the kernel sees the new value and does not sleep. */
    atomic_fetch_add(&s->asleep, 1);
    while (atomic_load(&s->value) == old) syscall(SYS_futex, &s->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&s->asleep, 1);
}

static void signal_raise(struct signal *s) {
    atomic_fetch_add(&s->value, 1);
    if (atomic_load(&s->asleep)) syscall(SYS_futex, &s->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Joins the newest run unless it is closed; *epoch becomes its number. */
static bool worker_join(struct pool *p, unsigned *epoch) {
    uint64_t entry = atomic_load(&p->entry);
    do {
        if (entry_run(entry) == *epoch) return false; /* announced, and joined already */
        if (entry & ENTRY_CLOSED) {
            *epoch = entry_run(entry);
            return false;
        }
    } while (!atomic_compare_exchange_weak(&p->entry, &entry, entry + 1));
    *epoch = entry_run(entry);
    return true;
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct pool *p = w->pool;
    for (unsigned epoch = 0;;) {
        signal_wait(&p->epoch, epoch);
        if (!worker_join(p, &epoch)) continue;
        if (!p->fn) return NULL;
        p->fn(p->arg, w->ith, p->n_threads);
        int finished = atomic_fetch_add(&p->finished, 1) + 1;
        /* The caller closes the run, then looks at finished; this raises finished, then looks whether the run is closed: one
         * of them sees the other. A raise too many does no harm. */
        uint64_t entry = atomic_load(&p->entry);
        bool last = finished == p->n_threads - 1 || (entry & ENTRY_CLOSED && finished == entry_joined(entry));
        if (last) signal_raise(&p->done);
    }
}

int pool_open(struct pool **out, int n_threads, struct err *e) {
    *out = NULL;
    assert(n_threads >= 1);
    struct pool *p = aligned_alloc(64, sizeof *p);
    struct worker *worker = calloc((size_t)n_threads, sizeof *worker);
    if (!p || !worker) {
        free(p);
        free(worker);
        return err_set(e, ERR_MEMORY, "no memory for a pool of %d threads", n_threads);
    }
    memset(p, 0, sizeof *p);
    p->worker = worker;
    p->n_threads = 1;
    for (int i = 1; i < n_threads; i++) {
        worker[i] = (struct worker){.pool = p, .ith = i};
        if (pthread_create(&worker[i].thread, NULL, worker_main, &worker[i])) break; /* those that are there do the work */
        p->n_threads = i + 1;
    }
    *out = p;
    return 0;
}

static void run_start(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg) {
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->finished, 0, memory_order_relaxed);
    uint64_t run = (unsigned)(entry_run(atomic_load_explicit(&p->entry, memory_order_relaxed)) + 1);
    atomic_store(&p->entry, run << 32);
    signal_raise(&p->epoch);
}

/* Returns when so many workers have ended the run. */
static void run_end(struct pool *p, int workers) {
    for (;;) {
        unsigned done = atomic_load(&p->done.value);
        if (atomic_load(&p->finished) == workers) return;
        signal_wait(&p->done, done);
    }
}

void pool_close(struct pool *p) {
    if (!p) return;
    run_start(p, NULL, NULL);
    for (int i = 1; i < p->n_threads; i++) pthread_join(p->worker[i].thread, NULL);
    free(p->worker);
    free(p);
}

int pool_threads(const struct pool *p) { return p->n_threads; }

void pool_run(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg) {
    assert(fn);
    if (p->n_threads > 1) run_start(p, fn, arg);
    fn(arg, 0, p->n_threads);
    if (p->n_threads > 1) run_end(p, p->n_threads - 1);
}

void pool_run_any(struct pool *p, void (*fn)(void *arg, int ith, int nth), void *arg) {
    assert(fn);
    if (p->n_threads > 1) run_start(p, fn, arg);
    fn(arg, 0, p->n_threads);
    if (p->n_threads > 1) run_end(p, entry_joined(atomic_fetch_or(&p->entry, ENTRY_CLOSED)));
}

void pool_share(size_t n, size_t unit, int ith, int nth, size_t *from, size_t *to) {
    size_t units = n / unit + (n % unit != 0), each = units / (size_t)nth, more = units % (size_t)nth, i = (size_t)ith;
    size_t first = i * each + (i < more ? i : more), last = first + each + (i < more);
    *from = first * unit < n ? first * unit : n;
    *to = last * unit < n ? last * unit : n;
}
