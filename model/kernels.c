/* kernels: picks the table for this processor; see kernels.h. */
#include "model/kernels.h"

#include "config/cpu.h"

const struct kernels *kernels_get(void) {
#if defined(__x86_64__)
    if (cpu_isa() == CPU_AVX512) return kernels_avx512();
    if (cpu_isa() == CPU_AVX2) return kernels_avx2();
#endif
    return kernels_portable();
}

bool kernels_can_multiply(const struct num_type *t) { return kernels_portable()->one[t->id] != NULL; }

enum act_format kernels_act_format(const struct num_type *t) {
    return t->block == 1 ? ACT_F32 : t->block == 32 ? ACT_32 : ACT_256;
}

size_t kernels_act_bytes(enum act_format f, size_t n) {
    switch (f) {
    case ACT_32: return n / 32 * sizeof(struct act32);
    case ACT_256: return n / 256 * sizeof(struct act256);
    default: return n * sizeof(float);
    }
}
