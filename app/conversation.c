/* conversation: see conversation.h.
 *
 * An entry is a message with what is known of its row. Its tickets are looked at only when the conversation changes next: a write
 * that failed by then is queued again before the new one, in the order of the branch, since a row needs its parent. */
#include "app/conversation.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/buf.h"
#include "config/utf8.h"

#define TITLE_COLUMNS 40

struct entry {
    struct store_message m;
    store_ticket added, updated; /* 0: not asked for */
    bool is_added;               /* the row is known to be there */
};

struct conversation {
    struct store *store; /* NULL: never saved */
    bool unsaved;        /* the store is only read */
    uint64_t number;     /* of those that were new in this program */
    struct store_conversation row;
    store_ticket row_added, row_updated;
    bool row_asked, row_is_added;
    bool has_turn;     /* something was answered in it, now or before: it stays in the store */
    struct entry *entry;
    size_t n, cap;
    struct chat_message *prompt;
    size_t cap_prompt;
    struct buf stream; /* text of the reply that is being written */
    bool replying;
    bool continuing;   /* the reply that is being written had kept_bytes of text before */
    size_t kept_bytes;
    double saved_us;   /* when the stream was last written; 0: not yet */
};

/* ---- entries ------------------------------------------------------------------------------------------------- */

static struct entry *last_entry(struct conversation *c) { return c->n ? &c->entry[c->n - 1] : NULL; }

static bool is_said_by_user(const struct store_message *m) { return m->role == CHAT_USER && strcmp(m->finish_reason, STORE_EXAMPLE) != 0; }

static bool is_start(const struct store_message *m) { return m->role == CHAT_SYSTEM || !strcmp(m->finish_reason, STORE_EXAMPLE); }

/* Room for one entry more. */
static int reserve_entry(struct conversation *c, struct err *e) {
    if (c->n < c->cap) return 0;
    size_t cap = c->cap ? 2 * c->cap : 32;
    struct entry *more = realloc(c->entry, cap * sizeof *more);
    if (!more) return err_set(e, ERR_MEMORY, "no memory for another message");
    c->entry = more;
    c->cap = cap;
    return 0;
}

static int append(struct conversation *c, enum chat_role role, const char *text, size_t n, const char *finish_reason, struct err *e) {
    int rc = reserve_entry(c, e);
    if (rc) return rc;
    struct store_message m = {.role = role, .text = (char *)text, .n_text = n, .finish_reason = (char *)finish_reason, .created = (int64_t)time(NULL)};
    c->entry[c->n] = (struct entry){0};
    rc = store_message_copy(&c->entry[c->n].m, &m, e);
    if (!rc) c->n++;
    return rc;
}

