/* settings: the one table from which flags, YAML keys, /set, --help, `kvetch config` and completions come.
 *
 * A setting has an id, a YAML key, flags, a type, a range, a default and a line of help. A struct settings holds a value for
 * each and where it came from. Order of authority: flag, persona, config file, the model's own, default: a weaker origin never
 * overwrites a stronger one. Not shared between threads. */
#ifndef CONFIG_SETTINGS_H
#define CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/buf.h"
#include "config/err.h"
#include "config/yaml.h"

enum setting_type {
    SETTING_FLAG,   /* bool; a flag without a value */
    SETTING_BOOL,   /* bool with a value: true/false, on/off, yes/no */
    SETTING_INT,
    SETTING_REAL,
    SETTING_SIZE,   /* bytes: 512MiB, 1GiB, 64k, "auto" = 0 */
    SETTING_TEXT,
    SETTING_PATH,   /* text; ~ is expanded */
    SETTING_CHOICE, /* one of a list of names; value is text and index */
    SETTING_LIST,   /* texts; a repeated flag appends; a YAML list replaces what the same origin said before */
    SETTING_FORM,   /* text of one of the forms in choices: a name, N (a whole number within min and max), NAME:SIZE */
    SETTING_OPTIONAL, /* one of choices, given only as --flag=value; the flag alone is the text "" */
};

#define SETTING_SIZE_MAX 0x1p62

enum setting_origin { ORIGIN_DEFAULT, ORIGIN_MODEL, ORIGIN_CONFIG, ORIGIN_PERSONA, ORIGIN_FLAG, ORIGIN_COMMAND /* /set */ };

/* The rows' ids: one for each row of the table in settings.c, in its order. */
enum setting_id {
#define SETTING(id, ...) id,
#include "config/settings_table.h"
#undef SETTING
    SETTING_COUNT
};

struct setting {
    enum setting_id id;
    const char *key;        /* dotted YAML key, "sampling.temp"; NULL: a flag alone */
    const char *flags;      /* blank-separated spellings, "-c --ctx-size"; "" none */
    enum setting_type type;
    const char *value_name; /* in help: "CELLS", "FILE" */
    double min, max;        /* INT, REAL, SIZE; both 0: any */
    const char *choices;    /* CHOICE, FORM, OPTIONAL: blank-separated; INT: what is allowed outside min and max too; NULL */
    const char *fallback;   /* default, as text; NULL: unset */
    const char *group;      /* heading in --help */
    const char *help;       /* one line */
};
const struct setting *setting_get(enum setting_id id);
const struct setting *setting_find_key(const char *key);   /* full ("sampling.temp") or last part where unique ("temp"), - for _ allowed; NULL */
const struct setting *setting_find_full_key(const char *key); /* "sampling.temp" alone; NULL */
const struct setting *setting_find_flag(const char *flag); /* "-c"; NULL */

/* A size as users write it: "4096", "64k", "512MiB", "1.5GiB" (k, M, G, T and KiB ... are powers of 1024, kB, MB ... of 1000).
 * *unit (may be NULL): whether one was written. False: not a size, or above 2^62. */
bool setting_parse_size(const char *text, int64_t *bytes, bool *unit);

/* What a user may call it in a conversation: as setting_find_key, or a flag without its dashes ("n", "ctx-size"); NULL. */
const struct setting *setting_find_name(const char *name);
/* The key, part of a key or flag without its dashes that name was probably meant to be, in out; NULL. */
const char *setting_nearest_name(const char *name, char *out, size_t size);

struct settings;
int settings_open(struct settings **out, struct err *e);  /* all defaults */
int settings_copy(struct settings **out, const struct settings *from, struct err *e);
void settings_take(struct settings *s, struct settings *from); /* s becomes what from is; from is closed */
void settings_close(struct settings *s);

/* Sets from text; where names the place for messages ("--temp", "file.yaml:3:7"). ERR_USAGE: what is wrong, what is allowed. A value of
 * a stronger origin stays and 0 is returned. */
int settings_set(struct settings *s, enum setting_id id, const char *text, enum setting_origin origin, const char *where, struct err *e);
void settings_unset(struct settings *s, enum setting_id id, enum setting_origin origin); /* back to what weaker origins said */
void settings_forget(struct settings *s, enum setting_origin origin); /* the same for every setting (e.g. before another persona) */

bool settings_is_set(const struct settings *s, enum setting_id id); /* anything but its default */
enum setting_origin settings_origin(const struct settings *s, enum setting_id id);
const char *settings_where(const struct settings *s, enum setting_id id); /* "default", "flag --temp", "config.yaml:3:7" */
bool settings_bool(const struct settings *s, enum setting_id id);
int64_t settings_int(const struct settings *s, enum setting_id id);      /* INT, SIZE; CHOICE: index */
double settings_real(const struct settings *s, enum setting_id id);
const char *settings_text(const struct settings *s, enum setting_id id); /* TEXT, PATH, CHOICE, FORM, OPTIONAL; NULL: unset. Borrowed until settings change in any way */
size_t settings_list(const struct settings *s, enum setting_id id, const char *const **items);
void settings_print(const struct settings *s, enum setting_id id, struct buf *out); /* the value as a user would write it */

/* Parses flags. Words that are no flags go to words[] (borrowed from argv, room for argc), *n_words. "--" ends flags. Whole words only,
 * --flag=value works, nothing is bundled. ERR_USAGE names the flag and the nearest one. */
int settings_parse_args(struct settings *s, int argc, char **argv, const char **words, size_t *n_words, struct err *e);

/* Applies the keys of a persona or config document. Unknown keys, wrong types, values out of range: ERR_FILE "PATH:LINE:COLUMN: ..., nearest key ...". Keys in
 * extra (NULL-ended, top level: "name", "extends", "examples") are left to the caller. */
int settings_apply_yaml(struct settings *s, const struct yaml_node *doc, const char *path, enum setting_origin origin, const char *const *extra, struct err *e);

/* Reads the configuration file at ORIGIN_CONFIG: --config FILE, which must be there, else $XDG_CONFIG_HOME/kvetch/config.yaml, which
 * need not be. ERR_FILE as settings_apply_yaml. */
int settings_apply_config(struct settings *s, struct err *e);

/* --help, grouped; width in columns. */
void settings_help(struct buf *out, int width);

#endif
