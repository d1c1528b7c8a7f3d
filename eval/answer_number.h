/* Numbers of final answers: rationals exactly (GMP) as long as they stay rational and of bounded
 * size, else complex floating point numbers (MPC) of ANSWER_BITS bits. */
#ifndef EVAL_ANSWER_NUMBER_H
#define EVAL_ANSWER_NUMBER_H

#include <gmp.h>
#include <mpc.h>
#include <stdbool.h>
#include <stddef.h>

enum { ANSWER_BITS = 1536, ANSWER_MOST_BITS = 1 << 19 /* of an exact numerator or denominator */ };

struct answer_number {
    bool exact; /* q is the value, else z */
    mpq_t q;
    mpc_t z;
    long error; /* of z: below 2^error, as estimated on the way */
};

void answer_number_init(struct answer_number *x); /* 0 */
void answer_number_clear(struct answer_number *x);
void answer_number_set(struct answer_number *x, const struct answer_number *from);
void answer_number_set_ratio(struct answer_number *x, long top, unsigned long bottom);

/* Digits with a point and a decimal exponent, or digits (and letters) in another base. False when
 * they are none or too long. */
bool answer_number_read(struct answer_number *x, const char *digits, size_t length, int base);

/* x = x OP y; false: not defined, or too large to be worth it. OP is one of + - * / ^. */
bool answer_number_apply(struct answer_number *x, char op, const struct answer_number *y);

/* x = f(x) of "sqrt", "sin", …, "!", "gamma" (the same of real numbers), "floor", "ceil", "abs",
 * "cube root", "pi", "e", "i" (the last three whatever x is). False as above, and for a name that
 * is none. */
bool answer_number_call(struct answer_number *x, const char *name, size_t length);

/* Whether x = y: rationals exactly, others within their errors; with `decimal` within 1e-9 of the
 * larger one. */
bool answer_number_equal(const struct answer_number *x, const struct answer_number *y,
                         bool decimal);

bool answer_number_is_real(const struct answer_number *x);
/* -1, 0, 1: of real numbers x - y. */
int answer_number_order(const struct answer_number *x, const struct answer_number *y);

#endif
