/* Tests of model/train/augment and batch: what a row to learn from holds, and how a user's words are varied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/train/batch.h"
#include "model/train/vocabulary.h"
#include "tests/support_folder.h"

static const char SYSTEM[] = "You pour tea.";
static const char TEA[] = "## topic: tea\n"
                          "fact: tea-pot\nq: how do i make tea\nq: brew some leaves\nf: and it the pot\na: Boil water for the pot first.\n\n"
                          "fact: tea-cup\nq: where do i drink it\nq: which vessel do i take\nf: and it the cup\na: From a cup of clay.\na: From a mug of tin.\n\n"
                          "## topic: milk\nfact: milk\nq: is milk white\nq: colour of milk\na: Milk is white in this house.\n\n"
                          "fact: milk-cow\nq: who gives milk\nq: source of milk\nf: and it the cow\na: Milk comes from the cow outside.\n\n"
                          "## topic: refusals\nfact: refuse-rest\nq: what is the capital\nq: who won the cup\na: No idea at all.\n";
static const char TALKS[] = "dialogue: d1\nu: good morning dear\nk: Good morning to you.\nu: i am thirsty\nk: @tea-pot\nu: thank you so much\nk: Any time.\n";

struct kitchen { struct corpus corpus; struct bpe *bpe; struct model *model; struct batch *batch; };

static void put(const char *name, const char *text) {
    FILE *f = fopen(support_folder_path(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct batch_options plain(void) {
    return (struct batch_options){.system = SYSTEM, .row_tokens = 256, .seed = 7, .refusals = 0.1, .first_loss = 1, .user_loss = 0.125f};
}

static void open_kitchen(struct kitchen *k, const char *facts, const char *talks, struct batch_options o) {
    struct err e = {0};
    assert_non_null(support_folder_make());
    put("a.txt", facts);
    if (talks) put("dialogues-a.txt", talks);
    put("synonyms.txt", "how do i | how can i | how to\nmake | brew | prepare\n");
    int rc = corpus_open(&k->corpus, support_folder_path("."), &e);
    if (!rc) rc = vocabulary_learn(&k->bpe, &k->corpus, SYSTEM, "gpt-2", 320, &e);
    if (!rc) rc = vocabulary_open(&k->model, k->bpe, support_folder_path("vocab"), &e);
    if (!rc) rc = batch_open(&k->batch, &k->corpus, k->model, &o, &e);
    if (rc) fail_msg("%s", e.text);
}

static void close_kitchen(struct kitchen *k) {
    batch_close(k->batch);
    model_close(k->model);
    bpe_close(k->bpe);
    corpus_close(&k->corpus);
    support_folder_remove();
}

static void make(const struct kitchen *k, enum batch_kind kind, uint64_t i, struct batch_row *row) {
    struct err e = {0};
    if (batch_make(k->batch, kind, i, row, &e)) fail_msg("%s", e.text);
    size_t n = 0;
    for (size_t s = 0; s < row->n_segments; s++) n += row->segment[s].n;
    assert_int_equal(n, row->n);
    assert_true(row->n <= 256);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* The row's segment s, which begins at token `at`, after what it goes on from, which is in the segment at `trunk`. */
static void check_conversation(const struct kitchen *k, const struct batch_row *row, size_t s, size_t at, size_t trunk, size_t *longest) {
    static const char USER[] = "how do i make tea", REPLY[] = "Boil water, then wait. 3 minutes!";
    struct chat_message msg[41] = {{.role = CHAT_SYSTEM, .text = SYSTEM, .n_text = strlen(SYSTEM)}};
    struct rendered r = {0}, open = {0};
    struct err e = {0};
    const struct net_segment *seg = &row->segment[s];
    size_t n = 1, n_tokens = seg->trunk + seg->n;
    while (r.n < n_tokens) {
        msg[n++] = (struct chat_message){.role = CHAT_USER, .text = USER, .n_text = strlen(USER)};
        msg[n++] = (struct chat_message){.role = CHAT_ASSISTANT, .text = REPLY, .n_text = strlen(REPLY)};
        rendered_free(&r);
        assert_int_equal(model_render(k->model, msg, n, false, &r, &e), 0);
    }
    assert_int_equal(model_render(k->model, msg, n - 1, true, &open, &e), 0);
    assert_int_equal(n_tokens, seg->trunk ? open.n + 8 : r.n); /* of a branch's reply the first eight tokens */
    assert_memory_equal(row->token + trunk, r.id, seg->trunk * sizeof *r.id);
    assert_memory_equal(row->token + at, r.id + seg->trunk, seg->n * sizeof *r.id);
    if (r.n_messages > *longest) *longest = r.n_messages;
    rendered_free(&open);
    rendered_free(&r);
}

