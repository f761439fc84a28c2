/* Tests of what a save writes: generations, the blocks that changed and no others, and what is left of the file when a
 * write fails, the program is killed or the power goes in the middle. The program is linked so that its writes come
 * through here (see the Makefile). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/hash.h"
#include "tests/support_folder.h"
#include "tests/support_snapshot.h"

/* ---- between the cache and the disk ---- */

enum fault { NONE, FAIL_EIO, FAIL_ENOSPC, SHORT_THEN_ENOSPC, SHORT, KILL, N_FAULTS };

static struct {
    enum fault fault;
    int at;    /* the call that it happens to, from 1 */
    int calls; /* so far */
    bool hit;
} layer;

/* What was written to a file, in order. */
static struct op {
    bool sync;
    uint64_t at;
    size_t n;
    uint8_t *data;
} * ops;
static size_t n_ops;
static bool recording, renamed_synced;

static void record(bool sync, const void *data, size_t n, off_t at) {
    if (!recording) return;
    ops = realloc(ops, (n_ops + 1) * sizeof *ops);
    ops[n_ops] = (struct op){sync, (uint64_t)at, n, malloc(n + 1)};
    if (n) memcpy(ops[n_ops].data, data, n);
    n_ops++;
}

static bool is_hit(void) {
    if (layer.fault == NONE || ++layer.calls != layer.at) return false;
    layer.hit = true;
    return true;
}

/* -1 with errno, or no return, for a call that writes nothing. */
static int strike(void) {
    if (layer.fault == KILL) raise(SIGKILL);
    errno = layer.fault == FAIL_EIO ? EIO : ENOSPC;
    return -1;
}

ssize_t __real_pwrite(int fd, const void *data, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t at) {
    record(false, data, n, at);
    if (!is_hit()) return __real_pwrite(fd, data, n, at);
    if (layer.fault == SHORT_THEN_ENOSPC) layer.at++; /* and the rest does not fit */
    if (layer.fault >= SHORT_THEN_ENOSPC && n > 1 && layer.calls + 1 >= layer.at) {
        ssize_t half = __real_pwrite(fd, data, n / 2, at);
        if (layer.fault != KILL) return half;
    }
    return strike();
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
    record(true, NULL, 0, 0);
    (void)fd; /* what is tested is the order, not the disk */
    return is_hit() && layer.fault != SHORT ? strike() : 0;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) {
    if (recording) renamed_synced = n_ops > 0 && ops[n_ops - 1].sync;
    if (is_hit() && layer.fault != SHORT) return strike();
    unlink(to); /* some file systems wait for the disk when a file is replaced */
    return __real_rename(from, to);
}

int __real_ftruncate(int fd, off_t n);
int __wrap_ftruncate(int fd, off_t n);
int __wrap_ftruncate(int fd, off_t n) {
    return is_hit() && layer.fault != SHORT ? strike() : __real_ftruncate(fd, n);
}

static void arm(enum fault fault, int at) {
    layer.fault = fault;
    layer.at = at;
    layer.calls = 0;
    layer.hit = false;
}

/* ---- states ---- */

static char path[300], other[300];
static struct kv *state_a, *state_b; /* what the file holds before the save, and what is saved */

static void go_on(struct kv *c, int n) {
    for (int i = 0; i < n; i++) assert_int_equal(kvt_append(c, 0, 5000 + i, NULL), 0);
}

static int make_states(void **state) {
    (void)state;
    if (!support_folder_make()) return -1;
    snprintf(path, sizeof path, "%s", support_folder_path("a.kv"));
    snprintf(other, sizeof other, "%s", support_folder_path("b.kv"));
    state_a = kvs_worn("f16");
    state_b = kvs_worn("f16");
    go_on(state_b, 40);
    return 0;
}

static int free_states(void **state) {
    (void)state;
    kv_close(state_a);
    kv_close(state_b);
    for (size_t i = 0; i < n_ops; i++) free(ops[i].data);
    free(ops);
    support_folder_remove();
    return 0;
}

static struct kv *open_cache(uint32_t start) {
    struct kv_config g = kvt_config(700, "f16");
    g.start = start;
    return kvt_open(&g);
}

