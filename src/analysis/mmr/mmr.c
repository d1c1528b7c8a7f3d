#include "analysis/mmr/mmr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/layers.h"
#include "analysis/mmr/mmr_work.h"
#include "analysis/record.h"
#include "analysis/step_rows.h"
#include "analysis/timing.h"
#include "base/log.h"
#include "base/memory.h"
#include "scores/kinds.h"
#include "train/loss.h"

static enum status check_rows(const struct mmr_work *work) {
    const struct probe_settings *probe = &work->settings->probe;
    const struct step_rows rows = {(int64_t)work->set->rows - probe->data.heldout,
                                   probe->data.batch};
    return step_rows_check(&rows, work->set, probe->schedule.steps,
                           probe->loss.kind == LOSS_CROSS_ENTROPY, work->settings->data);
}

static enum status open_inputs(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    enum status status = tokenset_read(&work->set, settings->data);
    if (!status) status = backend_open(&work->backend, settings->device);
    if (!status)
        status =
            model_describe(&work->teacher, work->backend, settings->model, &settings->checkpoint);
    if (!status) status = record_check_vocabulary(work->teacher, work->set, settings->data);
    work->student = work->teacher;
    if (!status && settings->hybrid)
        status = model_describe(&work->student, work->backend, settings->hybrid, NULL);
    else if (!status &&
             settings->probe.parts.count > PROBE_OUTSIDE) /* the teacher's head must not train */
        status =
            model_describe(&work->student, work->backend, settings->model, &settings->checkpoint);
    if (!status && settings->hybrid)
        status = record_check_hybrid(work->student, settings->model, &settings->checkpoint);
    if (!status) status = check_rows(work);
    if (!status)
        status =
            layers_choose(&work->layers, work->student->config, NULL, settings->layers, "replace");
    if (!status) status = mmr_open_libraries(work);
    if (!status && settings->probe.choices.data.path)
        status = calibration_open(&work->calibration, &settings->probe.choices.data, work->set,
                                  settings->probe.data.heldout);
    return status;
}

/* Everything that makes a run another run. */
static struct json *describe(const struct mmr_work *work, const struct mixer_sizes *mixer) {
    const struct mmr_settings *settings = work->settings;
    const struct probe_settings *probe = &settings->probe;
    struct json *parameters = js_new_object();
    if (!parameters) return NULL;
    char *layers = list_format(work->layers.values, work->layers.count);
    js_set_string(parameters, "layers", layers);
    free(layers);
    js_set_integer(parameters, "steps", probe->schedule.steps);
    js_set_integer(parameters, "batch", probe->data.batch);
    js_set_integer(parameters, "heldout", probe->data.heldout);
    js_set_integer(parameters, "seeds", settings->seeds);
    js_set_number(parameters, "lr", probe->schedule.rate);
    js_set_number(parameters, "beta1", probe->optimizer.beta1);
    js_set_number(parameters, "beta2", probe->optimizer.beta2);
    js_set_number(parameters, "epsilon", probe->optimizer.epsilon);
    js_set_number(parameters, "weight_decay", probe->parts.groups[PROBE_MIXER].decay);
    js_set_number(parameters, "clip", probe->optimizer.clip);
    js_set_integer(parameters, "warmup", probe->schedule.warmup);
    js_set_string(parameters, "schedule", train_schedule_name(probe->schedule.kind));
    js_set_string(parameters, "loss", loss_name(probe->loss.kind));
    js_set_number(parameters, "temperature", probe->loss.temperature);
    js_set_string(parameters, "train", probe_parts_name(&probe->parts));
    js_set_integer(parameters, "stop_when_stable", settings->stable_steps);
    if (settings->stable_steps) js_set_integer(parameters, "group", settings->group);
    struct json *init = mixer_choices_to_json(&probe->choices, mixer);
    calibration_describe(init, &work->calibration, work->backend);
    js_set(parameters, "init", init);
    if (!mmr_describe_library(parameters, work)) return parameters;
    js_free(parameters);
    return NULL;
}

