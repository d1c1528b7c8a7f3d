#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for two of the longest paths and what is wrong with them. */
static _Thread_local char message[10000];

static void set_message(const char *format, va_list arguments) {
    /* Formatted aside first: the arguments may include the message itself. */
    char next[sizeof message];
    vsnprintf(next, sizeof next, format, arguments);
    memcpy(message, next, sizeof next);
}

enum status status_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments);
    va_end(arguments);
    return STATUS_FAILED;
}

enum status status_set(enum status code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments);
    va_end(arguments);
    return code;
}

const char *status_message(void) {
    return message;
}
