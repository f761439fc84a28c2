/* guide: see guide.h. */
#include "model/guide.h"

#include "config/hash.h"

extern const uint8_t guide_start[], guide_end[]; /* from model/guide.sh */
extern const uint64_t guide_sum;

int guide_bytes(const uint8_t **bytes, size_t *n, struct err *e) {
    *bytes = guide_start;
    *n = (size_t)((uintptr_t)guide_end - (uintptr_t)guide_start);
    if (!*n) return err_set(e, ERR_FILE, "this program was built without the guide");
    uint64_t sum = hash_bytes(guide_start, *n, 0);
    if (sum == guide_sum) return 0;
    return err_set(e, ERR_FILE, "the built-in guide is damaged: its checksum is %016llx, expected %016llx; build kvetch again, or use -m FILE",
                   (unsigned long long)sum, (unsigned long long)guide_sum);
}
