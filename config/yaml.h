/* yaml: a YAML document as a tree that remembers where everything stood. The only user of libyaml. */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "config/err.h"

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    int line, column;            /* from 1 */
    bool quoted;                 /* a scalar in quotes or a block: never a number or a boolean */
    char *text;                  /* scalar */
    struct yaml_node **item;     /* list: items; map: values */
    struct yaml_node **key;      /* map: the keys' nodes */
    size_t n;
};

/* Parses one document. path is only named in errors: "PATH:LINE:COLUMN: ...". Duplicate keys, aliases, tags, several
 * documents, an unquoted "{{", bad encoding and unclosed quotes are errors at the place where they are. An empty file is an empty map. */
int yaml_parse(struct yaml_node **out, const char *path, const char *text, size_t n, struct err *e);
int yaml_read(struct yaml_node **out, const char *path, struct err *e); /* ERR_FILE also where it cannot be read */
void yaml_node_free(struct yaml_node *n); /* NULL is fine. (libyaml exports a yaml_free of its own, and one name serves both at run time) */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key); /* or NULL */

#endif
