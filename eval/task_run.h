/* A model on the items of a multiple-choice task, with a run in the score database where one is
 * given: items that it has are not computed again. */
#ifndef EVAL_TASK_RUN_H
#define EVAL_TASK_RUN_H

#include "base/json.h"
#include "eval/multiple_choice.h"
#include "scores/statistics.h"

struct task_run_settings {
    struct model *model;
    const struct choice_set *set;
    const char *name;        /* "arc_easy" */
    const char *path;        /* of the items, for the database */
    struct json *parameters; /* what the items and prompts depend on; part of the run's key */
    int64_t seed;
    const char *database; /* NULL: nothing is kept */
    int64_t group_tokens; /* 0: 4096 */
};

struct task_means {
    const char *category; /* NULL: all items; borrowed from the set */
    struct statistics metrics[ITEM_METRICS];
};

struct task_run_result {
    int64_t run; /* 0 without a database */
    int64_t items, items_found, rows, tokens;
    struct task_means all;
    struct task_means *categories; /* [categories_count] in the set's order */
    size_t categories_count;
    bool normalised; /* acc_norm says something else than acc */
    double seconds;
};

/* Means and standard errors are over items. Groups of items are one transaction each. On failure
 * `out->run` is set as soon as there is a run. Free with task_run_free (accepts a zeroed struct).
 */
enum status task_run(struct task_run_result *out,
                     const struct task_run_settings *settings) STATUS_CHECKED;
void task_run_free(struct task_run_result *result);

#endif
