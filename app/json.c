/* json: see json.h. */
#include "app/json.h"

#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/err.h"
#include "config/utf8.h"

struct json {
    cJSON *item; /* NULL: no memory was had */
    bool broken; /* something that was added is missing */
};

static struct json *wrap(cJSON *item) {
    struct json *j = calloc(1, sizeof *j);
    if (!j) cJSON_Delete(item);
    else {
        j->item = item;
        j->broken = !item;
    }
    return j;
}

struct json *json_object(void) { return wrap(cJSON_CreateObject()); }
struct json *json_array(void) { return wrap(cJSON_CreateArray()); }

void json_free(struct json *j) {
    if (!j) return;
    cJSON_Delete(j->item);
    free(j);
}

static void add_item(struct json *j, const char *key, cJSON *item) {
    if (!j) {
        cJSON_Delete(item);
        return;
    }
    bool ok = j->item && item && (key ? cJSON_AddItemToObject(j->item, key, item) : cJSON_AddItemToArray(j->item, item));
    if (ok) return;
    cJSON_Delete(item);
    j->broken = true;
}

void json_add_text(struct json *j, const char *key, const char *text, size_t n) {
    struct buf b = {0};
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        char utf8[4];
        len = utf8_decode(text + i, n - i, &cp);
        buf_add(&b, utf8, utf8_encode(cp ? cp : 0xfffd, utf8)); /* cJSON's strings end at a NUL */
    }
    add_item(j, key, b.failed ? NULL : cJSON_CreateString(buf_text(&b)));
    buf_free(&b);
}

void json_add_string(struct json *j, const char *key, const char *text) {
    if (text) json_add_text(j, key, text, strlen(text));
    else json_add_null(j, key);
}

/* cJSON rounds to 15 digits, which loses the last ones of a large count: whole numbers are written out here. */
void json_add_number(struct json *j, const char *key, double x) {
    char digits[32];
    bool whole = fabs(x) <= 9007199254740992.0 && x == floor(x);
    if (whole) snprintf(digits, sizeof digits, "%.0f", x);
    add_item(j, key, whole ? cJSON_CreateRaw(digits) : isfinite(x) ? cJSON_CreateNumber(x) : cJSON_CreateNull());
}

void json_add_bool(struct json *j, const char *key, bool b) { add_item(j, key, cJSON_CreateBool(b)); }
void json_add_null(struct json *j, const char *key) { add_item(j, key, cJSON_CreateNull()); }

void json_add(struct json *j, const char *key, struct json *value) {
    if (!j || !value || value->broken) {
        if (j) j->broken = true;
        json_free(value);
        return;
    }
    add_item(j, key, value->item);
    free(value);
}

int json_print(const struct json *j, bool indented, struct buf *out) {
    if (!j || j->broken) return ERR_MEMORY;
    char *text = indented ? cJSON_Print(j->item) : cJSON_PrintUnformatted(j->item);
    int rc = text ? buf_add_text(out, text) : ERR_MEMORY;
    cJSON_free(text);
    return rc;
}
