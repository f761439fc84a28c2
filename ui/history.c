/* history: see history.h. Our own format: readline's would take a message apart at its newlines. */
#include "ui/history.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <readline/history.h>

#include "config/buf.h"

enum { KEPT = 5000 }; /* messages in memory; the file is cut to as many when it holds twice that */

static void escape(const char *text, struct buf *out) {
    for (; *text; text++) {
        if (*text == '\\') buf_add_text(out, "\\\\");
        else if (*text == '\n') buf_add_text(out, "\\n");
        else buf_add_char(out, *text);
    }
    buf_add_char(out, '\n');
}

static void unescape(char *line) {
    char *to = line;
    for (const char *p = line; *p && *p != '\n'; p++) {
        if (*p == '\\' && p[1] == 'n') *to++ = '\n', p++;
        else if (*p == '\\' && p[1] == '\\') *to++ = '\\', p++;
        else *to++ = *p;
    }
    *to = 0;
}

static void write_out(const char *path, int flags, const struct buf *b) {
    int fd = b->failed ? -1 : open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
    if (fd < 0) return; /* a history that cannot be kept is no reason to bother anyone */
    ssize_t ignored = write(fd, buf_text(b), b->len);
    (void)ignored;
    close(fd);
}

static void rewrite(const char *path) {
    struct buf b = {0}, fresh = {0};
    HIST_ENTRY **list = history_list();
    for (size_t i = 0; list && list[i]; i++) escape(list[i]->line, &b);
    buf_printf(&fresh, "%s.new", path);
    write_out(buf_text(&fresh), O_TRUNC, &b);
    if (!fresh.failed) rename(buf_text(&fresh), path);
    buf_free(&b);
    buf_free(&fresh);
}

void history_load(const char *path) {
    clear_history();
    using_history();
    stifle_history(KEPT);
    FILE *f = path ? fopen(path, "re") : NULL;
    if (!f) return;
    char *line = NULL;
    size_t cap = 0, n = 0;
    while (getline(&line, &cap, f) > 0) {
        unescape(line);
        if (*line) add_history(line), n++;
    }
    free(line);
    fclose(f);
    if (n > 2 * KEPT) rewrite(path);
}

void history_put(const char *path, const char *text) {
    HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
    if (!*text || (last && !strcmp(last->line, text))) return;
    add_history(text);
    if (!path) return;
    struct buf b = {0};
    escape(text, &b);
    write_out(path, O_APPEND, &b);
    buf_free(&b);
}
