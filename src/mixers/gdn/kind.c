#include "mixers/gdn/gdn.h"
#include "mixers/start.h"

/* ---- sizes */

static const struct size_row sizes[GDN_SIZES] = {
    [GDN_KEY_HEADS] = {.name = "n_key_heads",
                       .low = 1,
                       .high = SIZE_MOST,
                       .option = "groups",
                       .like = 1 + GDN_VALUE_HEADS,
                       .otherwise = size_heads,
                       .inspected = true},
    [GDN_VALUE_HEADS] = {.name = "n_value_heads",
                         .low = 1,
                         .high = SIZE_MOST,
                         .otherwise = size_heads,
                         .inspected = true},
    [GDN_KEY_DIM] = {.name = "d_key",
                     .low = 1,
                     .high = SIZE_MOST,
                     .option = "d-state",
                     .like = 1 + GDN_VALUE_DIM,
                     .otherwise = size_head_dim,
                     .inspected = true},
    [GDN_VALUE_DIM] = {.name = "d_value",
                       .low = 1,
                       .high = SIZE_MOST,
                       .otherwise = size_head_dim,
                       .inspected = true},
    [GDN_D_CONV] = {.name = "d_conv",
                    .low = 1,
                    .high = SIZE_MOST_TAPS,
                    .otherwise = size_taps,
                    .inspected = true},
};

static enum status check(const struct mixer_sizes *gdn, const char *source, int layer) {
    int keys = (int)gdn->value[GDN_KEY_HEADS], values = (int)gdn->value[GDN_VALUE_HEADS];
    if (values % keys == 0) return STATUS_OK;
    return status_fail("\"%s\": layer %d: n_key_heads %d must divide n_value_heads %d", source,
                       layer, keys, values);
}

/* ---- widths */

static int64_t projected(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    return gdn_layout_of(gdn, host).projected;
}

static int64_t convolved(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    return gdn_layout_of(gdn, host).convolved;
}

static int64_t inner(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    return gdn_layout_of(gdn, host).inner;
}

static int64_t heads(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    return gdn->value[GDN_VALUE_HEADS];
}

static enum status check_new(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    return start_check_keys("groups", gdn->value[GDN_KEY_HEADS], "d-state", gdn->value[GDN_KEY_DIM],
                            host);
}

/* ---- tensors and weights */

static const struct tensor_row tensors[GDN_TENSORS] = {
    [GDN_T_IN_PROJ] = {"in_proj_qkvz.weight", GDN_IN_PROJ, .reads_input = true,
                       .kept = {[MIXER_QWEN35] = {.name = "in_proj_qkv.weight",
                                                  .rest = "in_proj_z.weight",
                                                  .split = convolved}}},
    [GDN_T_GATES] = {"in_proj_ba.weight", GDN_IN_PROJ, .reads_input = true,
                     .kept = {[MIXER_QWEN35] = {.name = "in_proj_b.weight",
                                                .rest = "in_proj_a.weight",
                                                .split = heads}}},
    [GDN_T_CONV] = {"convolution.weight", GDN_CONV,
                    .kept = {[MIXER_QWEN35] = {.name = "conv1d.weight"}}},
    [GDN_T_DT_BIAS] = {"dt_bias", GDN_DT_BIAS, .keeps_f32 = true, .usual = USUAL_ONE},
    [GDN_T_A_LOG] = {"A_log", GDN_A_LOG, .keeps_f32 = true, .usual = USUAL_LOG},
    [GDN_T_NORM] = {"norm.weight", GDN_NORM, .usual = USUAL_ONE},
    [GDN_T_OUT] = {"out_proj.weight", GDN_OUT},
};

static const struct weight_row weights[GDN_WEIGHTS] = {
    [GDN_OUT] = {"out_proj.weight", .act = true},
    [GDN_IN_PROJ] = {"in_proj.weight", .act = true},
    [GDN_CONV] = {"convolution.weight"},
    [GDN_DT_BIAS] = {"dt_bias"},
    [GDN_A_LOG] = {"A_log"},
    [GDN_NORM] = {"norm.weight"},
};

static struct tensor_shape shape(int tensor, const struct mixer_sizes *gdn,
                                 const struct mixer_host *host) {
    const struct gdn_layout layout = gdn_layout_of(gdn, host);
    int64_t D = host->hidden, heads = gdn->value[GDN_VALUE_HEADS];
    switch ((enum gdn_tensor)tensor) {
    case GDN_T_IN_PROJ:
        return (struct tensor_shape){{layout.convolved + layout.inner, D}, true};
    case GDN_T_GATES:
        return (struct tensor_shape){{2 * heads, D}, true};
    case GDN_T_CONV:
        return (struct tensor_shape){{layout.convolved, 1, gdn->value[GDN_D_CONV]}, true};
    case GDN_T_DT_BIAS:
    case GDN_T_A_LOG:
        return (struct tensor_shape){{heads}, true};
    case GDN_T_NORM:
        return (struct tensor_shape){{gdn->value[GDN_VALUE_DIM]}, true};
    case GDN_T_OUT:
        return (struct tensor_shape){{D, layout.inner}, true};
    case GDN_TENSORS:
        break;
    }
    return (struct tensor_shape){{0}, false};
}

