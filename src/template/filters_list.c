/* Filters of lists and dicts. What jinja2 gives as a generator is an iterator here, filled at once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "template/filters.h"
#include "template/python_text.h"
#include "template/run.h"

#define FILTER(name)                                                                               \
    static struct value name(struct run *run, struct value self, const struct value *arguments,    \
                             const struct arguments *raw)

struct value filter_attribute(struct run *run, struct value item, struct value attribute,
                              struct value fallback) {
    if (!value_is_given(attribute)) return item;
    if (value_is_text(attribute)) {
        const char *at = attribute.text.bytes, *end = at + attribute.text.length;
        for (bool more = true; more && !run->status;) {
            const char *dot = at < end ? memchr(at, '.', (size_t)(end - at)) : NULL;
            struct value key = value_text(at, (size_t)((dot ? dot : end) - at));
            int64_t index;
            bool digits = key.text.length > 0;
            for (size_t i = 0; i < key.text.length; i++)
                digits = digits && at[i] >= '0' && at[i] <= '9';
            if (digits && python_parse_integer(run, &index, key, 10)) key = value_integer(index);
            item = evaluate_item(run, item, key);
            if (item.kind == VALUE_UNDEFINED && value_is_given(fallback)) item = fallback;
            more = dot != NULL;
            if (more) at = dot + 1;
        }
        return item;
    }
    item = evaluate_item(run, item, attribute);
    return item.kind == VALUE_UNDEFINED && value_is_given(fallback) ? fallback : item;
}

struct value filter_ignore_case(struct run *run, struct value value) {
    return value.kind == VALUE_TEXT ? python_change_case(run, value, PYTHON_LOWER) : value;
}

FILTER(filter_list) {
    const struct value_list *items = value_items(run, self);
    struct value_list *list = list_new(run);
    for (size_t i = 0; items && !run->status && i < items->count; i++)
        list_append(run, list, items->items[i]);
    return value_of_list(VALUE_LIST, list);
}

FILTER(filter_first) {
    if (self.kind == VALUE_ITERATOR) {
        struct value_iterator *iterator = self.iterator;
        if (iterator->position < iterator->count) return iterator->items[iterator->position++];
        return value_undefined(run, "No first item, sequence was empty.");
    }
    const struct value_list *items = value_items(run, self);
    if (items && items->count) return items->items[0];
    return value_undefined(run, "No first item, sequence was empty.");
}

FILTER(filter_last) {
    /* reversed() of an undefined value looks for its items. */
    if (self.kind == VALUE_ITERATOR || self.kind == VALUE_UNDEFINED)
        return run_fail(run, "'%s' object is not reversible", value_type_name(self));
    const struct value_list *items = value_items(run, self);
    if (items && items->count) return items->items[items->count - 1];
    return value_undefined(run, "No last item, sequence was empty.");
}

FILTER(filter_reverse) {
    const struct value_list *items = value_items(run, self);
    struct value_list *list = list_new(run);
    for (size_t i = items ? items->count : 0; !run->status && i-- > 0;)
        list_append(run, list, items->items[i]);
    if (self.kind != VALUE_TEXT) return value_iterator(run, list, self.kind != VALUE_ITERATOR);
    struct value text = value_text("", 0);
    for (size_t i = 0; list && !run->status && i < list->count; i++)
        text = value_text_join(run, text, list->items[i]);
    return text;
}

FILTER(filter_items) {
    if (self.kind == VALUE_UNDEFINED) return value_iterator(run, list_new(run), false);
    if (self.kind != VALUE_DICT) return run_fail(run, "Can only get item pairs from a mapping.");
    self.kind = VALUE_ITEMS;
    return value_iterator(run, (struct value_list *)(uintptr_t)value_items(run, self), false);
}

FILTER(filter_join) {
    struct value separator =
        arguments[0].kind == VALUE_ABSENT ? value_text("", 0) : value_str(run, arguments[0]);
    struct value joined = value_text("", 0);
    const struct value_list *items = value_items(run, self);
    for (size_t i = 0; items && !run->status && i < items->count; i++) {
        struct value item =
            filter_attribute(run, items->items[i], arguments[1], value_of_kind(VALUE_ABSENT));
        item = value_str(run, item);
        if (i && !run->status) joined = value_text_join(run, joined, separator);
        if (!run->status) joined = value_text_join(run, joined, item);
    }
    return joined;
}

