/* The value of an expression of an answer at a point. */
#include <string.h>

#include "eval/answer_tree.h"

struct evaluation {
    const struct answer_tree *tree;
    int point, sign;
};

static bool value(struct answer_number *out, const struct evaluation *in, int node, bool angle);

static uint64_t name_hash(uint64_t hash, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return hash ^ (hash >> 29);
}

/* Rationals with no relation to each other. The first point has positive values, the last negative
 * ones, those between have both: sqrt(x^2) is x at the first alone. */
static void variable_value(struct answer_number *out, const struct evaluation *in,
                           const struct answer_node *node) {
    uint64_t hash = name_hash(14695981039346656037u, node->text, node->length);
    if (node->first >= 0) {
        const struct answer_node *below = &in->tree->nodes[node->first];
        hash = name_hash(hash * 31 + 7, below->text, below->length);
    }
    bool odd = (hash >> 17) & 1;
    bool negative = in->point == 3 || (in->point == 1 && odd) || (in->point == 2 && !odd);
    hash = name_hash(hash, (const char *)&in->point, sizeof in->point);
    long top = 101 + (long)(hash % 397);
    answer_number_set_ratio(out, negative ? -top : top, 89 + (unsigned long)((hash >> 32) % 193));
}

static bool is_whole(const struct answer_number *x) {
    return x->exact && mpz_cmp_ui(mpq_denref(x->q), 1) == 0;
}

/* n (n-1) … (n-k+1) / k! of any n. */
static bool falling_binomial(struct answer_number *n, unsigned long k) {
    struct answer_number product, one, step;
    answer_number_init(&product);
    answer_number_init(&one);
    answer_number_init(&step);
    answer_number_set_ratio(&product, 1, 1);
    answer_number_set_ratio(&one, 1, 1);
    bool fine = true;
    for (unsigned long i = 1; fine && i <= k; i++) {
        answer_number_set_ratio(&step, (long)i, 1);
        fine = answer_number_apply(&product, '*', n) && answer_number_apply(&product, '/', &step) &&
               answer_number_apply(n, '-', &one);
    }
    answer_number_set(n, &product);
    answer_number_clear(&product);
    answer_number_clear(&one);
    answer_number_clear(&step);
    return fine;
}

/* n! / (k! (n-k)!) of any real numbers. */
static bool gamma_binomial(struct answer_number *n, struct answer_number *k) {
    struct answer_number rest;
    answer_number_init(&rest);
    answer_number_set(&rest, n);
    bool fine = answer_number_apply(&rest, '-', k) && answer_number_call(n, "gamma", 5) &&
                answer_number_call(k, "gamma", 5) && answer_number_call(&rest, "gamma", 5) &&
                answer_number_apply(n, '/', k) && answer_number_apply(n, '/', &rest);
    answer_number_clear(&rest);
    return fine;
}

/* With variables, whose values are no whole numbers, the coefficient of any real number. */
static bool binomial(struct answer_number *out, struct answer_number *below, bool variables) {
    enum { MOST_FACTORS = 300 };
    bool few = is_whole(below) && mpq_sgn(below->q) >= 0 &&
               mpz_cmp_ui(mpq_numref(below->q), MOST_FACTORS) <= 0;
    if (variables && few) return falling_binomial(out, mpz_get_ui(mpq_numref(below->q)));
    if (variables) return gamma_binomial(out, below);
    if (!is_whole(out) || !is_whole(below) || mpq_sgn(below->q) < 0 ||
        mpz_cmpabs_ui(mpq_numref(out->q), 10000) > 0 || mpz_cmp_ui(mpq_numref(below->q), 10000) > 0)
        return false;
    mpz_bin_ui(mpq_numref(out->q), mpq_numref(out->q), mpz_get_ui(mpq_numref(below->q)));
    return true;
}

