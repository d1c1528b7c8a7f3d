/* Final answers: taking one out of a generated text, and telling whether it equals the right one.
 */
#ifndef EVAL_ANSWERS_H
#define EVAL_ANSWERS_H

#include <stdbool.h>

#include "base/status.h"

/* The answer that a text ends with, the first of these that it has (of what follows the last
 * "</think>" where there is one):
 *   the inside of the last \boxed{…} or \fbox{…} whose braces close (the innermost of nested ones);
 *   what the last line with "####" says (GSM8K);
 *   what follows the last "answer is" or "answer:", on that line or the next: a formula, the letter
 *     of a choice, an expression, one to three words, or the last number of that sentence;
 *   the last value in bold type, if the last paragraph has one and draws no conclusion after it;
 *   the last formula or number: a number with its sign, decimals, thousands separators and percent
 *     sign, or the whole expression that it is a part of. Remarks on the solution at the end of the
 *     text ("That took 3 steps.") are passed over where a number stands before them.
 * Up to the remarks this is what lm-evaluation-harness takes: minerva_math and aime the box, GSM8K
 * "####" (strict) or the last number (flexible).
 * `*out` is NULL when there is none of them; else the caller frees it. */
enum status answer_extract(char **out, const char *text) STATUS_CHECKED;

enum answer_verdict {
    ANSWER_EQUAL,
    ANSWER_DIFFERENT,
    ANSWER_NOT_UNDERSTOOD, /* one is not of a form that is compared: counts as wrong, and is said */
};

/* Whether two answers say the same.
 *
 * Blanks, dollar signs, \left and \right, \text{…}, bold type, final dots, thousands separators and
 * the ways to write fractions, powers, roots, minus signs and signs of LaTeX in Unicode do not
 * matter. Expressions of numbers, variables, + - * / ^ ! \frac \sqrt \binom |x| \lfloor \pi e i and
 * the usual functions are compared by value: rationals exactly, others to some 350 digits, those
 *     with variables at four points of both signs; within 1e-9 where a number with a decimal point
 *     is one side. Angles in degrees are those of functions; elsewhere the sign is dropped.
 *   A quantity equals its number without the unit; two quantities need the same unit, by its usual
 *     abbreviations. Single letters are a unit behind a number and a blank ("5 m", "10 m/s"), and
 * may be one elsewhere: "5m" beside 5 is not understood. "50%" equals both 50 and 0.5. "1011_2" is
 * in base 2. "x = 5", "f(2) = 5" and "AB = 5" equal 5, "x + y = 5" and "xy = 5" do not; equations
 * and inequalities that differ by a factor are the same. "x \in \{1, 2\}" are 1 and 2. Binomial
 * coefficients and factorials with variables are those of real numbers. Tuples, intervals and
 * matrices are compared element by element, sets and lists (with commas, "and", "or") in any order,
 * "plus or minus" as its two values. Unions, inequalities of one variable and intervals with
 * infinite ends are compared as sets. Words are compared without case; a letter with brackets or a
 * dot is a choice, and "(B) 12" says both B and 12. What can be read in two ways (\sin x/2) is not
 * understood, as are units that differ, ratios against fractions, and whatever else is none of
 * these and not the same text. */
enum status answer_compare(enum answer_verdict *verdict, const char *answer,
                           const char *gold) STATUS_CHECKED;

/* Whether answer_compare says ANSWER_EQUAL. */
enum status answer_equal(bool *equal, const char *answer, const char *gold) STATUS_CHECKED;

/* Whether a text is of one of the forms that are compared by meaning (with words: also words). */
enum status answer_is_understood(bool *understood, const char *text, bool words) STATUS_CHECKED;

#endif
