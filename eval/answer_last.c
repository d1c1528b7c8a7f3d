/* The last number of a text, or the formula or expression that it is a part of: "x^2 + 2x + 1" does
 * not answer 1. */
#include <string.h>
#include <strings.h>

#include "eval/answers_internal.h"

/* How far an expression may reach from its last digit, and how many numbers are looked at. */
enum { REACH = 200, MOST_TRIES = 16, LONGEST_FORMULA = 2000 };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Length of an operator at `at`, Unicode's included; 0: none. */
static size_t operator_at(const char *at, const char *end) {
    static const char *const operators[] = {
        "+",        "-",        "*",        "/",       "=", "^", "\xe2\x88\x92",
        "\xc3\x97", "\xc2\xb7", "\xc3\xb7", "\xc2\xb1"};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t length = strlen(operators[i]);
        if ((size_t)(end - at) >= length && memcmp(at, operators[i], length) == 0) return length;
    }
    return 0;
}

/* Whether an operand ends before `at`: a digit, a bracket, a letter by itself. */
static bool operand_before(const char *text, const char *at) {
    if (at == text) return false;
    if (is_digit(at[-1]) || strchr(")}]!%", at[-1]) || (at[-1] & 0x80)) return true;
    return is_letter(at[-1]) && (at - 1 == text || !is_letter(at[-2]));
}

static bool operand_after(const char *at, const char *end) {
    if (at == end) return false;
    if (is_digit(*at) || strchr("({\\$.|", *at) || (*at & 0x80)) return true;
    return is_letter(*at) && (at + 1 == end || !is_letter(at[1]));
}

/* To the left over what is written without blanks, and over blanks beside an operator. */
static const char *reach_left(const char *text, const char *start, const char *end) {
    const char *limit = start - text > REACH ? start - REACH : text;
    while (start > limit) {
        if (!is_blank(start[-1])) {
            if (strchr("\"`;:", start[-1])) break;
            start--;
            continue;
        }
        const char *before = start;
        while (before > limit && is_blank(before[-1]) && before[-1] != '\n') before--;
        const char *sign = before;
        while (sign > limit && ((unsigned char)sign[-1] & 0xc0) == 0x80) sign--;
        if (sign > limit) sign--;
        bool after_sign = sign < before && operator_at(sign, before) == (size_t)(before - sign);
        if (after_sign) {
            const char *operand = sign;
            while (operand > limit && operand[-1] == ' ') operand--;
            if (!operand_before(text, operand)) break;
            start = sign;
        } else if (operator_at(start, end) && operand_before(text, before)) {
            start = before;
        } else {
            break;
        }
    }
    return start;
}

static const char *reach_right(const char *end, const char *last) {
    const char *limit = last - end > REACH ? end + REACH : last;
    while (end < limit) {
        bool closes = strchr(".,;:!?", *end) && (end + 1 == last || is_blank(end[1]));
        if (closes || strchr("\"`", *end)) break;
        if (!is_blank(*end)) {
            end++;
            continue;
        }
        const char *sign = end;
        while (sign < limit && (*sign == ' ' || *sign == '\t')) sign++;
        size_t length = sign < limit ? operator_at(sign, limit) : 0;
        const char *operand = sign + length;
        while (operand < limit && *operand == ' ') operand++;
        if (!length || !operand_after(operand, limit)) break;
        end = operand;
    }
    return end;
}

/* "(3, 4)": a bracket that closes within the expression takes in what it opened. */
static const char *reach_bracket(const char *text, const char *start, const char *end) {
    int open = 0, least = 0;
    for (const char *c = start; c < end; c++) {
        open += *c == '(' || *c == '[';
        open -= *c == ')' || *c == ']';
        if (open < least) least = open;
    }
    for (const char *c = start; least < 0 && c > text && start - c < REACH && c[-1] != '\n'; c--) {
        least -= c[-1] == ')' || c[-1] == ']';
        least += c[-1] == '(' || c[-1] == '[';
        if (least == 0) return c - 1;
    }
    return start;
}

