/* Comparing two answers by what their trees mean. Every comparison has three
 * results, and what is not understood in a part makes the whole not understood, unless another part
 * differs. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "eval/answer_sets.h"
#include "eval/answer_tree.h"
#include "eval/answer_units.h"
#include "eval/answer_words.h"
#include "eval/answers.h"

enum { MOST_ELEMENTS = 40 };

static enum answer_verdict compare(const struct answer_tree *a, int left,
                                   const struct answer_tree *b, int right);

static const struct answer_node *node_of(const struct answer_tree *tree, int node) {
    return &tree->nodes[node];
}

static enum answer_verdict verdict_of(bool equal) {
    return equal ? ANSWER_EQUAL : ANSWER_DIFFERENT;
}

/* ---- expressions */

/* Values of an expression at all points; false: it has none at some point. */
struct values {
    struct answer_number at[ANSWER_POINTS];
    int points; /* 1 when there are no variables */
};

static void values_init(struct values *values) {
    for (int i = 0; i < ANSWER_POINTS; i++) answer_number_init(&values->at[i]);
}

static void values_clear(struct values *values) {
    for (int i = 0; i < ANSWER_POINTS; i++) answer_number_clear(&values->at[i]);
}

static bool values_read(struct values *out, const struct answer_tree *tree, int node, int sign,
                        int points) {
    out->points = points;
    for (int i = 0; i < points; i++)
        if (!answer_tree_value(&out->at[i], tree, node, i, sign)) return false;
    return true;
}

static int points_for(const struct answer_tree *a, int left, const struct answer_tree *b,
                      int right) {
    return answer_tree_has_variable(a, left) || answer_tree_has_variable(b, right) ? ANSWER_POINTS
                                                                                   : 1;
}

/* An expression with one of its signs. */
struct element {
    const struct answer_tree *tree;
    int node, sign;
};

static enum answer_verdict compare_values(const struct element *a, const struct element *b) {
    struct values left, right;
    enum answer_verdict verdict = ANSWER_NOT_UNDERSTOOD;
    int points = points_for(a->tree, a->node, b->tree, b->node);
    bool decimal = a->tree->decimal || b->tree->decimal;
    values_init(&left);
    values_init(&right);
    if (values_read(&left, a->tree, a->node, a->sign, points) &&
        values_read(&right, b->tree, b->node, b->sign, points)) {
        verdict = ANSWER_EQUAL;
        for (int i = 0; i < points; i++)
            if (!answer_number_equal(&left.at[i], &right.at[i], decimal))
                verdict = ANSWER_DIFFERENT;
    }
    values_clear(&left);
    values_clear(&right);
    return verdict;
}

static enum answer_verdict compare_elements(const struct element *a, const struct element *b) {
    bool expressions = answer_node_is_expression(node_of(a->tree, a->node)) &&
                       answer_node_is_expression(node_of(b->tree, b->node));
    return expressions ? compare_values(a, b) : compare(a->tree, a->node, b->tree, b->node);
}

/* a = factor * b; the other's value must be there. */
static enum answer_verdict compare_times(const struct answer_tree *a, int left, long factor,
                                         const struct answer_tree *b, int right) {
    struct answer_number x, y, scale;
    enum answer_verdict verdict = ANSWER_NOT_UNDERSTOOD;
    answer_number_init(&x);
    answer_number_init(&y);
    answer_number_init(&scale);
    answer_number_set_ratio(&scale, factor, 1);
    if (points_for(a, left, b, right) == 1 && answer_tree_value(&x, a, left, 0, 1) &&
        answer_tree_value(&y, b, right, 0, 1) && answer_number_apply(&y, '*', &scale))
        verdict = verdict_of(answer_number_equal(&x, &y, a->decimal || b->decimal));
    answer_number_clear(&x);
    answer_number_clear(&y);
    answer_number_clear(&scale);
    return verdict;
}

/* ---- lists and sets */

struct elements {
    struct element all[MOST_ELEMENTS];
    int count;
    bool fine;
};

static void add_element(struct elements *out, const struct answer_tree *tree, int node) {
    bool both =
        answer_node_is_expression(node_of(tree, node)) && answer_tree_has_either(tree, node);
    if (out->count + 2 > MOST_ELEMENTS) {
        out->fine = false;
        return;
    }
    out->all[out->count++] = (struct element){tree, node, 1};
    if (both) out->all[out->count++] = (struct element){tree, node, -1};
}

