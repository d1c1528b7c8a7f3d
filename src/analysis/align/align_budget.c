/* What a run of align takes, in bytes and seconds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analysis/align/align_work.h"
#include "analysis/timing.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/replacement.h"
#include "model/stream.h"

static uint64_t state_of(const struct align_work *work, int64_t tokens) {
    return (uint64_t)(tokens * work->model->config->hidden_size) * dtype_size(work->backend->acc);
}

static int64_t cached_tokens(const struct align_work *work) {
    int64_t tokens = 0, training = step_rows_count(&work->rows, work->steps);
    for (int64_t row = 0; row < (int64_t)work->set->rows; row++)
        if (row < training || row >= work->rows.training)
            tokens += step_rows_tokens(work->set, row);
    return tokens;
}

/* The largest of any kind: its weights and what trains of them; and of a training state. */
static enum status measure_kinds(uint64_t *bytes, uint64_t *state, const struct align_work *work) {
    static const struct parameter_group groups[] = {{"aligned mixer", 1, 0}};
    enum status status = STATUS_OK;
    *bytes = *state = 0;
    for (int k = 0; !status && k < work->kind_count; k++) {
        struct parameters *parameters = NULL;
        struct mixer mixer = {.sizes = work->kinds[k].sizes};
        mixer_freeze(&mixer, &work->kinds[k].choices);
        status = parameters_create(&parameters, work->model, groups);
        if (!status) status = parameters_add_mixer(parameters, 0, work->layers.values[0], &mixer);
        if (!status) {
            uint64_t own = mixer_bytes(&mixer.sizes, work->backend, &work->model->host) +
                           parameters_bytes(parameters);
            uint64_t part =
                (uint64_t)parameters_count(parameters) * 3 * dtype_size(work->backend->acc);
            *bytes = own > *bytes ? own : *bytes;
            *state = part > *state ? part : *state;
        }
        parameters_free(parameters);
    }
    return status;
}

static enum status budget_training(struct memory_budget *budget, const struct align_work *work) {
    const struct model *model = work->model;
    struct mixer_sizes sizes[ALIGN_MAX_KINDS];
    struct sequences largest = align_largest(work);
    bool discrete = work->backend->discrete;
    uint64_t kinds, state, shared = state_of(work, cached_tokens(work));
    align_sizes(sizes, work);
    enum status status = measure_kinds(&kinds, &state, work);
    if (status) return status;
    struct trace_needs needs =
        trace_needs_of(model, work->max_rows, work->max_tokens, work->longest);
    if (work->settings->cache_directory) shared = 0;
    memory_budget_add(budget, "embedding and head", model_outside_bytes(model, work->longest), 0);
    memory_budget_add(budget, discrete ? "layers, two at a time" : "one layer",
                      model_layers_present_bytes(model, false),
                      discrete ? layer_stream_host_bytes() : 0);
    memory_budget_add(
        budget, "states of a layer",
        alignment_bytes(model, &largest, sizes, work->kind_count, &work->settings->loss) +
            state_of(work, work->max_tokens),
        0);
    memory_budget_add(budget, "mixer and optimizer", kinds, 0);
    memory_budget_add(budget, "inputs in passing",
                      trace_bytes(model, &needs) + state_of(work, work->max_tokens), 0);
    bool on_host = discrete && !work->inputs_on_device;
    memory_budget_add(budget, "inputs of the layer", on_host ? 0 : shared, on_host ? shared : 0);
    uint64_t part = state < (uint64_t)64 << 20 ? state : (uint64_t)64 << 20;
    memory_budget_add(budget, "saved training state, mixer's file", discrete ? 0 : 2 * part + kinds,
                      discrete ? 2 * part + kinds : 0);
    memory_budget_add(budget, "scratch and transfers", memory_budget_own(work->backend), 0);
    return STATUS_OK;
}

