/* kv_ring: see kv_ring.h. */
#include "kv/kv_ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/kv_cache.h"

#define UBATCH 512u /* tokens of a micro-batch, where the configuration says nothing */

/* ---- sizes --------------------------------------------------------------------------------------------------- */

/* Each kind: how many cells back a row can see, itself among them. */
static uint32_t reach_standard(uint32_t n) { return n; }
static uint32_t reach_symmetric(uint32_t n) { return n / 2 + 1; }
static uint32_t (*const reach_of[])(uint32_t n) = {
    [KV_WINDOW_STANDARD] = reach_standard, [KV_WINDOW_CHUNKED] = reach_standard, [KV_WINDOW_SYMMETRIC] = reach_symmetric};

static uint32_t ubatch(const struct kv *c) { return c->config.n_ubatch ? c->config.n_ubatch : UBATCH; }

int kv_ring_open(struct kv *c, struct err *e) {
    const struct kv_config *g = &c->config;
    struct kv_ring_shape *s = &c->ring_shape;
    if (!g->n_window_layers) return 0;
    if (g->window == KV_WINDOW_NONE || g->n_window == 0)
        return err_set(e, ERR_USAGE, "layers in rings need a window of at least 1 cell");
    s->reach = reach_of[g->window](g->n_window);
    if (s->reach > KV_MAX_CELLS || ubatch(c) > KV_MAX_CELLS) return err_set(e, ERR_USAGE, "a window of %u cells is too large", g->n_window);
    s->n_cells = kv_blocks((uint64_t)s->reach + ubatch(c)) * KV_BLOCK;
    s->slack = s->n_cells - ubatch(c) - (s->reach - 1);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes;
    if (__builtin_mul_overflow(c->layout.layer_bytes, g->n_window_layers, &bytes) || bytes > SIZE_MAX / 8)
        return err_set(e, ERR_USAGE, "no cache can hold %u layers in rings", g->n_window_layers);
    s->block_bytes = (bytes + page - 1) / page * page;
    s->cell_bytes = bytes / KV_BLOCK;
    struct kv_arena full;
    if (kv_arena_open(&full, s->block_bytes, s->n_cells / KV_BLOCK, KV_ARENA_RESERVE))
        return err_set(e, ERR_USAGE, "no ring can have %u cells", s->n_cells);
    s->full_bytes = kv_arena_bytes(&full, full.cap_blocks);
    kv_arena_close(&full);
    s->span = malloc(s->n_cells * sizeof *s->span);
    s->offset = malloc(s->n_cells * sizeof *s->offset);
    return s->span && s->offset ? 0 : err_set(e, ERR_MEMORY, "no memory for rings of %u cells", s->n_cells);
}

void kv_ring_close(struct kv *c) {
    free(c->ring_shape.span);
    free(c->ring_shape.offset);
    c->ring_shape = (struct kv_ring_shape){0};
}

void kv_ring_free(struct kv_ring *r) {
    kv_arena_close(&r->arena);
    free(r->index);
    *r = (struct kv_ring){0};
}

static int open_ring(const struct kv_ring_shape *s, struct kv_ring *r) {
    if (kv_arena_open(&r->arena, s->block_bytes, s->n_cells / KV_BLOCK, KV_ARENA_RESERVE)) return -1;
    r->index = malloc(s->n_cells * sizeof *r->index);
    if (r->index) return 0;
    kv_ring_free(r);
    return -1;
}

