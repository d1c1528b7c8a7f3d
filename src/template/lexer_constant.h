/* Numbers and texts in a template's expressions. */
#ifndef TEMPLATE_LEXER_CONSTANT_H
#define TEMPLATE_LEXER_CONSTANT_H

#include "template/tree.h"

/* The constant at text[at], whose end is `*end`. Texts with escapes live in parsed's arena. */
enum status lexer_constant(struct value *out, size_t *end, struct template *parsed,
                           const char *text, size_t at, size_t length, int line) STATUS_CHECKED;

#endif
