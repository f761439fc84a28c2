/* Tests of kv/kv_memory, kv_plugin and kv_choice: a plug-in with a fault is refused or let go by name and the default memory goes on; the
 * example chooses by attention. What all memories must do is in test_memory.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/buf.h"
#include "kv/kv_memory.h"
#include "tests/support_kv.h"

static struct buf folder; /* of the tests' plug-ins */

static char *plugin(const char *name) {
    struct buf b = {0};
    buf_printf(&b, "%s/%s", buf_text(&folder), name);
    return buf_take(&b);
}

/* The newest sentence about memories. */
static const char *told(struct kv *c) {
    static struct kv_event ev[KV_EVENTS];
    size_t n = kv_events(c, 0, ev, KV_EVENTS);
    while (n-- > 0)
        if (ev[n].kind == KV_EVENT_MEMORY) return ev[n].reason;
    return "";
}

static struct kv *open_with(const char *name, const char *fault, uint32_t bound) {
    char *path = plugin(name);
    struct kv_config g = kvt_config(bound, "f32");
    g.plugin = path;
    g.keep = 4;
    g.prompt_bytes = 1 << 16;
    if (fault) setenv("KVETCH_TEST_FAULT", fault, 1);
    struct kv *c = kvt_open(&g);
    unsetenv("KVETCH_TEST_FAULT");
    free(path);
    return c;
}

static void expect(const char *name, const char *fault, const char *sentence) {
    struct kv *c = open_with(name, fault, 1000);
    if (!strstr(told(c), sentence)) fail_msg("%s %s: %s", name, fault ? fault : "", told(c));
    assert_ptr_equal(c->memory, &kv_memory_default);
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    kv_close(c);
}

static void what_is_no_plug_in_of_this_version_is_refused_by_name(void **state) {
    (void)state;
    static const char END[] = "; the default memory is used";
    static const struct { const char *fault, *sentence; } row[] = {
        {"version", "broken.so: a memory plug-in of version 3; this program takes version 2"},
        {"bytes", "broken.so: its table has"},
        {"name", "broken.so: it has no name"},
        {"flags", "broken.so: flags 0x10001f are not all known"},
        {"missing", "broken.so: the call \"div\" is missing"},
        {"create", "memory broken cannot be opened: it does not feel like it"},
        {"null", "broken.so: the plug-in leaves this cache to the default memory"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        expect("broken.so", row[i].fault, row[i].sentence);
        if (strcmp(row[i].fault, "null")) expect("broken.so", row[i].fault, END);
    }
    expect("nowhere.so", NULL, "no plug-in can be loaded: ");
    expect("nowhere.so", NULL, "nowhere.so");
    expect("heavy.d", NULL, "no plug-in can be loaded: "); /* a file of another kind */
}

static void one_that_breaks_is_let_go_and_the_conversation_is_computed_again(void **state) {
    (void)state;
    struct kv *c = open_with("broken.so", "place", 1000);
    struct err e = {0};
    int32_t token[30];
    struct kv_plan plan;
    for (int i = 0; i < 30; i++) token[i] = i;
    assert_string_equal(c->memory->name, "broken");
    for (int i = 0; i < 9; i++) assert_int_equal(kvt_append(c, 0, token[i], &e), 0);
    assert_int_equal(kvt_append(c, 0, token[9], &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "memory broken has broken at \"place\": ten is enough; the default memory is used from here on"));
    assert_non_null(strstr(told(c), "ten is enough"));
    assert_ptr_equal(c->memory, &kv_memory_default);
    assert_int_equal(kv_seq_pos_max(c, 0), -1);
    struct kv_prompt p = {.token = token, .n_tokens = 30};
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, &e), 0);
    kvt_check(c, 0);
    assert_int_equal(kv_seq_pos_max(c, 0), 29);
    kv_close(c);
}

/* It lets the first cell go, which must stay. */
static void one_that_chooses_what_it_must_not_is_let_go_and_the_mode_decides(void **state) {
    (void)state;
    struct kv *c = open_with("broken.so", "evict", 64);
    struct err e = {0};
    for (int i = 0; i < 100; i++) assert_int_equal(kvt_append(c, 0, i, &e), 0);
    assert_ptr_equal(c->memory, &kv_memory_default);
    assert_non_null(strstr(told(c), "memory broken has broken at \"evict\""));
    kvt_check(c, 0);
    kv_close(c);
}

