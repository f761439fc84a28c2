/* Tests of script mode, through the built program: what is on stdout to the byte, what is not on stderr, and the exit status.
 * Most use a small random model of tests/vectors; those that need a known text use stories260K with its published greedy
 * continuation, and are skipped without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cJSON.h>

#include "config/paths.h"
#include "tests/support_folder.h"
#include "tests/support_gguf.h"
#include "tests/support_program.h"

static const char model[] = "tests/vectors/llama-f32.gguf";
static const char endless[] = "tests/vectors/llama-linear-f16.gguf"; /* whose greedy reply to "x" meets no end token in 3000 */
static char *story, *greedy; /* the trained model's path and the known text; NULL: not there */

static int open_folder(void **state) {
    (void)state;
    if (!support_folder_make()) return -1;
    char *path = support_data("stories260K/greedy.txt");
    struct buf b = {0};
    story = support_data("stories260K/stories260K.gguf");
    if (path && !paths_read(path, 1 << 20, &b, NULL)) greedy = buf_take(&b);
    free(path);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    free(story);
    free(greedy);
    support_folder_remove();
    return 0;
}

static void need_story(void) {
    if (!story || !greedy) skip();
}

#define RUN(r, in, n, ...) program_run(r, in, n, (const char *const[]){__VA_ARGS__, NULL})
#define MODEL "-m", model, "--temp", "0"
#define ENDLESS "-m", endless, "--temp", "0"
#define STORY "-m", story, "--temp", "0"

static void assert_no_line(const struct buf *b) {
    if (b->len) fail_msg("stderr should be empty, holds: %s", buf_text(b));
}

static void assert_one_line(const struct buf *b) {
    const char *end = strchr(buf_text(b), '\n');
    if (!end || end[1] || strncmp(buf_text(b), "kvetch: ", 8)) fail_msg("stderr should hold one line, holds: \"%s\"", buf_text(b));
}

/* The status, nothing on stdout and one line on stderr. */
static void assert_refused(struct program_run *r, int status) {
    if (r->status != status) fail_msg("status %d instead of %d: %s", r->status, status, buf_text(&r->err));
    assert_int_equal(r->out.len, 0);
    assert_one_line(&r->err);
    program_run_free(r);
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

static void the_empty_prompt_prints_the_published_text_and_one_newline(void **state) {
    (void)state;
    need_story();
    struct program_run r;
    RUN(&r, NULL, 0, STORY, "-n", "200", "-q", "-p", "");
    assert_int_equal(r.status, 0);
    assert_no_line(&r.err);
    assert_int_equal(r.out.len, strlen(greedy) + 1);
    assert_memory_equal(r.out.data, greedy, strlen(greedy));
    assert_int_equal(r.out.data[r.out.len - 1], '\n');
    program_run_free(&r);
    RUN(&r, "", 0, STORY, "-n", "200", "-q", "-p", ""); /* an empty stdin is the same as none */
    assert_int_equal(r.out.len, strlen(greedy) + 1);
    program_run_free(&r);
}

static void every_way_of_growing_and_any_threads_give_the_same_bytes(void **state) {
    (void)state;
    need_story();
    static const char *const GROW[] = {"double", "linear:256", "auto", "fixed"}, *const THREADS[] = {"1", "2"};
    struct buf first = {0};
    for (size_t i = 0; i < 8; i++) {
        struct program_run r;
        RUN(&r, NULL, 0, STORY, "-n", "1000", "-q", "--grow", GROW[i / 2], "-t", THREADS[i % 2], "-p", "");
        assert_int_equal(r.status, 0);
        if (i) assert_string_equal(buf_text(&r.out), buf_text(&first));
        else buf_add(&first, r.out.data, r.out.len);
        program_run_free(&r);
    }
    buf_free(&first);
}

static void verbose_adds_the_figures_and_each_eviction(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, "One\nTwo\nThree\n", 14, MODEL, "-n", "40", "-c", "64", "-v", "--turns");
    assert_non_null(strstr(buf_text(&r.err), "\nweights mapped     "));
    assert_non_null(strstr(buf_text(&r.err), " tokens left the context in "));
    program_run_free(&r);
    RUN(&r, "One\nTwo\nThree\n", 14, MODEL, "-n", "40", "-c", "64", "--turns");
    assert_null(strstr(buf_text(&r.err), "weights mapped"));
    assert_null(strstr(buf_text(&r.err), " tokens left the context in "));
    program_run_free(&r);
}

