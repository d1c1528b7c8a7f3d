/* One layer's mixer of one kind: its start, its steps, and what is kept of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/align/align_work.h"
#include "analysis/training_curve.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "mixers/sizes.h"
#include "model/replacement.h"
#include "train/state.h"

enum { SAVE_STEPS = 25 };

/* A mixer under training. */
struct training {
    struct align_work *work;
    struct align_kind *kind;
    const struct layer *layer;
    struct mixer mixer;
    struct parameters *parameters;
    int64_t step;        /* the next one */
    int64_t diverged_at; /* -1: it has not */
    double pending[SAVE_STEPS];
    int64_t pending_count;
};

/* The model's rows from place `from` on, on the device. */
struct rows {
    struct token_batch batch;
    struct positions positions;
    struct alignment_batch view;
};

static void rows_free(struct rows *rows) {
    token_batch_free(&rows->batch);
    positions_free(&rows->positions);
}

/* rows_free frees, also after a failure. */
static enum status rows_take(struct rows *rows, const struct training *training, int64_t from,
                             int count, int64_t wrap) {
    struct align_work *work = training->work;
    *rows = (struct rows){0};
    enum status status = hidden_batch(&rows->batch, &work->inputs, from, count, wrap);
    if (!status) status = hidden_positions(&rows->positions, &work->inputs, from, count, wrap);
    if (status) return status;
    hidden_upload(&work->inputs, work->input, from, count, wrap);
    rows->view = (struct alignment_batch){.layer = training->layer,
                                          .sequences = &rows->batch.sequences,
                                          .positions = &rows->positions,
                                          .input = work->input};
    return STATUS_OK;
}

/* ---- held-out errors */

enum { ATTENTION_ERROR, BLOCK_ERROR, ERRORS };

/* A ratio of two sums over sequences, with its standard error (as scores/statistics.h has that of a
 * mean, for sums of any numbers). */
static struct statistics ratio_of(const struct alignment_errors *rows, int64_t count, int which) {
    double above = 0, below = 0, squares = 0;
    int64_t n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < count; i++) {
            double x = which == BLOCK_ERROR ? rows[i].block : rows[i].attention;
            double y = which == BLOCK_ERROR ? rows[i].block_all : rows[i].attention_all;
            double rest = (x - above / below * y) / below;
            if (pass)
                squares += rest * rest;
            else if (y > 0)
                above += x, below += y, n++;
        }
    double error = n > 1 ? sqrt((double)n / (double)(n - 1) * squares) : NAN;
    return (struct statistics){.mean = above / below, .stderr_mean = error, .n = n};
}

static enum status measure(struct statistics out[ERRORS], struct training *training) {
    struct align_work *work = training->work;
    const struct hidden *inputs = &work->inputs;
    int64_t heldout = work->settings->rows.heldout;
    struct alignment_errors *errors = memory_calloc((size_t)heldout, sizeof *errors);
    enum status status = errors ? STATUS_OK : STATUS_FAILED;
    for (int64_t from = work->in_memory; !status && from < inputs->count;) {
        struct rows rows;
        int count = hidden_group(inputs, from, inputs->count, work->max_tokens);
        status = interrupt_check();
        if (status) break;
        status = rows_take(&rows, training, from, count, inputs->count);
        if (!status)
            status = alignment_measure(work->alignment, errors + (from - work->in_memory),
                                       &training->mixer, &rows.view);
        rows_free(&rows);
        from += count;
    }
    for (int i = 0; !status && i < ERRORS; i++) out[i] = ratio_of(errors, heldout, i);
    free(errors);
    return status;
}

/* ---- training */

static const struct parameter_group groups[] = {{"aligned mixer", 1, 0}};

static enum status begin(struct training *training) {
    struct align_work *work = training->work;
    struct mixer_choices choices = training->kind->choices;
    int layer = training->layer->index;
    choices.seed = work->settings->loss.seed;
    choices.fit =
        calibration_find(training->kind->fits, training->kind->n_fits, layer, choices.seed);
    enum status status = replacement_create(&training->mixer, work->model, layer, &choices);
    if (!status) status = parameters_create(&training->parameters, work->model, groups);
    if (!status) status = parameters_add_mixer(training->parameters, 0, layer, &training->mixer);
    return status ? status : parameters_allocate(training->parameters);
}