/* One fact with one wording: every conversation is the system prompt and the same exchange again and again. */
static void a_conversation_has_the_tokens_that_the_program_makes_of_it(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_row row = {0};
    size_t longest = 0, n_whole = 0, n_first = 0, n_later = 0;
    open_kitchen(&k, "## topic: tea\nfact: tea\nq: how do i make tea\na: Boil water, then wait. 3 minutes!\n", NULL, plain());
    for (uint64_t i = 0; i < 8; i++) {
        make(&k, BATCH_MIXED, i, &row);
        for (size_t s = 0, at = 0, trunk = 0; s < row.n_segments; at += row.segment[s++].n) {
            if (!row.segment[s].trunk) trunk = at;
            check_conversation(&k, &row, s, at, trunk, &longest);
            n_whole += !row.segment[s].trunk;
            n_first += row.segment[s].trunk && row.segment[s].trunk < row.segment[s].n;
            n_later += row.segment[s].trunk >= row.segment[s].n;
        }
    }
    assert_true(longest > 9); /* long conversations were among them */
    assert_true(n_whole > 4 && n_first > 4 && n_later > 4);
    batch_row_free(&row);
    close_kitchen(&k);
}

static void replies_weigh_one_with_their_end_users_a_little_and_marks_nothing(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_row row = {0};
    struct buf of_weight[3] = {{0}};
    open_kitchen(&k, "## topic: tea\nfact: tea\nq: how do i make tea\na: Boil water.\n", NULL, plain());
    make(&k, BATCH_FIRST, 0, &row);
    for (size_t i = 0; i < row.segment[0].n; i++) {
        assert_true(row.weight[i] == 0 || row.weight[i] == 0.125f || row.weight[i] == 1);
        vocab_piece(k.model->vocab, row.token[i], true, &of_weight[row.weight[i] == 1 ? 2 : row.weight[i] > 0]);
    }
    assert_string_equal(buf_text(&of_weight[2]), "Boil water.<|im_end|>");
    assert_string_equal(buf_text(&of_weight[1]), "how do i make tea");
    assert_string_equal(buf_text(&of_weight[0]), "<|im_start|>system\nYou pour tea.<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n\n");
    for (int i = 0; i < 3; i++) buf_free(&of_weight[i]);
    batch_row_free(&row);
    close_kitchen(&k);
}

static void the_first_tokens_of_a_reply_weigh_more(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_row row = {0};
    struct batch_options o = plain();
    size_t heavy = 0, at = 0;
    o.first_loss = 5;
    open_kitchen(&k, "## topic: tea\nfact: tea\nq: how do i make tea\na: Boil water, then wait for a while.\n", NULL, o);
    make(&k, BATCH_FIRST, 0, &row);
    while (row.weight[at] < 1) at++;
    for (size_t i = 0; i < row.segment[0].n; i++) heavy += row.weight[i] == 5;
    assert_int_equal(heavy, 4);
    for (size_t i = at; i < at + 4; i++) assert_true(row.weight[i] == 5);
    assert_true(row.weight[at + 4] == 1);
    batch_row_free(&row);
    close_kitchen(&k);
}

