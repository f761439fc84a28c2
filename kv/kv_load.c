/* kv_load: a file into a sequence. The format is drawn in kv_snapshot.h.
 *
 * All of the file is checked before anything that lives changes: its blocks are read into free cells (or, where they
 * are too few, into memory of their own), and the sequence is replaced when nothing can fail any more. Where there is
 * room each block goes to a block of its own, so that the next save to the file need not write it again. Owner thread
 * only. */
#include "kv/kv_load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/kv_slot.h"

static uint32_t cell_limit(const struct kv *c) {
    return kv_usable(c);
}

/* One more than the last cell of a mask. */
static uint32_t mask_end(const uint64_t *mask) {
    for (uint32_t i = KV_BLOCK / 64; i-- > 0;)
        if (mask[i]) return i * 64 + 64 - (uint32_t)__builtin_clzll(mask[i]);
    return 0;
}

/* ---- where the cells go ---- */

/* Gives each block of the file a wholly free one of the cache: the higher its cells reach the earlier, since the last
 * block of the cache may be cut by the bound. false: there are not enough. */
static bool place_whole(struct kv_load *l, const struct kv *c) {
    uint32_t limit = cell_limit(c), to = 0, done = 0;
    for (uint32_t most = KV_BLOCK; most > 0; most--)
        for (uint32_t b = 0; b < l->n_blocks; b++) {
            if (mask_end(l->block[b].mask) != most) continue;
            while ((to + 1) * KV_BLOCK <= c->cells.n && !kv_cells_block_free(&c->cells, to)) to++;
            if (to * KV_BLOCK + most > limit) return false;
            l->target[b] = to++;
            done++;
        }
    for (uint32_t i = 0; i < l->n_runs; i++)
        for (uint32_t k = 0; k < l->run[i].n; k++)
            l->cell[l->first[i] + k] = l->target[l->run[i].block] * KV_BLOCK + l->run[i].cell + k;
    return done == l->n_blocks;
}

/* Any free cells. */
static bool place_anywhere(struct kv_load *l, struct kv *c, int seq) {
    c->cells.hint = 0;
    return kv_slot_find(c, seq, l->n_cells, false, l->cell);
}

static bool place(struct kv_load *l, struct kv *c, int seq) {
    /* few cells in many blocks had better stand together; a stream may have only so many blocks */
    l->whole = !c->config.streams && l->n_blocks <= 2 * kv_blocks(l->n_cells) && place_whole(l, c);
    return l->whole || place_anywhere(l, c, seq);
}

/* Blocks that are not wholly free. */
static uint32_t count_taken(const struct kv *c) {
    uint32_t n = 0;
    for (uint32_t b = 0; b < c->arena.n_blocks; b++) n += !kv_cells_block_free(&c->cells, b);
    return n;
}

static size_t file_bytes(const struct kv_load *l, const struct kv *c, uint32_t b) {
    return kv_snapshot_count(l->block[b].mask) * c->cell_bytes;
}

/* Finds where the cells may go without touching what lives. */
static int find_room(struct kv_load *l, struct kv *c, int seq, struct err *e) {
    size_t bytes = 0;
    l->scratch = malloc(KV_BLOCK * c->cell_bytes);
    l->cell = malloc((l->n_cells + 1) * sizeof *l->cell);
    l->first = malloc((l->n_runs + 1) * sizeof *l->first);
    l->target = malloc((l->n_blocks + 1) * sizeof *l->target);
    if (!l->scratch || !l->cell || !l->first || !l->target) goto no_memory;
    for (uint32_t i = 0, n = 0; i < l->n_runs; n += l->run[i++].n) l->first[i] = n;
    uint64_t need = (uint64_t)c->cells.used + l->n_cells, blocks = (uint64_t)count_taken(c) + l->n_blocks;
    kv_prompt_yield(c, need);
    need = (uint64_t)c->cells.used + l->n_cells;
    uint64_t pool = kv_blocks(kv_pool(c));
    if (blocks > pool) blocks = pool;
    if (!c->config.streams && need <= kv_pool(c) &&
        (!kv_growth_make(c, (uint32_t)blocks * KV_BLOCK, false, "snapshot", NULL) ||
         !kv_growth_make(c, (uint32_t)need, false, "snapshot", NULL)) &&
        place(l, c, seq))
        return 0;
    for (uint32_t b = 0; b < l->n_blocks; b++) bytes += file_bytes(l, c, b);
    if ((l->own = malloc(bytes + 1))) return 0;
no_memory:
    return err_set(e, ERR_MEMORY, "no memory to load %u cells", l->n_cells);
}

