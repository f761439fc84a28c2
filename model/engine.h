/* engine: everything that app/ may see of the model: open a file, render a conversation, get a reply.
 *
 * A struct model is immutable and may be shared. A struct session holds one cache, its buffers and its thread pool; one
 * thread (the engine thread) makes every call on it, except session_get_stats. */
#ifndef MODEL_ENGINE_H
#define MODEL_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/buf.h"
#include "config/err.h"
#include "kv/kv.h"

/* To be called first in main: some libraries read the environment before main, so this sets what they need on this
 * processor and executes the program once more. Returns where nothing was to be done or it could not be. */
void engine_prepare_process(char **argv);

/* ---- the model ----------------------------------------------------------------------------------------------- */

struct model;

struct model_options {
    bool vocab_only;   /* tokenizer alone: any architecture, no weights needed */
    bool describe;     /* to be looked at: also a file that cannot be run, see model_info.cannot_run */
};
/* In place of a path: the model that is built into the program. (A file of this name is "./guide".) */
#define MODEL_GUIDE "guide"
/* Maps and checks the file. ERR_FILE: one line that names file, field, found and expected. */
int model_open(struct model **out, const char *path, const struct model_options *o, struct err *e);
void model_close(struct model *m); /* NULL is fine */

struct model_info {
    const char *path, *name, *arch;  /* path: as model_open was given it; name: general.name, or the file's base name */
    const char *type;                /* "Q4_K_M" by general.file_type, or the commonest tensor type */
    uint64_t n_params, file_bytes, weight_bytes;
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_ctx_train;
    const char *vocab_model, *vocab_pre;
    const char *template_name;       /* "chatml", "none", "unknown" */
    uint64_t fingerprint;            /* architecture, tensor table, metadata and sampled weights (not the path) */
    double rope_base; const char *rope_scaling; /* "none", "linear", "llama3", "yarn" */
    const char *cannot_run;          /* why no session can be opened; NULL: it can */
};
/* Strings live as long as the model. Of a file that cannot be run: what its metadata says, numbers it lacks being 0 and strings NULL. */
void model_get_info(const struct model *m, struct model_info *info);
size_t model_n_keys(const struct model *m);
/* Appends name and value of one key of the metadata; the value as model_describe has it, but a string whole, as it is, and *text true. */
int model_get_key(const struct model *m, size_t i, struct buf *name, struct buf *value, bool *text);
/* Metadata and tensors as text, one line each, for `info`. verbose: tensors too. */
int model_describe(const struct model *m, bool verbose, struct buf *out, struct err *e);

/* ---- tokens -------------------------------------------------------------------------------------------------- */

struct tokens { int32_t *id; size_t n; }; /* malloc'd; tokens_free frees and empties */
void tokens_free(struct tokens *t);
/* parse_special: control tokens spelt in the text become ids. add_bos: put BOS first where the model wants it. */
int model_tokenize(const struct model *m, const char *text, size_t n, bool parse_special, bool add_bos, struct tokens *out, struct err *e);

/* ---- messages ------------------------------------------------------------------------------------------------ */

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT };
const char *chat_role_name(enum chat_role r); /* "system", ... */

struct chat_message {
    enum chat_role role;
    const char *text; size_t n_text;  /* valid UTF-8 */
    const int32_t *id; size_t n_ids;  /* an assistant's: the ids that were generated (without the end token); used wherever the template
                                         leaves the text unchanged; NULL: tokenise the text */
    bool pinned;
    bool open;                        /* last message, an assistant's, that is to be continued: no end mark after it */
};

struct rendered {
    int32_t *id; size_t n;            /* the whole conversation */
    size_t n_keep;                    /* its first tokens: BOS and the system message */
    struct kv_turn *turn; size_t n_turns;
    size_t *message_end; size_t n_messages; /* index of the token after each message */
};
void rendered_free(struct rendered *r);
/* The model's own template; special tokens by id, what is in a message's text never spells one. BOS where the vocabulary asks for it. Without a
 * template messages are joined by one newline. add_generation_prompt: end with what opens an assistant's reply. */
int model_render(const struct model *m, const struct chat_message *msg, size_t n, bool add_generation_prompt, struct rendered *out, struct err *e);

/* ---- sampling ------------------------------------------------------------------------------------------------ */

struct sample_params {
    float temp;               /* 0: arg max */
    int32_t top_k;            /* 0: off */
    float top_p, min_p;       /* 1, 0: off */
    float repeat_penalty;     /* 1: off */
    int32_t repeat_last_n;    /* 0: off, -1: the whole context */
    float presence_penalty, frequency_penalty;
    uint64_t seed;            /* UINT64_MAX: taken from the clock */
};

/* ---- a session ----------------------------------------------------------------------------------------------- */

struct session_options {
    uint32_t bound;           /* 0: what the model was trained for */
    uint32_t start;
    enum kv_grow grow;
    uint64_t step_bytes; uint32_t step_cells;
    uint64_t threshold_bytes; /* 0: 1 GiB */
    uint64_t budget_bytes;    /* 0: automatic */
    uint64_t prompt_bytes;    /* most for conversations that are not live; 0: none are held ready; KV_PROMPT_AUTO */
    uint32_t prompt_tokens;   /* and most tokens of them; 0: as many as fit */
    enum kv_evict evict;
    int64_t keep;             /* -1: the system prompt; else a number of tokens */
    double evict_free;        /* 0: a half */
    const struct num_type *type_k, *type_v; /* NULL: f16 */
    int memory;               /* see kv_memory_find */
    char plugin[1024];        /* file of a memory plug-in, in place of it; "" none */
    int n_threads;            /* 0: cpu_count() */
    uint32_t n_batch, n_ubatch; /* 0: 2048, 512 */
};

