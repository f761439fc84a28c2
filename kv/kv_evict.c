/* kv_evict: what leaves a conversation when it does not fit any more, by mode. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kv/kv_cache.h"

#define SINKS 4 /* a sliding window keeps its first tokens: attention leans on them (Xiao et al., 2023) */

/* The state of one plan. Turn n_turns - 1 is the one in progress. */
struct plan {
    struct kv *c;
    const struct kv_ask *a;
    struct kv_dropped *d;
    size_t kept;  /* cells of the kept part and of pinned turns */
    size_t total; /* cells of all that stays so far, with extra */
};

static size_t n_turns(const struct kv_ask *a) {
    return a->n_turns ? a->n_turns : 1;
}

static struct kv_range turn_range(const struct kv_ask *a, size_t i) {
    size_t first = i == 0 ? a->n_keep : a->turn[i].first;
    size_t end = i + 1 < a->n_turns ? a->turn[i + 1].first : a->end;
    if (first < a->n_keep) first = a->n_keep;
    if (end > a->end) end = a->end;
    return (struct kv_range){first, end > first ? end - first : 0};
}

static bool pinned(const struct kv_ask *a, size_t i) {
    return a->n_turns && a->turn[i].pinned && i + 1 < a->n_turns;
}

/* Cells that tokens [from, to) take, or will, of those that are this sequence's alone. What is computed again goes into cells of its own. */
static size_t cost(const struct kv *c, const struct kv_ask *a, size_t from, size_t to) {
    const struct kv_seq *s = &c->seq[a->seq];
    size_t live = to < a->live_end ? to : a->live_end, stay = to < a->redo ? to : a->redo, again = from > a->redo ? from : a->redo, n = 0;
    if (from < stay) n += kv_seq_count(s, &c->cells, from, stay, true);
    if (again < live) n += kv_seq_count(s, &c->cells, again, live, false);
    size_t ahead = from > a->live_end ? from : a->live_end;
    if (to > ahead) n += to - ahead;
    return n;
}

static size_t cost_range(const struct plan *p, struct kv_range r) {
    return cost(p->c, p->a, r.first, r.first + r.n);
}

/* turn: r is a whole one. What had left before and would come again, only to leave again, is not told of twice. */
static void drop(struct plan *p, struct kv_range r, size_t cells, bool turn) {
    struct kv_dropped *d = p->d;
    size_t end = r.first + r.n < p->a->known_end ? r.first + r.n : p->a->known_end;
    size_t fresh = r.n - kv_seq_count_left(&p->c->seq[p->a->seq], r.first, end);
    d->tokens += fresh;
    d->turns += turn && fresh;
    d->range[d->n++] = r;
    p->total -= cells;
}

/* The first tokens of r that take `cells` cells. */
static struct kv_range cut_range(const struct plan *p, struct kv_range r, size_t cells) {
    size_t lo = 0, hi = r.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cost(p->c, p->a, r.first, r.first + mid) >= cells)
            hi = mid;
        else
            lo = mid + 1;
    }
    return (struct kv_range){r.first, lo};
}

static int refuse(const struct plan *p, struct err *e) {
    const struct kv_ask *a = p->a;
    size_t last = cost_range(p, turn_range(a, n_turns(a) - 1)), beside = p->kept + a->extra;
    return err_set(e, ERR_CONTEXT, "the message is %zu tokens, %zu fit beside the %zu that are kept (bound %u)", last,
                   a->limit > beside ? a->limit - beside : 0, p->kept, p->c->config.bound);
}

