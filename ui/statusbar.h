/* statusbar: the one line of figures under the transcript. Pure formatting: no terminal, nothing measured here. */
#ifndef UI_STATUSBAR_H
#define UI_STATUSBAR_H

#include "ui/ui.h"

/* A status that owns its texts, cleaned of what a terminal must not see. */
struct statusbar {
    struct ui_status st; /* its text fields point into the arrays below: do not copy the struct */
    char cache_type[16], room_limit[32], conversation[160], persona[80], event[240];
};

enum statusbar_level { STATUSBAR_ROOM, STATUSBAR_NEAR, STATUSBAR_FULL }; /* how near the bound is */

/* The text of the bar, and where in it the meter stands, for colouring. */
struct statusbar_line {
    char text[1024];
    size_t meter_at, meter_n; /* bytes; meter_n is 0 where there is none */
    enum statusbar_level level;
};

void statusbar_set(struct statusbar *b, const struct ui_status *st);
/* frame counts the turns of the spinner. */
void statusbar_format(const struct ui_status *st, int columns, unsigned frame, struct statusbar_line *out);

#endif
