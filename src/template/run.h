/* A rendering under way. A fault is kept in `status` (with its message): everything that is called
 * afterwards does nothing and gives undefined, so that callers check where they loop or hand out.
 */
#ifndef TEMPLATE_RUN_H
#define TEMPLATE_RUN_H

#include "base/text.h"
#include "template/arena.h"
#include "template/template.h" /* circle: gives back its spans */
#include "template/tree.h"
#include "template/value.h"

struct binding {
    const struct name *name;
    struct value value;
};

struct scope {
    struct scope *parent;
    struct binding *bindings; /* [count] */
    size_t count, capacity;
    bool captured; /* a macro refers to it: it outlives its block */
};

struct macro {
    const struct node *node; /* NODE_MACRO or NODE_CALL_BLOCK */
    struct scope *scope;     /* where it was defined */
};

/* A `for` under way. Items come from an array, whose position an iterator may share. */
struct loop {
    const struct node *node;
    const struct value_list *items; /* NULL: of `range` */
    const struct value_range *range;
    size_t *position, own_position;
    struct scope *scope;            /* around the loop: of the filter's condition */
    int64_t index0, depth0, length; /* length -1: not known yet */
    struct value current, previous, next;
    bool has_next; /* `next` was read ahead */
    bool exhausted;
    bool checked;         /* the items left fit the condition */
    struct value changed; /* what loop.changed() was last given */
};

struct run {
    enum status status;
    const struct template *parsed;
    int line;
    struct arena arena;
    struct text out;
    struct scope *root;
    struct value_dict *variables;
    uint64_t steps;
    int depth, captures; /* captures: macros and blocks whose output is not the template's yet */
    int generations;     /* blocks of {% generation %} in one another */
    struct template_span *spans;
    size_t span_count;
    bool spans_lost, shown_list;
    char *time;
};

/* Fails the run with "source": line N: …, unless it has failed already. Returns undefined. */
struct value run_fail(struct run *run, const char *format, ...) STATUS_PRINTF(2, 3);

/* Counts work; false when there was too much, or the run has failed. */
bool run_work(struct run *run, uint64_t steps);
static inline bool run_work_text(struct run *run, size_t bytes) {
    return run_work(run, bytes / 16 + 1);
}

/* evaluate.c */
struct value evaluate(struct run *run, struct scope *scope, const struct node *node);
struct value evaluate_call(struct run *run, struct value callee, const struct arguments *arguments);
struct value evaluate_operator(struct run *run, enum operator_kind kind, struct value a,
                               struct value b);

/* format % values and format.format(…), of evaluate_format.c. */
struct value evaluate_percent(struct run *run, struct value format, struct value values);
struct value evaluate_format(struct run *run, struct value format,
                             const struct arguments *arguments);
struct value evaluate_slice(struct run *run, struct value value, const struct value slice[3]);

/* object.name and object[key], as jinja2's sandbox takes them. */
struct value evaluate_attribute(struct run *run, struct value object, struct value name);
struct value evaluate_item(struct run *run, struct value object, struct value key);

/* execute.c */
enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
enum flow execute(struct run *run, struct scope *scope, const struct node *list);
struct value execute_macro(struct run *run, const struct macro *macro,
                           const struct arguments *arguments);
struct value execute_loop_again(struct run *run, struct loop *loop, struct value items);
bool loop_peek(struct run *run, struct loop *loop); /* is there a next item? */
int64_t loop_length(struct run *run, struct loop *loop);

/* scope.c */
struct scope *scope_new(struct run *run, struct scope *parent, const struct hidden *hidden);
void scope_reset(struct run *run, struct scope *scope, const struct hidden *hidden);
void scope_set(struct run *run, struct scope *scope, const struct name *name, struct value value);
struct value scope_get(struct run *run, struct scope *scope, const struct name *name);
void scope_capture(struct scope *scope);

/* The output since `mark` as a text, taken out of it. */
struct value run_take_output(struct run *run, size_t mark);

#endif
