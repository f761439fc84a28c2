/* cmd_settings: subcommands about the program itself: config, personas, help. */
#include <stdio.h>
#include <string.h>

#include "app/command.h"
#include "app/json.h"
#include "app/man.h"
#include "config/persona.h"
#include "config/utf8.h"

/* ---- config -------------------------------------------------------------------------------------------------- */

/* A setting's name as a user would write it: its YAML key, or its first flag. */
static void add_name(const struct setting *d, struct buf *out) {
    if (d->key) buf_add_text(out, d->key);
    else buf_add(out, d->flags, strcspn(d->flags, " "));
}

static int config_json(struct app *a, struct err *e) {
    struct json *all = json_array();
    for (int id = 0; id < SETTING_COUNT; id++) {
        struct buf name = {0}, value = {0};
        add_name(setting_get((enum setting_id)id), &name);
        settings_print(a->settings, (enum setting_id)id, &value);
        struct json *j = json_object();
        json_add_string(j, "setting", buf_text(&name));
        json_add_string(j, "value", buf_text(&value));
        json_add_string(j, "from", settings_where(a->settings, (enum setting_id)id));
        json_add(all, NULL, j);
        buf_free(&name);
        buf_free(&value);
    }
    return command_print_json(all, e);
}

int cmd_config(struct app *a, const struct command_args *args, struct err *e) {
    if (args->n_words) return err_set(e, ERR_USAGE, "config takes no words, found \"%s\"", args->word[0]);
    if (settings_bool(a->settings, SET_JSON)) return config_json(a, e);
    struct buf b = {0};
    for (int id = 0; id < SETTING_COUNT; id++) {
        struct buf name = {0}, value = {0};
        add_name(setting_get((enum setting_id)id), &name);
        settings_print(a->settings, (enum setting_id)id, &value);
        for (size_t i = 0; i < value.len; i++)
            if (value.data[i] == '\n') value.data[i] = ' ';
        buf_printf(&b, "%-28s %-24s %s\n", buf_text(&name), buf_text(&value), settings_where(a->settings, (enum setting_id)id));
        buf_free(&name);
        buf_free(&value);
    }
    int rc = command_print(&b, e);
    buf_free(&b);
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