/* ---- the blocks ---- */

/* Puts the cells of block b, whose bytes are given, where they go. */
static void put_block(const struct kv_load *l, struct kv *c, uint32_t b, uint8_t *bytes) {
    const uint64_t *mask = l->block[b].mask;
    uint32_t n_block = kv_snapshot_count(mask);
    for (uint32_t i = 0; i < l->n_runs; i++) {
        const struct kv_snapshot_run *r = &l->run[i];
        const uint32_t *cell = l->cell + l->first[i];
        if (r->block != b) continue;
        uint32_t rank = kv_snapshot_rank(mask, r->cell);
        for (uint32_t k = 0, to; k < r->n; k = to) {
            for (to = k + 1; to < r->n && cell[to] == cell[to - 1] + 1 && cell[to] % KV_BLOCK;) to++;
            kv_snapshot_copy(c, cell[k], to - k, bytes, n_block, rank + k, false);
        }
    }
}

/* Where a block's bytes are read to: its place, when it is filled from end to end. */
static uint8_t *landing(const struct kv_load *l, struct kv *c, uint32_t b) {
    if (!l->whole || kv_snapshot_count(l->block[b].mask) < KV_BLOCK) return l->scratch;
    kv_touch(c, l->target[b] * KV_BLOCK);
    return c->arena.base + (size_t)l->target[b] * c->layout.block_bytes;
}

static int read_blocks(struct kv_load *l, struct kv *c, struct err *e) {
    uint8_t *own = l->own;
    for (uint32_t b = 0; b < l->n_blocks; b++) {
        size_t bytes = file_bytes(l, c, b);
        uint8_t *to = own ? own : landing(l, c, b);
        uint64_t checksum;
        if (kv_snapshot_read_block(l->fd, to, bytes, l->block[b].offset, &checksum))
            return err_set(e, ERR_FILE, "cannot be read: %s", strerror(errno));
        l->bytes_read += bytes;
        if (checksum != l->block[b].checksum) return err_set(e, ERR_FILE, "the checksum of block %u is wrong", b);
        if (own)
            own += bytes;
        else if (to == l->scratch)
            put_block(l, c, b, to);
    }
    return 0;
}

/* ---- taking over ---- */

static bool shares_with_parked(const struct kv *c, int seq) {
    const struct kv_seq *s = &c->seq[seq];
    for (size_t i = 0; i < s->n_runs; i++)
        for (uint32_t k = s->run[i].cell; k < s->run[i].cell + s->run[i].n; k++)
            if (c->cells.owner[k] & c->cells.parked) return true;
    return false;
}

/* The sequence's own cells count as free, since it is about to be stripped; those that a parked entry shares would stay
 * taken, so where their room is needed such entries go. */
static int prepare(struct kv_load *l, struct kv *c, int seq, struct err *e) {
    while (l->own && shares_with_parked(c, seq)) kv_prompt_drop_oldest(c);
    size_t others = kv_evict_others(c, seq);
    if (others + l->n_cells > kv_limit(c))
        return err_set(e, ERR_FILE, "it needs %u cells beside the %zu that are in use; the bound is %u", l->n_cells,
                       others, c->config.bound);
    int rc = kv_slot_grow(c, seq, (uint32_t)others + l->n_cells, "snapshot", e);
    if (rc) return rc;
    if (kv_seq_reserve(&l->seq, c->cells.n + l->part[KV_PART_LEFT].n, l->seq.n_tokens + c->cells.n))
        return err_set(e, ERR_MEMORY, "no memory for %u cells", l->n_cells);
    return 0;
}