static void cut(struct conversation *c, size_t n) {
    while (c->n > n) store_message_free(&c->entry[--c->n].m);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

bool conversation_is_saved(const struct conversation *c) { return c->store && !c->unsaved; }

void conversation_keep_unsaved(struct conversation *c) { c->unsaved = true; }

/* Whether a write was asked for and has failed by now. */
static bool has_failed(struct conversation *c, store_ticket t) { return t && store_is_done(c->store, t) && store_wait(c->store, t, NULL); }

static void write_row(struct conversation *c) {
    if (!c->row_asked || (!c->row_is_added && (!c->row_added || has_failed(c, c->row_added)))) {
        c->row.head = 0;
        c->row_added = store_add_conversation(c->store, &c->row);
        c->row_asked = true;
    } else if (!c->row_is_added && store_is_done(c->store, c->row_added)) {
        c->row_is_added = true;
    }
    if (has_failed(c, c->row_updated)) c->row_updated = store_update_conversation(c->store, &c->row);
}

/* Queues what is missing of one entry. Returns its ticket; 0: nothing is. */
static store_ticket write_entry(struct conversation *c, size_t i) {
    struct entry *x = &c->entry[i];
    if (!x->is_added && (!x->added || has_failed(c, x->added))) {
        x->m.conversation = c->row.id;
        x->m.parent = i ? c->entry[i - 1].m.id : 0;
        x->added = store_add_message(c->store, &x->m);
        x->updated = 0;
        c->row.head = x->m.id;
        return x->added;
    }
    if (!x->is_added && store_is_done(c->store, x->added)) x->is_added = true;
    if (!x->updated || !store_is_done(c->store, x->updated)) return 0;
    return x->updated = has_failed(c, x->updated) ? store_update_message(c->store, &x->m) : 0;
}

/* Queues every row of the branch that is not in the store. Returns the last ticket; 0: nothing was to be written, or there is no store. */
static store_ticket write_rows(struct conversation *c) {
    if (!conversation_is_saved(c)) return 0;
    store_ticket last = 0;
    write_row(c);
    for (size_t i = 0; i < c->n; i++) {
        store_ticket t = write_entry(c, i);
        if (t) last = t;
    }
    return last;
}

/* An entry's text or marks have changed. */
static store_ticket update_row(struct conversation *c, struct entry *x) {
    if (!conversation_is_saved(c) || !c->row_asked) return 0;
    store_ticket t = write_rows(c);
    if (t && t == x->added) return t; /* was just added as it is now */
    return x->updated = store_update_message(c->store, &x->m);
}

static void update_conversation(struct conversation *c) {
    if (conversation_is_saved(c) && c->row_asked) c->row_updated = store_update_conversation(c->store, &c->row);
}

/* The branch was cut: its end is the head now. */
static void move_head(struct conversation *c) {
    c->row.head = c->n ? c->entry[c->n - 1].m.id : 0;
    update_conversation(c);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static uint64_t n_new; /* main thread */

int conversation_new(struct conversation **out, struct store *s, const struct conversation_start *start, struct err *e) {
    *out = NULL;
    struct conversation *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_MEMORY, "no memory for a conversation");
    c->store = s;
    c->number = ++n_new;
    struct store_conversation row = {.persona = (char *)start->persona, .model = (char *)start->model,
                                     .settings = (char *)start->settings};
    const char *system = start->system ? start->system : "";
    int rc = store_conversation_copy(&c->row, &row, e);
    if (!rc && start->title) rc = conversation_set_title(c, start->title, e);
    if (!rc) rc = append(c, CHAT_SYSTEM, system, strlen(system), "", e);
    for (size_t i = 0; !rc && i < start->n_examples; i++) {
        const struct persona_example *x = &start->example[i];
        rc = append(c, CHAT_USER, x->user, strlen(x->user), STORE_EXAMPLE, e);
        if (!rc) rc = append(c, CHAT_ASSISTANT, x->assistant, strlen(x->assistant), STORE_EXAMPLE, e);
    }
    if (rc) conversation_close(c);
    else *out = c;
    return rc;
}

int conversation_open(struct conversation **out, struct store *s, int64_t id, struct err *e) {
    *out = NULL;
    struct conversation *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_MEMORY, "no memory for a conversation");
    *c = (struct conversation){.store = s, .row_asked = true, .row_is_added = true, .has_turn = true};
    struct store_message *m = NULL;
    size_t n = 0;
    int rc = store_get(s, id, &c->row, e);
    if (!rc) rc = store_branch(s, id, c->row.head, &m, &n, e);
    if (!rc && n) {
        c->entry = calloc(n, sizeof *c->entry);
        if (!c->entry) rc = err_set(e, ERR_MEMORY, "no memory for a conversation");
    }
    for (size_t i = 0; i < n; i++) {
        if (c->entry) c->entry[i] = (struct entry){.m = m[i], .is_added = true};
        else store_message_free(&m[i]);
    }
    free(m);
    c->n = c->cap = c->entry ? n : 0;
    store_watch(s, id, c->row.head);
    struct entry *end = last_entry(c);
    if (!rc && end && end->m.role == CHAT_ASSISTANT && end->m.partial && !end->m.n_text) cut(c, c->n - 1);
    if (!rc && (!c->n || c->entry[0].m.role != CHAT_SYSTEM)) {
        rc = c->n ? err_set(e, ERR_FILE, "conversation %lld does not begin with a system prompt: the store is damaged", (long long)id)
                  : append(c, CHAT_SYSTEM, "", 0, "", e);
    }
    if (rc) conversation_close(c);
    else *out = c;
    return rc;
}

/* A row that was begun, and nothing said in it. */
static bool is_unused(const struct conversation *c) {
    return c->row_asked && !c->has_turn && c->n && !c->entry[0].added && !c->entry[0].is_added;
}

void conversation_close(struct conversation *c) {
    if (!c) return;
    if (conversation_is_saved(c) && is_unused(c)) store_delete_conversation(c->store, c->row.id);
    cut(c, 0);
    free(c->entry);
    free(c->prompt);
    buf_free(&c->stream);
    store_conversation_free(&c->row);
    free(c);
}

/* ---- what it holds ------------------------------------------------------------------------------------------- */

const struct store_conversation *conversation_row(struct conversation *c) {
    int64_t id = c->row.id < 0 ? store_conversation_id(c->store, c->row.id) : 0;
    if (id) c->row.id = id;
    return &c->row;
}

