/* Tests of model/vocab and the tokenisers behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/vocab.h"
#include "tests/support_gguf.h"

/* ---- helpers ------------------------------------------------------------------------------------------------- */

struct opened { struct gguf *g; struct vocab *v; };

static struct opened open_path(const char *path) {
    struct opened o;
    struct err e = {0};
    if (gguf_open(&o.g, path, &e) || vocab_open(&o.v, o.g, &e)) fail_msg("%s", e.text);
    return o;
}

static void close_opened(struct opened *o) {
    vocab_close(o->v);
    gguf_close(o->g);
}

static struct vocab_tokens encode(const struct vocab *v, const char *text, size_t n, bool parse_special) {
    struct vocab_tokens t = {0};
    struct err e = {0};
    if (vocab_encode(v, text, n, parse_special, &t, &e)) fail_msg("%s", e.text);
    return t;
}

static void expect_ids(const struct vocab *v, const char *text, bool parse_special, const char *ids) {
    struct vocab_tokens t = encode(v, text, strlen(text), parse_special);
    struct buf b = {0};
    for (size_t i = 0; i < t.n; i++) buf_printf(&b, i ? " %d" : "%d", t.id[i]);
    if (strcmp(buf_text(&b), ids)) fail_msg("\"%s\" gives %s instead of %s", text, buf_text(&b), ids);
    buf_free(&b);
    vocab_tokens_free(&t);
}

/* Runs the known answers of a vocabulary of the test data (llama.cpp's files: see its INDEX.md). */
static void check_known_answers(const char *name) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char file[64];
    snprintf(file, sizeof file, "vocab/%s.gguf", name);
    char *path = support_data(file);
    snprintf(file, sizeof file, "vocab/%s.inp", name);
    char *inputs = support_read(file);
    snprintf(file, sizeof file, "vocab/%s.out", name);
    char *answers = support_read(file);
    if (!path || !inputs || !answers) skip();
    struct opened o = open_path(path);
    size_t n = 0;
    for (char *in = inputs, *want = answers; in && *want; n++) {
        char *in_end = strstr(in, separator), *want_end = strchr(want, '\n');
        size_t len = in_end ? (size_t)(in_end - in) : strlen(in);
        if (!in_end && !len) break; /* the file ends with a separator */
        if (want_end) *want_end = 0;
        struct vocab_tokens t = encode(o.v, in, len, false);
        struct buf got = {0};
        for (size_t i = 0; i < t.n; i++) buf_printf(&got, " %d", t.id[i]);
        if (strcmp(buf_text(&got), want)) fail_msg("input %zu \"%.*s\": got%s, expected%s", n, (int)len, in, buf_text(&got), want);
        buf_free(&got);
        vocab_tokens_free(&t);
        in = in_end ? in_end + strlen(separator) : NULL;
        want = want_end ? want_end + 1 : want + strlen(want);
    }
    assert_true(n > 30);
    close_opened(&o);
    free(path);
    free(inputs);
    free(answers);
}

static struct opened open_built(struct support_gguf *b) {
    char *path = support_gguf_file(b);
    struct opened o = open_path(path);
    unlink(path);
    free(path);
    support_gguf_free(b);
    return o;
}

/* ---- sentencepiece ------------------------------------------------------------------------------------------- */

#define B "\xe2\x96\x81"

/* <unk> <s> </s>, the 256 bytes (3..258), then these words from 259 on, with falling scores where none is given. */
enum { WORDS = 259 };

