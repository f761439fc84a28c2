/* support_wording: see support_wording.h. */
#include "tests/support_wording.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/buf.h"

#define MAX_WORD 128

static bool is_alnum(char c) { return isalnum((unsigned char)c) != 0; }
static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

/* ---- what is named ------------------------------------------------------------------------------------------- */

/* The blank-separated word at s, without the punctuation around it. Returns where the next begins. */
static const char *take_word(const char *s, char word[MAX_WORD]) {
    while (is_blank(*s)) s++;
    size_t n = strcspn(s, " \t\n"), skip = strspn(s, "(\"'`[{"), len = n;
    if (skip > n) skip = n;
    while (len > skip && strchr(".,;:!)\"'`]}", s[len - 1])) len--;
    if (len - skip > 2 && s[len - 1] == '?') len--; /* "/?" is a command */
    snprintf(word, MAX_WORD, "%.*s", (int)(len - skip), s + skip);
    return s + n;
}

static void take_slash(const char *word, const char *value, wording_fn *fn, void *ctx) {
    static const char *const folder[] = {"etc", "tmp", "home", "usr", "dev", "var"};
    char name[MAX_WORD] = "/";
    size_t n = strspn(word + 1, "abcdefghijklmnopqrstuvwxyz_-?");
    if (!n || word[1 + n] == '/') return; /* alone, "//", or a path */
    for (size_t i = 0; i < sizeof folder / sizeof *folder; i++)
        if (strlen(folder[i]) == n && !strncmp(word + 1, folder[i], n)) return;
    snprintf(name + 1, sizeof name - 1, "%.*s", (int)n, word + 1);
    fn(ctx, WORDING_SLASH, name, value);
}

static void take_flag(const char *word, const char *value, wording_fn *fn, void *ctx) {
    char name[MAX_WORD];
    size_t dashes = strspn(word, "-"), n = dashes;
    if (dashes > 2 || !isalpha((unsigned char)word[dashes])) return;
    while (is_alnum(word[n]) || word[n] == '-' || word[n] == '_') n++;
    snprintf(name, sizeof name, "%.*s", (int)n, word);
    fn(ctx, WORDING_FLAG, name, word[n] == '=' ? word + n + 1 : value);
}

static const struct {
    const char *name, *raw;
} named_keys[] = {
    {"home", "\033[H"}, {"end", "\033[F"}, {"pgup", "\033[5~"}, {"pageup", "\033[5~"}, {"pgdn", "\033[6~"}, {"pgdown", "\033[6~"},
    {"pagedown", "\033[6~"}, {"up", "\033[A"}, {"down", "\033[B"}, {"right", "\033[C"}, {"left", "\033[D"}, {"enter", "\r"}, {"return", "\r"},
    {"tab", "\t"}, {"esc", "\033"}, {"escape", "\033"}, {"backspace", "\177"}, {"delete", "\033[3~"}, {"del", "\033[3~"}, {"insert", "\033[2~"},
    {"space", " "}, {"underscore", "_"}, {"f1", "\033OP"}, {"f2", "\033OQ"}, {"f3", "\033OR"}, {"f4", "\033OS"}, {"f5", "\033[15~"}, {"f6", "\033[17~"},
    {"f7", "\033[18~"}, {"f8", "\033[19~"}, {"f9", "\033[20~"}, {"f10", "\033[21~"}, {"f11", "\033[23~"}, {"f12", "\033[24~"},
};
#define N_NAMED (sizeof named_keys / sizeof *named_keys)
enum { SHIFT = 1, ALT = 2, CTRL = 4 };

static const char *find_key(const char *name) {
    for (size_t i = 0; i < N_NAMED; i++)
        if (!strcasecmp(named_keys[i].name, name)) return named_keys[i].raw;
    return NULL;
}

/* Takes "ctrl-" and the like off *name, and says which. */
static int take_modifiers(const char **name) {
    static const struct {
        const char *name;
        int bit;
    } modifier[] = {{"ctrl", CTRL}, {"control", CTRL}, {"strg", CTRL}, {"alt", ALT}, {"meta", ALT}, {"shift", SHIFT}};
    int bits = 0;
    for (size_t i = 0; i < sizeof modifier / sizeof *modifier; i++) {
        size_t n = strlen(modifier[i].name);
        if (strncasecmp(*name, modifier[i].name, n) || ((*name)[n] != '-' && (*name)[n] != '+') || !(*name)[n + 1]) continue;
        *name += n + 1;
        bits |= modifier[i].bit;
        i = (size_t)-1;
    }
    return bits;
}