uint64_t conversation_key(struct conversation *c) {
    int64_t id = conversation_row(c)->id;
    return id > 0 ? (uint64_t)id : UINT64_MAX - c->number;
}

size_t conversation_count(const struct conversation *c) { return c->n; }

const struct store_message *conversation_message(const struct conversation *c, size_t i) { return &c->entry[i].m; }

bool conversation_find_user(const struct conversation *c, size_t n, size_t *i) {
    for (size_t k = c->n; n && k > 0; k--) {
        if (!is_said_by_user(&c->entry[k - 1].m)) continue;
        *i = k - 1;
        if (!--n) return true;
    }
    return false;
}

size_t conversation_n_turns(const struct conversation *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) n += is_said_by_user(&c->entry[i].m);
    return n;
}

void conversation_place(const struct conversation *c, size_t i, size_t *place, size_t *of) {
    int64_t *ids = NULL;
    size_t n = 0;
    *place = *of = 1;
    if (!c->store || !c->entry[i].m.id || store_siblings(c->store, c->entry[i].m.id, &ids, &n, NULL)) return;
    for (size_t k = 0; k < n; k++) {
        if (ids[k] != c->entry[i].m.id) continue;
        *place = k + 1;
        *of = n;
    }
    free(ids);
}

int conversation_prompt(struct conversation *c, uint64_t fingerprint, const struct chat_message **message, size_t *n, size_t *first, struct err *e) {
    *message = NULL;
    *n = 0;
    *first = c->n && !c->entry[0].m.n_text ? 1 : 0;
    if (c->cap_prompt < c->n) {
        struct chat_message *more = realloc(c->prompt, c->cap * sizeof *more);
        if (!more) return err_set(e, ERR_MEMORY, "no memory for the prompt");
        c->prompt = more;
        c->cap_prompt = c->cap;
    }
    for (size_t i = *first; i < c->n; i++) {
        const struct store_message *m = &c->entry[i].m;
        bool writing = c->replying && i + 1 == c->n;
        if (writing && !c->continuing) break;
        bool same = m->n_ids && m->fingerprint == fingerprint;
        c->prompt[(*n)++] = (struct chat_message){.role = m->role, .text = m->text, .n_text = writing ? c->kept_bytes : m->n_text,
                                                  .id = same ? m->ids : NULL, .n_ids = same ? m->n_ids : 0, .pinned = m->pinned, .open = writing};
    }
    *message = c->prompt;
    return 0;
}

/* ---- a turn -------------------------------------------------------------------------------------------------- */

void conversation_begin_row(struct conversation *c) {
    if (!conversation_is_saved(c) || c->row_is_added) return;
    write_row(c);
    store_wait(c->store, c->row_added, NULL);
}

int conversation_add_user(struct conversation *c, const char *text, size_t n, store_ticket *ticket, struct err *e) {
    *ticket = 0;
    int rc = append(c, CHAT_USER, text, n, "", e);
    if (!rc) *ticket = write_rows(c);
    return rc;
}

int conversation_begin_reply(struct conversation *c, uint64_t fingerprint, const char *settings, struct err *e) {
    int rc = append(c, CHAT_ASSISTANT, "", 0, "", e);
    if (rc) return rc;
    struct store_message *m = &last_entry(c)->m;
    m->partial = true;
    m->fingerprint = fingerprint;
    char *copy = settings ? strdup(settings) : NULL;
    if (copy) {
        free(m->settings);
        m->settings = copy;
    }
    write_rows(c);
    buf_clear(&c->stream);
    c->replying = true;
    c->continuing = false;
    c->saved_us = 0;
    return 0;
}

int conversation_continue_reply(struct conversation *c, uint64_t fingerprint, struct err *e) {
    struct entry *x = last_entry(c);
    if (!x || x->m.role != CHAT_ASSISTANT || is_start(&x->m)) return err_set(e, ERR_USAGE, "the conversation does not end with a reply that could go on");
    buf_clear(&c->stream);
    if (buf_add(&c->stream, x->m.text, x->m.n_text)) return err_set(e, ERR_MEMORY, "no memory for the reply");
    if (x->m.fingerprint != fingerprint) x->m.n_ids = 0; /* of two models none would fit the whole */
    x->m.fingerprint = fingerprint;
    c->replying = c->continuing = true;
    c->kept_bytes = x->m.n_text;
    c->saved_us = 0;
    return 0;
}

