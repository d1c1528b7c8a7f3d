#include "kernels/ops/products.h"
#include "mixers/linear.h"
#include "mixers/m2/m2.h"

struct mamba_shape m2_shape_of(const struct mixer_sizes *sizes) {
    return (struct mamba_shape){.d_inner = (int)sizes->value[M2_D_INNER],
                                .d_xb = (int)sizes->value[M2_D_XB],
                                .d_state = (int)sizes->value[M2_D_STATE],
                                .d_conv = (int)sizes->value[M2_D_CONV]};
}

struct scan_inputs m2_locate(const struct mixer_pass *pass) {
    const struct mamba_shape shape = m2_shape_of(&pass->mixer->sizes);
    const struct backend *backend = pass->backend;
    void *const *weights = pass->mixer->weights;
    const void *projected = pass->buffer[M2_B_PROJECTED];
    int64_t inner = shape.d_inner, stride = 2 * (inner + shape.d_xb);
    return (struct scan_inputs){.x = pass->buffer[M2_B_CONVOLVED],
                                .dt = pass->buffer[M2_B_DT],
                                .z = projected,
                                .b = act_at(backend, projected, inner + shape.d_xb),
                                .c = act_at(backend, projected, inner + 2 * shape.d_xb),
                                .x_stride = inner,
                                .dt_stride = inner,
                                .z_stride = stride,
                                .b_stride = stride,
                                .c_stride = stride,
                                .dt_bias = weights[M2_DT_BIAS],
                                .a_log = weights[M2_A_LOG],
                                .d = weights[M2_D]};
}

/* What is convolved and mixed, of what was projected and the step sizes. */
static void mix(const struct mixer_pass *pass) {
    struct backend *backend = pass->backend;
    const struct sequences *sequences = pass->sequences;
    const struct past_use *past = pass->past;
    const struct mamba_shape shape = m2_shape_of(&pass->mixer->sizes);
    void *const *buffer = pass->buffer;
    int64_t stride = 2 * ((int64_t)shape.d_inner + shape.d_xb);
    const void *x = act_at(backend, buffer[M2_B_PROJECTED], shape.d_inner);
    const void *w = pass->mixer->weights[M2_CONV];
    const void *bias = pass->mixer->weights[M2_CONV_BIAS_WEIGHT];
    void *convolved = buffer[M2_B_CONVOLVED], *mixed = buffer[M2_B_MIXED];
    void *conv = past ? past->layer->array[M2_CONV_STATES] : NULL;
    void *scan = past ? past->layer->array[M2_SCAN_STATES] : NULL;
    struct scan_inputs in = m2_locate(pass);
    if (past && past->step) {
        backend->conv->conv_step(backend, convolved, conv, past->slots, x, stride, w, bias,
                                 sequences->count, &shape);
        backend->scan->scan_step(backend, mixed, scan, past->slots, &in, sequences->count, &shape);
        return;
    }
    backend->conv->conv_silu(backend, convolved, x, stride, w, bias, sequences, &shape);
    backend->scan->scan(backend, mixed, buffer[M2_B_CHECKPOINTS], scan, past ? past->slots : NULL,
                        &in, sequences, &shape);
    if (past) backend->conv->conv_store(backend, conv, past->slots, x, stride, sequences, &shape);
}

void m2_forward(const struct mixer_pass *pass, struct acc *h) {
    struct backend *backend = pass->backend;
    const struct mamba_shape shape = m2_shape_of(&pass->mixer->sizes);
    int64_t n = pass->sequences->tokens, width = pass->host->hidden, inner = shape.d_inner;
    int64_t rank = pass->mixer->sizes.value[M2_DT_RANK], stride = 2 * (inner + shape.d_xb);
    void *const *weights = pass->mixer->weights, *const *buffer = pass->buffer;
    backend->products->matmul(backend, into_act(buffer[M2_B_PROJECTED]), pass->input, width,
                              weights[M2_IN_PROJ], weights[M2_IN_PROJ_BIAS], n, stride, width);
    backend->products->matmul(backend, into_act(buffer[M2_B_DT_LOW]), pass->input, width,
                              weights[M2_DT_IN], weights[M2_DT_IN_BIAS], n, rank, width);
    backend->products->matmul(backend, into_act(buffer[M2_B_DT]), buffer[M2_B_DT_LOW], rank,
                              weights[M2_DT_PROJ], NULL, n, inner, rank);
    mix(pass);
    backend->products->matmul(backend, onto_acc(h), buffer[M2_B_MIXED], inner, weights[M2_OUT],
                              weights[M2_OUT_BIAS], n, width, inner);
}
