/* command: see command.h. */
#include "app/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/utf8.h"

static const struct command COMMANDS[] = {
    {"info", "[MODEL]", "what a model file holds", "-m -P", {{"--tensors", NULL, "list the tensors too"}}, cmd_info},
    {"tokenize", "[-m MODEL] < TEXT", "the token ids of stdin, without BOS", "-m -P", {{"--special", NULL, "control tokens spelt in the text become ids"}}, cmd_tokenize},
    {"logits", "[-m MODEL] -o FILE ID...", "the logits of each token, rows of float32", "Model Context -P", {{"-o", "FILE", "file to write"}}, cmd_logits},
    {"bench", "[-m MODEL]", "speeds and costs on this machine: -p and -n tokens, -t threads, -ctk and -ctv types, -c bound; perplexity of the text -f",
     "Model Context -P -p -n -f", {{"-d", "N,N...", "depths: cells that are filled before a test; default 0"},
      {"--test", "NAME,NAME...", "only these tests"}}, cmd_bench},
    {"list", "", "the saved conversations, newest first", "", {{0}}, cmd_list},
    {"personas", "", "the personas there are", "", {{0}}, cmd_personas},
    {"config", "", "each setting, its value and where it came from", "Model Context Sampling Screen -P -sys --no-save", {{0}}, cmd_config},
    {"help", "[COMMAND]", "this, or more about a command", "", {{"--man", NULL, "the manual page, as troff source"}}, cmd_help},
};
#define HELP_COLUMNS 100
#define N_COMMANDS (sizeof COMMANDS / sizeof *COMMANDS)

const struct command *command_find(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!strcmp(COMMANDS[i].name, name)) return &COMMANDS[i];
    return NULL;
}

const char *command_nearest(const char *name) {
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) names[i] = COMMANDS[i].name;
    return utf8_nearest(name, names, N_COMMANDS);
}

const struct command *command_get(size_t i) { return i < N_COMMANDS ? &COMMANDS[i] : NULL; }

/* Is one of the blank-separated words this one? */
static bool has_word(const char *words, const char *word, size_t n) {
    for (const char *at = words; *at; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");
        if (len == n && !memcmp(at, word, n)) return true;
        at += len;
    }
    return false;
}

bool command_uses(const struct command *c, const struct setting *d) {
    if (d->id == SET_JSON || !strcmp(d->group, "Program")) return true;
    return has_word(c->uses, d->group, strlen(d->group)) || has_word(c->uses, d->flags, strcspn(d->flags, " "));
}

int command_check_settings(const struct command *c, const struct settings *s, struct err *e) {
    for (int id = 0; id < SETTING_COUNT; id++) {
        enum setting_id i = (enum setting_id)id;
        if (settings_is_set(s, i) && !command_uses(c, setting_get(i)))
            return err_set(e, ERR_USAGE, "%s does not use the %s; kvetch help %s says what it takes", c->name, settings_where(s, i), c->name);
    }
    return 0;
}

int command_open_model(struct app *a, const struct model_options *o, struct model **m, struct err *e) {
    char *path = NULL;
    const char *name = settings_text(a->settings, SET_MODEL);
    bool named = name && *name, guide = !named && !settings_is_set(a->settings, SET_PERSONA);
    int rc = guide ? 0 : app_find_model(a, &path, e);
    if (rc && !named) { /* what a command is about is missing from its command line */
        rc = ERR_USAGE;
        if (e) e->code = rc;
    }
    if (!rc) rc = model_open(m, guide ? MODEL_GUIDE : path, o, e);
    free(path);
    return rc;
}

static bool takes_value(const struct setting *s) { return s->type != SETTING_FLAG && s->type != SETTING_OPTIONAL; }

/* Index of the first word that is no flag and no flag's value, or argc; "--" ends the search, since what follows is a message. */
static int first_word(int argc, char **argv) {
    int i = 1;
    while (i < argc && argv[i][0] == '-' && argv[i][1]) {
        if (!strcmp(argv[i], "--")) return argc;
        const struct setting *s = setting_find_flag(argv[i]);
        i += s && takes_value(s) ? 2 : 1;
    }
    return i < argc ? i : argc;
}

