/* Pieces of texts, for the files that take answers out of them. */
#ifndef EVAL_ANSWERS_INTERNAL_H
#define EVAL_ANSWERS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

struct span {
    const char *start;
    size_t length;
};

/* The last formula or number of the span; see answer_extract. The span ends the text or a line. */
bool answer_find_number(struct span *out, struct span text);

/* answer_is_understood of a span; false when out of memory. */
bool answer_span_understood(struct span span, bool words);

/* The text without the remarks on its solution that it ends with. */
struct span answer_without_remarks(struct span text);
/* Whether some sentence of the span draws a conclusion with a number. */
bool answer_concludes(struct span text);

/* The inside of the formula between dollar signs or \( \) and the like that begins at `at`; `*end`
 * is behind it. */
bool answer_formula_at(struct span *out, const char *at, const char **end);

#endif
