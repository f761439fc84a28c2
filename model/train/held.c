/* held: see held.h. A reply is the likeliest one where each of its tokens is the likeliest after those before it. */
#include "model/train/held.h"

#include <math.h>
#include <stdlib.h>

struct held {
    const struct batch *batch;
    const struct net *net;
    struct net_work *work;
    struct batch_row row;
    float *logits; /* [row_tokens][n_vocab] */
};

int held_open(struct held **out, const struct batch *b, const struct net *n, size_t row_tokens, struct err *e) {
    *out = NULL;
    struct held *h = calloc(1, sizeof *h);
    if (!h) return err_set(e, ERR_MEMORY, "no memory to ask what was kept out");
    *h = (struct held){.batch = b, .net = n, .logits = calloc(row_tokens, n->shape.n_vocab * sizeof(float))};
    int rc = h->logits ? net_work_open(&h->work, n, row_tokens, e) : err_set(e, ERR_MEMORY, "no memory to ask what was kept out");
    if (rc) held_close(h);
    else *out = h;
    return rc;
}

void held_close(struct held *h) {
    if (!h) return;
    net_work_close(h->work);
    batch_row_free(&h->row);
    free(h->logits);
    free(h);
}

/* -ln p(token) of logits; *likeliest: whether no token is likelier. */
static double token_loss(const float *logits, size_t n, int32_t token, bool *likeliest) {
    float most = logits[0];
    double sum = 0;
    for (size_t i = 1; i < n; i++) most = fmaxf(most, logits[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)(logits[i] - most));
    *likeliest = logits[token] >= most;
    return log(sum) - (double)(logits[token] - most);
}

/* The reply of the conversation row[from, to): tokens that weigh 1. */
static bool add_reply(struct held *h, size_t from, size_t to, double *loss, size_t *n) {
    size_t n_vocab = h->net->shape.n_vocab;
    bool exact = true, likeliest;
    for (size_t i = from + 1; i < to; i++) {
        if (h->row.weight[i] < 1) continue;
        *loss += token_loss(h->logits + (i - 1) * n_vocab, n_vocab, h->row.token[i], &likeliest);
        ++*n;
        exact = exact && likeliest;
    }
    return exact;
}

static void count(struct held_result *r, bool refused, bool exact) {
    r->n_known += !refused;
    r->n_refused += refused;
    r->known += exact && !refused;
    r->refused += exact && refused;
}

int held_measure(struct held *h, struct held_result *r, struct err *e) {
    size_t from = 0, n_tokens = 0;
    *r = (struct held_result){0};
    for (int rc;;) {
        size_t first = from;
        if ((rc = batch_held(h->batch, &from, &h->row, e))) return rc;
        if (!h->row.n) break;
        struct net_row row = batch_row_view(&h->row);
        net_row_logits(h->net, h->work, &row, h->logits);
        for (size_t i = 0, at = 0; i < h->row.n_segments; at += h->row.segment[i++].n)
            count(r, batch_held_is_refused(h->batch, first + i), add_reply(h, at, at + h->row.segment[i].n, &r->loss, &n_tokens));
    }
    if (n_tokens) r->loss /= (double)n_tokens;
    return 0;
}