static void a_stop_string_ends_the_answer_and_is_not_part_of_it(void **state) {
    (void)state;
    need_story();
    struct program_run r;
    RUN(&r, NULL, 0, STORY, "-q", "-r", " One day", "-p", "");
    assert_int_equal(r.status, 0);
    size_t n = (size_t)(strstr(greedy, " One day") - greedy);
    assert_int_equal(r.out.len, n + 1);
    assert_memory_equal(r.out.data, greedy, n);
    program_run_free(&r);
}

static void newlines_at_the_end_of_an_answer_become_one(void **state) {
    (void)state;
    need_story();
    struct program_run r;
    char *newline = strchr(greedy, '\n'), stop[16] = {0};
    memcpy(stop, newline + 1, 8); /* so that the answer ends with the newline before it */
    static const char *const STREAM[] = {"--once", "--no-stream"};
    for (int i = 0; i < 2; i++) {
        RUN(&r, NULL, 0, STORY, "-q", STREAM[i], "-r", stop, "-p", "");
        assert_int_equal(r.out.len, newline - greedy + 1);
        assert_memory_equal(r.out.data, greedy, r.out.len);
        program_run_free(&r);
    }
}

/* The prompt that was answered, as --json tells it. */
static cJSON *answer(const void *in, size_t n, const char *const *args) {
    const char *argv[24] = {"-m", model, "--temp", "0", "-n", "4", "-q", "--json"};
    size_t k = 8;
    while (*args) argv[k++] = *args++;
    struct program_run r;
    program_run(&r, in, n, argv);
    if (r.status) fail_msg("status %d: %s", r.status, buf_text(&r.err));
    cJSON *j = cJSON_Parse(buf_text(&r.out));
    assert_non_null(j);
    assert_ptr_equal(strchr(buf_text(&r.out), '\n'), r.out.data + r.out.len - 1); /* one line */
    program_run_free(&r);
    return j;
}

static void assert_asked(const void *in, size_t n, const char *const *args, const char *prompt) {
    cJSON *j = answer(in, n, args);
    const cJSON *last = cJSON_GetArrayItem(cJSON_GetObjectItem(j, "messages"), 0);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(last, "role")), "user");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(last, "content")), prompt);
    cJSON_Delete(j);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void the_prompt_comes_from_arguments_then_stdin_after_a_blank_line(void **state) {
    (void)state;
    assert_asked("a\nb\n", 4, ARGS("--once"), "a\nb");             /* one final newline is dropped */
    assert_asked("a\n\n", 3, ARGS("--once"), "a\n");
    assert_asked(NULL, 0, ARGS("Once", "upon"), "Once upon");
    assert_asked("b", 1, ARGS("a"), "a\n\nb");
    assert_asked("b", 1, ARGS("-p", "a"), "a\n\nb");
    assert_asked("b\n", 2, ARGS("a", "-"), "a\n\nb");
    assert_asked("b\n", 2, ARGS("-f", "-"), "b");
    assert_asked("", 0, ARGS("-p", "a"), "a");                     /* an empty stdin adds nothing */
    assert_asked("a\xff" "b\0c", 5, ARGS("--once"), "a\xef\xbf\xbd" "b\xef\xbf\xbd" "c");
    assert_asked(NULL, 0, ARGS("--", "-x", "list"), "-x list");    /* what follows -- is a message */
    assert_asked(NULL, 0, ARGS("listen"), "listen");               /* only like a subcommand */
}

static void a_file_is_the_prompt_without_its_final_newline(void **state) {
    (void)state;
    char *path = support_file("a file\n", 7);
    assert_asked(NULL, 0, ARGS("-f", path), "a file");
    unlink(path);
    free(path);
}

static void turns_are_answered_in_order_and_ended_by_their_separator(void **state) {
    (void)state;
    struct program_run lines, records;
    RUN(&lines, "One\nTwo", 7, MODEL, "-n", "6", "-q", "--turns");
    RUN(&records, "One\0Two", 7, MODEL, "-n", "6", "-q", "--turns=0");
    assert_int_equal(lines.status, 0);
    assert_int_equal(records.status, 0);
    assert_int_equal(lines.out.len, records.out.len);
    size_t ends = 0;
    for (size_t i = 0; i < records.out.len; i++) {
        if (!records.out.data[i]) ends++;
        assert_int_equal(lines.out.data[i], records.out.data[i] ? records.out.data[i] : '\n');
    }
    assert_int_equal(ends, 2);
    assert_no_line(&lines.err);
    program_run_free(&lines);
    program_run_free(&records);
}

static void the_turns_of_one_conversation_know_what_came_before(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, "One\nTwo\n", 8, MODEL, "-n", "6", "-q", "--turns", "--json");
    char *second = strchr(buf_text(&r.out), '\n') + 1;
    cJSON *j = cJSON_Parse(second), *messages = cJSON_GetObjectItem(j, "messages"), *usage = cJSON_GetObjectItem(j, "usage");
    assert_int_equal(cJSON_GetArraySize(messages), 3);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(usage, "cached")) > 0);
    cJSON_Delete(j);
    program_run_free(&r);
}

