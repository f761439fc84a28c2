/* Tests of model/guide: the model in the program itself, by itself and through the built program. They hold for any model that is built in:
 * what it says does not matter here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/paths.h"
#include "model/engine.h"
#include "model/guide.h"
#include "model/residency.h"
#include "tests/support_folder.h"
#include "tests/support_gguf.h"
#include "tests/support_program.h"

#define OTHER "tests/vectors/llama-f32.gguf"
#define RUN(r, in, ...) program_run(r, in, strlen((in) ? (in) : ""), (const char *const[]){__VA_ARGS__, NULL})

static char *program; /* the built one */

static int open_folder(void **state) {
    (void)state;
    const char *path = getenv("KVETCH");
    program = realpath(path && *path ? path : "build/kvetch", NULL);
    return program && support_folder_make() ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    free(program);
    setenv("KVETCH", "", 1);
    support_folder_remove();
    return 0;
}

static const char *text(const struct buf *b) { return b->data ? b->data : ""; }

/* Expects a status, and part of what is said on stderr ("" any). */
static void expect(struct program_run *r, int status, const char *said) {
    if (r->status != status || !strstr(text(&r->err), said)) fail_msg("status %d, %s", r->status, text(&r->err));
    program_run_free(r);
}

/* ---- the model ----------------------------------------------------------------------------------------------- */

static void row_of(struct model *m, float *row) {
    struct session *s;
    struct err e = {0};
    static const int32_t id[] = {1, 2, 3};
    if (session_open(&s, m, &(struct session_options){.bound = 64, .start = 32, .n_threads = 1}, &e)) fail_msg("%s", e.text);
    assert_int_equal(session_logits(s, id, 3, 0, row, &e), 0);
    struct session_stats st;
    session_get_stats(s, &st);
    assert_true(st.weight_resident_bytes > 0 && st.weight_resident_bytes <= st.weight_mapped_bytes + (size_t)sysconf(_SC_PAGESIZE));
    session_close(s);
}

static void the_built_in_model_is_that_of_its_file(void **state) {
    (void)state;
    const uint8_t *bytes;
    size_t n;
    struct err e = {0};
    struct model *m[2];
    struct model_info info[2];
    assert_int_equal(guide_bytes(&bytes, &n, &e), 0);
    char *path = support_file(bytes, n);
    float *row[2];
    for (int i = 0; i < 2; i++) {
        if (model_open(&m[i], i ? path : MODEL_GUIDE, NULL, &e)) fail_msg("%s", e.text);
        model_get_info(m[i], &info[i]);
        row[i] = calloc(3u * info[i].n_vocab, sizeof **row);
        assert_non_null(row[i]);
        row_of(m[i], row[i]);
    }
    assert_string_equal(info[0].path, MODEL_GUIDE);
    assert_int_equal(info[0].file_bytes, n);
    assert_int_equal(info[0].fingerprint, info[1].fingerprint);
    assert_memory_equal(row[0], row[1], 3u * info[0].n_vocab * sizeof **row);
    for (int i = 0; i < 2; i++) {
        model_close(m[i]);
        free(row[i]);
    }
    unlink(path);
    free(path);
}

static void what_begins_within_a_page_has_a_residency(void **state) {
    (void)state;
    static uint8_t bytes[3 * 65536 + 100];
    struct residency r;
    memset(bytes, 1, sizeof bytes);
    residency_init(&r, bytes + 10, sizeof bytes - 20);
    uint64_t found = residency_get(&r, 1);
    assert_true(found >= sizeof bytes - 20 && found < sizeof bytes + (size_t)sysconf(_SC_PAGESIZE));
    residency_init(&r, bytes + 10, 0);
    assert_int_equal(residency_get(&r, 1), 0);
}

/* ---- damage -------------------------------------------------------------------------------------------------- */

/* A copy of the program in which one byte of the guide is another. */
static void write_damaged_program(const char *path) {
    struct buf b = {0};
    const uint8_t *bytes;
    size_t n;
    assert_int_equal(guide_bytes(&bytes, &n, NULL), 0);
    assert_int_equal(paths_read(program, (size_t)1 << 30, &b, NULL), 0);
    char *at = memmem(b.data, b.len, bytes, n);
    assert_non_null(at);
    at[n - 1] ^= 1;
    assert_int_equal(paths_write_private(path, b.data, b.len, NULL), 0);
    assert_int_equal(chmod(path, 0700), 0);
    buf_free(&b);
}

