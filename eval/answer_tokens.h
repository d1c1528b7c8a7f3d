/* Tokens of a final answer: LaTeX, Unicode signs and plain text in one notation. */
#ifndef EVAL_ANSWER_TOKENS_H
#define EVAL_ANSWER_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum answer_token_kind {
    TOKEN_END,
    TOKEN_NUMBER,   /* digits, with or without a point; ".5", "0.1\overline{6}" */
    TOKEN_VARIABLE, /* a letter, or a Greek one by its command's name */
    TOKEN_WORD,     /* two letters or more that are no product, or what stands in \text{…} */
    TOKEN_FUNCTION, /* sin, log, …: by name */
    TOKEN_COMMAND,  /* frac, sqrt, root, binom, over, choose, pi, e, i, infty, emptyset, reals: by
                       name */
    TOKEN_BEGIN,    /* of a matrix, by the environment's name */
    TOKEN_ENDING,   /* its end */
    TOKEN_RELATION, /* =, <, >, l (<=), g (>=), n (!=), ~ (about), i (in) */
    TOKEN_SET,      /* u (union), n (intersection), - (difference) */
    TOKEN_AND,      /* between elements or conditions */
    TOKEN_OR,
    TOKEN_MARK, /* one character: + - * / ^ _ ! % & ( ) [ ] | , ; : and
                   p (plus or minus), m (minus or plus), d (degree), { } (of LaTeX),
                   L R (braces of a set), < > (angle brackets), f F c C (floor, ceiling),
                   ' (a comma that parts thousands), r (the end of a matrix's row) */
    TOKEN_UNKNOWN,
};

struct answer_token {
    enum answer_token_kind kind;
    char mark;        /* of MARK, RELATION and SET */
    bool spaced;      /* a blank stood before it */
    bool worded;      /* in \text{…} */
    const char *text; /* its name or digits; borrowed from the text that was read or constant */
    size_t length;
    size_t from, to; /* bytes of the text it was made from */
};

struct answer_tokens {
    const char *text;            /* what was read; borrowed */
    struct answer_token *tokens; /* [count], the last one is TOKEN_END */
    size_t count;
    char *written; /* what raised and lowered signs stand for */
    bool too_many; /* longer than any answer */
};

/* Free with answer_tokens_free. `text` must outlive the tokens. */
enum status answer_tokens_read(struct answer_tokens *out, const char *text) STATUS_CHECKED;
void answer_tokens_free(struct answer_tokens *tokens);

bool answer_token_is(const struct answer_token *token, const char *name);

#endif