static void slash_commands_are_obeyed_only_where_they_were_asked_for(void **state) {
    (void)state;
    static const char in[] = "Once\n//x\n/undo\n/exit\nnever said\n";
    struct program_run r;
    RUN(&r, in, strlen(in), MODEL, "-n", "4", "-q", "--turns", "--commands", "--json");
    assert_int_equal(r.status, 0);
    assert_null(strstr(buf_text(&r.out), "never said"));
    assert_non_null(strstr(buf_text(&r.out), "\"/x\"")); /* a doubled slash begins a message */
    program_run_free(&r);
    RUN(&r, in, strlen(in), MODEL, "-n", "4", "-q", "--turns", "--json");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.out), "\"//x\""));
    assert_non_null(strstr(buf_text(&r.out), "\"never said\""));
    program_run_free(&r);
    RUN(&r, "/nonsense\n", 10, MODEL, "-q", "--turns", "--commands");
    assert_refused(&r, 2);
}

static void a_setting_that_has_the_conversation_read_again_says_so(void **state) {
    (void)state;
    struct program_run r;
    static const char in[] = "x\n/set threads 1\ny\n";
    RUN(&r, in, sizeof in - 1, MODEL, "-n", "2", "--turns", "--commands");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.err), "the conversation is read again\n"));
    program_run_free(&r);
}

static void taking_back_a_turn_leaves_the_prompt_before_it(void **state) {
    (void)state;
    static const char in[] = "Once\nTwo\n/undo\nThree\n";
    struct program_run r;
    RUN(&r, in, strlen(in), MODEL, "-n", "4", "-q", "--turns", "--commands", "--json");
    assert_int_equal(r.status, 0);
    char *third = strchr(strchr(buf_text(&r.out), '\n') + 1, '\n') + 1;
    assert_null(strstr(third, "\"Two\""));
    assert_non_null(strstr(third, "\"Once\""));
    program_run_free(&r);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

static void json_has_the_promised_fields(void **state) {
    (void)state;
    static const char *const FIELDS[] = {"id", "model", "persona", "messages", "response", "reasoning", "finish_reason", "usage", "timings",
                                         "context", "memory", "schema_version"};
    static const char *const USAGE[] = {"prompt", "cached", "completion"}, *const CONTEXT[] = {"used", "committed", "bound", "evicted_turns"};
    cJSON *j = answer(NULL, 0, ARGS("-p", "x"));
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) assert_non_null(cJSON_GetObjectItem(j, FIELDS[i]));
    for (size_t i = 0; i < 3; i++) assert_true(cJSON_IsNumber(cJSON_GetObjectItem(cJSON_GetObjectItem(j, "usage"), USAGE[i])));
    for (size_t i = 0; i < 4; i++) assert_true(cJSON_IsNumber(cJSON_GetObjectItem(cJSON_GetObjectItem(j, "context"), CONTEXT[i])));
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(j, "usage"), "completion")), 4);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(j, "finish_reason")), "length");
    assert_true(cJSON_IsString(cJSON_GetObjectItem(j, "response")));
    cJSON_Delete(j);
}

static void jsonl_is_one_event_a_line_and_its_tokens_are_the_answer(void **state) {
    (void)state;
    need_story();
    struct program_run r;
    struct buf text = {0};
    size_t n_turn = 0, n_end = 0, n_grow = 0, line = 0;
    RUN(&r, NULL, 0, STORY, "-n", "300", "-q", "--jsonl", "-p", "");
    for (char *at = r.out.data, *end; (end = strchr(at, '\n')); at = end + 1, line++) {
        cJSON *j = cJSON_ParseWithLength(at, (size_t)(end - at));
        const char *event = cJSON_GetStringValue(cJSON_GetObjectItem(j, "event"));
        assert_non_null(event);
        if (!line) assert_string_equal(event, "start");
        if (!strcmp(event, "token")) buf_add_text(&text, cJSON_GetStringValue(cJSON_GetObjectItem(j, "text")));
        n_turn += !strcmp(event, "turn");
        n_end += !strcmp(event, "end");
        n_grow += !strcmp(event, "grow");
        if (!strcmp(event, "turn")) assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(j, "response")), buf_text(&text));
        cJSON_Delete(j);
    }
    assert_int_equal(n_turn, 1);
    assert_int_equal(n_end, 1);
    assert_int_equal(n_grow, 1); /* 300 tokens, from 256 cells */
    assert_memory_equal(text.data, greedy, strlen(greedy));
    buf_free(&text);
    program_run_free(&r);
}

