/* What the held-out rows say about one layer's probes, and how a finished layer gets into the
 * database. */
#ifndef ANALYSIS_MMR_MMR_HELDOUT_H
#define ANALYSIS_MMR_MMR_HELDOUT_H

#include "analysis/mmr/mmr_work.h"

/* Sums of held-out metrics, seeds added up in their order; counts are of one seed. */
struct heldout {
    double *before, *after; /* [rows][METRIC_COUNT] */
    int64_t *counts;        /* likewise */
    double *after_rkl;      /* [seeds]: mean over positions, for the spread */
    int64_t rows;
    int seeds;           /* that came to their end */
    int64_t diverged_at; /* -1: none */
};

/* heldout_free accepts a zeroed struct. */
enum status heldout_create(struct heldout *out, const struct mmr_work *work) STATUS_CHECKED;
void heldout_free(struct heldout *heldout);

/* Add what probe_group_evaluate gives for a seed: before its first step, where a metric that is not
 * finite is a failure, and after its last. The latter says whether every metric is finite; only
 * then do they count, and the seed's own held-out loss is remembered for the spread. */
enum status heldout_add_before(struct heldout *heldout, const double *sums, const int64_t *counts,
                               int layer) STATUS_CHECKED;
bool heldout_add_after(struct heldout *heldout, const double *sums, const int64_t *counts);

/* Everything about a layer in one transaction; its training states are not needed any more. */
enum status heldout_finish_layer(struct mmr_work *work, int layer,
                                 const struct heldout *heldout) STATUS_CHECKED;

#endif
