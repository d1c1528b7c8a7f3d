#include "eval/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analysis/record.h"
#include "analysis/timing.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "eval/compare_record.h"
#include "measure/scorer.h"
#include "model/forward.h"
#include "model/sequences.h"
#include "model/stream.h"

struct side { /* one of the two models */
    struct model *model;
    struct forward *forward;
    void *hidden; /* acc [tokens, D] */
};

struct work {
    struct backend *backend;
    struct tokenset *set;
    struct side student, teacher;
    struct scorer *scorer;
    int64_t group_tokens, max_tokens;
    int max_rows;
    struct compare_values values;
    struct compare_record record;
};

static enum status open_side(struct side *side, struct work *work, const char *directory,
                             const struct checkpoint_options *options, const char *data) {
    enum status status = model_describe(&side->model, work->backend, directory, options);
    if (!status) status = record_check_vocabulary(side->model, work->set, data);
    return status;
}

/* Bytes of one model's passes, and of the model: its layers stream, or come one at a time. */
static void budget_side(struct memory_budget *budget, const struct side *side,
                        const struct work *work, int longest) {
    const struct model *model = side->model;
    if (!model) return;
    struct trace_needs needs = trace_needs_of(model, work->max_rows, work->max_tokens, longest);
    bool teacher = side == &work->teacher;
    uint64_t hidden = (uint64_t)work->max_tokens * (uint64_t)model->config->hidden_size *
                      dtype_size(model->backend->acc);
    memory_budget_add(budget, teacher ? "teacher's embedding and head" : "embedding and head",
                      model_outside_bytes(model, longest), 0);
    memory_budget_add(budget, teacher ? "teacher's layers, in passing" : "layers, in passing",
                      model_layers_present_bytes(model, false),
                      model->backend->discrete ? layer_stream_host_bytes() : 0);
    memory_budget_add(budget, teacher ? "teacher's activations" : "activations",
                      trace_bytes(model, &needs) + hidden, 0);
}

/* Halve the groups until everything fits. */
static enum status budget_memory(struct work *work, struct memory_budget *budget, int64_t rows,
                                 const struct compare_settings *settings) {
    struct backend *backend = work->backend;
    int longest = (int)tokenset_longest_row(work->set);
    struct memory_budget empty;
    memory_budget_begin(&empty, backend, settings->device_memory);
    for (;; work->group_tokens /= 2) {
        *budget = empty;
        tokenset_measure_groups(&work->max_rows, &work->max_tokens, work->set, rows,
                                work->group_tokens);
        budget_side(budget, &work->student, work, longest);
        budget_side(budget, &work->teacher, work, longest);
        memory_budget_add(budget, "logits", scorer_bytes(work->student.model), 0);
        memory_budget_add(budget, "scratch and transfers", memory_budget_own(backend), 0);
        if (budget->device <= budget->room || settings->group_tokens > 0 ||
            work->group_tokens <= longest)
            break;
    }
    snprintf(budget->work, sizeof budget->work, "groups of up to %lld tokens",
             (long long)work->max_tokens);
    return memory_budget_check(budget, backend, "the evaluation", settings->device_memory,
                               "use shorter rows");
}

static enum status prepare_side(struct side *side, const struct work *work) {
    if (!side->model) return STATUS_OK;
    struct backend *backend = work->backend;
    enum status status = model_load(side->model);
    if (status) return status;
    size_t bytes = (size_t)work->max_tokens * (size_t)side->model->config->hidden_size *
                   dtype_size(backend->acc);
    side->hidden = backend->alloc(backend, bytes, "hidden states");
    if (!side->hidden) return STATUS_FAILED;
    return forward_open(&side->forward, side->model, work->max_rows, work->max_tokens,
                        (int)tokenset_longest_row(work->set));
}

static void close_side(struct side *side, struct backend *backend) {
    forward_close(side->forward);
    if (backend) backend->free(backend, side->hidden);
    model_close(side->model);
}

static void keep_row(struct sequence_value *to, int64_t row, double sum, int64_t count) {
    *to = (struct sequence_value){
        .row = row, .count = count, .value = count ? sum / (double)count : 0};
}

