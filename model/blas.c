/* blas: see blas.h. */
#include "model/blas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/cpu.h"
#include "model/engine.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void single_thread(void) { openblas_set_num_threads(1); }

void blas_open(void) { pthread_once(&once, single_thread); }

void blas_sgemm(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add, float *c,
                size_t ldc) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)k, 1, a, (blasint)lda, b,
                (blasint)ldb, add ? 1 : 0, c, (blasint)ldc);
}

/* OpenBLAS takes a processor that is newer than itself for one without AVX-512 (0.3.21: Zen 5 for Haswell, at half the
 * speed). The AVX-512 kernels it has need no more than what CPU_AVX512 stands for. */
const char *blas_wanted_core(void) {
    static const char *const without[] = {"Haswell", "Zen", "Excavator", "Sandybridge", "Nehalem", "Prescott", "Core2"};
    if (cpu_isa() != CPU_AVX512) return NULL;
    const char *core = openblas_get_corename();
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (!strcasecmp(core, without[i])) return "SkylakeX";
    return NULL;
}

void engine_prepare_process(char **argv) {
    static const char variable[] = "OPENBLAS_CORETYPE";
    const char *core = blas_wanted_core();
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (!core || getenv(variable) || n <= 0) return;
    path[n] = 0;
    if (setenv(variable, core, 1)) return;
    execv(path, argv); /* comes back only where it failed: then the slower kernels serve */
}
