/* app: what every way into the program shares: the settings with their persona and configuration applied, where files lie, the
 * engine thread and the store. Main thread. */
#ifndef APP_APP_H
#define APP_APP_H

#include <stdbool.h>
#include <stddef.h>

#include "app/store.h"
#include "app/worker.h"
#include "config/err.h"
#include "config/persona.h"
#include "config/settings.h"

struct app {
    struct settings *settings; /* flags, persona and configuration file applied */
    struct persona *persona;   /* NULL: none */
    char *message;             /* the words of the command line joined by blanks; NULL: none */
    bool name_stdin;           /* one of the words was "-", which is not in the message */
    char *data_dir;            /* --data, or $XDG_DATA_HOME/kvetch: holds kvetch.db */
    char *cache_dir;           /* snapshots: $XDG_CACHE_HOME/kvetch, or DIR/cache with --data DIR */
    struct worker *worker;     /* NULL until app_start */
    struct store *store;       /* NULL until app_open_store */
};

/* Parses flags (argv without a subcommand's name and own flags). The other words are left in words[] (room for
 * argc, borrowed from argv), *n_words. */
int app_open(struct app *a, int argc, char **argv, const char **words, size_t *n_words, struct err *e);
/* Applies the configuration file and, where persona is true, the persona to the settings, and finds the folders. */
int app_configure(struct app *a, bool persona, struct err *e);
void app_close(struct app *a); /* also after a failure of these */

/* Starts the engine thread, where it does not run yet. */
int app_start(struct app *a, struct err *e);
/* The absolute path of the model to load: SET_MODEL as it is, else searched in models.dirs (also with ".gguf"); or MODEL_GUIDE, where that is
 * its name. The caller frees. ERR_FILE: there is none, or none is named. */
int app_find_model(const struct app *a, char **path, struct err *e);
int app_fail_without_model(const struct persona *p, struct err *e); /* ERR_FILE: where one is to be had. p: who lacks it; NULL: nobody */
/* Opens the store in data_dir, where it is not open yet. */
int app_open_store(struct app *a, bool read_only, struct err *e);

/* Appends the path of a saved conversation's cache snapshot, which need not be there. */
int app_snapshot_path(const struct app *a, int64_t conversation, struct buf *out, struct err *e);

/* One sentence on stderr: "kvetch: ..."; nothing for ERR_CLOSED. Returns the exit status for the error. */
int app_complain(const struct err *e);

/* ---- settings as the engine wants them (options.c) ---- */

/* For a chat or a script. ERR_USAGE: two settings that contradict each other. */
int options_check(const struct settings *s, struct err *e);
/* ERR_USAGE: a value that only shows to be wrong here (--grow, --keep). */
int options_session(const struct settings *s, struct session_options *o, struct err *e);
void options_sampling(const struct settings *s, struct sample_params *p);
int64_t options_predict(const struct settings *s);
/* The system prompt: --system, --system-file, or the persona's. *text is malloc'd, NULL: none. */
int options_system(const struct settings *s, char **text, struct err *e);

#endif
