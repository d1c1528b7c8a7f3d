/* Methods of dicts, lists, loops and the rest; those of texts are in methods_text.c. A row without
 * parameters is a method that would change its object: the sandbox does not let templates see it.
 */
#include "template/methods.h"

#include "template/run.h"

#define METHOD(name)                                                                               \
    static struct value name(struct run *run, struct value self, const struct value *arguments,    \
                             const struct arguments *raw)

METHOD(dict_get) {
    const struct value *found = dict_find(run, self.dict, arguments[0]);
    if (found) return *found;
    return arguments[1].kind == VALUE_ABSENT ? value_none() : arguments[1];
}

METHOD(dict_keys) {
    self.kind = VALUE_KEYS;
    return self;
}

METHOD(dict_values) {
    self.kind = VALUE_VALUES;
    return self;
}

METHOD(dict_items) {
    self.kind = VALUE_ITEMS;
    return self;
}

METHOD(dict_copy) {
    struct value_dict *copy = dict_new(run);
    for (size_t i = 0; copy && !run->status && i < self.dict->count; i++)
        dict_set(run, copy, self.dict->entries[i].key, self.dict->entries[i].value);
    return value_of_dict(VALUE_DICT, copy);
}

METHOD(list_count) {
    int64_t count = 0;
    for (size_t i = 0; !run->status && i < self.list->count; i++)
        count += value_equal(run, self.list->items[i], arguments[0]);
    return value_integer(count);
}

METHOD(list_index) {
    for (size_t i = 0; !run->status && i < self.list->count; i++)
        if (value_equal(run, self.list->items[i], arguments[0])) return value_integer((int64_t)i);
    return run_fail(run, "the item is not in the list");
}

METHOD(list_copy) {
    struct value_list *copy = list_new(run);
    for (size_t i = 0; !run->status && i < self.list->count; i++)
        list_append(run, copy, self.list->items[i]);
    return value_of_list(self.kind, copy);
}

METHOD(loop_cycle) {
    if (!raw->count) return run_fail(run, "no items for cycling given");
    return raw->values[(uint64_t)self.loop->index0 % raw->count];
}

METHOD(loop_changed) {
    struct value_list *list = list_new(run);
    for (size_t i = 0; i < raw->count; i++) list_append(run, list, raw->values[i]);
    struct value now = value_of_list(VALUE_TUPLE, list);
    bool same =
        self.loop->changed.kind != VALUE_ABSENT && value_equal(run, self.loop->changed, now);
    self.loop->changed = now;
    return value_bool(!same);
}

static const struct builtin dict_methods[] = {
    {"get", "key,default=/", dict_get},
    {"keys", "", dict_keys},
    {"values", "", dict_values},
    {"items", "", dict_items},
    {"copy", "", dict_copy},
    {"fromkeys", "*", NULL},
    {"clear", NULL, NULL},
    {"pop", NULL, NULL},
    {"popitem", NULL, NULL},
    {"setdefault", NULL, NULL},
    {"update", NULL, NULL},
};

static const struct builtin list_methods[] = {
    {"count", "value/", list_count},
    {"index", "value/", list_index},
    {"copy", "", list_copy},
    {"append", NULL, NULL},
    {"clear", NULL, NULL},
    {"extend", NULL, NULL},
    {"insert", NULL, NULL},
    {"pop", NULL, NULL},
    {"remove", NULL, NULL},
    {"reverse", NULL, NULL},
    {"sort", NULL, NULL},
};

static const struct builtin tuple_methods[] = {
    {"count", "value/", list_count},
    {"index", "value/", list_index},
};

static const struct builtin loop_methods[] = {
    {"cycle", "*", loop_cycle},
    {"changed", "*", loop_changed},
};

/* What other values of Python's have, all of it refused. */
static const struct builtin number_methods[] = {
    {"real", "*", NULL},        {"imag", "*", NULL},       {"numerator", "*", NULL},
    {"denominator", "*", NULL}, {"conjugate", "*", NULL},  {"as_integer_ratio", "*", NULL},
    {"bit_length", "*", NULL},  {"bit_count", "*", NULL},  {"to_bytes", "*", NULL},
    {"from_bytes", "*", NULL},  {"is_integer", "*", NULL}, {"hex", "*", NULL},
    {"fromhex", "*", NULL},
};

static const struct builtin other_methods[] = {
    {"start", "*", NULL},        {"stop", "*", NULL},         {"step", "*", NULL},
    {"count", "*", NULL},        {"index", "*", NULL},        {"isdisjoint", "*", NULL},
    {"mapping", "*", NULL},      {"name", "*", NULL},         {"arguments", "*", NULL},
    {"caller", "*", NULL},       {"catch_kwargs", "*", NULL}, {"catch_varargs", "*", NULL},
    {"close", "*", NULL},        {"send", "*", NULL},         {"throw", "*", NULL},
    {"gi_code", "*", NULL},      {"gi_frame", "*", NULL},     {"gi_running", "*", NULL},
    {"gi_suspended", "*", NULL}, {"gi_yieldfrom", "*", NULL}, {"explicit_caller", "*", NULL},
};

const struct builtin *method_find(enum value_kind kind, const char *name, size_t length) {
    switch (kind) {
    case VALUE_TEXT:
        return method_find_text(name, length);
    case VALUE_DICT:
        return builtin_find(dict_methods, sizeof dict_methods / sizeof *dict_methods, name, length);
    case VALUE_LIST:
        return builtin_find(list_methods, sizeof list_methods / sizeof *list_methods, name, length);
    case VALUE_TUPLE:
        return builtin_find(tuple_methods, sizeof tuple_methods / sizeof *tuple_methods, name,
                            length);
    case VALUE_LOOP:
        return builtin_find(loop_methods, sizeof loop_methods / sizeof *loop_methods, name, length);
    case VALUE_BOOL:
    case VALUE_INTEGER:
    case VALUE_FLOAT:
        return builtin_find(number_methods, sizeof number_methods / sizeof *number_methods, name,
                            length);
    case VALUE_KEYS:
    case VALUE_VALUES:
    case VALUE_ITEMS:
    case VALUE_RANGE:
    case VALUE_ITERATOR:
    case VALUE_MACRO:
        return builtin_find(other_methods, sizeof other_methods / sizeof *other_methods, name,
                            length);
    default:
        return NULL;
    }
}
