#include <string.h>

#include "template/parser.h"

/* Statements up to one of the names in `ends` (separated by blanks; NULL: the template's end),
 * which is then the current token. */
static struct node *parse_body(struct parser *parser, const char *ends);

/* The end of a tag, the body, and the last name's tag up to its "%}". */
static struct node *parse_block(struct parser *parser, const char *ends) {
    syntax_skip(parser, TOKEN_COLON);
    if (!syntax_expect(parser, TOKEN_BLOCK_END, "the end of the tag")) return NULL;
    return parse_body(parser, ends);
}

static bool check_name(struct parser *parser, const struct node *target) {
    if (target->kind != NODE_NAME && target->kind != NODE_NAMESPACE_TARGET)
        syntax_fail(parser, "this cannot be assigned to");
    else if (target->kind == NODE_NAME && parser->loops && strcmp(target->name->text, "loop") == 0)
        syntax_fail(parser, "\"loop\" cannot be assigned to in a loop");
    return !parser->status;
}

/* (a, b) inside a target. */
static struct node *parse_target_part(struct parser *parser, bool namespaces) {
    if (!syntax_at(parser, TOKEN_LEFT_PAREN)) {
        struct node *node = syntax_parse_primary(parser, namespaces);
        return node && check_name(parser, node) ? node : NULL;
    }
    if (!syntax_enter(parser)) return NULL;
    syntax_next(parser);
    struct node *node = syntax_parse_target(parser, namespaces, ")");
    syntax_expect(parser, TOKEN_RIGHT_PAREN, "')'");
    syntax_leave(parser);
    return node;
}

struct node *syntax_parse_target(struct parser *parser, bool namespaces, const char *end) {
    struct node *list = NULL, **last = &list;
    bool commas = false;
    while (!parser->status && !(end && syntax_at_name(parser, end)) &&
           !syntax_at(parser, TOKEN_RIGHT_PAREN) && !syntax_at(parser, TOKEN_BLOCK_END)) {
        struct node *part = parse_target_part(parser, namespaces);
        if (!part) return NULL;
        *last = part;
        last = &part->next;
        if (!syntax_skip(parser, TOKEN_COMMA)) break;
        commas = true;
    }
    if (!list) return syntax_fail(parser, "a name to assign to is missing");
    if (!commas) return list;
    struct node *tuple = syntax_node(parser, NODE_TUPLE);
    if (tuple) tuple->list = list;
    return tuple;
}

static struct node *parse_set(struct parser *parser) {
    struct node *node = syntax_node(parser, NODE_SET);
    syntax_next(parser);
    struct node *target = syntax_parse_target(parser, true, NULL);
    if (!node || !target) return NULL;
    node->target = target;
    if (syntax_skip(parser, TOKEN_ASSIGN)) {
        node->first = syntax_parse_tuple(parser, true, NULL);
        return node;
    }
    if (target->kind == NODE_TUPLE)
        return syntax_fail(parser, "a block cannot be assigned to several names");
    node->kind = NODE_SET_BLOCK;
    if (syntax_at(parser, TOKEN_PIPE))
        node->first = syntax_parse_filters(parser, syntax_node(parser, NODE_BODY), false);
    node->body = parse_block(parser, "endset");
    syntax_next(parser);
    return node;
}

static struct node *parse_for(struct parser *parser) {
    struct node *node = syntax_node(parser, NODE_FOR);
    syntax_next(parser);
    parser->loops++;
    struct node *target = syntax_parse_target(parser, false, "in");
    parser->loops--;
    if (!node || !syntax_skip_name(parser, "in"))
        return syntax_fail(parser, "a loop without \"in\"");
    node->target = target;
    node->first = syntax_parse_tuple(parser, false, "recursive");
    if (syntax_skip_name(parser, "if")) node->second = syntax_parse_expression(parser);
    node->flag = syntax_skip_name(parser, "recursive");
    parser->loops++;
    node->body = parse_block(parser, "endfor else");
    parser->loops--;
    if (syntax_skip_name(parser, "else")) node->other = parse_block(parser, "endfor");
    syntax_next(parser);
    return node;
}