/* 'A', 'B', or '?' for anything else; '-' where it is refused. */
static char held(const char *file) {
    struct kv *c = open_cache(0);
    char is = '-';
    if (!kvs_load(c, 0, file, NULL)) is = kvs_same(c, 0, state_a, 0) ? 'A' : kvs_same(c, 0, state_b, 0) ? 'B' : '?';
    kv_close(c);
    return is;
}

/* A file that holds A, and a cache that holds B: one that knows the file, or (fresh) one that does not. */
static struct kv *about_to_save(bool fresh) {
    unlink(path);
    kvs_save(state_a, 0, path);
    struct kv *c = open_cache(0);
    assert_int_equal(kvs_load(c, 0, path, NULL), 0);
    go_on(c, 40);
    if (fresh) assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0); /* as if another had written to it */
    return c;
}

/* Heads of the generations in a file. */
static size_t generations(const char *file, struct kv_snapshot_generation *g, size_t max) {
    size_t size, n = 0, at = sizeof(struct kv_snapshot_header);
    uint8_t *data = kvs_read(file, &size);
    while (n < max && at + sizeof *g <= size) {
        memcpy(&g[n], data + at, sizeof *g);
        assert_memory_equal(g[n].magic, KV_SNAPSHOT_GENERATION, 4);
        at += sizeof *g + g[n].data_bytes + g[n].index_bytes;
        n++;
    }
    assert_int_equal(at, size);
    free(data);
    return n;
}

/* ---- what is written ---- */

static void a_further_save_writes_only_the_blocks_that_changed(void **state) {
    (void)state;
    struct kv_config g = kvt_config(4096, "f16");
    struct kv *c = kvt_open(&g);
    struct kv_snapshot_generation gen[4];
    unlink(path);
    go_on(c, 1000);
    kvs_save(c, 0, path);
    assert_int_equal(generations(path, gen, 4), 1);
    assert_int_equal(gen[0].data_bytes, 1000 * c->cell_bytes);
    go_on(c, 10);
    uint64_t bytes = kvs_save(c, 0, path);
    assert_int_equal(generations(path, gen, 4), 2);
    assert_int_equal(gen[1].data_bytes, (1010 - 768) * c->cell_bytes); /* the block that was half full */
    assert_int_equal(bytes, sizeof gen[1] + gen[1].data_bytes + gen[1].index_bytes);
    kvs_save(c, 0, path); /* nothing changed */
    assert_int_equal(generations(path, gen, 4), 3);
    assert_int_equal(gen[2].data_bytes, 0);

    struct kv *d = kvt_open(&g); /* and so does a program that has been closed in between */
    assert_int_equal(kvs_load(d, 0, path, NULL), 0);
    assert_true(kvs_same(c, 0, d, 0));
    go_on(d, 30); /* into the next block */
    kvs_save(d, 0, path);
    assert_int_equal(generations(path, gen, 4), 4);
    assert_int_equal(gen[3].data_bytes, (1040 - 768) * d->cell_bytes);
    kv_close(c);
    c = kvt_open(&g);
    assert_int_equal(kvs_load(c, 0, path, NULL), 0);
    assert_true(kvs_same(c, 0, d, 0));
    kv_close(c);
    kv_close(d);
}

static void keys_that_were_turned_where_they_lie_are_saved_again(void **state) {
    (void)state;
    struct kv *c = open_cache(0), *d = open_cache(0);
    unlink(path);
    go_on(c, 600);
    kvs_save(c, 0, path);
    assert_int_equal(kv_seq_add(c, 0, 300, -1, 7, NULL), 0);
    kvs_save(c, 0, path);
    assert_int_equal(kvs_load(d, 0, path, NULL), 0);
    assert_true(kvs_same(c, 0, d, 0));
    kv_close(c);
    kv_close(d);
}

static void a_file_of_which_half_is_dead_is_written_anew(void **state) {
    (void)state;
    struct kv_config g = kvt_config(2000, "f16");
    struct kv *c = kvt_open(&g);
    struct stat st;
    size_t anew = 0;
    unlink(path);
    go_on(c, 1500);
    kvs_save(c, 0, path);
    assert_int_equal(stat(path, &st), 0);
    ino_t last = st.st_ino;
    for (int i = 0; i < 60; i++) {
        kv_seq_rm(c, 0, 1400 - i * 20, -1);
        go_on(c, 100);
        kvs_save(c, 0, path);
        assert_int_equal(stat(path, &st), 0);
        anew += st.st_ino != last;
        last = st.st_ino;
        struct kv *d = kvt_open(&g);
        assert_int_equal(kvs_load(d, 0, path, NULL), 0);
        assert_true(kvs_same(c, 0, d, 0));
        kv_close(d);
        size_t live = c->seq[0].n_cells * c->cell_bytes + c->seq[0].n_tokens * sizeof(int32_t) + 2000;
        assert_true((size_t)st.st_size <= 2 * live + 1);
    }
    assert_in_range(anew, 2, 30);
    kv_close(c);
}

