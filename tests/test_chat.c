/* Tests of app/chat with the real engine and store behind it and a screen of paper before it: this file is the ui that chat is linked
 * with, and a scenario plays the user. The model has random weights (tests/vectors): what it says does not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/chat.h"
#include "app/store.h"
#include "config/buf.h"
#include "config/paths.h"
#include "tests/support_folder.h"
#include "ui/ui.h"

#define LONG "Anna" /* has a reply of more tokens than the engine can be ahead of the screen */
#define WAIT_MS 20000 /* for the engine to say something; only a failure waits so long */

/* ---- a screen of paper --------------------------------------------------------------------------------------- */

struct entry {
    uint64_t id;
    enum ui_role role;
    struct buf text, note;
};
struct ui {
    struct ui_options o;
    struct ui_handlers h;
    bool leaving;
};

static struct ui paper;
static struct entry entries[64];
static size_t n_entries;
static struct ui_status status;
static char status_type[32], status_name[256];
static char input[4096];
static uint64_t context_begins;
static void (*scenario)(void);
static void (*on_append)(void); /* called once, from within the first piece of a reply */

static struct entry *find_entry(uint64_t id) {
    for (size_t i = 0; i < n_entries; i++) if (entries[i].id == id) return &entries[i];
    return NULL;
}

static void drop_entries(size_t from) {
    while (n_entries > from) {
        n_entries--;
        buf_free(&entries[n_entries].text);
        buf_free(&entries[n_entries].note);
    }
}

int ui_open(struct ui **out, const struct ui_options *o, const struct ui_handlers *h, struct err *e) {
    (void)e;
    paper = (struct ui){.o = *o, .h = *h};
    *out = &paper;
    return 0;
}
void ui_close(struct ui *u) { (void)u; }
int ui_run(struct ui *u) {
    (void)u;
    scenario();
    return 0;
}
void ui_leave(struct ui *u) { u->leaving = true; }
int ui_add(struct ui *u, uint64_t id, enum ui_role role, const char *text) {
    (void)u;
    assert_true(id > 0);
    assert_null(find_entry(id));
    assert_true(n_entries < sizeof entries / sizeof *entries);
    entries[n_entries] = (struct entry){.id = id, .role = role};
    buf_add_text(&entries[n_entries++].text, text);
    return 0;
}
int ui_append(struct ui *u, uint64_t id, const char *text, size_t n) {
    (void)u;
    struct entry *x = find_entry(id);
    assert_non_null(x);
    for (struct entry *y = x + 1; y < entries + n_entries; y++) { /* no message comes into a reply */
        if (y->role == UI_USER || y->role == UI_ASSISTANT) fail_msg("\"%s\" came into a reply", buf_text(&y->text));
    }
    buf_add(&x->text, text, n);
    void (*call)(void) = on_append;
    on_append = NULL;
    if (call) call();
    return 0;
}
void ui_mark(struct ui *u, uint64_t id, const char *note) {
    (void)u;
    struct entry *x = find_entry(id);
    if (!x) return;
    buf_clear(&x->note);
    buf_add_text(&x->note, note);
}
void ui_remove_from(struct ui *u, uint64_t id) {
    (void)u;
    struct entry *x = find_entry(id);
    if (x) drop_entries((size_t)(x - entries));
}
void ui_clear(struct ui *u) {
    (void)u;
    drop_entries(0);
}
void ui_context_begins(struct ui *u, uint64_t id) {
    (void)u;
    context_begins = id;
}
void ui_set_status(struct ui *u, const struct ui_status *st) {
    (void)u;
    status = *st;
    snprintf(status_type, sizeof status_type, "%s", st->cache_type);
    snprintf(status_name, sizeof status_name, "%s", st->conversation);
}
void ui_set_input(struct ui *u, const char *text) {
    (void)u;
    snprintf(input, sizeof input, "%s", text);
}
void ui_set_theme(struct ui *u, const char *theme) {
    (void)u;
    (void)theme;
}

/* ---- the user ------------------------------------------------------------------------------------------------ */

static void type(const char *text) { paper.h.line(paper.h.ctx, text); }

static void wake(void) { paper.h.wake(paper.h.ctx); }

static bool is_idle(void) { return status.state == UI_IDLE; }

static void until(bool (*is_so)(void), const char *what) {
    while (!is_so()) {
        struct pollfd p = {.fd = paper.o.wake_fd, .events = POLLIN};
        if (poll(&p, 1, WAIT_MS) != 1) fail_msg("the engine never came to this: %s", what);
        wake();
    }
}

static void until_idle(void) { until(is_idle, "idle"); }

