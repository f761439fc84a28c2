/* main: the program's entry: what was asked for, and the exit status. Only this file exits. */
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/chat.h"
#include "app/command.h"
#include "app/script.h"
#include "config/cpu.h"
#include "config/paths.h"

static bool ends_in_gguf(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

/* The words that are no flags: a lone model file, which counts as -m does, or a message. */
static int take_words(struct app *a, const char **words, size_t n, struct err *e) {
    bool is_named = settings_text(a->settings, SET_MODEL);
    if (n == 1 && ends_in_gguf(words[0]) && !(is_named && settings_origin(a->settings, SET_MODEL) >= ORIGIN_FLAG)) {
        if (paths_is_file(words[0])) return settings_set(a->settings, SET_MODEL, words[0], ORIGIN_FLAG, "argument", e);
        if (!is_named) return err_set(e, ERR_FILE, "%s: there is no such file", words[0]); /* mistyped: no message for the guide */
    }
    struct buf b = {0};
    size_t taken = 0;
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(words[i], "-")) {
            a->name_stdin = true;
            continue;
        }
        if (taken++) buf_add_char(&b, ' ');
        buf_add_text(&b, words[i]);
    }
    if (taken) a->message = buf_take(&b);
    return taken && !a->message ? err_set(e, ERR_MEMORY, "no memory for the message") : 0;
}

static bool is_script(const struct app *a) {
    static const enum setting_id ASKS[] = {SET_PROMPT, SET_PROMPT_FILE, SET_ONCE, SET_TURNS, SET_JSON, SET_JSONL, SET_NO_STREAM};
    for (size_t i = 0; i < sizeof ASKS / sizeof *ASKS; i++)
        if (settings_is_set(a->settings, ASKS[i])) return true;
    return a->name_stdin || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
}

/* Runs a subcommand, a script or a chat. *status is set by the last two, which say themselves what went wrong. */
static int run_words(struct app *a, const struct command *c, struct command_args *args, const char **words, size_t n_words, int *status, struct err *e) {
    if (settings_bool(a->settings, SET_HELP)) return command_print_help(c, e);
    int rc = c ? command_check_settings(c, a->settings, e) : 0;
    if (!rc) rc = app_configure(a, !c || command_uses(c, setting_get(SET_PERSONA)), e);
    if (!rc && c) {
        args->word = words;
        args->n_words = n_words;
        return c->run(a, args, e);
    }
    if (!rc) rc = options_check(a->settings, e);
    if (!rc) rc = take_words(a, words, n_words, e);
    if (rc) return rc;
    *status = is_script(a) ? script_run(a) : chat_run(a);
    return 0;
}

static int print_version(struct err *e) {
    struct buf b = {0};
    buf_add_text(&b, "kvetch " KVETCH_VERSION "\n");
    int rc = command_print(&b, e);
    buf_free(&b);
    return rc;
}

static int run(struct app *a, int argc, char **argv, int *status, struct err *e) {
    const struct command *c;
    struct command_args args;
    int n_rest;
    size_t n_words = 0;
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    int rc = rest && words ? 0 : err_set(e, ERR_MEMORY, "no memory for the command line");
    if (!rc) rc = cpu_check_environment(e);
    if (!rc) rc = command_split(argc, argv, &c, &args, rest, &n_rest, e);
    if (!rc) rc = app_open(a, n_rest, rest, words, &n_words, e);
    if (!rc && settings_bool(a->settings, SET_VERSION)) rc = print_version(e);
    else if (!rc) rc = run_words(a, c, &args, words, n_words, status, e);
    free(rest);
    free(words);
    return rc;
}

/* A program may be started without some of descriptors 0, 1 and 2, and what it opens next would take their places: a pipe of its own
 * would be its stdin. A missing stdin is empty, what is written to a missing stdout fails as it should, stderr is lost. */
static void fill_descriptors(void) {
    static const int MODE[] = {O_RDONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0) open("/dev/null", MODE[fd]); /* the lowest that is free, which is fd */
}

int main(int argc, char **argv) {
    struct app a = {0};
    struct err e = {0};
    int status = 0;
    fill_descriptors();
    engine_prepare_process(argv);
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write that meets it */
    int rc = argc ? run(&a, argc, argv, &status, &e) : err_set(&e, ERR_USAGE, "the program was started without its name");
    app_close(&a);
    return rc ? app_complain(&e) : status;
}
