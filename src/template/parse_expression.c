#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "template/parser.h"

struct node *syntax_fail(struct parser *parser, const char *format, ...) {
    if (parser->status) return NULL;
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    parser->status = template_fail(parser->parsed, parser->current->line, "%s", reason);
    parser->current = parser->tokens + parser->count - 1;
    return NULL;
}

struct node *syntax_node(struct parser *parser, enum node_kind kind) {
    if (parser->status) return NULL;
    struct node *node = arena_take(&parser->parsed->arena, sizeof *node);
    if (!node) return syntax_fail(parser, "out of memory");
    node->kind = kind;
    node->line = parser->current->line;
    return node;
}

bool syntax_enter(struct parser *parser) {
    if (parser->nesting == TEMPLATE_NESTING_LIMIT)
        syntax_fail(parser, "more than %d expressions and blocks in one another",
                    TEMPLATE_NESTING_LIMIT);
    else
        parser->nesting++;
    return !parser->status;
}

void syntax_leave(struct parser *parser) {
    parser->nesting--;
}

void syntax_next(struct parser *parser) {
    if (parser->current->kind != TOKEN_END) parser->current++;
}

bool syntax_at(const struct parser *parser, enum token_kind kind) {
    return parser->current->kind == kind;
}

static bool token_is_name(const struct token *token, const char *name) {
    return token->kind == TOKEN_NAME && token->length == strlen(name) &&
           memcmp(token->bytes, name, token->length) == 0;
}

bool syntax_at_name(const struct parser *parser, const char *name) {
    return token_is_name(parser->current, name);
}

bool syntax_skip(struct parser *parser, enum token_kind kind) {
    bool found = syntax_at(parser, kind);
    if (found) syntax_next(parser);
    return found;
}

bool syntax_skip_name(struct parser *parser, const char *name) {
    bool found = syntax_at_name(parser, name);
    if (found) syntax_next(parser);
    return found;
}

/* Fails with what stands at the current token instead of `what`. */
static struct node *unexpected(struct parser *parser, const char *what) {
    const struct token *token = parser->current;
    if (token->kind == TOKEN_END)
        return syntax_fail(parser, "the template ends where %s is expected", what);
    int shown = token->length > 40 ? 40 : (int)token->length;
    return syntax_fail(parser, "'%.*s' where %s is expected", shown, token->bytes, what);
}

bool syntax_expect(struct parser *parser, enum token_kind kind, const char *what) {
    if (syntax_skip(parser, kind)) return true;
    unexpected(parser, what);
    return false;
}

const struct name *syntax_expect_name(struct parser *parser) {
    const struct token *token = parser->current;
    if (!syntax_expect(parser, TOKEN_NAME, "a name")) return NULL;
    const struct name *name = name_intern(parser->parsed, token->bytes, token->length);
    if (!name) syntax_fail(parser, "out of memory");
    return name;
}

/* Links `item` to the end of a list. */
static void append(struct node ***end, struct node *item) {
    if (!item) return;
    **end = item;
    *end = &item->next;
}

static struct node *parse_or(struct parser *parser);
static struct node *parse_unary(struct parser *parser, bool filters);

static struct node *parse_condition(struct parser *parser) {
    struct node *node = parse_or(parser);
    while (syntax_skip_name(parser, "if")) {
        struct node *condition = syntax_node(parser, NODE_CONDITION);
        struct node *test = parse_or(parser), *other = NULL;
        if (syntax_skip_name(parser, "else")) other = syntax_parse_expression(parser);
        if (!condition) return NULL;
        condition->first = node;
        condition->second = test;
        condition->other = other;
        node = condition;
    }
    return node;
}

struct node *syntax_parse_expression(struct parser *parser) {
    if (!syntax_enter(parser)) return NULL;
    struct node *node = parse_condition(parser);
    syntax_leave(parser);
    return node;
}

static struct node *join(struct parser *parser, enum node_kind kind, struct node *first,
                         struct node *second) {
    struct node *node = syntax_node(parser, kind);
    if (!node) return NULL;
    node->first = first;
    node->second = second;
    return node;
}

static struct node *parse_not(struct parser *parser);

static struct node *parse_and(struct parser *parser) {
    struct node *node = parse_not(parser);
    while (syntax_skip_name(parser, "and")) node = join(parser, NODE_AND, node, parse_not(parser));
    return node;
}

static struct node *parse_or(struct parser *parser) {
    struct node *node = parse_and(parser);
    while (syntax_skip_name(parser, "or")) node = join(parser, NODE_OR, node, parse_and(parser));
    return node;
}

