/* err: see err.h. */
#include "config/err.h"

#include <stdarg.h>
#include <stdio.h>

#include "config/utf8.h"

/* Names and values from files end up in messages: whatever they hold, a message is one clean line. */
int err_set(struct err *e, int code, const char *fmt, ...) {
    if (e) {
        char text[2 * sizeof e->text];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        utf8_show(text, e->text, sizeof e->text);
        e->code = code;
    }
    return code;
}

int err_prefix(struct err *e, const char *fmt, ...) {
    if (!e) return 0;
    char text[2 * sizeof e->text];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof e->text, fmt, ap);
    va_end(ap);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof e->text ? (size_t)n : sizeof e->text - 1;
    snprintf(text + used, sizeof text - used, ": %s", e->text);
    utf8_show(text, e->text, sizeof e->text);
    return e->code;
}

int err_status(int code) {
    switch (code) {
    case 0: return 0;
    case ERR_USAGE: return 2;
    case ERR_FILE: return 3;
    case ERR_MEMORY: return 4;
    case ERR_CONTEXT: return 5;
    case ERR_CANCELLED: return 130;
    case ERR_CLOSED: return 141;
    default: return 1;
    }
}
