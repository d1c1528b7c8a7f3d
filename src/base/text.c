#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static bool reserve(struct text *text, size_t more) {
    if (text->failed) return false;
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity < needed) capacity *= 2;
    char *bytes = memory_resize(text->bytes, capacity, 1);
    if (!bytes) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void text_append_bytes(struct text *text, const char *bytes, size_t length) {
    if (!reserve(text, length)) return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_append(struct text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0 && reserve(text, (size_t)length)) {
        vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
}

char *text_finish(struct text *text) {
    text_append_bytes(text, "", 0);
    char *bytes = text->failed ? NULL : text->bytes;
    if (text->failed) {
        free(text->bytes);
        (void)status_fail("out of memory while building a text");
    }
    *text = (struct text){0};
    return bytes;
}

void text_free(struct text *text) {
    free(text->bytes);
    *text = (struct text){0};
}

char *text_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *out = text_vformat(format, arguments);
    va_end(arguments);
    return out;
}

char *text_vformat(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *out = length < 0 ? NULL : memory_calloc((size_t)length + 1, 1);
    if (out) vsnprintf(out, (size_t)length + 1, format, again);
    va_end(again);
    return out;
}
