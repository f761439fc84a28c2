/* Tests of config/cpu and config/pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/cpu.h"
#include "config/pool.h"

static void the_processor_has_a_name_a_count_and_an_instruction_set(void **state) {
    (void)state;
    assert_true(cpu_count() >= 1);
    assert_true(strlen(cpu_model_name()) > 0);
    assert_non_null(cpu_isa_name(cpu_isa()));
    if (cpu_isa() != CPU_AVX512) assert_false(cpu_has_avx512_bf16());
}

/* What a fresh process with this KVETCH_ISA chooses. */
static int isa_with(const char *value) {
    pid_t child = fork();
    if (!child) {
        setenv("KVETCH_ISA", value, 1);
        _exit((int)cpu_isa());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_environment_lowers_the_instruction_set_and_never_raises_it(void **state) {
    (void)state;
    int best = isa_with("");
    assert_int_equal(isa_with("portable"), CPU_PORTABLE);
    assert_int_equal(isa_with("avx2"), best < (int)CPU_AVX2 ? best : (int)CPU_AVX2);
    assert_int_equal(isa_with("avx512"), best);
    assert_int_equal(isa_with("abacus"), best);
}

/* What the check says in a fresh process with this KVETCH_ISA: 0, or the code's absolute value. */
static int check_with(const char *value) {
    pid_t child = fork();
    if (!child) {
        setenv("KVETCH_ISA", value, 1);
        _exit(-cpu_check_environment(NULL));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void an_instruction_set_that_is_not_there_is_refused(void **state) {
    (void)state;
    assert_int_equal(check_with(""), 0);
    assert_int_equal(check_with("portable"), 0);
    assert_int_equal(check_with("PORTABLE"), 0);
    assert_int_equal(isa_with("Portable"), CPU_PORTABLE);
    assert_int_equal(check_with("abacus"), -ERR_USAGE);
    assert_int_equal(check_with("avx512"), isa_with("") == (int)CPU_AVX512 ? 0 : -ERR_USAGE);
}

struct counts {
    atomic_int calls, wrong;
    int nth;
};

/* Enough work that whoever waits for its end falls asleep. */
static void work(void) {
    volatile unsigned x = 0;
    for (int i = 0; i < 2000000; i++) x = x + 1;
}

static void count_call(void *arg, int ith, int nth) {
    struct counts *c = arg;
    int before = atomic_fetch_add(&c->calls, 1);
    if (nth != c->nth || ith < 0 || ith >= nth) atomic_fetch_add(&c->wrong, 1);
    if (before / nth % 100 == 50 && ith == before / nth / 100 % nth) work();
}

static void every_thread_runs_the_function_once_in_each_run(void **state) {
    (void)state;
    for (int n = 1; n <= 5; n++) {
        struct pool *p;
        struct err e = {0};
        assert_int_equal(pool_open(&p, n, &e), 0);
        assert_int_equal(pool_threads(p), n);
        struct counts c = {.nth = n};
        for (int i = 0; i < 500; i++) {
            pool_run(p, count_call, &c);
            assert_int_equal(atomic_load(&c.calls), n * (i + 1));
            if (i % 100 == 99) work(); /* the workers sleep meanwhile */
        }
        assert_int_equal(atomic_load(&c.wrong), 0);
        pool_close(p);
    }
    pool_close(NULL);
}

/* A heap of 100 tasks; whoever comes takes some. */
struct heap {
    atomic_int next, done, calls;
};

static void take_tasks(void *arg, int ith, int nth) {
    struct heap *h = arg;
    atomic_fetch_add(&h->calls, 1);
    while (atomic_fetch_add(&h->next, 1) < 100) {
        if (ith == nth - 1 && atomic_load(&h->done) == 7) work(); /* is waited for though the heap is empty meanwhile */
        atomic_fetch_add(&h->done, 1);
    }
}

static void shared_work_is_done_whoever_comes(void **state) {
    (void)state;
    for (int n = 1; n <= 5; n++) {
        struct pool *p;
        assert_int_equal(pool_open(&p, n, NULL), 0);
        struct counts c = {.nth = n};
        for (int i = 0; i < 600; i++) {
            struct heap h = {0}; /* gone after each round: nobody may come late */
            pool_run_any(p, take_tasks, &h);
            assert_int_equal(atomic_load(&h.done), 100);
            assert_true(atomic_load(&h.calls) >= 1 && atomic_load(&h.calls) <= n);
            if (i % 100 == 0) work(); /* the workers sleep meanwhile */
            if (i % 10) continue;
            pool_run(p, count_call, &c); /* runs that want everybody in between */
            assert_int_equal(atomic_load(&c.calls), n * (i / 10 + 1));
        }
        pool_close(p);
    }
}

static void shares_cover_everything_once_in_whole_units(void **state) {
    (void)state;
    for (size_t n = 0; n < 200; n += 7)
        for (size_t unit = 1; unit <= 32; unit *= 2)
            for (int nth = 1; nth <= 9; nth++) {
                size_t at = 0, most = 0, least = SIZE_MAX;
                for (int ith = 0; ith < nth; ith++) {
                    size_t from, to;
                    pool_share(n, unit, ith, nth, &from, &to);
                    assert_int_equal(from, at);
                    assert_true(to >= from && (to % unit == 0 || to == n));
                    at = to;
                    if (to - from > most) most = to - from;
                    if (to - from < least) least = to - from;
                }
                assert_int_equal(at, n);
                assert_true(most <= least + 2 * unit - 1);
            }
}

int main(void) {
    /* The first one asks fresh processes, so it comes before anything that remembers what was found. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instruction_set_that_is_not_there_is_refused),
        cmocka_unit_test(the_environment_lowers_the_instruction_set_and_never_raises_it),
        cmocka_unit_test(the_processor_has_a_name_a_count_and_an_instruction_set),
        cmocka_unit_test(every_thread_runs_the_function_once_in_each_run),
        cmocka_unit_test(shared_work_is_done_whoever_comes),
        cmocka_unit_test(shares_cover_everything_once_in_whole_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