static void a_question_is_asked_in_two_wordings_now_and_then(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_row row = {0};
    struct batch_options o = plain();
    size_t asked = 0, twice = 0;
    o.augment.twice = true;
    open_kitchen(&k, "## topic: tea\nfact: tea\nq: how do i make tea\nq: tea now\na: Boil water.\n", NULL, o);
    for (uint64_t i = 0; i < 100; i++) {
        struct buf text = {0};
        make(&k, BATCH_FIRST, i, &row);
        assert_int_equal(batch_show(k.batch, &row, &text), 0);
        for (const char *at = buf_text(&text); (at = strstr(at, "<|im_start|>user")); at++) asked++;
        for (const char *at = buf_text(&text); (at = strstr(at, "how do i make tea. tea now<|im_end|>")); at++) twice++;
        buf_free(&text);
    }
    assert_in_range(twice, asked / 150, asked / 30); /* one in four of six in a hundred */
    batch_row_free(&row);
    close_kitchen(&k);
}

/* Taken apart or not, the user's text is the same; its tokens are not. Half of the questions are left as they are written, and of the
 * others 0.97 ^ 19, one for each place between two letters. */
static void words_are_taken_apart_without_changing_the_text(void **state) {
    (void)state;
    static const char ASK[] = "how do i make some very strong tea";
    struct kitchen k = {0};
    struct batch_row row = {0};
    struct batch_options o = plain();
    size_t least = SIZE_MAX, n_least = 0, most = 0;
    o.augment.splits = true;
    open_kitchen(&k, "## topic: tea\nfact: tea\nq: how do i make some very strong tea\na: Boil water.\n", NULL, o);
    for (uint64_t i = 0; i < 400; i++) {
        make(&k, BATCH_FIRST, i, &row);
        struct buf text = {0};
        size_t n = 0, at = 0;
        while (row.weight[at] <= 0) at++;
        for (; row.weight[at] > 0; at++, n++) vocab_piece(k.model->vocab, row.token[at], true, &text);
        assert_string_equal(buf_text(&text), ASK);
        buf_free(&text);
        if (n < least) least = n, n_least = 0;
        n_least += n == least;
        if (n > most) most = n;
    }
    assert_true(most > least);
    assert_in_range(n_least, 280, 344); /* 78 in a hundred, by four deviations */
    batch_row_free(&row);
    close_kitchen(&k);
}

static void a_row_depends_on_its_seed_and_index_alone(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_row one = {0}, two = {0};
    struct batch_options o = plain();
    struct batch *other;
    struct err e = {0};
    o.augment = (struct augment_options){true, true, true, true, true, true, true, true};
    open_kitchen(&k, TEA, TALKS, o);
    make(&k, BATCH_MIXED, 5, &one);
    for (uint64_t i = 9; i-- > 5;) make(&k, BATCH_MIXED, i, &two);
    assert_int_equal(one.n, two.n);
    assert_memory_equal(one.token, two.token, one.n * sizeof *one.token);
    assert_memory_equal(one.weight, two.weight, one.n * sizeof *one.weight);
    o.seed++;
    assert_int_equal(batch_open(&other, &k.corpus, k.model, &o, &e), 0);
    assert_int_equal(batch_make(other, BATCH_MIXED, 5, &two, &e), 0);
    assert_true(one.n != two.n || memcmp(one.token, two.token, one.n * sizeof *one.token));
    batch_close(other);
    batch_row_free(&one);
    batch_row_free(&two);
    close_kitchen(&k);
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) n++;
    return n;
}

/* The text of many rows. */
static char *show_rows(const struct kitchen *k, enum batch_kind kind, uint64_t n) {
    struct batch_row row = {0};
    struct buf b = {0};
    for (uint64_t i = 0; i < n; i++) {
        make(k, kind, i, &row);
        assert_int_equal(batch_show(k->batch, &row, &b), 0);
    }
    batch_row_free(&row);
    return buf_take(&b);
}