/* ---- ends ---------------------------------------------------------------------------------------------------- */

static void a_closed_pipe_ends_with_141_and_silence(void **state) {
    (void)state;
    struct buf err = {0};
    int out;
    pid_t pid = program_start((const char *const[]){MODEL, "-p", "x", NULL}, &out);
    close(out);
    assert_int_equal(program_wait(pid, &err), 141);
    assert_no_line(&err);
    pid = program_start((const char *const[]){"help", NULL}, &out);
    close(out);
    assert_int_equal(program_wait(pid, &err), 141);
    assert_no_line(&err);
    buf_free(&err);
}

/* Reads until the text is there, or the end. */
static void read_until(int fd, struct buf *b, const char *text) {
    char part[256];
    ssize_t n = 1;
    while (!strstr(buf_text(b), text) && n > 0)
        if ((n = read(fd, part, sizeof part)) > 0) buf_add(b, part, (size_t)n);
}

static void an_interrupt_keeps_the_partial_reply_and_ends_with_130(void **state) {
    (void)state;
    struct buf out = {0}, err = {0};
    int fd;
    pid_t pid = program_start((const char *const[]){ENDLESS, "--jsonl", "-p", "x", NULL}, &fd);
    read_until(fd, &out, "\"token\"");
    kill(pid, SIGINT);
    read_until(fd, &out, "no such text");
    close(fd);
    assert_int_equal(program_wait(pid, &err), 130);
    assert_non_null(strstr(buf_text(&out), "\"finish_reason\":\"cancel\""));
    assert_non_null(strstr(buf_text(&out), "{\"event\":\"end\",\"status\":130"));
    buf_free(&out);
    buf_free(&err);
}

/* Waits until the pipe takes no more, so that its writer is held up in the middle of a write. */
static void wait_full(int fd) {
    int held = 0, size = fcntl(fd, F_GETPIPE_SZ), same = 0;
    for (int last = -1; same < 100; last = held) {
        struct timespec ms = {.tv_nsec = 1000000};
        nanosleep(&ms, NULL);
        ioctl(fd, FIONREAD, &held);
        same = held == last && held > size / 2 ? same + 1 : 0;
    }
}

static void an_interrupt_loses_nothing_of_what_a_slow_reader_has_not_taken(void **state) {
    (void)state;
    struct buf out = {0}, err = {0};
    int fd;
    pid_t pid = program_start((const char *const[]){ENDLESS, "--jsonl", "-p", "x", NULL}, &fd);
    wait_full(fd);
    kill(pid, SIGINT);
    read_until(fd, &out, "no such text");
    close(fd);
    assert_int_equal(program_wait(pid, &err), 130);
    assert_non_null(strstr(buf_text(&out), "{\"event\":\"end\",\"status\":130"));
    for (const char *p = buf_text(&out); *p; p = strchr(p, '\n') + 1) { /* whole lines to the end */
        assert_memory_equal(p, "{\"event\":", 9);
        assert_non_null(strchr(p, '\n'));
    }
    buf_free(&out);
    buf_free(&err);
}

static void an_interrupted_reply_is_saved_as_far_as_it_came(void **state) {
    (void)state;
    struct buf out = {0}, err = {0};
    struct program_run r;
    int fd;
    pid_t pid = program_start((const char *const[]){ENDLESS, "--jsonl", "--name", "cut off", "-p", "x", NULL}, &fd);
    read_until(fd, &out, "\"token\"");
    kill(pid, SIGINT);
    read_until(fd, &out, "no such text");
    close(fd);
    assert_int_equal(program_wait(pid, &err), 130);
    char *turn = strstr(buf_text(&out), "{\"event\":\"turn\"");
    cJSON *j = cJSON_ParseWithLength(turn, strcspn(turn, "\n"));
    const char *said = cJSON_GetStringValue(cJSON_GetObjectItem(j, "response"));
    assert_true(strlen(said) > 0);
    RUN(&r, NULL, 0, ENDLESS, "-n", "2", "-q", "--json", "--resume", "cut off", "-p", "y");
    assert_int_equal(r.status, 0);
    cJSON *next = cJSON_Parse(buf_text(&r.out)), *messages = cJSON_GetObjectItem(next, "messages");
    assert_int_equal(cJSON_GetArraySize(messages), 3);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(messages, 1), "content")), said);
    cJSON_Delete(next);
    cJSON_Delete(j);
    program_run_free(&r);
    buf_free(&out);
    buf_free(&err);
}