static void a_damaged_guide_is_noticed_when_it_is_opened(void **state) {
    (void)state;
    struct program_run r;
    char path[300];
    snprintf(path, sizeof path, "%s", support_folder_path("damaged"));
    write_damaged_program(path);
    setenv("KVETCH", path, 1);
    RUN(&r, NULL, "-p", "x", "-n", "1");
    expect(&r, 3, "the built-in guide is damaged: its checksum is ");
    RUN(&r, NULL, "info");
    expect(&r, 3, "use -m FILE");
    RUN(&r, NULL, "-m", OTHER, "-p", "x", "-n", "1");
    expect(&r, 0, "");
    setenv("KVETCH", program, 1);
    unlink(path);
}

static int build_with(const char *file) {
    char command[1200], folder[512];
    snprintf(folder, sizeof folder, "%s", program);
    snprintf(command, sizeof command, "sh model/guide.sh %s/model/checksum/checksum %s > %s 2> %s", dirname(folder), file,
             support_folder_path("guide.s"), support_folder_path("said"));
    return system(command);
}

static void a_damaged_file_is_noticed_by_the_build(void **state) {
    (void)state;
    char file[300], sum[310];
    struct buf b = {0};
    snprintf(file, sizeof file, "%s", support_folder_path("g.gguf"));
    snprintf(sum, sizeof sum, "%s.xxh", file);
    assert_int_equal(paths_write_private(file, "GGUF and so on", 14, NULL), 0);
    assert_int_equal(paths_write_private(sum, "3a40391f5b0b3b0a\n", 17, NULL), 0);
    assert_int_not_equal(build_with(file), 0);
    paths_read(support_folder_path("said"), 4096, &b, NULL);
    assert_non_null(strstr(text(&b), "g.gguf is damaged: its checksum is "));
    char found[20] = "";
    sscanf(strstr(text(&b), "checksum is ") + 12, "%16[0-9a-f]", found);
    assert_int_equal(paths_write_private(sum, found, 16, NULL), 0);
    assert_int_equal(build_with(file), 0);
    assert_int_equal(paths_write_private(file, "GGUF and so oN", 14, NULL), 0);
    assert_int_not_equal(build_with(file), 0);
    assert_int_equal(unlink(sum), 0);
    assert_int_not_equal(build_with(file), 0);
    buf_free(&b);
}

/* ---- the program --------------------------------------------------------------------------------------------- */

static void a_script_that_names_nothing_asks_the_guide(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, "-p", "hi", "-n", "4", "--json");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(text(&r.out), "\"model\":\"guide\",\"persona\":\"guide\""));
    assert_non_null(strstr(text(&r.out), "You are the guide of kvetch"));
    assert_non_null(strstr(text(&r.out), "\"bound\":512"));
    program_run_free(&r);
    RUN(&r, NULL, "-m", OTHER, "-p", "hi", "-n", "4", "--json");
    assert_non_null(strstr(text(&r.out), "\"persona\":null"));
    program_run_free(&r);
    RUN(&r, NULL, "-m", "guide", "-p", "hi", "-n", "4", "--json"); /* the model alone */
    assert_non_null(strstr(text(&r.out), "\"model\":\"guide\",\"persona\":null"));
    program_run_free(&r);
}

static void another_persona_needs_a_model_and_is_told_where_to_get_one(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, "-P", "coder", "-p", "x");
    expect(&r, 3, "the persona coder has no model: name a GGUF file");
    RUN(&r, NULL, "-P", "", "-p", "x");
    expect(&r, 3, "no model: name a GGUF file");
    RUN(&r, NULL, "bench", "-P", "coder");
    expect(&r, 2, "the persona coder has no model");
    RUN(&r, "/persona coder\n", "-n", "2", "--turns", "--commands");
    expect(&r, 3, "the persona coder has no model");
    RUN(&r, "/persona coder\n", "-m", "guide", "-n", "2", "--turns", "--commands");
    expect(&r, 0, "");
}

