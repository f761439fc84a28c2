/* opening: see opening.h. */
#include "app/opening.h"

#include <stdlib.h>
#include <string.h>

#include "config/paths.h"
#include "config/persona.h"

int opening_find(struct app *a, struct store_conversation *row, struct err *e) {
    *row = (struct store_conversation){0};
    const char *name = settings_text(a->settings, SET_RESUME);
    if (name) return store_find(a->store, name, row, e);
    if (settings_bool(a->settings, SET_CONTINUE)) return store_last(a->store, row, e);
    return 0;
}

/* In place of the one that is there. missing (may be NULL): why it is not. */
static void take_persona(struct app *a, const char *id, struct err *missing) {
    struct persona *p;
    if (persona_open(&p, id, a->settings, missing)) return;
    persona_close(a->persona);
    a->persona = p;
}

static void adopt_persona(struct app *a, const char *id, struct err *missing) {
    if (settings_origin(a->settings, SET_PERSONA) >= ORIGIN_FLAG) return;
    if (a->persona && !strcmp(a->persona->id, id)) return;
    if (*id) {
        take_persona(a, id, missing);
        return;
    }
    settings_forget(a->settings, ORIGIN_PERSONA);
    persona_close(a->persona);
    a->persona = NULL;
}

/* ---- the persona used last ----------------------------------------------------------------------------------- */

#define LAST_PERSONA "persona" /* in the folder of states: the id of the one that the last chat had */
#define MAX_ID_BYTES 4096

static void read_last_persona(struct buf *id) {
    struct buf path = {0};
    if (!paths_home(PATH_STATE, LAST_PERSONA, &path, NULL)) paths_read(buf_text(&path), MAX_ID_BYTES, id, NULL);
    buf_free(&path);
}

void opening_choose_persona(struct app *a, bool as_last, struct err *missing) {
    if (settings_is_set(a->settings, SET_PERSONA) || settings_origin(a->settings, SET_MODEL) >= ORIGIN_FLAG) return;
    struct buf last = {0};
    if (as_last) read_last_persona(&last);
    if (last.len) take_persona(a, buf_text(&last), missing);
    if (!settings_text(a->settings, SET_MODEL)) take_persona(a, OPENING_GUIDE, missing);
    buf_free(&last);
}

void opening_remember_persona(const struct app *a) {
    struct buf last = {0}, folder = {0}, path = {0};
    const char *id = a->persona && strcmp(a->persona->id, OPENING_GUIDE) ? a->persona->id : "";
    read_last_persona(&last);
    if (!settings_bool(a->settings, SET_NO_SAVE) && a->persona && strcmp(buf_text(&last), id) && !paths_home(PATH_STATE, NULL, &folder, NULL) &&
        !paths_make_folder(buf_text(&folder), NULL) && !paths_join(buf_text(&folder), LAST_PERSONA, &path)) {
        paths_write_private(buf_text(&path), id, strlen(id), NULL); /* where it fails the next chat has the one before */
    }
    buf_free(&last);
    buf_free(&folder);
    buf_free(&path);
}

/* ---- conversations ------------------------------------------------------------------------------------------- */

void opening_adopt(struct app *a, const struct store_conversation *row, struct err *missing) {
    adopt_persona(a, row->persona, missing);
    if (!*row->model || settings_origin(a->settings, SET_MODEL) >= ORIGIN_FLAG) return;
    if (!strcmp(row->model, MODEL_GUIDE) || paths_is_file(row->model)) settings_set(a->settings, SET_MODEL, row->model, ORIGIN_PERSONA, "the conversation", NULL);
    else err_set(missing, ERR_FILE, "the model of this conversation is no longer there: %s", row->model);
}

int opening_new(struct app *a, const char *title, struct conversation **out, struct err *e) {
    *out = NULL;
    char *system = NULL, *model = NULL;
    int rc = options_system(a->settings, &system, e);
    if (rc) return rc;
    app_find_model(a, &model, NULL);
    struct conversation_start start = {.title = title, .system = system, .model = model, .persona = a->persona ? a->persona->id : NULL};
    if (a->persona) {
        start.example = a->persona->example;
        start.n_examples = a->persona->n_examples;
    }
    rc = conversation_new(out, settings_bool(a->settings, SET_NO_SAVE) ? NULL : a->store, &start, e);
    free(model);
    free(system);
    return rc;
}

int opening_resume(struct app *a, int64_t id, struct conversation **out, struct err *e) {
    char *system = NULL;
    int rc = conversation_open(out, a->store, id, e);
    bool given = settings_origin(a->settings, SET_SYSTEM) >= ORIGIN_FLAG || settings_origin(a->settings, SET_SYSTEM_FILE) >= ORIGIN_FLAG;
    if (!rc && settings_bool(a->settings, SET_NO_SAVE)) conversation_keep_unsaved(*out);
    if (rc || !given) return rc;
    rc = options_system(a->settings, &system, e);
    if (!rc) rc = conversation_set_system(*out, system, e);
    free(system);
    if (rc) {
        conversation_close(*out);
        *out = NULL;
    }
    return rc;
}

void opening_warn_bound(const struct app *a, struct buf *out) {
    struct model *m = a->worker ? worker_model(a->worker) : NULL;
    int64_t bound = settings_int(a->settings, SET_BOUND);
    struct model_info info;
    if (!m) return;
    model_get_info(m, &info);
    if (bound > info.n_ctx_train)
        buf_printf(out, "the bound of %lld cells is beyond the %u tokens this model was trained for", (long long)bound, info.n_ctx_train);
}

int opening_check_system(struct app *a, const struct conversation *c, struct err *e) {
    struct session_options o;
    const struct store_message *system = conversation_message(c, 0);
    int rc = options_session(a->settings, &o, e);
    return rc ? rc : session_check_system(worker_model(a->worker), &o, system->text, system->n_text, e);
}
