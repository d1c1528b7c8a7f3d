/* Arithmetic, and slices. */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "template/python_text.h"
#include "template/run.h"

static struct value wrong_operands(struct run *run, const char *sign, struct value a,
                                   struct value b) {
    const struct value *undefined = a.kind == VALUE_UNDEFINED   ? &a
                                    : b.kind == VALUE_UNDEFINED ? &b
                                                                : NULL;
    if (undefined)
        return run_fail(run, "%s", undefined->reason ? undefined->reason : "it is undefined");
    return run_fail(run, "unsupported operand types for %s: '%s' and '%s'", sign,
                    value_type_name(a), value_type_name(b));
}

static struct value integer_or_fail(struct run *run, bool overflow, int64_t number) {
    if (overflow) return run_fail(run, "an integer needs more than 64 bits");
    return value_integer(number);
}

static int64_t floor_divide(int64_t a, int64_t b) {
    int64_t quotient = a / b;
    return quotient - (a % b != 0 && (a < 0) != (b < 0));
}

/* Python's float // and %. */
static struct value divide_floats(double a, double b, bool modulo) {
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) {
        rest += b;
        quotient -= 1;
    } else if (rest == 0) {
        rest = copysign(0, b);
    }
    if (modulo) return value_float(rest);
    if (quotient == 0) return value_float(copysign(0, a / b));
    double whole = floor(quotient);
    return value_float(quotient - whole > 0.5 ? whole + 1 : whole);
}

static struct value divide(struct run *run, enum operator_kind kind, struct value a,
                           struct value b) {
    if (value_as_number(b) == 0) return run_fail(run, "division by zero");
    bool integers = value_is_integer(a) && value_is_integer(b);
    if (kind == OPERATOR_DIVIDE) {
        const int64_t exact = INT64_C(1) << 53;
        for (int i = 0; i < 2; i++) {
            struct value operand = i ? b : a;
            int64_t integer = value_is_integer(operand) ? value_as_integer(operand) : 0;
            if (integer > exact || integer < -exact)
                return run_fail(run, "division of an integer beyond 2^53 is not understood");
        }
        return value_float(value_as_number(a) / value_as_number(b));
    }
    if (!integers)
        return divide_floats(value_as_number(a), value_as_number(b), kind == OPERATOR_MODULO);
    int64_t x = value_as_integer(a), y = value_as_integer(b);
    if (y == -1) return integer_or_fail(run, x == INT64_MIN, kind == OPERATOR_MODULO ? 0 : -x);
    int64_t quotient = floor_divide(x, y);
    return value_integer(kind == OPERATOR_MODULO ? x - quotient * y : quotient);
}

static struct value power(struct run *run, struct value a, struct value b) {
    if (value_is_integer(a) && value_is_integer(b) && value_as_integer(b) >= 0) {
        int64_t base = value_as_integer(a), result = 1;
        bool overflow = false;
        for (int64_t left = value_as_integer(b); left > 0; left >>= 1) {
            if (left & 1) overflow |= __builtin_mul_overflow(result, base, &result);
            if (left > 1 && base != 0 && base != 1 && base != -1)
                overflow |= __builtin_mul_overflow(base, base, &base);
            else if (left > 1)
                base *= base;
            if (overflow) break;
        }
        return integer_or_fail(run, overflow, result);
    }
    double x = value_as_number(a), y = value_as_number(b);
    if (x == 0 && y < 0) return run_fail(run, "zero to a negative power");
    double result = pow(x, y);
    if (isnan(result) && !isnan(x) && !isnan(y))
        return run_fail(run, "complex numbers are not understood");
    if (isinf(result) && !isinf(x) && !isinf(y)) return run_fail(run, "the result is too large");
    return value_float(result);
}

static struct value arithmetic(struct run *run, enum operator_kind kind, struct value a,
                               struct value b) {
    if (kind == OPERATOR_POWER) return power(run, a, b);
    if (kind == OPERATOR_DIVIDE || kind == OPERATOR_FLOOR_DIVIDE || kind == OPERATOR_MODULO)
        return divide(run, kind, a, b);
    if (value_is_integer(a) && value_is_integer(b)) {
        int64_t x = value_as_integer(a), y = value_as_integer(b), result;
        bool overflow = kind == OPERATOR_ADD        ? __builtin_add_overflow(x, y, &result)
                        : kind == OPERATOR_SUBTRACT ? __builtin_sub_overflow(x, y, &result)
                                                    : __builtin_mul_overflow(x, y, &result);
        return integer_or_fail(run, overflow, result);
    }
    double x = value_as_number(a), y = value_as_number(b);
    return value_float(kind == OPERATOR_ADD ? x + y : kind == OPERATOR_SUBTRACT ? x - y : x * y);
}

static struct value repeat(struct run *run, struct value sequence, int64_t times) {
    struct value result = value_text("", 0);
    if (times < 0) times = 0;
    if (sequence.kind == VALUE_TEXT) {
        size_t length = sequence.text.length;
        if (length && (uint64_t)times > TEMPLATE_OUTPUT_LIMIT / length)
            return run_fail(run, "a text grows beyond %d MB", TEMPLATE_OUTPUT_LIMIT >> 20);
        /* Doubled, so that it takes as few steps as it has bits. */
        struct value piece = sequence;
        if (!length) return result;
        result = value_text("", 0);
        for (; !run->status && times; times >>= 1) {
            if (times & 1) result = value_text_join(run, result, piece);
            if (times > 1)
                piece = value_text_join(
                    run, value_text_copy(run, piece.text.bytes, piece.text.length), piece);
        }
        result.safe = sequence.safe && result.kind == VALUE_TEXT;
        return result;
    }
    struct value_list *list = list_new(run);
    for (int64_t i = 0; !run->status && sequence.list->count && i < times; i++)
        for (size_t j = 0; !run->status && j < sequence.list->count; j++)
            list_append(run, list, sequence.list->items[j]);
    return value_of_list(sequence.kind, list);
}

