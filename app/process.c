/* process: see process.h. */
#include "app/process.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

uint64_t process_rss_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long size, resident;
    int n = f ? fscanf(f, "%llu %llu", &size, &resident) : 0;
    if (f) fclose(f);
    return n == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

double process_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}
