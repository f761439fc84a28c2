/* support_tmux: see support_tmux.h. */
#include "tests/support_tmux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config/buf.h"
#include "tests/support_folder.h"

enum { PATIENCE_S = 30, POLL_MS = 15, MOST_WORDS = 40 };

static const char *folder;
static char socket_path[108], conf_path[PATH_MAX];
static bool running;
static int n_started;

static void clean_environment(void) {
    static const char *const gone[] = {"TMUX", "TMUX_PANE", "VISUAL", "NO_COLOR", "COLORTERM", "XDG_RUNTIME_DIR", "ENV"};
    static const char *const xdg[] = {"XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"};
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) unsetenv(gone[i]);
    for (size_t i = 0; i < sizeof xdg / sizeof xdg[0]; i++) setenv(xdg[i], support_folder_path(xdg[i]), 1);
    setenv("HOME", folder, 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("SHELL", "/bin/sh", 1);
    setenv("INPUTRC", "/dev/null", 0);
}

/* Runs tmux with these words; what it prints is added to out (may be NULL). Returns its exit status. */
static int tmux(struct buf *out, const char *const *words) {
    const char *argv[MOST_WORDS + 8] = {"tmux", "-u", "-f", conf_path, "-S", socket_path};
    size_t n = 6;
    for (; *words && n < MOST_WORDS + 7; words++) argv[n++] = *words;
    int fd[2], status = -1;
    if (pipe2(fd, O_CLOEXEC) != 0) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        clean_environment();
        dup2(fd[1], STDOUT_FILENO);
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(null, STDERR_FILENO);
        execvp("tmux", (char *const *)argv);
        _exit(127);
    }
    close(fd[1]);
    char part[4096];
    for (ssize_t got; pid > 0 && (got = read(fd[0], part, sizeof part)) > 0;)
        if (out) buf_add(out, part, (size_t)got);
    close(fd[0]);
    if (pid > 0) waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#define TMUX(out, ...) tmux(out, (const char *const[]){__VA_ARGS__, NULL})

static bool is_installed(void) {
    int status = system("command -v tmux >/dev/null 2>&1");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void write_conf(void) {
    FILE *f = fopen(conf_path, "w");
    assert_non_null(f);
    fputs("set -g default-terminal tmux-256color\nset -g status off\nset -g remain-on-exit on\n"
          "set -s escape-time 0\nset -g history-limit 2000\n", f);
    fclose(f);
}

const char *tmux_folder(void) {
    if (!folder) {
        folder = support_folder_make();
        assert_non_null(folder);
        snprintf(conf_path, sizeof conf_path, "%s", support_folder_path("tmux.conf"));
        write_conf();
    }
    return folder;
}

void tmux_start(int columns, int rows, const char *command) {
    char x[16], y[16];
    if (!is_installed()) {
        print_message("missing: tmux\n");
        skip();
    }
    tmux_folder();
    snprintf(x, sizeof x, "%d", columns);
    snprintf(y, sizeof y, "%d", rows);
    if (running) TMUX(NULL, "kill-server");
    running = true;
    snprintf(socket_path, sizeof socket_path, "%s/tmux%d", folder, ++n_started); /* a killed server takes a moment to let go */
    assert_int_equal(TMUX(NULL, "new-session", "-d", "-x", x, "-y", y, command), 0);
}

void tmux_stop(void) {
    if (running) TMUX(NULL, "kill-server");
    running = false;
    if (folder) support_folder_remove();
    folder = NULL;
}

void tmux_key(const char *key) { assert_int_equal(TMUX(NULL, "send-keys", key), 0); }
void tmux_type(const char *text) { assert_int_equal(TMUX(NULL, "send-keys", "-l", "--", text), 0); }

void tmux_bytes(const char *bytes) {
    char hex[MOST_WORDS][4];
    const char *words[MOST_WORDS] = {"send-keys", "-H"};
    size_t n = 2;
    for (; *bytes && n < MOST_WORDS - 1; bytes++, n++) {
        snprintf(hex[n], sizeof hex[n], "%x", (unsigned char)*bytes);
        words[n] = hex[n];
    }
    assert_int_equal(*bytes, 0);
    assert_int_equal(tmux(NULL, words), 0);
}

void tmux_paste(const char *text) {
    assert_int_equal(TMUX(NULL, "set-buffer", "--", text), 0);
    assert_int_equal(TMUX(NULL, "paste-buffer", "-p"), 0);
}

void tmux_resize(int columns, int rows) {
    char x[16], y[16];
    snprintf(x, sizeof x, "%d", columns);
    snprintf(y, sizeof y, "%d", rows);
    assert_int_equal(TMUX(NULL, "resize-window", "-x", x, "-y", y), 0);
}

const char *tmux_screen(void) {
    static struct buf screen;
    buf_clear(&screen);
    TMUX(&screen, "capture-pane", "-p");
    return buf_text(&screen);
}

const char *tmux_colors(void) {
    static struct buf screen;
    buf_clear(&screen);
    TMUX(&screen, "capture-pane", "-p", "-e");
    return buf_text(&screen);
}

const char *tmux_format(const char *format) {
    static struct buf out;
    buf_clear(&out);
    TMUX(&out, "display-message", "-p", format);
    while (out.len && out.data[out.len - 1] == '\n') out.data[--out.len] = 0;
    return buf_text(&out);
}

void tmux_until(tmux_predicate *p, const void *arg, const char *what) {
    const struct timespec between = {.tv_nsec = POLL_MS * 1000000L};
    for (int tries = PATIENCE_S * 1000 / POLL_MS; tries > 0; tries--) {
        if (p(tmux_screen(), arg)) return;
        nanosleep(&between, NULL);
    }
    fail_msg("waited in vain for %s; the screen shows:\n%s", what, tmux_screen());
}

static bool has(const char *screen, const void *text) { return strstr(screen, text) != NULL; }
static bool has_not(const char *screen, const void *text) { return strstr(screen, text) == NULL; }

void tmux_see(const char *text) { tmux_until(has, text, text); }
void tmux_see_no(const char *text) { tmux_until(has_not, text, text); }
