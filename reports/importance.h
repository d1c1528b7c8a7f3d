/* The chart of importance: what each layer's removal or replacement costs, for one or more runs of
 * one model, by layer and, with a plan, in the order of replacement. */
#ifndef REPORTS_IMPORTANCE_H
#define REPORTS_IMPORTANCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "plan/plan.h"
#include "reports/picture.h"
#include "scores/store.h"

enum { IMPORTANCE_MAX_RUNS = 6 };

struct importance_request {
    const int64_t *runs; /* [run_count], at most IMPORTANCE_MAX_RUNS; none: every finished run */
    size_t run_count;
    const char *metric;      /* NULL: for each run the one that its kind is ranked by */
    const struct plan *plan; /* NULL: none; of the same model as the runs */
};

/* Fill the picture (picture_begin before, picture_draw(…, "importance") after). Runs with the same
 * metric share a panel; each other metric gets its own below. Failures: no finished run, too many,
 * runs or a plan of different models, a metric that a run lacks. */
enum status importance_fill(struct picture *picture, struct store *store,
                            const struct importance_request *request) STATUS_CHECKED;

#endif
