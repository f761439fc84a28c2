/* residency: see residency.h. */
#include "model/residency.h"

#include <sys/mman.h>
#include <unistd.h>

#define LOOK_BYTES ((size_t)1 << 30)
#define LOOK_US 1e6

void residency_init(struct residency *r, const void *map, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), skew = (uintptr_t)map % page, chunk;
    map = (const uint8_t *)map - skew; /* mincore asks about whole pages */
    bytes += bytes ? skew : 0;
    chunk = bytes / RESIDENCY_CHUNKS / page * page + page;
    *r = (struct residency){.map = map, .bytes = bytes, .chunk_bytes = chunk};
}

static size_t chunks(const struct residency *r) {
    return (r->bytes + r->chunk_bytes - 1) / r->chunk_bytes;
}

static void look(struct residency *r, size_t chunk) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), from = chunk * r->chunk_bytes, found = 0;
    size_t end = r->bytes - from < r->chunk_bytes ? r->bytes : from + r->chunk_bytes;
    unsigned char in[4096];
    for (size_t at = from; at < end;) {
        size_t n = end - at < sizeof in * page ? end - at : sizeof in * page;
        if (mincore((void *)(uintptr_t)(r->map + at), n, in)) break;
        for (size_t i = 0; i * page < n; i++)
            if (in[i] & 1) found += n - i * page < page ? n - i * page : page;
        at += n;
    }
    r->resident[chunk] = found;
}

uint64_t residency_get(struct residency *r, double now_us) {
    if (!r->bytes) return 0;
    size_t n = chunks(r), todo = r->looked_us == 0 ? n : LOOK_BYTES / r->chunk_bytes + 1;
    if (r->looked_us == 0 || now_us - r->looked_us >= LOOK_US) {
        for (size_t i = 0; i < (todo < n ? todo : n); i++) {
            look(r, r->next);
            r->next = (r->next + 1) % n;
        }
        r->looked_us = now_us;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += r->resident[i];
    return sum;
}
