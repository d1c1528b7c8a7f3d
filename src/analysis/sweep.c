#include "analysis/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "model/block.h"
#include "model/sequences.h"

struct sweep {
    struct model *model;
    struct sweep_options options;
    int copies;         /* states that go through a block at once */
    int64_t max_tokens; /* of a group */
    void *states;       /* acc [1 + branches, tokens, D]: the trunk, then branches as they leave */
    struct trace trace;
    struct scorer *scorer;
};

static int choose_copies(const struct sweep_options *options, int64_t tokens) {
    int64_t pass = options->pass_tokens > 0 ? options->pass_tokens : 4096;
    int64_t copies = tokens > 0 ? pass / tokens : 1;
    if (copies > options->branches + 1) copies = options->branches + 1;
    return copies < 1 ? 1 : (int)copies;
}

static uint64_t state_bytes(const struct model *model, const struct sweep_options *options,
                            int64_t tokens) {
    return (uint64_t)(1 + options->branches) * (uint64_t)tokens *
           (uint64_t)model->config->hidden_size * dtype_size(model->backend->acc);
}

uint64_t sweep_bytes(const struct model *model, const struct sweep_options *options, int rows,
                     int64_t tokens, int longest) {
    int copies = choose_copies(options, tokens);
    struct trace_needs needs = trace_needs_of(model, copies * rows, copies * tokens, longest);
    return state_bytes(model, options, tokens) + trace_bytes(model, &needs) + scorer_bytes(model) +
           model_layers_bytes(model) / (uint64_t)model->config->n_layers;
}

enum status sweep_open(struct sweep **out, struct model *model, const struct sweep_options *options,
                       int rows, int64_t tokens, int longest) {
    struct sweep *sweep = memory_calloc(1, sizeof *sweep);
    if (!sweep) return STATUS_FAILED;
    struct backend *backend = model->backend;
    sweep->model = model;
    sweep->options = *options;
    sweep->copies = choose_copies(options, tokens);
    sweep->max_tokens = tokens;
    struct trace_needs needs =
        trace_needs_of(model, sweep->copies * rows, sweep->copies * tokens, longest);
    enum status status = model_prepare(model, longest);
    if (!status) status = trace_alloc(&sweep->trace, model, &needs);
    if (!status) status = scorer_open(&sweep->scorer, model, model, 0);
    if (!status) {
        sweep->states = backend->alloc(backend, state_bytes(model, options, tokens), "branches");
        if (!sweep->states) status = STATUS_FAILED;
    }
    if (status)
        sweep_close(sweep);
    else
        *out = sweep;
    return status;
}

void sweep_close(struct sweep *sweep) {
    if (!sweep) return;
    struct backend *backend = sweep->model->backend;
    trace_free(&sweep->trace, backend);
    scorer_close(sweep->scorer);
    backend->free(backend, sweep->states);
    free(sweep);
}

static void *state(const struct sweep *sweep, int index, int64_t tokens) {
    const struct model *model = sweep->model;
    size_t bytes =
        (size_t)tokens * (size_t)model->config->hidden_size * dtype_size(model->backend->acc);
    return (char *)sweep->states + (size_t)index * bytes;
}

/* The first `copies` copies of a batch that holds its rows several times over. */
static struct sequences first_copies(const struct sequences *all, int copies, int rows,
                                     int64_t tokens) {
    struct sequences part = *all;
    part.count = copies * rows;
    part.tokens = copies * tokens;
    return part;
}

/* Take the trunk and `active - 1` branches through one layer; when `leaving`, a new branch starts
 * as the trunk's copy at the layer's input. */
