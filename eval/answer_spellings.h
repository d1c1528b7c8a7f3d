/* Spellings of the signs and commands in final answers. */
#ifndef EVAL_ANSWER_SPELLINGS_H
#define EVAL_ANSWER_SPELLINGS_H

#include "eval/answer_tokens.h" /* circle: names its tokens */

struct answer_spelling {
    const char *from;
    enum answer_token_kind kind; /* TOKEN_END: nothing is kept of it */
    char mark;
    const char *name;
};

/* Length of `from` at this place; 0: it is not there. A command must end where its letters do. */
size_t answer_spelling_fits(const char *at, const char *from);

/* The longest spelling at a place, `spaced` when a blank is before it; NULL: none. */
const struct answer_spelling *answer_spelling_at(size_t *length, const char *at, bool spaced);

#endif
