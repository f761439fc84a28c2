/* arch: the architectures this engine can run, one row each.
 *
 * A row says how an architecture's metadata keys begin, how its heads are rotated and which of the optional tensors its
 * layers have. Adding a decoder-only relative of llama is adding a row; weights.c and forward.c follow the traits. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <stdbool.h>

#include "model/gguf.h"

/* Tensors that some architectures have and others lack. */
enum arch_trait {
    ARCH_QKV_BIAS = 1 << 0, /* attn_q.bias, attn_k.bias, attn_v.bias */
    ARCH_O_BIAS = 1 << 1,   /* attn_output.bias */
    ARCH_QK_NORM = 1 << 2,  /* attn_q_norm.weight, attn_k_norm.weight: each head normalised before its rotation */
};

struct arch {
    const char *name;   /* general.architecture, and what its metadata keys begin with */
    bool neox;          /* rotates pairs (i, i + n/2) instead of (2i, 2i + 1) */
    unsigned must, may; /* sets of enum arch_trait: tensors that must be there, and those used where they are */
};

const struct arch *arch_find(struct gguf_text name); /* NULL: not one of ours */
const char *arch_names(void);                        /* "llama, qwen2, qwen3" */

#endif
