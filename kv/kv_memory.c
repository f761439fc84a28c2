/* kv_memory: which memory a cache has: the table of the default one, and every call that a plug-in can replace.
 *
 * A cache is always opened by the default memory; a plug-in's functions stand before it. With none the calls below go
 * straight to kv_cache.c and its neighbours through one table that never changes. */
#include "kv/kv_memory.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kv/kv_cache.h"

/* ---- the default memory -------------------------------------------------------------------------------------- */

static int default_create(struct kv *c, const struct kv_config *g, struct err *e) {
    (void)c, (void)g, (void)e;
    return 0;
}

static void default_destroy(struct kv *c) {
    (void)c;
}

static void default_drop(struct kv *c, uint32_t cell, uint32_t n) {
    (void)c, (void)cell, (void)n;
}

/* The mode decides. */
static int default_evict(struct kv *c, const struct kv_memory_ask *ask, struct err *e) {
    (void)c, (void)ask, (void)e;
    return 0;
}

const struct kv_memory kv_memory_default = {
    .version = KV_MEMORY_VERSION,
    .bytes = sizeof(struct kv_memory),
    .name = "default",
    .flags = KV_CAN_ALL,
    .create = default_create,
    .destroy = default_destroy,
    .place = kv_cache_begin,
    .apply = kv_cache_finish,
    .abandon = kv_cache_abandon,
    .write = kv_cache_write,
    .view = kv_cache_view,
    .rm = kv_ops_rm,
    .cp = kv_copy_cp,
    .keep = kv_ops_keep,
    .add = kv_move_add,
    .div = kv_move_div,
    .drop = default_drop,
    .copy = kv_move_copy,
    .evict = default_evict,
    .save = kv_save_seq,
    .load = kv_load_seq,
    .stats = kv_stats_get,
};

static void **host_state(struct kv *c) {
    return &c->state;
}

static const struct kv_config *host_config(const struct kv *c) {
    return &c->config;
}

const struct kv_memory_host kv_memory_host = {
    .version = KV_MEMORY_VERSION,
    .bytes = sizeof(struct kv_memory_host),
    .base = &kv_memory_default,
    .state = host_state,
    .config = host_config,
    .layout = kv_get_layout,
    .tokens = kv_tokens,
    .rope_angles = kv_rope_angles,
    .rope_turn = kv_rope_turn,
    .fail = err_set,
};

/* ---- choosing ------------------------------------------------------------------------------------------------ */

/* The names of the memories that are built in; one more is one more row. */
static const struct kv_memory *const memories[] = {&kv_memory_default};

int kv_memory_find(const char *name) {
    for (int i = 0; i < (int)(sizeof memories / sizeof *memories); i++)
        if (!strcmp(memories[i]->name, name)) return i;
    return -1;
}

#define BROKEN "memory %s has broken at \"%s\": %s; the default memory is used from here on"

static const char *said(const struct err *e) {
    return *e->text ? e->text : "it does not say how";
}

static void tell(struct kv *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct kv *c, const char *fmt, ...) {
    char text[640];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    kv_event_memory(c, text);
}

static void refuse(struct kv *c, const struct err *why) {
    tell(c, "%s; the default memory is used", why->text);
}

static void tell_freed(void *ctx, uint32_t cell, uint32_t n) {
    struct kv *c = ctx;
    c->memory->drop(c, cell, n);
}

void kv_memory_use(struct kv *c, const struct kv_memory *m) {
    c->memory = m;
    c->cells.freed = m->drop == default_drop ? NULL : tell_freed;
    c->cells.ctx = c;
}

/* The plug-in that was asked for, or NULL, of which an event tells. */
static const struct kv_memory *load_plugin(struct kv *c) {
    struct err why = {0};
    const struct kv_memory *m = NULL;
    const char *path = c->config.plugin;
    c->config.plugin = NULL; /* borrowed */
    if (!path) return NULL;
    if (kv_plugin_open(path, &m, &why))
        refuse(c, &why);
    else if (!m)
        tell(c, "%s: the plug-in leaves this cache to the default memory", path);
    return m;
}

void kv_memory_open(struct kv *c) {
    struct err e = {0}, why = {0};
    c->memory = memories[c->config.memory];
    const struct kv_memory *m = load_plugin(c);
    if (!m) return;
    if (!m->create(c, &c->config, &e)) {
        c->created = m;
        kv_memory_use(c, m);
        tell(c, "the memory is %s", m->name);
    } else {
        err_set(&why, ERR_FAILED, "memory %s cannot be opened: %s", m->name, said(&e));
        c->state = NULL;
        refuse(c, &why);
    }
}

