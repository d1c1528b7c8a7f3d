/* The tests of `x is …`. */
#include "template/filters.h"
#include "template/methods.h"
#include "template/python_text.h"
#include "template/run.h"

#define TEST(name)                                                                                 \
    static struct value name(struct run *run, struct value self, const struct value *arguments,    \
                             const struct arguments *raw)

/* A test of the value's kind alone: `expression` of `self`. */
#define TEST_OF_KIND(name, expression)                                                             \
    TEST(name) {                                                                                   \
        return value_bool(expression);                                                             \
    }

TEST_OF_KIND(is_defined, self.kind != VALUE_UNDEFINED)
TEST_OF_KIND(is_undefined, self.kind == VALUE_UNDEFINED)
TEST_OF_KIND(is_none, self.kind == VALUE_NONE)
TEST_OF_KIND(is_boolean, self.kind == VALUE_BOOL)
TEST_OF_KIND(is_true, self.kind == VALUE_BOOL && self.boolean)
TEST_OF_KIND(is_false, self.kind == VALUE_BOOL && !self.boolean)
TEST_OF_KIND(is_integer, self.kind == VALUE_INTEGER)
TEST_OF_KIND(is_float, self.kind == VALUE_FLOAT)
TEST_OF_KIND(is_number, value_is_number(self))
TEST_OF_KIND(is_string, self.kind == VALUE_TEXT)
TEST_OF_KIND(is_mapping, self.kind == VALUE_DICT)
TEST_OF_KIND(is_iterable, value_is_iterable(self))
/* What has a length and can be indexed. */
TEST_OF_KIND(is_sequence,
             value_has_items(self) || self.kind == VALUE_DICT || self.kind == VALUE_UNDEFINED)
TEST_OF_KIND(is_escaped, self.kind == VALUE_TEXT && self.safe)
TEST_OF_KIND(is_callable, self.kind == VALUE_MACRO || self.kind == VALUE_FUNCTION ||
                              self.kind == VALUE_METHOD || self.kind == VALUE_LOOP ||
                              self.kind == VALUE_UNDEFINED)

static struct value remainder_is(struct run *run, struct value self, struct value divisor,
                                 int64_t wanted) {
    struct value rest = evaluate_operator(run, OPERATOR_MODULO, self, divisor);
    return value_bool(value_equal(run, rest, value_integer(wanted)));
}

TEST(is_odd) {
    return remainder_is(run, self, value_integer(2), 1);
}

TEST(is_even) {
    return remainder_is(run, self, value_integer(2), 0);
}

TEST(is_divisibleby) {
    return remainder_is(run, self, arguments[0], 0);
}

TEST(is_lower) {
    struct value text = value_str(run, self);
    if (run->status) return text;
    return method_find_text("islower", 7)->call(run, text, arguments, raw);
}

TEST(is_upper) {
    struct value text = value_str(run, self);
    if (run->status) return text;
    return method_find_text("isupper", 7)->call(run, text, arguments, raw);
}

TEST(is_in) {
    return value_bool(value_contains(run, arguments[0], self));
}

TEST(is_sameas) {
    struct value other = arguments[0];
    bool simple = self.kind == VALUE_NONE || self.kind == VALUE_BOOL || self.kind != other.kind;
    if (simple) return value_bool(value_same(self, other));
    return run_fail(run, "sameas of two values of the kind %s is not understood",
                    value_type_name(self));
}

TEST(is_equal) {
    return value_bool(value_equal(run, self, arguments[0]));
}

TEST(is_not_equal) {
    return value_bool(!value_equal(run, self, arguments[0]));
}

TEST(is_less) {
    return value_bool(value_order(run, self, arguments[0]) == -1);
}

TEST(is_less_equal) {
    int order = value_order(run, self, arguments[0]);
    return value_bool(order == -1 || order == 0);
}

TEST(is_greater) {
    return value_bool(value_order(run, self, arguments[0]) == 1);
}

TEST(is_greater_equal) {
    int order = value_order(run, self, arguments[0]);
    return value_bool(order == 1 || order == 0);
}

TEST(is_filter) {
    if (self.kind == VALUE_LIST || self.kind == VALUE_DICT)
        return run_fail(run, "unhashable type: '%s'", value_type_name(self));
    return value_bool(value_is_text(self) &&
                      filter_find(self.text.bytes, self.text.length) != NULL);
}

TEST(is_test) {
    if (self.kind == VALUE_LIST || self.kind == VALUE_DICT)
        return run_fail(run, "unhashable type: '%s'", value_type_name(self));
    return value_bool(value_is_text(self) && test_find(self.text.bytes, self.text.length) != NULL);
}

static const struct builtin tests[] = {
    {"defined", "", is_defined},
    {"undefined", "", is_undefined},
    {"none", "", is_none},
    {"boolean", "", is_boolean},
    {"true", "", is_true},
    {"false", "", is_false},
    {"integer", "", is_integer},
    {"float", "", is_float},
    {"number", "", is_number},
    {"string", "", is_string},
    {"mapping", "", is_mapping},
    {"iterable", "", is_iterable},
    {"sequence", "", is_sequence},
    {"escaped", "", is_escaped},
    {"callable", "", is_callable},
    {"odd", "", is_odd},
    {"even", "", is_even},
    {"divisibleby", "num", is_divisibleby},
    {"lower", "", is_lower},
    {"upper", "", is_upper},
    {"in", "seq", is_in},
    {"sameas", "other", is_sameas},
    {"==", "other/", is_equal},
    {"eq", "other/", is_equal},
    {"equalto", "other/", is_equal},
    {"!=", "other/", is_not_equal},
    {"ne", "other/", is_not_equal},
    {"<", "other/", is_less},
    {"lt", "other/", is_less},
    {"lessthan", "other/", is_less},
    {"<=", "other/", is_less_equal},
    {"le", "other/", is_less_equal},
    {">", "other/", is_greater},
    {"gt", "other/", is_greater},
    {"greaterthan", "other/", is_greater},
    {">=", "other/", is_greater_equal},
    {"ge", "other/", is_greater_equal},
    {"filter", "", is_filter},
    {"test", "", is_test},
};

const struct builtin *test_find(const char *name, size_t length) {
    return builtin_find(tests, sizeof tests / sizeof *tests, name, length);
}
