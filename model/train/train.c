/* train: see train.h. */
#include "model/train/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/hash.h"
#include "config/paths.h"
#include "model/train/batch.h"
#include "model/train/checkpoint.h"
#include "model/train/guide_file.h"
#include "model/train/held.h"
#include "model/train/plot.h"
#include "model/train/step.h"
#include "model/train/vocabulary.h"

enum { PLOT_COLS = 72, PLOT_ROWS = 12 };

static const float BETA1 = 0.9f, EPS = 1e-8f, ROPE_BASE = 10000, NORM_EPS = 1e-5f;

struct train {
    const struct train_options *o;
    FILE *log;
    struct err *e;
    struct corpus corpus;
    struct bpe *bpe;
    struct model *vocab;
    struct batch *batch;
    struct net *net;
    struct step *step;
    struct held *held;            /* NULL unless wordings are kept out */
    struct batch_row *row;        /* [n_rows] of one step */
    struct net_row *view;         /* [n_rows] */
    size_t n_rows;
    float *loss;                  /* [o->steps] */
    uint64_t done, options;       /* steps; what checkpoint.h calls options */
    double began_us; uint64_t began, tokens; /* of this process: time, first step, tokens since */
};

void train_defaults(struct train_options *o) {
    *o = (struct train_options){
        .corpus = "model/guide", .out = "build/guide.gguf",
        .pre = "gpt-2",
        .vocab = 2048, .layers = 4, .embd = 256, .ff = 704, .heads = 4, .kv_heads = 2, .context = 1024,
        .steps = 10500, .batch_tokens = 4096, .warm_up = 100, .threads = 2, .seed = 1,
        .lr = 3e-3, .lr_end = 0.02, .decay = 0.1, .beta2 = 0.95, .momentum = 0.95, .clip = 1,
        .first_loss = 5, .user_loss = 0, .refusals = 0.15, .no_system = 0.1,
        .augment = {true, true, true, true, true, true, true, true},
        .report_every = 20, .measure_every = 200, .save_every = 100,
    };
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

__attribute__((format(printf, 2, 3))) static void say(const struct train *t, const char *fmt, ...) {
    va_list ap;
    if (!t->log) return;
    va_start(ap, fmt);
    vfprintf(t->log, fmt, ap);
    va_end(ap);
    fflush(t->log);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static int check(const struct train_options *o, struct err *e) {
    const struct { bool bad; const char *says; } rules[] = {
        {o->vocab < BPE_N_BASE || o->vocab > UINT16_MAX, "--vocab must be 259 to 65535"},
        {!o->layers || o->layers > 64, "--layers must be 1 to 64"},
        {!o->heads || o->heads > 64 || !o->embd || o->embd > 4096 || o->embd % o->heads, "--embd must be a multiple of --heads"},
        {!o->kv_heads || o->heads % o->kv_heads, "--heads must be a multiple of --kv-heads"},
        {!o->ff || o->ff > 16384, "--ff must be 1 to 16384"},
        {!o->context || o->context > 8192, "--context must be 1 to 8192"},
        {!o->steps || o->steps > 1000000, "--steps must be 1 to 1000000"},
        {o->batch_tokens < o->context || o->batch_tokens > 1 << 24, "--batch-tokens must be at least --context, and at most 16777216"},
        {!o->threads || o->threads > 64, "--threads must be 1 to 64"},
        {!(o->momentum >= 0 && o->momentum < 1), "--momentum must be from 0 up to 1"},
        {!(o->refusals >= 0 && o->refusals <= 1 && o->no_system >= 0 && o->no_system <= 1), "--refusals and --no-system must be 0 to 1"},
        {!(o->first_loss >= 0 && o->user_loss >= 0 && o->lr > 0 && o->lr_end >= 0 && o->decay >= 0 && o->clip >= 0), "rates and weights must not be negative"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].bad) return err_set(e, ERR_USAGE, "%s", rules[i].says);
    return 0;
}

/* What a checkpoint must agree with. */
static int hash_options(struct train *t) {
    const struct train_options *o = t->o;
    struct buf b = {0};
    buf_printf(&b, "%s|%s|%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, o->system, o->pre, o->vocab, o->layers, o->embd,
               o->ff, o->heads, o->kv_heads, o->context);
    buf_printf(&b, "|%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, o->steps, o->batch_tokens, o->warm_up, o->threads, o->seed);
    buf_printf(&b, "|%a %a %a %a %a %a %a %a %a %a", o->first_loss, o->lr, o->lr_end, o->decay, o->beta2, o->clip, o->user_loss, o->refusals, o->no_system, o->momentum);
    buf_printf(&b, "|%d%d%d%d%d%d%d%d%d", o->validate, o->augment.synonyms, o->augment.typos, o->augment.openers, o->augment.letters, o->augment.drops,
               o->augment.noise, o->augment.twice, o->augment.splits);
    t->options = hash_bytes(buf_text(&b), b.len, t->corpus.hash);
    int rc = b.failed ? err_set(t->e, ERR_MEMORY, "no memory to train in") : 0;
    buf_free(&b);
    return rc;
}

/* Corpus, vocabulary and rows. */
static int open_data(struct train *t) {
    const struct train_options *o = t->o;
    struct buf path = {0};
    int rc = corpus_open(&t->corpus, o->corpus, t->e);
    if (!rc) rc = vocabulary_learn(&t->bpe, &t->corpus, o->system, o->pre, (uint32_t)o->vocab, t->e);
    if (!rc && buf_printf(&path, "%s.vocab", o->out)) rc = err_set(t->e, ERR_MEMORY, "no memory to train in");
    if (!rc) rc = vocabulary_open(&t->vocab, t->bpe, buf_text(&path), t->e);
    buf_free(&path);
    const struct batch_options b = {.system = o->system, .row_tokens = o->context, .seed = o->seed, .refusals = o->refusals, .no_system = o->no_system,
                                    .first_loss = (float)o->first_loss, .user_loss = (float)o->user_loss, .hold = o->validate, .augment = o->augment};
    return rc ? rc : batch_open(&t->batch, &t->corpus, t->vocab, &b, t->e);
}

static int open_net(struct train *t) {
    const struct train_options *o = t->o;
    const struct net_shape shape = {.n_vocab = bpe_n_tokens(t->bpe), .n_layers = (uint32_t)o->layers, .n_embd = (uint32_t)o->embd,
                                    .n_heads = (uint32_t)o->heads, .n_kv_heads = (uint32_t)o->kv_heads, .head_dim = (uint32_t)(o->embd / o->heads),
                                    .n_ff = (uint32_t)o->ff, .n_ctx = (uint32_t)o->context, .rope_base = ROPE_BASE, .norm_eps = NORM_EPS};
    const struct step_options s = {.n_shares = (int)o->threads, .n_row = o->context, .momentum = (float)o->momentum, .clip = (float)o->clip,
                                   .adamw = {.beta1 = BETA1, .beta2 = (float)o->beta2, .eps = EPS, .decay = (float)o->decay}};
    int rc = net_new(&t->net, &shape, o->seed, t->e);
    if (!rc) rc = step_open(&t->step, t->net, &s, t->e);
    if (!rc && o->validate) rc = held_open(&t->held, t->batch, t->net, o->context, t->e);
    t->n_rows = o->batch_tokens / o->context;
    t->row = calloc(t->n_rows, sizeof *t->row);
    t->view = calloc(t->n_rows, sizeof *t->view);
    t->loss = calloc(o->steps, sizeof *t->loss);
    if (!rc && (!t->row || !t->view || !t->loss)) rc = err_set(t->e, ERR_MEMORY, "no memory to train in");
    return rc;
}

static void close_all(struct train *t) {
    for (size_t i = 0; t->row && i < t->n_rows; i++) batch_row_free(&t->row[i]);
    free(t->row);
    free(t->view);
    free(t->loss);
    held_close(t->held);
    step_close(t->step);
    net_free(t->net);
    batch_close(t->batch);
    model_close(t->vocab);
    bpe_close(t->bpe);
    corpus_close(&t->corpus);
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

/* Rises from 0, then falls along half a cosine to lr_end of itself. */
static float rate(const struct train_options *o, uint64_t step) {
    if (step < o->warm_up) return (float)(o->lr * (double)(step + 1) / (double)o->warm_up);
    double x = (double)(step - o->warm_up) / (double)(o->steps > o->warm_up ? o->steps - o->warm_up : 1);
    return (float)(o->lr * (o->lr_end + (1 - o->lr_end) * (1 + cos(x * 3.14159265358979323846)) / 2));
}

/* Fills the rows with numbers [first, first + n_rows) of a kind, and returns how many are not empty. */
static int make_rows(struct train *t, enum batch_kind kind, uint64_t first, size_t *n) {
    int rc = 0;
    *n = 0;
    for (size_t i = 0; i < t->n_rows && !rc; i++) {
        rc = batch_make(t->batch, kind, first + i, &t->row[*n], t->e);
        t->view[*n] = batch_row_view(&t->row[*n]);
        *n += t->row[*n].n > 0;
    }
    return rc;
}

static int run_step(struct train *t) {
    struct step_result r;
    size_t n;
    int rc = make_rows(t, BATCH_MIXED, t->done * t->n_rows, &n);
    if (rc) return rc;
    step_run(t->step, t->view, n, rate(t->o, t->done), &r);
    if (!isfinite(r.loss)) return err_set(t->e, ERR_FAILED, "step %" PRIu64 ": the loss is no number any more: try a lower --lr", t->done + 1);
    for (size_t i = 0; i < n; i++) t->tokens += t->row[i].n;
    t->loss[t->done++] = (float)r.loss;
    return 0;
}

static int save_checkpoint(struct train *t) {
    return checkpoint_save(t->o->checkpoint, t->options, t->net, step_adamw(t->step), t->loss, t->done, t->e);
}

/* ---- what is said meanwhile ---------------------------------------------------------------------------------- */

static void report(struct train *t) {
    const struct train_options *o = t->o;
    double us = now_us() - t->began_us, sum = 0, left_s = us / (double)(t->done - t->began) * (double)(o->steps - t->done) / 1e6;
    uint64_t n = t->done < o->report_every ? t->done : o->report_every;
    for (uint64_t i = t->done - n; i < t->done; i++) sum += (double)t->loss[i];
    say(t, "step %5" PRIu64 "/%" PRIu64 "  loss %.4f  %.0f tokens/s  %d:%02d left\n", t->done, o->steps, sum / (double)n, (double)t->tokens / us * 1e6,
        (int)(left_s / 60), (int)left_s % 60);
}

/* Leaves the replies alone in the loss. */
static void drop_user(struct batch_row *r) {
    for (size_t i = 0; i < r->n; i++)
        if (r->weight[i] < 1) r->weight[i] = 0;
}

/* The loss of replies in each kind of conversation, on rows that are always the same and hardly ever trained on. */
static int measure(struct train *t) {
    int rc = 0;
    say(t, "  replies:");
    for (enum batch_kind k = BATCH_FIRST; k < BATCH_N_KINDS && !rc; k++) {
        struct step_result r;
        size_t n, rows = t->n_rows;
        t->n_rows = rows < 2 ? rows : 2;
        rc = make_rows(t, k, 0, &n);
        t->n_rows = rows;
        if (rc || !n) continue;
        for (size_t i = 0; i < n; i++) drop_user(&t->row[i]);
        step_measure(t->step, t->view, n, &r);
        say(t, "  %s %.4f", batch_kind_name(k), r.loss);
    }
    if (!rc && t->held) {
        struct held_result h;
        rc = held_measure(t->held, &h, t->e);
        if (!rc) say(t, "\n  kept out: %.4f; word for word %zu of %zu, and %zu of %zu refused", h.loss, h.known, h.n_known, h.refused, h.n_refused);
    }
    say(t, "\n");
    return rc;
}

static int plot(struct train *t) {
    struct buf b = {0};
    int rc = plot_curve(t->loss, t->done, PLOT_COLS, PLOT_ROWS, &b);
    if (!rc) say(t, "%s", buf_text(&b));
    buf_free(&b);
    return rc ? err_set(t->e, rc, "no memory for the curve") : 0;
}

/* ---- the run ------------------------------------------------------------------------------------------------- */

static bool is_due(uint64_t step, uint64_t every) { return every && step % every == 0; }

static int run_steps(struct train *t) {
    const struct train_options *o = t->o;
    uint64_t end = o->stop_after && o->stop_after < o->steps ? o->stop_after : o->steps;
    int rc = 0;
    t->began = t->done;
    t->began_us = now_us();
    while (t->done < end && !rc) {
        rc = run_step(t);
        if (!rc && (is_due(t->done, o->report_every) || t->done == end)) report(t);
        if (!rc && o->measure_every && (is_due(t->done, o->measure_every) || t->done == end)) rc = measure(t);
        if (!rc && o->checkpoint && (is_due(t->done, o->save_every) || t->done == end)) rc = save_checkpoint(t);
    }
    return rc;
}

static int save(struct train *t) {
    const struct guide_file_origin origin = {t->corpus.hash, t->o->seed, t->o->steps, t->o->threads};
    uint64_t bytes;
    int rc = guide_file_save(t->o->out, t->net, t->bpe, &origin, &bytes, t->e);
    if (!rc) say(t, "%s: %" PRIu64 " bytes\n", t->o->out, bytes);
    return rc;
}

int train_run(const struct train_options *o, FILE *log, struct err *e) {
    struct train t = {.o = o, .log = log, .e = e};
    int rc = check(o, e);
    if (!rc) rc = open_data(&t);
    if (!rc) rc = open_net(&t);
    if (!rc) rc = hash_options(&t);
    if (!rc && o->resume && o->checkpoint && paths_exists(o->checkpoint))
        rc = checkpoint_load(o->checkpoint, t.options, t.net, step_adamw(t.step), t.loss, o->steps, &t.done, e);
    if (!rc)
        say(&t, "%zu facts, %zu dialogues, %u tokens, %zu weights; %zu rows of %" PRIu64 " a step, from step %" PRIu64 "\n", t.corpus.n_facts,
            t.corpus.n_dialogues, bpe_n_tokens(t.bpe), t.net->n_params, t.n_rows, o->context, t.done);
    if (!rc) rc = run_steps(&t);
    if (!rc) rc = plot(&t);
    if (!rc && t.done == o->steps) rc = save(&t);
    close_all(&t);
    return rc;
}

int train_show(const struct train_options *o, uint64_t n, FILE *out, struct err *e) {
    struct train t = {.o = o, .e = e};
    struct batch_row row = {0};
    struct buf b = {0};
    int rc = check(o, e);
    if (!rc) rc = open_data(&t);
    for (uint64_t i = 0; i < n && !rc; i++) {
        rc = batch_make(t.batch, BATCH_MIXED, i, &row, e);
        buf_clear(&b);
        if (!rc && batch_show(t.batch, &row, &b)) rc = err_set(e, ERR_MEMORY, "no memory to show rows");
        if (!rc) fprintf(out, "==== row %" PRIu64 ": %zu tokens\n%s", i, row.n, buf_text(&b));
    }
    buf_free(&b);
    batch_row_free(&row);
    close_all(&t);
    return rc;
}
