/* Tokens to a tree, by jinja2's grammar. A fault is kept in `status`; the parser then stands at the
 * end of the tokens, so that every loop over them ends. */
#ifndef TEMPLATE_PARSER_H
#define TEMPLATE_PARSER_H

#include "template/lexer.h"
#include "template/limits.h"

struct parser {
    struct template *parsed;
    const struct token *tokens, *current;
    size_t count;
    enum status status;
    int nesting;
    int loops;             /* around the current statement, in its macro */
    struct node *function; /* the macro or call block around the current statement */
};

/* Fails at the current token. Returns NULL. */
struct node *syntax_fail(struct parser *parser, const char *format, ...) STATUS_PRINTF(2, 3);

/* A node at the current token's line; NULL after a failure, as for all functions below. */
struct node *syntax_node(struct parser *parser, enum node_kind kind);
bool syntax_enter(struct parser *parser); /* one level deeper; false: too deep, and failed */
void syntax_leave(struct parser *parser);
void syntax_next(struct parser *parser);
bool syntax_at(const struct parser *parser, enum token_kind kind);
bool syntax_at_name(const struct parser *parser, const char *name);
bool syntax_skip(struct parser *parser, enum token_kind kind); /* true: it stood there */
bool syntax_skip_name(struct parser *parser, const char *name);
bool syntax_expect(struct parser *parser, enum token_kind kind, const char *what);
const struct name *syntax_expect_name(struct parser *parser);

/* parse_expression.c */
struct node *syntax_parse_expression(struct parser *parser);
struct node *syntax_parse_primary(struct parser *parser, bool namespaces);
struct node *syntax_parse_filters(struct parser *parser, struct node *first, bool at_name);

/* An expression, or several separated by commas: a tuple. It ends before the name `end` (NULL:
 * none; ")": in parentheses, where there may be nothing). conditions: `a if b` is one. */
struct node *syntax_parse_tuple(struct parser *parser, bool conditions, const char *end);

/* What can be assigned to: a name, names (with parentheses or without), with namespaces also
 * name.attribute. It ends before the name `end` (or NULL). */
struct node *syntax_parse_target(struct parser *parser, bool namespaces, const char *end);

/* parse_statement.c */
struct node *syntax_parse_template(struct parser *parser);

/* analyze.c */
enum status syntax_analyze(struct template *parsed) STATUS_CHECKED;

#endif
