#define _POSIX_C_SOURCE 200809L
#include "base/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t requested;

static void on_signal(int signal_number) {
    (void)signal_number;
    requested = 1;
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
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_bus_error;
    sigaction(SIGBUS, &action, NULL);
}

bool interrupt_requested(void) {
    return requested != 0;
}
