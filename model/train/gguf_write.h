/* gguf_write: builds a GGUF file, version 3, little-endian (the GGUF specification of the ggml project; read by model/gguf.h).
 *
 * Keys and tensors stand in the order in which they are added. Running out of memory is sticky and told by gguf_write_save. */
#ifndef MODEL_TRAIN_GGUF_WRITE_H
#define MODEL_TRAIN_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/buf.h"
#include "config/err.h"
#include "config/num.h"
#include "model/gguf.h"

struct gguf_write { /* zero before use */
    struct buf keys, tensors, data;
    uint64_t n_keys, n_tensors;
};
void gguf_write_free(struct gguf_write *w);

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t value);
void gguf_write_u64(struct gguf_write *w, const char *key, uint64_t value);
void gguf_write_f32(struct gguf_write *w, const char *key, float value);
void gguf_write_bool(struct gguf_write *w, const char *key, bool value);
void gguf_write_text(struct gguf_write *w, const char *key, const char *value);
void gguf_write_texts(struct gguf_write *w, const char *key, const struct gguf_text *value, size_t n);
void gguf_write_i32s(struct gguf_write *w, const char *key, const int32_t *value, size_t n);

/* A tensor of rows of cols floats, stored as type: {cols, rows}, or {cols} where rows is 1. cols must be a multiple of the
 * type's block, and the type one that can be written (asserted). */
void gguf_write_tensor(struct gguf_write *w, const char *name, const struct num_type *type, uint32_t cols, uint32_t rows, const float *x);

/* Appends the file's bytes. */
int gguf_write_bytes(const struct gguf_write *w, struct buf *out, struct err *e);
/* Puts the file in place of path, whole or not at all. */
int gguf_write_save(const struct gguf_write *w, const char *path, struct err *e);

#endif
