/* Tests of app/slash: the table of commands, without a screen and without a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/opening.h"
#include "app/slash.h"

static char folder[64];
static struct app app;
static struct slash slash;
static struct buf printed;

static void print(void *ctx, const char *text) {
    (void)ctx;
    buf_printf(&printed, "%s\n", text);
}

static int open_all(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/kvetch-slash-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    setenv("XDG_CONFIG_HOME", folder, 1);
    app = (struct app){0};
    app.data_dir = strdup(folder);
    slash = (struct slash){.app = &app, .print = print};
    int rc = settings_open(&app.settings, NULL);
    if (!rc) rc = app_open_store(&app, false, NULL);
    return rc ? rc : opening_new(&app, NULL, &slash.conversation, NULL);
}

static int close_all(void **state) {
    (void)state;
    conversation_close(slash.conversation);
    app_close(&app);
    buf_free(&printed);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static unsigned run(const char *line) {
    unsigned todo = 99;
    struct err e = {0};
    buf_clear(&printed);
    if (slash_run(&slash, line, false, &todo, &e)) fail_msg("%s: %s", line, e.text);
    return todo;
}

/* The command must fail and say this. */
static void refuse(const char *line, const char *say) {
    unsigned todo = 99;
    struct err e = {0};
    assert_int_not_equal(slash_run(&slash, line, false, &todo, &e), 0);
    assert_int_equal(todo, 0);
    if (!strstr(e.text, say)) fail_msg("%s: \"%s\" does not say \"%s\"", line, e.text, say);
}

static void expect_printed(const char *say) {
    if (!strstr(buf_text(&printed), say)) fail_msg("\"%s\" is not in: %s", say, buf_text(&printed));
}

static void exchange(const char *user, const char *reply) {
    store_ticket t;
    struct reply r = {.finish = FINISH_STOP};
    buf_add_text(&r.text, reply);
    assert_int_equal(conversation_add_user(slash.conversation, user, strlen(user), &t, NULL), 0);
    assert_int_equal(conversation_begin_reply(slash.conversation, 1, NULL, NULL), 0);
    assert_int_equal(conversation_finish(slash.conversation, &r, &t, NULL), 0);
    assert_int_equal(store_wait(app.store, t, NULL), 0);
    buf_free(&r.text);
}

static void one_slash_is_a_command_and_two_begin_a_message(void **state) {
    (void)state;
    assert_true(slash_is_command("/help"));
    assert_false(slash_is_command("//help"));
    assert_false(slash_is_command("help"));
    assert_string_equal(slash_message("//etc/passwd"), "/etc/passwd");
    assert_string_equal(slash_message("a // b"), "a // b");
}

static void an_unknown_command_names_the_nearest(void **state) {
    (void)state;
    refuse("/hlep", "/help");
    refuse("/und", "/undo");
    refuse("/xyzzyplugh", "//");
    refuse("/", "no command");
}

static void help_lists_every_command_and_explains_one(void **state) {
    (void)state;
    assert_int_equal(run("/help"), 0);
    static const char *const all[] = {"/new", "/clear", "/regen", "/undo", "/list", "/load", "/rename", "/persona", "/system", "/set", "/stats",
                                      "/context", "/evict", "/limit", "/exit", "/quit", "/bye", "/help"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) expect_printed(all[i]);
    run("/help undo");
    assert_null(strstr(buf_text(&printed), "/regen"));
    expect_printed("exchanges");
    refuse("/help nosuch", "no command");
}

static void wrong_arguments_are_answered_with_the_right_ones(void **state) {
    (void)state;
    refuse("/load", "/load NAME|ID");
    refuse("/new x", "the command is /new:");
    refuse("/undo x", "whole number");
    refuse("/undo 0", "whole number");
    refuse("/undo", "no exchange yet");
    refuse("/regen", "no message yet");
}

static void a_command_that_changes_the_conversation_waits_for_the_reply(void **state) {
    (void)state;
    unsigned todo;
    struct err e = {0};
    assert_int_equal(slash_run(&slash, "/new", true, &todo, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "has to wait"));
    assert_int_equal(slash_run(&slash, "/help", true, &todo, &e), 0);
    assert_int_equal(slash_run(&slash, "/exit", true, &todo, &e), 0);
    assert_int_equal(todo, SLASH_LEAVE);
}