FILTER(filter_map) {
    struct value_list *list = list_new(run);
    const struct builtin *filter = NULL;
    struct value attribute = value_of_kind(VALUE_ABSENT), fallback = attribute;
    struct arguments rest = *raw;
    if (!value_is_true(run, self)) return value_iterator(run, list, false);
    const struct value *named = raw->named ? dict_find_text(raw->named, "attribute", 9) : NULL;
    if (!raw->count && named) {
        attribute = *named;
        named = dict_find_text(raw->named, "default", 7);
        if (named) fallback = *named;
        if (raw->named->count > (named ? 2u : 1u))
            return run_fail(run, "map has an argument that it does not take");
    } else {
        if (!raw->count || !value_is_text(raw->values[0]))
            return run_fail(run, "map requires a filter argument");
        filter = filter_find(raw->values[0].text.bytes, raw->values[0].text.length);
        if (!filter)
            return run_fail(run, "no filter named '%.*s'", (int)raw->values[0].text.length,
                            raw->values[0].text.bytes);
        rest.values++;
        rest.count--;
    }
    const struct value_list *items = value_items(run, self);
    for (size_t i = 0; items && !run->status && i < items->count; i++)
        list_append(run, list,
                    filter ? builtin_call(run, filter, "filter", items->items[i], &rest)
                           : filter_attribute(run, items->items[i], attribute, fallback));
    return value_iterator(run, list, false);
}

/* select, reject (`by_attribute`: selectattr, rejectattr). */
static struct value choose(struct run *run, struct value self, const struct arguments *raw,
                           bool by_attribute, bool wanted) {
    struct value_list *list = list_new(run);
    struct arguments rest = *raw;
    struct value attribute = value_of_kind(VALUE_ABSENT);
    const struct builtin *test = NULL;
    if (!value_is_true(run, self)) return value_iterator(run, list, false);
    if (by_attribute) {
        if (!rest.count) return run_fail(run, "Missing parameter for attribute name");
        attribute = *rest.values++;
        rest.count--;
    }
    if (rest.count) {
        if (!value_is_text(rest.values[0])) return run_fail(run, "a test's name must be a text");
        test = test_find(rest.values[0].text.bytes, rest.values[0].text.length);
        if (!test)
            return run_fail(run, "no test named '%.*s'", (int)rest.values[0].text.length,
                            rest.values[0].text.bytes);
        rest.values++;
        rest.count--;
    }
    const struct value_list *items = value_items(run, self);
    for (size_t i = 0; items && !run->status && i < items->count; i++) {
        struct value item =
            filter_attribute(run, items->items[i], attribute, value_of_kind(VALUE_ABSENT));
        if (test && !run->status) item = builtin_call(run, test, "test", item, &rest);
        if (!run->status && value_is_true(run, item) == wanted)
            list_append(run, list, items->items[i]);
    }
    return value_iterator(run, list, false);
}

FILTER(filter_select) {
    return choose(run, self, raw, false, true);
}

FILTER(filter_reject) {
    return choose(run, self, raw, false, false);
}

FILTER(filter_selectattr) {
    return choose(run, self, raw, true, true);
}

FILTER(filter_rejectattr) {
    return choose(run, self, raw, true, false);
}

struct keyed {
    struct value key, item;
};

enum sorting { SORT_FORWARD = 0, SORT_REVERSE = 1, SORT_LISTS = 2 };

/* Is `a` less? With SORT_LISTS the keys count as lists of one, which are equal without an order. */
static bool is_less(struct run *run, struct value a, struct value b, int how) {
    if ((how & SORT_LISTS) && value_equal(run, a, b)) return false;
    return value_order(run, a, b) == -1;
}

/* A stable merge sort of entries[count], with room for as many. `how`: of enum sorting. */
static void sort(struct run *run, struct keyed *entries, struct keyed *room, size_t count,
                 int how) {
    if (count < 2 || run->status) return;
    size_t half = count / 2, left = 0, right = half;
    sort(run, entries, room, half, how);
    sort(run, entries + half, room, count - half, how);
    for (size_t i = 0; i < count && !run->status; i++) {
        bool take_right = left == half;
        if (!take_right && right < count) {
            /* Python's sort asks only whether one is less. */
            take_right = how & SORT_REVERSE
                             ? is_less(run, entries[left].key, entries[right].key, how)
                             : is_less(run, entries[right].key, entries[left].key, how);
        }
        room[i] = take_right ? entries[right++] : entries[left++];
    }
    if (!run->status) memcpy(entries, room, count * sizeof *entries);
}

