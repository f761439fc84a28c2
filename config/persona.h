/* persona: a YAML file that says who the model is to be and how it is run. TERMINAL: `--persona NAME`, `/persona NAME`.
 *
 * A name is looked up in the user's folder ($XDG_CONFIG_HOME/kvetch/personas/NAME.yaml), then among the shipped ones;
 * what holds a slash or ends in .yaml or .yml is a file. Main thread. */
#ifndef CONFIG_PERSONA_H
#define CONFIG_PERSONA_H

#include <stddef.h>

#include "config/err.h"
#include "config/settings.h"

/* The shipped personas, in a table that the build makes of config/personas/; ended by a NULL name. */
struct persona_file {
    const char *name, *text;
};
extern const struct persona_file persona_files[];

/* One exchange that shows the model how to answer; it stands before the conversation. */
struct persona_example {
    char *user, *assistant;
};

struct persona {
    char *id;   /* what opens it again: its name, or its file's absolute path */
    char *name; /* what it calls itself */
    char *from; /* "shipped", or its file's path */
    struct persona_example *example;
    size_t n_examples;
};

/* Opens a persona with all that it extends, and gives its settings to s at ORIGIN_PERSONA in place of another
 * persona's. In its system text and greeting {{name}}, {{date}} (today, as 2026-01-31) and {{version}} are filled in;
 * \{{ stays {{. Either everything succeeds or s is as it was. ERR_FILE: not found (with the nearest name), or a
 * mistake: "PATH:LINE:COLUMN: ...". */
int persona_open(struct persona **out, const char *name, struct settings *s, struct err *e);
void persona_close(struct persona *p); /* NULL is fine */

/* A row of the list of all personas; a broken one is listed too, with what is wrong. */
struct persona_entry {
    char *id;
    char *description; /* one line, "" none */
    char *from;
    char *error; /* NULL: it can be used */
};
/* The user's personas and the shipped ones they do not hide, by name. The caller frees with persona_list_free. */
int persona_list(struct persona_entry **out, size_t *n, struct err *e);
void persona_list_free(struct persona_entry *list, size_t n);

#endif
