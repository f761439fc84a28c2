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

static void adopt_persona(struct app *a, const char *id, struct err *missing) {
    if (settings_origin(a->settings, SET_PERSONA) >= ORIGIN_FLAG) return;
    if (a->persona && !strcmp(a->persona->id, id)) return;
    if (!*id) {
        settings_forget(a->settings, ORIGIN_PERSONA);
        persona_close(a->persona);
        a->persona = NULL;
        return;
    }
    struct persona *p;
    if (persona_open(&p, id, a->settings, missing)) return;
    persona_close(a->persona);
    a->persona = p;
}

void opening_adopt(struct app *a, const struct store_conversation *row, struct err *missing) {
    adopt_persona(a, row->persona, missing);
    if (!*row->model || settings_origin(a->settings, SET_MODEL) >= ORIGIN_FLAG) return;
    if (paths_is_file(row->model)) settings_set(a->settings, SET_MODEL, row->model, ORIGIN_PERSONA, "the conversation", NULL);
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

int opening_check_system(struct app *a, const struct conversation *c, struct err *e) {
    struct session_options o;
    const struct store_message *system = conversation_message(c, 0);
    int rc = options_session(a->settings, &o, e);
    return rc ? rc : session_check_system(worker_model(a->worker), &o, system->text, system->n_text, e);
}
