/* vocab_merge: see vocab_merge.h. */
#include "model/vocab_merge.h"

#include <stdlib.h>

#include "config/err.h"

/* Two neighbours that may be joined. Stale once either has changed, which the sum of their lengths shows. */
struct vocab_pair { float priority; int32_t left, right, id; uint32_t n; };

void vocab_merge_free(struct vocab_merge *m) {
    free(m->symbol);
    free(m->heap);
    *m = (struct vocab_merge){0};
}

void vocab_merge_clear(struct vocab_merge *m) { m->n = m->n_heap = 0; }

int vocab_merge_add(struct vocab_merge *m, const char *p, uint32_t n, int32_t id) {
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 64;
        struct vocab_symbol *more = realloc(m->symbol, cap * sizeof *more);
        if (!more) return ERR_MEMORY;
        m->symbol = more;
        m->cap = cap;
    }
    int32_t i = (int32_t)m->n++;
    m->symbol[i] = (struct vocab_symbol){p, n, id, i - 1, -1};
    if (i) m->symbol[i - 1].next = i;
    return 0;
}

static bool comes_first(const struct vocab_pair *a, const struct vocab_pair *b) {
    return a->priority > b->priority || (a->priority == b->priority && a->left < b->left);
}

static int heap_push(struct vocab_merge *m, struct vocab_pair p) {
    if (m->n_heap == m->cap_heap) {
        size_t cap = m->cap_heap ? m->cap_heap * 2 : 64;
        struct vocab_pair *more = realloc(m->heap, cap * sizeof *more);
        if (!more) return ERR_MEMORY;
        m->heap = more;
        m->cap_heap = cap;
    }
    size_t i = m->n_heap++;
    for (; i && comes_first(&p, &m->heap[(i - 1) / 2]); i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = p;
    return 0;
}

static struct vocab_pair heap_pop(struct vocab_merge *m) {
    struct vocab_pair top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0, k;
    while ((k = 2 * i + 1) < m->n_heap) {
        if (k + 1 < m->n_heap && comes_first(&m->heap[k + 1], &m->heap[k])) k++;
        if (!comes_first(&m->heap[k], &last)) break;
        m->heap[i] = m->heap[k];
        i = k;
    }
    if (m->n_heap) m->heap[i] = last;
    return top;
}

static int offer(struct vocab_merge *m, vocab_pair_fn *pair, const void *own, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return 0;
    struct vocab_pair p = {.left = left, .right = right, .n = m->symbol[left].n + m->symbol[right].n};
    return pair(own, &m->symbol[left], &m->symbol[right], &p.priority, &p.id) ? heap_push(m, p) : 0;
}

int vocab_merge_run(struct vocab_merge *m, vocab_pair_fn *pair, const void *own) {
    int rc = 0;
    for (int32_t i = 0; (size_t)i + 1 < m->n && !rc; i++) rc = offer(m, pair, own, i, i + 1);
    while (m->n_heap && !rc) {
        struct vocab_pair p = heap_pop(m);
        struct vocab_symbol *a = &m->symbol[p.left], *b = &m->symbol[p.right];
        if (!a->n || !b->n || a->n + b->n != p.n) continue;
        a->n = p.n;
        a->id = p.id;
        a->next = b->next;
        b->n = 0;
        if (b->next >= 0) m->symbol[b->next].prev = p.left;
        rc = offer(m, pair, own, a->prev, p.left);
        if (!rc) rc = offer(m, pair, own, p.left, a->next);
    }
    return rc;
}
