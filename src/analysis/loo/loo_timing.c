#include "analysis/loo/loo_timing.h"

#include <math.h>
#include <stdlib.h>

#include "analysis/timing.h"
#include "base/log.h"
#include "base/memory.h"

/* Passes of a state through a layer: the trunk's, and each branch's from its layer on. */
static double count_passes(const struct int_list *layers, int n_layers) {
    double passes = 0;
    size_t next = 0;
    for (int l = 0; l < n_layers; l++) {
        passes += 1 + (double)next;
        if (next < layers->count && layers->values[next] == l) next++;
    }
    return passes;
}

/* Tokens whose logits are compared. */
static double count_predictions(const struct tokenset *set, const struct choice_set *items) {
    double count = 0;
    if (!items) return timing_counted(set, (int64_t)set->rows);
    for (size_t i = 0; i < items->choices_count; i++) count += (double)items->choices[i].count;
    return count;
}

/* ---- estimates */

/* The rows that are tried, and their values. */
struct trial {
    struct tokenset rows;
    double *sums;
    int64_t *counts;
};

enum { TRIAL_ROWS = 4, TRIAL_TOKENS = 256, TRIAL_LAYERS = 2 };

/* `*seconds` of the second of two groups, over the first `layers` of the model. */
static enum status time_estimate(double *seconds, struct model *model, struct trial *trial,
                                 const struct estimator_options *estimate, int layers) {
    static const int all[TRIAL_LAYERS] = {0, 1};
    struct estimator_options options = *estimate;
    struct estimator *estimator = NULL;
    int rows = (int)trial->rows.rows;
    timing_forget_layers(model, layers);
    options.layers = all;
    options.count = model->config->n_layers;
    options.removed = NULL;
    enum status status =
        estimator_open(&estimator, model, &options, rows, (int64_t)trial->rows.tokens,
                       (int)tokenset_longest_row(&trial->rows));
    if (!status)
        status = estimator_group(estimator, &trial->rows, 0, rows, trial->sums, trial->counts);
    double start = log_seconds();
    if (!status)
        status = estimator_group(estimator, &trial->rows, 0, rows, trial->sums, trial->counts);
    *seconds = log_seconds() - start;
    estimator_close(estimator);
    return status;
}

static enum status make_trial(struct trial *out, const struct tokenset *set) {
    int64_t rows = (int64_t)set->rows < TRIAL_ROWS ? (int64_t)set->rows : TRIAL_ROWS;
    size_t values = (size_t)rows * TRIAL_LAYERS * ESTIMATE_MAX_METRICS;
    out->sums = memory_calloc(values, sizeof *out->sums);
    out->counts = memory_calloc(values, sizeof *out->counts);
    if (!out->sums || !out->counts) return STATUS_FAILED;
    return timing_cut_rows(&out->rows, set, rows, TRIAL_TOKENS);
}

/* Two layers and one: what a layer takes, and what there is besides. Layers below the first that is
 * scored are only passed. */
static enum status predict_estimate(double *computing, const struct timing *timing,
                                    struct model *model, const struct tokenset *set,
                                    const struct estimator_options *estimate,
                                    const struct int_list *layers, int n_layers) {
    struct trial trial = {0};
    double two = 0, one = 0;
    enum status status = make_trial(&trial, set);
    int tried = model->config->n_layers;
    if (!status) status = time_estimate(&two, model, &trial, estimate, TRIAL_LAYERS);
    if (!status && tried > 1) status = time_estimate(&one, model, &trial, estimate, 1);
    double a_layer = tried > 1 ? fmax(0, two - one) : 0, tokens = (double)trial.rows.tokens;
    int scored =
        estimate->estimate == ESTIMATE_COSINE ? (int)layers->count : n_layers - layers->values[0];
    *computing = (double)set->tokens * ((n_layers - scored) * timing->block +
                                        (two - tried * a_layer + scored * a_layer) / tokens);
    timing_free_rows(&trial.rows);
    free(trial.sums);
    free(trial.counts);
    return status;
}

enum status loo_timing(double *seconds, struct model *model, const struct tokenset *set,
                       const struct choice_set *items, const struct estimator_options *estimate,
                       const struct int_list *layers, const struct loo_cut *cut) {
    int n_layers = model->config->n_layers;
    double before = log_elapsed(), computing;
    struct timing timing;
    *seconds = 0;
    enum status status = timing_passes(&timing, model, set, cut->tokens);
    if (status || timing.block == 0) return status; /* not known */
    if (estimate) {
        status = predict_estimate(&computing, &timing, model, set, estimate, layers, n_layers);
    } else {
        computing = (double)set->tokens * count_passes(layers, n_layers) * timing.block +
                    count_predictions(set, items) * (double)(1 + layers->count) * timing.score;
    }
    bool beside = model->backend->discrete && !cut->keeps_layers;
    double times = cut->keeps_layers ? 1 : (double)cut->groups;
    if (!status)
        *seconds = before + timing.open + timing_loads(&timing, n_layers, computing, times, beside);
    return status;
}
