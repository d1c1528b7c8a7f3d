/* Equations that give something a name's value. */
#include <string.h>

#include "eval/answer_tree.h"

static const struct answer_node *node_of(const struct answer_tree *tree, int node) {
    return &tree->nodes[node];
}

static bool is_letter(const struct answer_node *node, const char *none_of) {
    return node->kind == NODE_VARIABLE && (node->length != 1 || !strchr(none_of, *node->text));
}

static bool is_capital(const struct answer_node *node) {
    return node->kind == NODE_VARIABLE && node->length == 1 && *node->text >= 'A' &&
           *node->text <= 'Z' && node->first < 0;
}

/* f(x), f(2), P(A), AB: functions and points, no products of unknowns. */
static bool is_name(const struct answer_tree *tree, int index) {
    const struct answer_node *node = node_of(tree, index);
    if (node->kind == NODE_VARIABLE) return true;
    if (node->kind != NODE_BINARY || node->op != '*') return false;
    const struct answer_node *first = node_of(tree, node->first),
                             *second = node_of(tree, first->next);
    if (node->open == '(') return is_letter(first, "xyz");
    if (first->kind == NODE_BINARY && first->op == '*' && first->open != '(')
        return is_capital(second) && is_capital(node_of(tree, first->first)) &&
               is_name(tree, node->first);
    return is_capital(first) && is_capital(second);
}

/* (x, y) = (1, 2) */
static bool names_all(const struct answer_tree *tree, const struct answer_node *names,
                      const struct answer_node *values) {
    if (names->kind != NODE_TUPLE || values->kind != NODE_TUPLE || names->count != values->count)
        return false;
    for (int child = names->first; child >= 0; child = node_of(tree, child)->next)
        if (node_of(tree, child)->kind != NODE_VARIABLE) return false;
    return true;
}

static bool is_equation(const struct answer_node *node) {
    for (int i = 0; i + 1 < node->count; i++)
        if (node->relations[i] != '=' && node->relations[i] != '~') return false;
    return node->kind == NODE_RELATION;
}

int answer_tree_value_side(const struct answer_tree *tree, int index) {
    const struct answer_node *node = node_of(tree, index);
    if (node->kind != NODE_RELATION) return index;
    int last = node->first;
    while (node_of(tree, last)->next >= 0) last = node_of(tree, last)->next;
    const struct answer_node *first = node_of(tree, node->first);
    enum answer_node_kind kind = node_of(tree, last)->kind;
    bool elements = node->count == 2 && node->relations[0] == 'i' && first->kind == NODE_VARIABLE &&
                    (kind == NODE_SET || kind == NODE_EMPTY);
    if (elements) return last;
    if (!is_equation(node)) return index;
    if (is_name(tree, node->first)) return last;
    if (node->count == 2 && names_all(tree, first, node_of(tree, last))) return last;
    if (node->count == 2 && node_of(tree, last)->kind == NODE_VARIABLE) return node->first;
    return answer_tree_has_variable(tree, node->first) ? index : last; /* 5 + 3 = 8 */
}