static void say(const char *text) {
    type(text);
    until_idle();
}

/* The entries of a role, counted; the last of them that holds text. */
static const struct entry *see(enum ui_role role, const char *text) {
    for (size_t i = n_entries; i > 0; i--) {
        if (entries[i - 1].role == role && strstr(buf_text(&entries[i - 1].text), text)) return &entries[i - 1];
    }
    struct buf all = {0};
    for (size_t i = 0; i < n_entries; i++) buf_printf(&all, "%d %s\n", (int)entries[i].role, buf_text(&entries[i].text));
    fail_msg("\"%s\" is not in the transcript:\n%s", text, buf_text(&all));
    return NULL;
}

static size_t count(enum ui_role role) {
    size_t n = 0;
    for (size_t i = 0; i < n_entries; i++) n += entries[i].role == role;
    return n;
}

/* ---- a chat from its opening to its end ---------------------------------------------------------------------- */

static const char *data_dir;

static int chat(void (*play)(void), const char *const *flags) {
    struct app a;
    struct err e = {0};
    const char *words[40];
    char *argv[40];
    size_t n_words;
    int argc = 0;
    const char *all[] = {"kvetch", "-m", "tests/vectors/llama-f32.gguf", "--data", data_dir, "--temp", "0", "-t", "1"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) argv[argc++] = (char *)all[i];
    for (; flags && *flags; flags++) argv[argc++] = (char *)*flags;
    argv[argc] = NULL;
    drop_entries(0);
    input[0] = 0;
    context_begins = 0;
    on_append = NULL;
    scenario = play;
    if (app_open(&a, argc, argv, words, &n_words, &e) || app_configure(&a, true, &e)) fail_msg("%s", e.text);
    int rc = chat_run(&a);
    app_close(&a);
    return rc;
}

static int open_folder(void **state) {
    (void)state;
    const char *folder = support_folder_make();
    if (!folder) return -1;
    setenv("XDG_CONFIG_HOME", folder, 1);
    setenv("XDG_STATE_HOME", folder, 1);
    data_dir = strdup(support_folder_path("data"));
    return 0;
}

static int close_folder(void **state) {
    (void)state;
    drop_entries(0);
    free((char *)data_dir);
    support_folder_remove();
    return 0;
}

/* The head branch of the last conversation: "s|u:TEXT|a+|", the + for a reply that has text, ~ after a partial one, ! after one that was stopped. */
static void expect_stored(const char *expected) {
    struct store *s;
    struct store_conversation row;
    struct store_message *m;
    size_t n;
    struct buf b = {0};
    assert_int_equal(store_open(&s, data_dir, false, NULL), 0);
    if (!store_last(s, &row, NULL)) {
        assert_int_equal(store_branch(s, row.id, row.head, &m, &n, NULL), 0);
        for (size_t i = 0; i < n; i++) {
            if (m[i].role == CHAT_USER) buf_printf(&b, "u:%s|", m[i].text);
            else buf_printf(&b, "%c%s%s%s|", "sua"[m[i].role], m[i].n_text ? "+" : "", m[i].partial ? "~" : "",
                            strcmp(m[i].finish_reason, "cancel") ? "" : "!");
            store_message_free(&m[i]);
        }
        free(m);
        store_conversation_free(&row);
    }
    store_close(s);
    assert_string_equal(buf_text(&b), expected);
    buf_free(&b);
}

/* ---- scenarios ----------------------------------------------------------------------------------------------- */

static void talk_a_little(void) {
    until_idle();
    say("Tom");
    assert_int_equal(count(UI_USER), 1);
    assert_int_equal(count(UI_ASSISTANT), 1);
    assert_true(see(UI_ASSISTANT, "")->text.len > 20);
    assert_string_equal(buf_text(&see(UI_ASSISTANT, "")->note), "reached the limit of tokens");
    assert_true(status.used > 0 && status.committed >= 256 && status.bound == 2048);
    assert_true(status.rss_bytes > 1000000);
    assert_true(status.cache_bytes > 0);
    assert_string_equal(status_type, "f16");
    assert_string_equal(status_name, "Tom");
    say("/nosuch");
    see(UI_ERROR, "/nosuch");
    say("//slash");
    see(UI_USER, "/slash");
    say("   ");
    assert_int_equal(count(UI_USER), 2);
    say("/exit");
    assert_true(paper.leaving);
}

