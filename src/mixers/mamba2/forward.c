#include "kernels/ops/products.h"
#include "mixers/mamba2/mamba2.h"

struct mamba2_layout mamba2_layout_of(const struct mixer_sizes *sizes,
                                      const struct mixer_host *host) {
    const int64_t *value = sizes->value;
    int64_t inner = value[MAMBA2_HEADS] * value[MAMBA2_HEAD_DIM];
    int64_t shared = value[MAMBA2_GROUPS] * value[MAMBA2_D_STATE], convolved = inner + 2 * shared;
    return (struct mamba2_layout){
        .inner = inner,
        .shared = shared,
        .convolved = convolved,
        .projected = inner + convolved + value[MAMBA2_HEADS],
        .ssd = {.heads = (int)value[MAMBA2_HEADS],
                .head_dim = (int)value[MAMBA2_HEAD_DIM],
                .groups = (int)value[MAMBA2_GROUPS],
                .d_state = (int)value[MAMBA2_D_STATE]},
        .conv = {.d_inner = (int)convolved,
                 .d_xb = (int)convolved,
                 .d_state = (int)convolved,
                 .d_conv = (int)value[MAMBA2_D_CONV]},
        .norm = {.groups = (int)value[MAMBA2_GROUPS],
                 .width = (int)(inner / value[MAMBA2_GROUPS]),
                 .gate_first = true,
                 .epsilon = host->norm_eps},
    };
}

struct ssd_inputs mamba2_locate(const struct mixer_pass *pass, const struct mamba2_layout *layout) {
    const struct backend *backend = pass->backend;
    const struct act *convolved = pass->buffer[MAMBA2_B_CONVOLVED];
    void *const *weights = pass->mixer->weights;
    return (struct ssd_inputs){
        .x = convolved,
        .b = act_at(backend, convolved, layout->inner),
        .c = act_at(backend, convolved, layout->inner + layout->shared),
        .dt = act_at(backend, pass->buffer[MAMBA2_B_PROJECTED], layout->inner + layout->convolved),
        .x_stride = layout->convolved,
        .b_stride = layout->convolved,
        .c_stride = layout->convolved,
        .dt_stride = layout->projected,
        .dt_bias = weights[MAMBA2_DT_BIAS],
        .a_log = weights[MAMBA2_A_LOG],
        .d = weights[MAMBA2_D],
    };
}

/* What the states give, of what was projected. */
static void read(const struct mixer_pass *pass, const struct mamba2_layout *layout) {
    struct backend *backend = pass->backend;
    const struct sequences *sequences = pass->sequences;
    const struct past_use *past = pass->past;
    void *const *buffer = pass->buffer;
    const struct act *x = act_at(backend, buffer[MAMBA2_B_PROJECTED], layout->inner);
    const void *w = pass->mixer->weights[MAMBA2_CONV];
    const void *bias = pass->mixer->weights[MAMBA2_CONV_BIAS_WEIGHT];
    void *convolved = buffer[MAMBA2_B_CONVOLVED], *out = buffer[MAMBA2_B_READ];
    void *conv = past ? past->layer->array[MAMBA2_CONV_STATES] : NULL;
    void *states = past ? past->layer->array[MAMBA2_SSD_STATES] : NULL;
    struct ssd_inputs in = mamba2_locate(pass, layout);
    if (past && past->step) {
        backend->conv->conv_step(backend, convolved, conv, past->slots, x, layout->projected, w,
                                 bias, sequences->count, &layout->conv);
        backend->ssd->ssd_step(backend, out, states, past->slots, &in, sequences->count,
                               &layout->ssd);
        return;
    }
    backend->conv->conv_silu(backend, convolved, x, layout->projected, w, bias, sequences,
                             &layout->conv);
    backend->ssd->ssd(backend, out, buffer[MAMBA2_B_CHECKPOINTS], states, past ? past->slots : NULL,
                      false, &in, sequences, &layout->ssd);
    if (past)
        backend->conv->conv_store(backend, conv, past->slots, x, layout->projected, sequences,
                                  &layout->conv);
}

void mamba2_forward(const struct mixer_pass *pass, struct acc *h) {
    struct backend *backend = pass->backend;
    const struct mamba2_layout layout = mamba2_layout_of(&pass->mixer->sizes, pass->host);
    int64_t n = pass->sequences->tokens, width = pass->host->hidden;
    void *const *weights = pass->mixer->weights, *const *buffer = pass->buffer;
    backend->products->matmul(backend, into_act(buffer[MAMBA2_B_PROJECTED]), pass->input, width,
                              weights[MAMBA2_IN_PROJ], weights[MAMBA2_IN_PROJ_BIAS], n,
                              layout.projected, width);
    read(pass, &layout);
    backend->gated_norm->gated_norm(backend, buffer[MAMBA2_B_MIXED], buffer[MAMBA2_B_RSTD],
                                    buffer[MAMBA2_B_READ], buffer[MAMBA2_B_PROJECTED],
                                    layout.projected, weights[MAMBA2_NORM], n, &layout.norm);
    backend->products->matmul(backend, onto_acc(h), buffer[MAMBA2_B_MIXED], layout.inner,
                              weights[MAMBA2_OUT], weights[MAMBA2_OUT_BIAS], n, width,
                              layout.inner);
}
