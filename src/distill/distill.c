#include "distill/distill.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/version.h"
#include "checkpoint/shape.h"
#include "distill/work.h"
#include "scores/kinds.h"
#include "scores/numbers.h"
#include "train/loss.h"

char *distill_database(const char *database, const char *output) {
    return database ? memory_copy_string(database) : file_join(output, "training.db");
}

static enum status open_inputs(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    enum status status = tokenset_read(&work->set, settings->data);
    if (!status) status = backend_open(&work->backend, settings->device);
    if (!status) status = model_describe(&work->teacher, work->backend, settings->teacher, NULL);
    if (!status) status = model_describe(&work->student, work->backend, settings->hybrid, NULL);
    if (!status) status = record_check_vocabulary(work->teacher, work->set, settings->data);
    if (!status) status = record_check_hybrid(work->student, settings->teacher, NULL);
    if (!status) status = record_check_mask(work->set, settings->data);
    const struct distill_phases *phases = &settings->training.phases;
    for (int i = 0; !status && i < phases->count; i++)
        if (distill_phase_first(&phases->list[i], work->student->config, work->teacher->config) ==
            work->student->config->n_layers)
            status = status_fail("\"%s\" has no mixer that \"%s\" has not: nothing trains in phase "
                                 "\"%s\"",
                                 settings->hybrid, settings->teacher, phases->list[i].name);
    return status;
}

static struct json *describe_phases(const struct distill_phases *phases) {
    struct json *list = js_new_array();
    for (int i = 0; i < phases->count; i++) {
        const struct distill_phase *phase = &phases->list[i];
        struct json *one = js_new_object(), *rates = js_new_object();
        js_set_string(one, "name", phase->name);
        js_set_integer(one, "steps", phase->steps);
        for (int group = 0; group < DISTILL_GROUPS; group++)
            js_set_number(rates, phase->groups[group].name, phase->groups[group].rate);
        js_set(one, "factors", rates);
        js_append(list, one);
    }
    return list;
}

struct json *distill_describe(const struct distill_work *work) {
    const struct distill_training *training = &work->settings->training;
    const struct train_schedule *schedule = &training->schedule;
    struct json *json = js_new_object();
    js_set(json, "phases", describe_phases(&training->phases));
    js_set_integer(json, "batch", training->data.batch);
    js_set_integer(json, "heldout", training->data.heldout);
    if (training->in_order) js_set_bool(json, "in_order", true);
    js_set_number(json, "lr", schedule->rate);
    js_set_string(json, "schedule", train_schedule_name(schedule->kind));
    js_set_integer(json, "warmup", schedule->warmup);
    js_set_integer(json, "cooldown", schedule->cooldown);
    js_set_number(json, "floor", schedule->floor);
    js_set_number(json, "beta1", training->optimizer.beta1);
    js_set_number(json, "beta2", training->optimizer.beta2);
    js_set_number(json, "epsilon", training->optimizer.epsilon);
    js_set_number(json, "clip", training->optimizer.clip);
    js_set_number(json, "weight_decay", training->phases.list[0].groups[0].decay);
    js_set_string(json, "loss", loss_name(training->loss.kind));
    js_set_number(json, "temperature", training->loss.temperature);
    js_set_number(json, "ce", training->loss.ce);
    js_set_integer(json, "validate_every", work->settings->validate_every);
    js_set_integer(json, "patience", work->settings->patience);
    return json;
}

/* Find or insert the run. */
static enum status begin_run(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    enum store_run_state state;
    struct json *parameters = distill_describe(work);
    char *layout = record_layout(work->student->config, NULL);
    const struct record_run record = {.kind = RUN_DISTILL,
                                      .model = settings->teacher,
                                      .base = work->student,
                                      .base_layout = layout,
                                      .parameters = parameters,
                                      .identity = settings->identity,
                                      .seed = (int64_t)settings->training.seed,
                                      .device = work->backend->name,
                                      .data = settings->data,
                                      .set = work->set,
                                      .trunk = work->teacher};
    enum status status = parameters && layout ? STATUS_OK : STATUS_FAILED;
    if (!status) status = store_open(&work->store, work->database, STORE_WRITE);
    if (!status) status = record_begin(&work->run, &state, work->store, &record);
    js_free(parameters);
    free(layout);
    return status;
}