/* The cache's own cells do not hold what such a one was given. */
static void where_it_kept_keys_and_values_itself_all_is_computed_again(void **state) {
    (void)state;
    struct kv *c = open_with("broken.so", "evict write", 64);
    struct err e = {0};
    struct kv_plan plan;
    int32_t token[60];
    int i = 0, rc = 0;
    while (i < 100 && !(rc = kvt_append(c, 0, i, &e))) i++;
    assert_int_equal(i, 64);
    assert_int_equal(rc, ERR_FAILED);
    assert_non_null(strstr(e.text, "memory broken has broken at \"place\": what it lets leave: token 0 must stay"));
    assert_ptr_equal(c->memory, &kv_memory_default);
    assert_int_equal(kv_seq_pos_max(c, 0), -1);
    kv_close(c);
    c = open_with("broken.so", "evict write", 64);
    for (i = 0; i < 60; i++) token[i] = i;
    struct kv_turn turn[2] = {{4, 36, false}, {40, 20, false}};
    struct kv_prompt p = {token, 40, 4, turn, 1, 1};
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, &e), 0);
    assert_int_equal(kv_set_bound(c, 50, &e), 0);
    p.n_tokens = 60;
    p.n_turns = 2;
    assert_int_equal(kv_sync(c, 0, &p, &plan, &e), ERR_FAILED);
    assert_non_null(strstr(told(c), "memory broken has broken at \"evict\": what it lets leave: token 0 must stay"));
    assert_int_equal(kvt_prompt(c, 0, &p, &plan, &e), 0);
    kvt_check(c, 0);
    kv_close(c);
}

static void what_a_memory_cannot_do_the_cache_does_without(void **state) {
    (void)state;
    struct kv *c = open_with("broken.so", "fixed", 1000);
    struct kv_stats s;
    struct kv_snapshot_info info = {0};
    struct err e = {0};
    kv_get_stats(c, &s);
    assert_int_equal(s.committed, 1000); /* all of the bound */
    assert_int_equal(s.evict, KV_EVICT_RESEED);
    assert_string_equal(s.memory, "broken");
    assert_int_equal(kv_set_bound(c, 500, &e), 0);
    kv_shrink(c);
    kv_get_stats(c, &s);
    assert_int_equal(s.committed, 500);
    assert_int_equal(kv_set_bound(c, 1000, &e), 0); /* what was committed was not given back */
    kv_get_stats(c, &s);
    assert_int_equal(s.committed, 1000);
    assert_int_equal(s.n_grow + s.n_shrink + s.parked_limit_bytes, 0);
    assert_int_equal(kv_set_bound(c, 2000, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "memory broken cannot grow beyond 1024 cells"));
    assert_int_equal(kv_save(c, 0, "/nowhere/x", &info, NULL, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "memory broken does not restore exactly what it holds"));
    kv_close(c);
}

static void what_a_refused_one_cannot_do_changes_nothing(void **state) {
    (void)state;
    char *path = plugin("broken.so");
    struct kv_config g = kvt_config(65536, "f32");
    struct kv_event ev[4];
    struct kv_stats s;
    g.plugin = path;
    g.budget_bytes = 4 << 20; /* too little for all of the bound */
    g.prompt_bytes = 1 << 16;
    setenv("KVETCH_TEST_FAULT", "fixed create", 1);
    struct kv *c = kvt_open(&g);
    unsetenv("KVETCH_TEST_FAULT");
    free(path);
    assert_non_null(strstr(told(c), "memory broken cannot be opened"));
    assert_int_equal(kv_events(c, 0, ev, 4), 1); /* none of another mode */
    kv_get_stats(c, &s);
    assert_string_equal(s.memory, "default");
    assert_int_equal(s.grow, KV_GROW_AUTO);
    assert_int_equal(s.evict, KV_EVICT_SHIFT);
    assert_int_equal(s.committed, KV_BLOCK);
    assert_true(s.parked_limit_bytes > 0);
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    kv_close(c);
}