struct session;
int session_open(struct session **out, struct model *m, const struct session_options *o, struct err *e);
void session_close(struct session *s); /* NULL is fine */
/* Whether a conversation under a system prompt (n 0: none) fits a session of these options, before anything is said. Any thread. ERR_USAGE: what
 * is kept of it is larger than half the bound. ERR_MEMORY. */
int session_check_system(const struct model *m, const struct session_options *o, const char *text, size_t n, struct err *e);

enum finish_reason { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CONTEXT, FINISH_CANCEL, FINISH_ERROR };
const char *finish_name(enum finish_reason f); /* "stop", "length", "context", "cancel", "error" */

/* Called on the engine thread, between micro-batches and tokens; they must be quick. Any may be NULL. */
struct session_events {
    void *ctx;
    void (*plan)(void *ctx, const struct kv_plan *plan, size_t n_prompt);         /* sync is done: what is cached, what left */
    void (*progress)(void *ctx, size_t done, size_t total);                       /* prompt tokens read */
    void (*text)(void *ctx, const char *utf8, size_t n, int32_t token);           /* whole characters, control sequences removed; token: the last one in it */
    void (*cache)(void *ctx, const struct kv_event *ev);                          /* growth, shrink, eviction, as they happen */
    bool (*cancelled)(void *ctx);                                                 /* asked at every layer */
};

struct reply_request {
    const struct rendered *prompt;
    const struct sample_params *sampling;
    int64_t n_max;                     /* most tokens; -1: no limit */
    const char *const *stop; size_t n_stop; /* stop strings; not part of the text */
    uint64_t conversation;             /* whose prompt it is, see struct kv_prompt; 0: that of the reply before */
    bool keep_end_tokens;              /* do not end at end tokens (benchmarks) */
};

struct reply {
    struct buf text;                   /* what was shown */
    struct tokens tokens;              /* what was generated, without the end token */
    enum finish_reason finish;
    char stopped_by[32];               /* stop string or end token, "" otherwise */
    size_t n_prompt, n_cached, n_completion;
    size_t evicted_turns, evicted_tokens;
    double prompt_us, completion_us, first_token_us; /* from the call */
};
void reply_free(struct reply *r);

/* One turn: sync, prefill, decode until an end. A cancel or a memory error in the middle returns 0 with the finish reason and what
 * was generated; before the first token a failure returns the code (and reply is empty). The cache stays valid whatever happens. */
int session_reply(struct session *s, const struct reply_request *r, const struct session_events *ev, struct reply *out, struct err *e);

/* Logits of every given token: out[n][n_vocab]. The cache is cleared first. ubatch: 0, the session's; 1 uses the decode kernels. */
int session_logits(struct session *s, const int32_t *id, size_t n, uint32_t ubatch, float *out, struct err *e);

/* What the cache remembers of the conversation, for marks in the transcript: token ranges that left. Borrowed until the next call. */
size_t session_left(const struct session *s, const struct kv_range **ranges);

int session_clear(struct session *s);                 /* the conversation is empty now: forget it, give blocks back */
void session_park(struct session *s);                 /* another one is to come: holds this one ready, where the options allow it */
bool session_resume(struct session *s, uint64_t conversation); /* after a park: takes up one that is held ready; false: it is not */
struct kv *session_kv(struct session *s);             /* for /limit, /grow, /evict, /shrink: engine thread */

/* Cache, tokens, sampler and random state to a file and back; see kv_save and kv_load. */
int session_save(struct session *s, const char *path, uint64_t *bytes, struct err *e);
int session_load(struct session *s, const char *path, uint64_t *bytes, struct err *e);

struct session_stats {
    struct kv_stats kv;
    uint64_t weight_mapped_bytes, weight_resident_bytes; /* measured (mincore or smaps), refreshed at most once a second */
    uint64_t scratch_bytes;
    double prefill_tps, decode_tps;    /* of the last reply, or of the running one */
    int n_threads;
    const char *isa;
    const char *type_k, *type_v;       /* of the cache, as their types are called */
};
void session_get_stats(struct session *s, struct session_stats *st); /* any thread */

/* ---- measuring ----------------------------------------------------------------------------------------------- */

/* Steps for `bench`, on the engine's own buffers. Tokens are pseudo-random. Microseconds each. */
int session_bench_fill(struct session *s, uint32_t depth, struct err *e);               /* clears, then depth cells of random keys and values */
int session_bench_prefill(struct session *s, uint32_t n, double *us, struct err *e);    /* appends */
int session_bench_decode(struct session *s, uint32_t n, double *step_us, struct err *e); /* [n] microseconds of each step; step_us may be NULL */
/* Reads a conversation of n tokens, then n_times another one and back to the first, whose last token alone is computed then. The session's
 * prompt cache must have room for both. back_us: [n_times]. */
int session_bench_switch(struct session *s, uint32_t n, double *read_us, double *back_us, int n_times, struct err *e);
/* How well the model foresees a text: e to the mean of -ln p over the *n tokens that counts[] (NULL: all) names, the first of all left out. The
 * cache is cleared, then read into and evicted from as it was opened. A text with turns goes in turn by turn, as in a chat, so that whole
 * turns leave; one without (of which id and n alone are looked at) is one long turn. ERR_CONTEXT under mode stop, where it does not fit. */
int session_bench_perplexity(struct session *s, const struct rendered *text, const bool *counts, double *perplexity, size_t *n, struct err *e);
/* This machine now: bytes/s read by n threads, f32 and int8 operations/s. */
void engine_measure(int n_threads, double *read_bytes_s, double *f32_ops_s, double *int8_ops_s);

#endif
