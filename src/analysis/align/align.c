#include "analysis/align/align.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/align/align_work.h"
#include "analysis/layers.h"
#include "analysis/probe_cache.h"
#include "analysis/record.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "mixers/sizes.h"
#include "model/replacement.h"
#include "scores/kinds.h"

struct tokenset align_heldout(const struct align_work *work) {
    struct tokenset view = *work->set;
    view.row_offsets += work->rows.training;
    view.rows = (uint64_t)work->settings->rows.heldout;
    view.tokens = view.row_offsets[view.rows] - view.row_offsets[0];
    return view;
}

struct sequences align_largest(const struct align_work *work) {
    return (struct sequences){
        .count = work->max_rows, .longest = work->longest, .tokens = work->max_tokens};
}

void align_sizes(struct mixer_sizes out[ALIGN_MAX_KINDS], const struct align_work *work) {
    for (int i = 0; i < work->kind_count; i++) out[i] = work->kinds[i].sizes;
}

/* ---- what is asked */

/* Batches, and what is the largest of them. */
static enum status measure_rows(struct align_work *work) {
    const struct align_settings *settings = work->settings;
    int64_t heldout = settings->rows.heldout;
    work->rows = (struct step_rows){(int64_t)work->set->rows - heldout, settings->rows.batch};
    enum status status =
        step_rows_check(&work->rows, work->set, work->steps, false, settings->data);
    if (status) return status;
    work->longest = (int)tokenset_longest_row(work->set);
    work->max_tokens = step_rows_largest(&work->rows, work->set, work->steps);
    if (work->max_tokens < work->longest) work->max_tokens = work->longest;
    work->max_rows = settings->rows.batch;
    if (heldout > work->max_rows)
        work->max_rows = (int)(heldout < work->max_tokens ? heldout : work->max_tokens);
    return STATUS_OK;
}

static enum status open_kind(struct align_kind *kind, const struct align_work *work,
                             const struct mixer_choices *choices) {
    size_t layers = (size_t)work->model->config->n_layers;
    kind->choices = *choices;
    kind->trains = mixer_trains(choices);
    kind->steps = kind->trains ? work->settings->schedule.steps : 0;
    enum status status = replacement_sizes(&kind->sizes, work->model->config, choices);
    kind->done = memory_calloc(layers, sizeof *kind->done);
    kind->diverged = memory_calloc(layers, sizeof *kind->diverged);
    return status ? status : kind->done && kind->diverged ? STATUS_OK : STATUS_FAILED;
}

static enum status open_inputs(struct align_work *work) {
    const struct align_settings *settings = work->settings;
    enum status status = tokenset_read(&work->set, settings->data);
    if (!status) status = backend_open(&work->backend, settings->device);
    if (!status)
        status =
            model_describe(&work->teacher, work->backend, settings->model, &settings->checkpoint);
    if (!status) status = record_check_vocabulary(work->teacher, work->set, settings->data);
    work->model = work->teacher;
    if (!status && settings->hybrid)
        status = model_describe(&work->model, work->backend, settings->hybrid, NULL);
    if (!status && settings->hybrid)
        status = record_check_hybrid(work->model, settings->model, &settings->checkpoint);
    if (!status)
        status =
            layers_choose(&work->layers, work->model->config, NULL, settings->layers, "replace");
    for (int i = 0; !status && i < settings->kind_count; i++) {
        work->kind_count = i + 1;
        status = open_kind(&work->kinds[i], work, &settings->kinds[i]);
        if (!status && work->kinds[i].steps > work->steps) work->steps = work->kinds[i].steps;
    }
    for (int i = 0; !status && i < work->kind_count && !work->calibration.set; i++)
        if (work->kinds[i].choices.data.path)
            status = calibration_open(&work->calibration, &work->kinds[i].choices.data, work->set,
                                      settings->rows.heldout);
    return status ? status : measure_rows(work);
}

/* Everything that makes a run another run. */
static struct json *describe(const struct align_work *work, const struct align_kind *kind) {
    const struct align_settings *settings = work->settings;
    struct json *parameters = js_new_object();
    char *layers = list_format(work->layers.values, work->layers.count);
    js_set_string(parameters, "layers", layers);
    free(layers);
    js_set_integer(parameters, "steps", kind->steps);
    js_set_integer(parameters, "batch", settings->rows.batch);
    js_set_integer(parameters, "heldout", settings->rows.heldout);
    js_set_number(parameters, "lr", settings->schedule.rate);
    js_set_integer(parameters, "warmup", settings->schedule.warmup);
    js_set_string(parameters, "schedule", train_schedule_name(settings->schedule.kind));
    js_set_number(parameters, "floor", settings->schedule.floor);
    js_set_number(parameters, "beta1", settings->optimizer.beta1);
    js_set_number(parameters, "beta2", settings->optimizer.beta2);
    js_set_number(parameters, "epsilon", settings->optimizer.epsilon);
    js_set_number(parameters, "clip", settings->optimizer.clip);
    js_set_string(parameters, "objective", alignment_objective_name(settings->loss.objective));
    js_set_number(parameters, "block_share", settings->loss.block_share);
    js_set_bool(parameters, "start_scored", settings->scores_start);
    struct json *init = mixer_choices_to_json(&kind->choices, &kind->sizes);
    if (kind->choices.data.path) calibration_describe(init, &work->calibration, work->backend);
    js_set(parameters, "init", init);
    return parameters;
}

