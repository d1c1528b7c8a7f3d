#include "template/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "template/python_text.h" /* circle: writes numbers as Python does */
#include "template/run.h"         /* circle: a run keeps memory and faults */

/* Memory of the run, which fails without it. */
static void *take(struct run *run, size_t count, size_t size) {
    if (run->status) return NULL;
    void *memory = arena_take(&run->arena, count * size);
    if (!memory) run_fail(run, "%s", status_message());
    return memory;
}

static char *take_text(struct run *run, size_t bytes) {
    if (!run_work_text(run, bytes)) return NULL;
    char *text = arena_take_text(&run->arena, bytes);
    if (!text) run_fail(run, "%s", status_message());
    return text;
}

struct value value_undefined(struct run *run, const char *format, ...) {
    char reason[200];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    size_t size = length < 0                        ? 0
                  : (size_t)length >= sizeof reason ? sizeof reason - 1
                                                    : (size_t)length;
    char *copy = take_text(run, size + 1);
    if (copy) {
        memcpy(copy, reason, size);
        copy[size] = '\0';
    }
    return (struct value){.kind = VALUE_UNDEFINED, .reason = copy};
}

struct value value_text_copy(struct run *run, const char *bytes, size_t length) {
    char *copy = take_text(run, length);
    if (!copy) return value_of_kind(VALUE_UNDEFINED);
    if (length) memcpy(copy, bytes, length);
    return value_text(copy, length);
}

struct value value_text_join(struct run *run, struct value first, struct value second) {
    size_t a = first.text.length, b = second.text.length;
    if (!a) return second;
    if (!b) return first;
    if (!run_work_text(run, b)) return value_of_kind(VALUE_UNDEFINED);
    char *end = (char *)(uintptr_t)(first.text.bytes + a);
    char *joined = (char *)(uintptr_t)first.text.bytes;
    if (!arena_extend_text(&run->arena, end, b)) {
        if (!run_work_text(run, a)) return value_of_kind(VALUE_UNDEFINED);
        joined = take_text(run, a + b);
        if (!joined) return value_of_kind(VALUE_UNDEFINED);
        memcpy(joined, first.text.bytes, a);
    }
    memcpy(joined + a, second.text.bytes, b);
    return value_text(joined, a + b);
}

struct value value_iterator(struct run *run, struct value_list *items, bool reversed) {
    struct value_iterator *iterator = take(run, 1, sizeof *iterator);
    if (!iterator || !items) return value_of_kind(VALUE_UNDEFINED);
    iterator->items = items->items;
    iterator->count = items->count;
    iterator->reversed = reversed;
    return (struct value){.kind = VALUE_ITERATOR, .iterator = iterator};
}

struct value_list *list_new(struct run *run) {
    return take(run, 1, sizeof(struct value_list));
}

void list_append(struct run *run, struct value_list *list, struct value item) {
    if (!list || !run_work(run, 1)) return;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 4;
        struct value *items = take(run, capacity, sizeof *items);
        if (!items) return;
        if (list->count) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
}

struct value_dict *dict_new(struct run *run) {
    return take(run, 1, sizeof(struct value_dict));
}

/* Can Python hash it? */
static bool is_hashable(struct value key) {
    if (key.kind == VALUE_LIST || key.kind == VALUE_DICT) return false;
    if (key.kind == VALUE_TUPLE)
        for (size_t i = 0; i < key.list->count; i++)
            if (!is_hashable(key.list->items[i])) return false;
    return key.kind != VALUE_SLICE;
}

struct value *dict_find(struct run *run, const struct value_dict *dict, struct value key) {
    if (!is_hashable(key)) {
        run_fail(run, "a %s cannot be a key", value_type_name(key));
        return NULL;
    }
    run_work(run, dict->count / 8);
    for (size_t i = 0; !run->status && i < dict->count; i++)
        if (value_equal(run, dict->entries[i].key, key)) return &dict->entries[i].value;
    return NULL;
}

struct value *dict_find_text(const struct value_dict *dict, const char *name, size_t length) {
    for (size_t i = 0; i < dict->count; i++) {
        const struct value *key = &dict->entries[i].key;
        if (key->kind == VALUE_TEXT && key->text.length == length &&
            memcmp(key->text.bytes, name, length) == 0)
            return &dict->entries[i].value;
    }
    return NULL;
}

void dict_set(struct run *run, struct value_dict *dict, struct value key, struct value value) {
    struct value *known = dict ? dict_find(run, dict, key) : NULL;
    if (!dict || run->status) return;
    if (known) {
        *known = value;
        return;
    }
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity ? 2 * dict->capacity : 8;
        struct value_entry *entries = take(run, capacity, sizeof *entries);
        if (!entries) return;
        if (dict->count) memcpy(entries, dict->entries, dict->count * sizeof *entries);
        dict->entries = entries;
        dict->capacity = capacity;
    }
    dict->entries[dict->count++] = (struct value_entry){key, value};
}

