/* gguf: see gguf.h. Every read goes through struct cursor, which never passes the end of the mapping; a count from the
 * file is compared with the bytes that are left before anything is allocated for it. */
#include "model/gguf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF files are mapped as they are: little-endian machines only"
#endif

enum {
    KEY_BYTES_MAX = 65535, /* the specification's limit */
    NAME_BYTES_MAX = 255,  /* the specification says 64; files with a little more exist */
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 65536,
    HEADER_BYTES = 24,
    KV_BYTES_MIN = 8 + 4 + 1,              /* key length, type, one byte of value */
    TENSOR_BYTES_MIN = 8 + 4 + 8 + 4 + 8,  /* name length, n_dims, one dimension, type, offset */
};

static const struct {
    const char *name;
    size_t bytes; /* of one value; 0: not of fixed size */
} types[GGUF_N_TYPES] = {
    [GGUF_U8] = {"u8", 1},   [GGUF_I8] = {"i8", 1},   [GGUF_U16] = {"u16", 2},   [GGUF_I16] = {"i16", 2},      [GGUF_U32] = {"u32", 4},
    [GGUF_I32] = {"i32", 4}, [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0},
    [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8}, [GGUF_F64] = {"f64", 8},
};

/* A name from the file as it may stand in a message: cut, and without what a terminal would obey. */
struct shown { char s[72]; };

static struct shown show(struct gguf_text t) {
    struct shown out;
    size_t n = t.n < sizeof out.s - 4 ? t.n : sizeof out.s - 4, i = 0;
    for (; i < n; i++) out.s[i] = t.p[i] > ' ' && t.p[i] < 127 ? t.p[i] : '?';
    memcpy(out.s + i, t.n > n ? "..." : "", t.n > n ? 4 : 1);
    return out;
}

static bool text_is(struct gguf_text t, const char *s) {
    size_t n = strlen(s);
    return t.n == n && !memcmp(t.p, s, n);
}

/* ---- the cursor ---------------------------------------------------------------------------------------------- */

struct cursor {
    const struct gguf *g;
    size_t pos;
    struct err *e;
};

static size_t left(const struct cursor *c) { return c->g->map_bytes - c->pos; }

/* The next n bytes, or NULL, with the message, where the file ends before. */
static const uint8_t *take(struct cursor *c, uint64_t n, const char *field) {
    if (n > left(c)) {
        err_set(c->e, ERR_FILE, "%s: %s: found %zu bytes up to the end of the file, expected %llu", c->g->path, field, left(c),
                (unsigned long long)n);
        return NULL;
    }
    const uint8_t *p = c->g->map + c->pos;
    c->pos += (size_t)n;
    return p;
}

static int take_u32(struct cursor *c, const char *field, uint32_t *out) {
    const uint8_t *p = take(c, sizeof *out, field);
    if (!p) return ERR_FILE;
    memcpy(out, p, sizeof *out);
    return 0;
}

static int take_u64(struct cursor *c, const char *field, uint64_t *out) {
    const uint8_t *p = take(c, sizeof *out, field);
    if (!p) return ERR_FILE;
    memcpy(out, p, sizeof *out);
    return 0;
}

static int take_text(struct cursor *c, const char *field, uint64_t max, struct gguf_text *out) {
    uint64_t n;
    if (take_u64(c, field, &n)) return ERR_FILE;
    if (n > max)
        return err_set(c->e, ERR_FILE, "%s: %s: found a length of %llu bytes, expected at most %llu", c->g->path, field, (unsigned long long)n,
                       (unsigned long long)max);
    const uint8_t *p = take(c, n, field);
    if (!p) return ERR_FILE;
    *out = (struct gguf_text){(const char *)p, (size_t)n};
    return 0;
}

/* ---- header, keys -------------------------------------------------------------------------------------------- */