static bool of_two(struct answer_number *out, const struct evaluation *in,
                   const struct answer_node *node, char op, bool angle) {
    struct answer_number right;
    answer_number_init(&right);
    int second = in->tree->nodes[node->first].next;
    bool fine = value(out, in, node->first, angle) && value(&right, in, second, angle && op != '^');
    bool variables = op == 'c' && (answer_tree_has_variable(in->tree, node->first) ||
                                   answer_tree_has_variable(in->tree, second));
    if (fine)
        fine = op == 'c' ? binomial(out, &right, variables) : answer_number_apply(out, op, &right);
    answer_number_clear(&right);
    return fine;
}

static bool negate(struct answer_number *out) {
    struct answer_number minus;
    answer_number_init(&minus);
    answer_number_set_ratio(&minus, -1, 1);
    bool fine = answer_number_apply(out, '*', &minus);
    answer_number_clear(&minus);
    return fine;
}

static bool degrees(struct answer_number *out) {
    struct answer_number factor, half_turn;
    answer_number_init(&factor);
    answer_number_init(&half_turn);
    answer_number_set_ratio(&half_turn, 180, 1);
    bool fine = answer_number_call(&factor, "pi", 2) &&
                answer_number_apply(&factor, '/', &half_turn) &&
                answer_number_apply(out, '*', &factor);
    answer_number_clear(&factor);
    answer_number_clear(&half_turn);
    return fine;
}

static bool is_of_angle(const struct answer_node *node) {
    static const char *const names[] = {"sin", "cos", "tan", "cot", "sec", "csc"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (node->length == 3 && memcmp(node->text, names[i], 3) == 0) return true;
    return false;
}

static bool value(struct answer_number *out, const struct evaluation *in, int index, bool angle) {
    const struct answer_node *node = &in->tree->nodes[index];
    int sign = node->op == 'p' ? in->sign : -in->sign;
    switch (node->kind) {
    case NODE_NUMBER:
        return answer_number_read(out, node->text, node->length, node->base);
    case NODE_VARIABLE:
        variable_value(out, in, node);
        return true;
    case NODE_CONSTANT:
        return answer_number_call(out, node->text, node->length);
    case NODE_BINARY:
        return of_two(out, in, node, node->op, angle);
    case NODE_NEGATE:
        return value(out, in, node->first, angle) && negate(out);
    case NODE_EITHER:
        if (node->count == 2) return of_two(out, in, node, sign > 0 ? '+' : '-', angle);
        return value(out, in, node->first, angle) && (sign > 0 || negate(out));
    case NODE_CALL: /* n! of a variable is that of any real number */
        if (!value(out, in, node->first, is_of_angle(node))) return false;
        if (node->length == 1 && *node->text == '!' &&
            answer_tree_has_variable(in->tree, node->first))
            return answer_number_call(out, "gamma", 5);
        return answer_number_call(out, node->text, node->length);
    case NODE_DEGREE:
        return value(out, in, node->first, angle) && (!angle || degrees(out));
    default:
        return false;
    }
}

bool answer_tree_value(struct answer_number *out, const struct answer_tree *tree, int node,
                       int point, int sign) {
    struct evaluation in = {.tree = tree, .point = point, .sign = sign};
    return value(out, &in, node, false);
}

bool answer_node_is_expression(const struct answer_node *node) {
    return node->kind <= NODE_DEGREE && node->kind != NODE_INFINITY;
}

static bool has(const struct answer_tree *tree, int node, enum answer_node_kind kind) {
    if (tree->nodes[node].kind == kind) return true;
    for (int child = tree->nodes[node].first; child >= 0; child = tree->nodes[child].next)
        if (has(tree, child, kind)) return true;
    return false;
}

bool answer_tree_has_either(const struct answer_tree *tree, int node) {
    return has(tree, node, NODE_EITHER);
}

bool answer_tree_has_variable(const struct answer_tree *tree, int node) {
    return has(tree, node, NODE_VARIABLE);
}