/* What identifies a mixer that the run makes: all that decides its values. The layers that are
 * aligned beside it do not, nor whether its start is scored. */
static enum status identify(struct align_kind *kind, const struct align_work *work) {
    struct json *about = js_copy(kind->parameters);
    char base[SHA256_HEX_SIZE] = "";
    enum status status = STATUS_OK;
    if (work->model != work->teacher)
        status = checkpoint_fingerprint(work->model->checkpoint, base);
    js_remove(about, "layers");
    js_remove(about, "start_scored");
    js_set_string(about, "base", base);
    js_set_string(about, "data", work->set->fingerprint);
    js_set_string(about, "device", work->backend->kind);
    js_set_integer(about, "seed", (int64_t)work->settings->loss.seed);
    char *text = js_print_sorted(about);
    if (!text) status = STATUS_FAILED;
    if (!status) status = sha256_bytes(kind->identity, text, strlen(text));
    free(text);
    js_free(about);
    return status;
}

static enum status begin_run(struct align_kind *kind, struct align_work *work) {
    const struct align_settings *settings = work->settings;
    char *layout = record_layout(work->model->config, NULL);
    struct json *parameters = js_copy(kind->parameters);
    struct record_run record = {.kind = RUN_ALIGN,
                                .model = settings->model,
                                .base = settings->hybrid ? work->model : NULL,
                                .base_layout = settings->hybrid ? layout : "",
                                .parameters = parameters,
                                .identity = settings->identity,
                                .seed = (int64_t)settings->loss.seed,
                                .device = work->backend->name,
                                .data = settings->data,
                                .set = work->set,
                                .trunk = work->model,
                                .options = &settings->checkpoint};
    enum status status = layout && parameters ? STATUS_OK : STATUS_FAILED;
    if (!status) status = record_begin(&kind->saved.run, &kind->state, work->store, &record);
    kind->saved = (struct saved_state){.store = work->store,
                                       .run = kind->saved.run,
                                       .database = settings->database,
                                       .part = (size_t)64 << 20,
                                       .steps = kind->steps,
                                       .together = 1};
    js_free(parameters);
    free(layout);
    return status;
}

/* ---- what is there already */

/* Whether the library has the mixer that this run makes of a layer. */
static bool is_kept(const struct library *library, const struct align_kind *kind, int layer) {
    const struct library_entry *entry = library_find(library, layer, &kind->sizes);
    return entry &&
           strcmp(js_string_or(js_member(entry->about, "identity"), ""), kind->identity) == 0;
}

static enum status find_done(struct align_kind *kind, struct align_work *work) {
    struct store_score_list list;
    int layers = work->model->config->n_layers;
    enum status status = store_get_scores(&list, work->store, kind->saved.run);
    if (status) return status;
    for (size_t i = 0; i < list.count; i++) {
        const struct store_score *score = &list.scores[i];
        if (score->layer < 0 || score->layer >= layers) continue;
        bool diverged = strcmp(score->metric, "diverged_at_step") == 0;
        bool aligned = strcmp(score->metric, "block_error_after") == 0;
        if (diverged) kind->diverged[score->layer] = kind->done[score->layer] = true;
        if (aligned && is_kept(work->library, kind, score->layer) &&
            (!work->start || is_kept(work->start, kind, score->layer)))
            kind->done[score->layer] = true;
    }
    store_score_list_free(&list);
    return STATUS_OK;
}

