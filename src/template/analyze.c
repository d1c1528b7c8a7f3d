/* What jinja2 finds out before it renders: names of a scope that are set before anything reads them
 * are undefined until then, for whatever stands in the scope, even when a variable of that name is
 * given; and filters and tests that do not exist, unless they stand under a condition. */
#include <string.h>

#include "template/parser.h"

struct seen {
    struct seen *next;
    const struct name *name;
};

/* A scope under analysis. */
struct frame {
    struct frame *parent;
    struct seen *seen; /* names that are read or set here */
    bool inside;       /* these are all known: the scopes in this one are looked at */
};

struct analysis {
    struct template *parsed;
    enum status status;
    int depth;
    size_t steps;
};

enum { ANALYSIS_STEPS = 20000000 };

static void visit(struct analysis *analysis, struct frame *frame, struct node *node, bool soft,
                  struct hidden **hidden);

static bool is_known(struct analysis *analysis, const struct frame *frame, const struct name *name,
                     bool outside) {
    for (; frame; frame = outside ? frame->parent : NULL)
        for (const struct seen *seen = frame->seen; seen; seen = seen->next) {
            analysis->steps++;
            if (seen->name == name) return true;
        }
    return false;
}

static void *take(struct analysis *analysis, size_t bytes) {
    void *memory = arena_take(&analysis->parsed->arena, bytes);
    if (!memory) analysis->status = STATUS_FAILED;
    return memory;
}

static void note(struct analysis *analysis, struct frame *frame, const struct name *name) {
    if (is_known(analysis, frame, name, false)) return;
    struct seen *seen = take(analysis, sizeof *seen);
    if (!seen) return;
    *seen = (struct seen){frame->seen, name};
    frame->seen = seen;
}

/* A name is set. Under a condition `hidden` is NULL: the name may keep what it was. */
static void store(struct analysis *analysis, struct frame *frame, const struct name *name,
                  struct hidden **hidden) {
    bool hides = hidden && !is_known(analysis, frame, name, true);
    note(analysis, frame, name);
    if (!hides) return;
    struct hidden *first = take(analysis, sizeof *first);
    if (!first) return;
    *first = (struct hidden){*hidden, name};
    *hidden = first;
}

static void store_target(struct analysis *analysis, struct frame *frame, const struct node *target,
                         struct hidden **hidden) {
    if (target->kind == NODE_TUPLE)
        for (const struct node *part = target->list; part; part = part->next)
            store_target(analysis, frame, part, hidden);
    else if (target->kind == NODE_NAME)
        store(analysis, frame, target->name, hidden);
    else
        note(analysis, frame, target->name);
}

static void visit_list(struct analysis *analysis, struct frame *frame, struct node *list, bool soft,
                       struct hidden **hidden) {
    for (; list && !analysis->status; list = list->next) visit(analysis, frame, list, soft, hidden);
}

/* All names of a scope are known before the scopes in it are looked at. */
static void visit_frame(struct analysis *analysis, struct frame *frame, struct node *body,
                        struct hidden **hidden) {
    visit_list(analysis, frame, body, false, hidden);
    frame->inside = true;
    visit_list(analysis, frame, body, false, NULL);
}

/* A body with a scope of its own, in which `targets` are set from the beginning. */
static void visit_scope(struct analysis *analysis, struct frame *parent, struct node *body,
                        const struct node *targets, struct hidden **hidden) {
    struct frame frame = {.parent = parent};
    for (const struct node *target = targets; target; target = target->next)
        store_target(analysis, &frame, target, NULL);
    visit_frame(analysis, &frame, body, hidden);
}

static void visit_for(struct analysis *analysis, struct frame *frame, struct node *node) {
    const struct name *loop = name_find(analysis->parsed, "loop", 4);
    struct frame body = {.parent = frame}, test = {.parent = frame};
    if (loop) note(analysis, &body, loop);
    store_target(analysis, &body, node->target, NULL);
    store_target(analysis, &test, node->target, NULL);
    visit_frame(analysis, &body, node->body, &node->hidden);
    if (node->second) visit(analysis, &test, node->second, false, NULL);
    visit_scope(analysis, frame, node->other, NULL, &node->hidden_other);
}

