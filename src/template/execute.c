/* Statements, but for loops. */
#include "template/execute.h"

#include <stddef.h>
#include <string.h>

#include "base/memory.h"

static void output(struct run *run, struct value value) {
    struct value text = value_str(run, value);
    if (run->status || !run_work_text(run, text.text.length)) return;
    if (text.text.length > TEMPLATE_OUTPUT_LIMIT - run->out.length)
        run_fail(run, "the output grows beyond %d MB", TEMPLATE_OUTPUT_LIMIT >> 20);
    else
        text_append_bytes(&run->out, text.text.bytes, text.text.length);
}

static void assign_namespace(struct run *run, struct scope *scope, const struct node *target,
                             struct value value) {
    struct value object = scope_get(run, scope, target->name);
    if (object.kind != VALUE_NAMESPACE)
        run_fail(run, "cannot assign attribute on non-namespace object");
    else if (target->constant.text.bytes[0] == '_')
        run_fail(run, "a namespace cannot have the attribute \"%.*s\"",
                 (int)target->constant.text.length, target->constant.text.bytes);
    else
        dict_set(run, object.dict, target->constant, value);
}

void execute_assign(struct run *run, struct scope *scope, const struct node *target,
                    struct value value) {
    if (run->status) return;
    if (target->kind == NODE_NAME) {
        scope_set(run, scope, target->name, value);
        return;
    }
    if (target->kind == NODE_NAMESPACE_TARGET) {
        assign_namespace(run, scope, target, value);
        return;
    }
    const struct value_list *items = value_items(run, value);
    size_t count = 0, wanted = 0;
    for (const struct node *part = target->list; part; part = part->next) wanted++;
    if (items && items->count != wanted)
        run_fail(run, "%zu values for %zu names", items->count, wanted);
    for (const struct node *part = target->list; part && !run->status; part = part->next)
        execute_assign(run, scope, part, items->items[count++]);
}

/* The text that a body writes, and a block's filters make of it. NODE_BODY, the innermost of the
 * filters, stands for the text: the filters are applied here, one by one from there. */
static struct value apply_filters(struct run *run, struct scope *scope, const struct node *filter,
                                  struct value text) {
    if (filter->kind == NODE_BODY) return text;
    struct node value = {.kind = NODE_CONSTANT, .line = filter->line};
    value.constant = apply_filters(run, scope, filter->first, text);
    struct node applied = *filter;
    applied.first = &value;
    return evaluate(run, scope, &applied);
}

struct value execute_captured(struct run *run, struct scope *scope, const struct node *body,
                              enum flow *flow) {
    size_t mark = run->out.length;
    run->captures++;
    *flow = execute(run, scope, body);
    run->captures--;
    return run_take_output(run, mark);
}

static enum flow execute_set_block(struct run *run, struct scope *scope, const struct node *node) {
    enum flow flow;
    struct scope *inner = scope_new(run, scope, node->hidden);
    struct value text = execute_captured(run, inner, node->body, &flow);
    if (flow != FLOW_ON) return flow;
    if (node->first) text = apply_filters(run, inner, node->first, text);
    execute_assign(run, scope, node->target, text);
    return FLOW_ON;
}

static enum flow execute_filter_block(struct run *run, struct scope *scope,
                                      const struct node *node) {
    enum flow flow;
    struct scope *inner = scope_new(run, scope, node->hidden);
    struct value text = execute_captured(run, inner, node->body, &flow);
    if (flow != FLOW_ON) return flow;
    text = apply_filters(run, inner, node->first, text);
    if (text.kind != VALUE_TEXT) /* jinja2 does not take str() of it either */
        run_fail(run, "the filters of a block give a %s, not a text", value_type_name(text));
    output(run, text);
    return FLOW_ON;
}

static enum flow execute_with(struct run *run, struct scope *scope, const struct node *node) {
    struct scope *inner = scope_new(run, scope, node->hidden);
    for (const struct node *target = node->list; target && !run->status; target = target->next) {
        struct value value = evaluate(run, scope, target->first);
        execute_assign(run, inner, target, value);
    }
    return execute(run, inner, node->body);
}

