/* yaml: see yaml.h. Reads libyaml's events one by one and builds the tree by recursion, bounded in depth. */
#include "config/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/buf.h"
#include "config/paths.h"
#include "config/utf8.h"

#define MAX_BYTES (1u << 20) /* of a file: a configuration or a persona, not a data set */
#define MAX_DEPTH 32
#define MAX_ITEMS 4096 /* of one list or map */

struct reader {
    yaml_parser_t parser;
    const char *path, *text;
    size_t n;
    size_t seen; /* characters up to the end of the last event */
    struct err *e;
};

static int fail(struct reader *r, yaml_mark_t at, const char *what) {
    return err_set(r->e, ERR_FILE, "%s:%zu:%zu: %s", r->path, at.line + 1, at.column + 1, what);
}

static int no_memory(struct reader *r) {
    return err_set(r->e, ERR_MEMORY, "%s: no memory to read it", r->path);
}

/* ---- what libyaml refuses ---- */

/* Marks count characters; this gives the byte. */
static const char *byte_of(const struct reader *r, size_t character) {
    const char *p = r->text, *end = r->text + r->n;
    uint32_t cp;
    while (character-- && p < end) p += utf8_decode(p, (size_t)(end - p), &cp);
    return p;
}

/* Reader errors leave problem_mark alone and give a byte offset instead. */
static yaml_mark_t mark_of_byte(const struct reader *r, size_t offset) {
    yaml_mark_t m = {0, 0, 0};
    for (size_t i = 0; i < offset && i < r->n; m.index++) {
        uint32_t cp;
        i += utf8_decode(r->text + i, r->n - i, &cp);
        m.column++;
        if (cp == '\n') m.line++, m.column = 0;
    }
    return m;
}

static int fail_braces(struct reader *r, yaml_mark_t at) {
    return fail(r, at, "a text with {{ must stand in quotes (\"{{name}}\") or in a block (|)");
}

/* libyaml's words for the commonest mistakes, and ours. at_context: the place is where the construct began, since the
 * problem is noticed only later (an unclosed quote at the end of the file). */
static const struct {
    const char *context, *problem, *ours; /* substrings */
    bool at_context;
} mistakes[] = {
    {"quoted scalar", "end of stream", "the quote that opens here is not closed", true},
    {"quoted scalar", "document indicator", "the quote that opens here is not closed", true},
    {"quoted scalar", "unknown escape", "unknown escape after \\ (in 'single quotes' a \\ stands for itself)", false},
    {"simple key", "expected ':'", "a key without a colon", true},
    {"", "mapping values are not allowed",
     "a key cannot stand here: quote a text that holds \": \", and indent the keys of a map alike", false},
    {"", "block sequence entries are not allowed", "a list item cannot stand here: begin it on a line of its own",
     false},
    {"block mapping", "expected key", "a key was expected here: check the quotes and the indentation", false},
};

/* An unquoted {{ since the last thing that was understood, or NULL. */
static const char *find_braces(const struct reader *r, const char *at) {
    const char *p = byte_of(r, r->seen);
    for (; p < at && p + 1 < r->text + r->n; p++)
        if (p[0] == '{' && p[1] == '{') return p;
    return NULL;
}

static int fail_scanner(struct reader *r) {
    const yaml_parser_t *p = &r->parser;
    const char *context = p->context ? p->context : "", *problem = p->problem ? p->problem : "not YAML";
    const char *at = byte_of(r, p->problem_mark.index);
    const char *braces = strstr(context, "quoted scalar") ? NULL : find_braces(r, at);
    if (braces) return fail_braces(r, mark_of_byte(r, (size_t)(braces - r->text)));
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        if (strstr(context, mistakes[i].context) && strstr(problem, mistakes[i].problem))
            return fail(r, mistakes[i].at_context ? p->context_mark : p->problem_mark, mistakes[i].ours);
    char what[160];
    if (strstr(problem, "cannot start any token") && at < r->text + r->n) {
        if (*at == '\t') return fail(r, p->problem_mark, "a tab cannot indent: use blanks");
        snprintf(what, sizeof what, "a text that begins with %c must stand in quotes", *at);
    } else if (strstr(context, "flow")) {
        snprintf(what, sizeof what, "%s (the bracket opened at line %zu, column %zu)", problem,
                 p->context_mark.line + 1, p->context_mark.column + 1);
    } else {
        snprintf(what, sizeof what, "%s", problem);
    }
    return fail(r, p->problem_mark, what);
}

