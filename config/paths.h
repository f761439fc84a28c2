/* paths: where the program's files live, and reading and writing small ones whole. Any thread that does not change the
 * environment. */
#ifndef CONFIG_PATHS_H
#define CONFIG_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/buf.h"
#include "config/err.h"

enum path_home { PATH_CONFIG, PATH_DATA, PATH_CACHE, PATH_STATE };

/* Appends the folder of one kind, below XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_CACHE_HOME or XDG_STATE_HOME where that
 * holds an absolute path (the XDG base directory specification ignores relative ones), else below ~/.config,
 * ~/.local/share, ~/.cache or ~/.local/state, then "/kvetch", then "/name" where name is not NULL. ERR_FAILED where no
 * home folder is known. Creates nothing. */
int paths_home(enum path_home kind, const char *name, struct buf *out, struct err *e);

/* Appends path with a leading "~" or "~/" replaced by the home folder; "~user" stays. ERR_FAILED where no home folder
 * is known. */
int paths_expand(const char *path, struct buf *out, struct err *e);
/* Appends "folder/name", or name alone where it is absolute. ERR_MEMORY. */
int paths_join(const char *folder, const char *name, struct buf *out);

bool paths_exists(const char *path);  /* anything but surely absent: also what may not be looked at */
bool paths_is_file(const char *path); /* exists and is no folder */
bool paths_is_folder(const char *path);

/* Makes a folder and those above it that are missing, each 0700; one that is there stays as it is. ERR_FILE: path and
 * reason. */
int paths_make_folder(const char *path, struct err *e);

/* Appends the whole file. "-" is no special name here. ERR_FILE: missing, a folder, unreadable, a pipe that nobody writes
 * to, or larger than max_bytes. */
int paths_read(const char *path, size_t max_bytes, struct buf *out, struct err *e);
/* The same for what a user hands in: waits for a pipe's writer. */
int paths_read_input(const char *path, size_t max_bytes, struct buf *out, struct err *e);

/* Replaces path by n bytes with mode 0600: a temporary file beside it, fsync, rename, fsync of the folder, so that a
 * crash leaves the old file or the new one. The folder must exist. ERR_FILE: path and reason; the old file is as it
 * was. */
int paths_write_private(const char *path, const void *bytes, size_t n, struct err *e);

#endif
