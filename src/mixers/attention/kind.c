#include <math.h>
#include <stdio.h>

#include "mixers/attention/attention.h"

/* ---- sizes: heads are the host's */

static const struct size_row sizes[ATTENTION_SIZES] = {
    /* a query sees this many positions, itself included; 0: all before it */
    [ATTENTION_WINDOW] = {.name = "sliding_window",
                          .low = 1,
                          .high = INT32_MAX,
                          .may_be_zero = true,
                          .block_word = "window"},
};

static const struct config_row of_blocks[] = {
    {.key = "window_size", .size = ATTENTION_WINDOW, .when = 1 + ATTENTION_WINDOW},
    {.key = NULL},
};

/* ---- tensors and weights */

const struct tensor_row attention_tensors[ATTENTION_TENSORS] = {
    [ATTENTION_Q] = {"q_proj.weight", ATTENTION_QKV, .reads_input = true,
                     .kept = {[MIXER_QWEN35] = {.gated = true}}},
    [ATTENTION_Q_BIAS] = {"q_proj.bias", ATTENTION_QKV_BIAS},
    [ATTENTION_K] = {"k_proj.weight", ATTENTION_QKV, .reads_input = true},
    [ATTENTION_K_BIAS] = {"k_proj.bias", ATTENTION_QKV_BIAS},
    [ATTENTION_V] = {"v_proj.weight", ATTENTION_QKV, .reads_input = true},
    [ATTENTION_V_BIAS] = {"v_proj.bias", ATTENTION_QKV_BIAS},
    /* a gate without weights is a half */
    [ATTENTION_O] = {"o_proj.weight", ATTENTION_OUT, .kept = {[MIXER_QWEN35] = {.scale = 2}}},
    [ATTENTION_O_BIAS] = {"o_proj.bias", ATTENTION_OUT_BIAS},
    [ATTENTION_Q_NORM] = {"q_norm.weight", ATTENTION_QUERY_NORM, .usual = USUAL_ONE,
                          .kept = {[MIXER_QWEN35] = {.less_one = true}}},
    [ATTENTION_K_NORM] = {"k_norm.weight", ATTENTION_KEY_NORM, .usual = USUAL_ONE,
                          .kept = {[MIXER_QWEN35] = {.less_one = true}}},
};

const struct weight_row attention_weights[ATTENTION_WEIGHTS] = {
    [ATTENTION_QKV] = {"qkv_proj.weight", .act = true}, [ATTENTION_QKV_BIAS] = {"qkv_proj.bias"},
    [ATTENTION_QUERY_NORM] = {"q_norm.weight"},         [ATTENTION_KEY_NORM] = {"k_norm.weight"},
    [ATTENTION_OUT] = {"out_proj.weight", .act = true}, [ATTENTION_OUT_BIAS] = {"out_proj.bias"},
};

struct tensor_shape attention_tensor_shape(int tensor, const struct mixer_sizes *layer,
                                           const struct mixer_host *host) {
    int64_t D = host->hidden, E = host->head_dim, Q = host->heads * E, X = host->kv_heads * E;
    (void)layer;
    switch ((enum attention_tensor)tensor) {
    case ATTENTION_Q:
        return (struct tensor_shape){{Q, D}, true};
    case ATTENTION_K:
    case ATTENTION_V:
        return (struct tensor_shape){{X, D}, true};
    case ATTENTION_O:
        return (struct tensor_shape){{D, Q}, true};
    case ATTENTION_Q_BIAS:
        return (struct tensor_shape){{Q}, host->q_bias};
    case ATTENTION_K_BIAS:
        return (struct tensor_shape){{X}, host->k_bias};
    case ATTENTION_V_BIAS:
        return (struct tensor_shape){{X}, host->v_bias};
    case ATTENTION_O_BIAS:
        return (struct tensor_shape){{D}, host->o_bias};
    case ATTENTION_Q_NORM:
    case ATTENTION_K_NORM:
        return (struct tensor_shape){{E}, host->qk_norm};
    case ATTENTION_TENSORS:
        break;
    }
    return (struct tensor_shape){{0}, false};
}

/* ---- buffers */

static int64_t query(const struct mixer_sizes *layer, const struct mixer_host *host) {
    return (int64_t)host->heads * host->head_dim;
}

static int64_t key(const struct mixer_sizes *layer, const struct mixer_host *host) {
    return (int64_t)host->kv_heads * host->head_dim;
}

