/* The parser of answers, between its files. */
#ifndef EVAL_ANSWER_PARSER_H
#define EVAL_ANSWER_PARSER_H

#include "eval/answer_tree.h"

enum { ANSWER_MOST_NODES = 3000, ANSWER_MOST_DEPTH = 50 };

struct parser {
    struct answer_tree *tree;
    struct answer_token *at; /* the next one; the last is TOKEN_END */
    const struct answer_token *first;
    const char *source;
    int depth, bars, brackets; /* nested calls; open |…; open brackets of tuples */
    bool grouping, failed;
    enum answer_units units;
};

/* Nodes by their index; -1 once the parser has failed. */
int parser_fail(struct parser *parser);
int parser_add(struct parser *parser, struct answer_node node);
void parser_adopt(struct parser *parser, int parent, int child);
int parser_wrap(struct parser *parser, enum answer_node_kind kind, int child);
int parser_binary(struct parser *parser, char op, int left, int right);
int parser_call(struct parser *parser, const char *name, size_t length, int child);
int parser_number_node(struct parser *parser, const char *text, size_t length, int base);

/* A number with all that belongs to it: groups of digits, a base, a fraction of a mixed number. */
int parser_number(struct parser *parser);
/* Where the digits of a number in another base end, and the base; NULL: it is none. */
const struct answer_token *parser_find_base(const struct parser *parser, int *base);

/* Whether what follows, up to the item's end, is the unit of what stands before it. */
bool parser_at_unit(struct parser *parser);
/* Where a unit of known letters and words ends, which ends the item; NULL: something else. */
const struct answer_token *parser_unit_end(const struct answer_token *at);

bool parser_take(struct parser *parser, char mark);
bool parser_enter(struct parser *parser); /* false, and failed: nested too deep */

bool token_is_mark(const struct answer_token *token, char mark);
bool token_is_command(const struct answer_token *token, const char *name);
bool token_ends_item(const struct answer_token *token);
bool token_is_whole(const struct answer_token *token);
long token_whole_value(const struct answer_token *token);

#endif
