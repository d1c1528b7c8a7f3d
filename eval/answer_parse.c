/* Recursive descent over the tokens of an answer. What can be read in two ways, as "\sin x/2", is
 * not read at all: a comparison that guesses would be wrong half of the time. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/answer_parser.h"
#include "eval/answer_units.h"

static int expression(struct parser *parser);
static int union_of_sets(struct parser *parser);
static int list(struct parser *parser);

/* ---- primaries */

static int group(struct parser *parser, char close) {
    if (!parser_enter(parser)) return -1;
    int bars = parser->bars;
    if (close != '|') parser->bars = 0;
    int node = expression(parser);
    parser->bars = bars;
    parser->depth--;
    return parser_take(parser, close) ? node : parser_fail(parser);
}

/* What a command applies to: {…}, or one digit, letter or command, as in \frac12. */
static int argument(struct parser *parser);

static int variable(struct parser *parser) {
    struct answer_node node = {
        .kind = NODE_VARIABLE, .text = parser->at->text, .length = parser->at->length};
    parser->at++;
    if (!token_is_mark(parser->at, '_')) return parser_add(parser, node);
    /* the subscript is part of the name; braces around it do not matter */
    const struct answer_token *at = parser->at + 1;
    bool braces = token_is_mark(at, '{');
    struct answer_token *first = parser->at + 1 + braces;
    if (first->kind != TOKEN_NUMBER && first->kind != TOKEN_VARIABLE &&
        first->kind != TOKEN_COMMAND && first->kind != TOKEN_WORD)
        return parser_fail(parser);
    if (braces && !token_is_mark(first + 1, '}')) return parser_fail(parser);
    int child = parser_add(
        parser,
        (struct answer_node){.kind = NODE_VARIABLE, .text = first->text, .length = first->length});
    parser->at = first + 1 + braces;
    int whole = parser_add(parser, node);
    parser_adopt(parser, whole, child);
    return whole;
}

static int constant(struct parser *parser) {
    struct answer_node node = {
        .kind = NODE_CONSTANT, .text = parser->at->text, .length = parser->at->length};
    if (answer_token_is(parser->at, "infty")) node.kind = NODE_INFINITY;
    if (answer_token_is(parser->at, "emptyset")) node.kind = NODE_EMPTY;
    if (answer_token_is(parser->at, "reals")) node.kind = NODE_REALS;
    parser->at++;
    return parser_add(parser, node);
}

/* \sqrt{x}, \sqrt[n]{x}, \sqrt2; √2, √(2), ∛8, sqrt(2) */
static int root(struct parser *parser) {
    bool latex = answer_token_is(parser->at, "sqrt"),
         cube = answer_token_is(parser->at, "cube root");
    parser->at++;
    int degree = -1;
    if (latex && token_is_mark(parser->at, '[')) {
        bool third = token_is_whole(parser->at + 1) && token_whole_value(parser->at + 1) == 3 &&
                     token_is_mark(parser->at + 2, ']');
        parser->at++;
        degree = group(parser, ']');
        cube = third;
    }
    int of = !latex && parser->at->kind == TOKEN_NUMBER ? parser_number(parser) : argument(parser);
    if (cube) return parser_call(parser, "cube root", 9, of);
    if (degree < 0) return parser_call(parser, "sqrt", 4, of);
    int one = parser_number_node(parser, "1", 1, 10);
    return parser_binary(parser, '^', of, parser_binary(parser, '/', one, degree));
}

static int command(struct parser *parser) {
    if (token_is_command(parser->at, "frac") || token_is_command(parser->at, "binom")) {
        char op = token_is_command(parser->at, "frac") ? '/' : 'c';
        parser->at++;
        int top = argument(parser);
        return parser_binary(parser, op, top, argument(parser));
    }
    if (token_is_command(parser->at, "sqrt") || token_is_command(parser->at, "root") ||
        token_is_command(parser->at, "cube root"))
        return root(parser);
    if (token_is_command(parser->at, "over") || token_is_command(parser->at, "choose"))
        return parser_fail(parser);
    return constant(parser);
}

