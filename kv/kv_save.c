/* kv_save: a sequence to a file. The format is drawn in kv_snapshot.h.
 *
 * A file that is known (kv_saved.h) gets one more generation behind its last: data, fsync, index, fsync. Any other
 * file, and one of which more than half would be dead, is written anew beside it and renamed. What the file held stays
 * readable until the new generation is whole. Owner thread only: a block does not change under its save, since who
 * would change it is who saves. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "config/buf.h"
#include "config/hash.h"
#include "kv/kv_cache.h"
#include "kv/kv_saved.h"

/* A save on its way. */
struct save {
    struct kv *c;
    const struct kv_seq *seq;
    const struct kv_snapshot_info *info;
    struct kv_snapshot_header h;
    struct kv_saved *after; /* what the file will hold; of a block whose offset is 0 the data is still to be written */
    uint32_t *number;       /* [after->n] a block's number in the index */
    uint32_t n_blocks;
    uint64_t data_bytes, live_bytes, written;
    struct buf index;
    uint8_t *scratch; /* one block */
    bool doubtful;    /* an fsync has failed: what the disk holds is not known */
};

static void save_free(struct save *s) {
    free(s->after);
    free(s->number);
    free(s->scratch);
    buf_free(&s->index);
}

/* Which cells of which blocks. */
static int mark_cells(struct save *s) {
    uint32_t n = s->c->arena.n_blocks;
    s->after = kv_saved_new(n);
    s->number = malloc(n * sizeof *s->number);
    s->scratch = malloc(KV_BLOCK * s->c->cell_bytes);
    if (!s->after || !s->number || !s->scratch) return -1;
    for (size_t i = 0; i < s->seq->n_runs; i++) {
        uint32_t cell = s->seq->run[i].cell, left = s->seq->run[i].n;
        for (uint32_t now; left; cell += now, left -= now) {
            now = KV_BLOCK - cell % KV_BLOCK < left ? KV_BLOCK - cell % KV_BLOCK : left;
            kv_snapshot_add(s->after->block[cell / KV_BLOCK].at.mask, cell % KV_BLOCK, now);
        }
    }
    for (uint32_t b = 0; b < n; b++)
        if (kv_snapshot_count(s->after->block[b].at.mask)) s->number[b] = s->n_blocks++;
    return 0;
}

static size_t block_bytes(const struct save *s, uint32_t b) {
    return kv_snapshot_count(s->after->block[b].at.mask) * s->c->cell_bytes;
}

/* Takes what stands unchanged in the file. */
static void take_known(struct save *s, const struct kv_saved *known) {
    for (uint32_t b = 0; b < s->after->n; b++) {
        if (!kv_snapshot_count(s->after->block[b].at.mask)) continue;
        if (kv_saved_holds(s->c, known, b, s->after->block[b].at.mask)) s->after->block[b] = known->block[b];
    }
}

/* ---- index ---- */

static void add_section(struct save *s, const char *tag, const void *data, size_t n, size_t item) {
    struct kv_snapshot_section head = {.flags = KV_SNAPSHOT_NEEDED, .bytes = n * item};
    memcpy(head.tag, tag, sizeof head.tag);
    buf_add(&s->index, &head, sizeof head);
    if (data && n) buf_add(&s->index, data, n * item);
}

/* The head of a section whose items follow one by one; its size is set when it ends. */
static size_t begin_section(struct save *s, const char *tag) {
    add_section(s, tag, NULL, 0, 1);
    return s->index.len;
}

static void end_section(struct save *s, size_t begin) {
    uint64_t bytes = s->index.len - begin;
    if (!s->index.failed)
        memcpy(s->index.data + begin - sizeof bytes, &bytes, sizeof bytes); /* the head's last field */
}

static uint64_t within(uint64_t first, uint64_t n, uint64_t end) {
    return n < end - first ? n : end - first;
}

/* What has been computed, or left before it; not a plan for what comes. */
static void add_conversation(struct save *s) {
    const struct kv_seq *q = s->seq;
    struct kv_snapshot_seq z = {q->n_keep < q->n_tokens ? q->n_keep : q->n_tokens, q->moved};
    add_section(s, "TOKN", q->token, q->n_tokens, sizeof *q->token);
    add_section(s, "SEQU", &z, 1, sizeof z);
    size_t begin = begin_section(s, "LEFT");
    for (size_t i = 0; i < q->n_left && q->left[i].first < q->n_tokens; i++) {
        const struct kv_range *r = &q->left[i];
        buf_add(&s->index, &(struct kv_snapshot_range){r->first, within(r->first, r->n, q->n_tokens)},
                sizeof(struct kv_snapshot_range));
    }
    end_section(s, begin);
    begin = begin_section(s, "TURN");
    for (size_t i = 0; i < q->n_turns && q->turn[i].first < q->n_tokens; i++) {
        const struct kv_turn *t = &q->turn[i];
        buf_add(&s->index, &(struct kv_snapshot_turn){t->first, within(t->first, t->n, q->n_tokens), t->pinned},
                sizeof(struct kv_snapshot_turn));
    }
    end_section(s, begin);
}

