/* cmd_bench: the subcommand that measures: its options, and the table or the JSON of what bench.c finds. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/bench.h"
#include "app/command.h"
#include "config/cpu.h"

#define MAX_DEPTHS 16
#define N_PROMPT 512
#define N_DECODE 64

enum { FLAG_DEPTH, FLAG_TEST }; /* in the order of the command's row */

struct printer {
    struct bench *bench;
    struct json *list; /* NULL: a table */
    struct err err;    /* of the first row that could not be printed */
};

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* Digits beyond what a clock and a noisy machine can tell are dropped. */
static void add_figure(struct json *j, const char *key, double x) {
    if (!isnan(x)) json_add_number(j, key, fabs(x) < 1e3 ? round(x * 1e3) / 1e3 : round(x));
}

static struct json *row_json(const struct printer *p, const struct bench_row *r) {
    struct json *j = json_object();
    json_add_string(j, "test", r->test);
    json_add_string(j, "model", p->bench->info.name);
    json_add_string(j, "type", r->type);
    json_add_number(j, "threads", p->bench->options.n_threads);
    add_figure(j, "n", r->n);
    add_figure(j, "depth", r->depth);
    add_figure(j, "bound", r->bound);
    add_figure(j, "tokens_per_s", r->tokens_per_s);
    add_figure(j, "us", r->us);
    add_figure(j, "us_max", r->us_max);
    add_figure(j, "us_median", r->us_median);
    add_figure(j, "bytes", r->bytes);
    add_figure(j, "rss_bytes", r->rss_bytes);
    add_figure(j, "per_s", r->per_s);
    add_figure(j, "ratio", r->ratio);
    if (!isnan(r->perplexity)) json_add_number(j, "perplexity", r->perplexity);
    return j;
}

/* A cell of the table, empty where the figure does not apply. */
static void add_cell(struct buf *b, int width, int digits, double x) {
    if (isnan(x)) buf_printf(b, " %*s", width, "");
    else buf_printf(b, " %*.*f", width, digits, x);
}

static void add_heading(struct buf *b) {
    buf_printf(b, "%-10s %-6s %7s %7s %7s %9s %11s %11s %11s %11s %11s %10s %8s %10s\n", "test", "type", "n", "depth", "bound", "t/s", "us", "us max", "us median",
               "bytes", "rss bytes", "G/s", "ratio", "perplexity");
}

