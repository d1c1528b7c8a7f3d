/* Counts and sizes as people write them: 4096, 4k, 1.5M, 24G, 4Ki, 1e6; and numbers for people. */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

enum number_fault {
    NUMBER_GOOD,
    NUMBER_MALFORMED,
    NUMBER_FRACTION,  /* 1.5, or 1.0001k: no whole number */
    NUMBER_TOO_LARGE, /* above 2^63 - 1 */
};

/* A number at *cursor, which is moved behind it: digits, perhaps with a fraction and an exponent,
 * and a unit: k, M, G, T, P (powers of 1000) or Ki, Mi, … (powers of 1024); small letters mean the
 * same. With `bytes` a B may end it, and a fraction of a byte that is left under a unit is dropped;
 * a count must come out whole. */
enum number_fault number_read(uint64_t *out, const char **cursor, bool bytes);

/* The same of a whole text: anything behind the number is malformed. */
enum number_fault number_parse(uint64_t *out, const char *text, bool bytes);

/* The fewest digits that read as the same number again: 0.1, 1e-05, 3, nan. `out` is returned. */
enum { NUMBER_SIZE = 32 };
const char *number_format(char out[NUMBER_SIZE], double value);

#endif