static void undo_regen_and_clear_cut_the_branch(void **state) {
    (void)state;
    exchange("one", "1");
    exchange("two", "2");
    assert_int_equal(run("/regen"), SLASH_CUT | SLASH_REPLY);
    assert_int_equal(conversation_count(slash.conversation), 4);
    assert_int_equal(run("/undo 1"), SLASH_CUT);
    assert_int_equal(conversation_count(slash.conversation), 3);
    refuse("/undo 2", "not so many");
    assert_int_equal(run("/clear"), SLASH_CUT);
    assert_int_equal(conversation_count(slash.conversation), 1);
}

static void conversations_are_named_listed_and_loaded(void **state) {
    (void)state;
    run("/list");
    expect_printed("no saved conversation");
    exchange("how do I make tea", "hot");
    run("/rename tea notes  ");
    int64_t id = conversation_row(slash.conversation)->id;
    assert_int_equal(run("/new"), SLASH_SWITCHED | SLASH_SHOW);
    assert_int_equal(conversation_n_turns(slash.conversation), 0);
    run("/list");
    expect_printed("tea notes");
    expect_printed("1 turn");
    assert_int_equal(run("/load tea notes"), SLASH_SWITCHED | SLASH_SHOW);
    assert_int_equal(conversation_row(slash.conversation)->id, id);
    assert_int_equal(conversation_n_turns(slash.conversation), 1);
    refuse("/load tee notes", "tea notes");
    assert_int_equal(conversation_row(slash.conversation)->id, id);
}

static void settings_are_shown_changed_and_checked(void **state) {
    (void)state;
    assert_int_equal(run("/set temp 0.25"), 0);
    assert_true(settings_real(app.settings, SET_TEMP) == 0.25);
    run("/set sampling.temp");
    expect_printed("0.25");
    run("/set");
    expect_printed("sampling.top_k");
    expect_printed("context.bound");
    assert_null(strstr(buf_text(&printed), "no_save")); /* what cannot be changed is not offered */
    refuse("/set temp 9999", "/set sampling.temp");
    refuse("/set tmp 1", "temp");
    refuse("/set ctx 64", "ctx-size");
    refuse("/set p x", "cannot be changed"); /* a flag alone */
    run("/set n 3");
    assert_int_equal(settings_int(app.settings, SET_PREDICT), 3);
    assert_int_equal(run("/set ctx-start 512"), SLASH_LOAD);
    refuse("/set data /elsewhere", "cannot be changed");
    assert_int_equal(run("/set model tests/vectors/llama-f32.gguf"), SLASH_LOAD);
    refuse("/set model /nope.gguf", "no such file");
    run("/set model");
    expect_printed("llama-f32.gguf");
    assert_int_equal(run("/set theme light"), SLASH_THEME);
    assert_int_equal(run("/set type_k f32"), SLASH_LOAD);
    run("/set stop END");
    const char *const *stop;
    assert_int_equal(settings_list(app.settings, SET_STOP, &stop), 1);
}

static void limits_are_checked_and_kept(void **state) {
    (void)state;
    assert_int_equal(run("/limit 4096"), 0);
    assert_int_equal(settings_int(app.settings, SET_BOUND), 4096);
    refuse("/limit 5", "/limit: '5' cannot be used; allowed: 0, or a whole number from 32");
    assert_true(setting_get(SET_BOUND)->min == KV_MIN_BOUND);
    refuse("/limit many", "/limit: 'many'");
    assert_int_equal(settings_int(app.settings, SET_BOUND), 4096);
    run("/evict stop");
    expect_printed("stop");
    assert_string_equal(settings_text(app.settings, SET_EVICT), "stop");
    refuse("/evict sometimes", "shift");
}

static void the_system_prompt_is_shown_and_changed(void **state) {
    (void)state;
    run("/system");
    expect_printed("no system prompt");
    run("/system Speak in rhyme.");
    run("/system");
    expect_printed("Speak in rhyme.");
}