/* Whether an operand can begin here without a sign of multiplication before it. */
static bool begins_factor(const struct parser *parser, bool functions) {
    const struct answer_token *at = parser->at;
    switch (at->kind) {
    case TOKEN_NUMBER:
    case TOKEN_VARIABLE:
        return true;
    case TOKEN_FUNCTION:
        return functions;
    case TOKEN_COMMAND:
        return !token_is_command(at, "over") && !token_is_command(at, "choose");
    case TOKEN_MARK:
        return strchr("({fc", at->mark) || (at->mark == '|' && !parser->bars);
    default:
        return false;
    }
}

static int factor(struct parser *parser);

/* What a function is taken of, when no brackets hold it: factors up to the next sign or function.
 */
static int bare_argument(struct parser *parser) {
    bool minus = parser_take(parser, '-');
    if (!begins_factor(parser, true)) return parser_fail(parser);
    if (parser->at->kind == TOKEN_FUNCTION) return factor(parser);
    int node = factor(parser);
    while (!parser->failed && begins_factor(parser, false) && !token_is_mark(parser->at, '('))
        node = parser_binary(parser, '*', node, factor(parser));
    bool quotient = token_is_mark(parser->at, '/') && parser->at[1].kind != TOKEN_FUNCTION;
    if (quotient || token_is_mark(parser->at, '(')) return parser_fail(parser);
    return minus ? parser_wrap(parser, NODE_NEGATE, node) : node;
}

/* The base of a logarithm: {…}, or digits, of which only the first counts where the argument would
 * have none else (\log_28). */
static int subscript(struct parser *parser) {
    struct answer_token *digits = parser->at;
    if (digits->kind != TOKEN_NUMBER || digits->length == 1) return argument(parser);
    const struct answer_token *next = digits + 1;
    bool operand = next->kind == TOKEN_NUMBER || next->kind == TOKEN_VARIABLE ||
                   next->kind == TOKEN_COMMAND || token_is_mark(next, '(') ||
                   token_is_mark(next, '{');
    if (!operand) return argument(parser);
    parser->at++;
    return parser_number_node(parser, digits->text, digits->length, 10);
}

static int function(struct parser *parser) {
    const struct answer_token *name = parser->at++;
    int base = -1, power = -1;
    bool inverse = false;
    if (!parser_enter(parser)) return -1;
    if (answer_token_is(name, "log") && parser_take(parser, '_')) base = subscript(parser);
    if (token_is_mark(parser->at, '^')) {
        parser->at++;
        inverse = token_is_mark(parser->at, '{') && token_is_mark(parser->at + 1, '-') &&
                  token_is_whole(parser->at + 2) && token_whole_value(parser->at + 2) == 1 &&
                  token_is_mark(parser->at + 3, '}');
        if (inverse && name->length != 3) return parser_fail(parser);
        if (inverse)
            parser->at += 4;
        else
            power = argument(parser);
    }
    bool round_brackets = token_is_mark(parser->at, '('), braces = token_is_mark(parser->at, '{');
    int of;
    if (round_brackets || braces) {
        parser->at++;
        of = group(parser, round_brackets ? ')' : '}');
        if (token_is_mark(parser->at, '^'))
            return parser_fail(parser); /* of the function or of its argument? */
    } else {
        of = bare_argument(parser);
    }
    parser->depth--;
    if (inverse) { /* \sin^{-1} x */
        static const char *const inverses[] = {"asin", "acos", "atan"};
        for (int i = 0; i < 3; i++)
            if (memcmp(inverses[i] + 1, name->text, 3) == 0)
                return parser_call(parser, inverses[i], 4, of);
        return parser_fail(parser);
    }
    int node = parser_call(parser, name->text, name->length, of);
    if (base >= 0)
        node = parser_binary(parser, '/', parser_call(parser, "ln", 2, of),
                             parser_call(parser, "ln", 2, base));
    return power >= 0 ? parser_binary(parser, '^', node, power) : node;
}