static struct opened open_spm(const char *const *word, const float *score, const int32_t *attr, size_t n) {
    struct support_gguf b = {0};
    const char *token[512] = {"<unk>", "<s>", "</s>"};
    float scores[512] = {0};
    int32_t attrs[512] = {VOCAB_UNKNOWN, VOCAB_CONTROL, VOCAB_CONTROL};
    char bytes[256][8];
    for (int i = 0; i < 256; i++) {
        snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", i);
        token[3 + i] = bytes[i];
        attrs[3 + i] = VOCAB_BYTE;
    }
    for (size_t i = 0; i < n; i++) {
        token[WORDS + i] = word[i];
        scores[WORDS + i] = score ? score[i] : -(float)i;
        attrs[WORDS + i] = attr ? attr[i] : VOCAB_NORMAL;
    }
    support_gguf_text(&b, "tokenizer.ggml.model", "llama");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", token, WORDS + n);
    support_gguf_array(&b, "tokenizer.ggml.scores", GGUF_F32, scores, WORDS + n, 4);
    support_gguf_array(&b, "tokenizer.ggml.token_type", GGUF_I32, attrs, WORDS + n, 4);
    support_gguf_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    support_gguf_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    support_gguf_u32(&b, "tokenizer.ggml.unknown_token_id", 0);
    return open_built(&b);
}

static void the_highest_score_is_joined_first_and_the_leftmost_of_equals(void **state) {
    (void)state;
    static const char *const words[] = {"a", "b", "c", B, "ab", "bc", "abc", "aa", B "a"};
    static const float scores[] = {-9, -9, -9, -9, -2, -1, -5, -3, -4};
    struct opened o = open_spm(words, scores, NULL, 9);
    expect_ids(o.v, "abc", false, "267 264");         /* bc first, not ab; then blank + a beats a + bc */
    expect_ids(o.v, "aaa", false, "262 266 259");     /* aa twice possible: the left one */
    expect_ids(o.v, "a", false, "267");
    expect_ids(o.v, "a  a", false, "267 262 267");
    expect_ids(o.v, "\xc3\xa9", false, "262 198 172"); /* no such character: its bytes */
    expect_ids(o.v, "\xff", false, "262 258");
    expect_ids(o.v, "", false, "");
    close_opened(&o);
}

static void words_do_not_split_where_a_token_spans_them(void **state) {
    (void)state;
    static const char *const words[] = {"a", "b", B, "a" B, "a" B "b"};
    struct opened o = open_spm(words, NULL, NULL, 5);
    expect_ids(o.v, "a b", false, "261 263");
    close_opened(&o);
}

static void specials_are_found_only_where_they_may_be(void **state) {
    (void)state;
    static const char *const words[] = {"s", "<", ">", "/", B, "s>", "</", "<mark>", "<mark>>", "</s"};
    static const int32_t attrs[] = {1, 1, 1, 1, 1, 1, 1, VOCAB_USER, VOCAB_USER, 1};
    struct opened o = open_spm(words, NULL, attrs, 10);
    expect_ids(o.v, "</s>", true, "2");
    expect_ids(o.v, "</s>", false, "263 265 264");         /* spelt by a user: never joined to the control token */
    expect_ids(o.v, "<mark>", false, "266");               /* a user-defined token is text */
    expect_ids(o.v, "<mark>>", false, "267");              /* the longest */
    expect_ids(o.v, "s<s>s", true, "263 259 1 263 259");   /* after a special token text starts again */
    assert_true(vocab_is_control(o.v, 2) && vocab_is_end(o.v, 2) && vocab_is_end(o.v, 1) && !vocab_is_end(o.v, 259) && !vocab_is_end(o.v, -1));
    assert_true(vocab_add_bos(o.v));
    assert_int_equal(vocab_find(o.v, "<mark>", 6), 266);
    assert_int_equal(vocab_find(o.v, "<mark", 5), -1);
    close_opened(&o);
}

static void marks_are_control_tokens_unless_they_look_like_text(void **state) {
    (void)state;
    static const char *const words[] = {"<|im_end|>", "<|im_start|>", "<eos>", "[INST]", "<bos>"};
    static const int32_t attrs[] = {VOCAB_NORMAL, VOCAB_USER, VOCAB_USER, VOCAB_NORMAL, VOCAB_NORMAL};
    struct opened o = open_spm(words, NULL, attrs, 5);
    assert_true(vocab_is_control(o.v, 259) && vocab_is_end(o.v, 259));
    assert_true(vocab_is_control(o.v, 260) && !vocab_is_end(o.v, 260));
    assert_true(vocab_is_control(o.v, 261) && vocab_is_end(o.v, 261));
    assert_false(vocab_is_control(o.v, 262) || vocab_is_control(o.v, 263));
    close_opened(&o);
}

