/* The regular expressions of tokenizer files. They are written for Oniguruma (Ruby's syntax); here
 * they run on PCRE2, so a pattern is first rewritten where the two differ, and what cannot be
 * rewritten is refused. Classes are those of Unicode 16, as the tokenizers library has them. */
#ifndef TOKENIZER_REGEX_H
#define TOKENIZER_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct regex;
struct regex_scratch; /* what one thread needs for matching, with any pattern */

/* `source` names the file in messages. The caller frees. */
enum status regex_compile(struct regex **out, const char *pattern, size_t length,
                          const char *source) STATUS_CHECKED;
void regex_free(struct regex *regex); /* accepts NULL */

enum status regex_scratch_begin(struct regex_scratch **out) STATUS_CHECKED;
void regex_scratch_free(struct regex_scratch *scratch); /* accepts NULL */

/* The first match at or after byte `from` of a text that must be UTF-8. No match: *found = false. A
 * pattern that takes far too long on this text is a failure. */
enum status regex_find(bool *found, size_t *start, size_t *end, const struct regex *regex,
                       struct regex_scratch *scratch, const char *text, size_t length,
                       size_t from) STATUS_CHECKED;

/* The pattern for PCRE2 that stands for an Oniguruma pattern; the caller frees. */
enum status regex_translate(char **out, size_t *out_length, const char *pattern, size_t length,
                            const char *source) STATUS_CHECKED;

const char *regex_library_version(void); /* of PCRE2: "10.42 2022-12-11" */

#endif
