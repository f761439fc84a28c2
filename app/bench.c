/* bench: see bench.h. */
#include "app/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/process.h"
#include "config/buf.h"
#include "config/paths.h"

#define RUNS 5              /* of a cost that is over in microseconds: the median counts */
#define OPEN_BOUND 131072u
#define GROWTH_CELLS 4096u  /* growths are followed up to here, or to the largest depth */
#define MAX_GROWTHS 64
#define AROUND 4            /* neighbours of a step that does something else */
#define MAX_TEXT_BYTES (64u << 20)
#define CACHE_CELLS 4096u   /* where no depth is named, the tests of the cache need one all the same */

static struct bench_row row_of(const struct bench *b, const char *test) {
    return (struct bench_row){.test = test, .type = b->info.type, .n = NAN, .depth = NAN, .bound = NAN, .tokens_per_s = NAN, .us = NAN, .us_max = NAN,
                              .us_median = NAN, .bytes = NAN, .rss_bytes = NAN, .per_s = NAN, .perplexity = NAN, .ratio = NAN};
}

static void report(const struct bench *b, const struct bench_row *r) { b->report(b->ctx, r); }

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts x. */
static double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* A session with room for at least cells, by the user's bound where that is enough. */
static int open_session(const struct bench *b, uint64_t cells, struct session **s, struct session_options *used, struct err *e) {
    *s = NULL;
    *used = b->options;
    if (cells > UINT32_MAX - KV_BLOCK) return err_set(e, ERR_USAGE, "a depth of %llu cells is more than a cache can hold", (unsigned long long)cells);
    if (!used->bound) used->bound = cells > KV_BLOCK ? (uint32_t)cells : KV_BLOCK;
    if (used->bound < cells)
        return err_set(e, ERR_USAGE, "the bound of %u cells is less than the %llu that this test needs: name a larger one with -c", used->bound,
                       (unsigned long long)cells);
    return session_open(s, b->model, used, e);
}

/* ---- this machine -------------------------------------------------------------------------------------------- */

static struct { double read, f32, int8; } machine; /* measured by the first of the two tests that asks */

static void measure_machine(const struct bench *b) {
    if (machine.read <= 0) engine_measure(b->options.n_threads, &machine.read, &machine.f32, &machine.int8);
}

static int run_bandwidth(const struct bench *b, struct err *e) {
    (void)e;
    struct bench_row r = row_of(b, "bandwidth");
    measure_machine(b);
    r.type = "bytes";
    r.per_s = machine.read;
    report(b, &r);
    return 0;
}

static int run_peak(const struct bench *b, struct err *e) {
    (void)e;
    struct bench_row r = row_of(b, "peak");
    measure_machine(b);
    r.type = "f32";
    r.per_s = machine.f32;
    report(b, &r);
    r.type = "int8";
    r.per_s = machine.int8;
    report(b, &r);
    return 0;
}

/* ---- speeds -------------------------------------------------------------------------------------------------- */

/* The depth is computed, not filled: a prompt's cells are what a prompt leaves. */
static int prefill_at(const struct bench *b, uint32_t depth, struct err *e) {
    struct session *s;
    struct session_options o;
    struct bench_row r = row_of(b, "prefill");
    int rc = open_session(b, (uint64_t)depth + b->n_prompt, &s, &o, e);
    if (!rc) rc = session_bench_prefill(s, b->n_prompt < o.n_ubatch ? b->n_prompt : 64, NULL, e); /* pages in what comes from the file */
    if (!rc) rc = session_bench_fill(s, 0, e);
    if (!rc && depth) rc = session_bench_prefill(s, depth, NULL, e);
    if (!rc) rc = session_bench_prefill(s, b->n_prompt, &r.us, e);
    session_close(s);
    if (rc) return rc;
    r.n = b->n_prompt;
    r.depth = depth;
    r.bound = o.bound;
    r.tokens_per_s = r.n * 1e6 / r.us;
    report(b, &r);
    return 0;
}

