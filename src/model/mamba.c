#include "kernels/ops/conv.h"
#include "kernels/ops/products.h"
#include "kernels/ops/scan.h"
#include "model/mixers.h"

struct mamba_shape mamba_shape_of(const struct mamba_config *mamba) {
    return (struct mamba_shape){.d_inner = mamba->d_inner,
                                .d_xb = mamba->d_xb,
                                .d_state = mamba->d_state,
                                .d_conv = mamba->d_conv};
}

static void *at(const struct backend *backend, void *base, int64_t elements) {
    return (char *)base + (size_t)elements * dtype_size(backend->act);
}

/* The scan's inputs; `projected` rows are z, x, B, C. */
static struct scan_inputs locate(const struct model *model, const struct mixer *mixer,
                                 const struct trace *trace) {
    const struct mamba_shape shape = mamba_shape_of(&mixer->mamba);
    const struct backend *backend = model->backend;
    int64_t inner = shape.d_inner, stride = 2 * (inner + shape.d_xb);
    return (struct scan_inputs){.x = trace->convolved,
                                .dt = trace->dt,
                                .z = trace->projected,
                                .b = at(backend, trace->projected, inner + shape.d_xb),
                                .c = at(backend, trace->projected, inner + 2 * shape.d_xb),
                                .x_stride = inner,
                                .dt_stride = inner,
                                .z_stride = stride,
                                .b_stride = stride,
                                .c_stride = stride,
                                .dt_bias = mixer->weights[WEIGHT_DT_BIAS],
                                .a_log = mixer->weights[WEIGHT_A_LOG],
                                .d = mixer->weights[WEIGHT_D]};
}

/* trace->convolved and trace->mixed of trace->projected and trace->dt. */
static void mix(const struct model *model, const struct mixer *mixer, struct trace *trace,
                const struct sequences *sequences, const struct past_use *past) {
    struct backend *backend = model->backend;
    const struct mamba_shape shape = mamba_shape_of(&mixer->mamba);
    int64_t stride = 2 * ((int64_t)shape.d_inner + shape.d_xb);
    const void *x = at(backend, trace->projected, shape.d_inner);
    const void *w = mixer->weights[WEIGHT_CONV], *bias = mixer->weights[WEIGHT_CONV_BIAS];
    struct scan_inputs in = locate(model, mixer, trace);
    if (past && past->step) {
        backend->conv->conv_step(backend, trace->convolved, past->layer->conv, past->slots, x,
                                 stride, w, bias, sequences->count, &shape);
        backend->scan->scan_step(backend, trace->mixed, past->layer->scan, past->slots, &in,
                                 sequences->count, &shape);
        return;
    }
    backend->conv->conv_silu(backend, trace->convolved, x, stride, w, bias, sequences, &shape);
    backend->scan->scan(backend, trace->mixed, trace->checkpoints, past ? past->layer->scan : NULL,
                        past ? past->slots : NULL, &in, sequences, &shape);
    if (past)
        backend->conv->conv_store(backend, past->layer->conv, past->slots, x, stride, sequences,
                                  &shape);
}

void mamba_forward(const struct model *model, const struct mixer *mixer, struct trace *trace,
                   void *h, const struct sequences *sequences, const struct past_use *past) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    const struct mamba_shape shape = mamba_shape_of(&mixer->mamba);
    int64_t n = sequences->tokens, width = config->hidden_size, inner = shape.d_inner;
    int64_t rank = mixer->mamba.dt_rank, stride = 2 * (inner + shape.d_xb);
    void *const *weights = mixer->weights;
    backend->products->matmul(backend, into_act(trace->projected), trace->normed, width,
                              weights[WEIGHT_IN_PROJ], weights[WEIGHT_IN_PROJ_BIAS], n, stride,
                              width);
    backend->products->matmul(backend, into_act(trace->dt_low), trace->normed, width,
                              weights[WEIGHT_DT_IN], weights[WEIGHT_DT_IN_BIAS], n, rank, width);
    backend->products->matmul(backend, into_act(trace->dt), trace->dt_low, rank,
                              weights[WEIGHT_DT_PROJ], NULL, n, inner, rank);
    mix(model, mixer, trace, sequences, past);
    backend->products->matmul(backend, onto_acc(h), trace->mixed, inner, weights[WEIGHT_OUT],
                              weights[WEIGHT_OUT_BIAS], n, width, inner);
}

