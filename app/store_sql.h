/* store_sql: the store's file: opening, creating and migrating it, and statements on it. For store.c alone, on its thread. */
#ifndef APP_STORE_SQL_H
#define APP_STORE_SQL_H

#include <stdbool.h>
#include <stdint.h>

#include "config/err.h"

struct sqlite3;
struct sqlite3_stmt;

struct store_sql {
    char *path;         /* absolute or not; written to and restored while folders are made */
    struct sqlite3 *db; /* NULL: not open */
};

/* Opens path, see store_open. not_writable: code 0, or why a store that was to be written can only be read. */
int store_sql_open(struct store_sql *s, bool read_only, struct err *not_writable, struct err *e);
void store_sql_close(struct store_sql *s);

/* The connection's last error as one sentence. */
int store_sql_fail(struct store_sql *s, struct err *e);

/* Values are bound by letters: i an int64_t, 0 an int64_t that is NULL when 0, t a text (NULL: ""), s a text and its size_t length, b
 * bytes and their size_t number (NULL: NULL). They must live until the statement is done. */
int store_sql_prepare(struct store_sql *s, struct sqlite3_stmt **st, struct err *e, const char *sql, const char *types, ...);
/* Runs a statement to its end. *value (may be NULL) is the first column of its first row, else as it was. */
int store_sql_run(struct store_sql *s, struct err *e, int64_t *value, const char *sql, const char *types, ...);

int store_sql_begin(struct store_sql *s, struct err *e);        /* a transaction that will write */
int store_sql_end(struct store_sql *s, int rc, struct err *e); /* commits where rc is 0; rolls back where it is not, or where the commit fails */

#endif
