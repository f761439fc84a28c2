/* support_reference: see support_reference.h. */
#include "tests/support_reference.h"

#undef NDEBUG
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"

enum { MAX_LAYERS = 16, MAX_TOKENS = 4096 };

struct weight {
    double *w;
    size_t cols, rows;
}; /* w NULL: the file has none */
struct layer {
    struct weight attn_norm, q, k, v, o, qb, kb, vb, ob, qn, kn, ffn_norm, gate, up, down;
    double *key[MAX_TOKENS], *value[MAX_TOKENS]; /* of each token, keys before their rotation */
};

struct reference {
    struct gguf *g;
    char arch[32];
    size_t n_layers, n_embd, n_ff, n_heads, n_kv, dk, dv, n_rot, n_vocab, n;
    double eps, base, factor, attn_factor, n_ctx_orig;
    int neox, yarn;
    struct weight embd, output, output_norm, factors;
    struct layer *layer;
};

static double number(const struct reference *r, const char *name, double otherwise) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", r->arch, name);
    int rc = gguf_real(r->g, key, &otherwise, NULL);
    assert(!rc);
    return otherwise;
}

static struct weight weight(const struct reference *r, const char *fmt, ...) {
    char name[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const struct gguf_tensor *t = gguf_find_tensor(r->g, name);
    if (!t) return (struct weight){0};
    size_t n = t->dim[0] * t->dim[1];
    float *f = malloc(n * sizeof *f);
    struct weight w = {malloc(n * sizeof(double)), t->dim[0], t->dim[1]};
    assert(f && w.w && t->type);
    t->type->to_f32(t->data, f, n);
    for (size_t i = 0; i < n; i++) w.w[i] = (double)f[i];
    free(f);
    return w;
}

static void read_layer(struct reference *r, size_t il) {
    struct layer *l = &r->layer[il];
    const struct {
        struct weight *at;
        const char *name;
    } rows[] = {
        {&l->attn_norm, "attn_norm.weight"},
        {&l->q, "attn_q.weight"},
        {&l->k, "attn_k.weight"},
        {&l->v, "attn_v.weight"},
        {&l->o, "attn_output.weight"},
        {&l->qb, "attn_q.bias"},
        {&l->kb, "attn_k.bias"},
        {&l->vb, "attn_v.bias"},
        {&l->ob, "attn_output.bias"},
        {&l->qn, "attn_q_norm.weight"},
        {&l->kn, "attn_k_norm.weight"},
        {&l->ffn_norm, "ffn_norm.weight"},
        {&l->gate, "ffn_gate.weight"},
        {&l->up, "ffn_up.weight"},
        {&l->down, "ffn_down.weight"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i].at = weight(r, "blk.%zu.%s", il, rows[i].name);
}

struct reference *reference_open(const char *path) {
    struct reference *r = calloc(1, sizeof *r);
    struct gguf_text arch = {0}, scaling = {"linear", 6};
    int rc = gguf_open(&r->g, path, NULL);
    assert(!rc);
    rc = gguf_string(r->g, "general.architecture", &arch, NULL);
    assert(!rc && arch.n < sizeof r->arch);
    memcpy(r->arch, arch.p, arch.n);
    r->neox = strcmp(r->arch, "llama") != 0;
    r->n_layers = (size_t)number(r, "block_count", 0);
    r->n_embd = (size_t)number(r, "embedding_length", 0);
    r->n_ff = (size_t)number(r, "feed_forward_length", 0);
    r->n_heads = (size_t)number(r, "attention.head_count", 0);
    r->n_kv = (size_t)number(r, "attention.head_count_kv", (double)r->n_heads);
    r->dk = (size_t)number(r, "attention.key_length", (double)(r->n_embd / r->n_heads));
    r->dv = (size_t)number(r, "attention.value_length", (double)(r->n_embd / r->n_heads));
    r->n_rot = (size_t)number(r, "rope.dimension_count", (double)r->dk);
    r->eps = number(r, "attention.layer_norm_rms_epsilon", 0);
    r->base = number(r, "rope.freq_base", 10000);
    r->factor = number(r, "rope.scaling.factor", 1);
    r->attn_factor = number(r, "rope.scaling.attn_factor", 1);
    r->n_ctx_orig = number(r, "rope.scaling.original_context_length", number(r, "context_length", 0));
    char key[96];
    snprintf(key, sizeof key, "%s.rope.scaling.type", r->arch);
    rc = gguf_string(r->g, key, &scaling, NULL);
    assert(!rc);
    r->yarn = scaling.n == 4 && !memcmp(scaling.p, "yarn", 4);
    assert(r->n_layers <= MAX_LAYERS);
    r->embd = weight(r, "token_embd.weight");
    r->output = weight(r, "output.weight");
    r->output_norm = weight(r, "output_norm.weight");
    r->factors = weight(r, "rope_freqs.weight");
    r->n_vocab = r->embd.rows;
    r->layer = calloc(r->n_layers, sizeof *r->layer);
    for (size_t i = 0; i < r->n_layers; i++) read_layer(r, i);
    return r;
}

void reference_close(struct reference *r) {
    reference_clear(r);
    for (size_t i = 0; i < r->n_layers; i++) {
        struct layer *l = &r->layer[i];
        struct weight *all[] = {&l->attn_norm, &l->q,  &l->k,  &l->v,        &l->o,    &l->qb, &l->kb,  &l->vb,
                                &l->ob,        &l->qn, &l->kn, &l->ffn_norm, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) free(all[k]->w);
    }
    free(r->embd.w);
    free(r->output.w);
    free(r->output_norm.w);
    free(r->factors.w);
    free(r->layer);
    gguf_close(r->g);
    free(r);
}

uint32_t reference_n_vocab(const struct reference *r) {
    return (uint32_t)r->n_vocab;
}
size_t reference_length(const struct reference *r) {
    return r->n;
}

static double *times(const struct weight *w, const struct weight *bias, const double *x) {
    double *y = calloc(w->rows, sizeof *y);
    for (size_t i = 0; i < w->rows; i++) {
        for (size_t j = 0; j < w->cols; j++) y[i] += w->w[i * w->cols + j] * x[j];
        if (bias && bias->w) y[i] += bias->w[i];
    }
    return y;
}

static void normalise(const struct reference *r, double *x, size_t n, const struct weight *w) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    double scale = 1 / sqrt(sum / (double)n + r->eps);
    for (size_t i = 0; i < n; i++) x[i] *= scale * w->w[i];
}

/* Radians that pair i turns by at pos, and in *longer what the pair grows by: the YaRN paper's formulas, written per
 * angle. */
static double angle(const struct reference *r, size_t i, double pos, double *longer) {
    double theta = pos * pow(r->base, -2.0 * (double)i / (double)r->n_rot);
    if (r->factors.w) theta /= r->factors.w[i];
    *longer = r->attn_factor;
    if (!r->yarn) return theta / r->factor;
    double dims = (double)r->n_rot, span = 2 * log(r->base);
    double low = fmax(0, floor(dims * log(r->n_ctx_orig / (32 * 2 * M_PI)) / span));
    double high = fmin(dims - 1, ceil(dims * log(r->n_ctx_orig / (2 * M_PI)) / span));
    double ramp = ((double)i - low) / fmax(0.001, high - low), slow = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    *longer *= r->factor > 1 ? 1 + 0.1 * log(r->factor) : 1;
    return theta / r->factor * slow + theta * (1 - slow);
}

static void turn(const struct reference *r, double *head, double pos) {
    for (size_t i = 0; i < r->n_rot / 2; i++) {
        size_t a = r->neox ? i : 2 * i, b = r->neox ? i + r->n_rot / 2 : 2 * i + 1;
        double longer, t = angle(r, i, pos, &longer), x = head[a], y = head[b];
        head[a] = (x * cos(t) - y * sin(t)) * longer;
        head[b] = (x * sin(t) + y * cos(t)) * longer;
    }
}

/* One query head over all tokens, into out[dv]. */
static void attend(const struct reference *r, const struct layer *l, double *query, size_t kv, double *out) {
    double *score = malloc((r->n + 1) * sizeof *score), max = -INFINITY, sum = 0, key[1024];
    assert(r->dk <= 1024);
    turn(r, query, (double)r->n);
    for (size_t t = 0; t <= r->n; t++) {
        memcpy(key, l->key[t] + kv * r->dk, r->dk * sizeof *key);
        turn(r, key, (double)t);
        score[t] = 0;
        for (size_t i = 0; i < r->dk; i++) score[t] += query[i] * key[i];
        score[t] /= sqrt((double)r->dk);
        max = fmax(max, score[t]);
    }
    for (size_t t = 0; t <= r->n; t++) sum += score[t] = exp(score[t] - max);
    for (size_t t = 0; t <= r->n; t++)
        for (size_t i = 0; i < r->dv; i++) out[i] += score[t] / sum * l->value[t][kv * r->dv + i];
    free(score);
}

static void add_to(double *x, double *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
    free(y);
}

static double *copy(const double *x, size_t n) {
    return memcpy(malloc(n * sizeof *x), x, n * sizeof *x);
}

static void run_layer(struct reference *r, struct layer *l, double *x) {
    double *h = copy(x, r->n_embd);
    normalise(r, h, r->n_embd, &l->attn_norm);
    double *q = times(&l->q, &l->qb, h), *k = times(&l->k, &l->kb, h), *v = times(&l->v, &l->vb, h);
    for (size_t i = 0; l->qn.w && i < r->n_heads; i++) normalise(r, q + i * r->dk, r->dk, &l->qn);
    for (size_t i = 0; l->kn.w && i < r->n_kv; i++) normalise(r, k + i * r->dk, r->dk, &l->kn);
    l->key[r->n] = k;
    l->value[r->n] = v;
    double *mix = calloc(r->n_heads * r->dv, sizeof *mix);
    for (size_t i = 0; i < r->n_heads; i++) attend(r, l, q + i * r->dk, i / (r->n_heads / r->n_kv), mix + i * r->dv);
    add_to(x, times(&l->o, &l->ob, mix), r->n_embd);
    free(mix);
    free(q);
    memcpy(h, x, r->n_embd * sizeof *h);
    normalise(r, h, r->n_embd, &l->ffn_norm);
    double *gate = times(&l->gate, NULL, h), *up = times(&l->up, NULL, h);
    for (size_t i = 0; i < r->n_ff; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    add_to(x, times(&l->down, NULL, gate), r->n_embd);
    free(gate);
    free(up);
    free(h);
}

void reference_step(struct reference *r, int32_t token, double *logits) {
    assert(r->n < MAX_TOKENS && token >= 0 && (size_t)token < r->n_vocab);
    double *x = copy(r->embd.w + (size_t)token * r->n_embd, r->n_embd);
    for (size_t i = 0; i < r->n_layers; i++) run_layer(r, &r->layer[i], x);
    if (logits) {
        normalise(r, x, r->n_embd, &r->output_norm);
        double *y = times(r->output.w ? &r->output : &r->embd, NULL, x);
        memcpy(logits, y, r->n_vocab * sizeof *y);
        free(y);
    }
    free(x);
    r->n++;
}

void reference_drop(struct reference *r, size_t first, size_t n) {
    assert(first + n <= r->n);
    for (size_t i = 0; i < r->n_layers; i++) {
        struct layer *l = &r->layer[i];
        for (size_t t = first; t < first + n; t++) free(l->key[t]), free(l->value[t]);
        memmove(l->key + first, l->key + first + n, (r->n - first - n) * sizeof *l->key);
        memmove(l->value + first, l->value + first + n, (r->n - first - n) * sizeof *l->value);
    }
    r->n -= n;
}

void reference_clear(struct reference *r) {
    reference_drop(r, 0, r->n);
}

static double log_sum(const double *x, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, x[i]);
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - max);
    return max + log(sum);
}

double reference_kl(const double *p, const double *q, size_t n) {
    double a = log_sum(p, n), b = log_sum(q, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(p[i] - a) * ((p[i] - a) - (q[i] - b));
    return sum;
}
