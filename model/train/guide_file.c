/* guide_file: see guide_file.h. Names and values of the keys: the GGUF specification of the ggml project. */
#include "model/train/guide_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

enum { MOSTLY_Q8_0 = 7, QUANTIZATION_VERSION = 2 };

static void add_general(struct gguf_write *w) {
    gguf_write_text(w, "general.architecture", "llama");
    gguf_write_text(w, "general.type", "model");
    gguf_write_text(w, "general.name", "kvetch guide");
    gguf_write_text(w, "general.author", "the kvetch developers");
    gguf_write_text(w, "general.license", "mit");
    gguf_write_text(w, "general.description", "Answers questions about kvetch, and about nothing else.");
    gguf_write_u32(w, "general.file_type", MOSTLY_Q8_0);
    gguf_write_u32(w, "general.quantization_version", QUANTIZATION_VERSION);
}

static void add_shape(struct gguf_write *w, const struct net_shape *s) {
    gguf_write_u32(w, "llama.vocab_size", s->n_vocab);
    gguf_write_u32(w, "llama.context_length", s->n_ctx);
    gguf_write_u32(w, "llama.block_count", s->n_layers);
    gguf_write_u32(w, "llama.embedding_length", s->n_embd);
    gguf_write_u32(w, "llama.feed_forward_length", s->n_ff);
    gguf_write_u32(w, "llama.attention.head_count", s->n_heads);
    gguf_write_u32(w, "llama.attention.head_count_kv", s->n_kv_heads);
    gguf_write_u32(w, "llama.attention.key_length", s->head_dim);
    gguf_write_u32(w, "llama.attention.value_length", s->head_dim);
    gguf_write_u32(w, "llama.rope.dimension_count", s->head_dim);
    gguf_write_f32(w, "llama.rope.freq_base", s->rope_base);
    gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", s->norm_eps);
}

static void add_origin(struct gguf_write *w, const struct guide_file_origin *o) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, o->corpus_hash);
    gguf_write_text(w, GUIDE_FILE_CORPUS_HASH, hash);
    gguf_write_u64(w, "kvetch.guide.seed", o->seed);
    gguf_write_u64(w, "kvetch.guide.steps", o->steps);
    gguf_write_u64(w, "kvetch.guide.threads", o->threads);
}

static const struct num_type *stored_as(const struct net_tensor *t) {
    const struct num_type *q8 = num_find(NUM_Q8_0);
    if (t->rows == 1) return num_find(NUM_F32);
    return t->cols % q8->block ? num_find(NUM_F16) : q8;
}

int guide_file_save(const char *path, const struct net *n, const struct bpe *b, const struct guide_file_origin *o, uint64_t *bytes, struct err *e) {
    struct gguf_write w = {0};
    struct stat st = {0};
    add_general(&w);
    add_shape(&w, &n->shape);
    add_origin(&w, o);
    int rc = bpe_write(b, &w, e);
    for (size_t i = 0; i < n->n_tensors; i++) {
        const struct net_tensor *t = &n->tensor[i];
        gguf_write_tensor(&w, t->name, stored_as(t), t->cols, t->rows, n->param + t->offset);
    }
    if (!rc) rc = gguf_write_save(&w, path, e);
    gguf_write_free(&w);
    *bytes = !rc && !stat(path, &st) ? (uint64_t)st.st_size : 0;
    return rc;
}
