/* A model on multiple-choice items. */
#ifndef EVAL_MULTIPLE_CHOICE_H
#define EVAL_MULTIPLE_CHOICE_H

#include "measure/item_score.h"
#include "model/model.h"

/* What the model made of one item. */
struct multiple_choice_item {
    const struct choice_item *item; /* of the set */
    struct item_score score;        /* all zero where it was done before */
    double *likelihoods; /* [choices] log-likelihoods in nats, borrowed from the result */
    int64_t *greedy;     /* [choices] ids with the largest logit, borrowed */
};

struct multiple_choice_result {
    struct multiple_choice_item *items; /* [count] by number */
    size_t count;
    double *likelihoods; /* [choices] as the set has them */
    int64_t *greedy;
    double seconds;
};

struct multiple_choice_settings {
    struct model *model;
    const struct choice_set *set;
    int64_t group_tokens; /* 0: 4096 */
    const char *name;     /* shown in the progress */
    const bool *done;     /* [items] by number: not to be computed; NULL: none */
    /* Called after each group with its items (or NULL). */
    enum status (*save)(void *context, const struct multiple_choice_item *const *items,
                        size_t count);
    void *context;
};

/* Run the model on the items, the longest first. Free with multiple_choice_free, which accepts a
 * zeroed struct. STATUS_INTERRUPTED when an interrupt was requested. */
enum status multiple_choice_run(struct multiple_choice_result *out,
                                const struct multiple_choice_settings *settings) STATUS_CHECKED;
void multiple_choice_free(struct multiple_choice_result *result);

#endif
