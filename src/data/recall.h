/* A probe of recall that needs no file: items that only a model that looks back can answer.
 *
 *   kv      a list of pairs of words, then the key of one: which word stood beside it? The wrong
 *           choices are values of other keys, so that the binding counts
 *   needle  plain sentences, one of which names a secret word, then that sentence again: which
 *           word? The wrong choices do not occur
 *   fact    the same with what Tom bought, for models that know little
 *   copy    random words, then a part of them again: which comes next? The wrong choices are other
 *           words of the row (what induction heads do)
 *
 * Words are single tokens of the tokenizer with a blank before them, so that a row answers all
 * choices of an item. Nothing here asks a model to follow an instruction. */
#ifndef DATA_RECALL_H
#define DATA_RECALL_H

#include "base/list.h"
#include "data/choices.h"

enum recall_kind {
    RECALL_KV,
    RECALL_NEEDLE,
    RECALL_FACT,
    RECALL_COPY,
    RECALL_KINDS,
};

enum { RECALL_CHOICES = 8 };

const char *recall_kind_name(enum recall_kind kind); /* "kv", … */

struct recall_options {
    struct int_list lengths; /* tokens of a row, each at least RECALL_SHORTEST */
    const double *depths;    /* [depths_count] where the answer stands: 0 first, 1 last */
    size_t depths_count;
    int items; /* of each kind, length and depth */
    uint64_t seed;
    int64_t max_tokens;           /* what the model takes; 0: no limit */
    enum tokenizer_around around; /* what stands before a row: TOKENIZER_BEGIN or _PLAIN */
};

enum { RECALL_SHORTEST = 32, RECALL_LONGEST = 1 << 20 };

/* The items, by kind, length and depth; category (kind * lengths + length) * depths + depth is
 * named like "kv/256/0.50". Pure function of the options and the tokenizer. A tokenizer with fewer
 * than 64 words that are one token is refused. */
enum status recall_build(struct choice_set **out, const struct tokenizer *tokenizer,
                         const struct recall_options *options) STATUS_CHECKED;

#endif
