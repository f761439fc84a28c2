/* Tests of app/store: conversations on the disk, through crashes, other programs, and folders that cannot be written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/store.h"

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/kvetch-store-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static const char *db_path(void) {
    static char path[128];
    snprintf(path, sizeof path, "%s/kvetch.db", folder);
    return path;
}

static struct store *open_store(void) {
    struct store *s;
    struct err e = {0};
    if (store_open(&s, folder, false, &e)) fail_msg("%s", e.text);
    return s;
}

static int64_t add_conversation(struct store *s, const char *title) {
    struct store_conversation c = {.title = (char *)title, .persona = (char *)"guide", .settings = (char *)"{}"};
    assert_int_equal(store_wait(s, store_add_conversation(s, &c), NULL), 0);
    assert_true(store_conversation_id(s, c.id) > 0);
    return store_conversation_id(s, c.id);
}

static struct store_message message(int64_t conversation, int64_t parent, enum chat_role role, const char *text) {
    return (struct store_message){.conversation = conversation, .parent = parent, .role = role, .text = (char *)text, .n_text = strlen(text)};
}

static int64_t add_message(struct store *s, int64_t conversation, int64_t parent, enum chat_role role, const char *text) {
    struct store_message m = message(conversation, parent, role, text);
    store_ticket t = store_add_message(s, &m);
    assert_true(m.id > 0);
    assert_int_equal(store_wait(s, t, NULL), 0);
    return m.id;
}

static void free_messages(struct store_message *m, size_t n) {
    for (size_t i = 0; i < n; i++) store_message_free(&m[i]);
    free(m);
}

/* Puts a file of bytes where the store would lie. */
static void put_file(const void *bytes, size_t n) {
    FILE *f = fopen(db_path(), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* Writes a big-endian number into the header of the file (SQLite's file format, section 1.3). */
enum { HEADER_USER_VERSION = 60, HEADER_APPLICATION_ID = 68 };
static void set_header(long offset, unsigned char value) {
    FILE *f = fopen(db_path(), "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, offset, SEEK_SET), 0);
    assert_int_equal(fwrite((unsigned char[]){0, 0, 0, value}, 1, 4, f), 4);
    fclose(f);
}

static void a_message_comes_back_as_it_was_written(void **state) {
    (void)state;
    static int32_t ids[] = {5, -1, 2147483647};
    struct store *s = open_store();
    int64_t c = add_conversation(s, "tea"), user = add_message(s, c, 0, CHAT_USER, "hot?");
    struct store_message m = message(c, user, CHAT_ASSISTANT, "");
    m.text = (char *)"a\0b \xC3\xBC";
    m.n_text = 6;
    m.ids = ids;
    m.n_ids = 3;
    m.pinned = true;
    m.finish_reason = (char *)"stop";
    m.fingerprint = 0xfedcba9876543210u;
    m.settings = (char *)"{\"temp\":0}";
    m.timings = (char *)"{\"n\":3}";
    assert_int_equal(store_wait(s, store_add_message(s, &m), NULL), 0);
    store_close(s);

    s = open_store();
    struct store_message *got;
    size_t n;
    assert_int_equal(store_branch(s, c, m.id, &got, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(got[0].id, user);
    assert_int_equal(got[0].parent, 0);
    assert_string_equal(got[0].text, "hot?");
    assert_int_equal(got[1].parent, user);
    assert_int_equal(got[1].role, CHAT_ASSISTANT);
    assert_int_equal(got[1].n_text, 6);
    assert_memory_equal(got[1].text, "a\0b \xC3\xBC", 7);
    assert_int_equal(got[1].n_ids, 3);
    assert_memory_equal(got[1].ids, ids, sizeof ids);
    assert_true(got[1].pinned);
    assert_false(got[1].partial);
    assert_string_equal(got[1].finish_reason, "stop");
    assert_true(got[1].fingerprint == 0xfedcba9876543210u);
    assert_string_equal(got[1].settings, "{\"temp\":0}");
    assert_string_equal(got[1].timings, "{\"n\":3}");
    assert_true(got[1].created > 0);
    free_messages(got, n);
    store_close(s);
}

static void a_branch_is_the_way_from_the_root_to_its_leaf(void **state) {
    (void)state;
    struct store *s = open_store();
    int64_t c = add_conversation(s, ""), root = add_message(s, c, 0, CHAT_SYSTEM, ""), u = add_message(s, c, root, CHAT_USER, "u");
    int64_t first = add_message(s, c, u, CHAT_ASSISTANT, "one"), second = add_message(s, c, u, CHAT_ASSISTANT, "two");
    int64_t more = add_message(s, c, first, CHAT_USER, "more");
    struct store_message *got;
    int64_t *ids;
    size_t n;
    assert_int_equal(store_branch(s, c, more, &got, &n, NULL), 0);
    assert_int_equal(n, 4);
    assert_int_equal(got[2].id, first);
    free_messages(got, n);
    assert_int_equal(store_siblings(s, second, &ids, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], first);
    assert_int_equal(ids[1], second);
    free(ids);
    struct store_conversation row;
    assert_int_equal(store_get(s, c, &row, NULL), 0);
    assert_int_equal(row.head, more);
    assert_int_equal(row.n_turns, 2);
    row.head = second;
    assert_int_equal(store_wait(s, store_update_conversation(s, &row), NULL), 0);
    store_conversation_free(&row);
    assert_int_equal(store_get(s, c, &row, NULL), 0);
    assert_int_equal(row.n_turns, 1);
    store_conversation_free(&row);
    assert_int_equal(store_branch(s, c + 1, more, &got, &n, NULL), 0);
    assert_int_equal(n, 0); /* of another conversation */
    store_close(s);
}

static void a_deleted_message_takes_along_what_follows_it(void **state) {
    (void)state;
    struct store *s = open_store();
    int64_t c = add_conversation(s, ""), u = add_message(s, c, 0, CHAT_USER, "u"), r = add_message(s, c, u, CHAT_ASSISTANT, "r");
    int64_t last = add_message(s, c, r, CHAT_USER, "v");
    assert_int_equal(store_wait(s, store_delete_message(s, c, r), NULL), 0);
    struct store_conversation row;
    assert_int_equal(store_get(s, c, &row, NULL), 0);
    assert_int_equal(row.head, u);
    store_conversation_free(&row);
    struct store_message m = message(c, last, CHAT_ASSISTANT, "answers nothing");
    struct err e = {0};
    assert_int_equal(store_wait(s, store_add_message(s, &m), &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "no longer"));
    assert_int_equal(store_wait(s, store_delete_conversation(s, c), NULL), 0);
    assert_int_equal(store_get(s, c, &row, &e), ERR_FILE);
    store_close(s);
}

static void conversations_are_found_by_id_title_and_beginning(void **state) {
    (void)state;
    struct store *s = open_store();
    struct store_conversation row;
    struct err e = {0};
    assert_int_equal(store_last(s, &row, &e), ERR_FILE);
    int64_t tea = add_conversation(s, "tea notes"), wood = add_conversation(s, "woodwork"), word = add_conversation(s, "words");
    char id[32];
    snprintf(id, sizeof id, "%lld", (long long)wood);
    assert_int_equal(store_find(s, id, &row, NULL), 0);
    assert_int_equal(row.id, wood);
    store_conversation_free(&row);
    assert_int_equal(store_find(s, "words", &row, NULL), 0);
    assert_int_equal(row.id, word);
    store_conversation_free(&row);
    assert_int_equal(store_find(s, "te", &row, NULL), 0);
    assert_int_equal(row.id, tea);
    assert_string_equal(row.persona, "guide");
    store_conversation_free(&row);
    assert_int_equal(store_find(s, "wo", &row, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "more than one"));
    snprintf(id, sizeof id, "%lld \"woodwork\"", (long long)wood);
    assert_non_null(strstr(e.text, id));
    bool has;
    assert_int_equal(store_has_title(s, "words", &has, NULL), 0);
    assert_true(has);
    assert_int_equal(store_has_title(s, "word", &has, NULL), 0);
    assert_false(has);
    assert_int_equal(store_find(s, "tee notes", &row, &e), ERR_FILE);
    assert_non_null(strstr(e.text, "tea notes"));
    assert_int_equal(store_last(s, &row, NULL), 0);
    assert_int_equal(row.id, word);
    store_conversation_free(&row);
    struct store_conversation *all;
    size_t n;
    assert_int_equal(store_list(s, &all, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(all[2].id, tea);
    for (size_t i = 0; i < n; i++) store_conversation_free(&all[i]);
    free(all);
    store_close(s);
}

static void the_last_of_many_updates_is_what_stays(void **state) {
    (void)state;
    struct store *s = open_store();
    int64_t c = add_conversation(s, ""), u = add_message(s, c, 0, CHAT_USER, "u");
    struct store_message m = message(c, u, CHAT_ASSISTANT, "");
    m.partial = true;
    store_ticket t[1001];
    t[0] = store_add_message(s, &m);
    for (int i = 1; i <= 1000; i++) {
        char text[16];
        m.n_text = (size_t)snprintf(text, sizeof text, "%d", i);
        m.text = text;
        t[i] = store_update_message(s, &m);
        assert_true(t[i] > t[i - 1]);
    }
    for (int i = 0; i <= 1000; i++) assert_int_equal(store_wait(s, t[i], NULL), 0);
    struct store_message *got;
    size_t n;
    assert_int_equal(store_branch(s, c, m.id, &got, &n, NULL), 0);
    assert_string_equal(got[1].text, "1000");
    assert_true(got[1].partial);
    free_messages(got, n);
    store_close(s);
}

static void files_and_folders_are_private(void **state) {
    (void)state;
    char deep[128];
    size_t was = strlen(folder);
    snprintf(deep, sizeof deep, "%s/a/b", folder);
    struct store *s;
    mode_t mask = umask(0);
    assert_int_equal(store_open(&s, deep, false, NULL), 0);
    umask(mask);
    int64_t c = add_conversation(s, "x");
    (void)c;
    struct stat st;
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(store_path(s), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char wal[160];
    snprintf(wal, sizeof wal, "%s-wal", store_path(s));
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store_close(s);
    folder[was] = 0;
}

/* A child writes a user's message and the beginning of a reply, says so, and is killed while it writes on. */
static void a_killed_program_loses_nothing_that_was_acknowledged(void **state) {
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        struct store *s;
        struct store_conversation row = {.title = (char *)"crash"};
        if (store_open(&s, folder, false, NULL) || store_wait(s, store_add_conversation(s, &row), NULL)) _exit(1);
        struct store_message u = message(row.id, 0, CHAT_USER, "tell me everything");
        if (store_wait(s, store_add_message(s, &u), NULL)) _exit(1);
        struct store_message r = message(row.id, u.id, CHAT_ASSISTANT, "");
        r.partial = true;
        store_add_message(s, &r);
        static char text[100001];
        memset(text, 'x', sizeof text - 1);
        for (size_t n = 1;; n = n < 100000 ? n + 1 : n) {
            r.text = text;
            r.n_text = n;
            store_ticket t = store_update_message(s, &r);
            if (n == 20 && (store_wait(s, t, NULL) || write(ready[1], "", 1) != 1)) _exit(1);
        }
    }
    close(ready[1]);
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);

    struct store *s = open_store();
    struct store_conversation row;
    assert_int_equal(store_last(s, &row, NULL), 0);
    assert_string_equal(row.title, "crash");
    struct store_message *got;
    size_t n;
    assert_int_equal(store_branch(s, row.id, row.head, &got, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_string_equal(got[0].text, "tell me everything");
    assert_true(got[1].partial);
    assert_true(got[1].n_text >= 20);
    assert_int_equal(strspn(got[1].text, "x"), got[1].n_text);
    free_messages(got, n);
    store_conversation_free(&row);
    store_close(s);
}

#define WRITERS 2
#define EACH 40

/* Opens the store at the same moment as its brothers, which also create it, and writes a conversation of its own. */
static void write_much(int start) {
    char byte;
    if (read(start, &byte, 1) != 0) _exit(2);
    struct store *s;
    struct err e = {0};
    if (store_open(&s, folder, false, &e)) {
        fprintf(stderr, "%s\n", e.text);
        _exit(3);
    }
    struct store_conversation row = {.title = (char *)"mine"};
    if (store_wait(s, store_add_conversation(s, &row), &e)) {
        fprintf(stderr, "%s\n", e.text);
        _exit(4);
    }
    int64_t parent = 0;
    store_ticket t = 0;
    for (int i = 0; i < EACH; i++) {
        struct store_message m = message(row.id, parent, CHAT_USER, "m");
        t = store_add_message(s, &m);
        parent = m.id;
    }
    for (store_ticket i = 1; i <= t; i++) if (store_wait(s, i, NULL)) _exit(5);
    store_close(s);
    _exit(0);
}

static void programs_that_write_at_once_do_not_lose_each_other_s_rows(void **state) {
    (void)state;
    int start[2];
    assert_int_equal(pipe(start), 0);
    pid_t child[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        child[i] = fork();
        if (!child[i]) {
            close(start[1]);
            write_much(start[0]);
        }
    }
    close(start[0]);
    close(start[1]);
    for (int i = 0; i < WRITERS; i++) {
        int status;
        waitpid(child[i], &status, 0);
        assert_int_equal(status, 0);
    }
    struct store *s = open_store();
    struct store_conversation *all;
    size_t n;
    assert_int_equal(store_list(s, &all, &n, NULL), 0);
    assert_int_equal(n, WRITERS);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(all[i].n_turns, EACH);
        store_conversation_free(&all[i]);
    }
    free(all);
    store_close(s);
}

static void two_programs_in_one_conversation_write_siblings_and_each_is_told(void **state) {
    (void)state;
    struct store *a = open_store(), *b = open_store();
    int64_t c = add_conversation(a, "shared"), u = add_message(a, c, 0, CHAT_USER, "u");
    store_watch(a, c, u);
    store_watch(b, c, u);
    int64_t of_b = add_message(b, c, u, CHAT_ASSISTANT, "b's");
    assert_false(store_diverged(b, c));
    int64_t of_a = add_message(a, c, u, CHAT_ASSISTANT, "a's");
    assert_true(store_diverged(a, c));
    assert_false(store_diverged(a, c)); /* told once */
    add_message(b, c, of_b, CHAT_USER, "on");
    assert_true(store_diverged(b, c));
    int64_t *ids;
    size_t n;
    assert_int_equal(store_siblings(a, of_a, &ids, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], of_b);
    free(ids);
    store_close(a);
    store_close(b);
}

static void complain_of_open(int code, const char *say, bool read_only) {
    struct store *s = (struct store *)1;
    struct err e = {0};
    int rc = store_open(&s, folder, read_only, &e);
    assert_int_equal(rc, code);
    assert_null(s);
    if (!strstr(e.text, say)) fail_msg("\"%s\" does not say \"%s\"", e.text, say);
    assert_null(strchr(e.text, '\n'));
}

static void a_file_that_is_no_store_is_refused_in_one_sentence(void **state) {
    (void)state;
    char junk[4096];
    memset(junk, 'j', sizeof junk);
    put_file(junk, sizeof junk);
    complain_of_open(ERR_FILE, "not a conversation store", false);
    complain_of_open(ERR_FILE, "not a conversation store", true);
    struct stat st;
    assert_int_equal(stat(db_path(), &st), 0);
    assert_int_equal(st.st_size, sizeof junk); /* and is left as it is */
}

static void another_program_s_database_and_a_newer_store_are_refused(void **state) {
    (void)state;
    store_close(open_store());
    set_header(HEADER_USER_VERSION, 7);
    complain_of_open(ERR_FILE, "version 7", false);
    complain_of_open(ERR_FILE, "version 7", true);
    set_header(HEADER_USER_VERSION, STORE_VERSION);
    store_close(open_store());
    set_header(HEADER_APPLICATION_ID, 3);
    complain_of_open(ERR_FILE, "another program", false);
}

static void a_missing_file_read_only_is_an_empty_store_and_is_not_made(void **state) {
    (void)state;
    struct store *s;
    assert_int_equal(store_open(&s, folder, true, NULL), 0);
    struct store_conversation *all;
    size_t n;
    assert_int_equal(store_list(s, &all, &n, NULL), 0);
    assert_int_equal(n, 0);
    free(all);
    store_close(s);
    assert_int_equal(access(db_path(), F_OK), -1);
}

/* In a child that is nobody, since root writes everywhere: what runs there says by its status how far it came. */
static int as_nobody(int (*fn)(void)) {
    pid_t child = fork();
    if (!child) {
        if (getuid() == 0 && (setgid(65534) || setuid(65534))) _exit(99);
        _exit(fn());
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int use_unwritable_store(void) {
    struct store *s;
    struct store_conversation row;
    struct err e = {0};
    if (store_open(&s, folder, false, &e)) return 1;
    if (!store_failed(s, &e) || !strstr(e.text, db_path())) return 2;
    if (store_find(s, "kept", &row, NULL)) return 3;
    struct store_message m = message(row.id, 0, CHAT_USER, "lost");
    store_ticket t = store_add_message(s, &m);
    if (!t || !m.id || store_wait(s, t, &e) != ERR_FAILED) return 4;
    struct store_conversation other = {0};
    if (store_wait(s, store_add_conversation(s, &other), &e) != ERR_FAILED || store_conversation_id(s, other.id)) return 5;
    store_conversation_free(&row);
    store_close(s);
    return 0;
}

static int open_where_nothing_can_be_made(void) {
    struct store *s;
    struct err e = {0};
    return store_open(&s, folder, false, &e) == ERR_FAILED && !s && strstr(e.text, "cannot create") ? 0 : 1;
}

static void a_store_that_cannot_be_written_is_read_and_says_so(void **state) {
    (void)state;
    assert_int_equal(chmod(folder, 0555), 0);
    assert_int_equal(as_nobody(open_where_nothing_can_be_made), 0);
    chmod(folder, 0700);
    struct store *s = open_store();
    add_conversation(s, "kept");
    store_close(s);
    chmod(db_path(), 0444);
    chmod(folder, 0555);
    assert_int_equal(as_nobody(use_unwritable_store), 0);
    chmod(folder, 0700);
}

/* In a child with a small file system of its own at folder. 98: this machine does not let us have one. */
static int open_on_a_full_disk(void) {
    if (unshare(CLONE_NEWNS | (getuid() ? CLONE_NEWUSER : 0)) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) return 98;
    if (mount("none", folder, "tmpfs", 0, "size=200k")) return 98;
    struct store *s = open_store();
    struct store_conversation row;
    struct err e = {0};
    static const char block[4096];
    char path[128];
    add_conversation(s, "kept");
    store_close(s);
    snprintf(path, sizeof path, "%s/filler", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, block, sizeof block) > 0) continue;
    if (errno != ENOSPC) return 1;
    if (store_open(&s, folder, false, &e)) return 2;
    if (!store_failed(s, &e) || !strstr(e.text, "no space left on device")) return 3;
    if (store_find(s, "kept", &row, NULL)) return 4;
    return 0;
}

static void a_store_on_a_full_disk_is_read_and_says_that_it_is_full(void **state) {
    (void)state;
    pid_t child = fork();
    if (!child) _exit(open_on_a_full_disk());
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 98) {
        print_message("no file system of one's own can be made here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void a_full_disk_fails_the_ticket_and_a_later_write_succeeds(void **state) {
    (void)state;
    struct store *s = open_store();
    int64_t c = add_conversation(s, "full");
    static char big[4 << 20];
    memset(big, 'b', sizeof big - 1);
    struct rlimit was, small;
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = 1 << 20;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    struct store_message m = message(c, 0, CHAT_USER, big);
    struct err e = {0};
    int rc = store_wait(s, store_add_message(s, &m), &e);
    bool failed = store_failed(s, NULL);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(rc, ERR_FAILED);
    assert_true(failed);
    assert_true(e.text[0] != 0);
    assert_int_equal(store_wait(s, store_add_message(s, &m), &e), 0); /* the same message, with its id */
    assert_false(store_failed(s, NULL));
    store_close(s);
}

static void count_call(void *arg) { ++*(int *)arg; }
static void count_ticket(void *ctx, store_ticket t, const struct err *failed) {
    (void)t;
    if (!failed) ++*(int *)ctx;
}

static void what_is_queued_runs_in_order_and_tells_when_it_is_done(void **state) {
    (void)state;
    struct store *s = open_store();
    int calls = 0, done = 0;
    store_on_commit(s, count_ticket, &done);
    store_ticket t = store_run(s, count_call, &calls);
    assert_int_equal(store_wait(s, t, NULL), 0);
    assert_true(store_is_done(s, t));
    assert_int_equal(calls, 1);
    store_run(s, count_call, &calls);
    store_close(s);
    assert_int_equal(calls, 2);
    assert_true(done >= 2);
}

/* Another program that holds the lock for writing, until hold is closed: byte 120 of the -shm file (https://www.sqlite.org/walformat.html). */
static pid_t hold_write_lock(int hold[2]) {
    int held[2];
    char byte = 0, path[128];
    assert_int_equal(pipe(hold) || pipe(held), 0);
    snprintf(path, sizeof path, "%s/kvetch.db-shm", folder);
    pid_t child = fork();
    if (!child) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 120, .l_len = 1};
        int fd = open(path, O_RDWR);
        close(hold[1]);
        if (fd < 0 || fcntl(fd, F_SETLKW, &lock) || write(held[1], "", 1) != 1) _exit(1);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(held[1]);
    assert_int_equal(read(held[0], &byte, 1), 1);
    close(held[0]);
    close(hold[0]);
    return child;
}

static void nothing_waits_for_a_store_that_another_program_holds(void **state) {
    (void)state;
    struct store *s = open_store();
    int hold[2];
    pid_t other = hold_write_lock(hold);
    struct store_conversation c = {.title = (char *)"first"};
    store_ticket row = store_add_conversation(s, &c);
    struct store_message m = message(c.id, 0, CHAT_USER, "hello");
    store_ticket said = store_add_message(s, &m);
    assert_true(c.id < 0);
    assert_int_equal(store_conversation_id(s, c.id), 0);
    close(hold[1]);
    int status;
    waitpid(other, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(store_wait(s, row, NULL), 0); /* had it been waited for, it would have been given up by now */
    assert_int_equal(store_wait(s, said, NULL), 0);
    struct store_conversation got;
    assert_int_equal(store_get(s, store_conversation_id(s, c.id), &got, NULL), 0);
    assert_string_equal(got.title, "first");
    assert_int_equal(got.n_turns, 1);
    store_conversation_free(&got);
    store_close(s);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(nothing_waits_for_a_store_that_another_program_holds),
        TEST(a_message_comes_back_as_it_was_written),
        TEST(a_branch_is_the_way_from_the_root_to_its_leaf),
        TEST(a_deleted_message_takes_along_what_follows_it),
        TEST(conversations_are_found_by_id_title_and_beginning),
        TEST(the_last_of_many_updates_is_what_stays),
        TEST(files_and_folders_are_private),
        TEST(a_killed_program_loses_nothing_that_was_acknowledged),
        TEST(programs_that_write_at_once_do_not_lose_each_other_s_rows),
        TEST(two_programs_in_one_conversation_write_siblings_and_each_is_told),
        TEST(a_file_that_is_no_store_is_refused_in_one_sentence),
        TEST(another_program_s_database_and_a_newer_store_are_refused),
        TEST(a_missing_file_read_only_is_an_empty_store_and_is_not_made),
        TEST(a_store_that_cannot_be_written_is_read_and_says_so),
        TEST(a_store_on_a_full_disk_is_read_and_says_that_it_is_full),
        TEST(a_full_disk_fails_the_ticket_and_a_later_write_succeeds),
        TEST(what_is_queued_runs_in_order_and_tells_when_it_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
