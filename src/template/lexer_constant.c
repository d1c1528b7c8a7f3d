#include "template/lexer_constant.h"

#include <stdlib.h>
#include <string.h>

static bool is_digit(char c, int base) {
    if (c >= '0' && c <= '9') return c - '0' < base;
    return base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
}

/* The end of digits, between which single '_' may stand; `at` when there are none. */
static size_t skip_digits(const char *text, size_t at, size_t length, int base) {
    if (at >= length || !is_digit(text[at], base)) return at;
    for (at++; at < length; at++) {
        bool joined = text[at] == '_' && at + 1 < length && is_digit(text[at + 1], base);
        if (!joined && !is_digit(text[at], base)) break;
    }
    return at;
}

/* The end of a float at `at`, or 0: digits with a fraction, an exponent or both. */
static size_t float_end(const char *text, size_t at, size_t length) {
    if (at > 0 && text[at - 1] == '.') return 0;
    size_t end = skip_digits(text, at, length, 10), whole = end;
    if (end < length && text[end] == '.') {
        size_t fraction = skip_digits(text, end + 1, length, 10);
        if (fraction > end + 1) end = fraction;
    }
    if (end < length && (text[end] == 'e' || text[end] == 'E')) {
        size_t sign = end + 1 < length && (text[end + 1] == '+' || text[end + 1] == '-');
        size_t exponent = skip_digits(text, end + 1 + sign, length, 10);
        if (exponent > end + 1 + sign) return exponent;
    }
    return end > whole ? end : 0;
}

static enum status read_number(struct value *out, size_t *end, struct template *parsed,
                               const char *text, size_t at, size_t length, int line) {
    char digits[400];
    size_t count = 0, stop = float_end(text, at, length);
    bool real = stop != 0;
    int base = 10;
    size_t start = at;
    if (!real && text[at] == '0' && at + 1 < length) {
        char mark = (char)(text[at + 1] | 0x20);
        int other = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
        size_t from = at + 2 + (at + 2 < length && text[at + 2] == '_');
        if (other && skip_digits(text, from, length, other) > from) {
            base = other;
            start = from;
        }
    }
    if (!real) stop = skip_digits(text, start, length, base);
    if (!real && base == 10 && text[at] == '0') { /* zeros only, as in Python */
        stop = at + 1;
        while (stop < length && text[stop] == '0') stop++;
    }
    for (size_t i = start; i < stop; i++)
        if (text[i] != '_' && count < sizeof digits - 1) digits[count++] = text[i];
    digits[count] = '\0';
    *end = stop;
    if (count == sizeof digits - 1)
        return template_fail(parsed, line, "a number of more than %zu digits", count);
    if (real) {
        *out = value_float(strtod(digits, NULL));
        return STATUS_OK;
    }
    unsigned long long number = 0;
    for (size_t i = 0; i < count; i++) {
        int digit = digits[i] <= '9' ? digits[i] - '0' : (digits[i] | 0x20) - 'a' + 10;
        if (number > ((unsigned long long)INT64_MAX - (unsigned)digit) / (unsigned)base)
            return template_fail(parsed, line, "the integer %.40s needs more than 64 bits", digits);
        number = number * (unsigned)base + (unsigned)digit;
    }
    *out = value_integer((int64_t)number);
    return STATUS_OK;
}

static size_t put_utf8(char *to, unsigned long c) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* \ooo, \xhh, \uhhhh, \Uhhhhhhhh at from[0] = '\\'; the bytes read, or 0. */
static size_t read_code(unsigned long *out, const char *from, size_t left) {
    char kind = from[1];
    size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 3;
    size_t skip = digits == 3 ? 1 : 2, count = 0;
    int base = digits == 3 ? 8 : 16;
    *out = 0;
    while (count < digits && skip + count < left && is_digit(from[skip + count], base)) {
        char c = from[skip + count++];
        *out = *out * (unsigned)base + (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    bool whole = digits == 3 ? count > 0 : count == digits;
    return whole && *out <= 0x10ffff && (*out < 0xd800 || *out > 0xdfff) ? skip + count : 0;
}

/* One escape: bytes read, or 0 when it is none that UTF-8 can hold. */
static size_t unescape_one(char *to, size_t *put, const char *from, size_t left) {
    static const char letters[] = "\\'\"abfnrtv", codes[] = "\\'\"\a\b\f\n\r\t\v";
    char kind = from[1];
    const char *known = kind ? strchr(letters, kind) : NULL;
    *put = 1;
    if (known) {
        to[0] = codes[known - letters];
        return 2;
    }
    if (kind == '\n') { /* a line that goes on */
        *put = 0;
        return 2;
    }
    if (kind == 'N' || (unsigned char)kind >= 0x80) return 0;
    if ((kind >= '0' && kind <= '7') || kind == 'x' || kind == 'u' || kind == 'U') {
        unsigned long code;
        size_t read = read_code(&code, from, left);
        *put = put_utf8(to, code);
        return read;
    }
    to[0] = '\\'; /* unknown ones stay as they are */
    return 1;
}

static enum status read_text(struct value *out, size_t *end, struct template *parsed,
                             const char *text, size_t at, size_t length, int line) {
    size_t stop = at + 1;
    bool escapes = false;
    while (stop < length && text[stop] != text[at]) {
        escapes |= text[stop] == '\\';
        stop += text[stop] == '\\' ? 2 : 1;
    }
    if (stop >= length) return template_fail(parsed, line, "a text without its closing quote");
    *end = stop + 1;
    *out = value_text(text + at + 1, stop - at - 1);
    if (!escapes) return STATUS_OK;
    char *to = arena_take_text(&parsed->arena, out->text.length);
    if (!to) return STATUS_FAILED;
    const char *from = out->text.bytes, *last = from + out->text.length;
    size_t count = 0;
    while (from < last) {
        size_t put = 1, read = 1;
        if (*from == '\\')
            read = unescape_one(to + count, &put, from, (size_t)(last - from));
        else
            to[count] = *from;
        if (!read)
            return template_fail(parsed, line, "the escape %.*s in a text is not understood",
                                 (unsigned char)from[1] < 0x80 ? 2 : 1, from);
        from += read;
        count += put;
    }
    *out = value_text(to, count);
    return STATUS_OK;
}

enum status lexer_constant(struct value *out, size_t *end, struct template *parsed,
                           const char *text, size_t at, size_t length, int line) {
    if (text[at] == '\'' || text[at] == '"')
        return read_text(out, end, parsed, text, at, length, line);
    return read_number(out, end, parsed, text, at, length, line);
}
