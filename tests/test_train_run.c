/* Tests of model/train/train, checkpoint and plot: whole runs of a tiny net, and what becomes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/paths.h"
#include "model/engine.h"
#include "model/gguf.h"
#include "model/train/checkpoint.h"
#include "model/train/corpus.h"
#include "model/train/guide_file.h"
#include "model/train/plot.h"
#include "model/train/train.h"
#include "tests/support_folder.h"

static const char SYSTEM[] = "Be brief.";
static const char FACTS[] = "## topic: tea\n"
                            "fact: pot\nq: how do i make tea\na: Boil water, then pour it over the leaves.\n\n"
                            "fact: cup\nq: where does the tea go\na: Into a cup of clay.\n\n"
                            "fact: milk\nq: may i have milk\na: Milk is in the cold room.\n";
static const struct { const char *ask, *says; } KNOWN[] = {
    {"how do i make tea", "Boil water, then pour it over the leaves."}, {"where does the tea go", "Into a cup of clay."}, {"may i have milk", "Milk is in the cold room."},
};

static const char *folder;

static int open_folder(void **state) {
    (void)state;
    if (!(folder = support_folder_make())) return -1;
    FILE *f = fopen(support_folder_path("facts.txt"), "w");
    if (!f) return -1;
    fputs(FACTS, f);
    return fclose(f);
}

static int close_folder(void **state) {
    (void)state;
    support_folder_remove();
    return 0;
}

/* A run that takes a moment. */
static struct train_options tiny(uint64_t steps, const char *out) {
    struct train_options o;
    train_defaults(&o);
    o.corpus = folder;
    o.out = support_folder_path(out);
    o.system = SYSTEM;
    o.vocab = 300, o.layers = 2, o.embd = 64, o.heads = 1, o.kv_heads = 1, o.ff = 96, o.context = 96;
    o.steps = steps, o.batch_tokens = 384, o.warm_up = 5, o.lr = 5e-3;
    return o;
}

static void run(const struct train_options *o) {
    struct err e = {0};
    if (train_run(o, NULL, &e)) fail_msg("%s", e.text);
}

static void read_all(const char *name, struct buf *out) {
    struct err e = {0};
    if (paths_read(support_folder_path(name), 1 << 24, out, &e)) fail_msg("%s", e.text);
}

static void expect_same_file(const char *one, const char *two, bool same) {
    struct buf a = {0}, b = {0};
    read_all(one, &a);
    read_all(two, &b);
    assert_int_equal(a.len == b.len && !memcmp(a.data, b.data, a.len), same);
    buf_free(&a);
    buf_free(&b);
}

/* ---- the whole way ------------------------------------------------------------------------------------------- */

/* Asks the program's engine; the reply at temperature 0. */
static void ask(struct model *m, struct session *s, const char *text, const char *says) {
    const struct chat_message msg[] = {{.role = CHAT_SYSTEM, .text = SYSTEM, .n_text = strlen(SYSTEM)}, {.role = CHAT_USER, .text = text, .n_text = strlen(text)}};
    const struct sample_params arg_max = {.temp = 0, .top_p = 1, .repeat_penalty = 1};
    struct rendered prompt;
    struct reply reply;
    struct err e = {0};
    assert_int_equal(model_render(m, msg, 2, true, &prompt, &e), 0);
    if (session_reply(s, &(struct reply_request){.prompt = &prompt, .sampling = &arg_max, .n_max = 40}, NULL, &reply, &e)) fail_msg("%s", e.text);
    assert_string_equal(buf_text(&reply.text), says);
    assert_int_equal(reply.finish, FINISH_STOP);
    reply_free(&reply);
    rendered_free(&prompt);
}

