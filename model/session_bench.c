/* session_bench: the steps of `bench`, on a session's own buffers. See engine.h. */
#include "model/session.h"

#include <math.h>
#include <stdlib.h>

#define FILL_SEED 1u
#define TEXT_BATCH 32u /* of a text whose likelihood is asked for: what makes room for a batch is what none of its tokens sees */

/* Tokens of any value do, but the same in every run. */
static void random_tokens(int32_t *id, size_t n, uint32_t n_vocab, uint32_t *state) {
    for (size_t i = 0; i < n; i++) {
        *state = *state * 1664525u + 1013904223u;
        id[i] = (int32_t)((*state >> 8) % n_vocab);
    }
}

int session_bench_fill(struct session *s, uint32_t depth, struct err *e) {
    kv_clear(s->kv, false);
    return depth ? kv_fill_random(s->kv, s->seq, depth, FILL_SEED, e) : 0;
}

int session_bench_prefill(struct session *s, uint32_t n, double *us, struct err *e) {
    int32_t *id = malloc((n ? n : 1) * sizeof *id);
    if (!id) return err_set(e, ERR_MEMORY, "no memory for %u tokens", n);
    uint32_t state = 1;
    int rc = 0;
    random_tokens(id, n, s->model->weights.shape.n_vocab, &state);
    double start = session_now_us();
    for (uint32_t i = 0; i < n && !rc; i += s->o.n_ubatch) {
        uint32_t m = n - i < s->o.n_ubatch ? n - i : s->o.n_ubatch;
        struct session_batch b = {
            .token = id + i, .n = m, .first = (size_t)-1, .first_row = i + m == n ? m - 1 : m, .logits = s->logits};
        rc = session_compute(s, &b, e);
    }
    if (us) *us = session_now_us() - start;
    free(id);
    return rc;
}

int session_bench_decode(struct session *s, uint32_t n, double *step_us, struct err *e) {
    uint32_t state = 2;
    for (uint32_t i = 0; i < n; i++) {
        int32_t id;
        random_tokens(&id, 1, s->model->weights.shape.n_vocab, &state);
        double start = session_now_us();
        struct session_batch b = {.token = &id, .n = 1, .first = (size_t)-1, .logits = s->logits};
        int rc = session_compute(s, &b, e);
        if (rc) return rc;
        if (step_us) step_us[i] = session_now_us() - start;
    }
    return 0;
}

/* A prompt as a reply would have it, up to its last logits. */
static int read_prompt(struct session *s, const int32_t *id, uint32_t n, uint64_t conversation, double *us, struct err *e) {
    struct kv_prompt prompt = {.token = id, .n_tokens = n, .conversation = conversation};
    struct kv_plan plan;
    double start = session_now_us();
    kv_prompt_choose(s->kv, s->seq, &prompt);
    int rc = kv_sync(s->kv, s->seq, &prompt, &plan, e);
    for (size_t k = 0; !rc && k < plan.n_todo; k++)
        for (size_t at = plan.todo[k].first, end = at + plan.todo[k].n; at < end && !rc;) {
            uint32_t m = end - at < s->o.n_ubatch ? (uint32_t)(end - at) : s->o.n_ubatch;
            struct session_batch b = {.token = id + at, .n = m, .first = at, .first_row = at + m == n ? m - 1 : m, .logits = s->logits};
            rc = session_compute(s, &b, e);
            at += m;
        }
    *us = session_now_us() - start;
    return rc;
}

int session_bench_switch(struct session *s, uint32_t n, double *read_us, double *back_us, int n_times, struct err *e) {
    int32_t *id = malloc(2 * (size_t)n * sizeof *id);
    if (!id) return err_set(e, ERR_MEMORY, "no memory for %u tokens", 2 * n);
    uint32_t state = 3;
    double other;
    random_tokens(id, 2 * (size_t)n, s->model->weights.shape.n_vocab, &state);
    kv_clear(s->kv, false);
    int rc = read_prompt(s, id, n, 1, read_us, e);
    for (int i = 0; i < n_times && !rc; i++) {
        rc = read_prompt(s, id + n, n < 64 ? n : 64, 2, &other, e);
        if (!rc) rc = read_prompt(s, id, n, 1, &back_us[i], e);
    }
    kv_clear(s->kv, false);
    free(id);
    return rc;
}