/* The elements up to the closing mark. */
static int set_of(struct parser *parser, int node, char close) {
    parser->brackets++;
    while (!parser->failed && !token_is_mark(parser->at, close)) {
        parser_adopt(parser, node, union_of_sets(parser));
        if (!token_is_mark(parser->at, ',') && !token_is_mark(parser->at, ';')) break;
        parser->at++;
    }
    parser->brackets--;
    if (!parser_take(parser, close)) return parser_fail(parser);
    if (node >= 0 && parser->tree->nodes[node].count == 0)
        parser->tree->nodes[node].kind = NODE_EMPTY;
    return node;
}

/* What stands before and after \over or \choose: they reach as far as the braces or brackets around
 * them, or the whole side of an equation. */
static int with_over(struct parser *parser, int node) {
    bool over = token_is_command(parser->at, "over"),
         choose = token_is_command(parser->at, "choose");
    if (parser->failed || (!over && !choose)) return node;
    parser->at++;
    return parser_binary(parser, over ? '/' : 'c', node, expression(parser));
}

/* {1 \over 2}, {5 \choose 2}, or an expression in braces, which only hold it together. */
static int braces(struct parser *parser) {
    if (!parser_enter(parser)) return -1;
    int bars = parser->bars;
    parser->bars = 0;
    int node = with_over(parser, expression(parser));
    parser->bars = bars;
    parser->depth--;
    if (token_is_mark(parser->at, ',')) { /* {1, 2}, as a set is written without LaTeX */
        parser->at++;
        return set_of(parser, parser_wrap(parser, NODE_SET, node), '}');
    }
    return parser_take(parser, '}') ? node : parser_fail(parser);
}

/* Round or square brackets: around one expression they do nothing; a tuple or interval. */
static int brackets(struct parser *parser) {
    char open = parser->at->mark, other = 0;
    parser->at++;
    if (!parser_enter(parser)) return -1;
    int bars = parser->bars;
    parser->bars = 0;
    parser->brackets++;
    int tuple = -1, node = with_over(parser, union_of_sets(parser));
    while (!parser->failed && (token_is_mark(parser->at, ',') || token_is_mark(parser->at, ';'))) {
        parser->at++;
        if (tuple < 0) tuple = parser_wrap(parser, NODE_TUPLE, node);
        parser_adopt(parser, tuple, union_of_sets(parser));
    }
    parser->brackets--;
    parser->bars = bars;
    parser->depth--;
    if (parser->at->kind == TOKEN_MARK) other = parser->at->mark;
    if (!other || !strchr(")]>", other)) return parser_fail(parser);
    parser->at++;
    if (tuple < 0) {
        bool pair = (open == '(' && other == ')') || (open == '[' && other == ']');
        bool matrix = node >= 0 && parser->tree->nodes[node].kind == NODE_MATRIX;
        return pair || matrix ? node : parser_fail(parser);
    }
    parser->tree->nodes[tuple].open = open == '<' ? '(' : open;
    parser->tree->nodes[tuple].close = open == '<' ? ')' : other;
    return tuple;
}

static int set(struct parser *parser) {
    parser->at++;
    if (!parser_enter(parser)) return -1;
    int node = parser_add(parser, (struct answer_node){.kind = NODE_SET});
    node = set_of(parser, node, 'R');
    parser->depth--;
    return node;
}

static int matrix(struct parser *parser) {
    struct answer_node about = {
        .kind = NODE_MATRIX, .text = parser->at->text, .length = parser->at->length, .rows = 1};
    int node = parser_add(parser, about), columns = 1, width = 0;
    parser->at++;
    if (!parser_enter(parser)) return -1;
    parser->brackets++;
    while (!parser->failed) {
        parser_adopt(parser, node, expression(parser));
        if (parser_take(parser, '&')) {
            columns++;
            continue;
        }
        bool more = parser_take(parser, 'r') && parser->at->kind != TOKEN_ENDING;
        if (width && columns != width) return parser_fail(parser);
        width = columns;
        columns = 1;
        if (!more) break;
        if (node >= 0) parser->tree->nodes[node].rows++;
    }
    parser->brackets--;
    parser->depth--;
    if (parser->at->kind != TOKEN_ENDING || parser->failed) return parser_fail(parser);
    parser->at++;
    if (answer_token_is(parser->at - 1, "cases")) return parser_fail(parser);
    return node;
}

