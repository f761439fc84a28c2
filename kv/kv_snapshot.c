/* kv_snapshot: saving a sequence to a file and back; the format is drawn in kv_snapshot.h.
 *
 * A load reads into free cells (or, where they are too few, into memory of its own), so that a file that turns out bad
 * half way has changed nothing that lives. Owner thread only. */
#include "kv/kv_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/buf.h"
#include "config/hash.h"
#include "kv/kv_cache.h"

/* ---- cells to and from a block of the file ---- */

/* Copies n neighbouring cells of one block between the cache and a block of the file that holds n_block cells, from its
 * cell `at` on. */
static void copy_cells(struct kv *c, uint32_t cell, uint32_t n, uint8_t *file, uint32_t n_block, uint32_t at,
                       bool store) {
    const struct kv_layout *l = &c->layout;
    uint32_t first = cell % KV_BLOCK;
    uint8_t *layer = c->arena.base + (size_t)(cell / KV_BLOCK) * l->block_bytes;
    if (!store) kv_touch(c, cell);
    for (uint32_t i = 0; i < c->config.n_layers; i++, layer += l->layer_bytes)
        for (uint32_t kv = 0; kv < 2; kv++) {
            size_t row = kv ? l->v_row_bytes : l->k_row_bytes, head = kv ? l->v_head_bytes : l->k_head_bytes;
            uint8_t *mem = layer + (kv ? l->v_base : 0) + first * row;
            for (uint32_t h = 0; h < c->config.n_kv_heads; h++, mem += head, file += n_block * row) {
                if (store)
                    memcpy(file + at * row, mem, n * row);
                else
                    memcpy(mem, file + at * row, n * row);
            }
        }
}

/* Copies cells cell[0..n), which make up one block of the file. */
static void copy_block(struct kv *c, const uint32_t *cell, uint32_t n, uint8_t *file, bool store) {
    for (uint32_t i = 0; i < n;) {
        uint32_t j = i + 1;
        while (j < n && cell[j] == cell[j - 1] + 1 && cell[j] % KV_BLOCK) j++;
        copy_cells(c, cell[i], j - i, file, n, i, store);
        i = j;
    }
}

static uint32_t block_size(uint64_t n_cells, uint64_t block) {
    uint64_t left = n_cells - block * KV_BLOCK;
    return left < KV_BLOCK ? (uint32_t)left : KV_BLOCK;
}

static int write_at(int fd, const void *data, size_t n, off_t at) {
    for (const uint8_t *p = data; n;) {
        ssize_t done = pwrite(fd, p, n, at);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = ENOSPC;
        if (done <= 0) return -1;
        p += done;
        n -= (size_t)done;
        at += done;
    }
    return 0;
}

static int read_at(int fd, void *data, size_t n, off_t at) {
    for (uint8_t *p = data; n;) {
        ssize_t done = pread(fd, p, n, at);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = EIO; /* it became shorter meanwhile */
        if (done <= 0) return -1;
        p += done;
        n -= (size_t)done;
        at += done;
    }
    return 0;
}

/* ---- saving ---- */

static uint64_t sum_of(const struct kv_snapshot_header *h, const void *index, size_t index_bytes) {
    struct kv_snapshot_header z = *h;
    z.checksum = 0;
    return hash_bytes(index, index_bytes, hash_bytes(&z, sizeof z, 0));
}

