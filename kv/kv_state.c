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

static size_t most_points(const struct kv *c) { return c->config.n_checkpoints ? c->config.n_checkpoints : KV_CHECKPOINTS; }

static void free_point(struct kv_checkpoint *p) {
    free(p->bytes);
    kv_ring_copy_free(&p->ring);
    *p = (struct kv_checkpoint){0};
}

void kv_state_free(struct kv_state *s) {
    free(s->bytes[0]);
    free(s->bytes[1]);
    for (size_t i = 0; i < s->cap_points; i++) free_point(&s->point[i]);
    free(s->point);
    kv_ring_free(&s->ring);
    *s = (struct kv_state){0};
}

static void forget(const struct kv *c, struct kv_state *s) {
    s->n_points = s->index = 0;
    kv_ring_forget(&s->ring);
    if (s->bytes[s->now]) memset(s->bytes[s->now], 0, c->config.state_bytes);
}

int kv_state_reserve(struct kv *c, int seq, uint64_t ahead, uint32_t n, struct err *e) {
    struct kv_state *s = &c->state_of[seq];
    uint64_t more = 0;
    for (int i = 0; i < 2 && has_states(c); i++) more += s->bytes[i] ? 0 : c->config.state_bytes;
    int rc = more ? kv_growth_ask(c, more, "a recurrent state", e) : 0;
    if (rc) return rc;
    for (int i = 0; i < 2 && has_states(c); i++)
        if (!s->bytes[i] && !(s->bytes[i] = calloc(1, c->config.state_bytes)))
            return err_set(e, ERR_MEMORY, "no memory for a state of %llu bytes", (unsigned long long)c->config.state_bytes);
    if (!is_current(c, seq)) kv_ring_forget(&s->ring);
    return kv_ring_reserve(c, seq, ahead, n, e);
}

void kv_state_begin(struct kv *c, int seq, uint32_t n) {
    if (!kv_has_states(c)) return;
    if (!is_current(c, seq)) forget(c, &c->state_of[seq]);
    kv_ring_begin(c, seq, n);
}

void kv_state_advance(struct kv *c, int seq, size_t index, uint32_t n) {
    struct kv_state *s = &c->state_of[seq];
    s->now ^= 1;
    s->index = c->seq[seq].n_tokens;
    kv_ring_advance(c, seq, index, n);
}

void kv_state_trim(struct kv *c, int seq) {
    struct kv_state *s = &c->state_of[seq];
    if (!is_current(c, seq) || s->index == 0) {
        kv_state_free(s);
        return;
    }
    for (size_t i = s->n_points; i < s->cap_points; i++) free_point(&s->point[i]);
    kv_ring_trim(c, &s->ring);
}

/* ---- a batch ------------------------------------------------------------------------------------------------- */

const void *kv_state_read(struct kv *c, const struct kv_batch *b) {
    struct kv_state *s = &c->state_of[b->seq];
    assert(c->running.on && has_states(c));
    return s->bytes[s->now];
}

void *kv_state_write(struct kv *c, const struct kv_batch *b) {
    struct kv_state *s = &c->state_of[b->seq];
    assert(c->running.on && has_states(c));
    return s->bytes[!s->now];
}

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

/* Memory for what a checkpoint of the sequence holds now, where it has none. */
static bool fill_point(struct kv *c, int seq, struct kv_checkpoint *p) {
    bool bytes = has_states(c) && !p->bytes, ring = c->state_of[seq].ring.index && !p->ring.bytes;
    uint64_t more = (bytes ? c->config.state_bytes : 0) + (ring ? kv_ring_copy_bytes(c) : 0);
    if (more && kv_growth_ask(c, more, "a checkpoint", NULL)) return false;
    if (bytes && !(p->bytes = malloc(c->config.state_bytes))) return false;
    return !kv_ring_store(c, seq, &p->ring);
}

void kv_checkpoint(struct kv *c, int seq) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    struct kv_state *s = &c->state_of[seq];
    size_t most = most_points(c);
    if (!kv_has_states(c) || c->seq[seq].n_tokens == 0 || !is_current(c, seq)) return;
    if (s->n_points && s->point[s->n_points - 1].index == s->index) return;
    if (!s->point && !(s->point = calloc(most, sizeof *s->point))) return;
    s->cap_points = most;
    bool full = s->n_points == most; /* the oldest makes way */
    struct kv_checkpoint *p = &s->point[full ? 0 : s->n_points];
    if (!fill_point(c, seq, p)) return;
    p->index = s->index;
    if (has_states(c)) memcpy(p->bytes, s->bytes[s->now], c->config.state_bytes);
    if (full) {
        struct kv_checkpoint newest = *p;
        memmove(s->point, s->point + 1, (most - 1) * sizeof *s->point);
        s->point[most - 1] = newest;
    } else {
        s->n_points++;
    }
    kv_stats_publish(c);
}