static void an_interrupt_while_waiting_for_the_next_turn_ends_with_130(void **state) {
    (void)state;
    struct buf out = {0}, err = {0};
    int fd, in[2];
    assert_int_equal(pipe(in), 0);
    pid_t pid = program_start_with(in[0], (const char *const[]){MODEL, "-n", "2", "-q", "--turns=0", NULL}, &fd);
    assert_int_equal(write(in[1], "x", 2), 2);
    char c = 'x';
    while (c && read(fd, &c, 1) == 1) continue; /* the NUL that ends the first answer */
    kill(pid, SIGINT);
    assert_int_equal(program_wait(pid, &err), 130);
    assert_no_line(&err);
    close(in[1]);
    close(fd);
    buf_free(&out);
    buf_free(&err);
}

static void what_the_context_cannot_hold_ends_with_5(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, 0, ENDLESS, "-q", "-c", "64", "--evict", "stop", "-p", "x");
    assert_int_equal(r.status, 5);
    assert_one_line(&r.err);
    assert_true(r.out.len > 60); /* the answer so far */
    program_run_free(&r);
    char big[4096];
    memset(big, 'a', sizeof big);
    RUN(&r, big, sizeof big, MODEL, "-q", "-c", "64", "--once");
    assert_refused(&r, 5);
}

static void a_reply_goes_on_past_the_bound_and_says_what_left(void **state) {
    (void)state;
    static const char *const MODE[] = {"shift", "slide", "reseed"};
    for (int i = 0; i < 3; i++) {
        struct program_run r;
        RUN(&r, NULL, 0, ENDLESS, "-q", "-c", "64", "--evict", MODE[i], "-n", "400", "--jsonl", "-p", "x");
        assert_int_equal(r.status, 0);
        assert_non_null(strstr(buf_text(&r.out), "\"event\":\"evict\""));
        assert_non_null(strstr(buf_text(&r.out), "\"completion\":400"));
        assert_non_null(strstr(buf_text(&r.out), "\"committed\":64,")); /* no more than the bound, though memory comes in blocks */
        program_run_free(&r);
        RUN(&r, NULL, 0, ENDLESS, "-c", "64", "--evict", MODE[i], "-n", "100", "-p", "x");
        assert_non_null(strstr(buf_text(&r.err), i == 1 ? "tokens left the context\n" : "tokens of this turn left the context\n"));
        assert_non_null(strstr(buf_text(&r.err), "/64 of 64"));
        program_run_free(&r);
    }
}

static const char *itself; /* build/tests/test_script, say, has its plug-ins in build/tests/plugins */

static void a_memory_plug_in_is_named_and_one_that_is_refused_changes_nothing(void **state) {
    (void)state;
    struct program_run r, plain;
    struct buf heavy = {0};
    buf_printf(&heavy, "%.*s/plugins/heavy.so", (int)(strrchr(itself, '/') - itself), itself);
    RUN(&r, NULL, 0, ENDLESS, "-c", "64", "-n", "400", "--kv-plugin", buf_text(&heavy), "--json", "-p", "x");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.err), "the memory is heavy\n"));
    assert_non_null(strstr(buf_text(&r.out), "\"completion\":400"));
    program_run_free(&r);
    RUN(&r, NULL, 0, ENDLESS, "-c", "64", "-n", "50", "--kv-plugin", "nowhere.so", "-p", "x");
    RUN(&plain, NULL, 0, ENDLESS, "-c", "64", "-n", "50", "-p", "x");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.err), "nowhere.so"));
    assert_non_null(strstr(buf_text(&r.err), "; the default memory is used\n"));
    assert_string_equal(buf_text(&r.out), buf_text(&plain.out));
    program_run_free(&r);
    program_run_free(&plain);
    buf_free(&heavy);
}

static void wrong_usage_ends_with_2(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, 0, "--no-such-flag");
    assert_refused(&r, 2);
    RUN(&r, NULL, 0, "--temp", "hot");
    assert_refused(&r, 2);
    RUN(&r, NULL, 0, "help", "nonsense");
    assert_refused(&r, 2);
    RUN(&r, NULL, 0, MODEL);
    assert_refused(&r, 2); /* no prompt at all */
    RUN(&r, "", 0, MODEL);
    assert_refused(&r, 2);
    RUN(&r, NULL, 0, "-P", "coder", "-p", "x");
    assert_refused(&r, 3); /* no model is named: there is none to use */
    RUN(&r, NULL, 0, "info", "-P", "coder");
    assert_refused(&r, 2); /* what the command is about is missing */
}