/* Whole turns, the oldest first, until the share is free; in the end the oldest tokens of the turn in progress. */
static int plan_shift(struct plan *p, struct err *e) {
    const struct kv_ask *a = p->a;
    size_t beside = a->limit > p->kept ? a->limit - p->kept : 0;
    size_t share = (size_t)ceil(p->c->config.evict_free * (double)beside);
    size_t goal = a->limit - (share < a->limit ? share : a->limit), last = n_turns(a) - 1;
    for (size_t i = 0; i < last && (p->total > a->limit || p->total - a->extra > goal); i++) {
        struct kv_range r = turn_range(a, i);
        size_t cells = pinned(a, i) ? 0 : cost_range(p, r);
        if (cells == 0) continue;
        drop(p, r, cells, true);
    }
    if (p->total <= a->limit) return 0;
    if (a->whole_last) return refuse(p, e);
    struct kv_range r = turn_range(a, last);
    size_t own = cost_range(p, r), least = p->total - a->limit;
    size_t want = p->total - a->extra > goal ? p->total - a->extra - goal : 0;
    if (want < least) want = least;
    if (beside >= 2 * KV_BLOCK) want = (want + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK;
    if (want > own) want = own;
    if (want < least) return refuse(p, e);
    drop(p, cut_range(p, r, want), want, false);
    return 0;
}

/* The oldest tokens, as many as are too many. */
static int plan_slide(struct plan *p, struct err *e) {
    const struct kv_ask *a = p->a;
    const struct kv_seq *s = &p->c->seq[a->seq];
    size_t last = n_turns(a) - 1, i = 0, first = kv_seq_find_index(s, a->n_keep);
    /* Turns that have left altogether are passed over: there may be thousands, and this runs for every token. */
    size_t index = first < s->n_runs ? s->run[first].index : a->live_end;
    if (index > a->live_end) index = a->live_end;
    for (size_t lo = 0, hi = last; lo < hi;) {
        size_t mid = lo + (hi - lo + 1) / 2;
        if (turn_range(a, mid).first <= index)
            i = lo = mid;
        else
            hi = mid - 1;
    }
    for (; p->total > a->limit && i <= last; i++) {
        if (pinned(a, i) || (i == last && a->whole_last)) continue;
        struct kv_range r = turn_range(a, i);
        size_t cells = cost_range(p, r), want = p->total - a->limit;
        if (cells == 0) continue;
        if (want < cells)
            drop(p, cut_range(p, r, want), want, false);
        else
            drop(p, r, cells, i < last);
    }
    return p->total > a->limit ? refuse(p, e) : 0;
}

static int plan_stop(struct plan *p, struct err *e) {
    const struct kv_ask *a = p->a;
    return err_set(e, ERR_CONTEXT, "the context is full: %zu tokens do not fit into %zu cells, and the mode is stop",
                   p->total, a->limit);
}

static const struct mode {
    const char *name;
    int (*plan)(struct plan *p, struct err *e); /* called where total > limit */
    size_t reply_cells;
    size_t least_keep;
    bool shifts;  /* uses what stays as it was computed */
    bool reseeds; /* computes it again */
} modes[] = {
    [KV_EVICT_SHIFT] = {"shift", plan_shift, 1, 0, true, false},
    [KV_EVICT_SLIDE] = {"slide", plan_slide, 1, SINKS, true, false},
    [KV_EVICT_STOP] = {"stop", plan_stop, 0, 0, false, false},
    [KV_EVICT_RESEED] = {"reseed", plan_shift, 1, 0, false, true},
};

int kv_evict_find(const char *name) {
    for (int i = 0; i < (int)(sizeof modes / sizeof *modes); i++)
        if (!strcasecmp(modes[i].name, name)) return i;
    return -1;
}

const char *kv_evict_name(enum kv_evict m) {
    return modes[m].name;
}

static void tell_reseed(struct kv *c) {
    if (c->told_mode) return;
    c->told_mode = true;
    kv_event_mode(c, c->config.evict == KV_EVICT_SHIFT ? "reseed in place of shift" : "reseed in place of slide");
}

int kv_set_evict(struct kv *c, enum kv_evict m, struct err *e) {
    int rc = kv_check_keep(m, c->config.bound, c->config.keep, e);
    if (rc) return rc;
    c->config.evict = m;
    if (modes[m].shifts && kv_cannot_shift(c)) tell_reseed(c);
    kv_stats_publish(c);
    return 0;
}

enum kv_evict kv_evict_mode(const struct kv *c) {
    bool other = kv_cannot_shift(c) && modes[c->config.evict].shifts;
    return other ? KV_EVICT_RESEED : c->config.evict;
}

static const struct mode *mode_of(const struct kv *c) {
    return &modes[kv_evict_mode(c)];
}

size_t kv_evict_reply_cells(const struct kv *c) {
    return mode_of(c)->reply_cells;
}

size_t kv_evict_keep(const struct kv *c, size_t n_keep) {
    if (n_keep == 0) n_keep = c->config.keep;
    size_t least = mode_of(c)->least_keep;
    return n_keep < least ? least : n_keep;
}

size_t kv_evict_others(const struct kv *c, int seq) {
    if (c->config.streams) return 0;
    return c->cells.used - kv_seq_count(&c->seq[seq], &c->cells, 0, SIZE_MAX, true);
}

/* What a plug-in chooses; nothing where the mode is to decide. */
static int plan_choice(struct plan *p, struct err *e) {
    size_t n, cells;
    int rc = kv_choice_make(p->c, p->a, p->total - p->a->limit, &n, &cells, e);
    p->d->range = p->c->range;
    for (size_t i = 0; i < n && !rc; i++) drop(p, p->c->range[i], 0, false);
    p->total -= rc ? 0 : cells;
    return rc;
}

/* Once, for what a->redo says. */
static int plan_once(struct kv *c, const struct mode *m, const struct kv_ask *a, struct kv_dropped *d, struct err *e) {
    struct plan p = {.c = c, .a = a, .d = d};
    *d = (struct kv_dropped){.range = c->range};
    p.total = cost(c, a, 0, a->end) + a->extra;
    if (p.total <= a->limit) return 0;
    if (c->cap_ranges < n_turns(a) + 2) {
        size_t cap = n_turns(a) * 2 + 16;
        struct kv_range *r = realloc(c->range, cap * sizeof *r);
        if (!r) return err_set(e, ERR_MEMORY, "no memory to plan an eviction of %zu turns", n_turns(a));
        c->range = d->range = r;
        c->cap_ranges = cap;
    }
    p.kept = cost(c, a, 0, a->n_keep < a->end ? a->n_keep : a->end);
    if (m->shifts) {
        int rc = plan_choice(&p, e);
        if (rc || p.total <= a->limit) return rc;
    }
    if (m->plan != plan_slide || a->whole_last)
        for (size_t i = 0; i < n_turns(a); i++)
            if (pinned(a, i)) p.kept += cost_range(&p, turn_range(a, i));
    return m->plan(&p, e);
}

/* To compute more again can take more room, where cells are shared, and then more turns leave. */
static int plan_reseed(struct kv *c, struct kv_ask *a, struct kv_dropped *d, struct err *e) {
    size_t taint = kv_seq_taint(&c->seq[a->seq]);
    a->redo = taint < a->live_end ? kv_resume_point(c, a->seq, taint) : a->live_end;
    for (;;) {
        int rc = plan_once(c, &modes[KV_EVICT_RESEED], a, d, e);
        if (rc || d->n == 0 || d->range[0].first >= a->redo) return rc;
        a->redo = kv_resume_point(c, a->seq, d->range[0].first);
    }
}

/* What stays may come to stand before a tail that is shorter than the window, and rings have overwritten it: then that drop is a reseed. */
int kv_evict_plan(struct kv *c, struct kv_ask *a, struct kv_dropped *d, struct err *e) {
    const struct mode *m = mode_of(c);
    if (m->reseeds) return plan_reseed(c, a, d, e);
    a->redo = a->live_end;
    int rc = plan_once(c, m, a, d, e);
    if (rc || d->n == 0 || !c->config.n_window_layers || kv_ring_can(c, a->seq, NULL, a->live_end, d)) return rc;
    rc = plan_reseed(c, a, d, e);
    if (!rc) tell_reseed(c);
    return rc;
}

void kv_evict_apply(struct kv *c, int seq, const struct kv_dropped *d) {
    struct kv_seq *s = &c->seq[seq];
    for (size_t i = 0; i < d->n; i++) {
        kv_seq_drop(s, &c->cells, seq, d->range[i]);
        kv_seq_add_left(s, d->range[i]);
    }
}

/* The conversation as it stands, about to take n more tokens. */
static struct kv_ask ask_for(const struct kv *c, int seq, size_t n, size_t limit) {
    const struct kv_seq *s = &c->seq[seq];
    size_t others = kv_evict_others(c, seq);
    return (struct kv_ask){.seq = seq,
                           .turn = s->turn,
                           .n_turns = s->n_turns,
                           .n_keep = kv_evict_keep(c, s->n_keep),
                           .live_end = s->n_tokens,
                           .redo = s->n_tokens,
                           .known_end = s->n_tokens,
                           .end = s->n_tokens,
                           .extra = n,
                           .limit = limit > others ? limit - others : 0};
}

int kv_evict_make_room(struct kv *c, int seq, uint32_t n, uint32_t limit, struct kv_plan *plan, struct err *e) {
    uint64_t since = kv_now_us();
    struct kv_ask a = ask_for(c, seq, n, limit);
    struct kv_dropped d;
    int rc = kv_evict_plan(c, &a, &d, e);
    if (rc || d.n == 0) return rc;
    bool again = a.redo < a.live_end;
    if (again && !plan) return err_set(e, ERR_CONTEXT, "to make room for %u tokens what stays is to be computed again", n);
    if (again && kv_todo_reserve(&c->again, c->seq[seq].n_left + d.n + 1))
        return err_set(e, ERR_MEMORY, "no memory to compute again what stays of %zu tokens", a.live_end);
    if (again) kv_rewind(c, seq, a.redo);
    kv_evict_apply(c, seq, &d);
    if (again) kv_todo_make(&c->again, &c->seq[seq], a.redo, a.live_end, plan);
    if (again && !plan->n_todo) c->state_of[seq].index = c->seq[seq].n_tokens = a.live_end; /* all of it has left: the next token comes behind it */
    if (plan) {
        plan->n_cached = c->seq[seq].n_cells;
        plan->evicted_tokens = d.tokens;
        plan->evicted_turns = d.turns;
    }
    kv_event_evict(c, d.tokens, d.turns, mode_of(c)->plan == plan_slide && !again, since, "full");
    return 0;
}

size_t kv_batch_room(const struct kv *c, int seq) {
    struct kv_ask a = ask_for(c, seq, 0, kv_limit(c));
    size_t stays = cost(c, &a, 0, a.end);
    if (mode_of(c)->plan != plan_stop) {
        stays = cost(c, &a, 0, a.n_keep < a.end ? a.n_keep : a.end);
        for (size_t i = 0; i < n_turns(&a); i++) {
            struct kv_range r = turn_range(&a, i);
            if (pinned(&a, i)) stays += cost(c, &a, r.first, r.first + r.n);
        }
    }
    return a.limit > stays ? a.limit - stays : 0;
}
