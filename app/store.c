/* store: see store.h. What stands under "the store's thread" runs there and nowhere else; the calls of store.h pack what
 * they were given into a job and queue it. Ids of messages are random (53 bits), so that they can be given before a row is
 * written and two programs do not collide; message.seq keeps the order of writing. Ids of conversations are short, people
 * type them, and come from the file: until its row is written a conversation is called by a number below 0, which jobs change into
 * its id when they run. */
#include "app/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "app/store_queue.h"
#include "app/store_read.h"
#include "app/store_sql.h"
#include "config/buf.h"

struct watched {
    int64_t conversation, head;
    bool moved;
};

struct store {
    struct store_sql sql; /* the store's thread alone */
    struct store_queue *queue;
    pthread_mutex_t lock; /* guards what follows */
    struct watched *watched;
    size_t n_watched;
    int64_t *given;       /* what the file gave the conversation that is called -1, -2, ... until then; 0: nothing (yet) */
    size_t n_given;
    struct err not_given; /* why not, the last time */
};

/* ---- the store's thread: writing ----------------------------------------------------------------------------- */

struct write {
    struct store_job job; /* first: a job is its write */
    struct store *s;
    struct store_conversation c;
    struct store_message m;
    int64_t conversation, id;
    void (*fn)(void *arg);
    void *arg;
};

static void drop_write(struct store_job *j) {
    struct write *w = (struct write *)j;
    store_conversation_free(&w->c);
    store_message_free(&w->m);
    free(w);
}

/* NULL where it is not watched. The lock is held. */
static struct watched *find_watched(struct store *s, int64_t conversation) {
    for (size_t i = 0; i < s->n_watched; i++) if (s->watched[i].conversation == conversation) return &s->watched[i];
    return NULL;
}

