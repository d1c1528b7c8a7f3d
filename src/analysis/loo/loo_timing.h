/* How long a run of loo will take. */
#ifndef ANALYSIS_LOO_LOO_TIMING_H
#define ANALYSIS_LOO_LOO_TIMING_H

#include "analysis/loo/loo_budget.h"
#include "base/list.h"

/* What a sweep over `layers` of all rows takes, or of the items, whose rows are the set; with
 * `estimate` (or NULL) the estimator takes its place. `*seconds` 0: not known. The model is used up
 * (see timing_passes). */
enum status loo_timing(double *seconds, struct model *model, const struct tokenset *set,
                       const struct choice_set *items, const struct estimator_options *estimate,
                       const struct int_list *layers, const struct loo_cut *cut) STATUS_CHECKED;

#endif