static void what_was_trained_answers_in_the_programs_engine(void **state) {
    (void)state;
    struct train_options o = tiny(150, "guide.gguf");
    struct model *m;
    struct session *s;
    struct err e = {0};
    run(&o);
    if (model_open(&m, support_folder_path("guide.gguf"), NULL, &e)) fail_msg("%s", e.text);
    if (session_open(&s, m, &(struct session_options){.keep = -1, .n_threads = 1}, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) ask(m, s, KNOWN[i].ask, KNOWN[i].says);
    session_close(s);
    model_close(m);
}

static void the_file_says_what_it_is_and_what_it_was_made_of(void **state) {
    (void)state;
    struct train_options o = tiny(2, "guide.gguf");
    struct gguf *g;
    struct gguf_text text;
    struct err e = {0};
    uint64_t hash, n = 0;
    char hex[17];
    run(&o);
    assert_int_equal(gguf_open(&g, support_folder_path("guide.gguf"), &e), 0);
    assert_int_equal(corpus_hash(folder, &hash, &e), 0);
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
    assert_int_equal(gguf_string(g, GUIDE_FILE_CORPUS_HASH, &text, &e), 0);
    assert_int_equal(text.n, 16);
    assert_memory_equal(text.p, hex, 16);
    assert_int_equal(gguf_uint(g, "kvetch.guide.steps", &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(gguf_uint(g, "llama.context_length", &n, &e), 0);
    assert_int_equal(n, 96);
    assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->type_id, NUM_Q8_0);
    assert_int_equal(gguf_find_tensor(g, "blk.1.ffn_norm.weight")->type_id, NUM_F32);
    assert_null(gguf_find_tensor(g, "output.weight"));
    gguf_close(g);
    assert_false(paths_exists(support_folder_path("guide.gguf.vocab")));
}

static void the_same_run_gives_the_same_bits_and_another_seed_others(void **state) {
    (void)state;
    struct train_options o = tiny(6, "a.gguf"), again = tiny(6, "b.gguf");
    run(&o);
    run(&again);
    expect_same_file("a.gguf", "b.gguf", true);
    again.seed++;
    again.out = support_folder_path("c.gguf");
    run(&again);
    expect_same_file("a.gguf", "c.gguf", false);
}

static void a_run_that_was_broken_off_goes_on_to_the_same_bits(void **state) {
    (void)state;
    struct train_options o = tiny(12, "whole.gguf");
    run(&o);
    o.out = support_folder_path("parts.gguf");
    o.checkpoint = support_folder_path("run.checkpoint");
    o.resume = true;
    o.stop_after = 7;
    run(&o);
    assert_false(paths_exists(o.out));
    o.stop_after = 0;
    run(&o);
    expect_same_file("whole.gguf", "parts.gguf", true);
}

static void wordings_can_be_kept_out_and_measured(void **state) {
    (void)state;
    struct train_options o = tiny(150, "guide.gguf");
    struct err e = {0};
    char facts[8192] = "## topic: t\n", text[4096] = {0};
    static const struct { const char *id, *ask, *answer; } fact[] = {
        {"one", "count to", "One, two, three."}, {"six", "count to", "Six, two, three."}, {"refuse-all", "when is day", "No idea."}};
    for (int i = 0; i < 3; i++) {
        snprintf(facts + strlen(facts), sizeof facts - strlen(facts), "fact: %s\n", fact[i].id);
        for (int q = 0; q < 80; q++) snprintf(facts + strlen(facts), sizeof facts - strlen(facts), "q: %s %d\n", fact[i].ask, q);
        snprintf(facts + strlen(facts), sizeof facts - strlen(facts), "a: %s\n", fact[i].answer);
    }
    FILE *f = fopen(support_folder_path("facts.txt"), "w"), *log = tmpfile();
    assert_true(f && log);
    fputs(facts, f);
    fclose(f);
    o.validate = true;
    o.measure_every = 150;
    o.refusals = 0.5;
    if (train_run(&o, log, &e)) fail_msg("%s", e.text);
    rewind(log);
    assert_true(fread(text, 1, sizeof text - 1, log) > 0);
    fclose(log);
    assert_non_null(strstr(text, "step   150/150  loss "));
    assert_non_null(strstr(text, "  replies:  first 0."));
    unsigned long known = 0, n_known = 1, refused = 0, n_refused = 1;
    const char *line = strstr(text, "kept out: ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "kept out: %*f; word for word %lu of %lu, and %lu of %lu refused", &known, &n_known, &refused, &n_refused), 4);
    assert_true(refused && refused == n_refused);
    assert_true(known && known < n_known); /* who counts from one is not told from who counts from six; the rest is the same */
}

static void options_that_make_no_sense_are_refused(void **state) {
    (void)state;
    struct err e = {0};
    struct train_options o = tiny(1, "guide.gguf");
    o.batch_tokens = 10;
    assert_int_equal(train_run(&o, NULL, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "--batch-tokens"));
    o = tiny(1, "guide.gguf");
    o.vocab = 100;
    assert_int_equal(train_run(&o, NULL, &e), ERR_USAGE);
    o = tiny(1, "guide.gguf");
    o.pre = "nonsense";
    assert_int_equal(train_run(&o, NULL, &e), ERR_FILE);
    o = tiny(1, "guide.gguf");
    o.corpus = "/nonexistent";
    assert_int_equal(train_run(&o, NULL, &e), ERR_FILE);
}

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

static const struct net_shape SHAPE = {.n_vocab = 10, .n_layers = 1, .n_embd = 8, .n_heads = 1, .n_kv_heads = 1, .head_dim = 8, .n_ff = 8, .n_ctx = 8,
                                       .rope_base = 10000, .norm_eps = 1e-5f};

static void a_checkpoint_gives_everything_back(void **state) {
    (void)state;
    const char *path = support_folder_path("a.checkpoint");
    struct net *n, *back;
    struct adamw a, b;
    struct err e = {0};
    const float loss[] = {3, 2, 1};
    float loss_back[3] = {0};
    uint64_t step = 0;
    assert_int_equal(net_new(&n, &SHAPE, 1, &e), 0);
    assert_int_equal(net_new(&back, &SHAPE, 2, &e), 0);
    assert_int_equal(adamw_init(&a, n->n_params, &(struct adamw_options){0.9f, 0.95f, 1e-8f, 0.1f}, &e), 0);
    assert_int_equal(adamw_init(&b, n->n_params, &a.o, &e), 0);
    for (size_t i = 0; i < a.n; i++) a.m[i] = (float)i, a.v[i] = (float)(2 * i);
    a.n_steps = 3;
    assert_int_equal(checkpoint_save(path, 77, n, &a, loss, 3, &e), 0);
    assert_int_equal(checkpoint_load(path, 77, back, &b, loss_back, 3, &step, &e), 0);
    assert_memory_equal(back->param, n->param, n->n_params * sizeof(float));
    assert_memory_equal(b.m, a.m, a.n * sizeof(float));
    assert_memory_equal(b.v, a.v, a.n * sizeof(float));
    assert_memory_equal(loss_back, loss, sizeof loss);
    assert_int_equal(step, 3);
    assert_int_equal(b.n_steps, 3);
    assert_int_equal(checkpoint_load(path, 78, back, &b, loss_back, 3, &step, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "other options"));
    assert_int_equal(checkpoint_load(path, 77, back, &b, loss_back, 2, &step, &e), ERR_FILE);
    adamw_free(&a);
    adamw_free(&b);
    net_free(n);
    net_free(back);
}

static void a_damaged_checkpoint_is_refused_and_changes_nothing(void **state) {
    (void)state;
    const char *path = support_folder_path("a.checkpoint");
    struct net *n;
    struct adamw a;
    struct err e = {0};
    struct buf file = {0};
    float loss = 0, first;
    uint64_t step = 9;
    assert_int_equal(net_new(&n, &SHAPE, 1, &e), 0);
    assert_int_equal(adamw_init(&a, n->n_params, &(struct adamw_options){0.9f, 0.95f, 1e-8f, 0.1f}, &e), 0);
    assert_int_equal(checkpoint_save(path, 77, n, &a, &loss, 1, &e), 0);
    read_all("a.checkpoint", &file);
    first = n->param[0] = 5;
    for (size_t at = 0; at < file.len; at += 97) {
        file.data[at] ^= 1;
        assert_int_equal(paths_write_private(path, file.data, file.len, &e), 0);
        assert_int_equal(checkpoint_load(path, 77, n, &a, &loss, 1, &step, &e), ERR_FILE);
        file.data[at] ^= 1;
    }
    for (size_t len = 0; len < file.len; len += 61) {
        assert_int_equal(paths_write_private(path, file.data, len, &e), 0);
        assert_int_equal(checkpoint_load(path, 77, n, &a, &loss, 1, &step, &e), ERR_FILE);
    }
    assert_true(n->param[0] == first && step == 9);
    buf_free(&file);
    adamw_free(&a);
    net_free(n);
}

/* ---- the curve ----------------------------------------------------------------------------------------------- */

static void a_falling_curve_goes_from_the_upper_left_to_the_lower_right(void **state) {
    (void)state;
    const float y[] = {8, 7, 6, 5, 4, 3, 2, 1};
    struct buf b = {0};
    assert_int_equal(plot_curve(y, 8, 4, 2, &b), 0);
    assert_string_equal(buf_text(&b), "   8.000 \xe2\xa0\x91\xe2\xa2\x84\xe2\xa0\x80\xe2\xa0\x80\n" /* dots 1 and 5; 3 and 8 */
                                      "   1.000 \xe2\xa0\x80\xe2\xa0\x80\xe2\xa0\x91\xe2\xa2\x84\n"
                                      "         1  8\n");
    buf_free(&b);
}

static void a_curve_of_nothing_one_value_or_no_numbers_is_drawn_too(void **state) {
    (void)state;
    struct buf b = {0};
    const float one = 3, none[] = {0.0f / 0.0f, 1.0f / 0.0f};
    assert_int_equal(plot_curve(NULL, 0, 8, 3, &b), 0);
    assert_int_equal(plot_curve(none, 2, 8, 3, &b), 0);
    assert_int_equal(b.len, 0);
    assert_int_equal(plot_curve(&one, 1, 2, 2, &b), 0);
    assert_non_null(strstr(buf_text(&b), "3.000 \xe2\xa0\x89\xe2\xa0\x89\n"));
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_trained_answers_in_the_programs_engine, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(the_file_says_what_it_is_and_what_it_was_made_of, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(the_same_run_gives_the_same_bits_and_another_seed_others, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(a_run_that_was_broken_off_goes_on_to_the_same_bits, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(wordings_can_be_kept_out_and_measured, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(options_that_make_no_sense_are_refused, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(a_checkpoint_gives_everything_back, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(a_damaged_checkpoint_is_refused_and_changes_nothing, open_folder, close_folder),
        cmocka_unit_test(a_falling_curve_goes_from_the_upper_left_to_the_lower_right),
        cmocka_unit_test(a_curve_of_nothing_one_value_or_no_numbers_is_drawn_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
