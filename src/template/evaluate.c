/* Expressions. */
#include <string.h>

#include "template/run.h"

/* The arguments of a call: *list and **dict are spread. */
static bool collect(struct run *run, struct scope *scope, const struct node *list,
                    struct value_list *values, struct value_dict *named) {
    for (const struct node *node = list; node && !run->status; node = node->next) {
        struct value value = evaluate(run, scope, node->first);
        if (node->operator== OPERATOR_MULTIPLY) {
            const struct value_list *items = value_items(run, value);
            for (size_t i = 0; items && !run->status && i < items->count; i++)
                list_append(run, values, items->items[i]);
        } else if (node->operator== OPERATOR_POWER) {
            if (value.kind != VALUE_DICT)
                run_fail(run, "argument after ** must be a mapping, not %s",
                         value_type_name(value));
            for (size_t i = 0; !run->status && i < value.dict->count; i++) {
                const struct value_entry *entry = &value.dict->entries[i];
                if (entry->key.kind != VALUE_TEXT || dict_find(run, named, entry->key))
                    run_fail(run, "the names after ** must be texts, and not given twice");
                else
                    dict_set(run, named, entry->key, entry->value);
            }
        } else if (node->constant.kind == VALUE_TEXT) {
            if (dict_find(run, named, node->constant)) run_fail(run, "an argument is given twice");
            dict_set(run, named, node->constant, value);
        } else {
            list_append(run, values, value);
        }
    }
    return !run->status;
}

/* Evaluates the arguments in `list`; false after a failure. */
static bool evaluate_arguments(struct run *run, struct arguments *out, struct scope *scope,
                               const struct node *list) {
    *out = (struct arguments){0};
    if (!list) return !run->status;
    struct value_list *values = list_new(run);
    struct value_dict *named = dict_new(run);
    if (!values || !named || !collect(run, scope, list, values, named)) return false;
    *out = (struct arguments){values->items, values->count, named};
    return true;
}

struct value evaluate_call(struct run *run, struct value callee,
                           const struct arguments *arguments) {
    switch (callee.kind) {
    case VALUE_MACRO:
        return execute_macro(run, callee.macro, arguments);
    case VALUE_FUNCTION:
        return builtin_call(run, callee.function, "function", value_none(), arguments);
    case VALUE_METHOD:
        return builtin_call(run, callee.method->function, "method", callee.method->self, arguments);
    case VALUE_LOOP:
        if (arguments->count != 1 || (arguments->named && arguments->named->count))
            return run_fail(run, "loop() takes one argument");
        return execute_loop_again(run, callee.loop, arguments->values[0]);
    case VALUE_UNDEFINED:
        return run_fail(run, "%s", callee.reason ? callee.reason : "the value is undefined");
    default:
        return run_fail(run, "'%s' object is not callable", value_type_name(callee));
    }
}

static struct value evaluate_builtin(struct run *run, struct scope *scope, const struct node *node,
                                     const char *what) {
    struct arguments arguments;
    struct value self = evaluate(run, scope, node->first);
    if (!evaluate_arguments(run, &arguments, scope, node->list))
        return value_of_kind(VALUE_UNDEFINED);
    if (!node->builtin)
        return run_fail(run, "no %s named '%.*s'", what, (int)node->constant.text.length,
                        node->constant.text.bytes);
    return builtin_call(run, node->builtin, what, self, &arguments);
}

static bool compare(struct run *run, enum operator_kind kind, struct value a, struct value b) {
    int order;
    switch (kind) {
    case OPERATOR_EQUAL:
        return value_equal(run, a, b);
    case OPERATOR_NOT_EQUAL:
        return !value_equal(run, a, b);
    case OPERATOR_IN:
        return value_contains(run, b, a);
    case OPERATOR_NOT_IN:
        return !value_contains(run, b, a);
    default:
        order = value_order(run, a, b);
    }
    if (order == 2) return false;
    return kind == OPERATOR_LESS         ? order < 0
           : kind == OPERATOR_LESS_EQUAL ? order <= 0
           : kind == OPERATOR_GREATER    ? order > 0
                                         : order >= 0;
}

