#include "base/number.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

enum { MOST_EXPONENT = 99 };                                 /* beyond any number that fits */
static const uint64_t most_mantissa = (UINT64_MAX - 9) / 10; /* one digit more still fits */

struct decimal {
    uint64_t mantissa;
    int exponent; /* of ten */
    bool rest;    /* digits of the fraction that the mantissa has not got */
    bool too_large;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static void add_digit(struct decimal *number, char digit, bool fraction) {
    if (number->mantissa > most_mantissa) {
        if (!fraction)
            number->too_large = true;
        else
            number->rest |= digit != '0';
        return;
    }
    number->mantissa = number->mantissa * 10 + (uint64_t)(digit - '0');
    number->exponent -= fraction;
}

/* An exponent is one only with digits: the e of "1e" is none. */
static void read_exponent(struct decimal *number, const char **cursor) {
    const char *at = *cursor;
    if (*at != 'e' && *at != 'E') return;
    at += at[1] == '+' ? 2 : 1;
    if (!is_digit(*at)) return;
    int exponent = 0;
    for (; is_digit(*at); at++)
        if (exponent < MOST_EXPONENT) exponent = exponent * 10 + (*at - '0');
    number->exponent += exponent < MOST_EXPONENT ? exponent : MOST_EXPONENT;
    *cursor = at;
}

static bool read_decimal(struct decimal *number, const char **cursor) {
    const char *at = *cursor;
    bool digits = is_digit(*at);
    for (; is_digit(*at); at++) add_digit(number, *at, false);
    if (*at == '.' && is_digit(at[1])) {
        digits = true;
        for (at++; is_digit(*at); at++) add_digit(number, *at, true);
    }
    if (digits) read_exponent(number, &at);
    *cursor = at;
    return digits;
}

/* 1 when there is none. */
static uint64_t read_unit(const char **cursor, bool bytes) {
    static const char units[] = "kKmMgGtTpP";
    const char *at = *cursor;
    bool blank = bytes && *at == ' '; /* "24 GB", as sizes are printed */
    at += blank;
    const char *unit = *at ? strchr(units, *at) : NULL;
    uint64_t factor = 1;
    if (unit) {
        bool binary = at[1] == 'i';
        for (ptrdiff_t i = (unit - units) / 2; i >= 0; i--) factor *= binary ? 1024 : 1000;
        at += binary ? 2 : 1;
    }
    if (bytes && (*at == 'B' || *at == 'b')) at++;
    if (at > *cursor + blank) *cursor = at;
    return factor;
}

enum number_fault number_read(uint64_t *out, const char **cursor, bool bytes) {
    struct decimal number = {0};
    if (!read_decimal(&number, cursor)) return NUMBER_MALFORMED;
    uint64_t factor = read_unit(cursor, bytes);
    bool unit = factor > 1 || number.exponent > 0;
    wide value = (wide)number.mantissa * factor;
    bool rest = number.rest;
    for (; number.exponent > 0 && value; number.exponent--) {
        if (value > INT64_MAX) return NUMBER_TOO_LARGE;
        value *= 10;
    }
    for (; number.exponent < 0; number.exponent++) {
        rest |= value % 10 != 0;
        value /= 10;
    }
    if (number.too_large || value > INT64_MAX) return NUMBER_TOO_LARGE;
    if (rest && !(bytes && unit && value)) return NUMBER_FRACTION;
    *out = (uint64_t)value;
    return NUMBER_GOOD;
}

enum number_fault number_parse(uint64_t *out, const char *text, bool bytes) {
    uint64_t value = 0;
    enum number_fault fault = number_read(&value, &text, bytes);
    if (*text) return NUMBER_MALFORMED;
    if (fault == NUMBER_GOOD) *out = value;
    return fault;
}

const char *number_format(char out[NUMBER_SIZE], double value) {
    /* 15 digits that read as the number are the fewest: %g drops zeros. Numbers with fewer bits
     * than others may do with less. */
    for (int digits = fabs(value) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(out, NUMBER_SIZE, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    return out;
}
