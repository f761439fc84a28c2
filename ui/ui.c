/* ui: the choice of a front end, and the calls of ui.h handed on to it. */
#include "ui/ui.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ui/front.h"

/* Text is UTF-8 whatever the environment says; a terminal of another kind is not known to exist any more. readline looks into
 * the environment anew for each line, so it must say so there too. */
static void use_utf8(void) {
    static const char *const names[] = {"C.UTF-8", "C.utf8", "en_US.UTF-8"};
    setlocale(LC_CTYPE, "");
    for (size_t i = 0; strcmp(nl_langinfo(CODESET), "UTF-8") != 0 && i < sizeof names / sizeof names[0]; i++)
        if (setlocale(LC_CTYPE, names[i])) setenv("LC_ALL", names[i], 1);
}

static bool terminal_is_poor(void) {
    const char *term = getenv("TERM");
    return !term || !*term || !strcmp(term, "dumb") || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
}

int ui_open(struct ui **out, const struct ui_options *o, const struct ui_handlers *h, struct err *e) {
    *out = NULL;
    struct ui *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, ERR_MEMORY, "no memory for the screen");
    struct ui_status st = {.seconds_left = -1};
    use_utf8();
    u->h = *h;
    u->wake_fd = o->wake_fd;
    u->theme = theme_find(o->theme);
    snprintf(u->prompt, sizeof u->prompt, "%s", o->word_mark ? o->word_mark : "> ");
    statusbar_set(&u->bar, &st);
    u->front = o->plain || terminal_is_poor() ? &ui_line : &ui_screen;
    int rc = u->front->open(u, o, e);
    if (rc != 0 && u->front == &ui_screen) { /* a terminal that curses cannot drive still takes lines */
        u->front = &ui_line;
        rc = u->front->open(u, o, e);
    }
    if (rc != 0) {
        free(u);
        return rc;
    }
    *out = u;
    return 0;
}

void ui_close(struct ui *u) {
    if (!u) return;
    u->front->close(u);
    free(u);
}

int ui_run(struct ui *u) { return u->front->run(u); }
void ui_leave(struct ui *u) { u->leaving = true; }

void ui_woken(struct ui *u) {
    char away[512];
    ssize_t ignored = read(u->wake_fd, away, sizeof away);
    (void)ignored;
    u->h.wake(u->h.ctx);
}

int ui_add(struct ui *u, uint64_t id, enum ui_role role, const char *text) { return u->front->add(u, id, role, text); }
int ui_append(struct ui *u, uint64_t id, const char *text, size_t n) { return u->front->append(u, id, text, n); }
void ui_mark(struct ui *u, uint64_t id, const char *note) { u->front->mark(u, id, note); }
void ui_remove_from(struct ui *u, uint64_t id) { u->front->remove_from(u, id); }
void ui_clear(struct ui *u) { u->front->clear(u); }
void ui_context_begins(struct ui *u, uint64_t id) { u->front->context_begins(u, id); }
void ui_set_input(struct ui *u, const char *text) { u->front->input(u, text); }

void ui_set_status(struct ui *u, const struct ui_status *st) {
    enum ui_state before = u->bar.st.state;
    statusbar_set(&u->bar, st);
    u->front->status(u, before);
}

void ui_set_theme(struct ui *u, const char *theme) {
    u->theme = theme_find(theme);
    u->front->theme(u);
}