static void pieces_are_bytes_and_blanks(void **state) {
    (void)state;
    static const char *const words[] = {B "a", "b" B};
    struct opened o = open_spm(words, NULL, NULL, 2);
    const int32_t ids[] = {1, 259, 260, 3 + 0xc3, 3 + 0xa9, 2};
    struct buf b = {0};
    assert_int_equal(vocab_decode(o.v, ids, 6, false, true, &b), 0);
    assert_string_equal(buf_text(&b), "ab \xc3\xa9");
    buf_clear(&b);
    assert_int_equal(vocab_decode(o.v, ids, 6, true, false, &b), 0);
    assert_string_equal(buf_text(&b), "<s> ab \xc3\xa9</s>");
    assert_int_equal(vocab_piece(o.v, 99999, true, &b), ERR_USAGE);
    buf_free(&b);
    close_opened(&o);
}

static void a_long_run_of_one_letter_takes_no_quadratic_time(void **state) {
    (void)state;
    static const char *const words[] = {"a", "aa", "aaaa", "aaaaaaaa", B};
    struct opened o = open_spm(words, NULL, NULL, 5);
    size_t n = 100 * 1024;
    char *text = malloc(n);
    memset(text, 'a', n);
    struct vocab_tokens t = encode(o.v, text, n, false);
    assert_int_equal(t.n, 1 + n / 8);
    vocab_tokens_free(&t);
    free(text);
    close_opened(&o);
}

static void phi_3_gives_its_known_answers(void **state) { (void)state; check_known_answers("phi-3"); }

/* ---- byte-level BPE ------------------------------------------------------------------------------------------ */

/* Ids 0..255 are the bytes, then come these words and, the last two, a control token and a user-defined one. */
enum { BPE_WORDS = 256 };

