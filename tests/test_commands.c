/* Tests of the subcommands, through the built program. The model is stories260K; without it the tests that need one are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cJSON.h>

#include "app/command.h"
#include "config/settings.h"
#include "config/paths.h"
#include "tests/support_folder.h"
#include "tests/support_gguf.h"
#include "tests/support_program.h"

static char *model;

static int open_folder(void **state) {
    (void)state;
    model = support_data("stories260K/stories260K.gguf");
    return support_folder_make() ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    free(model);
    support_folder_remove();
    return 0;
}

#define RUN(r, ...) program_run(r, NULL, 0, (const char *const[]){__VA_ARGS__, NULL})

static void need_model(void) {
    if (!model) skip();
}

/* What a command that succeeds prints as JSON. */
static cJSON *json_of(const char *in, const char *const *argv) {
    struct program_run r;
    program_run(&r, in, in ? strlen(in) : 0, argv);
    if (r.status) fail_msg("status %d: %s", r.status, buf_text(&r.err));
    cJSON *j = cJSON_Parse(buf_text(&r.out));
    if (!j) fail_msg("no JSON: %s", buf_text(&r.out));
    program_run_free(&r);
    return j;
}
#define JSON(in, ...) json_of(in, (const char *const[]){__VA_ARGS__, NULL})

static const char *text_of(const cJSON *j, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(j, key));
    return text ? text : "(none)";
}

static double number_of(const cJSON *j, const char *key) { return cJSON_GetNumberValue(cJSON_GetObjectItem(j, key)); }

static void info_tells_what_the_file_holds(void **state) {
    (void)state;
    need_model();
    cJSON *j = JSON(NULL, "info", model, "--json");
    assert_string_equal(text_of(j, "arch"), "llama");
    assert_int_equal(number_of(j, "layers"), 5);
    assert_int_equal(number_of(j, "kv_heads"), 4);
    assert_int_equal(number_of(j, "vocab"), 512);
    assert_int_equal(number_of(j, "ctx_train"), 2048);
    assert_string_equal(text_of(j, "vocab_model"), "llama");
    cJSON_Delete(j);
    struct program_run r;
    RUN(&r, "info", model);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.out), "llama.context_length"));
    assert_non_null(strstr(buf_text(&r.out), "\nfingerprint "));
    assert_null(strstr(buf_text(&r.out), "cannot_run"));
    program_run_free(&r);
    j = JSON(NULL, "info", model, "--json");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(j, "cannot_run")));
    assert_int_equal(number_of(cJSON_GetObjectItem(j, "metadata"), "llama.context_length"), 2048);
    assert_string_equal(text_of(cJSON_GetObjectItem(j, "metadata"), "general.architecture"), "llama");
    cJSON_Delete(j);
}

static void info_shows_what_cannot_be_run_and_says_why(void **state) {
    (void)state;
    char *vocab = support_data("vocab/qwen2.gguf");
    if (!vocab) skip();
    struct program_run r;
    RUN(&r, "info", vocab);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.out), "this file holds a vocabulary and no weights\n"));
    assert_non_null(strstr(buf_text(&r.out), "\nqwen2.block_count = 24\n"));
    program_run_free(&r);
    RUN(&r, "-m", vocab, "-p", "x");
    assert_int_equal(r.status, 3);
    assert_non_null(strstr(buf_text(&r.err), "this file holds a vocabulary and no weights\n"));
    program_run_free(&r);
    free(vocab);
}

static void tokenize_prints_ids_on_one_line(void **state) {
    (void)state;
    need_model();
    struct program_run r;
    program_run(&r, "Once upon", 9, (const char *const[]){"tokenize", "-m", model, NULL});
    assert_string_equal(buf_text(&r.out), "403 407\n"); /* the ids that begin the model's own stories */
    program_run_free(&r);
    cJSON *plain = JSON("<s>", "tokenize", "-m", model, "--json"), *special = JSON("<s>", "tokenize", "--special", "-m", model, "--json");
    assert_true(cJSON_GetArraySize(plain) > 1);
    assert_int_equal(cJSON_GetArraySize(special), 1);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetArrayItem(special, 0)), 1);
    cJSON_Delete(plain);
    cJSON_Delete(special);
}

