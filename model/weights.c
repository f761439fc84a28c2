/* weights: see weights.h. */
#include "model/weights.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/kernels.h"

/* Sizes that tensor dimensions are made of. */
enum dim { DIM_ONE, DIM_EMBD, DIM_FF, DIM_Q, DIM_K, DIM_V, DIM_O, DIM_HEAD, DIM_VOCAB, DIM_PAIRS, DIM_COUNT };

/* One row a tensor: its name, its shape and the place of struct weights_layer (or struct weights) that it fills.
 * rows is DIM_ONE for vectors, which are copied to floats. trait 0: must be there. */
struct tensor_row {
    const char *name;
    enum dim cols, rows;
    size_t at;
    unsigned trait;
};
#define IN_LAYER(field) offsetof(struct weights_layer, field)
static const struct tensor_row layer_rows[] = {
    {"attn_norm.weight", DIM_EMBD, DIM_ONE, IN_LAYER(attn_norm), 0},
    {"attn_q.weight", DIM_EMBD, DIM_Q, IN_LAYER(q), 0},
    {"attn_q.bias", DIM_Q, DIM_ONE, IN_LAYER(q_bias), ARCH_QKV_BIAS},
    {"attn_q_norm.weight", DIM_HEAD, DIM_ONE, IN_LAYER(q_norm), ARCH_QK_NORM},
    {"attn_k.weight", DIM_EMBD, DIM_K, IN_LAYER(k), 0},
    {"attn_k.bias", DIM_K, DIM_ONE, IN_LAYER(k_bias), ARCH_QKV_BIAS},
    {"attn_k_norm.weight", DIM_HEAD, DIM_ONE, IN_LAYER(k_norm), ARCH_QK_NORM},
    {"attn_v.weight", DIM_EMBD, DIM_V, IN_LAYER(v), 0},
    {"attn_v.bias", DIM_V, DIM_ONE, IN_LAYER(v_bias), ARCH_QKV_BIAS},
    {"attn_output.weight", DIM_O, DIM_EMBD, IN_LAYER(o), 0},
    {"attn_output.bias", DIM_EMBD, DIM_ONE, IN_LAYER(o_bias), ARCH_O_BIAS},
    {"ffn_norm.weight", DIM_EMBD, DIM_ONE, IN_LAYER(ffn_norm), 0},
    {"ffn_gate.weight", DIM_EMBD, DIM_FF, IN_LAYER(gate), 0},
    {"ffn_up.weight", DIM_EMBD, DIM_FF, IN_LAYER(up), 0},
    {"ffn_down.weight", DIM_FF, DIM_EMBD, IN_LAYER(down), 0},
};
#define OPTIONAL (1u << 31) /* a trait that every architecture may have */
static const struct tensor_row model_rows[] = {
    {"token_embd.weight", DIM_EMBD, DIM_VOCAB, offsetof(struct weights, embd), 0},
    {"output_norm.weight", DIM_EMBD, DIM_ONE, offsetof(struct weights, output_norm), 0},
    {"output.weight", DIM_EMBD, DIM_VOCAB, offsetof(struct weights, output), OPTIONAL},
    {"rope_freqs.weight", DIM_PAIRS, DIM_ONE, offsetof(struct weights, rope_factors), OPTIONAL},
};
#define N_LAYER_ROWS (sizeof layer_rows / sizeof *layer_rows)
#define N_MODEL_ROWS (sizeof model_rows / sizeof *model_rows)

/* What reading needs at hand. */
struct reader {
    const struct gguf *g;
    struct weights *w;
    uint64_t dim[DIM_COUNT];
    bool *used;                 /* [n_tensors]: tensors that found their place */
    float *vector, *vector_end; /* the next free floats of w->vectors */
    struct err *e;
};

const char *weights_key(struct weights_key *k, const struct arch *a, const char *name) {
    snprintf(k->text, sizeof k->text, "%s.%s", a->name, name);
    return k->text;
}

/* ---- sizes --------------------------------------------------------------------------------------------------- */