static void a_message_is_answered_and_both_are_kept(void **state) {
    (void)state;
    assert_int_equal(chat(talk_a_little, (const char *[]){"-n", "20", NULL}), 0);
    struct store *s;
    struct store_conversation row;
    assert_int_equal(store_open(&s, data_dir, false, NULL), 0);
    assert_int_equal(store_last(s, &row, NULL), 0);
    assert_int_equal(row.n_turns, 2);
    struct buf snapshot = {0};
    buf_printf(&snapshot, "%s/cache/%lld.kv", data_dir, (long long)row.id);
    assert_true(paths_is_file(buf_text(&snapshot)));
    buf_free(&snapshot);
    store_conversation_free(&row);
    store_close(s);
}

static struct buf transcript;

static void remember_transcript(struct buf *out) {
    buf_clear(out);
    for (size_t i = 0; i < n_entries; i++) {
        if (entries[i].role == UI_USER || entries[i].role == UI_ASSISTANT) buf_printf(out, "%d:%s\n", entries[i].role, buf_text(&entries[i].text));
    }
}

static void talk_and_remember(void) {
    until_idle();
    say("Tom");
    say("And then");
    remember_transcript(&transcript);
}

static void expect_instant_resume(void) {
    struct buf now = {0};
    until_idle();
    remember_transcript(&now);
    assert_string_equal(buf_text(&now), buf_text(&transcript));
    buf_free(&now);
    see(UI_NOTICE, "resumed in");
    assert_true(status.used > 20);
    say("More");
}

static void expect_reading_again(void) {
    until_idle();
    assert_int_equal(count(UI_USER), 3);
    see(UI_NOTICE, "read again");
    say("Still");
    assert_int_equal(count(UI_USER), 4);
}