/* Find or insert the run, or compare it with another. */
static enum status begin(struct mmr_work *work, enum store_run_state *state) {
    struct mixer_sizes mixer;
    enum status status =
        replacement_sizes(&mixer, work->student->config, &work->settings->probe.choices);
    if (status) return status;
    struct json *parameters = describe(work, &mixer);
    char *layout = record_layout(work->student->config, NULL);
    if (!parameters || !layout) status = STATUS_FAILED;
    if (!status) {
        struct record_run record = {.kind = RUN_MMR,
                                    .model = work->settings->model,
                                    .base = work->settings->hybrid ? work->student : NULL,
                                    .base_layout = work->settings->hybrid ? layout : "",
                                    .parameters = parameters,
                                    .identity = work->settings->identity,
                                    .seed = (int64_t)work->settings->seed,
                                    .device = work->backend->name,
                                    .data = work->settings->data,
                                    .set = work->set,
                                    .trunk = work->student,
                                    .options = &work->settings->checkpoint};
        int64_t other = work->settings->compare;
        status = other ? record_compare(&work->outcome->differs, work->store, other, &record)
                       : record_begin(&work->run, state, work->store, &record);
    }
    js_free(parameters);
    free(layout);
    return status;
}

/* What the data say of every probe's mixer. */
static enum status calibrate(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    size_t seeds = (size_t)settings->seeds;
    if (!work->calibration.set) return STATUS_OK;
    work->fits = memory_calloc(work->layers.count * seeds, sizeof *work->fits);
    if (!work->fits) return STATUS_FAILED;
    for (size_t i = 0; i < work->layers.count * seeds; i++) {
        struct calibration_task *task = &work->fits[work->n_fits++];
        task->layer = work->layers.values[i / seeds];
        task->choices = settings->probe.choices;
        task->choices.seed = settings->seed + i % seeds;
    }
    return calibration_run(work->fits, work->n_fits, work->student, &work->calibration);
}

static void tell(const struct mmr_work *work) {
    const struct probe_memory *memory = &work->memory;
    const struct memory_budget *budget = &work->outcome->memory;
    char text[4][32], *parts = memory_budget_line(budget);
    if (parts) log_note("memory: %s", parts);
    free(parts);
    if (budget->cache_directory)
        log_note("cache: %s in \"%s\", of which %s are there; %s free",
                 memory_format(text[0], budget->cache), budget->cache_directory,
                 memory_format(text[1], budget->cache_there),
                 memory_format(text[2], budget->cache_free));
    if (work->outcome->recomputed)
        log_note("blocks are computed again in the backward pass%s",
                 work->settings->recompute ? "" : ": keeping their activations does not fit");
    if (work->arrangement.together > 1)
        log_note("%d probes advance in lock step", work->arrangement.together);
    if (memory->parked)
        log_note("inputs of blocks wait in host memory: %s",
                 memory_format(text[0], memory->parked));
    if (work->traffic[0]) log_note("layers are streamed: %s", work->traffic);
}

/* How much longer than an attention layer of the teacher each layer of the student takes: [L]; the
 * caller frees. */
static enum status compare_layers(double **out, struct mmr_work *work) {
    int layers = work->student->config->n_layers;
    double *seconds = *out = memory_calloc((size_t)layers, sizeof *seconds), usual = 0;
    if (!seconds) return STATUS_FAILED;
    enum status status = STATUS_OK;
    if (work->student != work->teacher) status = timing_layers(seconds, work->student, work->set);
    for (int l = 0; l < layers; l++)
        if (work->student->config->layers[l].mixer.kind ==
            work->teacher->config->layers[0].mixer.kind)
            usual = seconds[l];
    for (int l = 0; l < layers; l++) seconds[l] = usual > 0 ? seconds[l] / usual : 1;
    return status;
}

/* Tokens of all held-out rows. */
static double count_heldout(const struct mmr_work *work) {
    const struct tokenset *set = work->set;
    uint64_t first = set->rows - (uint64_t)work->settings->probe.data.heldout;
    return (double)(set->tokens - set->row_offsets[first]);
}

/* What `timing` and layers of these relations give for the probe of a layer. */
static double predict_probe(const struct mmr_work *work, const struct timing *timing,
                            const double *relations, int layer, double a_step, double held) {
    const struct probe_settings *probe = &work->settings->probe;
    double above = 0, steps = (double)probe->schedule.steps;
    for (int l = layer + 1; l < work->student->config->n_layers; l++) above += relations[l];
    return steps * (a_step * (timing->step + above * timing->step_layer) + timing->update) +
           2 * held * ((1 + above) * timing->block + 2 * timing->score);
}