int kv_ring_reserve(struct kv *c, int seq, uint64_t ahead, uint32_t n, struct err *e) {
    const struct kv_ring_shape *s = &c->ring_shape;
    struct kv_ring *r = &c->state_of[seq].ring;
    if (!s->n_cells) return 0;
    if (n > ubatch(c)) return err_set(e, ERR_USAGE, "a micro-batch of %u tokens is more than the %u that rings have room for", n, ubatch(c));
    int rc = r->index ? 0 : kv_growth_ask(c, s->full_bytes, "a ring of the window", e);
    if (rc) return rc;
    if (!r->index && open_ring(s, r)) return err_set(e, ERR_MEMORY, "no memory for a ring of %u cells", s->n_cells);
    uint64_t end = r->next + ahead + n, cells = end < s->n_cells ? end : s->n_cells;
    uint32_t blocks = kv_blocks(cells);
    if (kv_arena_commit(&r->arena, blocks)) return err_set(e, ERR_MEMORY, "the system refuses %u cells of a ring", blocks * KV_BLOCK);
    return 0;
}

/* ---- what is there ------------------------------------------------------------------------------------------- */

static size_t *index_at(const struct kv *c, const struct kv_ring *r, uint64_t w) { return &r->index[w % c->ring_shape.n_cells]; }

/* The block of token number w, of those from base on. */
static uint8_t *block_at(const struct kv *c, uint8_t *base, uint64_t w) {
    return base + (size_t)(w % c->ring_shape.n_cells / KV_BLOCK) * c->ring_shape.block_bytes;
}

void kv_ring_forget(struct kv_ring *r) { r->next = r->lo = 0; }

void kv_ring_trim(const struct kv *c, struct kv_ring *r) {
    if (r->index && r->next < c->ring_shape.n_cells) kv_arena_uncommit(&r->arena, kv_blocks(r->next));
}

void kv_ring_begin(struct kv *c, int seq, uint32_t n) {
    struct kv_ring *r = &c->state_of[seq].ring;
    uint64_t cells = c->ring_shape.n_cells;
    if (cells && r->next + n > r->lo + cells) r->lo = r->next + n - cells;
}

void kv_ring_advance(struct kv *c, int seq, size_t index, uint32_t n) {
    struct kv_ring *r = &c->state_of[seq].ring;
    if (!c->ring_shape.n_cells) return;
    for (uint32_t i = 0; i < n; i++) *index_at(c, r, r->next + i) = index + i;
    r->next += n;
}

uint8_t *kv_ring_place(const struct kv *c, const struct kv_batch *b, uint32_t i, uint32_t *cell) {
    const struct kv_ring *r = &c->state_of[b->seq].ring;
    *cell = (uint32_t)((r->next + i) % KV_BLOCK);
    return block_at(c, r->arena.base, r->next + i);
}