static struct value join_lists(struct run *run, struct value a, struct value b) {
    struct value_list *list = list_new(run);
    for (size_t i = 0; !run->status && i < a.list->count; i++)
        list_append(run, list, a.list->items[i]);
    for (size_t i = 0; !run->status && i < b.list->count; i++)
        list_append(run, list, b.list->items[i]);
    return value_of_list(a.kind, list);
}

static bool is_sequence(struct value value) {
    return value.kind == VALUE_TEXT || value.kind == VALUE_LIST || value.kind == VALUE_TUPLE;
}

static const char *sign_of(enum operator_kind kind) {
    static const char *const signs[] = {
        [OPERATOR_ADD] = "+",           [OPERATOR_SUBTRACT] = "-", [OPERATOR_MULTIPLY] = "*",
        [OPERATOR_DIVIDE] = "/",        [OPERATOR_MODULO] = "%",   [OPERATOR_POWER] = "**",
        [OPERATOR_FLOOR_DIVIDE] = "//",
    };
    return signs[kind];
}

struct value evaluate_operator(struct run *run, enum operator_kind kind, struct value a,
                               struct value b) {
    if (run->status) return value_of_kind(VALUE_UNDEFINED);
    if (value_is_number(a) && value_is_number(b)) return arithmetic(run, kind, a, b);
    if (kind == OPERATOR_ADD && is_sequence(a) && a.kind == b.kind) {
        if (a.kind != VALUE_TEXT) return join_lists(run, a, b);
        if (a.safe != b.safe) return run_fail(run, "joining text marked safe and text that is not");
        struct value joined = value_text_join(run, a, b);
        joined.safe = a.safe;
        return joined;
    }
    if (kind == OPERATOR_MULTIPLY && is_sequence(a) && value_is_integer(b))
        return repeat(run, a, value_as_integer(b));
    if (kind == OPERATOR_MULTIPLY && is_sequence(b) && value_is_integer(a))
        return repeat(run, b, value_as_integer(a));
    if (kind == OPERATOR_MODULO && a.kind == VALUE_TEXT) return evaluate_percent(run, a, b);
    return wrong_operands(run, sign_of(kind), a, b);
}

/* A slice's bound as Python takes it: counted from the end when negative, then held within. */
static int64_t bound(struct run *run, struct value value, int64_t missing, int64_t low,
                     int64_t high, int64_t length) {
    if (value.kind == VALUE_NONE) return missing;
    if (!value_is_integer(value)) {
        run_fail(run, "the bounds of a slice must be integers");
        return 0;
    }
    int64_t at = value_as_integer(value);
    if (at < 0) at = at < -length ? low - 1 : at + length;
    return at < low ? low : at > high ? high : at;
}

/* Characters start, start + step, … of a text. */
static struct value slice_text(struct run *run, struct value text, int64_t start, int64_t step,
                               int64_t count) {
    const char *bytes = text.text.bytes;
    size_t length = text.text.length;
    run_work_text(run, length);
    if (count <= 0) return value_text("", 0);
    if (step == 1) {
        size_t from = python_offset(bytes, length, (size_t)start);
        size_t size = python_offset(bytes + from, length - from, (size_t)count);
        struct value part = value_text(bytes + from, size);
        part.safe = text.safe;
        return part;
    }
    const struct value_list *characters = value_items(run, text);
    struct value result = value_text("", 0);
    for (int64_t i = 0; !run->status && i < count; i++)
        result = value_text_join(run, result, characters->items[start + i * step]);
    result.safe = text.safe && result.kind == VALUE_TEXT;
    return result;
}

struct value evaluate_slice(struct run *run, struct value value, const struct value slice[3]) {
    int64_t length, step = 1;
    if (value.kind == VALUE_DICT) return run_fail(run, "unhashable type: 'slice'");
    if (!value_length(value, &length) || !value_has_items(value))
        return run_fail(run, "'%s' object is not subscriptable", value_type_name(value));
    if (slice[2].kind != VALUE_NONE) {
        if (!value_is_integer(slice[2])) return run_fail(run, "a slice's step must be an integer");
        step = value_as_integer(slice[2]);
        if (step == 0) return run_fail(run, "slice step cannot be zero");
        if (step > INT32_MAX) step = INT32_MAX;
        if (step < -INT32_MAX) step = -INT32_MAX;
    }
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
    int64_t start = bound(run, slice[0], step < 0 ? high : low, low, high, length);
    int64_t stop = bound(run, slice[1], step < 0 ? low : high, low, high, length);
    int64_t count = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
    if (run->status) return value_of_kind(VALUE_UNDEFINED);
    if (count < 0) count = 0;
    if (value.kind == VALUE_TEXT) return slice_text(run, value, start, step, count);
    if (value.kind == VALUE_RANGE) {
        struct value_range *range = arena_take(&run->arena, sizeof *range);
        if (!range) return run_fail(run, "%s", status_message());
        range->start = value.range->start + start * value.range->step;
        range->stop = value.range->start + stop * value.range->step;
        range->step = value.range->step * step;
        range->count = count;
        return (struct value){.kind = VALUE_RANGE, .range = range};
    }
    struct value_list *list = list_new(run);
    for (int64_t i = 0; !run->status && i < count; i++)
        list_append(run, list, value.list->items[start + i * step]);
    return value_of_list(value.kind, list);
}
