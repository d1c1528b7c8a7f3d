/* What a file is, by its name and by its first bytes. */
#ifndef DATA_INPUT_TYPE_H
#define DATA_INPUT_TYPE_H

#include <stddef.h>

#include "base/status.h"

enum input_kind {
    INPUT_BY_NAME,
    INPUT_TEXT,
    INPUT_LINES,
    INPUT_JSON, /* an array or values */
    INPUT_ARRAY,
    INPUT_VALUES,
};

/* What a name or --format says: "text", "lines" or "json"; INPUT_BY_NAME where it says nothing. */
enum input_kind input_kind_of(const char *path);
enum status input_kind_parse(enum input_kind *out, const char *text) STATUS_CHECKED;

/* Refuses, with what to do, what is no UTF-8 text: UTF-16 and the formats that data sets come in.
 * `bytes` [length] is the beginning, decompressed. */
enum status input_check_type(const char *path, const char *bytes, size_t length) STATUS_CHECKED;

#endif