static int decode_at(const struct bench *b, uint32_t depth, struct err *e) {
    struct session *s;
    struct session_options o;
    struct bench_row r = row_of(b, "decode");
    double *step = calloc(b->n_decode, sizeof *step);
    int rc = step ? open_session(b, (uint64_t)depth + b->n_decode, &s, &o, e) : err_set(e, ERR_MEMORY, "no memory for %u figures", b->n_decode);
    if (rc) {
        free(step);
        return rc;
    }
    rc = session_bench_decode(s, 1, NULL, e); /* pages in what comes from the file */
    if (!rc) rc = session_bench_fill(s, depth, e);
    if (!rc) rc = session_bench_decode(s, b->n_decode, step, e);
    session_close(s);
    if (!rc) {
        r.us = 0;
        for (uint32_t i = 0; i < b->n_decode; i++) r.us += step[i];
        r.n = b->n_decode;
        r.depth = depth;
        r.bound = o.bound;
        r.tokens_per_s = r.n * 1e6 / r.us;
        r.us_median = median(step, b->n_decode);
        r.us_max = step[b->n_decode - 1];
        report(b, &r);
    }
    free(step);
    return rc;
}

static int each_depth(const struct bench *b, int (*run)(const struct bench *b, uint32_t depth, struct err *e), struct err *e) {
    int rc = 0;
    for (size_t i = 0; i < b->n_depths && !rc; i++) rc = run(b, b->depth[i], e);
    return rc;
}

static int run_prefill(const struct bench *b, struct err *e) { return each_depth(b, prefill_at, e); }
static int run_decode(const struct bench *b, struct err *e) { return each_depth(b, decode_at, e); }

/* ---- the cache ----------------------------------------------------------------------------------------------- */

static int run_open(const struct bench *b, struct err *e) {
    struct session_options o = b->options;
    struct bench_row r = row_of(b, "open");
    struct session *s;
    if (!o.bound) o.bound = OPEN_BOUND;
    uint64_t before = process_rss_bytes();
    double start = process_now_us();
    int rc = session_open(&s, b->model, &o, e);
    r.us = process_now_us() - start;
    uint64_t after = process_rss_bytes();
    session_close(s);
    if (rc) return rc;
    r.bound = o.bound;
    r.rss_bytes = after > before ? (double)(after - before) : 0;
    report(b, &r);
    return 0;
}

struct growth {
    uint32_t before, after;           /* cells */
    double step[RUNS], around[RUNS];  /* microseconds of the step that grew, and of its neighbours */
    double ratio[RUNS];
    double cost[RUNS];                /* of the growth alone, as the cache measured it */
    uint64_t copied;                  /* bytes, in all runs */
};

static double last_growth_us(const struct kv *kv) {
    double us = NAN;
    uint64_t n = 0;
    for (struct kv_event ev; kv_events(kv, n, &ev, 1); n = ev.n)
        if (ev.kind == KV_EVENT_GROW) us = ev.us;
    return us;
}

/* Decodes over the end of what is committed, two steps on either side of the one that grows the cache. */
static int step_over(struct session *s, uint32_t cells, struct growth *g, int run, struct err *e) {
    struct session_stats st;
    double us[AROUND + 1];
    int rc = session_bench_fill(s, cells - AROUND / 2, e);
    if (!rc) rc = session_bench_decode(s, AROUND + 1, us, e);
    if (rc) return rc;
    session_get_stats(s, &st);
    g->before = cells;
    g->after = st.kv.committed;
    g->step[run] = us[AROUND / 2];
    g->copied += st.kv.copied_bytes;
    g->cost[run] = last_growth_us(session_kv(s));
    g->around[run] = 0;
    for (int i = 0; i <= AROUND; i++)
        if (i != AROUND / 2) g->around[run] += us[i] / AROUND;
    g->ratio[run] = g->step[run] / g->around[run];
    return 0;
}

/* The growth from `cells` on, in sessions of its own: what one costs depends on what was touched before. *cells: 0 for what is
 * committed at opening; then what it grew to. Nothing where that is `end` or more. */
static int growth_from(const struct bench *b, const struct session_options *o, uint32_t end, uint32_t *cells, struct growth *g, struct err *e) {
    struct session *s;
    struct session_stats st;
    int rc = 0;
    *g = (struct growth){0};
    for (int run = 0; run < RUNS && !rc; run++) {
        rc = session_open(&s, b->model, o, e);
        if (rc) return rc;
        session_get_stats(s, &st);
        if (!*cells) *cells = st.kv.committed;
        if (*cells < end) rc = step_over(s, *cells, g, run, e);
        session_close(s);
        if (*cells >= end) return rc;
    }
    if (rc) return rc;
    if (g->after <= *cells) return err_set(e, ERR_FAILED, "the cache did not grow beyond %u cells", *cells);
    *cells = g->after;
    return 0;
}