/* The settings and the content of what is read: what the output belongs to. */
static enum status identify(struct distill_work *work) {
    char fingerprint[SHA256_HEX_SIZE];
    int64_t numbers = 0;
    struct json *json = work->identity = js_new_object();
    js_set_string(json, "format", "apriel-tool/distillation");
    js_set_integer(json, "version", 1);
    enum status status = checkpoint_fingerprint(work->student->checkpoint, fingerprint);
    js_set_string(json, "hybrid_fingerprint", fingerprint);
    if (!status) status = checkpoint_fingerprint(work->teacher->checkpoint, fingerprint);
    js_set_string(json, "teacher_fingerprint", fingerprint);
    if (!status) status = numbers_version(&numbers, RUN_DISTILL);
    js_set_string(json, "data_fingerprint", work->set->fingerprint);
    js_set_integer(json, "seed", (int64_t)work->settings->training.seed);
    js_set_integer(json, "numbers", numbers);
    js_set_string(json, "device_kind", work->backend->discrete ? "cuda" : "cpu");
    js_set(json, "settings", distill_describe(work));
    return status ? status : js_complete();
}

/* What the checkpoint was made of, with what the hybrid says of itself. */
static enum status describe_origin(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    struct json *json = work->provenance = js_copy(work->identity), *hybrid = NULL;
    char *path = file_join(settings->hybrid, "apriel-tool.json");
    enum status status = path ? STATUS_OK : STATUS_FAILED;
    js_set_string(json, "tool", "apriel-tool");
    js_set_string(json, "tool_version", VERSION);
    js_set_string(json, "command", "distill");
    js_set_string(json, "hybrid", settings->hybrid);
    js_set_string(json, "teacher", settings->teacher);
    js_set_string(json, "data", settings->data);
    if (!status && file_exists(path)) status = js_read_names(&hybrid, path);
    if (!status && hybrid) js_set(json, "from", hybrid);
    free(path);
    return status;
}

/* The output is this run's: begun now, or with the same settings. */
static enum status check_output(struct distill_work *work) {
    static const char *const nothing[] = {"arrangement", NULL};
    struct json *there = NULL;
    char *differs = NULL;
    enum status status = distill_folder_read(&there, work->folder.path);
    if (!status && there) {
        int64_t micro = js_integer_or(js_member(js_member(there, "arrangement"), "micro_batch"), 0);
        if (!work->settings->micro && micro >= 1 && micro <= work->settings->training.data.batch)
            work->arrangement.micro = (int)micro;
        status = js_difference(&differs, there, work->identity, nothing);
    }
    if (!status && differs)
        status = status_fail("\"%s\" was begun with another \"%s\": name another -o, or remove it",
                             work->folder.path, differs);
    if (!status && !there) {
        struct json *about = js_copy(work->identity), *arrangement = js_new_object();
        js_set_integer(arrangement, "micro_batch", work->arrangement.micro);
        js_set(about, "arrangement", arrangement);
        status = distill_folder_write(&work->folder, about);
        js_free(about);
    }
    js_free(there);
    free(differs);
    return status;
}

/* Go on from the last state. */
static enum status resume(struct distill_work *work) {
    struct int_list states;
    enum status status = distill_states_list(&states, work->folder.path);
    work->state = (struct distill_state){.measured = -1, .best = -1, .best_value = INFINITY};
    if (!status && states.count) {
        int64_t step = states.values[states.count - 1];
        distill_engine_enter(work->engine, step > 0 ? step - 1 : 0);
        status = distill_state_read(&work->state, work->engine->state.parameters, work->folder.path,
                                    step);
        work->saved = step;
    }
    if (!status && work->state.step)
        log_note("continuing from step %lld", (long long)work->state.step);
    if (!status) status = store_drop_training(work->store, work->run, work->state.step);
    work->outcome->first = work->state.step;
    list_free(&states);
    return status;
}

/* The measurements of a step, from the database. */
static bool find_values(struct statistics out[METRIC_COUNT], const struct store_training *training,
                        int64_t step) {
    int found = 0;
    for (size_t i = 0; i < training->value_count; i++) {
        const struct store_training_value *value = &training->values[i];
        for (int metric = 0; value->step == step && metric < METRIC_COUNT; metric++)
            if (strcmp(value->metric, metric_name((enum metric)metric)) == 0) {
                out[metric] = (struct statistics){value->value, value->stderr_value, value->n};
                found++;
            }
    }
    return found == METRIC_COUNT;
}

