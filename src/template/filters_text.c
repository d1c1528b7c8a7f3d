/* Filters of text. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/filters.h"
#include "template/methods.h"
#include "template/python_text.h"
#include "template/run.h"

#define FILTER(name)                                                                               \
    static struct value name(struct run *run, struct value self, const struct value *arguments,    \
                             const struct arguments *raw)

FILTER(filter_lower) {
    struct value text = filter_text(run, self);
    return run->status ? text : python_change_case(run, text, PYTHON_LOWER);
}

FILTER(filter_upper) {
    struct value text = filter_text(run, self);
    return run->status ? text : python_change_case(run, text, PYTHON_UPPER);
}

FILTER(filter_capitalize) {
    struct value text = filter_text(run, self);
    return run->status ? text : python_change_case(run, text, PYTHON_CAPITALIZE);
}

/* Words begin after blanks, '-' and opening brackets; not as Python's title(). */
FILTER(filter_title) {
    struct value text = filter_text(run, self), result = value_text("", 0);
    if (run->status) return text;
    const char *bytes = text.text.bytes;
    size_t length = text.text.length;
    for (size_t at = 0; at < length && !run->status;) {
        size_t end = at;
        bool first_ends = false;
        for (; end < length; end += utf8_length(bytes[end])) {
            uint32_t c = utf8_decode(bytes + end);
            bool separator = python_is_space(c) || (c && c < 0x80 && strchr("-({[<", (int)c));
            if (end == at) first_ends = separator;
            if (separator != first_ends) break;
        }
        struct value word = value_text(bytes + at, end - at);
        /* item[0].upper() + item[1:].lower() */
        size_t first = utf8_length(bytes[at]);
        struct value upper = python_change_case(run, value_text(bytes + at, first), PYTHON_UPPER);
        struct value rest = python_change_case(
            run, value_text(bytes + at + first, word.text.length - first), PYTHON_LOWER);
        if (!run->status) result = value_text_join(run, result, upper);
        if (!run->status) result = value_text_join(run, result, rest);
        at = end;
    }
    return result;
}

FILTER(filter_trim) {
    struct value text = filter_text(run, self);
    if (run->status || !run_work_text(run, text.text.length)) return text;
    if (!value_is_given(arguments[0])) return python_strip(text, NULL, true, true);
    if (!value_is_text(arguments[0])) return run_fail(run, "strip arg must be None or str");
    return python_strip(text, &arguments[0], true, true);
}

FILTER(filter_replace) {
    int64_t count = -1;
    struct value text = value_str(run, self), old = value_str(run, arguments[0]),
                 new = value_str(run, arguments[1]);
    if (value_is_given(arguments[2]) && !filter_integer(run, &count, arguments[2], -1)) return text;
    return run->status ? text : text_replace(run, text, old, new, count);
}

FILTER(filter_format) {
    if (raw->count && raw->named && raw->named->count)
        return run_fail(run, "format takes arguments with names or without, not both");
    struct value text = filter_text(run, self);
    struct value_list *list = list_new(run);
    for (size_t i = 0; i < raw->count; i++) list_append(run, list, raw->values[i]);
    struct value values = value_of_list(VALUE_TUPLE, list);
    if (raw->named && raw->named->count)
        values = value_of_dict(VALUE_DICT, (struct value_dict *)(uintptr_t)raw->named);
    return run->status ? text : evaluate_percent(run, text, values);
}

/* textwrap's: lines but the first (and blank ones) get the width's blanks. */
FILTER(filter_indent) {
    struct value indention = value_literal("    ");
    bool first = value_is_true(run, arguments[1]), blank = value_is_true(run, arguments[2]);
    if (!value_is_text(self)) return run_fail(run, "indent of a %s", value_type_name(self));
    if (self.safe) return run_fail(run, "indent of text marked safe is not understood");
    if (value_is_text(arguments[0]))
        indention = arguments[0];
    else if (arguments[0].kind != VALUE_ABSENT)
        indention = evaluate_operator(run, OPERATOR_MULTIPLY, value_literal(" "), arguments[0]);
    struct value result = first ? indention : value_text("", 0);
    struct value_list *lines =
        text_lines(run, value_text_join(run, self, value_literal("\n")), false);
    for (size_t i = 0; lines && !run->status && i < lines->count; i++) {
        struct value line = lines->items[i];
        if (i) result = value_text_join(run, result, value_literal("\n"));
        if (i && (line.text.length || blank) && !run->status)
            result = value_text_join(run, result, indention);
        if (!run->status) result = value_text_join(run, result, line);
    }
    return result;
}

FILTER(filter_truncate) {
    int64_t length, leeway = 5, size;
    struct value end = arguments[2].kind == VALUE_ABSENT ? value_literal("...") : arguments[2];
    if (!value_is_text(self) || !value_is_text(end)) return run_fail(run, "truncate needs text");
    if (!filter_integer(run, &length, arguments[0], 255)) return self;
    if (value_is_given(arguments[3]) && !filter_integer(run, &leeway, arguments[3], 5)) return self;
    int64_t mark = (int64_t)python_count(end.text.bytes, end.text.length);
    if (length < mark || leeway < 0) return run_fail(run, "truncate to less than its mark");
    value_length(self, &size);
    run_work_text(run, self.text.length);
    if (size <= length + leeway) return self;
    size_t cut = python_offset(self.text.bytes, self.text.length, (size_t)(length - mark));
    struct value kept = value_text(self.text.bytes, cut);
    size_t blank = python_find_last(kept, value_literal(" "));
    if (!value_is_true(run, arguments[1]) && blank != SIZE_MAX) kept.text.length = blank;
    return value_text_join(run, value_text_copy(run, kept.text.bytes, kept.text.length), end);
}

FILTER(filter_center) {
    int64_t width;
    struct value text = filter_text(run, self);
    if (run->status || !filter_integer(run, &width, arguments[0], 80)) return text;
    return text_justify(run, text, width, value_literal(" "), '^');
}

FILTER(filter_wordcount) {
    struct value text = filter_text(run, self);
    int64_t words = 0;
    bool inside = false;
    if (run->status || !run_work_text(run, text.text.length)) return text;
    for (size_t at = 0; at < text.text.length; at += utf8_length(text.text.bytes[at])) {
        uint32_t c = utf8_decode(text.text.bytes + at);
        bool word = utf8_is_word(c) && c != 0x200c && c != 0x200d;
        if (c >= 0x80) return run_fail(run, "wordcount beyond ASCII is not understood");
        words += word && !inside;
        inside = word;
    }
    return value_integer(words);
}

static const struct builtin filters[] = {
    {"lower", "", filter_lower},
    {"upper", "", filter_upper},
    {"capitalize", "", filter_capitalize},
    {"title", "", filter_title},
    {"trim", "chars=", filter_trim},
    {"replace", "old,new,count=", filter_replace},
    {"format", "*", filter_format},
    {"indent", "width=,first=,blank=", filter_indent},
    {"truncate", "length=,killwords=,end=,leeway=", filter_truncate},
    {"center", "width=", filter_center},
    {"wordcount", "", filter_wordcount},
};

const struct builtin *filter_find_text(const char *name, size_t length) {
    return builtin_find(filters, sizeof filters / sizeof *filters, name, length);
}