static bool has_nan(struct value value) {
    return value.kind == VALUE_FLOAT && value.number != value.number;
}

/* The items of keyed[count] as a list, by their keys. */
static struct value sorted(struct run *run, struct keyed *keyed, size_t count, int how) {
    struct keyed *room = arena_take(&run->arena, count * sizeof *room);
    struct value_list *list = list_new(run);
    if (!room) return run_fail(run, "%s", status_message());
    for (size_t i = 0; i < count; i++)
        if (has_nan(keyed[i].key)) return run_fail(run, "sorting nan is not understood");
    sort(run, keyed, room, count, how);
    for (size_t i = 0; !run->status && i < count; i++) list_append(run, list, keyed[i].item);
    return value_of_list(VALUE_LIST, list);
}

/* The items with their keys, which the arena owns. */
static struct keyed *with_keys(struct run *run, const struct value_list *items,
                               struct value attribute, struct value fallback, bool case_matters) {
    struct keyed *keyed =
        items ? arena_take(&run->arena, (items->count + 1) * sizeof *keyed) : NULL;
    if (!keyed) run_fail(run, "%s", status_message());
    for (size_t i = 0; keyed && !run->status && i < items->count; i++) {
        keyed[i].item = items->items[i];
        keyed[i].key = filter_attribute(run, items->items[i], attribute, fallback);
        if (!case_matters) keyed[i].key = filter_ignore_case(run, keyed[i].key);
    }
    return run->status ? NULL : keyed;
}

FILTER(filter_sort) {
    if (value_is_text(arguments[2]) && arguments[2].text.length &&
        memchr(arguments[2].text.bytes, ',', arguments[2].text.length))
        return run_fail(run, "sorting by several attributes is not understood");
    const struct value_list *items = value_items(run, self);
    struct keyed *keyed = with_keys(run, items, arguments[2], value_of_kind(VALUE_ABSENT),
                                    value_is_true(run, arguments[1]));
    return keyed ? sorted(run, keyed, items->count, SORT_LISTS | value_is_true(run, arguments[0]))
                 : self;
}

FILTER(filter_dictsort) {
    struct value by = arguments[1].kind == VALUE_ABSENT ? value_literal("key") : arguments[1];
    bool value_first = value_equal(run, by, value_literal("value"));
    if (!value_first && !value_equal(run, by, value_literal("key")))
        return run_fail(run, "You can only sort by either \"key\" or \"value\"");
    if (self.kind != VALUE_DICT) return run_fail(run, "dictsort of a %s", value_type_name(self));
    self.kind = VALUE_ITEMS;
    const struct value_list *items = value_items(run, self);
    struct keyed *keyed = with_keys(run, items, value_integer(value_first),
                                    value_of_kind(VALUE_ABSENT), value_is_true(run, arguments[0]));
    return keyed ? sorted(run, keyed, items->count, value_is_true(run, arguments[2])) : self;
}

FILTER(filter_unique) {
    struct value_list *list = list_new(run);
    struct value_dict *seen = dict_new(run);
    const struct value_list *items = value_items(run, self);
    for (size_t i = 0; items && seen && !run->status && i < items->count; i++) {
        struct value key =
            filter_attribute(run, items->items[i], arguments[1], value_of_kind(VALUE_ABSENT));
        if (!value_is_true(run, arguments[0])) key = filter_ignore_case(run, key);
        if (run->status || dict_find(run, seen, key)) continue;
        dict_set(run, seen, key, value_none());
        list_append(run, list, items->items[i]);
    }
    return value_iterator(run, list, false);
}

static struct value extreme(struct run *run, struct value self, const struct value *arguments,
                            int wanted) {
    const struct value_list *items = value_items(run, self);
    if (items && !items->count)
        return value_undefined(run, "No aggregated item, sequence was empty.");
    struct keyed *keyed = with_keys(run, items, arguments[1], value_of_kind(VALUE_ABSENT),
                                    value_is_true(run, arguments[0]));
    size_t best = 0;
    for (size_t i = 1; keyed && !run->status && i < items->count; i++)
        if (value_order(run, keyed[i].key, keyed[best].key) == wanted) best = i;
    return keyed ? keyed[best].item : self;
}

FILTER(filter_min) {
    return extreme(run, self, arguments, -1);
}

FILTER(filter_max) {
    return extreme(run, self, arguments, 1);
}

