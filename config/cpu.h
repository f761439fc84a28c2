/* cpu: what this machine's processor can do, found once. Any thread. */
#ifndef CONFIG_CPU_H
#define CONFIG_CPU_H

#include <stdbool.h>

#include "config/err.h"

/* Instruction sets we have kernels for, each including what stands before it on the same architecture. */
enum cpu_isa {
    CPU_PORTABLE, /* plain C */
    CPU_AVX2,     /* AVX2, FMA, F16C */
    CPU_AVX512,   /* AVX-512 F BW DQ VL and VNNI */
};

/* The best one that the processor and the operating system support. KVETCH_ISA=portable|avx2|avx512 in the
 * environment (in any case of letters) lowers it (never raises it), for tests and for finding a fault. */
enum cpu_isa cpu_isa(void);
/* ERR_USAGE: KVETCH_ISA names no instruction set, or one that this processor lacks. */
int cpu_check_environment(struct err *e);
bool cpu_has_avx512_bf16(void);       /* false also where KVETCH_ISA is below avx512 */
const char *cpu_isa_name(enum cpu_isa isa); /* "avx512" */

/* Processors this process may use (its affinity mask and cgroup quota), at least 1. */
int cpu_count(void);
/* "AMD EPYC ..."; "unknown processor" where the system does not tell. Static. */
const char *cpu_model_name(void);

#endif
