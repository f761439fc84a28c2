/* template: see template.h. A format is recognised by looking for the texts that its template must and must not hold. */
#include "model/template.h"

#include <stdlib.h>
#include <string.h>

#include "config/buf.h"

#define START "<|im_start|>"
#define END "<|im_end|>"

const char *chat_role_name(enum chat_role r) {
    switch (r) {
    case CHAT_SYSTEM: return "system";
    case CHAT_USER: return "user";
    default: return "assistant";
    }
}

void rendered_free(struct rendered *r) {
    free(r->id);
    free(r->turn);
    free(r->message_end);
    *r = (struct rendered){0};
}

/* ---- recognising --------------------------------------------------------------------------------------------- */

static const char *find(const char *p, const char *end, const char *what) {
    return p < end ? memmem(p, (size_t)(end - p), what, strlen(what)) : NULL;
}

static bool has(struct gguf_text t, const char *what) { return find(t.p, t.p + t.n, what); }

static bool starts(const char *p, const char *end, const char *what) {
    size_t n = strlen(what);
    return (size_t)(end - p) >= n && !memcmp(p, what, n);
}

/* A newline at p, as a template spells it (escaped or real): its length, or 0. */
static size_t newline(const char *p, const char *end) { return starts(p, end, "\\n") ? 2 : starts(p, end, "\n") ? 1 : 0; }

/* The text between START system newline and END where a template holds it as one literal. false: it holds one that has
 * escapes, which cannot be borrowed as it stands. */
static bool find_default_system(struct gguf_text t, struct gguf_text *out) {
    const char *end = t.p + t.n;
    *out = (struct gguf_text){"", 0};
    for (const char *p = t.p; (p = find(p, end, START "system"));) {
        p += strlen(START "system");
        size_t nl = newline(p, end);
        const char *text = p + nl, *q = text;
        while (nl && q < end && *q != '\'' && *q != '"' && *q != '\\' && !starts(q, end, END)) q++;
        if (!nl || q == text || q == end) continue;
        if (*q == '\\') return false;
        if (!starts(q, end, END)) continue; /* the literal ends, and something else follows */
        *out = (struct gguf_text){text, (size_t)(q - text)};
        return true;
    }
    return true;
}

/* Replies must open with START assistant newline, and nothing more. */
static bool opens_plainly(struct gguf_text t) {
    const char *end = t.p + t.n, *p = t.p;
    bool found = false;
    while ((p = find(p, end, START "assistant"))) {
        p += strlen(START "assistant");
        size_t nl = newline(p, end);
        if (!nl || p + nl == end || (p[nl] != '\'' && p[nl] != '"')) return false;
        found = true;
    }
    return found;
}

/* What a template of the Qwen3 kind says, word for word, and the versions of it that do something else do not. */
static bool is_qwen3(struct gguf_text t) {
    return has(t, "ns.last_query_index") && has(t, "content.split('</think>')[-1].lstrip('\\n')") &&
           has(t, "if loop.last or (not loop.last and reasoning_content)") &&
           has(t, "'\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n')") && !has(t, "trim") &&
           !has(t, "date");
}

/* Signs that a template changes messages, or writes more than they hold. */
static bool changes_messages(struct gguf_text t) {
    static const char *const signs[] = {"think", "reason", "trim", "strip(", "replace(", "strftime", "date", "|upper", "|lower", "split("};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (has(t, signs[i])) return true;
    return false;
}

void template_detect(const char *text, size_t n, struct template_format *out) {
    struct gguf_text t = {text, n};
    *out = (struct template_format){.kind = TEMPLATE_UNKNOWN, .default_system = {"", 0}};
    if (!n) {
        out->kind = TEMPLATE_PLAIN;
        return;
    }
    if ((!has(t, START "'") && !has(t, START "\"")) || !has(t, END) || has(t, "\r") || !opens_plainly(t)) return;
    out->thinking = is_qwen3(t);
    if (!out->thinking && changes_messages(t)) return;
    if (!find_default_system(t, &out->default_system)) return;
    out->bos = has(t, "bos_token");
    out->kind = TEMPLATE_CHATML;
}

/* ---- what Qwen3 does to replies ------------------------------------------------------------------------------ */

static struct gguf_text strip_newlines(struct gguf_text t, bool front, bool back) {
    while (front && t.n && *t.p == '\n') t.p++, t.n--;
    while (back && t.n && t.p[t.n - 1] == '\n') t.n--;
    return t;
}

