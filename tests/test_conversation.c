/* Tests of app/conversation: the branch in memory against what the store gives back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/conversation.h"
#include "config/buf.h"

static char folder[64];
static struct store *store;

static int open_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/kvetch-talk-XXXXXX");
    return mkdtemp(folder) ? store_open(&store, folder, false, NULL) : -1;
}

static int remove_folder(void **state) {
    (void)state;
    store_close(store);
    store = NULL;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct conversation *begin(struct store *s, const char *system) {
    struct conversation *c;
    assert_int_equal(conversation_new(&c, s, &(struct conversation_start){.system = system, .persona = "guide"}, NULL), 0);
    return c;
}

static void say(struct conversation *c, const char *text) {
    store_ticket t;
    assert_int_equal(conversation_add_user(c, text, strlen(text), &t, NULL), 0);
    if (t) assert_int_equal(store_wait(store, t, NULL), 0);
}

static void answer_as(struct conversation *c, const char *text, enum finish_reason finish) {
    int32_t ids[] = {7, 8};
    struct reply r = {.finish = finish, .tokens = {.id = ids, .n = 2}, .n_completion = 2};
    store_ticket t;
    assert_int_equal(conversation_begin_reply(c, 99, "{}", NULL), 0);
    buf_add_text(&r.text, text);
    assert_int_equal(conversation_finish(c, &r, &t, NULL), 0);
    if (t) assert_int_equal(store_wait(store, t, NULL), 0);
    buf_free(&r.text);
}

static void answer(struct conversation *c, const char *text) { answer_as(c, text, FINISH_STOP); }

/* The prompt as "role:text|...", s, u and a for the roles, ids marked. */
static void expect_prompt(struct conversation *c, const char *expected) {
    const struct chat_message *m;
    size_t n, first;
    struct buf b = {0};
    assert_int_equal(conversation_prompt(c, 99, &m, &n, &first, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, "%c:%.*s%s|", "sua"[m[i].role], (int)m[i].n_text, m[i].text, m[i].n_ids ? "#" : "");
        assert_string_equal(conversation_message(c, first + i)->text, m[i].text);
    }
    assert_string_equal(buf_text(&b), expected);
    buf_free(&b);
}

/* Closes c, opens it again from a store opened anew, and expects the same prompt. */
static struct conversation *reopen(struct conversation *c, const char *expected) {
    int64_t id = conversation_row(c)->id;
    expect_prompt(c, expected);
    conversation_close(c);
    store_close(store);
    assert_int_equal(store_open(&store, folder, false, NULL), 0);
    assert_int_equal(conversation_open(&c, store, id, NULL), 0);
    expect_prompt(c, expected);
    return c;
}

