/* gguf: a GGUF file, mapped into memory or lying there already, and read through a cursor that checks every bound.
 *
 * Format: the GGUF specification of the ggml project, versions 2 and 3, little-endian. Nothing is copied: strings and
 * tensor bytes are views into the mapping, which lives as long as the struct gguf. Immutable once opened: any thread. */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "config/num.h"

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
    GGUF_N_TYPES
};

struct gguf_text { const char *p; size_t n; }; /* not NUL-terminated */

struct gguf_kv {
    struct gguf_text key;
    enum gguf_type type;        /* of the value */
    enum gguf_type item;        /* of an array's items (never GGUF_ARRAY) */
    uint64_t n;                 /* items of an array, 1 otherwise */
    const uint8_t *data;        /* the value's bytes, unaligned; strings: length and bytes, one behind the other */
    size_t bytes;
};

struct gguf_tensor {
    struct gguf_text name;
    uint32_t n_dims;            /* 1..4 */
    uint64_t dim[4];            /* dim[0] is the length of a row (contiguous); unused ones are 1 */
    uint32_t type_id;
    const struct num_type *type; /* NULL: a type we cannot read (type_id says which) */
    const uint8_t *data;
    size_t bytes;               /* 0 where type is NULL */
};

struct gguf {
    const char *path;           /* owned copy */
    const uint8_t *map; size_t map_bytes;
    bool borrowed;              /* the bytes are somebody else's */
    uint32_t version;
    uint64_t alignment;
    struct gguf_kv *kv; size_t n_kv;
    struct gguf_tensor *tensor; size_t n_tensors;
    size_t data_offset;         /* first byte of the tensor data */
};

/* Opens, maps and validates everything but the numbers themselves. ERR_FILE: one line "FILE: FIELD: found X, expected Y". */
int gguf_open(struct gguf **out, const char *path, struct err *e);
/* The same for bytes that are in memory and outlive it. name stands for the path. */
int gguf_open_memory(struct gguf **out, const char *name, const void *bytes, size_t n, struct err *e);
void gguf_close(struct gguf *g);

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); /* or NULL */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* Typed reads. A missing key gives 0 and leaves *out (the caller's default) alone; a key of another type is ERR_FILE. Any
 * integer type is accepted for an integer where the value fits, f32 and f64 and integers for a real. */
int gguf_uint(const struct gguf *g, const char *key, uint64_t *out, struct err *e);
int gguf_real(const struct gguf *g, const char *key, double *out, struct err *e);
int gguf_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
int gguf_string(const struct gguf *g, const char *key, struct gguf_text *out, struct err *e);

/* Array items; i is checked by assert, the type by the caller through kv->item. */
struct gguf_text gguf_item_text(const struct gguf_kv *kv, uint64_t i); /* O(i): walk with gguf_next_text instead */
const uint8_t *gguf_next_text(const struct gguf_kv *kv, const uint8_t *at, struct gguf_text *out); /* at = kv->data at first; returns the next, or NULL past the end */
double gguf_item_real(const struct gguf_kv *kv, uint64_t i);
int64_t gguf_item_int(const struct gguf_kv *kv, uint64_t i);

#endif
