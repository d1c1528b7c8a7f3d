/* Ctrl-C and SIGTERM. Long loops ask interrupt_requested() between units of work, save what is
 * finished and return STATUS_INTERRUPTED; a signal more than a second after the first ends the
 * program at once. SIGBUS, which a mapped file raises when it was truncated under us, ends the
 * program with a message and code 1. */
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include <stdbool.h>

/* Before any other thread is started. */
void interrupt_install(void);
bool interrupt_requested(void);
/* In a child process, before it becomes another program: signals end it as they do by default. */
void interrupt_release(void);

#endif
