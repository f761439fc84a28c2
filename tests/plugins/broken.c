/* broken: a memory plug-in with the faults that KVETCH_TEST_FAULT names, for the tests of how it is refused or let go. */
#include <stdlib.h>
#include <string.h>

#include "kv/kv_memory.h"

static const struct kv_memory_host *host;
static struct kv_memory table;
static int placed;

static int create(struct kv *c, const struct kv_config *g, struct err *e) {
    (void)c, (void)g;
    return host->fail(e, ERR_FAILED, "it does not feel like it");
}

/* Breaks at the tenth batch. */
static int place(struct kv *c, int seq, const int32_t *token, uint32_t n, size_t first, struct kv_batch *b, struct err *e) {
    if (++placed == 10) return host->fail(e, ERR_FAILED, "ten is enough");
    return host->base->place(c, seq, token, n, first, b, e);
}

static int evict(struct kv *c, const struct kv_memory_ask *ask, struct err *e) {
    (void)c, (void)e;
    ask->cell[0].leaves = true;
    return 0;
}

/* It might keep what is written where the cache does not find it. */
static void write(struct kv *c, const struct kv_batch *b, uint32_t layer, uint32_t i0, uint32_t i1, const float *k, size_t k_stride, const float *v,
                  size_t v_stride) {
    (void)c, (void)b, (void)layer, (void)i0, (void)i1, (void)k, (void)k_stride, (void)v, (void)v_stride;
}

static void set_version(void) { table.version++; }
static void set_bytes(void) { table.bytes -= 8; }
static void set_name(void) { table.name = ""; }
static void set_flags(void) { table.flags |= 1u << 20; }
static void set_missing(void) { table.div = NULL; }
static void set_create(void) { table.create = create; }
static void set_place(void) { table.place = place; }
static void set_evict(void) { table.evict = evict; }
static void set_write(void) { table.write = write; }
static void set_fixed(void) { table.flags &= ~(KV_CAN_GROW | KV_CAN_SHIFT | KV_EXACT_RESTORE); }

static const struct {
    const char *name;
    void (*set)(void);
} faults[] = {
    {"version", set_version}, {"bytes", set_bytes}, {"name", set_name},   {"flags", set_flags}, {"missing", set_missing},
    {"create", set_create},   {"place", set_place}, {"evict", set_evict}, {"fixed", set_fixed},
    {"write", set_write},
};

const struct kv_memory *kvetch_memory(const struct kv_memory_host *from) {
    const char *fault = getenv("KVETCH_TEST_FAULT");
    host = from;
    table = *host->base;
    table.name = "broken";
    placed = 0;
    for (size_t i = 0; fault && i < sizeof faults / sizeof *faults; i++)
        if (strstr(fault, faults[i].name)) faults[i].set();
    return fault && !strcmp(fault, "null") ? NULL : &table;
}
