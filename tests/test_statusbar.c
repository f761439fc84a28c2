/* Tests of ui/statusbar: what the status line shows at which width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "config/utf8.h"
#include "ui/statusbar.h"

static const struct ui_status example = {
    .state = UI_WRITING, .used = 412, .committed = 512, .bound = 1024, .cache_bytes = 3355443, .cache_type = "f16",
    .n_grow = 2, .rss_bytes = 18 << 20, .room_bytes = 21ull << 30, .tokens_per_s = 812, .seconds_left = -1,
    .conversation = "tea-notes", .persona = "guide", .event = "",
};
static const struct ui_status large = {
    .state = UI_READING, .used = 65300, .committed = 65536, .bound = 131072, .cache_bytes = 13ull << 30, .cache_type = "q8_0",
    .n_grow = 12, .n_shrink = 3, .rss_bytes = 15ull << 30, .room_bytes = 900ull << 20, .room_limit = "budget", .tokens_per_s = 9.87,
    .progress = 0.455, .seconds_left = 131, .conversation = "a long talk", .persona = "assistant", .event = "",
};

/* A sign of each field, in the order of importance. */
static const char *const signs_example[] = {"ctx ", "writing", "812 t/s", "▕", "kv 3.2M f16 ↑2", "rss 18M", "free 21G", "tea-notes", "guide"};
static const char *const signs_large[] = {"ctx ", "45%", "9.9 t/s", "▕", "kv 13G q8_0 ↑12 ↓3", "rss 15G", "free 900M", "a long talk", "assistant"};
enum { N_SIGNS = 9 };

static const char *bar(const struct ui_status *st, int columns) {
    static char out[2048];
    ui_status_text(st, columns, out, sizeof out);
    return out;
}

static int shown(const char *text, const char *const *signs) {
    int n = 0;
    for (int i = 0; i < N_SIGNS; i++) n += strstr(text, signs[i]) != NULL;
    return n;
}

static void the_example_of_the_design_comes_out_as_it_stands_there(void **state) {
    (void)state;
    struct statusbar_line line;
    statusbar_format(&example, 120, 2, &line);
    assert_string_equal(line.text, " ctx 412/512 of 1024 ▕██████▍░▏ writing ⠹ 812 t/s  kv 3.2M f16 ↑2  rss 18M  free 21G  guide · tea-notes");
    assert_memory_equal(line.text + line.meter_at, "▕██████▍░▏", line.meter_n);
    assert_int_equal(line.level, STATUSBAR_ROOM);
}

static void at_every_width_it_fits_and_leaves_out_the_least_important_first(void **state) {
    (void)state;
    const struct { const struct ui_status *st; const char *const *signs; } cases[] = {{&example, signs_example}, {&large, signs_large}};
    for (size_t c = 0; c < 2; c++) {
        int before = 0;
        for (int columns = 10; columns <= 200; columns++) {
            const char *text = bar(cases[c].st, columns);
            assert_true(utf8_width(text, strlen(text)) <= (size_t)columns);
            int n = shown(text, cases[c].signs);
            for (int i = 0; i < n; i++) /* the first n, no others */
                if (!strstr(text, cases[c].signs[i])) fail_msg("%d columns: \"%s\" lacks \"%s\"", columns, text, cases[c].signs[i]);
            if (columns > 30 && n < before) /* below, a share stands for the cells */
                fail_msg("%d columns show fewer fields than %d", columns, columns - 1);
            before = n;
        }
        assert_int_equal(before, N_SIGNS);
    }
}

static void a_hundred_columns_lack_the_names_alone_sixty_show_four_fields_and_forty_two(void **state) {
    (void)state;
    assert_true(shown(bar(&example, 100), signs_example) >= 7);
    assert_true(shown(bar(&large, 100), signs_large) >= 7);
    assert_true(shown(bar(&example, 60), signs_example) >= 4);
    assert_true(shown(bar(&large, 60), signs_large) >= 4);
    assert_true(shown(bar(&example, 40), signs_example) >= 2);
    assert_true(shown(bar(&large, 40), signs_large) >= 2);
}

static void the_cells_are_written_out_wherever_they_fit(void **state) {
    (void)state;
    for (int columns = 20; columns <= 200; columns++) assert_non_null(strstr(bar(&example, columns), "ctx 412/512 of 1024"));
    for (int columns = 26; columns <= 200; columns++) assert_non_null(strstr(bar(&large, columns), "ctx 65300/65536 of 131072"));
    assert_string_equal(bar(&example, 12), " ctx 40%");
}

static void an_event_takes_the_place_of_the_least_important_fields(void **state) {
    (void)state;
    struct ui_status st = example;
    st.event = "grew to 1024 cells in 3 µs";
    for (int columns = 70; columns <= 200; columns++) assert_non_null(strstr(bar(&st, columns), st.event));
    assert_non_null(strstr(bar(&st, 60), "  grew to 1024 ce")); /* cut, but the three before it stand */
    assert_int_equal(shown(bar(&st, 60), signs_example), 3);
    assert_non_null(strstr(bar(&st, 40), "writing"));
    assert_null(strstr(bar(&st, 100), "tea-notes"));
    for (int columns = 10; columns <= 200; columns++) {
        const char *text = bar(&st, columns);
        assert_true(utf8_width(text, strlen(text)) <= (size_t)columns);
    }
}

