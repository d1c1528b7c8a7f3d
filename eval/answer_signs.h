/* Signs of Unicode that stand for other characters. Each function gives the sign's length in bytes,
 * 0 where none of its kind is at that place. */
#ifndef EVAL_ANSWER_SIGNS_H
#define EVAL_ANSWER_SIGNS_H

#include <stddef.h>

size_t answer_raised_sign(char *to, const char *at);  /* of exponents: digits, signs, letters */
size_t answer_lowered_sign(char *to, const char *at); /* of indices, likewise */

/* The digits of a vulgar fraction, constant strings. */
size_t answer_fraction_sign(const char **top, const char **bottom, const char *at);

#endif
