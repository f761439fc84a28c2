/* Tests of app/queue: order, bounds, closing and the wake pipe. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/queue.h"

static struct queue *open_queue(size_t cap, bool wake) {
    struct queue *q;
    assert_int_equal(queue_open(&q, sizeof(int), cap, wake, NULL), 0);
    return q;
}

static bool readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void items_come_out_in_the_order_they_went_in(void **state) {
    (void)state;
    struct queue *q = open_queue(3, false);
    int out, next_in = 0, next_out = 0;
    for (int round = 0; round < 7; round++) { /* two in, two out: the ring wraps at every place */
        for (int i = 0; i < 2; i++) assert_true(queue_push(q, &(int){next_in++}));
        for (int i = 0; i < 2; i++) {
            assert_true(queue_pop(q, &out));
            assert_int_equal(out, next_out++);
        }
    }
    assert_false(queue_try_pop(q, &out));
    queue_free(q);
}

static void a_full_queue_refuses_a_push_that_does_not_wait(void **state) {
    (void)state;
    struct queue *q = open_queue(2, false);
    int out;
    assert_true(queue_try_push(q, &(int){1}));
    assert_true(queue_try_push(q, &(int){2}));
    assert_false(queue_try_push(q, &(int){3}));
    assert_true(queue_pop(q, &out));
    assert_true(queue_try_push(q, &(int){4}));
    queue_free(q);
}

static void an_item_entering_an_empty_queue_puts_one_byte_into_the_pipe(void **state) {
    (void)state;
    struct queue *q = open_queue(4, true);
    int out;
    assert_false(readable(queue_wake_fd(q)));
    queue_push(q, &(int){1});
    assert_true(readable(queue_wake_fd(q)));
    queue_drain(q);
    queue_push(q, &(int){2}); /* not empty: the reader is known to be on its way */
    assert_false(readable(queue_wake_fd(q)));
    while (queue_try_pop(q, &out)) continue;
    queue_push(q, &(int){3});
    assert_true(readable(queue_wake_fd(q)));
    queue_free(q);
}

static void a_closed_queue_gives_what_is_left_and_takes_nothing(void **state) {
    (void)state;
    struct queue *q = open_queue(2, false);
    int out;
    queue_push(q, &(int){1});
    queue_close(q);
    assert_false(queue_push(q, &(int){2}));
    assert_true(queue_pop(q, &out));
    assert_int_equal(out, 1);
    assert_false(queue_pop(q, &out));
    queue_free(q);
}

#define MANY 20000

static void *push_many(void *arg) {
    for (int i = 0; i < MANY; i++)
        if (!queue_push(arg, &i)) return NULL;
    return arg;
}

static void a_writer_waits_for_a_slow_reader_and_loses_nothing(void **state) {
    (void)state;
    struct queue *q = open_queue(5, true);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, push_many, q), 0);
    for (int i = 0, out; i < MANY; i++) {
        assert_true(queue_pop(q, &out));
        assert_int_equal(out, i);
    }
    void *sent;
    pthread_join(t, &sent);
    assert_ptr_equal(sent, q);
    queue_free(q);
}

static void closing_ends_a_writer_that_waits(void **state) {
    (void)state;
    struct queue *q = open_queue(1, false);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, push_many, q), 0);
    queue_close(q);
    void *sent;
    pthread_join(t, &sent);
    assert_null(sent);
    queue_free(q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_full_queue_refuses_a_push_that_does_not_wait),
        cmocka_unit_test(an_item_entering_an_empty_queue_puts_one_byte_into_the_pipe),
        cmocka_unit_test(a_closed_queue_gives_what_is_left_and_takes_nothing),
        cmocka_unit_test(a_writer_waits_for_a_slow_reader_and_loses_nothing),
        cmocka_unit_test(closing_ends_a_writer_that_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