static struct node *parse_if(struct parser *parser) {
    struct node *first = NULL, **place = &first;
    do {
        struct node *node = syntax_node(parser, NODE_IF);
        syntax_next(parser);
        if (!node) return NULL;
        node->first = syntax_parse_tuple(parser, false, NULL);
        node->body = parse_block(parser, "elif else endif");
        *place = node;
        place = &node->other;
    } while (syntax_at_name(parser, "elif"));
    if (syntax_skip_name(parser, "else")) *place = parse_block(parser, "endif");
    syntax_next(parser);
    return first;
}

static struct node *parse_with(struct parser *parser) {
    struct node *node = syntax_node(parser, NODE_WITH);
    syntax_next(parser);
    if (!node) return NULL;
    struct node **end = &node->list;
    while (!parser->status && !syntax_at(parser, TOKEN_BLOCK_END)) {
        if (node->list && !syntax_expect(parser, TOKEN_COMMA, "','")) return NULL;
        struct node *target = parse_target_part(parser, false);
        if (!target || !syntax_expect(parser, TOKEN_ASSIGN, "'='")) return NULL;
        target->first = syntax_parse_expression(parser);
        *end = target;
        end = &target->next;
    }
    node->body = parse_block(parser, "endwith");
    syntax_next(parser);
    return node;
}

/* (a, b=1): the parameters of a macro or of a call's block. */
static void parse_signature(struct parser *parser, struct node *node) {
    struct node **end = &node->list;
    bool defaults = false;
    syntax_expect(parser, TOKEN_LEFT_PAREN, "'('");
    while (!parser->status && !syntax_at(parser, TOKEN_RIGHT_PAREN)) {
        if (node->list && !syntax_expect(parser, TOKEN_COMMA, "','")) return;
        struct node *parameter = syntax_node(parser, NODE_NAME);
        const struct name *name = syntax_expect_name(parser);
        if (!parameter || !name) return;
        parameter->name = name;
        bool special = strcmp(name->text, "caller") == 0 || strcmp(name->text, "varargs") == 0 ||
                       strcmp(name->text, "kwargs") == 0;
        if (special) syntax_fail(parser, "the parameter \"%s\" is not understood", name->text);
        if (syntax_skip(parser, TOKEN_ASSIGN)) {
            parameter->first = syntax_parse_expression(parser);
            defaults = true;
        } else if (defaults) {
            syntax_fail(parser, "a parameter without a default after one with it");
        }
        *end = parameter;
        end = &parameter->next;
    }
    syntax_expect(parser, TOKEN_RIGHT_PAREN, "')'");
}

/* The body of a macro or of a call's block: loops around it are none of its own, and what it says
 * of caller, varargs and kwargs is said by the macro around it, too. */
static void parse_function_body(struct parser *parser, struct node *node, const char *end) {
    struct node *around = parser->function;
    int loops = parser->loops;
    parser->function = node;
    parser->loops = 0;
    node->body = parse_block(parser, end);
    parser->loops = loops;
    parser->function = around;
    if (around) {
        around->uses_caller |= node->uses_caller;
        around->uses_arguments |= node->uses_arguments;
        around->uses_named |= node->uses_named;
    }
    syntax_next(parser);
}

static struct node *parse_macro(struct parser *parser) {
    struct node *node = syntax_node(parser, NODE_MACRO);
    syntax_next(parser);
    const struct name *name = syntax_expect_name(parser);
    if (!node || !name) return NULL;
    node->name = name;
    parse_signature(parser, node);
    parse_function_body(parser, node, "endmacro");
    return node;
}

static struct node *parse_call_block(struct parser *parser) {
    struct node *node = syntax_node(parser, NODE_CALL_BLOCK);
    syntax_next(parser);
    if (!node) return NULL;
    if (syntax_at(parser, TOKEN_LEFT_PAREN)) parse_signature(parser, node);
    node->first = syntax_parse_expression(parser);
    if (!parser->status && node->first->kind != NODE_CALL)
        return syntax_fail(parser, "\"call\" without a call");
    parse_function_body(parser, node, "endcall");
    return node;
}

static struct node *parse_filter_block(struct parser *parser) {
    struct node *node = syntax_node(parser, NODE_FILTER_BLOCK);
    syntax_next(parser);
    if (!node) return NULL;
    node->first = syntax_parse_filters(parser, syntax_node(parser, NODE_BODY), true);
    node->body = parse_block(parser, "endfilter");
    syntax_next(parser);
    return node;
}