static int run_growth(const struct bench *b, struct err *e) {
    struct session_options o = b->options;
    uint32_t end = GROWTH_CELLS;
    for (size_t i = 0; i < b->n_depths; i++)
        if (b->depth[i] > end) end = b->depth[i];
    if (!o.bound) o.bound = OPEN_BOUND;
    if (end > o.bound) end = o.bound;
    if (o.grow == KV_GROW_FIXED) return 0; /* never grows */
    uint32_t cells = 0;
    double ratio[MAX_GROWTHS];
    size_t n = 0;
    for (struct growth g; n < MAX_GROWTHS; n++) {
        int rc = growth_from(b, &o, end, &cells, &g, e);
        if (rc) return rc;
        if (!g.after) break;
        struct bench_row r = row_of(b, "growth");
        r.n = g.after - g.before;
        r.depth = g.before;
        r.bound = o.bound;
        r.us_max = median(g.step, RUNS);
        r.us_median = median(g.around, RUNS);
        r.us = median(g.cost, RUNS);
        r.ratio = ratio[n] = median(g.ratio, RUNS);
        r.bytes = (double)g.copied;
        report(b, &r);
    }
    if (!n) return 0;
    struct bench_row r = row_of(b, "growths");
    r.n = (double)n;
    r.bound = o.bound;
    r.ratio = median(ratio, n);
    report(b, &r);
    return 0;
}

/* How long it takes until an emptied cache has given its memory back, and what the process keeps of it. */
static int clear_at(const struct bench *b, uint32_t depth, struct err *e) {
    struct session *s;
    struct session_options o;
    struct session_stats before, after;
    struct bench_row r = row_of(b, "clear");
    int rc = open_session(b, depth, &s, &o, e);
    if (rc) return rc;
    rc = session_bench_decode(s, 1, NULL, e); /* what is not the cache's is there */
    uint64_t empty = process_rss_bytes();
    if (!rc) rc = session_bench_fill(s, depth, e);
    session_get_stats(s, &before);
    double start = process_now_us();
    if (!rc && session_clear(s)) rc = err_set(e, ERR_FAILED, "the cache cannot be cleared");
    uint64_t left = process_rss_bytes(); /* part of what is timed: it is then that the memory is back */
    r.us = process_now_us() - start;
    session_get_stats(s, &after);
    session_close(s);
    if (rc) return rc;
    r.depth = depth;
    r.bound = o.bound;
    r.bytes = (double)(before.kv.committed_bytes - after.kv.committed_bytes);
    r.rss_bytes = left > empty ? (double)(left - empty) : 0;
    report(b, &r);
    return 0;
}

/* Fills a session whose bound is the depth all but a few cells, decodes over its end, and gives the time of the step that found it
 * full beyond one that came after it and attended to as many cells. */
static int shift_once(const struct bench *b, const struct session_options *o, double *beyond, double *evicted, struct err *e) {
    struct session *s;
    struct session_stats before, after;
    double us[AROUND + 1 + AROUND];
    int rc = session_open(&s, b->model, o, e);
    if (rc) return rc;
    rc = session_bench_fill(s, o->bound - AROUND, e);
    session_get_stats(s, &before);
    if (!rc) rc = session_bench_decode(s, AROUND + 1 + AROUND, us, e);
    session_get_stats(s, &after);
    session_close(s);
    if (rc) return rc;
    *beyond = us[AROUND] - median(us + AROUND + 1, AROUND);
    *evicted = (double)(after.kv.evicted_tokens - before.kv.evicted_tokens);
    return 0;
}

static int shift_at(const struct bench *b, uint32_t depth, struct err *e) {
    if (depth < KV_BLOCK) return 0; /* nothing to halve */
    struct bench_row r = row_of(b, "shift");
    double beyond[RUNS] = {0};
    struct session_options o = b->options;
    o.bound = depth;
    o.evict = KV_EVICT_SHIFT;
    o.evict_free = 0.5;
    int rc = 0;
    for (int run = 0; run < RUNS && !rc; run++) rc = shift_once(b, &o, &beyond[run], &r.n, e);
    if (rc) return rc;
    r.depth = r.bound = depth;
    r.us = fmax(median(beyond, RUNS), 0); /* below what the steps differ by themselves it is nothing */
    report(b, &r);
    return 0;
}

/* Depth 0 says nothing about a cache: where no other is named, it is CACHE_CELLS, or what the bound leaves beside more cells. */
static int each_filled_depth(const struct bench *b, uint32_t more, int (*run)(const struct bench *b, uint32_t depth, struct err *e), struct err *e) {
    uint32_t bound = b->options.bound;
    int rc = 0;
    bool any = false;
    for (size_t i = 0; i < b->n_depths && !rc; i++) {
        any |= b->depth[i] > 0;
        if (b->depth[i]) rc = run(b, b->depth[i], e);
    }
    if (any || rc) return rc;
    return run(b, bound && bound < CACHE_CELLS + more ? bound - more : CACHE_CELLS, e);
}

