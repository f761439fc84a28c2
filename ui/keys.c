/* keys: see keys.h. Sequences as xterm sends them: ESC [ 200 ~ text ESC [ 201 ~ for a paste, ESC [ < button ; x ; y M (or m)
 * for the mouse, buttons 64 and 65 being the wheel. */
#include "ui/keys.h"

#include <stdlib.h>
#include <string.h>

static const char paste_begin[] = "\033[200~", paste_end[] = "\033[201~", mouse[] = "\033[<";

enum match { NO, PERHAPS, YES };

static enum match match(const char *held, size_t n, const char *want) {
    size_t len = strlen(want);
    if (memcmp(held, want, n < len ? n : len) != 0) return NO;
    return n >= len ? YES : PERHAPS;
}

static enum match match_mouse(const char *held, size_t n) {
    enum match m = match(held, n, mouse);
    if (m != YES) return m;
    for (size_t i = strlen(mouse); i < n; i++) {
        if (held[i] == 'M' || held[i] == 'm') return YES;
        if (held[i] != ';' && (held[i] < '0' || held[i] > '9')) return NO;
    }
    return PERHAPS;
}

/* Lines end in CR, CR LF or LF, as the terminal likes; a message has LF. */
static void end_paste(struct keys *k, keys_fn *fn, void *ctx) {
    size_t to = 0;
    for (size_t i = 0; i < k->paste.len; i++) {
        char c = k->paste.data[i];
        if (c == '\r') {
            if (i + 1 < k->paste.len && k->paste.data[i + 1] == '\n') continue;
            c = '\n';
        }
        k->paste.data[to++] = c;
    }
    k->pasting = false;
    if (to) fn(ctx, KEYS_PASTE, k->paste.data, to);
    buf_free(&k->paste);
}

static void add_to_paste(struct keys *k, char c, keys_fn *fn, void *ctx) {
    const size_t len = sizeof paste_end - 1;
    buf_add_char(&k->paste, c);
    if (k->paste.failed || k->paste.len < len) {
        if (k->paste.failed) end_paste(k, fn, ctx);
        return;
    }
    if (memcmp(k->paste.data + k->paste.len - len, paste_end, len) != 0) return;
    k->paste.len -= len;
    end_paste(k, fn, ctx);
}

static void let_go(struct keys *k, size_t n, keys_fn *fn, void *ctx) {
    while (n--) {
        const char byte = k->held[0];
        memmove(k->held, k->held + 1, --k->n_held);
        fn(ctx, KEYS_BYTE, &byte, 1);
    }
}

void keys_feed(struct keys *k, const char *bytes, size_t n, keys_fn *fn, void *ctx) {
    for (size_t i = 0; i < n; i++) {
        if (k->pasting) {
            add_to_paste(k, bytes[i], fn, ctx);
            continue;
        }
        k->held[k->n_held++] = bytes[i];
        while (k->n_held > 0) {
            enum match p = match(k->held, k->n_held, paste_begin), m = match_mouse(k->held, k->n_held);
            if (p == YES) {
                k->pasting = true;
                k->n_held = 0;
            } else if (m == YES) {
                long button = strtol(k->held + sizeof mouse - 1, NULL, 10);
                k->n_held = 0;
                if (button == 64 || button == 65) fn(ctx, button == 64 ? KEYS_WHEEL_UP : KEYS_WHEEL_DOWN, "", 0);
            } else if ((p == PERHAPS || m == PERHAPS) && k->n_held < sizeof k->held - 1) {
                break;
            } else {
                let_go(k, 1, fn, ctx);
            }
        }
    }
}

void keys_flush(struct keys *k, keys_fn *fn, void *ctx) { let_go(k, k->n_held, fn, ctx); }
