/* theme: what things look like. One table; no curses here, both front ends read it. Any thread. */
#ifndef UI_THEME_H
#define UI_THEME_H

#include <stdbool.h>
#include <stddef.h>

/* The styles of the roles stand in the order of enum ui_role. */
enum theme_style {
    THEME_SYSTEM, THEME_USER, THEME_ASSISTANT, THEME_NOTICE, THEME_ERROR,
    THEME_LEFT,     /* what the model no longer sees */
    THEME_RULE,     /* the line where the context begins */
    THEME_MARK,     /* a note at an entry's end */
    THEME_BAR,      /* status bar */
    THEME_ROOM, THEME_NEAR, THEME_FULL, /* its meter */
    THEME_PROMPT,
    THEME_INPUT,
    THEME_HINT,     /* completions, advice */
    THEME_STYLES
};

enum { THEME_BOLD = 1, THEME_DIM = 2, THEME_REVERSE = 4, THEME_UNDERLINE = 8, THEME_ITALIC = 16 };
enum theme_depth { THEME_NO_COLOR, THEME_8, THEME_256, THEME_TRUE };

/* One colour for each depth; -1 in all is the terminal's own. */
struct theme_color {
    int c8, c256, rgb;
};
struct theme_look {
    struct theme_color fg, bg;
    unsigned attributes;
};
struct theme {
    const char *name;
    bool colors;
    struct theme_look look[THEME_STYLES];
};

/* NULL: "dark". An unknown name is "dark" too. A non-empty NO_COLOR in the environment makes every theme "mono". */
const struct theme *theme_find(const char *name);
int theme_number(const struct theme_color *c, enum theme_depth depth); /* the colour's number at that depth, or -1 */
/* The escape sequence that switches to a style, "" where there is nothing to switch. */
void theme_sgr(const struct theme *t, enum theme_style s, enum theme_depth depth, char *out, size_t out_bytes);
/* What the environment says of the terminal's colours (COLORTERM, TERM); for a terminal that curses does not drive. */
enum theme_depth theme_depth_guess(void);

/* The sign before an entry of a role (enum ui_role), one column and a blank. */
const char *theme_role_sign(unsigned role);

#endif
