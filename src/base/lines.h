/* The lines of a text that is in memory, as files of JSON lines need them. */
#ifndef BASE_LINES_H
#define BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lines {
    const char *bytes; /* borrowed */
    size_t length;
    size_t at;
    uint64_t number; /* of the line that lines_next gave last, from 1 */
};

struct lines lines_begin(const char *bytes, size_t length);

/* The next line that is not blank, without its newline and (the first) without a byte order mark;
 * borrowed from the text. False at the end. */
bool lines_next(struct lines *lines, const char **line, size_t *length);

/* The same for one line read by other means: drop the mark (of line 1) and the newline, and tell
 * whether anything but blanks is left. */
bool lines_trim(const char **line, size_t *length, uint64_t number);

#endif