static void a_system_prompt_larger_than_half_the_bound_is_refused_before_any_message(void **state) {
    (void)state;
    struct program_run r;
    static const char system[] = "You tell long stories of trees and of birds and of the sea, and you never stop before the end of the tale is told and all are home.";
    RUN(&r, "", 0, MODEL, "-c", "64", "-sys", system, "--turns");
    assert_non_null(strstr(buf_text(&r.err), "larger than half the bound of 64"));
    assert_refused(&r, 2);
    RUN(&r, "", 0, MODEL, "-c", "64", "-sys", system, "--evict", "stop", "--turns"); /* nothing is to leave: it may fill more */
    assert_int_equal(r.status, 0);
    program_run_free(&r);
}

static void a_file_that_is_no_model_ends_with_3(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, 0, "-m", support_folder_path("missing.gguf"), "-p", "x");
    assert_refused(&r, 3);
    RUN(&r, NULL, 0, "-m", support_folder_path(""), "-p", "x");
    assert_refused(&r, 3);
    char *empty = support_file("", 0), *text = support_file("This is a text.\n", 16), *magic = support_file("GGUF\3\0\0\0", 8);
    const char *const wrong[] = {empty, text, magic};
    for (size_t i = 0; i < 3; i++) {
        RUN(&r, NULL, 0, "-m", wrong[i], "-p", "x");
        assert_non_null(strstr(buf_text(&r.err), strrchr(wrong[i], '/')));
        assert_refused(&r, 3);
        unlink(wrong[i]);
    }
    free(empty);
    free(text);
    free(magic);
}

static void a_truncated_model_ends_with_3(void **state) {
    (void)state;
    struct buf whole = {0};
    struct program_run r;
    assert_int_equal(paths_read(model, 1 << 30, &whole, NULL), 0);
    for (size_t cut = 16; cut < whole.len; cut *= 3) {
        char *path = support_file(whole.data, whole.len - cut);
        RUN(&r, NULL, 0, "-m", path, "-p", "x");
        assert_refused(&r, 3);
        unlink(path);
        free(path);
    }
    buf_free(&whole);
}

static void malformed_models_end_with_3_and_one_line(void **state) {
    (void)state;
    char *folder = support_data("fuzz/gguf");
    DIR *d = folder ? opendir(folder) : NULL;
    free(folder);
    if (!d) skip();
    struct dirent *f;
    while ((f = readdir(d))) {
        if (f->d_name[0] == '.') continue;
        char name[300];
        struct program_run r;
        snprintf(name, sizeof name, "fuzz/gguf/%s", f->d_name);
        char *path = support_data(name);
        RUN(&r, NULL, 0, "-m", path, "-p", "x");
        if (r.status != 3) print_error("%s\n", f->d_name);
        assert_refused(&r, 3);
        free(path);
    }
    closedir(d);
}

/* ---- saved conversations ------------------------------------------------------------------------------------- */

static void a_resumed_reply_goes_on_with_the_same_bytes_without_reading_again(void **state) {
    (void)state;
    need_story();
    struct program_run r;
    struct buf all = {0};
    RUN(&r, NULL, 0, STORY, "-n", "120", "-q", "--name", "lily", "-p", "");
    assert_int_equal(r.status, 0);
    buf_add(&all, r.out.data, r.out.len - 1);
    program_run_free(&r);
    RUN(&r, NULL, 0, STORY, "-n", "50", "-q", "--resume", "lily");
    assert_int_equal(r.status, 0);
    buf_add(&all, r.out.data, r.out.len - 1);
    program_run_free(&r);
    RUN(&r, NULL, 0, STORY, "-n", "30", "--continue", "--json");
    assert_int_equal(r.status, 0);
    assert_null(strstr(buf_text(&r.err), "read again"));
    cJSON *j = cJSON_Parse(buf_text(&r.out)), *usage = cJSON_GetObjectItem(j, "usage");
    buf_add_text(&all, cJSON_GetStringValue(cJSON_GetObjectItem(j, "response")));
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(usage, "cached")) >= 169);
    assert_string_equal(buf_text(&all), greedy);
    cJSON_Delete(j);
    program_run_free(&r);
    RUN(&r, NULL, 0, "list");
    assert_non_null(strstr(buf_text(&r.out), "\t1\tlily\n"));
    program_run_free(&r);
    buf_free(&all);
}

