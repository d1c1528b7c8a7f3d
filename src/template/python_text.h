/* Python's str, as far as templates need it: characters and white space of UTF-8. */
#ifndef TEMPLATE_PYTHON_TEXT_H
#define TEMPLATE_PYTHON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "template/value.h"

/* str.isspace() of one character. */
bool python_is_space(uint32_t character);
/* str.isprintable() of one character. */
bool python_is_printable(uint32_t character);
/* Does str.splitlines() end a line here? */
bool python_is_line_end(uint32_t character);

/* Characters, and the byte where character `index` begins (the length when there are fewer). */
size_t python_count(const char *text, size_t length);
size_t python_offset(const char *text, size_t length, size_t index);

/* The bytes of white space at the beginning and the end. */
size_t python_leading_space(const char *text, size_t length);
size_t python_trailing_space(const char *text, size_t length);

/* Without characters of `chars` (NULL: white space) at the beginning and the end; borrows. */
struct value python_strip(struct value text, const struct value *chars, bool left, bool right);

/* The first (or last) place of `part` from byte `from` on; SIZE_MAX: none. */
size_t python_find(struct value text, struct value part, size_t from);
size_t python_find_last(struct value text, struct value part);

enum python_case { PYTHON_LOWER, PYTHON_UPPER, PYTHON_CAPITALIZE, PYTHON_TITLE, PYTHON_SWAP };
/* Characters whose other case is several, or depends on their neighbours, fail the run. */
struct value python_change_case(struct run *run, struct value text, enum python_case change);
bool python_is_letter(uint32_t character);
bool python_is_upper(uint32_t character);
bool python_is_lower(uint32_t character);

/* Python's int(text, base) and float(text): false when the text is none. Integers beyond 64 bits
 * fail the run. */
bool python_parse_integer(struct run *run, int64_t *out, struct value text, int64_t base);
bool python_parse_float(double *out, struct value text);

/* repr() of a float: the fewest digits that read back as it, with ".0" where it is whole. */
void python_number(char out[32], double number);

#endif
