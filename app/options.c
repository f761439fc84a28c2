/* options: settings as the engine wants them. See app.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "config/num.h"
#include "config/paths.h"

#define MAX_SYSTEM_BYTES (16u << 20)

/* "auto", "double", "fixed", "linear", "linear:STEP": STEP in cells, or in bytes where it has a unit. */
static int read_grow(const char *text, struct session_options *o, struct err *e) {
    const char *colon = strchr(text, ':');
    char name[16];
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    int grow = -1;
    if (n < sizeof name) {
        memcpy(name, text, n);
        name[n] = 0;
        grow = kv_grow_find(name);
    }
    if (grow < 0 || (colon && grow != KV_GROW_LINEAR))
        return err_set(e, ERR_USAGE, "--grow %s: allowed are auto, double, linear, linear:STEP and fixed", text);
    o->grow = (enum kv_grow)grow;
    if (!colon) return 0;
    int64_t step;
    bool unit;
    if (!setting_parse_size(colon + 1, &step, &unit) || step <= 0 || (!unit && step > UINT32_MAX))
        return err_set(e, ERR_USAGE, "--grow %s: the step is a number of cells, or of bytes with a unit, as in linear:256MiB", text);
    if (unit) o->step_bytes = (uint64_t)step;
    else o->step_cells = (uint32_t)step;
    return 0;
}

static int read_keep(const char *text, int64_t *keep, struct err *e) {
    *keep = -1;
    if (!strcmp(text, "system")) return 0;
    char *end;
    *keep = strtoll(text, &end, 10);
    if (end == text || *end || *keep < 0) return err_set(e, ERR_USAGE, "--keep %s: allowed are a number of tokens and \"system\"", text);
    return 0;
}

/* Two settings of which one would have to be dropped. The second counts where it comes from this origin or a stronger one. */
static const struct {
    enum setting_id a, b;
    enum setting_origin from;
} CONTRADICTIONS[] = {
    {SET_RESUME, SET_CONTINUE, ORIGIN_FLAG}, {SET_NAME, SET_RESUME, ORIGIN_FLAG},        {SET_NAME, SET_CONTINUE, ORIGIN_FLAG},
    {SET_NAME, SET_NO_SAVE, ORIGIN_CONFIG},  {SET_JSON, SET_JSONL, ORIGIN_FLAG},         {SET_SYSTEM_FILE, SET_SYSTEM, ORIGIN_FLAG},
};

static bool is_asked_for(const struct settings *s, enum setting_id id) {
    return setting_get(id)->type == SETTING_FLAG ? settings_bool(s, id) : settings_is_set(s, id);
}

/* "--name", or "no_save (config.yaml:1:2)". */
static void add_asker(const struct settings *s, enum setting_id id, struct buf *out) {
    const char *where = settings_where(s, id);
    if (settings_origin(s, id) == ORIGIN_FLAG) buf_add_text(out, where + strlen("flag "));
    else buf_printf(out, "%s (%s)", setting_get(id)->key, where);
}

int options_check(const struct settings *s, struct err *e) {
    for (size_t i = 0; i < sizeof CONTRADICTIONS / sizeof *CONTRADICTIONS; i++) {
        enum setting_id a = CONTRADICTIONS[i].a, b = CONTRADICTIONS[i].b;
        if (!is_asked_for(s, a) || !is_asked_for(s, b) || settings_origin(s, b) < CONTRADICTIONS[i].from) continue;
        struct buf one = {0}, other = {0};
        add_asker(s, a, &one);
        add_asker(s, b, &other);
        int rc = err_set(e, ERR_USAGE, "%s and %s contradict each other: leave one out", buf_text(&one), buf_text(&other));
        buf_free(&one);
        buf_free(&other);
        return rc;
    }
    return 0;
}

static bool is_auto(const struct settings *s, enum setting_id id) { return !strcasecmp(settings_text(s, id), "auto"); }

/* A name alone is a file of this folder, not one that the system's library path is searched for. */
static int read_plugin(const char *path, struct session_options *o, struct err *e) {
    if (!path) return 0;
    int n = snprintf(o->plugin, sizeof o->plugin, "%s%s", strchr(path, '/') ? "" : "./", path);
    return (size_t)n < sizeof o->plugin ? 0 : err_set(e, ERR_USAGE, "--kv-plugin: the path is longer than %zu bytes", sizeof o->plugin - 1);
}