/* The counts of what is saved: what has been computed, or left before it; not a plan for what comes. */
static struct kv_snapshot_header describe(const struct kv *c, const struct kv_seq *s,
                                          const struct kv_snapshot_info *info) {
    struct kv_snapshot_header h = {.magic = KV_SNAPSHOT_MAGIC,
                                   .version = KV_SNAPSHOT_VERSION,
                                   .byte_order = KV_SNAPSHOT_ORDER,
                                   .model_fingerprint = info->model_fingerprint,
                                   .rope_fingerprint = info->rope_fingerprint,
                                   .type_k = c->layout.type_k->id,
                                   .type_v = c->layout.type_v->id,
                                   .n_layers = c->config.n_layers,
                                   .n_kv_heads = c->config.n_kv_heads,
                                   .head_dim_k = c->config.head_dim_k,
                                   .head_dim_v = c->config.head_dim_v,
                                   .block_cells = KV_BLOCK,
                                   .rotated = c->layout.rotated,
                                   .n_tokens = s->n_tokens,
                                   .n_runs = s->n_runs,
                                   .n_keep = s->n_keep < s->n_tokens ? s->n_keep : s->n_tokens,
                                   .n_cells = s->n_cells,
                                   .extra_bytes = info->extra_bytes};
    while (h.n_left < s->n_left && s->left[h.n_left].first < s->n_tokens) h.n_left++;
    while (h.n_turns < s->n_turns && s->turn[h.n_turns].first < s->n_tokens) h.n_turns++;
    return h;
}

static uint64_t within(uint64_t first, uint64_t n, uint64_t end) {
    return n < end - first ? n : end - first;
}

static int make_index(const struct kv_seq *s, const struct kv_snapshot_header *h, const uint64_t *sum,
                      const struct kv_snapshot_info *info, struct buf *b) {
    if (s->n_tokens) buf_add(b, s->token, s->n_tokens * sizeof *s->token);
    for (size_t i = 0; i < h->n_left; i++) {
        const struct kv_range *r = &s->left[i];
        buf_add(b, &(struct kv_snapshot_range){r->first, within(r->first, r->n, s->n_tokens)},
                sizeof(struct kv_snapshot_range));
    }
    for (size_t i = 0; i < h->n_turns; i++) {
        const struct kv_turn *t = &s->turn[i];
        buf_add(b, &(struct kv_snapshot_turn){t->first, within(t->first, t->n, s->n_tokens), t->pinned},
                sizeof(struct kv_snapshot_turn));
    }
    for (size_t i = 0; i < s->n_runs; i++) {
        const struct kv_run *r = &s->run[i];
        buf_add(b, &(struct kv_snapshot_run){r->pos, r->offset, r->index, r->n}, sizeof(struct kv_snapshot_run));
    }
    buf_add(b, sum, kv_blocks(h->n_cells) * sizeof *sum);
    if (info->extra_bytes) buf_add(b, info->extra, info->extra_bytes);
    return b->failed ? -1 : 0;
}

static size_t index_size(const struct kv_snapshot_header *h) {
    return h->n_tokens * sizeof(int32_t) + h->n_left * sizeof(struct kv_snapshot_range) +
           h->n_turns * sizeof(struct kv_snapshot_turn) + h->n_runs * sizeof(struct kv_snapshot_run) +
           kv_blocks(h->n_cells) * sizeof(uint64_t) + h->extra_bytes;
}

/* Writes the cells behind the index and notes the checksum of each block. */
static int write_data(struct kv *c, const struct kv_seq *s, int fd, off_t at, uint8_t *block, uint64_t *sum) {
    uint32_t cell[KV_BLOCK], n = 0, n_blocks = 0;
    for (size_t i = 0; i < s->n_runs; i++)
        for (uint32_t k = 0; k < s->run[i].n; k++) {
            cell[n++] = s->run[i].cell + k;
            bool last = i + 1 == s->n_runs && k + 1 == s->run[i].n;
            if (n < KV_BLOCK && !last) continue;
            size_t bytes = n * c->cell_bytes;
            copy_block(c, cell, n, block, true);
            sum[n_blocks++] = hash_bytes(block, bytes, 0);
            if (write_at(fd, block, bytes, at)) return -1;
            at += (off_t)bytes;
            n = 0;
        }
    return 0;
}

