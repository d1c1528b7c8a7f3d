#include "analysis/loo/loo.h"

#include <stdlib.h>
#include <string.h>

#include "analysis/layers.h"
#include "analysis/loo/loo_budget.h"
#include "analysis/loo/loo_library.h"
#include "analysis/loo/loo_task.h"
#include "analysis/loo/loo_timing.h"
#include "analysis/record.h"
#include "base/log.h"
#include "base/memory.h"
#include "mixers/sizes.h"
#include "scores/kinds.h"

struct work {
    const struct loo_settings *settings;
    struct backend *backend;
    struct model *model;        /* the trunk: the hybrid when there is one */
    struct tokenset *own_set;   /* read from a file */
    const struct tokenset *set; /* it, or the rows of the items */
    struct store *store;
    struct int_list layers;
    bool *removed; /* [L] */
    struct sweep *sweep;
    struct estimator *estimator; /* in its place */
    struct loo_library library;  /* zeroed: branches go without */
    struct loo_cut cut;
};

/* The layers that the trunk goes without: those a plan replaces, except where the model has a Mamba
 * mixer already. */
static enum status mark_removed(struct work *work) {
    const struct model_config *config = work->model->config;
    const struct int_list *list = &work->settings->removed;
    work->removed = memory_calloc((size_t)config->n_layers, sizeof *work->removed);
    if (!work->removed) return STATUS_FAILED;
    for (size_t i = 0; i < list->count; i++) {
        int layer = list->values[i];
        if (layer < 0 || layer >= config->n_layers)
            return status_fail("the plan replaces layer %d, but \"%s\" has %d layers", layer,
                               work->settings->model, config->n_layers);
        work->removed[layer] = config_is_attention(config, layer);
    }
    return STATUS_OK;
}

static struct sweep_options options_of(const struct work *work) {
    return (struct sweep_options){.ablation = work->settings->ablation,
                                  .layers = work->layers.values,
                                  .branches = (int)work->layers.count,
                                  .placed = work->settings->library ? &work->library.placed : NULL,
                                  .removed = work->removed};
}

static struct estimator_options estimate_of(const struct work *work) {
    return (struct estimator_options){.estimate = work->settings->estimate,
                                      .ablation = work->settings->ablation,
                                      .layers = work->layers.values,
                                      .count = (int)work->layers.count,
                                      .removed = work->removed,
                                      .samples = work->settings->samples,
                                      .seed = work->settings->seed};
}

/* What the branches have in the attention's place, as mmr says what its probes begin with. */
static enum status describe_library(struct json *parameters, const struct work *work) {
    char digest[SHA256_HEX_SIZE], text[MIXER_TEXT_SIZE];
    const struct mixer_sizes *sizes = work->library.sizes;
    if (!work->settings->library) return STATUS_OK;
    enum status status = loo_library_digest(digest, &work->library);
    if (status) return status;
    js_set_string(parameters, "library", digest);
    bool one = true;
    for (size_t i = 1; i < work->layers.count; i++) one = one && mixer_same(&sizes[i], &sizes[0]);
    if (!one) return STATUS_OK;
    struct json *init = js_new_object();
    js_set_string(init, "kind", mixer_text(text, &sizes[0]));
    js_set(parameters, "init", init);
    return STATUS_OK;
}

/* Find or insert the run, or compare it with another. */
static enum status begin(struct work *work, struct loo_outcome *outcome,
                         enum store_run_state *state) {
    const struct choice_set *items = work->settings->items;
    struct json *parameters = items ? js_copy(work->settings->item_parameters) : js_new_object();
    struct tokenset about = *work->set;
    if (items) about.rows = items->items_count;
    char *layers = list_format(work->layers.values, work->layers.count);
    char *layout = record_layout(work->model->config, work->removed);
    enum status status = parameters && layers && layout ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        js_set_string(parameters, "ablate",
                      work->settings->ablation == ABLATE_BLOCK ? "block" : "mixer");
        js_set_string(parameters, "layers", layers);
        status = describe_library(parameters, work);
    }
    if (!status) {
        bool draws = work->settings->estimate == ESTIMATE_FISHER;
        if (work->settings->estimate)
            js_set_string(parameters, "estimate", estimate_name(work->settings->estimate));
        if (draws) js_set_integer(parameters, "samples", work->settings->samples);
        struct record_run record = {.kind = items ? RUN_LOO_TASK
                                                  : estimate_kind(work->settings->estimate),
                                    .model = work->settings->model,
                                    .base = work->settings->hybrid ? work->model : NULL,
                                    .base_layout = layout,
                                    .parameters = parameters,
                                    .identity = work->settings->identity,
                                    .seed = draws || items ? (int64_t)work->settings->seed : 0,
                                    .device = work->backend->name,
                                    .data = work->settings->data,
                                    .set = &about,
                                    .trunk = work->model,
                                    .options = &work->settings->checkpoint};
        int64_t other = work->settings->compare;
        status = other ? record_compare(&outcome->differs, work->store, other, &record)
                       : record_begin(&outcome->run, state, work->store, &record);
    }
    js_free(parameters);
    free(layers);
    free(layout);
    return status;
}