static enum status begin_kind(struct align_kind *kind, struct align_work *work, int index) {
    struct align_run *run = &work->outcome->runs[index];
    kind->parameters = describe(work, kind);
    enum status status = js_complete();
    if (!status) status = identify(kind, work);
    if (!status) status = begin_run(kind, work);
    *run = (struct align_run){.run = kind->saved.run, .mixer = kind->sizes};
    if (status) return status;
    if (kind->state != STORE_RUN_FINISHED) status = find_done(kind, work);
    for (size_t i = 0; i < work->layers.count; i++) {
        int layer = work->layers.values[i];
        if (kind->state == STORE_RUN_FINISHED) kind->done[layer] = true;
        run->layers_before += kind->done[layer];
        if (kind->done[layer]) work->done += (double)kind->steps;
    }
    char text[MIXER_TEXT_SIZE];
    if (!status && run->layers_before && kind->state != STORE_RUN_FINISHED)
        log_note("run %lld (%s) continues: %d of %zu layers are there", (long long)run->run,
                 mixer_text(text, &kind->sizes), run->layers_before, work->layers.count);
    return status;
}

/* A finished run whose mixers the library does not have (any more) is done with; its scores stay.
 */
static void warn_of_missing(const struct align_work *work) {
    for (int k = 0; k < work->kind_count; k++) {
        const struct align_kind *kind = &work->kinds[k];
        char text[MIXER_TEXT_SIZE];
        for (size_t i = 0; kind->state == STORE_RUN_FINISHED && i < work->layers.count; i++)
            if (!is_kept(work->library, kind, work->layers.values[i])) {
                log_warn("run %lld (%s) is finished and \"%s\" does not have all of its mixers: "
                         "delete it (scores --delete %lld) and run the command again to make them",
                         (long long)kind->saved.run, mixer_text(text, &kind->sizes),
                         library_directory(work->library), (long long)kind->saved.run);
                break;
            }
    }
}

/* ---- the work */

/* Rows of the steps, then those held out. */
static enum status open_rows(struct align_work *work) {
    const struct align_settings *settings = work->settings;
    int64_t heldout = settings->rows.heldout, training = step_rows_count(&work->rows, work->steps);
    struct probe_rows rows = {
        .training = training, .count = training + heldout, .tokens = work->max_tokens};
    struct states_key key = {
        .directory = settings->cache_directory, .kind = "inputs", .complete = STATES_NOTHING};
    char *identity = NULL;
    if (training) rows.unit = (int)step_rows_unit(&work->rows, work->steps);
    rows.rows = memory_calloc((size_t)rows.count, sizeof *rows.rows);
    enum status status = rows.rows ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; !status && i < rows.count; i++)
        rows.rows[i] = i < training ? i : work->rows.training + i - training;
    if (!status && key.directory)
        status = probe_cache_identity(&identity, work->model, work->set, &rows);
    key.identity = identity;
    if (!status)
        status = hidden_create(&work->inputs, work->set, work->backend,
                               work->model->config->hidden_size, rows.rows, rows.count,
                               &(struct hidden_place){.key = key.directory ? &key : NULL,
                                                      .on_device = work->inputs_on_device});
    work->inputs.in_units = training;
    work->inputs.unit = rows.unit;
    work->in_memory = training;
    free(identity);
    free(rows.rows);
    return status;
}

static enum status open_training(struct align_work *work) {
    struct mixer_sizes sizes[ALIGN_MAX_KINDS];
    struct backend *backend = work->backend;
    struct sequences largest = align_largest(work);
    align_sizes(sizes, work);
    enum status status = open_rows(work);
    if (!status)
        status = alignment_open(&work->alignment, work->model, &largest, sizes, work->kind_count,
                                &work->settings->loss);
    if (status) return status;
    size_t tokens = (size_t)(work->max_tokens * work->model->config->hidden_size);
    work->input = backend->alloc(backend, tokens * dtype_size(backend->acc), "inputs of a layer");
    return work->input ? STATUS_OK : STATUS_FAILED;
}

static void close_training(struct align_work *work) {
    alignment_close(work->alignment);
    work->backend->free(work->backend, work->input);
    hidden_free(&work->inputs);
    work->alignment = NULL;
    work->input = NULL;
}

static bool needs_training(const struct align_work *work, int layer) {
    for (int k = 0; k < work->kind_count; k++)
        if (!work->kinds[k].done[layer]) return true;
    return false;
}

static double all_steps(const struct align_work *work) {
    double steps = 0;
    for (int k = 0; k < work->kind_count; k++)
        steps += (double)work->kinds[k].steps * (double)work->layers.count;
    return steps;
}

/* What the data say of the mixers of the layers that are not done. */
static enum status calibrate(struct align_work *work, struct align_kind *kind) {
    if (!kind->choices.data.path) return STATUS_OK;
    kind->fits = memory_calloc(work->layers.count + 1, sizeof *kind->fits);
    if (!kind->fits) return STATUS_FAILED;
    for (size_t i = 0; i < work->layers.count; i++) {
        if (kind->done[work->layers.values[i]]) continue;
        struct calibration_task *task = &kind->fits[kind->n_fits++];
        task->layer = work->layers.values[i];
        task->choices = kind->choices;
        task->choices.seed = work->settings->loss.seed;
    }
    if (!kind->n_fits) return STATUS_OK;
    return calibration_run(kind->fits, kind->n_fits, work->model, &work->calibration);
}