static enum status put_scores(struct distill_work *work, const char *when,
                              const struct statistics values[METRIC_COUNT]) {
    enum status status = STATUS_OK;
    for (int metric = 0; !status && metric < METRIC_COUNT; metric++) {
        char name[64];
        snprintf(name, sizeof name, "heldout_%s_%s", metric_name((enum metric)metric), when);
        status = store_put_score(work->store, work->run, STORE_TRUNK, name, values[metric].mean,
                                 values[metric].stderr_mean, values[metric].n);
    }
    return status;
}

/* What was measured before the first step and of the result: into the outcome and the scores. */
static enum status summarise(struct distill_work *work) {
    struct distill_outcome *outcome = work->outcome;
    struct store_training training;
    enum status status = store_get_training(&training, work->store, work->run);
    if (status) return status;
    outcome->measured = find_values(outcome->before, &training, 0) &&
                        find_values(outcome->after, &training, work->state.best);
    store_training_free(&training);
    if (!outcome->measured) return STATUS_OK;
    status = put_scores(work, "before", outcome->before);
    return status ? status : put_scores(work, "after", outcome->after);
}

/* The last state's checkpoint, or that of the best measurement, becomes the output's. */
static enum status finish(struct distill_work *work) {
    const struct distill_state *state = &work->state;
    int64_t step = state->best >= 0 ? state->best : state->step;
    enum status status = distill_folder_finish(&work->folder, step);
    if (status) return status;
    if (step != state->step)
        log_note("\"%s\" holds step %lld, the best; the last was %lld", work->folder.path,
                 (long long)step, (long long)state->step);
    return summarise(work);
}

static enum status run(struct distill_work *work) {
    const struct distill_settings *settings = work->settings;
    int64_t steps = distill_phases_steps(&settings->training.phases);
    enum status status = distill_folder_open(&work->folder, settings->output);
    if (!status) status = identify(work);
    if (!status) status = describe_origin(work);
    if (!status) status = check_output(work);
    if (!status) status = model_load(work->teacher);
    if (!status) status = model_load(work->student);
    if (!status) status = begin_run(work);
    work->outcome->run = work->run;
    if (!status)
        status = distill_engine_open(&work->engine, work->student, work->teacher, work->set,
                                     settings->data, &settings->training, &work->arrangement);
    if (!status && work->engine->rows.left_out)
        log_note("%lld rows have no token to predict and are left out",
                 (long long)work->engine->rows.left_out);
    if (!status) status = resume(work);
    if (status) return status;
    work->outcome->complete = work->state.step >= steps;
    status = distill_train(work);
    if (!status) status = finish(work);
    work->outcome->steps = work->state.step;
    work->outcome->state = work->state;
    enum status written = distill_write_notes(work);
    return record_finish(work->store, work->run, status ? status : written);
}

enum status distill_run(struct distill_outcome *outcome, const struct distill_settings *settings) {
    struct distill_work work = {.settings = settings,
                                .outcome = outcome,
                                .folder = {.lock = -1},
                                .base_bytes = memory_peak(),
                                .saved = -1};
    *outcome = (struct distill_outcome){0};
    enum status status = open_inputs(&work);
    if (!status) status = distill_budget(&work);
    work.database = distill_database(settings->database, settings->output);
    if (!status && !work.database) status = STATUS_FAILED;
    if (!status) status = settings->dry_run ? distill_predict(&work) : run(&work);
    if (status == STATUS_INTERRUPTED && work.saved < 0)
        status = status_set(status, "interrupted before anything was saved");
    else if (status == STATUS_INTERRUPTED)
        status = status_set(status,
                            "interrupted; step %lld is saved in \"%s\": run the same command to "
                            "continue",
                            (long long)work.saved, settings->output);
    distill_engine_close(work.engine);
    store_close(work.store);
    model_close(work.student);
    model_close(work.teacher);
    tokenset_free(work.set);
    distill_folder_close(&work.folder);
    js_free(work.identity);
    js_free(work.provenance);
    free(work.database);
    free(work.pending);
    if (work.backend) work.backend->close(work.backend);
    return status;
}