static int read_header(struct cursor *c, uint32_t *version_out, uint64_t *n_tensors, uint64_t *n_kv) {
    const char *path = c->g->path;
    if (c->g->map_bytes < HEADER_BYTES)
        return err_set(c->e, ERR_FILE, "%s: size: found %zu bytes, expected a GGUF file of at least %d", path, c->g->map_bytes, HEADER_BYTES);
    const uint8_t *m = take(c, 4, "magic");
    if (!memcmp(m, "FUGG", 4)) return err_set(c->e, ERR_FILE, "%s: magic: found FUGG (big-endian), expected GGUF (little-endian)", path);
    if (memcmp(m, "GGUF", 4))
        return err_set(c->e, ERR_FILE, "%s: magic: found bytes %02x %02x %02x %02x, expected 47 47 55 46 (GGUF)", path, m[0], m[1], m[2], m[3]);
    uint32_t version = 0;
    take_u32(c, "version", &version);
    if (version == 1) return err_set(c->e, ERR_FILE, "%s: version: found 1 (obsolete), expected 2 or 3", path);
    if (version && !(version & 0xffff))
        return err_set(c->e, ERR_FILE, "%s: version: found %u (a big-endian file), expected 2 or 3, little-endian", path, version);
    if (version != 2 && version != 3) return err_set(c->e, ERR_FILE, "%s: version: found %u, expected 2 or 3", path, version);
    *version_out = version;
    take_u64(c, "tensor count", n_tensors);
    take_u64(c, "key count", n_kv);
    if (*n_tensors > left(c) / TENSOR_BYTES_MIN)
        return err_set(c->e, ERR_FILE, "%s: tensor count: found %llu, expected at most the %zu that fit in the file", path,
                       (unsigned long long)*n_tensors, left(c) / TENSOR_BYTES_MIN);
    if (*n_kv > left(c) / KV_BYTES_MIN)
        return err_set(c->e, ERR_FILE, "%s: key count: found %llu, expected at most the %zu that fit in the file", path,
                       (unsigned long long)*n_kv, left(c) / KV_BYTES_MIN);
    return 0;
}

static int check_bools(struct cursor *c, const struct gguf_kv *kv) {
    for (uint64_t i = 0; i < kv->n; i++)
        if (kv->data[i] > 1)
            return err_set(c->e, ERR_FILE, "%s: %s: found %u, expected a bool (0 or 1)", c->g->path, show(kv->key).s, kv->data[i]);
    return 0;
}

static int read_type(struct cursor *c, const char *field, enum gguf_type *out) {
    uint32_t t;
    if (take_u32(c, field, &t)) return ERR_FILE;
    if (t >= GGUF_N_TYPES)
        return err_set(c->e, ERR_FILE, "%s: %s: found value type %u, expected one below %d", c->g->path, field, t, GGUF_N_TYPES);
    *out = (enum gguf_type)t;
    return 0;
}

static int read_value(struct cursor *c, struct gguf_kv *kv) {
    struct shown key = show(kv->key);
    if (read_type(c, key.s, &kv->type)) return ERR_FILE;
    kv->item = kv->type;
    kv->n = 1;
    if (kv->type == GGUF_ARRAY) {
        if (read_type(c, key.s, &kv->item)) return ERR_FILE;
        if (kv->item == GGUF_ARRAY) return err_set(c->e, ERR_FILE, "%s: %s: found an array of arrays, expected an array of values", c->g->path, key.s);
        if (take_u64(c, key.s, &kv->n)) return ERR_FILE;
        size_t least = kv->item == GGUF_STRING ? 8 : types[kv->item].bytes;
        if (kv->n > left(c) / least)
            return err_set(c->e, ERR_FILE, "%s: %s: found %llu items, expected at most the %zu that fit in the file", c->g->path, key.s,
                           (unsigned long long)kv->n, left(c) / least);
    }
    kv->data = c->g->map + c->pos;
    size_t start = c->pos;
    if (kv->item == GGUF_STRING) {
        struct gguf_text t;
        for (uint64_t i = 0; i < kv->n; i++)
            if (take_text(c, key.s, UINT64_MAX, &t)) return ERR_FILE;
    } else if (!take(c, kv->n * types[kv->item].bytes, key.s)) {
        return ERR_FILE;
    }
    kv->bytes = c->pos - start;
    return kv->item == GGUF_BOOL ? check_bools(c, kv) : 0;
}

