/* gguf_write: see gguf_write.h. */
#include "model/train/gguf_write.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "config/paths.h"

enum { VERSION = 3, ALIGNMENT = 32 }; /* the alignment that readers assume where no key names one */

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie in memory");

static void put_u32(struct buf *b, uint32_t x) { buf_add(b, &x, sizeof x); }
static void put_u64(struct buf *b, uint64_t x) { buf_add(b, &x, sizeof x); }

static void put_text(struct buf *b, const char *p, size_t n) {
    put_u64(b, n);
    buf_add(b, p, n);
}

static void pad(struct buf *b) {
    static const char zeros[ALIGNMENT];
    buf_add(b, zeros, (ALIGNMENT - b->len % ALIGNMENT) % ALIGNMENT);
}

void gguf_write_free(struct gguf_write *w) {
    buf_free(&w->keys);
    buf_free(&w->tensors);
    buf_free(&w->data);
    *w = (struct gguf_write){0};
}

/* ---- metadata ------------------------------------------------------------------------------------------------ */

static void put_key(struct gguf_write *w, const char *key, enum gguf_type type) {
    put_text(&w->keys, key, strlen(key));
    put_u32(&w->keys, type);
    w->n_keys++;
}

static void put_array(struct gguf_write *w, const char *key, enum gguf_type item, size_t n) {
    put_key(w, key, GGUF_ARRAY);
    put_u32(&w->keys, item);
    put_u64(&w->keys, n);
}

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t value) {
    put_key(w, key, GGUF_U32);
    put_u32(&w->keys, value);
}

void gguf_write_u64(struct gguf_write *w, const char *key, uint64_t value) {
    put_key(w, key, GGUF_U64);
    put_u64(&w->keys, value);
}

void gguf_write_f32(struct gguf_write *w, const char *key, float value) {
    put_key(w, key, GGUF_F32);
    buf_add(&w->keys, &value, sizeof value);
}

void gguf_write_bool(struct gguf_write *w, const char *key, bool value) {
    put_key(w, key, GGUF_BOOL);
    buf_add_char(&w->keys, value);
}

void gguf_write_text(struct gguf_write *w, const char *key, const char *value) {
    put_key(w, key, GGUF_STRING);
    put_text(&w->keys, value, strlen(value));
}

void gguf_write_texts(struct gguf_write *w, const char *key, const struct gguf_text *value, size_t n) {
    put_array(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) put_text(&w->keys, value[i].p, value[i].n);
}

void gguf_write_i32s(struct gguf_write *w, const char *key, const int32_t *value, size_t n) {
    put_array(w, key, GGUF_I32, n);
    buf_add(&w->keys, value, n * sizeof *value);
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

void gguf_write_tensor(struct gguf_write *w, const char *name, const struct num_type *type, uint32_t cols, uint32_t rows, const float *x) {
    size_t row_bytes = num_row_bytes(type, cols);
    assert(row_bytes && rows && type->from_f32);
    pad(&w->data);
    put_text(&w->tensors, name, strlen(name));
    put_u32(&w->tensors, rows > 1 ? 2 : 1);
    put_u64(&w->tensors, cols);
    if (rows > 1) put_u64(&w->tensors, rows);
    put_u32(&w->tensors, type->id);
    put_u64(&w->tensors, w->data.len);
    w->n_tensors++;
    if (buf_reserve(&w->data, row_bytes * rows)) return;
    for (uint32_t i = 0; i < rows; i++, x += cols) {
        type->from_f32(x, w->data.data + w->data.len, cols);
        w->data.len += row_bytes;
    }
    w->data.data[w->data.len] = 0; /* as every buf ends */
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

int gguf_write_bytes(const struct gguf_write *w, struct buf *out, struct err *e) {
    struct buf head = {0};
    buf_add_text(&head, "GGUF");
    put_u32(&head, VERSION);
    put_u64(&head, w->n_tensors);
    put_u64(&head, w->n_keys);
    buf_add(&head, buf_text(&w->keys), w->keys.len);
    buf_add(&head, buf_text(&w->tensors), w->tensors.len);
    pad(&head);
    buf_add(out, buf_text(&head), head.len);
    buf_add(out, buf_text(&w->data), w->data.len);
    bool failed = head.failed || w->keys.failed || w->tensors.failed || w->data.failed || out->failed;
    buf_free(&head);
    return failed ? err_set(e, ERR_MEMORY, "no memory for the model file") : 0;
}

int gguf_write_save(const struct gguf_write *w, const char *path, struct err *e) {
    struct buf b = {0};
    int rc = gguf_write_bytes(w, &b, e);
    if (!rc) rc = paths_write_private(path, buf_text(&b), b.len, e);
    if (!rc && chmod(path, 0644)) rc = err_set(e, ERR_FILE, "%s: cannot let others read it: %s", path, strerror(errno)); /* a model is no secret */
    buf_free(&b);
    return rc;
}
