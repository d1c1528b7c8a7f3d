#include "kernels/ops/products.h"
#include "mixers/linear.h"
#include "mixers/mamba2/mamba2.h"

/* The recurrence's gradients, each where its input's stood. */
static struct ssd_gradients locate_gradients(const struct mixer_pass *pass,
                                             const struct mamba2_layout *layout,
                                             void *const *gradients) {
    const struct backend *backend = pass->backend;
    struct act *dconvolved = pass->buffer[MAMBA2_B_DCONVOLVED];
    const struct act *dprojected = pass->buffer[MAMBA2_B_DPROJECTED];
    return (struct ssd_gradients){
        .dx = dconvolved,
        .db = act_at(backend, dconvolved, layout->inner),
        .dc = act_at(backend, dconvolved, layout->inner + layout->shared),
        .ddt = act_at(backend, dprojected, layout->inner + layout->convolved),
        .x_stride = layout->convolved,
        .b_stride = layout->convolved,
        .c_stride = layout->convolved,
        .dt_stride = layout->projected,
        .ddt_bias = gradients[MAMBA2_DT_BIAS],
        .da_log = gradients[MAMBA2_A_LOG],
        .dd = gradients[MAMBA2_D],
    };
}

void mamba2_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                     void *const *gradients) {
    struct backend *backend = pass->backend;
    const struct mamba2_layout layout = mamba2_layout_of(&pass->mixer->sizes, pass->host);
    int64_t n = pass->sequences->tokens, width = pass->host->hidden, stride = layout.projected;
    void *const *weights = pass->mixer->weights, *const *buffer = pass->buffer;
    struct ssd_inputs in = mamba2_locate(pass, &layout);
    struct ssd_gradients to = locate_gradients(pass, &layout, gradients);
    linear_backward(backend, buffer[MAMBA2_B_DMIXED], gradients[MAMBA2_OUT],
                    gradients[MAMBA2_OUT_BIAS], dout, buffer[MAMBA2_B_MIXED], layout.inner,
                    weights[MAMBA2_OUT], n, width, layout.inner);
    backend->gated_norm->gated_norm_backward(
        backend, buffer[MAMBA2_B_DREAD], buffer[MAMBA2_B_DPROJECTED], stride,
        gradients[MAMBA2_NORM], buffer[MAMBA2_B_DMIXED], buffer[MAMBA2_B_READ],
        buffer[MAMBA2_B_PROJECTED], stride, weights[MAMBA2_NORM], buffer[MAMBA2_B_RSTD], n,
        &layout.norm);
    backend->ssd->ssd_backward(backend, &to, buffer[MAMBA2_B_DREAD], buffer[MAMBA2_B_CHECKPOINTS],
                               &in, pass->sequences, &layout.ssd);
    backend->conv->conv_silu_backward(
        backend, act_at(backend, buffer[MAMBA2_B_DPROJECTED], layout.inner), stride,
        gradients[MAMBA2_CONV], gradients[MAMBA2_CONV_BIAS_WEIGHT], buffer[MAMBA2_B_DCONVOLVED],
        act_at(backend, buffer[MAMBA2_B_PROJECTED], layout.inner), stride, weights[MAMBA2_CONV],
        weights[MAMBA2_CONV_BIAS_WEIGHT], pass->sequences, &layout.conv);
    linear_backward(backend, dinput, gradients[MAMBA2_IN_PROJ], gradients[MAMBA2_IN_PROJ_BIAS],
                    buffer[MAMBA2_B_DPROJECTED], pass->input, width, weights[MAMBA2_IN_PROJ], n,
                    stride, width);
}
