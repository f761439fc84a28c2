/* err: see err.h. */
#include "config/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...) {
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof e->text, fmt, ap);
        va_end(ap);
        e->code = code;
    }
    return code;
}

int err_prefix(struct err *e, const char *fmt, ...) {
    if (!e) return 0;
    char head[256], text[sizeof e->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    memcpy(text, e->text, sizeof text);
    snprintf(e->text, sizeof e->text, "%s: %.*s", head, (int)(sizeof e->text - sizeof head - 3), text);
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
