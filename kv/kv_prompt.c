/* kv_prompt: the prompt cache: conversations that are not live, parked in the same pool of cells.
 *
 * A parked sequence keeps its cells where they are: parking and taking move owners, never bytes. Parked sequences have ids like the
 * others (the highest that are vacant), and cells that they alone own rest: they do not count against the bound, but against the
 * limit of the prompt cache, whatever else owns them. So the pool never holds more than the bound and that limit. Owner thread only. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"

#define LEAST_KEEP 0.25 /* share of an entry that must be of use for it to be taken */
#define PARK_KEEP 0.5   /* less than this of the live sequence is of use: it is parked first */
#define LEAST_SIM 0.1   /* share of a prompt that a live sequence must have to be chosen for it */

static uint64_t bit(int seq) {
    return (uint64_t)1 << seq;
}

static bool is_parked(const struct kv *c, int seq) {
    return c->cells.parked & bit(seq);
}

/* ---- how well a sequence suits a prompt ---- */

/* Tokens from the first on that are good for any conversation: nothing before them has left, and they saw nothing that did. */
static size_t clean_tokens(const struct kv_seq *s) {
    size_t n = kv_seq_taint(s);
    if (n > s->n_tokens) n = s->n_tokens;
    return s->n_left && s->left[0].first < n ? s->left[0].first : n;
}

size_t kv_prompt_common(const struct kv *c, int seq, const struct kv_prompt *p) {
    const struct kv_seq *s = &c->seq[seq];
    size_t n = s->n_tokens < p->n_tokens ? s->n_tokens : p->n_tokens, i = 0;
    while (i < n && s->token[i] == p->token[i]) i++;
    bool own = s->conversation == p->conversation || (!s->conversation && !is_parked(c, seq));
    size_t clean = own ? SIZE_MAX : clean_tokens(s);
    return i < clean ? i : clean;
}

/* What sequence and prompt have in common, as shares of both. */
struct match {
    size_t n;
    double sim, keep;
};

static struct match match_prompt(const struct kv *c, int seq, const struct kv_prompt *p) {
    size_t n = kv_prompt_common(c, seq, p), len = c->seq[seq].n_tokens;
    size_t taint = kv_evict_mode(c) == KV_EVICT_RESEED ? kv_seq_taint(&c->seq[seq]) : SIZE_MAX;
    if (taint < n) n = taint;
    return (struct match){n, p->n_tokens ? (double)n / (double)p->n_tokens : 0, len ? (double)n / (double)len : 0};
}

/* ---- entries ---- */

static int oldest_entry(const struct kv *c) {
    int found = -1;
    for (int s = 0; s < KV_MAX_SEQS; s++)
        if (is_parked(c, s) && (found < 0 || c->seq[s].used_at < c->seq[found].used_at)) found = s;
    return found;
}

static void drop(struct kv *c, int seq) {
    kv_ops_strip(c, seq);
    kv_seq_free(&c->seq[seq]);
    c->cells.parked &= ~bit(seq);
}

bool kv_prompt_drop_oldest(struct kv *c) {
    int oldest = oldest_entry(c);
    if (oldest < 0) return false;
    uint64_t since = kv_now_us();
    size_t tokens = c->seq[oldest].n_tokens;
    drop(c, oldest);
    kv_event_forget(c, tokens, since, "memory");
    kv_stats_publish(c);
    return true;
}

void kv_prompt_drop_all(struct kv *c) {
    for (int s = 0; s < KV_MAX_SEQS; s++)
        if (is_parked(c, s)) drop(c, s);
}

void kv_prompt_yield(struct kv *c, uint64_t cells) {
    uint64_t pool = kv_pool(c);
    while (c->cells.parked && cells > c->cells.n && kv_growth_reach(c) < (cells < pool ? cells : pool)) {
        uint32_t before = c->cells.used;
        kv_prompt_drop_oldest(c);
        cells -= before - c->cells.used;
        pool = kv_pool(c);
    }
}

/* A vacant id for an entry; the oldest one makes way where there is none. -1: all are live. */
static int vacant_id(struct kv *c) {
    for (int s = KV_MAX_SEQS - 1; s >= 0; s--) {
        const struct kv_seq *q = &c->seq[s];
        if (!q->leased && !is_parked(c, s) && q->n_runs == 0 && q->n_tokens == 0) return s;
    }
    int oldest = oldest_entry(c);
    if (oldest >= 0) drop(c, oldest);
    return oldest;
}

static void own_runs(struct kv *c, int seq) {
    const struct kv_seq *s = &c->seq[seq];
    for (size_t i = 0; i < s->n_runs; i++) kv_cells_own(&c->cells, s->run[i].cell, s->run[i].n, seq);
}