static void known_facts_come_equally_often_and_refusals_as_often_as_asked_for(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_options o = plain();
    o.no_system = 0.2;
    open_kitchen(&k, TEA, NULL, o);
    char *text = show_rows(&k, BATCH_MIXED, 400);
    size_t all = count(text, "<|im_start|>assistant"), pot = count(text, "Boil water"), cup = count(text, "From a cup"), mug = count(text, "From a mug"),
           white = count(text, "Milk is white"), cow = count(text, "Milk comes"), no = count(text, "No idea");
    assert_int_equal(pot + cup + mug + white + cow + no, all);
    assert_in_range(no * 100 / all, 5, 10); /* a tenth of those that do not follow another */
    assert_in_range(pot * 100 / all, 20, 30);
    assert_in_range((cup + mug) * 100 / all, 20, 30);
    assert_in_range(cup * 100 / (cup + mug), 45, 55);
    assert_in_range(cow * 100 / all, 20, 30);
    assert_in_range(white * 100 / all, 12, 25); /* has no f: line */
    assert_in_range(count(text, SYSTEM) * 100 / (count(text, "----") - count(text, " after ")), 75, 85); /* of conversations, not of branches */
    free(text);
    close_kitchen(&k);
}

/* What is said last before p. */
static const char *reply_before(const char *p) {
    while (strncmp(p, "assistant\n", 10)) p--;
    return p + 10;
}

static void a_follow_up_comes_right_after_another_fact_of_its_topic(void **state) {
    (void)state;
    static const struct { const char *ask, *before[2]; } rules[] = {
        {"and it the pot", {"From a cup", "From a mug"}}, {"and it the cup", {"Boil water", "Boil water"}}, {"and it the cow", {"Milk is white", "Milk is white"}},
    };
    struct kitchen k = {0};
    open_kitchen(&k, TEA, NULL, plain());
    char *text = show_rows(&k, BATCH_CHAIN, 200);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        assert_true(count(text, rules[i].ask) > 20);
        for (const char *p = text; (p = strstr(p, rules[i].ask)); p++) {
            const char *reply = reply_before(p);
            assert_true(!strncmp(reply, rules[i].before[0], 10) || !strncmp(reply, rules[i].before[1], 10));
        }
    }
    free(text);
    close_kitchen(&k);
}

static void what_leans_on_an_answer_comes_right_after_it_and_nowhere_else(void **state) {
    (void)state;
    static const char next[] = "## topic: tea\nfact: tea-pot\nq: brew it\nn: @tea-cup where\nn: @tea-pot again please\na: Boil water first.\n\n"
                               "fact: tea-cup\nq: drink it\nn: @tea-pot where\na: From a cup of clay.\n";
    static const struct { const char *ask, *before, *reply; } rules[] = {
        {"where<", "Boil", "From"}, {"where<", "From", "Boil"}, {"again please<", "Boil", "Boil"},
    };
    struct kitchen k = {0};
    size_t n = 0;
    open_kitchen(&k, next, NULL, plain());
    char *text = show_rows(&k, BATCH_CHAIN, 200);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        size_t found = 0;
        for (const char *p = text; (p = strstr(p, rules[i].ask)); p++) {
            if (strncmp(reply_before(p), rules[i].before, 4) != 0) continue;
            assert_memory_equal(strstr(p, "assistant\n") + 10, rules[i].reply, 4);
            found++;
        }
        assert_true(found > 20);
        n += found;
    }
    assert_int_equal(n, count(text, "where<") + count(text, "again please<"));
    assert_in_range(n * 100 / count(text, "<|im_start|>assistant"), 22, 33);
    free(text);
    close_kitchen(&k);
}

static void dialogues_come_whole_with_the_answers_of_facts(void **state) {
    (void)state;
    struct kitchen k = {0};
    open_kitchen(&k, TEA, TALKS, plain());
    char *text = show_rows(&k, BATCH_DIALOGUE, 20);
    assert_true(count(text, "<|im_start|>user\ngood morning dear<|im_end|>\n<|im_start|>assistant\nGood morning to you.<|im_end|>\n<|im_start|>user\ni am thirsty"
                            "<|im_end|>\n<|im_start|>assistant\nBoil water for the pot first.<|im_end|>\n<|im_start|>user\nthank you so much") > 10);
    free(text);
    text = show_rows(&k, BATCH_REFUSAL, 5);
    assert_int_equal(count(text, "<|im_start|>assistant"), count(text, "No idea"));
    free(text);
    close_kitchen(&k);
}

