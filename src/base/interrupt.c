#define _POSIX_C_SOURCE 200809L
#include "base/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t requested;

static void choose_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

static double seconds_between(const struct timespec *from, const struct timespec *to) {
    return (double)(to->tv_sec - from->tv_sec) + 1e-9 * (double)(to->tv_nsec - from->tv_nsec);
}

void interrupt_release(void) {
    sigset_t set;
    choose_signals(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* The first signal asks for an end. Those of the next second are the same request: `timeout` and
 * batch systems signal a process and then its group. A later one ends the program.
 *
 * A thread of its own takes the signals, which all others block: a handler on top of the code that
 * oneDNN generates corrupted the heap, since that code does not keep to the stack's conventions.
 */
static void *wait_for_signals(void *unused) {
    struct timespec first = {0}, now;
    sigset_t set;
    int number;
    choose_signals(&set);
    while (sigwait(&set, &number) == 0) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (requested && seconds_between(&first, &now) >= 1) {
            interrupt_release();
            raise(number);
        }
        if (requested) continue;
        first = now;
        requested = 1;
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
    return requested != 0;
}
