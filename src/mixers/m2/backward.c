#include "kernels/ops/products.h"
#include "mixers/linear.h"
#include "mixers/m2/m2.h"

/* The scan's gradients, each where its input's stood. */
static struct scan_gradients locate_gradients(const struct mixer_pass *pass,
                                              void *const *gradients) {
    const struct backend *backend = pass->backend;
    const struct mamba_shape shape = m2_shape_of(&pass->mixer->sizes);
    const void *dprojected = pass->buffer[M2_B_DPROJECTED];
    int64_t inner = shape.d_inner, stride = 2 * (inner + shape.d_xb);
    return (struct scan_gradients){.dx = pass->buffer[M2_B_DCONVOLVED],
                                   .ddt = pass->buffer[M2_B_DDT],
                                   .dz = pass->buffer[M2_B_DPROJECTED],
                                   .db = act_at(backend, dprojected, inner + shape.d_xb),
                                   .dc = act_at(backend, dprojected, inner + 2 * shape.d_xb),
                                   .x_stride = inner,
                                   .dt_stride = inner,
                                   .z_stride = stride,
                                   .b_stride = stride,
                                   .c_stride = stride,
                                   .ddt_bias = gradients[M2_DT_BIAS],
                                   .da_log = gradients[M2_A_LOG],
                                   .dd = gradients[M2_D]};
}

/* From the gradient of what was mixed to those of what was projected and of the step sizes. */
static void mix_backward(const struct mixer_pass *pass, void *const *gradients) {
    struct backend *backend = pass->backend;
    const struct mamba_shape shape = m2_shape_of(&pass->mixer->sizes);
    int64_t inner = shape.d_inner, stride = 2 * (inner + shape.d_xb);
    void *const *buffer = pass->buffer, *const *weights = pass->mixer->weights;
    struct scan_inputs in = m2_locate(pass);
    struct scan_gradients out = locate_gradients(pass, gradients);
    backend->scan->scan_backward(backend, &out, buffer[M2_B_DMIXED], buffer[M2_B_CHECKPOINTS], &in,
                                 pass->sequences, &shape);
    backend->conv->conv_silu_backward(
        backend, act_at(backend, buffer[M2_B_DPROJECTED], inner), stride, gradients[M2_CONV],
        gradients[M2_CONV_BIAS_WEIGHT], buffer[M2_B_DCONVOLVED],
        act_at(backend, buffer[M2_B_PROJECTED], inner), stride, weights[M2_CONV],
        weights[M2_CONV_BIAS_WEIGHT], pass->sequences, &shape);
}

void m2_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                 void *const *gradients) {
    struct backend *backend = pass->backend;
    const struct mamba_shape shape = m2_shape_of(&pass->mixer->sizes);
    int64_t n = pass->sequences->tokens, width = pass->host->hidden, inner = shape.d_inner;
    int64_t rank = pass->mixer->sizes.value[M2_DT_RANK], stride = 2 * (inner + shape.d_xb);
    void *const *weights = pass->mixer->weights, *const *buffer = pass->buffer;
    linear_backward(backend, buffer[M2_B_DMIXED], gradients[M2_OUT], gradients[M2_OUT_BIAS], dout,
                    buffer[M2_B_MIXED], inner, weights[M2_OUT], n, width, inner);
    mix_backward(pass, gradients);
    bool through_dt = dinput || gradients[M2_DT_IN] || gradients[M2_DT_IN_BIAS];
    linear_backward(backend, through_dt ? buffer[M2_B_DDT_LOW] : NULL, gradients[M2_DT_PROJ], NULL,
                    buffer[M2_B_DDT], buffer[M2_B_DT_LOW], rank, weights[M2_DT_PROJ], n, inner,
                    rank);
    linear_backward(backend, dinput, gradients[M2_IN_PROJ], gradients[M2_IN_PROJ_BIAS],
                    buffer[M2_B_DPROJECTED], pass->input, width, weights[M2_IN_PROJ], n, stride,
                    width);
    linear_backward(backend, NULL, gradients[M2_DT_IN], gradients[M2_DT_IN_BIAS],
                    buffer[M2_B_DDT_LOW], pass->input, width, weights[M2_DT_IN], n, rank, width);
    if (dinput)
        backend->products->matmul_backward_input(backend, onto_act(dinput), buffer[M2_B_DDT_LOW],
                                                 weights[M2_DT_IN], n, rank, width);
}