/* Open the sweep, or the estimator, as it was planned. */
static enum status open_sweep(struct work *work) {
    struct sweep_options options = options_of(work);
    struct estimator_options estimate = estimate_of(work);
    const struct loo_cut *cut = &work->cut;
    int longest = (int)tokenset_longest_row(work->set);
    options.on_device = cut->on_device;
    enum status status = cut->keeps_layers ? model_keep_layers(work->model) : STATUS_OK;
    if (status) return status;
    if (estimate.estimate)
        return estimator_open(&work->estimator, work->model, &estimate, cut->rows, cut->tokens,
                              longest);
    return sweep_open(&work->sweep, work->model, &options, cut->rows, cut->tokens, longest);
}

static int metric_count(const struct work *work) {
    int count = 0;
    if (!work->settings->estimate) return METRIC_COUNT;
    while (estimate_metric(work->settings->estimate, count)) count++;
    return count;
}

/* One group's values; the trunk's come first, unless they are estimates, which have none. */
static enum status save_group(struct work *work, int64_t run, int64_t first, int rows,
                              const double *sums, const int64_t *counts) {
    enum estimate estimate = work->settings->estimate;
    int metrics = metric_count(work);
    size_t branches = work->layers.count + !estimate;
    enum status status = store_begin(work->store);
    for (size_t branch = 0; !status && branch < branches; branch++)
        for (int row = 0; !status && row < rows; row++)
            for (int m = 0; !status && m < metrics; m++) {
                bool trunk = !estimate && branch == 0;
                int layer = trunk ? STORE_TRUNK : work->layers.values[branch - !estimate];
                int64_t count = counts[row * metrics + m];
                if (trunk && m != METRIC_CE) continue;
                double sum =
                    sums[(branch * (size_t)rows + (size_t)row) * (size_t)metrics + (size_t)m];
                status = store_put_sequence_score(work->store, run, layer, first + row,
                                                  estimate ? estimate_metric(estimate, m)
                                                           : metric_name((enum metric)m),
                                                  count ? sum / (double)count : 0, count);
            }
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    return status;
}

static bool all_done(const struct store_row_list *done, int64_t first, int64_t end) {
    int64_t found = 0;
    for (size_t i = 0; i < done->count; i++) found += done->rows[i] >= first && done->rows[i] < end;
    return found == end - first;
}

static enum status run_groups(struct work *work, int64_t run, struct loo_outcome *outcome) {
    struct store_row_list done = {0};
    struct progress progress;
    double start = log_seconds();
    double *sums = NULL;
    int64_t *counts = NULL;
    enum status status = store_get_rows(&done, work->store, run);
    if (status) return status;
    outcome->rows_before = (int64_t)done.count;
    if (done.count)
        log_note("run %lld continues: %zu of %lld rows are there", (long long)run, done.count,
                 (long long)outcome->rows);
    progress_begin(&progress, "loo", "rows", (double)outcome->rows, (double)done.count);
    for (int64_t first = 0, end; !status && first < outcome->rows; first = end) {
        end = tokenset_group_end(work->set, first, outcome->rows, work->cut.group_tokens);
        if (all_done(&done, first, end)) continue;
        int rows = (int)(end - first);
        progress_unit((double)rows);
        size_t values = (size_t)rows * METRIC_COUNT;
        free(sums);
        free(counts);
        sums = memory_calloc((work->layers.count + 1) * values, sizeof *sums);
        counts = memory_calloc(values, sizeof *counts);
        status = sums && counts ? STATUS_OK : STATUS_FAILED;
        if (!status)
            status = work->estimator
                         ? estimator_group(work->estimator, work->set, first, rows, sums, counts)
                         : sweep_group(work->sweep, work->set, first, rows, sums, counts);
        if (!status) status = save_group(work, run, first, rows, sums, counts);
        if (!status) progress_update(&progress, (double)end);
    }
    progress_end(&progress);
    outcome->seconds = log_seconds() - start;
    free(sums);
    free(counts);
    store_row_list_free(&done);
    return status;
}