static struct value make_macro(struct run *run, struct scope *scope, const struct node *node) {
    struct macro *macro = arena_take(&run->arena, sizeof *macro);
    if (!macro) return run_fail(run, "%s", status_message());
    *macro = (struct macro){node, scope};
    scope_capture(scope);
    return (struct value){.kind = VALUE_MACRO, .macro = macro};
}

/* A call whose macro is handed the block as `caller`. */
static void execute_call_block(struct run *run, struct scope *scope, const struct node *node) {
    struct node caller = {.kind = NODE_CONSTANT, .line = node->line};
    caller.constant = make_macro(run, scope, node);
    struct node argument = {.kind = NODE_ARGUMENT, .line = node->line, .first = &caller};
    argument.constant = value_literal("caller");
    struct node call = *node->first;
    /* The arguments are copied, so that one can follow the last: the tree is shared by threads. */
    size_t count = 0;
    for (const struct node *given = call.list; given; given = given->next) count++;
    struct node *copies = arena_take(&run->arena, (count + 1) * sizeof *copies);
    if (!copies) {
        run_fail(run, "%s", status_message());
        return;
    }
    size_t place = 0;
    bool placed = false;
    call.list = copies;
    for (const struct node *given = node->first->list; given; given = given->next) {
        if (given->operator== OPERATOR_POWER && !placed) {
            copies[place++] = argument;
            placed = true;
        }
        copies[place++] = *given;
    }
    if (!placed) copies[place++] = argument;
    for (size_t i = 0; i < place; i++) copies[i].next = i + 1 < place ? &copies[i + 1] : NULL;
    output(run, evaluate(run, scope, &call));
}

static void execute_generation(struct run *run, struct scope *scope, const struct node *node) {
    struct scope *inner = scope_new(run, scope, node->hidden);
    size_t start = run->out.length;
    run->generations++;
    execute(run, inner, node->body);
    run->generations--;
    if (run->captures) run->spans_lost = true;
    if (run->status || run->captures || run->generations) return;
    struct template_span *spans = memory_resize(run->spans, run->span_count + 1, sizeof *spans);
    if (!spans) {
        run_fail(run, "%s", status_message());
        return;
    }
    run->spans = spans;
    spans[run->span_count++] = (struct template_span){start, run->out.length};
}

/* if, elif, else */
static enum flow execute_if(struct run *run, struct scope *scope, const struct node *node) {
    while (node && node->kind == NODE_IF && !run->status) {
        if (value_is_true(run, evaluate(run, scope, node->first)))
            return execute(run, scope, node->body);
        const struct node *other = node->other;
        if (!other || other->kind != NODE_IF || other->next) return execute(run, scope, other);
        node = other;
    }
    return FLOW_ON;
}

static enum flow execute_one(struct run *run, struct scope *scope, const struct node *node) {
    switch (node->kind) {
    case NODE_TEXT:
        output(run, node->constant);
        return FLOW_ON;
    case NODE_OUTPUT:
        output(run, evaluate(run, scope, node->first));
        return FLOW_ON;
    case NODE_IF:
        return execute_if(run, scope, node);
    case NODE_FOR:
        return execute_for(run, scope, node);
    case NODE_SET:
        execute_assign(run, scope, node->target, evaluate(run, scope, node->first));
        return FLOW_ON;
    case NODE_SET_BLOCK:
        return execute_set_block(run, scope, node);
    case NODE_MACRO:
        scope_set(run, scope, node->name, make_macro(run, scope, node));
        return FLOW_ON;
    case NODE_CALL_BLOCK:
        execute_call_block(run, scope, node);
        return FLOW_ON;
    case NODE_FILTER_BLOCK:
        return execute_filter_block(run, scope, node);
    case NODE_WITH:
        return execute_with(run, scope, node);
    case NODE_GENERATION:
        execute_generation(run, scope, node);
        return FLOW_ON;
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        run_fail(run, "this is no statement");
        return FLOW_ON;
    }
}