static int enclosed(struct parser *parser, char close, const char *name) {
    parser->at++;
    if (close == '|') parser->bars++;
    int node = group(parser, close);
    if (close == '|') parser->bars--;
    return parser_call(parser, name, strlen(name), node);
}

/* "FF_{16}" */
static bool begins_hexadecimal(const struct parser *parser) {
    int base;
    const struct answer_token *mark = parser_find_base(parser, &base);
    if (!mark || base != 16 || mark - parser->at < 2) return false;
    for (const struct answer_token *at = parser->at; at < mark; at++)
        if (at->length != 1 || !strchr("0123456789ABCDEF", *at->text)) return false;
    return true;
}

static int primary(struct parser *parser) {
    const struct answer_token *at = parser->at;
    switch (at->kind) {
    case TOKEN_NUMBER:
        return parser_number(parser);
    case TOKEN_VARIABLE:
        return begins_hexadecimal(parser) ? parser_number(parser) : variable(parser);
    case TOKEN_FUNCTION:
        return function(parser);
    case TOKEN_COMMAND:
        return command(parser);
    case TOKEN_BEGIN:
        return matrix(parser);
    case TOKEN_MARK:
        if (at->mark == '(' || at->mark == '[' || at->mark == '<') return brackets(parser);
        if (at->mark == 'L') return set(parser);
        if (at->mark == '{') {
            parser->at++;
            return braces(parser);
        }
        if (at->mark == '|' && !parser->bars) return enclosed(parser, '|', "abs");
        if (at->mark == 'f') return enclosed(parser, 'F', "floor");
        if (at->mark == 'c') return enclosed(parser, 'C', "ceil");
        return parser_fail(parser);
    default:
        return parser_fail(parser);
    }
}

static int argument(struct parser *parser) {
    struct answer_token *at = parser->at;
    if (parser_take(parser, '{')) return braces(parser);
    if (at->kind == TOKEN_NUMBER && at->length > 1) {
        int digit = parser_number_node(parser, at->text, 1, 10);
        at->text++;
        at->from++;
        at->length--;
        at->spaced = false;
        return digit;
    }
    if (!parser_enter(parser)) return -1;
    int node = primary(parser);
    parser->depth--;
    return node;
}

/* ---- operators */

static int postfix(struct parser *parser) {
    int node = primary(parser);
    while (!parser->failed) {
        if (parser_take(parser, '!')) {
            bool twice = parser_take(parser, '!');
            node = parser_call(parser, twice ? "!!" : "!", twice ? 2 : 1, node);
        } else if (parser_take(parser, 'd')) {
            node = parser_wrap(parser, NODE_DEGREE, node);
        } else {
            break;
        }
    }
    return node;
}

static int factor(struct parser *parser) {
    if (!parser_enter(parser)) return -1;
    int node = postfix(parser);
    if (!parser->failed && parser_take(parser, '^')) {
        bool minus = parser_take(parser, '-');
        int exponent = parser_take(parser, '{') ? braces(parser) : factor(parser);
        node = parser_binary(parser, '^', node,
                             minus ? parser_wrap(parser, NODE_NEGATE, exponent) : exponent);
        if (token_is_mark(parser->at, '!')) parser->failed = true;
    }
    parser->depth--;
    return node;
}

/* A number may follow a factorial or a bracket without a sign: "7!3!". */
static bool ends_operand(const struct answer_token *at) {
    return at->kind == TOKEN_MARK && strchr("!)}", at->mark);
}

static int term(struct parser *parser) {
    int node = factor(parser);
    while (!parser->failed) {
        if (token_is_mark(parser->at, '*') || token_is_mark(parser->at, '/')) {
            char op = parser->at->mark;
            parser->at++;
            bool minus = parser_take(parser, '-'); /* 2 * -3 */
            int right = factor(parser);
            node = parser_binary(parser, op, node,
                                 minus ? parser_wrap(parser, NODE_NEGATE, right) : right);
        } else if (parser_at_unit(parser)) {
            break;
        } else if (begins_factor(parser, true) &&
                   (parser->at->kind != TOKEN_NUMBER || ends_operand(parser->at - 1))) {
            char open = token_is_mark(parser->at, '(') ? '(' : 0;
            node = parser_binary(parser, '*', node, factor(parser)); /* 2\sqrt3, 3x */
            if (node >= 0) parser->tree->nodes[node].open = open;
        } else {
            break;
        }
    }
    return node;
}