static int write_file(struct kv *c, const struct kv_seq *s, int fd, const struct kv_snapshot_info *info,
                      uint64_t *bytes, struct err *e) {
    struct kv_snapshot_header h = describe(c, s, info);
    size_t index_bytes = index_size(&h);
    struct buf index = {0};
    uint8_t *block = malloc(KV_BLOCK * c->cell_bytes);
    uint64_t *sum = malloc((kv_blocks(h.n_cells) + 1) * sizeof *sum);
    int rc = ERR_FAILED;
    if (!block || !sum) {
        rc = err_set(e, ERR_MEMORY, "no memory to save %u cells", s->n_cells);
        goto out;
    }
    h.file_bytes = sizeof h + index_bytes + h.n_cells * c->cell_bytes;
    if (write_data(c, s, fd, (off_t)(sizeof h + index_bytes), block, sum)) goto out;
    if (make_index(s, &h, sum, info, &index)) {
        rc = err_set(e, ERR_MEMORY, "no memory to save %zu tokens", s->n_tokens);
        goto out;
    }
    assert(index.len == index_bytes);
    h.checksum = sum_of(&h, index.data, index.len);
    if (write_at(fd, index.data, index.len, sizeof h) || write_at(fd, &h, sizeof h, 0) || fsync(fd)) goto out;
    *bytes = h.file_bytes;
    rc = 0;
out:
    if (rc == ERR_FAILED) err_set(e, rc, "%s", strerror(errno));
    free(block);
    free(sum);
    buf_free(&index);
    return rc;
}

/* A rename is on disk once the folder is. */
static int sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, rc = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0) close(fd);
    free(folder);
    return rc;
}

int kv_save(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *info, uint64_t *bytes,
            struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < KV_MAX_SEQS);
    struct buf temp = {0};
    uint64_t n = 0;
    int rc = 0;
    if (buf_printf(&temp, "%s.tmp%ld", path, (long)getpid()))
        return err_set(e, ERR_MEMORY, "no memory to save %s", path);
    int fd = open(temp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        rc = err_set(e, ERR_FAILED, "%s", strerror(errno));
    else
        rc = write_file(c, &c->seq[seq], fd, info, &n, e);
    if (fd >= 0 && close(fd) && !rc) rc = err_set(e, ERR_FAILED, "%s", strerror(errno));
    if (!rc && (rename(temp.data, path) || sync_folder(path))) rc = err_set(e, ERR_FAILED, "%s", strerror(errno));
    if (rc) {
        err_prefix(e, "cannot save %s", path);
        if (fd >= 0) unlink(temp.data);
    }
    if (bytes) *bytes = rc ? 0 : n;
    buf_free(&temp);
    return rc;
}

/* ---- loading ---- */

/* A file on its way in. */
struct load {
    int fd;
    struct kv_snapshot_header h;
    uint8_t *index; /* as read; the pointers below lie in it, aligned for memcpy alone */
    size_t index_bytes;
    const uint8_t *left, *turn, *run, *sum, *extra;
    struct kv_seq seq; /* what the sequence will be */
    uint32_t *cell;    /* [n_cells] where the cells go; NULL: to own */
    uint8_t *own;      /* [n_cells] in the file's order, where free cells are too few */
    uint8_t *block;
};

static int wrong(struct err *e, const char *field, uint64_t found, uint64_t expected) {
    return err_set(e, ERR_FILE, "%s is %llu, expected %llu", field, (unsigned long long)found,
                   (unsigned long long)expected);
}

/* Adds n items of that size to *sum; false where it leaves the file. */
static bool add_items(uint64_t *sum, uint64_t n, uint64_t size, uint64_t file_bytes) {
    uint64_t bytes;
    return !__builtin_mul_overflow(n, size, &bytes) && !__builtin_add_overflow(*sum, bytes, sum) && *sum <= file_bytes;
}

