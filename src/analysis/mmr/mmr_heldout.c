#include "analysis/mmr/mmr_heldout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/training_curve.h"
#include "base/memory.h"
#include "base/text.h"
#include "scores/statistics.h"
#include "train/loss.h"

enum status heldout_create(struct heldout *out, const struct mmr_work *work) {
    size_t values = (size_t)work->settings->probe.data.heldout * METRIC_COUNT;
    *out = (struct heldout){.rows = work->settings->probe.data.heldout, .diverged_at = -1};
    out->before = memory_calloc(values, sizeof *out->before);
    out->after = memory_calloc(values, sizeof *out->after);
    out->counts = memory_calloc(values, sizeof *out->counts);
    out->after_rkl = memory_calloc((size_t)work->settings->seeds, sizeof *out->after_rkl);
    bool good = out->before && out->after && out->counts && out->after_rkl;
    return good ? STATUS_OK : STATUS_FAILED;
}

void heldout_free(struct heldout *heldout) {
    free(heldout->before);
    free(heldout->after);
    free(heldout->counts);
    free(heldout->after_rkl);
}

/* `*finite`: whether every value is; only then do they enter `into`. */
static void add_up(struct heldout *heldout, const double *sums, const int64_t *counts, double *into,
                   bool *finite) {
    int64_t values = heldout->rows * METRIC_COUNT;
    *finite = true;
    for (int64_t i = 0; i < values; i++) *finite &= isfinite(sums[i]) != 0;
    for (int64_t i = 0; *finite && i < values; i++) into[i] += sums[i];
    memcpy(heldout->counts, counts, (size_t)values * sizeof *counts);
}

enum status heldout_add_before(struct heldout *heldout, const double *sums, const int64_t *counts,
                               int layer) {
    bool finite;
    add_up(heldout, sums, counts, heldout->before, &finite);
    return finite ? STATUS_OK
                  : status_fail("layer %d: a held-out metric is not finite before any training",
                                layer);
}

bool heldout_add_after(struct heldout *heldout, const double *sums, const int64_t *counts) {
    bool finite;
    add_up(heldout, sums, counts, heldout->after, &finite);
    if (!finite) return false;
    double sum = 0;
    int64_t count = 0;
    for (int64_t row = 0; row < heldout->rows; row++) {
        sum += sums[row * METRIC_COUNT + METRIC_RKL];
        count += counts[row * METRIC_COUNT + METRIC_RKL];
    }
    heldout->after_rkl[heldout->seeds++] = count ? sum / (double)count : 0;
    return true;
}

/* Per-row values of one metric, and their mean, before or after training. */
static enum status put_metric(struct mmr_work *work, int layer, const struct heldout *heldout,
                              enum metric metric, const double *sums, int seeds, const char *when) {
    size_t rows = (size_t)heldout->rows;
    struct sequence_value *values = memory_calloc(rows, sizeof *values);
    char *name = text_format("heldout_%s_%s", metric_name(metric), when);
    int64_t first = (int64_t)work->set->rows - heldout->rows;
    enum status status = values && name ? STATUS_OK : STATUS_FAILED;
    for (size_t row = 0; !status && row < rows; row++) {
        int64_t count = heldout->counts[row * METRIC_COUNT + metric];
        double sum = sums[row * METRIC_COUNT + metric];
        values[row] = (struct sequence_value){.row = first + (int64_t)row,
                                              .count = count,
                                              .value = count ? sum / (double)count / seeds : 0};
        status = store_put_sequence_score(work->store, work->run, layer, values[row].row, name,
                                          values[row].value, count);
    }
    struct statistics mean;
    bool counted = false; /* held-out rows of one token have no ce */
    for (size_t row = 0; !status && row < rows; row++) counted |= values[row].count > 0;
    if (!status && counted) status = statistics_mean(&mean, values, rows);
    if (!status && counted)
        status = store_put_score(work->store, work->run, layer, name, mean.mean, mean.stderr_mean,
                                 mean.n);
    free(values);
    free(name);
    return status;
}

enum status heldout_finish_layer(struct mmr_work *work, int layer, const struct heldout *heldout) {
    enum status status = store_begin(work->store);
    int seeds = work->settings->seeds;
    if (!status)
        status = training_curve_put(work->store, work->run, layer,
                                    loss_name(work->settings->probe.loss.kind));
    for (int m = 0; !status && m < METRIC_COUNT; m++)
        status = put_metric(work, layer, heldout, (enum metric)m, heldout->before, seeds, "before");
    for (int m = 0; !status && m < METRIC_COUNT && heldout->seeds; m++)
        status = put_metric(work, layer, heldout, (enum metric)m, heldout->after, heldout->seeds,
                            "after");
    if (!status && heldout->seeds > 1) {
        struct statistics spread = training_curve_summarise(heldout->after_rkl, heldout->seeds);
        status = store_put_score(work->store, work->run, layer, "heldout_rkl_after_spread",
                                 spread.stderr_mean * sqrt(heldout->seeds), NAN, heldout->seeds);
    }
    if (!status && heldout->diverged_at >= 0)
        status = store_put_score(work->store, work->run, layer, "diverged_at_step",
                                 (double)heldout->diverged_at, NAN, 1);
    for (int s = 0; !status && s < seeds; s++)
        status = store_drop_probe_state(work->store, work->run, layer,
                                        (int64_t)work->settings->seed + s);
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    return status;
}