static void list_elements(struct elements *out, const struct answer_tree *tree, int index) {
    const struct answer_node *node = node_of(tree, index);
    out->count = 0;
    out->fine = true;
    if (node->kind != NODE_LIST && node->kind != NODE_SET) {
        add_element(out, tree, index);
        return;
    }
    for (int child = node->first; child >= 0; child = node_of(tree, child)->next)
        add_element(out, tree, answer_tree_value_side(tree, child));
}

/* Beside a list, of whose elements each counts, an element of a set is one however often it is
 * written. */
static void leave_out_repeated(struct elements *set) {
    int kept = 0;
    for (int i = 0; i < set->count; i++) {
        bool repeated = false;
        for (int k = 0; k < kept && !repeated; k++)
            repeated = compare_elements(&set->all[k], &set->all[i]) == ANSWER_EQUAL;
        if (!repeated) set->all[kept++] = set->all[i];
    }
    set->count = kept;
}

/* Every element of `a` has one of its own in `b`; of sets, whose elements may be repeated, any. */
static enum answer_verdict match(const struct elements *a, const struct elements *b, bool sets) {
    bool taken[MOST_ELEMENTS] = {false}, doubt = false;
    if (!a->fine || !b->fine) return ANSWER_NOT_UNDERSTOOD;
    if (!sets && a->count != b->count) return ANSWER_DIFFERENT;
    for (int i = 0; i < a->count; i++) {
        bool found = false;
        for (int k = 0; k < b->count && !found; k++) {
            if (taken[k] && !sets) continue;
            enum answer_verdict verdict = compare_elements(&a->all[i], &b->all[k]);
            doubt |= verdict == ANSWER_NOT_UNDERSTOOD;
            found = verdict == ANSWER_EQUAL;
            if (found) taken[k] = true;
        }
        if (!found) return doubt ? ANSWER_NOT_UNDERSTOOD : ANSWER_DIFFERENT;
    }
    return ANSWER_EQUAL;
}

/* The variable that an equation names: its letter or Greek name; NULL: none. */
static const struct answer_node *name_of(const struct answer_tree *tree, int index) {
    const struct answer_node *node = node_of(tree, index);
    if (node->kind != NODE_RELATION || node->count != 2 || node->relations[0] != '=') return NULL;
    const struct answer_node *first = node_of(tree, node->first);
    return first->kind == NODE_VARIABLE ? first : NULL;
}

static bool same_name(const struct answer_tree *a, const struct answer_node *left,
                      const struct answer_tree *b, const struct answer_node *right) {
    if (left->length != right->length || memcmp(left->text, right->text, left->length) != 0)
        return false;
    if (left->first < 0 || right->first < 0) return left->first == right->first;
    return same_name(a, node_of(a, left->first), b, node_of(b, right->first));
}

/* "x = 1, y = 2" in any order, when both sides name what they give; else not decided here. */
static bool compare_named(enum answer_verdict *verdict, const struct answer_tree *a, int left,
                          const struct answer_tree *b, int right) {
    bool several_names = false;
    const struct answer_node *first = name_of(a, node_of(a, left)->first);
    *verdict = verdict_of(node_of(a, left)->count == node_of(b, right)->count);
    for (int i = node_of(a, left)->first; i >= 0; i = node_of(a, i)->next) {
        const struct answer_node *name = name_of(a, i);
        if (!name) return false;
        several_names |= !same_name(a, first, a, name);
        bool found = false;
        for (int k = node_of(b, right)->first; k >= 0; k = node_of(b, k)->next) {
            const struct answer_node *other = name_of(b, k);
            if (!other) return false;
            if (!same_name(a, name, b, other)) continue;
            enum answer_verdict one =
                compare(a, answer_tree_value_side(a, i), b, answer_tree_value_side(b, k));
            found |= one == ANSWER_EQUAL;
            if (one == ANSWER_NOT_UNDERSTOOD) *verdict = one;
        }
        if (!found && *verdict == ANSWER_EQUAL) *verdict = ANSWER_DIFFERENT;
    }
    return several_names;
}

static enum answer_verdict compare_lists(const struct answer_tree *a, int left,
                                         const struct answer_tree *b, int right) {
    enum answer_verdict verdict;
    struct elements mine, other;
    bool a_list = node_of(a, left)->kind == NODE_LIST,
         b_list = node_of(b, right)->kind == NODE_LIST;
    if (a_list && b_list && compare_named(&verdict, a, left, b, right)) return verdict;
    bool a_set = node_of(a, left)->kind == NODE_SET, b_set = node_of(b, right)->kind == NODE_SET;
    bool sets = a_set && b_set;
    list_elements(&mine, a, left);
    list_elements(&other, b, right);
    if (a_set && !b_set) leave_out_repeated(&mine);
    if (b_set && !a_set) leave_out_repeated(&other);
    verdict = match(&mine, &other, sets);
    if (verdict != ANSWER_EQUAL || !sets) return verdict;
    return match(&other, &mine, true);
}

