/* sampler: see sampler.h. Random numbers are xoshiro256** (Blackman and Vigna, 2018), seeded through splitmix64. */
#include "model/sampler.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LAST_N_MAX = 1 << 24 };

struct candidate { float logit; int32_t id; };

/* How often each token was accepted, and which were at all: first[] lists them, at[] says where. */
struct tally {
    uint32_t *count; /* [n_vocab] */
    int32_t *first;  /* [n_vocab], n of them in use */
    uint32_t *at;    /* [n_vocab], of those with a count */
    uint32_t n;
};

struct sampler {
    uint32_t n_vocab;
    struct sample_params p;
    uint64_t seed, rng[4];   /* seed: the one in use, never "from the clock" */
    struct tally tally;      /* of the window */
    int32_t *ring;           /* [p.repeat_last_n] the window, when it has an end */
    size_t n_ring, ring_at;  /* tokens in it; where the next one goes */
    struct candidate *cand;  /* [n_vocab] */
};

/* ---- random numbers ------------------------------------------------------------------------------------------ */

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t turn(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static void rng_seed(uint64_t rng[4], uint64_t seed) {
    for (int i = 0; i < 4; i++) rng[i] = splitmix(&seed);
}

static uint64_t rng_next(uint64_t rng[4]) {
    uint64_t out = turn(rng[1] * 5, 7) * 9, t = rng[1] << 17;
    rng[2] ^= rng[0];
    rng[3] ^= rng[1];
    rng[1] ^= rng[2];
    rng[0] ^= rng[3];
    rng[2] ^= t;
    rng[3] = turn(rng[3], 45);
    return out;
}

static double rng_unit(uint64_t rng[4]) { return (double)(rng_next(rng) >> 11) * 0x1p-53; } /* [0, 1) */

static uint64_t clock_seed(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t x = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    return splitmix(&x);
}

/* ---- the window of accepted tokens --------------------------------------------------------------------------- */

static void tally_add(struct tally *t, int32_t id, uint32_t times) {
    if (!times) return;
    if (!t->count[id]) {
        t->at[id] = t->n;
        t->first[t->n++] = id;
    }
    t->count[id] += times;
}

static void tally_remove(struct tally *t, int32_t id) {
    if (--t->count[id]) return;
    int32_t last = t->first[--t->n];
    t->first[t->at[id]] = last;
    t->at[last] = t->at[id];
}

static void window_clear(struct sampler *s) {
    for (uint32_t i = 0; i < s->tally.n; i++) s->tally.count[s->tally.first[i]] = 0;
    s->tally.n = 0;
    s->n_ring = s->ring_at = 0;
}

void sampler_accept(struct sampler *s, int32_t token) {
    if (token < 0 || (uint32_t)token >= s->n_vocab || !s->p.repeat_last_n) return;
    if (s->p.repeat_last_n > 0) {
        size_t cap = (size_t)s->p.repeat_last_n;
        if (s->n_ring == cap) tally_remove(&s->tally, s->ring[s->ring_at]);
        else s->n_ring++;
        s->ring[s->ring_at] = token;
        s->ring_at = (s->ring_at + 1) % cap;
    }
    tally_add(&s->tally, token, 1);
}

/* Token i of the window, the oldest first. */
static int32_t window_get(const struct sampler *s, size_t i) {
    size_t cap = (size_t)s->p.repeat_last_n;
    return s->ring[(s->ring_at + cap - s->n_ring + i) % cap];
}

/* Gives the window another length. What it held stays as far as it fits; from an endless window nothing can be kept,
 * since it has no order. */
static int window_resize(struct sampler *s, int32_t last_n, struct err *e) {
    if (last_n == s->p.repeat_last_n) return 0;
    int32_t *ring = NULL;
    size_t n = 0, cap = last_n > 0 ? (size_t)last_n : 0;
    if (cap && !(ring = malloc(cap * sizeof *ring))) return err_set(e, ERR_MEMORY, "no memory for a penalty window of %d tokens", last_n);
    if (last_n < 0) { /* counts go on */
        s->n_ring = s->ring_at = 0;
    } else {
        if (s->p.repeat_last_n > 0) n = s->n_ring < cap ? s->n_ring : cap;
        for (size_t i = 0; i < n; i++) ring[i] = window_get(s, s->n_ring - n + i);
        window_clear(s);
    }
    free(s->ring);
    s->ring = ring;
    s->p.repeat_last_n = last_n;
    for (size_t i = 0; i < n; i++) {
        int32_t token = ring[i]; /* accept writes it where it stands */
        sampler_accept(s, token);
    }
    return 0;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static int check_range(const char *name, double v, double min, double max, struct err *e) {
    if (v >= min && v <= max) return 0; /* a NaN is in no range */
    return err_set(e, ERR_USAGE, "%s is %g, but must be from %g to %g", name, v, min, max);
}

static int check_params(const struct sample_params *p, struct err *e) {
    const struct { const char *name; double v, min, max; } rows[] = {
        {"temp", p->temp, 0, 1000},
        {"top-k", p->top_k, 0, INT32_MAX},
        {"top-p", p->top_p, 0, 1},
        {"min-p", p->min_p, 0, 1},
        {"repeat-penalty", p->repeat_penalty, 0.001, 1000},
        {"repeat-last-n", p->repeat_last_n, -1, LAST_N_MAX},
        {"presence-penalty", p->presence_penalty, -1000, 1000},
        {"frequency-penalty", p->frequency_penalty, -1000, 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int rc = check_range(rows[i].name, rows[i].v, rows[i].min, rows[i].max, e);
        if (rc) return rc;
    }
    return 0;
}

int sampler_open(struct sampler **out, uint32_t n_vocab, const struct sample_params *p, struct err *e) {
    *out = NULL;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_MEMORY, "no memory for the sampler");
    s->n_vocab = n_vocab;
    s->tally.count = calloc(n_vocab, sizeof *s->tally.count);
    s->tally.first = calloc(n_vocab, sizeof *s->tally.first);
    s->tally.at = calloc(n_vocab, sizeof *s->tally.at);
    s->cand = calloc(n_vocab, sizeof *s->cand);
    int rc = 0;
    if (!s->tally.count || !s->tally.first || !s->tally.at || !s->cand) rc = err_set(e, ERR_MEMORY, "no memory for the sampler");
    s->p.seed = ~p->seed; /* any other: the first set seeds */
    if (!rc) rc = sampler_set(s, p, e);
    if (rc) {
        sampler_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void sampler_close(struct sampler *s) {
    if (!s) return;
    free(s->tally.count);
    free(s->tally.first);
    free(s->tally.at);
    free(s->ring);
    free(s->cand);
    free(s);
}

int sampler_set(struct sampler *s, const struct sample_params *p, struct err *e) {
    int rc = check_params(p, e);
    if (rc || (rc = window_resize(s, p->repeat_last_n, e))) return rc;
    bool seed = p->seed != s->p.seed;
    s->p = *p;
    if (seed) {
        s->seed = p->seed == UINT64_MAX ? clock_seed() : p->seed;
        rng_seed(s->rng, s->seed);
    }
    return 0;
}

void sampler_forget(struct sampler *s) { window_clear(s); }

void sampler_reset(struct sampler *s) {
    window_clear(s);
    rng_seed(s->rng, s->seed);
}

/* ---- from logits to candidates ------------------------------------------------------------------------------- */

static void penalise(const struct sampler *s, float *logits) {
    const struct sample_params *p = &s->p;
    for (uint32_t i = 0; i < s->tally.n; i++) {
        int32_t id = s->tally.first[i];
        float x = logits[id];
        x = x > 0 ? x / p->repeat_penalty : x * p->repeat_penalty;
        logits[id] = x - (float)s->tally.count[id] * p->frequency_penalty - p->presence_penalty;
    }
}

/* Comparisons and sums below need numbers: NaN is the least, and nothing is infinite. */
static float tame(float x) {
    if (!(x >= -FLT_MAX)) return -FLT_MAX;
    return x <= FLT_MAX ? x : FLT_MAX;
}

static int32_t arg_max(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* The order of candidates: higher logit, then lower id. */
static bool better(struct candidate a, struct candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

static int candidate_order(const void *a, const void *b) {
    return better(*(const struct candidate *)a, *(const struct candidate *)b) ? -1 : 1;
}

/* Puts c at place i of a heap whose root is the worst of n, and moves it down to where it belongs. */
static void sink(struct candidate *heap, size_t n, size_t i, struct candidate c) {
    size_t k;
    while ((k = 2 * i + 1) < n) {
        if (k + 1 < n && better(heap[k], heap[k + 1])) k++;
        if (better(heap[k], c)) break;
        heap[i] = heap[k];
        i = k;
    }
    heap[i] = c;
}

/* The k best of all n, best first, into s->cand. */
static size_t take_best(struct sampler *s, const float *logits, size_t k) {
    struct candidate *c = s->cand;
    size_t n = s->n_vocab;
    if (k > n) k = n;
    for (size_t i = 0; i < k; i++) c[i] = (struct candidate){logits[i], (int32_t)i};
    if (k < n) {
        for (size_t i = k / 2; i-- > 0;) sink(c, k, i, c[i]);
        for (size_t i = k; i < n; i++)
            if (logits[i] > c[0].logit) sink(c, k, 0, (struct candidate){logits[i], (int32_t)i});
    }
    qsort(c, k, sizeof *c, candidate_order);
    return k;
}

/* How many of the best n candidates reach the share top_p of total; 0 where all of them do not. */
static size_t nucleus(const struct candidate *c, size_t n, double total, float top_p) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += expf(c[i].logit - c[0].logit);
        if (sum >= top_p * total) return i + 1;
    }
    return 0;
}

/* top-p over the whole vocabulary: takes the best few, then more, until they hold the share. */
static size_t take_nucleus(struct sampler *s, const float *logits) {
    float max = logits[arg_max(logits, s->n_vocab)];
    double total = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) total += expf(logits[i] - max);
    for (size_t k = 128;; k *= 8) {
        size_t n = take_best(s, logits, k), m = nucleus(s->cand, n, total, s->p.top_p);
        if (m || n == s->n_vocab) return m ? m : n;
    }
}

static size_t take_top(struct sampler *s, const float *logits) {
    size_t n;
    if (s->p.top_k > 0) {
        n = take_best(s, logits, (size_t)s->p.top_k);
        if (s->p.top_p < 1) {
            double total = 0;
            for (size_t i = 0; i < n; i++) total += expf(s->cand[i].logit - s->cand[0].logit);
            size_t m = nucleus(s->cand, n, total, s->p.top_p);
            if (m) n = m;
        }
        return n;
    }
    if (s->p.top_p < 1) return take_nucleus(s, logits);
    for (n = 0; n < s->n_vocab; n++) s->cand[n] = (struct candidate){logits[n], (int32_t)n};
    return n;
}

/* Drops candidates below min_p times the best one's probability; keeps the order. */
static size_t drop_unlikely(struct candidate *c, size_t n, float max, float min_p) {
    if (min_p <= 0) return n;
    float least = max + logf(min_p);
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i].logit >= least) c[m++] = c[i];
    return m;
}

static int32_t draw(struct sampler *s, size_t n, float max) {
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++) { /* the probability, not normalised, takes the logit's place */
        s->cand[i].logit = expf((s->cand[i].logit - max) / s->p.temp);
        total += s->cand[i].logit;
    }
    double at = rng_unit(s->rng) * total;
    int32_t last = s->cand[0].id;
    for (size_t i = 0; i < n; i++) {
        if (s->cand[i].logit <= 0) continue;
        last = s->cand[i].id;
        sum += s->cand[i].logit;
        if (at < sum) break;
    }
    return last;
}