/* Takes the command's flag at argv[*i] with its value. false: it is none of them. */
static bool take_flag(const struct command *c, int argc, char **argv, int *i, struct command_args *args, struct err *e, int *rc) {
    for (size_t f = 0; f < COMMAND_MAX_FLAGS && c->flag[f].name; f++) {
        size_t n = strlen(c->flag[f].name);
        if (strncmp(argv[*i], c->flag[f].name, n) || (argv[*i][n] && argv[*i][n] != '=')) continue;
        if (!c->flag[f].value_name) args->flag[f] = "";
        else if (argv[*i][n] == '=') args->flag[f] = argv[*i] + n + 1;
        else if (*i + 1 < argc && setting_find_flag(argv[*i + 1]))
            *rc = err_set(e, ERR_USAGE, "%s needs a value: %s; the flag %s follows instead", c->flag[f].name, c->flag[f].value_name, argv[*i + 1]);
        else if (*i + 1 < argc) args->flag[f] = argv[++*i];
        else *rc = err_set(e, ERR_USAGE, "%s needs a value: %s", c->flag[f].name, c->flag[f].value_name);
        return true;
    }
    return false;
}

int command_split(int argc, char **argv, const struct command **c, struct command_args *args, char **rest, int *n_rest, struct err *e) {
    int at = first_word(argc, argv), rc = 0;
    *args = (struct command_args){0};
    *c = at < argc ? command_find(argv[at]) : NULL;
    *n_rest = 0;
    for (int i = 0; i < argc && !rc; i++) {
        if (*c && i == at) continue; /* the command's name */
        if (*c && !strcmp(argv[i], "--")) {
            while (i < argc) rest[(*n_rest)++] = argv[i++];
            break;
        }
        if (*c && i > at && take_flag(*c, argc, argv, &i, args, e, &rc)) continue;
        rest[(*n_rest)++] = argv[i];
        /* A setting's value may look like one of the command's flags. */
        const struct setting *s = *c && i ? setting_find_flag(argv[i]) : NULL;
        if (s && takes_value(s) && i + 1 < argc) rest[(*n_rest)++] = argv[++i];
    }
    return rc;
}

struct json *command_list_json(void) {
    struct json *all = json_array();
    for (size_t i = 0; i < N_COMMANDS; i++) {
        struct json *j = json_object();
        json_add_string(j, "command", COMMANDS[i].name);
        json_add_string(j, "usage", COMMANDS[i].usage);
        json_add_string(j, "help", COMMANDS[i].help);
        json_add(all, NULL, j);
    }
    return all;
}

int command_print(struct buf *text, struct err *e) {
    if (text->failed) return err_set(e, ERR_MEMORY, "no memory to print");
    if (fwrite(buf_text(text), 1, text->len, stdout) == text->len && !fflush(stdout)) return 0;
    return err_set(e, errno == EPIPE ? ERR_CLOSED : ERR_FAILED, "stdout cannot be written: %s", strerror(errno));
}

int command_print_json(struct json *j, struct err *e) {
    struct buf line = {0};
    json_print(j, false, &line);
    buf_add_char(&line, '\n');
    int rc = j ? command_print(&line, e) : err_set(e, ERR_MEMORY, "no memory to print");
    json_free(j);
    buf_free(&line);
    return rc;
}

static void command_help(const struct command *c, struct buf *out) {
    buf_printf(out, "kvetch %s%s%s\n  %s\n", c->name, *c->usage ? " " : "", c->usage, c->help);
    for (size_t f = 0; f < COMMAND_MAX_FLAGS && c->flag[f].name; f++) {
        struct buf name = {0};
        buf_printf(&name, "%s %s", c->flag[f].name, c->flag[f].value_name ? c->flag[f].value_name : "");
        buf_printf(out, "  %-24s %s\n", buf_text(&name), c->flag[f].help);
        buf_free(&name);
    }
    buf_add_text(out, "  --json                   print JSON\n");
    buf_printf(out, "  It heeds these of kvetch --help: %s%sProgram\n", c->uses, *c->uses ? " " : "");
}

int command_print_help(const struct command *c, struct err *e) {
    struct buf b = {0};
    if (c) {
        command_help(c, &b);
    } else {
        buf_add_text(&b, "kvetch [FLAGS] [MESSAGE]   chat, or answer MESSAGE\nkvetch COMMAND [FLAGS]     one of the commands below\n\nCommands\n");
        for (size_t i = 0; i < N_COMMANDS; i++) buf_printf(&b, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].help);
        buf_add_text(&b, "\n");
        settings_help(&b, HELP_COLUMNS);
    }
    int rc = command_print(&b, e);
    buf_free(&b);
    return rc;
}