static int read_keys(struct cursor *c, struct gguf *g) {
    for (size_t i = 0; i < g->n_kv; i++) {
        struct gguf_kv *kv = &g->kv[i];
        char field[32];
        snprintf(field, sizeof field, "key %zu", i + 1);
        if (take_text(c, field, KEY_BYTES_MAX, &kv->key)) return ERR_FILE;
        if (!kv->key.n) return err_set(c->e, ERR_FILE, "%s: key %zu: found an empty name, expected one", g->path, i + 1);
        int rc = read_value(c, kv);
        if (rc) return rc;
    }
    return 0;
}

static int read_alignment(struct gguf *g, struct err *e) {
    uint64_t a = ALIGNMENT_DEFAULT;
    int rc = gguf_uint(g, "general.alignment", &a, e);
    if (rc) return rc;
    if (a < 8 || a > ALIGNMENT_MAX || (a & (a - 1)))
        return err_set(e, ERR_FILE, "%s: general.alignment: found %llu, expected a power of two from 8 to %d", g->path, (unsigned long long)a,
                       ALIGNMENT_MAX);
    g->alignment = a;
    return 0;
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

/* The dimensions of one tensor; *numbers, 1 before, becomes their product, which fits an int64_t. */
static int read_dims(struct cursor *c, struct gguf_tensor *t, const char *name, uint64_t *numbers) {
    if (take_u32(c, name, &t->n_dims)) return ERR_FILE;
    if (t->n_dims < 1 || t->n_dims > 4)
        return err_set(c->e, ERR_FILE, "%s: %s: found %u dimensions, expected 1 to 4", c->g->path, name, t->n_dims);
    for (uint32_t d = 0; d < 4; d++) {
        t->dim[d] = 1;
        if (d < t->n_dims && take_u64(c, name, &t->dim[d])) return ERR_FILE;
        if (!t->dim[d] || t->dim[d] > INT64_MAX / *numbers)
            return err_set(c->e, ERR_FILE, "%s: %s: found dimension %u of %llu, expected at least 1 and a product below 2^63", c->g->path, name,
                           d + 1, (unsigned long long)t->dim[d]);
        *numbers *= t->dim[d];
    }
    return 0;
}

static int size_tensor(struct cursor *c, struct gguf_tensor *t, const char *name, uint64_t numbers) {
    t->type = num_find(t->type_id);
    if (!t->type) return 0;
    if (t->dim[0] % t->type->block)
        return err_set(c->e, ERR_FILE, "%s: %s: found rows of %llu numbers, expected a multiple of %u for type %s", c->g->path, name,
                       (unsigned long long)t->dim[0], t->type->block, t->type->name);
    uint64_t blocks = numbers / t->type->block;
    if (blocks > c->g->map_bytes / t->type->bytes)
        return err_set(c->e, ERR_FILE, "%s: %s: found %llu numbers of type %s, expected no more than the file's %zu bytes hold", c->g->path, name,
                       (unsigned long long)numbers, t->type->name, c->g->map_bytes);
    t->bytes = (size_t)blocks * t->type->bytes;
    return 0;
}

/* Reads one entry of the tensor table; *offset counts from the first byte of tensor data, which is not known yet. */
static int read_tensor(struct cursor *c, size_t i, struct gguf_tensor *t, uint64_t *offset) {
    char field[32];
    snprintf(field, sizeof field, "tensor %zu", i + 1);
    if (take_text(c, field, NAME_BYTES_MAX, &t->name)) return ERR_FILE;
    if (!t->name.n) return err_set(c->e, ERR_FILE, "%s: tensor %zu: found an empty name, expected one", c->g->path, i + 1);
    struct shown name = show(t->name);
    uint64_t numbers = 1;
    if (read_dims(c, t, name.s, &numbers)) return ERR_FILE;
    if (take_u32(c, name.s, &t->type_id)) return ERR_FILE;
    if (take_u64(c, name.s, offset)) return ERR_FILE;
    return size_tensor(c, t, name.s, numbers);
}

/* Turns the offset into a pointer once the start of the data is known. */
static int place_tensor(const struct gguf *g, struct gguf_tensor *t, uint64_t offset, struct err *e) {
    struct shown name = show(t->name);
    size_t room = g->map_bytes - g->data_offset;
    if (offset % g->alignment)
        return err_set(e, ERR_FILE, "%s: %s: found offset %llu, expected a multiple of the alignment %llu", g->path, name.s,
                       (unsigned long long)offset, (unsigned long long)g->alignment);
    if (offset > room || t->bytes > room - offset)
        return err_set(e, ERR_FILE, "%s: %s: found %zu bytes at offset %llu, expected them within the %zu bytes of tensor data", g->path, name.s,
                       t->bytes, (unsigned long long)offset, room);
    t->data = g->map + g->data_offset + (size_t)offset;
    return 0;
}

static int read_tensors(struct cursor *c, struct gguf *g) {
    uint64_t *offset = calloc(g->n_tensors + 1, sizeof *offset);
    if (!offset) return err_set(c->e, ERR_MEMORY, "%s: no memory for its tensor table", g->path);
    int rc = 0;
    for (size_t i = 0; i < g->n_tensors && !rc; i++) rc = read_tensor(c, i, &g->tensor[i], &offset[i]);
    size_t pad = (size_t)(-c->pos & (g->alignment - 1));
    g->data_offset = pad <= left(c) ? c->pos + pad : g->map_bytes;
    for (size_t i = 0; i < g->n_tensors && !rc; i++) rc = place_tensor(g, &g->tensor[i], offset[i], c->e);
    free(offset);
    return rc;
}

/* ---- what must be unique ------------------------------------------------------------------------------------- */

static int text_order(const void *a, const void *b) {
    const struct gguf_text *x = a, *y = b;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return memcmp(x->p, y->p, x->n);
}

/* Sorts names in place and complains about two that are equal. */
static int check_unique(const struct gguf *g, struct gguf_text *name, size_t n, const char *kind, struct err *e) {
    qsort(name, n, sizeof *name, text_order);
    for (size_t i = 1; i < n; i++)
        if (!text_order(&name[i - 1], &name[i]))
            return err_set(e, ERR_FILE, "%s: %s: found the %s twice, expected it once", g->path, show(name[i]).s, kind);
    return 0;
}

static int data_order(const void *a, const void *b) {
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a, *y = *(const struct gguf_tensor *const *)b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int check_overlap(const struct gguf *g, const struct gguf_tensor **t, struct err *e) {
    for (size_t i = 0; i < g->n_tensors; i++) t[i] = &g->tensor[i];
    qsort(t, g->n_tensors, sizeof *t, data_order);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (t[i - 1]->data + t[i - 1]->bytes > t[i]->data)
            return err_set(e, ERR_FILE, "%s: %s: found data that overlaps that of %s, expected each tensor apart", g->path, show(t[i]->name).s,
                           show(t[i - 1]->name).s);
    return 0;
}

static int check_names(const struct gguf *g, struct err *e) {
    size_t n = g->n_kv > g->n_tensors ? g->n_kv : g->n_tensors;
    struct gguf_text *name = calloc(n + 1, sizeof *name);
    const struct gguf_tensor **sorted = calloc(g->n_tensors + 1, sizeof *sorted);
    int rc = 0;
    if (!name || !sorted) {
        rc = err_set(e, ERR_MEMORY, "%s: no memory to check its names", g->path);
        goto out;
    }
    for (size_t i = 0; i < g->n_kv; i++) name[i] = g->kv[i].key;
    if ((rc = check_unique(g, name, g->n_kv, "key", e))) goto out;
    for (size_t i = 0; i < g->n_tensors; i++) name[i] = g->tensor[i].name;
    if ((rc = check_unique(g, name, g->n_tensors, "tensor", e))) goto out;
    rc = check_overlap(g, sorted, e);
out:
    free(name);
    free(sorted);
    return rc;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static int map_file(struct gguf *g, struct err *e) {
    int rc = 0, fd = open(g->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, not waited for */
    if (fd < 0) return err_set(e, ERR_FILE, "%s: cannot be opened: %s", g->path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st)) {
        rc = err_set(e, ERR_FILE, "%s: cannot be opened: %s", g->path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        rc = err_set(e, ERR_FILE, "%s: cannot be opened: it is %s", g->path, S_ISDIR(st.st_mode) ? "a folder" : "no ordinary file");
    } else if (st.st_size > 0) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            rc = err_set(e, errno == ENOMEM ? ERR_MEMORY : ERR_FILE, "%s: cannot be mapped: %s", g->path, strerror(errno));
        } else {
            g->map = map;
            g->map_bytes = (size_t)st.st_size;
        }
    }
    close(fd);
    return rc;
}

static int read_all(struct gguf *g, struct err *e) {
    struct cursor c = {g, 0, e};
    uint64_t n_tensors = 0, n_kv = 0;
    int rc = read_header(&c, &g->version, &n_tensors, &n_kv);
    if (rc) return rc;
    g->kv = calloc((size_t)n_kv + 1, sizeof *g->kv);
    g->tensor = calloc((size_t)n_tensors + 1, sizeof *g->tensor);
    if (!g->kv || !g->tensor) return err_set(e, ERR_MEMORY, "%s: no memory for its tables", g->path);
    g->n_kv = (size_t)n_kv;
    if ((rc = read_keys(&c, g)) || (rc = read_alignment(g, e))) return rc;
    g->n_tensors = (size_t)n_tensors;
    if ((rc = read_tensors(&c, g))) return rc;
    return check_names(g, e);
}

static struct gguf *gguf_new(const char *path, struct err *e) {
    struct gguf *g = calloc(1, sizeof *g);
    if (g && (g->path = strdup(path))) return g;
    free(g);
    err_set(e, ERR_MEMORY, "%s: no memory to open it", path);
    return NULL;
}

/* Hands g out, or closes it where rc or what it holds is bad. */
static int finish_open(struct gguf **out, struct gguf *g, int rc, struct err *e) {
    if (!rc) rc = read_all(g, e);
    if (rc) gguf_close(g);
    else *out = g;
    return rc;
}

int gguf_open(struct gguf **out, const char *path, struct err *e) {
    *out = NULL;
    struct gguf *g = gguf_new(path, e);
    return g ? finish_open(out, g, map_file(g, e), e) : ERR_MEMORY;
}

int gguf_open_memory(struct gguf **out, const char *name, const void *bytes, size_t n, struct err *e) {
    *out = NULL;
    struct gguf *g = gguf_new(name, e);
    if (!g) return ERR_MEMORY;
    g->map = bytes;
    g->map_bytes = n;
    g->borrowed = true;
    return finish_open(out, g, 0, e);
}

void gguf_close(struct gguf *g) {
    if (!g) return;
    if (g->map && !g->borrowed) munmap((void *)g->map, g->map_bytes);
    free(g->kv);
    free(g->tensor);
    free((char *)g->path);
    free(g);
}

/* ---- looking up ---------------------------------------------------------------------------------------------- */

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key) {
    for (size_t i = 0; i < g->n_kv; i++)
        if (text_is(g->kv[i].key, key)) return &g->kv[i];
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
    for (size_t i = 0; i < g->n_tensors; i++)
        if (text_is(g->tensor[i].name, name)) return &g->tensor[i];
    return NULL;
}

static int wrong_type(const struct gguf *g, const struct gguf_kv *kv, const char *expected, struct err *e) {
    return err_set(e, ERR_FILE, "%s: %s: found a value of type %s, expected %s", g->path, show(kv->key).s, types[kv->type].name, expected);
}

/* Reads item i, of a fixed size, as the widest number of its kind. */
union number { uint64_t u; int64_t i; double r; };
enum number_kind { NUMBER_UNSIGNED, NUMBER_SIGNED, NUMBER_REAL, NUMBER_NONE };

#define READ(T, field, kind_) { T v; memcpy(&v, p, sizeof v); out->field = v; return kind_; }
static enum number_kind read_number(enum gguf_type type, const uint8_t *p, union number *out) {
    switch (type) {
    case GGUF_U8: READ(uint8_t, u, NUMBER_UNSIGNED)
    case GGUF_U16: READ(uint16_t, u, NUMBER_UNSIGNED)
    case GGUF_U32: READ(uint32_t, u, NUMBER_UNSIGNED)
    case GGUF_U64: READ(uint64_t, u, NUMBER_UNSIGNED)
    case GGUF_BOOL: READ(uint8_t, u, NUMBER_UNSIGNED)
    case GGUF_I8: READ(int8_t, i, NUMBER_SIGNED)
    case GGUF_I16: READ(int16_t, i, NUMBER_SIGNED)
    case GGUF_I32: READ(int32_t, i, NUMBER_SIGNED)
    case GGUF_I64: READ(int64_t, i, NUMBER_SIGNED)
    case GGUF_F32: READ(float, r, NUMBER_REAL)
    case GGUF_F64: READ(double, r, NUMBER_REAL)
    default: return NUMBER_NONE;
    }
}
#undef READ

int gguf_uint(const struct gguf *g, const char *key, uint64_t *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    union number v;
    enum number_kind kind = kv->type == GGUF_BOOL ? NUMBER_NONE : read_number(kv->type, kv->data, &v);
    if (kind != NUMBER_UNSIGNED && kind != NUMBER_SIGNED) return wrong_type(g, kv, "an integer", e);
    if (kind == NUMBER_SIGNED && v.i < 0)
        return err_set(e, ERR_FILE, "%s: %s: found %lld, expected an integer from 0", g->path, key, (long long)v.i);
    *out = v.u;
    return 0;
}

int gguf_real(const struct gguf *g, const char *key, double *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type == GGUF_ARRAY || kv->type == GGUF_STRING || kv->type == GGUF_BOOL) return wrong_type(g, kv, "a number", e);
    double v = gguf_item_real(kv, 0);
    if (!isfinite(v)) return err_set(e, ERR_FILE, "%s: %s: found %g, expected a finite number", g->path, key, v);
    *out = v;
    return 0;
}