static void end(struct training *training) {
    parameters_free(training->parameters);
    mixer_free(&training->mixer, training->work->backend);
}

/* Pending losses and, with `with_state`, the training state behind them in one transaction. */
static enum status save(struct training *training, bool with_state) {
    struct align_work *work = training->work;
    struct saved_state *saved = &training->kind->saved;
    int64_t first = training->step - training->pending_count;
    int layer = training->layer->index, seed = 0;
    enum status status = store_begin(work->store);
    for (int64_t i = 0; !status && i < training->pending_count; i++)
        status = store_put_probe_step(work->store, saved->run, layer, seed, first + i,
                                      training->pending[i]);
    if (!status && with_state)
        status = saved_state_put(saved, training->parameters, layer, seed, training->step);
    if (!status) status = store_commit(work->store);
    if (status) store_rollback(work->store);
    training->pending_count = 0;
    saved->saved |= with_state;
    return status;
}

/* Save where it is time to: a large mixer's state takes seconds to write, never more than about 5 %
 * of the time. */
static enum status save_when_due(struct training *training, bool stop) {
    struct align_work *work = training->work;
    double start = log_seconds();
    bool last = training->step == training->kind->steps;
    bool due = start - work->saved_at >= 20 * work->save_seconds;
    if (!training->pending_count || (!stop && !last && training->pending_count < SAVE_STEPS))
        return STATUS_OK;
    bool with_state = (stop || due) &&
                      saved_state_fits(&training->kind->saved, state_bytes(training->parameters));
    enum status status = save(training, with_state);
    if (!with_state) return status;
    work->saved_at = log_seconds();
    work->save_seconds = work->saved_at - start;
    return status;
}

static enum status take_step(struct training *training, double *loss) {
    struct align_work *work = training->work;
    const struct align_settings *settings = work->settings;
    struct train_schedule schedule = settings->schedule;
    struct rows rows;
    int batch = settings->rows.batch;
    enum status status = rows_take(&rows, training, training->step * batch, batch, work->in_memory);
    if (!status)
        status = alignment_step(work->alignment, loss, &training->mixer, training->parameters,
                                &rows.view, &schedule, &settings->optimizer, training->step);
    rows_free(&rows);
    return status;
}

static void note_diverged(struct training *training) {
    char text[MIXER_TEXT_SIZE];
    training->diverged_at = training->step;
    log_warn("layer %d, %s: the loss is not finite at step %lld; this mixer is given up",
             training->layer->index, mixer_text(text, &training->kind->sizes),
             (long long)training->step);
}

static enum status train(struct training *training) {
    struct align_work *work = training->work;
    struct align_outcome *outcome = work->outcome;
    int64_t limit = work->settings->limit_steps;
    enum status status = STATUS_OK;
    while (!status && training->step < training->kind->steps && training->diverged_at < 0) {
        double loss = NAN, start = log_seconds();
        progress_unit(1);
        status = take_step(training, &loss);
        if (status == STATUS_INTERRUPTED) { /* before the step has changed anything */
            enum status saved = save_when_due(training, true);
            return saved ? saved : interrupt_check();
        }
        if (status) break;
        outcome->seconds += log_seconds() - start;
        if (!isfinite(loss)) {
            note_diverged(training);
            break;
        }
        training->pending[training->pending_count++] = loss;
        training->step++;
        outcome->steps++;
        progress_within(1, "layer %d, loss %.4g", training->layer->index, loss);
        progress_update(&work->progress, ++work->done);
        bool stop = interrupt_requested() || (limit && outcome->steps >= limit);
        status = save_when_due(training, stop);
        if (!status && stop) status = status_set(STATUS_INTERRUPTED, "interrupted");
    }
    if (!status && training->pending_count) status = save(training, false);
    return status;
}

/* ---- what is kept */

static const char *const error_names[ERRORS] = {"attention_error", "block_error"};