static void logits_writes_a_row_for_each_token(void **state) {
    (void)state;
    need_model();
    struct program_run r;
    struct buf rows = {0};
    const char *path = support_folder_path("rows.f32");
    RUN(&r, "logits", "-m", model, "-o", path, "1", "403");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    assert_int_equal(paths_read(path, 1 << 20, &rows, NULL), 0);
    assert_int_equal(rows.len, 2 * 512 * sizeof(float));
    const float *x = (const float *)(const void *)rows.data;
    static const int NEXT[] = {403, 407}; /* greedy: BOS, "Once", " upon" */
    for (int row = 0; row < 2; row++)
        for (int i = 0; i < 512; i++) assert_true(x[512 * row + i] <= x[512 * row + NEXT[row]]);
    buf_free(&rows);
    RUN(&r, "logits", "-m", model, "-o", path, "512");
    assert_int_equal(r.status, 2);
    program_run_free(&r);
    RUN(&r, "logits", "-m", model, "-o", path, "-c", "32", /* one too many: nothing may be left out to make room */
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23", "24",
        "25", "26", "27", "28", "29", "30", "31", "32", "33");
    assert_int_equal(r.status, 5);
    assert_non_null(strstr(buf_text(&r.err), "33 tokens do not fit into a context of 32"));
    program_run_free(&r);
    RUN(&r, "logits", "-m", model, "1");
    assert_int_equal(r.status, 2);
    program_run_free(&r);
}

/* The figures that a test's rows must have, ended by NULL. */
struct promise {
    const char *test;
    const char *figure[5];
};

static const struct promise PROMISES[] = {
    {"bandwidth", {"per_s"}},
    {"peak", {"per_s"}},
    {"prefill", {"n", "depth", "bound", "tokens_per_s", "us"}},
    {"decode", {"n", "depth", "bound", "tokens_per_s", "us_max"}},
    {"open", {"bound", "us", "rss_bytes"}},
    {"growth", {"us_max", "us_median", "bytes", "depth"}},
    {"shift", {"n", "depth", "us"}},
    {"switch", {"depth", "us", "ratio"}},
    {"save", {"depth", "us", "bytes", "ratio"}},
    {"load", {"depth", "us", "bytes", "ratio"}},
    {"resume", {"n", "us", "ratio"}},
};
#define N_PROMISES (sizeof PROMISES / sizeof *PROMISES)

static void bench_reports_every_test_with_its_figures(void **state) {
    (void)state;
    need_model();
    size_t seen[N_PROMISES] = {0};
    cJSON *all = JSON(NULL, "bench", "-m", model, "-p", "16", "-n", "4", "-t", "1", "-d", "0,512", "-c", "1024", "--json"), *row;
    cJSON_ArrayForEach(row, all) {
        for (size_t i = 0; i < N_PROMISES; i++) {
            if (strcmp(text_of(row, "test"), PROMISES[i].test)) continue;
            seen[i]++;
            for (size_t k = 0; k < 5 && PROMISES[i].figure[k]; k++)
                if (!cJSON_IsNumber(cJSON_GetObjectItem(row, PROMISES[i].figure[k]))) fail_msg("%s lacks %s", PROMISES[i].test, PROMISES[i].figure[k]);
        }
        assert_string_equal(text_of(row, "model"), "llama");
        assert_int_equal(number_of(row, "threads"), 1);
        if (!strcmp(text_of(row, "test"), "growth")) { /* its own cost, by the cache's clock of whole microseconds: no difference of two steps */
            double us = number_of(row, "us");
            assert_true(us >= 0 && us == (double)(long)us);
        }
        if (!strcmp(text_of(row, "test"), "shift")) assert_true(number_of(row, "us") >= 0);
        if (!strcmp(text_of(row, "test"), "shift")) assert_int_equal(number_of(row, "n"), 256); /* half of 512 */
    }
    static const size_t ROWS[N_PROMISES] = {1, 2, 2, 2, 1, 2 /* 256 to 512 to 1024 */, 1, 1, 1, 1, 2};
    for (size_t i = 0; i < N_PROMISES; i++)
        if (seen[i] != ROWS[i]) fail_msg("%zu rows of %s", seen[i], PROMISES[i].test);
    cJSON_Delete(all);
}

