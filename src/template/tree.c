#include "template/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum status template_fail(const struct template *parsed, int line, const char *format, ...) {
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    for (char *c = reason; *c; c++) /* a message is one line */
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = ' ';
    return status_fail("\"%s\": line %d: %s", parsed->source, line, reason);
}

static size_t bucket_of(const char *text, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash % NAME_BUCKETS;
}

const struct name *name_find(const struct template *parsed, const char *text, size_t length) {
    const struct name *name = parsed->buckets[bucket_of(text, length)];
    while (name && (name->length != length || memcmp(name->text, text, length) != 0))
        name = name->next;
    return name;
}

const struct name *name_intern(struct template *parsed, const char *text, size_t length) {
    const struct name *known = name_find(parsed, text, length);
    if (known) return known;
    struct name *name = arena_take(&parsed->arena, sizeof *name + length + 1);
    if (!name) return NULL;
    size_t bucket = bucket_of(text, length);
    name->next = parsed->buckets[bucket];
    name->length = length;
    memcpy(name->text, text, length);
    parsed->buckets[bucket] = name;
    return name;
}
