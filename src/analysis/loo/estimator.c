#include "analysis/loo/estimator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "model/sequences.h"
#include "scores/kinds.h"
#include "train/loss.h"
#include "train/tape.h"

static const struct {
    const char *name, *kind;
    const char *metrics[ESTIMATE_MAX_METRICS + 1];
} table[] = {
    [ESTIMATE_NONE] = {"none", RUN_LOO, {NULL}},
    [ESTIMATE_FIRST_ORDER] = {"first-order",
                              RUN_ESTIMATE_FIRST_ORDER,
                              {"est_ce_change", "est_ce_abs", NULL}},
    [ESTIMATE_FISHER] = {"fisher", RUN_ESTIMATE_FISHER, {"est_kl", NULL}},
    [ESTIMATE_COSINE] = {"cosine", RUN_ESTIMATE_COSINE, {"est_cosine", NULL}},
};

const char *estimate_name(enum estimate estimate) {
    return table[estimate].name;
}

enum status estimate_from_name(enum estimate *out, const char *name) {
    for (enum estimate e = ESTIMATE_FIRST_ORDER; e <= ESTIMATE_COSINE; e++)
        if (strcmp(name, table[e].name) == 0) {
            *out = e;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "--estimate is first-order, fisher or cosine, not \"%s\"",
                      name);
}

const char *estimate_kind(enum estimate estimate) {
    return table[estimate].kind;
}

const char *estimate_metric(enum estimate estimate, int index) {
    return table[estimate].metrics[index];
}

struct estimator {
    struct model *model;
    struct estimator_options options;
    int metrics;
    int *place; /* [L]: position among the layers to score, or -1 */
    /* With gradients: */
    struct tape *tape;
    struct loss *loss;
    /* Without: */
    struct trace trace;
    struct acc *before, *stream; /* [tokens, D] */
    /* Host copies, [tokens, D] each, and a value a token. */
    float *host_before, *host_after, *host_gradient;
    double *per_token;
};

/* One group on its way. */
struct group {
    struct estimator *estimator;
    const struct positions *positions;
    double scale;  /* of the gradient: counted positions, since the loss is their mean */
    double weight; /* of this backward pass */
    double *sums;
};

static bool differentiates(const struct estimator_options *options) {
    return options->estimate != ESTIMATE_COSINE;
}

static struct tape_options tape_options_of(const struct estimator_options *options, int rows,
                                           int64_t tokens, int longest) {
    return (struct tape_options){
        .sequences = {.count = rows, .tokens = tokens, .longest = longest},
        .without_mixer = options->removed,
        .without_block = options->ablation == ABLATE_BLOCK,
        .recompute = true,
    };
}

uint64_t estimator_bytes(const struct model *model, const struct estimator_options *options,
                         int rows, int64_t tokens, int longest) {
    uint64_t width = (uint64_t)model->config->hidden_size;
    if (differentiates(options)) {
        struct tape_options tape = tape_options_of(options, rows, tokens, longest);
        return tape_bytes(model, &tape) + loss_bytes(model, tokens);
    }
    struct trace_needs needs = trace_needs_of(model, rows, tokens, longest);
    return trace_bytes(model, &needs) +
           2 * (uint64_t)tokens * width * dtype_size(model->backend->acc);
}

static enum status allocate(struct estimator *estimator, int rows, int64_t tokens, int longest) {
    struct model *model = estimator->model;
    struct backend *backend = model->backend;
    size_t elements = (size_t)tokens * (size_t)model->config->hidden_size;
    estimator->host_before = memory_calloc(elements, sizeof *estimator->host_before);
    estimator->host_after = memory_calloc(elements, sizeof *estimator->host_after);
    estimator->per_token = memory_calloc((size_t)tokens, sizeof *estimator->per_token);
    if (!estimator->host_before || !estimator->host_after || !estimator->per_token)
        return STATUS_FAILED;
    if (differentiates(&estimator->options)) {
        struct tape_options tape = tape_options_of(&estimator->options, rows, tokens, longest);
        estimator->host_gradient = memory_calloc(elements, sizeof *estimator->host_gradient);
        if (!estimator->host_gradient) return STATUS_FAILED;
        const struct train_loss loss = {LOSS_CROSS_ENTROPY, 1};
        enum status status = tape_open(&estimator->tape, model, &tape);
        return status ? status : loss_open(&estimator->loss, model, NULL, &loss, tokens);
    }
    struct trace_needs needs = trace_needs_of(model, rows, tokens, longest);
    size_t bytes = elements * dtype_size(backend->acc);
    enum status status = model_prepare(model, longest);
    if (!status) status = trace_alloc(&estimator->trace, model, &needs);
    if (status) return status;
    estimator->before = backend->alloc(backend, bytes, "residual stream");
    estimator->stream = backend->alloc(backend, bytes, "residual stream");
    return estimator->before && estimator->stream ? STATUS_OK : STATUS_FAILED;
}

