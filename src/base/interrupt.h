/* Ctrl-C and SIGTERM. Long loops ask interrupt_requested() at least every half second, save what is
 * finished and return STATUS_INTERRUPTED. A program that does not ask within about a second,
 * because it is blocked, ends with that code all the same; a signal more than half a second after
 * the first ends it at once. SIGBUS, which a mapped file raises when it was truncated under us,
 * ends the program with a message and code 1. */
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include <stdbool.h>

#include "base/status.h"

/* Before any other thread is started. */
void interrupt_install(void);
bool interrupt_requested(void);
/* STATUS_INTERRUPTED with a message when an end was requested. */
enum status interrupt_check(void) STATUS_CHECKED;
/* In a child process, before it becomes another program: signals end it as they do by default. */
void interrupt_release(void);

#endif
