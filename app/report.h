/* report: the JSON that scripts print, --json objects and --jsonl events, and what chats say alike. Main thread.
 *
 * Each function returns a value to print, NULL (which json_print refuses) where there is no memory. The fields are a promise to the programs that read
 * them: a change in meaning raises REPORT_VERSION. */
#ifndef APP_REPORT_H
#define APP_REPORT_H

#include "app/app.h"
#include "app/json.h"

#define REPORT_VERSION 1

/* What a reply is reported with. Borrowed. */
struct report_turn {
    struct app *app;
    int64_t id;                                           /* of the saved conversation; 0: none */
    const struct chat_message *message; size_t n_messages; /* without the reply */
    const struct reply *reply;
    size_t n_read;                                        /* tokens of the prompt that were computed: not cached, and still in the context */
};
struct json *report_turn(const struct report_turn *t, const char *event); /* event: "turn", or NULL for --json */

struct json *report_event(const char *event);             /* {"event": ...}, for more fields */
struct json *report_start(struct app *a, int64_t id);
struct json *report_token(const struct worker_event *ev);
struct json *report_cache(const struct kv_event *ev);      /* grow, shrink, evict, refused, mode, forget */
struct json *report_error(const struct err *e);
struct json *report_conversation(const struct store_conversation *c); /* a row of `list` */
/* In words, for chats and scripts: what left the context. turns 0: tokens alone; under shift they are then the turn's in progress. */
void report_left(size_t turns, size_t tokens, enum kv_evict mode, struct buf *out);
#define REPORT_TIME_BYTES 32
const char *report_time(int64_t unix_seconds, char out[REPORT_TIME_BYTES]); /* as JSON and pipes have it: ISO 8601, UTC. Returns out. */
struct json *report_sampling(const struct sample_params *p); /* as the store keeps it with a reply */

#endif
