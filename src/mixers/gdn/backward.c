#include "kernels/ops/products.h"
#include "mixers/gdn/gdn.h"
#include "mixers/linear.h"

/* The delta rule's gradients, each where its input's stood. */
static struct delta_gradients locate_gradients(const struct mixer_pass *pass,
                                               const struct gdn_layout *layout,
                                               void *const *gradients) {
    const struct backend *backend = pass->backend;
    struct act *dconvolved = pass->buffer[GDN_B_DCONVOLVED];
    const struct act *dprojected = pass->buffer[GDN_B_DPROJECTED];
    int64_t beta = layout->convolved + layout->inner;
    return (struct delta_gradients){
        .dq = dconvolved,
        .dk = act_at(backend, dconvolved, layout->keys),
        .dv = act_at(backend, dconvolved, 2 * layout->keys),
        .db = act_at(backend, dprojected, beta),
        .da = act_at(backend, dprojected, beta + layout->delta.value_heads),
        .q_stride = layout->convolved,
        .k_stride = layout->convolved,
        .v_stride = layout->convolved,
        .b_stride = layout->projected,
        .a_stride = layout->projected,
        .ddt_bias = gradients[GDN_DT_BIAS],
        .da_log = gradients[GDN_A_LOG],
    };
}

void gdn_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                  void *const *gradients) {
    struct backend *backend = pass->backend;
    const struct gdn_layout layout = gdn_layout_of(&pass->mixer->sizes, pass->host);
    int64_t n = pass->sequences->tokens, width = pass->host->hidden, stride = layout.projected;
    void *const *weights = pass->mixer->weights, *const *buffer = pass->buffer;
    struct delta_inputs in = gdn_locate(pass, &layout);
    struct delta_gradients to = locate_gradients(pass, &layout, gradients);
    linear_backward(backend, buffer[GDN_B_DMIXED], gradients[GDN_OUT], NULL, dout,
                    buffer[GDN_B_MIXED], layout.inner, weights[GDN_OUT], n, width, layout.inner);
    backend->gated_norm->gated_norm_backward(
        backend, buffer[GDN_B_DREAD], act_at(backend, buffer[GDN_B_DPROJECTED], layout.convolved),
        stride, gradients[GDN_NORM], buffer[GDN_B_DMIXED], buffer[GDN_B_READ],
        act_at(backend, buffer[GDN_B_PROJECTED], layout.convolved), stride, weights[GDN_NORM],
        buffer[GDN_B_RSTD], n, &layout.norm);
    backend->delta->delta_backward(backend, &to, buffer[GDN_B_DREAD], buffer[GDN_B_CHECKPOINTS],
                                   &in, pass->sequences, &layout.delta);
    backend->conv->conv_silu_backward(backend, buffer[GDN_B_DPROJECTED], stride,
                                      gradients[GDN_CONV], NULL, buffer[GDN_B_DCONVOLVED],
                                      buffer[GDN_B_PROJECTED], stride, weights[GDN_CONV], NULL,
                                      pass->sequences, &layout.conv);
    linear_backward(backend, dinput, gradients[GDN_IN_PROJ], NULL, buffer[GDN_B_DPROJECTED],
                    pass->input, width, weights[GDN_IN_PROJ], n, stride, width);
}
