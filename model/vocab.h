/* vocab: a model's vocabulary and how text becomes token ids and back.
 *
 * Needs tokenizer.* metadata alone, of any architecture. Immutable once opened: any thread. Tokenisers are rows of a
 * table by tokenizer.ggml.model: "llama" (SPM: sentencepiece unigram merges by score, byte fallback), "gpt2" (byte-level
 * BPE with a pre-tokeniser expression by tokenizer.ggml.pre, through PCRE2). */
#ifndef MODEL_VOCAB_H
#define MODEL_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/buf.h"
#include "config/err.h"
#include "model/gguf.h"

enum vocab_attr { /* tokenizer.ggml.token_type */
    VOCAB_NORMAL = 1, VOCAB_UNKNOWN = 2, VOCAB_CONTROL = 3, VOCAB_USER = 4, VOCAB_UNUSED = 5, VOCAB_BYTE = 6
};

struct vocab_tokens { int32_t *id; size_t n, cap; }; /* zero before first use; vocab_tokens_free frees */
void vocab_tokens_free(struct vocab_tokens *t);
int vocab_tokens_add(struct vocab_tokens *t, int32_t id); /* ERR_MEMORY */

struct vocab;

int vocab_open(struct vocab **out, const struct gguf *g, struct err *e); /* g must outlive it */
void vocab_close(struct vocab *v);

uint32_t vocab_size(const struct vocab *v);
const char *vocab_model(const struct vocab *v);  /* "llama", "gpt2" */
const char *vocab_pre(const struct vocab *v);    /* pre-tokeniser's name, "" where none */
/* Ids, or -1 where the file names none. */
int32_t vocab_bos(const struct vocab *v);
bool vocab_add_bos(const struct vocab *v);       /* tokenizer.ggml.add_bos_token, or the tokeniser's own default */
bool vocab_is_end(const struct vocab *v, int32_t id); /* ends a reply: EOS, EOT, and the usual ones by name; a generated BOS too */
bool vocab_is_control(const struct vocab *v, int32_t id);

/* Appends the ids of text[0..n). User-defined tokens spelt in the text become their ids; with parse_special control tokens do
 * too (for template text only; what users wrote is passed with false and can then never become one). Never adds BOS. Bytes that
 * are no UTF-8 become byte tokens (SPM) or U+FFFD (BPE). */
int vocab_encode(const struct vocab *v, const char *text, size_t n, bool parse_special, struct vocab_tokens *out, struct err *e);
/* The same for text that goes on after other text: sentencepiece puts no blank before it. */
int vocab_encode_on(const struct vocab *v, const char *text, size_t n, bool parse_special, struct vocab_tokens *out, struct err *e);
/* An id by its exact spelling, -1 where there is none. */
int32_t vocab_find(const struct vocab *v, const char *text, size_t n);

/* Appends the bytes a token stands for (possibly part of a character). Control tokens are empty unless special. */
int vocab_piece(const struct vocab *v, int32_t id, bool special, struct buf *out);
/* The whole list as text, as a reply shows it: SPM's leading blank is dropped at the very start of a text only if strip_first. */
int vocab_decode(const struct vocab *v, const int32_t *id, size_t n, bool special, bool strip_first, struct buf *out);

/* How files with byte-level BPE write one byte: as one character, in UTF-8. Returns its length. */
size_t vocab_bpe_spell(uint8_t byte, char out[2]);

#endif
