/* snapshots: the folder of cache snapshots, one file a conversation. All of it can be made again from the store. Any thread. */
#ifndef APP_SNAPSHOTS_H
#define APP_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/buf.h"
#include "config/err.h"

#define SNAPSHOTS_MAX_BYTES (UINT64_C(8) << 30) /* of the folder, and never more than a quarter of what the disk could give it */

/* Appends "folder/ID.kv". ERR_MEMORY. */
int snapshots_path(const char *folder, int64_t id, struct buf *out);
/* Deletes the oldest snapshots until the folder holds no more than max_bytes (0: SNAPSHOTS_MAX_BYTES), never that of conversation keep. Returns
 * how many were deleted. What a crashed save left goes too; files of other names are not touched. */
unsigned snapshots_trim(const char *folder, uint64_t max_bytes, int64_t keep);
void snapshots_remove(const char *folder, int64_t id);

#endif
