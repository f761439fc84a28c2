/* support_folder: an empty folder for a test to write into, removed afterwards with everything in it. */
#ifndef TESTS_SUPPORT_FOLDER_H
#define TESTS_SUPPORT_FOLDER_H

/* Makes one below TMPDIR (or the system's folder for temporary files) and returns its path, which lives until
 * support_folder_remove. One at a time. NULL where it cannot be made. */
const char *support_folder_make(void);
void support_folder_remove(void);

/* "FOLDER/name" in a buffer that the next call but three overwrites. */
const char *support_folder_path(const char *name);

#endif