/* Compares the head in the file with the one this program left there. Inside the writing transaction. */
static int check_head(struct store *s, int64_t conversation, bool *moved, struct err *e) {
    int64_t head = 0;
    int rc = store_sql_run(&s->sql, e, &head, "SELECT ifnull(head, 0) FROM conversation WHERE id = ?", "i", conversation);
    pthread_mutex_lock(&s->lock);
    struct watched *w = find_watched(s, conversation);
    *moved = !rc && w && w->head != head;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void set_head(struct store *s, int64_t conversation, int64_t head, bool moved) {
    pthread_mutex_lock(&s->lock);
    struct watched *w = find_watched(s, conversation);
    if (w) *w = (struct watched){.conversation = conversation, .head = head, .moved = w->moved || moved};
    pthread_mutex_unlock(&s->lock);
}

static void give_id(struct store *s, int64_t called, int64_t id, const struct err *why_not) {
    pthread_mutex_lock(&s->lock);
    s->given[-called - 1] = id;
    if (!id) s->not_given = *why_not;
    pthread_mutex_unlock(&s->lock);
}

/* The id in the file of what a job names, in its place. An error where the conversation could not be written. */
static int find_id(struct store *s, int64_t *id, struct err *e) {
    if (*id >= 0) return 0;
    int64_t given = store_conversation_id(s, *id);
    if (given) {
        *id = given;
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    if (e) *e = s->not_given;
    int rc = s->not_given.code;
    pthread_mutex_unlock(&s->lock);
    return rc ? rc : err_set(e, ERR_FAILED, "the conversation is not in %s", s->sql.path);
}

static int write_new_conversation(struct store_job *j, struct err *e) {
    struct write *w = (struct write *)j;
    struct store *s = w->s;
    int64_t called = w->c.id, id = 0;
    int rc = store_sql_begin(&s->sql, e);
    if (!rc) {
        rc = store_sql_run(&s->sql, e, NULL,
                           "INSERT INTO conversation(title, persona, model, settings, updated, created) VALUES(?, ?, ?, ?, ?, ?)", "ttttii",
                           w->c.title, w->c.persona, w->c.model, w->c.settings, w->c.updated, w->c.created);
        id = rc ? 0 : sqlite3_last_insert_rowid(s->sql.db);
        rc = store_sql_end(&s->sql, rc, e);
    }
    if (!rc) store_watch(s, id, 0);
    give_id(s, called, rc ? 0 : id, e);
    return rc;
}

static int write_conversation(struct store_job *j, struct err *e) {
    struct write *w = (struct write *)j;
    struct store *s = w->s;
    bool moved = false;
    int rc = find_id(s, &w->c.id, e);
    if (!rc) rc = store_sql_begin(&s->sql, e);
    if (rc) return rc;
    rc = check_head(s, w->c.id, &moved, e);
    if (!rc) {
        rc = store_sql_run(&s->sql, e, NULL,
                           "UPDATE conversation SET title = ?, persona = ?, model = ?, settings = ?, head = ?, updated = ? WHERE id = ?",
                           "tttt0ii", w->c.title, w->c.persona, w->c.model, w->c.settings, w->c.head, w->c.updated, w->c.id);
    }
    if (!rc && !sqlite3_changes(s->sql.db)) rc = err_set(e, ERR_FAILED, "conversation %lld is no longer in %s", (long long)w->c.id, s->sql.path);
    rc = store_sql_end(&s->sql, rc, e);
    if (!rc) set_head(s, w->c.id, w->c.head, moved);
    return rc;
}

static int write_new_message(struct store_job *j, struct err *e) {
    struct write *w = (struct write *)j;
    struct store *s = w->s;
    const struct store_message *m = &w->m;
    bool moved = false;
    int rc = find_id(s, &w->m.conversation, e);
    if (!rc) rc = store_sql_begin(&s->sql, e);
    if (rc) return rc;
    rc = check_head(s, m->conversation, &moved, e);
    if (!rc) {
        rc = store_sql_run(&s->sql, e, NULL,
                           "INSERT INTO message(id, conversation, parent, role, text, ids, partial, pinned, finish_reason, fingerprint, settings,"
                           " timings, created) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                           "ii0tsbiititti", m->id, m->conversation, m->parent, store_role_names[m->role], m->text, m->n_text, m->ids,
                           m->n_ids * sizeof *m->ids, (int64_t)m->partial, (int64_t)m->pinned, m->finish_reason, (int64_t)m->fingerprint,
                           m->settings, m->timings, m->created);
    }
    if (!rc) {
        rc = store_sql_run(&s->sql, e, NULL, "UPDATE conversation SET head = ?, updated = ? WHERE id = ?", "iii", m->id, m->created,
                           m->conversation);
    }
    rc = store_sql_end(&s->sql, rc, e);
    if (!rc) set_head(s, m->conversation, m->id, moved);
    return rc;
}

static int write_message(struct store_job *j, struct err *e) {
    struct write *w = (struct write *)j;
    struct store *s = w->s;
    const struct store_message *m = &w->m;
    int rc = find_id(s, &w->m.conversation, e);
    if (!rc) rc = store_sql_begin(&s->sql, e);
    if (rc) return rc;
    rc = store_sql_run(&s->sql, e, NULL,
                       "UPDATE message SET text = ?, ids = ?, partial = ?, pinned = ?, finish_reason = ?, timings = ? WHERE id = ?", "sbiitti",
                       m->text, m->n_text, m->ids, m->n_ids * sizeof *m->ids, (int64_t)m->partial, (int64_t)m->pinned, m->finish_reason,
                       m->timings, m->id);
    if (!rc && !sqlite3_changes(s->sql.db)) rc = err_set(e, ERR_FAILED, "the message is no longer in %s", s->sql.path);
    if (!rc) {
        rc = store_sql_run(&s->sql, e, NULL, "UPDATE conversation SET updated = ? WHERE id = ?", "ii", (int64_t)time(NULL), m->conversation);
    }
    return store_sql_end(&s->sql, rc, e);
}

static int delete_conversation(struct store_job *j, struct err *e) {
    struct write *w = (struct write *)j;
    int rc = find_id(w->s, &w->id, e);
    return rc ? rc : store_sql_run(&w->s->sql, e, NULL, "DELETE FROM conversation WHERE id = ?", "i", w->id);
}

static int delete_message(struct store_job *j, struct err *e) {
    struct write *w = (struct write *)j;
    struct store_sql *sql = &w->s->sql;
    int64_t parent = 0, head = 0;
    bool moved = false;
    int rc = find_id(w->s, &w->conversation, e);
    if (!rc) rc = store_sql_begin(sql, e);
    if (rc) return rc;
    rc = check_head(w->s, w->conversation, &moved, e);
    if (!rc) rc = store_sql_run(sql, e, &parent, "SELECT ifnull(parent, 0) FROM message WHERE id = ?", "i", w->id);
    if (!rc) rc = store_sql_run(sql, e, NULL, "DELETE FROM message WHERE id = ?", "i", w->id);
    if (!rc) {
        rc = store_sql_run(sql, e, NULL,
                           "UPDATE conversation SET head = ? WHERE id = ? AND head NOT IN (SELECT id FROM message WHERE conversation = ?2)", "0i",
                           parent, w->conversation);
    }
    if (!rc) rc = store_sql_run(sql, e, &head, "SELECT ifnull(head, 0) FROM conversation WHERE id = ?", "i", w->conversation);
    rc = store_sql_end(sql, rc, e);
    if (!rc) set_head(w->s, w->conversation, head, moved);
    return rc;
}

static int run_function(struct store_job *j, struct err *e) {
    (void)e;
    struct write *w = (struct write *)j;
    w->fn(w->arg);
    return 0;
}

/* ---- the calls of store.h ------------------------------------------------------------------------------------ */

struct open_call {
    struct store *s;
    bool read_only;
};

static int open_database(void *arg, struct err *e) {
    struct open_call *c = arg;
    struct err not_writable;
    int rc = store_sql_open(&c->s->sql, c->read_only, &not_writable, e);
    if (!rc && not_writable.code) store_queue_set_failed(c->s->queue, &not_writable);
    return rc;
}

static int close_database(void *arg, struct err *e) {
    (void)e;
    store_sql_close(&((struct store *)arg)->sql);
    return 0;
}

int store_open(struct store **out, const char *dir, bool read_only, struct err *e) {
    *out = NULL;
    struct store *s = calloc(1, sizeof *s);
    struct buf path = {0};
    buf_printf(&path, "%s/kvetch.db", dir);
    if (s) {
        pthread_mutex_init(&s->lock, NULL);
        s->sql.path = buf_take(&path);
    }
    if (!s || !s->sql.path) {
        store_close(s);
        buf_free(&path);
        return err_set(e, ERR_MEMORY, "no memory to open the store");
    }
    struct open_call c = {.s = s, .read_only = read_only};
    int rc = store_queue_open(&s->queue, e);
    if (!rc) rc = store_queue_call(s->queue, open_database, &c, e);
    if (rc) store_close(s);
    else *out = s;
    return rc;
}

void store_close(struct store *s) {
    if (!s) return;
    if (s->queue) store_queue_call(s->queue, close_database, s, NULL);
    store_queue_close(s->queue);
    pthread_mutex_destroy(&s->lock);
    free(s->watched);
    free(s->given);
    free(s->sql.path);
    free(s);
}

const char *store_path(const struct store *s) { return s->sql.path; }

int store_list(struct store *s, struct store_conversation **out, size_t *n, struct err *e) {
    struct store_read c = {.sql = &s->sql};
    int rc = store_queue_call(s->queue, store_read_list, &c, e);
    *out = c.conversation;
    *n = c.n;
    return rc;
}

/* Runs a read that finds one conversation. */
static int call_for_one(struct store *s, struct store_read *c, int (*fn)(void *arg, struct err *e), struct store_conversation *out, struct err *e) {
    *out = (struct store_conversation){0};
    int rc = store_queue_call(s->queue, fn, c, e);
    if (!rc) *out = c->conversation[0];
    free(c->conversation);
    return rc;
}

int store_get(struct store *s, int64_t id, struct store_conversation *out, struct err *e) {
    *out = (struct store_conversation){0};
    if (id <= 0) return err_set(e, ERR_FILE, "there is no conversation %lld in %s", (long long)id, s->sql.path);
    return call_for_one(s, &(struct store_read){.sql = &s->sql, .id = id}, store_read_one, out, e);
}

int store_find(struct store *s, const char *name_or_id, struct store_conversation *out, struct err *e) {
    return call_for_one(s, &(struct store_read){.sql = &s->sql, .name = name_or_id}, store_read_find, out, e);
}

int store_has_title(struct store *s, const char *title, bool *has, struct err *e) {
    struct store_read c = {.sql = &s->sql, .name = title};
    int rc = store_queue_call(s->queue, store_read_title, &c, e);
    *has = c.n > 0;
    return rc;
}

int store_last(struct store *s, struct store_conversation *out, struct err *e) {
    return call_for_one(s, &(struct store_read){.sql = &s->sql}, store_read_one, out, e);
}

int store_branch(struct store *s, int64_t conversation, int64_t leaf, struct store_message **out, size_t *n, struct err *e) {
    struct store_read c = {.sql = &s->sql, .id = conversation, .leaf = leaf};
    int rc = store_queue_call(s->queue, store_read_branch, &c, e);
    *out = c.message;
    *n = c.n;
    return rc;
}

int store_siblings(struct store *s, int64_t message, int64_t **ids, size_t *n, struct err *e) {
    struct store_read c = {.sql = &s->sql, .id = message};
    int rc = store_queue_call(s->queue, store_read_siblings, &c, e);
    *ids = c.ids;
    *n = c.n;
    return rc;
}

static struct write *new_write(struct store *s, int (*run)(struct store_job *j, struct err *e)) {
    struct write *w = calloc(1, sizeof *w);
    if (w) *w = (struct write){.job = {.run = run, .drop = drop_write, .is_write = true}, .s = s};
    return w;
}

/* A number below 0 that no conversation of this store has been called by; 0 on no memory. */
static int64_t new_name(struct store *s) {
    int64_t name = 0;
    pthread_mutex_lock(&s->lock);
    int64_t *more = realloc(s->given, (s->n_given + 1) * sizeof *more);
    if (more) {
        s->given = more;
        more[s->n_given++] = 0;
        name = -(int64_t)s->n_given;
    }
    pthread_mutex_unlock(&s->lock);
    return name;
}

store_ticket store_add_conversation(struct store *s, struct store_conversation *c) {
    struct write *w = new_write(s, write_new_conversation);
    if (!w) return 0;
    c->created = c->updated = (int64_t)time(NULL);
    c->id = new_name(s);
    if (!c->id || store_conversation_copy(&w->c, c, NULL)) {
        drop_write(&w->job);
        return 0;
    }
    return store_queue_add(s->queue, &w->job);
}

int64_t store_conversation_id(struct store *s, int64_t id) {
    if (id >= 0) return id;
    pthread_mutex_lock(&s->lock);
    int64_t given = (size_t)-id <= s->n_given ? s->given[-id - 1] : 0;
    pthread_mutex_unlock(&s->lock);
    return given;
}

store_ticket store_update_conversation(struct store *s, const struct store_conversation *c) {
    struct write *w = new_write(s, write_conversation);
    if (!w) return 0;
    if (store_conversation_copy(&w->c, c, NULL)) {
        drop_write(&w->job);
        return 0;
    }
    w->c.updated = (int64_t)time(NULL);
    return store_queue_add(s->queue, &w->job);
}

store_ticket store_delete_conversation(struct store *s, int64_t id) {
    struct write *w = new_write(s, delete_conversation);
    if (!w) return 0;
    w->id = id;
    return store_queue_add(s->queue, &w->job);
}

static int64_t random_id(void) {
    uint64_t r = 0;
    while (!(r >> 11)) {
        if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r) r = 0;
    }
    return (int64_t)(r >> 11);
}

static store_ticket queue_message(struct store *s, int (*run)(struct store_job *j, struct err *e), const struct store_message *m,
                                  int64_t replaces) {
    struct write *w = new_write(s, run);
    if (!w) return 0;
    if (store_message_copy(&w->m, m, NULL)) {
        drop_write(&w->job);
        return 0;
    }
    w->job.replaces = replaces;
    return store_queue_add(s->queue, &w->job);
}

store_ticket store_add_message(struct store *s, struct store_message *m) {
    if (!m->id) m->id = random_id();
    if (!m->created) m->created = (int64_t)time(NULL);
    return queue_message(s, write_new_message, m, 0);
}

/* Where the disk is slow, only the newest of a streaming reply's versions waits. */
store_ticket store_update_message(struct store *s, const struct store_message *m) { return queue_message(s, write_message, m, m->id); }

store_ticket store_delete_message(struct store *s, int64_t conversation, int64_t id) {
    struct write *w = new_write(s, delete_message);
    if (!w) return 0;
    w->conversation = conversation;
    w->id = id;
    return store_queue_add(s->queue, &w->job);
}

store_ticket store_run(struct store *s, void (*fn)(void *arg), void *arg) {
    struct write *w = new_write(s, run_function);
    if (!w) return 0;
    w->job.is_write = false;
    w->fn = fn;
    w->arg = arg;
    return store_queue_add(s->queue, &w->job);
}

void store_watch(struct store *s, int64_t conversation, int64_t head) {
    pthread_mutex_lock(&s->lock);
    struct watched *w = find_watched(s, conversation);
    if (!w) {
        struct watched *more = realloc(s->watched, (s->n_watched + 1) * sizeof *more);
        if (more) {
            s->watched = more;
            w = &more[s->n_watched++];
        }
    }
    if (w) *w = (struct watched){.conversation = conversation, .head = head};
    pthread_mutex_unlock(&s->lock);
}

bool store_diverged(struct store *s, int64_t conversation) {
    pthread_mutex_lock(&s->lock);
    struct watched *w = find_watched(s, conversation);
    bool moved = w && w->moved;
    if (w) w->moved = false;
    pthread_mutex_unlock(&s->lock);
    return moved;
}

int store_wait(struct store *s, store_ticket t, struct err *e) { return store_queue_wait(s->queue, t, e); }

bool store_is_done(struct store *s, store_ticket t) { return store_queue_is_done(s->queue, t); }

void store_on_commit(struct store *s, void (*fn)(void *ctx, store_ticket t, const struct err *failed), void *ctx) {
    store_queue_on_done(s->queue, fn, ctx);
}

bool store_failed(struct store *s, struct err *why) { return store_queue_failed(s->queue, why); }
