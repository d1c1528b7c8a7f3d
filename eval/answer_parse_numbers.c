/* Nodes, tokens and numbers, for answer_parse.c. */
#include <string.h>

#include "eval/answer_parser.h"

/* ---- nodes */

int parser_fail(struct parser *parser) {
    parser->failed = true;
    return -1;
}

int parser_add(struct parser *parser, struct answer_node node) {
    struct answer_tree *tree = parser->tree;
    if (parser->failed || tree->count >= ANSWER_MOST_NODES) return parser_fail(parser);
    node.first = node.next = -1;
    tree->nodes[tree->count] = node;
    return tree->count++;
}

void parser_adopt(struct parser *parser, int parent, int child) {
    if (parent < 0 || child < 0) {
        parser->failed = true;
        return;
    }
    struct answer_node *nodes = parser->tree->nodes;
    int *link = &nodes[parent].first;
    while (*link >= 0) link = &nodes[*link].next;
    *link = child;
    nodes[parent].count++;
}

int parser_wrap(struct parser *parser, enum answer_node_kind kind, int child) {
    int node = parser_add(parser, (struct answer_node){.kind = kind});
    parser_adopt(parser, node, child);
    return node;
}

int parser_binary(struct parser *parser, char op, int left, int right) {
    int node = parser_add(parser, (struct answer_node){.kind = NODE_BINARY, .op = op});
    parser_adopt(parser, node, left);
    parser_adopt(parser, node, right);
    return node;
}

int parser_call(struct parser *parser, const char *name, size_t length, int child) {
    int node = parser_wrap(parser, NODE_CALL, child);
    if (node < 0) return node;
    parser->tree->nodes[node].text = name;
    parser->tree->nodes[node].length = length;
    return node;
}

/* ---- tokens */

bool token_is_mark(const struct answer_token *token, char mark) {
    return token->kind == TOKEN_MARK && token->mark == mark;
}

bool parser_take(struct parser *parser, char mark) {
    if (!token_is_mark(parser->at, mark)) return false;
    parser->at++;
    return true;
}

bool token_is_command(const struct answer_token *token, const char *name) {
    return token->kind == TOKEN_COMMAND && answer_token_is(token, name);
}

bool token_is_whole(const struct answer_token *token) {
    if (token->kind != TOKEN_NUMBER) return false;
    for (size_t i = 0; i < token->length; i++)
        if (token->text[i] < '0' || token->text[i] > '9') return false;
    return true;
}

long token_whole_value(const struct answer_token *token) {
    long value = 0;
    for (size_t i = 0; i < token->length && value < 100000000; i++)
        value = 10 * value + (token->text[i] - '0');
    return value;
}

bool parser_enter(struct parser *parser) {
    if (++parser->depth <= ANSWER_MOST_DEPTH && !parser->failed) return true;
    parser->failed = true;
    return false;
}

/* ---- numbers */

int parser_number_node(struct parser *parser, const char *text, size_t length, int base) {
    if (memchr(text, '.', length)) parser->tree->decimal = true;
    if (base != 10) parser->tree->base = base;
    return parser_add(
        parser,
        (struct answer_node){.kind = NODE_NUMBER, .text = text, .length = length, .base = base});
}

/* Groups of three digits after the first number: "{,}" and thin blanks always part thousands, a
 * comma where no list can be meant. Number of tokens that belong to the number; 1: no groups. */
static size_t grouped_tokens(struct parser *parser) {
    const struct answer_token *first = parser->at, *at = first + 1;
    bool sure = false, commas = false;
    if (!token_is_whole(first) || first->length > 3 || first->text[0] == '0') return 1;
    for (;;) {
        bool blank = token_is_whole(at) && at->spaced && at->length == 3 && !commas;
        bool parted = token_is_mark(at, '\'') || (token_is_mark(at, ',') && !at->spaced);
        const struct answer_token *digits = blank ? at : at + 1;
        if ((!blank && !parted) || digits->kind != TOKEN_NUMBER) break;
        if (parted && digits->spaced && !token_is_mark(at, '\'')) break;
        size_t whole = strspn(digits->text, "0123456789");
        if (whole != 3 || memchr(digits->text, '\\', digits->length)) return 1;
        sure |= token_is_mark(at, '\'') || blank;
        commas |= token_is_mark(at, ',');
        at = digits + 1;
        if (digits->length > 3) break; /* decimals end it */
    }
    if (at == first + 1) return 1;
    if (token_is_mark(at, ',') && at[1].kind == TOKEN_NUMBER && !at[1].spaced && !sure) return 1;
    if (commas && !sure && (!parser->grouping || parser->brackets)) return 1;
    parser->tree->grouped |= commas && !sure;
    return (size_t)(at - first);
}

/* The digits of several tokens are one number: its value is a sum of products. */
static int grouped_number(struct parser *parser, size_t count) {
    const struct answer_token *end = parser->at + count;
    int node = parser_number_node(parser, parser->at->text, parser->at->length, 10);
    for (parser->at++; parser->at < end; parser->at++) {
        if (parser->at->kind != TOKEN_NUMBER) continue;
        int thousand = parser_number_node(parser, "1000", 4, 10);
        node = parser_binary(parser, '*', node, thousand);
        int digits = parser_number_node(parser, parser->at->text, parser->at->length, 10);
        node = parser_binary(parser, '+', node, digits);
    }
    return node;
}