static int fail_parser(struct reader *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return no_memory(r);
    if (p->error != YAML_READER_ERROR) return fail_scanner(r);
    size_t offset = p->problem_offset;
    if (strstr(p->problem, "trailing")) /* that byte's offset: back to the one that begins the character */
        do offset--;
        while (offset && ((unsigned char)r->text[offset] & 0xC0) == 0x80);
    yaml_mark_t at = mark_of_byte(r, offset);
    if (!strstr(p->problem, "control characters")) return fail(r, at, "the file is not valid UTF-8");
    return err_set(r->e, ERR_FILE, "%s:%zu:%zu: a control character (U+%04X) cannot stand in YAML", r->path,
                   at.line + 1, at.column + 1, (unsigned)p->problem_value);
}

static int next(struct reader *r, yaml_event_t *ev) {
    if (!yaml_parser_parse(&r->parser, ev)) return fail_parser(r);
    r->seen = ev->end_mark.index;
    return 0;
}

/* ---- the tree ---- */

void yaml_node_free(struct yaml_node *n) {
    if (!n) return;
    for (size_t i = 0; i < n->n; i++) {
        if (n->key) yaml_node_free(n->key[i]);
        yaml_node_free(n->item[i]);
    }
    free(n->key);
    free(n->item);
    free(n->text);
    free(n);
}

static struct yaml_node *new_node(enum yaml_kind kind, yaml_mark_t at) {
    struct yaml_node *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->kind = kind;
    n->line = (int)at.line + 1;
    n->column = (int)at.column + 1;
    return n;
}

/* Room for one more item: capacities are the powers of two, found again from n. */
static int grow_arrays(struct reader *r, struct yaml_node *node) {
    if (node->n & (node->n - 1)) return 0;
    size_t cap = node->n ? node->n * 2 : 1;
    struct yaml_node **item = realloc(node->item, cap * sizeof *item);
    if (!item) return no_memory(r);
    node->item = item;
    if (node->kind != YAML_MAP) return 0;
    struct yaml_node **key = realloc(node->key, cap * sizeof *key);
    if (!key) return no_memory(r);
    node->key = key;
    return 0;
}

static int read_scalar(struct reader *r, const yaml_event_t *ev, struct yaml_node **out) {
    const char *value = (const char *)ev->data.scalar.value;
    size_t n = ev->data.scalar.length;
    bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (memchr(value, 0, n)) return fail(r, ev->start_mark, "a text cannot hold a NUL character");
    if (plain && strstr(value, "{{")) return fail_braces(r, ev->start_mark);
    struct yaml_node *node = new_node(YAML_SCALAR, ev->start_mark);
    if (!node || !(node->text = strdup(value))) {
        yaml_node_free(node);
        return no_memory(r);
    }
    node->quoted = !plain;
    *out = node;
    return 0;
}

/* Anchors, tags and aliases: a file that says one thing in one place is easier to check. */
static int check_plainness(struct reader *r, const yaml_event_t *ev) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (ev->type) {
    case YAML_ALIAS_EVENT:
        return fail(r, ev->start_mark, "aliases (*name) are not allowed; quote a text that begins with *");
    case YAML_SCALAR_EVENT: anchor = ev->data.scalar.anchor, tag = ev->data.scalar.tag; break;
    case YAML_SEQUENCE_START_EVENT: anchor = ev->data.sequence_start.anchor, tag = ev->data.sequence_start.tag; break;
    case YAML_MAPPING_START_EVENT: anchor = ev->data.mapping_start.anchor, tag = ev->data.mapping_start.tag; break;
    default: break;
    }
    if (anchor) return fail(r, ev->start_mark, "anchors (&name) are not allowed; quote a text that begins with &");
    if (tag) return fail(r, ev->start_mark, "tags (!name) are not allowed; quote a text that begins with !");
    return 0;
}

static int read_node(struct reader *r, const yaml_event_t *ev, int depth, struct yaml_node **out);

/* Takes the event of a key; the node is freed by the caller, also on failure. */
static int read_key(struct reader *r, const yaml_event_t *ev, const struct yaml_node *map, struct yaml_node **key) {
    int rc = check_plainness(r, ev);
    if (rc) return rc;
    if (ev->type == YAML_MAPPING_START_EVENT && ev->start_mark.index && byte_of(r, ev->start_mark.index - 1)[0] == '{')
        return fail_braces(r, (yaml_mark_t){ev->start_mark.index - 1, ev->start_mark.line, ev->start_mark.column - 1});
    if (ev->type != YAML_SCALAR_EVENT) return fail(r, ev->start_mark, "a key must be a word");
    rc = read_scalar(r, ev, key);
    if (rc) return rc;
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->key[i]->text, (*key)->text)) continue;
        char shown[64];
        utf8_show((*key)->text, shown, sizeof shown);
        return err_set(r->e, ERR_FILE, "%s:%d:%d: the key %s is there twice, first in line %d", r->path, (*key)->line,
                       (*key)->column, shown, map->key[i]->line);
    }
    return 0;
}