/* Everything but memory and lease; z has room. What left behind the last token was a plan for tokens that never came. */
static void copy_seq(struct kv_seq *z, const struct kv_seq *a) {
    if (a->n_runs) memcpy(z->run, a->run, a->n_runs * sizeof *a->run);
    if (a->n_tokens) memcpy(z->token, a->token, a->n_tokens * sizeof *a->token);
    if (a->n_left) memcpy(z->left, a->left, a->n_left * sizeof *a->left);
    if (a->n_turns) memcpy(z->turn, a->turn, a->n_turns * sizeof *a->turn);
    z->n_runs = a->n_runs;
    z->n_tokens = a->n_tokens;
    z->n_left = a->n_left;
    z->n_turns = a->n_turns;
    z->n_keep = a->n_keep;
    z->n_cells = a->n_cells;
    z->moved = a->moved;
    z->conversation = a->conversation;
    kv_seq_cut_left(z, z->n_tokens);
}

/* Whether b answers every prompt that a does: a is its beginning. */
static bool covers(const struct kv_seq *b, const struct kv_seq *a) {
    if (a->n_tokens > b->n_tokens || memcmp(a->token, b->token, a->n_tokens * sizeof *a->token)) return false;
    return a->conversation == b->conversation || clean_tokens(b) >= a->n_tokens;
}

static bool is_covered(const struct kv *c, const struct kv_seq *a) {
    for (int s = 0; s < KV_MAX_SEQS; s++)
        if (is_parked(c, s) && covers(&c->seq[s], a)) return true;
    return false;
}

static void drop_covered(struct kv *c, int by) {
    for (int s = 0; s < KV_MAX_SEQS; s++)
        if (s != by && is_parked(c, s) && covers(&c->seq[by], &c->seq[s])) drop(c, s);
}

static void hold_limit(struct kv *c) {
    while (c->cells.n_parked > c->parked_cells) drop(c, oldest_entry(c));
}

/* Makes an entry that owns what seq holds, beside it; the limit is to be held after. Nothing where it is refused: too large, known
 * already, or no memory. */
static void park(struct kv *c, int seq) {
    const struct kv_seq *a = &c->seq[seq];
    if (a->n_runs == 0 || a->n_cells > c->parked_cells || is_covered(c, a)) return;
    int id = vacant_id(c);
    if (id < 0) return;
    struct kv_seq *z = &c->seq[id];
    kv_seq_free(z);
    if (kv_seq_set_turns(z, a->turn, a->n_turns) || kv_seq_reserve(z, a->n_runs + a->n_left, a->n_tokens)) {
        kv_seq_free(z);
        return;
    }
    copy_seq(z, a);
    z->used_at = ++c->n_uses;
    c->cells.parked |= bit(id);
    own_runs(c, id);
    drop_covered(c, id);
}

/* seq, which is empty, becomes what the entry was. False: no memory, and nothing changed. */
static bool take(struct kv *c, int seq, int entry) {
    struct kv_seq *z = &c->seq[seq], *a = &c->seq[entry];
    if (kv_seq_set_turns(z, a->turn, a->n_turns) || kv_seq_reserve(z, c->cells.n, a->n_tokens + c->cells.n)) {
        kv_seq_forget(z);
        return false;
    }
    copy_seq(z, a);
    own_runs(c, seq);
    drop(c, entry);
    return true;
}

/* ---- choosing ---- */

/* The entry that beats the live sequence on both counts, and every other one that does; -1: none. */
static int best_entry(const struct kv *c, struct match best, const struct kv_prompt *p) {
    int found = -1;
    for (int s = 0; s < KV_MAX_SEQS; s++) {
        if (!is_parked(c, s)) continue;
        struct match m = match_prompt(c, s, p);
        if (m.keep < LEAST_KEEP || m.keep <= best.keep || m.sim <= best.sim) continue;
        best = m;
        found = s;
    }
    return found;
}

static size_t live_cells(const struct kv *c, int seq, size_t n) {
    return kv_seq_count(&c->seq[seq], &c->cells, 0, n, false);
}

/* The entry with the longest beginning of the prompt, longer than *n, which seq has, and with more of it live; -1: none. */
static int longest_entry(const struct kv *c, int seq, size_t *n, const struct kv_prompt *p) {
    size_t cells = live_cells(c, seq, *n);
    int found = -1;
    for (int s = 0; s < KV_MAX_SEQS; s++) {
        size_t common = is_parked(c, s) ? match_prompt(c, s, p).n : 0;
        if (common <= *n || live_cells(c, s, common) <= cells) continue;
        *n = common;
        cells = live_cells(c, s, common);
        found = s;
    }
    return found;
}