/* Whether the token's text is where the token stands: not so of what one sign was expanded to. */
static bool is_in_source(const struct parser *parser, const struct answer_token *token) {
    return token->text == parser->source + token->from;
}

/* "1011_2", "1A3_{16}" */
const struct answer_token *parser_find_base(const struct parser *parser, int *base) {
    const struct answer_token *at = parser->at + 1;
    if (!is_in_source(parser, parser->at)) return NULL;
    while (!at->spaced && is_in_source(parser, at) &&
           (token_is_whole(at) || (at->kind == TOKEN_VARIABLE && at->length == 1) ||
            (at->kind == TOKEN_COMMAND && at->length == 1)))
        at++;
    if (!token_is_mark(at, '_') || at->spaced) return NULL;
    const struct answer_token *braces = at + 1,
                              *value = token_is_mark(braces, '{') ? at + 2 : at + 1;
    if (!token_is_whole(value) || value->length > 2) return NULL;
    if (token_is_mark(braces, '{') && !token_is_mark(value + 1, '}')) return NULL;
    *base = (int)token_whole_value(value);
    return *base >= 2 && *base <= 36 ? at : NULL;
}

static int number_in_base(struct parser *parser, const struct answer_token *mark, int base) {
    const struct answer_token *first = parser->at;
    size_t length = mark->from - first->from;
    parser->at += mark - parser->at;
    bool braces = token_is_mark(parser->at + 1, '{');
    parser->at += braces ? 4 : 2;
    return parser_number_node(parser, first->text, length, base);
}

/* A numerator or denominator of digits. */
struct digits {
    const char *text;
    size_t length;
};

static long digits_value(struct digits digits) {
    return token_whole_value(&(struct answer_token){.text = digits.text, .length = digits.length});
}

/* One argument of \frac in digits: "{12}", or a digit of its own (`used` of those of its token).
 * Number of tokens that it ends; -1: it is something else. */
static int fraction_part(struct digits *out, const struct answer_token *at, size_t *used) {
    bool braces = token_is_mark(at, '{');
    const struct answer_token *number = at + braces;
    if (!token_is_whole(number) || (braces && (*used || !token_is_mark(number + 1, '}'))))
        return -1;
    *out = (struct digits){number->text + *used, braces ? number->length : 1};
    if (braces) return 3;
    bool ends = ++*used == number->length;
    if (ends) *used = 0;
    return ends;
}

/* "3 1/2", "3\frac{1}{2}", "3\frac12": the fraction that belongs to a whole number; 0: none. */
static size_t mixed_tokens(const struct parser *parser, struct digits *top, struct digits *bottom) {
    const struct answer_token *at = parser->at;
    size_t taken = 0, used = 0;
    if (token_is_whole(at) && at->spaced && token_is_mark(at + 1, '/') && token_is_whole(at + 2)) {
        *top = (struct digits){at->text, at->length};
        *bottom = (struct digits){at[2].text, at[2].length};
        taken = 3;
    } else if (token_is_command(at, "frac")) {
        int above = fraction_part(top, at + 1, &used);
        int below = above < 0 ? -1 : fraction_part(bottom, at + 1 + above, &used);
        if (below < 0 || used) return 0;
        taken = 1 + (size_t)above + (size_t)below;
    }
    return taken && digits_value(*top) < digits_value(*bottom) ? taken : 0;
}

/* "0.1\overline{6}" is 0.1 + 6/90, exactly. */
static int repeating_number(struct parser *parser) {
    static const char nines[] = "999999999999999999999999999999";
    static const char ten_power[] = "1000000000000000000000000000000";
    const struct answer_token *token = parser->at++;
    const char *point = memchr(token->text, '.', token->length);
    const char *command = memchr(token->text, '\\', token->length);
    const char *digits = (const char *)memchr(command, '{', token->length) + 1;
    size_t repeated = strspn(digits, "0123456789"), fixed = (size_t)(command - point) - 1;
    bool decimal = parser->tree->decimal;
    if (repeated >= sizeof nines || fixed >= sizeof ten_power - 1) return parser_fail(parser);
    size_t length = (size_t)(command - token->text) - (fixed == 0);
    int before = parser_number_node(parser, token->text, length, 10);
    int above = parser_number_node(parser, digits, repeated, 10);
    int below = parser_number_node(parser, nines, repeated, 10);
    int shift = parser_number_node(parser, ten_power, fixed + 1, 10);
    parser->tree->decimal = decimal; /* no rounded one */
    below = parser_binary(parser, '*', below, shift);
    return parser_binary(parser, '+', before, parser_binary(parser, '/', above, below));
}

int parser_number(struct parser *parser) {
    int base;
    struct digits top, bottom;
    if (memchr(parser->at->text, '\\', parser->at->length)) return repeating_number(parser);
    const struct answer_token *mark = parser_find_base(parser, &base);
    if (mark) return number_in_base(parser, mark, base);
    size_t groups = grouped_tokens(parser);
    bool whole = token_is_whole(parser->at);
    if (groups > 1) return grouped_number(parser, groups);
    int node = parser_number_node(parser, parser->at->text, parser->at->length, 10);
    parser->at++;
    size_t fraction = whole ? mixed_tokens(parser, &top, &bottom) : 0;
    if (!fraction) return node;
    int above = parser_number_node(parser, top.text, top.length, 10);
    int below = parser_number_node(parser, bottom.text, bottom.length, 10);
    parser->at += fraction;
    return parser_binary(parser, '+', node, parser_binary(parser, '/', above, below));
}
