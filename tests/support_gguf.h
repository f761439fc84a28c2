/* support_gguf: builds small GGUF files for tests. Running out of memory ends the test program (assert). */
#ifndef TESTS_SUPPORT_GGUF_H
#define TESTS_SUPPORT_GGUF_H

#include "config/buf.h"
#include "model/gguf.h"

/* Zero before use. Keys and tensors appear in the order in which they are added. */
struct support_gguf {
    struct buf keys, tensors, data;
    uint64_t n_keys, n_tensors;
    uint32_t version;    /* 0: 3 */
    uint64_t alignment;  /* 0: 32; another one is for you to add as general.alignment too */
};
void support_gguf_free(struct support_gguf *b);

void support_gguf_key(struct support_gguf *b, const char *key, enum gguf_type type, const void *value, size_t bytes); /* any fixed-size value */
void support_gguf_u32(struct support_gguf *b, const char *key, uint32_t v);
void support_gguf_f32(struct support_gguf *b, const char *key, float v);
void support_gguf_bool(struct support_gguf *b, const char *key, bool v);
void support_gguf_text(struct support_gguf *b, const char *key, const char *v);
void support_gguf_texts(struct support_gguf *b, const char *key, const char *const *v, size_t n);
void support_gguf_array(struct support_gguf *b, const char *key, enum gguf_type item, const void *items, size_t n, size_t item_bytes);

/* A tensor and its data. support_gguf_entry writes the table's entry alone, with any offset. */
void support_gguf_tensor(struct support_gguf *b, const char *name, uint32_t type, const uint64_t *dim, uint32_t n_dims, const void *data, size_t bytes);
void support_gguf_entry(struct support_gguf *b, const char *name, uint32_t type, const uint64_t *dim, uint32_t n_dims, uint64_t offset);

/* The bytes of the file, appended to out. */
void support_gguf_bytes(const struct support_gguf *b, struct buf *out);
/* Writes bytes (or the built file) to a new file in $TMPDIR or /tmp; returns its path, malloc'd; the caller unlinks and frees. */
char *support_file(const void *bytes, size_t n);
char *support_gguf_file(const struct support_gguf *b);

/* The path of a file of the shared test data, malloc'd, or NULL, after saying which is missing, where it is not there. */
char *support_data(const char *name);
/* The content of such a file as a string, malloc'd, or NULL likewise. */
char *support_read(const char *name);

#endif
