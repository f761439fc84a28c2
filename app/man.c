/* man: see man.h. */
#include "app/man.h"

#include <string.h>

#include "app/command.h"
#include "app/slash.h"
#include "config/settings.h"

/* Text as troff takes it: backslashes and leading dots would be commands, a hyphen a dash. */
static void add_escaped(struct buf *out, const char *text) {
    for (const char *p = text; *p; p++) {
        if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n')) buf_add_text(out, "\\&");
        if (*p == '\\') buf_add_text(out, "\\e");
        else if (*p == '-') buf_add_text(out, "\\-");
        else buf_add_char(out, *p);
    }
}

static void add_item(struct buf *out, const char *name, const char *value, const char *help) {
    buf_add_text(out, ".TP\n\\fB");
    add_escaped(out, name);
    buf_add_text(out, "\\fR");
    if (value && *value) {
        buf_add_text(out, " \\fI");
        add_escaped(out, value);
        buf_add_text(out, "\\fR");
    }
    buf_add_char(out, '\n');
    add_escaped(out, help);
    buf_add_char(out, '\n');
}

static void add_commands(struct buf *out) {
    buf_add_text(out, ".SH COMMANDS\n");
    for (size_t i = 0; command_get(i); i++) {
        const struct command *c = command_get(i);
        add_item(out, c->name, c->usage, c->help);
        for (size_t f = 0; f < COMMAND_MAX_FLAGS && c->flag[f].name; f++) {
            buf_add_text(out, ".RS\n");
            add_item(out, c->flag[f].name, c->flag[f].value_name, c->flag[f].help);
            buf_add_text(out, ".RE\n");
        }
    }
}

static void add_setting(struct buf *out, const struct setting *s) {
    struct buf name = {0}, help = {0};
    for (const char *p = s->flags; *p; p++) buf_add_text(&name, *p == ' ' ? ", " : (char[]){*p, 0});
    buf_add_text(&help, s->help);
    if (s->choices && s->type != SETTING_INT) buf_printf(&help, " (%s)", s->choices);
    if (s->fallback && *s->fallback && s->type != SETTING_FLAG) buf_printf(&help, "; default %s", s->fallback);
    if (s->key) buf_printf(&help, ". YAML: %s", s->key);
    add_item(out, name.len ? buf_text(&name) : s->key, s->value_name, buf_text(&help));
    out->failed |= name.failed | help.failed;
    buf_free(&name);
    buf_free(&help);
}

/* Flags and keys under the headings of --help; a group's rows stand together in the table. */
static void add_settings(struct buf *out) {
    const char *group = "";
    buf_add_text(out, ".SH SETTINGS\nOf a flag, a persona and the configuration file the first that says something counts.\n");
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *s = setting_get((enum setting_id)id);
        if (strcmp(group, s->group)) buf_printf(out, ".SS %s\n", group = s->group);
        add_setting(out, s);
    }
}

static void add_slash_commands(struct buf *out) {
    struct buf text = {0};
    slash_help(&text);
    buf_add_text(out, ".SH SLASH COMMANDS\nTyped in the chat, or in a script with \\fB\\-\\-commands\\fR.\n.PP\n.nf\n");
    add_escaped(out, buf_text(&text));
    buf_add_text(out, ".fi\n");
    out->failed |= text.failed;
    buf_free(&text);
}

void man_print(struct buf *out) {
    buf_add_text(out, ".TH KVETCH 1 \"\" \"kvetch " KVETCH_VERSION "\" \"User Commands\"\n"
                      ".SH NAME\nkvetch \\- chat with GGUF language models in the terminal\n"
                      ".SH SYNOPSIS\n\\fBkvetch\\fR [\\fIflags\\fR] [\\fImessage\\fR]\n.br\n\\fBkvetch\\fR \\fIcommand\\fR [\\fIflags\\fR]\n"
                      ".SH DESCRIPTION\nOn a terminal kvetch opens a chat. Where standard input or output is no terminal, or with \\fB\\-p\\fR, "
                      "it answers and leaves: standard output has the answer and nothing else. The key\\-value cache starts at 256 cells and "
                      "grows while you talk; at its bound the conversation goes on, and what has left the context is marked.\n"
                      ".PP\nWhere neither a model nor a persona is named, a chat starts with the persona used last, and else, as a script does, with the "
                      "configured model; where there is none, the persona \\fBguide\\fR answers, whose small model is built into the program and knows "
                      "kvetch alone.\n");
    add_commands(out);
    add_settings(out);
    add_slash_commands(out);
    buf_add_text(out, ".SH EXIT STATUS\n0 done, 1 failed, 2 usage, 3 model or file not usable, 4 not enough memory, 5 context full under "
                      "\\fB\\-\\-evict stop\\fR, 130 interrupted, 141 the output was closed.\n"
                      ".SH FILES\n.nf\n$XDG_CONFIG_HOME/kvetch/config.yaml      settings\n$XDG_CONFIG_HOME/kvetch/personas/*.yaml  personas\n"
                      "$XDG_DATA_HOME/kvetch/kvetch.db          conversations\n$XDG_CACHE_HOME/kvetch/                  cache snapshots, always re\\-creatable\n"
                      "$XDG_STATE_HOME/kvetch/                  history of the input line, the persona used last\n.fi\n");
}
