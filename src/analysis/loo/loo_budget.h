/* How loo cuts its work to the memory there is. */
#ifndef ANALYSIS_LOO_LOO_BUDGET_H
#define ANALYSIS_LOO_LOO_BUDGET_H

#include "analysis/loo/estimator.h"
#include "data/choices.h"

struct loo_cut {
    int64_t group_tokens;   /* of tokenset_group_end */
    int rows, on_device;    /* rows of the largest group; sweep_options.on_device */
    int64_t tokens, groups; /* tokens of the largest group; groups in all */
    bool keeps_layers;      /* on the device, from the first group on */
    double seconds;         /* predicted; only good for comparing cuts */
    struct memory_budget budget;
};

/* The fastest cut that fits: groups of rows as large as possible, halved until the states fit, or
 * larger ones whose branches wait in host memory. With `items` (or
 * NULL), whose rows are the set, groups are of items. `group_tokens` 0 leaves the choice free;
 * `device_memory` 0 takes what is free. With `estimate` (or NULL) the estimator takes the
 * sweep's place. The model need not be loaded. When nothing fits, the
 * smallest cut's budget stays in `out` and the failure says what it needs. */
enum status loo_budget(struct loo_cut *out, const struct model *model, const struct tokenset *set,
                       const struct choice_set *items, const struct sweep_options *options,
                       const struct estimator_options *estimate, int64_t group_tokens,
                       uint64_t device_memory) STATUS_CHECKED;

#endif