static void bench_tells_the_perplexity_of_a_text_and_asks_for_one(void **state) {
    (void)state;
    need_model();
    cJSON *all = JSON(NULL, "bench", "-m", model, "--test", "perplexity", "-f", "LICENSE", "-c", "256", "--json"), *row = cJSON_GetArrayItem(all, 0);
    assert_int_equal(cJSON_GetArraySize(all), 1);
    assert_int_equal(number_of(row, "bound"), 256);
    assert_true(number_of(row, "n") > 300 && number_of(row, "perplexity") > 1);
    cJSON_Delete(all);
    struct program_run r;
    RUN(&r, "bench", "-m", model, "--test", "perplexity");
    assert_int_equal(r.status, 2);
    assert_non_null(strstr(buf_text(&r.err), "-f FILE"));
    program_run_free(&r);
}

static void bench_fills_what_the_bound_leaves_where_no_depth_is_named(void **state) {
    (void)state;
    need_model();
    cJSON *all = JSON(NULL, "bench", "-m", model, "--test", "clear,switch", "-c", "512", "--json");
    assert_int_equal(cJSON_GetArraySize(all), 2);
    assert_int_equal(number_of(cJSON_GetArrayItem(all, 0), "depth"), 512);
    assert_int_equal(number_of(cJSON_GetArrayItem(all, 1), "depth"), 511); /* beside the token that is computed */
    cJSON_Delete(all);
}

static void bench_refuses_what_is_no_depth_and_no_test(void **state) {
    (void)state;
    need_model();
    struct program_run r;
    static const char *const WRONG[][2] = {{"-d", "1,x"}, {"-d", ""}, {"--test", "sleep"}, {"-p", "many"}};
    for (size_t i = 0; i < 4; i++) {
        RUN(&r, "bench", "-m", model, WRONG[i][0], WRONG[i][1]);
        assert_int_equal(r.status, 2);
        program_run_free(&r);
    }
}

static void a_command_without_its_model_ends_with_2(void **state) {
    (void)state;
    static const char *const COMMAND[][7] = {
        {"info", "-P", ""}, {"tokenize", "-P", ""}, {"logits", "-P", "", "-o", "rows.f32", "1"}, {"bench", "-P", ""}};
    for (size_t i = 0; i < 4; i++) {
        struct program_run r;
        program_run(&r, "x", 1, COMMAND[i]);
        assert_int_equal(r.status, 2);
        assert_int_equal(r.out.len, 0);
        assert_non_null(strstr(buf_text(&r.err), "-m FILE"));
        program_run_free(&r);
    }
}

static void list_without_a_store_is_empty_and_makes_none(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, "list");
    assert_int_equal(r.status, 0);
    assert_int_equal(r.out.len, 0);
    program_run_free(&r);
    assert_false(paths_is_file(support_folder_path("kvetch/kvetch.db")));
    cJSON *j = JSON(NULL, "list", "--json");
    assert_int_equal(cJSON_GetArraySize(j), 0);
    cJSON_Delete(j);
}

