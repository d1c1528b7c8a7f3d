/* Filters of single values, and the list of all. */
#include "template/filters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/python_text.h"
#include "template/run.h"

#define FILTER(name)                                                                               \
    static struct value name(struct run *run, struct value self, const struct value *arguments,    \
                             const struct arguments *raw)

struct value filter_text(struct run *run, struct value value) {
    return value.kind == VALUE_TEXT ? value : value_str(run, value);
}

bool filter_integer(struct run *run, int64_t *out, struct value value, int64_t absent) {
    *out = absent;
    if (value.kind == VALUE_ABSENT) return true;
    if (!value_is_integer(value)) {
        run_fail(run, "an argument must be an integer, not %s", value_type_name(value));
        return false;
    }
    *out = value_as_integer(value);
    return true;
}

FILTER(filter_default) {
    bool instead = self.kind == VALUE_UNDEFINED;
    if (value_is_true(run, arguments[1])) instead |= !value_is_true(run, self);
    if (!instead) return self;
    return arguments[0].kind == VALUE_ABSENT ? value_text("", 0) : arguments[0];
}

FILTER(filter_length) {
    int64_t length;
    run_work_text(run, self.kind == VALUE_TEXT ? self.text.length : 0);
    if (self.kind == VALUE_LOOP) return value_integer(loop_length(run, self.loop));
    if (value_length(self, &length)) return value_integer(length);
    return run_fail(run, "object of type '%s' has no len()", value_type_name(self));
}

FILTER(filter_string) {
    return filter_text(run, self);
}

FILTER(filter_safe) {
    struct value text = filter_text(run, self);
    text.safe = text.kind == VALUE_TEXT;
    return text;
}

FILTER(filter_escape) {
    static const char special[] = "&<>'\"";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct text out = {0};
    if (self.kind == VALUE_TEXT && self.safe) return self;
    struct value text = value_str(run, self);
    if (run->status || !run_work_text(run, text.text.length)) return text;
    for (size_t i = 0; i < text.text.length; i++) {
        char c = text.text.bytes[i];
        const char *found = c ? strchr(special, c) : NULL;
        if (found)
            text_append(&out, "%s", names[found - special]);
        else
            text_append_bytes(&out, &c, 1);
    }
    if (out.failed) run_fail(run, "out of memory");
    text = run->status ? text : value_text_copy(run, out.bytes, out.length);
    text_free(&out);
    text.safe = text.kind == VALUE_TEXT;
    return text;
}

static struct value truncate_float(struct run *run, double number, bool *fits) {
    *fits = isfinite(number);
    if (*fits && fabs(number) >= 9.2e18) return run_fail(run, "an integer needs more than 64 bits");
    return value_integer(*fits ? (int64_t)number : 0);
}

/* Python reads digits of all scripts. */
static bool has_foreign_digits(struct value text) {
    for (size_t at = 0; at < text.text.length; at += utf8_length(text.text.bytes[at])) {
        uint32_t c = utf8_decode(text.text.bytes + at);
        if (c >= 0x80 && utf8_is_numeric(c)) return true;
    }
    return false;
}

FILTER(filter_int) {
    int64_t base, integer;
    double number;
    bool fits = false;
    struct value result = value_none();
    if (!filter_integer(run, &base, arguments[1], 10)) return self;
    if (value_is_integer(self)) return value_integer(value_as_integer(self));
    if (self.kind == VALUE_UNDEFINED)
        return run_fail(run, "%s", self.reason ? self.reason : "the value is undefined");
    if (self.kind == VALUE_FLOAT) {
        if (isinf(self.number)) return run_fail(run, "infinity is no integer");
        result = truncate_float(run, self.number, &fits);
    }
    if (self.kind == VALUE_TEXT) {
        if (has_foreign_digits(self)) return run_fail(run, "int of such digits is not understood");
        if (python_parse_integer(run, &integer, self, base)) return value_integer(integer);
        if (python_parse_float(&number, self)) result = truncate_float(run, number, &fits);
    }
    if (fits) return result;
    return arguments[0].kind == VALUE_ABSENT ? value_integer(0) : arguments[0];
}

FILTER(filter_float) {
    double number;
    if (value_is_number(self)) return value_float(value_as_number(self));
    if (self.kind == VALUE_UNDEFINED)
        return run_fail(run, "%s", self.reason ? self.reason : "the value is undefined");
    if (self.kind == VALUE_TEXT) {
        if (has_foreign_digits(self))
            return run_fail(run, "float of such digits is not understood");
        if (python_parse_float(&number, self)) return value_float(number);
    }
    return arguments[0].kind == VALUE_ABSENT ? value_float(0) : arguments[0];
}

