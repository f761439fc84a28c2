/* kv_load_index: what a snapshot says of itself, read and checked. Nothing of the cache changes here; nothing in the
 * file is believed: a file may have been made to deceive. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/hash.h"
#include "kv/kv_load.h"

static int wrong(struct err *e, const char *field, uint64_t found, uint64_t expected) {
    return err_set(e, ERR_FILE, "%s is %llu, expected %llu", field, (unsigned long long)found,
                   (unsigned long long)expected);
}

static int read_some(struct kv_load *l, void *data, size_t n, uint64_t at, struct err *e) {
    if (kv_snapshot_read(l->fd, data, n, at)) return err_set(e, ERR_FILE, "cannot be read: %s", strerror(errno));
    l->bytes_read += n;
    return 0;
}

/* ---- header ---- */

static int check_shape(const struct kv_snapshot_header *h, const struct kv_snapshot_header *want, struct err *e) {
    const struct {
        const char *name;
        uint64_t found, expected;
    } field[] = {
        {"n_layers", h->n_layers, want->n_layers},          {"n_kv_heads", h->n_kv_heads, want->n_kv_heads},
        {"head_dim_k", h->head_dim_k, want->head_dim_k},    {"head_dim_v", h->head_dim_v, want->head_dim_v},
        {"block_cells", h->block_cells, want->block_cells}, {"cell_bytes", h->cell_bytes, want->cell_bytes},
    };
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (field[i].found != field[i].expected) return wrong(e, field[i].name, field[i].found, field[i].expected);
    return 0;
}

static int check_model(const struct kv_snapshot_header *h, const struct kv_snapshot_header *want, struct err *e) {
    const int width = sizeof h->type_k;
    if (h->model_fingerprint != want->model_fingerprint) return err_set(e, ERR_FILE, "made with another model");
    if (h->rope_fingerprint != want->rope_fingerprint || h->n_rot != want->n_rot || h->neox != want->neox ||
        memcmp(&h->magnitude, &want->magnitude, sizeof h->magnitude) || h->freq != want->freq)
        return err_set(e, ERR_FILE, "made with other rope settings");
    if (memcmp(h->type_k, want->type_k, sizeof h->type_k) || memcmp(h->type_v, want->type_v, sizeof h->type_v))
        return err_set(e, ERR_FILE, "its types are %.*s and %.*s, expected %s and %s", width, h->type_k, width,
                       h->type_v, want->type_k, want->type_v);
    if (h->rotated != want->rotated)
        return err_set(e, ERR_FILE, "its keys or values are stored rotated otherwise (%u, expected %u)", h->rotated,
                       want->rotated);
    return check_shape(h, want, e);
}

static int read_header(struct kv_load *l, const struct kv_snapshot_header *want, struct err *e) {
    struct kv_snapshot_header *h = &l->h;
    struct stat st;
    if (fstat(l->fd, &st) || !S_ISREG(st.st_mode)) return err_set(e, ERR_FILE, "not a regular file");
    l->size = (uint64_t)st.st_size;
    if (l->size < sizeof *h) return wrong(e, "the file's size", l->size, sizeof *h);
    int rc = read_some(l, h, sizeof *h, 0, e);
    if (rc) return rc;
    if (memcmp(h->magic, KV_SNAPSHOT_MAGIC, sizeof h->magic)) return err_set(e, ERR_FILE, "not a snapshot");
    if (h->byte_order != KV_SNAPSHOT_ORDER) return err_set(e, ERR_FILE, "written by a machine of another byte order");
    if (h->version != KV_SNAPSHOT_VERSION) return wrong(e, "version", h->version, KV_SNAPSHOT_VERSION);
    if (h->checksum != kv_snapshot_header_sum(h)) return err_set(e, ERR_FILE, "the checksum of its header is wrong");
    return check_model(h, want, e);
}

/* ---- generations ---- */

/* Adds size to *sum; false where it goes beyond the end. */
static bool add_bytes(uint64_t *sum, uint64_t size, uint64_t end) {
    return !__builtin_add_overflow(*sum, size, sum) && *sum <= end;
}

