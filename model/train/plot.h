/* plot: a curve as text, eight dots to a character (Braille patterns, U+2800 and up). */
#ifndef MODEL_TRAIN_PLOT_H
#define MODEL_TRAIN_PLOT_H

#include <stddef.h>

#include "config/buf.h"

/* Appends y[0..n) from left to right in cols x rows characters with the range at the left and the numbers of the first and last
 * value below; each column of dots shows the mean of its values. Values that are no numbers are left out. ERR_MEMORY. */
int plot_curve(const float *y, size_t n, size_t cols, size_t rows, struct buf *out);

#endif
