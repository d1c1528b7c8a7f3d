/* Union is sorting and joining; complement turns gaps into intervals; intersection and difference
 * are made from these two. */
#include "eval/answer_sets.h"

#include <string.h>

static void interval_init(struct answer_interval *interval) {
    *interval = (struct answer_interval){.low_open = true, .high_open = true};
    answer_number_init(&interval->low);
    answer_number_init(&interval->high);
}

static void interval_copy(struct answer_interval *to, const struct answer_interval *from) {
    answer_number_set(&to->low, &from->low);
    answer_number_set(&to->high, &from->high);
    to->low_infinite = from->low_infinite;
    to->high_infinite = from->high_infinite;
    to->low_open = from->low_open;
    to->high_open = from->high_open;
}

static void set_init(struct answer_set *set) {
    set->count = 0;
    for (int i = 0; i < ANSWER_MOST_INTERVALS; i++) interval_init(&set->intervals[i]);
}

void answer_set_clear(struct answer_set *set) {
    for (int i = 0; i < ANSWER_MOST_INTERVALS; i++) {
        answer_number_clear(&set->intervals[i].low);
        answer_number_clear(&set->intervals[i].high);
    }
}

static void set_copy(struct answer_set *to, const struct answer_set *from) {
    to->count = from->count;
    for (int i = 0; i < from->count; i++) interval_copy(&to->intervals[i], &from->intervals[i]);
}

/* ---- order of ends */

/* Whether a begins before b does. */
static bool begins_before(const struct answer_interval *a, const struct answer_interval *b) {
    if (a->low_infinite || b->low_infinite) return a->low_infinite && !b->low_infinite;
    int order = answer_number_order(&a->low, &b->low);
    return order < 0 || (order == 0 && !a->low_open && b->low_open);
}

static bool ends_before(const struct answer_interval *a, const struct answer_interval *b) {
    if (a->high_infinite || b->high_infinite) return !a->high_infinite && b->high_infinite;
    int order = answer_number_order(&a->high, &b->high);
    return order < 0 || (order == 0 && a->high_open && !b->high_open);
}

/* Whether b, which does not begin before a, begins where a has not ended or has just ended. */
static bool touches(const struct answer_interval *a, const struct answer_interval *b) {
    if (a->high_infinite || b->low_infinite) return true;
    int order = answer_number_order(&b->low, &a->high);
    return order < 0 || (order == 0 && !(a->high_open && b->low_open));
}

static bool is_empty(const struct answer_interval *interval) {
    if (interval->low_infinite || interval->high_infinite) return false;
    int order = answer_number_order(&interval->low, &interval->high);
    return order > 0 || (order == 0 && (interval->low_open || interval->high_open));
}

/* ---- operations */

static bool add_interval(struct answer_set *set, const struct answer_interval *interval) {
    if (is_empty(interval)) return true;
    if (set->count == ANSWER_MOST_INTERVALS) return false;
    interval_copy(&set->intervals[set->count++], interval);
    return true;
}

static void swap(struct answer_interval *a, struct answer_interval *b) {
    struct answer_interval other = *a;
    *a = *b;
    *b = other;
}

/* Sort and join what touches. */
static void normalise(struct answer_set *set) {
    struct answer_interval *all = set->intervals;
    for (int i = 1; i < set->count; i++)
        for (int k = i; k > 0 && begins_before(&all[k], &all[k - 1]); k--)
            swap(&all[k], &all[k - 1]);
    int last = 0;
    for (int i = 1; i < set->count; i++) {
        if (!touches(&all[last], &all[i])) {
            if (++last != i) interval_copy(&all[last], &all[i]);
        } else if (ends_before(&all[last], &all[i])) {
            answer_number_set(&all[last].high, &all[i].high);
            all[last].high_infinite = all[i].high_infinite;
            all[last].high_open = all[i].high_open;
        }
    }
    if (set->count) set->count = last + 1;
}

static bool unite(struct answer_set *set, const struct answer_set *other) {
    for (int i = 0; i < other->count; i++)
        if (!add_interval(set, &other->intervals[i])) return false;
    normalise(set);
    return true;
}

static bool complement(struct answer_set *set) {
    struct answer_set gaps;
    struct answer_interval gap;
    bool fine = true, open_end = false;
    set_init(&gaps);
    interval_init(&gap);
    gap.low_infinite = true;
    for (int i = 0; fine && i < set->count; i++) {
        const struct answer_interval *at = &set->intervals[i];
        answer_number_set(&gap.high, &at->low);
        gap.high_open = !at->low_open;
        gap.high_infinite = false;
        if (!at->low_infinite) fine = add_interval(&gaps, &gap);
        answer_number_set(&gap.low, &at->high);
        gap.low_open = !at->high_open;
        gap.low_infinite = false;
        open_end = at->high_infinite;
    }
    gap.high_infinite = true;
    gap.high_open = true;
    if (fine && !open_end) fine = add_interval(&gaps, &gap);
    if (fine) set_copy(set, &gaps);
    answer_number_clear(&gap.low);
    answer_number_clear(&gap.high);
    answer_set_clear(&gaps);
    return fine;
}