/* Its ring has what a row there sees: more may have left since. */
static bool is_usable(const struct kv *c, int seq, const struct kv_checkpoint *p) {
    return !c->config.n_window_layers || kv_ring_can(c, seq, &p->ring, p->index, NULL);
}

size_t kv_resume_point(const struct kv *c, int seq, size_t index) {
    const struct kv_state *s = &c->state_of[seq];
    if (index >= c->seq[seq].n_tokens) return c->seq[seq].n_tokens;
    if (!kv_memory_can(c, KV_CAN_TRIM)) return 0;
    if (!kv_has_states(c)) return index;
    if (!has_states(c) && is_current(c, seq) && kv_ring_can(c, seq, NULL, index, NULL)) return index;
    for (size_t i = n_points(c, seq); i > 0; i--)
        if (s->point[i - 1].index <= index && is_usable(c, seq, &s->point[i - 1])) return s->point[i - 1].index;
    return 0;
}

void kv_state_rewind(struct kv *c, int seq, size_t index) {
    struct kv_state *s = &c->state_of[seq];
    if (!kv_has_states(c) || index == s->index) return;
    while (s->n_points && s->point[s->n_points - 1].index > index) s->n_points--;
    if (index == 0) {
        forget(c, s);
        return;
    }
    s->index = index;
    if (!has_states(c) && kv_ring_can(c, seq, NULL, index, NULL)) {
        kv_ring_rewind(c, seq, index);
        return;
    }
    assert(s->n_points && s->point[s->n_points - 1].index == index);
    const struct kv_checkpoint *p = &s->point[s->n_points - 1];
    if (has_states(c)) memcpy(s->bytes[s->now], p->bytes, c->config.state_bytes);
    kv_ring_restore(c, seq, &p->ring);
}

/* ---- copies -------------------------------------------------------------------------------------------------- */

static uint64_t point_bytes(const struct kv *c, const struct kv_checkpoint *p) {
    return (p->bytes ? c->config.state_bytes : 0) + (p->ring.bytes ? kv_ring_copy_bytes(c) : 0);
}

static bool clone_bytes(const struct kv *c, uint8_t **to, const uint8_t *from) {
    if (!has_states(c)) return true;
    if (!(*to = calloc(1, c->config.state_bytes))) return false;
    if (from) memcpy(*to, from, c->config.state_bytes);
    return true;
}

static bool clone_copy(const struct kv *c, struct kv_ring_copy *to, const struct kv_ring_copy *from) {
    const struct kv_ring_shape *s = &c->ring_shape;
    size_t bytes = kv_ring_copy_bytes(c);
    if (!from->bytes) return true;
    *to = (struct kv_ring_copy){malloc(bytes), malloc(s->n_cells * sizeof *to->index), from->next, from->lo};
    if (!to->bytes || !to->index) return false;
    memcpy(to->bytes, from->bytes, bytes);
    memcpy(to->index, from->index, s->n_cells * sizeof *to->index);
    return true;
}

static bool clone_points(const struct kv *c, const struct kv_state *a, size_t n, struct kv_state *out) {
    if (!a->cap_points) return true;
    if (!(out->point = calloc(a->cap_points, sizeof *out->point))) return false;
    out->cap_points = a->cap_points;
    for (; out->n_points < n; out->n_points++) {
        const struct kv_checkpoint *p = &a->point[out->n_points];
        struct kv_checkpoint *z = &out->point[out->n_points];
        z->index = p->index;
        if (!clone_bytes(c, &z->bytes, p->bytes) || !clone_copy(c, &z->ring, &p->ring)) return false;
    }
    return true;
}

/* Bytes of a copy with n checkpoints. */
static uint64_t clone_size(const struct kv *c, const struct kv_state *a, size_t n) {
    uint64_t bytes = 2 * c->config.state_bytes + (a->ring.index ? c->ring_shape.full_bytes : 0);
    for (size_t i = 0; i < n; i++) bytes += point_bytes(c, &a->point[i]);
    return bytes;
}