int options_session(const struct settings *s, struct session_options *o, struct err *e) {
    *o = (struct session_options){
        .bound = (uint32_t)settings_int(s, SET_BOUND),
        .start = (uint32_t)settings_int(s, SET_START),
        .step_bytes = (uint64_t)settings_int(s, SET_STEP),
        .threshold_bytes = (uint64_t)settings_int(s, SET_THRESHOLD),
        .prompt_tokens = (uint32_t)settings_int(s, SET_CACHE_TOKENS),
        .evict_free = settings_real(s, SET_EVICT_FREE),
        .n_threads = (int)settings_int(s, SET_THREADS),
        .n_batch = (uint32_t)settings_int(s, SET_BATCH),
        .n_ubatch = (uint32_t)settings_int(s, SET_UBATCH),
        .memory = kv_memory_find(settings_text(s, SET_KV)),
        .type_k = num_find_name(settings_text(s, SET_TYPE_K)),
        .type_v = num_find_name(settings_text(s, SET_TYPE_V)),
    };
    o->prompt_bytes = is_auto(s, SET_CACHE_RAM) ? KV_PROMPT_AUTO : (uint64_t)settings_int(s, SET_CACHE_RAM);
    if (!is_auto(s, SET_BUDGET)) { /* a budget of nothing is none that is automatic: the cache says what it needs at least */
        o->budget_bytes = (uint64_t)settings_int(s, SET_BUDGET);
        if (!o->budget_bytes) o->budget_bytes = 1;
    }
    int evict = kv_evict_find(settings_text(s, SET_EVICT));
    if (evict < 0) return err_set(e, ERR_USAGE, "--evict %s: there is no such mode", settings_text(s, SET_EVICT));
    o->evict = (enum kv_evict)evict;
    if (o->memory < 0) return err_set(e, ERR_USAGE, "--kv %s: there is no such memory", settings_text(s, SET_KV));
    int rc = read_grow(settings_text(s, SET_GROW), o, e);
    if (!rc) rc = read_plugin(settings_text(s, SET_KV_PLUGIN), o, e);
    return rc ? rc : read_keep(settings_text(s, SET_KEEP), &o->keep, e);
}

void options_sampling(const struct settings *s, struct sample_params *p) {
    int64_t seed = settings_int(s, SET_SEED);
    *p = (struct sample_params){
        .temp = (float)settings_real(s, SET_TEMP),
        .top_k = (int32_t)settings_int(s, SET_TOP_K),
        .top_p = (float)settings_real(s, SET_TOP_P),
        .min_p = (float)settings_real(s, SET_MIN_P),
        .repeat_penalty = (float)settings_real(s, SET_REPEAT_PENALTY),
        .repeat_last_n = (int32_t)settings_int(s, SET_REPEAT_LAST_N),
        .presence_penalty = (float)settings_real(s, SET_PRESENCE_PENALTY),
        .frequency_penalty = (float)settings_real(s, SET_FREQUENCY_PENALTY),
        .seed = seed < 0 ? UINT64_MAX : (uint64_t)seed,
    };
}

int64_t options_predict(const struct settings *s) { return settings_int(s, SET_PREDICT); }

int options_system(const struct settings *s, char **text, struct err *e) {
    *text = NULL;
    const char *path = settings_text(s, SET_SYSTEM_FILE), *system = settings_text(s, SET_SYSTEM);
    struct buf b = {0};
    /* A file named on the command line is as strong as --system, and a persona's text is weaker than both. */
    if (path && (!system || settings_origin(s, SET_SYSTEM) < ORIGIN_FLAG)) {
        int rc = paths_read(path, MAX_SYSTEM_BYTES, &b, e);
        if (rc) {
            buf_free(&b);
            return rc;
        }
        if (b.len && b.data[b.len - 1] == '\n') b.data[--b.len] = 0;
    } else if (system) {
        buf_add_text(&b, system);
    } else {
        return 0;
    }
    *text = buf_take(&b);
    return *text ? 0 : err_set(e, ERR_MEMORY, "no memory for the system prompt");
}
