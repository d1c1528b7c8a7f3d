/* Sets of real numbers, as final answers name them: intervals, unions, relations of one variable.
 */
#ifndef EVAL_ANSWER_SETS_H
#define EVAL_ANSWER_SETS_H

#include "eval/answer_tree.h"

enum { ANSWER_MOST_INTERVALS = 32 };

struct answer_interval {
    struct answer_number low, high;
    bool low_infinite, high_infinite, low_open, high_open;
};

/* Disjoint, in ascending order, with gaps between them. */
struct answer_set {
    struct answer_interval intervals[ANSWER_MOST_INTERVALS];
    int count;
};

/* Whether a node can only be meant as such a set: a union, an inequality, an infinite end. */
bool answer_set_is_meant(const struct answer_tree *tree, int node);

/* The set that a node names; false: it names none that is understood. Initialised either way: clear
 * it with answer_set_clear. */
bool answer_set_read(struct answer_set *out, const struct answer_tree *tree, int node);
void answer_set_clear(struct answer_set *set);
bool answer_set_equal(const struct answer_set *a, const struct answer_set *b, bool decimal);

#endif
