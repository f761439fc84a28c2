/* screen_draw: puts the state of the screen front end on the curses screen. Main thread only. */
#ifndef UI_SCREEN_DRAW_H
#define UI_SCREEN_DRAW_H

#include "ui/statusbar.h"
#include "ui/transcript.h"

enum { SCREEN_TRANSCRIPT = 1, SCREEN_INPUT = 2, SCREEN_STATUS = 4, SCREEN_ALL = 7 };

struct screen_view {
    struct transcript *transcript;
    int rows, columns;    /* of the terminal */
    int transcript_rows;  /* set by drawing */
    int input_rows;       /* set by drawing */
    size_t input_first;   /* first row of the input in view */
    unsigned frame;       /* of the spinner */
    char hint[504];       /* advice or an error until the next key: in an empty input line, else in the bar; "" none */
    char **match;         /* completions on show; owned */
    int n_matches;
};

/* Draws what the flags name; a change of the input's height draws all. Leaves the cursor in the input. */
void screen_draw(struct screen_view *v, const struct statusbar *bar, unsigned dirty);
/* Copies the completions that are to be shown over the transcript's end; n = 0 takes them away. */
void screen_view_matches(struct screen_view *v, char **match, int n);

#endif