/* The scores come after the training: what they take more counts. */
static enum status budget_scores(struct align_work *work) {
    struct memory_budget *budget = &work->outcome->memory;
    const struct tokenset heldout = align_heldout(work);
    struct mixer_sizes sizes[ALIGN_MAX_KINDS];
    int *layers = memory_calloc(2 * work->layers.count, sizeof *layers);
    if (!layers) return STATUS_FAILED;
    align_sizes(sizes, work);
    int branches = 0, each = work->settings->scores_start ? 2 : 1;
    for (size_t i = 0; i < work->layers.count; i++)
        for (int k = 0; k < each; k++) layers[branches++] = work->layers.values[i];
    const struct sweep_placed placed = {.sizes = sizes, .sizes_count = work->kind_count};
    const struct sweep_options options = {.layers = layers,
                                          .branches = branches,
                                          .placed = &placed,
                                          .teacher =
                                              work->model == work->teacher ? NULL : work->teacher};
    enum status status = loo_budget(&work->cut, work->model, &heldout, NULL, &options, NULL, 0,
                                    work->settings->device_memory);
    uint64_t device = work->cut.budget.device, host = work->cut.budget.host;
    memory_budget_add(budget, "scores: more than that",
                      device > budget->device ? device - budget->device : 0,
                      host > budget->host ? host - budget->host : 0);
    free(layers);
    return status;
}

static enum status budget_cache(struct align_work *work) {
    const char *directory = work->settings->cache_directory;
    struct memory_budget *budget = &work->outcome->memory;
    if (!directory) return STATUS_OK;
    const struct states_key key = {.directory = directory,
                                   .kind = "inputs",
                                   .complete = STATES_NOTHING,
                                   .shape = {(uint64_t)cached_tokens(work),
                                             (uint64_t)work->model->config->hidden_size,
                                             work->backend->acc}};
    budget->cache_directory = directory;
    if (!file_free_bytes(&budget->cache_free, directory)) budget->cache_free = UINT64_MAX;
    return states_cache_size(&budget->cache, &budget->cache_there, &key);
}

/* ---- seconds */

enum { TIMED_TOKENS = 1024 };

/* Seconds a token of steps of a kind, in the first layer and on a part of the first rows. */
static enum status time_kind(double *seconds, const struct align_work *work, struct model *model,
                             const struct tokenset *set, const struct align_kind *kind) {
    struct backend *backend = model->backend;
    static const struct parameter_group groups[] = {{"aligned mixer", 1, 0}};
    struct sequences largest = {.count = (int)set->rows,
                                .longest = (int)tokenset_longest_row(set),
                                .tokens = (int64_t)set->tokens};
    struct token_batch batch = {0};
    struct positions positions = {0};
    struct alignment *alignment = NULL;
    struct parameters *parameters = NULL;
    struct mixer mixer = {0};
    struct mixer_choices choices = kind->choices;
    const struct layer *layer;
    size_t bytes =
        (size_t)set->tokens * (size_t)model->config->hidden_size * dtype_size(backend->acc);
    void *input = backend->alloc(backend, bytes, "inputs of a layer");
    enum status status = input ? STATUS_OK : STATUS_FAILED;
    int first = work->layers.values[0];
    if (!status) status = model_layer(&layer, model, first);
    mixer_choices_forget_data(&choices);
    if (!status) status = replacement_create(&mixer, model, first, &choices);
    if (!status)
        status =
            alignment_open(&alignment, model, &largest, &mixer.sizes, 1, &work->settings->loss);
    if (!status) status = parameters_create(&parameters, model, groups);
    if (!status) status = parameters_add_mixer(parameters, 0, first, &mixer);
    if (!status) status = parameters_allocate(parameters);
    if (!status)
        status = token_batch_create(&batch, backend, set->ids, set->row_offsets, (int)set->rows);
    if (!status) status = positions_create(&positions, set, 0, (int)set->rows);
    if (status) goto done;
    backend->zero(backend, input, bytes);
    const struct alignment_batch view = {layer, &batch.sequences, &positions, input};
    for (int i = 0; !status && i < 2; i++) { /* the first sets up what is set up once */
        double loss, start = log_seconds();
        status = alignment_step(alignment, &loss, &mixer, parameters, &view,
                                &work->settings->schedule, &work->settings->optimizer, i);
        *seconds = (log_seconds() - start) / (double)set->tokens;
    }
done:
    positions_free(&positions);
    token_batch_free(&batch);
    parameters_free(parameters);
    alignment_close(alignment);
    mixer_free(&mixer, backend);
    backend->free(backend, input);
    return status;
}

