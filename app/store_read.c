/* store_read: see store_read.h. */
#include "app/store_read.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "config/utf8.h"

#define MAX_DEPTH "1000000" /* messages on a branch; a damaged file may have a parent that is its own child */

#define ON_BRANCH                                                                                                                        \
    "(WITH RECURSIVE up(id, depth) AS (SELECT c.head, 0 UNION ALL SELECT m.parent, depth + 1 FROM up JOIN message m ON m.id = up.id"  \
    " WHERE m.parent IS NOT NULL AND depth < " MAX_DEPTH ") SELECT count(*) FROM up JOIN message m ON m.id = up.id"                            \
    " WHERE m.role = 'user' AND m.finish_reason <> '" STORE_EXAMPLE "')"
#define CONVERSATIONS                                                                                                     \
    "SELECT c.id, c.title, c.persona, c.model, c.settings, c.created, c.updated, ifnull(c.head, 0), " ON_BRANCH           \
    " FROM conversation c WHERE c.created > 0 "
#define NEWEST "ORDER BY c.updated DESC, c.id DESC "

const char *const store_role_names[] = {[CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};

static char *column_text(sqlite3_stmt *st, int i) {
    const unsigned char *t = sqlite3_column_text(st, i);
    return strdup(t ? (const char *)t : "");
}

static int read_conversation(sqlite3_stmt *st, struct store_conversation *c, struct err *e) {
    *c = (struct store_conversation){
        .id = sqlite3_column_int64(st, 0), .title = column_text(st, 1), .persona = column_text(st, 2), .model = column_text(st, 3),
        .settings = column_text(st, 4), .created = sqlite3_column_int64(st, 5), .updated = sqlite3_column_int64(st, 6),
        .head = sqlite3_column_int64(st, 7), .n_turns = sqlite3_column_int64(st, 8)};
    if (c->title && c->persona && c->model && c->settings) return 0;
    store_conversation_free(c);
    return err_set(e, ERR_MEMORY, "no memory to read a conversation");
}

/* All rows of a statement over conversations. Finalises it. */
static int read_conversations(struct store_sql *sql, sqlite3_stmt *st, struct store_conversation **out, size_t *n, struct err *e) {
    int rc = 0, step;
    size_t cap = 0;
    while (!rc && (step = sqlite3_step(st)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) { rc = store_sql_fail(sql, e); break; }
        if (*n == cap) {
            size_t more = cap ? 2 * cap : 16;
            struct store_conversation *grown = realloc(*out, more * sizeof *grown);
            if (!grown) { rc = err_set(e, ERR_MEMORY, "no memory to list the conversations"); break; }
            *out = grown;
            cap = more;
        }
        rc = read_conversation(st, &(*out)[*n], e);
        if (!rc) ++*n;
    }
    sqlite3_finalize(st);
    if (!rc) return 0;
    while (*n) store_conversation_free(&(*out)[--*n]);
    free(*out);
    *out = NULL;
    return rc;
}

int store_read_list(void *arg, struct err *e) {
    struct store_read *c = arg;
    sqlite3_stmt *st;
    int rc = store_sql_prepare(c->sql, &st, e, CONVERSATIONS NEWEST, "");
    return rc ? rc : read_conversations(c->sql, st, &c->conversation, &c->n, e);
}

int store_read_one(void *arg, struct err *e) {
    struct store_read *c = arg;
    sqlite3_stmt *st;
    int rc = c->id ? store_sql_prepare(c->sql, &st, e, CONVERSATIONS "AND c.id = ?", "i", c->id)
                   : store_sql_prepare(c->sql, &st, e, CONVERSATIONS NEWEST "LIMIT 1", "");
    if (!rc) rc = read_conversations(c->sql, st, &c->conversation, &c->n, e);
    if (rc || c->n) return rc;
    if (!c->id) return err_set(e, ERR_FILE, "there is no saved conversation yet in %s", c->sql->path);
    return err_set(e, ERR_FILE, "there is no conversation %lld in %s", (long long)c->id, c->sql->path);
}

/* Leaves nothing found for the caller to complain of, or one row. */
static int find_rows(struct store_read *c, struct err *e) {
    char *rest;
    errno = 0;
    long long id = strtoll(c->name, &rest, 10);
    sqlite3_stmt *st;
    int rc = 0;
    if (rest != c->name && !*rest && !errno && id > 0) {
        rc = store_sql_prepare(c->sql, &st, e, CONVERSATIONS "AND c.id = ?", "i", (int64_t)id);
        if (!rc) rc = read_conversations(c->sql, st, &c->conversation, &c->n, e);
    }
    if (!rc && !c->n) {
        rc = store_sql_prepare(c->sql, &st, e, CONVERSATIONS "AND c.title = ? " NEWEST "LIMIT 1", "t", c->name);
        if (!rc) rc = read_conversations(c->sql, st, &c->conversation, &c->n, e);
    }
    if (!rc && !c->n && *c->name) {
        rc = store_sql_prepare(c->sql, &st, e, CONVERSATIONS "AND substr(c.title, 1, length(?1)) = ?1 " NEWEST "LIMIT 2", "t", c->name);
        if (!rc) rc = read_conversations(c->sql, st, &c->conversation, &c->n, e);
    }
    return rc;
}

static int fail_unknown(struct store_read *c, struct err *e) {
    struct store_read all = {.sql = c->sql};
    int rc = store_read_list(&all, e);
    if (rc) return rc;
    const char **titles = calloc(all.n + 1, sizeof *titles);
    for (size_t i = 0; titles && i < all.n; i++) titles[i] = all.conversation[i].title;
    const char *near = titles ? utf8_nearest(c->name, titles, all.n) : NULL;
    if (near && *near) rc = err_set(e, ERR_FILE, "there is no conversation \"%s\"; the nearest is \"%s\"", c->name, near);
    else rc = err_set(e, ERR_FILE, "there is no conversation \"%s\"; `kvetch list` shows them", c->name);
    free(titles);
    for (size_t i = 0; i < all.n; i++) store_conversation_free(&all.conversation[i]);
    free(all.conversation);
    return rc;
}

int store_read_find(void *arg, struct err *e) {
    struct store_read *c = arg;
    int rc = find_rows(c, e);
    if (rc || c->n == 1) return rc;
    if (!c->n) return fail_unknown(c, e);
    rc = err_set(e, ERR_FILE, "\"%s\" begins more than one conversation: %lld \"%s\" and %lld \"%s\"", c->name, (long long)c->conversation[0].id,
                 c->conversation[0].title, (long long)c->conversation[1].id, c->conversation[1].title);
    while (c->n) store_conversation_free(&c->conversation[--c->n]);
    free(c->conversation);
    c->conversation = NULL;
    return rc;
}

int store_read_title(void *arg, struct err *e) {
    struct store_read *c = arg;
    int64_t n = 0;
    int rc = store_sql_run(c->sql, e, &n, "SELECT count(*) FROM conversation WHERE created > 0 AND title = ?", "t", c->name);
    c->n = (size_t)n;
    return rc;
}

static int read_message(sqlite3_stmt *st, struct store_message *m, struct err *e) {
    const unsigned char *role = sqlite3_column_text(st, 3);
    *m = (struct store_message){
        .id = sqlite3_column_int64(st, 0), .conversation = sqlite3_column_int64(st, 1), .parent = sqlite3_column_int64(st, 2),
        .role = CHAT_USER, .partial = sqlite3_column_int(st, 6) != 0, .pinned = sqlite3_column_int(st, 7) != 0,
        .finish_reason = column_text(st, 8), .fingerprint = (uint64_t)sqlite3_column_int64(st, 9), .settings = column_text(st, 10),
        .timings = column_text(st, 11), .created = sqlite3_column_int64(st, 12)};
    for (int r = CHAT_SYSTEM; r <= CHAT_ASSISTANT; r++) if (role && !strcmp((const char *)role, store_role_names[r])) m->role = (enum chat_role)r;
    const void *text = sqlite3_column_text(st, 4), *ids = sqlite3_column_blob(st, 5);
    m->n_text = (size_t)sqlite3_column_bytes(st, 4);
    m->n_ids = (size_t)sqlite3_column_bytes(st, 5) / sizeof *m->ids;
    m->text = malloc(m->n_text + 1);
    m->ids = m->n_ids ? malloc(m->n_ids * sizeof *m->ids) : NULL;
    if (!m->text || (m->n_ids && !m->ids) || !m->finish_reason || !m->settings || !m->timings) {
        store_message_free(m);
        return err_set(e, ERR_MEMORY, "no memory to read a message");
    }
    if (m->n_text) memcpy(m->text, text, m->n_text);
    m->text[m->n_text] = 0;
    if (m->n_ids) memcpy(m->ids, ids, m->n_ids * sizeof *m->ids);
    return 0;
}

int store_read_branch(void *arg, struct err *e) {
    struct store_read *c = arg;
    struct sqlite3_stmt *st;
    int rc = store_sql_prepare(c->sql, &st, e,
                               "WITH RECURSIVE up(id, depth) AS (SELECT ?1, 0 UNION ALL SELECT m.parent, depth + 1 FROM up"
                               " JOIN message m ON m.id = up.id WHERE m.parent IS NOT NULL AND depth < " MAX_DEPTH ")"
                               " SELECT m.id, m.conversation, ifnull(m.parent, 0), m.role, m.text, m.ids, m.partial, m.pinned, m.finish_reason,"
                               " m.fingerprint, m.settings, m.timings, m.created FROM up JOIN message m ON m.id = up.id"
                               " WHERE m.conversation = ?2 ORDER BY depth DESC", "ii", c->leaf, c->id);
    size_t cap = 0;
    int step;
    while (!rc && (step = sqlite3_step(st)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) { rc = store_sql_fail(c->sql, e); break; }
        if (c->n == cap) {
            size_t more = cap ? 2 * cap : 64;
            struct store_message *grown = realloc(c->message, more * sizeof *grown);
            if (!grown) { rc = err_set(e, ERR_MEMORY, "no memory to read a conversation"); break; }
            c->message = grown;
            cap = more;
        }
        rc = read_message(st, &c->message[c->n], e);
        if (!rc) c->n++;
    }
    sqlite3_finalize(st);
    if (!rc) return 0;
    while (c->n) store_message_free(&c->message[--c->n]);
    free(c->message);
    c->message = NULL;
    return rc;
}

int store_read_siblings(void *arg, struct err *e) {
    struct store_read *c = arg;
    struct sqlite3_stmt *st;
    int rc = store_sql_prepare(c->sql, &st, e,
                               "SELECT s.id FROM message m JOIN message s ON s.conversation = m.conversation AND s.parent IS m.parent"
                               " WHERE m.id = ? ORDER BY s.seq", "i", c->id);
    size_t cap = 0;
    int step;
    while (!rc && (step = sqlite3_step(st)) != SQLITE_DONE) {
        if (step != SQLITE_ROW) { rc = store_sql_fail(c->sql, e); break; }
        if (c->n == cap) {
            size_t more = cap ? 2 * cap : 8;
            int64_t *grown = realloc(c->ids, more * sizeof *grown);
            if (!grown) { rc = err_set(e, ERR_MEMORY, "no memory to read a conversation"); break; }
            c->ids = grown;
            cap = more;
        }
        c->ids[c->n++] = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    if (!rc) return 0;
    free(c->ids);
    c->ids = NULL;
    c->n = 0;
    return rc;
}
