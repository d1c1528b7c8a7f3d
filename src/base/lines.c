#include "base/lines.h"

#include <string.h>

struct lines lines_begin(const char *bytes, size_t length) {
    return (struct lines){.bytes = bytes, .length = length};
}

bool lines_trim(const char **line, size_t *length, uint64_t number) {
    if (number == 1 && *length >= 3 && memcmp(*line, "\xef\xbb\xbf", 3) == 0) {
        *line += 3;
        *length -= 3;
    }
    if (*length && (*line)[*length - 1] == '\n') --*length;
    for (size_t i = 0; i < *length; i++)
        if (!(*line)[i] || !strchr(" \t\r\n", (*line)[i])) return true;
    return false;
}

bool lines_next(struct lines *lines, const char **line, size_t *length) {
    while (lines->at < lines->length) {
        const char *start = lines->bytes + lines->at;
        const char *end = memchr(start, '\n', lines->length - lines->at);
        *line = start;
        *length = end ? (size_t)(end - start) + 1 : lines->length - lines->at;
        lines->at += *length;
        lines->number++;
        if (lines_trim(line, length, lines->number)) return true;
    }
    return false;
}