/* seq, which is empty, becomes the first n tokens of the entry, which stays. */
static void fork(struct kv *c, int seq, int entry, size_t n) {
    const struct kv_seq *a = &c->seq[entry];
    size_t i = kv_seq_find_index(a, n);
    int64_t end = i == a->n_runs ? -1 : kv_run_first(&a->run[i]) + (a->run[i].index < n ? (int64_t)(n - a->run[i].index) : 0);
    if (kv_seq_cp(c, entry, seq, -1, end, NULL)) return; /* no memory: it is computed then */
    c->seq[seq].conversation = a->conversation;
    c->seq[entry].used_at = ++c->n_uses;
}

/* The live sequence steps aside for an entry; where it is parked, the entry is not what makes way for it. */
static void change_places(struct kv *c, int seq, int entry) {
    c->seq[entry].used_at = ++c->n_uses;
    park(c, seq);
    kv_ops_strip(c, seq);
    if (is_parked(c, entry)) take(c, seq, entry);
    hold_limit(c);
}

void kv_prompt_choose(struct kv *c, int seq, const struct kv_prompt *p) {
    assert(!c->running.on && seq >= 0 && seq < KV_MAX_SEQS && !is_parked(c, seq));
    if (!c->parked_cells) return;
    struct match live = match_prompt(c, seq, p);
    int entry = best_entry(c, live, p);
    if (entry >= 0)
        change_places(c, seq, entry);
    else {
        size_t n = live.n;
        if (c->seq[seq].n_tokens && live.keep < PARK_KEEP) park(c, seq);
        hold_limit(c);
        entry = longest_entry(c, seq, &n, p);
        if (entry >= 0) {
            kv_ops_strip(c, seq);
            fork(c, seq, entry, n);
        }
    }
    kv_growth_settle(c, p->n_tokens < UINT32_MAX ? (uint32_t)p->n_tokens : 0, "prompt cache");
    kv_stats_publish(c);
}

int kv_prompt_pick(const struct kv *c, const struct kv_prompt *p) {
    int found = -1;
    double best = LEAST_SIM;
    for (int s = 0; s < KV_MAX_SEQS; s++) {
        double sim = c->seq[s].leased ? match_prompt(c, s, p).sim : 0;
        if (sim <= best) continue;
        best = sim;
        found = s;
    }
    return found;
}

void kv_prompt_park(struct kv *c, int seq) {
    assert(!c->running.on && seq >= 0 && seq < KV_MAX_SEQS && !is_parked(c, seq));
    park(c, seq);
    hold_limit(c);
    kv_ops_strip(c, seq);
    kv_growth_settle(c, 0, "parked");
    kv_stats_publish(c);
}

bool kv_prompt_resume(struct kv *c, int seq, uint64_t conversation) {
    assert(!c->running.on && seq >= 0 && seq < KV_MAX_SEQS && c->seq[seq].n_tokens == 0);
    int entry = -1;
    for (int s = 0; s < KV_MAX_SEQS && conversation; s++)
        if (is_parked(c, s) && c->seq[s].conversation == conversation && (entry < 0 || c->seq[s].used_at > c->seq[entry].used_at))
            entry = s;
    bool done = entry >= 0 && take(c, seq, entry);
    kv_stats_publish(c);
    return done;
}

void kv_prompt_set_limit(struct kv *c) {
    const struct kv_config *g = &c->config;
    uint64_t bytes = g->prompt_bytes;
    if (bytes == KV_PROMPT_AUTO) bytes = (g->budget_bytes ? g->budget_bytes : kv_growth_room(c).bytes) / 8;
    uint64_t cells = bytes / c->cell_bytes, most = g->bound < KV_MAX_CELLS ? KV_MAX_CELLS - g->bound : 0;
    if (g->prompt_tokens && cells > g->prompt_tokens) cells = g->prompt_tokens;
    if (g->streams) cells = 0; /* they share nothing, and each id is one's own */
    if (!kv_memory_can(c, KV_CAN_GROW | KV_CAN_TRIM)) cells = 0; /* it grows beyond the bound, and lends beginnings */
    c->parked_cells = (uint32_t)(cells < most ? cells : most);
}

void kv_prompt_count(const struct kv *c, struct kv_stats *s) {
    for (int i = 0; i < KV_MAX_SEQS; i++) s->n_parked += is_parked(c, i);
    s->parked_cells = c->cells.n_parked;
    s->parked_bytes = (uint64_t)c->cells.n_parked * c->cell_bytes;
    s->parked_limit_bytes = (uint64_t)c->parked_cells * c->cell_bytes;
}