/* Children in their order. */
static enum answer_verdict compare_children(const struct answer_tree *a, int left,
                                            const struct answer_tree *b, int right) {
    enum answer_verdict verdict = ANSWER_EQUAL;
    int i = node_of(a, left)->first, k = node_of(b, right)->first;
    if (node_of(a, left)->count != node_of(b, right)->count) return ANSWER_DIFFERENT;
    for (; i >= 0 && k >= 0; i = node_of(a, i)->next, k = node_of(b, k)->next) {
        enum answer_verdict one =
            compare(a, answer_tree_value_side(a, i), b, answer_tree_value_side(b, k));
        if (one == ANSWER_DIFFERENT) return one;
        if (one == ANSWER_NOT_UNDERSTOOD) verdict = one;
    }
    return verdict;
}

static enum answer_verdict compare_tuples(const struct answer_tree *a, int left,
                                          const struct answer_tree *b, int right) {
    const struct answer_node *x = node_of(a, left), *y = node_of(b, right);
    enum answer_verdict verdict = compare_children(a, left, b, right);
    if (x->kind != y->kind || (x->open == y->open && x->close == y->close)) return verdict;
    if (verdict != ANSWER_EQUAL) return verdict;
    return x->count == 2 ? ANSWER_DIFFERENT : ANSWER_NOT_UNDERSTOOD;
}

static bool is_matrix_of(const struct answer_node *node, const char *environment) {
    return node->length == strlen(environment) &&
           memcmp(node->text, environment, node->length) == 0;
}

static enum answer_verdict compare_matrices(const struct answer_tree *a, int left,
                                            const struct answer_tree *b, int right) {
    const struct answer_node *x = node_of(a, left), *y = node_of(b, right);
    if (is_matrix_of(x, "vmatrix") != is_matrix_of(y, "vmatrix")) return ANSWER_NOT_UNDERSTOOD;
    if (x->rows != y->rows) return ANSWER_DIFFERENT;
    return compare_children(a, left, b, right);
}

/* ---- relations */

/* The difference of both sides at every point. */
static bool differences(struct values *out, const struct answer_tree *tree, int index) {
    const struct answer_node *node = node_of(tree, index);
    struct answer_number right;
    answer_number_init(&right);
    int last = node_of(tree, node->first)->next;
    bool fine = node->kind == NODE_RELATION && node->count == 2 &&
                values_read(out, tree, node->first, 1, ANSWER_POINTS);
    for (int i = 0; fine && i < ANSWER_POINTS; i++)
        fine = answer_tree_value(&right, tree, last, i, 1) &&
               answer_number_apply(&out->at[i], '-', &right);
    answer_number_clear(&right);
    return fine;
}

/* 2x > 6 and x > 3: the differences of their sides are in one ratio, which for inequalities must be
 * positive, or negative where the signs point in opposite ways. */
static enum answer_verdict compare_relations(const struct answer_tree *a, int left,
                                             const struct answer_tree *b, int right) {
    const struct answer_node *x = node_of(a, left), *y = node_of(b, right);
    static const char signs[] = "=n<>lg~", opposite[] = "=n><gl~";
    enum answer_verdict verdict = ANSWER_NOT_UNDERSTOOD;
    struct values mine, other;
    struct answer_number zero;
    if (answer_tree_has_either(a, left) || answer_tree_has_either(b, right)) return verdict;
    values_init(&mine);
    values_init(&other);
    answer_number_init(&zero);
    if (differences(&mine, a, left) && differences(&other, b, right) &&
        strchr(signs, x->relations[0]) && strchr(signs, y->relations[0])) {
        bool fine = true, defined = true;
        for (int i = 0; defined && i < ANSWER_POINTS; i++)
            defined = answer_number_apply(&mine.at[i], '/', &other.at[i]);
        for (int i = 1; defined && i < ANSWER_POINTS; i++)
            fine &= answer_number_equal(&mine.at[0], &mine.at[i], a->decimal || b->decimal);
        bool real = defined && fine && answer_number_is_real(&mine.at[0]);
        bool turned = real && answer_number_order(&mine.at[0], &zero) < 0;
        char expected = x->relations[0];
        if (turned) expected = opposite[strchr(signs, expected) - signs];
        if (defined && fine && real && answer_number_order(&mine.at[0], &zero) != 0)
            verdict = verdict_of(expected == y->relations[0]);
        else if (defined && !fine && x->relations[0] != '=')
            verdict = ANSWER_NOT_UNDERSTOOD; /* x^2 < 4 and |x| < 2 are the same, too */
        else if (defined && !fine)
            verdict = ANSWER_DIFFERENT;
    }
    values_clear(&mine);
    values_clear(&other);
    answer_number_clear(&zero);
    return verdict;
}

