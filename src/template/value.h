/* Values of templates: Python's, as far as templates meet them. They live in the rendering's arena;
 * text, lists and dicts never change once they are built. */
#ifndef TEMPLATE_VALUE_H
#define TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"

struct run;
struct node;

enum value_kind {
    VALUE_ABSENT, /* an argument that was not given; never seen by a template */
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INTEGER,
    VALUE_FLOAT,
    VALUE_TEXT,
    VALUE_LIST,
    VALUE_TUPLE,
    VALUE_DICT,
    VALUE_KEYS, /* views of a dict */
    VALUE_VALUES,
    VALUE_ITEMS,
    VALUE_RANGE,
    VALUE_ITERATOR, /* what filters such as map give: read once */
    VALUE_NAMESPACE,
    VALUE_MACRO,
    VALUE_FUNCTION,
    VALUE_METHOD, /* of a value, not yet called */
    VALUE_LOOP,
    VALUE_SLICE, /* only between [ and ] */
};

struct value {
    enum value_kind kind;
    bool safe; /* text: marked by |safe or |escape (Markup in jinja2); tuple: of |groupby */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct {
            const char *bytes; /* [length], UTF-8, not terminated */
            size_t length;
        } text;
        const char *reason; /* undefined: what using it is told; NULL: "the value is undefined" */
        struct value_list *list;
        struct value_dict *dict; /* dicts, views, namespaces */
        struct value_range *range;
        struct value_iterator *iterator;
        struct macro *macro;
        const struct builtin *function;
        struct value_method *method;
        struct loop *loop;
        struct value *slice; /* [3]: start, stop, step; none where left out */
    };
};

struct value_list {
    struct value *items; /* [count] */
    size_t count, capacity;
};

struct value_entry {
    struct value key, value;
};

/* In order of insertion. */
struct value_dict {
    struct value_entry *entries; /* [count] */
    size_t count, capacity;
};

struct value_range {
    int64_t start, stop, step, count;
};

struct value_iterator {
    struct value *items; /* [count] */
    size_t count, position;
    bool reversed; /* of a list or a range, not a generator */
};

struct value_method {
    struct value self;
    const struct builtin *function;
};

/* Of a call. */
struct arguments {
    const struct value *values; /* [count] */
    size_t count;
    const struct value_dict *named; /* or NULL */
};

/* A function, filter, test or method. `parameters` are the names of what it takes beside `self`,
 * separated by commas; one that may be left out (VALUE_ABSENT then) ends with '=', and a final '/'
 * says that none of them may be named. "*": the call's own arguments are passed, unbound. A row
 * without `call` is known and refused. */
struct builtin {
    const char *name, *parameters;
    struct value (*call)(struct run *run, struct value self, const struct value *arguments,
                         const struct arguments *raw);
};

enum { PARAMETERS_MAX = 5 };

/* Calls `function` with bound arguments; `what` names its kind in messages ("filter" …). */
struct value builtin_call(struct run *run, const struct builtin *function, const char *what,
                          struct value self, const struct arguments *arguments);
const struct builtin *builtin_find(const struct builtin *table, size_t count, const char *name,
                                   size_t length);

/* The tables: NULL when there is none of that name. */
const struct builtin *filter_find(const char *name, size_t length);
const struct builtin *test_find(const char *name, size_t length);
const struct builtin *function_find(const char *name, size_t length);
const struct builtin *method_find(enum value_kind kind, const char *name, size_t length);

