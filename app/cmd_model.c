/* cmd_model: subcommands that look into a model: info, tokenize, logits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/command.h"
#include "app/json.h"
#include "config/paths.h"

#define MAX_TEXT_BYTES ((size_t)1 << 30)

/* ---- info ---------------------------------------------------------------------------------------------------- */

static struct json *info_json(const struct model_info *i) {
    struct json *j = json_object();
    char fingerprint[20];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)i->fingerprint);
    json_add_string(j, "path", i->path);
    json_add_string(j, "name", i->name);
    json_add_string(j, "arch", i->arch);
    json_add_string(j, "type", i->type);
    json_add_number(j, "params", (double)i->n_params);
    json_add_number(j, "file_bytes", (double)i->file_bytes);
    json_add_number(j, "weight_bytes", (double)i->weight_bytes);
    json_add_number(j, "layers", i->n_layers);
    json_add_number(j, "embd", i->n_embd);
    json_add_number(j, "ff", i->n_ff);
    json_add_number(j, "heads", i->n_heads);
    json_add_number(j, "kv_heads", i->n_kv_heads);
    json_add_number(j, "head_dim", i->head_dim);
    json_add_number(j, "vocab", i->n_vocab);
    json_add_number(j, "ctx_train", i->n_ctx_train);
    json_add_string(j, "vocab_model", i->vocab_model);
    json_add_string(j, "vocab_pre", i->vocab_pre);
    json_add_string(j, "template", i->template_name);
    json_add_number(j, "rope_base", i->rope_base);
    json_add_string(j, "rope_scaling", i->rope_scaling);
    json_add_string(j, "fingerprint", fingerprint);
    return j;
}

int cmd_info(struct app *a, const struct command_args *args, struct err *e) {
    if (args->n_words > 1) return err_set(e, ERR_USAGE, "info takes one model, found \"%s\" too", args->word[1]);
    int rc = args->n_words ? settings_set(a->settings, SET_MODEL, args->word[0], ORIGIN_FLAG, "argument", e) : 0;
    struct model *m = NULL;
    struct buf b = {0};
    if (!rc) rc = command_open_model(a, false, &m, e);
    if (!rc && settings_bool(a->settings, SET_JSON)) {
        struct model_info info;
        model_get_info(m, &info);
        struct json *j = info_json(&info);
        rc = command_print_json(j, e);
    } else if (!rc) {
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
    int rc = command_open_model(a, true, &m, e);
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
    int rc = command_open_model(a, false, &m, e);
    if (!rc) rc = compute_rows(a, m, args, args->flag[0], e);
    model_close(m);
    return rc;
}