/* The first of tokens [lo, hi) with that index or a later one. */
static uint64_t find(const struct kv *c, const size_t *mark, uint64_t lo, uint64_t hi, size_t index) {
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (mark[mid % c->ring_shape.n_cells] >= index)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Of n ranges in order the last one that begins before end, or nothing. */
static struct kv_range last_before(const struct kv_range *range, size_t *n, size_t end) {
    while (*n && range[*n - 1].first >= end) --*n;
    return *n ? range[*n - 1] : (struct kv_range){0, 0};
}

/* How many of the last `most` tokens before the index are live and not dropped; *first: the first of them. */
static uint64_t count_seen(const struct kv_seq *s, size_t index, const struct kv_dropped *d, uint64_t most, size_t *first) {
    size_t n_left = s->n_left, n_dropped = d ? d->n : 0;
    uint64_t n = 0;
    *first = index;
    for (size_t end = index; end > 0 && n < most;) {
        struct kv_range left = last_before(s->left, &n_left, end), gone = d ? last_before(d->range, &n_dropped, end) : (struct kv_range){0, 0};
        const struct kv_range *z = left.first + left.n > gone.first + gone.n ? &left : &gone;
        size_t from = z->first + z->n < end ? z->first + z->n : end;
        if (end - from > most - n) from = end - (size_t)(most - n);
        if (from < end) *first = from;
        n += end - from;
        end = n < most ? z->first : from;
    }
    return n;
}

bool kv_ring_can(const struct kv *c, int seq, const struct kv_ring_copy *from, size_t index, const struct kv_dropped *d) {
    const struct kv_ring *r = &c->state_of[seq].ring;
    const struct kv_ring_shape *s = &c->ring_shape;
    const size_t *mark = from ? from->index : r->index;
    uint64_t lo = from ? from->lo : r->lo, next = from ? from->next : r->next;
    size_t first;
    uint64_t n = count_seen(&c->seq[seq], index, d, s->reach - 1, &first), end = find(c, mark, lo, next, index), w = find(c, mark, lo, end, first);
    if (n == 0) return true;
    return w < end && mark[w % s->n_cells] == first && end - w - n <= s->slack;
}

void kv_ring_rewind(struct kv *c, int seq, size_t index) {
    struct kv_ring *r = &c->state_of[seq].ring;
    if (c->ring_shape.n_cells) r->next = find(c, r->index, r->lo, r->next, index);
}

/* ---- a view -------------------------------------------------------------------------------------------------- */

/* How many cells back the first row of the batch sees. */
static uint32_t row_reach(const struct kv *c, const struct kv_batch *b) {
    uint32_t n = c->config.n_window;
    return c->config.window == KV_WINDOW_CHUNKED ? (uint32_t)(b->pos % n) + 1 : c->ring_shape.reach;
}

static void add_cell(const struct kv *c, struct kv_view *v, const struct kv_ring *r, uint64_t w, int64_t pos, int64_t offset) {
    const struct kv_ring_shape *s = &c->ring_shape;
    uint32_t slot = (uint32_t)(w % s->n_cells);
    struct kv_span *z = v->n_spans ? &s->span[v->n_spans - 1] : NULL;
    v->n_cells++;
    if (z && z->cell + z->n == slot && slot % KV_BLOCK && z->pos + z->n == pos && s->offset[z->rot] == offset) {
        z->n++;
        return;
    }
    if (!v->n_offsets || s->offset[v->n_offsets - 1] != offset) s->offset[v->n_offsets++] = offset;
    s->span[v->n_spans++] = (struct kv_span){block_at(c, r->arena.base, w), slot % KV_BLOCK, 1, pos, (uint32_t)v->n_offsets - 1, slot};
}

/* Token index of the first live one at that position or behind it. */
static size_t first_seen(const struct kv_seq *q, int64_t pos) {
    size_t i = kv_seq_find_pos(q, pos);
    if (i == q->n_runs) return q->n_tokens;
    int64_t skip = pos - kv_run_first(&q->run[i]);
    return q->run[i].index + (skip > 0 ? (size_t)skip : 0);
}

void kv_get_window_view(struct kv *c, const struct kv_batch *b, struct kv_view *v) {
    const struct kv_seq *q = &c->seq[b->seq];
    const struct kv_ring *r = &c->state_of[b->seq].ring;
    assert(c->ring_shape.n_cells);
    *v = (struct kv_view){.span = c->ring_shape.span, .offset = c->ring_shape.offset};
    for (uint64_t w = find(c, r->index, r->lo, r->next, first_seen(q, b->pos - row_reach(c, b) + 1)); w < r->next; w++) {
        size_t index = *index_at(c, r, w), i = kv_seq_find_index(q, index);
        if (i == q->n_runs || q->run[i].index > index) continue; /* it has left */
        int64_t pos = kv_run_first(&q->run[i]) + (int64_t)(index - q->run[i].index);
        add_cell(c, v, r, w, pos, q->run[i].offset);
    }
    for (uint32_t i = 0; i < b->n; i++) add_cell(c, v, r, r->next + i, b->pos + i, 0);
}

/* ---- copies -------------------------------------------------------------------------------------------------- */

void kv_ring_copy_free(struct kv_ring_copy *p) {
    free(p->bytes);
    free(p->index);
    *p = (struct kv_ring_copy){0};
}

static void copy_blocks(const struct kv *c, const struct kv_ring *r, uint8_t *bytes, size_t *index, bool store) {
    size_t n = r->arena.n_blocks * c->ring_shape.block_bytes, cells = (size_t)r->arena.n_blocks * KV_BLOCK;
    memcpy(store ? bytes : r->arena.base, store ? r->arena.base : bytes, n);
    memcpy(store ? index : r->index, store ? r->index : index, cells * sizeof *index);
}

static int alloc_copy(const struct kv *c, struct kv_ring_copy *to) {
    const struct kv_ring_shape *s = &c->ring_shape;
    if (!to->bytes && !(to->bytes = calloc(s->n_cells / KV_BLOCK, s->block_bytes))) return -1;
    if (!to->index && !(to->index = calloc(s->n_cells, sizeof *to->index))) return -1;
    return 0;
}

int kv_ring_store(const struct kv *c, int seq, struct kv_ring_copy *to) {
    const struct kv_ring *r = &c->state_of[seq].ring;
    if (!c->ring_shape.n_cells || !r->index) return 0;
    if (alloc_copy(c, to)) return -1;
    copy_blocks(c, r, to->bytes, to->index, true);
    to->next = r->next;
    to->lo = r->lo;
    return 0;
}

void kv_ring_restore(struct kv *c, int seq, const struct kv_ring_copy *from) {
    struct kv_ring *r = &c->state_of[seq].ring;
    if (!c->ring_shape.n_cells || !from->bytes) return;
    copy_blocks(c, r, from->bytes, from->index, false); /* blocks that came later hold what is not there any more */
    r->next = from->next;
    r->lo = from->lo;
}

int kv_ring_clone(const struct kv *c, const struct kv_ring *from, struct kv_ring *out) {
    *out = (struct kv_ring){0};
    if (!from->index) return 0;
    if (open_ring(&c->ring_shape, out) || kv_arena_commit(&out->arena, from->arena.n_blocks)) {
        kv_ring_free(out);
        return -1;
    }
    copy_blocks(c, from, out->arena.base, out->index, true);
    out->next = from->next;
    out->lo = from->lo;
    return 0;
}

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

/* Copies token number w's rows of all layers to or from one piece. */
static void copy_rows(const struct kv *c, uint8_t *base, uint64_t w, uint8_t *piece, bool store) {
    const struct kv_layout *l = &c->layout;
    uint32_t cell = (uint32_t)(w % KV_BLOCK);
    for (uint32_t i = 0; i < c->config.n_window_layers; i++)
        for (int kv = 0; kv < 2; kv++) {
            size_t row = kv ? l->v_row_bytes : l->k_row_bytes, head = kv ? l->v_head_bytes : l->k_head_bytes;
            uint8_t *at = block_at(c, base, w) + i * l->layer_bytes + (kv ? l->v_base : 0) + cell * row;
            for (uint32_t h = 0; h < c->config.n_kv_heads; h++, at += head, piece += row) memcpy(store ? piece : at, store ? at : piece, row);
        }
}

void kv_ring_put(const struct kv *c, int seq, const struct kv_ring_copy *from, size_t seen, struct buf *out) {
    const struct kv_ring_shape *s = &c->ring_shape;
    const struct kv_seq *q = &c->seq[seq];
    const struct kv_ring *r = &c->state_of[seq].ring;
    const size_t *mark = from ? from->index : r->index;
    uint64_t lo = from ? from->lo : r->lo, next = from ? from->next : r->next;
    size_t first;
    uint64_t n = count_seen(q, seen, NULL, s->reach - 1, &first), at = seen, end = find(c, mark, lo, next, seen);
    buf_add(out, &at, sizeof at);
    buf_add(out, &n, sizeof n);
    for (uint64_t w = find(c, mark, lo, end, first); n && w < end; w++) {
        uint64_t index = mark[w % s->n_cells];
        if (kv_seq_count(q, &c->cells, index, index + 1, false) == 0) continue; /* it has left */
        buf_add(out, &index, sizeof index);
        if (buf_reserve(out, s->cell_bytes)) return;
        copy_rows(c, from ? from->bytes : r->arena.base, w, (uint8_t *)out->data + out->len, true);
        out->len += s->cell_bytes;
    }
}

bool kv_ring_next(const struct kv *c, const uint8_t **at, const uint8_t *end, struct kv_ring_part *p) {
    uint64_t head[2], item = sizeof(uint64_t) + c->ring_shape.cell_bytes, left = (uint64_t)(end - *at);
    if (left < sizeof head) return false;
    memcpy(head, *at, sizeof head);
    if (head[1] > (left - sizeof head) / item) return false;
    *p = (struct kv_ring_part){head[0], head[1], *at + sizeof head};
    *at = p->token + head[1] * item;
    return true;
}

static uint64_t part_index(const struct kv *c, const struct kv_ring_part *p, uint64_t i) {
    uint64_t index;
    memcpy(&index, p->token + i * (sizeof index + c->ring_shape.cell_bytes), sizeof index);
    return index;
}

int kv_ring_check(const struct kv *c, const struct kv_ring_part *p, const struct kv_seq *q, struct err *e) {
    size_t first;
    uint64_t n = p->seen <= q->n_tokens ? count_seen(q, p->seen, NULL, c->ring_shape.reach - 1, &first) : 0, least = n ? first : 0;
    if (p->seen > q->n_tokens || p->n != n)
        return err_set(e, ERR_FILE, "a ring that has seen %llu tokens holds %llu, expected %llu", (unsigned long long)p->seen, (unsigned long long)p->n,
                       (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++) { /* all that are live from the first on, since they are as many */
        uint64_t index = part_index(c, p, i);
        if (index < least || index >= p->seen || kv_seq_count_left(q, index, index + 1))
            return err_set(e, ERR_FILE, "token %llu is not where a ring has it", (unsigned long long)index);
        least = index + 1;
    }
    return 0;
}

static void take_tokens(const struct kv *c, const struct kv_ring_part *p, uint8_t *base, size_t *mark) {
    for (uint64_t i = 0; i < p->n; i++) {
        mark[i] = part_index(c, p, i);
        copy_rows(c, base, i, (uint8_t *)(uintptr_t)p->token + i * (sizeof(uint64_t) + c->ring_shape.cell_bytes) + sizeof(uint64_t), false);
    }
}

int kv_ring_take(const struct kv *c, const struct kv_ring_part *p, struct kv_ring *out) {
    *out = (struct kv_ring){0};
    if (open_ring(&c->ring_shape, out)) return -1;
    if (kv_arena_commit(&out->arena, kv_blocks(p->n))) {
        kv_ring_free(out);
        return -1;
    }
    take_tokens(c, p, out->arena.base, out->index);
    out->next = p->n;
    return 0;
}

int kv_ring_take_copy(const struct kv *c, const struct kv_ring_part *p, struct kv_ring_copy *out) {
    if (alloc_copy(c, out)) {
        kv_ring_copy_free(out);
        return -1;
    }
    take_tokens(c, p, out->bytes, out->index);
    out->next = p->n;
    out->lo = 0;
    return 0;
}

uint64_t kv_ring_bytes(const struct kv *c) {
    uint64_t n = 0;
    for (int s = 0; s < KV_MAX_SEQS && c->ring_shape.n_cells; s++) n += c->state_of[s].ring.arena.committed_bytes;
    return n;
}

uint64_t kv_ring_most_bytes(const struct kv *c) {
    uint64_t n = 0;
    for (int s = 0; s < KV_MAX_SEQS && c->ring_shape.n_cells; s++) n += c->state_of[s].ring.index ? c->ring_shape.full_bytes : 0;
    return n;
}

uint64_t kv_ring_copy_bytes(const struct kv *c) { return (uint64_t)c->ring_shape.n_cells / KV_BLOCK * c->ring_shape.block_bytes; }
