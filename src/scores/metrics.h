/* Every metric that the database holds: one row each, for scores, charts, plan and eval. To add
 * one, write its row; tests/test_ranking.c fails while a name that is written has none. */
#ifndef SCORES_METRICS_H
#define SCORES_METRICS_H

#include <stdbool.h>

struct metric_row {
    const char *name; /* "kl" */
    const char
        *label; /* what it is, as charts say it; "%s" stands for what it is measured against */
    const char *unit;      /* "nats", "" for none */
    const char *says;      /* how eval says unit and direction, where the unit is not all of it */
    bool larger_is_better; /* of a model; of layers, whose absence leaves the better value is worth
                              less */
};

/* NULL: there is none of this name (a database of a later release). */
const struct metric_row *metric_row_find(const char *name);

/* The rows in order; NULL behind the last. */
const struct metric_row *metric_row_at(int index);

#endif
