/* Loops. Items are read one by one, and the condition behind `if` is looked at when an item is
 * read, as Python's generators do it: a body can change what the condition sees. */
#include "template/execute.h"
#include "template/run.h"

/* The item at a position, if there is one. */
static bool item_at(const struct loop *loop, size_t position, struct value *out) {
    if (loop->range) {
        if (position >= (uint64_t)loop->range->count) return false;
        *out = value_integer(loop->range->start + (int64_t)position * loop->range->step);
        return true;
    }
    if (position >= loop->items->count) return false;
    *out = loop->items->items[position];
    return true;
}

/* The next item that fits the loop's condition. */
static bool fetch(struct run *run, struct loop *loop, struct value *out) {
    while (!loop->exhausted && run_work(run, 1) && item_at(loop, *loop->position, out)) {
        struct value item = *out;
        (*loop->position)++;
        if (!loop->node->second || loop->checked) return true;
        struct scope *scope = scope_new(run, loop->scope, NULL);
        execute_assign(run, scope, loop->node->target, item);
        if (value_is_true(run, evaluate(run, scope, loop->node->second))) return !run->status;
    }
    return false;
}

bool loop_peek(struct run *run, struct loop *loop) {
    if (!loop->has_next) loop->has_next = fetch(run, loop, &loop->next);
    if (!loop->has_next) loop->exhausted = true;
    return loop->has_next;
}

int64_t loop_length(struct run *run, struct loop *loop) {
    if (loop->length >= 0) return loop->length;
    /* Not known beforehand: read all that is left. */
    struct value_list *rest = list_new(run);
    struct value item;
    while (rest && fetch(run, loop, &item)) list_append(run, rest, item);
    if (!rest) return 0;
    loop->items = rest;
    loop->range = NULL;
    loop->own_position = 0;
    loop->position = &loop->own_position;
    loop->exhausted = false;
    loop->checked = true;
    loop->length = (int64_t)rest->count + loop->index0 + 1 + loop->has_next;
    return loop->length;
}

static bool next(struct run *run, struct loop *loop) {
    struct value item = loop->next;
    if (!loop->has_next && !fetch(run, loop, &item)) return false;
    loop->has_next = false;
    loop->index0++;
    loop->previous = loop->current;
    loop->current = item;
    return true;
}

static bool begin(struct run *run, struct loop *loop, struct value items) {
    if (run->status) return false;
    if (items.kind == VALUE_ITERATOR) {
        struct value_list *list = list_new(run);
        if (!list) return false;
        list->items = items.iterator->items;
        list->count = list->capacity = items.iterator->count;
        loop->items = list;
        loop->position = &items.iterator->position;
    } else {
        /* A range may be long, and its numbers are soon told. */
        if (items.kind == VALUE_RANGE)
            loop->range = items.range;
        else
            loop->items = value_items(run, items);
        loop->position = &loop->own_position;
    }
    if (!loop->items && !loop->range) return false;
    bool known = items.kind != VALUE_ITERATOR && !loop->node->second;
    loop->length = !known ? -1 : loop->range ? loop->range->count : (int64_t)loop->items->count;
    loop->index0 = -1;
    return true;
}

/* Carries out the body for every item; true in `*complete` when one body came to its end. */
static void iterate(struct run *run, struct loop *loop, bool *complete) {
    const struct node *node = loop->node;
    const struct name *name = name_find(run->parsed, "loop", 4);
    struct scope *scope = NULL;
    while (!run->status && next(run, loop)) {
        if (!scope || scope->captured) scope = scope_new(run, loop->scope, NULL);
        if (!scope) return;
        scope_reset(run, scope, node->hidden);
        if (name) scope_set(run, scope, name, (struct value){.kind = VALUE_LOOP, .loop = loop});
        execute_assign(run, scope, node->target, loop->current);
        enum flow flow = execute(run, scope, node->body);
        if (flow == FLOW_BREAK) return;
        /* jinja2 takes a body that `continue` cuts short for none: else is carried out. */
        if (flow == FLOW_ON) *complete = true;
    }
}

static enum flow execute_items(struct run *run, struct scope *scope, const struct node *node,
                               struct value items, int64_t depth0) {
    struct loop *loop = arena_take(&run->arena, sizeof *loop);
    if (!loop) run_fail(run, "%s", status_message());
    if (run->status) return FLOW_ON;
    *loop = (struct loop){.node = node, .scope = scope, .depth0 = depth0};
    loop->changed = value_of_kind(VALUE_ABSENT);
    bool complete = false;
    if (begin(run, loop, items)) iterate(run, loop, &complete);
    if (complete || !node->other || run->status) return FLOW_ON;
    return execute(run, scope_new(run, scope, node->hidden_other), node->other);
}

enum flow execute_for(struct run *run, struct scope *scope, const struct node *node) {
    return execute_items(run, scope, node, evaluate(run, scope, node->first), 0);
}

struct value execute_loop_again(struct run *run, struct loop *loop, struct value items) {
    if (!loop->node->flag)
        return run_fail(run, "The loop must have the 'recursive' marker to be called recursively.");
    if (run->depth >= TEMPLATE_DEPTH_LIMIT)
        return run_fail(run, "loops call each other more than %d deep", TEMPLATE_DEPTH_LIMIT);
    size_t mark = run->out.length;
    run->depth++;
    run->captures++;
    execute_items(run, loop->scope, loop->node, items, loop->depth0 + 1);
    run->captures--;
    run->depth--;
    return run_take_output(run, mark);
}
