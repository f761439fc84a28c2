/* blas: see blas.h. */
#include "model/blas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/cpu.h"
#include "model/engine.h"

/* OpenBLAS's own, which no header shows: a buffer for one call that runs. What is given back stays mapped, and serves the
 * next call; a call that finds none asks the system again and again, for ever. */
void *blas_memory_alloc(int use);
void blas_memory_free(void *buffer);

enum { MAX_CALLS = 128 };
#define BUFFER_BYTES (((size_t)128 << 20) + ((size_t)1 << 20)) /* at most; addresses mostly, since a product touches few of them */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_size_t n_reserved; /* calls at once that find their buffers there */

static bool may_map(size_t bytes) {
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return map != MAP_FAILED && !munmap(map, bytes);
}

bool blas_reserve(size_t n_calls) {
    if (n_calls <= atomic_load(&n_reserved)) return true;
    if (n_calls > MAX_CALLS) return false;
    pthread_mutex_lock(&lock);
    size_t had = atomic_load(&n_reserved);
    bool ok = n_calls <= had || may_map((n_calls - had) * BUFFER_BYTES);
    if (ok && n_calls > had) {
        void *buffer[MAX_CALLS];
        openblas_set_num_threads(1);
        for (size_t i = 0; i < n_calls; i++) buffer[i] = blas_memory_alloc(0);
        for (size_t i = 0; i < n_calls; i++) blas_memory_free(buffer[i]);
        atomic_store(&n_reserved, n_calls);
    }
    pthread_mutex_unlock(&lock);
    return ok;
}

void blas_sgemm(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add, float *c,
                size_t ldc) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)k, 1, a, (blasint)lda, b,
                (blasint)ldb, add ? 1 : 0, c, (blasint)ldc);
}

void blas_sgemm_nn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add, float *c,
                   size_t ldc) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1, a, (blasint)lda, b,
                (blasint)ldb, add ? 1 : 0, c, (blasint)ldc);
}

void blas_sgemm_tn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, bool add, float *c,
                   size_t ldc) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1, a, (blasint)lda, b,
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

/* OpenBLAS reads its environment before main: by then it has started a thread for each processor, which the products here
 * have no use for and which never ends where its buffer is not to be had. So the variables are set, the program is executed
 * once more, and what stood there before is put back, for the programs that are started from this one. */
struct variable {
    const char *name, *kept; /* kept: holds what the user had, while the program is executed again */
};
static const struct variable core_variable = {"OPENBLAS_CORETYPE", "KVETCH_KEPT_CORETYPE"};
static const struct variable threads_variable = {"OPENBLAS_NUM_THREADS", "KVETCH_KEPT_NUM_THREADS"};

/* Whether the variable was set by variable_set; it is again as it was then. */
static bool variable_restore(const struct variable *v) {
    const char *kept = getenv(v->kept);
    if (!kept) return false;
    if (*kept)
        setenv(v->name, kept, 1);
    else
        unsetenv(v->name);
    unsetenv(v->kept);
    return true;
}

static bool variable_set(const struct variable *v, const char *value) {
    const char *old = getenv(v->name);
    return !setenv(v->kept, old ? old : "", 1) && !setenv(v->name, value, 1);
}

void engine_prepare_process(char **argv) {
    bool again = variable_restore(&threads_variable);
    variable_restore(&core_variable);
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (again || n <= 0) return;
    path[n] = 0;
    const char *core = getenv(core_variable.name) ? NULL : blas_wanted_core();
    if (variable_set(&threads_variable, "1") && (!core || variable_set(&core_variable, core)))
        execv(path, argv); /* comes back only where it failed: then the slower kernels serve */
    variable_restore(&threads_variable);
    variable_restore(&core_variable);
}
