/* support_program: see support_program.h. Failures of the system end the test program (assert). */
#include "tests/support_program.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support_folder.h"

#define MAX_ARGS 64

static const char *program_path(void) {
    const char *path = getenv("KVETCH");
    return path && *path ? path : "build/kvetch";
}

/* The folder, ending in a slash. Asked for once, since arguments of a test may stand in the few buffers of support_folder_path. */
static const char *home(void) {
    static char path[512];
    if (!*path) snprintf(path, sizeof path, "%s", support_folder_path(""));
    return path;
}

static int open_file(const char *name, int flags) {
    char path[600];
    snprintf(path, sizeof path, "%s%s", home(), name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    assert(fd >= 0);
    return fd;
}

static unsigned long long limit[RLIM_NLIMITS]; /* 0: none */

void program_limit(int resource, unsigned long long most) { limit[resource] = most == RLIM_INFINITY ? 0 : most; }

static void set_limits(void) {
    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (limit[i]) setrlimit((__rlimit_resource_t)i, &(struct rlimit){limit[i], limit[i]});
}

/* In the child: nothing of the user's own files is seen or touched. */
static void run_child(const char *const *argv, int in, int out, int err) {
    static const char *const HOMES[] = {"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "HOME"};
    char *args[MAX_ARGS + 2] = {(char *)program_path()};
    for (size_t i = 0; i < sizeof HOMES / sizeof *HOMES; i++) setenv(HOMES[i], home(), 1);
    for (size_t i = 0; argv[i]; i++) {
        assert(i < MAX_ARGS);
        args[i + 1] = (char *)argv[i];
    }
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    set_limits();
    execv(args[0], args);
    _exit(127);
}

static pid_t start(const char *const *argv, int in, int out, int err) {
    pid_t pid = fork();
    assert(pid >= 0);
    if (!pid) run_child(argv, in, out, err);
    close(in);
    close(out);
    close(err);
    return pid;
}

static int wait_for(pid_t pid) {
    int status;
    assert(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void read_whole(const char *name, struct buf *to) {
    char part[4096];
    int fd = open_file(name, O_RDONLY);
    for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;) buf_add(to, part, (size_t)n);
    close(fd);
    assert(!to->failed);
}

void program_run(struct program_run *r, const void *in, size_t n, const char *const *argv) {
    *r = (struct program_run){0};
    int in_fd = in ? open_file("stdin", O_RDWR | O_CREAT | O_TRUNC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in) assert(write(in_fd, in, n) == (ssize_t)n && lseek(in_fd, 0, SEEK_SET) == 0);
    pid_t pid = start(argv, in_fd, open_file("stdout", O_WRONLY | O_CREAT | O_TRUNC), open_file("stderr", O_WRONLY | O_CREAT | O_TRUNC));
    r->status = wait_for(pid);
    read_whole("stdout", &r->out);
    read_whole("stderr", &r->err);
}

void program_run_free(struct program_run *r) {
    buf_free(&r->out);
    buf_free(&r->err);
}

pid_t program_start(const char *const *argv, int *out) { return program_start_with(open("/dev/null", O_RDONLY | O_CLOEXEC), argv, out); }

pid_t program_start_with(int in, const char *const *argv, int *out) {
    int fd[2];
    assert(!pipe2(fd, O_CLOEXEC));
    assert(fcntl(fd[1], F_SETPIPE_SZ, 1) > 0); /* rounded up to a page */
    *out = fd[0];
    return start(argv, in, fd[1], open_file("stderr", O_WRONLY | O_CREAT | O_TRUNC));
}

int program_wait(pid_t pid, struct buf *err) {
    int status = wait_for(pid);
    read_whole("stderr", err);
    return status;
}
