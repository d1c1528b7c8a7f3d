#include "mixers/mamba2/mamba2.h"
#include "mixers/start.h"

/* ---- sizes */

static const struct size_row sizes[MAMBA2_SIZES] = {
    [MAMBA2_HEADS] = {.name = "n_heads",
                      .low = 1,
                      .high = SIZE_MOST,
                      .otherwise = size_heads,
                      .inspected = true},
    [MAMBA2_HEAD_DIM] = {.name = "d_head",
                         .low = 1,
                         .high = SIZE_MOST,
                         .otherwise = size_head_dim,
                         .inspected = true},
    [MAMBA2_GROUPS] = {.name = "n_groups",
                       .low = 1,
                       .high = SIZE_MOST,
                       .option = "groups",
                       .help = "groups of heads that share their keys and queries: fewer take "
                               "means over the heads (each head its own)",
                       .like = 1 + MAMBA2_HEADS,
                       .otherwise = size_heads,
                       .inspected = true},
    [MAMBA2_D_STATE] = {.name = "d_state",
                        .low = 1,
                        .high = SIZE_MOST,
                        .option = "d-state",
                        .like = 1 + MAMBA2_HEAD_DIM,
                        .otherwise = size_head_dim,
                        .inspected = true},
    [MAMBA2_D_CONV] = {.name = "d_conv",
                       .low = 1,
                       .high = SIZE_MOST_TAPS,
                       .otherwise = size_taps,
                       .inspected = true},
    [MAMBA2_BIAS] = {.name = "bias",
                     .type = SIZE_FLAG,
                     .otherwise = size_yes,
                     .absent = size_yes,
                     .inspected = true,
                     .set_by_init = true},
    [MAMBA2_CONV_BIAS] = {.name = "conv_bias",
                          .type = SIZE_FLAG,
                          .otherwise = size_yes,
                          .absent = size_yes},
};

static enum status check(const struct mixer_sizes *mamba2, const char *source, int layer) {
    int heads = (int)mamba2->value[MAMBA2_HEADS], groups = (int)mamba2->value[MAMBA2_GROUPS];
    if (heads % groups == 0) return STATUS_OK;
    return status_fail("\"%s\": layer %d: n_groups %d must divide n_heads %d", source, layer,
                       groups, heads);
}

static enum status check_new(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return start_check_keys("groups", mamba2->value[MAMBA2_GROUPS], "d-state",
                            mamba2->value[MAMBA2_D_STATE], host);
}

/* ---- tensors and weights */

static const struct tensor_row tensors[MAMBA2_TENSORS] = {
    [MAMBA2_T_IN_PROJ] = {"in_proj.weight", MAMBA2_IN_PROJ, .reads_input = true},
    [MAMBA2_T_IN_PROJ_BIAS] = {"in_proj.bias", MAMBA2_IN_PROJ_BIAS},
    [MAMBA2_T_CONV] = {"conv1d.weight", MAMBA2_CONV},
    [MAMBA2_T_CONV_BIAS] = {"conv1d.bias", MAMBA2_CONV_BIAS_WEIGHT},
    [MAMBA2_T_DT_BIAS] = {"dt_bias", MAMBA2_DT_BIAS, .keeps_f32 = true, .usual = USUAL_ONE},
    [MAMBA2_T_A_LOG] = {"A_log", MAMBA2_A_LOG, .keeps_f32 = true, .usual = USUAL_LOG},
    [MAMBA2_T_D] = {"D", MAMBA2_D, .keeps_f32 = true, .usual = USUAL_ONE},
    [MAMBA2_T_NORM] = {"norm.weight", MAMBA2_NORM, .usual = USUAL_ONE},
    [MAMBA2_T_OUT] = {"out_proj.weight", MAMBA2_OUT},
    [MAMBA2_T_OUT_BIAS] = {"out_proj.bias", MAMBA2_OUT_BIAS},
};

static const struct weight_row weights[MAMBA2_WEIGHTS] = {
    [MAMBA2_OUT] = {"out_proj.weight", .act = true},
    [MAMBA2_OUT_BIAS] = {"out_proj.bias"},
    [MAMBA2_IN_PROJ] = {"in_proj.weight", .act = true},
    [MAMBA2_IN_PROJ_BIAS] = {"in_proj.bias"},
    [MAMBA2_CONV] = {"conv1d.weight"},
    [MAMBA2_CONV_BIAS_WEIGHT] = {"conv1d.bias"},
    [MAMBA2_DT_BIAS] = {"dt_bias"},
    [MAMBA2_A_LOG] = {"A_log"},
    [MAMBA2_D] = {"D"},
    [MAMBA2_NORM] = {"norm.weight"},
};

static struct tensor_shape shape(int tensor, const struct mixer_sizes *mamba2,
                                 const struct mixer_host *host) {
    const struct mamba2_layout layout = mamba2_layout_of(mamba2, host);
    int64_t D = host->hidden, heads = mamba2->value[MAMBA2_HEADS];
    bool bias = mamba2->value[MAMBA2_BIAS];
    switch ((enum mamba2_tensor)tensor) {
    case MAMBA2_T_IN_PROJ:
        return (struct tensor_shape){{layout.projected, D}, true};
    case MAMBA2_T_IN_PROJ_BIAS:
        return (struct tensor_shape){{layout.projected}, bias};
    case MAMBA2_T_CONV:
        return (struct tensor_shape){{layout.convolved, 1, mamba2->value[MAMBA2_D_CONV]}, true};
    case MAMBA2_T_CONV_BIAS:
        return (struct tensor_shape){{layout.convolved}, mamba2->value[MAMBA2_CONV_BIAS]};
    case MAMBA2_T_DT_BIAS:
    case MAMBA2_T_A_LOG:
    case MAMBA2_T_D:
        return (struct tensor_shape){{heads}, true};
    case MAMBA2_T_NORM:
        return (struct tensor_shape){{layout.inner}, true};
    case MAMBA2_T_OUT:
        return (struct tensor_shape){{D, layout.inner}, true};
    case MAMBA2_T_OUT_BIAS:
        return (struct tensor_shape){{D}, bias};
    case MAMBA2_TENSORS:
        break;
    }
    return (struct tensor_shape){{0}, false};
}

