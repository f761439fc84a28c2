/* json: JSON values on their way out. The only user of cJSON. Any thread, one value at a time.
 *
 * Building never fails halfway: where memory runs out a value is NULL, everything takes NULL, and json_print says so once. */
#ifndef APP_JSON_H
#define APP_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "config/buf.h"

struct json;

struct json *json_object(void);
struct json *json_array(void);
void json_free(struct json *j);

/* Add to an object under key, or to the end of an array where key is NULL. Text is UTF-8; invalid bytes become U+FFFD. */
void json_add_text(struct json *j, const char *key, const char *text, size_t n);
void json_add_string(struct json *j, const char *key, const char *text); /* NULL: null */
void json_add_number(struct json *j, const char *key, double x);         /* not finite: null */
void json_add_bool(struct json *j, const char *key, bool b);
void json_add_null(struct json *j, const char *key);
void json_add(struct json *j, const char *key, struct json *value);      /* takes value */

/* Appends j as text on one line, or indented, without a final newline. ERR_MEMORY: also where something could not be built. */
int json_print(const struct json *j, bool indented, struct buf *out);

#endif
