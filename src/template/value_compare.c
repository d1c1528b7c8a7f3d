#include <math.h>
#include <string.h>

#include "template/python_text.h"
#include "template/run.h"

static bool numbers_equal(struct value a, struct value b) {
    if (a.kind != VALUE_FLOAT && b.kind != VALUE_FLOAT)
        return value_as_integer(a) == value_as_integer(b);
    /* A long double holds every integer of 64 bits. */
    long double x = a.kind == VALUE_FLOAT ? a.number : (long double)value_as_integer(a);
    long double y = b.kind == VALUE_FLOAT ? b.number : (long double)value_as_integer(b);
    return x == y;
}

static bool lists_equal(struct run *run, const struct value_list *a, const struct value_list *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!value_equal(run, a->items[i], b->items[i])) return false;
    return !run->status;
}

static bool dicts_equal(struct run *run, const struct value_dict *a, const struct value_dict *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct value *other = dict_find(run, b, a->entries[i].key);
        if (!other || !value_equal(run, a->entries[i].value, *other)) return false;
    }
    return !run->status;
}

static bool ranges_equal(const struct value_range *a, const struct value_range *b) {
    if (a->count != b->count) return false;
    return a->count == 0 || (a->start == b->start && (a->count == 1 || a->step == b->step));
}

/* Is it the same object (Python's `is`, for what can be no number or text)? */
static bool objects_equal(struct value a, struct value b) {
    switch (a.kind) {
    case VALUE_METHOD:
        return a.method == b.method;
    case VALUE_FUNCTION:
        return a.function == b.function;
    default:
        return a.dict == b.dict; /* all are pointers */
    }
}

static bool equal(struct run *run, struct value a, struct value b) {
    if (value_is_number(a) && value_is_number(b)) return numbers_equal(a, b);
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return true;
    case VALUE_TEXT:
        return a.text.length == b.text.length && run_work_text(run, a.text.length) &&
               memcmp(a.text.bytes, b.text.bytes, a.text.length) == 0;
    case VALUE_LIST:
    case VALUE_TUPLE:
        return lists_equal(run, a.list, b.list);
    case VALUE_DICT:
        return dicts_equal(run, a.dict, b.dict);
    case VALUE_RANGE:
        return ranges_equal(a.range, b.range);
    case VALUE_KEYS:
    case VALUE_ITEMS:
        run_fail(run, "comparing %s is not understood", value_type_name(a));
        return false;
    case VALUE_METHOD:
        run_fail(run, "comparing methods is not understood");
        return false;
    default:
        return objects_equal(a, b);
    }
}

bool value_equal(struct run *run, struct value a, struct value b) {
    if (!run_work(run, 1)) return false;
    if (run->depth >= TEMPLATE_DEPTH_LIMIT) {
        run_fail(run, "values are nested more than %d deep", TEMPLATE_DEPTH_LIMIT);
        return false;
    }
    run->depth++;
    bool same = equal(run, a, b);
    run->depth--;
    return same;
}

bool value_same(struct value a, struct value b) {
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case VALUE_NONE:
        return true;
    case VALUE_BOOL:
        return a.boolean == b.boolean;
    default:
        return false;
    }
}

static int order_numbers(struct value a, struct value b) {
    if (a.kind != VALUE_FLOAT && b.kind != VALUE_FLOAT) {
        int64_t x = value_as_integer(a), y = value_as_integer(b);
        return (x > y) - (x < y);
    }
    long double x = a.kind == VALUE_FLOAT ? a.number : (long double)value_as_integer(a);
    long double y = b.kind == VALUE_FLOAT ? b.number : (long double)value_as_integer(b);
    return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
}

static int order_lists(struct run *run, const struct value_list *a, const struct value_list *b) {
    for (size_t i = 0; i < a->count && i < b->count; i++)
        if (!value_equal(run, a->items[i], b->items[i]))
            return value_order(run, a->items[i], b->items[i]);
    return (a->count > b->count) - (a->count < b->count);
}

int value_order(struct run *run, struct value a, struct value b) {
    if (!run_work(run, 1)) return 2;
    if (value_is_number(a) && value_is_number(b)) return order_numbers(a, b);
    if (a.kind == VALUE_TEXT && b.kind == VALUE_TEXT) {
        /* The order of UTF-8 is that of its characters. */
        size_t shared = a.text.length < b.text.length ? a.text.length : b.text.length;
        if (!run_work_text(run, shared)) return 2;
        int order = memcmp(a.text.bytes, b.text.bytes, shared);
        if (order == 0) order = (a.text.length > b.text.length) - (a.text.length < b.text.length);
        return order < 0 ? -1 : order > 0;
    }
    if (a.kind == b.kind && (a.kind == VALUE_LIST || a.kind == VALUE_TUPLE)) {
        if (run->depth >= TEMPLATE_DEPTH_LIMIT)
            run_fail(run, "values are nested more than %d deep", TEMPLATE_DEPTH_LIMIT);
        if (run->status) return 2;
        run->depth++;
        int order = order_lists(run, a.list, b.list);
        run->depth--;
        return order;
    }
    if (a.kind == VALUE_UNDEFINED || b.kind == VALUE_UNDEFINED) {
        const char *reason = a.kind == VALUE_UNDEFINED ? a.reason : b.reason;
        run_fail(run, "%s", reason ? reason : "the value is undefined");
    } else {
        run_fail(run, "'%s' and '%s' cannot be ordered", value_type_name(a), value_type_name(b));
    }
    return 2;
}

static bool list_contains(struct run *run, const struct value_list *list, struct value item) {
    for (size_t i = 0; list && !run->status && i < list->count; i++)
        if (value_equal(run, list->items[i], item)) return !run->status;
    return false;
}

/* Python reads an iterator as far as the item. */
static bool iterator_contains(struct run *run, struct value_iterator *iterator, struct value item) {
    while (!run->status && iterator->position < iterator->count)
        if (value_equal(run, iterator->items[iterator->position++], item)) return !run->status;
    return false;
}

bool value_contains(struct run *run, struct value container, struct value item) {
    if (run->status) return false;
    switch (container.kind) {
    case VALUE_TEXT:
        if (!value_is_text(item)) {
            run_fail(run, "'in <string>' requires string as left operand, not %s",
                     value_type_name(item));
            return false;
        }
        return run_work_text(run, container.text.length) &&
               python_find(container, item, 0) != SIZE_MAX;
    case VALUE_DICT:
    case VALUE_KEYS:
        return dict_find(run, container.dict, item) != NULL;
    case VALUE_ITERATOR:
        return iterator_contains(run, container.iterator, item);
    default:
        return list_contains(run, value_items(run, container), item);
    }
}
