/* A final answer as a tree, and the value of its expressions. */
#ifndef EVAL_ANSWER_TREE_H
#define EVAL_ANSWER_TREE_H

#include "eval/answer_number.h"
#include "eval/answer_tokens.h"
#include "eval/answers.h"

enum answer_node_kind {
    /* expressions */
    NODE_NUMBER,   /* text: digits; base */
    NODE_VARIABLE, /* text: its name, with its subscript */
    NODE_CONSTANT, /* text: pi, e, i */
    NODE_INFINITY,
    NODE_BINARY, /* op + - * / ^ or c (binomial coefficient); two children */
    NODE_NEGATE,
    NODE_EITHER, /* op p (plus or minus) or m; one child, or two */
    NODE_CALL,   /* text: the function */
    NODE_DEGREE, /* an angle, when a function is taken of it */
    /* the rest */
    NODE_PERCENT,
    NODE_UNIT,     /* a quantity; text: its unit's words */
    NODE_RATIO,    /* 3:2 */
    NODE_TUPLE,    /* open and close: its brackets; an interval looks the same */
    NODE_SET,      /* {…} */
    NODE_LIST,     /* without brackets; op: ',', 'a' (and) or 'o' (or), as between its elements */
    NODE_MATRIX,   /* rows; text: its environment */
    NODE_RELATION, /* a chain; relations: the sign before every child but the first */
    NODE_SETS,     /* op u, n, - of two sets */
    NODE_EMPTY,
    NODE_REALS,
    NODE_TEXT, /* words */
};

enum { ANSWER_MOST_RELATIONS = 8 };

struct answer_node {
    enum answer_node_kind kind;
    char op, open, close; /* open of a product: '(' where its second factor is in brackets */
    int base, rows;
    char relations[ANSWER_MOST_RELATIONS];
    const char *text; /* borrowed from the answer */
    size_t length;
    int first, next, count; /* first child, next sibling: indices, -1: none; number of children */
};

struct answer_tree {
    struct answer_node *nodes; /* [count] */
    int count, root;           /* root -1: the answer is of no known form */
    int base;                  /* of its numbers: the last one that is not 10, or 10 */
    bool decimal;              /* a number has a point */
    bool grouped;              /* commas were read as those that part thousands */
    bool units, letters;       /* letters were read as units; might have been */
};

/* Which letters behind a number are its unit, not variables. */
enum answer_units {
    ANSWER_UNITS_NONE,
    ANSWER_UNITS_SURE,   /* "5 m", "10 m/s" */
    ANSWER_UNITS_LIKELY, /* also "5m", "2 N m" */
};

/* `grouping`: whether "1,234" without brackets is one number. The tree borrows from the text that
 * the tokens were read from, and the tokens are used up: \frac12 cuts one in two. Free with
 * answer_tree_free. */
enum status answer_tree_parse(struct answer_tree *out, struct answer_tokens *tokens, bool grouping,
                              enum answer_units units) STATUS_CHECKED;
void answer_tree_free(struct answer_tree *tree);

enum { ANSWER_POINTS = 4 }; /* with values of both signs, unrelated to each other */

/* The value of the expression at a node, variables having the values of a point; `sign` +1 or -1 is
 * taken where both may be. False: it has none, or is no expression. */
bool answer_tree_value(struct answer_number *out, const struct answer_tree *tree, int node,
                       int point, int sign);
/* Whether the expression at a node has "plus or minus", a variable. */
bool answer_tree_has_either(const struct answer_tree *tree, int node);
bool answer_tree_has_variable(const struct answer_tree *tree, int node);

/* The side of an equation that says what a name is: 5 of "x = 5", "f(2) = 5", "AB = 5", "5 = x",
 * and of a calculation "2 + 3 = 5"; the elements of "x \in \{1, 2\}". The node itself where it is
 * no such equation: neither "x + y = 7" nor "xy = 7" say what something is. */
int answer_tree_value_side(const struct answer_tree *tree, int node);
bool answer_node_is_expression(const struct answer_node *node);

/* Whether two trees that were read (with roots) mean the same. */
enum answer_verdict answer_trees_compare(const struct answer_tree *a, const struct answer_tree *b);

#endif