/* The generation at `at`, which must follow the one whose head has that checksum. */
static bool read_generation(struct kv_load *l, uint64_t at, uint32_t number, uint64_t previous,
                            struct kv_snapshot_generation *g, uint64_t *end) {
    *end = at;
    if (!add_bytes(end, sizeof *g, l->size) || read_some(l, g, sizeof *g, at, NULL)) return false;
    if (memcmp(g->magic, KV_SNAPSHOT_GENERATION, sizeof g->magic) || g->number != number || g->previous != previous ||
        g->checksum != kv_snapshot_generation_sum(g))
        return false;
    return g->index_bytes >= sizeof(struct kv_snapshot_index) && add_bytes(end, g->data_bytes, l->size) &&
           add_bytes(end, g->index_bytes, l->size);
}

/* The index of the generation that ends at end, when its checksum is right. */
static int read_index(struct kv_load *l, const struct kv_snapshot_generation *g, uint64_t end, struct err *e) {
    struct kv_snapshot_index head;
    uint8_t *index = malloc(g->index_bytes);
    if (!index)
        return err_set(e, ERR_MEMORY, "no memory for an index of %llu bytes", (unsigned long long)g->index_bytes);
    int rc = read_some(l, index, g->index_bytes, end - g->index_bytes, e);
    memcpy(&head, index, sizeof head);
    if (!rc && head.checksum != hash_bytes(index + sizeof head, g->index_bytes - sizeof head, g->checksum))
        rc = err_set(e, ERR_FILE, "the checksum of its index is wrong");
    if (rc) {
        free(index);
        return rc;
    }
    l->index = index;
    l->g = *g;
    l->end = end;
    return 0;
}

/* Finds the newest generation that is whole. */
static int find_generation(struct kv_load *l, struct err *e) {
    struct head {
        struct kv_snapshot_generation g;
        uint64_t end;
    } *list = NULL;
    size_t n = 0, cap = 0;
    uint64_t at = sizeof l->h, previous = l->h.checksum;
    int rc = err_set(e, ERR_FILE, "it was cut off: nothing in its %llu bytes is whole", (unsigned long long)l->size);
    for (struct head h; read_generation(l, at, (uint32_t)n + 1, previous, &h.g, &h.end);
         at = h.end, previous = h.g.checksum) {
        if (n == cap) {
            cap = cap ? 2 * cap : 16;
            struct head *more = realloc(list, cap * sizeof *more);
            if (!more) break; /* older ones do as well */
            list = more;
        }
        list[n++] = h;
    }
    while (rc && n--) rc = read_index(l, &list[n].g, list[n].end, e);
    free(list);
    return rc;
}

/* ---- sections ---- */

static const struct {
    const char *tag;
    size_t item;
} parts[KV_PARTS] = {
    [KV_PART_TOKENS] = {"TOKN", sizeof(int32_t)},
    [KV_PART_SEQ] = {"SEQU", sizeof(struct kv_snapshot_seq)},
    [KV_PART_LEFT] = {"LEFT", sizeof(struct kv_snapshot_range)},
    [KV_PART_TURNS] = {"TURN", sizeof(struct kv_snapshot_turn)},
    [KV_PART_BLOCKS] = {"BLKS", sizeof(struct kv_snapshot_block)},
    [KV_PART_RUNS] = {"RUNS", sizeof(struct kv_snapshot_run)},
    [KV_PART_EXTRA] = {"EXTR", 1},
    [KV_PART_STATE] = {"STAT", 1},
    [KV_PART_RING] = {"RING", 1},
};

static int take_section(struct kv_load *l, const struct kv_snapshot_section *s, const uint8_t *data, struct err *e) {
    for (int i = 0; i < KV_PARTS; i++) {
        if (memcmp(s->tag, parts[i].tag, sizeof s->tag)) continue;
        if (l->part[i].found || s->bytes % parts[i].item)
            return err_set(e, ERR_FILE, "its section %s is there twice or has no whole items", parts[i].tag);
        l->part[i] = (struct kv_load_part){data, s->bytes / parts[i].item, true};
        return 0;
    }
    if (!(s->flags & KV_SNAPSHOT_NEEDED)) return 0;
    return err_set(e, ERR_FILE, "it needs a section \"%.4s\" that this version does not know", s->tag);
}

