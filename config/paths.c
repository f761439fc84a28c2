/* paths: see paths.h. */
#include "config/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *variable, *fallback;
} homes[] = {
    [PATH_CONFIG] = {"XDG_CONFIG_HOME", ".config"},
    [PATH_DATA] = {"XDG_DATA_HOME", ".local/share"},
    [PATH_CACHE] = {"XDG_CACHE_HOME", ".cache"},
    [PATH_STATE] = {"XDG_STATE_HOME", ".local/state"},
};

static int no_memory(const char *path, struct err *e) {
    return err_set(e, ERR_MEMORY, "%s: no memory for the path", path);
}

static int add_home(struct buf *out, struct err *e) {
    const char *home = getenv("HOME");
    if (home && home[0] == '/') return buf_add_text(out, home);
    struct passwd pw, *found = NULL;
    char names[4096];
    if (!getpwuid_r(getuid(), &pw, names, sizeof names, &found) && found && pw.pw_dir && pw.pw_dir[0] == '/')
        return buf_add_text(out, pw.pw_dir);
    return err_set(e, ERR_FAILED, "no home folder is known: set HOME to an absolute path");
}

int paths_home(enum path_home kind, const char *name, struct buf *out, struct err *e) {
    const char *base = getenv(homes[kind].variable);
    if (base && base[0] == '/') {
        buf_add_text(out, base);
    } else {
        int rc = add_home(out, e);
        if (rc && !out->failed) return rc;
        buf_printf(out, "/%s", homes[kind].fallback);
    }
    buf_add_text(out, "/kvetch");
    if (name) buf_printf(out, "/%s", name);
    return out->failed ? no_memory("kvetch", e) : 0;
}

int paths_expand(const char *path, struct buf *out, struct err *e) {
    if (path[0] == '~' && (path[1] == '/' || !path[1])) {
        int rc = add_home(out, e);
        if (rc && !out->failed) return rc;
        path++;
    }
    buf_add_text(out, path);
    return out->failed ? no_memory(path, e) : 0;
}

int paths_join(const char *folder, const char *name, struct buf *out) {
    if (name[0] != '/') {
        buf_add_text(out, folder);
        size_t n = strlen(folder);
        if (n && folder[n - 1] != '/') buf_add_char(out, '/');
    }
    return buf_add_text(out, name);
}

bool paths_exists(const char *path) {
    struct stat st;
    return !lstat(path, &st) || (errno != ENOENT && errno != ENOTDIR);
}

bool paths_is_file(const char *path) {
    struct stat st;
    return !stat(path, &st) && !S_ISDIR(st.st_mode);
}

bool paths_is_folder(const char *path) {
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int paths_make_folder(const char *path, struct err *e) {
    char *work = strdup(path);
    if (!work) return no_memory(path, e);
    int rc = 0;
    for (char *p = work + 1; !rc; p++) {
        if (*p && *p != '/') continue;
        char end = *p;
        *p = 0;
        if (mkdir(work, 0700) && errno != EEXIST)
            rc = err_set(e, ERR_FILE, "cannot make the folder %s: %s", work, strerror(errno));
        else if (!paths_is_folder(work))
            rc = err_set(e, ERR_FILE, "cannot make the folder %s: %s is no folder", path, work);
        *p = end;
        if (!end) break;
    }
    free(work);
    return rc;
}

static int read_all(int fd, const char *path, size_t max_bytes, struct buf *out, struct err *e) {
    size_t total = 0;
    for (;;) {
        if (buf_reserve(out, 65536)) return err_set(e, ERR_MEMORY, "%s: no memory to read it", path);
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(e, ERR_FILE, "cannot read %s: %s", path, strerror(errno));
        if (!n) return 0;
        total += (size_t)n;
        if (total > max_bytes) return err_set(e, ERR_FILE, "%s is larger than %zu bytes", path, max_bytes);
        out->len += (size_t)n;
        out->data[out->len] = 0;
    }
}

static int read_file(const char *path, int flags, size_t max_bytes, struct buf *out, struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0) return err_set(e, ERR_FILE, "cannot read %s: %s", path, strerror(errno));
    struct stat st;
    int rc;
    size_t before = out->len;
    if (fstat(fd, &st))
        rc = err_set(e, ERR_FILE, "cannot read %s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        rc = err_set(e, ERR_FILE, "cannot read %s: it is a folder", path);
    else if (flags && fcntl(fd, F_SETFL, 0)) /* what is open is read to its end, however slowly it comes */
        rc = err_set(e, ERR_FILE, "cannot read %s: %s", path, strerror(errno));
    else
        rc = read_all(fd, path, max_bytes, out, e);
    if (!rc && flags && S_ISFIFO(st.st_mode) && out->len == before)
        rc = err_set(e, ERR_FILE, "cannot read %s: it is a pipe that nobody writes to", path);
    if (rc && out->data) {
        out->len = before;
        out->data[before] = 0;
    }
    close(fd);
    return rc;
}

int paths_read(const char *path, size_t max_bytes, struct buf *out, struct err *e) {
    return read_file(path, O_NONBLOCK, max_bytes, out, e);
}

int paths_read_input(const char *path, size_t max_bytes, struct buf *out, struct err *e) {
    return read_file(path, 0, max_bytes, out, e);
}

static int write_all(int fd, const char *bytes, size_t n) {
    while (n) {
        ssize_t did = write(fd, bytes, n);
        if (did < 0 && errno == EINTR) continue;
        if (did < 0) return -1;
        bytes += did;
        n -= (size_t)did;
    }
    return fsync(fd);
}

/* The rename is durable only once the folder is. */
static int sync_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder) return -1;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd < 0) return -1;
    int rc = fsync(fd);
    if (rc && (errno == EINVAL || errno == EROFS)) rc = 0; /* a file system that knows no such thing */
    int kept = errno;
    close(fd);
    errno = kept;
    return rc;
}

int paths_write_private(const char *path, const void *bytes, size_t n, struct err *e) {
    struct buf temp = {0};
    if (buf_printf(&temp, "%s.XXXXXX", path)) return no_memory(path, e);
    int rc = 0;
    int fd = mkostemp(temp.data, O_CLOEXEC); /* 0600 */
    if (fd < 0) {
        rc = err_set(e, ERR_FILE, "cannot write %s: %s", path, strerror(errno));
        goto out;
    }
    bool bad = write_all(fd, bytes, n) != 0;
    int kept = errno;
    if (close(fd) && !bad) bad = true, kept = errno;
    if (!bad && rename(temp.data, path)) bad = true, kept = errno;
    if (bad) {
        unlink(temp.data);
        rc = err_set(e, ERR_FILE, "cannot write %s: %s", path, strerror(kept));
    } else if (sync_folder_of(path)) {
        rc = err_set(e, ERR_FILE, "cannot write %s to the disk: %s", path, strerror(errno));
    }
out:
    buf_free(&temp);
    return rc;
}
