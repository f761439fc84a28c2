/* support_gguf: see support_gguf.h. */
#include "tests/support_gguf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_u32(struct buf *b, uint32_t v) { buf_add(b, &v, sizeof v); }
static void put_u64(struct buf *b, uint64_t v) { buf_add(b, &v, sizeof v); }
static void put_text(struct buf *b, const char *s) {
    put_u64(b, strlen(s));
    buf_add_text(b, s);
}
static void pad(struct buf *b, uint64_t alignment) {
    while (b->len % alignment) buf_add_char(b, 0);
}
static uint64_t alignment_of(const struct support_gguf *b) { return b->alignment ? b->alignment : 32; }

void support_gguf_free(struct support_gguf *b) {
    buf_free(&b->keys);
    buf_free(&b->tensors);
    buf_free(&b->data);
    *b = (struct support_gguf){0};
}

static void put_key(struct support_gguf *b, const char *key, enum gguf_type type) {
    put_text(&b->keys, key);
    put_u32(&b->keys, type);
    b->n_keys++;
}

void support_gguf_key(struct support_gguf *b, const char *key, enum gguf_type type, const void *value, size_t bytes) {
    put_key(b, key, type);
    buf_add(&b->keys, value, bytes);
}

void support_gguf_u32(struct support_gguf *b, const char *key, uint32_t v) { support_gguf_key(b, key, GGUF_U32, &v, sizeof v); }
void support_gguf_f32(struct support_gguf *b, const char *key, float v) { support_gguf_key(b, key, GGUF_F32, &v, sizeof v); }
void support_gguf_bool(struct support_gguf *b, const char *key, bool v) { support_gguf_key(b, key, GGUF_BOOL, &(uint8_t){v}, 1); }

void support_gguf_text(struct support_gguf *b, const char *key, const char *v) {
    put_key(b, key, GGUF_STRING);
    put_text(&b->keys, v);
}

void support_gguf_texts(struct support_gguf *b, const char *key, const char *const *v, size_t n) {
    put_key(b, key, GGUF_ARRAY);
    put_u32(&b->keys, GGUF_STRING);
    put_u64(&b->keys, n);
    for (size_t i = 0; i < n; i++) put_text(&b->keys, v[i]);
}

void support_gguf_array(struct support_gguf *b, const char *key, enum gguf_type item, const void *items, size_t n, size_t item_bytes) {
    put_key(b, key, GGUF_ARRAY);
    put_u32(&b->keys, item);
    put_u64(&b->keys, n);
    buf_add(&b->keys, items, n * item_bytes);
}

void support_gguf_entry(struct support_gguf *b, const char *name, uint32_t type, const uint64_t *dim, uint32_t n_dims, uint64_t offset) {
    put_text(&b->tensors, name);
    put_u32(&b->tensors, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) put_u64(&b->tensors, dim[i]);
    put_u32(&b->tensors, type);
    put_u64(&b->tensors, offset);
    b->n_tensors++;
}

void support_gguf_tensor(struct support_gguf *b, const char *name, uint32_t type, const uint64_t *dim, uint32_t n_dims, const void *data, size_t bytes) {
    pad(&b->data, alignment_of(b));
    support_gguf_entry(b, name, type, dim, n_dims, b->data.len);
    buf_add(&b->data, data, bytes);
}

void support_gguf_bytes(const struct support_gguf *b, struct buf *out) {
    assert(!b->keys.failed && !b->tensors.failed && !b->data.failed);
    struct buf f = {0};
    buf_add(&f, "GGUF", 4);
    put_u32(&f, b->version ? b->version : 3);
    put_u64(&f, b->n_tensors);
    put_u64(&f, b->n_keys);
    buf_add(&f, buf_text(&b->keys), b->keys.len);
    buf_add(&f, buf_text(&b->tensors), b->tensors.len);
    pad(&f, alignment_of(b));
    buf_add(&f, buf_text(&b->data), b->data.len);
    assert(!f.failed);
    buf_add(out, f.data, f.len);
    buf_free(&f);
}

char *support_file(const void *bytes, size_t n) {
    const char *dir = getenv("TMPDIR");
    struct buf path = {0};
    buf_printf(&path, "%s/kvetch-test-XXXXXX", dir && *dir ? dir : "/tmp");
    int fd = mkstemp(path.data);
    assert(fd >= 0);
    ssize_t written = write(fd, bytes, n);
    assert(written == (ssize_t)n);
    (void)written;
    close(fd);
    return buf_take(&path);
}

char *support_gguf_file(const struct support_gguf *b) {
    struct buf f = {0};
    support_gguf_bytes(b, &f);
    char *path = support_file(f.data, f.len);
    buf_free(&f);
    return path;
}

char *support_data(const char *name) {
    const char *dir = getenv("KVETCH_TEST_DATA");
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir && *dir ? dir : "../shared/data", name);
    if (!access(buf_text(&path), R_OK)) return buf_take(&path);
    printf("missing: %s\n", buf_text(&path));
    buf_free(&path);
    return NULL;
}

char *support_read(const char *name) {
    char *path = support_data(name);
    FILE *f = path ? fopen(path, "rb") : NULL;
    struct buf b = {0};
    char part[4096];
    free(path);
    if (!f) return NULL;
    for (size_t n; (n = fread(part, 1, sizeof part, f));) buf_add(&b, part, n);
    fclose(f);
    return buf_take(&b);
}