static void write_persona(const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "mkdir -p %s/kvetch/personas", folder);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/kvetch/personas/%s.yaml", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void another_persona_takes_over_its_prompt_and_settings(void **state) {
    (void)state;
    write_persona("pirate", "system: Say arr.\nsampling: {temp: 0.1}\nexamples: [{user: Hi, assistant: Arr}]\n");
    write_persona("broken", "sytem: typo\n");
    assert_int_equal(run("/persona pirate") & SLASH_SWITCHED, SLASH_SWITCHED); /* nothing was said: it begins anew */
    assert_int_equal(conversation_count(slash.conversation), 3);
    assert_true(settings_real(app.settings, SET_TEMP) == 0.1);
    exchange("ahoy", "arr");
    assert_string_equal(conversation_row(slash.conversation)->persona, "pirate");
    refuse("/persona broken", "system");
    refuse("/persona priate", "pirate");
    assert_string_equal(app.persona->id, "pirate");
    write_persona("poet", "system: Rhyme.\n");
    assert_int_equal(run("/persona poet") & SLASH_SWITCHED, 0); /* goes on */
    expect_printed("goes on with poet");
    assert_string_equal(conversation_message(slash.conversation, 0)->text, "Rhyme.");
    assert_int_equal(conversation_n_turns(slash.conversation), 1);
    run("/persona");
    expect_printed("* poet");
    expect_printed("pirate");
}

/* Completions of word at the end of line, joined by commas. */
static void expect_completions(const char *line, const char *word, const char *expected) {
    struct buf b = {0};
    char **list = slash_complete(&slash, line, word);
    for (size_t i = 0; list && list[i]; i++) {
        buf_printf(&b, "%s%s", i ? "," : "", list[i]);
        free(list[i]);
    }
    free(list);
    assert_string_equal(buf_text(&b), expected);
    buf_free(&b);
}

static void completions_come_from_the_same_table(void **state) {
    (void)state;
    exchange("x", "y");
    run("/rename tea notes");
    write_persona("zebra", "system: z\n");
    expect_completions("/re", "/re", "/regen,/rename");
    expect_completions("/load ", "", "tea notes");
    expect_completions("/load tea n", "n", "notes");
    expect_completions("/load wood", "wood", "");
    expect_completions("/persona zeb", "zeb", "zebra");
    expect_completions("/set temp", "temp", "temp");
    expect_completions("/set sampling.te", "sampling.te", "sampling.temp");
    expect_completions("/set evict s", "s", "shift,slide,stop");
    expect_completions("/evict sh", "sh", "shift");
    expect_completions("/undo ", "", "");
    expect_completions("tea", "tea", "");
    expect_completions("/nosuch x", "x", "");
}

static void context_tells_what_each_message_costs_and_what_left(void **state) {
    (void)state;
    run("/context");
    expect_printed("nothing has been said");
    exchange("one", "1");
    struct worker_message mark[] = {{.n_tokens = 17, .left = true}, {.n_tokens = 4}};
    slash.mark = mark;
    slash.n_marks = 2;
    slash.first_mark = 1;
    run("/context");
    expect_printed("- user        17  one");
    expect_printed("  reply        4  1");
    expect_printed("has left the context");
    refuse("/stats", "no model");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
    const struct CMUnitTest tests[] = {
        TEST(one_slash_is_a_command_and_two_begin_a_message),
        TEST(an_unknown_command_names_the_nearest),
        TEST(help_lists_every_command_and_explains_one),
        TEST(wrong_arguments_are_answered_with_the_right_ones),
        TEST(a_command_that_changes_the_conversation_waits_for_the_reply),
        TEST(undo_regen_and_clear_cut_the_branch),
        TEST(conversations_are_named_listed_and_loaded),
        TEST(settings_are_shown_changed_and_checked),
        TEST(limits_are_checked_and_kept),
        TEST(the_system_prompt_is_shown_and_changed),
        TEST(another_persona_takes_over_its_prompt_and_settings),
        TEST(completions_come_from_the_same_table),
        TEST(context_tells_what_each_message_costs_and_what_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