static void what_does_not_fit_is_left_out_and_the_rest_stays(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_row row = {0};
    struct buf talk = {0};
    buf_add_text(&talk, "dialogue: d1\n");
    for (int i = 0; i < 20; i++) buf_printf(&talk, "u: now say number %d\nk: Number %d it is.\n", i, i);
    open_kitchen(&k, TEA, buf_text(&talk), plain());
    for (uint64_t i = 0; i < 50; i++) {
        make(&k, BATCH_CHAIN, i, &row);
        assert_true(row.n >= 128);
        make(&k, BATCH_DIALOGUE, i, &row);
        assert_true(row.n >= 200); /* longer than the row: no room is left for another exchange */
    }
    batch_row_free(&row);
    buf_free(&talk);
    close_kitchen(&k);
}

static void held_wordings_are_asked_and_never_trained_on(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_options o = plain();
    struct batch_row row = {0};
    struct buf facts = {0}, held = {0};
    struct err e = {0};
    buf_add_text(&facts, "## topic: t\n");
    for (int f = 0; f < 12; f++) {
        buf_printf(&facts, "fact: f%d\n", f);
        for (int q = 0; q < 20; q++) buf_printf(&facts, "q: ask %d %d.\n", f, q);
        buf_printf(&facts, "a: Say %d.\n", f);
    }
    o.hold = true;
    open_kitchen(&k, buf_text(&facts), NULL, o);
    for (size_t from = 0;;) {
        assert_int_equal(batch_held(k.batch, &from, &row, &e), 0);
        if (!row.n) break;
        assert_int_equal(batch_show(k.batch, &row, &held), 0);
    }
    assert_true(batch_n_held(k.batch) > 1);
    assert_int_equal(count(buf_text(&held), "<|im_start|>user"), batch_n_held(k.batch));
    char *text = show_rows(&k, BATCH_MIXED, 400);
    int n_held = 0, n_seen = 0;
    for (int i = 0; i < 240; i++) {
        char ask[32];
        snprintf(ask, sizeof ask, "ask %d %d.", i / 20, i % 20);
        bool is_held = strstr(buf_text(&held), ask), is_seen = strstr(text, ask);
        assert_false(is_held && is_seen);
        n_held += is_held;
        n_seen += is_seen;
    }
    assert_int_equal(n_held, batch_n_held(k.batch));
    assert_int_equal(n_held + n_seen, 240);
    free(text);
    buf_free(&facts);
    buf_free(&held);
    batch_row_free(&row);
    close_kitchen(&k);
}

static void rows_without_room_for_an_exchange_are_refused(void **state) {
    (void)state;
    struct kitchen k = {0};
    struct batch_options o = plain();
    struct batch *b;
    struct err e = {0};
    open_kitchen(&k, TEA, TALKS, o);
    o.row_tokens = 20;
    assert_int_equal(batch_open(&b, &k.corpus, k.model, &o, &e), ERR_USAGE);
    assert_null(b);
    assert_non_null(strstr(e.text, "rows of 20 tokens are too short"));
    close_kitchen(&k);
}

/* ---- a user's words ------------------------------------------------------------------------------------------ */

static const struct corpus_list GROUP = {.text = (const char *[]){"how do i", "how can i"}, .n = 2};
static const struct corpus SYNONYMS = {.group = (struct corpus_list *)&GROUP, .n_groups = 1};

static char *vary(struct augment_options o, uint64_t i, const char *text) {
    struct draw d = draw_open(3, i);
    struct buf b = {0};
    assert_int_equal(augment_user(&SYNONYMS, &o, &d, text, &b), 0);
    return buf_take(&b);
}

static void without_any_variation_text_stays_as_it_is(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 50; i++) {
        char *text = vary((struct augment_options){0}, i, "how do i see The letters Z?");
        assert_string_equal(text, "how do i see The letters Z?");
        free(text);
    }
}

/* Of 1000 variations: how many differ, and how many hold what. */
static size_t tally(struct augment_options o, const char *text, const char *what, size_t *holds) {
    size_t differ = 0;
    *holds = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        char *varied = vary(o, i, text);
        differ += strcmp(varied, text) != 0;
        *holds += strstr(varied, what) != NULL;
        free(varied);
    }
    return differ;
}

