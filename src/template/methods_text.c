/* Methods of texts: Python's str. */
#include <string.h>

#include "base/utf8.h"
#include "template/filters.h"
#include "template/methods.h"
#include "template/python_text.h"
#include "template/run.h"

#define METHOD(name)                                                                               \
    static struct value name(struct run *run, struct value self, const struct value *arguments,    \
                             const struct arguments *raw)

/* Every method reads its text once, at least, and those of text marked safe give such text, which
 * only the simplest here do. */
static bool begin(struct run *run, struct value self) {
    if (self.safe) run_fail(run, "this method of text marked safe is not understood");
    return run_work_text(run, self.text.length);
}

static bool need_text(struct run *run, struct value value) {
    if (!value_is_text(value)) run_fail(run, "a text is needed, not %s", value_type_name(value));
    return !run->status;
}

static struct value strip(struct run *run, struct value self, const struct value *arguments,
                          bool left, bool right) {
    if (!run_work_text(run, self.text.length)) return self;
    if (!value_is_given(arguments[0])) return python_strip(self, NULL, left, right);
    if (!need_text(run, arguments[0])) return self;
    return python_strip(self, &arguments[0], left, right);
}

METHOD(text_strip) {
    return strip(run, self, arguments, true, true);
}

METHOD(text_lstrip) {
    return strip(run, self, arguments, true, false);
}

METHOD(text_rstrip) {
    return strip(run, self, arguments, false, true);
}

/* split() at white space, from the left or the right. */
static void split_space(struct run *run, struct value_list *list, struct value text, int64_t most,
                        bool right) {
    while (!run->status) {
        text = python_strip(text, NULL, !right, right);
        size_t length = text.text.length;
        const char *bytes = text.text.bytes;
        if (!length) return;
        size_t at = right ? length : 0;
        if (most >= 0 && (int64_t)list->count >= most) {
            list_append(run, list, python_strip(text, NULL, !right, right));
            return;
        }
        while (right ? at > 0 : at < length) {
            size_t before = right ? utf8_before(bytes, at) : at;
            if (python_is_space(utf8_decode(bytes + before))) break;
            at = right ? before : at + utf8_length(bytes[at]);
        }
        if (right) {
            list_append(run, list, value_text(bytes + at, length - at));
            text = value_text(bytes, at);
        } else {
            list_append(run, list, value_text(bytes, at));
            text = value_text(bytes + at, length - at);
        }
    }
}

static void split_at(struct run *run, struct value_list *list, struct value text,
                     struct value separator, int64_t most, bool right) {
    while (!run->status && (most < 0 || (int64_t)list->count < most)) {
        size_t at = right ? python_find_last(text, separator) : python_find(text, separator, 0);
        if (at == SIZE_MAX) break;
        size_t after = at + separator.text.length;
        struct value left = value_text(text.text.bytes, at);
        struct value rest = value_text(text.text.bytes + after, text.text.length - after);
        list_append(run, list, right ? rest : left);
        text = right ? left : rest;
    }
    list_append(run, list, text);
}

static struct value split(struct run *run, struct value self, const struct value *arguments,
                          bool right) {
    int64_t most;
    struct value_list *list = list_new(run);
    if (!list || !begin(run, self) || !filter_integer(run, &most, arguments[1], -1)) return self;
    if (!value_is_given(arguments[0])) {
        split_space(run, list, self, most, right);
    } else if (need_text(run, arguments[0])) {
        if (!arguments[0].text.length) return run_fail(run, "empty separator");
        split_at(run, list, self, arguments[0], most, right);
    }
    for (size_t i = 0; right && i < list->count / 2; i++) {
        struct value first = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = first;
    }
    return value_of_list(VALUE_LIST, list);
}

METHOD(text_split) {
    return split(run, self, arguments, false);
}

METHOD(text_rsplit) {
    return split(run, self, arguments, true);
}

struct value_list *text_lines(struct run *run, struct value text, bool keep_ends) {
    struct value_list *list = list_new(run);
    const char *bytes = text.text.bytes;
    size_t length = text.text.length, start = 0;
    for (size_t at = 0; !run->status && at < length;) {
        size_t step = utf8_length(bytes[at]);
        if (!python_is_line_end(utf8_decode(bytes + at))) {
            at += step;
            continue;
        }
        if (bytes[at] == '\r' && at + 1 < length && bytes[at + 1] == '\n') step = 2;
        list_append(run, list, value_text(bytes + start, at - start + (keep_ends ? step : 0)));
        at += step;
        start = at;
    }
    if (start < length) list_append(run, list, value_text(bytes + start, length - start));
    return list;
}