static void build_bpe(struct support_gguf *b, const char *pre, const char *const *word, size_t n, const char *const *merge, size_t n_merges) {
    const char *token[512];
    int32_t attrs[512];
    char bytes[256][3] = {{0}};
    unsigned next = 256;
    for (unsigned c = 0; c < 256; c++) { /* GPT-2's spelling of bytes */
        bool printable = (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || c >= 174;
        unsigned cp = printable ? c : next++;
        if (cp < 128) bytes[c][0] = (char)cp;
        else bytes[c][0] = (char)(0xc0 | cp >> 6), bytes[c][1] = (char)(0x80 | (cp & 63));
        token[c] = bytes[c];
        attrs[c] = VOCAB_NORMAL;
    }
    for (size_t i = 0; i < n; i++) {
        token[BPE_WORDS + i] = word[i];
        attrs[BPE_WORDS + i] = i + 2 == n ? VOCAB_CONTROL : i + 1 == n ? VOCAB_USER : VOCAB_NORMAL;
    }
    support_gguf_text(b, "tokenizer.ggml.model", "gpt2");
    support_gguf_text(b, "tokenizer.ggml.pre", pre);
    support_gguf_texts(b, "tokenizer.ggml.tokens", token, BPE_WORDS + n);
    support_gguf_array(b, "tokenizer.ggml.token_type", GGUF_I32, attrs, BPE_WORDS + n, 4);
    support_gguf_texts(b, "tokenizer.ggml.merges", merge, n_merges);
}

static struct opened open_bpe(const char *pre, const char *const *word, size_t n, const char *const *merge, size_t n_merges) {
    struct support_gguf b = {0};
    build_bpe(&b, pre, word, n, merge, n_merges);
    return open_built(&b);
}

static void merges_are_made_in_the_order_of_the_list(void **state) {
    (void)state;
    static const char *const words[] = {"ab", "bc", "abc", "aa", "<stop>", "<user>"};
    static const char *const bc_first[] = {"b c", "a b", "a bc", "a a", "x y", "nothing"}, *const ab_first[] = {"a b", "b c", "a bc"};
    struct opened o = open_bpe("gpt-2", words, 6, bc_first, 6);
    expect_ids(o.v, "abc", false, "258");
    expect_ids(o.v, "aaa", false, "259 97");
    expect_ids(o.v, "a bc", false, "97 32 257");
    expect_ids(o.v, "\xc3\xa9\x01", false, "195 169 1");
    expect_ids(o.v, "\xffz\xe4\xbd", false, "239 191 189 122 239 191 189 239 191 189"); /* no UTF-8: U+FFFD */
    assert_false(vocab_add_bos(o.v));
    close_opened(&o);
    o = open_bpe("gpt-2", words, 6, ab_first, 3);
    expect_ids(o.v, "abc", false, "256 99");
    close_opened(&o);
}

static void a_whole_word_is_taken_only_where_the_model_does_so(void **state) {
    (void)state;
    static const char *const words[] = {"hey", "stop", "<user>"};
    struct opened o = open_bpe("llama-bpe", words, 3, NULL, 0);
    expect_ids(o.v, "hey", false, "256");
    expect_ids(o.v, "stop", true, "257");
    expect_ids(o.v, "stop", false, "115 116 111 112"); /* a control token, spelt by a user */
    expect_ids(o.v, "<user>hey", false, "258 256");
    close_opened(&o);
    o = open_bpe("gpt-2", words, 3, NULL, 0);
    expect_ids(o.v, "hey", false, "104 101 121");
    close_opened(&o);
}

static void bytes_come_back_from_their_spelling(void **state) {
    (void)state;
    static const char *const words[] = {"\xc4\xa0" "hi\xc4\x8a", "<stop>", "<user>"};
    struct opened o = open_bpe("gpt-2", words, 3, NULL, 0);
    struct buf b = {0};
    const int32_t ids[] = {256, 257, 258};
    assert_int_equal(vocab_decode(o.v, ids, 3, false, true, &b), 0);
    assert_string_equal(buf_text(&b), " hi\n<user>");
    buf_clear(&b);
    for (int32_t c = 0; c < 256; c++) assert_int_equal(vocab_piece(o.v, c, false, &b), 0);
    assert_int_equal(b.len, 256);
    for (int c = 0; c < 256; c++) assert_int_equal((uint8_t)b.data[c], c);
    buf_free(&b);
    close_opened(&o);
}

/* The list of merges, applied one at a time to the whole text. */
static size_t merge_naively(const char *const (*rule)[3], size_t n_rules, char part[][16], size_t n) {
    for (;;) {
        size_t best = n_rules, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t r = 0; r < best; r++)
                if (!strcmp(part[i], rule[r][0]) && !strcmp(part[i + 1], rule[r][1])) best = r, at = i;
        if (best == n_rules) return n;
        snprintf(part[at], sizeof part[at], "%s", rule[best][2]);
        for (size_t i = at + 1; i + 1 < n; i++) memcpy(part[i], part[i + 1], sizeof part[i]);
        n--;
    }
}

static void joining_agrees_with_applying_one_merge_at_a_time(void **state) {
    (void)state;
    static const char *const rule[][3] = {{"a", "b", "ab"}, {"b", "a", "ba"}, {"ab", "ab", "abab"}, {"a", "a", "aa"}, {"ba", "b", "bab"}, {"aa", "b", "aab"}, {"b", "b", "bb"}, {"aa", "aa", "aaaa"}};
    enum { RULES = sizeof rule / sizeof *rule };
    const char *words[RULES + 2], *merges[RULES];
    char text[RULES][16];
    for (size_t i = 0; i < RULES; i++) {
        words[i] = rule[i][2];
        snprintf(text[i], sizeof text[i], "%s %s", rule[i][0], rule[i][1]);
        merges[i] = text[i];
    }
    words[RULES] = "<stop>";
    words[RULES + 1] = "<user>";
    struct opened o = open_bpe("gpt-2", words, RULES + 2, merges, RULES);
    for (unsigned bits = 0; bits < 4096; bits++) {
        char in[13] = {0}, part[12][16] = {{0}};
        for (int i = 0; i < 12; i++) part[i][0] = in[i] = bits >> i & 1 ? 'a' : 'b';
        size_t n = merge_naively(rule, RULES, part, 12);
        struct vocab_tokens t = encode(o.v, in, 12, false);
        assert_int_equal(t.n, n);
        for (size_t i = 0; i < n; i++) assert_int_equal(t.id[i], vocab_find(o.v, part[i], strlen(part[i])));
        vocab_tokens_free(&t);
    }
    close_opened(&o);
}