enum status estimator_open(struct estimator **out, struct model *model,
                           const struct estimator_options *options, int rows, int64_t tokens,
                           int longest) {
    struct estimator *estimator = memory_calloc(1, sizeof *estimator);
    if (!estimator) return STATUS_FAILED;
    estimator->model = model;
    estimator->options = *options;
    while (estimate_metric(options->estimate, estimator->metrics)) estimator->metrics++;
    enum status status = allocate(estimator, rows, tokens, longest);
    if (!status) {
        size_t layers = (size_t)model->config->n_layers;
        estimator->place = memory_calloc(layers, sizeof *estimator->place);
        if (!estimator->place) status = STATUS_FAILED;
        for (size_t l = 0; !status && l < layers; l++) estimator->place[l] = -1;
        for (int i = 0; !status && i < options->count; i++)
            estimator->place[options->layers[i]] = i;
    }
    if (status)
        estimator_close(estimator);
    else
        *out = estimator;
    return status;
}

void estimator_close(struct estimator *estimator) {
    if (!estimator) return;
    struct backend *backend = estimator->model->backend;
    tape_close(estimator->tape);
    loss_close(estimator->loss);
    trace_free(&estimator->trace, backend);
    backend->free(backend, estimator->before);
    backend->free(backend, estimator->stream);
    free(estimator->place);
    free(estimator->host_before);
    free(estimator->host_after);
    free(estimator->host_gradient);
    free(estimator->per_token);
    free(estimator);
}

static double *row_sums(const struct group *group, int place, int row) {
    int64_t entry = (int64_t)place * group->positions->rows + row;
    return group->sums + entry * group->estimator->metrics;
}

static enum status download(const struct group *group, float *to, const struct acc *from) {
    const struct model *model = group->estimator->model;
    struct backend *backend = model->backend;
    backend->download(backend, to, DTYPE_F32, from, backend->acc,
                      (size_t)(group->positions->tokens * model->config->hidden_size));
    return backend->sync(backend);
}

/* Add per_token up by row; counted positions only, or all. Each row's sum goes to `add`. */
static enum status add_rows(const struct group *group, int layer, bool counted_only) {
    const struct estimator *estimator = group->estimator;
    const struct positions *positions = group->positions;
    int place = estimator->place[layer];
    int64_t t = 0;
    for (int row = 0; row < positions->rows; row++) {
        double sum = 0, *to = row_sums(group, place, row);
        for (; t < positions->tokens && positions->row[t] == row; t++)
            if (!counted_only || positions->counted[t]) sum += estimator->per_token[t];
        sum *= group->scale;
        if (!isfinite(sum))
            return status_fail("layer %d: an estimate is not finite in row %d of the group", layer,
                               row);
        if (estimator->options.estimate == ESTIMATE_FISHER) {
            to[0] += group->weight * 0.5 * sum * sum;
        } else {
            to[0] += group->weight * sum;
            if (estimator->metrics > 1) to[1] += group->weight * fabs(sum);
        }
    }
    return STATUS_OK;
}

/* per_token = gradient . (before - after) */
static enum status visit(void *context, int layer, enum tape_place place, const struct acc *dh,
                         const struct acc *before, const struct acc *here) {
    const struct group *group = context;
    struct estimator *estimator = group->estimator;
    int64_t tokens = group->positions->tokens, width = estimator->model->config->hidden_size;
    bool block = estimator->options.ablation == ABLATE_BLOCK;
    if (estimator->place[layer] < 0 || (place == TAPE_OUTPUT) != block) return STATUS_OK;
    enum status status = download(group, estimator->host_gradient, dh);
    if (!status) status = download(group, estimator->host_before, before);
    if (!status) status = download(group, estimator->host_after, here);
    if (status) return status;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        const float *g = estimator->host_gradient + t * width;
        const float *a = estimator->host_before + t * width;
        const float *b = estimator->host_after + t * width;
        double sum = 0;
        for (int64_t i = 0; i < width; i++) sum += (double)g[i] * ((double)a[i] - (double)b[i]);
        estimator->per_token[t] = sum;
    }
    return add_rows(group, layer, false);
}