static size_t count_conversations(void) {
    struct store_conversation *all;
    size_t n;
    assert_int_equal(store_list(store, &all, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) store_conversation_free(&all[i]);
    free(all);
    return n;
}

static void a_conversation_comes_back_as_it_was(void **state) {
    (void)state;
    static const struct persona_example examples[] = {{(char *)"Water?", (char *)"Soft."}};
    struct conversation *c;
    assert_int_equal(conversation_new(&c, store, &(struct conversation_start){.system = "Be brief.", .example = examples, .n_examples = 1}, NULL), 0);
    assert_int_equal(count_conversations(), 0); /* nothing was said yet */
    say(c, "Tea?");
    answer(c, "Green.");
    c = reopen(c, "s:Be brief.|u:Water?|a:Soft.|u:Tea?|a:Green.#|");
    assert_int_equal(conversation_n_turns(c), 1);
    assert_int_equal(conversation_row(c)->n_turns, 1);
    const struct store_message *m = conversation_message(c, 4);
    assert_false(m->partial);
    assert_string_equal(m->finish_reason, "stop");
    assert_non_null(strstr(m->timings, "\"completion\":2"));
    assert_string_equal(conversation_row(c)->title, "Tea?");
    conversation_close(c);
}

static void ids_are_for_the_model_that_wrote_them(void **state) {
    (void)state;
    struct conversation *c = begin(store, "");
    say(c, "u");
    answer(c, "a");
    const struct chat_message *m;
    size_t n, first;
    assert_int_equal(conversation_prompt(c, 98, &m, &n, &first, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(first, 1);
    assert_null(m[1].id);
    conversation_close(c);
}

static void a_regenerated_reply_is_a_sibling(void **state) {
    (void)state;
    struct conversation *c = begin(store, NULL);
    assert_int_equal(conversation_regenerate(c, NULL), ERR_USAGE);
    say(c, "u");
    answer(c, "one");
    assert_int_equal(conversation_regenerate(c, NULL), 0);
    expect_prompt(c, "u:u|");
    answer(c, "two");
    size_t place, of;
    conversation_place(c, 2, &place, &of);
    assert_int_equal(place, 2);
    assert_int_equal(of, 2);
    c = reopen(c, "u:u|a:two#|");
    conversation_close(c);
}

static void undo_clear_and_edit_leave_the_old_branch_in_the_store(void **state) {
    (void)state;
    struct conversation *c = begin(store, "s");
    struct err e = {0};
    assert_int_equal(conversation_undo(c, 1, &e), ERR_USAGE);
    for (int i = 0; i < 3; i++) {
        say(c, (const char *[]){"a", "b", "c"}[i]);
        answer(c, "!");
    }
    int64_t old = conversation_row(c)->head;
    assert_int_equal(conversation_undo(c, 4, &e), ERR_USAGE);
    assert_int_equal(conversation_undo(c, 0, &e), ERR_USAGE);
    assert_int_equal(conversation_undo(c, 2, NULL), 0);
    c = reopen(c, "s:s|u:a|a:!#|");
    store_ticket t;
    assert_int_equal(conversation_edit(c, 1, "A", 1, &t, NULL), 0);
    c = reopen(c, "s:s|u:A|");
    assert_int_equal(conversation_clear(c, NULL), 0);
    c = reopen(c, "s:s|");
    struct store_message *m;
    size_t n;
    assert_int_equal(store_branch(store, conversation_row(c)->id, old, &m, &n, NULL), 0);
    assert_int_equal(n, 7);
    for (size_t i = 0; i < n; i++) store_message_free(&m[i]);
    free(m);
    conversation_close(c);
}

static void a_refused_message_is_as_if_it_had_not_been_said(void **state) {
    (void)state;
    struct conversation *c = begin(store, "s");
    say(c, "too long");
    assert_int_equal(conversation_begin_reply(c, 1, NULL, NULL), 0);
    conversation_drop_reply(c);
    conversation_take_back(c);
    assert_int_equal(count_conversations(), 0);
    say(c, "short");
    answer(c, "ok");
    say(c, "too long again");
    conversation_take_back(c);
    c = reopen(c, "s:s|u:short|a:ok#|");
    say(c, "and on");
    assert_int_equal(conversation_message(c, 3)->parent, conversation_message(c, 2)->id);
    conversation_close(c);
}

static void a_stopped_reply_stays_and_an_empty_one_does_not(void **state) {
    (void)state;
    struct conversation *c = begin(store, "");
    say(c, "u");
    answer_as(c, "", FINISH_CANCEL);
    expect_prompt(c, "u:u|");
    answer_as(c, "half of", FINISH_CANCEL);
    c = reopen(c, "u:u|a:half of#|");
    assert_true(conversation_message(c, 2)->partial);
    assert_string_equal(conversation_message(c, 2)->finish_reason, "cancel");
    conversation_close(c);
}

static const struct store_message *stored_leaf(struct store_message **branch, size_t *n) {
    struct store_conversation row;
    assert_int_equal(store_last(store, &row, NULL), 0);
    assert_int_equal(store_branch(store, row.id, row.head, branch, n, NULL), 0);
    store_conversation_free(&row);
    return &(*branch)[*n - 1];
}

static void expect_leaf(const char *text, bool partial) {
    struct store_message *m;
    size_t n;
    const struct store_message *leaf = stored_leaf(&m, &n);
    assert_string_equal(leaf->text, text);
    assert_int_equal(leaf->partial, partial);
    for (size_t i = 0; i < n; i++) store_message_free(&m[i]);
    free(m);
}

static void a_streaming_reply_is_written_at_once_and_then_every_second(void **state) {
    (void)state;
    struct conversation *c = begin(store, "");
    say(c, "u");
    assert_int_equal(conversation_begin_reply(c, 1, NULL, NULL), 0);
    expect_leaf("", true);
    assert_int_equal(conversation_extend(c, "One", 3, 5e6, NULL), 0);
    expect_leaf("One", true);
    assert_int_equal(conversation_extend(c, " two", 4, 5.5e6, NULL), 0);
    expect_leaf("One", true);
    assert_int_equal(conversation_extend(c, "", 0, 6e6, NULL), 0);
    expect_leaf("One two", true);
    conversation_close(c);
}

static void a_reply_cut_off_by_a_crash_is_partial(void **state) {
    (void)state;
    int ready[2];
    store_close(store); /* a process with one thread alone may fork and start others */
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        struct store *s;
        struct conversation *c;
        store_ticket t;
        if (store_open(&s, folder, false, NULL) || conversation_new(&c, s, &(struct conversation_start){0}, NULL)) _exit(1);
        if (conversation_add_user(c, "tell", 4, &t, NULL) || store_wait(s, t, NULL) || conversation_begin_reply(c, 1, NULL, NULL)) _exit(1);
        if (conversation_extend(c, "Once upon", 9, 1e6, NULL)) _exit(1);
        struct store_conversation row; /* a read waits for what was written before it */
        if (store_last(s, &row, NULL) || write(ready[1], "", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(store_open(&store, folder, false, NULL), 0);
    expect_leaf("Once upon", true);
    struct store_conversation row;
    struct conversation *c;
    assert_int_equal(store_last(store, &row, NULL), 0);
    assert_int_equal(conversation_open(&c, store, row.id, NULL), 0);
    store_conversation_free(&row);
    expect_prompt(c, "u:tell|a:Once upon|");
    assert_true(conversation_message(c, 2)->partial);
    assert_string_equal(conversation_row(c)->title, "tell");
    conversation_close(c);
}

static void a_reply_that_never_began_is_not_resumed(void **state) {
    (void)state;
    struct conversation *c = begin(store, "");
    say(c, "u");
    assert_int_equal(conversation_begin_reply(c, 1, NULL, NULL), 0);
    int64_t id = conversation_row(c)->id;
    conversation_close(c);
    assert_int_equal(conversation_open(&c, store, id, NULL), 0);
    expect_prompt(c, "u:u|");
    answer(c, "now");
    assert_false(conversation_diverged(c));
    c = reopen(c, "u:u|a:now#|");
    conversation_close(c);
}

static void two_programs_in_one_conversation_are_told(void **state) {
    (void)state;
    struct conversation *a = begin(store, ""), *b;
    say(a, "u");
    answer(a, "1");
    assert_int_equal(conversation_open(&b, store, conversation_row(a)->id, NULL), 0);
    say(a, "of a");
    assert_false(conversation_diverged(a));
    conversation_close(b);

    struct store *other;
    assert_int_equal(store_open(&other, folder, false, NULL), 0);
    assert_int_equal(conversation_open(&b, other, conversation_row(a)->id, NULL), 0);
    answer(a, "2");
    store_ticket t;
    assert_int_equal(conversation_add_user(b, "of b", 4, &t, NULL), 0);
    assert_int_equal(store_wait(other, t, NULL), 0);
    assert_true(conversation_diverged(b));
    say(a, "on");
    assert_true(conversation_diverged(a));
    assert_false(conversation_diverged(a));
    conversation_close(b);
    store_close(other);
    expect_prompt(a, "u:u|a:1#|u:of a|a:2#|u:on|");
    conversation_close(a);
}

static void what_a_full_disk_refused_is_written_when_there_is_room_again(void **state) {
    (void)state;
    static char big[2 << 20];
    memset(big, 'b', sizeof big - 1);
    struct conversation *c = begin(store, "");
    say(c, "u");
    answer(c, "a");
    struct rlimit was, small;
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = 1 << 20;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    store_ticket t;
    int rc = conversation_add_user(c, big, sizeof big - 1, &t, NULL);
    int waited = store_wait(store, t, NULL);
    int32_t id = 1;
    struct reply r = {.finish = FINISH_STOP, .tokens = {.id = &id, .n = 1}};
    buf_add_text(&r.text, "long");
    conversation_begin_reply(c, 99, NULL, NULL);
    conversation_finish(c, &r, &t, NULL);
    buf_free(&r.text);
    bool failed = store_wait(store, t, NULL) && store_failed(store, NULL);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(rc, 0);
    assert_int_equal(waited, ERR_FAILED);
    assert_true(failed);
    say(c, "again");
    assert_false(store_failed(store, NULL));
    int64_t saved = conversation_row(c)->id;
    conversation_close(c);
    assert_int_equal(conversation_open(&c, store, saved, NULL), 0);
    assert_int_equal(conversation_count(c), 6);
    assert_int_equal(conversation_message(c, 3)->n_text, sizeof big - 1);
    assert_string_equal(conversation_message(c, 4)->text, "long");
    assert_string_equal(conversation_message(c, 5)->text, "again");
    conversation_close(c);
}

static void without_a_store_nothing_is_saved_and_all_else_works(void **state) {
    (void)state;
    struct conversation *c = begin(NULL, "s");
    say(c, "u");
    answer(c, "one");
    assert_int_equal(conversation_regenerate(c, NULL), 0);
    answer(c, "two");
    expect_prompt(c, "s:s|u:u|a:two#|");
    assert_int_equal(conversation_row(c)->id, 0);
    assert_false(conversation_diverged(c));
    assert_int_equal(conversation_set_system(c, "t", NULL), 0);
    say(c, "v");
    conversation_take_back(c);
    expect_prompt(c, "s:t|u:u|a:two#|");
    conversation_close(c);
    assert_int_equal(count_conversations(), 0);
}

static void a_new_system_prompt_and_title_are_kept(void **state) {
    (void)state;
    struct conversation *c = begin(store, NULL);
    assert_int_equal(conversation_set_title(c, "mine", NULL), 0);
    say(c, "u");
    assert_int_equal(conversation_set_system(c, "Rhyme.", NULL), 0);
    answer(c, "a");
    assert_int_equal(conversation_set_model(c, "coder", "m.gguf", NULL), 0);
    c = reopen(c, "s:Rhyme.|u:u|a:a#|");
    assert_string_equal(conversation_row(c)->title, "mine");
    assert_string_equal(conversation_row(c)->persona, "coder");
    assert_string_equal(conversation_row(c)->model, "m.gguf");
    assert_int_equal(conversation_set_system(c, NULL, NULL), 0);
    c = reopen(c, "u:u|a:a#|");
    conversation_close(c);
}

static void a_title_is_a_first_line_cut_at_a_word(void **state) {
    (void)state;
    static const struct { const char *text, *title; } rows[] = {
        {"  Short one \nand more", "Short one"},
        {"exactly ten", "exactly…"},
        {"ten chars.", "ten chars."},
        {"Unbreakable", "Unbreakab…"},
        {"茶茶茶茶茶茶", "茶茶茶茶…"},
        {" \n\n", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = {0};
        assert_int_equal(conversation_make_title(rows[i].text, 10, &b), 0);
        assert_string_equal(buf_text(&b), rows[i].title);
        buf_free(&b);
    }
}

/* More of the last reply, as the model `fingerprint` would write it. */
static void go_on(struct conversation *c, uint64_t fingerprint, const char *text) {
    int32_t ids[] = {9};
    struct reply r = {.finish = FINISH_STOP, .tokens = {.id = ids, .n = 1}};
    store_ticket t;
    assert_int_equal(conversation_continue_reply(c, fingerprint, NULL), 0);
    conversation_extend(c, text, strlen(text), 1, NULL);
    buf_add_text(&r.text, text);
    assert_int_equal(conversation_finish(c, &r, &t, NULL), 0);
    assert_int_equal(store_wait(store, t, NULL), 0);
    buf_free(&r.text);
}

static void a_continued_reply_keeps_its_text_and_ids_and_adds_to_them(void **state) {
    (void)state;
    struct conversation *c = begin(store, "");
    const struct chat_message *m;
    size_t n, first;
    say(c, "Count");
    answer_as(c, "one two", FINISH_LENGTH);
    assert_int_equal(conversation_continue_reply(c, 99, NULL), 0);
    conversation_extend(c, " three", 6, 1, NULL);
    assert_int_equal(conversation_prompt(c, 99, &m, &n, &first, NULL), 0);
    assert_true(m[n - 1].open);
    assert_int_equal(m[n - 1].n_text, 7); /* what streams is not part of its own prompt */
    conversation_drop_reply(c);
    expect_prompt(c, "u:Count|a:one two#|");
    go_on(c, 99, " three");
    c = reopen(c, "u:Count|a:one two three#|");
    const struct store_message *last = conversation_message(c, conversation_count(c) - 1);
    static const int32_t IDS[] = {7, 8, 9};
    assert_int_equal(last->n_ids, 3);
    assert_memory_equal(last->ids, IDS, sizeof IDS);
    go_on(c, 100, " four"); /* another model: no list of ids is right for the whole */
    c = reopen(c, "u:Count|a:one two three four|");
    conversation_close(c);
}

static void only_a_reply_can_be_continued(void **state) {
    (void)state;
    struct conversation *c = begin(store, "Be kind.");
    assert_int_equal(conversation_continue_reply(c, 99, NULL), ERR_USAGE);
    say(c, "Hello");
    assert_int_equal(conversation_continue_reply(c, 99, NULL), ERR_USAGE);
    conversation_close(c);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(a_conversation_comes_back_as_it_was),
        TEST(ids_are_for_the_model_that_wrote_them),
        TEST(a_regenerated_reply_is_a_sibling),
        TEST(undo_clear_and_edit_leave_the_old_branch_in_the_store),
        TEST(a_refused_message_is_as_if_it_had_not_been_said),
        TEST(a_stopped_reply_stays_and_an_empty_one_does_not),
        TEST(a_streaming_reply_is_written_at_once_and_then_every_second),
        TEST(a_reply_cut_off_by_a_crash_is_partial),
        TEST(a_reply_that_never_began_is_not_resumed),
        TEST(two_programs_in_one_conversation_are_told),
        TEST(what_a_full_disk_refused_is_written_when_there_is_room_again),
        TEST(without_a_store_nothing_is_saved_and_all_else_works),
        TEST(a_new_system_prompt_and_title_are_kept),
        TEST(a_continued_reply_keeps_its_text_and_ids_and_adds_to_them),
        TEST(only_a_reply_can_be_continued),
        TEST(a_title_is_a_first_line_cut_at_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