static void a_long_word_takes_no_quadratic_time(void **state) {
    (void)state;
    static const char *const words[] = {"aa", "aaaa", "aaaaaaaa", "<stop>", "<user>"}, *const merges[] = {"a a", "aa aa", "aaaa aaaa"};
    struct opened o = open_bpe("qwen2", words, 5, merges, 3);
    size_t n = 100 * 1024;
    char *text = malloc(n);
    memset(text, 'a', n);
    struct vocab_tokens t = encode(o.v, text, n, false);
    assert_int_equal(t.n, n / 8);
    vocab_tokens_free(&t);
    free(text);
    close_opened(&o);
}

static void gpt_2_gives_its_known_answers(void **state) { (void)state; check_known_answers("gpt-2"); }
static void mpt_gives_its_known_answers(void **state) { (void)state; check_known_answers("mpt"); }
static void falcon_gives_its_known_answers(void **state) { (void)state; check_known_answers("falcon"); }
static void qwen2_gives_its_known_answers(void **state) { (void)state; check_known_answers("qwen2"); }

/* ---- refusals ------------------------------------------------------------------------------------------------ */

static void expect_refusal(struct support_gguf *b, const char *text) {
    char *path = support_gguf_file(b);
    struct gguf *g;
    struct vocab *v;
    struct err e = {0};
    if (gguf_open(&g, path, &e)) fail_msg("%s", e.text);
    if (vocab_open(&v, g, &e) != ERR_FILE || !strstr(e.text, text)) fail_msg("\"%s\" instead of \"%s\"", e.text, text);
    assert_null(v);
    gguf_close(g);
    unlink(path);
    free(path);
    support_gguf_free(b);
}

static void wrong_tables_are_refused_by_name(void **state) {
    (void)state;
    static const char *const two[] = {"a", "b"};
    struct support_gguf b = {0};
    expect_refusal(&b, "tokenizer.ggml.model: found \"\"");
    support_gguf_text(&b, "tokenizer.ggml.model", "rwkv");
    expect_refusal(&b, "tokenizer.ggml.model: found \"rwkv\"");
    support_gguf_text(&b, "tokenizer.ggml.model", "llama");
    expect_refusal(&b, "tokenizer.ggml.tokens: found nothing");
    support_gguf_text(&b, "tokenizer.ggml.model", "llama");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", two, 2);
    support_gguf_array(&b, "tokenizer.ggml.scores", GGUF_F32, (float[]){1}, 1, 4);
    expect_refusal(&b, "tokenizer.ggml.scores: found 1 items, expected 2");
    support_gguf_text(&b, "tokenizer.ggml.model", "llama");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", two, 2);
    support_gguf_array(&b, "tokenizer.ggml.token_type", GGUF_I32, (int32_t[]){1, 1, 1}, 3, 4);
    expect_refusal(&b, "tokenizer.ggml.token_type: found 3 items, expected 2");
    support_gguf_text(&b, "tokenizer.ggml.model", "llama");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", two, 2);
    support_gguf_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    expect_refusal(&b, "tokenizer.ggml.eos_token_id: found 2, expected a token below 2");
    support_gguf_text(&b, "tokenizer.ggml.model", "gpt2");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", two, 2);
    expect_refusal(&b, "tokenizer.ggml.merges: found nothing");
    support_gguf_text(&b, "tokenizer.ggml.model", "gpt2");
    support_gguf_text(&b, "tokenizer.ggml.pre", "strange");
    support_gguf_texts(&b, "tokenizer.ggml.tokens", two, 2);
    expect_refusal(&b, "tokenizer.ggml.pre: found \"strange\"");
}

