/* A growable string, for building files and messages piece by piece. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct text {
    char *bytes; /* terminated; NULL while empty */
    size_t length;
    size_t capacity;
    bool failed; /* out of memory at some append; checked once, by text_finish */
};

void text_append(struct text *text, const char *format, ...) STATUS_PRINTF(2, 3);
void text_append_bytes(struct text *text, const char *bytes, size_t length);

/* Hands the string over (the caller frees it) and leaves `text` empty; NULL with a message when an
 * append ran out of memory. */
char *text_finish(struct text *text);
void text_free(struct text *text);

/* printf into new memory; NULL with a message when out of memory. */
char *text_format(const char *format, ...) STATUS_PRINTF(1, 2);
char *text_vformat(const char *format, va_list arguments) STATUS_PRINTF(1, 0);

#endif