static enum status advance(struct sweep *sweep, const struct sequences *batch, int rows,
                           int64_t tokens, int index, int *active, bool leaving) {
    struct model *model = sweep->model;
    struct backend *backend = model->backend;
    const struct layer *layer;
    enum status status = model_layer(&layer, model, index);
    if (status) return status;
    bool removed = sweep->options.removed && sweep->options.removed[index];
    bool block = sweep->options.ablation == ABLATE_BLOCK;
    size_t bytes = (size_t)tokens * (size_t)model->config->hidden_size * dtype_size(backend->acc);
    if (leaving)
        backend->copy(backend, state(sweep, *active, tokens), state(sweep, 0, tokens), bytes);
    for (int s = 0; s < *active && !removed; s += sweep->copies) {
        int copies = *active - s < sweep->copies ? *active - s : sweep->copies;
        struct sequences part = first_copies(batch, copies, rows, tokens);
        void *h = state(sweep, s, tokens);
        block_mix(model, layer, &layer->mixer, &sweep->trace, h, h, &part);
    }
    int through = *active + (leaving && !block);
    for (int s = 0; s < through && !(removed && block); s += sweep->copies) {
        int copies = through - s < sweep->copies ? through - s : sweep->copies;
        void *h = state(sweep, s, tokens);
        block_mlp(model, layer, &sweep->trace, h, h, copies * tokens);
    }
    if (leaving) ++*active;
    return STATUS_OK;
}

/* The group's rows `copies` times, so that one batch serves several states. */
static enum status make_batch(struct token_batch *out, const struct sweep *sweep,
                              const struct tokenset *set, int64_t first, int rows) {
    uint64_t start = set->row_offsets[first], tokens = set->row_offsets[first + rows] - start;
    size_t copies = (size_t)sweep->copies;
    uint32_t *ids = memory_calloc(copies * tokens, sizeof *ids);
    uint64_t *offsets = memory_calloc(copies * (size_t)rows + 1, sizeof *offsets);
    enum status status = ids && offsets ? STATUS_OK : STATUS_FAILED;
    for (size_t c = 0; !status && c < copies; c++) {
        memcpy(ids + c * tokens, set->ids + start, tokens * sizeof *ids);
        for (int r = 0; r <= rows; r++)
            offsets[c * (size_t)rows + (size_t)r] =
                c * tokens + set->row_offsets[first + r] - start;
    }
    if (!status)
        status = token_batch_create(out, sweep->model->backend, ids, offsets, (int)copies * rows);
    free(ids);
    free(offsets);
    return status;
}

enum status sweep_run(struct sweep *sweep, const struct tokenset *set, int64_t first, int rows,
                      const struct predictions *predictions, double *sums, int64_t *greedy) {
    struct model *model = sweep->model;
    struct backend *backend = model->backend;
    struct token_batch batch = {0};
    int64_t tokens = (int64_t)(set->row_offsets[first + rows] - set->row_offsets[first]);
    int active = 1, next = 0;
    enum status status = make_batch(&batch, sweep, set, first, rows);
    if (status) goto done;
    backend->embed(backend, sweep->states, batch.ids, model->embedding, tokens,
                   model->config->hidden_size);
    for (int l = 0; l < model->config->n_layers; l++) {
        bool leaving = next < sweep->options.branches && sweep->options.layers[next] == l;
        next += leaving;
        status = advance(sweep, &batch.sequences, rows, tokens, l, &active, leaving);
        if (!status && interrupt_requested())
            status = status_set(STATUS_INTERRUPTED, "interrupted");
        if (status) goto done;
    }
    status =
        scorer_score(sweep->scorer, predictions, sweep->states, state(sweep, 1, tokens),
                     tokens * model->config->hidden_size, sweep->options.branches, sums, greedy);
done:
    token_batch_free(&batch);
    return status;
}

enum status sweep_group(struct sweep *sweep, const struct tokenset *set, int64_t first, int rows,
                        double *sums, int64_t *counts) {
    struct positions positions = {0};
    struct predictions predictions = {0};
    enum status status = positions_create(&positions, set, first, rows);
    if (!status) status = predictions_of_positions(&predictions, &positions);
    if (!status) {
        memcpy(counts, positions.counts, (size_t)rows * METRIC_COUNT * sizeof *counts);
        status = sweep_run(sweep, set, first, rows, &predictions, sums, NULL);
    }
    predictions_free(&predictions);
    positions_free(&positions);
    return status;
}
