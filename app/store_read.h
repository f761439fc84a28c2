/* store_read: what is read from the store. For store.c alone, on its thread. */
#ifndef APP_STORE_READ_H
#define APP_STORE_READ_H

#include <stddef.h>
#include <stdint.h>

#include "app/store.h"
#include "app/store_sql.h"

extern const char *const store_role_names[]; /* as the file has them, by enum chat_role */

/* What is asked, and what was found: nothing of it after an error. The caller frees it. */
struct store_read {
    struct store_sql *sql;
    int64_t id;       /* of a conversation (0: the last one used), or of a message */
    int64_t leaf;     /* where a branch ends */
    const char *name; /* what a user typed for a conversation */
    struct store_conversation *conversation;
    struct store_message *message;
    int64_t *ids;
    size_t n;
};
/* arg is a struct store_read. See store_list, store_get and store_last, store_find, store_has_title, store_branch, store_siblings. */
int store_read_list(void *arg, struct err *e);
int store_read_one(void *arg, struct err *e);
int store_read_find(void *arg, struct err *e);
int store_read_title(void *arg, struct err *e); /* counts them alone */
int store_read_branch(void *arg, struct err *e);
int store_read_siblings(void *arg, struct err *e);

#endif
