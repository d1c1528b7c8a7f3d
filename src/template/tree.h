/* A template's tree. */
#ifndef TEMPLATE_TREE_H
#define TEMPLATE_TREE_H

#include "template/arena.h"
#include "template/value.h"

/* Each name once, so that names are compared by address. */
struct name {
    const struct name *next; /* in its bucket */
    size_t length;
    char text[]; /* terminated */
};

enum node_kind {
    /* Statements: linked by `next`. */
    NODE_TEXT,       /* constant */
    NODE_OUTPUT,     /* first: an expression */
    NODE_IF,         /* first: condition; body; other: what stands under else (elif: an if) */
    NODE_FOR,        /* target; first: iterable; second: condition or NULL; body; other: else;
                      * flag: recursive */
    NODE_SET,        /* target; first: expression */
    NODE_SET_BLOCK,  /* target; first: filters around NODE_BODY, or NULL; body */
    NODE_MACRO,      /* name; list: parameters (NODE_NAME; first: default or NULL); body; uses_* */
    NODE_CALL_BLOCK, /* the same without a name; first: the call */
    NODE_FILTER_BLOCK, /* first: filters around NODE_BODY; body */
    NODE_WITH,         /* list: targets, each with first: its value; body */
    NODE_GENERATION,   /* body */
    NODE_BREAK,
    NODE_CONTINUE,
    /* Expressions; those in a list are linked by `next`. */
    NODE_BODY,             /* the text of the block around it */
    NODE_CONSTANT,         /* constant */
    NODE_NAME,             /* name */
    NODE_NAMESPACE_TARGET, /* name, constant: the attribute's */
    NODE_TUPLE,            /* list */
    NODE_LIST,             /* list */
    NODE_DICT,             /* list: key, value, key, value … */
    NODE_ATTRIBUTE,        /* first.constant */
    NODE_ITEM,             /* first[second] */
    NODE_SLICE,            /* first:second:other, NULL where left out */
    NODE_CALL,             /* first(list) */
    NODE_FILTER,           /* first|constant(list); builtin */
    NODE_TEST,             /* first is constant(list); builtin */
    NODE_ARGUMENT,         /* in the list of these three: first; constant: its name or none;
                            * operator: OPERATOR_MULTIPLY for *first, OPERATOR_POWER for **first */
    NODE_NOT,
    NODE_NEGATE,
    NODE_PLUS,
    NODE_AND,
    NODE_OR,
    NODE_BINARY,  /* first operator second */
    NODE_CONCAT,  /* list */
    NODE_COMPARE, /* first; list: NODE_OPERAND (operator, first) */
    NODE_OPERAND,
    NODE_CONDITION, /* first if second else other (or NULL) */
};

enum operator_kind {
    OPERATOR_NONE,
    OPERATOR_ADD,
    OPERATOR_SUBTRACT,
    OPERATOR_MULTIPLY,
    OPERATOR_DIVIDE,
    OPERATOR_FLOOR_DIVIDE,
    OPERATOR_MODULO,
    OPERATOR_POWER,
    OPERATOR_EQUAL,
    OPERATOR_NOT_EQUAL,
    OPERATOR_LESS,
    OPERATOR_LESS_EQUAL,
    OPERATOR_GREATER,
    OPERATOR_GREATER_EQUAL,
    OPERATOR_IN,
    OPERATOR_NOT_IN,
};

/* Names that are undefined at the beginning of a scope, whatever is given (see analyze.c). */
struct hidden {
    const struct hidden *next;
    const struct name *name;
};

struct node {
    enum node_kind kind;
    int line;
    enum operator_kind operator;
    bool flag, uses_caller, uses_arguments, uses_named; /* uses_*: caller, varargs, kwargs */
    struct node *next, *target, *first, *second, *other, *list, *body;
    const struct name *name;
    struct value constant;
    struct hidden *hidden, *hidden_other; /* of the scopes of body and (a loop's) other */
    const struct builtin *builtin;        /* NULL: there is none of that name */
};

enum { NAME_BUCKETS = 256 };

struct template {
    struct arena arena;
    char *source;     /* for messages */
    const char *text; /* the template with newlines as \n; [length] */
    size_t length;
    struct node *body;
    struct hidden *hidden;
    const struct name *buckets[NAME_BUCKETS];
    bool has_generation;
};

/* status_fail with "source": line N: before it. */
enum status template_fail(const struct template *parsed, int line, const char *format, ...)
    STATUS_PRINTF(3, 4);

/* NULL when out of memory. */
const struct name *name_intern(struct template *parsed, const char *text, size_t length);
const struct name *name_find(const struct template *parsed, const char *text, size_t length);

#endif