/* One forward pass, then a backward pass for each gradient that is wanted. */
static enum status run_gradients(struct group *group, const struct token_batch *batch,
                                 int64_t first_token) {
    struct estimator *estimator = group->estimator;
    const struct estimator_options *options = &estimator->options;
    struct model *model = estimator->model;
    struct backend *backend = model->backend;
    const struct sequences *sequences = &batch->sequences;
    struct tape_visitor visitor = {visit, group};
    int layers = model->config->n_layers, first = options->layers[0];
    bool draws = options->estimate == ESTIMATE_FISHER;
    int passes = draws ? options->samples : 1;
    backend->embedding->embed(backend, tape_stream(estimator->tape, 0), batch->ids,
                              model->embedding, sequences->tokens, model->config->hidden_size);
    double parts = 1 + 3 * passes; /* a way back is two ways, and the loss is about one */
    progress_range(0, 1 / parts);
    enum status status = tape_forward(estimator->tape, 0, NULL, sequences);
    group->weight = 1 / (double)passes;
    for (int pass = 0; !status && pass < passes; pass++) {
        double sum;
        progress_range((1 + 3 * pass) / parts, (4 + 3 * pass) / parts);
        const struct loss_draw draw = {random_stream_for(options->seed, pass, "fisher"),
                                       first_token};
        const struct loss_batch rows = {
            .positions = group->positions, .slot = -1, .draw = draws ? &draw : NULL};
        const struct loss_sink frozen = {NULL, NULL};
        group->scale = (double)loss_count(estimator->loss, &rows);
        status = loss_run(estimator->loss, &sum, tape_gradient(estimator->tape),
                          tape_stream(estimator->tape, layers), &rows, group->scale, &frozen);
        if (!status && group->scale > 0 && !isfinite(sum))
            status = status_fail("the loss is not finite");
        if (!status && group->scale > 0)
            status = tape_backward(estimator->tape, first, NULL, false, &visitor, sequences);
        if (!status) status = interrupt_check();
    }
    return status;
}

/* per_token = 1 - cos(before, after). A zero vector has no direction: it counts as unchanged when
 * both are zero, else as orthogonal. */
static void compare_directions(struct estimator *estimator, int64_t tokens) {
    int64_t width = estimator->model->config->hidden_size;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        const float *a = estimator->host_before + t * width;
        const float *b = estimator->host_after + t * width;
        double ab = 0, aa = 0, bb = 0;
        for (int64_t i = 0; i < width; i++) {
            ab += (double)a[i] * (double)b[i];
            aa += (double)a[i] * (double)a[i];
            bb += (double)b[i] * (double)b[i];
        }
        bool none = aa == 0 || bb == 0;
        estimator->per_token[t] = none ? (double)(aa != bb) : 1 - ab / sqrt(aa * bb);
    }
}

static enum status compare_streams(const struct group *group, int layer) {
    struct estimator *estimator = group->estimator;
    enum status status = download(group, estimator->host_before, estimator->before);
    if (!status) status = download(group, estimator->host_after, estimator->stream);
    if (status) return status;
    compare_directions(estimator, group->positions->tokens);
    return add_rows(group, layer, true);
}

static enum status run_forward(struct group *group, const struct token_batch *batch) {
    struct estimator *estimator = group->estimator;
    struct model *model = estimator->model;
    struct backend *backend = model->backend;
    const struct sequences *sequences = &batch->sequences;
    bool block = estimator->options.ablation == ABLATE_BLOCK;
    void *h = estimator->stream;
    size_t bytes =
        (size_t)(sequences->tokens * model->config->hidden_size) * dtype_size(backend->acc);
    enum status status = STATUS_OK;
    group->scale = group->weight = 1;
    backend->embedding->embed(backend, h, batch->ids, model->embedding, sequences->tokens,
                              model->config->hidden_size);
    for (int l = 0; !status && l < model->config->n_layers; l++) {
        const struct layer *layer;
        bool removed = estimator->options.removed && estimator->options.removed[l];
        bool wanted = estimator->place[l] >= 0;
        if (removed && block) continue;
        status = model_layer(&layer, model, l);
        if (status) break;
        progress_within((double)l / model->config->n_layers, "layer %d", l);
        if (wanted) backend->copy(backend, estimator->before, h, bytes);
        if (!removed) block_mix(model, layer, &layer->mixer, &estimator->trace, h, h, sequences);
        if (wanted && !block) status = compare_streams(group, l);
        block_mlp(model, layer, &estimator->trace, h, h, sequences->tokens);
        if (wanted && block && !status) status = compare_streams(group, l);
        if (!status) status = interrupt_check();
    }
    return status;
}

enum status estimator_group(struct estimator *estimator, const struct tokenset *set, int64_t first,
                            int rows, double *sums, int64_t *counts) {
    const struct model *model = estimator->model;
    struct positions positions = {0};
    struct token_batch batch = {0};
    int metrics = estimator->metrics;
    bool ce = estimator->options.estimate == ESTIMATE_FIRST_ORDER;
    memset(sums, 0, (size_t)(estimator->options.count * rows * metrics) * sizeof *sums);
    enum status status = positions_create(&positions, set, first, rows);
    if (!status)
        status =
            token_batch_create(&batch, model->backend, set->ids, set->row_offsets + first, rows);
    struct group group = {.estimator = estimator, .positions = &positions, .sums = sums};
    if (!status && differentiates(&estimator->options))
        status = run_gradients(&group, &batch, (int64_t)set->row_offsets[first]);
    else if (!status)
        status = run_forward(&group, &batch);
    for (int row = 0; !status && row < rows; row++)
        for (int m = 0; m < metrics; m++)
            counts[row * metrics + m] =
                positions.counts[row * METRIC_COUNT + (ce ? METRIC_CE : METRIC_KL)];
    token_batch_free(&batch);
    positions_free(&positions);
    return status;
}
