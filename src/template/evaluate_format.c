/* format % values and format.format(…), for texts and numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/python_text.h"
#include "template/run.h"

enum { WIDTH_MAX = 10000, PRECISION_MAX = 100 };

/* How one value is written. */
struct field {
    const char *fill; /* one character */
    char align;       /* '<', '>', '^', '=' or 0 */
    char sign;        /* '+', ' ' or '-' */
    bool alternate, comma;
    size_t width;
    int precision; /* -1: none */
    char kind;     /* conversion, or 0 */
};

static void put(struct run *run, struct text *out, const char *bytes, size_t length) {
    if (run_work_text(run, length)) text_append_bytes(out, bytes, length);
}

static void put_fill(struct run *run, struct text *out, const char *fill, size_t count) {
    for (size_t i = 0; i < count && !run->status; i++) put(run, out, fill, utf8_length(*fill));
}

/* `sign` (may be empty) and `body` within the width. */
static void put_aligned(struct run *run, struct text *out, const struct field *field,
                        const char *sign, const char *body, size_t length, char align) {
    size_t shown = strlen(sign) + python_count(body, length);
    size_t missing = field->width > shown ? field->width - shown : 0;
    if (field->align) align = field->align;
    size_t before = align == '>' ? missing : align == '^' ? missing / 2 : 0;
    put_fill(run, out, field->fill, before);
    put(run, out, sign, strlen(sign));
    if (align == '=') put_fill(run, out, field->fill, missing);
    put(run, out, body, length);
    if (align != '=') put_fill(run, out, field->fill, missing - before);
}

/* Digits in groups of three before a point or the end. */
static void group(char *out, const char *digits) {
    size_t whole = strspn(digits, "0123456789"), put = 0;
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % 3 == 0) out[put++] = ',';
        out[put++] = digits[i];
    }
    strcpy(out + put, digits + whole);
}

static void put_number(struct run *run, struct text *out, const struct field *field, bool negative,
                       const char *prefix, const char *digits) {
    char sign[8], grouped[700];
    snprintf(sign, sizeof sign, "%s%s",
             negative             ? "-"
             : field->sign == '+' ? "+"
             : field->sign == ' ' ? " "
                                  : "",
             field->alternate ? prefix : "");
    if (field->comma) {
        if (field->align == '=' && field->width)
            run_fail(run, "a format with both ',' and leading zeros is not understood");
        group(grouped, digits);
    }
    const char *body = field->comma ? grouped : digits;
    put_aligned(run, out, field, sign, body, strlen(body), '>');
}

