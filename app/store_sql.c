/* store_sql: see store_sql.h. */
#include "app/store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "app/store.h"
#include "config/buf.h"

#define APPLICATION_ID 0x6b766368 /* "kvch", in the file's header */
#define BUSY_MS 5000              /* how long another program may hold the file before a write fails */

/* What SQLite cannot create for want of space beside a file it takes for read-only. */
static bool is_full(const struct store_sql *s) {
    struct statvfs fs;
    if (s->db && sqlite3_system_errno(s->db) == ENOSPC) return true;
    return !access(s->path, W_OK) && !statvfs(s->path, &fs) && !fs.f_bavail;
}

static int fail_full(const struct store_sql *s, struct err *e) { return err_set(e, ERR_FAILED, "%s cannot be written: no space left on device", s->path); }

static int fail_read_only(const struct store_sql *s, struct err *e) {
    return is_full(s) ? fail_full(s, e) : err_set(e, ERR_FAILED, "%s cannot be written: it is read-only", s->path);
}

int store_sql_fail(struct store_sql *s, struct err *e) {
    int code = sqlite3_extended_errcode(s->db);
    switch (code & 0xff) {
    case SQLITE_NOMEM: return err_set(e, ERR_MEMORY, "no memory to use %s", s->path);
    case SQLITE_NOTADB: return err_set(e, ERR_FILE, "%s is not a conversation store: expected an SQLite database", s->path);
    case SQLITE_CORRUPT: return err_set(e, ERR_FILE, "%s is damaged: %s", s->path, sqlite3_errmsg(s->db));
    case SQLITE_BUSY: return err_set(e, ERR_FAILED, "another program keeps %s locked", s->path);
    case SQLITE_FULL: return fail_full(s, e);
    case SQLITE_READONLY: return fail_read_only(s, e);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (is_full(s)) return fail_full(s, e);
        break;
    case SQLITE_CONSTRAINT:
        if (code == SQLITE_CONSTRAINT_FOREIGNKEY) {
            return err_set(e, ERR_FAILED, "the conversation, or the message before this one, is no longer in %s", s->path);
        }
    }
    return err_set(e, ERR_FAILED, "%s cannot be used: %s", s->path, sqlite3_errmsg(s->db));
}

/* Binds by letters: i an int64_t, 0 i that is NULL when 0, t a text (NULL: ""), b bytes and their number (NULL: NULL), s the same as text. */
static int bind_all(sqlite3_stmt *st, const char *types, va_list ap) {
    int rc = SQLITE_OK;
    for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
        if (*types == 'i' || *types == '0') {
            int64_t v = va_arg(ap, int64_t);
            rc = *types == '0' && !v ? sqlite3_bind_null(st, i) : sqlite3_bind_int64(st, i, v);
        } else if (*types == 't') {
            const char *v = va_arg(ap, const char *);
            rc = sqlite3_bind_text(st, i, v ? v : "", -1, SQLITE_STATIC);
        } else {
            const void *v = va_arg(ap, const void *);
            size_t n = va_arg(ap, size_t);
            if (*types == 'b') rc = v ? sqlite3_bind_blob64(st, i, v, n, SQLITE_STATIC) : sqlite3_bind_null(st, i);
            else rc = sqlite3_bind_text64(st, i, v ? v : "", n, SQLITE_STATIC, SQLITE_UTF8);
        }
    }
    return rc;
}

int store_sql_prepare(struct store_sql *s, sqlite3_stmt **st, struct err *e, const char *sql, const char *types, ...) {
    *st = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, st, NULL) != SQLITE_OK) return store_sql_fail(s, e);
    va_list ap;
    va_start(ap, types);
    int rc = bind_all(*st, types, ap);
    va_end(ap);
    if (rc == SQLITE_OK) return 0;
    rc = store_sql_fail(s, e);
    sqlite3_finalize(*st);
    *st = NULL;
    return rc;
}

/* Runs a statement to its end. *value (may be NULL) is the first column of its first row, else as it was. */
int store_sql_run(struct store_sql *s, struct err *e, int64_t *value, const char *sql, const char *types, ...) {
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) return store_sql_fail(s, e);
    va_list ap;
    va_start(ap, types);
    int rc = bind_all(st, types, ap);
    va_end(ap);
    bool first = true;
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW && first && value) *value = sqlite3_column_int64(st, 0);
        if (rc == SQLITE_ROW) first = false;
    }
    int code = rc == SQLITE_DONE ? 0 : store_sql_fail(s, e);
    sqlite3_finalize(st);
    return code;
}