/* Layer by layer, at each of them kind by kind. */
static enum status train_layers(struct align_work *work) {
    enum status status = STATUS_OK;
    for (int k = 0; !status && k < work->kind_count; k++) status = calibrate(work, &work->kinds[k]);
    if (!status) status = open_training(work);
    progress_begin(&work->progress, "align", "steps", all_steps(work), work->done);
    for (size_t i = 0; !status && i < work->layers.count; i++) {
        int layer = work->layers.values[i];
        if (!needs_training(work, layer)) continue;
        status = hidden_advance(&work->inputs, work->model, layer, work->max_tokens);
        for (int k = 0; !status && k < work->kind_count; k++)
            if (!work->kinds[k].done[layer]) status = align_layer(work, &work->kinds[k], layer);
    }
    progress_end(&work->progress);
    if (!status && work->inputs.cache) states_cache_remove(work->inputs.cache);
    close_training(work);
    return status;
}

static enum status run_kinds(struct align_work *work) {
    bool trains = false;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < work->layers.count; i++)
        trains = trains || needs_training(work, work->layers.values[i]);
    if (trains) status = train_layers(work);
    for (int k = 0; !status && k < work->kind_count; k++)
        if (work->kinds[k].state != STORE_RUN_FINISHED) {
            status = align_score(work, &work->kinds[k]);
            if (!status) status = record_finish(work->store, work->kinds[k].saved.run, STATUS_OK);
            if (!status) work->kinds[k].state = STORE_RUN_FINISHED;
        }
    for (int k = 0; k < work->kind_count; k++)
        for (size_t i = 0; i < work->layers.count; i++)
            work->outcome->runs[k].diverged += work->kinds[k].diverged[work->layers.values[i]];
    return status;
}

/* The runs that did not come to their end say how they ended. */
static enum status end_runs(struct align_work *work, enum status status) {
    for (int k = 0; status && k < work->kind_count; k++)
        if (work->kinds[k].saved.run && work->kinds[k].state != STORE_RUN_FINISHED)
            status = record_finish(work->store, work->kinds[k].saved.run, status);
    return status;
}

/* The mixers as they began, which only the scores need. */
static enum status open_libraries(struct align_work *work) {
    const struct align_settings *settings = work->settings;
    enum status status =
        library_open(&work->library, settings->library, work->teacher->checkpoint, LIBRARY_WRITE);
    if (status || !settings->scores_start) return status;
    char *path = file_join(settings->library, "start");
    status = path ? library_open(&work->start, path, work->teacher->checkpoint, LIBRARY_WRITE)
                  : STATUS_FAILED;
    free(path);
    return status;
}

static enum status remove_start(struct align_work *work) {
    if (!work->start) return STATUS_OK;
    return file_remove_directory(library_directory(work->start));
}

static void close_work(struct align_work *work) {
    for (int k = 0; k < work->kind_count; k++) {
        js_free(work->kinds[k].parameters);
        free(work->kinds[k].done);
        free(work->kinds[k].diverged);
        calibration_tasks_free(work->kinds[k].fits, work->kinds[k].n_fits);
    }
    library_close(work->library);
    library_close(work->start);
    store_close(work->store);
    if (work->model != work->teacher) model_close(work->model);
    model_close(work->teacher);
    calibration_close(&work->calibration);
    tokenset_free(work->set);
    list_free(&work->layers);
    if (work->backend) work->backend->close(work->backend);
}

enum status align_run(struct align_outcome *outcome, const struct align_settings *settings) {
    struct align_work work = {.settings = settings, .outcome = outcome};
    *outcome = (struct align_outcome){0};
    enum status status = open_inputs(&work);
    if (!status) status = align_budget(&work, settings->dry_run);
    if (status || settings->dry_run) goto done;
    outcome->layers = (int)work.layers.count;
    status = model_load(work.model);
    if (!status && work.model != work.teacher) status = model_load(work.teacher);
    if (!status) status = store_open(&work.store, settings->database, STORE_WRITE);
    if (!status) status = open_libraries(&work);
    for (int k = 0; !status && k < work.kind_count; k++)
        status = begin_kind(&work.kinds[k], &work, k);
    if (status) goto done;
    warn_of_missing(&work);
    status = run_kinds(&work);
    status = status ? end_runs(&work, status) : remove_start(&work);
    outcome->peak_bytes = work.backend->memory_peak(work.backend);
done:
    status = record_tell_interrupt(status, "layers and steps", settings->database);
    close_work(&work);
    return status;
}
