/* Tests of both front ends in a real terminal (tmux): first the small program demo_ui, which answers each line with itself, then
 * kvetch with a model. The screen is asserted; nothing sleeps. Skipped without tmux. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support_folder.h"
#include "tests/support_gguf.h"
#include "tests/support_tmux.h"

static char demo_path[PATH_MAX]; /* of demo_ui, beside this test */

/* Runs a program under a shell that notes its process and afterwards says whether the terminal is as it was. */
static void start_watched(int columns, int rows, const char *program) {
    char command[4 * PATH_MAX];
    tmux_folder();
    snprintf(command, sizeof command,
             "trap : INT; before=$(stty -g); sh -c 'echo $$ > %s; exec %s'; echo status $?;"
             "test \"$before\" = \"$(stty -g)\" && echo terminal as before; cat",
             support_folder_path("pid"), program);
    tmux_start(columns, rows, command);
}

static void send_signal(int sig) {
    int pid = 0;
    FILE *f = fopen(support_folder_path("pid"), "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    assert_int_equal(kill(pid, sig), 0);
}

/* Starts the demo with some flags. */
static void start(int columns, int rows, const char *flags) {
    char program[PATH_MAX + 200];
    snprintf(program, sizeof program, "%s %s", demo_path, flags);
    start_watched(columns, rows, program);
}

static int stop(void **state) {
    (void)state;
    tmux_stop();
    unsetenv("EDITOR");
    unsetenv("INPUTRC");
    return 0;
}

static void say(const char *text) {
    tmux_type(text);
    tmux_key("Enter");
}

/* Row y of a screen as a string. */
static const char *row(const char *screen, int y) {
    static char out[1024];
    for (; y > 0 && screen; y--) screen = (screen = strchr(screen, '\n')) ? screen + 1 : NULL;
    snprintf(out, sizeof out, "%.*s", screen ? (int)strcspn(screen, "\n") : 0, screen ? screen : "");
    return out;
}

static void a_line_is_answered_between_transcript_and_input_stands_the_bar(void **state) {
    (void)state;
    start(100, 24, "");
    tmux_see("ready");
    tmux_see("ctx 100/512 of 1024 ▕█▌░░░░░░▏ idle 812 t/s  kv 3.2M f16 ↑2  rss 18M  free 21G  guide · tea-notes");
    say("hello there");
    tmux_see("  you said: hello there");
    tmux_see("idle");
    const char *screen = tmux_screen();
    assert_string_equal(row(screen, 0), "· ready");
    assert_string_equal(row(screen, 2), "> hello there");
    assert_string_equal(row(screen, 4), "  you said: hello there");
    assert_non_null(strstr(row(screen, 22), " ctx 121/512 of 1024"));
    assert_string_equal(row(screen, 23), ">");
    assert_string_equal(tmux_format("#{cursor_x},#{cursor_y}"), "2,23");
}

static void ctrl_c_stops_a_reply_and_what_is_there_stays(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    say("slow");
    tmux_see("going on");
    tmux_see("writing");
    tmux_key("C-c");
    tmux_see("stopped");
    tmux_see("idle");
    assert_non_null(strstr(tmux_screen(), "going on"));
}

static void ctrl_c_at_the_prompt_keeps_the_text_in_the_history_then_warns_then_leaves(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    tmux_type("half a thought");
    tmux_see("> half a thought");
    tmux_key("C-c");
    tmux_see_no("half a thought");
    tmux_key("Up");
    tmux_see("> half a thought");
    tmux_key("C-c");
    tmux_see_no("half a thought");
    tmux_key("C-c");
    tmux_see("Ctrl-C again leaves");
    tmux_type("x");
    tmux_see_no("Ctrl-C again leaves");
    tmux_key("BSpace");
    tmux_key("C-c");
    tmux_see("Ctrl-C again leaves");
    tmux_key("C-c");
    tmux_see("status 0");
    tmux_see("terminal as before");
}

static void page_up_reaches_the_first_line_and_new_text_does_not_move_the_reader(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    say("lines 300");
    tmux_see("line 300 of 300");
    tmux_see("idle");
    for (int i = 0; i < 20; i++) tmux_key("PPage");
    tmux_see("ready");
    tmux_see("below");
    say("x");
    tmux_see("you said: x"); /* a message of one's own goes to the end */
    tmux_key("C-Home");
    tmux_see("ready");
    tmux_key("NPage");
    tmux_see("line 20 of 300");
    tmux_key("C-End");
    tmux_see("you said: x");
    tmux_bytes("\033[<64;10;10M"); /* the wheel */
    tmux_see("↓ 3 below");
    tmux_bytes("\033[<65;10;10M");
    tmux_see_no("below");
}

static void a_resize_loses_nothing(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    say("the quick brown fox jumps over the lazy dog and comes back over the bridge");
    tmux_see("you said: the quick brown fox jumps over the lazy dog");
    tmux_see("idle");
    tmux_type("typing on");
    tmux_resize(40, 10);
    tmux_see("  you said: the quick brown fox jumps\n");
    tmux_see("> typing on");
    tmux_see("idle");
    tmux_resize(1, 1);
    tmux_resize(3, 2);
    tmux_resize(10, 4);
    tmux_see("> typing");
    tmux_resize(120, 30);
    tmux_see("you said: the quick brown fox jumps over the lazy dog and comes back over the bridge\n");
    tmux_see("> typing on");
    tmux_see("guide · tea-notes");
    tmux_resize(40, 10);
    tmux_see("  you said: the quick brown fox jumps\n");
    tmux_key("C-Home");
    tmux_see("· ready");
    tmux_key("Enter");
    tmux_see("you said: typing on");
}

static void a_paste_keeps_its_lines_and_the_input_grows_to_a_third(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    tmux_paste("first\nsecond\n\tthird");
    tmux_see("> first\n  second\n      third");
    tmux_key("Enter");
    tmux_see("you said: first\n  second\n      third");
    tmux_see("idle");
    tmux_paste("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\nend");
    tmux_see("  12\n  end");
    const char *screen = tmux_screen();
    assert_non_null(strstr(row(screen, 15), " ctx "));
    assert_string_equal(row(screen, 16), "  6");
    for (int i = 0; i < 12; i++) tmux_key("Up");
    tmux_see("> 1\n  2\n");
    assert_string_equal(tmux_format("#{cursor_y}"), "16");
}

static void alt_enter_and_ctrl_j_make_lines(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    tmux_type("one");
    tmux_key("C-j");
    tmux_type("two");
    tmux_key("M-Enter");
    tmux_type("three");
    tmux_see("> one\n  two\n  three");
    tmux_key("Enter");
    tmux_see("you said: one\n  two\n  three");
}

static void wide_and_joined_characters_pass_through_whole(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    say("日本語 é ẽ\u0301 \U0001F44D grün");
    tmux_see("you said: 日本語 é ẽ\u0301 \U0001F44D grün");
    tmux_type("日本");
    tmux_key("Left");
    tmux_type("x");
    tmux_see("> 日x本");
    tmux_key("BSpace");
    tmux_key("BSpace");
    tmux_see("> 本");
    tmux_key("C-u");
    tmux_key("C-k");
    say("\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466 family");
    tmux_see("you said: \U0001F468");
    tmux_see("family");
}

static void control_sequences_of_a_reply_do_not_reach_the_terminal(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    say("raw");
    tmux_see("ared");
    tmux_see(" end");
    tmux_see("idle");
    assert_string_not_equal(tmux_format("#{pane_title}"), "title");
    assert_non_null(strstr(tmux_screen(), "ready"));
}

static void readline_completes_searches_and_undoes(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    tmux_type("/h");
    tmux_key("Tab");
    tmux_see("/help     /history");
    tmux_type("e");
    tmux_see_no("/history");
    tmux_key("Tab");
    tmux_type("z");
    tmux_see("> /help z");
    tmux_key("C-w");
    tmux_key("C-w");
    tmux_type("/g");
    tmux_key("Tab");
    tmux_see("> /größe");
    tmux_key("C-_");
    tmux_key("C-a");
    tmux_key("C-k");
    say("apples");
    tmux_see("you said: apples");
    say("pears");
    tmux_see("you said: pears");
    tmux_see("idle");
    tmux_type("typed");
    tmux_key("C-r");
    tmux_type("app");
    tmux_see("(reverse-i-search)`app': apples");
    tmux_key("C-c"); /* ends the search alone */
    tmux_see("> typed");
    tmux_key("C-u");
    tmux_key("C-r");
    tmux_type("pea");
    tmux_see("`pea': pears");
    tmux_key("Right"); /* takes what was found, and moves */
    tmux_type("X");
    tmux_see("> pXears");
    tmux_key("C-e");
    tmux_key("C-u");
    tmux_key("C-r");
    tmux_type("app");
    tmux_see("`app': apples");
    tmux_key("Enter");
    tmux_see_no("reverse-i-search");
}

static void the_users_inputrc_wins(void **state) {
    (void)state;
    tmux_folder();
    const char *path = support_folder_path("inputrc");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("\"\\C-g\": \"from inputrc\"\n$if kvetch\n\"\\C-t\": kvetch-newline\n$endif\n", f);
    fclose(f);
    setenv("INPUTRC", path, 1);
    start(80, 24, "");
    tmux_see("ready");
    tmux_key("C-g");
    tmux_see("> from inputrc");
    tmux_key("C-t");
    tmux_type("more");
    tmux_see("> from inputrc\n  more");
}

static void the_editor_gets_the_text_and_gives_it_back(void **state) {
    (void)state;
    setenv("EDITOR", "sed -i s/cat/dog/", 1);
    start(80, 24, "");
    tmux_see("ready");
    tmux_type("a cat");
    tmux_key("C-g");
    tmux_see("> a dog");
    tmux_key("Enter");
    tmux_see("you said: a dog");
}

static void ctrl_z_suspends_and_comes_back_whole(void **state) {
    (void)state;
    char command[PATH_MAX + 100];
    tmux_start(80, 24, "PS1='shell: ' sh -i");
    tmux_see("shell:");
    snprintf(command, sizeof command, "%s", demo_path);
    say(command);
    tmux_see("ready");
    say("before");
    tmux_see("you said: before");
    tmux_see("idle");
    tmux_type("unsent");
    tmux_see("> unsent");
    tmux_key("C-z");
    tmux_see("shell:");
    tmux_see_no("you said: before");
    say("fg");
    tmux_see("you said: before");
    tmux_see("> unsent");
    tmux_key("Enter");
    tmux_see("you said: unsent");
}

static void ctrl_d_and_signals_give_the_terminal_back(void **state) {
    (void)state;
    static const struct { int signal; const char *status; } cases[] = {
        {0, "status 0"}, {SIGTERM, "status 130"}, {SIGHUP, "status 130"}, {SIGSEGV, "status 1" /* 139, or 1 under a sanitizer */}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(80, 24, "");
        tmux_see("ready");
        if (cases[i].signal) {
            send_signal(cases[i].signal);
        } else {
            tmux_type("x");
            tmux_key("C-d"); /* not empty: nothing to delete, nothing happens */
            tmux_key("BSpace");
            tmux_key("C-d");
        }
        tmux_see(cases[i].status);
        tmux_see("terminal as before");
        assert_string_equal(tmux_format("#{alternate_on}#{mouse_any_flag}#{cursor_flag}"), "001");
        assert_null(strstr(tmux_screen(), "ctx"));
    }
}

static void the_line_of_the_context_and_removed_entries_show(void **state) {
    (void)state;
    start(80, 24, "");
    tmux_see("ready");
    say("one");
    tmux_see("you said: one");
    tmux_see("idle");
    say("context");
    tmux_see("── above here the model no longer sees ──");
    say("two");
    tmux_see("you said: two");
    tmux_see("idle");
    say("undo");
    tmux_see_no("you said: two");
    tmux_see("you said: one");
    say("refuse");
    tmux_see("> refused text");
    tmux_key("C-u");
    say("refuse later");
    tmux_see("going on");
    tmux_type("half a thought");
    tmux_see("> half a thought");
    tmux_key("C-c");
    tmux_see("\n> refused text");
    tmux_key("Up");
    tmux_see("\n> half a thought"); /* what was being typed is not lost */
}

static void the_history_outlives_the_program(void **state) {
    (void)state;
    char flags[200];
    snprintf(flags, sizeof flags, "--history %s/history", tmux_folder());
    start(80, 24, flags);
    tmux_see("ready");
    tmux_paste("two\nlines \\n");
    tmux_key("Enter");
    tmux_see("you said: two");
    tmux_see("idle");
    tmux_key("C-d");
    tmux_see("status 0");
    start(80, 24, flags);
    tmux_see("ready");
    tmux_key("Up");
    tmux_see("> two\n  lines \\n");
}

/* Where an escape sequence chooses a foreground or a ground. */
static bool has_color(const char *screen) {
    for (const char *p = screen; (p = strstr(p, "\033[")) != NULL; p += 2)
        if ((p[2] == '3' || p[2] == '4') && p[3] >= '0' && p[3] <= '8' /* 39 and 49 are the terminal's own */) return true;
    return false;
}

static void themes_color_roles_and_bar_and_no_color_is_obeyed(void **state) {
    (void)state;
    char command[PATH_MAX + 100];
    start(80, 24, "");
    tmux_see("free 21G");
    assert_non_null(strstr(tmux_colors(), "\033[38;5;110m· ready"));
    assert_non_null(strstr(tmux_colors(), "\033[38;5;114m▕"));
    start(80, 24, "--theme light");
    tmux_see("free 21G");
    assert_non_null(strstr(tmux_colors(), "\033[38;5;30m· ready"));
    start(80, 24, "--theme mono");
    tmux_see("free 21G");
    assert_false(has_color(tmux_colors()));
    assert_non_null(strstr(tmux_colors(), "7m\033[39m\033[49m ctx")); /* reversed, in the terminal's own colours */
    snprintf(command, sizeof command, "NO_COLOR=1 %s --theme high-contrast", demo_path);
    tmux_start(80, 24, command);
    tmux_see("free 21G");
    assert_false(has_color(tmux_colors()));
    snprintf(command, sizeof command, "TERM=screen %s", demo_path); /* eight colours */
    tmux_start(80, 24, command);
    tmux_see("free 21G");
    assert_non_null(strstr(tmux_colors(), "\033[34m· ready"));
}

static void the_line_front_end_streams_and_restores_its_prompt(void **state) {
    (void)state;
    start(80, 24, "--plain");
    tmux_see("· ready\n>");
    say("hello");
    tmux_see("> hello\nyou said: hello\n ctx ");
    tmux_see("t/s");
    say("slow");
    tmux_see("> slow\ngoing on");
    tmux_key("C-c");
    tmux_see("stopped");
    tmux_type("one");
    tmux_key("C-j");
    tmux_type("two");
    tmux_key("Enter");
    tmux_see("you said: one\ntwo\n");
    tmux_paste("three\nfour");
    tmux_see("> three\nfour");
    tmux_key("Enter");
    tmux_see("you said: three\nfour\n");
    say("refuse");
    tmux_see("> refused text");
    tmux_key("C-c");
    tmux_key("C-c");
    tmux_see("Ctrl-C again leaves");
    tmux_key("C-d");
    tmux_see("status 0");
    tmux_see("terminal as before");
}

static void other_locales_and_terminals_still_show_everything(void **state) {
    (void)state;
    static const char *const cases[] = {"LC_ALL=C TERM=xterm", "LC_ALL=POSIX TERM=dumb", "-u LC_ALL -u LANG LC_CTYPE=C TERM=vt100", "TERM=nonsense",
                                        "TERM=linux LINES=3 COLUMNS=9"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[PATH_MAX + 200];
        snprintf(command, sizeof command, "env %s %s; echo status $?; cat", cases[i], demo_path);
        tmux_start(60, 10, command);
        tmux_see("ready");
        say("größe 日本");
        tmux_see("you said: größe 日本");
        tmux_see("t/s");
        tmux_type("日");
        tmux_key("Left");
        tmux_type("x");
        tmux_see("> x日");
        tmux_key("C-u");
        tmux_key("C-k");
        tmux_key("C-d");
        tmux_see("status 0");
    }
}

static void vi_mode_and_half_key_sequences_work(void **state) {
    (void)state;
    tmux_folder();
    const char *path = support_folder_path("inputrc");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("set editing-mode vi\n", f);
    fclose(f);
    setenv("INPUTRC", path, 1);
    start(80, 24, "");
    tmux_see("ready");
    say("lines 100");
    tmux_see("line 100 of 100");
    tmux_type("hello");
    tmux_key("Escape");
    tmux_see("> hello");
    tmux_type("0x");
    tmux_see("> ello");
    tmux_key("PPage");
    tmux_see("below");
    tmux_see("> ello");
    tmux_key("Enter");
    tmux_see("you said: ello");
    tmux_see("idle");
    unsetenv("INPUTRC");
    setenv("INPUTRC", "/dev/null", 1);
    start(80, 24, "");
    tmux_see("ready");
    tmux_type("draft");
    tmux_see("> draft");
    tmux_bytes("\033[");
    tmux_key("C-c");
    tmux_see_no("draft");
}

/* ---- the program itself ---- */

static char kvetch_path[PATH_MAX], model_path[PATH_MAX];

static int find_program(void **state) {
    (void)state;
    const char *program = getenv("KVETCH");
    char *model = support_data("stories260K/stories260K.gguf");
    if (!realpath(program && *program ? program : "build/kvetch", kvetch_path)) kvetch_path[0] = 0;
    if (!model || !realpath(model, model_path)) model_path[0] = 0;
    free(model);
    return 0;
}

/* Starts kvetch with the model and greedy sampling; true where both are there. */
static bool start_kvetch(int columns, int rows, const char *flags) {
    char program[3 * PATH_MAX];
    if (!kvetch_path[0]) print_message("missing: the program (KVETCH, build/kvetch)\n");
    if (!kvetch_path[0] || !model_path[0]) return false;
    snprintf(program, sizeof program, "%s -m %s --temp 0 %s", kvetch_path, model_path, flags);
    start_watched(columns, rows, program);
    return true;
}

/* With this a reply of the little model never ends: it says "time a time ... a a a a" until it is stopped. */
#define ENDLESS "--repeat-penalty 0.3"
#define ENDLESS_TEXT "a a a a a a a"

static void a_model_file_that_is_mistyped_is_named(void **state) {
    (void)state;
    char program[2 * PATH_MAX];
    if (!kvetch_path[0]) skip();
    snprintf(program, sizeof program, "%s nosuch.gguf", kvetch_path);
    start_watched(80, 24, program);
    tmux_see("nosuch.gguf: there is no such file");
    tmux_see("status 3");
}

static void a_chat_streams_resizes_leaves_and_resumes(void **state) {
    (void)state;
    if (!start_kvetch(80, 24, "")) skip();
    tmux_see("idle");
    tmux_see("> a message, or /help");
    tmux_see(" ctx 0/256 of 2048 ");
    say("Once upon a time");
    tmux_resize(40, 10);
    tmux_see_no(" ctx 0/256");
    tmux_see("idle");
    for (int i = 0; i < 6; i++) tmux_key("PPage");
    tmux_see("> Once upon a time");
    tmux_see(", there was a little girl named");
    tmux_resize(100, 30);
    tmux_see("there was a little girl named Lily. She loved to play outside in the park.");
    tmux_see(" t/s");
    assert_string_equal(row(tmux_screen(), 0), "> Once upon a time");
    tmux_key("C-d");
    tmux_see("status 0");
    tmux_see("terminal as before");
    assert_true(start_kvetch(80, 24, "--continue"));
    tmux_see("> Once upon a time");
    tmux_see("there was a little girl named Lily. She loved to play outside in the park.");
    tmux_see("idle");
    say("The dog");
    tmux_see("> The dog");
    tmux_see(" t/s");
}

static void ctrl_c_in_a_reply_keeps_its_beginning_also_for_the_next_start(void **state) {
    (void)state;
    if (!start_kvetch(80, 24, "-c 256 " ENDLESS)) skip();
    tmux_see("idle");
    say("Once upon a time");
    tmux_see(ENDLESS_TEXT);
    tmux_see("writing");
    tmux_key("C-c");
    tmux_see("stopped");
    tmux_see("idle");
    tmux_key("C-c");
    tmux_see("Ctrl-C again leaves");
    tmux_key("C-c");
    tmux_see("status 0");
    assert_true(start_kvetch(80, 24, "--continue"));
    tmux_see(ENDLESS_TEXT);
    tmux_key("C-Home");
    tmux_see("> Once upon a time");
}

static void a_terminal_that_goes_away_costs_nothing_that_was_said(void **state) {
    (void)state;
    if (!start_kvetch(80, 24, ENDLESS)) skip();
    tmux_see("idle");
    say("Once upon a time");
    tmux_see(ENDLESS_TEXT);
    send_signal(SIGHUP);
    tmux_see("status 130");
    tmux_see("terminal as before");
    assert_true(start_kvetch(80, 24, "--continue"));
    tmux_see(ENDLESS_TEXT);
    tmux_key("C-Home");
    tmux_see("> Once upon a time");
}

/* The message stands in the transcript and no longer in the input line, and nothing goes on: in one frame, so of this message. */
static bool is_answered(const char *screen, const void *message) {
    const char *prompt = strrchr(screen, '>');
    return prompt && !strstr(prompt, message) && strstr(screen, message) && strstr(screen, " idle ");
}

static void past_the_bound_the_talk_goes_on_and_what_left_is_shown(void **state) {
    (void)state;
    if (!start_kvetch(80, 24, "-c 256 -n 60 " ENDLESS)) skip();
    tmux_see("idle");
    for (int i = 0; i < 7; i++) {
        char text[40];
        snprintf(text, sizeof text, "Turn %d of the talk", i);
        say(text);
        tmux_until(is_answered, text, text);
    }
    tmux_see("/256 of 256");
    tmux_key("C-Home");
    tmux_see("> Turn 0 of the talk");
    for (int i = 0; i < 40 && !strstr(tmux_screen(), "above here the model no longer sees"); i++) tmux_key("NPage");
    tmux_see("above here the model no longer sees");
}

static void the_plain_program_answers_and_gives_the_prompt_back(void **state) {
    (void)state;
    if (!start_kvetch(100, 24, "--plain")) skip();
    tmux_see(">");
    say("/stats");
    tmux_see("\n  cache in use  ");
    say("Once upon a time");
    tmux_see("> Once upon a time\n, there was a little girl named Lily. She loved to play outside in the park.");
    tmux_see("idle ");
    tmux_see(" t/s");
    tmux_type("half");
    tmux_see("\n> half");
    tmux_key("C-u");
    tmux_key("C-d");
    tmux_see("status 0");
    tmux_see("terminal as before");
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    char self[PATH_MAX] = "";
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 1;
    snprintf(demo_path, sizeof demo_path, "%s/demo_ui", dirname(self));
    setenv("INPUTRC", "/dev/null", 1);
#define SCREEN(test) cmocka_unit_test_teardown(test, stop)
#define PROGRAM(test) cmocka_unit_test_setup_teardown(test, find_program, stop)
    const struct CMUnitTest tests[] = {
        SCREEN(a_line_is_answered_between_transcript_and_input_stands_the_bar),
        SCREEN(ctrl_c_stops_a_reply_and_what_is_there_stays),
        SCREEN(ctrl_c_at_the_prompt_keeps_the_text_in_the_history_then_warns_then_leaves),
        SCREEN(page_up_reaches_the_first_line_and_new_text_does_not_move_the_reader),
        SCREEN(a_resize_loses_nothing),
        SCREEN(a_paste_keeps_its_lines_and_the_input_grows_to_a_third),
        SCREEN(alt_enter_and_ctrl_j_make_lines),
        SCREEN(wide_and_joined_characters_pass_through_whole),
        SCREEN(control_sequences_of_a_reply_do_not_reach_the_terminal),
        SCREEN(readline_completes_searches_and_undoes),
        SCREEN(the_users_inputrc_wins),
        SCREEN(the_editor_gets_the_text_and_gives_it_back),
        SCREEN(ctrl_z_suspends_and_comes_back_whole),
        SCREEN(ctrl_d_and_signals_give_the_terminal_back),
        SCREEN(the_line_of_the_context_and_removed_entries_show),
        SCREEN(the_history_outlives_the_program),
        SCREEN(themes_color_roles_and_bar_and_no_color_is_obeyed),
        SCREEN(the_line_front_end_streams_and_restores_its_prompt),
        SCREEN(other_locales_and_terminals_still_show_everything),
        SCREEN(vi_mode_and_half_key_sequences_work),
        PROGRAM(a_model_file_that_is_mistyped_is_named),
        PROGRAM(a_chat_streams_resizes_leaves_and_resumes),
        PROGRAM(ctrl_c_in_a_reply_keeps_its_beginning_also_for_the_next_start),
        PROGRAM(a_terminal_that_goes_away_costs_nothing_that_was_said),
        PROGRAM(past_the_bound_the_talk_goes_on_and_what_left_is_shown),
        PROGRAM(the_plain_program_answers_and_gives_the_prompt_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
