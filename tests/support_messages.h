/* support_messages: what the program can print, from the string literals of its sources. */
#ifndef TESTS_SUPPORT_MESSAGES_H
#define TESTS_SUPPORT_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>

struct message {
    char *text;       /* a format, with "\"" and the like as they are printed; literals that follow each other are one */
    char file[32];
    int line;
    bool is_error;    /* the format of err_set or err_prefix */
};
struct messages {
    struct message *m;
    size_t n;
};

/* Of the sources of app, config, kv, model and ui, seen from the project's folder. Ends the test where they cannot be read. */
void messages_read(struct messages *out);
void messages_free(struct messages *all);

/* Behind the conversion of printf at s, which begins with '%'. */
const char *messages_skip_conversion(const char *s);

/* Whether some message, its conversions filled in by a word or nothing, holds that text. Quotes do not count. */
bool messages_say(const struct messages *all, const char *text);

#endif
