/* snapshots: see snapshots.h. */
#include "app/snapshots.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "config/paths.h"

struct snapshot {
    int64_t id;
    uint64_t bytes;
    struct timespec used; /* last written */
};

int snapshots_path(const char *folder, int64_t id, struct buf *out) {
    char name[32];
    snprintf(name, sizeof name, "%lld.kv", (long long)id);
    return paths_join(folder, name, out);
}

void snapshots_remove(const char *folder, int64_t id) {
    struct buf path = {0};
    if (!snapshots_path(folder, id, &path)) unlink(buf_text(&path));
    buf_free(&path);
}

/* The conversation that "12.kv" belongs to; 0: another file. */
static int64_t read_name(const char *name) {
    char *end;
    long long id = strtoll(name, &end, 10);
    return name[0] >= '1' && name[0] <= '9' && !strcmp(end, ".kv") ? (int64_t)id : 0;
}

static int by_age(const void *a, const void *b) {
    const struct snapshot *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec) return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* What a save that was cut off by a crash left behind: "12.kv.tmp4711" (the program's number), untouched for an hour. */
static bool is_left_over(const char *name, const struct stat *st) {
    const char *digits = "0123456789", *end = name + strspn(name, digits);
    if (strncmp(end, ".kv.tmp", 7) || end[7 + strspn(end + 7, digits)]) return false;
    return time(NULL) - st->st_mtim.tv_sec > 3600;
}

/* All snapshots, oldest first; what is left over goes at once. NULL: none, or no memory. The caller frees. */
static struct snapshot *list_snapshots(DIR *d, size_t *n, uint64_t *total) {
    struct snapshot *list = NULL;
    size_t cap = 0;
    *n = 0;
    *total = 0;
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        struct stat st;
        int64_t id = read_name(entry->d_name);
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) continue;
        if (is_left_over(entry->d_name, &st)) unlinkat(dirfd(d), entry->d_name, 0);
        if (!id) continue;
        if (*n == cap) {
            struct snapshot *more = realloc(list, (cap ? 2 * cap : 32) * sizeof *more);
            if (!more) break;
            list = more;
            cap = cap ? 2 * cap : 32;
        }
        list[(*n)++] = (struct snapshot){.id = id, .bytes = (uint64_t)st.st_size, .used = st.st_mtim};
        *total += (uint64_t)st.st_size;
    }
    if (*n) qsort(list, *n, sizeof *list, by_age);
    return list;
}

unsigned snapshots_trim(const char *folder, uint64_t max_bytes, int64_t keep) {
    DIR *d = opendir(folder);
    if (!d) return 0;
    size_t n;
    uint64_t total;
    unsigned deleted = 0;
    struct statvfs fs;
    struct snapshot *list = list_snapshots(d, &n, &total);
    if (!max_bytes) {
        max_bytes = SNAPSHOTS_MAX_BYTES;
        if (!fstatvfs(dirfd(d), &fs)) {
            uint64_t quarter = ((uint64_t)fs.f_bavail * fs.f_frsize + total) / 4;
            if (quarter < max_bytes) max_bytes = quarter;
        }
    }
    for (size_t i = 0; i < n && total > max_bytes; i++) {
        if (list[i].id == keep) continue;
        snapshots_remove(folder, list[i].id);
        total -= list[i].bytes;
        deleted++;
    }
    free(list);
    closedir(d);
    return deleted;
}