static void a_bound_is_checked_against_the_kept_part_and_the_training(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, "/limit 32\nhi\n", "-n", "2", "--turns", "--commands");
    expect(&r, 2, "tokens is larger than half the bound of 32");
    RUN(&r, "/limit 100000\n/evict slide\nhi\n", "-n", "2", "--turns", "--commands");
    expect(&r, 0, "the bound of 100000 cells is beyond the 1024 tokens this model was trained for");
    RUN(&r, NULL, "-c", "100000", "-n", "2", "-p", "hi");
    expect(&r, 0, "the bound of 100000 cells is beyond the 1024 tokens this model was trained for");
}

static void a_mistyped_file_is_no_question_for_the_guide(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, "nosuch.gguf");
    expect(&r, 3, "nosuch.gguf: there is no such file");
}

static void a_lone_model_file_counts_as_m_does(void **state) {
    (void)state;
    struct program_run r;
    assert_int_equal(paths_write_private(support_folder_path("names.yaml"), "model: guide\n", 13, NULL), 0);
    RUN(&r, "hi", "--config", support_folder_path("names.yaml"), "-n", "2", "--json", OTHER);
    assert_non_null(strstr(text(&r.out), "/" OTHER "\",\"persona\":null"));
    expect(&r, 0, "");
    RUN(&r, NULL, "-m", "guide", "-n", "2", "--json", OTHER); /* a message */
    assert_non_null(strstr(text(&r.out), "\"content\":\"" OTHER "\""));
    expect(&r, 0, "");
}

static void commands_without_a_model_look_at_the_guide(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, "info");
    assert_int_equal(strncmp(text(&r.out), "path         built-in\n", 22), 0);
    expect(&r, 0, "");
    RUN(&r, "hello", "tokenize");
    assert_true(r.out.len > 1);
    expect(&r, 0, "");
    RUN(&r, NULL, "logits", "-o", support_folder_path("rows"), "1");
    expect(&r, 0, "");
    RUN(&r, NULL, "bench", "-p", "8", "-n", "2", "--test", "prefill,decode");
    expect(&r, 0, "");
}

static void a_conversation_with_the_guide_is_resumed_without_naming_it(void **state) {
    (void)state;
    struct program_run r;
    RUN(&r, NULL, "--name", "first", "-p", "hi", "-n", "4");
    expect(&r, 0, "");
    RUN(&r, NULL, "--continue", "-p", "more", "-n", "4", "--json");
    assert_non_null(strstr(text(&r.out), "\"persona\":\"guide\""));
    assert_null(strstr(text(&r.err), "read again"));
    expect(&r, 0, "");
    /* Of another guide, as after an upgrade, there is only the text. */
    RUN(&r, NULL, "-m", OTHER, "--name", "second", "-p", "hi", "-n", "4");
    expect(&r, 0, "");
    assert_int_equal(rename(support_folder_path("kvetch/2.kv"), support_folder_path("kvetch/1.kv")), 0);
    RUN(&r, NULL, "--resume", "first", "-p", "more", "-n", "4");
    expect(&r, 0, "the conversation is read again: ");
    RUN(&r, NULL, "-m", "guide", "--name", "third", "-p", "hi", "-n", "4"); /* the model alone */
    expect(&r, 0, "");
    RUN(&r, NULL, "--resume", "third", "-p", "more", "-n", "4");
    expect(&r, 0, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_built_in_model_is_that_of_its_file),
        cmocka_unit_test(what_begins_within_a_page_has_a_residency),
        cmocka_unit_test(a_damaged_guide_is_noticed_when_it_is_opened),
        cmocka_unit_test(a_damaged_file_is_noticed_by_the_build),
        cmocka_unit_test(a_script_that_names_nothing_asks_the_guide),
        cmocka_unit_test(another_persona_needs_a_model_and_is_told_where_to_get_one),
        cmocka_unit_test(a_bound_is_checked_against_the_kept_part_and_the_training),
        cmocka_unit_test(a_mistyped_file_is_no_question_for_the_guide),
        cmocka_unit_test(a_lone_model_file_counts_as_m_does),
        cmocka_unit_test(commands_without_a_model_look_at_the_guide),
        cmocka_unit_test(a_conversation_with_the_guide_is_resumed_without_naming_it),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
