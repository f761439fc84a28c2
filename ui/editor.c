/* editor: see editor.h. */
#include "ui/editor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/buf.h"

static int write_all(int fd, const char *text) {
    size_t n = strlen(text), done = 0;
    while (done < n) {
        ssize_t w = write(fd, text + done, n - done);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return -1;
        done += (size_t)w;
    }
    return 0;
}

static char *read_all(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) return NULL;
    struct buf b = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) buf_add(&b, part, n);
    fclose(f);
    while (b.len && b.data[b.len - 1] == '\n') b.data[--b.len] = 0;
    char *text = b.failed ? NULL : b.len ? buf_take(&b) : strdup("");
    buf_free(&b);
    return text;
}

/* The editor's exit status, or -1. Ctrl-C and Ctrl-\ are the editor's while it runs. */
static int run(const char *command, const char *path) {
    void (*old_int)(int) = signal(SIGINT, SIG_IGN), (*old_quit)(int) = signal(SIGQUIT, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        struct buf line = {0};
        buf_printf(&line, "%s \"$1\"", command); /* through the shell: EDITOR may hold arguments */
        execl("/bin/sh", "sh", "-c", buf_text(&line), "sh", path, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    signal(SIGINT, old_int);
    signal(SIGQUIT, old_quit);
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int editor_run(const char *text, char **out, struct err *e) {
    *out = NULL;
    const char *command = getenv("VISUAL"), *folder = getenv("TMPDIR");
    if (!command || !*command) command = getenv("EDITOR");
    if (!command || !*command) command = "vi";
    if (!folder || !*folder) folder = P_tmpdir;
    char path[512];
    if ((size_t)snprintf(path, sizeof path, "%s/kvetch-XXXXXX.md", folder) >= sizeof path)
        return err_set(e, ERR_FAILED, "TMPDIR is too long a path");
    int fd = mkstemps(path, 3), rc = 0;
    if (fd < 0) return err_set(e, ERR_FAILED, "%s: %s", folder, strerror(errno));
    int written = write_all(fd, text);
    close(fd);
    int status = written == 0 ? run(command, path) : -1;
    if (written != 0) rc = err_set(e, ERR_FAILED, "%s: cannot be written", path);
    else if (status != 0) rc = err_set(e, ERR_FAILED, "the editor (%s) ended with status %d: the text is as it was", command, status);
    else if (!(*out = read_all(path))) rc = err_set(e, ERR_FAILED, "%s: cannot be read back", path);
    unlink(path);
    return rc;
}
