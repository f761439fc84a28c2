/* kv_seq: see kv_seq.h. */
#include "kv/kv_seq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void kv_seq_free(struct kv_seq *s) {
    free(s->run);
    free(s->token);
    free(s->left);
    free(s->turn);
    memset(s, 0, sizeof *s);
}

/* Makes *p hold at least n items, doubling; false for want of memory. */
static bool widen(void **p, size_t *cap, size_t n, size_t item) {
    if (n <= *cap) return true;
    size_t want = *cap * 2 > n ? *cap * 2 : n, bytes;
    if (__builtin_mul_overflow(want, item, &bytes)) return false;
    void *q = realloc(*p, bytes);
    if (!q) return false;
    *p = q;
    *cap = want;
    return true;
}

int kv_seq_reserve(struct kv_seq *s, size_t cells, size_t n_tokens) {
    size_t more = cells + 4;
    void *run = s->run, *left = s->left, *token = s->token;
    bool ok = widen(&run, &s->cap_runs, more, sizeof *s->run);
    s->run = run;
    ok = ok && widen(&left, &s->cap_left, more + s->n_turns, sizeof *s->left);
    s->left = left;
    ok = ok && widen(&token, &s->cap_tokens, n_tokens, sizeof *s->token);
    s->token = token;
    return ok ? 0 : -1;
}

int kv_seq_set_turns(struct kv_seq *s, const struct kv_turn *turn, size_t n) {
    void *p = s->turn;
    bool ok = widen(&p, &s->cap_turns, n, sizeof *s->turn);
    s->turn = p;
    if (!ok) return -1;
    if (n) memcpy(s->turn, turn, n * sizeof *turn);
    s->n_turns = n;
    return 0;
}

void kv_seq_forget(struct kv_seq *s) {
    s->n_runs = s->n_tokens = s->n_left = s->n_turns = s->n_keep = 0;
    s->n_cells = 0;
    s->moved = false;
    s->conversation = 0;
}

int64_t kv_seq_next_pos(const struct kv_seq *s) {
    return s->n_runs ? kv_run_end(&s->run[s->n_runs - 1]) : 0;
}

size_t kv_seq_find_index(const struct kv_seq *s, size_t index) {
    size_t lo = 0, hi = s->n_runs;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->run[mid].index + s->run[mid].n > index)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