static void list_of_a_folder_that_is_none_ends_with_3(void **state) {
    (void)state;
    struct program_run r;
    char *file = support_file("", 0);
    const char *const none[] = {support_folder_path("nowhere"), file};
    for (size_t i = 0; i < 2; i++) {
        RUN(&r, "list", "--data", none[i]);
        assert_int_equal(r.status, 3);
        assert_int_equal(r.out.len, 0);
        assert_non_null(strstr(buf_text(&r.err), none[i]));
        program_run_free(&r);
    }
    assert_false(paths_is_folder(none[0]));
    unlink(file);
    free(file);
}

static void list_and_a_turn_name_the_conversation_alike(void **state) {
    (void)state;
    need_model();
    const char *data = support_folder_path("alike");
    cJSON *turn = JSON(NULL, "-m", model, "-n", "2", "-q", "--data", data, "--name", "tea", "--json", "-p", "x");
    cJSON *list = JSON(NULL, "list", "--data", data, "--json"), *row = cJSON_GetArrayItem(list, 0);
    static const char *const SAME[] = {"id", "model", "persona", "schema_version"};
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(cJSON_GetObjectItem(turn, SAME[i]));
        assert_true(cJSON_Compare(cJSON_GetObjectItem(turn, SAME[i]), cJSON_GetObjectItem(row, SAME[i]), true));
    }
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(row, "persona")));
    assert_true(paths_is_file(text_of(row, "model")));
    int year;
    char zone = 0;
    assert_int_equal(sscanf(text_of(row, "updated"), "%4d-%*2d-%*2dT%*2d:%*2d:%*2d%c", &year, &zone), 2);
    assert_true(year > 2000 && zone == 'Z');
    cJSON_Delete(turn);
    cJSON_Delete(list);
}

/* Puts text where the program looks for its configuration. */
static void write_config(const char *text) {
    char folder[300];
    snprintf(folder, sizeof folder, "%s", support_folder_path("kvetch"));
    struct err e = {0};
    if (paths_make_folder(folder, &e) || paths_write_private(support_folder_path("kvetch/config.yaml"), text, strlen(text), &e)) fail_msg("%s", e.text);
}

/* The row of "config --json" about a setting. */
static const cJSON *setting_of(const cJSON *all, const char *key) {
    const cJSON *row, *found = NULL;
    cJSON_ArrayForEach(row, all) {
        if (strcmp(text_of(row, "setting"), key)) continue;
        assert_null(found);
        found = row;
    }
    if (!found) fail_msg("there is no %s", key);
    return found;
}

static void config_says_where_each_value_came_from(void **state) {
    (void)state;
    cJSON *all = JSON(NULL, "config", "--temp", "0.5", "--json");
    assert_true(number_of(setting_of(all, "sampling.temp"), "value") == 0.5);
    assert_string_equal(text_of(setting_of(all, "sampling.temp"), "from"), "flag --temp");
    cJSON_Delete(all);
}

static void config_shows_the_persona_that_a_chat_would_start_with(void **state) {
    (void)state;
    static const struct {
        const char *flag, *value, *persona, *from;
    } cases[] = {{"--temp", "0.5", "guide", "no model is named"}, {"-P", "coder", "coder", "flag -P"}, {"-m", "m.gguf", "(none)", "default"}};
    for (size_t i = 0; i < 3; i++) {
        cJSON *all = JSON(NULL, "config", cases[i].flag, cases[i].value, "--json");
        assert_string_equal(text_of(setting_of(all, "persona"), "value"), cases[i].persona);
        assert_string_equal(text_of(setting_of(all, "persona"), "from"), cases[i].from);
        cJSON_Delete(all);
    }
}

