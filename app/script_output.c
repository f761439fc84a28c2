/* script_output: see script_output.h. */
#include "app/script_output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/process.h"
#include "config/utf8.h"

#define PROGRESS_US 2e6

void script_output_init(struct script_output *o, bool quiet, char separator) {
    *o = (struct script_output){.quiet = quiet, .separator = separator, .on_terminal = isatty(STDERR_FILENO), .progress_us = process_now_us()};
}

void script_output_free(struct script_output *o) {
    buf_free(&o->pending);
    buf_free(&o->notices);
}

static void write_out(struct script_output *o, const char *bytes, size_t n) {
    if (!o->failed && buf_add(&o->pending, bytes, n)) o->failed = ENOMEM;
}

/* A signal that stops the reply may interrupt a write to a slow reader: what is left is written all the same. */
static void flush_out(struct script_output *o) {
    size_t done = 0;
    while (!o->failed && done < o->pending.len) {
        ssize_t n = write(STDOUT_FILENO, o->pending.data + done, o->pending.len - done);
        if (n >= 0) done += (size_t)n;
        else if (errno != EINTR) o->failed = errno;
    }
    buf_clear(&o->pending);
}

void script_output_text(struct script_output *o, const char *text, size_t n) {
    if (!n) return;
    script_output_progress(o, "");
    if (o->separator == '\n') {
        size_t end = n;
        while (end && text[end - 1] == '\n') end--;
        if (end)
            for (; o->held_newlines; o->held_newlines--) write_out(o, "\n", 1);
        o->held_newlines += n - end;
        n = end;
    }
    write_out(o, text, n);
    flush_out(o);
}

void script_output_end(struct script_output *o) {
    o->held_newlines = 0;
    write_out(o, &o->separator, 1);
    flush_out(o);
}

void script_output_line(struct script_output *o, const char *text, size_t n) {
    script_output_progress(o, "");
    write_out(o, text, n);
    write_out(o, "\n", 1);
    flush_out(o);
}

void script_output_notice(struct script_output *o, const char *fmt, ...) {
    if (o->quiet) return;
    va_list ap;
    va_start(ap, fmt);
    struct utf8_stream clean = {0};
    struct buf text = {0};
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    utf8_stream_add(&clean, text.data, text.len, &o->notices);
    utf8_stream_end(&clean, &o->notices);
    buf_add_char(&o->notices, '\n');
    buf_free(&text);
}

void script_output_notices(struct script_output *o) {
    script_output_progress(o, "");
    if (o->failed != EPIPE && o->notices.len) fwrite(o->notices.data, 1, o->notices.len, stderr);
    buf_clear(&o->notices);
}

void script_output_progress(struct script_output *o, const char *text) {
    if (o->quiet || (!*text && !o->progress_shown)) return;
    if (o->on_terminal) {
        fprintf(stderr, "\r\033[K%s", text);
        o->progress_shown = *text != 0;
        return;
    }
    double now = process_now_us();
    if (now - o->progress_us < PROGRESS_US) return;
    fprintf(stderr, "%s\n", text);
    o->progress_us = now;
}