bool value_length(struct value value, int64_t *length) {
    switch (value.kind) {
    case VALUE_UNDEFINED:
        *length = 0;
        return true;
    case VALUE_TEXT:
        *length = (int64_t)python_count(value.text.bytes, value.text.length);
        return true;
    case VALUE_LIST:
    case VALUE_TUPLE:
        *length = (int64_t)value.list->count;
        return true;
    case VALUE_DICT:
    case VALUE_KEYS:
    case VALUE_VALUES:
    case VALUE_ITEMS:
        *length = (int64_t)value.dict->count;
        return true;
    case VALUE_RANGE:
        *length = value.range->count;
        return true;
    default:
        return false;
    }
}

bool value_is_iterable(struct value value) {
    int64_t length;
    return value_length(value, &length) || value.kind == VALUE_ITERATOR || value.kind == VALUE_LOOP;
}

bool value_has_items(struct value value) {
    return value.kind == VALUE_TEXT || value.kind == VALUE_LIST || value.kind == VALUE_TUPLE ||
           value.kind == VALUE_RANGE;
}

struct value value_element(struct run *run, struct value value, int64_t index) {
    if (value.kind == VALUE_RANGE)
        return value_integer(value.range->start + index * value.range->step);
    if (value.kind != VALUE_TEXT) return value.list->items[index];
    run_work_text(run, value.text.length);
    size_t at = python_offset(value.text.bytes, value.text.length, (size_t)index);
    struct value one = value_text(value.text.bytes + at, utf8_length(value.text.bytes[at]));
    one.safe = value.safe;
    return one;
}

static void append_characters(struct run *run, struct value_list *list, struct value text) {
    for (size_t at = 0, step; !run->status && at < text.text.length; at += step) {
        step = utf8_length(text.text.bytes[at]);
        list_append(run, list, value_text(text.text.bytes + at, step));
    }
}

static void append_pairs(struct run *run, struct value_list *list, struct value view) {
    for (size_t i = 0; !run->status && i < view.dict->count; i++) {
        const struct value_entry *entry = &view.dict->entries[i];
        if (view.kind != VALUE_ITEMS) {
            list_append(run, list, view.kind == VALUE_VALUES ? entry->value : entry->key);
            continue;
        }
        struct value_list *pair = list_new(run);
        list_append(run, pair, entry->key);
        list_append(run, pair, entry->value);
        list_append(run, list, value_of_list(VALUE_TUPLE, pair));
    }
}

const struct value_list *value_items(struct run *run, struct value value) {
    if (value.kind == VALUE_LIST || value.kind == VALUE_TUPLE)
        return run->status ? NULL : value.list;
    if (!value_is_iterable(value) || value.kind == VALUE_LOOP) {
        run_fail(run, "'%s' object is not iterable", value_type_name(value));
        return NULL;
    }
    struct value_list *list = list_new(run);
    if (!list) return NULL;
    if (value.kind == VALUE_TEXT) {
        append_characters(run, list, value);
    } else if (value.kind == VALUE_RANGE) {
        for (int64_t i = 0; !run->status && i < value.range->count; i++)
            list_append(run, list, value_element(run, value, i));
    } else if (value.kind == VALUE_ITERATOR) {
        if (value.iterator->items) /* NULL: empty, and no base of a sum */
            list->items = value.iterator->items + value.iterator->position;
        list->count = list->capacity = value.iterator->count - value.iterator->position;
        value.iterator->position = value.iterator->count;
    } else if (value.kind != VALUE_UNDEFINED) {
        append_pairs(run, list, value);
    }
    return run->status ? NULL : list;
}

const char *value_type_name(struct value value) {
    static const char *const names[] = {
        [VALUE_ABSENT] = "nothing",     [VALUE_UNDEFINED] = "Undefined",
        [VALUE_NONE] = "NoneType",      [VALUE_BOOL] = "bool",
        [VALUE_INTEGER] = "int",        [VALUE_FLOAT] = "float",
        [VALUE_TEXT] = "str",           [VALUE_LIST] = "list",
        [VALUE_TUPLE] = "tuple",        [VALUE_DICT] = "dict",
        [VALUE_KEYS] = "dict_keys",     [VALUE_VALUES] = "dict_values",
        [VALUE_ITEMS] = "dict_items",   [VALUE_RANGE] = "range",
        [VALUE_ITERATOR] = "generator", [VALUE_NAMESPACE] = "Namespace",
        [VALUE_MACRO] = "Macro",        [VALUE_FUNCTION] = "function",
        [VALUE_METHOD] = "method",      [VALUE_LOOP] = "LoopContext",
        [VALUE_SLICE] = "slice",
    };
    return names[value.kind];
}

bool value_is_true(struct run *run, struct value value) {
    int64_t length;
    switch (value.kind) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return value.boolean;
    case VALUE_INTEGER:
        return value.integer != 0;
    case VALUE_FLOAT:
        return value.number != 0;
    case VALUE_TEXT:
        return value.text.length > 0;
    case VALUE_LOOP:
        return loop_length(run, value.loop) > 0;
    default:
        return !value_length(value, &length) || length > 0;
    }
}
