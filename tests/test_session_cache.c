/* Tests of a session and its cache together: long chats past the bound, against the computation in double and against
 * fresh sessions, and the same bits whatever the cells' placement, the threads and the split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kv_cache.h"
#include "model/model.h"
#include "model/session.h"
#include "tests/support_folder.h"
#include "tests/support_reference.h"

#define FLOATS "tests/vectors/llama-f32.gguf"
#define QUANTISED "tests/vectors/qwen3-q4_0.gguf"
#define N_VOCAB 264u
#define MOST 4096u /* tokens and messages of a test */

static struct model *open_model(const char *path) {
    struct err e = {0};
    struct model *m;
    if (model_open(&m, path, NULL, &e)) fail_msg("%s", e.text);
    return m;
}

static struct session *open_session(struct model *m, const struct session_options *o) {
    struct err e = {0};
    struct session *s;
    if (session_open(&s, m, o, &e)) fail_msg("%s", e.text);
    return s;
}

/* Indices of the tokens that are live, in order; checks that their positions have no gap and that the others left. */
static size_t live_tokens(struct session *s, size_t *index) {
    const struct kv_seq *q = &session_kv(s)->seq[s->seq];
    size_t n = 0;
    for (size_t i = 0; i < q->n_runs; i++) {
        const struct kv_run *r = &q->run[i];
        if (i) assert_int_equal(kv_run_first(r), kv_run_end(r - 1));
        for (uint32_t k = 0; k < r->n; k++) index[n++] = r->index + k;
    }
    const struct kv_range *left;
    size_t n_left = 0, ranges = session_left(s, &left);
    for (size_t i = 0; i < ranges; i++) n_left += left[i].n;
    assert_int_equal(n + n_left, q->n_tokens);
    return n;
}

/* ---- against the computation in double ----------------------------------------------------------------------- */

/* A conversation whose every token is computed by a session and, at the same effective position, by the reference. */
struct mirror {
    struct model *m;
    struct session *s;
    struct reference *r;
    size_t index[MOST], n; /* the reference's tokens */
    int32_t token[MOST];
    struct kv_turn turn[64];
    struct kv_prompt p;
    size_t n_computed;
    double worst;
};

static struct mirror *mirror_open(enum kv_evict evict, uint32_t bound) {
    struct mirror *x = calloc(1, sizeof *x);
    const struct num_type *f32 = num_find(NUM_F32);
    x->m = open_model(FLOATS);
    x->s = open_session(x->m,
                        &(struct session_options){
                            .keep = -1, .bound = bound, .n_threads = 2, .evict = evict, .type_k = f32, .type_v = f32});
    x->r = reference_open(FLOATS);
    for (size_t i = 0; i < MOST; i++) x->token[i] = (int32_t)((i * 89 + i / 7) % 256);
    x->p = (struct kv_prompt){.token = x->token, .n_tokens = 10, .n_keep = 10, .turn = x->turn};
    return x;
}

static void mirror_close(struct mirror *x) {
    if (!(x->worst < 1e-4)) fail_msg("off by %g in %zu tokens", x->worst, x->n_computed);
    session_close(x->s);
    model_close(x->m);
    reference_close(x->r);
    free(x);
}

/* The reference loses what the cache has lost. */
static void mirror_drop(struct mirror *x, size_t n_new) {
    static size_t live[MOST];
    size_t n = live_tokens(x->s, live) - n_new, kept = 0;
    for (size_t i = 0; i < x->n;) {
        if (kept < n && live[kept] == x->index[i]) {
            kept++, i++;
            continue;
        }
        reference_drop(x->r, i, 1);
        memmove(x->index + i, x->index + i + 1, (x->n - i - 1) * sizeof *x->index);
        x->n--;
    }
    assert_int_equal(kept, n);
}

static void mirror_compute(struct mirror *x, size_t index) {
    struct err e = {0};
    double want[N_VOCAB];
    struct session_batch b = {.token = &x->token[index], .n = 1, .first = index, .logits = x->s->logits};
    if (session_compute(x->s, &b, &e)) fail_msg("token %zu: %s", index, e.text);
    mirror_drop(x, 1);
    reference_step(x->r, x->token[index], want);
    x->index[x->n++] = index;
    x->n_computed++;
    for (size_t i = 0; i < N_VOCAB; i++) x->worst = fmax(x->worst, fabs(want[i] - (double)x->s->logits[i]));
}