/* A run for each block that it touches. */
static void add_run(struct save *s, const struct kv_run *r) {
    for (uint32_t at = 0, now; at < r->n; at += now) {
        uint32_t cell = r->cell + at, first = cell % KV_BLOCK;
        now = KV_BLOCK - first < r->n - at ? KV_BLOCK - first : r->n - at;
        struct kv_snapshot_run z = {r->pos + at, r->offset, r->index + at, s->number[cell / KV_BLOCK], first, now, 0};
        buf_add(&s->index, &z, sizeof z);
    }
}

static void add_states(struct save *s) {
    int seq = (int)(s->seq - s->c->seq);
    if (s->c->config.state_bytes) {
        size_t begin = begin_section(s, "STAT");
        kv_state_put(s->c, seq, &s->index);
        end_section(s, begin);
    }
    if (s->c->config.n_window_layers) {
        size_t begin = begin_section(s, "RING");
        kv_state_put_rings(s->c, seq, &s->index);
        end_section(s, begin);
    }
}

/* All of the index; the checksums and offsets of blocks that are still to be written are those of nothing. */
static int make_index(struct save *s) {
    buf_clear(&s->index);
    buf_add(&s->index, &(struct kv_snapshot_index){0}, sizeof(struct kv_snapshot_index));
    add_conversation(s);
    size_t begin = begin_section(s, "BLKS");
    for (uint32_t b = 0; b < s->after->n; b++)
        if (kv_snapshot_count(s->after->block[b].at.mask))
            buf_add(&s->index, &s->after->block[b].at, sizeof s->after->block[b].at);
    end_section(s, begin);
    begin = begin_section(s, "RUNS");
    for (size_t i = 0; i < s->seq->n_runs; i++) add_run(s, &s->seq->run[i]);
    end_section(s, begin);
    add_section(s, "EXTR", s->info->extra, s->info->extra_bytes, 1);
    add_states(s);
    return s->index.failed ? -1 : 0;
}

/* What is to be written to a file that is known, or NULL, and what of it would then be of use. */
static void measure(struct save *s, const struct kv_saved *known) {
    s->data_bytes = 0;
    s->live_bytes = sizeof s->h + sizeof(struct kv_snapshot_generation) + s->index.len +
                    (uint64_t)s->seq->n_cells * s->c->cell_bytes;
    for (uint32_t b = 0; b < s->after->n; b++)
        if (!known || !kv_saved_holds(s->c, known, b, s->after->block[b].at.mask)) s->data_bytes += block_bytes(s, b);
}

/* Whether no more than half of the file would be dead. */
static bool is_worth_appending(const struct save *s, const struct kv_saved *known) {
    uint64_t all = known->end + sizeof(struct kv_snapshot_generation) + s->data_bytes + s->index.len;
    return s->live_bytes >= all / 2;
}

/* ---- writing ---- */

static int write_some(struct save *s, int fd, const void *data, size_t n, uint64_t at) {
    if (kv_snapshot_write(fd, data, n, at)) return -1;
    s->written += n;
    return 0;
}

static int sync_file(struct save *s, int fd) {
    if (!fsync(fd)) return 0;
    s->doubtful = true;
    return -1;
}

/* A block's bytes: where they are in the cache when all of it is saved, else gathered. */
static const uint8_t *gather(struct save *s, uint32_t b) {
    const uint64_t *mask = s->after->block[b].at.mask;
    uint32_t n = kv_snapshot_count(mask);
    if (n == KV_BLOCK) return s->c->arena.base + (size_t)b * s->c->layout.block_bytes;
    for (uint32_t cell = 0, at = 0; at < n;) {
        uint32_t first = cell;
        while (cell < KV_BLOCK && mask[cell / 64] >> cell % 64 & 1) cell++;
        if (cell > first) kv_snapshot_copy(s->c, b * KV_BLOCK + first, cell - first, s->scratch, n, at, true);
        at += cell - first;
        cell++;
    }
    return s->scratch;
}

static int write_data(struct save *s, int fd, uint64_t at) {
    for (uint32_t b = 0; b < s->after->n; b++) {
        struct kv_saved_block *block = &s->after->block[b];
        size_t bytes = block_bytes(s, b);
        if (!bytes || block->at.offset) continue;
        const uint8_t *data = gather(s, b);
        if (kv_snapshot_write_block(fd, data, bytes, at, &block->at.checksum)) return -1;
        s->written += bytes;
        block->at.offset = at;
        block->stamp = s->c->clock;
        at += bytes;
    }
    return 0;
}

