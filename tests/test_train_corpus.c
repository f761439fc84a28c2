/* Tests of model/train/corpus: what is read, and what is refused with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/paths.h"
#include "model/gguf.h"
#include "model/train/corpus.h"
#include "model/train/guide_file.h"
#include "tests/support_folder.h"

#define GUIDE "model/guide/guide.gguf"

static int open_folder(void **state) {
    (void)state;
    return support_folder_make() ? 0 : -1;
}

static int close_folder(void **state) {
    (void)state;
    support_folder_remove();
    return 0;
}

static void put(const char *name, const char *text) {
    FILE *f = fopen(support_folder_path(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char TEA[] = "# drinks\n## topic: hot drinks\nfact: tea-pot\nq: how do i make tea\nq:  tea   \nf: and how long\nn: @tea-cup   and then \na: Boil water first.\n\n"
                          "fact: tea-cup\nq: where do i drink it\na: From a cup.\na: From a mug.\n";

static void facts_dialogues_and_synonyms_are_read(void **state) {
    (void)state;
    struct corpus c;
    struct err e = {0};
    put("20-tea.txt", TEA);
    put("10-milk.txt", "## topic: milk\nfact: milk\nq: milk\na: White.\n## topic: hot drinks\nfact: tea-milk\nq: tea with milk\na: Cloudy.");
    put("dialogues-tea.txt", "dialogue: d1\nu: hi\nk: Hello.\nu: where is my cup\nk: @tea-cup\n\ndialogue: d2\nu: tea\nk: @tea-pot\n");
    put("synonyms.txt", "# two\nhow do i | how can i|how to\n\n make |  brew \n");
    put("notes.md", "no corpus at all");
    assert_int_equal(corpus_open(&c, support_folder_path("."), &e), 0);
    assert_int_equal(c.n_facts, 4);
    assert_string_equal(c.fact[0].id, "milk");
    assert_string_equal(c.fact[0].place.file, "10-milk.txt");
    const struct corpus_fact *pot = corpus_find(&c, "tea-pot"), *cup = corpus_find(&c, "tea-cup");
    assert_int_equal(pot->ask.n, 2);
    assert_string_equal(pot->ask.text[1], "tea");
    assert_int_equal(pot->follow.n, 1);
    assert_int_equal(pot->n_next, 1);
    assert_string_equal(pot->next[0].text, "and then");
    assert_ptr_equal(&c.fact[pot->next[0].fact], cup);
    assert_string_equal(pot->answer.text[0], "Boil water first.");
    assert_int_equal(pot->place.line, 3);
    assert_int_equal(cup->answer.n, 2);
    assert_int_equal(c.topics.n, 2);
    assert_string_equal(c.topics.text[pot->topic], "hot drinks");
    assert_int_equal(corpus_find(&c, "tea-milk")->topic, cup->topic);
    assert_null(corpus_find(&c, "coffee"));
    assert_int_equal(c.n_dialogues, 2);
    assert_int_equal(c.dialogue[0].n_turns, 2);
    assert_string_equal(c.dialogue[0].turn[0].reply, "Hello.");
    assert_ptr_equal(&c.fact[c.dialogue[0].turn[1].fact], cup);
    assert_int_equal(c.n_groups, 2);
    assert_int_equal(c.group[0].n, 3);
    assert_string_equal(c.group[0].text[2], "how to");
    assert_string_equal(c.group[1].text[1], "brew");
    corpus_close(&c);
}

static void what_is_wrong_is_named_with_file_and_line(void **state) {
    (void)state;
    static const struct { const char *name, *text, *says; } wrong[] = {
        {"a.txt", "fact: x\nq: y\na: z\n", "a.txt:1: expected a line \"## topic: NAME\" before the fact x"},
        {"a.txt", "## topic: t\nfact: x\nq: y\n\nfact: z\nq: y\na: z\n", "a.txt:2: found no a: line for the fact x"},
        {"a.txt", "## topic: t\nfact: x\nf: y\na: z\n", "a.txt:2: found no q: line for the fact x"},
        {"a.txt", "## topic: t\nfact: x\nq: y\na: z\nfact: x\n", "a.txt:5: the fact x is already in a.txt:2"},
        {"a.txt", "## topic: t\nfact: x y\n", "a.txt:2: expected an id of a-z, 0-9 and -, found x y"},
        {"a.txt", "## topic: t\nfact:\n", "a.txt:2: expected an id of a-z, 0-9 and -, found nothing"},
        {"a.txt", "## topic: t\nfact: x\nq:\n", "a.txt:3: expected text after the colon"},
        {"a.txt", "## topic: t\n\nq: what\n", "a.txt:3: found a line that belongs to a fact, but none is open: what"},
        {"a.txt", "n: @x and\n", "a.txt:1: found a line that belongs to a fact, but none is open: @x and"},
        {"a.txt", "## topic: t\nfact: x\nn: and\n", "a.txt:3: expected @fact-id and text after n:, found and"},
        {"a.txt", "## topic: t\nfact: x\nn: @x\n", "a.txt:3: expected @fact-id and text after n:, found @x"},
        {"a.txt", "## topic: t\nfact: x\nq: y\na: z\nn: @gone and\n", "a.txt:5: there is no fact gone"},
        {"a.txt", "## topics: t\n", "a.txt:1: expected a line that starts with ## topic:, fact:, q:, f:, n:, a:, dialogue:, u:, k: or #, found ## topics: t"},
        {"a.txt", "## topic:\n", "a.txt:1: expected a topic's name after the colon"},
        {"a.txt", "hello\n", "a.txt:1: expected a line that starts with ## topic:, fact:, q:, f:, n:, a:, dialogue:, u:, k: or #, found hello"},
        {"a.txt", "# caf\xc3\xa9\n", "a.txt:1: found a character that is not printable ASCII in: \xc3\xa9"},
        {"a.txt", "u: hi\n", "a.txt:1: found a line that belongs to a dialogue, but none is open: hi"},
        {"a.txt", "dialogue: d\nu: hi\nu: ho\n", "a.txt:3: expected k: after u:, found another u: ho"},
        {"a.txt", "dialogue: d\nk: hi\n", "a.txt:2: expected u: before k: hi"},
        {"a.txt", "dialogue: d\nu: hi\n", "a.txt:1: found a u: line without a k: line at the end of the dialogue d"},
        {"a.txt", "dialogue: d\n", "a.txt:1: found no u: line in the dialogue d"},
        {"a.txt", "dialogue: d\nu: a\nk: b\ndialogue: d\n", "a.txt:4: there are two dialogues d"},
        {"a.txt", "dialogue: d\nu: hi\nk: @gone\n", "a.txt:3: there is no fact gone"},
        {"synonyms.txt", "a | b\nc\n", "synonyms.txt:2: expected two phrases or more, with | between them, found c"},
        {"synonyms.txt", "a | b |\n", "synonyms.txt:1: expected a phrase on both sides of every |"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct corpus c;
        struct err e = {0};
        put(wrong[i].name, wrong[i].text);
        assert_int_equal(corpus_open(&c, support_folder_path("."), &e), ERR_FILE);
        assert_string_equal(e.text, wrong[i].says);
        assert_int_equal(c.n_facts, 0);
        unlink(support_folder_path(wrong[i].name));
    }
}

static void a_folder_without_text_is_refused(void **state) {
    (void)state;
    struct corpus c;
    struct err e = {0};
    assert_int_equal(corpus_open(&c, support_folder_path("."), &e), ERR_FILE);
    assert_non_null(strstr(e.text, "found no .txt file"));
    assert_int_equal(corpus_open(&c, support_folder_path("gone"), &e), ERR_FILE);
    assert_non_null(strstr(e.text, "No such file"));
}

static void the_hash_is_that_of_names_and_bytes(void **state) {
    (void)state;
    struct corpus c;
    struct err e = {0};
    uint64_t h1, h2, h3;
    put("a.txt", TEA);
    assert_int_equal(corpus_hash(support_folder_path("."), &h1, &e), 0);
    put("a.md", "more");
    assert_int_equal(corpus_open(&c, support_folder_path("."), &e), 0);
    assert_true(c.hash == h1);
    corpus_close(&c);
    put("b.txt", "#");
    assert_int_equal(corpus_hash(support_folder_path("."), &h2, &e), 0);
    put("b.txt", "#!");
    assert_int_equal(corpus_hash(support_folder_path("."), &h3, &e), 0);
    assert_true(h1 != h2 && h2 != h3 && h1 != h3);
    rename(support_folder_path("b.txt"), support_folder_path("c.txt"));
    assert_int_equal(corpus_hash(support_folder_path("."), &h2, &e), 0);
    assert_true(h2 != h3);
}

static void the_guides_own_corpus_can_be_read(void **state) {
    (void)state;
    struct corpus c;
    struct err e = {0};
    if (corpus_open(&c, "model/guide", &e)) fail_msg("%s", e.text);
    assert_true(c.n_facts > 0);
    corpus_close(&c);
}

/* Nothing is trained by tests: who changes the corpus says make guide. */
static void the_guide_was_trained_on_the_corpus_that_is_there(void **state) {
    (void)state;
    struct gguf *g;
    struct gguf_text text;
    struct err e = {0};
    uint64_t hash;
    char hex[17];
    if (!paths_exists(GUIDE)) {
        printf("missing: %s\n", GUIDE);
        skip();
    }
    assert_int_equal(corpus_hash("model/guide", &hash, &e), 0);
    if (gguf_open(&g, GUIDE, &e) || gguf_string(g, GUIDE_FILE_CORPUS_HASH, &text, &e)) fail_msg("%s", e.text);
    snprintf(hex, sizeof hex, "%016" PRIx64, hash);
    if (text.n != 16 || memcmp(text.p, hex, 16))
        fail_msg("%s was trained on corpus %.*s, and model/guide holds %s: run make guide", GUIDE, (int)text.n, text.p, hex);
    gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(facts_dialogues_and_synonyms_are_read, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_named_with_file_and_line, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(a_folder_without_text_is_refused, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(the_hash_is_that_of_names_and_bytes, open_folder, close_folder),
        cmocka_unit_test(the_guides_own_corpus_can_be_read),
        cmocka_unit_test(the_guide_was_trained_on_the_corpus_that_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