static enum status run_group(struct work *work, int64_t first, int rows) {
    struct token_batch batch = {0};
    struct positions positions = {0};
    const struct tokenset *set = work->set;
    size_t per_branch = (size_t)rows * METRIC_COUNT;
    double *sums = memory_calloc(2 * per_branch, sizeof *sums);
    enum status status = sums ? STATUS_OK : STATUS_FAILED;
    if (!status)
        status =
            token_batch_create(&batch, work->backend, set->ids, set->row_offsets + first, rows);
    if (!status) status = positions_create(&positions, set, first, rows);
    double parts = work->teacher.model ? 4 : 2; /* a pass is about as long as its scores */
    progress_range(0, 1 / parts);
    if (!status) status = forward_run(work->student.forward, work->student.hidden, &batch);
    if (work->teacher.model) progress_range(1 / parts, 2 / parts);
    if (!status && work->teacher.model)
        status = forward_run(work->teacher.forward, work->teacher.hidden, &batch);
    bool alone = !work->teacher.model;
    progress_range(0.5, 1);
    if (!status)
        status = scorer_score_positions(work->scorer, &positions,
                                        alone ? work->student.hidden : work->teacher.hidden,
                                        work->student.hidden, 0, alone ? 0 : 1, sums);
    for (int row = 0; !status && row < rows; row++) {
        const int64_t *counts = positions.counts + row * METRIC_COUNT;
        const double *teacher = sums + row * METRIC_COUNT;
        const double *student = alone ? teacher : teacher + per_branch;
        for (int m = 0; m < METRIC_COUNT; m++)
            keep_row(&work->values.metrics[m][first + row], first + row, student[m], counts[m]);
        keep_row(&work->values.teacher_ce[first + row], first + row, teacher[METRIC_CE],
                 counts[METRIC_CE]);
    }
    positions_free(&positions);
    token_batch_free(&batch);
    free(sums);
    return status;
}

static bool all_done(const struct compare_values *values, int64_t first, int64_t end) {
    for (int64_t row = first; row < end; row++)
        if (!values->done[row]) return false;
    return true;
}

static enum status run_groups(struct work *work, struct compare_result *out) {
    struct progress progress;
    enum status status = STATUS_OK;
    if (work->record.found)
        log_note("run %lld continues: %lld of %lld rows are there", (long long)work->record.run,
                 (long long)work->record.found, (long long)out->rows);
    progress_begin(&progress, "eval", "rows", (double)out->rows, (double)work->record.found);
    for (int64_t first = 0, end; !status && first < out->rows; first = end) {
        end = tokenset_group_end(work->set, first, out->rows, work->group_tokens);
        if (all_done(&work->values, first, end)) continue;
        progress_unit((double)(end - first));
        status = run_group(work, first, (int)(end - first));
        if (!status) status = compare_record_save(&work->record, &work->values, first, end - first);
        progress_update(&progress, (double)end);
        if (!status && interrupt_requested())
            status = status_set(STATUS_INTERRUPTED, "interrupted");
    }
    progress_end(&progress);
    return status;
}

/* A metric for which no position counts (ce of rows of one token) is NAN over no row. */
static enum status summarise_metric(struct statistics *out, const struct sequence_value *values,
                                    size_t rows) {
    *out = (struct statistics){.mean = NAN, .stderr_mean = NAN};
    for (size_t i = 0; i < rows; i++)
        if (values[i].count) return statistics_mean(out, values, rows);
    return STATUS_OK;
}

static enum status summarise(struct work *work, struct compare_result *out) {
    size_t rows = (size_t)out->rows;
    enum status status = STATUS_OK;
    for (int m = 0; !status && m < METRIC_COUNT; m++)
        if (m == METRIC_CE || work->teacher.model)
            status = summarise_metric(&out->metrics[m], work->values.metrics[m], rows);
    if (!status && work->teacher.model)
        status = summarise_metric(&out->teacher_ce, work->values.teacher_ce, rows);
    return status;
}

