/* augment: see augment.h. Each kind of change is one pass over the text, a row of a table; the chances stand beside them. */
#include "model/train/augment.h"

#include <ctype.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const double SWAP_PHRASE = 0.3, DROP_WORD = 0.08, TERSE = 0.1, LEAVE_OUT = 0.08, FILL = 0.12, TYPO = 0.16, TWO_TYPOS = 0.05, OPEN = 0.1, CLOSE = 0.06;

enum { WORDS_TO_OPEN = 3, LETTERS_TO_SPOIL = 4 }; /* shorter ones stay as they are */

/* One pass: in is replaced by what it makes of it. */
struct pass {
    const struct corpus *c;
    struct draw *d;
    struct buf in, out;
};

static void turn_over(struct pass *p) {
    struct buf done = p->out;
    p->out = p->in;
    p->in = done;
    buf_clear(&p->out);
}

/* ---- words --------------------------------------------------------------------------------------------------- */

/* The word (between blanks) that begins at or after at: false where there is none. */
static bool next_word(const char *text, size_t *at, size_t *n) {
    *at += strspn(text + *at, " ");
    *n = strcspn(text + *at, " ");
    return *n;
}

static size_t count_words(const char *text) {
    size_t at = 0, n, words = 0;
    for (; next_word(text, &at, &n); at += n) words++;
    return words;
}

static bool is_name(const char *word) { return *word == '/' || *word == '-'; }

static void put_without(struct pass *p, size_t at, size_t n) {
    buf_add(&p->out, p->in.data, at);
    buf_add_text(&p->out, p->in.data + at + n);
}

/* ---- synonyms ------------------------------------------------------------------------------------------------ */

/* A phrase ends where a word does. */
static bool ends_here(char c) { return !isalnum((unsigned char)c) && c != '_' && c != '-' && c != '/' && c != '\''; }

/* The group and length of the longest phrase that text begins with, or NULL. */
static const struct corpus_list *find_phrase(const struct corpus *c, const char *text, size_t *n, size_t *which) {
    const struct corpus_list *best = NULL;
    *n = 0;
    for (size_t g = 0; g < c->n_groups; g++) {
        for (size_t i = 0; i < c->group[g].n; i++) {
            const char *phrase = c->group[g].text[i];
            size_t len = strlen(phrase);
            if (len <= *n || strncmp(text, phrase, len) || !ends_here(text[len])) continue;
            best = &c->group[g];
            *n = len;
            *which = i;
        }
    }
    return best;
}

static void swap_phrases(struct pass *p) {
    const char *text = buf_text(&p->in);
    for (size_t at = 0; text[at];) {
        size_t n, which;
        bool word = !at || text[at - 1] == ' ';
        const struct corpus_list *g = word ? find_phrase(p->c, text + at, &n, &which) : NULL;
        if (g && draw_chance(p->d, SWAP_PHRASE)) {
            size_t other = draw_below(p->d, g->n - 1);
            buf_add_text(&p->out, g->text[other + (other >= which)]);
            at += n;
        } else {
            buf_add_char(&p->out, text[at++]);
        }
    }
    turn_over(p);
}

/* ---- small words left out ------------------------------------------------------------------------------------ */

/* Words that a wording's meaning does not hang on, so not "not". */
static bool is_small(const char *word, size_t n) {
    static const char *const small[] = {
        "the", "a", "an", "do", "does", "is", "are", "was", "i", "to", "my", "me", "it", "its", "this", "that", "of", "for", "in", "on", "at", "and", "so", "how", "what",
        "which", "where", "can", "could", "should", "would", "will", "there", "you", "your", "please", "be", "have", "has", "want", "when", "with", "here", "some", "any"};
    for (size_t i = 0; i < COUNT(small); i++)
        if (strlen(small[i]) == n && !strncmp(word, small[i], n)) return true;
    return false;
}

