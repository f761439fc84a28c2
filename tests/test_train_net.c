/* Tests of the trainer's network: its loss against a plain computation in double, its gradient against that loss's slope, its
 * logits against the engine's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/engine.h"
#include "model/train/net.h"
#include "model/train/net_math.h"
#include "model/train/net_noise.h"
#include "model/vocab.h"
#include "tests/support_gguf.h"

/* Queries are wider than the stream, two heads share each key, one segment has a single token, one more than a block of attention, two
 * branch off an earlier one, and the guesses are more than a chunk of logits. */
static const struct net_shape tiny = {.n_vocab = 37, .n_layers = 2, .n_embd = 24, .n_heads = 4, .n_kv_heads = 2, .head_dim = 10,
                                      .n_ff = 20, .n_ctx = 96, .rope_base = 10000, .norm_eps = 1e-5f};
static const struct net_segment segments[] = {{5, 0}, {1, 0}, {70, 0}, {3, 0}, {45, 0}, {68, 17}, {8, 45}};
enum { N_SEGMENTS = sizeof segments / sizeof *segments, N = 200 };

static int32_t tokens[N];
static float token_weights[N];
static const struct net_row row = {tokens, token_weights, N, segments, N_SEGMENTS};

/* -1 to 1 */
static double noise(uint64_t key, uint64_t i) {
    return (double)net_noise_mix(net_noise_mix(key) + i) * 0x1p-63 - 1;
}

/* A net far from its start, so that no part of the gradient is small. */
static struct net *new_net(void) {
    struct err e = {0};
    struct net *n;
    if (net_new(&n, &tiny, 1, &e)) fail_msg("%s", e.text);
    for (size_t it = 0; it < n->n_tensors; it++)
        for (size_t i = 0; i < (size_t)n->tensor[it].rows * n->tensor[it].cols; i++)
            n->param[n->tensor[it].offset + i] = (float)((n->tensor[it].decay ? 0 : 1) + 0.4 * noise(it, i));
    return n;
}

static struct net_work *new_work(const struct net *n, size_t n_max) {
    struct err e = {0};
    struct net_work *w;
    if (net_work_open(&w, n, n_max, &e)) fail_msg("%s", e.text);
    return w;
}

static int fill_row(void **state) {
    (void)state;
    static const float weights[] = {1, 0, 0.1f, 1, 1, 1, 0.5f, 1, 1, 1};
    for (size_t i = 0; i < N; i++) {
        tokens[i] = (int32_t)(net_noise_mix(i) % tiny.n_vocab);
        token_weights[i] = weights[i % 10];
    }
    return 0;
}

/* ---- the same network, one token after the other, in double --------------------------------------------------- */

struct plain {
    const struct net *n;
    const double *param;
    size_t before[N]; /* the tokens of the running text: its trunk's and its own */
    double x[N][24], k[2][N][2][10], v[2][N][2][10], logit[37];
};

static const double *plain_tensor(const struct plain *p, int layer, const char *name) {
    char full[64];
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    for (size_t i = 0; i < p->n->n_tensors; i++)
        if (!strcmp(p->n->tensor[i].name, full)) return p->param + p->n->tensor[i].offset;
    fail_msg("no tensor %s", full);
    return NULL;
}

static void plain_mul(const double *w, const double *in, size_t cols, size_t rows, double *out) {
    for (size_t i = 0; i < rows; i++) {
        out[i] = 0;
        for (size_t j = 0; j < cols; j++) out[i] += w[i * cols + j] * in[j];
    }
}

static void plain_norm(const double *gain, const double *x, double *h) {
    double sum = 0;
    for (size_t j = 0; j < 24; j++) sum += x[j] * x[j];
    for (size_t j = 0; j < 24; j++) h[j] = gain[j] * x[j] / sqrt(sum / 24 + (double)tiny.norm_eps);
}

/* Adds a branch to token i's stream. */
static void plain_join(struct plain *p, size_t i, const double *branch) {
    for (size_t j = 0; j < 24; j++) p->x[i][j] += branch[j];
}

