/* terminal: see terminal.h. The only file that includes term.h, whose macros are named like variables. */
#include "ui/terminal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ui/signals.h"

#include <term.h>

static const char take_text[] = "\033[?2004h\033[?1000h\033[?1006h", give_text[] = "\033[?1006l\033[?1000l\033[?2004l";

/* Asked before newterm, which leaks where it fails. */
static bool is_known(void) {
    int why;
    if (setupterm(NULL, STDOUT_FILENO, &why) != OK) return false;
    del_curterm(cur_term);
    return true;
}

int terminal_open(SCREEN **out, struct err *e) {
    *out = NULL;
    if (is_known()) {
        use_tioctl(TRUE); /* LINES and COLUMNS of the environment grow stale */
        *out = newterm(NULL, stdout, stdin);
    }
    if (!*out) return err_set(e, ERR_FAILED, "curses does not know the terminal \"%s\"", getenv("TERM"));
    raw();
    noecho();
    nonl(); /* else Enter and Ctrl-J are one key */
    if (has_colors()) {
        start_color();
        use_default_colors();
    }
    return 0;
}

static const char *capability(const char *name) {
    const char *s = tigetstr(name);
    return s && s != (char *)-1 ? s : "";
}

void terminal_take(void) {
    char death[256];
    snprintf(death, sizeof death, "%s%s%s%s", give_text, capability("sgr0"), capability("cnorm"), capability("rmcup"));
    reset_prog_mode();
    clearok(curscr, TRUE);
    refresh();
    fputs(take_text, stdout);
    fflush(stdout);
    signals_on_death(death);
}

void terminal_give(void) {
    fputs(give_text, stdout);
    fflush(stdout);
    endwin();
    signals_on_death("");
}

void terminal_measure(int *rows, int *across) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
        if (size.ws_row != LINES || size.ws_col != COLS) resizeterm(size.ws_row, size.ws_col);
    *rows = LINES;
    *across = COLS;
}
