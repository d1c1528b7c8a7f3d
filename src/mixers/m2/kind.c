#include <stdio.h>

#include "mixers/m2/m2.h"

/* ---- sizes */

enum { CHANNELS = 1 << 24 }; /* more than any model has */

static int64_t inner_of(const struct mixer_host *host) {
    return (int64_t)host->heads * host->head_dim;
}

static int64_t shared_of(const struct mixer_host *host) {
    return (int64_t)host->kv_heads * host->head_dim;
}

static int64_t width_of(const struct mixer_host *host) {
    return host->hidden;
}

static int64_t sixteen(const struct mixer_host *host) {
    return 16;
}

static int64_t rank_of(const struct mixer_host *host) {
    return (host->hidden + 15) / 16;
}

static const struct size_row sizes[M2_SIZES] = {
    [M2_D_INNER] =
        {.name = "d_inner", .low = 1, .high = CHANNELS, .otherwise = inner_of, .inspected = true},
    [M2_D_XB] = {.name = "d_xb",
                 .low = 1,
                 .high = CHANNELS,
                 .otherwise = shared_of,
                 .absent = width_of,
                 .inspected = true},
    [M2_D_STATE] = {.name = "d_state",
                    .low = 1,
                    .high = SIZE_MOST,
                    .option = "d-state",
                    .help = "states of each channel (m2: 16, and they must divide the head size; "
                            "mamba2, gdn: the head size, which is the most; or as in the hybrid "
                            "before)",
                    .otherwise = sixteen,
                    .inspected = true},
    [M2_DT_RANK] = {.name = "dt_rank",
                    .low = 1,
                    .high = SIZE_MOST,
                    .option = "dt-rank",
                    .help = "rank of the step sizes' projection (hidden size / 16)",
                    .otherwise = rank_of,
                    .absent = rank_of,
                    .inspected = true},
    [M2_D_CONV] = {.name = "d_conv",
                   .low = 1,
                   .high = SIZE_MOST_TAPS,
                   .option = "d-conv",
                   .help = "taps of the convolution (4)",
                   .otherwise = size_taps,
                   .absent = size_taps,
                   .inspected = true},
    [M2_BIAS] = {.name = "bias",
                 .type = SIZE_FLAG,
                 .otherwise = size_no,
                 .absent = size_no,
                 .inspected = true,
                 .set_by_init = true},
    [M2_CONV_BIAS] = {.name = "conv_bias",
                      .type = SIZE_FLAG,
                      .otherwise = size_yes,
                      .absent = size_yes},
    [M2_DT_PROJ_BIAS] = {.name = "dt_proj_bias",
                         .type = SIZE_FLAG,
                         .otherwise = size_yes,
                         .absent = size_yes},
    [M2_DT_MIN] = {.name = "dt_min",
                   .type = SIZE_REAL,
                   .usual = M2_USUAL_DT_MIN,
                   .set_by_init = true},
    [M2_DT_MAX] = {.name = "dt_max",
                   .type = SIZE_REAL,
                   .usual = M2_USUAL_DT_MAX,
                   .upper_end = true,
                   .set_by_init = true},
};

/* ---- config.json */

/* Only read where d_inner is absent. */
static int64_t expand(const struct mixer_sizes *m2, const struct mixer_host *host) {
    int64_t inner = m2->value[M2_D_INNER];
    return inner >= host->hidden ? inner / host->hidden : 1;
}

#define REPEATS                                                                                    \
    { .key = "repeat_kv_before_conv", .use = CONFIG_TRUE }
#define STARTS                                                                                     \
    {.key = "dt_min", .size = M2_DT_MIN}, {.key = "dt_max", .size = M2_DT_MAX}, {                  \
        .key = "dt_init_floor", .use = CONFIG_NUMBER, .number = M2_DT_FLOOR                        \
    }

static const struct config_row ssm_cfg[] = {
    {.key = "d_state", .size = M2_D_STATE},
    {.key = "d_xb", .size = M2_D_XB},
    {.key = "d_inner", .size = M2_D_INNER},
    {.key = "d_conv", .size = M2_D_CONV},
    {.key = "dt_rank", .size = M2_DT_RANK, .word = "auto"},
    {.key = "expand", .use = CONFIG_DERIVED, .derive = expand},
    {.key = "bias", .size = M2_BIAS},
    {.key = "conv_bias", .size = M2_CONV_BIAS},
    {.key = "dt_proj_bias", .size = M2_DT_PROJ_BIAS},
    REPEATS,
    STARTS,
    {.key = NULL},
};