static int read_items(struct reader *r, struct yaml_node *node, int depth) {
    for (;;) {
        yaml_event_t ev;
        struct yaml_node *key = NULL, *item = NULL;
        int rc = next(r, &ev);
        if (rc) return rc;
        bool end = ev.type == YAML_SEQUENCE_END_EVENT || ev.type == YAML_MAPPING_END_EVENT;
        if (!end && node->n == MAX_ITEMS) rc = fail(r, ev.start_mark, "too many entries (at most 4096)");
        if (!end && !rc) rc = grow_arrays(r, node);
        if (!end && !rc && node->kind == YAML_MAP) {
            rc = read_key(r, &ev, node, &key);
            yaml_event_delete(&ev);
            memset(&ev, 0, sizeof ev);
            if (!rc) rc = next(r, &ev);
        }
        if (!end && !rc) rc = read_node(r, &ev, depth + 1, &item);
        yaml_event_delete(&ev);
        if (rc || end) {
            yaml_node_free(key);
            return rc;
        }
        if (key) node->key[node->n] = key;
        node->item[node->n++] = item;
    }
}

/* The node that begins with ev, which stays the caller's. */
static int read_node(struct reader *r, const yaml_event_t *ev, int depth, struct yaml_node **out) {
    int rc = check_plainness(r, ev);
    if (rc) return rc;
    if (ev->type == YAML_SCALAR_EVENT) return read_scalar(r, ev, out);
    if (depth >= MAX_DEPTH) return fail(r, ev->start_mark, "nested too deeply (at most 32 levels)");
    struct yaml_node *node = new_node(ev->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST, ev->start_mark);
    if (!node) return no_memory(r);
    rc = read_items(r, node, depth);
    if (rc)
        yaml_node_free(node);
    else
        *out = node;
    return rc;
}

static int read_stream(struct reader *r, struct yaml_node **out) {
    bool had_one = false;
    for (;;) {
        yaml_event_t ev;
        int rc = next(r, &ev);
        if (rc) return rc;
        bool end = ev.type == YAML_STREAM_END_EVENT;
        if (ev.type == YAML_DOCUMENT_START_EVENT && had_one) {
            rc = fail(r, ev.start_mark, "a second document begins here; only one is allowed");
        } else if (ev.type == YAML_DOCUMENT_START_EVENT) {
            had_one = true;
        } else if (!end && ev.type != YAML_STREAM_START_EVENT && ev.type != YAML_DOCUMENT_END_EVENT) {
            /* "---" and nothing more is an empty document, not an empty text */
            bool empty = ev.type == YAML_SCALAR_EVENT && !ev.data.scalar.length &&
                         ev.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
            if (!empty) rc = read_node(r, &ev, 0, out);
        }
        yaml_event_delete(&ev);
        if (rc || end) return rc;
    }
}

int yaml_parse(struct yaml_node **out, const char *path, const char *text, size_t n, struct err *e) {
    *out = NULL;
    if (n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) text += 3, n -= 3;
    struct reader r = {.path = path, .text = text, .n = n, .e = e};
    if (!yaml_parser_initialize(&r.parser)) return no_memory(&r);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    int rc = read_stream(&r, out);
    if (!rc && !*out && !(*out = new_node(YAML_MAP, (yaml_mark_t){0, 0, 0}))) rc = no_memory(&r);
    if (rc) {
        yaml_node_free(*out);
        *out = NULL;
    }
    yaml_parser_delete(&r.parser);
    return rc;
}

int yaml_read(struct yaml_node **out, const char *path, struct err *e) {
    *out = NULL;
    struct buf text = {0};
    int rc = paths_read(path, MAX_BYTES, &text, e);
    if (!rc) rc = yaml_parse(out, path, buf_text(&text), text.len, e);
    buf_free(&text);
    return rc;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key) {
    if (!map || map->kind != YAML_MAP) return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (!strcmp(map->key[i]->text, key)) return map->item[i];
    return NULL;
}
