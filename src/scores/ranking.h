/* The order in which layers are replaced, by one metric of one run. */
#ifndef SCORES_RANKING_H
#define SCORES_RANKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "scores/statistics.h"
#include "scores/store.h"

/* Whether a small value of the metric means an unimportant layer (scores/metrics.h): losses and
 * divergences yes, agreement no. */
bool ranking_ascending(const char *metric);

/* Whether runs of a kind estimate what others measure (src/analysis/loo/estimator.h). */
bool ranking_is_estimate(const char *kind);

/* The metric that a kind of run is ranked by unless told otherwise (scores/kinds.h); NULL for one
 * that ranks no layers, and for an unknown kind. */
const char *ranking_default_metric(const char *kind);

/* A run and what to rank it by. */
struct ranking_choice {
    int64_t run;
    const char *metric; /* NULL: the default of the run's kind */
};

struct ranking_entry {
    int layer;
    double value, stderr_value;    /* stderr_value NAN: unknown */
    int64_t n;                     /* sequences behind them */
    int rank;                      /* 1: the least important; set by ranking_sort */
    int tie_group;                 /* from 1; set by ranking_group */
    struct sequence_value *values; /* [values_count] by row; NULL where there are none */
    size_t values_count;
};

struct ranking {
    struct ranking_entry *entries; /* [count], least important first */
    size_t count;
    bool ascending;
};

/* Order the entries by value (equal values by layer number) and number the ranks. */
void ranking_sort(struct ranking *ranking);

/* Number the tie groups along the order of the entries. A layer joins the group of the one before
 * it when its difference to the FIRST member of that group is at most two standard errors, so that
 * a group never spans more than that however long the list is; otherwise it starts a group. The
 * standard error is that of the paired difference over sequences (statistics_difference) where both
 * have sequence values, else sqrt(a^2 + b^2) of the two stored ones. Where it is unknown only equal
 * values tie. */
enum status ranking_group(struct ranking *ranking) STATUS_CHECKED;

/* Load the values of a run's layers (not the trunk's), sort and group them. `metric` NULL: the
 * default of the run's kind. A metric that the run lacks is a failure that lists those it has. */
enum status ranking_load(struct ranking *out, struct store *store, const struct store_run *run,
                         const char *metric) STATUS_CHECKED;

/* Drop the entries of layers with skip[layer] set (layers outside [0, layers) too), then renumber
 * ranks and groups. */
enum status ranking_drop(struct ranking *ranking, const bool *skip, int layers) STATUS_CHECKED;

void ranking_free(struct ranking *ranking);

#endif
