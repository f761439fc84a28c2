/* pretokenizer: see pretokenizer.h. */
#include "model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* ---- the rules ----------------------------------------------------------------------------------------------- */

/* Expressions as the tokenizer.json files of the models give them. Apostrophe endings are spelt in both cases rather than
 * matched without case, which would let U+017F pass for an s. */
#define ENDINGS "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
#define SPACES "\\p{wspace}*[\\r\\n]+|\\p{wspace}+(?!\\P{wspace})|\\p{wspace}+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{wspace}\\p{L}\\p{N}]+|\\p{wspace}+(?!\\P{wspace})|\\p{wspace}+"
#define WORDS_AND(digits) ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\p{wspace}\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
/* Words that start at a capital, as in tekken and GPT-4o. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending, digits)                                                                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ending "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" ending "|" digits               \
    "| ?[^\\p{wspace}\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define CJK "[\\x{4e00}-\\x{9fa5}\\x{0800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

enum { EXPRESSIONS_MAX = 6 };

struct rule {
    const char *names;  /* blank-separated; "" is among the first row's */
    bool whole_words, add_bos;
    const char *expression[EXPRESSIONS_MAX];
};

static const struct rule rules[] = {
    {"default gptneox gpt-neox", false, false, {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2 gpt2 mpt olmo jais phi-2 roberta-bpe modern-bert exaone4 trillion granite-docling jina-es jina-de jina-v2-es jina-v2-de jina-v2-code "
     "gigachat a.x-4.0 mellum",
     false, false, {GPT2}},
    {"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", false, false, {"\\p{N}", GPT2}},
    {"falcon", false, false, {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan solar-open grok-2", false, false, {WORDS_AND("\\p{N}")}},
    {"qwen35", false, false,
     {ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\p{wspace}\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", true, true, {WORDS_AND("\\p{N}{1,3}")}},
    {"dbrx smaug-bpe chatglm-bpe glm4", false, false, {WORDS_AND("\\p{N}{1,3}")}},
    {"minicpm5", true, false, {"\\p{N}{1,3}", WORDS_AND("\\p{N}+")}},
    {"seed-coder", false, false, {ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\p{wspace}\\p{L}\\p{N}\\r\\n]+|" SPACES}},
    {"tekken", true, true, {CASED("", "\\p{N}")}},
    {"gpt-4o llama4", false, false, {CASED("(?:" ENDINGS ")?", "\\p{N}{1,3}")}},
    {"deepseek-llm", false, false,
     {"[\\r\\n]", "\\p{wspace}?[\\p{Lu}\\p{Ll}\\p{Lt}]+", "\\p{wspace}?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
      "(?<!\\p{wspace})\\p{wspace}+\\z", CJK, "\\p{N}+"}},
    {"deepseek-coder", false, false, {"[\\r\\n]", "\\p{wspace}?\\p{L}+", "\\p{wspace}?\\p{P}+", CJK, "\\p{N}"}},
    {"deepseek-v3 hunyuan-dense joyai-llm", false, false,
     {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES}},
    {"bloom poro-chat gpt3-finnish", false, false, {" ?[^(\\p{wspace}|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{0964}\\x{06d4}\\x{060c})]+"}},
    {"viking", false, false, {" ?[^(\\p{wspace}|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{0964}\\x{06d4}\\x{060c})]+", "\\p{N}"}},
};

static bool is_listed(const char *names, const char *name) {
    size_t n = strlen(name);
    for (const char *p = names; *p; p += *p == ' ') {
        size_t len = strcspn(p, " ");
        if (len == n && !memcmp(p, name, n)) return true;
        p += len;
    }
    return false;
}

static const struct rule *find_rule(const char *name) {
    if (!*name) return &rules[0];
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (is_listed(rules[i].names, name)) return &rules[i];
    return NULL;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

struct pretokenizer {
    const struct rule *rule;
    pcre2_code *code[EXPRESSIONS_MAX];
    size_t n;
};

static int compile(struct pretokenizer *p, const char *expression, struct err *e) {
    int code;
    PCRE2_SIZE at;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (!c) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        return err_set(e, ERR_FAILED, "the pre-tokeniser expression %s is refused at %zu: %s", expression, at, (const char *)text);
    }
    pcre2_jit_compile(c, PCRE2_JIT_COMPLETE); /* where there is none it is interpreted */
    p->code[p->n++] = c;
    return 0;
}

int pretokenizer_open(struct pretokenizer **out, const char *name, struct err *e) {
    *out = NULL;
    const struct rule *rule = find_rule(name);
    if (!rule) return err_set(e, ERR_FILE, "tokenizer.ggml.pre: found \"%.60s\", expected a known pre-tokeniser such as gpt-2, qwen2 or llama-bpe", name);
    struct pretokenizer *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_MEMORY, "no memory for the pre-tokeniser");
    p->rule = rule;
    int rc = 0;
    for (size_t i = 0; i < EXPRESSIONS_MAX && rule->expression[i] && !rc; i++) rc = compile(p, rule->expression[i], e);
    if (rc) {
        pretokenizer_close(p);
        return rc;
    }
    *out = p;
    return 0;
}

void pretokenizer_close(struct pretokenizer *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n; i++) pcre2_code_free(p->code[i]);
    free(p);
}

bool pretokenizer_whole_words(const struct pretokenizer *p) { return p->rule->whole_words; }
bool pretokenizer_add_bos(const struct pretokenizer *p) { return p->rule->add_bos; }

/* ---- cutting ------------------------------------------------------------------------------------------------- */

struct cut {
    const struct pretokenizer *p;
    const char *text;
    pcre2_match_data *match;
    int (*word)(void *ctx, size_t from, size_t n);
    void *ctx;
    struct err *e;
};

/* The next match of expression k in text[from, to) at or after at: its place, or *start = to where there is none. */
static int find_match(struct cut *c, size_t k, size_t from, size_t to, size_t at, size_t *start, size_t *end) {
    PCRE2_SPTR subject = (PCRE2_SPTR)c->text + from;
    int n = pcre2_match(c->p->code[k], subject, to - from, at - from, PCRE2_NO_UTF_CHECK, c->match, NULL);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH) /* the compiled code has a small stack: once more without it */
        n = pcre2_match(c->p->code[k], subject, to - from, at - from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, c->match, NULL);
    *start = *end = to;
    if (n == PCRE2_ERROR_NOMATCH) return 0;
    if (n < 0) return err_set(c->e, n == PCRE2_ERROR_NOMEMORY ? ERR_MEMORY : ERR_FAILED, "the pre-tokeniser gave up on a text of %zu bytes (PCRE2 %d)", to - from, n);
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(c->match);
    *start = from + place[0];
    *end = from + place[1];
    return 0;
}

/* Cuts text[from, to) by the expressions from k on. */
static int cut_range(struct cut *c, size_t k, size_t from, size_t to) {
    if (k == c->p->n) return c->word(c->ctx, from, to - from);
    for (size_t at = from, start, end; at < to;) {
        int rc = find_match(c, k, from, to, at, &start, &end);
        if (rc) return rc;
        if (start > at && (rc = cut_range(c, k + 1, at, start))) return rc;
        if (end > start && (rc = cut_range(c, k + 1, start, end))) return rc;
        at = end;
    }
    return 0;
}

int pretokenizer_split(const struct pretokenizer *p, const char *text, size_t n, int (*word)(void *ctx, size_t from, size_t n), void *ctx,
                       struct err *e) {
    struct cut c = {.p = p, .text = text, .match = pcre2_match_data_create(1, NULL), .word = word, .ctx = ctx, .e = e};
    if (!c.match) return err_set(e, ERR_MEMORY, "no memory to tokenise %zu bytes", n);
    int rc = cut_range(&c, 0, 0, n);
    pcre2_match_data_free(c.match);
    return rc;
}