/* Reads the first n_turns turns of the conversation, the last one of n tokens; returns what was computed. */
static size_t mirror_ask(struct mirror *x, size_t n_turns, size_t n) {
    struct err e = {0};
    struct kv_plan plan;
    struct kv_turn *last = &x->turn[n_turns - 1];
    size_t before = x->n_computed;
    last->first = n_turns == 1 ? x->p.n_keep : last[-1].first + last[-1].n;
    last->n = n;
    x->p.n_turns = n_turns;
    x->p.n_tokens = last->first + n;
    if (kv_sync(session_kv(x->s), x->s->seq, &x->p, &plan, &e)) fail_msg("%s", e.text);
    static struct kv_range todo[64];
    memcpy(todo, plan.todo, plan.n_todo * sizeof *todo);
    /* what was live and stays; nothing has been computed yet, and what is still to come may already count as left */
    const struct kv_seq *q = &session_kv(x->s)->seq[x->s->seq];
    size_t stay = 0;
    for (size_t i = 0; i < x->n;) {
        size_t run = kv_seq_find_index(q, x->index[i]);
        if (run < q->n_runs && q->run[run].index <= x->index[i])
            stay++, i++;
        else {
            reference_drop(x->r, i, 1);
            memmove(x->index + i, x->index + i + 1, (x->n - i - 1) * sizeof *x->index);
            x->n--;
        }
    }
    assert_int_equal(stay, q->n_cells);
    for (size_t i = 0; i < plan.n_todo; i++)
        for (size_t k = 0; k < todo[i].n; k++) mirror_compute(x, todo[i].first + k);
    return x->n_computed - before;
}

/* A reply of n tokens, part of the last turn. */
static void mirror_answer(struct mirror *x, size_t n) {
    for (size_t i = 0; i < n; i++) mirror_compute(x, x->p.n_tokens + i);
    x->turn[x->p.n_turns - 1].n += n;
    x->p.n_tokens += n;
}

static void mirror_talk(struct mirror *x, size_t from, size_t to) {
    for (size_t t = from; t <= to; t++) {
        mirror_ask(x, t, 5 + t % 3);
        mirror_answer(x, 9 + t % 4);
    }
}

static void logits_are_those_of_the_effective_positions_through_a_chat_with_every_change(void **state) {
    (void)state;
    struct err e = {0};
    struct mirror *x = mirror_open(KV_EVICT_SHIFT, 64);
    struct kv *c = session_kv(x->s);
    x->turn[2].pinned = true;
    mirror_talk(x, 1, 10); /* several shifts around a pinned turn */
    const struct kv_range *left;
    assert_int_equal(session_left(x->s, &left), 2);
    assert_int_equal(left[0].first, 10);
    assert_int_equal(left[0].first + left[0].n, x->turn[2].first);
    assert_int_equal(left[1].first, x->turn[2].first + x->turn[2].n);
    assert_int_equal(kv_set_evict(c, KV_EVICT_SLIDE, &e), 0); /* slides what was shifted */
    mirror_talk(x, 11, 16);
    assert_int_equal(kv_set_bound(c, 40, &e), 0);
    mirror_talk(x, 17, 19);
    assert_true(c->cells.used <= 40);
    assert_int_equal(kv_set_evict(c, KV_EVICT_SHIFT, &e), 0); /* and shifts what slid */
    mirror_talk(x, 20, 23);
    assert_int_equal(kv_set_bound(c, 300, &e), 0);
    mirror_talk(x, 24, 34);
    assert_true(c->cells.used > 180);
    mirror_ask(x, 32, 4); /* two turns taken back, the third asked anew */
    mirror_answer(x, 12);
    mirror_ask(x, 32, 4); /* answered once more */
    mirror_answer(x, 12);
    mirror_close(x);
}