static int run_clear(const struct bench *b, struct err *e) { return each_filled_depth(b, 0, clear_at, e); }
static int run_shift(const struct bench *b, struct err *e) { return each_filled_depth(b, 0, shift_at, e); }

/* Back to a conversation that is held ready; ratio: how often that goes into reading it. */
static int switch_at(const struct bench *b, uint32_t depth, struct err *e) {
    struct bench own = *b;
    struct session *s;
    struct session_options o;
    struct bench_row r = row_of(b, "switch");
    double back[RUNS] = {0}, read;
    own.options.prompt_bytes = UINT64_MAX / 2;
    own.options.prompt_tokens = depth + 64;
    int rc = open_session(&own, (uint64_t)depth + 1, &s, &o, e);
    if (rc) return rc;
    rc = session_bench_switch(s, depth, &read, back, RUNS, e);
    session_close(s);
    if (rc) return rc;
    r.depth = depth;
    r.bound = o.bound;
    r.us = median(back, RUNS);
    r.ratio = read / r.us;
    report(b, &r);
    return 0;
}

static int run_switch(const struct bench *b, struct err *e) { return each_filled_depth(b, 1, switch_at, e); }

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

static int snapshot_path(const struct bench *b, struct buf *path, struct err *e) {
    int rc = paths_make_folder(b->folder, e);
    if (!rc && paths_join(b->folder, "bench.kv", path)) rc = err_set(e, ERR_MEMORY, "no memory for a path");
    return rc;
}

/* Writes the bytes to a new file that is on the disk afterwards. */
static int write_plain(const char *path, const struct buf *data, double *us, struct err *e) {
    unlink(path);
    double start = process_now_us();
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), rc = fd < 0 ? -1 : 0;
    for (size_t at = 0; at < data->len && !rc;) {
        ssize_t n = write(fd, data->data + at, data->len - at);
        if (n <= 0) rc = -1;
        else at += (size_t)n;
    }
    if (!rc) rc = fsync(fd);
    *us = process_now_us() - start;
    if (fd >= 0) close(fd);
    return rc ? err_set(e, ERR_FAILED, "%s: %s", path, strerror(errno)) : 0;
}

/* Reads the file's bytes into memory that has been used before. */
static int read_plain(const char *path, struct buf *data, double *us, struct err *e) {
    double start = process_now_us();
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = fd < 0 ? -1 : 0;
    for (size_t at = 0; at < data->len && !rc;) {
        ssize_t n = read(fd, data->data + at, data->len - at);
        if (n <= 0) rc = -1;
        else at += (size_t)n;
    }
    *us = process_now_us() - start;
    if (fd >= 0) close(fd);
    return rc ? err_set(e, ERR_FAILED, "%s: %s", path, strerror(errno)) : 0;
}

/* One save to a new file, one load, and beside each the same bytes written and read plainly, in turns. */
static int time_disk(struct session *s, const char *path, const char *plain, double us[4], uint64_t *bytes, struct err *e) {
    struct buf data = {0};
    unlink(path);
    double start = process_now_us();
    int rc = session_save(s, path, bytes, e);
    us[0] = process_now_us() - start;
    if (!rc) rc = paths_read(path, *bytes, &data, e);
    if (!rc) rc = write_plain(plain, &data, &us[1], e);
    if (!rc) rc = read_plain(path, &data, &us[3], e);
    if (!rc && session_clear(s)) rc = err_set(e, ERR_FAILED, "the cache cannot be cleared");
    start = process_now_us();
    if (!rc) rc = session_load(s, path, NULL, e);
    us[2] = process_now_us() - start;
    buf_free(&data);
    return rc;
}