static void config_prints_values_of_their_types_whole_and_no_orders_for_one_run(void **state) {
    (void)state;
    struct program_run r;
    cJSON *all = JSON(NULL, "config", "-P", "coder", "--budget", "1MiB", "-r", "a b", "--json"), *row;
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(setting_of(all, "plain"), "value")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(setting_of(all, "data"), "value")));
    assert_int_equal(number_of(setting_of(all, "context.budget"), "value"), 1 << 20);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(setting_of(all, "stop"), "value")), 1);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(setting_of(all, "models.dirs"), "value")), 0);
    const char *system = text_of(setting_of(all, "system"), "value");
    assert_int_equal(system[strlen(system) - 1], '\n');
    cJSON_ArrayForEach(row, all) assert_int_not_equal(text_of(row, "setting")[0], '-');
    RUN(&r, "config", "-P", "coder");
    for (const char *line = buf_text(&r.out); *line; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") > 150) fail_msg("a long line: %s", line);
    program_run_free(&r);
    cJSON_Delete(all);
}

static void config_shows_what_a_model_was_trained_for_where_the_bound_is_left_to_it(void **state) {
    (void)state;
    need_model();
    static const struct {
        const char *bound, *from;
        int cells;
    } cases[] = {{"0", "model", 2048}, {"64", "flag -c", 64}};
    for (size_t i = 0; i < 2; i++) {
        cJSON *all = JSON(NULL, "config", "-m", model, "-c", cases[i].bound, "--json");
        assert_int_equal(number_of(setting_of(all, "context.bound"), "value"), cases[i].cells);
        assert_string_equal(text_of(setting_of(all, "context.bound"), "from"), cases[i].from);
        cJSON_Delete(all);
    }
}

/* The program must refuse this line with status 2 and say so. */
static void refused(const char *say, const char *const *argv) {
    struct program_run r;
    program_run(&r, NULL, 0, argv);
    assert_int_equal(r.status, 2);
    if (!strstr(buf_text(&r.err), say)) fail_msg("\"%s\" is not in: %s", say, buf_text(&r.err));
    program_run_free(&r);
}
#define REFUSED(say, ...) refused(say, (const char *const[]){__VA_ARGS__, NULL})

static void a_setting_that_a_command_does_not_use_is_refused(void **state) {
    (void)state;
    REFUSED("tokenize does not use the flag -p", "tokenize", "-p", "hello");
    REFUSED("list does not use the flag --temp", "list", "--temp", "1");
    REFUSED("personas does not use the flag -m", "personas", "-m", "x");
    REFUSED("-o needs a value", "logits", "-o", "-m", "x");
    for (size_t i = 0; command_get(i); i++) { /* each word is a flag or a group */
        const struct command *c = command_get(i);
        for (const char *at = c->uses; *at; at += strspn(at, " ")) {
            char word[32];
            snprintf(word, sizeof word, "%.*s", (int)strcspn(at, " "), at);
            at += strlen(word);
            bool known = setting_find_flag(word) != NULL;
            for (int id = 0; id < SETTING_COUNT; id++) known |= !strcmp(setting_get((enum setting_id)id)->group, word);
            if (!known) fail_msg("%s: %s", c->name, word);
        }
    }
    for (int id = 0; id < SETTING_COUNT; id++) { /* config takes what it has a line for */
        const struct setting *d = setting_get((enum setting_id)id);
        if (*d->flags && d->id != SET_JSON && strcmp(d->group, "Program"))
            assert_int_equal(command_uses(command_find("config"), d), d->key != NULL);
    }
}

static void a_broken_persona_in_the_configuration_does_not_stop_what_needs_none(void **state) {
    (void)state;
    struct program_run r;
    write_config("persona: nobody\n");
    RUN(&r, "personas");
    assert_int_equal(r.status, 0);
    program_run_free(&r);
    RUN(&r, "config");
    assert_int_equal(r.status, 3);
    program_run_free(&r);
    remove(support_folder_path("kvetch/config.yaml"));
}

