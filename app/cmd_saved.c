/* cmd_saved: the subcommand that lists the saved conversations. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "app/command.h"
#include "app/report.h"
#include "config/paths.h"
#include "config/utf8.h"

static void add_row(struct buf *out, const struct store_conversation *c, bool for_people) {
    char when[REPORT_TIME_BYTES];
    if (for_people) {
        time_t t = (time_t)c->updated;
        struct tm tm;
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", localtime_r(&t, &tm));
        buf_printf(out, "%5lld  %s  %3lld  ", (long long)c->id, when, (long long)c->n_turns);
    } else {
        buf_printf(out, "%lld\t%s\t%lld\t", (long long)c->id, report_time(c->updated, when), (long long)c->n_turns);
    }
    utf8_add_line(c->title, out); /* columns are split at tabs */
    buf_add_char(out, '\n');
}

/* Where nothing was ever saved there is no store, and the list is empty; a folder that was named must be one. */
static int read_list(struct app *a, struct store_conversation **list, size_t *n, struct err *e) {
    if (settings_text(a->settings, SET_DATA) && !paths_is_folder(a->data_dir))
        return err_set(e, ERR_FILE, paths_is_file(a->data_dir) ? "%s is not a folder" : "%s: there is no such folder", a->data_dir);
    struct buf path = {0};
    paths_join(a->data_dir, "kvetch.db", &path);
    bool there = paths_is_file(buf_text(&path));
    buf_free(&path);
    if (!there) return 0;
    int rc = app_open_store(a, true, e);
    return rc ? rc : store_list(a->store, list, n, e);
}

int cmd_list(struct app *a, const struct command_args *args, struct err *e) {
    if (args->n_words) return err_set(e, ERR_USAGE, "list takes no words, found \"%s\"", args->word[0]);
    struct store_conversation *list = NULL;
    size_t n = 0;
    int rc = read_list(a, &list, &n, e);
    if (!rc && settings_bool(a->settings, SET_JSON)) {
        struct json *all = json_array();
        for (size_t i = 0; i < n; i++) json_add(all, NULL, report_conversation(&list[i]));
        rc = command_print_json(all, e);
    } else if (!rc) {
        struct buf b = {0};
        for (size_t i = 0; i < n; i++) add_row(&b, &list[i], isatty(STDOUT_FILENO));
        rc = command_print(&b, e);
        buf_free(&b);
    }
    for (size_t i = 0; i < n; i++) store_conversation_free(&list[i]);
    free(list);
    return rc;
}