static void a_chat_resumed_after_shifts_goes_on_exactly(void **state) {
    (void)state;
    struct err e = {0};
    const struct num_type *f32 = num_find(NUM_F32);
    static const struct session_options other[] = {
        {.keep = -1, .bound = 64, .n_threads = 1},
        {.keep = -1, .bound = 600, .start = 600, .n_threads = 1, .evict = KV_EVICT_SLIDE},
        {.keep = -1, .bound = 64, .n_threads = 1, .evict = KV_EVICT_SLIDE},
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        struct mirror *x = mirror_open(KV_EVICT_SHIFT, 64);
        x->turn[1].pinned = true;
        mirror_talk(x, 1, 12);
        struct kv_range before[8];
        const struct kv_range *left;
        size_t n = session_left(x->s, &left);
        memcpy(before, left, n * sizeof *left);
        int64_t last = kv_seq_pos_max(session_kv(x->s), x->s->seq);
        assert_non_null(support_folder_make());
        if (session_save(x->s, support_folder_path("saved"), NULL, &e)) fail_msg("%s", e.text);
        session_close(x->s);
        struct session_options o = other[i];
        o.type_k = o.type_v = f32;
        x->s = open_session(x->m, &o);
        if (session_load(x->s, support_folder_path("saved"), NULL, &e)) fail_msg("%s", e.text);
        support_folder_remove();
        assert_int_equal(session_left(x->s, &left), n);
        assert_memory_equal(left, before, n * sizeof *left);
        assert_int_equal(kv_seq_pos_max(session_kv(x->s), x->s->seq), last);
        assert_int_equal(mirror_ask(x, 13, 7), 7); /* nothing is read again */
        mirror_answer(x, 9);
        mirror_talk(x, 14, 20);
        mirror_close(x);
    }
}

static void a_turn_taken_back_to_before_what_left_is_read_whole(void **state) {
    (void)state;
    for (int pinned = 0; pinned < 2; pinned++) {
        struct mirror *x = mirror_open(KV_EVICT_SHIFT, 64);
        const struct kv_range *left;
        x->turn[0].pinned = pinned;
        mirror_talk(x, 1, 12);
        size_t stayed = 10 + (pinned ? x->turn[0].n : 0);
        assert_int_equal(session_left(x->s, &left), 1);
        assert_true(left[0].first == stayed && left[0].first + left[0].n > x->turn[4].first);
        x->token[x->turn[2].first + 3] = 7; /* the third turn begins as it did and goes on otherwise */
        size_t n = mirror_ask(x, 3, 6);
        assert_int_equal(n + stayed, x->p.n_tokens); /* it and those that left before it: all of them fit */
        assert_int_equal(session_left(x->s, &left), 0);
        mirror_close(x);
    }
}

static void a_reply_that_pushed_out_its_own_question_is_made_again_with_the_question(void **state) {
    (void)state;
    static const enum kv_evict modes[] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE};
    for (size_t i = 0; i < 2; i++)
        for (size_t reply = 52; reply < 200; reply += 60) {
            struct mirror *x = mirror_open(modes[i], 64);
            const struct kv_range *left;
            mirror_ask(x, 1, 20);
            mirror_answer(x, reply);
            assert_int_equal(session_left(x->s, &left), 1);
            assert_int_equal(left[0].first, 10);
            assert_int_equal(mirror_ask(x, 1, 20), 20);
            assert_int_equal(session_left(x->s, &left), 0);
            mirror_close(x);
        }
}

static void a_reply_longer_than_the_bound_is_continued_without_what_left(void **state) {
    (void)state;
    struct mirror *x = mirror_open(KV_EVICT_SHIFT, 64);
    mirror_ask(x, 1, 20);
    mirror_answer(x, 100);
    assert_int_equal(mirror_ask(x, 1, 120), 1);
    mirror_answer(x, 50);
    mirror_close(x);
}

/* ---- whole chats --------------------------------------------------------------------------------------------- */

/* A ChatML chat with replies of a real session. */
struct chat {
    struct model *m;
    struct session *s;
    struct chat_message msg[128];
    size_t n;
    struct reply reply[64];
    size_t n_replies, evicted;
};

static void chat_open(struct chat *c, const char *path, uint32_t n_layers, const struct session_options *o) {
    static const char text[] =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
        "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    *c = (struct chat){.m = open_model(path)};
    template_detect(text, sizeof text - 1, &c->m->format);
    assert_int_equal(c->m->format.kind, TEMPLATE_CHATML);
    assert_true(n_layers <= c->m->weights.shape.n_layers);
    c->m->weights.shape.n_layers = n_layers;
    c->s = open_session(c->m, o);
    c->msg[c->n++] = (struct chat_message){.role = CHAT_SYSTEM, .text = "Complain.", .n_text = 9};
}