int gguf_bool(const struct gguf *g, const char *key, bool *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_BOOL) return wrong_type(g, kv, "a bool", e);
    *out = kv->data[0];
    return 0;
}

int gguf_string(const struct gguf *g, const char *key, struct gguf_text *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_STRING) return wrong_type(g, kv, "a string", e);
    *out = gguf_item_text(kv, 0);
    return 0;
}

const uint8_t *gguf_next_text(const struct gguf_kv *kv, const uint8_t *at, struct gguf_text *out) {
    assert(kv->item == GGUF_STRING);
    if (!at || at >= kv->data + kv->bytes) return NULL;
    uint64_t n;
    memcpy(&n, at, sizeof n);
    *out = (struct gguf_text){(const char *)at + sizeof n, (size_t)n};
    return at + sizeof n + n;
}

struct gguf_text gguf_item_text(const struct gguf_kv *kv, uint64_t i) {
    assert(i < kv->n);
    struct gguf_text t = {"", 0};
    const uint8_t *at = kv->data;
    for (uint64_t k = 0; k <= i; k++) at = gguf_next_text(kv, at, &t);
    return t;
}

static enum number_kind item_number(const struct gguf_kv *kv, uint64_t i, union number *v) {
    assert(i < kv->n && types[kv->item].bytes);
    return read_number(kv->item, kv->data + i * types[kv->item].bytes, v);
}

double gguf_item_real(const struct gguf_kv *kv, uint64_t i) {
    union number v;
    switch (item_number(kv, i, &v)) {
    case NUMBER_UNSIGNED: return (double)v.u;
    case NUMBER_SIGNED: return (double)v.i;
    case NUMBER_REAL: return v.r;
    default: return 0;
    }
}

int64_t gguf_item_int(const struct gguf_kv *kv, uint64_t i) {
    union number v;
    switch (item_number(kv, i, &v)) {
    case NUMBER_UNSIGNED: return v.u > INT64_MAX ? INT64_MAX : (int64_t)v.u;
    case NUMBER_SIGNED: return v.i;
    case NUMBER_REAL: return v.r >= -9.2e18 && v.r <= 9.2e18 ? (int64_t)v.r : 0;
    default: return 0;
    }
}
