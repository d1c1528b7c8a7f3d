/* Leave-one-out by task score: groups of a task's items through the sweep. Between loo.c and here.
 */
#ifndef ANALYSIS_LOO_LOO_TASK_H
#define ANALYSIS_LOO_LOO_TASK_H

#include "analysis/loo/loo.h" /* circle: one way of it, by its settings */
#include "analysis/loo/sweep.h"
#include "scores/store.h"

/* Score the items of settings->items that the run lacks, a group of items a transaction. Of the
 * trunk are kept acc, acc_norm, margin and greedy (see item_score.h), of a layer what each loses
 * without it: acc_drop … = trunk less branch, by item, so that its standard error is that of the
 * paired difference. */
enum status loo_task_groups(struct loo_outcome *outcome, struct sweep *sweep,
                            const struct loo_settings *settings, const struct int_list *layers,
                            int64_t group_tokens, struct store *store) STATUS_CHECKED;

#endif