static int either(struct parser *parser, char op, int left, int right) {
    int node = parser_add(parser, (struct answer_node){.kind = NODE_EITHER, .op = op});
    if (left >= 0) parser_adopt(parser, node, left);
    parser_adopt(parser, node, right);
    return node;
}

static int expression(struct parser *parser) {
    int node;
    if (!parser_enter(parser)) return -1;
    if (parser_take(parser, '-'))
        node = parser_wrap(parser, NODE_NEGATE, term(parser));
    else if (token_is_mark(parser->at, 'p') || token_is_mark(parser->at, 'm')) {
        char op = parser->at->mark;
        parser->at++;
        node = either(parser, op, -1, term(parser));
    } else {
        parser_take(parser, '+');
        node = term(parser);
    }
    while (!parser->failed && parser->at->kind == TOKEN_MARK && strchr("+-pm", parser->at->mark)) {
        char op = parser->at->mark;
        parser->at++;
        int right = term(parser);
        node = strchr("pm", op) ? either(parser, op, node, right)
                                : parser_binary(parser, op, node, right);
    }
    parser->depth--;
    return node;
}

static int union_of_sets(struct parser *parser) {
    int node = expression(parser), count = 0;
    while (!parser->failed && parser->at->kind == TOKEN_SET) {
        if (++count > ANSWER_MOST_DEPTH) return parser_fail(parser);
        char op = parser->at->mark;
        parser->at++;
        int sets = parser_add(parser, (struct answer_node){.kind = NODE_SETS, .op = op});
        parser_adopt(parser, sets, node);
        parser_adopt(parser, sets, expression(parser));
        node = sets;
    }
    return node;
}

/* ---- items */

static int relation(struct parser *parser) {
    int first = with_over(parser, union_of_sets(parser)), node = -1;
    while (!parser->failed && parser->at->kind == TOKEN_RELATION) {
        if (node < 0) node = parser_wrap(parser, NODE_RELATION, first);
        int count = node < 0 ? 0 : parser->tree->nodes[node].count;
        if (count < 1 || count > ANSWER_MOST_RELATIONS) return parser_fail(parser);
        parser->tree->nodes[node].relations[count - 1] = parser->at->mark;
        parser->at++;
        parser_adopt(parser, node, with_over(parser, union_of_sets(parser)));
    }
    return node < 0 ? first : node;
}

/* "5 million": the number; in the likely reading of units "million" is one. */
static int multiplied(struct parser *parser, int quantity) {
    while (parser->at->kind == TOKEN_WORD && parser->units != ANSWER_UNITS_LIKELY) {
        const char *digits = answer_unit_multiplier(parser->at->text, parser->at->length);
        if (!digits) break;
        int factor = parser_number_node(parser, digits, strlen(digits), 10);
        quantity = parser_binary(parser, '*', quantity, factor);
        parser->tree->letters = true;
        parser->at++;
    }
    return quantity;
}

/* Whether a token may be part of a unit: letters that are no variables, words that say nothing of
 * the number, and numbers as powers. */
static bool is_of_unit(const struct parser *parser, const struct answer_token *first) {
    const struct answer_token *at = parser->at;
    bool letter =
        at->kind == TOKEN_VARIABLE && at->length == 1 && strchr("amgshLNJWVAKCF", *at->text);
    bool number = parser->units != ANSWER_UNITS_LIKELY || at > first;
    bool word = at->kind == TOKEN_WORD && !(number && answer_unit_is_number(at->text, at->length));
    if (word && at == first)
        word = !answer_token_is(at, "squared") && !answer_token_is(at, "cubed");
    bool power = at - 1 > first && token_is_mark(at - 1, '^');
    bool braces = at - 2 > first && token_is_mark(at - 1, '{') && token_is_mark(at - 2, '^');
    bool exponent = at->kind == TOKEN_NUMBER && (power || braces);
    return letter || word || exponent || (at->kind == TOKEN_MARK && strchr("^/{}*", at->mark));
}

