/* front: what the two front ends share, and the table of operations that each of them is.
 *
 * ui.c owns struct ui and forwards; a front end keeps its own state behind `own`. Main thread only. */
#ifndef UI_FRONT_H
#define UI_FRONT_H

#include "ui/statusbar.h"
#include "ui/theme.h"
#include "ui/ui.h"

struct ui_front {
    const char *name;
    int (*open)(struct ui *u, const struct ui_options *o, struct err *e);
    void (*close)(struct ui *u);
    int (*run)(struct ui *u);
    int (*add)(struct ui *u, uint64_t id, enum ui_role role, const char *text);
    int (*append)(struct ui *u, uint64_t id, const char *text, size_t n);
    void (*mark)(struct ui *u, uint64_t id, const char *note);
    void (*remove_from)(struct ui *u, uint64_t id);
    void (*clear)(struct ui *u);
    void (*context_begins)(struct ui *u, uint64_t id);
    void (*status)(struct ui *u, enum ui_state before); /* u->bar has changed */
    void (*input)(struct ui *u, const char *text);
    void (*theme)(struct ui *u);                        /* u->theme has changed */
};

extern const struct ui_front ui_screen; /* ncurses */
extern const struct ui_front ui_line;   /* readline alone */

struct ui {
    const struct ui_front *front;
    struct ui_handlers h;
    struct statusbar bar;
    const struct theme *theme;
    int wake_fd;
    char prompt[32];
    bool leaving;   /* ui_run ends at its next turn */
    int status;     /* what ui_run returns */
    void *own;      /* the front end's state */
};

/* There is something to stop and to wait for. Saving is neither: it goes on beside what the user does. */
static inline bool ui_busy(const struct ui *u) { return u->bar.st.state != UI_IDLE && u->bar.st.state != UI_SAVING; }

/* Reads away what came down the wake pipe and calls the handler. */
void ui_woken(struct ui *u);

#endif