static void one_that_cannot_grow_is_refused_where_all_of_the_bound_cannot_be_had(void **state) {
    (void)state;
    char *path = plugin("broken.so");
    struct kv_config g = kvt_config(65536, "f32");
    struct kv_stats s;
    struct kv *c;
    struct err e = {0};
    g.plugin = path;
    g.budget_bytes = 4 << 20;
    g.prompt_bytes = 1 << 16;
    setenv("KVETCH_TEST_FAULT", "fixed", 1);
    c = kvt_open(&g);
    g.grow = KV_GROW_FIXED; /* what the default memory could not do either */
    assert_int_equal(kv_open(&(struct kv *){NULL}, &g, &e), ERR_MEMORY);
    unsetenv("KVETCH_TEST_FAULT");
    free(path);
    assert_non_null(strstr(told(c), "memory broken cannot grow, and the cache cannot be opened: its first 65536 cells need a --budget"));
    assert_non_null(strstr(told(c), "; the default memory is used"));
    kv_get_stats(c, &s);
    assert_string_equal(s.memory, "default");
    assert_int_equal(s.grow, KV_GROW_AUTO);
    assert_int_equal(s.committed, KV_BLOCK);
    assert_true(s.parked_limit_bytes > 0);
    for (int i = 0; i < 300; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kvt_check(c, 0);
    kv_close(c);
}

static void what_one_that_was_let_go_could_not_do_the_cache_does_again(void **state) {
    (void)state;
    struct kv *c = open_with("broken.so", "fixed place", 2000);
    struct kv_stats s;
    struct err e = {0};
    kv_get_stats(c, &s);
    assert_int_equal(s.grow, KV_GROW_FIXED);
    for (int i = 0; i < 9; i++) assert_int_equal(kvt_append(c, 0, i, &e), 0);
    assert_int_equal(kvt_append(c, 0, 9, &e), ERR_FAILED);
    kv_get_stats(c, &s);
    assert_int_equal(s.grow, KV_GROW_AUTO);
    assert_int_equal(s.evict, KV_EVICT_SHIFT);
    for (int i = 0; i < 20; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    kv_clear(c, false); /* back to what an opening that grows has */
    kv_get_stats(c, &s);
    assert_int_equal(s.committed, KV_BLOCK);
    kv_close(c);
}

static void a_file_that_cannot_be_written_or_read_breaks_no_memory(void **state) {
    (void)state;
    struct kv *c = open_with("heavy.so", NULL, 500);
    struct kv_snapshot_info info = {0};
    struct err e = {0};
    for (int i = 0; i < 40; i++) assert_int_equal(kvt_append(c, 0, i, NULL), 0);
    assert_int_equal(kv_save(c, 0, "/nonexistent/a.kv", &info, NULL, &e), ERR_FAILED);
    assert_string_equal(e.text, "cannot save /nonexistent/a.kv: No such file or directory");
    assert_int_equal(kv_load(c, 0, "/nonexistent/a.kv", &info, NULL, &e), ERR_FILE);
    assert_string_equal(c->memory->name, "heavy");
    assert_int_equal(kv_seq_pos_max(c, 0), 39);
    kvt_check(c, 0);
    kv_close(c);
}

/* Attends to the cells of some tokens alone. */
static void attend(struct kv *c, int32_t token, int32_t loved) {
    struct kv_batch b;
    struct kv_view v;
    const int32_t *all;
    assert_int_equal(kv_begin(c, 0, &token, 1, SIZE_MAX, &b, NULL), 0);
    for (uint32_t layer = 0; layer < KVT_LAYERS; layer++) {
        float k[KVT_ROW] = {0};
        kv_write(c, &b, layer, 0, 1, k, KVT_ROW, k, KVT_ROW);
    }
    kv_get_view(c, &b, &v);
    assert_non_null(v.mass);
    size_t n = kv_tokens(c, 0, &all), at = 0;
    const struct kv_range *left;
    size_t n_left = kv_left(c, 0, &left);
    for (size_t i = 0; i < n && at + 1 < v.n_cells; i++) {
        bool gone = false;
        for (size_t j = 0; j < n_left; j++) gone = gone || (i >= left[j].first && i < left[j].first + left[j].n);
        if (gone) continue;
        if (all[i] == loved) v.mass[at] += 1;
        at++;
    }
    kv_finish(c, &b);
}

static void the_example_keeps_what_is_attended_to(void **state) {
    (void)state;
    enum { LOVED = 5, BOUND = 128 };
    struct kv *c = open_with("heavy.so", NULL, BOUND);
    assert_string_equal(c->memory->name, "heavy");
    /* sixteen loved tokens early on, then many others */
    for (int i = 0; i < 1000; i++) attend(c, i >= 16 && i < 32 ? LOVED : 1000 + i, LOVED);
    const int32_t *all;
    const struct kv_range *left;
    size_t n = kv_tokens(c, 0, &all), n_left = kv_left(c, 0, &left), gone = 0;
    assert_int_equal(n, 1000);
    for (size_t i = 0; i < n_left; i++) {
        gone += left[i].n;
        assert_false(left[i].first < 32 && left[i].first + left[i].n > 16);
    }
    assert_true(gone >= 1000 - BOUND);
    kv_close(c);
}

int main(int argc, char **argv) {
    (void)argc;
    const char *slash = strrchr(argv[0], '/');
    buf_printf(&folder, "%.*s/plugins", slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_plug_in_of_this_version_is_refused_by_name),
        cmocka_unit_test(one_that_breaks_is_let_go_and_the_conversation_is_computed_again),
        cmocka_unit_test(one_that_chooses_what_it_must_not_is_let_go_and_the_mode_decides),
        cmocka_unit_test(where_it_kept_keys_and_values_itself_all_is_computed_again),
        cmocka_unit_test(what_a_memory_cannot_do_the_cache_does_without),
        cmocka_unit_test(what_a_refused_one_cannot_do_changes_nothing),
        cmocka_unit_test(one_that_cannot_grow_is_refused_where_all_of_the_bound_cannot_be_had),
        cmocka_unit_test(what_one_that_was_let_go_could_not_do_the_cache_does_again),
        cmocka_unit_test(a_file_that_cannot_be_written_or_read_breaks_no_memory),
        cmocka_unit_test(the_example_keeps_what_is_attended_to),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_free(&folder);
    return failed;
}