static void plain_turn(double *head, size_t pos) {
    for (size_t j = 0; j < 10; j += 2) {
        double angle = (double)pos * pow((double)tiny.rope_base, -(double)j / 10), a = head[j], b = head[j + 1];
        head[j] = a * cos(angle) - b * sin(angle);
        head[j + 1] = a * sin(angle) + b * cos(angle);
    }
}

static void plain_attention(struct plain *p, size_t i, size_t pos, int il, const double *h, double out[40]) {
    double q[4][10];
    plain_mul(plain_tensor(p, il, "attn_q.weight"), h, 24, 40, q[0]);
    plain_mul(plain_tensor(p, il, "attn_k.weight"), h, 24, 20, p->k[il][i][0]);
    plain_mul(plain_tensor(p, il, "attn_v.weight"), h, 24, 20, p->v[il][i][0]);
    for (size_t a = 0; a < 4; a++) plain_turn(q[a], pos);
    for (size_t a = 0; a < 2; a++) plain_turn(p->k[il][i][a], pos);
    memset(out, 0, 40 * sizeof *out);
    for (size_t a = 0; a < 4; a++) {
        double e[N], sum = 0;
        for (size_t t = 0; t <= pos; t++) {
            double score = 0;
            for (size_t j = 0; j < 10; j++) score += q[a][j] * p->k[il][p->before[t]][a / 2][j];
            sum += e[t] = exp(score / sqrt(10));
        }
        for (size_t t = 0; t <= pos; t++)
            for (size_t j = 0; j < 10; j++) out[a * 10 + j] += e[t] / sum * p->v[il][p->before[t]][a / 2][j];
    }
}

/* p->logit becomes what is guessed after token i, at pos of its segment. */
static void plain_token(struct plain *p, size_t i, size_t pos) {
    double h[24], att[40], branch[24], gate[20], up[20];
    const double *embd = plain_tensor(p, -1, "token_embd.weight");
    memset(p->x[i], 0, sizeof p->x[i]);
    plain_join(p, i, embd + tokens[i] * 24);
    for (int il = 0; il < 2; il++) {
        plain_norm(plain_tensor(p, il, "attn_norm.weight"), p->x[i], h);
        plain_attention(p, i, pos, il, h, att);
        plain_mul(plain_tensor(p, il, "attn_output.weight"), att, 40, 24, branch);
        plain_join(p, i, branch);
        plain_norm(plain_tensor(p, il, "ffn_norm.weight"), p->x[i], h);
        plain_mul(plain_tensor(p, il, "ffn_gate.weight"), h, 24, 20, gate);
        plain_mul(plain_tensor(p, il, "ffn_up.weight"), h, 24, 20, up);
        for (size_t j = 0; j < 20; j++) gate[j] *= up[j] / (1 + exp(-gate[j]));
        plain_mul(plain_tensor(p, il, "ffn_down.weight"), gate, 20, 24, branch);
        plain_join(p, i, branch);
    }
    plain_norm(plain_tensor(p, -1, "output_norm.weight"), p->x[i], h);
    plain_mul(embd, h, 24, 37, p->logit);
}

/* The row's loss; logits: [N][37], or NULL. */
static double plain_loss(struct plain *p, double *logits) {
    double loss = 0;
    for (size_t s = 0, i = 0, trunk = 0; s < N_SEGMENTS; s++) {
        if (!segments[s].trunk) trunk = i;
        for (size_t t = 0; t < segments[s].trunk; t++) p->before[t] = trunk + t;
        for (size_t left = segments[s].n, pos = segments[s].trunk; left--; pos++, i++) {
            p->before[pos] = i;
            plain_token(p, i, pos);
            if (logits) memcpy(logits + i * 37, p->logit, sizeof p->logit);
            if (!left) continue;
            double sum = 0;
            for (size_t j = 0; j < 37; j++) sum += exp(p->logit[j]);
            loss += (double)token_weights[i + 1] * (log(sum) - p->logit[tokens[i + 1]]);
        }
    }
    return loss;
}

