/* The value of a cleaned answer (see answer_clean), for answer_equal. */
#ifndef EVAL_ANSWER_VALUE_H
#define EVAL_ANSWER_VALUE_H

#include <stdbool.h>
#include <stddef.h>

enum { ANSWER_VARIABLES = 52 }; /* A to Z, a to z */

/* Evaluate the first `length` bytes as one expression with these values of the variables. False
 * when they are not an expression of the kind, or its value is not finite. */
bool answer_evaluate(double *out, const char *text, size_t length,
                     const double variables[ANSWER_VARIABLES]);

#endif