METHOD(text_splitlines) {
    if (!begin(run, self)) return self;
    return value_of_list(VALUE_LIST, text_lines(run, self, value_is_true(run, arguments[0])));
}

/* A search and two copies take as long as several of the interpreter's other steps. */
enum { REPLACEMENT_STEPS = 8 };

struct value text_replace(struct run *run, struct value text, struct value old, struct value new,
                          int64_t count) {
    struct text out = {0};
    size_t at = 0;
    run_work_text(run, text.text.length);
    for (; !run->status && count != 0; count--) {
        size_t found = python_find(text, old, at);
        if (found == SIZE_MAX) break;
        if (!old.text.length && found < text.text.length) /* an empty text: before each character */
            found = at;
        if (!run_work(run, REPLACEMENT_STEPS) || !run_work_text(run, new.text.length) ||
            out.length > (size_t)TEMPLATE_OUTPUT_LIMIT) {
            run_fail(run, "a text grows beyond %d MB", TEMPLATE_OUTPUT_LIMIT >> 20);
            break;
        }
        text_append_bytes(&out, text.text.bytes + at, found - at);
        text_append_bytes(&out, new.text.bytes, new.text.length);
        at = found + old.text.length;
        if (old.text.length) continue;
        if (at == text.text.length) break;
        size_t step = utf8_length(text.text.bytes[at]);
        text_append_bytes(&out, text.text.bytes + at, step);
        at += step;
    }
    text_append_bytes(&out, text.text.bytes + at, text.text.length - at);
    if (out.failed) run_fail(run, "out of memory");
    struct value result =
        run->status ? value_of_kind(VALUE_UNDEFINED) : value_text_copy(run, out.bytes, out.length);
    text_free(&out);
    return result;
}

METHOD(method_replace) {
    int64_t count;
    if (!begin(run, self) || !need_text(run, arguments[0]) || !need_text(run, arguments[1]) ||
        !filter_integer(run, &count, arguments[2], -1))
        return self;
    return text_replace(run, self, arguments[0], arguments[1], count);
}

/* Does the text begin (or end) with the part, or one of several? */
static bool has_end(struct run *run, struct value text, struct value part, bool at_end) {
    if (part.kind == VALUE_TUPLE) {
        bool found = false;
        for (size_t i = 0; !run->status && i < part.list->count; i++)
            found |= need_text(run, part.list->items[i]) &&
                     has_end(run, text, part.list->items[i], at_end);
        return found;
    }
    if (!need_text(run, part) || part.text.length > text.text.length) return false;
    const char *from = text.text.bytes + (at_end ? text.text.length - part.text.length : 0);
    return !part.text.length || memcmp(from, part.text.bytes, part.text.length) == 0;
}

METHOD(text_startswith) {
    return value_bool(has_end(run, self, arguments[0], false));
}

METHOD(text_endswith) {
    return value_bool(has_end(run, self, arguments[0], true));
}

METHOD(text_removeprefix) {
    if (!begin(run, self) || !need_text(run, arguments[0])) return self;
    size_t cut = has_end(run, self, arguments[0], false) ? arguments[0].text.length : 0;
    return value_text(self.text.bytes + cut, self.text.length - cut);
}

METHOD(text_removesuffix) {
    if (!begin(run, self) || !need_text(run, arguments[0])) return self;
    size_t cut = has_end(run, self, arguments[0], true) ? arguments[0].text.length : 0;
    return value_text(self.text.bytes, self.text.length - cut);
}

static struct value change_case(struct run *run, struct value self, enum python_case how) {
    return python_change_case(run, self, how);
}

METHOD(text_lower) {
    return change_case(run, self, PYTHON_LOWER);
}

METHOD(text_upper) {
    return change_case(run, self, PYTHON_UPPER);
}

METHOD(text_title) {
    return change_case(run, self, PYTHON_TITLE);
}

METHOD(text_capitalize) {
    return change_case(run, self, PYTHON_CAPITALIZE);
}

METHOD(text_swapcase) {
    return change_case(run, self, PYTHON_SWAP);
}

/* The place of a part in characters, or -1. */
static int64_t place_of(struct run *run, struct value self, struct value part, bool last) {
    if (!begin(run, self) || !need_text(run, part)) return -1;
    size_t at = last ? python_find_last(self, part) : python_find(self, part, 0);
    return at == SIZE_MAX ? -1 : (int64_t)python_count(self.text.bytes, at);
}

METHOD(text_find) {
    return value_integer(place_of(run, self, arguments[0], false));
}