static const struct config_row apriel2[] = {
    {.key = "state_size", .size = M2_D_STATE},
    {.key = "d_inner", .size = M2_D_INNER},
    {.key = "d_xb", .size = M2_D_XB},
    {.key = "dt_rank", .size = M2_DT_RANK, .word = "auto"},
    {.key = "add_linear_biases", .size = M2_BIAS},
    REPEATS,
    {.key = "d_state", .size = M2_D_STATE}, /* Apriel2's converter reads this */
    {.key = "d_conv", .size = M2_D_CONV},
    {.key = "conv_bias", .size = M2_CONV_BIAS},
    {.key = "dt_proj_bias", .size = M2_DT_PROJ_BIAS},
    STARTS,
    {.key = NULL},
};

/* Fast-LLM's own configuration has layers of their own in a mixer. */
#define DT_START "dt_layer.bias.initialization."
enum { WITH_DT_BIAS = 1 + M2_DT_PROJ_BIAS };
static const struct config_row fast_llm[] = {
    {.key = "state_size", .size = M2_D_STATE},
    {.key = "d_inner", .size = M2_D_INNER},
    {.key = "d_xb", .size = M2_D_XB},
    {.key = "dt_rank", .size = M2_DT_RANK},
    {.key = "add_linear_biases", .size = M2_BIAS},
    REPEATS,
    {.key = "convolution_layer.bias.enabled", .size = M2_CONV_BIAS},
    {.key = "convolution_layer.kernel_size", .size = M2_D_CONV},
    {.key = "dt_layer.bias.enabled", .size = M2_DT_PROJ_BIAS},
    {.key = DT_START "type", .use = CONFIG_WORD, .word = "mamba_dt_bias", .when = WITH_DT_BIAS},
    {.key = DT_START "min_step_size", .size = M2_DT_MIN, .when = WITH_DT_BIAS},
    {.key = DT_START "max_step_size", .size = M2_DT_MAX, .when = WITH_DT_BIAS},
    {.key = DT_START "floor", .use = CONFIG_NUMBER, .number = M2_DT_FLOOR, .when = WITH_DT_BIAS},
    {.key = NULL},
};

/* What Apriel2's converter reads of a mixer that it makes from attention. */
static const struct config_row surgery[] = {
    {.key = "d_inner", .size = M2_D_INNER},
    {.key = "d_xb", .size = M2_D_XB},
    {.key = "d_state", .size = M2_D_STATE},
    {.key = "d_conv", .size = M2_D_CONV},
    {.key = "dt_rank", .size = M2_DT_RANK},
    REPEATS,
    {.key = "conv_bias", .size = M2_CONV_BIAS},
    {.key = "dt_proj_bias", .size = M2_DT_PROJ_BIAS},
    STARTS,
    {.key = NULL},
};

static enum status check(const struct mixer_sizes *m2, const char *source, int layer) {
    int states = (int)m2->value[M2_D_STATE], shared = (int)m2->value[M2_D_XB];
    int inner = (int)m2->value[M2_D_INNER];
    if (shared % states || inner % shared)
        return status_fail("\"%s\": layer %d: d_state %d must divide d_xb %d, and d_xb must divide "
                           "d_inner %d",
                           source, layer, states, shared, inner);
    return STATUS_OK;
}

/* No sub-head may span two heads. */
static enum status check_new(const struct mixer_sizes *m2, const struct mixer_host *host) {
    int states = (int)m2->value[M2_D_STATE];
    if (host->head_dim % states == 0) return STATUS_OK;
    return status_set(STATUS_USAGE, "--d-state %d must divide the head size %d", states,
                      host->head_dim);
}

/* ---- tensors and weights */

