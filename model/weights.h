/* weights: a model's sizes and tensors, read from a GGUF file and checked against each other.
 *
 * Matrices stay where the file is mapped; norms and biases, which are small, are copied to floats. Immutable once read.
 */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "config/err.h"
#include "model/arch.h"
#include "model/gguf.h"
#include "model/matmul.h"

#define WEIGHTS_MAX_HEAD 512u /* longest head that attention takes */
#define WEIGHTS_MAX_GROUP 32u /* most query heads that may share a key-value head */

struct weights_shape {
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim_k, head_dim_v, n_rot, n_vocab, n_ctx_train;
    float norm_eps;
};

struct weights_layer {
    const float *attn_norm, *ffn_norm;     /* [n_embd] */
    const float *q_norm, *k_norm;          /* [head_dim_k], NULL where the architecture has none */
    const float *q_bias, *k_bias, *v_bias; /* [rows of q, k, v], or NULL */
    const float *o_bias;                   /* [n_embd], or NULL */
    struct matrix q;                       /* [n_heads * head_dim_k][n_embd] */
    struct matrix k, v;                    /* [n_kv_heads * head_dim][n_embd] */
    struct matrix o;                       /* [n_embd][n_heads * head_dim_v] */
    struct matrix gate, up;                /* [n_ff][n_embd] */
    struct matrix down;                    /* [n_embd][n_ff] */
};

struct weights {
    const struct arch *arch;
    struct weights_shape shape;
    struct weights_layer *layer; /* [n_layers], owned */
    struct matrix embd;          /* [n_vocab][n_embd] */
    struct matrix output;        /* [n_vocab][n_embd]; embd itself where the file has no output of its own */
    const float *output_norm;    /* [n_embd] */
    const float *rope_factors;   /* [n_rot / 2] or NULL: what each frequency is divided by */
    size_t max_cols;             /* longest row of any matrix */
    float *vectors;              /* owned: the bytes of every const float * above */
};

/* Reads all of a supported architecture's tensors. n_vocab: entries of the vocabulary. ERR_FILE: one line that names
 * the file, the key or tensor, what was found and what was expected. On failure *w is empty. */
int weights_read(struct weights *w, const struct gguf *g, uint32_t n_vocab, struct err *e);
void weights_free(struct weights *w);

/* A key of the architecture, "llama.block_count" for ("llama", "block_count"), in a static-sized buffer of the caller.
 */
struct weights_key {
    char text[128];
};
const char *weights_key(struct weights_key *k, const struct arch *a, const char *name);

#endif