/* What lies behind the last mark in t, or all of it. */
static struct gguf_text after_last(struct gguf_text t, const char *mark) {
    const char *end = t.p + t.n;
    for (const char *p; (p = find(t.p, end, mark));) t.p = p + strlen(mark);
    return (struct gguf_text){t.p, (size_t)(end - t.p)};
}

/* Splits a reply into its thought (without the marks) and what it says. */
static void split_thought(struct gguf_text t, struct gguf_text *thought, struct gguf_text *says) {
    const char *close = find(t.p, t.p + t.n, "</think>");
    *thought = (struct gguf_text){"", 0};
    *says = t;
    if (!close) return;
    *says = strip_newlines(after_last(t, "</think>"), true, false);
    struct gguf_text before = strip_newlines((struct gguf_text){t.p, (size_t)(close - t.p)}, false, true);
    *thought = strip_newlines(after_last(before, "<think>"), true, true);
}

/* A reply as the template writes it. current: it answers the last user message. */
static int write_reply(const struct chat_message *m, bool current, bool last, struct buf *out) {
    struct gguf_text thought, says;
    split_thought((struct gguf_text){m->text, m->n_text}, &thought, &says);
    if (current && (last || thought.n)) {
        says = strip_newlines(says, true, false);
        buf_add_text(out, "<think>\n");
        buf_add(out, thought.p, thought.n);
        buf_add_text(out, "\n</think>\n\n");
    }
    return buf_add(out, says.p, says.n);
}

/* The index of the last message that a user asked with (results of tools come as user messages too). */
static size_t last_query(const struct chat_message *msg, size_t n) {
    static const char open[] = "<tool_response>", close[] = "</tool_response>";
    for (size_t i = n; i-- > 0;) {
        const char *end = msg[i].text + msg[i].n_text;
        if (msg[i].role != CHAT_USER) continue;
        if (msg[i].n_text < strlen(close) || !starts(msg[i].text, end, open) || memcmp(end - strlen(close), close, strlen(close))) return i;
    }
    return n ? n - 1 : 0;
}

/* ---- writing tokens ------------------------------------------------------------------------------------------ */

struct work {
    const struct template_format *f;
    const struct vocab *v;
    struct vocab_tokens t;
    struct err *e;
    int32_t start, end; /* ChatML's marks */
};

static int put(struct work *w, int32_t id) { return vocab_tokens_add(&w->t, id) ? err_set(w->e, ERR_MEMORY, "no memory for the prompt") : 0; }

static int put_ids(struct work *w, const struct chat_message *m) {
    int rc = 0;
    for (size_t i = 0; i < m->n_ids && !rc; i++) {
        if (m->id[i] < 0 || (uint32_t)m->id[i] >= vocab_size(w->v))
            return err_set(w->e, ERR_USAGE, "a stored reply holds token %d, but the vocabulary has %u", m->id[i], vocab_size(w->v));
        rc = put(w, m->id[i]);
    }
    return rc;
}

static int put_bos(struct work *w) { return vocab_bos(w->v) >= 0 && (w->f->bos || vocab_add_bos(w->v)) ? put(w, vocab_bos(w->v)) : 0; }

/* START, the role, a newline and the text as one piece, as the template writes them. */
static int open_block(struct work *w, const char *role, const char *text, size_t n) {
    struct buf b = {0};
    buf_add_text(&b, role);
    buf_add_char(&b, '\n');
    buf_add(&b, text, n);
    int rc = b.failed ? err_set(w->e, ERR_MEMORY, "no memory for the prompt") : put(w, w->start);
    if (!rc) rc = vocab_encode(w->v, b.data, b.len, false, &w->t, w->e);
    buf_free(&b);
    return rc;
}

static int close_block(struct work *w) {
    int rc = put(w, w->end);
    return rc ? rc : vocab_encode(w->v, "\n", 1, false, &w->t, w->e);
}

static int put_message(struct work *w, const struct chat_message *msg, size_t i, size_t n, size_t query) {
    const struct chat_message *m = &msg[i];
    struct buf b = {0};
    bool open = m->open && i + 1 == n;
    int rc = 0;
    if (w->f->thinking && m->role == CHAT_ASSISTANT && !open) rc = write_reply(m, i > query, i + 1 == n, &b);
    else rc = buf_add(&b, m->text, m->n_text);
    if (rc) {
        err_set(w->e, rc, "no memory for the prompt");
    } else if (m->id && b.len == m->n_text && !memcmp(buf_text(&b), m->text, b.len)) {
        rc = open_block(w, chat_role_name(m->role), "", 0);
        if (!rc) rc = put_ids(w, m);
    } else {
        rc = open_block(w, chat_role_name(m->role), buf_text(&b), b.len);
    }
    buf_free(&b);
    return rc || open ? rc : close_block(w);
}

