#include "template/run.h"

void scope_reset(struct run *run, struct scope *scope, const struct hidden *hidden) {
    scope->count = 0;
    for (; hidden && !run->status; hidden = hidden->next)
        scope_set(run, scope, hidden->name,
                  value_undefined(run, "'%s' is undefined", hidden->name->text));
}

struct scope *scope_new(struct run *run, struct scope *parent, const struct hidden *hidden) {
    struct scope *scope = arena_take(&run->arena, sizeof *scope);
    if (!scope) {
        run_fail(run, "%s", status_message());
        return NULL;
    }
    scope->parent = parent;
    scope_reset(run, scope, hidden);
    return scope;
}

void scope_set(struct run *run, struct scope *scope, const struct name *name, struct value value) {
    if (run->status) return;
    for (size_t i = 0; i < scope->count; i++) {
        if (scope->bindings[i].name != name) continue;
        scope->bindings[i].value = value;
        return;
    }
    if (scope->count == scope->capacity) {
        size_t capacity = scope->capacity ? 2 * scope->capacity : 4;
        struct binding *bindings = arena_take(&run->arena, capacity * sizeof *bindings);
        if (!bindings) {
            run_fail(run, "%s", status_message());
            return;
        }
        for (size_t i = 0; i < scope->count; i++) bindings[i] = scope->bindings[i];
        scope->bindings = bindings;
        scope->capacity = capacity;
    }
    scope->bindings[scope->count++] = (struct binding){name, value};
}

struct value scope_get(struct run *run, struct scope *scope, const struct name *name) {
    for (; scope; scope = scope->parent) {
        run_work(run, scope->count / 16);
        for (size_t i = 0; i < scope->count; i++)
            if (scope->bindings[i].name == name) return scope->bindings[i].value;
    }
    const struct value *given = dict_find_text(run->variables, name->text, name->length);
    if (given) return *given;
    const struct builtin *function = function_find(name->text, name->length);
    if (function) return (struct value){.kind = VALUE_FUNCTION, .function = function};
    return value_undefined(run, "'%s' is undefined", name->text);
}

void scope_capture(struct scope *scope) {
    for (; scope && !scope->captured; scope = scope->parent) scope->captured = true;
}