static int read_sections(struct kv_load *l, struct err *e) {
    uint64_t at = sizeof(struct kv_snapshot_index), end = l->g.index_bytes;
    while (at < end) {
        struct kv_snapshot_section s;
        uint64_t from = at;
        if (!add_bytes(&at, sizeof s, end)) return err_set(e, ERR_FILE, "its index ends inside a section");
        memcpy(&s, l->index + from, sizeof s);
        const uint8_t *data = l->index + at;
        if (!add_bytes(&at, s.bytes, end)) return err_set(e, ERR_FILE, "its index ends inside a section");
        int rc = take_section(l, &s, data, e);
        if (rc) return rc;
    }
    for (int i = 0; i < KV_PARTS; i++)
        if (!l->part[i].found && i < KV_PART_STATE) return err_set(e, ERR_FILE, "its section %s is missing", parts[i].tag);
    return l->part[KV_PART_SEQ].n == 1 ? 0 : wrong(e, "items in its section SEQU", l->part[KV_PART_SEQ].n, 1);
}

/* ---- the conversation ---- */

/* Fills l->seq.left and .turn, checking their order. */
static int check_ranges(struct kv_load *l, struct err *e) {
    struct kv_seq *s = &l->seq;
    struct kv_snapshot_seq whole;
    uint64_t end = 0;
    memcpy(&whole, l->part[KV_PART_SEQ].data, sizeof whole);
    if (whole.n_keep > s->n_tokens) return wrong(e, "the number of kept tokens", whole.n_keep, s->n_tokens);
    if (whole.moved > 1) return wrong(e, "whether positions were changed by hand", whole.moved, 1);
    s->n_keep = whole.n_keep;
    s->moved = whole.moved;
    for (uint64_t i = 0; i < l->part[KV_PART_LEFT].n; i++) {
        struct kv_snapshot_range r;
        memcpy(&r, l->part[KV_PART_LEFT].data + i * sizeof r, sizeof r);
        if (r.n == 0 || (i && r.first <= end) || r.first > s->n_tokens || r.n > s->n_tokens - r.first)
            return wrong(e, "the start of a range that left", r.first, end);
        end = r.first + r.n;
        kv_seq_add_left(s, (struct kv_range){r.first, r.n});
    }
    end = 0;
    for (uint64_t i = 0; i < l->part[KV_PART_TURNS].n; i++) {
        struct kv_snapshot_turn t;
        memcpy(&t, l->part[KV_PART_TURNS].data + i * sizeof t, sizeof t);
        if (t.first < end || t.first > s->n_tokens || t.n > s->n_tokens - t.first || t.pinned > 1)
            return wrong(e, "the start of a turn", t.first, end);
        end = t.first + t.n;
        s->turn[s->n_turns++] = (struct kv_turn){t.first, t.n, t.pinned};
    }
    return 0;
}

static int check_conversation(struct kv_load *l, const struct kv *c, struct err *e) {
    struct kv_seq *s = &l->seq;
    size_t n = l->part[KV_PART_TOKENS].n;
    s->cap_turns = l->part[KV_PART_TURNS].n + 1;
    s->turn = malloc(s->cap_turns * sizeof *s->turn);
    if (!s->turn || kv_seq_reserve(s, c->cells.n + l->part[KV_PART_LEFT].n, n + c->cells.n))
        return err_set(e, ERR_MEMORY, "no memory for %zu tokens", n);
    if (n) memcpy(s->token, l->part[KV_PART_TOKENS].data, n * sizeof *s->token);
    s->n_tokens = n;
    return check_ranges(l, e);
}

/* ---- blocks and runs ---- */

/* The items of a part, aligned. */
static void *copy_part(const struct kv_load *l, int part) {
    size_t bytes = l->part[part].n * parts[part].item;
    void *to = malloc(bytes + 1);
    if (to && bytes) memcpy(to, l->part[part].data, bytes);
    return to;
}