/* a < b < c */
static struct value evaluate_compare(struct run *run, struct scope *scope,
                                     const struct node *node) {
    struct value left = evaluate(run, scope, node->first);
    for (const struct node *operand = node->list; operand; operand = operand->next) {
        struct value right = evaluate(run, scope, operand->first);
        if (run->status) break;
        if (!compare(run, operand->operator, left, right)) return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

static struct value evaluate_concat(struct run *run, struct scope *scope, const struct node *node) {
    struct value joined = value_text("", 0);
    for (const struct node *part = node->list; part && !run->status; part = part->next) {
        struct value text = value_str(run, evaluate(run, scope, part));
        if (!run->status) joined = value_text_join(run, joined, text);
    }
    return joined;
}

static struct value evaluate_collection(struct run *run, struct scope *scope,
                                        const struct node *node) {
    if (node->kind == NODE_DICT) {
        struct value_dict *dict = dict_new(run);
        for (const struct node *key = node->list; key && !run->status; key = key->next->next) {
            struct value name = evaluate(run, scope, key);
            dict_set(run, dict, name, evaluate(run, scope, key->next));
        }
        return value_of_dict(VALUE_DICT, dict);
    }
    struct value_list *list = list_new(run);
    for (const struct node *item = node->list; item && !run->status; item = item->next)
        list_append(run, list, evaluate(run, scope, item));
    return value_of_list(node->kind == NODE_TUPLE ? VALUE_TUPLE : VALUE_LIST, list);
}

static struct value evaluate_slice_bounds(struct run *run, struct scope *scope,
                                          const struct node *node) {
    const struct node *parts[3] = {node->first, node->second, node->other};
    struct value *slice = arena_take(&run->arena, 3 * sizeof *slice);
    if (!slice) return run_fail(run, "%s", status_message());
    for (int i = 0; i < 3; i++) slice[i] = parts[i] ? evaluate(run, scope, parts[i]) : value_none();
    return (struct value){.kind = VALUE_SLICE, .slice = slice};
}

static struct value evaluate_sign(struct run *run, struct value value, bool minus) {
    if (value.kind == VALUE_UNDEFINED)
        return run_fail(run, "%s", value.reason ? value.reason : "the value is undefined");
    if (!value_is_number(value))
        return run_fail(run, "bad operand type for unary %c: '%s'", minus ? '-' : '+',
                        value_type_name(value));
    if (value.kind == VALUE_FLOAT) return value_float(minus ? -value.number : value.number);
    int64_t integer = value_as_integer(value);
    if (minus && integer == INT64_MIN) return run_fail(run, "an integer needs more than 64 bits");
    return value_integer(minus ? -integer : integer);
}

static struct value evaluate_condition(struct run *run, struct scope *scope,
                                       const struct node *node) {
    bool yes = value_is_true(run, evaluate(run, scope, node->second));
    if (yes) return evaluate(run, scope, node->first);
    if (node->other) return evaluate(run, scope, node->other);
    return value_undefined(run, "the inline if-expression evaluated to false and no else section "
                                "was defined.");
}

static struct value evaluate_node(struct run *run, struct scope *scope, const struct node *node) {
    struct arguments arguments;
    struct value value;
    switch (node->kind) {
    case NODE_CONSTANT:
    case NODE_BODY: /* what a block's filters are applied to, set by execute_block */
        return node->constant;
    case NODE_NAME:
        return scope_get(run, scope, node->name);
    case NODE_TUPLE:
    case NODE_LIST:
    case NODE_DICT:
        return evaluate_collection(run, scope, node);
    case NODE_ATTRIBUTE:
        return evaluate_attribute(run, evaluate(run, scope, node->first), node->constant);
    case NODE_ITEM:
        value = evaluate(run, scope, node->first);
        return evaluate_item(run, value, evaluate(run, scope, node->second));
    case NODE_SLICE:
        return evaluate_slice_bounds(run, scope, node);
    case NODE_CALL:
        value = evaluate(run, scope, node->first);
        if (!evaluate_arguments(run, &arguments, scope, node->list)) return value;
        return evaluate_call(run, value, &arguments);
    case NODE_FILTER:
        return evaluate_builtin(run, scope, node, "filter");
    case NODE_TEST:
        return evaluate_builtin(run, scope, node, "test");
    case NODE_NOT:
        return value_bool(!value_is_true(run, evaluate(run, scope, node->first)));
    case NODE_NEGATE:
    case NODE_PLUS:
        return evaluate_sign(run, evaluate(run, scope, node->first), node->kind == NODE_NEGATE);
    case NODE_AND:
    case NODE_OR:
        value = evaluate(run, scope, node->first);
        return value_is_true(run, value) == (node->kind == NODE_OR)
                   ? value
                   : evaluate(run, scope, node->second);
    case NODE_BINARY:
        value = evaluate(run, scope, node->first);
        return evaluate_operator(run, node->operator, value, evaluate(run, scope, node->second));
    case NODE_CONCAT:
        return evaluate_concat(run, scope, node);
    case NODE_COMPARE:
        return evaluate_compare(run, scope, node);
    case NODE_CONDITION:
        return evaluate_condition(run, scope, node);
    default:
        return run_fail(run, "this is no expression");
    }
}

struct value evaluate(struct run *run, struct scope *scope, const struct node *node) {
    if (!run_work(run, 1)) return value_of_kind(VALUE_UNDEFINED);
    if (run->depth >= TEMPLATE_DEPTH_LIMIT)
        return run_fail(run, "expressions and macros call each other more than %d deep",
                        TEMPLATE_DEPTH_LIMIT);
    run->depth++;
    run->line = node->line;
    struct value value = evaluate_node(run, scope, node);
    run->depth--;
    return run->status ? value_of_kind(VALUE_UNDEFINED) : value;
}
