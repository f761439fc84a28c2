/* kv_budget: see kv_budget.h.
 *
 * Files: proc(5) status, meminfo and cgroup; for control groups the kernel's Documentation/admin-guide/cgroup-v2.rst
 * and cgroup-v1/memory.rst. What cannot be read does not limit. */
#include "kv/kv_budget.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MARGIN ((uint64_t)256 << 20) /* left for everybody else on the machine */
#define OWN ((uint64_t)16 << 20)     /* addresses left for the rest of the program: text, tokens, scratch */
#define PATH_ROOM 4096

/* Reads a small file into text; false where there is none. */
static bool read_text(const char *root, const char *folder, const char *name, char *text, size_t room) {
    char path[PATH_ROOM];
    int n = snprintf(path, sizeof path, "%s%s%s", root, folder, name);
    if (n < 0 || (size_t)n >= sizeof path) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, text, room - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* The number behind a key that starts a line, 0 where there is none. */
static uint64_t value_of(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) || (line[n] != ' ' && line[n] != ':' && line[n] != '\t')) continue;
        return strtoull(line + n + strspn(line + n, ": \t"), NULL, 10);
    }
    return 0;
}

/* Each takes the limit over where it leaves less. */
static void take(struct kv_room *r, uint64_t limit, uint64_t used, const char *name) {
    uint64_t left = limit > used ? limit - used : 0;
    if (left < r->bytes) *r = (struct kv_room){left, name};
}

static void take_process_limits(const struct kv_budget *b, struct kv_room *r) {
    char text[4096];
    struct rlimit data, as;
    if (getrlimit(RLIMIT_DATA, &data) || getrlimit(RLIMIT_AS, &as)) return;
    if (data.rlim_cur == RLIM_INFINITY && (as.rlim_cur == RLIM_INFINITY || b->reserved)) return;
    if (!read_text(b->root, "/proc/self", "/status", text, sizeof text)) return;
    if (data.rlim_cur != RLIM_INFINITY) take(r, data.rlim_cur, value_of(text, "VmData") * 1024, "RLIMIT_DATA");
    if (as.rlim_cur != RLIM_INFINITY && !b->reserved)
        take(r, as.rlim_cur, value_of(text, "VmSize") * 1024 + OWN, "RLIMIT_AS");
}

/* One control group. Page cache counts as used there but gives way, except for the weights. */
static void take_group(const struct kv_budget *b, const char *folder, bool v2, uint64_t pending, struct kv_room *r) {
    static const char *const limits[2][2] = {{"/memory.limit_in_bytes", NULL}, {"/memory.max", "/memory.high"}};
    char text[64], stat[8192];
    if (!read_text(b->root, folder, v2 ? "/memory.current" : "/memory.usage_in_bytes", text, sizeof text)) return;
    uint64_t used = strtoull(text, NULL, 10), files = 0;
    if (read_text(b->root, folder, "/memory.stat", stat, sizeof stat)) {
        const char *total = !v2 && strstr(stat, "total_inactive_file") ? "total_" : "";
        char key[32];
        snprintf(key, sizeof key, "%sactive_file", total);
        files += value_of(stat, key);
        snprintf(key, sizeof key, "%sinactive_file", total);
        files += value_of(stat, key);
    }
    files = files > b->weight_bytes ? files - b->weight_bytes : 0;
    used = (used > files ? used - files : 0) + pending;
    for (int i = 0; i < 2 && limits[v2][i]; i++)
        if (read_text(b->root, folder, limits[v2][i], text, sizeof text) && isdigit((unsigned char)text[0]))
            take(r, strtoull(text, NULL, 10), used, "cgroup");
}

/* The group and every ancestor of it, up to the root of the mount. */
static void take_groups(const struct kv_budget *b, const char *mount, const char *path, bool v2, uint64_t pending,
                        struct kv_room *r) {
    char folder[PATH_ROOM];
    int n = snprintf(folder, sizeof folder, "%s%s", mount, path);
    size_t root = strlen(mount);
    if (n < 0 || (size_t)n >= sizeof folder) return;
    for (;;) {
        take_group(b, folder, v2, pending, r);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < root) break;
        *slash = 0;
    }
}

static bool has_memory(const char *controllers) {
    for (const char *p = controllers; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, "memory", 6) && (p[6] == 0 || p[6] == ',')) return true;
    return false;
}

/* Lines of /proc/self/cgroup are "number:controllers:path"; version 2 is number 0 without controllers. */
static void take_cgroups(const struct kv_budget *b, uint64_t pending, struct kv_room *r) {
    char text[8192], *save = NULL;
    if (!read_text(b->root, "/proc/self", "/cgroup", text, sizeof text)) return;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *names++ = *path++ = 0;
        if (!strcmp(line, "0") && !*names) {
            take_groups(b, "/sys/fs/cgroup", path, true, pending, r);
            take_groups(b, "/sys/fs/cgroup/unified", path, true, pending, r);
        } else if (has_memory(names))
            take_groups(b, "/sys/fs/cgroup/memory", path, false, pending, r);
    }
}

static void take_machine(const struct kv_budget *b, uint64_t pending, struct kv_room *r) {
    char text[4096];
    if (!read_text(b->root, "/proc", "/meminfo", text, sizeof text) || !strstr(text, "MemAvailable:")) return;
    take(r, value_of(text, "MemAvailable") * 1024, b->weight_bytes + MARGIN + pending, "memory");
}

static void take_pages(const struct kv_budget *b, uint64_t pending, struct kv_room *r) {
    take_cgroups(b, pending, r);
    take_machine(b, pending, r);
}

struct kv_room kv_budget_pages(const struct kv_budget *b, uint64_t pending) {
    struct kv_room r = {UINT64_MAX, "memory"};
    take_pages(b, pending, &r);
    return r;
}

struct kv_room kv_budget_room(const struct kv_budget *b, uint64_t committed, uint64_t touched) {
    struct kv_room r = {UINT64_MAX, "memory"};
    if (b->budget_bytes) take(&r, b->budget_bytes, committed, "budget");
    take_process_limits(b, &r);
    take_pages(b, committed > touched ? committed - touched : 0, &r);
    return r;
}
