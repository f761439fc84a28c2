/* session_bench: the steps of `bench`, on a session's own buffers. See engine.h. */
#include "model/session.h"

#include <stdlib.h>

#define FILL_SEED 1u

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