static void what_a_model_or_a_user_named_cannot_reach_the_terminal_raw(void **state) {
    (void)state;
    struct ui_status st = example;
    st.conversation = "a\033[2Jb\nc\x9d\xff";
    st.event = "\033]0;title\007done";
    const char *text = bar(&st, 200);
    for (const char *p = text; *p; p++) assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
    assert_true(utf8_valid(text, strlen(text)));
    assert_non_null(strstr(text, "done"));
}

static void figures_are_short(void **state) {
    (void)state;
    const struct { uint64_t bytes; const char *want; } cases[] = {
        {0, "kv 0B "}, {999, "kv 999B "}, {1024, "kv 1.0K "}, {1023 * 1024, "kv 1.0M "}, {10 << 20, "kv 10M "},
        {3 << 19, "kv 1.5M "}, {UINT64_MAX, "kv 16E "}, {(uint64_t)1023 << 30, "kv 1.0T "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ui_status st = example;
        st.cache_bytes = cases[i].bytes;
        if (!strstr(bar(&st, 200), cases[i].want)) fail_msg("\"%s\" lacks \"%s\"", bar(&st, 200), cases[i].want);
    }
}

static void a_bar_of_nothing_and_one_of_the_largest_numbers_are_safe(void **state) {
    (void)state;
    struct ui_status none = {0}, most;
    most = (struct ui_status){.used = UINT64_MAX, .committed = UINT64_MAX, .bound = UINT64_MAX, .cache_bytes = UINT64_MAX,
                              .rss_bytes = UINT64_MAX, .room_bytes = UINT64_MAX, .n_grow = UINT32_MAX, .n_shrink = UINT32_MAX,
                              .tokens_per_s = 1e300, .progress = 1e300, .seconds_left = 1e300, .state = UI_READING};
    for (int columns = 0; columns <= 300; columns++) {
        assert_true((int)utf8_width(bar(&none, columns), strlen(bar(&none, columns))) <= columns);
        assert_true((int)utf8_width(bar(&most, columns), strlen(bar(&most, columns))) <= columns);
    }
    char tiny[4];
    ui_status_text(&example, 100, tiny, sizeof tiny);
    assert_true(strlen(tiny) < sizeof tiny);
}

static void the_meter_says_how_near_the_bound_is(void **state) {
    (void)state;
    struct ui_status st = example;
    struct statusbar_line line;
    const struct { uint64_t used; enum statusbar_level level; } cases[] = {
        {0, STATUSBAR_ROOM}, {700, STATUSBAR_ROOM}, {720, STATUSBAR_NEAR}, {922, STATUSBAR_FULL}, {5000, STATUSBAR_FULL}};
    st.committed = 1024;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        st.used = cases[i].used;
        statusbar_format(&st, 100, 0, &line);
        assert_int_equal(line.level, cases[i].level);
    }
    assert_memory_equal(line.text + line.meter_at, "▕████████▏", line.meter_n);
}

static void a_conversation_without_its_persona_stands_alone(void **state) {
    (void)state;
    for (int columns = 60; columns < 120; columns++) {
        const char *text = bar(&example, columns);
        if (!strstr(text, "tea-notes") || strstr(text, "guide")) continue;
        assert_non_null(strstr(text, "21G  tea-notes"));
        return;
    }
    fail_msg("at no width the conversation is shown alone");
}

static void no_room_is_shown_unless_it_is_the_bound_that_leaves_none(void **state) {
    (void)state;
    struct ui_status st = example;
    st.room_bytes = 0;
    st.room_limit = "bound";
    assert_null(strstr(bar(&st, 200), "free"));
    assert_null(strstr(bar(&st, 200), "bound"));
    assert_non_null(strstr(bar(&st, 200), "rss 18M  guide"));
    st.room_limit = "cgroup";
    assert_non_null(strstr(bar(&st, 200), "free 0B cgroup"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_design_comes_out_as_it_stands_there),
        cmocka_unit_test(at_every_width_it_fits_and_leaves_out_the_least_important_first),
        cmocka_unit_test(a_hundred_columns_lack_the_names_alone_sixty_show_four_fields_and_forty_two),
        cmocka_unit_test(the_cells_are_written_out_wherever_they_fit),
        cmocka_unit_test(an_event_takes_the_place_of_the_least_important_fields),
        cmocka_unit_test(what_a_model_or_a_user_named_cannot_reach_the_terminal_raw),
        cmocka_unit_test(a_conversation_without_its_persona_stands_alone),
        cmocka_unit_test(no_room_is_shown_unless_it_is_the_bound_that_leaves_none),
        cmocka_unit_test(figures_are_short),
        cmocka_unit_test(a_bar_of_nothing_and_one_of_the_largest_numbers_are_safe),
        cmocka_unit_test(the_meter_says_how_near_the_bound_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
