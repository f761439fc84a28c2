/* kernels_avx512: the table for AVX-512 with VNNI. */
#include "model/kernels.h"

const struct kernels *kernels_avx512(void) { return kernels_portable(); }
