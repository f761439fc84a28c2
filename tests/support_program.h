/* support_program: runs the built program (its path in KVETCH, else build/kvetch) with a folder of its own for all that it keeps. POSIX. */
#ifndef TESTS_SUPPORT_PROGRAM_H
#define TESTS_SUPPORT_PROGRAM_H

#include <sys/types.h>

#include "config/buf.h"

struct program_run {
    int status;          /* exit status, or 128 + signal */
    struct buf out, err; /* what it wrote */
};
void program_run_free(struct program_run *r);

/* Runs it with n bytes on stdin (NULL: /dev/null) to its end. argv: after the program's name, ended by NULL. Needs support_folder_make. */
void program_run(struct program_run *r, const void *in, size_t n, const char *const *argv);

/* Lets what is started from here on have so much of a resource of setrlimit; RLIM_INFINITY: as much as this program. */
void program_limit(int resource, unsigned long long most);

/* Starts it with stdin from /dev/null, stdout into the write end of a pipe of the least size and stderr into a file; *out is the read end. */
pid_t program_start(const char *const *argv, int *out);
pid_t program_start_with(int in, const char *const *argv, int *out); /* the same with stdin from in, which is closed here */
/* Waits for its end, and appends what it wrote to stderr. Returns as program_run.status. */
int program_wait(pid_t pid, struct buf *err);

#endif