static void a_file_that_somebody_else_has_changed_is_written_anew(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct kv *c = about_to_save(false);
        struct kv_snapshot_generation gen[4];
        if (i == 0) kvs_write(path, (const uint8_t *)"not a snapshot", 14);
        if (i == 1) unlink(path);
        if (i == 2) kvs_save(state_a, 0, path); /* appends, in another program */
        kvs_save(c, 0, path);
        assert_int_equal(generations(path, gen, 4), 1);
        assert_int_equal(held(path), 'B');
        kv_close(c);
    }
}

/* Appends to the file's bytes the generation of another file as its second one: all of it is right but what it follows.
 */
static size_t forge_second(uint8_t *data, size_t n, const uint8_t *from) {
    struct kv_snapshot_generation g;
    struct kv_snapshot_index x;
    size_t at = sizeof(struct kv_snapshot_header);
    memcpy(&g, from + at, sizeof g);
    size_t all = sizeof g + g.data_bytes + g.index_bytes;
    memcpy(data + n, from + at, all);
    g.number = 2;
    g.checksum = kv_snapshot_generation_sum(&g);
    memcpy(data + n, &g, sizeof g);
    uint8_t *index = data + n + all - g.index_bytes;
    x.checksum = hash_bytes(index + sizeof x, g.index_bytes - sizeof x, g.checksum);
    memcpy(index, &x, sizeof x);
    return n + all;
}

static void what_stands_behind_the_end_counts_for_nothing_and_goes(void **state) {
    (void)state;
    struct kv_snapshot_generation gen[4];
    size_t n, m;
    kv_close(about_to_save(false));
    kvs_save(state_b, 0, other);
    uint8_t *data = kvs_read(path, &n), *from = kvs_read(other, &m);
    data = realloc(data, n + m);
    kvs_write(path, data, forge_second(data, n, from));
    assert_int_equal(held(path), 'A');
    struct kv *c = open_cache(0);
    assert_int_equal(kvs_load(c, 0, path, NULL), 0);
    go_on(c, 40);
    kvs_save(c, 0, path);
    assert_int_equal(generations(path, gen, 4), 2);
    assert_int_equal(held(path), 'B');
    free(data);
    free(from);
    kv_close(c);
}

/* Every byte of the newer generation flipped, and every length: the newer state or the older one, or a refusal. */
static void damage_to_the_newest_generation_leaves_the_one_before(void **state) {
    (void)state;
    size_t n, m;
    struct kv *c = about_to_save(false);
    uint8_t *was = kvs_read(path, &m);
    kvs_save(c, 0, path);
    uint8_t *data = kvs_read(path, &n);
    struct kv_snapshot_generation g;
    memcpy(&g, data + m, sizeof g);
    size_t index_at = n - g.index_bytes, step = kvs_count(23, 1);
    for (size_t i = m; i < n; i += step) {
        data[i] ^= 4;
        kvs_write(other, data, n);
        data[i] ^= 4;
        bool is_data = i >= m + sizeof g && i < index_at;
        assert_int_equal(held(other), is_data ? '-' : 'A');
    }
    for (size_t i = n; i-- > m;) {
        if ((n - i) % step > 1) continue;
        kvs_write(other, data, i);
        assert_int_equal(held(other), 'A');
    }
    free(was);
    free(data);
    kv_close(c);
}

/* ---- faults ---- */