/* ---- quantities, percentages, ratios, words */

static enum answer_verdict compare_units(const struct answer_tree *a, int left,
                                         const struct answer_tree *b, int right) {
    const struct answer_node *x = node_of(a, left), *y = node_of(b, right);
    if (x->kind != NODE_UNIT || y->kind != NODE_UNIT) {
        int quantity = x->kind == NODE_UNIT ? x->first : left;
        int plain = y->kind == NODE_UNIT ? y->first : right;
        bool variable = answer_tree_has_variable(x->kind == NODE_UNIT ? b : a,
                                                 x->kind == NODE_UNIT ? right : left);
        return variable ? ANSWER_NOT_UNDERSTOOD : compare(a, quantity, b, plain);
    }
    char mine[64], other[64];
    answer_unit_name(mine, x->text, x->length);
    answer_unit_name(other, y->text, y->length);
    return strcmp(mine, other) == 0 ? compare(a, x->first, b, y->first) : ANSWER_NOT_UNDERSTOOD;
}

static enum answer_verdict compare_percents(const struct answer_tree *a, int left,
                                            const struct answer_tree *b, int right) {
    const struct answer_node *x = node_of(a, left), *y = node_of(b, right);
    if (x->kind == NODE_PERCENT && y->kind == NODE_PERCENT)
        return compare(a, x->first, b, y->first);
    bool mine = x->kind == NODE_PERCENT;
    int percent = mine ? x->first : y->first, plain = mine ? right : left;
    const struct answer_tree *with = mine ? a : b, *without = mine ? b : a;
    if (!answer_node_is_expression(node_of(without, plain))) return ANSWER_DIFFERENT;
    enum answer_verdict same = compare(with, percent, without, plain);
    return same == ANSWER_EQUAL ? same : compare_times(with, percent, 100, without, plain);
}

/* 3:2 and 6:4 may be a ratio or a score; a fraction beside a ratio is not decided either. */
static enum answer_verdict compare_ratios(const struct answer_tree *a, int left,
                                          const struct answer_tree *b, int right) {
    if (node_of(a, left)->kind != node_of(b, right)->kind) return ANSWER_NOT_UNDERSTOOD;
    enum answer_verdict same = compare_children(a, left, b, right);
    return same == ANSWER_EQUAL ? same : ANSWER_NOT_UNDERSTOOD;
}

static enum answer_verdict compare_words(const struct answer_tree *a, int left,
                                         const struct answer_tree *b, int right) {
    const struct answer_node *x = node_of(a, left), *y = node_of(b, right);
    if (x->kind == NODE_TEXT && y->kind == NODE_TEXT) {
        if (answer_words_equal(x->text, x->length, y->text, y->length)) return ANSWER_EQUAL;
        bool words = answer_words_only(x->text, x->length) && answer_words_only(y->text, y->length);
        return words ? ANSWER_DIFFERENT : ANSWER_NOT_UNDERSTOOD;
    }
    bool mine = x->kind == NODE_TEXT;
    const struct answer_node *words = mine ? x : y, *other = mine ? y : x;
    if (answer_words_say_empty(words->text, words->length))
        return verdict_of(other->kind == NODE_EMPTY);
    if (answer_words_say_reals(words->text, words->length) && other->kind == NODE_REALS)
        return ANSWER_EQUAL;
    int number = answer_word_number(words->text, words->length);
    if (number < 0)
        return answer_words_only(words->text, words->length) && answer_node_is_expression(other)
                   ? ANSWER_DIFFERENT
                   : ANSWER_NOT_UNDERSTOOD;
    if (!answer_node_is_expression(other)) return ANSWER_NOT_UNDERSTOOD;
    struct answer_number said, value;
    enum answer_verdict verdict = ANSWER_NOT_UNDERSTOOD;
    answer_number_init(&said);
    answer_number_init(&value);
    answer_number_set_ratio(&said, number, 1);
    if (answer_tree_value(&value, mine ? b : a, mine ? right : left, 0, 1))
        verdict = verdict_of(answer_number_equal(&said, &value, false));
    answer_number_clear(&said);
    answer_number_clear(&value);
    return verdict;
}

