/* kv_sync: from the whole token list of a conversation to what is left to compute.
 *
 * Everything that can fail comes first; from apply() on nothing can. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_slot.h"

int kv_check_keep(enum kv_evict mode, uint32_t bound, size_t n_keep, struct err *e) {
    if (mode == KV_EVICT_STOP || n_keep <= bound / 2) return 0;
    return err_set(e, ERR_USAGE, "the kept part of %zu tokens is larger than half the bound of %u", n_keep, bound);
}

static int check_prompt(const struct kv *c, const struct kv_prompt *p, struct err *e) {
    size_t end = 0;
    if (p->n_tokens == 0) return err_set(e, ERR_USAGE, "a prompt has at least one token");
    if (p->n_keep > p->n_tokens)
        return err_set(e, ERR_USAGE, "a prompt of %zu tokens cannot keep %zu", p->n_tokens, p->n_keep);
    for (size_t i = 0; i < p->n_turns; i++) {
        const struct kv_turn *t = &p->turn[i];
        if (t->first < end || t->first > p->n_tokens || t->n > p->n_tokens - t->first)
            return err_set(e, ERR_USAGE, "turn %zu of the prompt, tokens %zu and %zu more, is out of order", i,
                           t->first, t->n);
        end = t->first + t->n;
    }
    return kv_check_keep(c->config.evict, c->config.bound, kv_evict_keep(c, p->n_keep), e);
}

static size_t common_prefix(const struct kv *c, int seq, const struct kv_prompt *p) {
    size_t n = kv_prompt_common(c, seq, p);
    return n < p->n_tokens ? n : p->n_tokens - 1; /* one token is always computed: its logits are what is asked for */
}

/* The range that left from which all must be read again for a prompt that goes on at r, or NULL. A turn makes sense
 * only whole: this is so where the prefix ends inside what has left, and where the last turn, which is to be answered
 * once more, lost its own beginning to a long reply. */
static const struct kv_range *find_broken(const struct kv_seq *s, const struct kv_prompt *p, size_t r) {
    size_t last = p->n_turns ? p->turn[p->n_turns - 1].first : p->n_keep;
    for (size_t i = 0; i < s->n_left; i++) {
        const struct kv_range *l = &s->left[i];
        if (l->first < r && (l->first + l->n >= r || l->first + l->n > last)) return l;
    }
    return NULL;
}

int kv_todo_reserve(struct kv_todo *t, size_t n) {
    if (t->cap >= n) return 0;
    struct kv_range *range = realloc(t->range, 2 * n * sizeof *range);
    if (!range) return -1;
    *t = (struct kv_todo){range, 2 * n};
    return 0;
}

static int reserve(struct kv *c, struct kv_seq *s, const struct kv_prompt *p, struct err *e) {
    size_t cells = c->cells.n + p->n_turns;
    if (kv_seq_reserve(s, cells, p->n_tokens + c->cells.n) || kv_todo_reserve(&c->todo, s->n_left + p->n_turns + 2))
        return err_set(e, ERR_MEMORY, "no memory for a prompt of %zu tokens", p->n_tokens);
    return 0;
}

/* Cells that so many tokens may count on: the bound, or less where memory is short. */
static uint32_t reach(const struct kv *c, int seq, size_t n_tokens) {
    uint64_t most = (uint64_t)n_tokens + kv_slot_used(c, seq) + 1;
    uint32_t capacity = kv_slot_capacity(c, seq);
    return most > capacity && capacity < kv_limit(c) ? kv_slot_reach(c, seq) : kv_limit(c);
}

void kv_todo_make(struct kv_todo *t, const struct kv_seq *s, size_t from, size_t end, struct kv_plan *plan) {
    plan->todo = t->range;
    for (size_t i = 0; i <= s->n_left; i++) {
        size_t stop = i < s->n_left && s->left[i].first < end ? s->left[i].first : end;
        if (stop > from) {
            t->range[plan->n_todo++] = (struct kv_range){from, stop - from};
            plan->n_todo_tokens += stop - from;
        }
        if (i < s->n_left && s->left[i].first + s->left[i].n > from) from = s->left[i].first + s->left[i].n;
    }
}

void kv_rewind(struct kv *c, int seq, size_t index) {
    struct kv_seq *s = &c->seq[seq];
    if (index < s->n_tokens) kv_state_rewind(c, seq, index);
    size_t from = kv_seq_cut_index(s, index);
    kv_seq_remove_runs(s, &c->cells, seq, from, s->n_runs);
    kv_seq_settle(s);
    s->n_tokens = index;
    if (index == 0) s->moved = false;
}

/* Rewinds, lets go what the plan drops, and remembers the prompt. */
static void apply(struct kv *c, const struct kv_ask *a, const struct kv_prompt *p, const struct kv_dropped *d) {
    struct kv_seq *s = &c->seq[a->seq];
    kv_rewind(c, a->seq, a->redo);
    kv_seq_cut_left(s, a->live_end);
    memcpy(s->token + a->live_end, p->token + a->live_end, (p->n_tokens - a->live_end) * sizeof *p->token);
    s->n_keep = p->n_keep;
    s->conversation = p->conversation;
    kv_evict_apply(c, a->seq, d);
}

