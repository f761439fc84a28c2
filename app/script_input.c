/* script_input: see script_input.h. */
#include "app/script_input.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/paths.h"
#include "config/utf8.h"

#define WAITING_MS 3000
#define MAX_PROMPT_BYTES ((size_t)1 << 30)

/* Appends bytes as valid UTF-8 text: what is none, and NUL, becomes U+FFFD. */
static void add_valid(struct buf *out, const char *s, size_t n) {
    if (!n) return; /* s may be NULL then */
    if (utf8_valid(s, n) && !memchr(s, 0, n)) {
        buf_add(out, s, n);
        return;
    }
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        char utf8[4];
        len = utf8_decode(s + i, n - i, &cp);
        buf_add(out, utf8, utf8_encode(cp ? cp : 0xfffd, utf8));
    }
}

/* Another part of the prompt: after a blank line, where there is something before it. */
static void add_part(struct buf *to, const char *s, size_t n) {
    if (to->len && n) buf_add_text(to, "\n\n");
    add_valid(to, s, n);
}

/* A program that was given a prompt and then seems to hang may have inherited a stdin that nobody ends. */
static void say_waiting(void) {
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    if (!poll(&p, 1, WAITING_MS)) fputs("kvetch: waiting for more of the prompt on stdin (none is meant: add < /dev/null)\n", stderr);
}

/* All of stdin, one final newline dropped. */
static int read_all(struct buf *out, struct err *e) {
    char part[65536];
    for (ssize_t n; (n = read(STDIN_FILENO, part, sizeof part)) != 0;) {
        if (n < 0 && errno == EINTR) return err_set(e, ERR_CANCELLED, "interrupted");
        if (n < 0) return err_set(e, ERR_FAILED, "stdin cannot be read: %s", strerror(errno));
        if (out->len + (size_t)n > MAX_PROMPT_BYTES) return err_set(e, ERR_USAGE, "stdin is longer than a prompt may be (1 GiB)");
        buf_add(out, part, (size_t)n);
    }
    if (out->failed) return err_set(e, ERR_MEMORY, "no memory for what stdin holds");
    if (out->len && out->data[out->len - 1] == '\n') out->data[--out->len] = 0;
    return 0;
}

static int add_file(struct script_input *in, const char *path, struct err *e) {
    struct buf file = {0};
    int rc = 0;
    if (!strcmp(path, "-")) {
        in->read_stdin = true;
    } else {
        rc = paths_read_input(path, MAX_PROMPT_BYTES, &file, e);
        if (!rc) add_part(&in->given, file.data, file.len - (file.len && file.data[file.len - 1] == '\n'));
        in->has_given = true;
    }
    buf_free(&file);
    return rc;
}

int script_input_open(struct script_input *in, const struct settings *s, const char *words, bool name_stdin, struct err *e) {
    const char *prompt = settings_text(s, SET_PROMPT), *file = settings_text(s, SET_PROMPT_FILE), *turns = settings_text(s, SET_TURNS);
    *in = (struct script_input){.read_stdin = name_stdin || !isatty(STDIN_FILENO), .turns = turns != NULL,
                                .quiet = settings_bool(s, SET_QUIET), .separator = turns && *turns == '0' ? 0 : '\n'};
    if (prompt) {
        add_part(&in->given, prompt, strlen(prompt));
        in->has_given = true;
    }
    int rc = file ? add_file(in, file, e) : 0;
    if (!rc && words) {
        add_part(&in->given, words, strlen(words));
        in->has_given = true;
    }
    if (!rc && in->given.failed) rc = err_set(e, ERR_MEMORY, "no memory for the prompt");
    return rc;
}

void script_input_close(struct script_input *in) {
    buf_free(&in->given);
    free(in->record);
    in->record = NULL;
}

/* The next line or NUL-ended record of stdin. */
static int next_record(struct script_input *in, struct buf *text, bool *got, struct err *e) {
    errno = 0;
    ssize_t n = getdelim(&in->record, &in->record_bytes, in->separator, stdin);
    if (n < 0) {
        if (errno == EINTR) return err_set(e, ERR_CANCELLED, "interrupted");
        if (errno == ENOMEM) return err_set(e, ERR_MEMORY, "no memory for a line of stdin");
        if (ferror(stdin)) return err_set(e, ERR_FAILED, "stdin cannot be read: %s", strerror(errno));
        return 0;
    }
    add_valid(text, in->record, (size_t)n - (in->record[n - 1] == in->separator));
    *got = true;
    return 0;
}

static int whole_prompt(struct script_input *in, struct buf *text, bool *got, struct err *e) {
    struct buf rest = {0};
    if (in->read_stdin && in->has_given && !in->quiet) say_waiting();
    int rc = in->read_stdin ? read_all(&rest, e) : 0;
    buf_add(text, in->given.data, in->given.len);
    add_part(text, rest.data, rest.len);
    *got = in->has_given || rest.len;
    buf_free(&rest);
    return rc;
}

int script_input_next(struct script_input *in, struct buf *text, bool *got, struct err *e) {
    bool first = !in->begun;
    int rc = 0;
    *got = false;
    in->begun = true;
    buf_clear(text);
    if (!in->turns) {
        rc = first ? whole_prompt(in, text, got, e) : 0;
    } else if (first && in->has_given) {
        buf_add(text, in->given.data, in->given.len);
        *got = true;
    } else if (in->read_stdin) {
        rc = next_record(in, text, got, e);
    }
    if (!rc && text->failed) rc = err_set(e, ERR_MEMORY, "no memory for the prompt");
    return rc;
}