/* Writes a generation at `at`; separate: the data is on the disk before the index is written. */
static int write_generation(struct save *s, int fd, uint64_t at, uint32_t number, uint64_t previous, bool separate) {
    struct kv_snapshot_generation g = {.magic = KV_SNAPSHOT_GENERATION,
                                       .number = number,
                                       .previous = previous,
                                       .data_bytes = s->data_bytes,
                                       .index_bytes = s->index.len};
    g.checksum = kv_snapshot_generation_sum(&g);
    uint64_t index_at = at + sizeof g + g.data_bytes;
    if (write_some(s, fd, &g, sizeof g, at) || write_data(s, fd, at + sizeof g)) return -1;
    if (separate && sync_file(s, fd)) return -1;
    if (make_index(s)) {
        errno = ENOMEM;
        return -1;
    }
    assert(s->index.len == g.index_bytes);
    struct kv_snapshot_index head = {0};
    head.checksum = hash_bytes(s->index.data + sizeof head, s->index.len - sizeof head, g.checksum);
    memcpy(s->index.data, &head, sizeof head);
    if (write_some(s, fd, s->index.data, s->index.len, index_at) || sync_file(s, fd)) return -1;
    s->after->header = s->h.checksum;
    s->after->number = number;
    s->after->last = g.checksum;
    s->after->end = index_at + s->index.len;
    return 0;
}

/* Remembers what the file holds now. */
static void note(struct save *s, int fd) {
    if (fstat(fd, &s->after->st)) return;
    s->c->clock++;
    kv_saved_put(s->c, s->after);
    s->after = NULL;
}

/* One more generation behind the last one. When that fails the file is as it was. */
static int append(struct save *s, int fd, struct kv_saved *known) {
    bool cut = (uint64_t)known->st.st_size > known->end; /* behind the end lies what a crash cut off */
    int rc = cut ? ftruncate(fd, (off_t)known->end) : 0;
    if (!rc) rc = write_generation(s, fd, known->end, known->number + 1, known->last, true);
    if (!rc) {
        note(s, fd);
        return 0;
    }
    int why = errno;
    struct stat st = known->st;
    if (ftruncate(fd, (off_t)known->end) || s->doubtful || fstat(fd, &known->st)) kv_saved_forget(s->c, &st);
    errno = why;
    return -1;
}

/* A rename is on disk once the folder is. */
static int sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, rc = fd < 0 ? -1 : fsync(fd);
    int why = errno;
    if (fd >= 0) close(fd);
    free(folder);
    errno = why;
    return rc;
}

/* Writes the file anew. When that fails the old one is as it was. */
static int rewrite(struct save *s, const char *path) {
    struct buf temp = {0};
    if (buf_printf(&temp, "%s.tmp%ld", path, (long)getpid())) {
        errno = ENOMEM;
        return -1;
    }
    int fd = open(temp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = fd < 0 ? -1 : 0;
    if (!rc) rc = write_some(s, fd, &s->h, sizeof s->h, 0);
    if (!rc) rc = write_generation(s, fd, sizeof s->h, 1, s->h.checksum, false);
    if (!rc) rc = rename(temp.data, path);
    int why = errno;
    if (rc && fd >= 0) unlink(temp.data);
    if (!rc && (rc = sync_folder(path))) why = errno;
    if (!rc) note(s, fd);
    if (fd >= 0) close(fd);
    buf_free(&temp);
    errno = why;
    return rc;
}

/* Opens a file that is as the cache left it and that nobody else is about to write; -1: write it anew. */
static int open_known(struct save *s, const char *path, struct kv_saved **known) {
    struct stat st;
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait for its reader */
    if (fd < 0) return -1;
    if (!fstat(fd, &st) && !flock(fd, LOCK_EX | LOCK_NB)) *known = kv_saved_find(s->c, &st);
    if (*known && (*known)->header == s->h.checksum) return fd;
    *known = NULL;
    close(fd);
    return -1;
}

/* Chooses and does; 0, or -1 with errno. */
static int write_file(struct save *s, const char *path) {
    struct kv_saved *known = NULL;
    int fd = open_known(s, path, &known), rc;
    measure(s, known);
    if (known && is_worth_appending(s, known)) {
        take_known(s, known);
        rc = append(s, fd, known);
    } else {
        measure(s, NULL);
        rc = rewrite(s, path);
    }
    int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return rc;
}

int kv_save_seq(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *info, uint64_t *bytes,
            struct err *e) {
    assert(!c->running.on && seq >= 0 && seq < kv_seqs(c));
    struct save s = {.c = c, .seq = &c->seq[seq], .info = info};
    int rc = 0;
    kv_snapshot_describe(c, info, &s.h);
    if (mark_cells(&s) || make_index(&s))
        rc = err_set(e, ERR_MEMORY, "no memory to save %zu tokens", s.seq->n_tokens);
    else if (write_file(&s, path))
        rc = err_set(e, ERR_FAILED, "%s", strerror(errno));
    if (rc) err_prefix(e, "cannot save %s", path);
    if (bytes) *bytes = rc ? 0 : s.written;
    save_free(&s);
    return rc;
}
