/* support_folder: see support_folder.h. */
#include "tests/support_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];

const char *support_folder_make(void) {
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/kvetch-test-XXXXXX", base && *base ? base : P_tmpdir);
    return mkdtemp(folder);
}

const char *support_folder_path(const char *name) {
    static char path[4][512];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void remove_all(const char *path) {
    chmod(path, 0700);
    DIR *d = opendir(path);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..")) continue;
        char inner[1024];
        struct stat st;
        if (snprintf(inner, sizeof inner, "%s/%s", path, f->d_name) >= (int)sizeof inner || lstat(inner, &st)) continue;
        if (S_ISDIR(st.st_mode))
            remove_all(inner);
        else
            unlink(inner);
    }
    if (d) closedir(d);
    rmdir(path);
}

void support_folder_remove(void) {
    if (*folder) remove_all(folder);
    *folder = 0;
}
