/* kv_saved: see kv_saved.h. */
#include "kv/kv_saved.h"

#include <stdlib.h>

#include "kv/kv_cache.h"

struct kv_saved *kv_saved_new(uint32_t n_blocks) {
    struct kv_saved *s = calloc(1, sizeof *s + n_blocks * sizeof *s->block);
    if (s) s->n = n_blocks;
    return s;
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool unchanged(const struct stat *a, const struct stat *b) {
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

struct kv_saved *kv_saved_find(struct kv *c, const struct stat *st) {
    for (struct kv_saved *s = c->saved; s; s = s->next)
        if (same_file(&s->st, st)) return unchanged(&s->st, st) ? s : NULL;
    return NULL;
}

void kv_saved_put(struct kv *c, struct kv_saved *s) {
    kv_saved_forget(c, &s->st);
    s->next = c->saved;
    c->saved = s;
    struct kv_saved *last = s;
    for (uint32_t i = 1; i < KV_SAVED_FILES && last; i++) last = last->next;
    if (!last || !last->next) return;
    free(last->next); /* one comes at a time */
    last->next = NULL;
}

void kv_saved_forget(struct kv *c, const struct stat *st) {
    for (struct kv_saved **at = &c->saved; *at; at = &(*at)->next)
        if (same_file(&(*at)->st, st)) {
            struct kv_saved *s = *at;
            *at = s->next;
            free(s);
            return;
        }
}

void kv_saved_free(struct kv *c) {
    while (c->saved) {
        struct kv_saved *s = c->saved;
        c->saved = s->next;
        free(s);
    }
}

bool kv_saved_holds(const struct kv *c, const struct kv_saved *s, uint32_t block, const uint64_t *mask) {
    if (block >= s->n) return false;
    const struct kv_saved_block *b = &s->block[block];
    return b->at.offset && c->written[block] <= b->stamp && kv_snapshot_has(b->at.mask, mask);
}
