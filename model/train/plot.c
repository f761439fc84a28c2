/* plot: see plot.h. A character has two columns of four dots:
 *
 *   1 4
 *   2 5     dot k is bit k - 1 of the character's offset from U+2800
 *   3 6
 *   7 8
 */
#include "model/train/plot.h"

#include <math.h>
#include <stdlib.h>

#include "config/err.h"
#include "config/utf8.h"

enum { DOTS_ACROSS = 2, DOTS_DOWN = 4, EMPTY = 0x2800 };

static const unsigned char bits[DOTS_DOWN][DOTS_ACROSS] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};

/* The mean of the numbers among y[from, to), or NAN. */
static float mean(const float *y, size_t from, size_t to) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        if (isfinite(y[i])) sum += y[i], n++;
    return n ? (float)(sum / (double)n) : NAN;
}

/* The values of each column of dots, and their range. */
static void gather(const float *y, size_t n, float *column, size_t n_columns, float *low, float *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < n_columns; i++) {
        size_t from = i * n / n_columns, to = (i + 1) * n / n_columns;
        column[i] = mean(y, from, to > from ? to : from + 1);
        if (isnan(column[i])) continue;
        *low = fminf(*low, column[i]);
        *high = fmaxf(*high, column[i]);
    }
}

static void draw_row(const float *column, size_t cols, size_t row, size_t rows, float low, float high, struct buf *out) {
    float step = (high - low) / (float)(rows * DOTS_DOWN - 1);
    for (size_t x = 0; x < cols; x++) {
        char text[4];
        uint32_t dots = 0;
        for (size_t k = 0; k < DOTS_ACROSS; k++) {
            float v = column[x * DOTS_ACROSS + k];
            if (isnan(v)) continue;
            size_t down = step > 0 ? (size_t)lrintf((high - v) / step) : 0;
            if (down / DOTS_DOWN == row) dots |= bits[down % DOTS_DOWN][k];
        }
        buf_add(out, text, utf8_encode(EMPTY + dots, text));
    }
}

int plot_curve(const float *y, size_t n, size_t cols, size_t rows, struct buf *out) {
    float *column = calloc(cols * DOTS_ACROSS + 1, sizeof *column), low, high;
    if (!column) return ERR_MEMORY;
    if (n) gather(y, n, column, cols * DOTS_ACROSS, &low, &high);
    for (size_t row = 0; n && low <= high && row < rows; row++) {
        if (row == 0 || row + 1 == rows) buf_printf(out, "%8.3f ", (double)(row ? low : high));
        else buf_printf(out, "%8s ", "");
        draw_row(column, cols, row, rows, low, high, out);
        buf_add_char(out, '\n');
    }
    if (n && low <= high) buf_printf(out, "%8s 1%*zu\n", "", (int)cols - 1, n);
    free(column);
    return out->failed ? ERR_MEMORY : 0;
}