static void flags_of_which_one_would_be_dropped_are_refused(void **state) {
    (void)state;
    REFUSED("--resume and --continue contradict", "-p", "x", "--resume", "a", "--continue");
    REFUSED("--name and --resume contradict", "-p", "x", "--resume", "a", "--name", "b");
    REFUSED("--name and --continue contradict", "-p", "x", "--continue", "--name", "b");
    REFUSED("--name and --no-save contradict", "-p", "x", "--no-save", "--name", "b");
    REFUSED("--json and --jsonl contradict", "-p", "x", "--jsonl", "--json");
    REFUSED("-sysf and -sys contradict", "-p", "x", "-sys", "a", "-sysf", "b");
    write_config("no_save: true\nsystem: s\n");
    REFUSED("--name and no_save (", "-p", "x", "--name", "b");
    struct program_run r; /* what the flags take back contradicts nothing; there is no model */
    RUN(&r, "-P", "", "-p", "x", "--name", "b", "--no-save=false", "-sysf", "/dev/null");
    assert_non_null(strstr(buf_text(&r.err), "no model"));
    program_run_free(&r);
    remove(support_folder_path("kvetch/config.yaml"));
}

static void the_configuration_file_names_a_persona_and_an_empty_flag_none(void **state) {
    (void)state;
    struct program_run r;
    write_config("persona: coder\n");
    RUN(&r, "config");
    assert_non_null(strstr(buf_text(&r.out), "experienced programmer"));
    program_run_free(&r);
    RUN(&r, "config", "-P", "");
    assert_int_equal(r.status, 0);
    assert_null(strstr(buf_text(&r.out), "experienced programmer"));
    program_run_free(&r);
    remove(support_folder_path("kvetch/config.yaml"));
}

static void a_persona_is_found_beside_a_configuration_file(void **state) {
    (void)state;
    struct program_run r;
    write_config("sampling: {temp: 0.25}\n");
    RUN(&r, "config", "-P", "assistant");
    if (r.status) fail_msg("%s", buf_text(&r.err));
    assert_non_null(strstr(buf_text(&r.out), "0.25"));
    program_run_free(&r);
    remove(support_folder_path("kvetch/config.yaml"));
}

/* A shell's line, with $K for the program. */
static int shell(const char *line) {
    char whole[900];
    const char *k = getenv("KVETCH");
    snprintf(whole, sizeof whole, "K=%s; HOME=%s; export HOME; unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME; %s", k && *k ? k : "build/kvetch",
             support_folder_path(""), line);
    int status = system(whole);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void what_the_program_opens_never_takes_the_place_of_a_closed_stdin_or_stdout(void **state) {
    (void)state;
    need_model();
    char line[600];
    snprintf(line, sizeof line, "$K -q --temp 0 -n 2 -m '%s' -p x <&- >/dev/null", model);
    assert_int_equal(shell(line), 0);
    snprintf(line, sizeof line, "$K -q --temp 0 -n 2 -m '%s' -p x <&- >&- 2>&-", model);
    assert_int_equal(shell(line), 1);
}

static void an_unknown_instruction_set_is_refused_at_the_start(void **state) {
    (void)state;
    assert_int_equal(shell("KVETCH_ISA=abacus $K --version >/dev/null 2>&1"), 2);
    assert_int_equal(shell("KVETCH_ISA=PORTABLE $K --version >/dev/null"), 0);
}

static void personas_lists_the_shipped_ones(void **state) {
    (void)state;
    cJSON *all = JSON(NULL, "personas", "--json"), *row;
    size_t found = 0;
    cJSON_ArrayForEach(row, all) found += !strcmp(text_of(row, "name"), "assistant");
    assert_int_equal(found, 1);
    cJSON_Delete(all);
}

static void help_knows_every_command_and_flag(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, "--help");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_text(&r.out), "tokenize"));
    assert_non_null(strstr(buf_text(&r.out), "--ctx-size"));
    program_run_free(&r);
    RUN(&r, "help", "bench");
    assert_non_null(strstr(buf_text(&r.out), "-d N,N..."));
    program_run_free(&r);
    RUN(&r, "help", "lst");
    assert_int_equal(r.status, 2);
    assert_non_null(strstr(buf_text(&r.err), "nearest: list"));
    program_run_free(&r);
    RUN(&r, "bench", "--help");
    assert_non_null(strstr(buf_text(&r.out), "-d N,N..."));
    program_run_free(&r);
    cJSON *all = JSON(NULL, "help", "--json");
    assert_string_equal(text_of(cJSON_GetArrayItem(all, 0), "command"), "info");
    cJSON_Delete(all);
    RUN(&r, "--version");
    assert_memory_equal(buf_text(&r.out), "kvetch ", 7);
    program_run_free(&r);
}