static struct node *parse_binary(struct parser *parser, int level);

static enum operator_kind comparison(struct parser *parser) {
    static const struct {
        enum token_kind token;
        enum operator_kind operator;
    } table[] = {
        {TOKEN_EQUAL, OPERATOR_EQUAL},     {TOKEN_NOT_EQUAL, OPERATOR_NOT_EQUAL},
        {TOKEN_LESS, OPERATOR_LESS},       {TOKEN_LESS_EQUAL, OPERATOR_LESS_EQUAL},
        {TOKEN_GREATER, OPERATOR_GREATER}, {TOKEN_GREATER_EQUAL, OPERATOR_GREATER_EQUAL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (syntax_skip(parser, table[i].token)) return table[i].operator;
    if (syntax_skip_name(parser, "in")) return OPERATOR_IN;
    if (syntax_at_name(parser, "not") && token_is_name(parser->current + 1, "in")) {
        syntax_next(parser);
        syntax_next(parser);
        return OPERATOR_NOT_IN;
    }
    return OPERATOR_NONE;
}

static struct node *parse_compare(struct parser *parser) {
    struct node *first = parse_binary(parser, 0), *compare = NULL, **end = NULL;
    for (;;) {
        enum operator_kind operator= comparison(parser);
        if (operator== OPERATOR_NONE) return compare ? compare : first;
        if (!compare) {
            compare = join(parser, NODE_COMPARE, first, NULL);
            if (!compare) return NULL;
            end = &compare->list;
        }
        struct node *operand = join(parser, NODE_OPERAND, parse_binary(parser, 0), NULL);
        if (!operand) return NULL;
        operand->operator= operator;
        append(&end, operand);
    }
}

static struct node *parse_not(struct parser *parser) {
    if (!syntax_at_name(parser, "not")) return parse_compare(parser);
    if (!syntax_enter(parser)) return NULL;
    syntax_next(parser);
    struct node *node = join(parser, NODE_NOT, parse_not(parser), NULL);
    syntax_leave(parser);
    return node;
}

/* From the loosest: + and -; ~; * / // %; **. All of them group from the left. */
enum { LEVEL_CONCAT = 1, LEVELS = 4 };

static enum operator_kind binary_operator(struct parser *parser, int level) {
    static const struct {
        int level;
        enum token_kind token;
        enum operator_kind operator;
    } table[] = {
        {0, TOKEN_ADD, OPERATOR_ADD},
        {0, TOKEN_SUBTRACT, OPERATOR_SUBTRACT},
        {2, TOKEN_MULTIPLY, OPERATOR_MULTIPLY},
        {2, TOKEN_DIVIDE, OPERATOR_DIVIDE},
        {2, TOKEN_FLOOR_DIVIDE, OPERATOR_FLOOR_DIVIDE},
        {2, TOKEN_MODULO, OPERATOR_MODULO},
        {3, TOKEN_POWER, OPERATOR_POWER},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].level == level && syntax_skip(parser, table[i].token))
            return table[i].operator;
    return OPERATOR_NONE;
}

static struct node *parse_concat(struct parser *parser) {
    struct node *first = parse_binary(parser, LEVEL_CONCAT + 1);
    if (!syntax_at(parser, TOKEN_TILDE)) return first;
    struct node *concat = syntax_node(parser, NODE_CONCAT);
    if (!concat) return NULL;
    struct node **end = &concat->list;
    append(&end, first);
    while (syntax_skip(parser, TOKEN_TILDE)) append(&end, parse_binary(parser, LEVEL_CONCAT + 1));
    return concat;
}

static struct node *parse_binary(struct parser *parser, int level) {
    if (level == LEVEL_CONCAT) return parse_concat(parser);
    if (level == LEVELS) return parse_unary(parser, true);
    struct node *node = parse_binary(parser, level + 1);
    enum operator_kind operator;
    while ((operator= binary_operator(parser, level)) != OPERATOR_NONE) {
        node = join(parser, NODE_BINARY, node, parse_binary(parser, level + 1));
        if (!node) return NULL;
        node->operator= operator;
    }
    return node;
}

/* What a call passes. The left parenthesis is current. */
static struct node *parse_arguments(struct parser *parser) {
    struct node *list = NULL, **end = &list;
    bool named = false, spread = false, spread_named = false;
    syntax_expect(parser, TOKEN_LEFT_PAREN, "'('");
    while (!parser->status && !syntax_at(parser, TOKEN_RIGHT_PAREN)) {
        if (list && !syntax_expect(parser, TOKEN_COMMA, "','")) return NULL;
        if (list && syntax_at(parser, TOKEN_RIGHT_PAREN)) break;
        struct node *argument = syntax_node(parser, NODE_ARGUMENT);
        if (!argument) return NULL;
        argument->constant = value_none();
        bool fits = !spread_named;
        if (syntax_skip(parser, TOKEN_MULTIPLY)) {
            fits = fits && !spread;
            argument->operator= OPERATOR_MULTIPLY;
            spread = true;
        } else if (syntax_skip(parser, TOKEN_POWER)) {
            argument->operator= OPERATOR_POWER;
            spread_named = true;
        } else if (syntax_at(parser, TOKEN_NAME) && parser->current[1].kind == TOKEN_ASSIGN) {
            argument->constant = value_text(parser->current->bytes, parser->current->length);
            syntax_next(parser);
            syntax_next(parser);
            named = true;
        } else {
            fits = fits && !spread && !named;
        }
        if (!fits) return syntax_fail(parser, "the arguments of a call are in a wrong order");
        argument->first = syntax_parse_expression(parser);
        append(&end, argument);
    }
    syntax_expect(parser, TOKEN_RIGHT_PAREN, "')'");
    return list;
}

static struct node *parse_call(struct parser *parser, struct node *callee) {
    struct node *call = join(parser, NODE_CALL, callee, NULL);
    struct node *list = parse_arguments(parser);
    if (call) call->list = list;
    return call;
}

/* One index, or a slice. */
static struct node *parse_index(struct parser *parser) {
    struct node *parts[3] = {NULL};
    if (!syntax_at(parser, TOKEN_COLON)) {
        parts[0] = syntax_parse_expression(parser);
        if (!syntax_at(parser, TOKEN_COLON)) return parts[0];
    }
    for (int i = 1; i < 3 && syntax_skip(parser, TOKEN_COLON); i++)
        if (!syntax_at(parser, TOKEN_COLON) && !syntax_at(parser, TOKEN_RIGHT_BRACKET) &&
            !syntax_at(parser, TOKEN_COMMA))
            parts[i] = syntax_parse_expression(parser);
    struct node *slice = join(parser, NODE_SLICE, parts[0], parts[1]);
    if (slice) slice->other = parts[2];
    return slice;
}

static struct node *parse_brackets(struct parser *parser, struct node *object) {
    struct node *list = NULL, **end = &list;
    size_t count = 0;
    syntax_next(parser);
    while (!parser->status && !syntax_at(parser, TOKEN_RIGHT_BRACKET)) {
        if (list && !syntax_expect(parser, TOKEN_COMMA, "','")) return NULL;
        append(&end, parse_index(parser));
        count++;
    }
    syntax_expect(parser, TOKEN_RIGHT_BRACKET, "']'");
    struct node *key = list;
    if (count != 1) {
        key = syntax_node(parser, NODE_TUPLE);
        if (key) key->list = list;
    }
    return join(parser, NODE_ITEM, object, key);
}

static struct node *parse_dot(struct parser *parser, struct node *object) {
    syntax_next(parser);
    const struct token *token = parser->current;
    bool number = token->kind == TOKEN_CONSTANT && token->value.kind == VALUE_INTEGER;
    if (!number && token->kind != TOKEN_NAME) return unexpected(parser, "a name or a number");
    syntax_next(parser);
    struct node *node = join(parser, number ? NODE_ITEM : NODE_ATTRIBUTE, object, NULL);
    struct value value = number ? token->value : value_text(token->bytes, token->length);
    if (!node) return NULL;
    if (!number) {
        node->constant = value;
        return node;
    }
    node->second = syntax_node(parser, NODE_CONSTANT);
    if (node->second) node->second->constant = value;
    return node;
}

static struct node *parse_postfix(struct parser *parser, struct node *node) {
    for (;;) {
        if (syntax_at(parser, TOKEN_DOT))
            node = parse_dot(parser, node);
        else if (syntax_at(parser, TOKEN_LEFT_BRACKET))
            node = parse_brackets(parser, node);
        else if (syntax_at(parser, TOKEN_LEFT_PAREN))
            node = parse_call(parser, node);
        else
            return node;
    }
}

/* The name of a filter or test, which jinja2 lets consist of several with dots between. */
static const struct token *parse_builtin_name(struct parser *parser) {
    const struct token *token = parser->current;
    if (!syntax_expect(parser, TOKEN_NAME, "a name")) return NULL;
    if (syntax_at(parser, TOKEN_DOT))
        syntax_fail(parser, "there is no filter or test \"%.*s.…\"",
                    token->length > 40 ? 40 : (int)token->length, token->bytes);
    return token;
}

struct node *syntax_parse_filters(struct parser *parser, struct node *first, bool at_name) {
    struct node *node = first;
    while (!parser->status && (at_name || syntax_skip(parser, TOKEN_PIPE))) {
        at_name = false;
        struct node *filter = join(parser, NODE_FILTER, node, NULL);
        const struct token *token = parse_builtin_name(parser);
        if (!filter || !token) return NULL;
        filter->constant = value_text(token->bytes, token->length);
        filter->builtin = filter_find(token->bytes, token->length);
        if (syntax_at(parser, TOKEN_LEFT_PAREN)) filter->list = parse_arguments(parser);
        node = filter;
    }
    return node;
}

static bool begins_test_argument(const struct parser *parser) {
    switch (parser->current->kind) {
    case TOKEN_NAME:
        return !syntax_at_name(parser, "else") && !syntax_at_name(parser, "or") &&
               !syntax_at_name(parser, "and");
    case TOKEN_CONSTANT:
    case TOKEN_LEFT_BRACKET:
    case TOKEN_LEFT_BRACE:
        return true;
    default:
        return false;
    }
}

static struct node *parse_test(struct parser *parser, struct node *first) {
    syntax_next(parser);
    bool negated = syntax_skip_name(parser, "not");
    struct node *test = join(parser, NODE_TEST, first, NULL);
    const struct token *token = parse_builtin_name(parser);
    if (!test || !token) return NULL;
    test->constant = value_text(token->bytes, token->length);
    test->builtin = test_find(token->bytes, token->length);
    if (syntax_at(parser, TOKEN_LEFT_PAREN)) {
        test->list = parse_arguments(parser);
    } else if (begins_test_argument(parser)) {
        if (syntax_at_name(parser, "is"))
            return syntax_fail(parser, "tests with \"is\" cannot be chained");
        struct node *argument = syntax_node(parser, NODE_ARGUMENT);
        if (!argument) return NULL;
        argument->constant = value_none();
        argument->first = parse_postfix(parser, syntax_parse_primary(parser, false));
        test->list = argument;
    }
    return negated ? join(parser, NODE_NOT, test, NULL) : test;
}

static struct node *parse_filter_expression(struct parser *parser, struct node *node) {
    for (;;) {
        if (syntax_at(parser, TOKEN_PIPE))
            node = syntax_parse_filters(parser, node, false);
        else if (syntax_at_name(parser, "is"))
            node = parse_test(parser, node);
        else if (syntax_at(parser, TOKEN_LEFT_PAREN))
            node = parse_call(parser, node);
        else
            return node;
    }
}

static struct node *parse_unary(struct parser *parser, bool filters) {
    struct node *node;
    bool minus = syntax_at(parser, TOKEN_SUBTRACT);
    if (minus || syntax_at(parser, TOKEN_ADD)) {
        if (!syntax_enter(parser)) return NULL;
        syntax_next(parser);
        node = join(parser, minus ? NODE_NEGATE : NODE_PLUS, parse_unary(parser, false), NULL);
        syntax_leave(parser);
    } else {
        node = syntax_parse_primary(parser, false);
    }
    node = parse_postfix(parser, node);
    return filters ? parse_filter_expression(parser, node) : node;
}

static struct node *parse_list(struct parser *parser) {
    struct node *list = syntax_node(parser, NODE_LIST);
    if (!list) return NULL;
    struct node **end = &list->list;
    syntax_next(parser);
    while (!parser->status && !syntax_at(parser, TOKEN_RIGHT_BRACKET)) {
        if (list->list && !syntax_expect(parser, TOKEN_COMMA, "','")) return NULL;
        if (syntax_at(parser, TOKEN_RIGHT_BRACKET)) break;
        append(&end, syntax_parse_expression(parser));
    }
    syntax_expect(parser, TOKEN_RIGHT_BRACKET, "']'");
    return list;
}

static struct node *parse_dict(struct parser *parser) {
    struct node *dict = syntax_node(parser, NODE_DICT);
    if (!dict) return NULL;
    struct node **end = &dict->list;
    syntax_next(parser);
    while (!parser->status && !syntax_at(parser, TOKEN_RIGHT_BRACE)) {
        if (dict->list && !syntax_expect(parser, TOKEN_COMMA, "','")) return NULL;
        if (syntax_at(parser, TOKEN_RIGHT_BRACE)) break;
        append(&end, syntax_parse_expression(parser));
        syntax_expect(parser, TOKEN_COLON, "':'");
        append(&end, syntax_parse_expression(parser));
    }
    syntax_expect(parser, TOKEN_RIGHT_BRACE, "'}'");
    return dict;
}

static bool at_tuple_end(const struct parser *parser, const char *end) {
    return syntax_at(parser, TOKEN_VARIABLE_END) || syntax_at(parser, TOKEN_BLOCK_END) ||
           syntax_at(parser, TOKEN_RIGHT_PAREN) || (end && syntax_at_name(parser, end));
}

struct node *syntax_parse_tuple(struct parser *parser, bool conditions, const char *last) {
    struct node *list = NULL, **end = &list;
    bool parenthesis = last && *last == ')';
    bool commas = false;
    if (parenthesis) last = NULL;
    while (!parser->status && !at_tuple_end(parser, last)) {
        struct node *item = NULL;
        if (syntax_enter(parser)) {
            item = conditions ? syntax_parse_expression(parser) : parse_or(parser);
            syntax_leave(parser);
        }
        append(&end, item);
        if (!syntax_skip(parser, TOKEN_COMMA)) break;
        commas = true;
    }
    if (!commas && list) return list;
    if (!commas && !parenthesis) return unexpected(parser, "an expression");
    struct node *tuple = syntax_node(parser, NODE_TUPLE);
    if (tuple) tuple->list = list;
    return tuple;
}

/* A name, and what a macro has to know about its use. */
static struct node *parse_name(struct parser *parser, bool namespaces) {
    struct node *node = syntax_node(parser, NODE_NAME);
    const struct token *token = parser->current;
    const struct name *name = syntax_expect_name(parser);
    if (!node || !name) return NULL;
    node->name = name;
    if (namespaces && syntax_skip(parser, TOKEN_DOT)) {
        token = parser->current;
        if (!syntax_expect(parser, TOKEN_NAME, "a name")) return NULL;
        node->kind = NODE_NAMESPACE_TARGET;
        node->constant = value_text(token->bytes, token->length);
    } else if (parser->function) {
        parser->function->uses_caller |= strcmp(name->text, "caller") == 0;
        parser->function->uses_arguments |= strcmp(name->text, "varargs") == 0;
        parser->function->uses_named |= strcmp(name->text, "kwargs") == 0;
    }
    return node;
}

static bool constant_name(struct value *out, const struct parser *parser) {
    bool yes = syntax_at_name(parser, "true") || syntax_at_name(parser, "True");
    bool no = syntax_at_name(parser, "false") || syntax_at_name(parser, "False");
    bool none = syntax_at_name(parser, "none") || syntax_at_name(parser, "None");
    *out = none ? value_none() : value_bool(yes);
    return yes || no || none;
}

/* Texts that follow each other are one. */
static struct value parse_texts(struct parser *parser) {
    struct value text = parser->current->value;
    syntax_next(parser);
    while (syntax_at(parser, TOKEN_CONSTANT) && value_is_text(parser->current->value)) {
        struct value more = parser->current->value;
        char *bytes = arena_take_text(&parser->parsed->arena, text.text.length + more.text.length);
        if (!bytes) {
            syntax_fail(parser, "out of memory");
            return text;
        }
        memcpy(bytes, text.text.bytes, text.text.length);
        memcpy(bytes + text.text.length, more.text.bytes, more.text.length);
        text = value_text(bytes, text.text.length + more.text.length);
        syntax_next(parser);
    }
    return text;
}

struct node *syntax_parse_primary(struct parser *parser, bool namespaces) {
    struct value constant;
    struct node *node = NULL;
    switch (parser->current->kind) {
    case TOKEN_NAME:
        if (!constant_name(&constant, parser)) return parse_name(parser, namespaces);
        node = syntax_node(parser, NODE_CONSTANT);
        if (node) node->constant = constant;
        syntax_next(parser);
        return node;
    case TOKEN_CONSTANT:
        node = syntax_node(parser, NODE_CONSTANT);
        if (!node) return NULL;
        node->constant = parser->current->value;
        if (value_is_text(node->constant))
            node->constant = parse_texts(parser);
        else
            syntax_next(parser);
        return node;
    case TOKEN_LEFT_PAREN:
        syntax_next(parser);
        node = syntax_parse_tuple(parser, true, ")");
        syntax_expect(parser, TOKEN_RIGHT_PAREN, "')'");
        return node;
    case TOKEN_LEFT_BRACKET:
        return parse_list(parser);
    case TOKEN_LEFT_BRACE:
        return parse_dict(parser);
    default:
        return unexpected(parser, "an expression");
    }
}
