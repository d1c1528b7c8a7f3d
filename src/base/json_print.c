/* JSON text of a value. Numbers have as many digits as it takes to read the same number again, and
 * no more: 1e-05, where jansson writes 1.0000000000000001e-05. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/quote.h"
#include "base/text.h"
#include "base/utf8.h"

struct printer {
    struct text text;
    int indent;   /* 0: one line */
    bool compact; /* no blanks */
    bool sorted;  /* members by key */
};

static void print_value(struct printer *out, const struct json *value, int depth);

/* What could not be seen, or what a terminal would carry out, is escaped where people and other
 * programs read the text; in run keys strings stay as they always were. */
static bool is_escaped(uint32_t character, bool compact) {
    return character < 0x20 || (!compact && quote_is_unseen(character));
}

static void print_escape(struct text *out, uint32_t character) {
    static const char escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* a byte, and its letter */
    const char *escape = escapes;
    while (*escape && (unsigned char)*escape != character) escape += 2;
    if (*escape)
        text_append(out, "\\%c", escape[1]);
    else if (character < 0x10000)
        text_append(out, "\\u%04X", (unsigned)character);
    else
        text_append(out, "\\u%04X\\u%04X", (unsigned)(0xd7c0 + (character >> 10)),
                    (unsigned)(0xdc00 + (character & 0x3ff)));
}

/* Bytes that are not UTF-8 become \udc80 to \udcff, a surrogate for each, as Python's
 * surrogateescape has them: os.fsencode(json.loads(…)) gives the name back, and so does
 * js_read_names. */
static void print_string(struct printer *printer, const char *bytes, size_t length) {
    struct text *out = &printer->text;
    text_append(out, "\"");
    for (const char *end = bytes + length; bytes < end;) {
        size_t size = utf8_check(bytes, (size_t)(end - bytes));
        uint32_t character = size ? utf8_decode(bytes) : 0;
        if (!size)
            text_append(out, "\\udc%02x", (unsigned char)*bytes);
        else if (character == '"' || character == '\\' || is_escaped(character, printer->compact))
            print_escape(out, character);
        else
            text_append_bytes(out, bytes, size);
        bytes += size ? size : 1;
    }
    text_append(out, "\"");
}

static void print_number(struct text *out, double value) {
    char text[NUMBER_SIZE];
    number_format(text, value);
    text_append(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void print_break(struct printer *out, int depth) {
    if (out->indent) text_append(&out->text, "\n%*s", depth * out->indent, "");
}

/* Between two members or elements. */
static void print_comma(struct printer *out) {
    text_append(&out->text, out->indent || out->compact ? "," : ", ");
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_object(struct printer *out, const struct json *object, int depth) {
    size_t count = js_count(object), n = 0;
    const char **keys = memory_calloc(count, sizeof *keys);
    if (!keys) {
        out->text.failed = true;
        return;
    }
    for (void *i = js_first(object); i; i = js_next(object, i)) keys[n++] = js_key(i);
    if (out->sorted) qsort(keys, n, sizeof *keys, compare_keys);
    text_append(&out->text, "{");
    for (size_t i = 0; i < n; i++) {
        if (i) print_comma(out);
        print_break(out, depth + 1);
        print_string(out, keys[i], strlen(keys[i]));
        text_append(&out->text, out->compact ? ":" : ": ");
        print_value(out, js_member(object, keys[i]), depth + 1);
    }
    if (n) print_break(out, depth);
    text_append(&out->text, "}");
    free(keys);
}

static void print_array(struct printer *out, const struct json *array, int depth) {
    size_t count = js_count(array);
    text_append(&out->text, "[");
    for (size_t i = 0; i < count; i++) {
        if (i) print_comma(out);
        print_break(out, depth + 1);
        print_value(out, js_element(array, i), depth + 1);
    }
    if (count) print_break(out, depth);
    text_append(&out->text, "]");
}

static void print_value(struct printer *out, const struct json *value, int depth) {
    if (js_is_object(value))
        print_object(out, value, depth);
    else if (js_is_array(value))
        print_array(out, value, depth);
    else if (js_is_string(value))
        print_string(out, js_string_or(value, ""), js_string_length(value));
    else if (js_is_integer(value))
        text_append(&out->text, "%" PRId64, js_integer_or(value, 0));
    else if (js_is_number(value))
        print_number(&out->text, js_number_or(value, 0));
    else if (js_is_bool(value))
        text_append(&out->text, js_bool_or(value, false) ? "true" : "false");
    else
        text_append(&out->text, "null");
}

static char *print(struct printer *out, const struct json *value) {
    if (js_complete()) return NULL;
    print_value(out, value, 0);
    return text_finish(&out->text);
}

char *js_print(const struct json *value, int indent) {
    struct printer out = {.indent = indent};
    return print(&out, value);
}

char *js_print_sorted(const struct json *value) {
    struct printer out = {.compact = true, .sorted = true};
    return print(&out, value);
}