static int read_header(struct load *l, const struct kv *c, struct err *e) {
    struct kv_snapshot_header *h = &l->h;
    struct stat st;
    if (fstat(l->fd, &st) || !S_ISREG(st.st_mode)) return err_set(e, ERR_FILE, "not a regular file");
    if ((uint64_t)st.st_size < sizeof *h) return wrong(e, "the file's size", (uint64_t)st.st_size, sizeof *h);
    if (read_at(l->fd, h, sizeof *h, 0)) return err_set(e, ERR_FILE, "cannot be read: %s", strerror(errno));
    if (memcmp(h->magic, KV_SNAPSHOT_MAGIC, sizeof h->magic)) return err_set(e, ERR_FILE, "not a snapshot");
    if (h->byte_order != KV_SNAPSHOT_ORDER) return err_set(e, ERR_FILE, "written by a machine of another byte order");
    if (h->version != KV_SNAPSHOT_VERSION) return wrong(e, "version", h->version, KV_SNAPSHOT_VERSION);
    if (h->file_bytes != (uint64_t)st.st_size) return wrong(e, "the file's size", (uint64_t)st.st_size, h->file_bytes);
    uint64_t sum = sizeof *h, all = h->file_bytes;
    if (h->n_cells > UINT32_MAX - KV_BLOCK) return wrong(e, "n_cells", h->n_cells, c->config.bound);
    bool ok = add_items(&sum, h->n_tokens, sizeof(int32_t), all) &&
              add_items(&sum, h->n_left, sizeof(struct kv_snapshot_range), all) &&
              add_items(&sum, h->n_turns, sizeof(struct kv_snapshot_turn), all) &&
              add_items(&sum, h->n_runs, sizeof(struct kv_snapshot_run), all) &&
              add_items(&sum, kv_blocks(h->n_cells), sizeof(uint64_t), all) && add_items(&sum, h->extra_bytes, 1, all);
    if (!ok) return err_set(e, ERR_FILE, "its counts do not fit into its %llu bytes", (unsigned long long)all);
    l->index_bytes = (size_t)(sum - sizeof *h);
    return 0;
}

static int read_index(struct load *l, struct err *e) {
    const struct kv_snapshot_header *h = &l->h;
    l->index = malloc(l->index_bytes + 1);
    if (!l->index) return err_set(e, ERR_MEMORY, "no memory for an index of %zu bytes", l->index_bytes);
    if (read_at(l->fd, l->index, l->index_bytes, sizeof *h))
        return err_set(e, ERR_FILE, "cannot be read: %s", strerror(errno));
    uint64_t sum = sum_of(h, l->index, l->index_bytes);
    if (sum != h->checksum)
        return err_set(e, ERR_FILE, "the checksum of its index is %016llx, expected %016llx", (unsigned long long)sum,
                       (unsigned long long)h->checksum);
    l->left = l->index + h->n_tokens * sizeof(int32_t);
    l->turn = l->left + h->n_left * sizeof(struct kv_snapshot_range);
    l->run = l->turn + h->n_turns * sizeof(struct kv_snapshot_turn);
    l->sum = l->run + h->n_runs * sizeof(struct kv_snapshot_run);
    l->extra = l->sum + kv_blocks(h->n_cells) * sizeof(uint64_t);
    return 0;
}