static void chat_close(struct chat *c) {
    for (size_t i = 0; i < c->n_replies; i++) reply_free(&c->reply[i]);
    session_close(c->s);
    model_close(c->m);
}

/* One message and its reply. */
static void chat_turn(struct chat *c, size_t n_reply) {
    static const char *const words[] = {"Why is it so?", "And then?", "Tell me of the kettle that sang.", "No."};
    static const struct sample_params arg_max = {.top_p = 1, .repeat_penalty = 1};
    const char *text = words[c->n_replies % 4];
    struct err e = {0};
    struct rendered r;
    struct reply *out = &c->reply[c->n_replies++];
    c->msg[c->n++] = (struct chat_message){.role = CHAT_USER, .text = text, .n_text = strlen(text)};
    if (model_render(c->m, c->msg, c->n, true, &r, &e)) fail_msg("%s", e.text);
    struct reply_request q = {.prompt = &r, .sampling = &arg_max, .n_max = (int64_t)n_reply, .keep_end_tokens = true};
    if (session_reply(c->s, &q, NULL, out, &e)) fail_msg("%s", e.text);
    assert_int_equal(out->finish, FINISH_LENGTH);
    c->evicted += out->evicted_tokens;
    c->msg[c->n++] = (struct chat_message){.role = CHAT_ASSISTANT,
                                           .text = buf_text(&out->text),
                                           .n_text = out->text.len,
                                           .id = out->tokens.id,
                                           .n_ids = out->tokens.n,
                                           .open = true};
    rendered_free(&r);
}

/* The messages that have not left, rendered as a chat of their own; its last token has not been computed yet. */
static void chat_render_rest(struct chat *c, struct rendered *out) {
    struct err e = {0};
    struct rendered all;
    struct chat_message rest[128];
    size_t n = 1;
    const struct kv_range *left;
    size_t ranges = session_left(c->s, &left);
    if (model_render(c->m, c->msg, c->n, false, &all, &e)) fail_msg("%s", e.text);
    rest[0] = c->msg[0];
    for (size_t t = 0; t < all.n_turns; t++) {
        size_t gone = 0;
        for (size_t i = 0; i < ranges; i++) {
            bool in =
                left[i].first <= all.turn[t].first && left[i].first + left[i].n >= all.turn[t].first + all.turn[t].n;
            bool apart =
                left[i].first >= all.turn[t].first + all.turn[t].n || left[i].first + left[i].n <= all.turn[t].first;
            assert_true(in || apart); /* turns leave whole */
            gone += in;
        }
        if (!gone) memcpy(&rest[n], &c->msg[1 + 2 * t], 2 * sizeof *rest), n += 2;
    }
    if (model_render(c->m, rest, n, false, out, &e)) fail_msg("%s", e.text);
    rendered_free(&all);
}

/* After each turn what is live is the rest's rendering. Returns the greatest difference of the next logits from those
 * of a fresh session that was given just the rest, and adds the KL divergences. */
static double chat_past_the_bound(const char *path, uint32_t n_layers, const struct num_type *type, enum kv_evict evict, uint32_t ubatch, double *kl,
                                  size_t *n_after) {
    static size_t live[MOST];
    static float fresh_logits[200 * N_VOCAB];
    struct session_options o = {
        .keep = -1, .n_threads = 1, .bound = 200, .type_k = type, .type_v = type, .evict = evict, .n_ubatch = ubatch};
    struct chat c;
    struct err e = {0};
    double worst = 0;
    chat_open(&c, path, n_layers, &o);
    struct session *fresh = open_session(c.m, &o);
    *kl = 0, *n_after = 0;
    for (int t = 0; t < 40; t++) {
        struct rendered rest;
        chat_turn(&c, 10 + (size_t)t % 9);
        c.msg[c.n - 1].open = true;
        chat_render_rest(&c, &rest);
        size_t n = live_tokens(c.s, live);
        const int32_t *token;
        kv_tokens(session_kv(c.s), c.s->seq, &token);
        assert_int_equal(n, rest.n - 1);
        for (size_t i = 0; i < n; i++) assert_int_equal(token[live[i]], rest.id[i]);
        if (session_logits(fresh, rest.id, n, 0, fresh_logits, &e)) fail_msg("%s", e.text);
        double p[N_VOCAB], q[N_VOCAB];
        for (size_t i = 0; i < N_VOCAB; i++) {
            p[i] = (double)fresh_logits[(n - 1) * N_VOCAB + i], q[i] = (double)c.s->logits[i];
            worst = fmax(worst, fabs(p[i] - q[i]));
        }
        *n_after += c.evicted > 0;
        if (c.evicted) *kl += reference_kl(p, q, N_VOCAB);
        rendered_free(&rest);
        c.msg[c.n - 1].open = false;
    }
    assert_true(c.evicted > 5 * 200);
    session_close(fresh);
    chat_close(&c);
    return worst;
}