/* By De Morgan. */
static bool intersect(struct answer_set *set, struct answer_set *other) {
    return complement(set) && complement(other) && unite(set, other) && complement(set);
}

/* ---- reading */

static bool is_relation(const struct answer_node *node, const char *signs) {
    if (node->kind != NODE_RELATION) return false;
    for (int i = 0; i + 1 < node->count; i++)
        if (!strchr(signs, node->relations[i])) return false;
    return true;
}

bool answer_set_is_meant(const struct answer_tree *tree, int index) {
    const struct answer_node *node = &tree->nodes[index];
    if (node->kind == NODE_SETS || node->kind == NODE_REALS || node->kind == NODE_EMPTY)
        return true;
    if (is_relation(node, "<>lgni")) return true;
    if (node->kind != NODE_TUPLE && node->kind != NODE_LIST) return false;
    for (int child = node->first; child >= 0; child = tree->nodes[child].next) {
        const struct answer_node *part = &tree->nodes[child];
        if (part->kind == NODE_NEGATE) part = &tree->nodes[part->first];
        if (node->kind == NODE_TUPLE ? part->kind == NODE_INFINITY : is_relation(part, "<>lgni"))
            return true;
    }
    return false;
}

/* A real number, or an infinite one of the sign. */
static bool read_end(struct answer_number *out, bool *infinite, const struct answer_tree *tree,
                     int index, bool high) {
    const struct answer_node *node = &tree->nodes[index];
    bool minus = node->kind == NODE_NEGATE;
    const struct answer_node *inside = minus ? &tree->nodes[node->first] : node;
    *infinite = inside->kind == NODE_INFINITY;
    if (*infinite) return minus != high;
    return answer_node_is_expression(node) && !answer_tree_has_variable(tree, index) &&
           !answer_tree_has_either(tree, index) && answer_tree_value(out, tree, index, 0, 1) &&
           answer_number_is_real(out);
}

static bool read_interval(struct answer_set *out, const struct answer_tree *tree,
                          const struct answer_node *node) {
    struct answer_interval interval;
    interval_init(&interval);
    interval.low_open = node->open == '(';
    interval.high_open = node->close == ')';
    int second = tree->nodes[node->first].next;
    bool fine = node->count == 2 &&
                read_end(&interval.low, &interval.low_infinite, tree, node->first, false) &&
                read_end(&interval.high, &interval.high_infinite, tree, second, true) &&
                add_interval(out, &interval);
    answer_number_clear(&interval.low);
    answer_number_clear(&interval.high);
    return fine;
}

static bool read_point(struct answer_set *out, const struct answer_tree *tree, int node) {
    struct answer_interval interval;
    bool infinite;
    interval_init(&interval);
    interval.low_open = interval.high_open = false;
    bool fine = read_end(&interval.low, &infinite, tree, node, false) && !infinite;
    answer_number_set(&interval.high, &interval.low);
    fine = fine && add_interval(out, &interval);
    answer_number_clear(&interval.low);
    answer_number_clear(&interval.high);
    return fine;
}

static bool read_into(struct answer_set *out, const struct answer_tree *tree, int index);

/* The numbers that stand in the relation to the one at `node`; `sign` as if the variable stood left
 * of it. */
static bool read_half_line(struct answer_set *out, const struct answer_tree *tree, char sign,
                           int node) {
    struct answer_interval interval;
    if (sign == '=') return read_point(out, tree, node);
    if (sign == 'n') return read_point(out, tree, node) && complement(out);
    if (sign == 'i') return read_into(out, tree, node);
    bool above = sign == '>' || sign == 'g', infinite;
    interval_init(&interval);
    interval.low_infinite = !above;
    interval.high_infinite = above;
    if (above) interval.low_open = sign == '>';
    if (!above) interval.high_open = sign == '<';
    bool fine = read_end(above ? &interval.low : &interval.high, &infinite, tree, node, !above);
    if (infinite) { /* x < infinity */
        interval.low_infinite = interval.high_infinite = true;
        interval.low_open = interval.high_open = true;
    }
    fine = fine && add_interval(out, &interval);
    answer_number_clear(&interval.low);
    answer_number_clear(&interval.high);
    return fine;
}

static char mirrored(char sign) {
    static const char from[] = "<>lg", to[] = "><gl";
    const char *found = strchr(from, sign);
    return found ? to[found - from] : sign;
}