static enum status open_inputs(struct work *work) {
    const struct loo_settings *settings = work->settings;
    const struct choice_set *items = settings->items;
    enum status status = items ? STATUS_OK : tokenset_read(&work->own_set, settings->data);
    work->set = items ? &items->set : work->own_set;
    if (!status) status = backend_open(&work->backend, settings->device);
    if (!status)
        status = settings->hybrid
                     ? model_describe(&work->model, work->backend, settings->hybrid, NULL)
                     : model_describe(&work->model, work->backend, settings->model,
                                      &settings->checkpoint);
    if (!status && settings->hybrid)
        status = record_check_hybrid(work->model, settings->model, &settings->checkpoint);
    if (!status)
        status = items ? record_check_items(work->model, items)
                       : record_check_vocabulary(work->model, work->set, settings->data);
    if (!status && !items) status = record_check_mask(work->set, settings->data);
    if (!status) status = mark_removed(work);
    if (!status)
        status = layers_choose(&work->layers, work->model->config, work->removed, settings->layers,
                               settings->library ? "replace" : "remove");
    const struct loo_library_settings library = {settings->library, settings->model,
                                                 &settings->checkpoint, settings->library_kind};
    if (!status && settings->library)
        status = loo_library_open(&work->library, &work->layers, work->model,
                                  settings->hybrid != NULL, settings->layers != NULL, &library);
    return status;
}

static enum status budget_memory(struct work *work) {
    const struct loo_settings *settings = work->settings;
    struct sweep_options options = options_of(work);
    struct estimator_options estimate = estimate_of(work);
    return loo_budget(&work->cut, work->model, work->set, settings->items, &options,
                      settings->estimate ? &estimate : NULL, settings->group_tokens,
                      settings->device_memory);
}

static enum status predict(double *seconds, struct work *work) {
    struct estimator_options estimate = estimate_of(work);
    return loo_timing(seconds, work->model, work->set, work->settings->items,
                      work->settings->estimate ? &estimate : NULL, &work->layers, &work->cut);
}

enum status loo_run(struct loo_outcome *outcome, const struct loo_settings *settings) {
    struct work work = {.settings = settings};
    enum store_run_state state = STORE_RUN_NEW;
    *outcome = (struct loo_outcome){0};
    enum status status = open_inputs(&work);
    if (!status && settings->compare) {
        status = store_open(&work.store, settings->database, STORE_READ);
        if (!status) status = begin(&work, outcome, &state);
        goto done;
    }
    if (!status) status = budget_memory(&work);
    outcome->memory = work.cut.budget;
    if (!status && settings->dry_run) status = predict(&outcome->memory.seconds, &work);
    if (status || settings->dry_run) goto done;
    status = model_load(work.model);
    if (status) goto done;
    outcome->rows = (int64_t)(settings->items ? settings->items->items_count : work.set->rows);
    outcome->tokens = (int64_t)work.set->tokens;
    outcome->branches = (int)work.layers.count;
    status = store_open(&work.store, settings->database, STORE_WRITE);
    if (!status) status = begin(&work, outcome, &state);
    if (status) goto done;
    if (state == STORE_RUN_FINISHED) {
        outcome->rows_before = outcome->rows;
        goto done;
    }
    status = open_sweep(&work);
    if (!status && settings->items)
        status = loo_task_groups(outcome, work.sweep, settings, &work.layers, work.cut.group_tokens,
                                 work.store);
    else if (!status)
        status = run_groups(&work, outcome->run, outcome);
    if (!status) status = store_summarise_run(work.store, outcome->run);
    status = record_finish(work.store, outcome->run, status);
    outcome->peak_bytes = work.backend->memory_peak(work.backend);
done:
    status = record_tell_interrupt(status, "rows", settings->database);
    sweep_close(work.sweep);
    estimator_close(work.estimator);
    loo_library_close(&work.library);
    store_close(work.store);
    model_close(work.model);
    tokenset_free(work.own_set);
    list_free(&work.layers);
    free(work.removed);
    if (work.backend) work.backend->close(work.backend);
    return status;
}