static void a_chat_past_its_bound_holds_the_rendering_of_the_messages_that_remain(void **state) {
    (void)state;
    const struct num_type *f32 = num_find(NUM_F32), *f16 = num_find(NUM_F16);
    double kl;
    size_t n;
    /* With a single layer keys and values know nothing of the tokens before them: the logits must be a fresh chat's. */
    double worst = chat_past_the_bound(FLOATS, 1, f32, KV_EVICT_SHIFT, 0, &kl, &n);
    if (!(worst < 1e-4)) fail_msg("f32: off by %g", worst);
    worst = chat_past_the_bound(FLOATS, 1, f16, KV_EVICT_SHIFT, 0, &kl, &n);
    if (!(worst < 2e-2)) fail_msg("f16: off by %g", worst);
    /* With more they were computed with the dropped turns in view. */
    worst = chat_past_the_bound(FLOATS, 2, f32, KV_EVICT_SHIFT, 0, &kl, &n);
    print_message("[ INFO     ] shift against reseed, 2 layers: mean KL %.3g, logits off by up to %.3g (%zu turns)\n",
                  kl / (double)n, worst, n);
    assert_true(n > 20 && isfinite(kl));
}

static void a_reseeded_chat_has_the_bits_of_a_fresh_one_with_the_messages_that_remain(void **state) {
    (void)state;
    double kl;
    size_t n;
    assert_true(chat_past_the_bound(QUANTISED, 2, num_find(NUM_F16), KV_EVICT_RESEED, 0, &kl, &n) == 0);
    assert_true(n > 20);
    assert_true(chat_past_the_bound(QUANTISED, 2, num_find(NUM_F32), KV_EVICT_RESEED, 7, &kl, &n) == 0);
    /* Products of floats give the same bits for an equal split alone: token by token here. */
    assert_true(chat_past_the_bound(FLOATS, 2, num_find(NUM_F32), KV_EVICT_RESEED, 1, &kl, &n) == 0);
    double worst = chat_past_the_bound(FLOATS, 2, num_find(NUM_F32), KV_EVICT_RESEED, 0, &kl, &n);
    if (!(worst < 1e-4)) fail_msg("off by %g", worst);
}

static void a_reply_longer_than_the_bound_is_reseeded_on_its_way(void **state) {
    (void)state;
    static size_t live[MOST];
    static float want[200 * N_VOCAB];
    struct session_options o = {.keep = -1, .n_threads = 1, .bound = 200, .evict = KV_EVICT_RESEED, .n_ubatch = 16};
    struct chat c;
    struct err e = {0};
    chat_open(&c, QUANTISED, 2, &o);
    struct session *fresh = open_session(c.m, &o);
    chat_turn(&c, 20);
    chat_turn(&c, 500);
    size_t n = live_tokens(c.s, live);
    const int32_t *all;
    int32_t token[200];
    kv_tokens(session_kv(c.s), c.s->seq, &all);
    assert_true(n < 200 && c.evicted > 256);
    for (size_t i = 0; i < n; i++) token[i] = all[live[i]];
    if (session_logits(fresh, token, n, 0, want, &e)) fail_msg("%s", e.text);
    assert_memory_equal(want + (n - 1) * N_VOCAB, c.s->logits, N_VOCAB * sizeof *want);
    session_close(fresh);
    chat_close(&c);
}

