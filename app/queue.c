/* queue: see queue.h. A ring of items under one lock. */
#include "app/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    unsigned char *item;
    size_t item_bytes, cap, first, n;
    bool closed;
    int wake[2]; /* -1: no pipe */
};

static int open_pipe(int fd[2]) {
    if (pipe(fd)) return -1;
    for (int i = 0; i < 2; i++) {
        fcntl(fd[i], F_SETFL, fcntl(fd[i], F_GETFL) | O_NONBLOCK);
        fcntl(fd[i], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

int queue_open(struct queue **out, size_t item_bytes, size_t cap, bool wake, struct err *e) {
    *out = NULL;
    struct queue *q = calloc(1, sizeof *q);
    unsigned char *item = calloc(cap, item_bytes);
    if (!q || !item) {
        free(q);
        free(item);
        return err_set(e, ERR_MEMORY, "no memory for a queue of %zu items", cap);
    }
    q->wake[0] = q->wake[1] = -1;
    if (wake && open_pipe(q->wake)) {
        free(q);
        free(item);
        return err_set(e, ERR_FAILED, "cannot make a pipe: %s", strerror(errno));
    }
    q->item = item;
    q->item_bytes = item_bytes;
    q->cap = cap;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, NULL);
    pthread_cond_init(&q->emptied, NULL);
    *out = q;
    return 0;
}

void queue_free(struct queue *q) {
    if (!q) return;
    for (int i = 0; i < 2; i++)
        if (q->wake[i] >= 0) close(q->wake[i]);
    pthread_cond_destroy(&q->emptied);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->lock);
    free(q->item);
    free(q);
}

int queue_wake_fd(const struct queue *q) { return q->wake[0]; }

void queue_drain(struct queue *q) {
    char byte[64];
    while (q->wake[0] >= 0 && read(q->wake[0], byte, sizeof byte) > 0) continue;
}

/* Under the lock; there is room. */
static void put(struct queue *q, const void *item) {
    memcpy(q->item + (q->first + q->n) % q->cap * q->item_bytes, item, q->item_bytes);
    q->n++;
    pthread_cond_signal(&q->filled);
    if (q->n > 1 || q->wake[1] < 0) return;
    /* A full pipe is as good as the byte: the reader wakes anyway. */
    while (write(q->wake[1], "", 1) < 0 && errno == EINTR) continue;
}

static bool push(struct queue *q, const void *item, bool wait) {
    pthread_mutex_lock(&q->lock);
    while (wait && !q->closed && q->n == q->cap) pthread_cond_wait(&q->emptied, &q->lock);
    bool ok = !q->closed && q->n < q->cap;
    if (ok) put(q, item);
    pthread_mutex_unlock(&q->lock);
    return ok;
}

static bool pop(struct queue *q, void *item, bool wait) {
    pthread_mutex_lock(&q->lock);
    while (wait && !q->closed && !q->n) pthread_cond_wait(&q->filled, &q->lock);
    bool ok = q->n > 0;
    if (ok) {
        memcpy(item, q->item + q->first * q->item_bytes, q->item_bytes);
        q->first = (q->first + 1) % q->cap;
        q->n--;
        pthread_cond_signal(&q->emptied);
    }
    pthread_mutex_unlock(&q->lock);
    return ok;
}

bool queue_push(struct queue *q, const void *item) { return push(q, item, true); }
bool queue_try_push(struct queue *q, const void *item) { return push(q, item, false); }
bool queue_pop(struct queue *q, void *item) { return pop(q, item, true); }
bool queue_try_pop(struct queue *q, void *item) { return pop(q, item, false); }

void queue_close(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->filled);
    pthread_cond_broadcast(&q->emptied);
    pthread_mutex_unlock(&q->lock);
}