/* The ratios of pairs are what counts: a disk has moods. */
static int time_disk_often(const struct bench *b, struct session *s, const char *path, struct bench_row *save, struct bench_row *load, struct err *e) {
    double save_us[RUNS], load_us[RUNS], save_ratio[RUNS], load_ratio[RUNS], us[4] = {0};
    struct buf plain = {0};
    uint64_t bytes = 0;
    int rc = paths_join(b->folder, "bench.raw", &plain) ? err_set(e, ERR_MEMORY, "no memory for a path") : 0;
    for (int i = 0; i < RUNS && !rc; i++) {
        rc = time_disk(s, path, buf_text(&plain), us, &bytes, e);
        save_us[i] = us[0];
        save_ratio[i] = us[0] / us[1];
        load_us[i] = us[2];
        load_ratio[i] = us[2] / us[3];
    }
    unlink(buf_text(&plain));
    buf_free(&plain);
    if (rc) return rc;
    save->us = median(save_us, RUNS);
    save->ratio = median(save_ratio, RUNS);
    load->us = median(load_us, RUNS);
    load->ratio = median(load_ratio, RUNS);
    save->bytes = load->bytes = (double)bytes;
    return 0;
}

static int save_at(const struct bench *b, uint32_t depth, struct err *e) {
    struct session *s;
    struct session_options o;
    struct buf path = {0};
    struct bench_row save = row_of(b, "save"), load = row_of(b, "load");
    int rc = snapshot_path(b, &path, e);
    if (!rc) rc = open_session(b, depth, &s, &o, e);
    if (!rc) {
        rc = session_bench_fill(s, depth, e);
        if (!rc) rc = time_disk_often(b, s, buf_text(&path), &save, &load, e);
        session_close(s);
        unlink(buf_text(&path));
    }
    buf_free(&path);
    if (rc) return rc;
    save.depth = load.depth = depth;
    save.bound = load.bound = o.bound;
    report(b, &save);
    report(b, &load);
    return 0;
}

static int run_save(const struct bench *b, struct err *e) { return each_filled_depth(b, 0, save_at, e); }

/* From nothing but the model to the point where the next token can be computed; ratio: how often it would go into reading the
 * tokens again. What is resumed was computed, not filled. */
static int resume_from(const struct bench *b, const char *path, uint32_t n, struct bench_row *r, struct err *e) {
    struct session *s;
    struct session_options o;
    double read_us = NAN;
    int rc = open_session(b, (uint64_t)n + 1, &s, &o, e);
    if (rc) return rc;
    rc = session_bench_prefill(s, n, &read_us, e);
    if (!rc) rc = session_save(s, path, NULL, e);
    session_close(s);
    if (rc) return rc;
    double start = process_now_us();
    rc = session_open(&s, b->model, &o, e);
    if (rc) return rc;
    rc = session_load(s, path, NULL, e);
    r->us = process_now_us() - start;
    r->ratio = read_us / r->us;
    r->bound = o.bound;
    r->n = n;
    if (!rc) rc = session_bench_decode(s, 1, NULL, e); /* that it can */
    session_close(s);
    return rc;
}

static int resume_at(const struct bench *b, uint32_t depth, struct err *e) {
    struct buf path = {0};
    struct bench_row r = row_of(b, "resume");
    int rc = snapshot_path(b, &path, e);
    if (!rc) {
        rc = resume_from(b, buf_text(&path), depth ? depth : b->n_prompt, &r, e);
        unlink(buf_text(&path));
    }
    buf_free(&path);
    if (!rc) report(b, &r);
    return rc;
}

static int run_resume(const struct bench *b, struct err *e) { return each_depth(b, resume_at, e); }

/* ---- a text -------------------------------------------------------------------------------------------------- */

static int run_perplexity(const struct bench *b, struct err *e) {
    struct buf text = {0};
    struct tokens t = {0};
    struct session *s = NULL;
    struct bench_row r = row_of(b, "perplexity");
    size_t n;
    if (!b->text) return 0;
    int rc = paths_read(b->text, MAX_TEXT_BYTES, &text, e);
    if (!rc) rc = model_tokenize(b->model, text.data, text.len, false, true, &t, e);
    if (!rc) rc = session_open(&s, b->model, &b->options, e);
    if (!rc) rc = session_bench_perplexity(s, &(struct rendered){.id = t.id, .n = t.n}, NULL, &r.perplexity, &n, e);
    session_close(s);
    tokens_free(&t);
    buf_free(&text);
    if (rc) return rc;
    r.n = (double)n;
    r.bound = b->options.bound ? b->options.bound : b->info.n_ctx_train;
    report(b, &r);
    return 0;
}

const struct bench_test bench_tests[] = {
    {"bandwidth", run_bandwidth}, {"peak", run_peak}, {"prefill", run_prefill}, {"decode", run_decode}, {"open", run_open},
    {"growth", run_growth}, {"clear", run_clear}, {"shift", run_shift}, {"switch", run_switch}, {"save", run_save}, {"resume", run_resume},
    {"perplexity", run_perplexity},
    {NULL, NULL},
};
