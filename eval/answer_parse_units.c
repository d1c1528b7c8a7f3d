/* Units that are written in letters like variables: "10 m/s", "9.8 m s^{-2}". */
#include <string.h>

#include "eval/answer_parser.h"
#include "eval/answer_units.h"

/* What was seen on the way. */
struct unit {
    int factors;
    bool words; /* a factor is no single letter, or in \text{…} */
    bool quotient;
};

bool token_ends_item(const struct answer_token *at) {
    return at->kind == TOKEN_END || at->kind == TOKEN_AND || at->kind == TOKEN_OR ||
           token_is_mark(at, ',') || token_is_mark(at, ';');
}

static const struct answer_token *read_factors(struct unit *unit, const struct answer_token *at,
                                               int depth);

/* ^2, ^{-1} */
static const struct answer_token *read_power(struct unit *unit, const struct answer_token *at) {
    if (!token_is_mark(at, '^')) return at;
    bool braces = token_is_mark(++at, '{');
    at += braces;
    bool minus = token_is_mark(at, '-');
    at += minus;
    unit->quotient |= minus;
    if (!token_is_whole(at++)) return NULL;
    if (braces && !token_is_mark(at++, '}')) return NULL;
    return at;
}

/* m, \text{s}, \frac{m}{s}, (kg K); NULL: something else. */
static const struct answer_token *read_factor(struct unit *unit, const struct answer_token *at,
                                              int depth) {
    bool letter =
        at->kind == TOKEN_VARIABLE && at->length == 1 && strchr("mgshLNJWVAKCF", *at->text);
    letter |= at->kind == TOKEN_VARIABLE && answer_token_is(at, "Omega");
    bool word = at->kind == TOKEN_WORD && answer_unit_is_known(at->text, at->length);
    unit->factors++;
    if (letter || word) {
        unit->words |= word || at->worded;
        return read_power(unit, at + 1);
    }
    if (depth > 2) return NULL;
    if (token_is_mark(at, '(')) {
        at = read_factors(unit, at + 1, depth + 1);
        return at && token_is_mark(at, ')') ? at + 1 : NULL;
    }
    if (!token_is_command(at, "frac") || !token_is_mark(at + 1, '{')) return NULL;
    at = read_factors(unit, at + 2, depth + 1);
    if (!at || !token_is_mark(at, '}') || !token_is_mark(at + 1, '{')) return NULL;
    at = read_factors(unit, at + 2, depth + 1);
    unit->quotient = true;
    return at && token_is_mark(at, '}') ? at + 1 : NULL;
}

static const struct answer_token *read_factors(struct unit *unit, const struct answer_token *at,
                                               int depth) {
    at = read_factor(unit, at, depth);
    while (at && !token_ends_item(at) && !token_is_mark(at, ')') && !token_is_mark(at, '}')) {
        bool slash = token_is_mark(at, '/');
        unit->quotient |= slash;
        at = read_factor(unit, at + (slash || token_is_mark(at, '*')), depth);
    }
    return at;
}

/* Behind a degree: the scale of a temperature. */
static bool is_scale(const struct answer_token *at) {
    return at->kind == TOKEN_VARIABLE && at->length == 1 && strchr("CFK", *at->text) &&
           token_ends_item(at + 1);
}

const struct answer_token *parser_unit_end(const struct answer_token *at) {
    struct unit unit = {0};
    const struct answer_token *end = read_factors(&unit, at, 0);
    return end && token_ends_item(end) ? end : NULL;
}

/* How sure it is that the letters are a unit: behind a number and a blank one letter, or a
 * quotient; without a blank m/s alone. 5C and 5F are more often variables. */
static bool is_sure(const struct unit *unit, const struct answer_token *at) {
    bool number = at[-1].kind == TOKEN_NUMBER, letter = at->length == 1;
    if (unit->quotient)
        return unit->words || at->spaced ||
               (number && letter && unit->factors == 2 && *at->text == 'm');
    if (unit->factors == 1 && letter && strchr("CF", *at->text)) return false;
    return (at->spaced || at->worded) && (unit->words || (number && unit->factors == 1));
}

bool parser_at_unit(struct parser *parser) {
    const struct answer_token *at = parser->at;
    struct unit unit = {0};
    if (at == parser->first || parser->units == ANSWER_UNITS_NONE) return false;
    if (token_is_mark(at - 1, 'd') && is_scale(at)) return true;
    if (at[-1].kind == TOKEN_VARIABLE) return false;
    const struct answer_token *end = read_factors(&unit, at, 0);
    if (!end || !token_ends_item(end)) return false;
    bool sure = is_sure(&unit, at);
    parser->tree->units |= sure;
    parser->tree->letters = true;
    return sure || parser->units == ANSWER_UNITS_LIKELY;
}
