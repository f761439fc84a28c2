/* See support_snapshot.h. */
#include "tests/support_snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/hash.h"

static char taken[16];

static int take_extra(void *ctx, const void *extra, size_t n, struct err *e) {
    (void)ctx;
    (void)e;
    assert_true(n < sizeof taken);
    memcpy(taken, extra, n);
    taken[n] = 0;
    return 0;
}

const struct kv_snapshot_info kvs_info = {
    .model_fingerprint = 11, .rope_fingerprint = 22, .extra = "random state", .extra_bytes = 12, .accept = take_extra};

struct kv *kvs_worn(const char *type) {
    struct kv_config g = kvt_config(700, type);
    struct kv *c = kvt_open(&g);
    int32_t token[2000];
    struct kv_turn turn[6];
    for (int i = 0; i < 2000; i++) token[i] = i * 3;
    for (size_t i = 0; i < 6; i++) turn[i] = (struct kv_turn){20 + i * 100, 100, i == 1};
    struct kv_prompt p = {token, 620, 20, turn, 6, 0};
    struct kv_plan plan;
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, NULL), 0);
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    assert_true(c->seq[0].n_left >= 2);
    return c;
}

uint64_t kvs_save(struct kv *c, int seq, const char *to) {
    struct err e = {0};
    uint64_t bytes;
    if (kv_save(c, seq, to, &kvs_info, &bytes, &e)) fail_msg("%s", e.text);
    return bytes;
}

int kvs_load(struct kv *c, int seq, const char *from, struct err *e) {
    taken[0] = 0;
    int rc = kv_load(c, seq, from, &kvs_info, NULL, e);
    assert_string_equal(taken, rc ? "" : "random state");
    return rc;
}

bool kvs_same(struct kv *a, int sa, struct kv *b, int sb) {
    const struct kv_seq *x = &a->seq[sa], *y = &b->seq[sb];
    if (x->n_tokens != y->n_tokens || x->n_left != y->n_left || x->n_turns != y->n_turns || x->n_keep != y->n_keep ||
        x->n_cells != y->n_cells || x->moved != y->moved ||
        (x->n_tokens && memcmp(x->token, y->token, x->n_tokens * sizeof *x->token)) ||
        (x->n_left && memcmp(x->left, y->left, x->n_left * sizeof *x->left)))
        return false;
    for (size_t i = 0; i < x->n_turns; i++)
        if (x->turn[i].first != y->turn[i].first || x->turn[i].pinned != y->turn[i].pinned) return false;
    for (size_t i = 0; i < x->n_tokens; i++) {
        if (kvt_hash(a, sa, i) != kvt_hash(b, sb, i)) return false;
        if (!kvt_hash(a, sa, i)) continue;
        const struct kv_run *r = &x->run[kv_seq_find_index(x, i)], *q = &y->run[kv_seq_find_index(y, i)];
        if (r->pos + (int64_t)(i - r->index) != q->pos + (int64_t)(i - q->index) || r->offset != q->offset)
            return false;
    }
    return true;
}

uint8_t *kvs_read(const char *from, size_t *n) {
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*n + 1);
    assert_int_equal(fread(data, 1, *n, f), *n);
    fclose(f);
    return data;
}

void kvs_seal(uint8_t *file, size_t n, size_t index_bytes) {
    struct kv_snapshot_header h;
    struct kv_snapshot_generation g;
    struct kv_snapshot_index x;
    memcpy(&h, file, sizeof h);
    memcpy(&g, file + sizeof h, sizeof g);
    uint8_t *index = file + n - index_bytes;
    h.checksum = kv_snapshot_header_sum(&h);
    g.previous = h.checksum;
    g.checksum = kv_snapshot_generation_sum(&g);
    x.checksum = hash_bytes(index + sizeof x, index_bytes - sizeof x, g.checksum);
    memcpy(file, &h, sizeof h);
    memcpy(file + sizeof h, &g, sizeof g);
    memcpy(index, &x, sizeof x);
}

/* In place: a file that is emptied first is written to the disk when it is closed, on some file systems. */
void kvs_write(const char *to, const uint8_t *data, size_t n) {
    int fd = open(to, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, n, 0), n);
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    close(fd);
}

size_t kvs_count(size_t n, size_t n_soak) {
    return getenv("KVETCH_SOAK") ? n_soak : n;
}