static double *as_double(const struct net *n) {
    double *d = malloc(n->n_params * sizeof *d);
    for (size_t i = 0; i < n->n_params; i++) d[i] = (double)n->param[i];
    return d;
}

static void check_near(double found, double expected, double off) {
    if (!(fabs(found - expected) <= off)) fail_msg("found %.9g, expected %.9g", found, expected);
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void loss_and_logits_are_those_of_the_network_computed_plainly(void **state) {
    (void)state;
    struct net *n = new_net();
    struct net_work *w = new_work(n, N + 7);
    static struct plain p;
    static double expected[N * 37];
    static float found[N * 37];
    double *param = as_double(n), sum = 0, weights;
    p = (struct plain){.n = n, .param = param};
    double loss = plain_loss(&p, expected);
    check_near(net_row_loss(n, w, &row, NULL, &weights), loss, 1e-5 * loss);
    for (size_t s = 0, i = 0; s < N_SEGMENTS; i += segments[s++].n)
        for (size_t j = 1; j < segments[s].n; j++) sum += (double)token_weights[i + j];
    check_near(weights, sum, 1e-9);
    net_row_logits(n, w, &row, found);
    for (size_t i = 0; i < N * 37; i++) check_near((double)found[i], expected[i], 2e-5);
    free(param);
    net_work_close(w);
    net_free(n);
}

/* The slope of the loss in a direction within one tensor, all of it or a single number, by central differences. */
static void check_tensor(struct plain *p, double *param, const struct net_tensor *t, const float *grad, size_t one) {
    const double step = 1e-5;
    size_t n = (size_t)t->rows * t->cols;
    double expected = 0, norm = 0, loss[2];
    for (int side = 0; side < 2; side++) {
        double move = side ? step : -step;
        for (size_t i = 0; i < n; i++)
            if (one == n || i == one) param[t->offset + i] += (i * 7 % 3 ? move : -move);
        loss[side] = plain_loss(p, NULL);
        for (size_t i = 0; i < n; i++) param[t->offset + i] = (double)p->n->param[t->offset + i];
    }
    for (size_t i = 0; i < n; i++) {
        double g = (double)grad[t->offset + i];
        norm += g * g;
        if (one == n || i == one) expected += i * 7 % 3 ? g : -g;
    }
    double slope = (loss[1] - loss[0]) / (2 * step);
    if (!(norm > 1e-4)) fail_msg("%s: a gradient of length %g tests nothing", t->name, sqrt(norm));
    if (!(fabs(slope - expected) < 1e-4 * sqrt(norm)))
        fail_msg("%s, %zu of %zu: found %.8g, expected %.8g", t->name, one, n, expected, slope);
}

static void gradient_of_every_tensor_is_the_slope_of_the_loss(void **state) {
    (void)state;
    struct net *n = new_net();
    struct net_work *w = new_work(n, N);
    static struct plain p;
    double *param = as_double(n);
    float *grad = calloc(n->n_params, sizeof *grad);
    p = (struct plain){.n = n, .param = param};
    double loss = net_row_loss(n, w, &row, grad, NULL), expected = plain_loss(&p, NULL);
    check_near(loss, expected, 1e-5 * expected);
    for (size_t it = 0; it < n->n_tensors; it++) {
        size_t len = (size_t)n->tensor[it].rows * n->tensor[it].cols;
        check_tensor(&p, param, &n->tensor[it], grad, len);
        for (size_t i = 0; i < 4; i++) check_tensor(&p, param, &n->tensor[it], grad, (size_t)net_noise_mix(it * 4 + i) % len);
    }
    free(grad);
    free(param);
    net_work_close(w);
    net_free(n);
}

static void gradient_is_added_to_what_is_there_and_comes_again_bit_by_bit(void **state) {
    (void)state;
    struct net *n = new_net();
    struct net_work *w = new_work(n, N), *other = new_work(n, 2 * N);
    float *a = calloc(n->n_params, sizeof *a), *b = calloc(n->n_params, sizeof *b);
    double loss = net_row_loss(n, w, &row, a, NULL);
    net_row_loss(n, other, &row, NULL, NULL);
    assert_true(loss == net_row_loss(n, other, &row, b, NULL));
    assert_memory_equal(a, b, n->n_params * sizeof *a);
    net_row_loss(n, w, &row, b, NULL);
    for (size_t i = 0; i < n->n_params; i++) check_near((double)b[i], 2 * (double)a[i], 1e-3 + 1e-4 * fabs((double)a[i]));
    free(a);
    free(b);
    net_work_close(w);
    net_work_close(other);
    net_free(n);
}

/* A branch with its trunk written out before it is a text like any other. */
static void a_segment_knows_nothing_of_its_neighbours_but_its_trunk(void **state) {
    (void)state;
    struct net *n = new_net();
    struct net_work *w = new_work(n, N);
    double sum = 0, all = net_row_loss(n, w, &row, NULL, NULL);
    for (size_t s = 0, at = 0, trunk = 0; s < N_SEGMENTS; at += segments[s++].n) {
        int32_t token[N];
        float weight[N] = {0};
        struct net_segment whole = {segments[s].trunk + segments[s].n, 0};
        if (!segments[s].trunk) trunk = at;
        memcpy(token, tokens + trunk, segments[s].trunk * sizeof *token);
        memcpy(token + segments[s].trunk, tokens + at, segments[s].n * sizeof *token);
        memcpy(weight + segments[s].trunk + 1, token_weights + at + 1, (segments[s].n - 1) * sizeof *weight);
        struct net_row one = {token, weight, whole.n, &whole, 1};
        sum += net_row_loss(n, w, &one, NULL, NULL);
    }
    check_near(sum, all, 1e-6 * all);
    net_work_close(w);
    net_free(n);
}

static void a_new_net_depends_on_its_seed_alone_and_has_the_deviations_it_should(void **state) {
    (void)state;
    struct net *n[3];
    for (uint64_t i = 0; i < 3; i++) assert_int_equal(net_new(&n[i], &tiny, i / 2, NULL), 0);
    assert_memory_equal(n[0]->param, n[1]->param, n[0]->n_params * sizeof(float));
    assert_memory_not_equal(n[0]->param, n[2]->param, n[0]->n_params * sizeof(float));
    for (size_t it = 0; it < n[0]->n_tensors; it++) {
        const struct net_tensor *t = &n[0]->tensor[it];
        size_t len = (size_t)t->rows * t->cols;
        double squares = 0;
        for (size_t i = 0; i < len; i++) squares += pow((double)n[0]->param[t->offset + i] - !t->decay, 2);
        bool to_stream = strstr(t->name, "attn_output") || strstr(t->name, "ffn_down");
        double expected = !t->decay ? 0 : to_stream ? 0.01 : 0.02;
        check_near(sqrt(squares / (double)len), expected, 0.15 * expected);
    }
    for (size_t i = 0; i < 3; i++) net_free(n[i]);
}

static void sizes_that_do_not_fit_are_refused(void **state) {
    (void)state;
    struct net_shape s[4] = {tiny, tiny, tiny, tiny};
    s[0].n_kv_heads = 3;
    s[1].head_dim = 7;
    s[2].n_vocab = 0;
    s[3].n_ff = 1u << 30;
    for (size_t i = 0; i < 4; i++) {
        struct net *n;
        struct err e = {0};
        assert_int_equal(net_new(&n, &s[i], 1, &e), ERR_USAGE);
        assert_null(n);
        assert_true(*e.text);
    }
}

/* ---- the engine ---------------------------------------------------------------------------------------------- */

static void add_vocabulary(struct support_gguf *b) {
    static char text[37][16];
    const char *token[37] = {"<unk>"};
    int32_t attr[37] = {VOCAB_UNKNOWN};
    float score[37] = {0};
    for (int i = 1; i < 37; i++) {
        snprintf(text[i], sizeof text[i], "w%d", i);
        token[i] = text[i];
        attr[i] = VOCAB_NORMAL;
    }
    support_gguf_text(b, "tokenizer.ggml.model", "llama");
    support_gguf_texts(b, "tokenizer.ggml.tokens", token, 37);
    support_gguf_array(b, "tokenizer.ggml.scores", GGUF_F32, score, 37, 4);
    support_gguf_array(b, "tokenizer.ggml.token_type", GGUF_I32, attr, 37, 4);
}

static char *write_gguf(const struct net *n) {
    struct support_gguf b = {0};
    const struct net_shape *s = &n->shape;
    support_gguf_text(&b, "general.architecture", "llama");
    support_gguf_u32(&b, "llama.block_count", s->n_layers);
    support_gguf_u32(&b, "llama.embedding_length", s->n_embd);
    support_gguf_u32(&b, "llama.feed_forward_length", s->n_ff);
    support_gguf_u32(&b, "llama.context_length", s->n_ctx);
    support_gguf_u32(&b, "llama.attention.head_count", s->n_heads);
    support_gguf_u32(&b, "llama.attention.head_count_kv", s->n_kv_heads);
    support_gguf_u32(&b, "llama.attention.key_length", s->head_dim);
    support_gguf_u32(&b, "llama.attention.value_length", s->head_dim);
    support_gguf_u32(&b, "llama.rope.dimension_count", s->head_dim);
    support_gguf_f32(&b, "llama.rope.freq_base", s->rope_base);
    support_gguf_f32(&b, "llama.attention.layer_norm_rms_epsilon", s->norm_eps);
    add_vocabulary(&b);
    for (size_t i = 0; i < n->n_tensors; i++) {
        const struct net_tensor *t = &n->tensor[i];
        uint64_t dim[2] = {t->cols, t->rows};
        support_gguf_tensor(&b, t->name, NUM_F32, dim, t->rows == 1 ? 1 : 2, n->param + t->offset,
                            (size_t)t->rows * t->cols * sizeof(float));
    }
    char *path = support_gguf_file(&b);
    support_gguf_free(&b);
    return path;
}

static void engine_computes_the_same_logits_from_the_written_file(void **state) {
    (void)state;
    enum { LEN = 70 };
    struct net *n = new_net();
    struct net_work *w = new_work(n, LEN);
    static float expected[LEN * 37], found[LEN * 37];
    const struct net_segment whole = {LEN, 0};
    net_row_logits(n, w, &(struct net_row){tokens, token_weights, LEN, &whole, 1}, expected);
    char *path = write_gguf(n);
    struct model *m = NULL;
    struct session *s = NULL;
    struct err e = {0};
    const struct num_type *f32 = num_find(NUM_F32);
    struct session_options o = {.keep = -1, .n_threads = 1, .type_k = f32, .type_v = f32};
    if (model_open(&m, path, NULL, &e) || session_open(&s, m, &o, &e)) fail_msg("%s", e.text);
    if (session_logits(s, tokens, LEN, 0, found, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < LEN * 37; i++) check_near((double)found[i], (double)expected[i], 5e-5);
    session_close(s);
    model_close(m);
    unlink(path);
    free(path);
    net_work_close(w);
    net_free(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_and_logits_are_those_of_the_network_computed_plainly),
        cmocka_unit_test(gradient_of_every_tensor_is_the_slope_of_the_loss),
        cmocka_unit_test(gradient_is_added_to_what_is_there_and_comes_again_bit_by_bit),
        cmocka_unit_test(a_segment_knows_nothing_of_its_neighbours_but_its_trunk),
        cmocka_unit_test(a_new_net_depends_on_its_seed_alone_and_has_the_deviations_it_should),
        cmocka_unit_test(sizes_that_do_not_fit_are_refused),
        cmocka_unit_test(engine_computes_the_same_logits_from_the_written_file),
    };
    return cmocka_run_group_tests(tests, fill_row, NULL);
}