static void a_conversation_resumes_from_its_snapshot_or_says_why_not(void **state) {
    (void)state;
    const char *const again[] = {"-n", "20", "--continue", NULL};
    assert_int_equal(chat(talk_and_remember, (const char *[]){"-n", "20", NULL}), 0);
    assert_int_equal(chat(expect_instant_resume, again), 0);
    char path[512];
    snprintf(path, sizeof path, "%s/cache/1.kv", data_dir);
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(chat(expect_reading_again, again), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(chat(until_idle, again), 0);
    see(UI_NOTICE, "read again");
    buf_free(&transcript);
}

static void expect_another_model(void) {
    until_idle();
    see(UI_NOTICE, "read again: ");
    say("On");
    assert_int_equal(count(UI_ASSISTANT), 3);
    assert_int_equal(count(UI_ERROR), 0);
}

static void a_conversation_goes_on_with_another_model(void **state) {
    (void)state;
    assert_int_equal(chat(talk_and_remember, (const char *[]){"-n", "20", NULL}), 0);
    assert_int_equal(chat(expect_another_model, (const char *[]){"-n", "20", "-m", "tests/vectors/llama-q5_1.gguf", "--continue", NULL}), 0);
    struct store *s;
    struct store_conversation row;
    assert_int_equal(store_open(&s, data_dir, false, NULL), 0);
    assert_int_equal(store_last(s, &row, NULL), 0);
    assert_non_null(strstr(row.model, "llama-q5_1.gguf"));
    store_conversation_free(&row);
    store_close(s);
    buf_free(&transcript);
}

static void interrupt(void) { paper.h.interrupt(paper.h.ctx); }

static void stop_a_reply(void) {
    until_idle();
    on_append = interrupt;
    say(LONG);
    assert_string_equal(buf_text(&see(UI_ASSISTANT, "")->note), "stopped");
    assert_true(see(UI_ASSISTANT, "")->text.len > 0);
    assert_int_equal(count(UI_ERROR), 0); /* the mark has said it */
}

static void ctrl_c_stops_a_reply_and_keeps_its_text(void **state) {
    (void)state;
    assert_int_equal(chat(stop_a_reply, (const char *[]){"--ctx-size", "2048", NULL}), 0);
    expect_stored("s|u:" LONG "|a+~!|");
}

static void type_two_more(void) {
    type("second");
    see(UI_NOTICE, "second");
    type("/new");
    see(UI_ERROR, "has to wait");
    type("/help");
    see(UI_NOTICE, "/undo");
    type("third");
    assert_int_equal(count(UI_USER), 1);
}

static bool all_three_are_answered(void) { return is_idle() && count(UI_USER) == 3; }

static void type_ahead(void) {
    type("first"); /* the model is not loaded yet */
    on_append = type_two_more;
    until(all_three_are_answered, "three messages answered");
    assert_int_equal(count(UI_ASSISTANT), 3);
    assert_int_equal(count(UI_NOTICE), 1); /* the help: nothing waits any more */
    const char *const order[] = {"first", "second", "third"};
    size_t next = 0;
    for (size_t i = 0; i < n_entries; i++) {
        if (entries[i].role == UI_USER) assert_string_equal(buf_text(&entries[i].text), order[next++]);
    }
}

static void messages_typed_too_early_wait_and_keep_their_order(void **state) {
    (void)state;
    assert_int_equal(chat(type_ahead, (const char *[]){"-n", "8", NULL}), 0);
}

static void say_too_much(void) {
    char text[1200] = "";
    for (int i = 0; i < 200; i++) strcat(text, "tree ");
    until_idle();
    say("Tom");
    say(text);
    assert_string_equal(input, text);
    assert_int_equal(count(UI_USER), 1);
    see(UI_ERROR, "/limit CELLS");
    say("short");
    assert_int_equal(count(UI_USER), 2);
}

static void a_message_that_does_not_fit_goes_back_to_the_input_line(void **state) {
    (void)state;
    assert_int_equal(chat(say_too_much, (const char *[]){"-c", "128", "--evict", "stop", "-n", "10", NULL}), 0);
    struct store *s;
    struct store_conversation row;
    assert_int_equal(store_open(&s, data_dir, false, NULL), 0);
    assert_int_equal(store_last(s, &row, NULL), 0);
    assert_int_equal(row.n_turns, 2);
    store_conversation_free(&row);
    store_close(s);
}

#define LONG_SYSTEM "You tell long stories of trees and of birds and of the sea, and you never stop before the end of the tale is told and all are home."

static void say_under_a_large_system_prompt(void) {
    until_idle();
    say("/system " LONG_SYSTEM);
    say("Tom");
    assert_string_equal(input, "Tom");
    assert_int_equal(count(UI_USER), 0);
    see(UI_ERROR, "kept part");
}

static void a_message_refused_for_the_settings_goes_back_too(void **state) {
    (void)state;
    assert_int_equal(chat(say_under_a_large_system_prompt, (const char *[]){"-c", "64", NULL}), 0);
    expect_stored("");
    char path[512];
    snprintf(path, sizeof path, "%s/cache/1.kv", data_dir);
    assert_false(paths_is_file(path));
}

static bool is_empty(void) { return status.used == 0; }

static void talk_past_the_bound(void) {
    until_idle();
    for (int i = 0; i < 8; i++) say("Tell me more about it");
    assert_true(context_begins > 0);
    const struct entry *x = find_entry(context_begins);
    assert_non_null(x);
    assert_int_equal(x->role, UI_USER); /* whole turns leave */
    assert_true(x > &entries[0] && x < &entries[n_entries - 1]);
    assert_true(status.used <= 128);
    say("/context");
    see(UI_NOTICE, "has left the context");
    say("/clear");
    assert_int_equal(count(UI_USER), 0);
    see(UI_NOTICE, "is empty");
    assert_int_equal(context_begins, 0);
    until(is_empty, "an empty cache");
}

static void where_the_context_begins_is_marked(void **state) {
    (void)state;
    assert_int_equal(chat(talk_past_the_bound, (const char *[]){"-c", "128", "-n", "20", NULL}), 0);
}

static void talk_unsaved(void) {
    until_idle();
    see(UI_ERROR, "not saved: ");
    assert_true(status.not_saved);
    say("Tom");
    assert_int_equal(count(UI_ASSISTANT), 1);
    assert_int_equal(count(UI_ERROR), 1);
    say("/list");
    assert_int_equal(count(UI_ERROR), 2);
}

static void a_chat_that_cannot_be_saved_goes_on_and_says_so(void **state) {
    (void)state;
    FILE *f = fopen(data_dir, "w"); /* a file where the folder should be */
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chat(talk_unsaved, (const char *[]){"-n", "8", NULL}), 0);
    assert_int_equal(chat(talk_unsaved, (const char *[]){"-n", "8", "--continue", NULL}), 1);
}

static void regenerate(void) {
    until_idle();
    say("Tom");
    say("/regen");
    assert_int_equal(count(UI_USER), 1);
    assert_int_equal(count(UI_ASSISTANT), 1);
    assert_non_null(strstr(buf_text(&see(UI_ASSISTANT, "")->note), "‹2/2›"));
    say("More");
    say("/undo");
    assert_int_equal(count(UI_USER), 1);
    see(UI_NOTICE, "taken back");
    say("/new");
    assert_int_equal(n_entries, 0);
    until(is_empty, "an empty cache");
    say("/load Tom");
    assert_int_equal(count(UI_USER), 1);
    see(UI_NOTICE, "resumed in");
}