/* Words up to the item's end. The degree of a temperature belongs to them. */
static int unit(struct parser *parser, int quantity) {
    quantity = multiplied(parser, quantity);
    if (token_ends_item(parser->at)) return quantity;
    const struct answer_token *first = parser->at - token_is_mark(parser->at - 1, 'd');
    const struct answer_token *end = parser_unit_end(parser->at);
    if (end) parser->at += end - parser->at;
    for (; !token_ends_item(parser->at); parser->at++)
        if (!is_of_unit(parser, first)) return parser_fail(parser);
    int node = parser_wrap(parser, NODE_UNIT, quantity);
    if (node < 0) return node;
    parser->tree->nodes[node].text = parser->source + first->from;
    parser->tree->nodes[node].length = (parser->at - 1)->to - first->from;
    return node;
}

static int words(struct parser *parser) {
    const struct answer_token *first = parser->at;
    while (!token_ends_item(parser->at)) parser->at++;
    int node = parser_add(parser, (struct answer_node){.kind = NODE_TEXT});
    if (node < 0) return node;
    parser->tree->nodes[node].text = parser->source + first->from;
    parser->tree->nodes[node].length = (parser->at - 1)->to - first->from;
    return node;
}

/* (A): a choice's letter. */
static bool begins_with_words(const struct answer_token *at) {
    while (token_is_mark(at, '(')) at++;
    return at->kind == TOKEN_WORD;
}

static int item(struct parser *parser) {
    if (begins_with_words(parser->at)) return words(parser);
    int node = relation(parser);
    if (!parser->failed && parser_take(parser, '%')) node = parser_wrap(parser, NODE_PERCENT, node);
    if (!parser->failed && token_is_mark(parser->at, ':')) {
        int ratio = parser_wrap(parser, NODE_RATIO, node);
        while (!parser->failed && parser_take(parser, ':'))
            parser_adopt(parser, ratio, expression(parser));
        node = ratio;
    }
    bool unit_follows =
        !parser->failed && (parser->at->kind == TOKEN_WORD || parser_at_unit(parser));
    if (unit_follows) node = unit(parser, node);
    return node;
}

static int list(struct parser *parser) {
    int first = item(parser), node = -1;
    while (!parser->failed && parser->at->kind != TOKEN_END && token_ends_item(parser->at)) {
        char op = ',';
        while (parser->at->kind != TOKEN_END && token_ends_item(parser->at)) { /* ", and" */
            if (parser->at->kind == TOKEN_AND) op = 'a';
            if (parser->at->kind == TOKEN_OR) op = 'o';
            parser->at++;
        }
        if (parser->at->kind == TOKEN_END) return parser_fail(parser);
        if (node < 0) node = parser_wrap(parser, NODE_LIST, first);
        if (node < 0) break;
        char *listed = &parser->tree->nodes[node].op;
        if (!*listed || *listed == ',') *listed = op;
        if (op != ',' && *listed != op) return parser_fail(parser);
        parser_adopt(parser, node, item(parser));
    }
    return node < 0 ? first : node;
}

enum status answer_tree_parse(struct answer_tree *out, struct answer_tokens *tokens, bool grouping,
                              enum answer_units units) {
    *out = (struct answer_tree){.root = -1, .base = 10};
    out->nodes = memory_calloc(ANSWER_MOST_NODES, sizeof *out->nodes);
    if (!out->nodes) return STATUS_FAILED;
    struct parser parser = {.tree = out,
                            .at = tokens->tokens,
                            .first = tokens->tokens,
                            .source = tokens->text,
                            .grouping = grouping,
                            .units = units};
    if (tokens->too_many || tokens->count < 2) return STATUS_OK;
    int root_node = list(&parser);
    if (!parser.failed && parser.at->kind == TOKEN_END) out->root = root_node;
    return STATUS_OK;
}

void answer_tree_free(struct answer_tree *tree) {
    free(tree->nodes);
    *tree = (struct answer_tree){.root = -1};
}
