/* slash_set: the commands that change settings and the cache's limits. See slash_do.h. */
#include <stdlib.h>
#include <string.h>

#include "app/opening.h"
#include "app/slash_do.h"

/* What has to happen for a changed setting to hold, by its group or itself. */
enum effect { NEXT_REPLY, LOAD_AGAIN, AT_ONCE, NOT_NOW };

static enum effect effect_of(const struct setting *d) {
    switch (d->id) {
    case SET_STOP: return NEXT_REPLY;
    case SET_THEME:
    case SET_EVICT:
    case SET_BOUND: return AT_ONCE;
    case SET_MODELS_DIRS: return NEXT_REPLY;
    default: break;
    }
    if (!d->key) return NOT_NOW;
    if (!strcmp(d->group, "Sampling")) return NEXT_REPLY;
    return !strcmp(d->group, "Context") || !strcmp(d->group, "Model") ? LOAD_AGAIN : NOT_NOW;
}

static void print_setting(const struct slash *s, const struct setting *d, struct buf *out) {
    struct buf value = {0};
    settings_print(s->app->settings, d->id, &value);
    buf_printf(out, "%-26s  %-8s  %s", d->key, buf_text(&value), d->help);
    if (settings_origin(s->app->settings, d->id) != ORIGIN_DEFAULT) buf_printf(out, " (%s)", settings_where(s->app->settings, d->id));
    buf_add_char(out, '\n');
    buf_free(&value);
}

/* The session's own limits, changed without loading anything again. */
static int change_limit(struct slash *s, enum setting_id id, struct err *e) {
    struct worker *w = s->app->worker;
    struct model *m = w ? worker_model(w) : NULL;
    if (!m) return 0; /* the load will read the setting */
    int64_t value = settings_int(s->app->settings, id);
    if (id == SET_EVICT) value = kv_evict_find(settings_text(s->app->settings, SET_EVICT));
    if (id == SET_BOUND && !value) {
        struct model_info info;
        model_get_info(m, &info);
        value = info.n_ctx_train;
    }
    if (worker_set_limit(w, id == SET_EVICT ? WORKER_SET_EVICT : WORKER_SET_BOUND, value)) return 0;
    return err_set(e, ERR_FAILED, "the engine has too much to do; try again");
}

/* Another model's file must be there: a name mistyped would else stand in the way of every later change. */
static int change_model(struct slash *s, const char *command, const char *value, struct err *e) {
    const char *now = settings_text(s->app->settings, SET_MODEL);
    char *before = now ? strdup(now) : NULL, *path = NULL;
    int rc = settings_set(s->app->settings, SET_MODEL, value, ORIGIN_COMMAND, command, e);
    if (!rc && (rc = app_find_model(s->app, &path, e)) && before) settings_set(s->app->settings, SET_MODEL, before, ORIGIN_COMMAND, command, NULL);
    free(path);
    free(before);
    return rc;
}

/* A limit that the kept part does not fit is not set. */
static int set_limit(struct slash *s, const char *command, const struct setting *d, const char *value, struct err *e) {
    struct settings *all = s->app->settings;
    bool again = settings_origin(all, d->id) == ORIGIN_COMMAND;
    struct buf before = {0};
    settings_print(all, d->id, &before);
    int rc = settings_set(all, d->id, value, ORIGIN_COMMAND, command, e);
    bool loaded = s->app->worker && worker_model(s->app->worker);
    if (!rc && loaded && (rc = opening_check_system(s->app, s->conversation, e))) {
        settings_unset(all, d->id, ORIGIN_COMMAND);
        if (again) settings_set(all, d->id, buf_text(&before), ORIGIN_COMMAND, command, NULL);
    }
    buf_free(&before);
    return rc ? rc : change_limit(s, d->id, e);
}

/* command: what the user wrote before the value, for messages. */
static int change(struct slash *s, const char *command, const struct setting *d, const char *value, unsigned *todo, struct err *e) {
    enum effect effect = effect_of(d);
    if (effect == NOT_NOW) return err_set(e, ERR_USAGE, "%s cannot be changed in a conversation", d->key);
    if (d->id == SET_EVICT || d->id == SET_BOUND) return set_limit(s, command, d, value, e);
    int rc = d->id == SET_MODEL ? change_model(s, command, value, e) : settings_set(s->app->settings, d->id, value, ORIGIN_COMMAND, command, e);
    if (!rc && effect == LOAD_AGAIN) *todo |= SLASH_LOAD;
    if (!rc && d->id == SET_THEME) *todo |= SLASH_THEME;
    return rc;
}

/* Changes one setting and shows what it is now. */
static int change_and_show(struct slash *s, const char *command, enum setting_id id, const char *value, unsigned *todo, struct err *e) {
    struct buf text = {0};
    int rc = change(s, command, setting_get(id), value, todo, e);
    if (rc) return rc;
    print_setting(s, setting_get(id), &text);
    size_t shown = text.len;
    if (id == SET_BOUND) opening_warn_bound(s->app, &text);
    if (text.len > shown) buf_add_char(&text, '\n');
    return slash_print(s, &text, e);
}

static const struct setting *find_setting(const char *name, struct err *e) {
    const struct setting *d = setting_find_name(name);
    char near[64];
    if (d && d->key) return d;
    if (d) err_set(e, ERR_USAGE, "%s cannot be changed in a conversation", name);
    else if (setting_nearest_name(name, near, sizeof near)) err_set(e, ERR_USAGE, "there is no setting %s; the nearest is %s", name, near);
    else err_set(e, ERR_USAGE, "there is no setting %s; /set lists them", name);
    return NULL;
}

int slash_set(struct slash *s, const char *arg, unsigned *todo, struct err *e) {
    struct buf text = {0};
    if (!*arg) {
        for (int id = 0; id < SETTING_COUNT; id++) {
            const struct setting *d = setting_get((enum setting_id)id);
            if (d->key && effect_of(d) != NOT_NOW) print_setting(s, d, &text);
        }
        return slash_print(s, &text, e);
    }
    size_t n = strcspn(arg, " \t=");
    struct buf name = {0};
    buf_add(&name, arg, n);
    const char *value = arg + n + strspn(arg + n, " \t=");
    const struct setting *d = find_setting(buf_text(&name), e);
    buf_free(&name);
    if (!d) return e ? e->code : ERR_USAGE;
    if (*value) {
        struct buf command = {0};
        buf_printf(&command, "/set %s", d->key);
        int rc = change_and_show(s, buf_text(&command), d->id, value, todo, e);
        buf_free(&command);
        return rc;
    }
    print_setting(s, d, &text);
    return slash_print(s, &text, e);
}

int slash_evict(struct slash *s, const char *arg, unsigned *todo, struct err *e) { return change_and_show(s, "/evict", SET_EVICT, arg, todo, e); }

int slash_limit(struct slash *s, const char *arg, unsigned *todo, struct err *e) { return change_and_show(s, "/limit", SET_BOUND, arg, todo, e); }