/* Opens what the bytes hold, if it can, and uses it. */
static void use_bytes(const char *bytes, size_t n) {
    char *path = support_file(bytes, n);
    struct gguf *g;
    struct vocab *v = NULL;
    struct err e = {0};
    int rc = gguf_open(&g, path, &e);
    if (!rc) rc = vocab_open(&v, g, &e);
    if (rc && !strstr(e.text, "found")) fail_msg("%d: \"%s\"", rc, e.text);
    struct vocab_tokens t = {0};
    struct buf b = {0};
    static const char text[] = "abc  ab <stop>\n123";
    if (!rc && !vocab_encode(v, text, strlen(text), true, &t, &e)) vocab_decode(v, t.id, t.n, true, true, &b);
    for (uint32_t i = 0; !rc && i < vocab_size(v); i++) vocab_piece(v, (int32_t)i, true, &b);
    buf_free(&b);
    vocab_tokens_free(&t);
    vocab_close(v);
    gguf_close(g);
    unlink(path);
    free(path);
}

static void no_damaged_vocabulary_crashes(void **state) {
    (void)state;
    static const char *const words[] = {"ab", "bc", "abc", "<stop>", "<user>"}, *const merges[] = {"b c", "a b", "a bc"};
    struct support_gguf b = {0};
    struct buf f = {0};
    build_bpe(&b, "llama-bpe", words, 5, merges, 3);
    support_gguf_u32(&b, "tokenizer.ggml.eos_token_id", 3);
    support_gguf_bytes(&b, &f);
    for (size_t i = 0; i < f.len; i += i < 400 || i + 400 > f.len ? 1 : 13) {
        static const char change[] = {1, 8, 64, (char)0xff};
        f.data[i] ^= change[i % 4];
        use_bytes(f.data, f.len);
        f.data[i] ^= change[i % 4];
    }
    buf_free(&f);
    support_gguf_free(&b);
}

static void every_byte_is_spelt_as_one_character_of_its_own(void **state) {
    (void)state;
    static const struct { uint8_t byte; const char *character; } known[] = { /* as GPT-2's vocabulary has them */
        {'A', "A"}, {' ', "\xc4\xa0"}, {'\n', "\xc4\x8a"}, {0, "\xc4\x80"}, {0x7f, "\xc4\xa1"}, {0xa0, "\xc5\x82"}, {0xa1, "\xc2\xa1"},
        {0xad, "\xc5\x83"}, {0xff, "\xc3\xbf"},
    };
    char spelt[256][2] = {0}, out[2];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(vocab_bpe_spell(known[i].byte, out), strlen(known[i].character));
        assert_memory_equal(out, known[i].character, strlen(known[i].character));
    }
    for (int a = 0; a < 256; a++) {
        size_t n = vocab_bpe_spell((uint8_t)a, out);
        memcpy(spelt[a], out, n);
        for (int b = 0; b < a; b++) assert_memory_not_equal(spelt[a], spelt[b], 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_spelt_as_one_character_of_its_own),
        cmocka_unit_test(the_highest_score_is_joined_first_and_the_leftmost_of_equals),
        cmocka_unit_test(words_do_not_split_where_a_token_spans_them),
        cmocka_unit_test(specials_are_found_only_where_they_may_be),
        cmocka_unit_test(marks_are_control_tokens_unless_they_look_like_text),
        cmocka_unit_test(pieces_are_bytes_and_blanks),
        cmocka_unit_test(a_long_run_of_one_letter_takes_no_quadratic_time),
        cmocka_unit_test(phi_3_gives_its_known_answers),
        cmocka_unit_test(merges_are_made_in_the_order_of_the_list),
        cmocka_unit_test(a_whole_word_is_taken_only_where_the_model_does_so),
        cmocka_unit_test(bytes_come_back_from_their_spelling),
        cmocka_unit_test(joining_agrees_with_applying_one_merge_at_a_time),
        cmocka_unit_test(a_long_word_takes_no_quadratic_time),
        cmocka_unit_test(gpt_2_gives_its_known_answers),
        cmocka_unit_test(mpt_gives_its_known_answers),
        cmocka_unit_test(falcon_gives_its_known_answers),
        cmocka_unit_test(qwen2_gives_its_known_answers),
        cmocka_unit_test(wrong_tables_are_refused_by_name),
        cmocka_unit_test(no_damaged_vocabulary_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