static void put_integer(struct run *run, struct text *out, const struct field *field,
                        int64_t integer) {
    char digits[80], padded[120];
    uint64_t left = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    unsigned base = field->kind == 'x' || field->kind == 'X' ? 16
                    : field->kind == 'o'                     ? 8
                    : field->kind == 'b'                     ? 2
                                                             : 10;
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do digits[--at] = (field->kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[left % base];
    while (left /= base);
    size_t count = sizeof digits - 1 - at, zeros = 0;
    if (field->precision > (int)count) zeros = (size_t)field->precision - count;
    if (zeros > 30) zeros = 30;
    memset(padded, '0', zeros);
    strcpy(padded + zeros, digits + at);
    const char *prefix = field->kind == 'x'   ? "0x"
                         : field->kind == 'X' ? "0X"
                         : field->kind == 'o' ? "0o"
                         : field->kind == 'b' ? "0b"
                                              : "";
    put_number(run, out, field, integer < 0, prefix, padded);
}

/* f, F, e, E, g, G, % of a float. */
static void put_float(struct run *run, struct text *out, const struct field *field, double number) {
    char digits[600], format[] = "%#.*f";
    char kind = field->kind == '%' ? 'f' : field->kind;
    double size = fabs(number) * (field->kind == '%' ? 100 : 1);
    format[1] = field->alternate ? '#' : '.';
    if (field->alternate)
        snprintf(format, sizeof format, "%%#.*%c", kind);
    else
        snprintf(format, sizeof format, "%%.*%c", kind);
    int length = snprintf(digits, sizeof digits - 2, format,
                          field->precision < 0 ? 6 : field->precision, size);
    if (length < 0 || length >= (int)sizeof digits - 2) length = 0;
    if (field->kind == '%') strcpy(digits + length, "%");
    struct field plain = *field;
    plain.alternate = false;
    put_number(run, out, &plain, signbit(number) && !isnan(number), "", digits);
}

static void put_text(struct run *run, struct text *out, const struct field *field,
                     struct value text, char align) {
    size_t length = text.text.length;
    if (run->status) return;
    if (field->precision >= 0)
        length = python_offset(text.text.bytes, length, (size_t)field->precision);
    put_aligned(run, out, field, "", text.text.bytes, length, align);
}

static size_t read_number(struct run *run, const char *text, size_t length, size_t *at,
                          size_t limit) {
    size_t number = 0;
    for (; *at < length && text[*at] >= '0' && text[*at] <= '9'; (*at)++)
        if (number <= limit) number = number * 10 + (size_t)(text[*at] - '0');
    if (number > limit) run_fail(run, "a format's width or precision is beyond %zu", limit);
    return number;
}

static struct value finish(struct run *run, struct text *out) {
    if (out->failed) run_fail(run, "out of memory");
    if (!run->status && out->length > TEMPLATE_OUTPUT_LIMIT)
        run_fail(run, "a text grows beyond %d MB", TEMPLATE_OUTPUT_LIMIT >> 20);
    struct value text = run->status ? value_of_kind(VALUE_UNDEFINED)
                                    : value_text_copy(run, out->bytes, out->length);
    text_free(out);
    return text;
}

/* The value that the next % takes. */
struct percent {
    struct run *run;
    struct value values;
    size_t next;
};

static struct value next_value(struct percent *percent) {
    const struct value *values = &percent->values;
    if (values->kind == VALUE_TUPLE) {
        if (percent->next < values->list->count) return values->list->items[percent->next++];
    } else if (!percent->next++) {
        return *values;
    }
    return run_fail(percent->run, "not enough arguments for format string");
}

/* %(name)s */
static struct value named_value(struct percent *percent, struct value format, size_t *at) {
    size_t start = *at + 1, end = start;
    while (end < format.text.length && format.text.bytes[end] != ')') end++;
    if (end == format.text.length || percent->values.kind != VALUE_DICT)
        return run_fail(percent->run, "format requires a mapping, or lacks a ')'");
    struct value key = value_text(format.text.bytes + start, end - start);
    const struct value *found = dict_find(percent->run, percent->values.dict, key);
    *at = end + 1;
    percent->next = 1; /* a dict is not left over */
    return found ? *found : run_fail(percent->run, "format has a name that is not given");
}

static void put_percent(struct percent *percent, struct text *out, struct field *field,
                        struct value value) {
    struct run *run = percent->run;
    bool zero = field->align == '=';
    switch (field->kind) {
    case 's':
    case 'r':
        if (zero) field->align = 0, field->fill = " ";
        put_text(run, out, field,
                 field->kind == 's' ? value_str(run, value) : value_repr(run, value), '>');
        return;
    case 'd':
    case 'i':
    case 'u':
        if (value.kind == VALUE_FLOAT && fabs(value.number) < 9e18)
            value = value_integer((int64_t)value.number);
        /* fall through */
    case 'x':
    case 'X':
    case 'o':
        if (!value_is_integer(value)) break;
        put_integer(run, out, field, value_as_integer(value));
        return;
    case 'f':
    case 'F':
    case 'e':
    case 'E':
    case 'g':
    case 'G':
        if (!value_is_number(value)) break;
        put_float(run, out, field, value_as_number(value));
        return;
    default:
        run_fail(run, "the conversion %%%c is not understood", field->kind);
        return;
    }
    run_fail(run, "%%%c format: a number is required, not %s", field->kind, value_type_name(value));
}

/* Flags, width and precision between '%' and the conversion. */
static void read_percent(struct percent *percent, struct field *field, struct value format,
                         size_t *at) {
    const char *bytes = format.text.bytes;
    size_t length = format.text.length;
    for (; *at < length && strchr("-+ #0", bytes[*at]); (*at)++) {
        char flag = bytes[*at];
        if (flag == '-') field->align = '<', field->fill = " ";
        if (flag == '0' && field->align != '<') field->align = '=', field->fill = "0";
        if (flag == '+' || (flag == ' ' && field->sign != '+')) field->sign = flag;
        if (flag == '#') field->alternate = true;
    }
    field->width = read_number(percent->run, bytes, length, at, WIDTH_MAX);
    if (*at < length && bytes[*at] == '.') {
        (*at)++;
        field->precision = (int)read_number(percent->run, bytes, length, at, PRECISION_MAX);
    }
    if (*at < length && bytes[*at] == '*')
        run_fail(percent->run, "a format's width from an argument is not understood");
    if (*at >= length)
        run_fail(percent->run, "incomplete format");
    else
        field->kind = bytes[(*at)++];
}

struct value evaluate_percent(struct run *run, struct value format, struct value values) {
    struct percent percent = {.run = run, .values = values};
    struct text out = {0};
    const char *bytes = format.text.bytes;
    size_t length = format.text.length;
    if (format.safe) return run_fail(run, "%% of text marked safe is not understood");
    for (size_t at = 0; at < length && !run->status;) {
        const char *sign = memchr(bytes + at, '%', length - at);
        size_t plain = sign ? (size_t)(sign - bytes) : length;
        put(run, &out, bytes + at, plain - at);
        at = plain + 1;
        if (!sign) break;
        if (at < length && bytes[at] == '%') {
            put(run, &out, "%", 1);
            at++;
            continue;
        }
        struct field field = {.fill = " ", .precision = -1};
        bool named = at < length && bytes[at] == '(';
        struct value value = value_none();
        if (named) value = named_value(&percent, format, &at);
        read_percent(&percent, &field, format, &at);
        if (!named && !run->status) value = next_value(&percent);
        if (!run->status) put_percent(&percent, &out, &field, value);
    }
    bool left = values.kind == VALUE_TUPLE ? percent.next < values.list->count
                : values.kind == VALUE_DICT || values.kind == VALUE_LIST ? false
                                                                         : !percent.next;
    if (!run->status && left) run_fail(run, "not all arguments converted during formatting");
    return finish(run, &out);
}

/* Fields of a format: {} count themselves, {0} may not stand beside them. */
struct fields {
    size_t automatic;
    bool numbered, unnumbered;
};

/* {first.name[key]}: the value of a field. */
static struct value find_field(struct run *run, const char *name, size_t length,
                               const struct arguments *arguments, struct fields *fields) {
    size_t first = 0;
    while (first < length && name[first] != '.' && name[first] != '[') first++;
    size_t digits = strspn(name, "0123456789");
    struct value value = value_of_kind(VALUE_ABSENT);
    if (first == 0 || digits >= first) {
        size_t at = 0;
        size_t index = first ? read_number(run, name, first, &at, 1000) : fields->automatic++;
        *(first ? &fields->numbered : &fields->unnumbered) = true;
        if (fields->numbered && fields->unnumbered)
            return run_fail(run, "a format with numbered fields and with others");
        if (index < arguments->count) value = arguments->values[index];
    } else if (arguments->named) {
        const struct value *named = dict_find_text(arguments->named, name, first);
        if (named) value = *named;
    }
    if (value.kind == VALUE_ABSENT)
        return run_fail(run, "the format's field \"%.*s\" is not given", (int)length, name);
    for (size_t at = first; at < length && !run->status;) {
        bool item = name[at++] == '[';
        size_t end = at;
        while (end < length && (item ? name[end] != ']' : name[end] != '.' && name[end] != '['))
            end++;
        struct value key = value_text(name + at, end - at);
        size_t from = 0;
        bool number = item && end > at && strspn(name + at, "0123456789") >= end - at;
        if (number)
            key = value_integer((int64_t)read_number(run, name + at, end - at, &from, 1000000));
        value = item ? evaluate_item(run, value, key) : evaluate_attribute(run, value, key);
        at = item ? end + 1 : end;
    }
    return value;
}

/* [[fill]align][sign][#][0][width][,][.precision][kind] */
static void read_spec(struct run *run, struct field *field, const char *spec, size_t length) {
    static const char aligns[] = "<>=^";
    size_t at = 0, first = length ? utf8_length(*spec) : 0;
    if (first < length && spec[first] && strchr(aligns, spec[first])) {
        field->fill = spec;
        field->align = spec[first];
        at = first + 1;
    } else if (length && strchr(aligns, *spec)) {
        field->align = spec[at++];
    }
    if (at < length && strchr("+- ", spec[at])) field->sign = spec[at++];
    if (at < length && spec[at] == '#') field->alternate = true, at++;
    if (at < length && spec[at] == '0') {
        if (!field->align) field->align = '=', field->fill = "0";
        at++;
    }
    field->width = read_number(run, spec, length, &at, WIDTH_MAX);
    if (at < length && spec[at] == ',') field->comma = true, at++;
    if (at < length && spec[at] == '.') {
        at++;
        field->precision = (int)read_number(run, spec, length, &at, PRECISION_MAX);
    }
    if (at < length) field->kind = spec[at++];
    if (at != length) run_fail(run, "the format \"%.*s\" is not understood", (int)length, spec);
}

static void put_field(struct run *run, struct text *out, struct value value, const char *spec,
                      size_t length) {
    struct field field = {.fill = " ", .precision = -1};
    read_spec(run, &field, spec, length);
    if (run->status) return;
    char kind = field.kind;
    if (value.kind == VALUE_TEXT && (!kind || kind == 's') && field.align != '=' && !field.sign &&
        !field.comma) {
        put_text(run, out, &field, value, '<');
    } else if (!length) {
        put_text(run, out, &field, value_str(run, value), '<');
    } else if (value.kind == VALUE_INTEGER && field.precision < 0 &&
               (!kind || strchr("dxXob", kind))) {
        put_integer(run, out, &field, value.integer);
    } else if ((value.kind == VALUE_INTEGER || value.kind == VALUE_FLOAT) && kind &&
               strchr("fFeEgG%", kind)) {
        put_float(run, out, &field, value_as_number(value));
    } else {
        run_fail(run, "the format \"%.*s\" of a %s is not understood", (int)length, spec,
                 value_type_name(value));
    }
}

/* What stands between { and }. */
static void put_replacement(struct run *run, struct text *out, const char *inside, size_t length,
                            const struct arguments *arguments, struct fields *fields) {
    size_t name = 0, spec;
    while (name < length && inside[name] != ':' && inside[name] != '!') name++;
    struct value value = find_field(run, inside, name, arguments, fields);
    spec = name;
    if (name < length && inside[name] == '!') {
        char how = name + 1 < length ? inside[name + 1] : 0;
        if (how == 'r')
            value = value_repr(run, value);
        else if (how == 's')
            value = value_str(run, value);
        else
            run_fail(run, "the conversion after '!' in a format is not understood");
        spec = name + 2;
    }
    if (run->status) return;
    if (spec < length && inside[spec] != ':') {
        run_fail(run, "expected ':' after conversion specifier");
        return;
    }
    put_field(run, out, value, inside + spec + (spec < length), length - spec - (spec < length));
}

struct value evaluate_format(struct run *run, struct value format,
                             const struct arguments *arguments) {
    struct text out = {0};
    size_t length = format.text.length;
    struct fields fields = {0};
    const char *bytes = format.text.bytes;
    if (format.safe) return run_fail(run, "format() of text marked safe is not understood");
    for (size_t at = 0; at < length && !run->status;) {
        char c = bytes[at];
        bool twice = at + 1 < length && bytes[at + 1] == c;
        if (c != '{' && c != '}') {
            size_t plain = at;
            while (plain < length && bytes[plain] != '{' && bytes[plain] != '}') plain++;
            put(run, &out, bytes + at, plain - at);
            at = plain;
        } else if (twice) {
            put(run, &out, &c, 1);
            at += 2;
        } else {
            const char *end = c == '{' ? memchr(bytes + at, '}', length - at) : NULL;
            const char *nested =
                end ? memchr(bytes + at + 1, '{', (size_t)(end - bytes) - at - 1) : NULL;
            if (!end || nested)
                run_fail(run, "a format with a brace out of place");
            else
                put_replacement(run, &out, bytes + at + 1, (size_t)(end - bytes) - at - 1,
                                arguments, &fields);
            at = end ? (size_t)(end - bytes) + 1 : length;
        }
    }
    return finish(run, &out);
}
