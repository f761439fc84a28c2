/* persona_source: where a persona's text comes from. Inside config/ only. */
#ifndef CONFIG_PERSONA_SOURCE_H
#define CONFIG_PERSONA_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/buf.h"
#include "config/err.h"
#include "config/yaml.h"

struct persona_source {
    char *id;   /* see struct persona */
    char *name; /* its file's name without .yaml */
    char *path; /* for messages and, unless shipped, for reading */
    bool shipped;
    struct buf text;
    struct yaml_node *doc; /* a map */
};

/* Finds and reads one. from (may be NULL) is the persona that extends it: relative paths start at its folder, and a
 * user's persona that extends its own name means the shipped one. ERR_FILE as persona_open. *s needs no preparation and
 * is freed by the caller, also on failure. */
int persona_source_open(struct persona_source *s, const char *name, const struct persona_source *from, struct err *e);
void persona_source_free(struct persona_source *s);

/* Appends every name that can be opened: the user's, then the shipped ones they do not hide; each list sorted.
 * NULL-ended, malloc'd. */
int persona_source_names(char ***out, size_t *n, struct err *e);
void persona_source_names_free(char **names);

#endif
