/* checksum: prints the XXH3 of a file as 16 hexadecimal digits: what stands in FILE.xxh. A program of the build. */
#include <stdio.h>

#include "config/buf.h"
#include "config/hash.h"
#include "config/paths.h"

#define MAX_BYTES ((size_t)1 << 30)

int main(int argc, char **argv) {
    struct buf b = {0};
    struct err e = {0};
    if (argc != 2 || paths_read(argv[1], MAX_BYTES, &b, &e)) {
        fprintf(stderr, "checksum: %s\n", argc == 2 ? e.text : "one file is needed");
        return 1;
    }
    printf("%016llx\n", (unsigned long long)hash_bytes(b.data, b.len, 0));
    buf_free(&b);
    return 0;
}
