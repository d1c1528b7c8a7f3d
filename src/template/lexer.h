/* A template's tokens, with jinja2's rules of white space (trim_blocks, lstrip_blocks). */
#ifndef TEMPLATE_LEXER_H
#define TEMPLATE_LEXER_H

#include "template/tree.h"

enum token_kind {
    TOKEN_END, /* of the template */
    TOKEN_DATA,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_CONSTANT, /* text, integer or float */
    TOKEN_ADD,
    TOKEN_SUBTRACT,
    TOKEN_DIVIDE,
    TOKEN_FLOOR_DIVIDE,
    TOKEN_MULTIPLY,
    TOKEN_MODULO,
    TOKEN_POWER,
    TOKEN_TILDE,
    TOKEN_LEFT_BRACKET,
    TOKEN_RIGHT_BRACKET,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    TOKEN_LEFT_BRACE,
    TOKEN_RIGHT_BRACE,
    TOKEN_EQUAL,
    TOKEN_NOT_EQUAL,
    TOKEN_GREATER,
    TOKEN_GREATER_EQUAL,
    TOKEN_LESS,
    TOKEN_LESS_EQUAL,
    TOKEN_ASSIGN,
    TOKEN_DOT,
    TOKEN_COLON,
    TOKEN_PIPE,
    TOKEN_COMMA,
    TOKEN_SEMICOLON,
};

struct token {
    enum token_kind kind;
    int line;
    const char *bytes; /* [length]: the template's own text, for names, data and messages */
    size_t length;
    struct value value; /* of a constant */
};

/* The tokens of parsed->text, the last of which is TOKEN_END. The caller frees `*out`. */
enum status lexer_read(struct token **out, struct template *parsed) STATUS_CHECKED;

#endif
