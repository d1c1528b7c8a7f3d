#define _POSIX_C_SOURCE 200809L
#include "base/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t requested;
static struct timespec first;

/* The first signal asks for an end. Those of the next second are the same request: `timeout` and
 * batch systems signal a process and then its group. A later one ends the program. */
static void on_signal(int signal_number) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!requested) {
        first = now;
        requested = 1;
        return;
    }
    double seconds = (double)(now.tv_sec - first.tv_sec) + 1e-9 * (double)(now.tv_nsec - first.tv_nsec);
    if (seconds < 1) return;
    signal(signal_number, SIG_DFL);
    raise(signal_number); /* delivered when this handler returns */
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
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action = (struct sigaction){.sa_handler = on_bus_error, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

bool interrupt_requested(void) {
    return requested != 0;
}