/* Reads a size into *out, which holds the default; 0 as default: the key must be there. */
static int read_size(struct reader *r, const char *name, uint64_t min, uint64_t max, uint32_t *out) {
    struct weights_key key;
    weights_key(&key, r->w->arch, name);
    const struct gguf_kv *kv = gguf_find(r->g, key.text);
    if (!kv && !*out) return err_set(r->e, ERR_FILE, "%s: %s: found nothing, expected a number", r->g->path, key.text);
    uint64_t n = *out;
    if (kv && kv->type == GGUF_ARRAY && kv->n &&
        kv->item != GGUF_STRING) { /* one number a layer: all must be the same */
        for (uint64_t i = 0; i < kv->n; i++)
            if (gguf_item_int(kv, i) != gguf_item_int(kv, 0))
                return err_set(r->e, ERR_FILE,
                               "%s: %s: found layers with different numbers, expected the same number in each",
                               r->g->path, key.text);
        n = (uint64_t)gguf_item_int(kv, 0);
    } else {
        int rc = gguf_uint(r->g, key.text, &n, r->e);
        if (rc) return rc;
    }
    if (n < min || n > max)
        return err_set(r->e, ERR_FILE, "%s: %s: found %llu, expected %llu to %llu", r->g->path, key.text,
                       (unsigned long long)n, (unsigned long long)min, (unsigned long long)max);
    *out = (uint32_t)n;
    return 0;
}

static int refuse_size(struct reader *r, const char *name, uint32_t found, const char *expected) {
    return err_set(r->e, ERR_FILE, "%s: %s.%s: found %u, expected %s", r->g->path, r->w->arch->name, name, found,
                   expected);
}

static int read_shape(struct reader *r, uint32_t n_vocab) {
    struct weights_shape *s = &r->w->shape;
    const uint64_t most = 1u << 24;
    uint32_t experts = UINT32_MAX;
    int rc;
    /* a layer has nine tensors at least, so that a huge count is refused before anything is allocated for it */
    if ((rc = read_size(r, "block_count", 1, r->g->n_tensors / 9 + 1, &s->n_layers))) return rc;
    if ((rc = read_size(r, "embedding_length", 1, most, &s->n_embd))) return rc;
    if ((rc = read_size(r, "feed_forward_length", 1, most, &s->n_ff))) return rc;
    if ((rc = read_size(r, "context_length", 1, UINT32_MAX / 2, &s->n_ctx_train))) return rc;
    if ((rc = read_size(r, "attention.head_count", 1, 1u << 16, &s->n_heads))) return rc;
    s->n_kv_heads = s->n_heads;
    if ((rc = read_size(r, "attention.head_count_kv", 1, s->n_heads, &s->n_kv_heads))) return rc;
    if (s->n_heads % s->n_kv_heads)
        return refuse_size(r, "attention.head_count_kv", s->n_kv_heads, "a divisor of the number of heads");
    if (s->n_heads / s->n_kv_heads > WEIGHTS_MAX_GROUP)
        return refuse_size(r, "attention.head_count_kv", s->n_kv_heads, "at least one for 32 heads");
    s->head_dim_k = s->head_dim_v = s->n_embd / s->n_heads;
    if ((rc = read_size(r, "attention.key_length", 2, WEIGHTS_MAX_HEAD, &s->head_dim_k))) return rc;
    if (s->head_dim_k % 2) return refuse_size(r, "attention.key_length", s->head_dim_k, "an even number");
    if ((rc = read_size(r, "attention.value_length", 2, WEIGHTS_MAX_HEAD, &s->head_dim_v))) return rc;
    if (s->head_dim_v % 2) return refuse_size(r, "attention.value_length", s->head_dim_v, "an even number");
    s->n_rot = s->head_dim_k;
    if ((rc = read_size(r, "rope.dimension_count", 2, s->head_dim_k, &s->n_rot))) return rc;
    if (s->n_rot % 2) return refuse_size(r, "rope.dimension_count", s->n_rot, "an even number");
    if ((rc = read_size(r, "expert_count", 0, UINT32_MAX, &experts))) return rc;
    if (experts && experts != UINT32_MAX)
        return refuse_size(r, "expert_count", experts, "0: mixtures of experts are not supported yet");
    s->n_vocab = n_vocab;

    struct weights_key key;
    double eps = -1;
    if ((rc = gguf_real(r->g, weights_key(&key, r->w->arch, "attention.layer_norm_rms_epsilon"), &eps, r->e)))
        return rc;
    if (!(eps >= 0 && eps < 1))
        return err_set(r->e, ERR_FILE, "%s: %s: found %g, expected a number from 0 up to 1", r->g->path, key.text, eps);
    s->norm_eps = (float)eps;
    return 0;
}

