#include "plan/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"

/* A word that no version of YAML takes for anything but a string. */
static bool is_word(const char *text) {
    static const char *const others[] = {"true", "false", "null", "yes", "no", "on",
                                         "off",  "inf",   "nan",  "y",   "n"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(text, others[i]) == 0) return false;
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz_0123456789");
    return *text >= 'a' && *text <= 'z' && !text[length];
}

static void append_string(struct text *out, const char *text) {
    if (is_word(text))
        text_append(out, "%s", text);
    else
        quote_yaml(out, text);
}

/* The shortest digits that give the number back, as Python writes them, with ".0" where there is no
 * point. */
static void append_real(struct text *out, double value) {
    char digits[400];
    int precision = 1;
    for (; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, value);
        if (strtod(digits, NULL) == value) break;
    }
    snprintf(digits, sizeof digits, "%.*e", precision - 1, value);
    int exponent = atoi(strchr(digits, 'e') + 1), decimals = precision - 1 - exponent;
    if (exponent >= -4 && exponent < 16)
        snprintf(digits, sizeof digits, "%.*f", decimals > 0 ? decimals : 0, value);
    size_t mantissa = strcspn(digits, "e");
    bool point = memchr(digits, '.', mantissa) != NULL;
    text_append(out, "%.*s%s%s", (int)mantissa, digits, point ? "" : ".0", digits + mantissa);
}

static void append_scalar(struct text *out, const struct json *value) {
    if (js_is_string(value))
        append_string(out, js_string_or(value, ""));
    else if (js_is_integer(value))
        text_append(out, "%lld", (long long)js_integer_or(value, 0));
    else if (js_is_number(value))
        append_real(out, js_number_or(value, 0));
    else if (js_is_bool(value))
        text_append(out, "%s", js_bool_or(value, false) ? "true" : "false");
    else
        text_append(out, "null");
}

static void append_list(struct text *out, const struct json *list, int indent) {
    for (size_t i = 0; i < js_count(list); i++) {
        text_append(out, "%*s- ", indent, "");
        append_scalar(out, js_element(list, i));
        text_append(out, "  # %zu\n", i);
    }
}

static void append_members(struct text *out, const struct json *object, int indent) {
    for (void *i = js_first(object); i; i = js_next(object, i)) {
        const struct json *value = js_value(i);
        text_append(out, "%*s", indent, "");
        append_string(out, js_key(i));
        text_append(out, ":");
        if (js_is_object(value) || js_is_array(value)) {
            text_append(out, "\n");
            if (js_is_array(value))
                append_list(out, value, indent + 2);
            else
                append_members(out, value, indent + 2);
            continue;
        }
        text_append(out, " ");
        append_scalar(out, value);
        text_append(out, "\n");
    }
}

void yaml_append(struct text *out, const struct json *object) {
    append_members(out, object, 0);
}