int kv_state_clone(struct kv *c, int seq, struct kv_state *out, struct err *e) {
    const struct kv_state *a = &c->state_of[seq];
    *out = (struct kv_state){.index = c->seq[seq].n_tokens};
    if (!kv_has_states(c) || c->seq[seq].n_tokens == 0) return 0;
    int rc = kv_growth_ask(c, clone_size(c, a, n_points(c, seq)), "the copy of a state", e);
    if (rc) return rc;
    bool ok = clone_bytes(c, &out->bytes[0], is_current(c, seq) ? a->bytes[a->now] : NULL) && clone_bytes(c, &out->bytes[1], NULL) &&
              clone_points(c, a, n_points(c, seq), out);
    if (ok && is_current(c, seq)) ok = !kv_ring_clone(c, &a->ring, &out->ring);
    if (ok) return 0;
    kv_state_free(out);
    return err_set(e, ERR_MEMORY, "no memory for the copy of a state");
}

void kv_state_set(struct kv *c, int seq, struct kv_state *s) {
    kv_state_free(&c->state_of[seq]);
    c->state_of[seq] = *s;
    *s = (struct kv_state){0};
}

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

/* Checkpoints [return value, *end) are saved. Of those with rings only the newest that is of use: each takes as much as the ring. */
static size_t saved_points(const struct kv *c, int seq, size_t *end) {
    const struct kv_state *s = &c->state_of[seq];
    *end = n_points(c, seq);
    if (!c->config.n_window_layers) return 0;
    while (*end && (s->point[*end - 1].index == s->index || !is_usable(c, seq, &s->point[*end - 1]))) --*end;
    return *end ? *end - 1 : 0;
}

static void put_state(const struct kv *c, uint64_t index, const uint8_t *bytes, struct buf *out) {
    buf_add(out, &index, sizeof index);
    buf_add(out, bytes, c->config.state_bytes);
}

void kv_state_put(const struct kv *c, int seq, struct buf *out) {
    const struct kv_state *s = &c->state_of[seq];
    size_t end;
    if (s->index == 0 || !is_current(c, seq)) return;
    for (size_t i = saved_points(c, seq, &end); i < end; i++) put_state(c, s->point[i].index, s->point[i].bytes, out);
    put_state(c, s->index, s->bytes[s->now], out);
}

void kv_state_put_rings(const struct kv *c, int seq, struct buf *out) {
    const struct kv_state *s = &c->state_of[seq];
    size_t end;
    if (s->index == 0 || !is_current(c, seq)) return;
    for (size_t i = saved_points(c, seq, &end); i < end; i++) kv_ring_put(c, seq, &s->point[i].ring, s->point[i].index, out);
    kv_ring_put(c, seq, NULL, s->index, out);
}

/* States and rings on their way in. */
struct taking {
    struct kv_state_parts in; /* what is still to be read of both */
    size_t n, skip;           /* items of each, the last one being the sequence's own; the first that are left out */
    size_t index;             /* of the last item that was read */
};

/* Counts the items. A sequence that has tokens has at least its own. */
static int count_items(const struct kv *c, const struct kv_seq *q, struct taking *t, struct err *e) {
    const struct kv_state_parts *in = &t->in;
    uint64_t item = sizeof(uint64_t) + c->config.state_bytes;
    if (!has_states(c) && in->n_state) return err_set(e, ERR_FILE, "it has recurrent states, and this model has none");
    if (!c->config.n_window_layers && in->n_ring) return err_set(e, ERR_FILE, "it has window rings, and this model has none");
    if (has_states(c) && in->n_state % item)
        return err_set(e, ERR_FILE, "its states take %llu bytes, expected a multiple of %llu", (unsigned long long)in->n_state, (unsigned long long)item);
    if (!kv_has_states(c)) return 0;
    const uint8_t *at = in->ring, *end = at + in->n_ring;
    struct kv_ring_part part;
    size_t n_rings = 0, n_states = has_states(c) ? in->n_state / item : 0;
    for (; at != end; n_rings++)
        if (!kv_ring_next(c, &at, end, &part)) return err_set(e, ERR_FILE, "its rings end inside one of them");
    t->n = has_states(c) ? n_states : n_rings;
    if ((t->n == 0) != (q->n_tokens == 0) || (c->config.n_window_layers && n_rings != t->n))
        return err_set(e, ERR_FILE, "it has %zu states and %zu rings for %zu tokens", n_states, n_rings, q->n_tokens);
    return 0;
}

