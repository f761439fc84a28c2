/* err: the one way in which a function that can fail says so.
 *
 * Such a function returns 0 or one of the negative codes below and, where the caller gave a struct err,
 * leaves one finished sentence in it that a user can act on. Any thread. */
#ifndef CONFIG_ERR_H
#define CONFIG_ERR_H

enum err_code {
    ERR_FAILED = -1,    /* something outside went wrong (I/O, a server, a library) */
    ERR_USAGE = -2,     /* the user asked for what does not exist: a flag, a value, a name */
    ERR_FILE = -3,      /* a model, persona, snapshot or other file is missing or cannot be used */
    ERR_MEMORY = -4,    /* no memory, or no room within the budget */
    ERR_CONTEXT = -5,   /* the context is full and the mode forbids to evict */
    ERR_CANCELLED = -6, /* the user stopped it */
    ERR_CLOSED = -7,    /* who read our output has gone: nothing more is said, and the status is what SIGPIPE's would be */
};

struct err {
    int code;       /* 0, or one of enum err_code */
    char text[504]; /* one sentence, without a final newline; "" when code is 0 */
};

/* Fills e (may be NULL) and returns code, so that `return err_set(e, ...)` reads well. Control sequences are removed, line ends become
 * blanks, and what is too long ends in "...". Allocates nothing. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the sentence that is there. e may be NULL. Returns e->code, or 0. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The exit status of the program for an error code: 0 done, 1 failed, 2 usage, 3 file, 4 memory, 5 context,
 * 130 cancelled, 141 closed. */
int err_status(int code);

#endif