int kv_sync(struct kv *c, int seq, const struct kv_prompt *p, struct kv_plan *plan, struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    struct kv_seq *s = &c->seq[seq];
    *plan = (struct kv_plan){0};
    uint64_t since = kv_now_us();
    int rc = check_prompt(c, p, e);
    if (rc || (rc = reserve(c, s, p, e))) return rc;
    size_t r = common_prefix(c, seq, p);
    kv_prompt_yield(c, (uint64_t)c->cells.used + p->n_tokens - r + kv_evict_reply_cells(c));
    size_t others = kv_evict_others(c, seq), limit = reach(c, seq, p->n_tokens);
    struct kv_ask a = {.seq = seq,
                       .turn = p->turn,
                       .n_turns = p->n_turns,
                       .n_keep = kv_evict_keep(c, p->n_keep),
                       .live_end = r,
                       .known_end = r,
                       .end = p->n_tokens,
                       .extra = kv_evict_reply_cells(c),
                       .limit = limit > others ? limit - others : 0,
                       .whole_last = true};
    struct kv_dropped d;
    const struct kv_range *broken = find_broken(s, p, r);
    if (broken) a.live_end = broken->first;
    a.live_end = kv_resume_point(c, seq, a.live_end);
    rc = kv_evict_plan(c, &a, &d, e);
    if (rc == ERR_CONTEXT && broken && a.live_end && broken->first + broken->n < r) {
        a.live_end = kv_resume_point(c, seq, r); /* too long to be whole again: it goes on as it is */
        rc = kv_evict_plan(c, &a, &d, e);
    }
    if (rc) {
        if (rc != ERR_CONTEXT || limit == kv_limit(c)) return kv_memory_answer(c, "evict", rc, e);
        if (e) e->code = ERR_MEMORY;
        err_prefix(e, "memory is short");
        return ERR_MEMORY;
    }
    if (kv_seq_set_turns(s, p->turn, p->n_turns)) return err_set(e, ERR_MEMORY, "no memory for %zu turns", p->n_turns);
    bool rewound = s->n_tokens > a.redo;
    apply(c, &a, p, &d);
    plan->n_cached = s->n_cells;
    plan->evicted_tokens = d.tokens;
    plan->evicted_turns = d.turns;
    kv_todo_make(&c->todo, s, a.redo, p->n_tokens, plan);
    if (d.tokens) kv_event_evict(c, d.tokens, d.turns, false, since, "prompt");
    if (rewound) kv_growth_settle(c, (uint32_t)plan->n_todo_tokens, "rewound");
    kv_stats_publish(c);
    return 0;
}

int kv_clear_and_reseed(struct kv *c, int seq, size_t sinks, size_t tail, struct kv_plan *plan, struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    struct kv_seq *s = &c->seq[seq];
    kv_prompt_yield(c, (uint64_t)c->cells.used + sinks + tail + kv_evict_reply_cells(c));
    size_t n = s->n_tokens, others = kv_evict_others(c, seq), limit = reach(c, seq, sinks + tail);
    *plan = (struct kv_plan){0};
    uint64_t since = kv_now_us();
    if (sinks > n || tail > n - sinks || sinks + tail == 0)
        return err_set(e, ERR_USAGE, "%zu first and %zu last tokens are not to be had of a sequence of %zu", sinks, tail, n);
    if (others + sinks + tail + kv_evict_reply_cells(c) > limit)
        return err_set(e, limit == kv_limit(c) ? ERR_CONTEXT : ERR_MEMORY, "%zu tokens do not fit beside %zu others into %zu cells",
                       sinks + tail, others, limit);
    if (kv_seq_reserve(s, c->cells.n, n + c->cells.n) || kv_todo_reserve(&c->todo, 2)) return err_set(e, ERR_MEMORY, "no memory to rebuild a sequence of %zu tokens", n);
    int rc = kv_slot_grow(c, seq, (uint32_t)(others + sinks + tail), "reseeded", e);
    if (rc) return rc;
    struct kv_range middle = {sinks, n - tail - sinks};
    plan->evicted_tokens = middle.n - kv_seq_count_left(s, sinks, n - tail);
    kv_rewind(c, seq, 0);
    kv_seq_cut_left(s, 0);
    kv_seq_add_left(s, middle);
    kv_todo_make(&c->todo, s, 0, n, plan);
    if (plan->evicted_tokens) kv_event_evict(c, plan->evicted_tokens, 0, false, since, "reseeded");
    kv_stats_publish(c);
    return 0;
}

size_t kv_left(const struct kv *c, int seq, const struct kv_range **ranges) {
    *ranges = c->seq[seq].left;
    return c->seq[seq].n_left;
}

size_t kv_tokens(const struct kv *c, int seq, const int32_t **token) {
    *token = c->seq[seq].token;
    return c->seq[seq].n_tokens;
}