/* A name as the manual's source spells it. */
static void spell(const char *name, char *out, size_t n) {
    size_t at = 0;
    for (const char *p = name; *p && at + 3 < n; p++) {
        if (*p == '-') out[at++] = '\\';
        out[at++] = *p;
    }
    out[at] = 0;
}

static void the_manual_page_names_every_command_setting_and_slash_command(void **state) {
    (void)state;
    struct program_run r;
    char name[160];
    RUN(&r, "help", "--man");
    assert_int_equal(r.status, 0);
    assert_memory_equal(buf_text(&r.out), ".TH KVETCH 1 ", 13);
    for (size_t i = 0; command_get(i); i++) {
        snprintf(name, sizeof name, "\n\\fB%s\\fR", command_get(i)->name);
        if (!strstr(buf_text(&r.out), name)) fail_msg("the command %s is not in it", command_get(i)->name);
    }
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *s = setting_get((enum setting_id)id);
        const char *last = strrchr(s->flags, ' ');
        spell(*s->flags ? last ? last + 1 : s->flags : s->key, name, sizeof name);
        if (!strstr(buf_text(&r.out), name)) fail_msg("the setting %s is not in it", name);
    }
    assert_non_null(strstr(buf_text(&r.out), "/regen"));
    program_run_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_tells_what_the_file_holds),
        cmocka_unit_test(info_shows_what_cannot_be_run_and_says_why),
        cmocka_unit_test(tokenize_prints_ids_on_one_line),
        cmocka_unit_test(logits_writes_a_row_for_each_token),
        cmocka_unit_test(bench_reports_every_test_with_its_figures),
        cmocka_unit_test(bench_tells_the_perplexity_of_a_text_and_asks_for_one),
        cmocka_unit_test(bench_fills_what_the_bound_leaves_where_no_depth_is_named),
        cmocka_unit_test(bench_refuses_what_is_no_depth_and_no_test),
        cmocka_unit_test(a_command_without_its_model_ends_with_2),
        cmocka_unit_test(list_without_a_store_is_empty_and_makes_none),
        cmocka_unit_test(list_of_a_folder_that_is_none_ends_with_3),
        cmocka_unit_test(list_and_a_turn_name_the_conversation_alike),
        cmocka_unit_test(config_says_where_each_value_came_from),
        cmocka_unit_test(config_shows_the_persona_that_a_chat_would_start_with),
        cmocka_unit_test(config_prints_values_of_their_types_whole_and_no_orders_for_one_run),
        cmocka_unit_test(config_shows_what_a_model_was_trained_for_where_the_bound_is_left_to_it),
        cmocka_unit_test(a_setting_that_a_command_does_not_use_is_refused),
        cmocka_unit_test(a_broken_persona_in_the_configuration_does_not_stop_what_needs_none),
        cmocka_unit_test(flags_of_which_one_would_be_dropped_are_refused),
        cmocka_unit_test(the_configuration_file_names_a_persona_and_an_empty_flag_none),
        cmocka_unit_test(a_persona_is_found_beside_a_configuration_file),
        cmocka_unit_test(what_the_program_opens_never_takes_the_place_of_a_closed_stdin_or_stdout),
        cmocka_unit_test(an_unknown_instruction_set_is_refused_at_the_start),
        cmocka_unit_test(personas_lists_the_shipped_ones),
        cmocka_unit_test(help_knows_every_command_and_flag),
        cmocka_unit_test(the_manual_page_names_every_command_setting_and_slash_command),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