static void a_resume_without_its_cache_reads_again_says_so_and_goes_on_alike(void **state) {
    (void)state;
    struct program_run kept, lost;
    RUN(&kept, NULL, 0, ENDLESS, "-n", "20", "-q", "--data", support_folder_path("kept"), "--name", "talk", "-p", "Hello");
    assert_int_equal(kept.status, 0);
    program_run_free(&kept);
    RUN(&lost, NULL, 0, ENDLESS, "-n", "20", "-q", "--data", support_folder_path("lost"), "--name", "talk", "-p", "Hello");
    assert_int_equal(lost.status, 0);
    program_run_free(&lost);
    assert_int_equal(unlink(support_folder_path("lost/cache/1.kv")), 0);
    RUN(&kept, NULL, 0, ENDLESS, "-n", "10", "--data", support_folder_path("kept"), "--resume", "talk", "-p", "more");
    RUN(&lost, NULL, 0, ENDLESS, "-n", "10", "--data", support_folder_path("lost"), "--resume", "talk", "-p", "more");
    assert_int_equal(lost.status, 0);
    assert_null(strstr(buf_text(&kept.err), "read again"));
    assert_non_null(strstr(buf_text(&lost.err), "read again"));
    assert_string_equal(buf_text(&kept.out), buf_text(&lost.out));
    program_run_free(&kept);
    program_run_free(&lost);
}

static void a_resume_with_another_model_reads_again_and_says_why(void **state) {
    (void)state;
    struct program_run r;
    const char *data = support_folder_path("other");
    RUN(&r, NULL, 0, ENDLESS, "-n", "4", "-q", "--data", data, "--name", "talk", "-p", "Hello");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, MODEL, "-n", "4", "--data", data, "--resume", "talk", "-p", "more");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.err), "read again: "));
    assert_non_null(strstr(buf_text(&r.err), "model"));
    program_run_free(&r);
}

static void a_resumed_conversation_remembers_its_model(void **state) {
    (void)state;
    struct program_run r;
    const char *data = support_folder_path("remembers");
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "talk", "-p", "Hello");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, "-n", "4", "-q", "--data", data, "--continue", "-p", "more");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
}

static void an_unknown_conversation_ends_with_3_and_the_nearest_name(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--name", "breakfast", "-p", "x");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, MODEL, "--resume", "breakfest", "-p", "x");
    assert_non_null(strstr(buf_text(&r.err), "breakfast"));
    assert_refused(&r, 3);
}

static void a_store_that_cannot_be_written_ends_with_1_before_computing(void **state) {
    (void)state;
    struct program_run r;
    char *file = support_file("", 0); /* a file stands where the folder should be made */
    RUN(&r, NULL, 0, MODEL, "-q", "--data", file, "--name", "x", "-p", "");
    assert_refused(&r, 1);
    unlink(file);
    free(file);
}

static void a_resumed_conversation_that_is_not_to_be_saved_is_answered_and_stays_as_it_was(void **state) {
    (void)state;
    struct program_run r, list;
    const char *data = support_folder_path("unsaved");
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "tea", "-p", "Hello");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, ENDLESS, "-n", "4", "-q", "--data", data, "--resume", "tea", "--no-save", "-p", "more");
    if (r.status) fail_msg("%s", buf_text(&r.err));
    assert_true(r.out.len > 1);
    program_run_free(&r);
    RUN(&list, NULL, 0, "list", "--data", data);
    assert_non_null(strstr(buf_text(&list.out), "\t1\ttea\n"));
    program_run_free(&list);
    RUN(&r, "/rename other\n", 14, MODEL, "--data", data, "--resume", "tea", "--no-save", "--turns", "--commands");
    assert_non_null(strstr(buf_text(&r.err), "not saved here"));
    assert_refused(&r, 2);
}

static void a_name_that_is_taken_is_refused(void **state) {
    (void)state;
    struct program_run r;
    const char *data = support_folder_path("taken");
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "tea", "-p", "Hello");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "te", "-p", "Hello"); /* only begins alike */
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "tea", "-p", "Hello");
    assert_non_null(strstr(buf_text(&r.err), "--resume"));
    assert_refused(&r, 2);
}

static void a_title_reaches_the_terminal_without_control_sequences(void **state) {
    (void)state;
    struct program_run r;
    const char *data = support_folder_path("title");
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "a\tb\nc\033[31md", "-p", "Hello");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, "list", "--data", data);
    assert_non_null(strstr(buf_text(&r.out), "\t1\ta b cd\n"));
    program_run_free(&r);
    RUN(&r, "/rename x\033[31my\n/list\n", 22, MODEL, "--data", data, "--continue", "--turns", "--commands");
    assert_int_equal(r.status, 0);
    assert_null(strchr(buf_text(&r.err), '\033'));
    assert_non_null(strstr(buf_text(&r.err), "called xy\n"));
    program_run_free(&r);
}

static void a_budget_below_a_block_is_refused_with_the_least_that_does(void **state) {
    (void)state;
    struct program_run r;
    for (int i = 0; i < 2; i++) {
        RUN(&r, NULL, 0, MODEL, "-p", "x", "-n", "1", "--budget", i ? "1k" : "0");
        assert_int_equal(r.status, 4);
        assert_non_null(strstr(buf_text(&r.err), "a --budget (context.budget) of at least "));
        program_run_free(&r);
    }
}

