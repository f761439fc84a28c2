/* slash_do: the commands that change the conversation. See slash_do.h and slash.h. */
#include "app/slash_do.h"

#include <stdlib.h>
#include <string.h>

#include "app/opening.h"
#include "config/persona.h"

/* Puts another conversation in the place of the one that is there. */
static void switch_to(struct slash *s, struct conversation *c, unsigned *todo) {
    conversation_close(s->conversation);
    s->conversation = c;
    s->mark = NULL;
    s->n_marks = 0;
    *todo |= SLASH_SWITCHED | SLASH_SHOW;
}

int slash_new(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)arg;
    struct conversation *c;
    int rc = opening_new(s->app, NULL, &c, e);
    if (!rc) switch_to(s, c, todo);
    return rc;
}

int slash_clear(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)arg;
    int rc = conversation_clear(s->conversation, e);
    if (rc) return rc;
    *todo |= SLASH_CUT;
    s->print(s->ctx, "the context is empty; what was said is kept as a branch");
    return 0;
}

int slash_regen(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)arg;
    int rc = conversation_regenerate(s->conversation, e);
    if (!rc) *todo |= SLASH_CUT | SLASH_REPLY;
    return rc;
}

int slash_undo(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    char *end = NULL;
    long n = *arg ? strtol(arg, &end, 10) : 1;
    if (n < 1 || (end && *end)) return err_set(e, ERR_USAGE, "/undo %s: how many exchanges, a whole number from 1", arg);
    int rc = conversation_undo(s->conversation, (size_t)n, e);
    if (rc) return rc;
    struct buf text = {0};
    *todo |= SLASH_CUT;
    buf_printf(&text, n == 1 ? "the last exchange is taken back" : "the last %ld exchanges are taken back", n);
    return slash_print(s, &text, e);
}

static int need_store(const struct slash *s, struct err *e) {
    return s->app->store ? 0 : err_set(e, ERR_USAGE, "conversations are not saved here");
}

/* What the loaded model was opened from may differ from what the settings say now. */
static bool model_differs(const struct slash *s) {
    struct model *m = s->app->worker ? worker_model(s->app->worker) : NULL;
    char *path = NULL;
    if (!m || app_find_model(s->app, &path, NULL)) return false;
    struct model_info info;
    model_get_info(m, &info);
    bool differs = strcmp(path, info.path) != 0;
    free(path);
    return differs;
}

int slash_load(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    struct store_conversation row = {0};
    struct conversation *c = NULL;
    struct err missing = {0};
    int rc = need_store(s, e);
    if (!rc) rc = store_find(s->app->store, arg, &row, e);
    if (!rc) rc = opening_resume(s->app, row.id, &c, e);
    if (!rc) {
        opening_adopt(s->app, &row, &missing);
        switch_to(s, c, todo);
        if (model_differs(s)) *todo |= SLASH_LOAD;
        if (missing.code) s->print(s->ctx, missing.text);
    }
    store_conversation_free(&row);
    return rc;
}

int slash_rename(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)todo;
    struct buf text = {0};
    if (!conversation_is_saved(s->conversation)) return err_set(e, ERR_USAGE, "conversations are not saved here");
    int rc = conversation_set_title(s->conversation, arg, e);
    if (rc) return rc;
    buf_printf(&text, "this conversation is now called %s", conversation_row(s->conversation)->title);
    return slash_print(s, &text, e);
}

static int list_personas(struct slash *s, struct err *e) {
    struct persona_entry *list = NULL;
    size_t n = 0;
    struct buf text = {0};
    int rc = persona_list(&list, &n, e);
    if (rc) return rc;
    for (size_t i = 0; i < n; i++) {
        bool in_use = s->app->persona && !strcmp(s->app->persona->id, list[i].id);
        buf_printf(&text, "%c %-16s %s\n", in_use ? '*' : ' ', list[i].id, list[i].error ? list[i].error : list[i].description);
    }
    persona_list_free(list, n);
    return slash_print(s, &text, e);
}

/* Where nothing was said yet the conversation begins anew, with the persona's examples; else it goes on under its system prompt. */
static int talk_to_persona(struct slash *s, unsigned *todo, struct err *e) {
    if (!conversation_n_turns(s->conversation)) return slash_new(s, "", todo, e);
    char *system = NULL;
    const struct store_conversation *row = conversation_row(s->conversation);
    int rc = options_system(s->app->settings, &system, e);
    if (!rc) rc = conversation_set_system(s->conversation, system, e);
    if (!rc) rc = conversation_set_model(s->conversation, s->app->persona->id, row->model, e);
    free(system);
    if (rc) return rc;
    struct buf text = {0};
    buf_printf(&text, "the conversation goes on with %s; /new begins another", s->app->persona->name);
    return slash_print(s, &text, e);
}

/* The guide's model is for the guide: where it is the one that is open, a persona that names none is refused. */
static int check_persona(const struct slash *s, const struct persona *p, const struct settings *with, struct err *e) {
    struct model *m = s->app->worker ? worker_model(s->app->worker) : NULL;
    struct model_info info;
    if (!m || settings_text(with, SET_MODEL)) return 0;
    model_get_info(m, &info);
    return strcmp(info.path, MODEL_GUIDE) ? 0 : app_fail_without_model(p, e);
}

static int put_on_persona(struct slash *s, const char *name, struct err *e) {
    struct settings *with;
    struct persona *p = NULL;
    int rc = settings_copy(&with, s->app->settings, e);
    if (rc) return rc;
    rc = persona_open(&p, name, with, e);
    if (!rc) rc = check_persona(s, p, with, e);
    if (rc) {
        persona_close(p);
        settings_close(with);
        return rc;
    }
    settings_take(s->app->settings, with);
    persona_close(s->app->persona);
    s->app->persona = p;
    return 0;
}

int slash_persona(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    if (!*arg) return list_personas(s, e);
    int rc = put_on_persona(s, arg, e);
    if (rc) return rc;
    rc = talk_to_persona(s, todo, e);
    *todo |= SLASH_THEME;
    if (!rc && model_differs(s)) *todo |= SLASH_LOAD;
    return rc;
}

int slash_system(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)todo;
    int rc = *arg ? conversation_set_system(s->conversation, arg, e) : 0;
    if (rc) return rc;
    const struct store_message *m = conversation_message(s->conversation, 0);
    const char *now = m->n_text ? m->text : "there is no system prompt";
    s->print(s->ctx, *arg ? "the system prompt is changed; the next message has the conversation read again" : now);
    return 0;
}

int slash_exit(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    (void)s;
    (void)arg;
    (void)e;
    *todo |= SLASH_LEAVE;
    return 0;
}
