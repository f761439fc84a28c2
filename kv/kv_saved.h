/* kv_saved: which blocks of the cache stand unchanged in which file.
 *
 * Every block has the number of the save before which it was last written (kv_touch). A block that was not written
 * since a file was given it need not be written to that file again, whichever sequence its cells belong to. A file is
 * known by its place on the disk, its size and the time of its last change: one that another program has changed or
 * replaced is unknown. Owner thread only. */
#ifndef KV_KV_SAVED_H
#define KV_KV_SAVED_H

#include <sys/stat.h>

#include "kv/kv_snapshot.h"

#define KV_SAVED_FILES 64u /* known at the same time; the one unused for longest is forgotten */

struct kv_saved_block {
    uint64_t stamp;              /* of the save that wrote it */
    struct kv_snapshot_block at; /* offset 0: not in the file */
};

struct kv_saved {
    struct kv_saved *next; /* the one used before this one */
    struct stat st;        /* as it was left */
    uint64_t header;       /* checksum of its header */
    uint64_t end, last;    /* end of its newest generation, and the checksum of that one's head */
    uint32_t number;       /* of that generation */
    uint32_t n;
    struct kv_saved_block block[]; /* [n] by number of the cache's block */
};

/* A record for that many blocks, nothing known. NULL: no memory. */
struct kv_saved *kv_saved_new(uint32_t n_blocks);
/* The file with that stat, when it is as the cache left it; NULL: unknown. Borrowed until the next call. */
struct kv_saved *kv_saved_find(struct kv *c, const struct stat *st);
/* Takes the record of a file in place of what was known of it. */
void kv_saved_put(struct kv *c, struct kv_saved *s);
void kv_saved_forget(struct kv *c, const struct stat *st);
void kv_saved_free(struct kv *c);
/* Whether all cells of the mask stand in the file as they are in the cache's block. */
bool kv_saved_holds(const struct kv *c, const struct kv_saved *s, uint32_t block, const uint64_t *mask);

#endif