/* Sequences as xterm sends them: ESC [ 1 ; 1 + modifiers, then the key's last byte. */
size_t wording_key_bytes(const char *name, char raw[16]) {
    int bits = take_modifiers(&name);
    const char *key = find_key(name);
    if (!key && (strlen(name) != 1 || !bits)) return 0;
    if (!key && bits & SHIFT) return 0; /* what a terminal sends for it is not agreed upon */
    if (!key || !key[1]) {
        char c = key ? key[0] : (char)tolower((unsigned char)name[0]);
        if (bits & SHIFT) return c == '\r' ? (size_t)snprintf(raw, 16, "\033[13;2u") : c == '\t' ? (size_t)snprintf(raw, 16, "\033[Z") : 0;
        if (bits & CTRL) c = (char)(c & 0x1f);
        size_t n = 0;
        if (bits & ALT) raw[n++] = '\033';
        raw[n++] = c;
        return n;
    }
    size_t n = strlen(key);
    if (!bits) return (size_t)snprintf(raw, 16, "%s", key);
    if (key[n - 1] == '~') return (size_t)snprintf(raw, 16, "%.*s;%d~", (int)n - 1, key, 1 + bits);
    return (size_t)snprintf(raw, 16, "\033[1;%d%c", 1 + bits, key[n - 1]);
}

/* word, or word and the next one: "ctrl c", "page up". */
static void take_key(const char *word, const char *next, wording_fn *fn, void *ctx) {
    static const char *const alone[] = {"pgup", "pgdn", "pgdown", "pageup", "pagedown"};
    char pair[2 * MAX_WORD + 1];
    const char *rest = word;
    int bits = take_modifiers(&rest);
    if (bits && (bits != SHIFT || find_key(rest))) {
        fn(ctx, WORDING_KEY, word, "");
        return;
    }
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        if (!strcasecmp(word, alone[i])) fn(ctx, WORDING_KEY, word, "");
    if (find_key(word) && !strncasecmp(next, "arrow", 5)) fn(ctx, WORDING_KEY, word, "");
    if (tolower((unsigned char)word[0]) == 'f' && find_key(word)) fn(ctx, WORDING_KEY, word, "");
    snprintf(pair, sizeof pair, "%s-%s", word, next);
    rest = pair;
    bits = take_modifiers(&rest);
    if (bits && bits != SHIFT && strlen(rest) == 1 && is_alnum(*rest) && *rest != 'i') fn(ctx, WORDING_KEY, pair, ""); /* "ctrl-... i" goes on as a sentence */
    if (!strcasecmp(word, "page") && (!strcasecmp(next, "up") || !strcasecmp(next, "down"))) {
        snprintf(pair, sizeof pair, "page%s", next);
        fn(ctx, WORDING_KEY, pair, "");
    }
}

/* Of weights: "q4_k_m", "iq4_xs.gguf". */
static bool is_type(const char *word) {
    size_t n = strspn(word, "i");
    return n < 2 && word[n] == 'q' && isdigit((unsigned char)word[n + 1]);
}

/* before: the word before it. */
static void take_setting(const char *word, const char *before, const char *next, wording_fn *fn, void *ctx) {
    static const char *const section[] = {"context.", "sampling.", "models."};
    if (!strcmp(before, "/set") && (isdigit((unsigned char)next[0]) || next[0] == '"')) {
        fn(ctx, WORDING_SETTING, word, next);
        return;
    }
    size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    if (word[n] && word[n] != ':') return;
    bool is_key = strchr(word, '_') != NULL && !is_type(word);
    for (size_t i = 0; i < sizeof section / sizeof *section; i++) is_key |= !strncmp(word, section[i], strlen(section[i]));
    char key[MAX_WORD];
    snprintf(key, sizeof key, "%.*s", (int)n, word);
    if (is_key && isalpha((unsigned char)word[0])) fn(ctx, WORDING_SETTING, key, next);
}

/* What stands behind the program's name in a sentence; not a file or a text in quotes. */
static void take_call(const char *raw, const char *word, const char *before, wording_fn *fn, void *ctx) {
    size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz");
    if (n && !word[n] && *raw == *word && !strcmp(before, "kvetch")) fn(ctx, WORDING_CALL, word, "");
}