static int check_model(const struct load *l, const struct kv *c, const struct kv_snapshot_info *expect, struct err *e) {
    const struct kv_snapshot_header *h = &l->h;
    if (h->model_fingerprint != expect->model_fingerprint) return err_set(e, ERR_FILE, "made with another model");
    if (h->rope_fingerprint != expect->rope_fingerprint) return err_set(e, ERR_FILE, "made with other rope settings");
    const struct {
        const char *name;
        uint64_t found, expected;
    } field[] = {
        {"n_layers", h->n_layers, c->config.n_layers},       {"n_kv_heads", h->n_kv_heads, c->config.n_kv_heads},
        {"head_dim_k", h->head_dim_k, c->config.head_dim_k}, {"head_dim_v", h->head_dim_v, c->config.head_dim_v},
        {"block_cells", h->block_cells, KV_BLOCK},           {"rotated", h->rotated, c->layout.rotated},
    };
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (field[i].found != field[i].expected) return wrong(e, field[i].name, field[i].found, field[i].expected);
    const struct num_type *k = num_find(h->type_k), *v = num_find(h->type_v);
    if (k != c->layout.type_k || v != c->layout.type_v)
        return err_set(e, ERR_FILE, "its types are %s and %s, expected %s and %s", k ? k->name : "unknown",
                       v ? v->name : "unknown", c->layout.type_k->name, c->layout.type_v->name);
    uint64_t sum = sizeof *h + l->index_bytes;
    if (!add_items(&sum, h->n_cells, c->cell_bytes, h->file_bytes) || sum != h->file_bytes)
        return wrong(e, "the file's size", h->file_bytes, sum);
    return 0;
}

/* Fills l->seq.left and .turn, checking their order. */
static int check_ranges(struct load *l, struct err *e) {
    const struct kv_snapshot_header *h = &l->h;
    struct kv_seq *s = &l->seq;
    uint64_t end = 0;
    if (h->n_keep > h->n_tokens) return wrong(e, "n_keep", h->n_keep, h->n_tokens);
    for (uint64_t i = 0; i < h->n_left; i++) {
        struct kv_snapshot_range r;
        memcpy(&r, l->left + i * sizeof r, sizeof r);
        if (r.n == 0 || (i && r.first <= end) || r.first > h->n_tokens || r.n > h->n_tokens - r.first)
            return wrong(e, "the start of a range that left", r.first, end);
        end = r.first + r.n;
        kv_seq_add_left(s, (struct kv_range){r.first, r.n});
    }
    end = 0;
    for (uint64_t i = 0; i < h->n_turns; i++) {
        struct kv_snapshot_turn t;
        memcpy(&t, l->turn + i * sizeof t, sizeof t);
        if (t.first < end || t.first > h->n_tokens || t.n > h->n_tokens - t.first || t.pinned > 1)
            return wrong(e, "the start of a turn", t.first, end);
        end = t.first + t.n;
        s->turn[s->n_turns++] = (struct kv_turn){t.first, t.n, t.pinned};
    }
    s->n_keep = h->n_keep;
    return 0;
}

#define MAX_POS ((int64_t)1 << 60)

/* Live tokens and those that left must make up the conversation. */
static int check_runs(const struct load *l, struct err *e) {
    const struct kv_snapshot_header *h = &l->h;
    uint64_t index = 0, cells = 0;
    int64_t pos = 0;
    for (uint64_t i = 0; i < h->n_runs; i++) {
        struct kv_snapshot_run r;
        memcpy(&r, l->run + i * sizeof r, sizeof r);
        if (r.n == 0 || r.n > h->n_cells - cells) return wrong(e, "the length of a run", r.n, h->n_cells - cells);
        if (r.index < index || r.index > h->n_tokens || r.n > h->n_tokens - r.index)
            return wrong(e, "the index of a run", r.index, index);
        if (r.pos < 0 || r.pos > MAX_POS || r.offset < -MAX_POS || r.offset > MAX_POS || r.pos + r.offset < pos)
            return wrong(e, "the position of a run", (uint64_t)r.pos, (uint64_t)pos);
        if (kv_seq_count_left(&l->seq, r.index, r.index + r.n))
            return wrong(e, "tokens that both left and stayed", r.index, 0);
        index = r.index + r.n;
        pos = r.pos + r.offset + (int64_t)r.n - (r.n == 1); /* positions that were divided may repeat */
        cells += r.n;
    }
    if (cells != h->n_cells) return wrong(e, "cells in its runs", cells, h->n_cells);
    uint64_t known = cells + kv_seq_count_left(&l->seq, 0, h->n_tokens);
    return known == h->n_tokens ? 0 : wrong(e, "tokens that left or stayed", known, h->n_tokens);
}