static void commands_change_what_is_shown(void **state) {
    (void)state;
    assert_int_equal(chat(regenerate, (const char *[]){"-n", "8", NULL}), 0);
    expect_stored("s|u:Tom|a+|");
}

static bool has_text(void) { return count(UI_ASSISTANT) == 1 && see(UI_ASSISTANT, "")->text.len > 0; }

static void leave_in_mid_reply(void) {
    until_idle();
    type(LONG);
    until(has_text, "the first words of a reply");
}

static void leaving_in_mid_reply_keeps_what_was_written(void **state) {
    (void)state;
    assert_int_equal(chat(leave_in_mid_reply, NULL), 0);
    expect_stored("s|u:" LONG "|a+~!|");
}

static const char *short_lived;

static void change_a_model_that_has_gone(void) {
    until_idle();
    assert_int_equal(unlink(short_lived), 0);
    say("/set type_k f32");
    see(UI_ERROR, "no such file");
    assert_string_equal(status_type, "f16"); /* what the cache is, not what it was to be */
    say("Tom");
    assert_int_equal(count(UI_ASSISTANT), 1);
}

static void a_model_file_that_vanishes_stays_loaded_and_the_bar_tells_of_it(void **state) {
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s", support_folder_path("model.gguf"));
    short_lived = path;
    char *whole = realpath("tests/vectors/llama-f32.gguf", NULL);
    assert_non_null(whole);
    assert_int_equal(symlink(whole, path), 0);
    free(whole);
    assert_int_equal(chat(change_a_model_that_has_gone, (const char *[]){"-m", path, "-n", "8", NULL}), 0);
}

static void take_another_persona(void) {
    until_idle();
    say("/persona poet");
    say("/exit");
}

static void the_persona_at_the_end_is_the_next_chats(void **state) {
    (void)state;
    struct buf last = {0};
    assert_int_equal(paths_make_folder(support_folder_path("kvetch/personas"), NULL), 0);
    assert_int_equal(paths_write_private(support_folder_path("kvetch/personas/poet.yaml"), "system: Rhyme.\n", 15, NULL), 0);
    assert_int_equal(chat(take_another_persona, NULL), 0);
    assert_int_equal(paths_read(support_folder_path("kvetch/persona"), 100, &last, NULL), 0);
    assert_string_equal(buf_text(&last), "poet");
    buf_free(&last);
}

static void never(void) { fail_msg("the screen was opened"); }
static void wait_for_the_end(void) {
    while (!paper.leaving) {
        struct pollfd p = {.fd = paper.o.wake_fd, .events = POLLIN};
        if (poll(&p, 1, WAIT_MS) != 1) fail_msg("the chat never gave up");
        wake();
    }
}

static void what_is_not_there_ends_the_chat_with_its_status(void **state) {
    (void)state;
    assert_int_equal(chat(never, (const char *[]){"--resume", "nothing", NULL}), 3);
    assert_int_equal(chat(never, (const char *[]){"-m", "/nonexistent.gguf", NULL}), 3);
    char junk[300];
    snprintf(junk, sizeof junk, "%s", support_folder_path("junk.gguf"));
    FILE *f = fopen(junk, "w");
    assert_non_null(f);
    fputs("no model", f);
    fclose(f);
    assert_int_equal(chat(wait_for_the_end, (const char *[]){"-m", junk, NULL}), 3);
}

static void a_system_prompt_larger_than_half_the_bound_ends_the_chat_at_its_start(void **state) {
    (void)state;
    assert_int_equal(chat(wait_for_the_end, (const char *[]){"-c", "64", "-sys", LONG_SYSTEM, NULL}), 2);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_folder, close_folder)
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_answered_and_both_are_kept),
        TEST(a_conversation_resumes_from_its_snapshot_or_says_why_not),
        TEST(a_conversation_goes_on_with_another_model),
        TEST(ctrl_c_stops_a_reply_and_keeps_its_text),
        TEST(messages_typed_too_early_wait_and_keep_their_order),
        TEST(a_message_that_does_not_fit_goes_back_to_the_input_line),
        TEST(a_message_refused_for_the_settings_goes_back_too),
        TEST(where_the_context_begins_is_marked),
        TEST(a_chat_that_cannot_be_saved_goes_on_and_says_so),
        TEST(commands_change_what_is_shown),
        TEST(leaving_in_mid_reply_keeps_what_was_written),
        TEST(a_model_file_that_vanishes_stays_loaded_and_the_bar_tells_of_it),
        TEST(the_persona_at_the_end_is_the_next_chats),
        TEST(what_is_not_there_ends_the_chat_with_its_status),
        TEST(a_system_prompt_larger_than_half_the_bound_ends_the_chat_at_its_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
