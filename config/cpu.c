/* cpu: see cpu.h. */
#include "config/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const isa_names[] = {[CPU_PORTABLE] = "portable", [CPU_AVX2] = "avx2", [CPU_AVX512] = "avx512"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static enum cpu_isa found_isa, best; /* best: before KVETCH_ISA */
static bool found_bf16;
static char model_name[96];

static enum cpu_isa best_isa(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512vnni");
    found_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    if (avx512) return CPU_AVX512;
    if (avx2) return CPU_AVX2;
#endif
    return CPU_PORTABLE;
}

/* The value of the first line "key : value" of /proc/cpuinfo that has this key. */
static bool cpuinfo_value(const char *key, char *out, size_t size) {
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f) return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key))) continue;
        char *value = strchr(line, ':');
        if (!value) continue;
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(out, size, "%s", value);
        found = *out != 0;
    }
    fclose(f);
    return found;
}

#define N_ISA (sizeof isa_names / sizeof *isa_names)

/* What KVETCH_ISA asks for: an enum cpu_isa, or N_ISA where it names none; best where it is absent or empty. */
static size_t wanted_isa(void) {
    const char *wanted = getenv("KVETCH_ISA");
    size_t i = 0;
    if (!wanted || !*wanted) return best;
    while (i < N_ISA && strcasecmp(wanted, isa_names[i])) i++;
    return i;
}

static void find(void) {
    best = best_isa();
    size_t wanted = wanted_isa();
    found_isa = wanted < best ? (enum cpu_isa)wanted : best;
    found_bf16 = found_bf16 && found_isa == CPU_AVX512;
    if (!cpuinfo_value("model name", model_name, sizeof model_name))
        snprintf(model_name, sizeof model_name, "unknown processor");
}

enum cpu_isa cpu_isa(void) {
    pthread_once(&once, find);
    return found_isa;
}

int cpu_check_environment(struct err *e) {
    pthread_once(&once, find);
    size_t wanted = wanted_isa();
    if (wanted == N_ISA) {
        char names[64] = "";
        for (size_t i = 0, n = 0; i < N_ISA; i++) n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", isa_names[i]);
        return err_set(e, ERR_USAGE, "KVETCH_ISA=%s: there is no such instruction set; allowed: %s", getenv("KVETCH_ISA"), names);
    }
    if (wanted > best)
        return err_set(e, ERR_USAGE, "KVETCH_ISA=%s: this processor has no more than %s", getenv("KVETCH_ISA"), isa_names[best]);
    return 0;
}

bool cpu_has_avx512_bf16(void) {
    pthread_once(&once, find);
    return found_bf16;
}

const char *cpu_isa_name(enum cpu_isa isa) { return isa_names[isa]; }

const char *cpu_model_name(void) {
    pthread_once(&once, find);
    return model_name;
}

/* Lowers *count to a cgroup's share of processor time; the file holds "QUOTA PERIOD", QUOTA being "max" without one. */
static void apply_quota(const char *folder, int *count) {
    char path[640];
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *f = fopen(path, "re");
    if (!f) return;
    long long quota, period;
    if (fscanf(f, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
        long long share = (quota + period - 1) / period;
        if (share < *count) *count = share > 1 ? (int)share : 1;
    }
    fclose(f);
}

/* cgroup v2: the quota of the process's own group and of every group above it. */
static void apply_quotas(int *count) {
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return;
    char line[512], folder[600];
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::", 3)) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(folder, sizeof folder, "/sys/fs/cgroup%s", line + 3);
        size_t root = strlen("/sys/fs/cgroup");
        for (;;) {
            apply_quota(folder, count);
            char *slash = strrchr(folder + root, '/');
            if (!slash) break;
            *slash = 0;
        }
    }
    fclose(f);
}

int cpu_count(void) {
    int count = 1;
    for (size_t cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set) break;
        int failed = sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), set);
        if (!failed) count = CPU_COUNT_S(CPU_ALLOC_SIZE(cpus), set);
        CPU_FREE(set);
        if (!failed) break; /* else: more processors than bits; try a larger set */
    }
    if (count < 1) count = 1;
    apply_quotas(&count);
    return count;
}
