#define _POSIX_C_SOURCE 200809L
#include "base/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "base/log.h"

static atomic_bool requested;

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

/* The first signal asks for an end. Those of the next second are the same request: `timeout` and
 * batch systems signal a process and then its group. A later one ends the program.
 *
 * A thread of its own takes the signals, which all others block: a handler that interrupted code
 * which oneDNN had generated corrupted the heap. */
static void *wait_for_signals(void *unused) {
    double first = 0;
    sigset_t set;
    int number;
    choose_signals(&set);
    while (sigwait(&set, &number) == 0) {
        double now = log_seconds();
        if (!requested) {
            first = now;
            requested = true;
        } else if (now - first >= 1) {
            interrupt_release();
            raise(number);
        }
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
    return requested;
}