static void a_sliding_chat_holds_the_system_prompt_and_the_newest_tokens(void **state) {
    (void)state;
    static size_t live[MOST];
    struct chat c;
    struct err e = {0};
    chat_open(&c, QUANTISED, 2,
              &(struct session_options){.keep = -1, .n_threads = 1, .bound = 200, .evict = KV_EVICT_SLIDE});
    for (int t = 0; t < 40; t++) {
        struct rendered all;
        chat_turn(&c, 12);
        if (model_render(c.m, c.msg, c.n, false, &all, &e)) fail_msg("%s", e.text);
        size_t n = live_tokens(c.s, live), end = all.n - 1;
        for (size_t i = 0; i < all.n_keep; i++) assert_int_equal(live[i], i);
        for (size_t i = all.n_keep; i < n; i++) assert_int_equal(live[i], end - n + i);
        const int32_t *token;
        assert_int_equal(kv_tokens(session_kv(c.s), c.s->seq, &token), end);
        assert_memory_equal(token, all.id, end * sizeof *token);
        rendered_free(&all);
        c.msg[c.n - 1].open = false;
    }
    assert_true(c.evicted > 5 * 200);
    chat_close(&c);
}

static void a_message_too_long_is_refused_and_the_chat_goes_on(void **state) {
    (void)state;
    static char text[400];
    static const struct sample_params arg_max = {.top_p = 1, .repeat_penalty = 1};
    static const enum kv_evict modes[] = {KV_EVICT_SHIFT, KV_EVICT_SLIDE, KV_EVICT_STOP};
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < 3; i++) {
        struct chat c;
        struct err e = {0};
        struct rendered r;
        struct reply out;
        chat_open(&c, QUANTISED, 2,
                  &(struct session_options){.keep = -1, .n_threads = 1, .bound = 200, .evict = modes[i]});
        for (int t = 0; t < (modes[i] == KV_EVICT_STOP ? 2 : 9); t++) chat_turn(&c, 12), c.msg[c.n - 1].open = false;
        size_t live[400], after[400], n = live_tokens(c.s, live);
        c.msg[c.n] = (struct chat_message){.role = CHAT_USER, .text = text, .n_text = sizeof text};
        if (model_render(c.m, c.msg, c.n + 1, true, &r, &e)) fail_msg("%s", e.text);
        struct reply_request q = {.prompt = &r, .sampling = &arg_max, .n_max = 5};
        assert_int_equal(session_reply(c.s, &q, NULL, &out, &e), ERR_CONTEXT);
        assert_non_null(strstr(e.text, modes[i] == KV_EVICT_STOP ? "200" : "fit beside the"));
        assert_int_equal(live_tokens(c.s, after), n);
        assert_memory_equal(live, after, n * sizeof *live);
        rendered_free(&r);
        chat_turn(&c, 3);
        chat_close(&c);
    }
}

/* ---- the same bits ------------------------------------------------------------------------------------------- */

#define N_BITS 780u /* past three growths */

/* As if the system had refused to reserve addresses, or even to move them. */
static void open_arena(struct kv *c, enum kv_arena_way way) {
    uint32_t n = c->arena.n_blocks, cap = c->arena.cap_blocks;
    kv_arena_close(&c->arena);
    assert_int_equal(kv_arena_open(&c->arena, c->layout.block_bytes, cap, way), 0);
    assert_int_equal(kv_arena_commit(&c->arena, n), 0);
}

/* All logits of a text; scatter: another sequence's cells lie in between. */
static float *all_logits(struct model *m, const struct session_options *o, uint32_t ubatch, bool scatter, enum kv_arena_way way) {
    struct err e = {0};
    struct session *s = open_session(m, o);
    if (way != KV_ARENA_RESERVE) open_arena(session_kv(s), way);
    float *out = malloc((size_t)N_BITS * N_VOCAB * sizeof *out);
    int32_t token[N_BITS];
    int other = kv_acquire(session_kv(s));
    for (uint32_t i = 0; i < N_BITS; i++) token[i] = (int32_t)(i * 53 % 256);
    for (uint32_t i = 0; i < N_BITS; i += ubatch) {
        uint32_t n = N_BITS - i < ubatch ? N_BITS - i : ubatch;
        struct session_batch b = {.token = token + i, .n = n, .first = (size_t)-1, .logits = out + (size_t)i * N_VOCAB};
        struct kv_batch between;
        if (session_compute(s, &b, &e)) fail_msg("%s", e.text);
        if (!scatter) continue;
        if (kv_begin(session_kv(s), other, token, 1 + i % 3, SIZE_MAX, &between, &e)) fail_msg("%s", e.text);
        kv_finish(session_kv(s), &between);
        if (i % 5 == 4) kv_seq_rm(session_kv(s), other, 0, 2); /* and holes come back */
    }
    assert_int_equal(session_kv(s)->arena.copied_bytes > 0, way == KV_ARENA_COPY);
    if (scatter) assert_true(session_kv(s)->seq[s->seq].n_runs > 20);
    session_close(s);
    return out;
}