static void jsonl_names_the_conversation_from_its_start_and_one_without_a_turn_is_not_kept(void **state) {
    (void)state;
    struct program_run r;
    const char *data = support_folder_path("start");
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "empty", "--jsonl");
    assert_int_equal(r.status, 2);
    assert_non_null(strstr(buf_text(&r.out), "{\"event\":\"start\",\"id\":1,"));
    program_run_free(&r);
    RUN(&r, NULL, 0, "list", "--data", data);
    assert_int_equal(r.out.len, 0);
    program_run_free(&r);
    RUN(&r, NULL, 0, MODEL, "-n", "4", "-q", "--data", data, "--name", "tea", "--jsonl", "-p", "Hello");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.out), "{\"event\":\"start\",\"id\":2,"));
    assert_non_null(strstr(buf_text(&r.out), "{\"event\":\"turn\",\"id\":2,"));
    program_run_free(&r);
}

int main(int argc, char **argv) {
    (void)argc;
    itself = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_prompt_prints_the_published_text_and_one_newline),
        cmocka_unit_test(every_way_of_growing_and_any_threads_give_the_same_bytes),
        cmocka_unit_test(verbose_adds_the_figures_and_each_eviction),
        cmocka_unit_test(a_stop_string_ends_the_answer_and_is_not_part_of_it),
        cmocka_unit_test(newlines_at_the_end_of_an_answer_become_one),
        cmocka_unit_test(the_prompt_comes_from_arguments_then_stdin_after_a_blank_line),
        cmocka_unit_test(a_file_is_the_prompt_without_its_final_newline),
        cmocka_unit_test(turns_are_answered_in_order_and_ended_by_their_separator),
        cmocka_unit_test(the_turns_of_one_conversation_know_what_came_before),
        cmocka_unit_test(slash_commands_are_obeyed_only_where_they_were_asked_for),
        cmocka_unit_test(a_setting_that_has_the_conversation_read_again_says_so),
        cmocka_unit_test(taking_back_a_turn_leaves_the_prompt_before_it),
        cmocka_unit_test(json_has_the_promised_fields),
        cmocka_unit_test(jsonl_is_one_event_a_line_and_its_tokens_are_the_answer),
        cmocka_unit_test(a_closed_pipe_ends_with_141_and_silence),
        cmocka_unit_test(an_interrupt_keeps_the_partial_reply_and_ends_with_130),
        cmocka_unit_test(an_interrupt_loses_nothing_of_what_a_slow_reader_has_not_taken),
        cmocka_unit_test(an_interrupted_reply_is_saved_as_far_as_it_came),
        cmocka_unit_test(an_interrupt_while_waiting_for_the_next_turn_ends_with_130),
        cmocka_unit_test(what_the_context_cannot_hold_ends_with_5),
        cmocka_unit_test(a_reply_goes_on_past_the_bound_and_says_what_left),
        cmocka_unit_test(a_memory_plug_in_is_named_and_one_that_is_refused_changes_nothing),
        cmocka_unit_test(wrong_usage_ends_with_2),
        cmocka_unit_test(a_system_prompt_larger_than_half_the_bound_is_refused_before_any_message),
        cmocka_unit_test(a_file_that_is_no_model_ends_with_3),
        cmocka_unit_test(a_truncated_model_ends_with_3),
        cmocka_unit_test(malformed_models_end_with_3_and_one_line),
        cmocka_unit_test(a_resumed_reply_goes_on_with_the_same_bytes_without_reading_again),
        cmocka_unit_test(a_resume_without_its_cache_reads_again_says_so_and_goes_on_alike),
        cmocka_unit_test(a_resume_with_another_model_reads_again_and_says_why),
        cmocka_unit_test(a_resumed_conversation_remembers_its_model),
        cmocka_unit_test(a_resumed_conversation_that_is_not_to_be_saved_is_answered_and_stays_as_it_was),
        cmocka_unit_test(a_name_that_is_taken_is_refused),
        cmocka_unit_test(a_title_reaches_the_terminal_without_control_sequences),
        cmocka_unit_test(a_budget_below_a_block_is_refused_with_the_least_that_does),
        cmocka_unit_test(jsonl_names_the_conversation_from_its_start_and_one_without_a_turn_is_not_kept),
        cmocka_unit_test(an_unknown_conversation_ends_with_3_and_the_nearest_name),
        cmocka_unit_test(a_store_that_cannot_be_written_ends_with_1_before_computing),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
