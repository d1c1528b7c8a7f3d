#include "kernels/ops/mlp.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "model/mixers.h"

/* As trace_alloc: one list for counting and allocating. */
static uint64_t lay_out(struct backward *out, const struct model *model,
                        const struct trace_needs *needs, bool allocate, bool *failed) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    int64_t n = needs->sequences.tokens;
    int64_t query = config->n_heads * config->head_dim, key = config->n_kv_heads * config->head_dim;
    int64_t inner = needs->mamba ? needs->mamba->d_inner : 0;
    int64_t projected = needs->mamba ? 2 * (inner + needs->mamba->d_xb) : 0;
    if (!needs->attention) query = key = 0;
    const struct {
        void **to;
        int64_t width;
    } buffers[] = {
        {&out->dout, backend->act == backend->acc ? 0 : config->hidden_size},
        {&out->dnormed, config->hidden_size},
        {&out->dgate_up, 2 * config->intermediate_size},
        {&out->dmlp_inner, config->intermediate_size},
        {&out->dqkv, query + 2 * key},
        {&out->dqk, config->qk_norm ? query + key : 0},
        {&out->dprojected, projected},
        {&out->ddt, inner},
        {&out->dconvolved, inner},
        {&out->ddt_low, needs->mamba ? needs->mamba->dt_rank : 0},
        {&out->dmixed, inner > query ? inner : query},
    };
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        size_t size = (size_t)(n * buffers[i].width) * dtype_size(backend->act);
        bytes += size;
        if (!allocate || !size || *failed) continue;
        *buffers[i].to = backend->alloc(backend, size, "activation gradients");
        if (!*buffers[i].to) *failed = true;
    }
    return bytes;
}

enum status backward_alloc(struct backward *out, const struct model *model,
                           const struct trace_needs *needs) {
    *out = (struct backward){0};
    bool failed = false;
    lay_out(out, model, needs, true, &failed);
    if (failed) backward_free(out, model->backend);
    return failed ? STATUS_FAILED : STATUS_OK;
}

uint64_t backward_bytes(const struct model *model, const struct trace_needs *needs) {
    struct backward backward = {0};
    bool failed = false;
    return lay_out(&backward, model, needs, false, &failed);
}

void backward_free(struct backward *backward, struct backend *backend) {
    void *buffers[] = {backward->dout,       backward->dnormed, backward->dgate_up,
                       backward->dmlp_inner, backward->dqkv,    backward->dqk,
                       backward->dprojected, backward->ddt,     backward->dconvolved,
                       backward->ddt_low,    backward->dmixed};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        backend->free(backend, buffers[i]);
    *backward = (struct backward){0};
}

void linear_backward(const struct model *model, void *da, void *dw, void *dbias, const void *dout,
                     const void *a, int64_t a_stride, const void *w, int64_t m, int64_t n,
                     int64_t k) {
    struct backend *backend = model->backend;
    if (dw) backend->products->matmul_backward_weight(backend, dw, dout, a, a_stride, m, n, k);
    if (dbias) backend->products->matmul_backward_bias(backend, dbias, dout, m, n);
    if (da) backend->products->matmul_backward_input(backend, into_act(da), dout, w, m, n, k);
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
static const void *as_input(const struct model *model, struct backward *scratch, const void *dh,
                            int64_t tokens) {
    struct backend *backend = model->backend;
    if (!scratch->dout) return dh;
    backend->cast(backend, scratch->dout, dh, (size_t)(tokens * model->config->hidden_size));
    return scratch->dout;
}

void block_backward_mlp(const struct model *model, const struct block_state *state,
                        struct backward *scratch, void *dh, void *const *gradients,
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
        backend->mlp->swiglu(backend, trace->mlp_inner, trace->gate_up, tokens, inner);
    linear_backward(model, scratch->dmlp_inner, into[WEIGHT_DOWN], into[WEIGHT_DOWN_BIAS], dout,
                    trace->mlp_inner, inner, weights[WEIGHT_DOWN], tokens, width, inner);
    backend->mlp->swiglu_backward(backend, scratch->dgate_up, scratch->dmlp_inner, trace->gate_up,
                                  tokens, inner);
    if (into[WEIGHT_GATE_UP])
        backend->norm->rmsnorm(backend, trace->normed, trace->mlp_rstd, state->middle,
                               weights[WEIGHT_POST_NORM], config->rms_norm_eps, tokens, width);
    linear_backward(model, scratch->dnormed, into[WEIGHT_GATE_UP], into[WEIGHT_GATE_UP_BIAS],
                    scratch->dgate_up, trace->normed, width, weights[WEIGHT_GATE_UP], tokens,
                    2 * inner, width);
    backend->norm->rmsnorm_backward(backend, dh, into[WEIGHT_POST_NORM], scratch->dnormed,
                                    state->middle, weights[WEIGHT_POST_NORM], trace->mlp_rstd,
                                    tokens, width);
}

/* Whether any weight in [from, to) has a gradient to accumulate. */
static bool wants(void *const *into, int from, int to) {
    for (int weight = from; weight < to; weight++)
        if (into[weight]) return true;
    return false;
}

void block_backward_mixer(const struct model *model, const struct block_state *state,
                          struct backward *scratch, void *dh, void *const *gradients, bool stop,
                          const struct sequences *sequences) {
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
        backend->norm->rmsnorm(backend, trace->normed, trace->mixer_rstd, state->input,
                               state->layer->weights[WEIGHT_INPUT_NORM], config->rms_norm_eps,
                               tokens, width);
    if (state->mixer->kind == MIXER_ATTENTION)
        attention_backward(model, state, scratch, dout, gradients, !past_mixer, sequences);
    else
        mamba_backward(model, state, scratch, dout, gradients, !past_mixer, sequences);
    if (past_mixer)
        backend->norm->rmsnorm_backward(backend, dh, into[WEIGHT_INPUT_NORM], scratch->dnormed,
                                        state->input, state->layer->weights[WEIGHT_INPUT_NORM],
                                        trace->mixer_rstd, tokens, width);
}
