/* What `data` reads: files or standard input, plain or compressed with gzip, cut into records.
 *
 *   text    the whole file is one document; Windows' line ends become newlines
 *   lines   JSON lines: one value a line, blank lines passed over
 *   array   the elements of one JSON array, not read as a whole: each is found by its brackets
 *   values  JSON values one after another, of several lines each or several on a line
 *
 * The kind is that of the name (.txt, .jsonl, .ndjson, .json, also with .gz behind); a .json file
 * and standard input show by their first character. Compression shows by the first bytes, whatever
 * the name says. A byte order mark is passed over; UTF-16 and what is no text are refused by name.
 */
#ifndef DATA_INPUT_H
#define DATA_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/input_type.h"

struct input {
    const char *path; /* borrowed; "-": standard input */
    enum input_kind kind;
    const char *unit; /* what `number` counts: "line", "record" */
    uint64_t number;  /* of the part that input_next gave last, from 1 */
    void *file;       /* gzFile */
    char *bytes;      /* [end], the next part begins at `at` */
    size_t at, end, capacity;
    bool ended;          /* nothing follows `end` */
    bool opened, closed; /* array: its brackets have come */
};

/* `kind` INPUT_BY_NAME: as above. Close also after a failure. */
enum status input_open(struct input *out, const char *path, enum input_kind kind) STATUS_CHECKED;

/* The next part, borrowed until the next call; *bytes NULL at the end. */
enum status input_next(const char **bytes, size_t *length, struct input *input) STATUS_CHECKED;

/* Bytes of the file that were read so far, as they lie on the disk. */
uint64_t input_read_bytes(const struct input *input);
void input_close(struct input *input);

const char *input_library_version(void); /* of zlib: "1.2.13" */

#endif