static void drop_one(struct pass *p) {
    size_t chosen = 0, chosen_n = 0, seen = 0;
    if (count_words(buf_text(&p->in)) < 4) return;
    for (size_t at = 0, n; next_word(p->in.data, &at, &n); at += n) {
        if (!is_small(p->in.data + at, n) || draw_below(p->d, ++seen)) continue;
        chosen = at;
        chosen_n = n;
    }
    if (!chosen_n) return;
    bool blank = p->in.data[chosen + chosen_n] == ' ';
    if (blank) put_without(p, chosen, chosen_n + 1);
    else put_without(p, chosen ? chosen - 1 : 0, chosen_n + (chosen > 0));
    turn_over(p);
}

/* What is left are the words of a search. */
static void drop_all(struct pass *p) {
    const char *text = buf_text(&p->in);
    for (size_t at = 0, n; next_word(text, &at, &n); at += n) {
        if (is_small(text + at, n)) continue;
        if (p->out.len) buf_add_char(&p->out, ' ');
        buf_add(&p->out, text + at, n);
    }
    if (p->out.len) turn_over(p);
}

static void drop_words(struct pass *p) {
    double x = draw_real(p->d);
    if (x < DROP_WORD) drop_one(p);
    else if (x < DROP_WORD + TERSE) drop_all(p);
}

/* ---- any word left out, a filler put in ---------------------------------------------------------------------- */

/* Of four words and more any may be missing: no answer may hang on one of them. */
static void leave_out(struct pass *p) {
    const char *text = buf_text(&p->in);
    size_t left = count_words(text);
    for (size_t at = 0, n; next_word(text, &at, &n); at += n) {
        if (left > 3 && !is_name(text + at) && draw_chance(p->d, LEAVE_OUT)) {
            left--;
            continue;
        }
        if (p->out.len) buf_add_char(&p->out, ' ');
        buf_add(&p->out, text + at, n);
    }
    turn_over(p);
}

static void fill_in(struct pass *p) {
    static const char *const filler[] = {"just ", "really ", "actually ", "now ", "here ", "today ", "then ", "again ", "exactly ", "maybe ", "always ", "only ",
                                         "also ", "right now ", "ever ", "still ", "all ", "even ", "some ", "this ", "that ", "in kvetch ", "somehow ", "like "};
    if (!draw_chance(p->d, FILL)) return;
    const char *text = buf_text(&p->in);
    size_t before = draw_below(p->d, count_words(text) + 1), i = draw_below(p->d, COUNT(filler)), words = 0, at = 0, n;
    if (is_name(text)) return;
    for (; words < before && next_word(text, &at, &n); at += n) words++;
    at += strspn(text + at, " ");
    buf_add(&p->out, text, at);
    if (text[at]) {
        buf_add_text(&p->out, filler[i]);
        buf_add_text(&p->out, text + at);
    } else {
        buf_add_char(&p->out, ' ');
        buf_add(&p->out, filler[i], strlen(filler[i]) - 1);
    }
    turn_over(p);
}

/* ---- typos --------------------------------------------------------------------------------------------------- */

static char neighbour_key(char c, struct draw *d) {
    static const char *const rows[] = {"qwertyuiop", "asdfghjkl", "zxcvbnm"};
    for (size_t r = 0; r < COUNT(rows); r++) {
        const char *at = strchr(rows[r], c);
        size_t n = strlen(rows[r]);
        if (!at) continue;
        size_t i = (size_t)(at - rows[r]);
        if (!i) return rows[r][1];
        return i + 1 == n || draw_chance(d, 0.5) ? rows[r][i - 1] : rows[r][i + 1];
    }
    return c;
}

/* Whether a typo may fall into a word: letters alone, and enough of them. */
static bool may_spoil(const char *word, size_t n) {
    while (n && strchr("?!.,:;", word[n - 1])) n--;
    if (n < LETTERS_TO_SPOIL || is_name(word)) return false;
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)word[i])) return false;
    return true;
}

