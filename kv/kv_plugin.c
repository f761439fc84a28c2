/* kv_plugin: a memory plug-in's way in: loading it, and looking at what it is before it is used. */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "kv/kv_memory.h"

/* Every call that a table must have. */
#define CALL(name) {#name, offsetof(struct kv_memory, name)}
static const struct {
    const char *name;
    size_t at;
} calls[] = {
    CALL(create), CALL(destroy), CALL(place), CALL(apply), CALL(abandon), CALL(write), CALL(view), CALL(rm),
    CALL(cp),     CALL(keep),    CALL(add),   CALL(div),   CALL(drop),    CALL(copy),  CALL(evict), CALL(save),
    CALL(load),   CALL(stats),
};
#undef CALL

static int check(const char *path, const struct kv_memory *m, struct err *e) {
    if (m->version != KV_MEMORY_VERSION)
        return err_set(e, ERR_FILE, "%s: a memory plug-in of version %u; this program takes version %u", path, m->version,
                       KV_MEMORY_VERSION);
    if (m->bytes != sizeof *m)
        return err_set(e, ERR_FILE, "%s: its table has %u bytes, not the %zu of version %u", path, m->bytes, sizeof *m,
                       KV_MEMORY_VERSION);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        void (*call)(void);
        memcpy(&call, (const char *)m + calls[i].at, sizeof call);
        if (!call) return err_set(e, ERR_FILE, "%s: the call \"%s\" is missing", path, calls[i].name);
    }
    if (!m->name || !*m->name) return err_set(e, ERR_FILE, "%s: it has no name", path);
    if (m->flags & ~KV_CAN_ALL) return err_set(e, ERR_FILE, "%s: flags 0x%x are not all known", path, m->flags);
    return 0;
}

int kv_plugin_open(const char *path, const struct kv_memory **m, struct err *e) {
    const struct kv_memory *(*factory)(const struct kv_memory_host *host);
    *m = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return err_set(e, ERR_FILE, "no plug-in can be loaded: %s", dlerror());
    int rc = 0;
    void *symbol = dlsym(library, KV_MEMORY_SYMBOL);
    memcpy(&factory, &symbol, sizeof factory); /* POSIX has the two alike; C knows no conversion */
    if (!symbol)
        rc = err_set(e, ERR_FILE, "%s: no memory plug-in, it has no symbol " KV_MEMORY_SYMBOL, path);
    else if ((*m = factory(&kv_memory_host)) && (rc = check(path, *m, e)))
        *m = NULL;
    if (!*m) dlclose(library);
    return rc;
}
