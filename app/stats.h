/* stats: what the engine measured, in words: /stats in a chat, -v in a script. Pure formatting. */
#ifndef APP_STATS_H
#define APP_STATS_H

#include <stdint.h>

#include "config/buf.h"
#include "model/engine.h"

void stats_add(struct buf *out, const struct session_stats *st); /* lines of a name and its figures */
void stats_add_bytes(struct buf *out, uint64_t bytes);           /* "3.8 MiB" */

#endif