static enum status allocate(struct work *work, int64_t count) {
    struct compare_values *values = &work->values;
    size_t rows = (size_t)count;
    bool good = true;
    *values = (struct compare_values){.rows = count, .teacher = work->teacher.model != NULL};
    for (int m = 0; m < METRIC_COUNT; m++)
        good = (values->metrics[m] = memory_calloc(rows, sizeof **values->metrics)) && good;
    good = (values->teacher_ce = memory_calloc(rows, sizeof *values->teacher_ce)) && good;
    good = (values->done = memory_calloc(rows, sizeof *values->done)) && good;
    return good ? STATUS_OK : STATUS_FAILED;
}

static void free_values(struct compare_values *values) {
    for (int m = 0; m < METRIC_COUNT; m++) free(values->metrics[m]);
    free(values->teacher_ce);
    free(values->done);
}

/* What the database does not have yet. */
static enum status compute(struct work *work, struct compare_result *out) {
    enum status status = prepare_side(&work->student, work);
    if (!status) status = prepare_side(&work->teacher, work);
    const struct model *teacher = work->teacher.model ? work->teacher.model : work->student.model;
    if (!status) status = scorer_open(&work->scorer, teacher, work->student.model, 0);
    if (!status) status = run_groups(work, out);
    return compare_record_finish(&work->record, status);
}

static int64_t count_groups(const struct work *work, int64_t rows) {
    int64_t groups = 0;
    for (int64_t first = 0; first < rows; groups++)
        first = tokenset_group_end(work->set, first, rows, work->group_tokens);
    return groups;
}

/* Layers are loaded for every group. */
static enum status predict(struct compare_result *out, struct work *work) {
    struct side *sides[] = {&work->student, &work->teacher};
    double counted = timing_counted(work->set, out->rows), seconds = log_elapsed();
    double groups = (double)count_groups(work, out->rows);
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < 2; i++) {
        struct timing timing;
        struct model *model = sides[i]->model;
        if (!model) continue;
        int layers = model->config->n_layers;
        status = timing_passes(&timing, model, work->set, work->max_tokens);
        if (timing.block == 0) return status; /* not known */
        double passes = (double)out->tokens * layers * timing.block;
        seconds += timing.open +
                   timing_loads(&timing, layers, passes, groups, work->backend->discrete) +
                   counted * timing.score;
    }
    out->memory.seconds = seconds;
    return status;
}

enum status compare_run(struct compare_result *out, const struct compare_settings *settings) {
    struct work work = {.group_tokens = settings->group_tokens > 0 ? settings->group_tokens : 4096};
    *out = (struct compare_result){0};
    double start = log_seconds();
    enum status status = tokenset_read(&work.set, settings->data);
    if (!status) status = record_check_mask(work.set, settings->data);
    if (!status) status = backend_open(&work.backend, settings->device);
    if (!status)
        status =
            open_side(&work.student, &work, settings->model, &settings->checkpoint, settings->data);
    if (!status && settings->teacher)
        status = open_side(&work.teacher, &work, settings->teacher, NULL, settings->data);
    if (status) goto done;
    out->rows = (int64_t)work.set->rows;
    if (settings->limit_rows > 0 && settings->limit_rows < out->rows)
        out->rows = settings->limit_rows;
    out->tokens = (int64_t)work.set->row_offsets[out->rows];
    status = budget_memory(&work, &out->memory, out->rows, settings);
    if (!status && settings->dry_run) status = predict(out, &work);
    if (status || settings->dry_run) goto done;
    status = allocate(&work, out->rows);
    const struct compare_question question = {.database = settings->database,
                                              .model = settings->model,
                                              .data = settings->data,
                                              .student = work.student.model,
                                              .teacher = work.teacher.model,
                                              .set = work.set,
                                              .limit_rows = settings->limit_rows,
                                              .identity = settings->identity};
    if (!status) status = compare_record_open(&work.record, &work.values, &question);
    out->run = work.record.run;
    out->rows_found = work.record.found;
    if (!status && !work.record.finished) status = compute(&work, out);
    if (!status) status = summarise(&work, out);
    out->seconds = log_seconds() - start;
done:
    scorer_close(work.scorer);
    close_side(&work.student, work.backend);
    close_side(&work.teacher, work.backend);
    tokenset_free(work.set);
    free_values(&work.values);
    compare_record_close(&work.record);
    if (work.backend) work.backend->close(work.backend);
    return status;
}
