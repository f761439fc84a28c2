/* cmd_model: subcommands that look into a model: info, tokenize, logits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/command.h"
#include "app/json.h"
#include "config/paths.h"
#include "config/utf8.h"

#define MAX_TEXT_BYTES ((size_t)1 << 30)

/* ---- info ---------------------------------------------------------------------------------------------------- */

/* One thing that info tells, under one name in text and JSON. */
struct fact {
    const char *name, *text; /* text NULL: a number, or, with is_text, unknown */
    bool is_text;
    double number;
};
#define FACT_TEXT(name, value) {name, value, true, 0}
#define FACT_NUMBER(name, value) {name, NULL, false, (double)(value)}

static void tell_facts(const struct model_info *i, void (*tell)(void *out, const struct fact *f), void *out) {
    char fingerprint[20];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)i->fingerprint);
    const struct fact facts[] = {
        FACT_TEXT("path", strcmp(i->path, MODEL_GUIDE) ? i->path : "built-in"), FACT_TEXT("name", i->name), FACT_TEXT("arch", i->arch), FACT_TEXT("type", i->type),
        FACT_NUMBER("params", i->n_params), FACT_NUMBER("file_bytes", i->file_bytes), FACT_NUMBER("weight_bytes", i->weight_bytes),
        FACT_NUMBER("layers", i->n_layers), FACT_NUMBER("embd", i->n_embd), FACT_NUMBER("ff", i->n_ff), FACT_NUMBER("heads", i->n_heads),
        FACT_NUMBER("kv_heads", i->n_kv_heads), FACT_NUMBER("head_dim", i->head_dim), FACT_NUMBER("vocab", i->n_vocab),
        FACT_NUMBER("ctx_train", i->n_ctx_train), FACT_TEXT("vocab_model", i->vocab_model), FACT_TEXT("vocab_pre", i->vocab_pre),
        FACT_TEXT("template", i->template_name), FACT_NUMBER("rope_base", i->rope_base), FACT_TEXT("rope_scaling", i->rope_scaling),
        FACT_TEXT("fingerprint", fingerprint), FACT_TEXT("cannot_run", i->cannot_run),
    };
    for (size_t k = 0; k < sizeof facts / sizeof *facts; k++) tell(out, &facts[k]);
}

static void fact_json(void *out, const struct fact *f) {
    if (f->is_text) json_add_string(out, f->name, f->text);
    else json_add_number(out, f->name, f->number);
}

static void fact_line(void *out, const struct fact *f) {
    if (f->is_text && !f->text) return;
    buf_printf(out, "%-12s ", f->name);
    if (f->is_text) utf8_add_line(f->text, out);
    else buf_printf(out, "%.15g", f->number);
    buf_add_char(out, '\n');
}

/* Numbers and bools as such, strings whole, lists as the text shows them. */
static struct json *metadata_json(const struct model *m) {
    struct json *j = json_object();
    for (size_t i = 0; i < model_n_keys(m); i++) {
        struct buf name = {0}, value = {0};
        bool is_text;
        char *end;
        if (model_get_key(m, i, &name, &value, &is_text)) json_add(j, NULL, NULL); /* no memory: printing will say so */
        const char *text = buf_text(&value);
        double x = strtod(text, &end);
        if (is_text) json_add_text(j, buf_text(&name), text, value.len);
        else if (!strcmp(text, "true") || !strcmp(text, "false")) json_add_bool(j, buf_text(&name), *text == 't');
        else if (end != text && !*end) json_add_number(j, buf_text(&name), x);
        else json_add_text(j, buf_text(&name), text, value.len);
        buf_free(&name);
        buf_free(&value);
    }
    return j;
}

int cmd_info(struct app *a, const struct command_args *args, struct err *e) {
    if (args->n_words > 1) return err_set(e, ERR_USAGE, "info takes one model, found \"%s\" too", args->word[1]);
    int rc = args->n_words ? settings_set(a->settings, SET_MODEL, args->word[0], ORIGIN_FLAG, "argument", e) : 0;
    struct model *m = NULL;
    struct buf b = {0};
    struct model_info info;
    if (!rc) rc = command_open_model(a, &(struct model_options){.describe = true}, &m, e);
    if (!rc) model_get_info(m, &info);
    if (!rc && settings_bool(a->settings, SET_JSON)) {
        struct json *j = json_object();
        tell_facts(&info, fact_json, j);
        json_add(j, "metadata", metadata_json(m));
        rc = command_print_json(j, e);
    } else if (!rc) {
        tell_facts(&info, fact_line, &b);
        buf_add_char(&b, '\n');
        rc = model_describe(m, args->flag[0] != NULL, &b, e);
        if (!rc) rc = command_print(&b, e);
    }
    model_close(m);
    buf_free(&b);
    return rc;
}

/* ---- tokenize ------------------------------------------------------------------------------------------------ */