size_t kv_seq_find_pos(const struct kv_seq *s, int64_t pos) {
    size_t lo = 0, hi = s->n_runs;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (kv_run_end(&s->run[mid]) > pos)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Splits run i behind its first k cells. */
static void split(struct kv_seq *s, size_t i, uint32_t k) {
    assert(s->n_runs < s->cap_runs && k > 0 && k < s->run[i].n);
    memmove(s->run + i + 1, s->run + i, (s->n_runs - i) * sizeof *s->run);
    s->n_runs++;
    struct kv_run *a = &s->run[i], *b = a + 1;
    a->n = k;
    b->n -= k;
    b->cell += k;
    b->pos += k;
    b->index += k;
}

size_t kv_seq_cut_index(struct kv_seq *s, size_t index) {
    size_t i = kv_seq_find_index(s, index);
    if (i == s->n_runs || s->run[i].index >= index) return i;
    split(s, i, (uint32_t)(index - s->run[i].index));
    return i + 1;
}

size_t kv_seq_cut_pos(struct kv_seq *s, int64_t pos) {
    size_t i = kv_seq_find_pos(s, pos);
    if (i == s->n_runs || kv_run_first(&s->run[i]) >= pos) return i;
    split(s, i, (uint32_t)(pos - kv_run_first(&s->run[i])));
    return i + 1;
}

void kv_seq_push(struct kv_seq *s, const struct kv_run *r) {
    s->n_cells += r->n;
    if (s->n_runs) {
        struct kv_run *z = &s->run[s->n_runs - 1];
        if (z->cell + z->n == r->cell && z->index + z->n == r->index && z->pos + z->n == r->pos &&
            z->offset == r->offset) {
            z->n += r->n;
            return;
        }
    }
    assert(s->n_runs < s->cap_runs);
    s->run[s->n_runs++] = *r;
}

uint32_t kv_seq_remove_runs(struct kv_seq *s, struct kv_cells *t, int seq, size_t from, size_t to) {
    uint32_t n = 0;
    if (from == to) return 0;
    for (size_t i = from; i < to; i++) {
        kv_cells_disown(t, s->run[i].cell, s->run[i].n, seq);
        n += s->run[i].n;
    }
    memmove(s->run + from, s->run + to, (s->n_runs - to) * sizeof *s->run);
    s->n_runs -= to - from;
    s->n_cells -= n;
    return n;
}

void kv_seq_strip(struct kv_seq *s, struct kv_cells *t, int seq) {
    kv_seq_remove_runs(s, t, seq, 0, s->n_runs);
    kv_seq_forget(s);
}

void kv_seq_take(struct kv_seq *s, struct kv_cells *t, int seq, size_t from, size_t to) {
    assert(from < to);
    size_t first = s->run[from].index, end = s->run[to - 1].index + s->run[to - 1].n;
    bool tail = to == s->n_runs;
    t->hint = s->run[from].cell;
    kv_seq_remove_runs(s, t, seq, from, to);
    if (s->n_runs == 0)
        kv_seq_forget(s);
    else if (tail) {
        s->n_tokens = first;
        kv_seq_cut_left(s, first);
        while (s->n_turns && s->turn[s->n_turns - 1].first >= first) s->n_turns--;
    } else
        kv_seq_add_left(s, (struct kv_range){first, end - first});
}

uint32_t kv_seq_drop(struct kv_seq *s, struct kv_cells *t, int seq, struct kv_range range) {
    size_t from = kv_seq_cut_index(s, range.first), to = kv_seq_cut_index(s, range.first + range.n);
    if (from == to) return 0;
    t->hint = s->run[from].cell; /* the next token takes what has just become free: no search in a full cache */
    int64_t first = kv_run_first(&s->run[from]);
    uint32_t n = kv_seq_remove_runs(s, t, seq, from, to);
    if (from == s->n_runs) return n; /* no tail behind the gap: the next token simply goes on from the kept part */
    /* By positions, not by cells: after a division several tokens share one. */
    int64_t raise = kv_run_first(&s->run[from]) - first;
    for (size_t i = 0; i < from; i++) s->run[i].offset += raise;
    return n;
}

size_t kv_seq_taint(const struct kv_seq *s) {
    int64_t n = 0;
    for (size_t i = 0; i < s->n_runs; n += s->run[i].n, i++)
        if (s->moved || s->run[i].pos != n) return s->run[i].index;
    return SIZE_MAX;
}

void kv_seq_settle(struct kv_seq *s) {
    if (kv_seq_taint(s) != SIZE_MAX) return;
    for (size_t i = 0; i < s->n_runs; i++) s->run[i].offset = 0;
}

size_t kv_seq_count(const struct kv_seq *s, const struct kv_cells *t, size_t from, size_t to, bool sole) {
    size_t n = 0;
    for (size_t i = kv_seq_find_index(s, from); i < s->n_runs && s->run[i].index < to; i++) {
        const struct kv_run *r = &s->run[i];
        size_t a = r->index > from ? r->index : from, b = r->index + r->n < to ? r->index + r->n : to;
        n += sole ? kv_cells_count_sole(t, r->cell + (uint32_t)(a - r->index), (uint32_t)(b - a)) : b - a;
    }
    return n;
}

void kv_seq_add_left(struct kv_seq *s, struct kv_range range) {
    if (range.n == 0) return;
    size_t first = range.first, end = range.first + range.n, i = s->n_left;
    while (i > 0 && s->left[i - 1].first + s->left[i - 1].n >= first) i--;
    size_t j = i; /* [i, j) touch the new range */
    while (j < s->n_left && s->left[j].first <= end) {
        if (s->left[j].first < first) first = s->left[j].first;
        if (s->left[j].first + s->left[j].n > end) end = s->left[j].first + s->left[j].n;
        j++;
    }
    assert(j > i || s->n_left < s->cap_left);
    memmove(s->left + i + 1, s->left + j, (s->n_left - j) * sizeof *s->left);
    s->n_left = s->n_left + 1 - (j - i);
    s->left[i] = (struct kv_range){first, end - first};
}

void kv_seq_cut_left(struct kv_seq *s, size_t end) {
    while (s->n_left && s->left[s->n_left - 1].first >= end) s->n_left--;
    if (s->n_left) {
        struct kv_range *z = &s->left[s->n_left - 1];
        if (z->first + z->n > end) z->n = end - z->first;
    }
}

size_t kv_seq_count_left(const struct kv_seq *s, size_t from, size_t to) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_left; i++) {
        size_t a = s->left[i].first, b = a + s->left[i].n;
        if (a < from) a = from;
        if (b > to) b = to;
        if (a < b) n += b - a;
    }
    return n;
}
