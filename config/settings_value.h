/* settings_value: one value of a setting, from text. Inside config/ only: others use settings.h. */
#ifndef CONFIG_SETTINGS_VALUE_H
#define CONFIG_SETTINGS_VALUE_H

#include "config/settings.h"

struct settings_value {
    char *text;  /* as it was written; NULL for a list */
    char *use;   /* where that differs: a path with ~ expanded, a choice as the table spells it */
    char **item; /* list */
    size_t n;
    int64_t i;   /* INT, SIZE; CHOICE: index; FLAG, BOOL: 0 or 1 */
    double d;    /* REAL */
    char *where; /* where it came from: "flag --temp", "file.yaml:3:7"; for the caller to fill */
};

/* Reads text as a value of d into v: a list appends an item, anything else needs v zeroed. place begins the message.
 * ERR_USAGE: "PLACE: what is wrong; allowed: ..."; ERR_MEMORY. On failure v is as it was, but for a zeroed v's need of
 * a free. */
int settings_value_parse(struct settings_value *v, const struct setting *d, const char *text, const char *place,
                         struct err *e);
int settings_value_copy(struct settings_value *v, const struct settings_value *from); /* ERR_MEMORY */
void settings_value_free(struct settings_value *v);                                   /* leaves it zeroed */

/* What may be written for d, as in "a number from 0 to 1". */
void settings_value_allowed(const struct setting *d, struct buf *out);

/* Calls up to the end of a blank-separated list: *word and its length, false at the end. *at starts as the list (NULL
 * is empty). */
bool settings_value_word(const char **at, const char **word, size_t *n);

#endif
