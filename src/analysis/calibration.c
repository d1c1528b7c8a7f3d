#include "analysis/calibration.h"

#include <stdlib.h>
#include <string.h>

#include "analysis/record.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"
#include "model/sequences.h"

enum status calibration_open(struct calibration *out, const struct mixer_data *data,
                             const struct tokenset *measured, int64_t heldout) {
    *out = (struct calibration){.path = data->path};
    enum status status = tokenset_read(&out->set, data->path);
    if (status) return status;
    bool same = measured && strcmp(measured->fingerprint, out->set->fingerprint) == 0;
    out->rows = (int64_t)out->set->rows - (same ? heldout : 0);
    if (out->rows < 1)
        return status_fail("\"%s\" has %llu rows, all of which are held out: nothing is left to "
                           "fit new mixers to",
                           data->path, (unsigned long long)out->set->rows);
    int64_t there = (int64_t)out->set->row_offsets[out->rows];
    out->tokens = data->tokens < there ? data->tokens : there;
    return STATUS_OK;
}

void calibration_close(struct calibration *calibration) {
    tokenset_free(calibration->set);
    *calibration = (struct calibration){0};
}

void calibration_describe(struct json *init, const struct calibration *calibration,
                          const struct backend *backend) {
    if (!calibration->set) return;
    js_set_string(init, "calibrate", calibration->set->fingerprint);
    js_set_integer(init, "calibrate_tokens", calibration->tokens);
    js_set_string(init, "calibrate_device", backend->discrete ? "cuda" : "cpu");
}

/* ---- the pass */

struct calibrating {
    struct model *model;
    struct token_batch batch;
    struct trace trace;
    struct acc *hidden; /* [tokens, D] */
};

static enum status make_batch(struct token_batch *out, struct backend *backend,
                              const struct calibration *calibration) {
    const struct tokenset *set = calibration->set;
    uint64_t *offsets = memory_calloc((size_t)calibration->rows + 1, sizeof *offsets);
    if (!offsets) return STATUS_FAILED;
    int count = 0;
    while (offsets[count] < (uint64_t)calibration->tokens) {
        uint64_t end = set->row_offsets[count + 1];
        offsets[++count] =
            end < (uint64_t)calibration->tokens ? end : (uint64_t)calibration->tokens;
    }
    enum status status = token_batch_create(out, backend, set->ids, offsets, count);
    free(offsets);
    return status;
}

static enum status begin(struct calibrating *out, struct model *model,
                         const struct calibration *calibration) {
    struct backend *backend = model->backend;
    *out = (struct calibrating){.model = model};
    enum status status = record_check_vocabulary(model, calibration->set, calibration->path);
    if (!status) status = make_batch(&out->batch, backend, calibration);
    if (status) return status;
    const struct sequences *rows = &out->batch.sequences;
    struct trace_needs needs = trace_needs_of(model, rows->count, rows->tokens, rows->longest);
    status = model_prepare(model, rows->longest);
    if (!status) status = trace_alloc(&out->trace, model, &needs);
    if (status) return status;
    size_t values = (size_t)(rows->tokens * model->config->hidden_size);
    out->hidden = backend->alloc(backend, values * dtype_size(backend->acc), "calibration states");
    if (!out->hidden) return STATUS_FAILED;
    backend->embedding->embed(backend, out->hidden, out->batch.ids, model->embedding, rows->tokens,
                              model->config->hidden_size);
    return STATUS_OK;
}

static void end(struct calibrating *calibrating) {
    struct backend *backend = calibrating->model->backend;
    backend->free(backend, calibrating->hidden);
    trace_free(&calibrating->trace, backend);
    token_batch_free(&calibrating->batch);
}

/* Through a layer; the tasks at its attention are done on the way. */
static enum status advance(struct calibrating *calibrating, int index,
                           struct calibration_task *tasks, size_t count) {
    struct model *model = calibrating->model;
    const struct sequences *rows = &calibrating->batch.sequences;
    const struct layer *layer;
    enum status status = model_layer(&layer, model, index);
    if (status) return status;
    block_mix(model, layer, &layer->mixer, &calibrating->trace, calibrating->hidden,
              calibrating->hidden, rows);
    for (size_t i = 0; i < count && !status; i++)
        if (tasks[i].layer == index && mixer_choices_fits(&tasks[i].choices))
            status = replacement_fit(&tasks[i].fit, model, layer, &tasks[i].choices,
                                     &calibrating->trace, rows);
    if (!status)
        block_mlp(model, layer, &calibrating->trace, calibrating->hidden, calibrating->hidden,
                  rows->tokens);
    return status ? status : interrupt_check();
}

enum status calibration_run(struct calibration_task *tasks, size_t count, struct model *model,
                            const struct calibration *calibration) {
    struct calibrating calibrating;
    struct progress progress;
    int layers = count ? tasks[count - 1].layer + 1 : 0;
    enum status status = begin(&calibrating, model, calibration);
    progress_begin(&progress, "calibrate", "layers", layers, 0);
    for (int l = 0; l < layers && !status; l++) {
        status = advance(&calibrating, l, tasks, count);
        progress_update(&progress, l + 1);
    }
    progress_end(&progress);
    end(&calibrating);
    return status;
}

void calibration_tasks_free(struct calibration_task *tasks, size_t count) {
    for (size_t i = 0; tasks && i < count; i++) mixer_fit_free(tasks[i].fit);
    free(tasks);
}

const struct mixer_fit *calibration_find(const struct calibration_task *tasks, size_t count,
                                         int layer, uint64_t seed) {
    for (size_t i = 0; i < count; i++)
        if (tasks[i].layer == layer && tasks[i].choices.seed == seed) return tasks[i].fit;
    return NULL;
}