static void visit_macro(struct analysis *analysis, struct frame *frame, struct node *node) {
    static const char *const special[] = {"caller", "kwargs", "varargs"};
    struct frame inner = {.parent = frame};
    for (size_t i = 0; i < 3; i++) {
        const struct name *name = name_find(analysis->parsed, special[i], i ? i + 5 : 6);
        if (name) note(analysis, &inner, name);
    }
    for (struct node *parameter = node->list; parameter; parameter = parameter->next)
        note(analysis, &inner, parameter->name);
    for (struct node *parameter = node->list; parameter; parameter = parameter->next)
        if (parameter->first) visit(analysis, &inner, parameter->first, false, NULL);
    visit_frame(analysis, &inner, node->body, &node->hidden);
}

static void visit_if(struct analysis *analysis, struct frame *frame, struct node *node) {
    while (node->kind == NODE_IF && !analysis->status) {
        visit(analysis, frame, node->first, true, NULL);
        visit_list(analysis, frame, node->body, true, NULL);
        struct node *other = node->other;
        if (!other || other->kind != NODE_IF || other->next) {
            visit_list(analysis, frame, other, true, NULL);
            return;
        }
        node = other;
    }
}

/* What a statement reads and sets in its own scope. */
static void visit_statement(struct analysis *analysis, struct frame *frame, struct node *node,
                            bool soft, struct hidden **hidden) {
    switch (node->kind) {
    case NODE_SET:
        visit(analysis, frame, node->first, soft, NULL);
        store_target(analysis, frame, node->target, hidden);
        break;
    case NODE_SET_BLOCK:
        store_target(analysis, frame, node->target, hidden);
        break;
    case NODE_MACRO:
        store(analysis, frame, node->name, hidden);
        break;
    case NODE_WITH:
        for (struct node *target = node->list; target; target = target->next)
            visit(analysis, frame, target->first, soft, NULL);
        break;
    case NODE_FOR:
    case NODE_CALL_BLOCK:
    case NODE_FILTER_BLOCK:
    case NODE_OUTPUT:
        visit(analysis, frame, node->first, soft, NULL);
        break;
    default:
        break;
    }
}

/* The scopes of a statement. */
static void visit_inside(struct analysis *analysis, struct frame *frame, struct node *node) {
    switch (node->kind) {
    case NODE_FOR:
        visit_for(analysis, frame, node);
        break;
    case NODE_MACRO:
    case NODE_CALL_BLOCK:
        visit_macro(analysis, frame, node);
        break;
    case NODE_SET_BLOCK:
    case NODE_FILTER_BLOCK:
    case NODE_GENERATION:
        visit_scope(analysis, frame, node->body, NULL, &node->hidden);
        break;
    case NODE_WITH:
        visit_scope(analysis, frame, node->body, node->list, &node->hidden);
        break;
    default:
        break;
    }
}

static void visit_expression(struct analysis *analysis, struct frame *frame, struct node *node,
                             bool soft) {
    bool named = node->kind == NODE_FILTER || node->kind == NODE_TEST;
    if (node->kind == NODE_NAME && !is_known(analysis, frame, node->name, true)) {
        if (strcmp(node->name->text, "self") == 0) /* jinja2's template of blocks */
            analysis->status =
                template_fail(analysis->parsed, node->line, "the name \"self\" is not understood");
        note(analysis, frame, node->name);
    }
    if (named && !node->builtin && !soft) {
        analysis->status =
            template_fail(analysis->parsed, node->line, "no %s named '%.*s'",
                          node->kind == NODE_FILTER ? "filter" : "test",
                          (int)node->constant.text.length, node->constant.text.bytes);
        return;
    }
    soft = soft || node->kind == NODE_CONDITION;
    struct node *const parts[] = {node->first, node->second, node->other};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i]) visit(analysis, frame, parts[i], soft, NULL);
    visit_list(analysis, frame, node->list, soft, NULL);
}

static void visit(struct analysis *analysis, struct frame *frame, struct node *node, bool soft,
                  struct hidden **hidden) {
    if (analysis->status) return;
    if (analysis->depth >= TEMPLATE_DEPTH_LIMIT || ++analysis->steps > ANALYSIS_STEPS) {
        analysis->status = template_fail(analysis->parsed, node->line,
                                         "the template is too deep or has too many names");
        return;
    }
    analysis->depth++;
    if (node->kind == NODE_IF)
        visit_if(analysis, frame, node);
    else if (frame->inside)
        visit_inside(analysis, frame, node);
    else if (node->kind < NODE_BODY)
        visit_statement(analysis, frame, node, soft, hidden);
    else
        visit_expression(analysis, frame, node, soft);
    analysis->depth--;
}

enum status syntax_analyze(struct template *parsed) {
    struct analysis analysis = {.parsed = parsed};
    struct frame root = {0};
    visit_frame(&analysis, &root, parsed->body, &parsed->hidden);
    return analysis.status;
}
