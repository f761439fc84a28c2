/* command: the subcommands of the program, "kvetch info ..." and so on, from one table. Main thread.
 *
 * A command has a row in command.c, its own flags beside it, and a function in a cmd_*.c. All other flags of its command line are
 * settings, and those that it does not heed are refused. */
#ifndef APP_COMMAND_H
#define APP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "app/app.h"
#include "app/json.h"

#define COMMAND_MAX_FLAGS 4

struct command_flag {
    const char *name;       /* "-o" */
    const char *value_name; /* "FILE"; NULL: the flag has no value */
    const char *help;
};

/* What the command line gave a command. Borrowed from argv. */
struct command_args {
    const char *const *word; size_t n_words; /* after the command's name */
    const char *flag[COMMAND_MAX_FLAGS];     /* value of the command's flags, in their order; "" for one without a value; NULL: absent */
};

struct command {
    const char *name;
    const char *usage;      /* after "kvetch NAME" */
    const char *help;       /* one line */
    const char *uses;       /* the settings it heeds, blank-separated: groups of them ("Model") and flags ("-P") */
    struct command_flag flag[COMMAND_MAX_FLAGS]; /* ended by a NULL name */
    int (*run)(struct app *a, const struct command_args *args, struct err *e);
};

const struct command *command_find(const char *name); /* NULL: no subcommand, so the word is part of a message */
const char *command_nearest(const char *name);        /* the command that was probably meant; NULL */
const struct command *command_get(size_t i);          /* row i of the table; NULL past its end */

/* Finds the subcommand in argv, as the first word that is no flag or flag's value, and takes its name and its own flags out; the program's
 * name stays. *c is NULL where there is none. rest[] has room for argc words. ERR_USAGE: a flag lacks its value. */
int command_split(int argc, char **argv, const struct command **c, struct command_args *args, char **rest, int *n_rest, struct err *e);

/* Those of the group Program and --json are every command's. */
bool command_uses(const struct command *c, const struct setting *d);
/* ERR_USAGE: a flag of the command line is none of the command's. Before any other origin is applied. */
int command_check_settings(const struct command *c, const struct settings *s, struct err *e);

int command_open_model(struct app *a, const struct model_options *o, struct model **m, struct err *e); /* the one that SET_MODEL names; where no persona
                                                                     is named either, the guide */

int command_print_help(const struct command *c, struct err *e); /* on stdout; NULL: of the whole program */
struct json *command_list_json(void);                        /* the table */
int command_print(struct buf *text, struct err *e);          /* on stdout. ERR_FAILED, ERR_CLOSED: it cannot be written */
int command_print_json(struct json *j, struct err *e);       /* a line; frees j */

/* cmd_*.c */
int cmd_info(struct app *a, const struct command_args *args, struct err *e);
int cmd_tokenize(struct app *a, const struct command_args *args, struct err *e);
int cmd_logits(struct app *a, const struct command_args *args, struct err *e);
int cmd_bench(struct app *a, const struct command_args *args, struct err *e);
int cmd_list(struct app *a, const struct command_args *args, struct err *e);
int cmd_personas(struct app *a, const struct command_args *args, struct err *e);
int cmd_config(struct app *a, const struct command_args *args, struct err *e);
int cmd_help(struct app *a, const struct command_args *args, struct err *e);

#endif