/* How long all probes will take; not known where everything trains. */
static enum status predict(struct mmr_work *work) {
    const struct mmr_settings *settings = work->settings;
    const struct probe_settings *probe = &settings->probe;
    const struct tokenset *set = work->set;
    struct timing timing;
    if (work->student != work->teacher && !settings->hybrid) return STATUS_OK;
    int layers = work->student->config->n_layers;
    double before = log_elapsed(), held = count_heldout(work), all = 0, *relations = NULL;
    double a_step = (double)set->tokens / (double)set->rows * probe->data.batch;
    double start = log_seconds();
    enum status status = compare_layers(&relations, work);
    double opened = work->student == work->teacher ? 0 : log_seconds() - start;
    if (!status)
        status = timing_probes(&timing, work->teacher, set, probe, &work->arrangement.memory);
    bool known = !status && timing.block > 0;
    for (size_t i = 0; known && i < work->layers.count; i++)
        all += predict_probe(work, &timing, relations, work->layers.values[i], a_step, held);
    double shared = fmin((double)set->tokens - held, (double)probe->schedule.steps * a_step) + held;
    if (known)
        work->outcome->memory.seconds = before + opened + timing.open + layers * timing.layer +
                                        all * settings->seeds + 2 * shared * layers * timing.block;
    free(relations);
    return status;
}

enum status mmr_run(struct mmr_outcome *outcome, const struct mmr_settings *settings) {
    struct mmr_work work = {.settings = settings, .outcome = outcome, .base_bytes = memory_peak()};
    enum store_run_state state = STORE_RUN_NEW;
    *outcome = (struct mmr_outcome){0};
    enum status status = open_inputs(&work);
    if (!status && settings->compare) {
        status = store_open(&work.store, settings->database, STORE_READ);
        if (!status) status = begin(&work, &state);
        goto done;
    }
    if (!status) status = mmr_budget(&work);
    if (!status && settings->dry_run) status = predict(&work);
    if (status || settings->dry_run) goto done;
    status = model_load(work.teacher);
    if (!status && work.student != work.teacher) status = model_load(work.student);
    if (status) goto done;
    outcome->layers = (int)work.layers.count;
    status = store_open(&work.store, settings->database, STORE_WRITE);
    if (!status) status = begin(&work, &state);
    outcome->run = work.run;
    if (status) goto done;
    if (state == STORE_RUN_FINISHED) {
        outcome->layers_before = outcome->layers;
        goto done;
    }
    tell(&work);
    work.saved = (struct saved_state){.store = work.store,
                                      .run = work.run,
                                      .database = settings->database,
                                      .part = mmr_state_part(settings),
                                      .steps = settings->probe.schedule.steps,
                                      .together = work.arrangement.together,
                                      /* rounds go on from the states of the round before */
                                      .needed = settings->stable_steps > 0};
    struct probe_cache cache = mmr_cache_of(settings);
    struct probe_settings probe = settings->probe;
    status = calibrate(&work);
    probe.fits = work.fits;
    probe.n_fits = work.n_fits;
    probe.library = work.library;
    if (!status)
        status = probe_engine_open(&work.engine, work.student, work.teacher, work.set, &probe,
                                   &work.arrangement, &cache);
    if (!status) status = settings->stable_steps ? mmr_run_rounds(&work) : mmr_run_layers(&work);
    if (!status) probe_engine_finish(work.engine);
    status = record_finish(work.store, work.run, status);
    outcome->device_peak = work.backend->memory_peak(work.backend);
done:
    if (!status) mmr_warn_of_unkept(&work);
    status = record_tell_interrupt(status, "layers and steps", settings->database);
    probe_engine_close(work.engine);
    calibration_tasks_free(work.fits, work.n_fits);
    calibration_close(&work.calibration);
    store_close(work.store);
    if (work.student != work.teacher) model_close(work.student);
    model_close(work.teacher);
    tokenset_free(work.set);
    list_free(&work.layers);
    free(work.first_layers);
    if (work.backend) work.backend->close(work.backend);
    return status;
}