/* x > 3, 3 < x, 1 < x <= 3, x in (1, 3) */
static bool read_relation(struct answer_set *out, const struct answer_tree *tree,
                          const struct answer_node *node) {
    int first = node->first, second = tree->nodes[first].next, third = tree->nodes[second].next;
    bool left = tree->nodes[first].kind == NODE_VARIABLE;
    bool right = tree->nodes[second].kind == NODE_VARIABLE;
    if (left == right) return false;
    if (node->count == 2 && left) return read_half_line(out, tree, node->relations[0], second);
    if (node->count > 3 || left || node->relations[0] == 'i') return false;
    if (!read_half_line(out, tree, mirrored(node->relations[0]), first)) return false;
    if (node->count == 2) return true;
    struct answer_set other;
    set_init(&other);
    bool fine = read_half_line(&other, tree, node->relations[1], third) && intersect(out, &other);
    answer_set_clear(&other);
    return fine;
}

static bool combine(struct answer_set *out, const struct answer_tree *tree, int child, char op) {
    struct answer_set other;
    bool fine = answer_set_read(&other, tree, child);
    if (fine && op == 'u') fine = unite(out, &other);
    if (fine && op == 'n') fine = intersect(out, &other);
    if (fine && op == '-') fine = complement(&other) && intersect(out, &other);
    answer_set_clear(&other);
    return fine;
}

/* Several conditions: "or" unites them, "and" intersects; commas do where all say "is not". The
 * variable must be the same in all, which one letter's answers nearly always are: checked. */
static bool read_list(struct answer_set *out, const struct answer_tree *tree,
                      const struct answer_node *node) {
    const struct answer_node *name = NULL;
    bool all_unequal = true;
    for (int child = node->first; child >= 0; child = tree->nodes[child].next) {
        const struct answer_node *part = &tree->nodes[child];
        if (part->kind != NODE_RELATION) return false;
        all_unequal &= is_relation(part, "n");
        for (int i = part->first; i >= 0; i = tree->nodes[i].next) {
            const struct answer_node *at = &tree->nodes[i];
            if (at->kind != NODE_VARIABLE) continue;
            if (name &&
                (at->length != name->length || memcmp(at->text, name->text, at->length) != 0))
                return false;
            name = at;
        }
    }
    char op = node->op == 'o' && !all_unequal ? 'u' : node->op == 'a' || all_unequal ? 'n' : 0;
    bool fine = op && read_into(out, tree, node->first);
    for (int child = tree->nodes[node->first].next; fine && child >= 0;
         child = tree->nodes[child].next)
        fine = combine(out, tree, child, op);
    return fine;
}

static bool read_into(struct answer_set *out, const struct answer_tree *tree, int index) {
    const struct answer_node *node = &tree->nodes[index];
    struct answer_interval all;
    bool fine = true;
    switch (node->kind) {
    case NODE_EMPTY:
        return true;
    case NODE_TUPLE:
        return read_interval(out, tree, node);
    case NODE_RELATION:
        return read_relation(out, tree, node);
    case NODE_LIST:
        return read_list(out, tree, node);
    case NODE_REALS:
        interval_init(&all);
        all.low_infinite = all.high_infinite = true;
        fine = add_interval(out, &all);
        answer_number_clear(&all.low);
        answer_number_clear(&all.high);
        return fine;
    case NODE_SET:
        for (int child = node->first; fine && child >= 0; child = tree->nodes[child].next)
            fine = read_point(out, tree, child);
        normalise(out);
        return fine;
    case NODE_SETS:
        return combine(out, tree, node->first, 'u') &&
               combine(out, tree, tree->nodes[node->first].next, node->op);
    default:
        return false;
    }
}

bool answer_set_read(struct answer_set *out, const struct answer_tree *tree, int index) {
    set_init(out);
    return read_into(out, tree, index);
}

static bool same_end(const struct answer_number *a, bool a_infinite, bool a_open,
                     const struct answer_number *b, bool b_infinite, bool b_open, bool decimal) {
    if (a_infinite || b_infinite) return a_infinite && b_infinite;
    return a_open == b_open && answer_number_equal(a, b, decimal);
}

bool answer_set_equal(const struct answer_set *a, const struct answer_set *b, bool decimal) {
    if (a->count != b->count) return false;
    for (int i = 0; i < a->count; i++) {
        const struct answer_interval *left = &a->intervals[i], *right = &b->intervals[i];
        if (!same_end(&left->low, left->low_infinite, left->low_open, &right->low,
                      right->low_infinite, right->low_open, decimal) ||
            !same_end(&left->high, left->high_infinite, left->high_open, &right->high,
                      right->high_infinite, right->high_open, decimal))
            return false;
    }
    return true;
}
