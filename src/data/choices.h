/* Multiple-choice items as rows of token ids and the spans of them to score: what eval and loo run
 * a model on when the signal is a task.
 *
 * A choice's score is the log-likelihood of its ids after its context. The rows hold what the model
 * is given (the context and the ids but the last); choices whose input is the beginning of
 * another's share its row, so that an item of four one-token choices (MMLU) is one row. */
#ifndef DATA_CHOICES_H
#define DATA_CHOICES_H

#include "data/tokenset.h"
#include "tokenizer/tokenizer.h"

/* A choice's ids before they are laid out: context, then what is scored. */
struct choice_ids {
    uint32_t *ids; /* [count], owned */
    size_t count, context;
    int64_t characters; /* of the choice's text: what acc_norm divides by */
};

struct choice_source {
    struct choice_ids *choices; /* [count], owned */
    int count, gold;
    char *category; /* owned; NULL: none */
};

struct choice {
    int64_t row;    /* of the set */
    int64_t token;  /* of the set: the one that predicts the first scored id */
    size_t targets; /* first of its ids in choice_set.targets */
    int64_t count;  /* scored ids, at least one */
    int64_t characters;
};

struct choice_item {
    int64_t number;          /* from 0 in the task's order: the row in the database */
    size_t first;            /* of choice_set.choices */
    int choices, gold;       /* gold below choices */
    int category;            /* of choice_set.categories; -1: none */
    int64_t first_row, rows; /* of the set */
};

/* Items are laid out longest first, so that what needs the most memory comes first. */
struct choice_set {
    struct tokenset set;       /* the rows; its fingerprint covers targets and gold too */
    struct choice_item *items; /* [items_count] */
    size_t items_count;
    struct choice *choices; /* [choices_count] */
    size_t choices_count;
    uint32_t *targets; /* [targets_count] */
    size_t targets_count;
    char **categories; /* [categories_count] in order of appearance: MMLU's subjects … */
    size_t categories_count;
    int64_t cut; /* choices whose context was cut at its beginning to fit max_tokens */
};

/* The ids of `context` followed by `continuation`, cut as lm-evaluation-harness does: both are
 * encoded together, and the context is as long as its own encoding (blanks at its end count to the
 * continuation). `around` is TOKENIZER_BEGIN or TOKENIZER_PLAIN. An empty continuation or context
 * is a failure. */
enum status choice_ids_encode(struct choice_ids *out, const struct tokenizer *tokenizer,
                              const char *context, const char *continuation,
                              enum tokenizer_around around) STATUS_CHECKED;

/* Lay out `count` items. Inputs longer than `max_tokens` (0: no limit) lose the beginning of their
 * context. The caller keeps the sources and frees `*out` with choice_set_free. */
enum status choice_set_build(struct choice_set **out, const struct choice_source *sources,
                             size_t count, int64_t max_tokens) STATUS_CHECKED;
void choice_set_free(struct choice_set *set); /* accepts NULL */

void choice_source_free(struct choice_source *source); /* accepts a zeroed struct */

/* Tokens of the rows of items [first, end). */
int64_t choice_set_tokens(const struct choice_set *set, size_t first, size_t end);

/* The end of the group of items that begins at `first`: as many as fit into `group_tokens`, at
 * least one. */
size_t choice_set_group(const struct choice_set *set, size_t first, int64_t group_tokens);

/* The most rows and the most tokens that any such group has. */
void choice_set_measure_groups(int64_t *rows, int64_t *tokens, const struct choice_set *set,
                               int64_t group_tokens);

#endif