void kv_memory_destroy(struct kv *c) {
    if (c->created) c->created->destroy(c);
    c->created = NULL;
    c->state = NULL;
}

bool kv_memory_decline(struct kv *c, const struct err *why) {
    const char *name = c->memory->name;
    if (kv_grow_policy(c) == c->config.grow) return false;
    kv_memory_destroy(c);
    kv_memory_use(c, &kv_memory_default);
    tell(c, "memory %s cannot grow, and %s; the default memory is used", name, why->text);
    return true;
}

void kv_memory_retire(struct kv *c, const char *call, const struct err *why) {
    tell(c, BROKEN, c->memory->name, call, said(why));
    kv_memory_use(c, &kv_memory_default);
    kv_stats_publish(c);
}

void kv_memory_break(struct kv *c, const char *call, const struct err *why) {
    kv_memory_retire(c, call, why);
    c->running.on = false;
    kv_prompt_drop_all(c);
    for (int s = 0; s < kv_seqs(c); s++) kv_ops_strip(c, s);
    kv_stats_publish(c);
}

/* ---- the calls ----------------------------------------------------------------------------------------------- */

int kv_memory_answer(struct kv *c, const char *call, int rc, struct err *e) {
    if (rc != ERR_FAILED || c->memory == &kv_memory_default) return rc;
    struct err why = {0};
    if (e) why = *e;
    const char *name = c->memory->name;
    kv_memory_break(c, call, &why);
    return err_set(e, rc, BROKEN, name, call, said(&why));
}

int kv_begin(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e) {
    return kv_memory_answer(c, "place", c->memory->place(c, seq, token, n, first, b, e), e);
}

void kv_finish(struct kv *c, struct kv_batch *b) {
    c->memory->apply(c, b);
}

void kv_abandon(struct kv *c, struct kv_batch *b) {
    c->memory->abandon(c, b);
}

void kv_write(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k, size_t k_stride,
              const float *v, size_t v_stride) {
    c->memory->write(c, b, layer, i0, i1, k, k_stride, v, v_stride);
}

void kv_get_view(struct kv *c, const struct kv_batch *b, struct kv_view *v) {
    c->memory->view(c, b, v);
}

bool kv_seq_rm(struct kv *c, int seq, int64_t p0, int64_t p1) {
    return c->memory->rm(c, seq, p0, p1);
}

int kv_seq_cp(struct kv *c, int src, int dst, int64_t p0, int64_t p1, struct err *e) {
    return kv_memory_answer(c, "cp", c->memory->cp(c, src, dst, p0, p1, e), e);
}

void kv_seq_keep(struct kv *c, int seq) {
    c->memory->keep(c, seq);
}

int kv_seq_add(struct kv *c, int seq, int64_t p0, int64_t p1, int64_t d, struct err *e) {
    if (!kv_memory_can(c, KV_CAN_SHIFT)) return err_set(e, ERR_USAGE, "memory %s cannot move positions", c->memory->name);
    return kv_memory_answer(c, "add", c->memory->add(c, seq, p0, p1, d, e), e);
}

int kv_seq_div(struct kv *c, int seq, int64_t p0, int64_t p1, int d, struct err *e) {
    if (!kv_memory_can(c, KV_CAN_SHIFT)) return err_set(e, ERR_USAGE, "memory %s cannot move positions", c->memory->name);
    return kv_memory_answer(c, "div", c->memory->div(c, seq, p0, p1, d, e), e);
}

int kv_save(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *info, uint64_t *bytes, struct err *e) {
    if (!kv_memory_can(c, KV_EXACT_RESTORE))
        return err_set(e, ERR_USAGE, "memory %s does not restore exactly what it holds", c->memory->name);
    return c->memory->save(c, seq, path, info, bytes, e);
}

int kv_load(struct kv *c, int seq, const char *path, const struct kv_snapshot_info *expect, uint64_t *bytes, struct err *e) {
    if (!kv_memory_can(c, KV_EXACT_RESTORE))
        return err_set(e, ERR_USAGE, "memory %s does not restore exactly what it holds", c->memory->name);
    return c->memory->load(c, seq, path, expect, bytes, e);
}

void kv_get_stats(struct kv *c, struct kv_stats *s) {
    c->memory->stats(c, s);
}