static struct span without_marks(struct span span) {
    while (span.length && strchr("*_'\"", *span.start)) {
        span.start++;
        span.length--;
    }
    while (span.length && strchr("*_'\".,;:?", span.start[span.length - 1])) span.length--;
    return span;
}

/* The number around its last digit at end[-1], with its sign, currency, fraction and percent. */
static struct span number_before(const char *text, const char *end, const char *last) {
    const char *start = end;
    bool slash = false;
    for (; start > text; start--) {
        char before = start[-1];
        bool inside = is_digit(before) || ((before == '.' || before == ',') && is_digit(*start));
        if (before == '/' && !slash && is_digit(*start) && start - 1 > text &&
            is_digit(start[-2])) {
            slash = true;
            continue;
        }
        if (!inside) break;
    }
    while (start < end && *start == ',') start++; /* ".5" is a number, ",5" is not */
    if (start > text && start[-1] == '$') start--;
    static const char *const minus[] = {"-", "\xe2\x88\x92", "\xe2\x80\x93"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(minus[i]);
        if ((size_t)(start - text) < length || memcmp(start - length, minus[i], length) != 0)
            continue;
        if (!operand_before(text, start - length)) start -= length;
        break;
    }
    if (end < last && *end == '%') end++;
    return (struct span){start, (size_t)(end - start)};
}

/* Of a calculation the last side. */
static struct span last_side(struct span span) {
    for (size_t i = span.length; i > 0; i--)
        if (span.start[i - 1] == '=') {
            struct span side = {span.start + i, span.length - i};
            while (side.length && is_blank(*side.start)) {
                side.start++;
                side.length--;
            }
            return side.length ? side : span;
        }
    return span;
}

/* Whether letters, roots or other signs stand before the number without a blank, so that it is not
 * the whole. */
static bool is_joined(const char *start, const char *number) {
    return number > start &&
           (is_letter(number[-1]) || (number[-1] & 0x80) || strchr("^_\\{(+*/|-", number[-1]));
}

/* Nothing but the number, its marks, and the letters of a unit: "12cm", "2nd". */
static bool is_alone(struct span run, struct span number) {
    const char *end = run.start + run.length, *rest = number.start + number.length;
    for (const char *c = run.start; c < number.start; c++)
        if (!strchr("($[{*_'\"", *c)) return false;
    if (rest < end && is_letter(*rest) && rest + 1 < end && is_letter(rest[1])) return true;
    for (const char *c = rest; c < end; c++)
        if (!strchr(")$]}*_'\".,!?-", *c)) return false;
    return true;
}

/* The formula around a place of the text. */
static bool formula_around(struct span *out, const char *text, const char *place) {
    struct span inside;
    const char *end;
    if (place - text > LONGEST_FORMULA) text = place - LONGEST_FORMULA;
    for (const char *at = text; at < place;) {
        bool opens = *at == '$' || (*at == '\\' && (at[1] == '[' || at[1] == '('));
        if (!opens || !answer_formula_at(&inside, at, &end)) {
            at += *at == '\\' && at[1] ? 2 : 1;
            continue;
        }
        if (end > place) {
            *out = inside;
            return answer_span_understood(inside, false);
        }
        at = end;
    }
    return false;
}

bool answer_find_number(struct span *out, struct span text) {
    const char *first = text.start, *last = text.start + text.length, *end = last;
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        while (end > first && !is_digit(end[-1])) end--;
        if (end == first) return false;
        if (formula_around(out, first, end - 1)) return true;
        struct span number = number_before(first, end, last);
        const char *start = reach_left(first, number.start, last), *stop = reach_right(end, last);
        start = reach_bracket(first, start, stop);
        struct span run = without_marks((struct span){start, (size_t)(stop - start)});
        struct span side = last_side(run);
        if (side.start > number.start) side = run;
        if (is_alone(side, number)) {
            *out = number;
            return true;
        }
        if (answer_span_understood(side, false)) {
            *out = side;
            return true;
        }
        if (!is_joined(first, number.start)) {
            *out = number;
            return true;
        }
        end = number.start;
    }
    return false;
}