/* Asks for the memory. Checkpoints are left out where they are too many, the oldest first, and where there is no room for them. */
static int ask_room(struct kv *c, struct taking *t, struct err *e) {
    uint64_t ring = c->config.n_window_layers ? kv_ring_copy_bytes(c) : 0, own = 2 * c->config.state_bytes + c->ring_shape.full_bytes;
    size_t points = t->n - 1, most = most_points(c);
    int rc = kv_growth_ask(c, own, "its state", e);
    t->skip = points > most ? points - most : 0;
    if (!rc && kv_growth_ask(c, own + (points - t->skip) * (c->config.state_bytes + ring), "its checkpoints", NULL)) t->skip = points;
    return rc;
}

/* The next item into a checkpoint, or, of the sequence's own, its ring into ring; keep: or it is only checked. */
static int take_item(struct kv *c, struct taking *t, const struct kv_seq *q, bool own, bool keep, struct kv_checkpoint *p, struct kv_ring *ring, struct err *e) {
    struct kv_state_parts *in = &t->in;
    struct kv_ring_part part = {0};
    uint64_t seen = 0;
    bool bad = false;
    if (c->config.n_window_layers) {
        const uint8_t *end = in->ring + in->n_ring;
        kv_ring_next(c, &in->ring, end, &part);
        in->n_ring = (uint64_t)(end - in->ring);
        int rc = kv_ring_check(c, &part, q, e);
        if (rc) return rc;
        seen = part.seen;
    }
    if (has_states(c)) {
        memcpy(&seen, in->state, sizeof seen);
        if (keep && !(p->bytes = malloc(c->config.state_bytes))) bad = true;
        if (p->bytes) memcpy(p->bytes, in->state + sizeof seen, c->config.state_bytes);
        in->state += sizeof seen + c->config.state_bytes;
    }
    if (seen < t->index || seen > q->n_tokens || (own && seen != q->n_tokens) || (c->config.n_window_layers && seen != part.seen))
        return err_set(e, ERR_FILE, "a state has seen %llu tokens, expected %zu to %zu", (unsigned long long)seen, t->index, q->n_tokens);
    t->index = p->index = seen;
    if (keep && c->config.n_window_layers) bad |= own ? kv_ring_take(c, &part, ring) : kv_ring_take_copy(c, &part, &p->ring);
    return bad ? err_set(e, ERR_MEMORY, "no memory for a state of %llu tokens", (unsigned long long)seen) : 0;
}

static int take_all(struct kv *c, struct taking *t, const struct kv_seq *q, struct kv_state *out, struct err *e) {
    if (!(out->point = calloc(most_points(c), sizeof *out->point))) return err_set(e, ERR_MEMORY, "no memory for checkpoints");
    out->cap_points = most_points(c);
    int rc = 0;
    for (size_t i = 0; i + 1 < t->n && !rc; i++) {
        struct kv_checkpoint none = {0};
        bool keep = i >= t->skip;
        rc = take_item(c, t, q, false, keep, keep ? &out->point[out->n_points++] : &none, NULL, e);
    }
    struct kv_checkpoint own = {0};
    if (!rc) rc = take_item(c, t, q, true, true, &own, &out->ring, e);
    out->bytes[0] = own.bytes;
    out->index = own.index;
    if (!rc && has_states(c) && !(out->bytes[1] = malloc(c->config.state_bytes))) rc = err_set(e, ERR_MEMORY, "no memory for a state");
    return rc;
}

int kv_state_take(struct kv *c, const struct kv_state_parts *in, const struct kv_seq *q, struct kv_state *out, struct err *e) {
    struct taking t = {.in = *in};
    *out = (struct kv_state){0};
    int rc = count_items(c, q, &t, e);
    if (rc || t.n == 0) return rc;
    rc = ask_room(c, &t, e);
    if (!rc) rc = take_all(c, &t, q, out, e);
    if (rc) kv_state_free(out);
    return rc;
}

uint64_t kv_state_bytes(const struct kv *c) {
    uint64_t n = 0;
    for (int s = 0; s < KV_MAX_SEQS && has_states(c); s++)
        for (int i = 0; i < 2; i++) n += c->state_of[s].bytes[i] ? c->config.state_bytes : 0;
    return n;
}

uint64_t kv_state_point_bytes(const struct kv *c) {
    uint64_t n = 0;
    for (int s = 0; s < KV_MAX_SEQS && kv_has_states(c); s++)
        for (size_t i = 0; i < c->state_of[s].cap_points; i++) n += point_bytes(c, &c->state_of[s].point[i]);
    return n;
}