static const struct tensor_row tensors[M2_TENSORS] = {
    [M2_T_IN_PROJ] = {"in_proj.weight", M2_IN_PROJ},
    [M2_T_IN_PROJ_BIAS] = {"in_proj.bias", M2_IN_PROJ_BIAS},
    [M2_T_DT_IN_PROJ] = {"dt_in_proj.weight", M2_DT_IN},
    [M2_T_DT_IN_PROJ_BIAS] = {"dt_in_proj.bias", M2_DT_IN_BIAS},
    [M2_T_DT_PROJ] = {"dt_proj.weight", M2_DT_PROJ},
    [M2_T_DT_PROJ_BIAS] = {"dt_proj.bias", M2_DT_BIAS, .stored = 0.5},
    [M2_T_CONV] = {"conv1d.weight", M2_CONV},
    [M2_T_CONV_BIAS] = {"conv1d.bias", M2_CONV_BIAS_WEIGHT},
    [M2_T_A_LOG] = {"A_log", M2_A_LOG, .keeps_f32 = true, .usual = USUAL_LOG},
    [M2_T_D] = {"D", M2_D, .keeps_f32 = true, .usual = USUAL_ONE},
    [M2_T_OUT_PROJ] = {"out_proj.weight", M2_OUT},
    [M2_T_OUT_PROJ_BIAS] = {"out_proj.bias", M2_OUT_BIAS},
};

/* The scan and the convolution always take their vectors: absent biases are zeros. */
static const struct weight_row weights[M2_WEIGHTS] = {
    [M2_OUT] = {"out_proj.weight", .act = true},
    [M2_OUT_BIAS] = {"out_proj.bias"},
    [M2_IN_PROJ] = {"in_proj.weight", .act = true},
    [M2_IN_PROJ_BIAS] = {"in_proj.bias"},
    [M2_DT_IN] = {"dt_in_proj.weight", .act = true},
    [M2_DT_IN_BIAS] = {"dt_in_proj.bias"},
    [M2_DT_PROJ] = {"dt_proj.weight", .act = true},
    [M2_DT_BIAS] = {"dt_proj.bias", .always = true},
    [M2_CONV] = {"conv1d.weight"},
    [M2_CONV_BIAS_WEIGHT] = {"conv1d.bias", .always = true},
    [M2_A_LOG] = {"A_log"},
    [M2_D] = {"D"},
};

static struct tensor_shape shape(int tensor, const struct mixer_sizes *m2,
                                 const struct mixer_host *host) {
    int64_t D = host->hidden, I = m2->value[M2_D_INNER], X = m2->value[M2_D_XB];
    int64_t R = m2->value[M2_DT_RANK];
    bool bias = m2->value[M2_BIAS];
    switch ((enum m2_tensor)tensor) {
    case M2_T_IN_PROJ:
        return (struct tensor_shape){{2 * I + 2 * X, D}, true};
    case M2_T_IN_PROJ_BIAS:
        return (struct tensor_shape){{2 * I + 2 * X}, bias};
    case M2_T_DT_IN_PROJ:
        return (struct tensor_shape){{R, D}, true};
    case M2_T_DT_IN_PROJ_BIAS:
        return (struct tensor_shape){{R}, bias};
    case M2_T_DT_PROJ:
        return (struct tensor_shape){{I, R}, true};
    case M2_T_DT_PROJ_BIAS:
        return (struct tensor_shape){{I}, m2->value[M2_DT_PROJ_BIAS]};
    case M2_T_CONV:
        return (struct tensor_shape){{I, 1, m2->value[M2_D_CONV]}, true};
    case M2_T_CONV_BIAS:
        return (struct tensor_shape){{I}, m2->value[M2_CONV_BIAS]};
    case M2_T_A_LOG:
        return (struct tensor_shape){{I, m2->value[M2_D_STATE]}, true};
    case M2_T_D:
        return (struct tensor_shape){{I}, true};
    case M2_T_OUT_PROJ:
        return (struct tensor_shape){{D, I}, true};
    case M2_T_OUT_PROJ_BIAS:
        return (struct tensor_shape){{D}, bias};
    case M2_TENSORS:
        break;
    }
    return (struct tensor_shape){{0}, false};
}

/* ---- buffers */

static int64_t inner(const struct mixer_sizes *m2, const struct mixer_host *host) {
    return m2->value[M2_D_INNER];
}

static int64_t projected(const struct mixer_sizes *m2, const struct mixer_host *host) {
    return 2 * (m2->value[M2_D_INNER] + m2->value[M2_D_XB]);
}

static int64_t rank(const struct mixer_sizes *m2, const struct mixer_host *host) {
    return m2->value[M2_DT_RANK];
}

