/* checkpoint: see checkpoint.h. */
#include "model/train/checkpoint.h"

#include <assert.h>
#include <string.h>

#include "config/buf.h"
#include "config/hash.h"
#include "config/paths.h"

enum { VERSION = 1 };

static const char MAGIC[] = "kvetchgd";
static const size_t BYTES_MAX = (size_t)4 << 30;

struct head {
    char magic[8];
    uint32_t version, zero;
    uint64_t options, step, n_params, adamw_steps;
};
static_assert(sizeof(struct head) == 48, "no gaps, whose bytes would be anything");

int checkpoint_save(const char *path, uint64_t options, const struct net *n, const struct adamw *a, const float *loss, uint64_t step, struct err *e) {
    struct head h = {.version = VERSION, .options = options, .step = step, .n_params = n->n_params, .adamw_steps = a->n_steps};
    struct buf b = {0};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    buf_add(&b, &h, sizeof h);
    buf_add(&b, n->param, n->n_params * sizeof(float));
    buf_add(&b, a->m, a->n * sizeof(float));
    buf_add(&b, a->v, a->n * sizeof(float));
    buf_add(&b, loss, step * sizeof(float));
    uint64_t sum = hash_bytes(buf_text(&b), b.len, 0);
    buf_add(&b, &sum, sizeof sum);
    int rc = b.failed ? err_set(e, ERR_MEMORY, "no memory for the checkpoint") : paths_write_private(path, b.data, b.len, e);
    buf_free(&b);
    return rc;
}

static int check(const char *path, const struct buf *b, uint64_t options, uint64_t n_params, uint64_t n_steps, struct head *h, struct err *e) {
    uint64_t sum;
    if (b->len < sizeof *h + sizeof sum) return err_set(e, ERR_FILE, "%s: found %zu bytes, expected a checkpoint", path, b->len);
    memcpy(h, b->data, sizeof *h);
    memcpy(&sum, b->data + b->len - sizeof sum, sizeof sum);
    if (memcmp(h->magic, MAGIC, sizeof h->magic) || h->version != VERSION)
        return err_set(e, ERR_FILE, "%s: found another kind of file, expected a checkpoint of version %d", path, VERSION);
    if (sum != hash_bytes(b->data, b->len - sizeof sum, 0)) return err_set(e, ERR_FILE, "%s: the checkpoint is damaged", path);
    if (h->options != options || h->n_params != n_params || h->step > n_steps ||
        b->len != sizeof *h + (3 * n_params + h->step) * sizeof(float) + sizeof sum)
        return err_set(e, ERR_FILE, "%s: the checkpoint is of a run with another corpus or other options", path);
    return 0;
}

static const char *take(const char *from, float *to, uint64_t n) {
    memcpy(to, from, n * sizeof *to);
    return from + n * sizeof *to;
}

int checkpoint_load(const char *path, uint64_t options, struct net *n, struct adamw *a, float *loss, uint64_t n_steps, uint64_t *step, struct err *e) {
    struct buf b = {0};
    struct head h;
    int rc = paths_read(path, BYTES_MAX, &b, e);
    if (!rc) rc = check(path, &b, options, n->n_params, n_steps, &h, e);
    if (!rc) {
        const char *at = b.data + sizeof h;
        at = take(at, n->param, n->n_params);
        at = take(at, a->m, n->n_params);
        at = take(at, a->v, n->n_params);
        take(at, loss, h.step);
        a->n_steps = h.adamw_steps;
        *step = h.step;
    }
    buf_free(&b);
    return rc;
}