/* Everything but the data, into l->seq. */
static int check_index(struct load *l, struct kv *c, struct err *e) {
    const struct kv_snapshot_header *h = &l->h;
    struct kv_seq *s = &l->seq;
    if (h->n_runs > h->n_cells) return wrong(e, "n_runs", h->n_runs, h->n_cells);
    if (h->n_cells > c->config.bound)
        return err_set(e, ERR_FILE, "it needs %llu cells and the bound is %u", (unsigned long long)h->n_cells,
                       c->config.bound);
    size_t cells = h->n_cells > c->cells.n ? kv_growth_target(c, (uint32_t)h->n_cells) : c->cells.n;
    s->turn = malloc((h->n_turns + 1) * sizeof *s->turn);
    s->cap_turns = h->n_turns + 1;
    if (!s->turn || kv_seq_reserve(s, cells + h->n_left, h->n_tokens + cells))
        return err_set(e, ERR_MEMORY, "no memory for %llu tokens", (unsigned long long)h->n_tokens);
    if (h->n_tokens) memcpy(s->token, l->index, h->n_tokens * sizeof *s->token);
    s->n_tokens = h->n_tokens;
    int rc = check_ranges(l, e);
    return rc ? rc : check_runs(l, e);
}

/* Finds where the cells may go without touching what lives. */
static int find_room(struct load *l, struct kv *c, struct err *e) {
    uint32_t n = (uint32_t)l->h.n_cells;
    uint64_t need = (uint64_t)c->cells.used + n;
    l->block = malloc(KV_BLOCK * c->cell_bytes);
    l->cell = malloc((n + 1) * sizeof *l->cell);
    if (!l->block || !l->cell) return err_set(e, ERR_MEMORY, "no memory to load %u cells", n);
    if (need <= c->config.bound && !kv_growth_make(c, (uint32_t)need, false, "snapshot", e)) {
        c->cells.hint = 0;
        uint32_t limit = c->cells.n < c->config.bound ? c->cells.n : c->config.bound;
        if (kv_cells_find(&c->cells, limit, n, l->cell)) return 0;
    }
    free(l->cell);
    l->cell = NULL;
    l->own = malloc(n * c->cell_bytes + 1);
    return l->own ? 0 : err_set(e, ERR_MEMORY, "no memory to load %u cells", n);
}

static int read_data(struct load *l, struct kv *c, struct err *e) {
    off_t at = (off_t)(sizeof l->h + l->index_bytes);
    for (uint32_t b = 0; b < kv_blocks(l->h.n_cells); b++) {
        uint32_t n = block_size(l->h.n_cells, b);
        size_t bytes = n * c->cell_bytes;
        uint8_t *to = l->own ? l->own + (size_t)b * KV_BLOCK * c->cell_bytes : l->block;
        uint64_t sum;
        memcpy(&sum, l->sum + b * sizeof sum, sizeof sum);
        if (read_at(l->fd, to, bytes, at)) return err_set(e, ERR_FILE, "cannot be read: %s", strerror(errno));
        if (hash_bytes(to, bytes, 0) != sum) return err_set(e, ERR_FILE, "the checksum of block %u is wrong", b);
        if (!l->own) copy_block(c, l->cell + (size_t)b * KV_BLOCK, n, to, false);
        at += (off_t)bytes;
    }
    return 0;
}

