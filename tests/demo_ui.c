/* demo_ui: a tiny program behind ui.h that tests/test_screen.c drives in a terminal. It answers a line with the line itself,
 * streamed a character a tick; some lines make it do other things (see commands). Flags: --plain, --theme NAME, --history FILE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/buf.h"
#include "ui/ui.h"

static struct demo {
    struct ui *ui;
    struct ui_status st;
    uint64_t next_id, reply;
    struct buf left;
    size_t at, step;
    bool refuses;
    int wake[2];
} demo;

static void poke(void) {
    ssize_t ignored = write(demo.wake[1], "", 1);
    (void)ignored;
}

static void state(enum ui_state s) {
    demo.st.state = s;
    ui_set_status(demo.ui, &demo.st);
}

static void reply_with(const char *text, size_t step) {
    buf_clear(&demo.left);
    buf_add_text(&demo.left, text);
    demo.at = 0;
    demo.step = step;
    demo.reply = demo.next_id++;
    ui_add(demo.ui, demo.reply, UI_ASSISTANT, "");
    state(UI_WRITING);
    poke();
}

/* "lines 300": so many numbered lines. "slow": a reply that only Ctrl-C ends. "context": what came before has left.
 * "undo": takes the last exchange away. "refuse": puts the line back; "refuse later": after Ctrl-C. "raw": control sequences. "crash", "leave": as they say. */
static void on_line(void *ctx, const char *text) {
    (void)ctx;
    unsigned n;
    if (!strcmp(text, "leave")) { ui_leave(demo.ui); return; }
    if (!strcmp(text, "crash")) abort();
    if (!strcmp(text, "refuse")) { ui_set_input(demo.ui, "refused text"); return; }
    if (!strcmp(text, "undo")) { ui_remove_from(demo.ui, demo.next_id - 2); return; }
    ui_add(demo.ui, demo.next_id++, UI_USER, text);
    if (!strcmp(text, "context")) { ui_context_begins(demo.ui, demo.next_id - 1); return; }
    struct buf b = {0};
    if (sscanf(text, "lines %u", &n) == 1) {
        for (unsigned i = 1; i <= n; i++) buf_printf(&b, "line %u of %u\n", i, n);
        reply_with(buf_text(&b), b.len);
    } else if (!strcmp(text, "slow") || !strcmp(text, "refuse later")) {
        demo.refuses = *text == 'r';
        reply_with("going on ", 0);
    } else if (!strcmp(text, "raw")) {
        reply_with("a\033[31mred\033[0m\033]0;title\007 \x9b" "2J \xff end", 3);
    } else {
        buf_printf(&b, "you said: %s", text);
        reply_with(buf_text(&b), 1);
    }
    buf_free(&b);
}

static void on_wake(void *ctx) {
    (void)ctx;
    if (demo.st.state != UI_WRITING) return;
    size_t n = demo.left.len - demo.at;
    if (demo.step == 0) { /* slow: once, then nothing ends it */
        if (demo.at == 0) ui_append(demo.ui, demo.reply, buf_text(&demo.left), demo.left.len);
        demo.at = demo.left.len;
        return;
    }
    if (n > demo.step) n = demo.step;
    ui_append(demo.ui, demo.reply, buf_text(&demo.left) + demo.at, n);
    demo.at += n;
    demo.st.used += n;
    if (demo.at == demo.left.len) state(UI_IDLE);
    else poke();
}

static void on_interrupt(void *ctx) {
    (void)ctx;
    ui_mark(demo.ui, demo.reply, "stopped");
    if (demo.refuses) ui_set_input(demo.ui, "refused text");
    demo.refuses = false;
    state(UI_IDLE);
}

static char **complete(void *ctx, const char *line, const char *word) {
    static const char *const words[] = {"/help", "/history", "/exit", "/größe"};
    (void)ctx, (void)line;
    char **list = calloc(5, sizeof *list);
    size_t n = 0;
    for (size_t i = 0; list && i < 4; i++)
        if (!strncmp(words[i], word, strlen(word))) list[n++] = strdup(words[i]);
    return list;
}

int main(int argc, char **argv) {
    struct ui_options o = {0};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--plain")) o.plain = true;
        if (!strcmp(argv[i], "--theme") && i + 1 < argc) o.theme = argv[++i];
        if (!strcmp(argv[i], "--history") && i + 1 < argc) o.history = argv[++i];
    }
    if (pipe(demo.wake) != 0) return 1;
    o.wake_fd = demo.wake[0];
    struct ui_handlers h = {.line = on_line, .interrupt = on_interrupt, .wake = on_wake, .complete = complete};
    struct err e = {0};
    demo.next_id = 1;
    demo.st = (struct ui_status){.used = 100, .committed = 512, .bound = 1024, .cache_bytes = 3355443, .cache_type = "f16",
                                 .n_grow = 2, .rss_bytes = 18 << 20, .room_bytes = 21ull << 30, .tokens_per_s = 812,
                                 .seconds_left = -1, .conversation = "tea-notes", .persona = "guide", .event = ""};
    if (ui_open(&demo.ui, &o, &h, &e) != 0) {
        fprintf(stderr, "demo: %s\n", e.text);
        return 1;
    }
    ui_set_status(demo.ui, &demo.st);
    ui_add(demo.ui, demo.next_id++, UI_NOTICE, "ready");
    int status = ui_run(demo.ui);
    ui_close(demo.ui);
    buf_free(&demo.left);
    printf("left with %d\n", status);
    return status;
}
