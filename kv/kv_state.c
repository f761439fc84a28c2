/* kv_state: see kv_state.h. */
#include "kv/kv_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"

static bool has_states(const struct kv *c) { return c->config.state_bytes; }

/* Of the sequence as it is: not one that was left behind when it was emptied. */
static bool is_current(const struct kv *c, int seq) { return c->state_of[seq].index == c->seq[seq].n_tokens; }

static size_t n_points(const struct kv *c, int seq) { return is_current(c, seq) ? c->state_of[seq].n_points : 0; }

void kv_state_free(struct kv_state *s) {
    free(s->bytes[0]);
    free(s->bytes[1]);
    for (size_t i = 0; i < s->cap_points; i++) free(s->point[i].bytes);
    free(s->point);
    *s = (struct kv_state){0};
}

static void forget(const struct kv *c, struct kv_state *s) {
    s->n_points = s->index = 0;
    if (s->bytes[s->now]) memset(s->bytes[s->now], 0, c->config.state_bytes);
}

int kv_state_reserve(struct kv *c, int seq) {
    struct kv_state *s = &c->state_of[seq];
    if (!has_states(c)) return 0;
    for (int i = 0; i < 2; i++)
        if (!s->bytes[i] && !(s->bytes[i] = calloc(1, c->config.state_bytes))) return -1;
    return 0;
}

void kv_state_advance(struct kv *c, int seq) {
    struct kv_state *s = &c->state_of[seq];
    if (!has_states(c)) return;
    s->now ^= 1;
    s->index = c->seq[seq].n_tokens;
}

/* ---- a batch ------------------------------------------------------------------------------------------------- */

const void *kv_state_read(struct kv *c, const struct kv_batch *b) {
    struct kv_state *s = &c->state_of[b->seq];
    assert(c->running.on && has_states(c));
    if (!is_current(c, b->seq)) forget(c, s);
    return s->bytes[s->now];
}

void *kv_state_write(struct kv *c, const struct kv_batch *b) {
    struct kv_state *s = &c->state_of[b->seq];
    assert(c->running.on && has_states(c));
    return s->bytes[!s->now];
}

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

/* Room for one more; the oldest makes way where there are as many as there may be. */
static struct kv_checkpoint *add_point(struct kv *c, struct kv_state *s) {
    size_t most = c->config.n_checkpoints ? c->config.n_checkpoints : KV_CHECKPOINTS;
    if (s->n_points == most) {
        struct kv_checkpoint oldest = s->point[0];
        memmove(s->point, s->point + 1, (most - 1) * sizeof *s->point);
        s->point[most - 1] = oldest;
        return &s->point[most - 1];
    }
    if (!s->point && !(s->point = calloc(most, sizeof *s->point))) return NULL;
    s->cap_points = most;
    struct kv_checkpoint *p = &s->point[s->n_points];
    if (!p->bytes && !(p->bytes = malloc(c->config.state_bytes))) return NULL;
    s->n_points++;
    return p;
}

int kv_checkpoint(struct kv *c, int seq, struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    struct kv_state *s = &c->state_of[seq];
    if (!has_states(c) || c->seq[seq].n_tokens == 0 || !is_current(c, seq)) return 0;
    if (s->n_points && s->point[s->n_points - 1].index == s->index) return 0;
    struct kv_checkpoint *p = add_point(c, s);
    if (!p) return err_set(e, ERR_MEMORY, "no memory for a checkpoint of %llu bytes", (unsigned long long)c->config.state_bytes);
    p->index = s->index;
    memcpy(p->bytes, s->bytes[s->now], c->config.state_bytes);
    kv_stats_publish(c);
    return 0;
}

size_t kv_resume_point(const struct kv *c, int seq, size_t index) {
    const struct kv_state *s = &c->state_of[seq];
    if (index >= c->seq[seq].n_tokens) return c->seq[seq].n_tokens;
    if (!kv_memory_can(c, KV_CAN_TRIM)) return 0;
    if (!has_states(c)) return index;
    for (size_t i = n_points(c, seq); i > 0; i--)
        if (s->point[i - 1].index <= index) return s->point[i - 1].index;
    return 0;
}

void kv_state_rewind(struct kv *c, int seq, size_t index) {
    struct kv_state *s = &c->state_of[seq];
    if (!has_states(c) || index == s->index) return;
    while (s->n_points && s->point[s->n_points - 1].index > index) s->n_points--;
    if (index == 0) {
        forget(c, s);
        return;
    }
    const struct kv_checkpoint *p = &s->point[s->n_points - 1];
    assert(s->n_points && p->index == index);
    memcpy(s->bytes[s->now], p->bytes, c->config.state_bytes);
    s->index = index;
}

/* ---- copies -------------------------------------------------------------------------------------------------- */

static bool clone_point(const struct kv *c, struct kv_state *out, const struct kv_checkpoint *p) {
    uint8_t *bytes = malloc(c->config.state_bytes);
    if (!bytes) return false;
    memcpy(bytes, p->bytes, c->config.state_bytes);
    out->point[out->n_points++] = (struct kv_checkpoint){p->index, bytes};
    return true;
}