/* The sequence's own cells count as free, since it is about to be stripped. */
static int prepare(struct load *l, struct kv *c, int seq, struct err *e) {
    uint32_t n = (uint32_t)l->h.n_cells;
    size_t others = kv_evict_others(c, seq);
    if (l->own && !(l->cell = malloc((n + 1) * sizeof *l->cell)))
        return err_set(e, ERR_MEMORY, "no memory to load %u cells", n);
    if (others + n > c->config.bound)
        return err_set(e, ERR_FILE, "it needs %u cells beside the %zu that are in use; the bound is %u", n, others,
                       c->config.bound);
    int rc = kv_growth_make(c, (uint32_t)others + n, false, "snapshot", e);
    if (rc) return rc;
    if (kv_seq_reserve(&l->seq, c->cells.n + l->h.n_left, l->h.n_tokens + c->cells.n))
        return err_set(e, ERR_MEMORY, "no memory for %u cells", n);
    return 0;
}

/* Replaces the sequence; nothing fails any more. */
static void take_over(struct load *l, struct kv *c, int seq) {
    struct kv_seq *s = &c->seq[seq], *fresh = &l->seq;
    uint32_t n = (uint32_t)l->h.n_cells, limit = c->cells.n < c->config.bound ? c->cells.n : c->config.bound, at = 0;
    kv_seq_strip(s, &c->cells, seq);
    if (l->own) {
        c->cells.hint = 0;
        bool found = kv_cells_find(&c->cells, limit, n, l->cell);
        assert(found);
        (void)found;
        for (uint32_t b = 0; b < kv_blocks(n); b++)
            copy_block(c, l->cell + (size_t)b * KV_BLOCK, block_size(n, b),
                       l->own + (size_t)b * KV_BLOCK * c->cell_bytes, false);
    }
    for (uint64_t i = 0; i < l->h.n_runs; i++) {
        struct kv_snapshot_run r;
        memcpy(&r, l->run + i * sizeof r, sizeof r);
        for (uint32_t k = 0; k < r.n; k++, at++) {
            kv_cells_own(&c->cells, l->cell[at], 1, seq);
            kv_seq_push(fresh, &(struct kv_run){r.pos + k, r.offset, r.index + k, l->cell[at], 1});
        }
    }
    fresh->leased = s->leased;
    kv_seq_free(s);
    *s = *fresh;
    *fresh = (struct kv_seq){0};
}

static int load_file(struct load *l, struct kv *c, int seq, const struct kv_snapshot_info *expect, void **extra,
                     struct err *e) {
    int rc = read_header(l, c, e);
    if (!rc) rc = read_index(l, e);
    if (!rc) rc = check_model(l, c, expect, e);
    if (!rc) rc = check_index(l, c, e);
    if (!rc && !(*extra = malloc(l->h.extra_bytes + 1)))
        rc = err_set(e, ERR_MEMORY, "no memory for %llu bytes", (unsigned long long)l->h.extra_bytes);
    if (rc) return rc;
    memcpy(*extra, l->extra, l->h.extra_bytes);
    uint32_t before = c->arena.n_blocks;
    rc = find_room(l, c, e);
    if (!rc) rc = read_data(l, c, e);
    if (!rc) rc = prepare(l, c, seq, e);
    if (!rc)
        take_over(l, c, seq);
    else if (c->arena.n_blocks > before)
        kv_growth_shrink(c, before, "snapshot refused");
    return rc;
}

int kv_load(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *expect, void **extra,
            size_t *extra_bytes, uint64_t *bytes, struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < KV_MAX_SEQS);
    struct load l = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    *extra = NULL;
    *extra_bytes = 0;
    if (l.fd < 0) return err_set(e, ERR_FILE, "%s: %s", path, strerror(errno));
    int rc = load_file(&l, c, seq, expect, extra, e);
    if (rc) {
        free(*extra);
        *extra = NULL;
        err_prefix(e, "%s", path);
    } else {
        *extra_bytes = l.h.extra_bytes;
        if (bytes) *bytes = l.h.file_bytes;
    }
    close(l.fd);
    free(l.index);
    free(l.cell);
    free(l.own);
    free(l.block);
    kv_seq_free(&l.seq);
    kv_stats_publish(c);
    return rc;
}
