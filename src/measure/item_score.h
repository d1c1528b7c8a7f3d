/* What the log-likelihoods of an item's choices say. */
#ifndef MEASURE_ITEM_SCORE_H
#define MEASURE_ITEM_SCORE_H

#include "data/choices.h"
#include "measure/positions.h"

/* Metrics of an item, each with a name for the database. */
enum item_metric {
    ITEM_ACC, /* 1 when the right choice has the largest log-likelihood (the first of equals) */
    ITEM_ACC_NORM, /* the same for log-likelihood / characters of the choice */
    ITEM_MARGIN,   /* log-likelihood of the right choice less the largest of the others, nats */
    ITEM_GREEDY,   /* 1 when every id of the right choice has the largest logit of all */
    ITEM_METRICS,
};

const char *item_metric_name(enum item_metric metric); /* "acc", … */

struct item_score {
    double values[ITEM_METRICS];
    int chosen, chosen_norm; /* choices */
};

/* `sums` [choices][METRIC_COUNT] and `greedy` [choices] of the item's choices, as scorer_score
 * gives them with a slot a choice. acc and acc_norm are those of lm-evaluation-harness, which
 * counts characters (its documentation says bytes). */
void item_score(struct item_score *out, const struct choice_set *set,
                const struct choice_item *item, const double *sums, const int64_t *greedy);

/* Whether acc_norm says something else than acc: the choices of some item differ in length. */
bool item_score_normalised(const struct choice_set *set);

#endif