/* The scan's gradients, each where its input's stood. */
static struct scan_gradients locate_gradients(const struct model *model, const struct mixer *mixer,
                                              struct backward *scratch, void *const *into) {
    const struct backend *backend = model->backend;
    struct mamba_shape shape = mamba_shape_of(&mixer->mamba);
    int64_t inner = shape.d_inner, stride = 2 * (inner + shape.d_xb);
    return (struct scan_gradients){.dx = scratch->dconvolved,
                                   .ddt = scratch->ddt,
                                   .dz = scratch->dprojected,
                                   .db = at(backend, scratch->dprojected, inner + shape.d_xb),
                                   .dc = at(backend, scratch->dprojected, inner + 2 * shape.d_xb),
                                   .x_stride = inner,
                                   .dt_stride = inner,
                                   .z_stride = stride,
                                   .b_stride = stride,
                                   .c_stride = stride,
                                   .ddt_bias = into[WEIGHT_DT_BIAS],
                                   .da_log = into[WEIGHT_A_LOG],
                                   .dd = into[WEIGHT_D]};
}

void mamba_backward(const struct model *model, const struct block_state *state,
                    struct backward *scratch, const void *dout, void *const *gradients, bool stop,
                    const struct sequences *sequences) {
    struct backend *backend = model->backend;
    const struct mixer *mixer = state->mixer;
    struct trace *trace = state->trace;
    const struct mamba_shape shape = mamba_shape_of(&mixer->mamba);
    int64_t n = sequences->tokens, width = model->config->hidden_size, inner = shape.d_inner;
    int64_t rank = mixer->mamba.dt_rank, stride = 2 * (inner + shape.d_xb);
    void *const *weights = mixer->weights;
    void *none[WEIGHT_COUNT] = {0};
    void *const *into = gradients ? gradients : none;
    linear_backward(model, scratch->dmixed, into[WEIGHT_OUT], into[WEIGHT_OUT_BIAS], dout,
                    trace->mixed, inner, weights[WEIGHT_OUT], n, width, inner);
    struct scan_inputs in = locate(model, mixer, trace);
    struct scan_gradients out = locate_gradients(model, mixer, scratch, into);
    backend->scan->scan_backward(backend, &out, scratch->dmixed, trace->checkpoints, &in, sequences,
                                 &shape);
    backend->conv->conv_silu_backward(
        backend, at(backend, scratch->dprojected, inner), stride, into[WEIGHT_CONV],
        into[WEIGHT_CONV_BIAS], scratch->dconvolved, at(backend, trace->projected, inner), stride,
        weights[WEIGHT_CONV], weights[WEIGHT_CONV_BIAS], sequences, &shape);
    bool through_dt = !stop || into[WEIGHT_DT_IN] || into[WEIGHT_DT_IN_BIAS];
    linear_backward(model, through_dt ? scratch->ddt_low : NULL, into[WEIGHT_DT_PROJ], NULL,
                    scratch->ddt, trace->dt_low, rank, weights[WEIGHT_DT_PROJ], n, inner, rank);
    linear_backward(model, stop ? NULL : scratch->dnormed, into[WEIGHT_IN_PROJ],
                    into[WEIGHT_IN_PROJ_BIAS], scratch->dprojected, trace->normed, width,
                    weights[WEIGHT_IN_PROJ], n, stride, width);
    linear_backward(model, NULL, into[WEIGHT_DT_IN], into[WEIGHT_DT_IN_BIAS], scratch->ddt_low,
                    trace->normed, width, weights[WEIGHT_DT_IN], n, rank, width);
    if (!stop)
        backend->products->matmul_backward_input(backend, onto_act(scratch->dnormed),
                                                 scratch->ddt_low, weights[WEIGHT_DT_IN], n, rank,
                                                 width);
}