/* Seconds of all steps of all kinds. */
static enum status time_steps(double *out, const struct align_work *work) {
    const struct align_settings *settings = work->settings;
    struct model *model = NULL;
    struct tokenset part = {0};
    int64_t length = work->longest < TIMED_TOKENS ? work->longest : TIMED_TOKENS;
    int64_t rows = TIMED_TOKENS / length, most = (int64_t)work->set->rows;
    double a_step =
        (double)work->set->tokens / (double)work->set->rows * (double)settings->rows.batch;
    *out = 0;
    enum status status =
        model_describe(&model, work->backend, settings->hybrid ? settings->hybrid : settings->model,
                       settings->hybrid ? NULL : &settings->checkpoint);
    if (!status) status = model_load(model);
    if (!status)
        status = timing_cut_rows(&part, work->set,
                                 rows < 1      ? 1
                                 : rows < most ? rows
                                               : most,
                                 length);
    for (int k = 0; !status && k < work->kind_count; k++) {
        double a_token = 0;
        if (!work->kinds[k].steps) continue;
        status = time_kind(&a_token, work, model, &part, &work->kinds[k]);
        *out += a_token * a_step * (double)work->kinds[k].steps * (double)work->layers.count;
    }
    timing_free_rows(&part);
    model_close(model);
    return status;
}

/* The model is good for nothing else afterwards. */
static enum status predict(struct align_work *work) {
    int layers = work->model->config->n_layers, each = work->settings->scores_start ? 2 : 1;
    const struct tokenset heldout = align_heldout(work);
    double steps, before = log_elapsed(), blocks = 0, branches = 0;
    struct timing timing;
    enum status status = time_steps(&steps, work);
    if (!status) status = timing_passes(&timing, work->model, work->set, work->max_tokens);
    if (status || timing.block <= 0) return status;
    for (size_t i = 0; i < work->layers.count; i++)
        blocks += each * (layers - work->layers.values[i]);
    branches = each * (double)work->layers.count;
    double held = (double)heldout.tokens * work->kind_count;
    double passes = (double)cached_tokens(work) * layers * timing.block +
                    held * (blocks + layers + 6 * branches) * timing.block +
                    held * (1 + branches) * timing.score;
    work->outcome->memory.seconds =
        before + timing.open + (1 + work->kind_count) * layers * timing.layer + steps + passes;
    return status;
}

static void begin(struct memory_budget *budget, const struct align_work *work) {
    const struct align_settings *settings = work->settings;
    memory_budget_begin(budget, work->backend, settings->device_memory);
    snprintf(budget->work, sizeof budget->work, "%zu layers, %d kinds, %lld steps of %d rows",
             work->layers.count, work->kind_count, (long long)work->steps, settings->rows.batch);
}

enum status align_budget(struct align_work *work, bool predicts) {
    const struct align_settings *settings = work->settings;
    struct memory_budget *budget = &work->outcome->memory;
    work->inputs_on_device = work->backend->discrete && !settings->cache_directory;
    begin(budget, work);
    enum status status = budget_training(budget, work);
    if (!status && work->inputs_on_device && !memory_budget_fits(budget)) {
        work->inputs_on_device = false;
        begin(budget, work);
        status = budget_training(budget, work);
    }
    if (!status) status = budget_scores(work);
    if (!status) status = budget_cache(work);
    if (!status)
        status =
            memory_budget_check(budget, work->backend, "the alignment", settings->device_memory,
                                settings->cache_directory ? "use a smaller --batch"
                                                          : "use a smaller --batch or --cache-dir");
    return status || !predicts ? status : predict(work);
}
