#include "model/forward.h"

#include <stdlib.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"

struct forward {
    struct model *model;
    struct trace trace;
};

enum status forward_open(struct forward **out, struct model *model, int rows, int64_t tokens,
                         int longest) {
    struct forward *forward = memory_calloc(1, sizeof *forward);
    if (!forward) return STATUS_FAILED;
    forward->model = model;
    struct trace_needs needs = trace_needs_of(model, rows, tokens, longest);
    enum status status = model_prepare(model, longest);
    if (!status) status = trace_alloc(&forward->trace, model, &needs);
    if (status)
        forward_close(forward);
    else
        *out = forward;
    return status;
}

void forward_close(struct forward *forward) {
    if (!forward) return;
    trace_free(&forward->trace, forward->model->backend);
    free(forward);
}

enum status forward_run(struct forward *forward, struct acc *hidden,
                        const struct token_batch *batch) {
    struct model *model = forward->model;
    struct backend *backend = model->backend;
    const struct sequences *sequences = &batch->sequences;
    backend->embedding->embed(backend, hidden, batch->ids, model->embedding, sequences->tokens,
                              model->config->hidden_size);
    for (int l = 0; l < model->config->n_layers; l++) {
        const struct layer *layer;
        enum status status = interrupt_check();
        if (!status) status = model_layer(&layer, model, l);
        if (status) return status;
        progress_within((double)l / model->config->n_layers, "layer %d", l);
        block_mix(model, layer, &layer->mixer, &forward->trace, hidden, hidden, sequences);
        block_mlp(model, layer, &forward->trace, hidden, hidden, sequences->tokens);
    }
    return backend->sync(backend);
}