METHOD(text_rfind) {
    return value_integer(place_of(run, self, arguments[0], true));
}

static struct value index_of(struct run *run, struct value self, struct value part, bool last) {
    int64_t place = place_of(run, self, part, last);
    return place < 0 ? run_fail(run, "substring not found") : value_integer(place);
}

METHOD(text_index) {
    return index_of(run, self, arguments[0], false);
}

METHOD(text_rindex) {
    return index_of(run, self, arguments[0], true);
}

METHOD(text_count) {
    int64_t count = 0;
    if (!begin(run, self) || !need_text(run, arguments[0])) return self;
    if (!arguments[0].text.length)
        return value_integer((int64_t)python_count(self.text.bytes, self.text.length) + 1);
    for (size_t at = 0; (at = python_find(self, arguments[0], at)) != SIZE_MAX; count++)
        at += arguments[0].text.length;
    return value_integer(count);
}

METHOD(text_join) {
    struct value joined = value_text("", 0);
    const struct value_list *items = begin(run, self) ? value_items(run, arguments[0]) : NULL;
    for (size_t i = 0; items && !run->status && i < items->count; i++) {
        if (!need_text(run, items->items[i])) break;
        if (i) joined = value_text_join(run, joined, self);
        if (!run->status) joined = value_text_join(run, joined, items->items[i]);
    }
    joined.safe = false;
    return joined;
}

METHOD(method_format) {
    return evaluate_format(run, self, raw);
}

struct value text_justify(struct run *run, struct value text, int64_t width, struct value fill,
                          char align) {
    int64_t length;
    struct value padded = value_text("", 0);
    if (!run_work_text(run, text.text.length)) return text;
    value_length(text, &length);
    if (width <= length) return text;
    int64_t missing = width - length;
    /* Python's center() gives the odd one to the left where the width is odd, too. */
    int64_t before = align == '>'   ? missing
                     : align == '^' ? missing / 2 + (missing & width & 1)
                                    : 0;
    struct value left = evaluate_operator(run, OPERATOR_MULTIPLY, fill, value_integer(before));
    struct value right =
        evaluate_operator(run, OPERATOR_MULTIPLY, fill, value_integer(missing - before));
    if (!run->status) padded = value_text_join(run, left, text);
    return run->status ? padded : value_text_join(run, padded, right);
}

static struct value justify(struct run *run, struct value self, const struct value *arguments,
                            char align) {
    int64_t width;
    struct value fill = arguments[1].kind == VALUE_ABSENT ? value_literal(" ") : arguments[1];
    if (!begin(run, self) || !need_text(run, fill) || !filter_integer(run, &width, arguments[0], 0))
        return self;
    if (python_count(fill.text.bytes, fill.text.length) != 1)
        return run_fail(run, "The fill character must be exactly one character long");
    return text_justify(run, self, width, fill, align);
}

METHOD(text_center) {
    return justify(run, self, arguments, '^');
}

METHOD(text_ljust) {
    return justify(run, self, arguments, '<');
}

METHOD(text_rjust) {
    return justify(run, self, arguments, '>');
}

METHOD(text_zfill) {
    int64_t width;
    if (!begin(run, self) || !filter_integer(run, &width, arguments[0], 0)) return self;
    bool sign = self.text.length && (*self.text.bytes == '-' || *self.text.bytes == '+');
    struct value digits = value_text(self.text.bytes + sign, self.text.length - sign);
    digits = text_justify(run, digits, width - sign, value_literal("0"), '>');
    if (run->status || !sign) return digits;
    return value_text_join(run, value_text_copy(run, self.text.bytes, 1), digits);
}

/* (before, separator, after) */
static struct value partition(struct run *run, struct value self, struct value separator,
                              bool last) {
    struct value_list *list = list_new(run);
    if (!list || !begin(run, self) || !need_text(run, separator)) return self;
    if (!separator.text.length) return run_fail(run, "empty separator");
    size_t at = last ? python_find_last(self, separator) : python_find(self, separator, 0);
    struct value nothing = value_text("", 0);
    if (at == SIZE_MAX) {
        list_append(run, list, last ? nothing : self);
        list_append(run, list, nothing);
        list_append(run, list, last ? self : nothing);
        return value_of_list(VALUE_TUPLE, list);
    }
    size_t after = at + separator.text.length;
    list_append(run, list, value_text(self.text.bytes, at));
    list_append(run, list, separator);
    list_append(run, list, value_text(self.text.bytes + after, self.text.length - after));
    return value_of_list(VALUE_TUPLE, list);
}