void wording_mentions(const char *text, wording_fn *fn, void *ctx) {
    char before[MAX_WORD] = "", word[MAX_WORD], next[MAX_WORD];
    const char *raw = text, *at = take_word(text, word);
    while (*word || *at) {
        bool ends = at > text && strchr(".,;:!)", at[-1]);
        const char *after = take_word(at, next), *value = ends && at[-1] != ':' ? "" : next;
        if (word[0] == '/') take_slash(word, value, fn, ctx);
        else if (word[0] == '-') take_flag(word, value, fn, ctx);
        else if (*word) take_key(word, next, fn, ctx), take_setting(word, before, value, fn, ctx), take_call(raw, word, before, fn, ctx);
        snprintf(before, sizeof before, "%s", ends ? "" : word);
        memcpy(word, next, sizeof word);
        raw = at + strspn(at, " \t\n");
        at = after;
    }
}

bool wording_has(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *s = strstr(text, word); s; s = strstr(s + 1, word))
        if ((s == text || !(is_alnum(s[-1]) || strchr("_.-/", s[-1]))) && !is_alnum(s[n]) && s[n] != '_' && !(s[n] == '.' && is_alnum(s[n + 1]))) return true;
    return false;
}

/* ---- whether two are the same -------------------------------------------------------------------------------- */

/* Lower-case words with one blank between them; apostrophes leave nothing behind, other punctuation a blank. */
static void add_words(const char *text, struct buf *out) {
    bool gap = false;
    for (const char *s = text; *s; s++) {
        if (*s == '\'') continue;
        if (!is_alnum(*s)) {
            gap = true;
            continue;
        }
        if (gap && out->len) buf_add_char(out, ' ');
        gap = false;
        buf_add_char(out, (char)tolower((unsigned char)*s));
    }
}

/* The length of the words of phrase at s, when they stand there to a word's end; else 0. */
static size_t match_words(const char *s, const char *phrase) {
    struct buf words = {0};
    if (is_alnum(*phrase) && tolower((unsigned char)*phrase) != *s) return 0; /* most of them */
    add_words(phrase, &words);
    size_t n = words.len;
    bool same = n && !strncmp(s, buf_text(&words), n) && (s[n] == ' ' || !s[n]);
    buf_free(&words);
    return same ? n : 0;
}

/* The longest phrase of all groups that begins at s: its length, and the first of its group. */
static size_t match_group(const char *s, const struct corpus_list *group, size_t n_groups, const char **first) {
    size_t longest = 0;
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < group[g].n; i++) {
            size_t n = match_words(s, group[g].text[i]);
            if (n > longest) longest = n, *first = group[g].text[0];
        }
    }
    return longest;
}

static void replace_phrases(const struct buf *from, const struct corpus_list *group, size_t n_groups, struct buf *to) {
    for (const char *s = buf_text(from); *s;) {
        const char *first = NULL;
        size_t n = match_group(s, group, n_groups, &first);
        if (to->len) buf_add_char(to, ' ');
        if (n) add_words(first, to);
        else buf_add(to, s, n = strcspn(s, " "));
        s += n + (s[n] == ' ');
    }
}

/* Words that open a question and say nothing; not where nothing follows. */
static const char *skip_opening(const char *s) {
    static const char *const opening[] = {"hi", "hey", "hello", "please", "pls", "ok", "okay", "so", "um", "and", "but", "can you tell me", "could you tell me",
                                          "please tell me", "tell me", "excuse me"};
    for (size_t i = 0; i < sizeof opening / sizeof *opening; i++) {
        size_t n = match_words(s, opening[i]);
        if (!n || !s[n]) continue;
        s += n + 1;
        i = (size_t)-1;
    }
    return s;
}

char *wording_normal(const char *text, const struct corpus_list *group, size_t n_groups) {
    struct buf words = {0}, replaced = {0}, out = {0};
    add_words(text, &words);
    replace_phrases(&words, group, n_groups, &replaced);
    const char *rest = skip_opening(buf_text(&replaced));
    size_t n = strlen(rest);
    if (n > 7 && !strcmp(rest + n - 7, " please")) n -= 7;
    buf_add(&out, rest, n);
    buf_free(&words);
    buf_free(&replaced);
    return buf_take(&out);
}
