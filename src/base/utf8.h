/* UTF-8, checked once where text comes in and trusted afterwards. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* Is the text valid (no surrogates, shortest forms)? Otherwise *where is the first wrong byte. */
bool utf8_valid(const char *text, size_t length, size_t *where);

/* Bytes of the character at `text`, of which `left` bytes are there; 0: not valid. */
size_t utf8_check(const char *text, size_t left);

/* Bytes of the character that begins with `first`, in valid text. */
static inline size_t utf8_length(char first) {
    unsigned char byte = (unsigned char)first;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/* The character at `text`, in valid text. */
uint32_t utf8_decode(const char *text);

/* Where the character before `end` begins; end > 0. */
size_t utf8_before(const char *text, size_t end);

/* Bytes in any order as UTF-8: each part that is not (the longest beginning of a character, or one
 * byte) becomes U+FFFD, as the Unicode standard recommends. */
void utf8_append_lossy(struct text *out, const char *bytes, size_t length);

/* Unicode properties: White_Space; word characters (letters, marks, digits, connectors, joiners);
 * general category N. */
bool utf8_is_space(uint32_t character);
bool utf8_is_word(uint32_t character);
bool utf8_is_numeric(uint32_t character);

const char *utf8_library_version(void); /* of utf8proc: "2.8.0" */

#endif