int store_sql_begin(struct store_sql *s, struct err *e) { return store_sql_run(s, e, NULL, "BEGIN IMMEDIATE", ""); }

/* Commits where rc is 0, rolls back where it is not or where the commit fails. */
int store_sql_end(struct store_sql *s, int rc, struct err *e) {
    if (!rc) rc = store_sql_run(s, e, NULL, "COMMIT", "");
    if (rc && !sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* ---- the file ---------------------------------------------------------------------------- */

/* Row i turns a store of version i into one of version i + 1. */
static const char *const migrations[STORE_VERSION] = {
    "CREATE TABLE conversation("
    " id INTEGER PRIMARY KEY AUTOINCREMENT," /* never given twice: snapshots are named by it */
    " title TEXT NOT NULL DEFAULT '', persona TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '', settings TEXT NOT NULL DEFAULT '',"
    " created INTEGER NOT NULL DEFAULT 0,"   /* > 0 in every row that holds a conversation */
    " updated INTEGER NOT NULL DEFAULT 0,"
    " head INTEGER);"                        /* message.id, NULL: none */
    "CREATE TABLE message("
    " seq INTEGER PRIMARY KEY,"              /* order of writing */
    " id INTEGER NOT NULL UNIQUE,"
    " conversation INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,"
    " parent INTEGER REFERENCES message(id) ON DELETE CASCADE,"
    " role TEXT NOT NULL, text TEXT NOT NULL,"
    " ids BLOB,"                             /* int32, little-endian */
    " partial INTEGER NOT NULL, pinned INTEGER NOT NULL, finish_reason TEXT NOT NULL, fingerprint INTEGER NOT NULL,"
    " settings TEXT NOT NULL, timings TEXT NOT NULL, created INTEGER NOT NULL);"
    "CREATE INDEX message_parent ON message(parent);"
    "CREATE INDEX message_conversation ON message(conversation);"
    "CREATE INDEX conversation_title ON conversation(title);",
};

/* The version of the file, which must be ours. 0: empty, to be filled. */
static int check_version(struct store_sql *s, int64_t *version, struct err *e) {
    int64_t id = 0, tables = 0;
    *version = 0;
    /* In this order: where another program makes the tables meanwhile, its mark is there as soon as they are. */
    int rc = store_sql_run(s, e, &tables, "SELECT count(*) FROM sqlite_master", "");
    if (!rc) rc = store_sql_run(s, e, &id, "PRAGMA application_id", "");
    if (!rc) rc = store_sql_run(s, e, version, "PRAGMA user_version", "");
    if (rc) return rc;
    if (tables && id != APPLICATION_ID) return err_set(e, ERR_FILE, "%s is a database of another program, not a conversation store", s->path);
    if (*version > STORE_VERSION || *version < 0) {
        return err_set(e, ERR_FILE, "%s is a store of version %lld, newer than the %d that this program knows", s->path, (long long)*version,
                       STORE_VERSION);
    }
    return 0;
}

static int migrate(struct store_sql *s, struct err *e) {
    int64_t version;
    int rc = check_version(s, &version, e);
    if (rc || version == STORE_VERSION) return rc;
    rc = store_sql_begin(s, e);
    if (rc) return rc;
    rc = check_version(s, &version, e); /* another program may have done it while this one waited */
    for (; !rc && version < STORE_VERSION; version++) {
        if (sqlite3_exec(s->db, migrations[version], NULL, NULL, NULL) != SQLITE_OK) rc = store_sql_fail(s, e);
    }
    struct buf sql = {0};
    buf_printf(&sql, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID, STORE_VERSION);
    if (!rc && sqlite3_exec(s->db, buf_text(&sql), NULL, NULL, NULL) != SQLITE_OK) rc = store_sql_fail(s, e);
    buf_free(&sql);
    return store_sql_end(s, rc, e);
}

static int connect_file(struct store_sql *s, const char *name, int flags, struct err *e) {
    int64_t version;
    int rc = sqlite3_open_v2(name, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
    if (!s->db) return err_set(e, ERR_MEMORY, "no memory to open %s", s->path);
    if (rc != SQLITE_OK) rc = store_sql_fail(s, e);
    else {
        sqlite3_extended_result_codes(s->db, 1);
        sqlite3_busy_timeout(s->db, BUSY_MS);
        rc = store_sql_run(s, e, NULL, "PRAGMA foreign_keys = ON", "");
        if (!rc) rc = check_version(s, &version, e);
    }
    if (rc) {
        sqlite3_close(s->db);
        s->db = NULL;
    }
    return rc;
}

/* path as an SQLite URI that promises that nobody writes the file: the last way to read one from a folder that cannot be written. */
static int connect_immutable(struct store_sql *s, struct err *e) {
    struct buf uri = {0};
    buf_add_text(&uri, "file:");
    for (const char *p = s->path; *p; p++) {
        if (strchr("%?#", *p)) buf_printf(&uri, "%%%02X", (unsigned char)*p);
        else buf_add_char(&uri, *p);
    }
    buf_add_text(&uri, "?immutable=1");
    int rc = uri.failed ? err_set(e, ERR_MEMORY, "no memory to open %s", s->path) : connect_file(s, buf_text(&uri), SQLITE_OPEN_READONLY, e);
    buf_free(&uri);
    return rc;
}

/* The folders of path, and the file, empty, where they are missing. A file that is there is made private. */
static int create_file(struct store_sql *s, struct err *e) {
    for (char *slash = strchr(s->path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int rc = mkdir(s->path, 0700) && errno != EEXIST ? errno : 0;
        if (rc) err_set(e, ERR_FAILED, "cannot create the folder %s: %s", s->path, strerror(rc));
        *slash = '/';
        if (rc) return ERR_FAILED;
    }
    int fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    else if (errno != EEXIST) return err_set(e, ERR_FAILED, "cannot create %s: %s", s->path, strerror(errno));
    else chmod(s->path, 0600);
    return 0;
}

/* Programs open and close a store one after the other: what SQLite does then, making and removing the files beside it and turning it to
 * WAL, fails at once where another does it too, without the patience that locks have. Gives the folder's descriptor, or -1. */
static int lock_folder(const struct store_sql *s) {
    const char *slash = strrchr(s->path, '/');
    char *folder = slash ? strndup(s->path, (size_t)(slash - s->path) + 1) : NULL;
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    if (fd >= 0) flock(fd, LOCK_EX); /* where that is not to be had, as on some network disks, it goes without */
    return fd;
}

static void unlock_folder(int fd) {
    if (fd >= 0) close(fd);
}

static int open_writable(struct store_sql *s, struct err *e) {
    int rc = create_file(s, e);
    int lock = rc ? -1 : lock_folder(s);
    if (!rc) rc = connect_file(s, s->path, SQLITE_OPEN_READWRITE, e);
    if (!rc && sqlite3_db_readonly(s->db, "main") == 1) rc = fail_read_only(s, e);
    if (!rc) rc = store_sql_run(s, e, NULL, "PRAGMA journal_mode = WAL", "");
    if (!rc) rc = store_sql_run(s, e, NULL, "PRAGMA synchronous = FULL", "");
    if (!rc) rc = migrate(s, e);
    if (rc) {
        sqlite3_close(s->db);
        s->db = NULL;
    }
    unlock_folder(lock);
    return rc;
}

static int open_readable(struct store_sql *s, struct err *e) {
    struct err first = {0};
    int rc = connect_file(s, s->path, SQLITE_OPEN_READONLY, &first);
    if (rc == ERR_FAILED) rc = connect_immutable(s, &first);
    int64_t version = 0;
    if (!rc) rc = check_version(s, &version, &first);
    if (!rc && version < STORE_VERSION) {
        rc = err_set(&first, ERR_FILE, "%s is a store of version %lld and must be opened for writing once", s->path, (long long)version);
    }
    if (rc && e) *e = first;
    return rc;
}

int store_sql_open(struct store_sql *s, bool read_only, struct err *not_writable, struct err *e) {
    *not_writable = (struct err){0};
    if (read_only && access(s->path, F_OK)) {
        int rc = connect_file(s, ":memory:", SQLITE_OPEN_READWRITE, e);
        return rc ? rc : migrate(s, e);
    }
    if (read_only) return open_readable(s, e);
    struct err why = {0};
    int rc = open_writable(s, &why);
    if (rc == ERR_FAILED && !access(s->path, R_OK) && !open_readable(s, NULL)) {
        *not_writable = why;
        return 0;
    }
    if (rc && e) *e = why;
    return rc;
}

void store_sql_close(struct store_sql *s) {
    int lock = s->db ? lock_folder(s) : -1;
    sqlite3_close(s->db);
    s->db = NULL;
    unlock_folder(lock);
}
