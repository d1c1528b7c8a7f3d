/* Classes of characters in PCRE2's writing, as Oniguruma has them in the tokenizers library: those
 * of Unicode 16, whatever (later than 13) PCRE2's own Unicode is. */
#ifndef TOKENIZER_REGEX_UNICODE_H
#define TOKENIZER_REGEX_UNICODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* A class of single characters: those of `within`, written for the inside of brackets, but not
 * those of `without` (may be empty). */
struct regex_class {
    struct text within, without;
};

/* \p{NAME}: a general category, a binary property, a script or one of Oniguruma's own names, or
 * what PCRE2 has besides. `alone`: not within brackets, where Oniguruma has some characters more in
 * Word. False when there is none such. */
bool regex_class_named(struct regex_class *out, const char *name, size_t length, bool alone);

/* 'w', 'd', 's' or 'h': the classes of \w, \d, \s and \h, `alone` as above. */
void regex_class_escape(struct regex_class *out, char letter, bool alone);
void regex_class_free(struct regex_class *class);

#endif