static void spoil_word(struct pass *p, size_t at, size_t n) {
    const char *text = p->in.data;
    while (n && strchr("?!.,:;", text[at + n - 1])) n--;
    size_t i = at + 1 + draw_below(p->d, n - 2); /* neither the first letter nor the last */
    buf_add(&p->out, text, i);
    switch (draw_below(p->d, 4)) {
    case 0: break; /* left out */
    case 1: /* twice */
        buf_add_char(&p->out, text[i]);
        buf_add_char(&p->out, text[i]);
        break;
    case 2: /* changed places with the next one */
        buf_add_char(&p->out, text[i + 1]);
        buf_add_char(&p->out, text[i++]);
        break;
    default: buf_add_char(&p->out, neighbour_key(text[i], p->d)); break;
    }
    buf_add_text(&p->out, text + i + 1);
    turn_over(p);
}

static void add_typo(struct pass *p) {
    size_t chosen = 0, chosen_n = 0, seen = 0;
    for (size_t at = 0, n; next_word(p->in.data, &at, &n); at += n) {
        if (!may_spoil(p->in.data + at, n) || draw_below(p->d, ++seen)) continue;
        chosen = at;
        chosen_n = n;
    }
    if (chosen_n) spoil_word(p, chosen, chosen_n);
}

static void add_typos(struct pass *p) {
    double x = draw_real(p->d);
    if (x < TYPO + TWO_TYPOS) add_typo(p);
    if (x < TWO_TYPOS) add_typo(p);
}

/* ---- openers and closers ------------------------------------------------------------------------------------- */

static void add_openers(struct pass *p) {
    static const char *const open[] = {"hi, ", "hey, ", "hi ", "hello, ", "ok, ", "ok so ", "so ", "and ", "please, ", "well, ", "um, ",
                                       "quick question: ", "thanks, and ", "sorry, ", "now ", "good, "};
    static const char *const close[] = {" please", " pls", ", please", " thanks", ", thanks", " plz"};
    const char *text = buf_text(&p->in);
    bool before = draw_chance(p->d, OPEN), after = draw_chance(p->d, CLOSE);
    size_t i = draw_below(p->d, COUNT(open)), j = draw_below(p->d, COUNT(close));
    if (count_words(text) < WORDS_TO_OPEN) return;
    if (before && !is_name(text)) buf_add_text(&p->out, open[i]);
    buf_add(&p->out, text, p->in.len);
    if (after && !ispunct((unsigned char)text[p->in.len - 1])) buf_add_text(&p->out, close[j]);
    turn_over(p);
}

/* ---- letters and the last mark ------------------------------------------------------------------------------- */

static void lower_words(struct pass *p) {
    char *text = p->in.data;
    for (size_t at = 0, n; next_word(text, &at, &n); at += n)
        for (size_t i = at; i < at + n && !is_name(text + at); i++) text[i] = (char)tolower((unsigned char)text[i]);
}

static void change_letters(struct pass *p) {
    double x = draw_real(p->d), y = draw_real(p->d);
    if (x < 0.15) lower_words(p);
    else if (x < 0.45) p->in.data[0] = (char)toupper((unsigned char)p->in.data[0]);
    char last = p->in.data[p->in.len - 1];
    if (ispunct((unsigned char)last)) {
        if ((last == '?' || last == '.') && p->in.len > 1 && y < 0.4) p->in.data[--p->in.len] = 0;
    } else if (y < 0.35) {
        buf_add_char(&p->in, '?');
    } else if (y < 0.39) {
        buf_add_char(&p->in, '.');
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

int augment_user(const struct corpus *c, const struct augment_options *o, struct draw *d, const char *text, struct buf *out) {
    const struct { bool on; void (*run)(struct pass *p); } passes[] = {
        {o->synonyms, swap_phrases}, {o->drops, drop_words}, {o->noise, leave_out}, {o->noise, fill_in}, {o->typos, add_typos}, {o->openers, add_openers}, {o->letters, change_letters},
    };
    struct pass p = {.c = c, .d = d};
    buf_add_text(&p.in, text);
    buf_reserve(&p.out, p.in.len);
    for (size_t i = 0; i < COUNT(passes); i++)
        if (passes[i].on && p.in.len && !p.in.failed && !p.out.failed) passes[i].run(&p);
    bool failed = p.in.failed || p.out.failed;
    if (!failed) failed = buf_add(out, buf_text(&p.in), p.in.len);
    buf_free(&p.in);
    buf_free(&p.out);
    return failed ? ERR_MEMORY : 0;
}
