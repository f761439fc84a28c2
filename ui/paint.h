/* paint: text and styles on the curses screen. Main thread only. */
#ifndef UI_PAINT_H
#define UI_PAINT_H

#include <stddef.h>

#include "ui/theme.h"

void paint_theme(const struct theme *t);  /* after initscr/newterm; again to change */
/* Fills row y from column x with blanks of a style's ground. */
void paint_blank(int y, int x, enum theme_style s);
/* Writes at row y from column x, not past column `right`; returns the column after the last cell written. Control characters show
 * as ^X; a grapheme that curses cannot hold shows as its first code point. */
int paint_text(int y, int x, int right, enum theme_style s, const char *text, size_t n);

#endif