int32_t sampler_sample(struct sampler *s, float *logits) {
    penalise(s, logits);
    for (uint32_t i = 0; i < s->n_vocab; i++) logits[i] = tame(logits[i]);
    int32_t best = arg_max(logits, s->n_vocab);
    float max = logits[best];
    if (s->p.temp <= 0 || max == -FLT_MAX) return best; /* nothing to choose from: token 0 */
    size_t n = drop_unlikely(s->cand, take_top(s, logits), max, s->p.min_p);
    return draw(s, n, max);
}

/* ---- saving -------------------------------------------------------------------------------------------------- */

/* What a snapshot holds: this head, then n entries: tokens, the oldest first, or, of an endless window, tokens with counts. */
struct saved {
    uint32_t version, n_vocab;
    uint64_t asked_seed, seed; /* as asked for, maybe "from the clock", and in use: the same one asked for again changes nothing */
    uint64_t rng[4];
    int32_t last_n;
    uint32_t n;
};
struct saved_count { int32_t id; uint32_t count; };
enum { SAVED_VERSION = 1 };

size_t sampler_save(const struct sampler *s, void *out) {
    bool endless = s->p.repeat_last_n < 0;
    struct saved h = {SAVED_VERSION, s->n_vocab, s->p.seed, s->seed, {0}, s->p.repeat_last_n, endless ? s->tally.n : (uint32_t)s->n_ring};
    memcpy(h.rng, s->rng, sizeof h.rng);
    size_t size = sizeof h + h.n * (endless ? sizeof(struct saved_count) : sizeof(int32_t));
    if (!out) return size;
    uint8_t *p = out;
    memcpy(p, &h, sizeof h);
    p += sizeof h;
    for (uint32_t i = 0; i < h.n; i++) {
        if (endless) {
            struct saved_count c = {s->tally.first[i], s->tally.count[s->tally.first[i]]};
            memcpy(p + i * sizeof c, &c, sizeof c);
        } else {
            int32_t id = window_get(s, i);
            memcpy(p + i * sizeof id, &id, sizeof id);
        }
    }
    return size;
}

