/* str() and repr(). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/python_text.h"
#include "template/run.h"

void python_number(char out[32], double number) {
    if (isnan(number) || isinf(number)) {
        snprintf(out, 32, "%s", isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
        return;
    }
    char digits[32];
    int precision = 0;
    do snprintf(digits, sizeof digits, "%.*e", precision, number);
    while (strtod(digits, NULL) != number && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        /* At least two digits of exponent, as printf writes. */
        memmove(out, digits, sizeof digits);
        return;
    }
    int decimals = precision - exponent;
    snprintf(out, 32, "%.*f", decimals > 0 ? decimals : 1, number);
}

static void put(struct run *run, struct text *out, const char *bytes, size_t length) {
    if (!run_work_text(run, length)) return;
    if (length > TEMPLATE_OUTPUT_LIMIT || out->length > TEMPLATE_OUTPUT_LIMIT - length)
        run_fail(run, "a text grows beyond %d MB", TEMPLATE_OUTPUT_LIMIT >> 20);
    else
        text_append_bytes(out, bytes, length);
}

static void put_literal(struct run *run, struct text *out, const char *text) {
    put(run, out, text, strlen(text));
}

static void put_character(struct run *run, struct text *out, const char *at, size_t length,
                          char quote) {
    static const char plain[] = "\\\n\r\t", letters[] = "\\nrt";
    uint32_t c = utf8_decode(at);
    const char *known = c && c < 0x80 ? strchr(plain, (int)c) : NULL;
    char escape[16];
    if (known)
        snprintf(escape, sizeof escape, "\\%c", letters[known - plain]);
    else if (c == (unsigned char)quote)
        snprintf(escape, sizeof escape, "\\%c", quote);
    else if (python_is_printable(c))
        snprintf(escape, sizeof escape, "%.*s", (int)length, at);
    else
        snprintf(escape, sizeof escape,
                 c < 0x100     ? "\\x%02x"
                 : c < 0x10000 ? "\\u%04x"
                               : "\\U%08x",
                 c);
    put_literal(run, out, escape);
}

static void put_quoted(struct run *run, struct text *out, struct value text) {
    const char *bytes = text.text.bytes;
    size_t length = text.text.length;
    bool single = length && memchr(bytes, '\'', length),
         pair = length && memchr(bytes, '"', length);
    char quote = single && !pair ? '"' : '\'';
    if (text.safe) put_literal(run, out, "Markup(");
    put(run, out, &quote, 1);
    for (size_t at = 0, step; !run->status && at < length; at += step) {
        step = utf8_length(bytes[at]);
        put_character(run, out, bytes + at, step, quote);
    }
    put(run, out, &quote, 1);
    if (text.safe) put_literal(run, out, ")");
}

static void put_value(struct run *run, struct text *out, struct value value, bool quoted);

static void put_list(struct run *run, struct text *out, const struct value_list *list) {
    for (size_t i = 0; !run->status && i < list->count; i++) {
        if (i) put_literal(run, out, ", ");
        put_value(run, out, list->items[i], true);
    }
}

static void put_dict(struct run *run, struct text *out, const struct value_dict *dict) {
    put_literal(run, out, "{");
    for (size_t i = 0; !run->status && i < dict->count; i++) {
        if (i) put_literal(run, out, ", ");
        put_value(run, out, dict->entries[i].key, true);
        put_literal(run, out, ": ");
        put_value(run, out, dict->entries[i].value, true);
    }
    put_literal(run, out, "}");
}

/* dict_items([…]) and its like. */
static void put_view(struct run *run, struct text *out, struct value value) {
    const struct value_list *items = value_items(run, value);
    if (!items) return;
    put_literal(run, out, value_type_name(value));
    put_literal(run, out, "([");
    put_list(run, out, items);
    put_literal(run, out, "])");
}

static void put_range(struct run *run, struct text *out, const struct value_range *range) {
    char text[96];
    int length = snprintf(text, sizeof text, "range(%lld, %lld", (long long)range->start,
                          (long long)range->stop);
    if (range->step != 1)
        length +=
            snprintf(text + length, sizeof text - (size_t)length, ", %lld", (long long)range->step);
    put(run, out, text, (size_t)length);
    put_literal(run, out, ")");
}

static void put_object(struct run *run, struct text *out, struct value value, bool quoted) {
    switch (value.kind) {
    case VALUE_TUPLE:
        put_literal(run, out, "(");
        put_list(run, out, value.list);
        put_literal(run, out, value.list->count == 1 ? ",)" : ")");
        break;
    case VALUE_LIST:
        put_literal(run, out, "[");
        put_list(run, out, value.list);
        put_literal(run, out, "]");
        break;
    case VALUE_DICT:
        put_dict(run, out, value.dict);
        break;
    case VALUE_NAMESPACE:
        put_literal(run, out, "<Namespace ");
        put_dict(run, out, value.dict);
        put_literal(run, out, ">");
        break;
    case VALUE_KEYS:
    case VALUE_VALUES:
    case VALUE_ITEMS:
        put_view(run, out, value);
        break;
    case VALUE_RANGE:
        put_range(run, out, value.range);
        break;
    case VALUE_UNDEFINED:
        if (quoted) put_literal(run, out, "Undefined");
        break;
    default:
        run_fail(run, "the text of a %s is not understood", value_type_name(value));
    }
}

static void put_value(struct run *run, struct text *out, struct value value, bool quoted) {
    char number[32];
    if (run->depth >= TEMPLATE_DEPTH_LIMIT)
        run_fail(run, "values are nested more than %d deep", TEMPLATE_DEPTH_LIMIT);
    if (!run_work(run, 1)) return;
    run->depth++;
    switch (value.kind) {
    case VALUE_NONE:
        put_literal(run, out, "None");
        break;
    case VALUE_BOOL:
        put_literal(run, out, value.boolean ? "True" : "False");
        break;
    case VALUE_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)value.integer);
        put_literal(run, out, number);
        break;
    case VALUE_FLOAT:
        python_number(number, value.number);
        put_literal(run, out, number);
        break;
    case VALUE_TEXT:
        if (quoted)
            put_quoted(run, out, value);
        else
            put(run, out, value.text.bytes, value.text.length);
        break;
    default:
        put_object(run, out, value, quoted);
    }
    run->depth--;
}

static struct value to_text(struct run *run, struct value value, bool quoted) {
    struct text out = {0};
    put_value(run, &out, value, quoted);
    if (out.failed) run_fail(run, "out of memory");
    struct value text =
        run->status ? value_of_kind(VALUE_UNDEFINED) : value_text_copy(run, out.bytes, out.length);
    text_free(&out);
    return text;
}

struct value value_str(struct run *run, struct value value) {
    if (value.kind == VALUE_TEXT) {
        value.safe = false;
        return value;
    }
    run->shown_list |= value.kind == VALUE_LIST || value.kind == VALUE_DICT;
    return to_text(run, value, false);
}

struct value value_repr(struct run *run, struct value value) {
    return to_text(run, value, true);
}