static int find_marks(struct work *w) {
    w->start = vocab_find(w->v, START, strlen(START));
    w->end = vocab_find(w->v, END, strlen(END));
    if (w->start >= 0 && w->end >= 0) return 0;
    return err_set(w->e, ERR_FILE, "tokenizer.ggml.tokens: found no " START " or no " END ", expected both, since the chat template uses them");
}

static int render_chatml(struct work *w, const struct chat_message *msg, size_t n, bool reply, struct rendered *out) {
    int rc = find_marks(w);
    if (rc || (rc = put_bos(w))) return rc;
    bool system = n && msg[0].role == CHAT_SYSTEM;
    if (!system && w->f->default_system.n) {
        rc = open_block(w, "system", w->f->default_system.p, w->f->default_system.n);
        if (rc || (rc = close_block(w))) return rc;
    }
    out->n_keep = w->t.n;
    size_t query = last_query(msg, n);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = put_message(w, msg, i, n, query);
        out->message_end[i] = w->t.n;
    }
    if (system) out->n_keep = out->message_end[0];
    return rc || !reply ? rc : open_block(w, "assistant", "", 0);
}

static int render_plain(struct work *w, const struct chat_message *msg, size_t n, bool reply, struct rendered *out) {
    (void)reply; /* nothing opens a reply */
    int rc = put_bos(w);
    size_t first = out->n_keep = w->t.n;
    for (size_t i = 0; i < n && !rc; i++) {
        struct buf b = {0};
        if (i && !msg[i].id) buf_add_char(&b, '\n');
        if (!msg[i].id) buf_add(&b, msg[i].text, msg[i].n_text);
        if (b.failed) rc = err_set(w->e, ERR_MEMORY, "no memory for the prompt");
        else if (msg[i].id) rc = put_ids(w, &msg[i]);
        else rc = (w->t.n > first ? vocab_encode_on : vocab_encode)(w->v, buf_text(&b), b.len, false, &w->t, w->e);
        buf_free(&b);
        out->message_end[i] = w->t.n;
        if (!i && msg[0].role == CHAT_SYSTEM) out->n_keep = w->t.n;
    }
    return rc;
}

/* ---- turns --------------------------------------------------------------------------------------------------- */

/* Cuts what follows the kept part before each user message. What a reply opens with belongs to the last turn. */
static void cut_turns(const struct chat_message *msg, size_t n, struct rendered *out) {
    struct kv_turn *t = out->turn;
    size_t k = 0;
    t[0] = (struct kv_turn){.first = out->n_keep};
    for (size_t i = 0; i < n; i++) {
        size_t first = i ? out->message_end[i - 1] : out->n_keep;
        if (out->message_end[i] <= out->n_keep) continue;
        if (msg[i].role == CHAT_USER && first > t[k].first) {
            t[k].n = first - t[k].first;
            t[++k] = (struct kv_turn){.first = first};
        }
        t[k].pinned |= msg[i].pinned;
    }
    t[k].n = out->n - t[k].first;
    out->n_turns = t[k].n ? k + 1 : k;
}

int template_render(const struct template_format *f, const struct vocab *v, const struct chat_message *msg, size_t n_msgs,
                    bool add_generation_prompt, struct rendered *out, struct err *e) {
    *out = (struct rendered){0};
    if (f->kind == TEMPLATE_UNKNOWN)
        return err_set(e, ERR_FILE, "tokenizer.chat_template: found a chat template of an unknown kind, expected ChatML or none: use such a model, or "
                                    "tokenize, logits and bench, which need no template");
    struct work w = {.f = f, .v = v, .e = e};
    int rc = 0;
    out->turn = calloc(n_msgs + 1, sizeof *out->turn);
    out->message_end = calloc(n_msgs + 1, sizeof *out->message_end);
    bool reply = add_generation_prompt && !(n_msgs && msg[n_msgs - 1].open);
    if (!out->turn || !out->message_end) rc = err_set(e, ERR_MEMORY, "no memory for the prompt");
    else rc = (f->kind == TEMPLATE_CHATML ? render_chatml : render_plain)(&w, msg, n_msgs, reply, out);
    out->id = w.t.id;
    out->n = w.t.n;
    out->n_messages = n_msgs;
    if (rc) rendered_free(out);
    else cut_turns(msg, n_msgs, out);
    return rc;
}