static int64_t qkv(const struct mixer_sizes *layer, const struct mixer_host *host) {
    return query(layer, host) + 2 * key(layer, host);
}

static int64_t normed_qk(const struct mixer_sizes *layer, const struct mixer_host *host) {
    return host->qk_norm ? query(layer, host) + key(layer, host) : 0;
}

static int64_t heads(const struct mixer_sizes *layer, const struct mixer_host *host) {
    return host->heads;
}

static int64_t normed_heads(const struct mixer_sizes *layer, const struct mixer_host *host) {
    return host->qk_norm ? host->heads : 0;
}

static int64_t normed_kv_heads(const struct mixer_sizes *layer, const struct mixer_host *host) {
    return host->qk_norm ? host->kv_heads : 0;
}

const struct buffer_row attention_buffers[ATTENTION_BUFFERS] = {
    [ATTENTION_B_QKV] = {"qkv", .width = qkv},
    [ATTENTION_B_QK] = {"qk", .width = normed_qk},
    [ATTENTION_B_Q_RSTD] = {"q_rstd", .acc = true, .width = normed_heads},
    [ATTENTION_B_K_RSTD] = {"k_rstd", .acc = true, .width = normed_kv_heads},
    [ATTENTION_B_LSE] = {"lse", .acc = true, .time = BUFFER_KEPT, .width = heads},
    [ATTENTION_B_MIXED] = {"mixed", .width = query},
    [ATTENTION_B_DQKV] = {"dqkv", .time = BUFFER_BACKWARD, .width = qkv},
    [ATTENTION_B_DQK] = {"dqk", .time = BUFFER_BACKWARD, .width = normed_qk},
    [ATTENTION_B_DMIXED] = {"dmixed", .time = BUFFER_BACKWARD, .width = query},
};

/* ---- past and cost */

const struct past_row attention_past[ATTENTION_PAST] = {
    [ATTENTION_KEYS] = {"the key cache", .width = key, .made_up = "keys"},
    [ATTENTION_VALUES] = {"the value cache", .width = key, .made_up = "values"},
};

int64_t attention_past_rows(const struct mixer_sizes *layer, int64_t tokens) {
    int64_t window = layer->value[ATTENTION_WINDOW];
    return window > 0 && window < tokens ? window : tokens;
}

double attention_operations(const struct mixer_sizes *layer, const struct mixer_host *host,
                            double rows) {
    return 4 * rows * host->heads * host->head_dim;
}

struct attention_shape attention_shape_of(const struct mixer_sizes *layer,
                                          const struct mixer_host *host) {
    return (struct attention_shape){.heads = host->heads,
                                    .kv_heads = host->kv_heads,
                                    .head_dim = host->head_dim,
                                    .window = (int)layer->value[ATTENTION_WINDOW],
                                    .scale = 1 / sqrt((double)host->head_dim)};
}

/* The number of the kind, its window, and as many zeros as another kind had sizes then. */
static int identify(char *out, size_t size, const struct mixer_sizes *layer, bool sampled) {
    return snprintf(out, size, "0 %d 0 0 0 0 0%s", (int)layer->value[ATTENTION_WINDOW],
                    sampled ? "" : " 0 0 0");
}

const struct mixer_kind attention_kind = {
    .name = "attention",
    .singular = "attention mixer",
    .adjective = "attention",
    .plural = "attention mixers",
    .unequal = "sliding windows that differ between layers",
    .letter = 't',
    .parameter = -1,
    .attends = true,
    .type = {"t", "attention", "attention", "attention", "attention", "full_attention"},
    .owner = {"self_attn", "mixer", [MIXER_GRANITE] = "self_attn", [MIXER_QWEN35] = "self_attn"},
    .sizes = sizes,
    .n_sizes = ATTENTION_SIZES,
    .config = {[MIXER_APRIEL2] = of_blocks, [MIXER_FAST_LLM] = of_blocks},
    .tensors = attention_tensors,
    .n_tensors = ATTENTION_TENSORS,
    .weights = attention_weights,
    .n_weights = ATTENTION_WEIGHTS,
    .buffers = attention_buffers,
    .n_buffers = ATTENTION_BUFFERS,
    .past = attention_past,
    .n_past = ATTENTION_PAST,
    .shape = attention_tensor_shape,
    .forward = attention_forward,
    .backward = attention_backward,
    .past_rows = attention_past_rows,
    .operations = attention_operations,
    .identify = identify,
};
