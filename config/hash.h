/* hash: XXH3 checksums, through xxHash. Any thread. */
#ifndef CONFIG_HASH_H
#define CONFIG_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *bytes, size_t n, uint64_t seed); /* XXH3, 64 bits */

#endif