/* One entry of a snapshot; false where its token does not exist. */
static bool load_entry(const uint8_t *p, bool endless, uint32_t n_vocab, struct saved_count *c) {
    c->count = 1;
    memcpy(c, p, endless ? sizeof *c : sizeof c->id);
    return c->id >= 0 && (uint32_t)c->id < n_vocab;
}

int sampler_load(struct sampler *s, const void *bytes, size_t n, struct err *e) {
    struct saved h;
    if (n < sizeof h) return err_set(e, ERR_FILE, "sampler state: found %zu bytes, expected at least %zu", n, sizeof h);
    memcpy(&h, bytes, sizeof h);
    if (h.version != SAVED_VERSION || h.n_vocab != s->n_vocab)
        return err_set(e, ERR_FILE, "sampler state: found version %u for %u tokens, expected version %d for %u", h.version, h.n_vocab, SAVED_VERSION,
                       s->n_vocab);
    bool endless = h.last_n < 0;
    size_t item = endless ? sizeof(struct saved_count) : sizeof(int32_t);
    if ((n - sizeof h) / item != h.n || (n - sizeof h) % item)
        return err_set(e, ERR_FILE, "sampler state: found %zu bytes, expected %u entries of %zu", n - sizeof h, h.n, item);
    const uint8_t *p = (const uint8_t *)bytes + sizeof h;
    struct saved_count c;
    for (uint32_t i = 0; i < h.n; i++)
        if (!load_entry(p + i * item, endless, s->n_vocab, &c))
            return err_set(e, ERR_FILE, "sampler state: found token %d, expected one below %u", c.id, s->n_vocab);
    if (!(h.rng[0] | h.rng[1] | h.rng[2] | h.rng[3])) return err_set(e, ERR_FILE, "sampler state: found no random state, expected one that is not 0");
    window_clear(s);
    s->p.seed = h.asked_seed;
    s->seed = h.seed;
    memcpy(s->rng, h.rng, sizeof s->rng);
    for (uint32_t i = 0; i < h.n; i++) {
        load_entry(p + i * item, endless, s->n_vocab, &c);
        if (!endless) sampler_accept(s, c.id);
        else if (s->p.repeat_last_n < 0) tally_add(&s->tally, c.id, c.count);
    }
    return 0;
}
