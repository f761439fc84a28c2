/* Helpers of the tests that save a cache: one worn sequence, its file, and comparing. */
#ifndef TESTS_SUPPORT_SNAPSHOT_H
#define TESTS_SUPPORT_SNAPSHOT_H

#include <stdbool.h>

#include "kv/kv_snapshot.h"
#include "tests/support_kv.h"

/* Fingerprints 11 and 22; the caller's own state is "random state". */
extern const struct kv_snapshot_info kvs_info;

/* A cache whose sequence 0 has turns, holes, offsets and scattered cells. */
struct kv *kvs_worn(const char *type);
/* Saves or fails the test; returns the bytes written. */
uint64_t kvs_save(struct kv *c, int seq, const char *to);
/* Loads, and checks that the caller's state comes exactly with success. */
int kvs_load(struct kv *c, int seq, const char *from, struct err *e);
/* Whether both hold the same conversation with the same bytes, wherever their cells lie. */
bool kvs_same(struct kv *a, int sa, struct kv *b, int sb);

/* All of a file; the caller frees. */
uint8_t *kvs_read(const char *from, size_t *n);
void kvs_write(const char *to, const uint8_t *data, size_t n);

/* Gives a file of one generation, whose index has so many bytes, checksums that are right for what it says. */
void kvs_seal(uint8_t *file, size_t n, size_t index_bytes);

/* n in `make test`, all (or n_soak) in `make soak`. */
size_t kvs_count(size_t n, size_t n_soak);

#endif
