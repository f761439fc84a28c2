/* Tests of the program under memory limits of the system. The model is stories260K; without it they are skipped, and under sanitizers, which
 * take more addresses than any limit leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support_folder.h"
#include "tests/support_gguf.h"
#include "tests/support_program.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define MIB (1024ull * 1024)

static char *model;

static int open_folder(void **state) {
    (void)state;
    model = support_data("stories260K/stories260K.gguf");
    program_limit(RLIMIT_CPU, 20); /* what spins for ever is ended */
    return support_folder_make() ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    free(model);
    support_folder_remove();
    return 0;
}

/* A long conversation: many times more than the few MiB that are left for the cache. */
static void run_conversation(struct program_run *r) {
    enum { TURNS = 32, PHRASES = 25 };
    struct buf in = {0};
    for (int i = 0; i < TURNS; i++) {
        for (int k = 0; k < PHRASES; k++) buf_add_text(&in, "Once upon a time there was a little girl who loved to play in the park. ");
        buf_add_char(&in, '\n');
    }
    program_run(r, in.data, in.len, (const char *const[]){"-m", model, "--temp", "0", "-q", "--jsonl", "--turns", "\\n", "-n", "1", "-c", "100000", "-ctk",
                "f32", "-ctv", "f32", NULL});
    buf_free(&in);
}

/* Runs it with little more of a resource than it needs to begin. */
static void run_limited(int resource, struct program_run *r) {
    enum { LEAST_MIB = 9 /* the kernel maps the program, with the guide in it, or ends it */, STEP_MIB = 3, MOST_MIB = 400 };
    if (!model || SANITIZED) skip();
    for (unsigned long long most = LEAST_MIB; most < MOST_MIB; most += STEP_MIB) {
        program_limit(resource, most * MIB);
        run_conversation(r);
        if (r->status == 0) break;
        /* OpenBLAS interrupts a program whose memory does not even hold a thread's stack, before it begins. */
        if (r->status > 128 && r->status != 128 + SIGINT) fail_msg("ended by signal %d with %llu MiB", r->status - 128, most);
        program_run_free(r);
    }
    program_limit(resource, RLIM_INFINITY);
    assert_int_equal(r->status, 0);
}

static void expect_goes_on(const struct program_run *r) {
    const char *out = buf_text((struct buf *)&r->out), *grown = strstr(out, "\"event\":\"grow\""), *evicted = strstr(out, "\"event\":\"evict\"");
    assert_non_null(grown);
    assert_non_null(evicted);
    assert_true(grown < evicted);
    assert_non_null(strstr(out, "\"bound\":100000")); /* nothing else made it evict */
    assert_non_null(strstr(out, "{\"event\":\"end\",\"status\":0"));
}

static void where_more_data_is_refused_the_conversation_goes_on(void **state) {
    (void)state;
    struct program_run r;
    run_limited(RLIMIT_DATA, &r);
    expect_goes_on(&r);
    assert_null(strstr(buf_text(&r.out), "\"cache_reserved_bytes\":0,")); /* addresses were to be had */
    program_run_free(&r);
}

static void where_addresses_are_refused_the_conversation_goes_on(void **state) {
    (void)state;
    struct program_run r;
    run_limited(RLIMIT_AS, &r);
    expect_goes_on(&r);
    assert_non_null(strstr(buf_text(&r.out), "\"cache_reserved_bytes\":0,"));
    program_run_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_more_data_is_refused_the_conversation_goes_on),
        cmocka_unit_test(where_addresses_are_refused_the_conversation_goes_on),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