static void report_row(void *ctx, const struct bench_row *r) {
    struct printer *p = ctx;
    if (p->list) {
        json_add(p->list, NULL, row_json(p, r));
        return;
    }
    struct buf b = {0};
    buf_printf(&b, "%-10s %-6s", r->test, r->type);
    add_cell(&b, 7, 0, r->n);
    add_cell(&b, 7, 0, r->depth);
    add_cell(&b, 7, 0, r->bound);
    add_cell(&b, 9, 1, r->tokens_per_s);
    add_cell(&b, 11, 1, r->us);
    add_cell(&b, 11, 1, r->us_max);
    add_cell(&b, 11, 1, r->us_median);
    add_cell(&b, 11, 0, r->bytes);
    add_cell(&b, 11, 0, r->rss_bytes);
    add_cell(&b, 10, 1, r->per_s / 1e9);
    add_cell(&b, 8, 2, r->ratio);
    add_cell(&b, 10, 4, r->perplexity);
    while (b.len && b.data[b.len - 1] == ' ') b.data[--b.len] = 0;
    buf_add_char(&b, '\n');
    struct err e;
    if (command_print(&b, &e) && !p->err.code) p->err = e;
    buf_free(&b);
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static int read_number(const char *text, size_t n, const char *flag, uint32_t least, uint32_t *out, struct err *e) {
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (!n || *text < '0' || *text > '9' || end != text + n || errno || x < least || x > 1u << 30)
        return err_set(e, ERR_USAGE, "%s %s: expected whole numbers from %u to %u", flag, text, least, 1u << 30);
    *out = (uint32_t)x;
    return 0;
}

static int read_depths(const char *text, uint32_t *depth, size_t *n, struct err *e) {
    *n = 1;
    depth[0] = 0;
    if (!text) return 0;
    *n = 0;
    for (const char *at = text;;) {
        size_t len = strcspn(at, ",");
        if (*n == MAX_DEPTHS) return err_set(e, ERR_USAGE, "-d %s: more than %d depths", text, MAX_DEPTHS);
        int rc = read_number(at, len, "-d", 0, &depth[*n], e);
        if (rc) return rc;
        ++*n;
        if (!at[len]) return 0;
        at += len + 1;
    }
}

/* Is name among the comma-separated ones? "load" belongs to the test that saves. */
static bool is_wanted(const char *names, const char *name) {
    if (!names) return true;
    for (const char *at = names;;) {
        size_t len = strcspn(at, ",");
        if (len == strlen(name) && !strncmp(at, name, len)) return true;
        if (len == 4 && !strncmp(at, "load", 4) && !strcmp(name, "save")) return true;
        if (!at[len]) return false;
        at += len + 1;
    }
}

static int fail_unknown(const char *name, struct err *e) {
    struct buf names = {0};
    for (const struct bench_test *t = bench_tests; t->name; t++) buf_printf(&names, " %s", t->name);
    int rc = err_set(e, ERR_USAGE, "--test: there is no test \"%s\"; allowed:%s load", name, buf_text(&names));
    buf_free(&names);
    return rc;
}

static int check_names(const char *names, struct err *e) {
    for (const char *at = names; at;) {
        char name[32];
        size_t len = strcspn(at, ",");
        bool known = len == 4 && !strncmp(at, "load", 4);
        for (const struct bench_test *t = bench_tests; t->name; t++) known |= strlen(t->name) == len && !strncmp(at, t->name, len);
        snprintf(name, sizeof name, "%.*s", (int)len, at);
        if (!known) return fail_unknown(name, e);
        at = at[len] ? at + len + 1 : NULL;
    }
    return 0;
}

static int read_options(struct app *a, const struct command_args *args, struct bench *b, uint32_t *depth, struct err *e) {
    const char *prompt = settings_text(a->settings, SET_PROMPT);
    int64_t decode = settings_int(a->settings, SET_PREDICT);
    if (args->n_words) return err_set(e, ERR_USAGE, "bench takes no words, found \"%s\"", args->word[0]);
    b->n_prompt = N_PROMPT;
    b->n_decode = decode > 0 ? (uint32_t)decode : N_DECODE;
    b->folder = a->cache_dir;
    b->text = settings_text(a->settings, SET_PROMPT_FILE);
    b->depth = depth;
    int rc = check_names(args->flag[FLAG_TEST], e);
    if (!rc && !b->text && args->flag[FLAG_TEST] && is_wanted(args->flag[FLAG_TEST], "perplexity"))
        rc = err_set(e, ERR_USAGE, "the perplexity is that of a text: name its file with -f FILE");
    if (!rc && prompt) rc = read_number(prompt, strlen(prompt), "-p", 1, &b->n_prompt, e);
    if (!rc) rc = read_depths(args->flag[FLAG_DEPTH], depth, &b->n_depths, e);
    if (!rc) rc = options_session(a->settings, &b->options, e);
    b->options.prompt_bytes = 0; /* what is measured is the open conversation; `switch` asks for more */
    if (!b->options.n_threads) b->options.n_threads = cpu_count();
    return rc;
}

int cmd_bench(struct app *a, const struct command_args *args, struct err *e) {
    uint32_t depth[MAX_DEPTHS];
    struct bench b = {0};
    struct printer p = {.bench = &b};
    int rc = read_options(a, args, &b, depth, e);
    if (!rc) rc = command_open_model(a, NULL, &b.model, e);
    if (rc) return rc;
    model_get_info(b.model, &b.info);
    b.ctx = &p;
    b.report = report_row;
    if (settings_bool(a->settings, SET_JSON)) {
        p.list = json_array();
    } else {
        struct buf heading = {0};
        add_heading(&heading);
        rc = command_print(&heading, e);
        buf_free(&heading);
    }
    for (const struct bench_test *t = bench_tests; t->name && !rc && !p.err.code; t++)
        if (is_wanted(args->flag[FLAG_TEST], t->name)) rc = t->run(&b, e);
    if (!rc && p.err.code) *e = p.err, rc = p.err.code;
    if (!rc && p.list) rc = command_print_json(p.list, e);
    else json_free(p.list);
    model_close(b.model);
    return rc;
}
