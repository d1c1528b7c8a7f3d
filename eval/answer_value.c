#include "eval/answer_value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Nested deeper than any answer: a text must not exhaust the stack. */
enum { MOST_DEPTH = 60, LONGEST = 1000 };

struct parser {
    const char *at, *end;
    const double *variables;
    int depth;
    bool failed;
};

static double expression(struct parser *parser);

static double fail(struct parser *parser) {
    parser->failed = true;
    return 0;
}

static char peek(struct parser *parser) {
    while (parser->at < parser->end && *parser->at == ' ') parser->at++;
    return parser->at < parser->end ? *parser->at : '\0';
}

static bool take(struct parser *parser, char character) {
    if (peek(parser) != character) return false;
    parser->at++;
    return true;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Whether the next command is `name`; it is taken. */
static bool take_command(struct parser *parser, const char *name) {
    size_t length = strlen(name);
    if (peek(parser) != '\\' || (size_t)(parser->end - parser->at) < length + 1) return false;
    if (memcmp(parser->at + 1, name, length) != 0) return false;
    const char *after = parser->at + 1 + length;
    if (after < parser->end && is_letter(*after)) return false;
    parser->at = after;
    return true;
}

/* Digits with a decimal point; groups of three digits may be parted by commas. `*whole` tells that
 * there was no point. */
static double number(struct parser *parser, bool *whole) {
    double value = 0, scale = 1;
    bool any = false;
    *whole = true;
    for (;;) {
        const char *at = parser->at, *end = parser->end;
        bool comma = any && end - at >= 4 && *at == ',' && is_digit(at[1]) && is_digit(at[2]) &&
                     is_digit(at[3]) && (end - at == 4 || !is_digit(at[4]));
        if (comma) parser->at++;
        if (!is_digit(peek(parser))) break;
        value = 10 * value + (*parser->at++ - '0');
        any = true;
    }
    if (peek(parser) == '.') {
        parser->at++;
        *whole = false;
        for (; is_digit(peek(parser)); any = true) {
            scale /= 10;
            value += scale * (*parser->at++ - '0');
        }
    }
    return any ? value : fail(parser);
}

/* Between brackets. */
static double group(struct parser *parser, char close) {
    if (++parser->depth > MOST_DEPTH) return fail(parser);
    double value = expression(parser);
    parser->depth--;
    return take(parser, close) ? value : fail(parser);
}

static double base(struct parser *parser);

/* What a command applies to: {…}, or one digit, letter or command, as in \frac12. */
static double argument(struct parser *parser) {
    if (take(parser, '{')) return group(parser, '}');
    if (is_digit(peek(parser))) return *parser->at++ - '0';
    return base(parser);
}

static double variable(struct parser *parser) {
    char letter = *parser->at++;
    return parser->variables[letter >= 'a' ? letter - 'a' + 26 : letter - 'A'];
}

static double root(struct parser *parser) {
    double degree = 2;
    if (take(parser, '[')) degree = group(parser, ']');
    double of = argument(parser);
    if (degree == 2) return sqrt(of);
    if (degree == 3) return cbrt(of);
    return pow(of, 1 / degree);
}

/* A function's operand may stand without brackets, as in \sin x or \log_2 8. */
static double command(struct parser *parser) {
    static const struct {
        const char *name;
        double (*function)(double);
    } functions[] = {
        {"sin", sin},     {"cos", cos},     {"tan", tan}, {"arcsin", asin},
        {"arccos", acos}, {"arctan", atan}, {"ln", log},  {"exp", exp},
    };
    if (take_command(parser, "frac")) {
        double top = argument(parser);
        return top / argument(parser);
    }
    if (take_command(parser, "sqrt")) return root(parser);
    if (take_command(parser, "pi")) return M_PI;
    if (take_command(parser, "log")) {
        double of = 10;
        if (take(parser, '_')) of = argument(parser);
        return log(argument(parser)) / log(of);
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (take_command(parser, functions[i].name)) return functions[i].function(argument(parser));
    return fail(parser);
}

static double base(struct parser *parser) {
    char next = peek(parser);
    bool whole;
    if (++parser->depth > MOST_DEPTH) return fail(parser);
    double value = 0;
    if (is_digit(next) || next == '.')
        value = number(parser, &whole);
    else if (take(parser, '('))
        value = group(parser, ')');
    else if (take(parser, '{'))
        value = group(parser, '}');
    else if (take(parser, '|'))
        value = fabs(group(parser, '|'));
    else if (next == '\\')
        value = command(parser);
    else if (is_letter(next))
        value = variable(parser);
    else
        value = fail(parser);
    parser->depth--;
    return value;
}

static double factor(struct parser *parser) {
    double value = base(parser);
    while (!parser->failed && take(parser, '!')) value = tgamma(value + 1);
    if (parser->failed || !take(parser, '^')) return value;
    if (++parser->depth > MOST_DEPTH) return fail(parser);
    double sign = take(parser, '-') ? -1 : 1;
    double exponent = peek(parser) == '{' ? argument(parser) : factor(parser);
    parser->depth--;
    return pow(value, sign * exponent);
}

/* Digits in braces, or one without. */
static bool plain_argument(struct parser *parser, double *value) {
    bool braces = take(parser, '{');
    if (!is_digit(peek(parser))) return false;
    *value = *parser->at++ - '0';
    while (braces && is_digit(peek(parser))) *value = 10 * *value + (*parser->at++ - '0');
    return !braces || take(parser, '}');
}

/* "1\frac{1}{2}" is one and a half. Looks at plain numbers only: reading expressions twice would
 * take time that doubles with each nesting. */
static bool mixed_number(struct parser *parser, const char *start, double *value) {
    struct parser ahead = *parser;
    double top, bottom;
    for (const char *c = start; c < parser->at; c++)
        if (!is_digit(*c)) return false;
    if (start == parser->at || !take_command(&ahead, "frac")) return false;
    if (!plain_argument(&ahead, &top) || !plain_argument(&ahead, &bottom) || top >= bottom)
        return false;
    parser->at = ahead.at;
    *value += top / bottom;
    return true;
}

static double term(struct parser *parser) {
    const char *start = parser->at;
    double value = factor(parser);
    if (!parser->failed) mixed_number(parser, start, &value);
    while (!parser->failed) {
        char next = peek(parser);
        if (take(parser, '*')) {
            value *= factor(parser);
        } else if (take(parser, '/')) {
            value /= factor(parser);
        } else if (is_letter(next) || next == '\\' || next == '(' || next == '{') {
            value *= factor(parser); /* 2\sqrt3, 3x */
        } else {
            break;
        }
    }
    return value;
}

static double expression(struct parser *parser) {
    double value = 0;
    bool minus = take(parser, '-');
    if (!minus) take(parser, '+');
    value = term(parser);
    if (minus) value = -value;
    while (!parser->failed) {
        if (take(parser, '+'))
            value += term(parser);
        else if (take(parser, '-'))
            value -= term(parser);
        else
            break;
    }
    return value;
}

bool answer_evaluate(double *out, const char *text, size_t length,
                     const double variables[ANSWER_VARIABLES]) {
    struct parser parser = {.at = text, .end = text + length, .variables = variables};
    if (length == 0 || length > LONGEST) return false;
    *out = expression(&parser);
    return !parser.failed && parser.at == parser.end && isfinite(*out);
}