/* What the library says of the mixer. */
static struct json *describe(const struct training *training,
                             const struct statistics before[ERRORS],
                             const struct statistics after[ERRORS]) {
    const struct align_work *work = training->work;
    struct json *about = js_new_object(), *data = js_new_object(), *errors = js_new_object();
    js_set_string(about, "by", "align");
    js_set_string(about, "identity", training->kind->identity);
    js_set(about, "settings", js_copy(training->kind->parameters));
    js_set_integer(about, "seed", (int64_t)work->settings->loss.seed);
    js_set_string(about, "device", work->backend->name);
    js_set_string(data, "path", work->settings->data);
    js_set_string(data, "fingerprint", work->set->fingerprint);
    js_set(about, "data", data);
    if (work->model != work->teacher)
        js_set_string(about, "base", checkpoint_directory(work->model->checkpoint));
    for (int i = 0; before && i < ERRORS; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_before", error_names[i]);
        js_set(errors, name, statistics_to_json(&before[i]));
        snprintf(name, sizeof name, "%s_after", error_names[i]);
        js_set(errors, name, statistics_to_json(&after[i]));
    }
    js_set(about, "errors", errors);
    return about;
}

static enum status put_errors(struct training *training, const struct statistics errors[ERRORS],
                              const char *when) {
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < ERRORS; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", error_names[i], when);
        if (isfinite(errors[i].mean))
            status = store_put_score(training->work->store, training->kind->saved.run,
                                     training->layer->index, name, errors[i].mean,
                                     errors[i].stderr_mean, errors[i].n);
    }
    return status;
}

/* Everything about the layer in one transaction; its training state is not needed any more. */
static enum status put_layer(struct training *training, const struct statistics before[ERRORS],
                             const struct statistics after[ERRORS]) {
    struct store *store = training->work->store;
    int64_t run = training->kind->saved.run;
    int layer = training->layer->index;
    bool diverged = training->diverged_at >= 0;
    enum status status = store_begin(store);
    if (!status) status = training_curve_put(store, run, layer, "align");
    if (!status) status = put_errors(training, before, "before");
    if (!status && !diverged) status = put_errors(training, after, "after");
    if (!status && diverged)
        status = store_put_score(store, run, layer, "diverged_at_step",
                                 (double)training->diverged_at, NAN, 1);
    if (!status) status = store_drop_probe_state(store, run, layer, 0);
    if (!status) status = store_commit(store);
    if (status) store_rollback(store);
    return status;
}

/* Its errors, and after the last step whether they are numbers at all. */
static enum status measure_after(struct statistics out[ERRORS], struct training *training) {
    if (training->diverged_at >= 0) return STATUS_OK;
    enum status status = measure(out, training);
    if (!status && !(isfinite(out[ATTENTION_ERROR].mean) && isfinite(out[BLOCK_ERROR].mean)))
        note_diverged(training);
    return status;
}

static enum status keep(struct training *training, const struct statistics before[ERRORS],
                        const struct statistics after[ERRORS]) {
    struct align_work *work = training->work;
    struct align_kind *kind = training->kind;
    int layer = training->layer->index;
    enum status status = STATUS_OK;
    if (training->diverged_at < 0)
        status = library_put(work->library, layer, &training->mixer, work->model,
                             describe(training, before, after));
    if (!status) status = put_layer(training, before, after);
    kind->done[layer] = !status;
    kind->diverged[layer] = training->diverged_at >= 0;
    return status;
}

enum status align_layer(struct align_work *work, struct align_kind *kind, int layer) {
    struct training training = {.work = work, .kind = kind, .diverged_at = -1};
    struct statistics before[ERRORS], after[ERRORS];
    enum status status = model_layer(&training.layer, work->model, layer);
    if (!status) status = begin(&training);
    if (!status) status = measure(before, &training);
    if (!status && work->start)
        status = library_put(work->start, layer, &training.mixer, work->model,
                             describe(&training, NULL, NULL));
    if (!status && kind->steps)
        status = saved_state_restore(&kind->saved, training.parameters, layer, 0, &training.step);
    work->done += (double)training.step;
    if (!status) status = train(&training);
    if (!status) status = measure_after(after, &training);
    if (!status) status = keep(&training, before, after);
    end(&training);
    return status;
}