/* ---- buffers */

static size_t checkpoints(const struct buffer_room *room, const struct mixer_sizes *gdn,
                          const struct mixer_host *host) {
    const struct gdn_layout layout = gdn_layout_of(gdn, host);
    return room->backend->delta->delta_checkpoint_bytes(room->backend, &room->sequences,
                                                        &layout.delta);
}

static const struct buffer_row buffers[GDN_BUFFERS] = {
    [GDN_B_PROJECTED] = {"projected", .width = projected},
    [GDN_B_CONVOLVED] = {"convolved", .width = convolved},
    [GDN_B_CHECKPOINTS] = {"checkpoints", .time = BUFFER_KEPT, .bytes = checkpoints},
    [GDN_B_READ] = {"read", .width = inner},
    [GDN_B_RSTD] = {"rstd", .acc = true, .width = heads},
    [GDN_B_MIXED] = {"mixed", .width = inner},
    [GDN_B_DPROJECTED] = {"dprojected", .time = BUFFER_BACKWARD, .width = projected},
    [GDN_B_DCONVOLVED] = {"dconvolved", .time = BUFFER_BACKWARD, .width = convolved},
    [GDN_B_DREAD] = {"dread", .time = BUFFER_BACKWARD, .width = inner},
    [GDN_B_DMIXED] = {"dmixed", .time = BUFFER_BACKWARD, .width = inner},
};

/* ---- past and cost */

static int64_t last_inputs(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    return (gdn->value[GDN_D_CONV] - 1) * convolved(gdn, host);
}

static int64_t states(const struct mixer_sizes *gdn, const struct mixer_host *host) {
    return gdn->value[GDN_KEY_DIM] * inner(gdn, host);
}

static const struct past_row past[GDN_PAST] = {
    [GDN_CONV_STATES] = {"convolution states", .width = last_inputs},
    [GDN_DELTA_STATES] = {"delta states", .acc = true, .width = states},
};

/* Of each state: its decay, what it predicts, the correction, what is read. And the convolution. */
static double operations(const struct mixer_sizes *gdn, const struct mixer_host *host,
                         double rows) {
    return 7 * (double)states(gdn, host) +
           2 * (double)convolved(gdn, host) * (double)gdn->value[GDN_D_CONV];
}

/* ---- config.json */

static const struct config_row apriel2[] = {
    {.key = "value_heads", .size = GDN_VALUE_HEADS},
    {.key = "key_heads", .size = GDN_KEY_HEADS},
    {.key = "key_head_dim", .size = GDN_KEY_DIM},
    {.key = "value_head_dim", .size = GDN_VALUE_DIM},
    {.key = "convolution_layer.kernel_size", .size = GDN_D_CONV},
    {.key = "norm_eps", .use = CONFIG_NORM_EPS, .number = 1e-5}, /* Fast-LLM knows no other */
    {.key = NULL},
};

static const struct config_row qwen35[] = {
    {.key = "linear_conv_kernel_dim", .size = GDN_D_CONV},
    {.key = "linear_key_head_dim", .size = GDN_KEY_DIM},
    {.key = "linear_value_head_dim", .size = GDN_VALUE_DIM},
    {.key = "linear_num_key_heads", .size = GDN_KEY_HEADS},
    {.key = "linear_num_value_heads", .size = GDN_VALUE_HEADS},
    {.key = NULL},
};

const struct mixer_kind gdn_kind = {
    .name = "gdn",
    .adjective = "Gated DeltaNet",
    .singular = "Gated DeltaNet mixer",
    .plural = "Gated DeltaNet mixers",
    .unequal = "Gated DeltaNet mixers of different sizes",
    .letter = 'g',
    .parameter = -1,
    .type = {[MIXER_APRIEL2] = "gdn", [MIXER_QWEN35] = "linear_attention"},
    .owner = {[MIXER_APRIEL2] = "mixer", [MIXER_QWEN35] = "linear_attn"},
    .sizes = sizes,
    .n_sizes = GDN_SIZES,
    .config = {[MIXER_APRIEL2] = apriel2, [MIXER_QWEN35] = qwen35},
    .check = check,
    .check_new = check_new,
    .tensors = tensors,
    .n_tensors = GDN_TENSORS,
    .weights = weights,
    .n_weights = GDN_WEIGHTS,
    .buffers = buffers,
    .n_buffers = GDN_BUFFERS,
    .past = past,
    .n_past = GDN_PAST,
    .choices = gdn_choices,
    .n_choices = GDN_CHOICES,
    .fitting = &gdn_fitting,
    .shape = shape,
    .forward = gdn_forward,
    .backward = gdn_backward,
    .operations = operations,
    .init = gdn_init,
    .origin = gdn_origin,
    .drops = gdn_drops,
};
