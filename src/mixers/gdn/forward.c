#include "kernels/ops/products.h"
#include "mixers/gdn/gdn.h"

struct gdn_layout gdn_layout_of(const struct mixer_sizes *sizes, const struct mixer_host *host) {
    const int64_t *value = sizes->value;
    int64_t keys = value[GDN_KEY_HEADS] * value[GDN_KEY_DIM];
    int64_t inner = value[GDN_VALUE_HEADS] * value[GDN_VALUE_DIM], convolved = 2 * keys + inner;
    return (struct gdn_layout){
        .keys = keys,
        .inner = inner,
        .convolved = convolved,
        .projected = convolved + inner + 2 * value[GDN_VALUE_HEADS],
        .delta = {.key_heads = (int)value[GDN_KEY_HEADS],
                  .value_heads = (int)value[GDN_VALUE_HEADS],
                  .key_dim = (int)value[GDN_KEY_DIM],
                  .value_dim = (int)value[GDN_VALUE_DIM]},
        .conv = {.d_inner = (int)convolved,
                 .d_xb = (int)convolved,
                 .d_state = (int)convolved,
                 .d_conv = (int)value[GDN_D_CONV]},
        .norm = {.groups = (int)value[GDN_VALUE_HEADS],
                 .width = (int)value[GDN_VALUE_DIM],
                 .shared = true,
                 .epsilon = host->norm_eps},
    };
}

struct delta_inputs gdn_locate(const struct mixer_pass *pass, const struct gdn_layout *layout) {
    const struct backend *backend = pass->backend;
    const struct act *convolved = pass->buffer[GDN_B_CONVOLVED],
                     *projected = pass->buffer[GDN_B_PROJECTED];
    int64_t beta = layout->convolved + layout->inner;
    return (struct delta_inputs){
        .q = convolved,
        .k = act_at(backend, convolved, layout->keys),
        .v = act_at(backend, convolved, 2 * layout->keys),
        .b = act_at(backend, projected, beta),
        .a = act_at(backend, projected, beta + layout->delta.value_heads),
        .q_stride = layout->convolved,
        .k_stride = layout->convolved,
        .v_stride = layout->convolved,
        .b_stride = layout->projected,
        .a_stride = layout->projected,
        .dt_bias = pass->mixer->weights[GDN_DT_BIAS],
        .a_log = pass->mixer->weights[GDN_A_LOG],
    };
}

/* What the memory gives back, of what was projected. */
static void read(const struct mixer_pass *pass, const struct gdn_layout *layout) {
    struct backend *backend = pass->backend;
    const struct sequences *sequences = pass->sequences;
    const struct past_use *past = pass->past;
    void *const *buffer = pass->buffer;
    const void *x = buffer[GDN_B_PROJECTED], *w = pass->mixer->weights[GDN_CONV];
    void *convolved = buffer[GDN_B_CONVOLVED], *out = buffer[GDN_B_READ];
    void *conv = past ? past->layer->array[GDN_CONV_STATES] : NULL;
    void *states = past ? past->layer->array[GDN_DELTA_STATES] : NULL;
    struct delta_inputs in = gdn_locate(pass, layout);
    if (past && past->step) {
        backend->conv->conv_step(backend, convolved, conv, past->slots, x, layout->projected, w,
                                 NULL, sequences->count, &layout->conv);
        backend->delta->delta_step(backend, out, states, past->slots, &in, sequences->count,
                                   &layout->delta);
        return;
    }
    backend->conv->conv_silu(backend, convolved, x, layout->projected, w, NULL, sequences,
                             &layout->conv);
    backend->delta->delta(backend, out, buffer[GDN_B_CHECKPOINTS], states,
                          past ? past->slots : NULL, false, &in, sequences, &layout->delta);
    if (past)
        backend->conv->conv_store(backend, conv, past->slots, x, layout->projected, sequences,
                                  &layout->conv);
}

void gdn_forward(const struct mixer_pass *pass, struct acc *h) {
    struct backend *backend = pass->backend;
    const struct gdn_layout layout = gdn_layout_of(&pass->mixer->sizes, pass->host);
    int64_t n = pass->sequences->tokens, width = pass->host->hidden;
    void *const *weights = pass->mixer->weights, *const *buffer = pass->buffer;
    backend->products->matmul(backend, into_act(buffer[GDN_B_PROJECTED]), pass->input, width,
                              weights[GDN_IN_PROJ], NULL, n, layout.projected, width);
    read(pass, &layout);
    backend->gated_norm->gated_norm(backend, buffer[GDN_B_MIXED], buffer[GDN_B_RSTD],
                                    buffer[GDN_B_READ],
                                    act_at(backend, buffer[GDN_B_PROJECTED], layout.convolved),
                                    layout.projected, weights[GDN_NORM], n, &layout.norm);
    backend->products->matmul(backend, onto_acc(h), buffer[GDN_B_MIXED], layout.inner,
                              weights[GDN_OUT], NULL, n, width, layout.inner);
}