static void set_dims(struct reader *r) {
    const struct weights_shape *s = &r->w->shape;
    r->dim[DIM_ONE] = 1;
    r->dim[DIM_EMBD] = s->n_embd;
    r->dim[DIM_FF] = s->n_ff;
    r->dim[DIM_Q] = (uint64_t)s->n_heads * s->head_dim_k;
    r->dim[DIM_K] = (uint64_t)s->n_kv_heads * s->head_dim_k;
    r->dim[DIM_V] = (uint64_t)s->n_kv_heads * s->head_dim_v;
    r->dim[DIM_O] = (uint64_t)s->n_heads * s->head_dim_v;
    r->dim[DIM_HEAD] = s->head_dim_k;
    r->dim[DIM_VOCAB] = s->n_vocab;
    r->dim[DIM_PAIRS] = s->n_rot / 2;
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

static const char *supported_types(char *text, size_t n) {
    size_t len = 0;
    text[0] = 0;
    for (uint32_t id = 0; id < 64; id++) {
        const struct num_type *t = num_find(id);
        if (t && kernels_can_multiply(t) && len < n) len += (size_t)snprintf(text + len, n - len, "%s%s", len ? ", " : "", t->name);
    }
    return text;
}

static void shape_text(char *text, size_t n, const uint64_t *dim, uint32_t n_dims) {
    size_t len = 0;
    for (uint32_t i = 0; i < n_dims && len < n; i++)
        len += (size_t)snprintf(text + len, n - len, "%s%llu", i ? " x " : "", (unsigned long long)dim[i]);
}

static int check_tensor(const struct reader *r, const char *name, const struct tensor_row *row,
                        const struct gguf_tensor *t) {
    char found[96], types[160];
    uint64_t cols = r->dim[row->cols], rows = r->dim[row->rows];
    if (t->dim[0] != cols || t->dim[1] != rows || t->dim[2] != 1 || t->dim[3] != 1) {
        shape_text(found, sizeof found, t->dim, t->n_dims);
        if (row->rows == DIM_ONE)
            return err_set(r->e, ERR_FILE, "%s: %s: found %s, expected %llu", r->g->path, name, found,
                           (unsigned long long)cols);
        return err_set(r->e, ERR_FILE, "%s: %s: found %s, expected %llu x %llu", r->g->path, name, found,
                       (unsigned long long)cols, (unsigned long long)rows);
    }
    if (!t->type || !kernels_can_multiply(t->type)) {
        const char *type = num_id_name(t->type_id);
        snprintf(found, sizeof found, "%u", t->type_id);
        return err_set(r->e, ERR_FILE, "%s: %s: found type %s, expected one of %s", r->g->path, name,
                       type ? type : found, supported_types(types, sizeof types));
    }
    if (!num_row_bytes(t->type, cols))
        return err_set(r->e, ERR_FILE, "%s: %s: found rows of %llu in type %s, expected a multiple of %u", r->g->path,
                       name, (unsigned long long)cols, t->type->name, t->type->block);
    return 0;
}

/* Puts one tensor into its place in base; leaves the place empty where the architecture does without it. */
static int read_tensor(struct reader *r, const char *name, const struct tensor_row *row, void *base) {
    unsigned may = r->w->arch->may | OPTIONAL, must = r->w->arch->must;
    if (row->trait && !(row->trait & (may | must))) return 0;
    const struct gguf_tensor *t = gguf_find_tensor(r->g, name);
    if (!t) {
        if (row->trait & may) return 0;
        uint64_t dim[2] = {r->dim[row->cols], r->dim[row->rows]};
        char shape[96];
        shape_text(shape, sizeof shape, dim, row->rows == DIM_ONE ? 1 : 2);
        return err_set(r->e, ERR_FILE, "%s: %s: found nothing, expected a tensor of %s", r->g->path, name, shape);
    }
    int rc = check_tensor(r, name, row, t);
    if (rc) return rc;
    r->used[t - r->g->tensor] = true;
    size_t cols = (size_t)t->dim[0];
    void *place = (char *)base + row->at;
    if (row->rows == DIM_ONE) {
        assert((size_t)(r->vector_end - r->vector) >= cols);
        t->type->to_f32(t->data, r->vector, cols);
        *(const float **)place = r->vector;
        r->vector += cols;
    } else {
        *(struct matrix *)place =
            (struct matrix){t->type, t->data, (size_t)t->dim[1], cols, num_row_bytes(t->type, cols)};
        if (cols > r->w->max_cols) r->w->max_cols = cols;
    }
    return 0;
}

static int read_tensors(struct reader *r) {
    struct weights *w = r->w;
    int rc;
    for (size_t i = 0; i < N_MODEL_ROWS; i++)
        if ((rc = read_tensor(r, model_rows[i].name, &model_rows[i], w))) return rc;
    if (!w->output.data) w->output = w->embd;
    for (uint32_t il = 0; il < w->shape.n_layers; il++)
        for (size_t i = 0; i < N_LAYER_ROWS; i++) {
            char name[96];
            snprintf(name, sizeof name, "blk.%u.%s", il, layer_rows[i].name);
            if ((rc = read_tensor(r, name, &layer_rows[i], &w->layer[il]))) return rc;
        }
    for (size_t i = 0; i < r->g->n_tensors;
         i++) /* a tensor without a place would mean that the model is another one than we compute */
        if (!r->used[i])
            return err_set(r->e, ERR_FILE, "%s: %.*s: found a tensor that %s models are not known to have", r->g->path,
                           (int)(r->g->tensor[i].name.n < 100 ? r->g->tensor[i].name.n : 100), r->g->tensor[i].name.p,
                           w->arch->name);
    return 0;
}

/* The floats of every vector that could be there, one layer and the model. */
static size_t count_vectors(const struct reader *r) {
    size_t n = 0, a_layer = 0;
    for (size_t i = 0; i < N_LAYER_ROWS; i++)
        if (layer_rows[i].rows == DIM_ONE) a_layer += (size_t)r->dim[layer_rows[i].cols];
    for (size_t i = 0; i < N_MODEL_ROWS; i++)
        if (model_rows[i].rows == DIM_ONE) n += (size_t)r->dim[model_rows[i].cols];
    size_t all;
    if (__builtin_mul_overflow(a_layer, (size_t)r->w->shape.n_layers, &all) || __builtin_add_overflow(all, n, &all))
        return 0;
    return all;
}

int weights_read(struct weights *w, const struct gguf *g, uint32_t n_vocab, struct err *e) {
    *w = (struct weights){0};
    struct reader r = {.g = g, .w = w, .e = e};
    struct gguf_text name = {"", 0};
    int rc = gguf_string(g, "general.architecture", &name, e);
    if (rc) return rc;
    w->arch = arch_find(name);
    if (!w->arch)
        return err_set(e, ERR_FILE, "%s: general.architecture: found \"%.*s\", expected one of %s", g->path,
                       (int)(name.n < 64 ? name.n : 64), name.p, arch_names());
    if ((rc = read_shape(&r, n_vocab))) goto out;
    set_dims(&r);
    size_t n_vectors = count_vectors(&r);
    rc = ERR_MEMORY;
    w->layer = calloc(w->shape.n_layers, sizeof *w->layer);
    w->vectors = n_vectors ? calloc(n_vectors, sizeof *w->vectors) : NULL;
    r.used = calloc(g->n_tensors, sizeof *r.used);
    if (!w->layer || !w->vectors || !r.used) {
        err_set(e, rc, "no memory to read the tensor table of %s", g->path);
        goto out;
    }
    r.vector = w->vectors;
    r.vector_end = w->vectors + n_vectors;
    rc = read_tensors(&r);
out:
    free(r.used);
    if (rc) weights_free(w);
    return rc;
}

void weights_free(struct weights *w) {
    free(w->layer);
    free(w->vectors);
    *w = (struct weights){0};
}
