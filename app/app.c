/* app: see app.h. */
#include "app/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/snapshots.h"
#include "config/paths.h"

int app_open(struct app *a, int argc, char **argv, const char **words, size_t *n_words, struct err *e) {
    *a = (struct app){0};
    int rc = settings_open(&a->settings, e);
    return rc ? rc : settings_parse_args(a->settings, argc, argv, words, n_words, e);
}

static int find_folders(struct app *a, struct err *e) {
    struct buf data = {0}, cache = {0};
    const char *named = settings_text(a->settings, SET_DATA);
    int rc = 0;
    if (named) {
        buf_add_text(&data, named);
        paths_join(named, "cache", &cache); /* ids of conversations are those of this store */
    } else {
        rc = paths_home(PATH_DATA, NULL, &data, e);
        if (!rc) rc = paths_home(PATH_CACHE, NULL, &cache, e);
    }
    a->data_dir = buf_take(&data);
    a->cache_dir = buf_take(&cache);
    if (!rc && !(a->data_dir && a->cache_dir)) rc = err_set(e, ERR_MEMORY, "no memory for the names of folders");
    return rc;
}

/* The name lives in settings that the persona replaces by its own. */
static int open_persona(struct app *a, struct err *e) {
    const char *given = settings_text(a->settings, SET_PERSONA);
    char *name = given ? strdup(given) : NULL;
    if (given && !name) return err_set(e, ERR_MEMORY, "no memory for the persona");
    int rc = name && *name ? persona_open(&a->persona, name, a->settings, e) : 0;
    free(name);
    return rc;
}

int app_configure(struct app *a, bool persona, struct err *e) {
    int rc = settings_apply_config(a->settings, e);
    if (!rc && persona) rc = open_persona(a, e);
    return rc ? rc : find_folders(a, e);
}

void app_close(struct app *a) {
    worker_close(a->worker); /* before the store: the engine thread may be waiting for a ticket */
    store_close(a->store);
    persona_close(a->persona);
    settings_close(a->settings);
    free(a->message);
    free(a->data_dir);
    free(a->cache_dir);
    *a = (struct app){0};
}

int app_start(struct app *a, struct err *e) { return a->worker ? 0 : worker_open(&a->worker, e); }

int app_open_store(struct app *a, bool read_only, struct err *e) {
    return a->store ? 0 : store_open(&a->store, a->data_dir, read_only, e);
}

/* "folder/name", or that with ".gguf", where it is a file. */
static bool try_folder(const char *folder, const char *name, struct buf *path) {
    static const char *const ENDING[] = {"", ".gguf"};
    for (size_t i = 0; i < sizeof ENDING / sizeof *ENDING; i++) {
        buf_clear(path);
        paths_join(folder, name, path);
        buf_add_text(path, ENDING[i]);
        if (paths_is_file(buf_text(path))) return true;
    }
    return false;
}

int app_fail_without_model(const struct persona *p, struct err *e) {
    return err_set(e, ERR_FILE,
                   "%s%s%s: name a GGUF file (llama, qwen2 or qwen3; huggingface.co has many) with -m FILE, or as \"model:\" in a persona or in"
                   " config.yaml; the persona guide brings its own", p ? "the persona " : "no model", p ? p->id : "", p ? " has no model" : "");
}

int app_find_model(const struct app *a, char **path, struct err *e) {
    *path = NULL;
    const char *name = settings_text(a->settings, SET_MODEL);
    if (!name || !*name) return app_fail_without_model(a->persona, e);
    if (!strcmp(name, MODEL_GUIDE)) return (*path = strdup(name)) ? 0 : err_set(e, ERR_MEMORY, "no memory for the name of the model");
    const char *const *folder;
    size_t n = settings_list(a->settings, SET_MODELS_DIRS, &folder);
    struct buf found = {0}, expanded = {0};
    bool ok = paths_is_file(name) || paths_is_folder(name); /* of a folder the engine says that it is one */
    if (ok) buf_add_text(&found, name);
    for (size_t i = 0; i < n && !ok; i++) {
        buf_clear(&expanded);
        ok = !paths_expand(folder[i], &expanded, NULL) && try_folder(buf_text(&expanded), name, &found);
    }
    int rc = 0;
    if (!ok) rc = err_set(e, ERR_FILE, n ? "%s: there is no such model, here or in models.dirs" : "%s: there is no such file", name);
    else if (!(*path = realpath(buf_text(&found), NULL))) rc = err_set(e, ERR_FILE, "%s: %s", name, strerror(errno));
    buf_free(&found);
    buf_free(&expanded);
    return rc;
}

int app_snapshot_path(const struct app *a, int64_t conversation, struct buf *out, struct err *e) {
    return snapshots_path(a->cache_dir, conversation, out) ? err_set(e, ERR_MEMORY, "no memory for the path of a snapshot") : 0;
}

int app_complain(const struct err *e) {
    if (e->code == ERR_CLOSED) return err_status(e->code);
    fprintf(stderr, "kvetch: %s\n", e->text[0] ? e->text : "something went wrong");
    return err_status(e->code);
}
