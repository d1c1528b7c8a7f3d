/* Units of quantities. */
#ifndef EVAL_ANSWER_UNITS_H
#define EVAL_ANSWER_UNITS_H

#include <stdbool.h>
#include <stddef.h>

/* A unit's usual abbreviations in one order, each with its power: "square centimeters" and "cm^2"
 * become "cm2", "miles per hour" and "mph" "h-1 mi1". Cut at the end of `out`. */
void answer_unit_name(char out[64], const char *text, size_t length);

/* Whether a word is one of the units that have an abbreviation here. */
bool answer_unit_is_known(const char *text, size_t length);

/* The digits of the number that a word behind a number multiplies it with ("5 million"); NULL:
 * none. */
const char *answer_unit_multiplier(const char *text, size_t length);
/* Whether a word says something of the number before it, and so belongs to no unit: "5 thirds". */
bool answer_unit_is_number(const char *text, size_t length);

#endif