FILTER(filter_abs) {
    if (self.kind == VALUE_FLOAT) return value_float(fabs(self.number));
    if (!value_is_integer(self))
        return run_fail(run, "bad operand type for abs(): '%s'", value_type_name(self));
    int64_t integer = value_as_integer(self);
    if (integer == INT64_MIN) return run_fail(run, "an integer needs more than 64 bits");
    return value_integer(integer < 0 ? -integer : integer);
}

FILTER(filter_round) {
    int64_t precision;
    char text[400];
    struct value method =
        arguments[1].kind == VALUE_ABSENT ? value_literal("common") : arguments[1];
    if (!filter_integer(run, &precision, arguments[0], 0)) return self;
    bool common = value_equal(run, method, value_literal("common"));
    bool ceiling = value_equal(run, method, value_literal("ceil"));
    if (!common && !ceiling && !value_equal(run, method, value_literal("floor")))
        return run_fail(run, "method must be common, ceil or floor");
    if (!value_is_number(self)) return run_fail(run, "round of a %s", value_type_name(self));
    if (precision < 0 || precision > 30)
        return run_fail(run, "round to %lld digits is not understood", (long long)precision);
    if (!common) {
        double scale = pow(10, (double)precision), scaled = value_as_number(self) * scale;
        if (!isfinite(scaled)) return run_fail(run, "round of a number that is not finite");
        return value_float((ceiling ? ceil(scaled) : floor(scaled)) / scale);
    }
    if (value_is_integer(self)) return value_integer(value_as_integer(self));
    if (!isfinite(self.number)) return self;
    snprintf(text, sizeof text, "%.*f", (int)precision, self.number);
    return value_float(strtod(text, NULL));
}

/* (ensure_ascii=False, indent=None, separators=None, sort_keys=False) of transformers. */
FILTER(filter_tojson) {
    struct json_style style = {.ascii = value_is_true(run, arguments[0]),
                               .sorted = value_is_true(run, arguments[3]),
                               .indent = value_none(),
                               .item_separator = value_literal(", "),
                               .separator = value_literal(": ")};
    if (value_is_given(arguments[1])) {
        style.indent = arguments[1];
        style.item_separator = value_literal(",");
        if (value_is_integer(arguments[1])) {
            int64_t width = value_as_integer(arguments[1]);
            if (width > 1000) return run_fail(run, "an indent beyond 1000");
            style.indent =
                evaluate_operator(run, OPERATOR_MULTIPLY, value_literal(" "), value_integer(width));
        } else if (!value_is_text(arguments[1])) {
            return run_fail(run, "an indent must be an integer or a text");
        }
    }
    if (value_is_given(arguments[2])) {
        const struct value_list *pair = value_items(run, arguments[2]);
        if (!pair || pair->count != 2 || !value_is_text(pair->items[0]) ||
            !value_is_text(pair->items[1]))
            return run_fail(run, "separators must be two texts");
        style.item_separator = pair->items[0];
        style.separator = pair->items[1];
    }
    return run->status ? self : value_to_json(run, self, &style);
}

FILTER(filter_attr) {
    if (self.kind == VALUE_DICT && value_is_text(arguments[0]) &&
        !method_find(VALUE_DICT, arguments[0].text.bytes, arguments[0].text.length))
        return value_undefined(run, "'dict object' has no such attribute");
    if (!value_is_text(arguments[0])) return run_fail(run, "attribute name must be string");
    return evaluate_attribute(run, self, arguments[0]);
}

static const struct builtin filters[] = {
    {"default", "default_value=,boolean=", filter_default},
    {"d", "default_value=,boolean=", filter_default},
    {"length", "", filter_length},
    {"count", "", filter_length},
    {"string", "", filter_string},
    {"safe", "", filter_safe},
    {"escape", "", filter_escape},
    {"e", "", filter_escape},
    {"int", "default=,base=", filter_int},
    {"float", "default=", filter_float},
    {"abs", "", filter_abs},
    {"round", "precision=,method=", filter_round},
    {"tojson", "ensure_ascii=,indent=,separators=,sort_keys=", filter_tojson},
    {"attr", "name", filter_attr},
    /* Of jinja2, and of no use in chats. */
    {"filesizeformat", "*", NULL},
    {"forceescape", "*", NULL},
    {"pprint", "*", NULL},
    {"random", "*", NULL},
    {"striptags", "*", NULL},
    {"urlencode", "*", NULL},
    {"urlize", "*", NULL},
    {"wordwrap", "*", NULL},
    {"xmlattr", "*", NULL},
};

const struct builtin *filter_find(const char *name, size_t length) {
    const struct builtin *found =
        builtin_find(filters, sizeof filters / sizeof *filters, name, length);
    if (!found) found = filter_find_text(name, length);
    return found ? found : filter_find_list(name, length);
}