METHOD(text_partition) {
    return partition(run, self, arguments[0], false);
}

METHOD(text_rpartition) {
    return partition(run, self, arguments[0], true);
}

/* Are all characters letters (or, or only, digits), and is there one? */
static struct value all_are(struct run *run, struct value self, bool letters, bool digits) {
    bool all = self.text.length > 0;
    if (!begin(run, self)) return self;
    for (size_t at = 0; at < self.text.length; at += utf8_length(self.text.bytes[at])) {
        uint32_t c = utf8_decode(self.text.bytes + at);
        bool digit = c >= '0' && c <= '9';
        if (c >= 0x80 && utf8_is_numeric(c))
            return run_fail(run, "this test of the digit U+%04X is not understood", c);
        all = all && ((digits && digit) || (letters && python_is_letter(c)));
    }
    return value_bool(all);
}

METHOD(text_isdigit) {
    return all_are(run, self, false, true);
}

METHOD(text_isalpha) {
    return all_are(run, self, true, false);
}

METHOD(text_isalnum) {
    return all_are(run, self, true, true);
}

METHOD(text_isspace) {
    if (!begin(run, self)) return self;
    return value_bool(self.text.length &&
                      python_leading_space(self.text.bytes, self.text.length) == self.text.length);
}

METHOD(text_isascii) {
    if (!begin(run, self)) return self;
    for (size_t i = 0; i < self.text.length; i++)
        if ((unsigned char)self.text.bytes[i] >= 0x80) return value_bool(false);
    return value_bool(true);
}

/* Is there a letter with case, and none of the other case? */
static struct value has_case(struct run *run, struct value self, bool upper) {
    bool found = false;
    if (!begin(run, self)) return self;
    for (size_t at = 0; at < self.text.length; at += utf8_length(self.text.bytes[at])) {
        uint32_t c = utf8_decode(self.text.bytes + at);
        if (upper ? python_is_lower(c) : python_is_upper(c)) return value_bool(false);
        found |= upper ? python_is_upper(c) : python_is_lower(c);
    }
    return value_bool(found);
}

METHOD(text_isupper) {
    return has_case(run, self, true);
}

METHOD(text_islower) {
    return has_case(run, self, false);
}

static const struct builtin methods[] = {
    {"strip", "chars=/", text_strip},
    {"lstrip", "chars=/", text_lstrip},
    {"rstrip", "chars=/", text_rstrip},
    {"split", "sep=,maxsplit=", text_split},
    {"rsplit", "sep=,maxsplit=", text_rsplit},
    {"splitlines", "keepends=", text_splitlines},
    {"replace", "old,new,count=/", method_replace},
    {"startswith", "prefix/", text_startswith},
    {"endswith", "suffix/", text_endswith},
    {"removeprefix", "prefix/", text_removeprefix},
    {"removesuffix", "suffix/", text_removesuffix},
    {"lower", "", text_lower},
    {"upper", "", text_upper},
    {"title", "", text_title},
    {"capitalize", "", text_capitalize},
    {"swapcase", "", text_swapcase},
    {"find", "part/", text_find},
    {"rfind", "part/", text_rfind},
    {"index", "part/", text_index},
    {"rindex", "part/", text_rindex},
    {"count", "part/", text_count},
    {"join", "items/", text_join},
    {"format", "*", method_format},
    {"center", "width,fill=/", text_center},
    {"ljust", "width,fill=/", text_ljust},
    {"rjust", "width,fill=/", text_rjust},
    {"zfill", "width/", text_zfill},
    {"partition", "separator/", text_partition},
    {"rpartition", "separator/", text_rpartition},
    {"isdigit", "", text_isdigit},
    {"isdecimal", "", text_isdigit},
    {"isnumeric", "", text_isdigit},
    {"isalpha", "", text_isalpha},
    {"isalnum", "", text_isalnum},
    {"isspace", "", text_isspace},
    {"isascii", "", text_isascii},
    {"isupper", "", text_isupper},
    {"islower", "", text_islower},
    /* Of Python, and refused. */
    {"casefold", "*", NULL},
    {"encode", "*", NULL},
    {"expandtabs", "*", NULL},
    {"format_map", "*", NULL},
    {"isidentifier", "*", NULL},
    {"isprintable", "*", NULL},
    {"istitle", "*", NULL},
    {"maketrans", "*", NULL},
    {"translate", "*", NULL},
};

const struct builtin *method_find_text(const char *name, size_t length) {
    return builtin_find(methods, sizeof methods / sizeof *methods, name, length);
}
