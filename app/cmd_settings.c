/* cmd_settings: subcommands about the program itself: config, personas, help. */
#include <stdio.h>
#include <string.h>

#include "app/command.h"
#include "app/json.h"
#include "app/man.h"
#include "app/opening.h"
#include "config/persona.h"
#include "config/utf8.h"

/* ---- config -------------------------------------------------------------------------------------------------- */

#define MAX_TEXT 64 /* bytes of a text in the table */

/* A bound of 0 stands for what the model was trained for. Where there is no model that can be asked, 0 stays. */
static void take_bound_of_model(struct app *a) {
    struct model *m = NULL;
    if (settings_int(a->settings, SET_BOUND) || command_open_model(a, NULL, &m, NULL)) return;
    struct model_info info;
    struct buf cells = {0};
    model_get_info(m, &info);
    buf_printf(&cells, "%u", info.n_ctx_train);
    if (info.n_ctx_train && !settings_set(a->settings, SET_BOUND, buf_text(&cells), ORIGIN_MODEL, "model", NULL))
        for (int o = ORIGIN_CONFIG; o <= ORIGIN_COMMAND; o++) settings_unset(a->settings, SET_BOUND, (enum setting_origin)o);
    buf_free(&cells);
    model_close(m);
}

/* That of a chat for which the command line names none. */
static void take_chosen_persona(struct app *a) {
    bool named = settings_is_set(a->settings, SET_PERSONA);
    opening_choose_persona(a, true, NULL);
    if (named || !a->persona) return;
    settings_set(a->settings, SET_PERSONA, a->persona->id, ORIGIN_MODEL, strcmp(a->persona->id, OPENING_GUIDE) ? "used last" : "no model is named", NULL);
}

/* Of its own type; a size is in bytes. */
static void add_value(struct json *j, const struct settings *s, const struct setting *d) {
    const char *const *item;
    struct json *list;
    switch (d->type) {
    case SETTING_FLAG:
    case SETTING_BOOL: json_add_bool(j, "value", settings_bool(s, d->id)); break;
    case SETTING_INT: json_add_number(j, "value", (double)settings_int(s, d->id)); break;
    case SETTING_REAL: json_add_number(j, "value", settings_real(s, d->id)); break;
    case SETTING_SIZE:
        if (settings_int(s, d->id)) json_add_number(j, "value", (double)settings_int(s, d->id));
        else json_add_string(j, "value", "auto");
        break;
    case SETTING_LIST:
        list = json_array();
        for (size_t i = 0, n = settings_list(s, d->id, &item); i < n; i++) json_add_string(list, NULL, item[i]);
        json_add(j, "value", list);
        break;
    case SETTING_TEXT:
    case SETTING_PATH:
    case SETTING_CHOICE:
    case SETTING_FORM:
    case SETTING_OPTIONAL: json_add_string(j, "value", settings_text(s, d->id)); break;
    }
}

static struct json *setting_json(const struct settings *s, const struct setting *d) {
    struct json *j = json_object();
    json_add_string(j, "setting", d->key);
    add_value(j, s, d);
    json_add_string(j, "from", settings_where(s, d->id));
    return j;
}

/* One line, on which a text is cut where it is long: --json has the whole. */
static void add_row(struct buf *out, const struct settings *s, const struct setting *d) {
    struct buf value = {0};
    char shown[MAX_TEXT];
    settings_print(s, d->id, &value);
    buf_printf(out, "%-28s %-24s %s\n", d->key, d->type == SETTING_TEXT ? utf8_show(buf_text(&value), shown, sizeof shown) : buf_text(&value),
               settings_where(s, d->id));
    out->failed |= value.failed;
    buf_free(&value);
}

int cmd_config(struct app *a, const struct command_args *args, struct err *e) {
    if (args->n_words) return err_set(e, ERR_USAGE, "config takes no words, found \"%s\"", args->word[0]);
    take_chosen_persona(a);
    take_bound_of_model(a);
    bool as_json = settings_bool(a->settings, SET_JSON);
    struct json *all = as_json ? json_array() : NULL;
    struct buf table = {0};
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *d = setting_get((enum setting_id)id);
        if (!d->key) continue; /* an order for one run */
        if (as_json) json_add(all, NULL, setting_json(a->settings, d));
        else add_row(&table, a->settings, d);
    }
    int rc = as_json ? command_print_json(all, e) : command_print(&table, e);
    buf_free(&table);
    return rc;
}

/* ---- personas ------------------------------------------------------------------------------------------------ */

int cmd_personas(struct app *a, const struct command_args *args, struct err *e) {
    if (args->n_words) return err_set(e, ERR_USAGE, "personas takes no words, found \"%s\"", args->word[0]);
    struct persona_entry *list = NULL;
    size_t n = 0;
    int rc = persona_list(&list, &n, e);
    if (!rc && settings_bool(a->settings, SET_JSON)) {
        struct json *all = json_array();
        for (size_t i = 0; i < n; i++) {
            struct json *j = json_object();
            json_add_string(j, "name", list[i].id);
            json_add_string(j, "description", list[i].description);
            json_add_string(j, "from", list[i].from);
            json_add_string(j, "error", list[i].error);
            json_add(all, NULL, j);
        }
        rc = command_print_json(all, e);
    } else if (!rc) {
        struct buf b = {0};
        for (size_t i = 0; i < n; i++)
            buf_printf(&b, "%-16s %s\n", list[i].id, list[i].error ? list[i].error : list[i].description);
        rc = command_print(&b, e);
        buf_free(&b);
    }
    persona_list_free(list, n);
    return rc;
}

/* ---- help ---------------------------------------------------------------------------------------------------- */

int cmd_help(struct app *a, const struct command_args *args, struct err *e) {
    if (args->flag[0]) {
        struct buf page = {0};
        man_print(&page);
        int rc = command_print(&page, e);
        buf_free(&page);
        return rc;
    }
    const struct command *c = args->n_words ? command_find(args->word[0]) : NULL;
    const char *near = args->n_words && !c ? command_nearest(args->word[0]) : NULL;
    if (args->n_words && !c)
        return err_set(e, ERR_USAGE, "there is no command \"%s\"%s%s: kvetch help lists them", args->word[0], near ? ", nearest: " : "", near ? near : "");
    return settings_bool(a->settings, SET_JSON) ? command_print_json(command_list_json(), e) : command_print_help(c, e);
}