static int check_blocks(struct kv_load *l, const struct kv *c, struct err *e) {
    for (uint32_t b = 0; b < l->n_blocks; b++) {
        const struct kv_snapshot_block *z = &l->block[b];
        uint64_t end = z->offset, n = kv_snapshot_count(z->mask);
        if (n == 0) return err_set(e, ERR_FILE, "block %u has no cells", b);
        if (z->offset < sizeof l->h || !add_bytes(&end, n * c->cell_bytes, l->end))
            return wrong(e, "the place of a block", z->offset, l->end);
    }
    return 0;
}

/* Live tokens and those that left must make up the conversation, and no cell is two tokens'. */
static int check_runs(struct kv_load *l, const struct kv *c, struct err *e) {
    uint64_t index = 0, n_tokens = l->seq.n_tokens, cells = 0;
    int64_t pos = 0;
    for (uint32_t i = 0; i < l->n_runs; i++) {
        const struct kv_snapshot_run *r = &l->run[i];
        if (r->n == 0 || r->n > KV_BLOCK || r->cell > KV_BLOCK - r->n) return wrong(e, "the length of a run", r->n, 1);
        if (r->index < index || r->index > n_tokens || r->n > n_tokens - r->index)
            return wrong(e, "the index of a run", r->index, index);
        if (r->pos < 0 || r->pos > KV_MAX_POS || r->offset < -KV_MAX_POS || r->offset > KV_MAX_POS || r->pos + r->offset < pos)
            return wrong(e, "the position of a run", (uint64_t)r->pos, (uint64_t)pos);
        if (r->block >= l->n_blocks) return wrong(e, "the block of a run", r->block, l->n_blocks);
        if (r->flags) return wrong(e, "the flags of a run", r->flags, 0);
        if (!kv_snapshot_add(l->live[r->block], r->cell, r->n) ||
            !kv_snapshot_has(l->block[r->block].mask, l->live[r->block]))
            return err_set(e, ERR_FILE, "cells %u to %u of block %u are two tokens' or nobody's", r->cell,
                           r->cell + r->n - 1, r->block);
        if (kv_seq_count_left(&l->seq, r->index, r->index + r->n))
            return wrong(e, "tokens that both left and stayed", r->index, 0);
        index = r->index + r->n;
        pos = r->pos + r->offset + (int64_t)r->n - (r->n == 1); /* positions that were divided may repeat */
        cells += r->n;
    }
    uint64_t known = cells + kv_seq_count_left(&l->seq, 0, n_tokens);
    if (known != n_tokens) return wrong(e, "tokens that left or stayed", known, n_tokens);
    if (cells > c->config.bound)
        return err_set(e, ERR_FILE, "it needs %llu cells and the bound is %u", (unsigned long long)cells,
                       c->config.bound);
    l->n_cells = (uint32_t)cells;
    return 0;
}

static int check_cells(struct kv_load *l, const struct kv *c, struct err *e) {
    uint64_t blocks = l->part[KV_PART_BLOCKS].n, runs = l->part[KV_PART_RUNS].n;
    if (runs > l->seq.n_tokens || blocks > runs) return wrong(e, "the number of runs and blocks", runs, blocks);
    if (runs > UINT32_MAX / 2) return wrong(e, "the number of runs", runs, c->config.bound);
    l->block = copy_part(l, KV_PART_BLOCKS);
    l->run = copy_part(l, KV_PART_RUNS);
    l->live = calloc(blocks + 1, sizeof *l->live);
    if (!l->block || !l->run || !l->live)
        return err_set(e, ERR_MEMORY, "no memory for %llu runs", (unsigned long long)runs);
    l->n_blocks = (uint32_t)blocks;
    l->n_runs = (uint32_t)runs;
    int rc = check_blocks(l, c, e);
    return rc ? rc : check_runs(l, c, e);
}

int kv_load_index(struct kv_load *l, const struct kv *c, const struct kv_snapshot_info *expect, struct err *e) {
    struct kv_snapshot_header want;
    kv_snapshot_describe(c, expect, &want);
    int rc = read_header(l, &want, e);
    if (!rc) rc = find_generation(l, e);
    if (!rc) rc = read_sections(l, e);
    if (!rc) rc = check_conversation(l, c, e);
    return rc ? rc : check_cells(l, c, e);
}
