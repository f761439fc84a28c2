/* keys: the bytes of a terminal, with what readline cannot take told apart: pastes and the mouse wheel. */
#ifndef UI_KEYS_H
#define UI_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/buf.h"

enum keys_kind { KEYS_BYTE, KEYS_PASTE, KEYS_WHEEL_UP, KEYS_WHEEL_DOWN };
typedef void keys_fn(void *ctx, enum keys_kind kind, const char *bytes, size_t n); /* BYTE: one, and what follows it in the same sequence is held; PASTE: all of it */

/* Zero it before use, buf_free(&k.paste) after. */
struct keys {
    char held[40];      /* the beginning of what may become a sequence of ours */
    size_t n_held;
    bool pasting;
    struct buf paste;
};

void keys_feed(struct keys *k, const char *bytes, size_t n, keys_fn *fn, void *ctx);
/* Nothing has followed for a while: what is held was typed as it stands. */
void keys_flush(struct keys *k, keys_fn *fn, void *ctx);
static inline bool keys_holds(const struct keys *k) { return k->n_held > 0; }

#endif