/* Gives the reply's entry the text t[0..n). */
static int set_text(struct store_message *m, const char *t, size_t n, struct err *e) {
    char *copy = malloc(n + 1);
    if (!copy) return err_set(e, ERR_MEMORY, "no memory for the reply");
    if (n) memcpy(copy, t, n);
    copy[n] = 0;
    free(m->text);
    m->text = copy;
    m->n_text = n;
    return 0;
}

/* A name for a conversation that has none, from the first thing that was said. */
static void give_title(struct conversation *c) {
    size_t i = 0;
    while (i < c->n && !is_said_by_user(&c->entry[i].m)) i++;
    if (c->row.title[0] || i == c->n) return;
    struct buf title = {0};
    conversation_make_title(c->entry[i].m.text, TITLE_COLUMNS, &title);
    if (title.len) conversation_set_title(c, buf_text(&title), NULL);
    buf_free(&title);
}

int conversation_extend(struct conversation *c, const char *text, size_t n, double now_us, struct err *e) {
    struct entry *x = last_entry(c);
    if (!c->replying) return 0;
    if (buf_add(&c->stream, text, n)) return err_set(e, ERR_MEMORY, "no memory for the reply");
    if (c->stream.len == x->m.n_text || (c->saved_us > 0 && now_us - c->saved_us < CONVERSATION_SAVE_US)) return 0;
    int rc = set_text(&x->m, buf_text(&c->stream), c->stream.len, e);
    if (rc) return rc;
    c->saved_us = now_us;
    give_title(c);
    update_row(c, x);
    return 0;
}

/* Counts and times of a reply as JSON. */
static char *timings_json(const struct reply *r) {
    struct buf b = {0};
    buf_printf(&b, "{\"prompt\":%zu,\"cached\":%zu,\"completion\":%zu,\"prompt_us\":%.0f,\"first_token_us\":%.0f,\"completion_us\":%.0f}", r->n_prompt,
               r->n_cached, r->n_completion, r->prompt_us, r->first_token_us, r->completion_us);
    return buf_take(&b);
}

/* The ids of r, after those of the part that was there before where the reply was continued; none where those are not known. */
static int set_ids(struct conversation *c, struct store_message *m, const struct reply *r) {
    size_t kept = c->continuing ? m->n_ids : 0, n = kept + r->tokens.n;
    if (c->continuing && c->kept_bytes && !kept) n = 0;
    int32_t *ids = n ? malloc(n * sizeof *ids) : NULL;
    if (n && !ids) return ERR_MEMORY;
    if (kept) memcpy(ids, m->ids, kept * sizeof *ids);
    if (n > kept) memcpy(ids + kept, r->tokens.id, r->tokens.n * sizeof *ids);
    free(m->ids);
    m->ids = ids;
    m->n_ids = n;
    return 0;
}

static int set_reply(struct conversation *c, const struct reply *r, struct err *e) {
    struct store_message *m = &last_entry(c)->m;
    char *timings = timings_json(r), *finish = strdup(finish_name(r->finish));
    struct buf text = {0};
    if (c->continuing) buf_add(&text, m->text, c->kept_bytes);
    buf_add(&text, r->text.data, r->text.len);
    int rc = timings && finish && !text.failed ? set_ids(c, m, r) : ERR_MEMORY;
    if (!rc) rc = set_text(m, buf_text(&text), text.len, NULL);
    buf_free(&text);
    if (rc) {
        free(timings);
        free(finish);
        return err_set(e, rc, "no memory for the reply");
    }
    free(m->timings);
    free(m->finish_reason);
    m->timings = timings;
    m->finish_reason = finish;
    m->partial = r->finish == FINISH_CANCEL || r->finish == FINISH_ERROR;
    return 0;
}

int conversation_finish(struct conversation *c, const struct reply *r, store_ticket *ticket, struct err *e) {
    *ticket = 0;
    if (!c->replying) return 0;
    if (!r->text.len && (r->finish == FINISH_CANCEL || r->finish == FINISH_ERROR)) {
        conversation_drop_reply(c);
        return 0;
    }
    c->replying = false;
    c->has_turn = true;
    int rc = set_reply(c, r, e);
    if (rc) return rc;
    give_title(c);
    *ticket = update_row(c, last_entry(c));
    return 0;
}

/* Takes the last entry from the branch and its row from the store. */
static void delete_last(struct conversation *c) {
    struct entry *x = last_entry(c);
    if (conversation_is_saved(c) && (x->added || x->is_added)) store_delete_message(c->store, c->row.id, x->m.id);
    cut(c, c->n - 1);
    c->row.head = c->n ? c->entry[c->n - 1].m.id : 0;
}

