/* history: the input history's file, one message a line (a newline written as \n, a backslash as \\). */
#ifndef UI_HISTORY_H
#define UI_HISTORY_H

/* Reads the file into readline's history; a missing file is an empty one. path may be NULL: nothing is kept on disk. */
void history_load(const char *path);
/* Adds a message to the history and to the end of its file, unless it repeats the one before it. */
void history_put(const char *path, const char *text);

#endif