/* ---- how well a text is foreseen ----------------------------------------------------------------------------- */

/* A text on its way through a session. */
struct foreseen {
    struct session *s;
    const struct rendered *text;
    const bool *counts;
    float *logits;     /* [TEXT_BATCH][n_vocab] */
    size_t n_computed; /* tokens from the first on; what is read again is not counted again */
    double nats;
    size_t n;
};

static double nats_of(const float *logits, uint32_t n_vocab, int32_t id) {
    double top = logits[0], sum = 0;
    for (uint32_t i = 1; i < n_vocab; i++) top = fmax(top, (double)logits[i]);
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - top);
    return top + log(sum) - (double)logits[id];
}

/* Tokens [at, at + n), whose rows foresee the tokens one further on. index: as session_batch.first. */
static int foresee_batch(struct foreseen *f, size_t at, uint32_t n, size_t index, struct err *e) {
    uint32_t n_vocab = f->s->model->weights.shape.n_vocab;
    struct session_batch b = {.token = f->text->id + at, .n = n, .first = index, .logits = f->logits};
    int rc = session_compute(f->s, &b, e);
    for (size_t i = at; !rc && i < at + n; i++) {
        if (i < f->n_computed || i + 1 == f->text->n || (f->counts && !f->counts[i + 1])) continue;
        f->nats += nats_of(f->logits + (i - at) * n_vocab, n_vocab, f->text->id[i + 1]);
        f->n++;
    }
    if (!rc && at + n > f->n_computed) f->n_computed = at + n;
    return rc;
}

static int foresee_range(struct foreseen *f, struct kv_range range, bool append, struct err *e) {
    uint32_t most = f->s->o.n_ubatch < TEXT_BATCH ? f->s->o.n_ubatch : TEXT_BATCH;
    int rc = 0;
    for (size_t at = range.first, end = at + range.n; at < end && !rc;) {
        uint32_t n = end - at < most ? (uint32_t)(end - at) : most;
        rc = foresee_batch(f, at, n, append ? (size_t)-1 : at, e);
        at += n;
    }
    return rc;
}

/* As a chat comes to it: the text up to the end of this turn is a prompt. */
static int foresee_turn(struct foreseen *f, size_t i, struct err *e) {
    const struct rendered *t = f->text;
    struct kv_prompt prompt = {.token = t->id, .n_tokens = t->turn[i].first + t->turn[i].n, .n_keep = t->n_keep, .turn = t->turn, .n_turns = i + 1};
    struct kv_plan plan;
    int rc = kv_sync(f->s->kv, f->s->seq, &prompt, &plan, e);
    for (size_t k = 0; !rc && k < plan.n_todo; k++) rc = foresee_range(f, plan.todo[k], false, e);
    return rc;
}

int session_bench_perplexity(struct session *s, const struct rendered *text, const bool *counts, double *perplexity, size_t *n, struct err *e) {
    struct foreseen f = {.s = s, .text = text, .counts = counts};
    f.logits = malloc((size_t)TEXT_BATCH * s->model->weights.shape.n_vocab * sizeof *f.logits);
    if (!f.logits) return err_set(e, ERR_MEMORY, "no memory for the logits of %u tokens", TEXT_BATCH);
    kv_clear(s->kv, false);
    int rc = session_check_tokens(s, text->id, text->n, e);
    if (!rc && !text->n_turns) rc = foresee_range(&f, (struct kv_range){.n = text->n}, true, e);
    for (size_t i = 0; i < text->n_turns && !rc; i++) rc = foresee_turn(&f, i, e);
    if (!rc && !f.n) rc = err_set(e, ERR_USAGE, "a text of %zu tokens has none to foresee", text->n);
    *n = f.n;
    *perplexity = rc ? 0 : exp(f.nats / (double)f.n);
    free(f.logits);
    return rc;
}