static void each_variation_does_its_own_work_now_and_then(void **state) {
    (void)state;
    size_t holds, differ;
    differ = tally((struct augment_options){.synonyms = true}, "so how do i see it", "so how can i see it", &holds);
    assert_int_equal(differ, holds);
    assert_in_range(differ, 250, 350);
    differ = tally((struct augment_options){.synonyms = true}, "somehow do i see it", "", &holds);
    assert_int_equal(differ, 0); /* a phrase begins where a word does, */
    differ = tally((struct augment_options){.synonyms = true}, "so how do ill men see it", "", &holds);
    assert_int_equal(differ, 0); /* and ends where one does */
    differ = tally((struct augment_options){.drops = true}, "show me the saved chat", "show me saved chat", &holds);
    assert_in_range(holds, 20, 70); /* one of two */
    assert_in_range(differ, 130, 230);
    tally((struct augment_options){.drops = true}, "how do i show the saved chat", "show saved chat", &holds);
    assert_in_range(holds, 70, 130); /* the words of a search */
    tally((struct augment_options){.drops = true}, "what is it", "what is it", &holds);
    assert_int_equal(holds, 1000); /* never all of them */
    differ = tally((struct augment_options){.typos = true}, "abc change", "abc c", &holds);
    assert_int_equal(holds, 1000);
    assert_in_range(differ, 150, 250);
    differ = tally((struct augment_options){.openers = true}, "show the context", "show the context", &holds);
    assert_int_equal(holds, 1000);
    assert_in_range(differ, 100, 220);
    differ = tally((struct augment_options){.openers = true}, "show context", "", &holds);
    assert_int_equal(differ, 0); /* too short for a greeting */
    differ = tally((struct augment_options){.noise = true}, "can you show the context", "context", &holds);
    assert_in_range(differ, 200, 450);
    assert_in_range(holds, 900, 980); /* any word may be missing */
    tally((struct augment_options){.noise = true}, "show the context", "show the context", &holds);
    assert_in_range(holds, 850, 970); /* three words stay, with a filler at most */
    tally((struct augment_options){.letters = true}, "show it", "?", &holds);
    assert_in_range(holds, 300, 400);
    tally((struct augment_options){.letters = true}, "show it", "Show", &holds);
    assert_in_range(holds, 250, 350);
}

static void names_of_commands_and_flags_are_never_changed(void **state) {
    (void)state;
    const struct augment_options all = {true, true, true, true, true, true, true, true};
    for (uint64_t i = 0; i < 2000; i++) {
        char *text = vary(all, i, "/transcript and --Temperature are names, -C too");
        assert_non_null(strstr(text, "/transcript "));
        assert_non_null(strstr(text, " --Temperature "));
        assert_non_null(strstr(text, " -C"));
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conversation_has_the_tokens_that_the_program_makes_of_it),
        cmocka_unit_test(replies_weigh_one_with_their_end_users_a_little_and_marks_nothing),
        cmocka_unit_test(the_first_tokens_of_a_reply_weigh_more),
        cmocka_unit_test(a_question_is_asked_in_two_wordings_now_and_then),
        cmocka_unit_test(words_are_taken_apart_without_changing_the_text),
        cmocka_unit_test(a_row_depends_on_its_seed_and_index_alone),
        cmocka_unit_test(known_facts_come_equally_often_and_refusals_as_often_as_asked_for),
        cmocka_unit_test(a_follow_up_comes_right_after_another_fact_of_its_topic),
        cmocka_unit_test(what_leans_on_an_answer_comes_right_after_it_and_nowhere_else),
        cmocka_unit_test(dialogues_come_whole_with_the_answers_of_facts),
        cmocka_unit_test(what_does_not_fit_is_left_out_and_the_rest_stays),
        cmocka_unit_test(held_wordings_are_asked_and_never_trained_on),
        cmocka_unit_test(rows_without_room_for_an_exchange_are_refused),
        cmocka_unit_test(without_any_variation_text_stays_as_it_is),
        cmocka_unit_test(each_variation_does_its_own_work_now_and_then),
        cmocka_unit_test(names_of_commands_and_flags_are_never_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