static struct node *parse_generation(struct parser *parser) {
    struct node *node = syntax_node(parser, NODE_GENERATION);
    int loops = parser->loops;
    syntax_next(parser);
    if (!node) return NULL;
    parser->parsed->has_generation = true;
    parser->loops = 0;
    node->body = parse_block(parser, "endgeneration");
    parser->loops = loops;
    syntax_next(parser);
    return node;
}

/* {% print a, b %} */
static struct node *parse_print(struct parser *parser) {
    struct node *list = NULL, **end = &list;
    syntax_next(parser);
    while (!parser->status && !syntax_at(parser, TOKEN_BLOCK_END)) {
        if (list && !syntax_expect(parser, TOKEN_COMMA, "','")) return NULL;
        struct node *node = syntax_node(parser, NODE_OUTPUT);
        if (!node) return NULL;
        node->first = syntax_parse_expression(parser);
        *end = node;
        end = &node->next;
    }
    return list;
}

static struct node *parse_jump(struct parser *parser, enum node_kind kind) {
    if (!parser->loops) return syntax_fail(parser, "a break or continue outside of a loop");
    struct node *node = syntax_node(parser, kind);
    syntax_next(parser);
    return node;
}

static struct node *parse_break(struct parser *parser) {
    return parse_jump(parser, NODE_BREAK);
}

static struct node *parse_continue(struct parser *parser) {
    return parse_jump(parser, NODE_CONTINUE);
}

static struct node *parse_statement(struct parser *parser) {
    static const struct {
        const char *name;
        struct node *(*parse)(struct parser *parser);
    } statements[] = {
        {"for", parse_for},
        {"if", parse_if},
        {"set", parse_set},
        {"macro", parse_macro},
        {"call", parse_call_block},
        {"filter", parse_filter_block},
        {"with", parse_with},
        {"print", parse_print},
        {"break", parse_break},
        {"continue", parse_continue},
        {"generation", parse_generation},
    };
    const struct token *token = parser->current;
    if (token->kind != TOKEN_NAME) return syntax_fail(parser, "a tag without a name");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (syntax_at_name(parser, statements[i].name)) return statements[i].parse(parser);
    return syntax_fail(parser, "the tag \"%.*s\" is not understood here",
                       token->length > 40 ? 40 : (int)token->length, token->bytes);
}

static bool at_end(const struct parser *parser, const char *ends) {
    const struct token *token = parser->current;
    for (const char *name = ends; name && token->kind == TOKEN_NAME; name++) {
        size_t length = strcspn(name, " ");
        if (length == token->length && memcmp(name, token->bytes, length) == 0) return true;
        name += length;
        if (!*name) return false;
    }
    return false;
}

static struct node *parse_part(struct parser *parser) {
    const struct token *token = parser->current;
    struct node *node;
    switch (token->kind) {
    case TOKEN_DATA:
        node = syntax_node(parser, NODE_TEXT);
        if (node) node->constant = value_text(token->bytes, token->length);
        syntax_next(parser);
        return node;
    case TOKEN_VARIABLE_BEGIN:
        syntax_next(parser);
        node = syntax_node(parser, NODE_OUTPUT);
        if (!node) return NULL;
        node->first = syntax_parse_tuple(parser, true, NULL);
        syntax_expect(parser, TOKEN_VARIABLE_END, "'}}'");
        return node;
    default:
        node = parse_statement(parser);
        syntax_expect(parser, TOKEN_BLOCK_END, "the end of the tag");
        return node;
    }
}

static struct node *parse_body(struct parser *parser, const char *ends) {
    struct node *list = NULL, **end = &list;
    if (!syntax_enter(parser)) return NULL;
    while (!parser->status && !syntax_at(parser, TOKEN_END)) {
        bool block = syntax_skip(parser, TOKEN_BLOCK_BEGIN);
        if (block && at_end(parser, ends)) break;
        if (!block && !syntax_at(parser, TOKEN_DATA) && !syntax_at(parser, TOKEN_VARIABLE_BEGIN)) {
            syntax_fail(parser, "a tag is not closed");
            break;
        }
        *end = parse_part(parser);
        while (*end) end = &(*end)->next; /* {% print %} gives several, or none */
    }
    if (ends && syntax_at(parser, TOKEN_END))
        syntax_fail(parser, "the template ends where one of these is expected: %s", ends);
    syntax_leave(parser);
    return list;
}

struct node *syntax_parse_template(struct parser *parser) {
    return parse_body(parser, NULL);
}
