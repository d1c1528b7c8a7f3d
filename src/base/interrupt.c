#define _POSIX_C_SOURCE 200809L
#include "base/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "base/log.h"

static atomic_bool requested, noticed;

static void choose_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

void interrupt_release(void) {
    sigset_t set;
    choose_signals(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* The first signal asks for an end. Those of the next moment are the same request: `timeout` and
 * batch systems signal a process and then its group. A later one ends the program, and so does a
 * program that does not look for a request: it is blocked in a pipe that nobody writes to, or in a
 * long call. What is finished is in files that stand any end.
 *
 * A thread of its own takes the signals, which all others block: a handler that interrupted code
 * which oneDNN had generated corrupted the heap. */
static const double SAME_REQUEST = 0.5, PATIENCE = 1.2; /* seconds */

static void end_by(int number) {
    interrupt_release();
    raise(number);
}

static void end_unnoticed(void) {
    static const char message[] = "apriel-tool: interrupted\n";
    (void)!write(STDERR_FILENO, message, sizeof message - 1);
    _exit(STATUS_INTERRUPTED);
}

static void *wait_for_signals(void *unused) {
    sigset_t set;
    int number;
    choose_signals(&set);
    if (sigwait(&set, &number) != 0) return unused;
    double first = log_seconds();
    requested = true;
    if (number == SIGINT) log_note("interrupt: finishing what is under way, again to stop now");
    for (;;) {
        struct timespec moment = {0, 100000000};
        number = sigtimedwait(&set, NULL, &moment);
        double waited = log_seconds() - first;
        if (number > 0 && waited >= SAME_REQUEST) end_by(number);
        if (!noticed && waited >= PATIENCE) end_unnoticed();
    }
    return unused;
}

/* A page of a mapped file cannot be read: the file was truncated after it was opened and checked,
 * or the disk or network file system failed. Nothing can be returned from here; a line that says so
 * is better than a crash. */
static void on_bus_error(int signal_number) {
    static const char message[] = "apriel-tool: a mapped file cannot be read any more: it was "
                                  "truncated while in use, or its disk failed\n";
    (void)signal_number;
    (void)!write(STDERR_FILENO, message, sizeof message - 1);
    _exit(1);
}

void interrupt_install(void) {
    pthread_t thread;
    sigset_t set;
    choose_signals(&set);
    signal(SIGINT, SIG_DFL); /* a shell's background jobs start with it ignored */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&thread, NULL, wait_for_signals, NULL) == 0)
        pthread_detach(thread);
    else
        interrupt_release();
    struct sigaction action = {.sa_handler = on_bus_error, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

bool interrupt_requested(void) {
    if (requested) noticed = true;
    return requested;
}

enum status interrupt_check(void) {
    return interrupt_requested() ? status_set(STATUS_INTERRUPTED, "interrupted") : STATUS_OK;
}