static size_t checkpoints(const struct buffer_room *room, const struct mixer_sizes *m2,
                          const struct mixer_host *host) {
    const struct mamba_shape scan = m2_shape_of(m2);
    return room->backend->scan->scan_checkpoint_bytes(room->backend, &room->sequences, &scan);
}

static const struct buffer_row buffers[M2_BUFFERS] = {
    [M2_B_PROJECTED] = {"projected", .width = projected},
    [M2_B_DT_LOW] = {"dt_low", .width = rank},
    [M2_B_DT] = {"dt", .width = inner},
    [M2_B_CONVOLVED] = {"convolved", .width = inner},
    [M2_B_CHECKPOINTS] = {"checkpoints", .time = BUFFER_KEPT, .bytes = checkpoints},
    [M2_B_MIXED] = {"mixed", .width = inner},
    [M2_B_DPROJECTED] = {"dprojected", .time = BUFFER_BACKWARD, .width = projected},
    [M2_B_DDT] = {"ddt", .time = BUFFER_BACKWARD, .width = inner},
    [M2_B_DCONVOLVED] = {"dconvolved", .time = BUFFER_BACKWARD, .width = inner},
    [M2_B_DDT_LOW] = {"ddt_low", .time = BUFFER_BACKWARD, .width = rank},
    [M2_B_DMIXED] = {"dmixed", .time = BUFFER_BACKWARD, .width = inner},
};

/* ---- past and cost */

static int64_t last_inputs(const struct mixer_sizes *m2, const struct mixer_host *host) {
    return (m2->value[M2_D_CONV] - 1) * m2->value[M2_D_XB];
}

static int64_t states(const struct mixer_sizes *m2, const struct mixer_host *host) {
    return m2->value[M2_D_INNER] * m2->value[M2_D_STATE];
}

static const struct past_row past[M2_PAST] = {
    [M2_CONV_STATES] = {"convolution states", .width = last_inputs},
    [M2_SCAN_STATES] = {"scan states", .acc = true, .width = states},
};

/* Decay, update and output of each state; the convolution. */
static double operations(const struct mixer_sizes *m2, const struct mixer_host *host, double rows) {
    double channels = (double)m2->value[M2_D_INNER];
    return 6 * channels * (double)m2->value[M2_D_STATE] +
           2 * channels * (double)m2->value[M2_D_CONV];
}

static int identify(char *out, size_t size, const struct mixer_sizes *m2, bool sampled) {
    const int64_t *value = m2->value;
    int used =
        snprintf(out, size, "1 0 %d %d %d %d %d", (int)value[M2_D_INNER], (int)value[M2_D_XB],
                 (int)value[M2_D_STATE], (int)value[M2_DT_RANK], (int)value[M2_D_CONV]);
    if (sampled) return used;
    return used + snprintf(out + used, size - (size_t)used, " %d %d %d", (int)value[M2_BIAS],
                           (int)value[M2_CONV_BIAS], (int)value[M2_DT_PROJ_BIAS]);
}

const struct mixer_kind m2_kind = {
    .name = "m2",
    .former = "mamba",
    .singular = "Mamba mixer",
    .adjective = "Mamba",
    .plural = "Mamba mixers",
    .unequal = "Mamba mixers of different sizes or biases",
    .letter = 'm',
    .parameter = -1,
    .type = {"m2", "mamba", "mamba", "mamba"},
    .owner = {"mixer", "mixer"},
    .sizes = sizes,
    .n_sizes = M2_SIZES,
    .config = {ssm_cfg, apriel2, fast_llm, surgery},
    .check = check,
    .check_new = check_new,
    .tensors = tensors,
    .n_tensors = M2_TENSORS,
    .weights = weights,
    .n_weights = M2_WEIGHTS,
    .buffers = buffers,
    .n_buffers = M2_BUFFERS,
    .past = past,
    .n_past = M2_PAST,
    .choices = m2_choices,
    .n_choices = M2_CHOICES,
    .fitting = &m2_fitting,
    .shape = shape,
    .forward = m2_forward,
    .backward = m2_backward,
    .operations = operations,
    .settle = m2_settle,
    .init = m2_init,
    .origin = m2_origin,
    .remark = m2_remark,
    .drops = m2_drops,
    .identify = identify,
};
