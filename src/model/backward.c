#include "kernels/ops/mlp.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "mixers/linear.h"
#include "model/block_buffers.h"

enum status backward_alloc(struct backward *out, const struct model *model,
                           const struct trace_needs *needs) {
    *out = (struct backward){.room = needs->room};
    size_t block = block_lay_out(NULL, NULL, model, &needs->room, true);
    out->memory = model->backend->alloc(model->backend, block + needs->mixer_backward,
                                        "activation gradients");
    if (!out->memory) return STATUS_FAILED;
    out->mixer = out->memory + block;
    (void)block_lay_out(out->buffer, out->memory, model, &needs->room, true);
    return STATUS_OK;
}

uint64_t backward_bytes(const struct model *model, const struct trace_needs *needs) {
    return block_lay_out(NULL, NULL, model, &needs->room, true) + needs->mixer_backward;
}

void backward_free(struct backward *backward, struct backend *backend) {
    backend->free(backend, backward->memory);
    *backward = (struct backward){0};
}

static size_t stream_bytes(const struct model *model, const struct sequences *sequences) {
    return (size_t)(sequences->tokens * model->config->hidden_size) *
           dtype_size(model->backend->acc);
}

void block_forward(const struct model *model, const struct block_state *state,
                   const struct sequences *sequences) {
    struct backend *backend = model->backend;
    size_t bytes = stream_bytes(model, sequences);
    backend->copy(backend, state->middle, state->input, bytes);
    if (state->mixer)
        block_mix(model, state->layer, state->mixer, state->trace, state->middle, state->input,
                  sequences);
    backend->copy(backend, state->output, state->middle, bytes);
    block_mlp(model, state->layer, state->trace, state->output, state->middle, sequences->tokens);
}

/* The residual gradient as a matrix input. */
static const void *as_input(const struct model *model, struct backward *scratch,
                            const struct acc *dh, int64_t tokens) {
    struct backend *backend = model->backend;
    void *dout = scratch->buffer[BLOCK_DOUT];
    if (!dout) return dh;
    backend->cast(backend, dout, dh, (size_t)(tokens * model->config->hidden_size));
    return dout;
}

void block_backward_mlp(const struct model *model, const struct block_state *state,
                        struct backward *scratch, struct acc *dh, void *const *gradients,
                        const struct sequences *sequences) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    struct trace *trace = state->trace;
    void *const *weights = state->layer->weights;
    int64_t tokens = sequences->tokens, width = config->hidden_size;
    int64_t inner = config->intermediate_size;
    void *none[WEIGHT_COUNT] = {0};
    void *const *into = gradients ? gradients : none;
    const void *dout = as_input(model, scratch, dh, tokens);
    if (into[WEIGHT_DOWN])
        backend->mlp->swiglu(backend, trace->buffer[BLOCK_MLP_INNER], trace->buffer[BLOCK_GATE_UP],
                             tokens, inner);
    linear_backward(backend, scratch->buffer[BLOCK_DMLP_INNER], into[WEIGHT_DOWN],
                    into[WEIGHT_DOWN_BIAS], dout, trace->buffer[BLOCK_MLP_INNER], inner,
                    weights[WEIGHT_DOWN], tokens, width, inner);
    backend->mlp->swiglu_backward(backend, scratch->buffer[BLOCK_DGATE_UP],
                                  scratch->buffer[BLOCK_DMLP_INNER], trace->buffer[BLOCK_GATE_UP],
                                  tokens, inner);
    if (into[WEIGHT_GATE_UP])
        backend->norm->rmsnorm(backend, trace->buffer[BLOCK_NORMED], trace->buffer[BLOCK_MLP_RSTD],
                               state->middle, weights[WEIGHT_POST_NORM], config->rms_norm_eps,
                               tokens, width);
    linear_backward(backend, scratch->buffer[BLOCK_DNORMED], into[WEIGHT_GATE_UP],
                    into[WEIGHT_GATE_UP_BIAS], scratch->buffer[BLOCK_DGATE_UP],
                    trace->buffer[BLOCK_NORMED], width, weights[WEIGHT_GATE_UP], tokens, 2 * inner,
                    width);
    backend->norm->rmsnorm_backward(
        backend, dh, into[WEIGHT_POST_NORM], scratch->buffer[BLOCK_DNORMED], state->middle,
        weights[WEIGHT_POST_NORM], trace->buffer[BLOCK_MLP_RSTD], tokens, width);
}

/* Whether any weight in [from, to) has a gradient to accumulate. */
static bool wants(void *const *into, int from, int to) {
    for (int weight = from; weight < to; weight++)
        if (into[weight]) return true;
    return false;
}

void block_backward_mixer(const struct model *model, const struct block_state *state,
                          struct backward *scratch, struct acc *dh, void *const *gradients,
                          bool stop, const struct sequences *sequences) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    struct trace *trace = state->trace;
    int64_t tokens = sequences->tokens, width = config->hidden_size;
    void *none[WEIGHT_COUNT] = {0};
    void *const *into = gradients ? gradients : none;
    bool past_mixer = !stop || into[WEIGHT_INPUT_NORM];
    bool trains = wants(into, WEIGHT_FIRST_OF_MIXER, WEIGHT_COUNT);
    if (!state->mixer || (!past_mixer && !trains)) return;
    const void *dout = as_input(model, scratch, dh, tokens);
    if (trains) /* the MLP has overwritten the mixer's input */
        backend->norm->rmsnorm(
            backend, trace->buffer[BLOCK_NORMED], trace->buffer[BLOCK_MIXER_RSTD], state->input,
            state->layer->weights[WEIGHT_INPUT_NORM], config->rms_norm_eps, tokens, width);
    const struct mixer_sizes *sizes = &state->mixer->sizes;
    const struct mixer_kind *kind = sizes->kind;
    struct mixer_pass pass = block_pass(model, state->mixer, trace, sequences);
    (void)buffers_lay_out(pass.buffer, scratch->mixer, kind->buffers, kind->n_buffers, sizes,
                          &model->host, &scratch->room, true);
    kind->backward(&pass, dout, past_mixer ? scratch->buffer[BLOCK_DNORMED] : NULL,
                   into + WEIGHT_FIRST_OF_MIXER);
    if (past_mixer)
        backend->norm->rmsnorm_backward(backend, dh, into[WEIGHT_INPUT_NORM],
                                        scratch->buffer[BLOCK_DNORMED], state->input,
                                        state->layer->weights[WEIGHT_INPUT_NORM],
                                        trace->buffer[BLOCK_MIXER_RSTD], tokens, width);
}