int kv_state_clone(const struct kv *c, int seq, struct kv_state *out) {
    const struct kv_state *a = &c->state_of[seq];
    *out = (struct kv_state){.index = c->seq[seq].n_tokens};
    if (!has_states(c)) return 0;
    bool ok = (out->bytes[0] = calloc(1, c->config.state_bytes)) && (out->bytes[1] = calloc(1, c->config.state_bytes));
    if (ok && a->bytes[0] && is_current(c, seq)) memcpy(out->bytes[0], a->bytes[a->now], c->config.state_bytes);
    if (ok && a->cap_points) ok = (out->point = calloc(a->cap_points, sizeof *out->point));
    if (ok) out->cap_points = a->cap_points;
    for (size_t i = 0; ok && i < n_points(c, seq); i++) ok = clone_point(c, out, &a->point[i]);
    if (!ok) kv_state_free(out);
    return ok ? 0 : -1;
}

void kv_state_set(struct kv *c, int seq, struct kv_state *s) {
    kv_state_free(&c->state_of[seq]);
    c->state_of[seq] = *s;
    *s = (struct kv_state){0};
}

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

static void put(const struct kv *c, uint64_t index, const uint8_t *bytes, struct buf *out) {
    buf_add(out, &index, sizeof index);
    for (uint64_t i = 0; !bytes && i < c->config.state_bytes; i++) buf_add_char(out, 0);
    if (bytes) buf_add(out, bytes, c->config.state_bytes);
}

void kv_state_put(const struct kv *c, int seq, struct buf *out) {
    const struct kv_state *s = &c->state_of[seq];
    size_t n_tokens = c->seq[seq].n_tokens;
    for (size_t i = 0; i < n_points(c, seq); i++) put(c, s->point[i].index, s->point[i].bytes, out);
    if (n_tokens) put(c, n_tokens, is_current(c, seq) ? s->bytes[s->now] : NULL, out);
}

/* The item at `at`; its index must lie in [least, most]. */
static int take(const struct kv *c, const uint8_t **at, uint64_t least, uint64_t most, size_t *index, uint8_t **bytes, struct err *e) {
    uint64_t i;
    memcpy(&i, *at, sizeof i);
    if (i < least || i > most)
        return err_set(e, ERR_FILE, "a state has seen %llu tokens, expected %llu to %llu", (unsigned long long)i, (unsigned long long)least, (unsigned long long)most);
    if (!(*bytes = malloc(c->config.state_bytes))) return err_set(e, ERR_MEMORY, "no memory for a state of %llu bytes", (unsigned long long)c->config.state_bytes);
    memcpy(*bytes, *at + sizeof i, c->config.state_bytes);
    *index = i;
    *at += sizeof i + c->config.state_bytes;
    return 0;
}

static int take_all(const struct kv *c, const uint8_t *at, size_t n, size_t n_tokens, struct kv_state *out, struct err *e) {
    size_t most = c->config.n_checkpoints ? c->config.n_checkpoints : KV_CHECKPOINTS, index = 0;
    if (!(out->point = calloc(most, sizeof *out->point))) return err_set(e, ERR_MEMORY, "no memory for %zu checkpoints", most);
    out->cap_points = most;
    for (size_t skip = n - 1 > most ? n - 1 - most : 0; n > 1; n--) { /* the oldest are left out where they are too many */
        uint8_t *bytes;
        int rc = take(c, &at, index, n_tokens, &index, &bytes, e);
        if (rc) return rc;
        if (skip) {
            skip--;
            free(bytes);
        } else {
            out->point[out->n_points++] = (struct kv_checkpoint){index, bytes};
        }
    }
    int rc = take(c, &at, n_tokens, n_tokens, &out->index, &out->bytes[0], e);
    if (!rc && !(out->bytes[1] = malloc(c->config.state_bytes))) rc = err_set(e, ERR_MEMORY, "no memory for a state");
    return rc;
}

int kv_state_take(const struct kv *c, const uint8_t *data, uint64_t n, size_t n_tokens, struct kv_state *out, struct err *e) {
    uint64_t item = sizeof(uint64_t) + c->config.state_bytes;
    *out = (struct kv_state){0};
    if (!has_states(c)) return n ? err_set(e, ERR_FILE, "it has recurrent states, and this model has none") : 0;
    if (n % item || (n == 0) != (n_tokens == 0))
        return err_set(e, ERR_FILE, "its states take %llu bytes, expected a multiple of %llu", (unsigned long long)n, (unsigned long long)item);
    int rc = n ? take_all(c, data, n / item, n_tokens, out, e) : 0;
    if (rc) kv_state_free(out);
    return rc;
}

uint64_t kv_state_total(const struct kv *c) {
    uint64_t n = 0;
    for (int s = 0; s < KV_MAX_SEQS && has_states(c); s++) {
        const struct kv_state *z = &c->state_of[s];
        n += (uint64_t)(z->bytes[0] != NULL) + (z->bytes[1] != NULL);
        for (size_t i = 0; i < z->cap_points; i++) n += z->point[i].bytes != NULL;
    }
    return n * c->config.state_bytes;
}