static void the_bits_depend_neither_on_placement_nor_ways_of_growing_nor_threads_nor_split(void **state) {
    (void)state;
    static const struct {
        uint32_t start, step, ubatch;
        int n_threads;
        bool scatter;
        enum kv_arena_way way;
    } how[] = {
        {2048, 0, 512, 1, false, KV_ARENA_RESERVE}, {0, 0, 512, 2, false, KV_ARENA_RESERVE}, {0, 256, 255, 3, false, KV_ARENA_RESERVE},
        {0, 256, 256, 4, false, KV_ARENA_RESERVE},  {0, 256, 257, 2, false, KV_ARENA_REMAP}, {0, 256, 1, 2, false, KV_ARENA_RESERVE},
        {0, 256, 7, 1, true, KV_ARENA_COPY},        {0, 0, 31, 2, true, KV_ARENA_REMAP},     {0, 256, 256, 2, false, KV_ARENA_COPY},
    };
    struct model *m = open_model(QUANTISED);
    float *first = NULL;
    static const enum num_id types[] = {NUM_F16, NUM_F32, NUM_BF16, NUM_Q8_0, NUM_Q4_0, NUM_Q4_1, NUM_Q5_0, NUM_Q5_1, NUM_IQ4_NL};
    for (size_t type = 0; type < sizeof types / sizeof *types; type++) {
        const struct num_type *t = num_find(types[type]);
        for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
            if (type > 1 && i && i % 3 != type % 3) continue; /* each of the others in a third of the ways */
            struct session_options o = {.keep = -1,
                                        .bound = 2048,
                                        .start = how[i].start,
                                        .step_cells = how[i].step,
                                        .grow = how[i].step ? KV_GROW_LINEAR : KV_GROW_DOUBLE,
                                        .type_k = t,
                                        .type_v = t,
                                        .n_threads = how[i].n_threads};
            float *out = all_logits(m, &o, how[i].ubatch, how[i].scatter, how[i].way);
            for (uint32_t k = 0; i && k < N_BITS; k++)
                if (memcmp(out + (size_t)k * N_VOCAB, first + (size_t)k * N_VOCAB, N_VOCAB * sizeof *out))
                    fail_msg("%s, case %zu: other bits at token %u", t->name, i, k);
            if (i)
                free(out);
            else
                first = out;
        }
        free(first);
    }
    model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_effective_positions_through_a_chat_with_every_change),
        cmocka_unit_test(a_chat_resumed_after_shifts_goes_on_exactly),
        cmocka_unit_test(a_turn_taken_back_to_before_what_left_is_read_whole),
        cmocka_unit_test(a_reply_that_pushed_out_its_own_question_is_made_again_with_the_question),
        cmocka_unit_test(a_reply_longer_than_the_bound_is_continued_without_what_left),
        cmocka_unit_test(a_chat_past_its_bound_holds_the_rendering_of_the_messages_that_remain),
        cmocka_unit_test(a_reseeded_chat_has_the_bits_of_a_fresh_one_with_the_messages_that_remain),
        cmocka_unit_test(a_reply_longer_than_the_bound_is_reseeded_on_its_way),
        cmocka_unit_test(a_sliding_chat_holds_the_system_prompt_and_the_newest_tokens),
        cmocka_unit_test(a_message_too_long_is_refused_and_the_chat_goes_on),
        cmocka_unit_test(the_bits_depend_neither_on_placement_nor_ways_of_growing_nor_threads_nor_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
