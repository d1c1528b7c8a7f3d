/* Numbers that are not finite, as Python writes them into JSON; for json.c only. */
#ifndef BASE_JSON_FINITE_H
#define BASE_JSON_FINITE_H

#include <stddef.h>

/* Such a number stands in the tree as an object with this one key, whose value is its name. */
#define JSON_NOT_FINITE "\x01"
#define JSON_NOT_FINITE_ESCAPED "\\u0001"

/* The text with every NaN, Infinity, -Infinity and number beyond double's range replaced so; the
 * caller frees. NULL when there is none, or with a message when out of memory. */
char *json_finite_text(size_t *out_length, const char *text, size_t length);

#endif
