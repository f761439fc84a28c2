/* Tests of the guide's corpus against the messages that stand in the sources: what it quotes the program prints, and
 * what the program prints it speaks of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/hash.h"
#include "tests/support_corpus.h"
#include "tests/support_messages.h"
#include "tests/support_wording.h"

#define MOST_MISSING 40 /* messages that no user can bring forth, by what is asked today */

static struct corpus corpus;
static struct messages printed;

/* ---- what is quoted ------------------------------------------------------------------------------------------ */

static size_t n_wrong;

static void complain(const struct corpus_text *t, const char *what) {
    print_message("%s:%d: %s: the program does not print %s: \"%s\"\n", t->place.file, t->place.line, t->fact, what,
                  t->text);
    n_wrong++;
}

/* Quoted because a user or the system says it. */
static bool is_others(const char *quote) {
    static const char *const others[] = {"END",
                                         "User:",
                                         "answer in rhymes",
                                         "correct this:",
                                         "Permission denied",
                                         "summarise this:",
                                         "tell me about rain",
                                         "To French: good morning",
                                         "why is the sky blue"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(others[i], quote)) return true;
    return false;
}

static void hear_quotes(void *ctx, const struct corpus_text *t) {
    (void)ctx;
    char quote[256];
    if (t->whose != ANSWERED) return;
    for (const char *from = strchr(t->text, '"'), *to; from && (to = strchr(from + 1, '"'));
         from = strchr(to + 1, '"')) {
        snprintf(quote, sizeof quote, "%.*s", (int)(to - from - 1), from + 1);
        if (*quote && !is_others(quote) && !messages_say(&printed, quote)) complain(t, quote);
    }
}

static void messages_that_it_quotes_are_printed(void **state) {
    (void)state;
    n_wrong = 0;
    corpus_each_text(&corpus, hear_quotes, NULL);
    assert_int_equal(n_wrong, 0);
}

static bool is_named(const char *variable) {
    for (size_t i = 0; i < printed.n; i++)
        if (wording_has(printed.m[i].text, variable)) return true;
    return false;
}

/* Capitals with a _ between them. */
static void hear_variables(void *ctx, const struct corpus_text *t) {
    (void)ctx;
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    char name[64];
    if (t->whose != ANSWERED) return;
    for (const char *s = t->text; *s; s++) {
        size_t n = strspn(s, capitals);
        bool is_name = *s != '_' && n && n < sizeof name && memchr(s, '_', n) && !isalnum((unsigned char)s[n]);
        if (is_name) {
            snprintf(name, sizeof name, "%.*s", (int)n, s);
            if (!is_named(name)) complain(t, name);
        }
        s += n ? n - 1 : 0;
    }
}

static void variables_of_the_environment_that_it_names_are_read(void **state) {
    (void)state;
    n_wrong = 0;
    corpus_each_text(&corpus, hear_variables, NULL);
    assert_int_equal(n_wrong, 0);
}

/* ---- what is spoken of --------------------------------------------------------------------------------------- */

enum {
    SHORT_RUN = 3,
    LONG_RUN = 4
}; /* words that follow each other and tell a message from others: four where it has them */

/* Hashes of all runs of words that users say, sorted. */
struct runs {
    size_t n_words; /* of a run */
    uint64_t *hash;
    size_t n, cap;
};

typedef void run_fn(void *ctx, uint64_t hash);

/* Words are letters and digits, lower-case. Returns how many there are. */
static size_t each_run(const char *s, size_t n, size_t n_words, run_fn *fn, void *ctx) {
    uint64_t word[LONG_RUN] = {0};
    size_t seen = 0;
    for (size_t i = 0; i < n;) {
        char lower[64];
        size_t len = 0;
        for (; i < n && isalnum((unsigned char)s[i]); i++)
            if (len < sizeof lower) lower[len++] = (char)tolower((unsigned char)s[i]);
        if (len) {
            memmove(word, word + 1, (LONG_RUN - 1) * sizeof *word);
            word[LONG_RUN - 1] = hash_bytes(lower, len, 0);
            if (++seen >= n_words) fn(ctx, hash_bytes(word + LONG_RUN - n_words, n_words * sizeof *word, 0));
        }
        while (i < n && !isalnum((unsigned char)s[i])) i++;
    }
    return seen;
}

static void add_run(void *ctx, uint64_t hash) {
    struct runs *r = ctx;
    if (r->n == r->cap) {
        r->cap = r->cap * 2 + 4096;
        r->hash = realloc(r->hash, r->cap * sizeof *r->hash);
        assert_non_null(r->hash);
    }
    r->hash[r->n++] = hash;
}

static void add_asked(void *ctx, const struct corpus_text *t) {
    struct runs *r = ctx;
    if (t->whose == ASKED) each_run(t->text, strlen(t->text), r->n_words, add_run, r);
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct runs runs_of(size_t n_words) {
    struct runs r = {.n_words = n_words};
    corpus_each_text(&corpus, add_asked, &r);
    qsort(r.hash, r.n, sizeof *r.hash, compare_hashes);
    return r;
}

struct search {
    const struct runs *asked;
    bool found;
};

static void find_run(void *ctx, uint64_t hash) {
    struct search *s = ctx;
    if (bsearch(&hash, s->asked->hash, s->asked->n, sizeof hash, compare_hashes)) s->found = true;
}

/* The most words that stand in a format between two conversions; *found: whether a run of theirs is asked about. */
static size_t search_format(const struct runs *asked, const char *format, bool *found) {
    struct search s = {.asked = asked};
    size_t most = 0;
    for (const char *from = format; *from;) {
        size_t n = strcspn(from, "%"), n_words = each_run(from, n, asked->n_words, find_run, &s);
        if (n_words > most) most = n_words;
        from += n;
        if (*from == '%') from = messages_skip_conversion(from);
    }
    *found = s.found;
    return most;
}

/* A message of fewer words is too short to be told from others, and counts as asked about. */
static bool is_asked(const struct runs *few, const struct runs *many, const char *format) {
    bool found;
    if (search_format(many, format, &found) >= LONG_RUN) return found;
    return search_format(few, format, &found) < SHORT_RUN || found;
}

static void messages_of_errors_are_asked_about(void **state) {
    (void)state;
    struct runs few = runs_of(SHORT_RUN), many = runs_of(LONG_RUN);
    size_t n_errors = 0, n_missing = 0;
    for (size_t i = 0; i < printed.n; i++) {
        const struct message *m = &printed.m[i];
        if (!m->is_error || strstr(m->text, "no memory ")) continue; /* that one is asked about as such */
        n_errors++;
        if (is_asked(&few, &many, m->text)) continue;
        print_message("nobody asks about %s:%d: %s\n", m->file, m->line, m->text);
        n_missing++;
    }
    print_message("%zu of %zu messages of errors are asked about\n", n_errors - n_missing, n_errors);
    free(few.hash);
    free(many.hash);
    assert_true(n_errors > 300);
    assert_in_range(n_missing, 0, MOST_MISSING);
}

static int open_both(void **state) {
    struct err e = {0};
    (void)state;
    if (corpus_open(&corpus, "model/guide", &e)) {
        print_error("%s\n", e.text);
        return -1;
    }
    messages_read(&printed);
    return 0;
}

static int close_both(void **state) {
    (void)state;
    messages_free(&printed);
    corpus_close(&corpus);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_that_it_quotes_are_printed),
        cmocka_unit_test(variables_of_the_environment_that_it_names_are_read),
        cmocka_unit_test(messages_of_errors_are_asked_about),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