/* The last to be taken: of its memory checkpoints may do without, cells may not. */
static int take_states(struct kv_load *l, struct kv *c, struct err *e) {
    const struct kv_load_part *state = &l->part[KV_PART_STATE], *ring = &l->part[KV_PART_RING];
    return kv_state_take(c, &(struct kv_state_parts){state->data, ring->data, state->n, ring->n}, &l->seq, &l->state, e);
}

/* Replaces the sequence; nothing fails any more. */
static void take_over(struct kv_load *l, struct kv *c, int seq) {
    struct kv_seq *s = &c->seq[seq], *fresh = &l->seq;
    kv_ops_strip(c, seq);
    if (l->own) {
        bool found = place(l, c, seq);
        assert(found);
        (void)found;
        uint8_t *own = l->own;
        for (uint32_t b = 0; b < l->n_blocks; own += file_bytes(l, c, b++)) put_block(l, c, b, own);
    }
    for (uint32_t i = 0; i < l->n_runs; i++)
        for (uint32_t k = 0; k < l->run[i].n; k++) {
            const struct kv_snapshot_run *r = &l->run[i];
            uint32_t cell = l->cell[l->first[i] + k];
            kv_cells_own(&c->cells, cell, 1, seq);
            kv_seq_push(fresh, &(struct kv_run){r->pos + k, r->offset, r->index + k, cell, 1});
        }
    fresh->leased = s->leased;
    kv_seq_free(s);
    *s = *fresh;
    *fresh = (struct kv_seq){0};
    kv_state_set(c, seq, &l->state);
}

/* Notes what of the cache now stands in the file. Without memory for it the next save writes everything. */
static void note(const struct kv_load *l, struct kv *c) {
    struct kv_saved *s = l->whole ? kv_saved_new(c->arena.n_blocks) : NULL;
    if (!s) return;
    if (fstat(l->fd, &s->st)) {
        free(s);
        return;
    }
    for (uint32_t b = 0; b < l->n_blocks; b++)
        s->block[l->target[b]] = (struct kv_saved_block){.stamp = c->clock, .at = l->block[b]};
    s->header = l->h.checksum;
    s->end = l->end;
    s->last = l->g.checksum;
    s->number = l->g.number;
    c->clock++;
    kv_saved_put(c, s);
}

static int load_file(struct kv_load *l, struct kv *c, int seq, const struct kv_snapshot_info *expect, struct err *e) {
    int rc = kv_load_index(l, c, expect, e);
    if (rc) return rc;
    uint32_t before = c->arena.n_blocks;
    rc = find_room(l, c, seq, e);
    if (!rc) rc = read_blocks(l, c, e);
    if (!rc) rc = prepare(l, c, seq, e);
    if (!rc) rc = take_states(l, c, e);
    if (!rc && expect->accept)
        rc = expect->accept(expect->accept_ctx, l->part[KV_PART_EXTRA].data, l->part[KV_PART_EXTRA].n, e);
    if (!rc) {
        take_over(l, c, seq);
        note(l, c);
    } else if (c->arena.n_blocks > before) {
        kv_growth_shrink(c, before, "snapshot refused");
    }
    return rc;
}

int kv_load_seq(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *expect, uint64_t *bytes,
            struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    struct kv_load l = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)}; /* a pipe would wait for its writer */
    if (l.fd < 0) return err_set(e, ERR_FILE, "%s: %s", path, strerror(errno));
    int rc = load_file(&l, c, seq, expect, e);
    if (rc) err_prefix(e, "%s", path);
    if (!rc && e) *e = (struct err){0}; /* of a newer generation that was not whole */
    if (!rc && bytes) *bytes = l.bytes_read;
    close(l.fd);
    free(l.index);
    free(l.block);
    free(l.run);
    free(l.live);
    free(l.first);
    free(l.cell);
    free(l.target);
    free(l.own);
    free(l.scratch);
    kv_seq_free(&l.seq);
    kv_state_free(&l.state);
    kv_stats_publish(c);
    return rc;
}