enum flow execute(struct run *run, struct scope *scope, const struct node *list) {
    enum flow flow = FLOW_ON;
    if (run->depth >= TEMPLATE_DEPTH_LIMIT)
        run_fail(run, "blocks and macros call each other more than %d deep", TEMPLATE_DEPTH_LIMIT);
    run->depth++;
    for (const struct node *node = list; node && flow == FLOW_ON && run_work(run, 1);
         node = node->next) {
        run->line = node->line;
        flow = execute_one(run, scope, node);
    }
    run->depth--;
    return run->status ? FLOW_ON : flow;
}

/* What the macro's body calls caller, kwargs and varargs. */
static void bind_special(struct run *run, struct scope *scope, const struct macro *macro,
                         const struct arguments *arguments, struct value_dict *left, size_t taken) {
    const struct node *node = macro->node;
    const struct template *parsed = run->parsed;
    if (node->uses_caller) {
        struct value caller = value_undefined(run, "No caller defined");
        struct value_dict *rest = dict_new(run);
        for (size_t i = 0; rest && !run->status && i < left->count; i++) {
            const struct value_entry *entry = &left->entries[i];
            if (value_equal(run, entry->key, value_literal("caller")))
                caller = entry->value;
            else
                dict_set(run, rest, entry->key, entry->value);
        }
        if (rest) *left = *rest;
        scope_set(run, scope, name_find(parsed, "caller", 6), caller);
    }
    if (node->uses_named)
        scope_set(run, scope, name_find(parsed, "kwargs", 6), value_of_dict(VALUE_DICT, left));
    else if (left->count)
        run_fail(run, "macro '%s' takes no keyword argument '%.*s'",
                 node->name ? node->name->text : "caller", (int)left->entries[0].key.text.length,
                 left->entries[0].key.text.bytes);
    struct value_list *rest = list_new(run);
    for (size_t i = taken; rest && i < arguments->count; i++)
        list_append(run, rest, arguments->values[i]);
    if (node->uses_arguments)
        scope_set(run, scope, name_find(parsed, "varargs", 7), value_of_list(VALUE_TUPLE, rest));
    else if (rest && rest->count)
        run_fail(run, "macro '%s' takes not more than %zu argument(s)",
                 node->name ? node->name->text : "caller", taken);
}

struct value execute_macro(struct run *run, const struct macro *macro,
                           const struct arguments *arguments) {
    enum flow flow;
    size_t taken = 0;
    struct scope *scope = scope_new(run, macro->scope, macro->node->hidden);
    struct value_dict *left = dict_new(run);
    if (!scope || !left) return value_of_kind(VALUE_UNDEFINED);
    for (size_t i = 0; arguments->named && i < arguments->named->count; i++)
        dict_set(run, left, arguments->named->entries[i].key, arguments->named->entries[i].value);
    for (const struct node *node = macro->node->list; node && !run->status; node = node->next) {
        struct value value = value_of_kind(VALUE_ABSENT);
        struct value *named = NULL;
        size_t place = 0;
        if (taken < arguments->count) {
            value = arguments->values[taken++];
        } else if ((named = dict_find_text(left, node->name->text, node->name->length))) {
            value = *named;
            place = (size_t)((struct value_entry *)(void *)((char *)named -
                                                            offsetof(struct value_entry, value)) -
                             left->entries);
            memmove(left->entries + place, left->entries + place + 1,
                    (left->count-- - place - 1) * sizeof *left->entries);
        }
        if (value.kind == VALUE_ABSENT)
            value = node->first
                        ? evaluate(run, scope, node->first)
                        : value_undefined(run, "parameter '%s' was not provided", node->name->text);
        scope_set(run, scope, node->name, value);
    }
    bind_special(run, scope, macro, arguments, left, taken);
    return execute_captured(run, scope, macro->node->body, &flow);
}