void conversation_drop_reply(struct conversation *c) {
    struct entry *x = last_entry(c);
    if (c->replying && !c->continuing) delete_last(c);
    if (c->replying && c->continuing && x->m.n_text > c->kept_bytes) {
        x->m.text[x->m.n_text = c->kept_bytes] = 0;
        update_row(c, x);
    }
    c->replying = false;
}

void conversation_take_back(struct conversation *c) {
    struct entry *x = last_entry(c);
    if (!x || !is_said_by_user(&x->m)) return;
    delete_last(c);
    if (!conversation_is_saved(c) || !c->row_asked || c->has_turn || conversation_n_turns(c)) return;
    store_delete_conversation(c->store, c->row.id);
    c->row.id = c->row.head = 0;
    c->row_asked = c->row_is_added = false;
    for (size_t i = 0; i < c->n; i++) {
        c->entry[i].m.id = 0;
        c->entry[i].added = c->entry[i].updated = 0;
        c->entry[i].is_added = false;
    }
}

/* ---- other branches ------------------------------------------------------------------------------------------ */

static int end_at(struct conversation *c, size_t n) {
    cut(c, n);
    c->replying = false;
    move_head(c);
    return 0;
}

int conversation_regenerate(struct conversation *c, struct err *e) {
    size_t i;
    if (!conversation_find_user(c, 1, &i)) return err_set(e, ERR_USAGE, "there is no message yet to answer again");
    return c->n > i + 1 ? end_at(c, i + 1) : 0;
}

int conversation_undo(struct conversation *c, size_t n, struct err *e) {
    size_t i;
    if (!n || !conversation_find_user(c, n, &i)) {
        return err_set(e, ERR_USAGE, "there %s to undo", conversation_n_turns(c) ? "are not so many exchanges" : "is no exchange yet");
    }
    return end_at(c, i);
}

int conversation_clear(struct conversation *c, struct err *e) {
    (void)e;
    size_t i = 0;
    while (i < c->n && is_start(&c->entry[i].m)) i++;
    return i < c->n ? end_at(c, i) : 0;
}

int conversation_edit(struct conversation *c, size_t n, const char *text, size_t n_text, store_ticket *ticket, struct err *e) {
    *ticket = 0;
    int rc = conversation_undo(c, n, e);
    return rc ? rc : conversation_add_user(c, text, n_text, ticket, e);
}

/* Replaces one text of the conversation's row. */
static int replace_text(char **text, const char *by, struct err *e) {
    char *copy = strdup(by ? by : "");
    if (!copy) return err_set(e, ERR_MEMORY, "no memory for the conversation's row");
    free(*text);
    *text = copy;
    return 0;
}

int conversation_set_title(struct conversation *c, const char *title, struct err *e) {
    struct buf line = {0};
    int rc = utf8_add_line(title, &line) ? err_set(e, ERR_MEMORY, "no memory for a title") : replace_text(&c->row.title, buf_text(&line), e);
    buf_free(&line);
    if (!rc) update_conversation(c);
    return rc;
}

int conversation_set_system(struct conversation *c, const char *text, struct err *e) {
    int rc = set_text(&c->entry[0].m, text ? text : "", text ? strlen(text) : 0, e);
    if (!rc) update_row(c, &c->entry[0]);
    return rc;
}

int conversation_set_model(struct conversation *c, const char *persona, const char *model, struct err *e) {
    int rc = replace_text(&c->row.persona, persona, e);
    if (!rc) rc = replace_text(&c->row.model, model, e);
    if (!rc) update_conversation(c);
    return rc;
}

/* ---- the store ----------------------------------------------------------------------------------------------- */

bool conversation_diverged(struct conversation *c) { return conversation_is_saved(c) && c->row.id > 0 && store_diverged(c->store, c->row.id); }

int conversation_make_title(const char *text, size_t columns, struct buf *out) {
    text += strspn(text, " \t\r\n");
    size_t n = strcspn(text, "\r\n"), end = 0, word = 0, used = 0;
    while (end < n) {
        int width;
        size_t bytes = utf8_grapheme(text + end, n - end, &width);
        if (used + (size_t)width > columns - 1 && utf8_width(text, n) > columns) break;
        if (text[end] == ' ' && end) word = end;
        used += (size_t)width;
        end += bytes;
    }
    if (end == n) {
        while (end && text[end - 1] == ' ') end--;
        return buf_add(out, text, end);
    }
    buf_add(out, text, text[end] == ' ' || !word ? end : word);
    return buf_add_text(out, "…");
}