/* Constructors. One that runs out of memory fails the run and gives undefined. */
static inline struct value value_of_kind(enum value_kind kind) {
    return (struct value){.kind = kind};
}
static inline struct value value_none(void) {
    return value_of_kind(VALUE_NONE);
}
static inline struct value value_bool(bool boolean) {
    return (struct value){.kind = VALUE_BOOL, .boolean = boolean};
}
static inline struct value value_integer(int64_t integer) {
    return (struct value){.kind = VALUE_INTEGER, .integer = integer};
}
static inline struct value value_float(double number) {
    return (struct value){.kind = VALUE_FLOAT, .number = number};
}
/* Borrows `bytes`, which must last as long as the run. */
static inline struct value value_text(const char *bytes, size_t length) {
    return (struct value){.kind = VALUE_TEXT, .text = {bytes, length}};
}
static inline struct value value_literal(const char *text) {
    return value_text(text, __builtin_strlen(text));
}
static inline struct value value_of_list(enum value_kind kind, struct value_list *list) {
    return list ? (struct value){.kind = kind, .list = list} : value_of_kind(VALUE_UNDEFINED);
}
static inline struct value value_of_dict(enum value_kind kind, struct value_dict *dict) {
    return dict ? (struct value){.kind = kind, .dict = dict} : value_of_kind(VALUE_UNDEFINED);
}

struct value value_undefined(struct run *run, const char *format, ...) STATUS_PRINTF(2, 3);
struct value value_text_copy(struct run *run, const char *bytes, size_t length);
struct value value_text_join(struct run *run, struct value first, struct value second);
struct value value_iterator(struct run *run, struct value_list *items, bool reversed);

/* Lists and dicts while they are built: NULL stands for one that could not be had. */
struct value_list *list_new(struct run *run);
void list_append(struct run *run, struct value_list *list, struct value item);
struct value_dict *dict_new(struct run *run);
void dict_set(struct run *run, struct value_dict *dict, struct value key, struct value value);
/* The value of a key, or NULL. A key that Python cannot hash fails the run. */
struct value *dict_find(struct run *run, const struct value_dict *dict, struct value key);
struct value *dict_find_text(const struct value_dict *dict, const char *name, size_t length);

/* As Python takes them. */
static inline bool value_is_text(struct value value) {
    return value.kind == VALUE_TEXT;
}
static inline bool value_is_number(struct value value) {
    return value.kind == VALUE_INTEGER || value.kind == VALUE_FLOAT || value.kind == VALUE_BOOL;
}
static inline bool value_is_integer(struct value value) { /* bool is one, too */
    return value.kind == VALUE_INTEGER || value.kind == VALUE_BOOL;
}
static inline int64_t value_as_integer(struct value value) {
    return value.kind == VALUE_BOOL ? value.boolean : value.integer;
}
static inline double value_as_number(struct value value) {
    return value.kind == VALUE_FLOAT ? value.number : (double)value_as_integer(value);
}
static inline bool value_is_given(struct value value) { /* neither left out nor None */
    return value.kind != VALUE_ABSENT && value.kind != VALUE_NONE;
}
const char *value_type_name(struct value value); /* "str", "list" … */
bool value_is_true(struct run *run, struct value value);
bool value_equal(struct run *run, struct value a, struct value b);
bool value_same(struct value a, struct value b);                  /* Python's `is` */
int value_order(struct run *run, struct value a, struct value b); /* -1, 0, 1, or 2: unordered */
bool value_contains(struct run *run, struct value container, struct value item);
bool value_length(struct value value, int64_t *length); /* false: it has none */

/* The items of anything that can be iterated over, as an array; an iterator's are taken from it.
 * NULL after failing the run. */
const struct value_list *value_items(struct run *run, struct value value);
bool value_is_iterable(struct value value);
bool value_has_items(struct value value); /* can be taken [by number] and has a length */
struct value value_element(struct run *run, struct value value, int64_t index); /* 0 <= index */

/* Text of values, as a text value: str(), repr(), and transformers' tojson. */
struct value value_str(struct run *run, struct value value);
struct value value_repr(struct run *run, struct value value);
struct json_style {
    bool ascii, sorted;
    struct value indent;                    /* none, or text */
    struct value item_separator, separator; /* text */
};
struct value value_to_json(struct run *run, struct value value, const struct json_style *style);
struct value value_from_json(struct run *run, const struct json *json);

#endif