static enum answer_verdict compare_sets(const struct answer_tree *a, int left,
                                        const struct answer_tree *b, int right) {
    struct answer_set mine, other;
    bool read = answer_set_read(&mine, a, left), read_other = answer_set_read(&other, b, right);
    enum answer_verdict verdict = ANSWER_NOT_UNDERSTOOD;
    if (read && read_other)
        verdict = verdict_of(answer_set_equal(&mine, &other, a->decimal || b->decimal));
    else if ((read && answer_node_is_expression(node_of(b, right))) ||
             (read_other && answer_node_is_expression(node_of(a, left))))
        verdict = ANSWER_DIFFERENT; /* a number is no set */
    answer_set_clear(&mine);
    answer_set_clear(&other);
    return verdict;
}

/* ---- what is compared how */

static bool either_is(const struct answer_node *a, const struct answer_node *b,
                      enum answer_node_kind kind) {
    return a->kind == kind || b->kind == kind;
}

/* x \in \{1, 2\} */
static bool is_membership(const struct answer_tree *tree, int index) {
    const struct answer_node *node = node_of(tree, index);
    return node->kind == NODE_RELATION && node->relations[0] == 'i' &&
           answer_tree_value_side(tree, index) != index;
}

static enum answer_verdict compare(const struct answer_tree *a, int left,
                                   const struct answer_tree *b, int right) {
    const struct answer_node *x = node_of(a, left), *y = node_of(b, right);
    if (is_membership(a, left)) return compare(a, answer_tree_value_side(a, left), b, right);
    if (is_membership(b, right)) return compare(a, left, b, answer_tree_value_side(b, right));
    if (either_is(x, y, NODE_TEXT) && !either_is(x, y, NODE_LIST))
        return compare_words(a, left, b, right);
    bool meant = answer_set_is_meant(a, left) || answer_set_is_meant(b, right);
    enum answer_verdict verdict = meant ? compare_sets(a, left, b, right) : ANSWER_NOT_UNDERSTOOD;
    if (verdict != ANSWER_NOT_UNDERSTOOD) return verdict;
    int mine = answer_tree_value_side(a, left), other = answer_tree_value_side(b, right);
    bool relations = x->kind == NODE_RELATION && y->kind == NODE_RELATION;
    if (relations && (mine == left || other == right)) return compare_relations(a, left, b, right);
    if (mine != left || other != right) {
        verdict = compare(a, mine, b, other);
        if (verdict == ANSWER_EQUAL || !relations) return verdict;
        enum answer_verdict whole = compare_relations(a, left, b, right);
        return whole == ANSWER_EQUAL ? whole : verdict;
    }
    if (meant) return ANSWER_NOT_UNDERSTOOD;
    if (either_is(x, y, NODE_UNIT)) return compare_units(a, left, b, right);
    if (either_is(x, y, NODE_PERCENT)) return compare_percents(a, left, b, right);
    if (either_is(x, y, NODE_RATIO)) return compare_ratios(a, left, b, right);
    if (x->kind == NODE_MATRIX && y->kind == NODE_MATRIX)
        return compare_matrices(a, left, b, right);
    if (either_is(x, y, NODE_MATRIX)) { /* a column and a tuple may be the same vector */
        bool number = answer_node_is_expression(x) || answer_node_is_expression(y);
        bool determinant = is_matrix_of(x->kind == NODE_MATRIX ? x : y, "vmatrix");
        return number && !determinant ? ANSWER_DIFFERENT : ANSWER_NOT_UNDERSTOOD;
    }
    if (either_is(x, y, NODE_INFINITY)) return verdict_of(x->kind == y->kind);
    bool tuple = x->kind == NODE_TUPLE || y->kind == NODE_TUPLE;
    bool list = x->kind == NODE_LIST || y->kind == NODE_LIST;
    if (x->kind == NODE_TUPLE && y->kind == NODE_TUPLE) return compare_tuples(a, left, b, right);
    if (tuple && list) return compare_children(a, left, b, right);
    if (tuple) return ANSWER_DIFFERENT;
    if (list || either_is(x, y, NODE_SET) || answer_tree_has_either(a, left) ||
        answer_tree_has_either(b, right))
        return compare_lists(a, left, b, right);
    if (either_is(x, y, NODE_RELATION)) return ANSWER_DIFFERENT; /* an equation and a number */
    return compare_values(&(struct element){a, left, 1}, &(struct element){b, right, 1});
}

/* ---- whole answers */

/* The digits of "204_5" and 54 are one number, but not one answer to "write it in base 5". */
enum answer_verdict answer_trees_compare(const struct answer_tree *a, const struct answer_tree *b) {
    enum answer_verdict verdict = compare(a, a->root, b, b->root);
    bool bases = a->base != b->base;
    return bases && verdict == ANSWER_EQUAL ? ANSWER_NOT_UNDERSTOOD : verdict;
}
