/* Final answers: taking one out of a generated text, and telling whether it equals the right one.
 */
#ifndef EVAL_ANSWERS_H
#define EVAL_ANSWERS_H

#include <stdbool.h>

#include "base/status.h"

/* The answer that a text ends with, the first of these that it has (of what follows the last
 * "</think>" where there is one):
 *   the inside of the last \boxed{…} or \fbox{…} whose braces close (the innermost of nested ones);
 *   the rest of the line after the last "####" (GSM8K);
 *   what follows the last "answer is" or "answer:", up to the end of its sentence, when it begins
 *     like an expression;
 *   the last number, with its sign, decimals, thousands separators and a fraction's denominator.
 * `*out` is NULL when there is none of them; else the caller frees it. */
enum status answer_extract(char **out, const char *text) STATUS_CHECKED;

/* Whether two answers say the same. Blanks, dollar signs, \left and \right, \text{…}, degrees,
 * units after a number, thousands separators and the way fractions are written do not matter.
 * Expressions of numbers, single-letter variables, + - * / ^, \frac, \sqrt, \pi, factorials and the
 * usual functions are compared by value, those with variables at several points. "50%" equals both
 * 50 and 0.5. Tuples and intervals are compared element by element, lists without brackets and sets
 * in any order; "x = 5" equals 5. Anything else is compared as text, without case. */
enum status answer_equal(bool *equal, const char *answer, const char *gold) STATUS_CHECKED;

#endif