FILTER(filter_sum) {
    const struct value_list *items = value_items(run, self);
    struct value total = arguments[1].kind == VALUE_ABSENT ? value_integer(0) : arguments[1];
    if (value_is_text(total)) return run_fail(run, "sum() can't sum strings");
    for (size_t i = 0; items && !run->status && i < items->count; i++)
        total = evaluate_operator(
            run, OPERATOR_ADD, total,
            filter_attribute(run, items->items[i], arguments[0], value_of_kind(VALUE_ABSENT)));
    return total;
}

FILTER(filter_batch) {
    int64_t size;
    struct value_list *list = list_new(run), *batch = NULL;
    const struct value_list *items = value_items(run, self);
    if (!filter_integer(run, &size, arguments[0], 0)) return self;
    for (size_t i = 0; items && !run->status && i < items->count; i++) {
        if (!batch || (int64_t)batch->count == size) {
            batch = list_new(run);
            list_append(run, list, value_of_list(VALUE_LIST, batch));
        }
        list_append(run, batch, items->items[i]);
    }
    while (batch && !run->status && value_is_given(arguments[1]) && (int64_t)batch->count < size)
        list_append(run, batch, arguments[1]);
    return value_iterator(run, list, false);
}

FILTER(filter_slice) {
    int64_t slices;
    struct value_list *list = list_new(run);
    const struct value_list *items = value_items(run, self);
    if (!items || !filter_integer(run, &slices, arguments[0], 0)) return self;
    if (slices == 0) return run_fail(run, "integer division or modulo by zero");
    size_t at = 0;
    for (int64_t i = 0; !run->status && i < slices; i++) {
        struct value_list *part = list_new(run);
        int64_t size = (int64_t)items->count / slices, extra = (int64_t)items->count % slices;
        for (int64_t j = 0; !run->status && j < size + (i < extra); j++)
            list_append(run, part, items->items[at++]);
        if (value_is_given(arguments[1]) && i >= extra) list_append(run, part, arguments[1]);
        list_append(run, list, value_of_list(VALUE_LIST, part));
    }
    return value_iterator(run, list, false);
}

FILTER(filter_groupby) {
    bool case_matters = value_is_true(run, arguments[2]);
    struct value_list *groups = list_new(run), *group = NULL;
    const struct value_list *items = value_items(run, self);
    struct keyed *keyed = with_keys(run, items, arguments[0], arguments[1], case_matters);
    struct value ordered = keyed ? sorted(run, keyed, items->count, SORT_FORWARD) : self;
    struct value last = value_of_kind(VALUE_ABSENT);
    for (size_t i = 0; keyed && !run->status && i < items->count; i++) {
        struct value item = ordered.list->items[i];
        struct value key = filter_attribute(run, item, arguments[0], arguments[1]);
        struct value folded = case_matters ? key : filter_ignore_case(run, key);
        if (!group || !value_equal(run, folded, last)) {
            struct value_list *pair = list_new(run);
            group = list_new(run);
            list_append(run, pair, key);
            list_append(run, pair, value_of_list(VALUE_LIST, group));
            struct value named = value_of_list(VALUE_TUPLE, pair);
            named.safe = true; /* has the attributes grouper and list */
            list_append(run, groups, named);
            last = folded;
        }
        list_append(run, group, item);
    }
    return value_of_list(VALUE_LIST, groups);
}

static const struct builtin filters[] = {
    {"list", "", filter_list},
    {"first", "", filter_first},
    {"last", "", filter_last},
    {"reverse", "", filter_reverse},
    {"items", "", filter_items},
    {"join", "d=,attribute=", filter_join},
    {"map", "*", filter_map},
    {"select", "*", filter_select},
    {"reject", "*", filter_reject},
    {"selectattr", "*", filter_selectattr},
    {"rejectattr", "*", filter_rejectattr},
    {"sort", "reverse=,case_sensitive=,attribute=", filter_sort},
    {"dictsort", "case_sensitive=,by=,reverse=", filter_dictsort},
    {"unique", "case_sensitive=,attribute=", filter_unique},
    {"min", "case_sensitive=,attribute=", filter_min},
    {"max", "case_sensitive=,attribute=", filter_max},
    {"sum", "attribute=,start=", filter_sum},
    {"batch", "linecount,fill_with=", filter_batch},
    {"slice", "slices,fill_with=", filter_slice},
    {"groupby", "attribute,default=,case_sensitive=", filter_groupby},
};

const struct builtin *filter_find_list(const char *name, size_t length) {
    return builtin_find(filters, sizeof filters / sizeof *filters, name, length);
}