/* ---- buffers */

static int64_t projected(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return mamba2_layout_of(mamba2, host).projected;
}

static int64_t convolved(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return mamba2_layout_of(mamba2, host).convolved;
}

static int64_t inner(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return mamba2_layout_of(mamba2, host).inner;
}

static int64_t groups(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return mamba2->value[MAMBA2_GROUPS];
}

static size_t checkpoints(const struct buffer_room *room, const struct mixer_sizes *mamba2,
                          const struct mixer_host *host) {
    const struct mamba2_layout layout = mamba2_layout_of(mamba2, host);
    return room->backend->ssd->ssd_checkpoint_bytes(room->backend, &room->sequences, &layout.ssd);
}

static const struct buffer_row buffers[MAMBA2_BUFFERS] = {
    [MAMBA2_B_PROJECTED] = {"projected", .width = projected},
    [MAMBA2_B_CONVOLVED] = {"convolved", .width = convolved},
    [MAMBA2_B_CHECKPOINTS] = {"checkpoints", .time = BUFFER_KEPT, .bytes = checkpoints},
    [MAMBA2_B_READ] = {"read", .width = inner},
    [MAMBA2_B_RSTD] = {"rstd", .acc = true, .width = groups},
    [MAMBA2_B_MIXED] = {"mixed", .width = inner},
    [MAMBA2_B_DPROJECTED] = {"dprojected", .time = BUFFER_BACKWARD, .width = projected},
    [MAMBA2_B_DCONVOLVED] = {"dconvolved", .time = BUFFER_BACKWARD, .width = convolved},
    [MAMBA2_B_DREAD] = {"dread", .time = BUFFER_BACKWARD, .width = inner},
    [MAMBA2_B_DMIXED] = {"dmixed", .time = BUFFER_BACKWARD, .width = inner},
};

/* ---- past and cost */

static int64_t last_inputs(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return (mamba2->value[MAMBA2_D_CONV] - 1) * convolved(mamba2, host);
}

static int64_t states(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return inner(mamba2, host) * mamba2->value[MAMBA2_D_STATE];
}

static const struct past_row past[MAMBA2_PAST] = {
    [MAMBA2_CONV_STATES] = {"convolution states", .width = last_inputs},
    [MAMBA2_SSD_STATES] = {"states", .acc = true, .width = states},
};

/* Decay, update and output of each state; the convolution. */
static double operations(const struct mixer_sizes *mamba2, const struct mixer_host *host,
                         double rows) {
    return 6 * (double)states(mamba2, host) +
           2 * (double)convolved(mamba2, host) * (double)mamba2->value[MAMBA2_D_CONV];
}

/* ---- config.json */

/* What the class calls expansion: channels a channel of the model. */
static int64_t expansion(const struct mixer_sizes *mamba2, const struct mixer_host *host) {
    return inner(mamba2, host) / host->hidden;
}

static const struct config_row granite[] = {
    {.key = "mamba_n_heads", .size = MAMBA2_HEADS},
    {.key = "mamba_d_head", .size = MAMBA2_HEAD_DIM},
    {.key = "mamba_n_groups", .size = MAMBA2_GROUPS},
    {.key = "mamba_d_state", .size = MAMBA2_D_STATE},
    {.key = "mamba_d_conv", .size = MAMBA2_D_CONV},
    {.key = "mamba_expand", .use = CONFIG_DERIVED, .derive = expansion},
    {.key = "mamba_conv_bias", .size = MAMBA2_CONV_BIAS},
    {.key = "mamba_proj_bias", .size = MAMBA2_BIAS},
    {.key = NULL},
};

const struct mixer_kind mamba2_kind = {
    .name = "mamba2",
    .adjective = "Mamba-2",
    .singular = "Mamba-2 mixer",
    .plural = "Mamba-2 mixers",
    .unequal = "Mamba-2 mixers of different sizes or biases",
    .letter = '2',
    .parameter = -1,
    .type = {[MIXER_GRANITE] = "mamba"},
    .owner = {[MIXER_GRANITE] = "mamba"},
    .config = {[MIXER_GRANITE] = granite},
    .sizes = sizes,
    .n_sizes = MAMBA2_SIZES,
    .check = check,
    .check_new = check_new,
    .tensors = tensors,
    .n_tensors = MAMBA2_TENSORS,
    .weights = weights,
    .n_weights = MAMBA2_WEIGHTS,
    .buffers = buffers,
    .n_buffers = MAMBA2_BUFFERS,
    .past = past,
    .n_past = MAMBA2_PAST,
    .choices = mamba2_choices,
    .n_choices = MAMBA2_CHOICES,
    .fitting = &mamba2_fitting,
    .shape = shape,
    .forward = mamba2_forward,
    .backward = mamba2_backward,
    .operations = operations,
    .settle = mamba2_settle,
    .init = mamba2_init,
    .origin = mamba2_origin,
    .drops = mamba2_drops,
};
