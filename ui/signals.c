/* signals: see signals.h. Handlers only call what is safe there: write, tcsetattr, sigaction, raise. */
#include "ui/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const int handed_on[] = {SIGWINCH, SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT};
static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
enum { N_HANDED = sizeof handed_on / sizeof handed_on[0], N_DEADLY = sizeof deadly / sizeof deadly[0] };

static struct sigaction old_handed[N_HANDED], old_deadly[N_DEADLY];
static int pipe_fd[2] = {-1, -1};
static struct termios tty_before;
static bool have_tty;
static volatile sig_atomic_t end_wanted;
static char death_text[256];
static char alternate[64 * 1024];
static stack_t old_stack;

static void give_back(void) {
    size_t n = strlen(death_text);
    if (n == 0) return;
    ssize_t ignored = write(STDOUT_FILENO, death_text, n);
    (void)ignored;
    if (have_tty) tcsetattr(STDIN_FILENO, TCSANOW, &tty_before);
}

/* Gives the terminal back, then lets happen what would have happened without us. */
static void die_of(int sig) {
    struct sigaction before = {.sa_handler = SIG_DFL};
    for (int i = 0; i < N_DEADLY; i++)
        if (deadly[i] == sig) before = old_deadly[i];
    give_back();
    sigaction(sig, &before, NULL);
    raise(sig);
}

static void hand_on(int sig) {
    int saved = errno;
    if (sig == SIGTERM || sig == SIGHUP) {
        if (end_wanted) die_of(sig);
        end_wanted = 1;
    }
    unsigned char byte = (unsigned char)sig;
    ssize_t ignored = write(pipe_fd[1], &byte, 1);
    (void)ignored;
    errno = saved;
}

int signals_open(struct err *e) {
    if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) != 0)
        return err_set(e, ERR_FAILED, "no pipe for signals: %s", strerror(errno));
    have_tty = tcgetattr(STDIN_FILENO, &tty_before) == 0;
    end_wanted = 0;
    struct sigaction on = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
    struct sigaction die = {.sa_handler = die_of, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigemptyset(&on.sa_mask);
    sigemptyset(&die.sa_mask);
    sigaltstack(&stack, &old_stack); /* a stack that has run over has no room for a handler */
    for (int i = 0; i < N_HANDED; i++) sigaction(handed_on[i], &on, &old_handed[i]);
    for (int i = 0; i < N_DEADLY; i++) sigaction(deadly[i], &die, &old_deadly[i]);
    return 0;
}

void signals_close(void) {
    if (pipe_fd[0] < 0) return;
    for (int i = 0; i < N_HANDED; i++) sigaction(handed_on[i], &old_handed[i], NULL);
    for (int i = 0; i < N_DEADLY; i++) sigaction(deadly[i], &old_deadly[i], NULL);
    sigaltstack(&old_stack, NULL);
    death_text[0] = 0;
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    pipe_fd[0] = pipe_fd[1] = -1;
}

int signals_fd(void) { return pipe_fd[0]; }

int signals_next(void) {
    unsigned char byte;
    return read(pipe_fd[0], &byte, 1) == 1 ? byte : 0;
}

void signals_on_death(const char *sequence) {
    size_t n = strlen(sequence);
    if (n >= sizeof death_text) n = sizeof death_text - 1;
    memcpy(death_text, sequence, n);
    death_text[n] = 0;
}

void signals_stop_here(void) {
    struct sigaction dfl = {.sa_handler = SIG_DFL}, ours;
    sigaction(SIGTSTP, &dfl, &ours);
    kill(0, SIGTSTP); /* the whole group, as the terminal does it: whoever started us stops too */
    sigaction(SIGTSTP, &ours, NULL);
}