static void whatever_call_fails_the_old_state_or_the_new_one_is_there_and_the_next_save_works(void **state) {
    (void)state;
    char temp[320];
    snprintf(temp, sizeof temp, "%s.tmp%ld", path, (long)getpid());
    for (int fresh = 0; fresh < 2; fresh++)
        for (enum fault f = FAIL_EIO; f < KILL; f++)
            for (int at = 1;; at++) {
                struct kv *c = about_to_save(fresh);
                struct err e = {0};
                arm(f, at);
                int rc = kv_save(c, 0, path, &kvs_info, NULL, &e);
                bool hit = layer.hit;
                arm(NONE, 0);
                assert_int_equal(rc, hit && f != SHORT ? ERR_FAILED : 0);
                if (rc) assert_non_null(strstr(e.text, path));
                assert_int_equal(access(temp, F_OK), -1);
                char now = held(path);
                if (now != 'B' && (now != 'A' || !rc)) fail_msg("fault %d at call %d left %c", f, at, now);
                kvs_save(c, 0, path);
                assert_int_equal(held(path), 'B');
                kv_close(c);
                if (!hit) {
                    assert_in_range(at, 5, 20); /* there were calls to fail */
                    break;
                }
            }
}

/* A child that saves and is killed at its at-th call; false: it was not. */
static bool kill_child(bool fresh, int at) {
    kv_close(about_to_save(false));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct kv *c;
        struct kv_config g = kvt_config(700, "f16"); /* memory of a cache is not there after fork */
        if (kv_open(&c, &g, NULL) || kv_load(c, 0, path, &kvs_info, NULL, NULL)) _exit(2);
        for (int i = 0; i < 40; i++)
            if (kvt_append(c, 0, 5000 + i, NULL)) _exit(2);
        if (fresh && utimensat(AT_FDCWD, path, NULL, 0)) _exit(2); /* as if another had written to it */
        arm(KILL, at);
        _exit(kv_save(c, 0, path, &kvs_info, NULL, NULL) ? 3 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        char temp[320];
        snprintf(temp, sizeof temp, "%s.tmp%ld", path, (long)pid);
        unlink(temp);
        return WTERMSIG(status) == SIGKILL;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
}

static void killed_at_any_call_the_old_state_or_the_new_one_is_there(void **state) {
    (void)state;
    for (int fresh = 0; fresh < 2; fresh++) {
        int old = 0, at = 1;
        for (; kill_child(fresh, at); at++) {
            char now = held(path);
            if (now != 'A' && now != 'B') fail_msg("killed at call %d: %c", at, now);
            old += now == 'A';
        }
        assert_int_equal(held(path), 'B');
        assert_in_range(old, 4, at);
    }
}

/* The file when of the writes since the last fsync only those of the mask have reached the disk (of the last one,
 * half). */
static size_t after_power_loss(const uint8_t *base, size_t n, size_t upto, unsigned mask, bool half, uint8_t *image) {
    size_t synced = 0, size = n;
    for (size_t i = 0; i < upto; i++)
        if (ops[i].sync) synced = i;
    memset(image, 0, 1 << 20);
    memcpy(image, base, n);
    unsigned bit = 0;
    for (size_t i = 0; i < upto; i++) {
        if (ops[i].sync) continue;
        size_t all = ops[i].at + ops[i].n, part = half && i + 1 == upto ? ops[i].n / 2 : ops[i].n;
        if (all > size) size = all; /* its length may be there before what it holds */
        if (i < synced || mask >> bit++ & 1) memcpy(image + ops[i].at, ops[i].data, part);
    }
    return size;
}

static void what_the_disk_had_not_yet_when_the_power_went_leaves_the_old_state_or_the_new_one(void **state) {
    (void)state;
    static uint8_t image[1 << 20];
    size_t n, seen[2] = {0, 0};
    struct kv *c = about_to_save(false);
    uint8_t *base = kvs_read(path, &n);
    recording = true;
    kvs_save(c, 0, path);
    recording = false;
    kv_close(c);
    assert_true(n_ops >= 5 && ops[n_ops - 1].sync);
    for (size_t upto = 0; upto <= n_ops; upto++) {
        size_t loose = 0;
        for (size_t i = 0; i < upto; i++) loose = ops[i].sync ? 0 : loose + 1;
        for (unsigned mask = 0; mask < 1u << loose; mask++)
            for (int half = 0; half < 2; half++) {
                kvs_write(other, image, after_power_loss(base, n, upto, mask, half, image));
                char now = held(other);
                if (now != 'A' && now != 'B') fail_msg("%zu writes, of the last ones %x: %c", upto, mask, now);
                seen[now == 'B']++;
            }
    }
    assert_int_equal(held(path), 'B');
    assert_true(seen[0] > 8 && seen[1] > 0);
    free(base);
}

static void a_file_that_is_written_anew_is_on_the_disk_before_it_gets_its_name(void **state) {
    (void)state;
    struct kv *c = about_to_save(true);
    size_t before = n_ops;
    recording = true;
    kvs_save(c, 0, path);
    recording = false;
    assert_true(renamed_synced && n_ops > before + 3 && ops[n_ops - 1].sync &&
                ops[n_ops - 2].sync); /* then the folder */
    kv_close(c);
}

static void a_save_to_where_nothing_can_be_written_is_refused(void **state) {
    (void)state;
    struct err e = {0};
    char temp[320];
    kv_close(about_to_save(false));
    snprintf(temp, sizeof temp, "%s.tmp%ld", path, (long)getpid());
    assert_int_equal(mkdir(temp, 0700), 0); /* the temporary file cannot be made */
    assert_int_equal(kv_save(state_b, 0, path, &kvs_info, NULL, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, path));
    rmdir(temp);
    assert_int_equal(held(path), 'A');
    assert_int_equal(kv_save(state_b, 0, "/nonexistent/a.kv", &kvs_info, NULL, &e), ERR_FAILED);
}

/* ---- at random ---- */

static uint64_t seed = 12345;
static uint32_t below(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static void change(struct kv *c) {
    int s = (int)below(3), z = (int)below(3);
    int64_t most = kv_seq_pos_max(c, s) + 1, p = most > 0 ? below((uint32_t)most) : 0;
    switch (below(8)) {
    case 0: kv_seq_rm(c, s, p, -1); break;
    case 1: kv_seq_rm(c, s, p, p + below(40)); break;
    case 2:
        if (c->seq[z].n_tokens == 0) kv_seq_cp(c, s, z, -1, -1, NULL);
        break;
    case 3: kv_seq_add(c, s, p, -1, below(9), NULL); break;
    case 4: kv_seq_rm(c, z, -1, -1); break;
    case 5: kv_shrink(c); break;
    default:
        for (uint32_t i = below(200); i; i--) kvt_append(c, s, (int32_t)below(1000), NULL);
    }
}

static void whatever_was_done_in_between_a_file_holds_what_was_saved(void **state) {
    (void)state;
    struct kv_config g = kvt_config(1500, "f16");
    struct kv *c = kvt_open(&g);
    const char *file[2] = {path, other};
    unlink(path);
    unlink(other);
    for (size_t i = 0; i < kvs_count(150, 20000); i++) {
        for (uint32_t k = below(5); k; k--) change(c);
        int s = (int)below(3), z = (int)below(3);
        const char *to = file[below(2)];
        if (below(6) == 0 && access(to, F_OK) == 0) kvs_load(c, z, to, NULL); /* may not fit */
        kvs_save(c, s, to);
        struct kv *d = kvt_open(&g);
        assert_int_equal(kvs_load(d, 1, to, NULL), 0);
        if (!kvs_same(c, s, d, 1)) fail_msg("step %zu", i);
        kv_close(d);
    }
    kv_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_further_save_writes_only_the_blocks_that_changed),
        cmocka_unit_test(keys_that_were_turned_where_they_lie_are_saved_again),
        cmocka_unit_test(a_file_of_which_half_is_dead_is_written_anew),
        cmocka_unit_test(a_file_that_somebody_else_has_changed_is_written_anew),
        cmocka_unit_test(what_stands_behind_the_end_counts_for_nothing_and_goes),
        cmocka_unit_test(damage_to_the_newest_generation_leaves_the_one_before),
        cmocka_unit_test(whatever_call_fails_the_old_state_or_the_new_one_is_there_and_the_next_save_works),
        cmocka_unit_test(killed_at_any_call_the_old_state_or_the_new_one_is_there),
        cmocka_unit_test(what_the_disk_had_not_yet_when_the_power_went_leaves_the_old_state_or_the_new_one),
        cmocka_unit_test(a_file_that_is_written_anew_is_on_the_disk_before_it_gets_its_name),
        cmocka_unit_test(a_save_to_where_nothing_can_be_written_is_refused),
        cmocka_unit_test(whatever_was_done_in_between_a_file_holds_what_was_saved),
    };
    return cmocka_run_group_tests(tests, make_states, free_states);
}
