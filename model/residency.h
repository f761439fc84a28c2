/* residency: how much of a mapped file is in memory now, measured with mincore.
 *
 * A measurement of a large file is spread over calls, so that none takes long. Not shared between threads. */
#ifndef MODEL_RESIDENCY_H
#define MODEL_RESIDENCY_H

#include <stddef.h>
#include <stdint.h>

#define RESIDENCY_CHUNKS 64

struct residency {
    const uint8_t *map;
    size_t bytes;
    size_t chunk_bytes;                      /* the file in at most RESIDENCY_CHUNKS pieces of whole pages */
    size_t resident[RESIDENCY_CHUNKS], next; /* bytes in memory of each when last looked at; which one is next */
    double looked_us;                        /* when; 0: never */
};

void residency_init(struct residency *r, const void *map, size_t bytes);
/* Bytes in memory. Looks again where a second has passed since the last look (now_us: any clock that goes forward): at
 * everything the first time, later at up to 1 GiB, in turn. */
uint64_t residency_get(struct residency *r, double now_us);

#endif