static int read_stdin(struct buf *out, struct err *e) {
    char part[65536];
    for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;) {
        if (out->len + n > MAX_TEXT_BYTES) return err_set(e, ERR_USAGE, "stdin is longer than 1 GiB");
        buf_add(out, part, n);
    }
    if (ferror(stdin)) return err_set(e, ERR_FAILED, "stdin cannot be read: %s", strerror(errno));
    return out->failed ? err_set(e, ERR_MEMORY, "no memory for what stdin holds") : 0;
}

int cmd_tokenize(struct app *a, const struct command_args *args, struct err *e) {
    if (args->n_words) return err_set(e, ERR_USAGE, "tokenize reads stdin and takes no words, found \"%s\"", args->word[0]);
    struct model *m = NULL;
    struct buf text = {0}, line = {0};
    struct tokens t = {0};
    int rc = command_open_model(a, &(struct model_options){.vocab_only = true}, &m, e);
    if (!rc) rc = read_stdin(&text, e);
    if (!rc) rc = model_tokenize(m, buf_text(&text), text.len, args->flag[0] != NULL, false, &t, e);
    if (!rc && settings_bool(a->settings, SET_JSON)) {
        struct json *list = json_array();
        for (size_t i = 0; i < t.n; i++) json_add_number(list, NULL, t.id[i]);
        rc = command_print_json(list, e);
    } else if (!rc) {
        for (size_t i = 0; i < t.n; i++) buf_printf(&line, "%s%d", i ? " " : "", t.id[i]);
        buf_add_char(&line, '\n');
        rc = command_print(&line, e);
    }
    tokens_free(&t);
    model_close(m);
    buf_free(&text);
    buf_free(&line);
    return rc;
}

/* ---- logits -------------------------------------------------------------------------------------------------- */

static int read_ids(const struct command_args *args, uint32_t n_vocab, int32_t *id, struct err *e) {
    for (size_t i = 0; i < args->n_words; i++) {
        char *end;
        errno = 0;
        long long x = strtoll(args->word[i], &end, 10);
        if (end == args->word[i] || *end || errno || x < 0 || x >= (long long)n_vocab)
            return err_set(e, ERR_USAGE, "\"%s\" is no token id: this model has ids from 0 to %u", args->word[i], n_vocab - 1);
        id[i] = (int32_t)x;
    }
    return 0;
}

static int write_rows(const char *path, const float *row, size_t n, struct err *e) {
    FILE *f = fopen(path, "wbe");
    if (!f) return err_set(e, ERR_FAILED, "%s cannot be written: %s", path, strerror(errno));
    bool ok = fwrite(row, sizeof *row, n, f) == n;
    ok = !fclose(f) && ok;
    return ok ? 0 : err_set(e, ERR_FAILED, "%s cannot be written: %s", path, strerror(errno));
}

static int check_room(struct session *s, size_t n, struct err *e) {
    struct session_stats st;
    session_get_stats(s, &st);
    return n <= st.kv.bound ? 0 : err_set(e, ERR_CONTEXT, "%zu tokens do not fit into a context of %u (-c)", n, st.kv.bound);
}

static int compute_rows(struct app *a, struct model *m, const struct command_args *args, const char *path, struct err *e) {
    struct session_options o;
    struct session *s = NULL;
    struct model_info info;
    model_get_info(m, &info);
    size_t n = args->n_words, n_out = n * info.n_vocab; /* words of a command line: no overflow */
    int32_t *id = calloc(n, sizeof *id);
    float *row = calloc(n_out, sizeof *row);
    int rc = id && row ? read_ids(args, info.n_vocab, id, e) : err_set(e, ERR_MEMORY, "no memory for %zu rows of logits", n);
    if (!rc) rc = options_session(a->settings, &o, e);
    o.evict = KV_EVICT_STOP; /* rows of tokens that have lost what stood before them would be others than were asked for */
    if (!rc) rc = session_open(&s, m, &o, e);
    if (!rc) rc = check_room(s, n, e);
    if (!rc) rc = session_logits(s, id, n, (uint32_t)settings_int(a->settings, SET_UBATCH), row, e);
    if (!rc) rc = write_rows(path, row, n_out, e);
    session_close(s);
    free(id);
    free(row);
    if (rc || !settings_bool(a->settings, SET_JSON)) return rc;
    struct json *j = json_object();
    json_add_string(j, "file", path);
    json_add_number(j, "tokens", (double)n);
    json_add_number(j, "vocab", info.n_vocab);
    return command_print_json(j, e);
}

int cmd_logits(struct app *a, const struct command_args *args, struct err *e) {
    if (!args->flag[0]) return err_set(e, ERR_USAGE, "logits needs -o FILE, where the rows go");
    if (!args->n_words) return err_set(e, ERR_USAGE, "logits needs token ids");
    struct model *m = NULL;
    int rc = command_open_model(a, NULL, &m, e);
    if (!rc) rc = compute_rows(a, m, args, args->flag[0], e);
    model_close(m);
    return rc;
}
