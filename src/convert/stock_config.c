/* config.json of the stock architectures, and rope as transformers' configurations have it. */
#include <math.h>

#include "convert/convert_internal.h"
#include "mixers/gdn/gdn.h"
#include "mixers/mamba2/mamba2.h"

/* The rules of a rope that is scaled. */
static struct json *scaling_of(const struct rope_config *rope) {
    static const char *const types[] = {[ROPE_DEFAULT] = "default",
                                        [ROPE_LINEAR] = "linear",
                                        [ROPE_LLAMA3] = "llama3",
                                        [ROPE_YARN] = "yarn"};
    struct json *scaling = js_new_object();
    js_set_string(scaling, "rope_type", types[rope->kind]);
    if (rope->kind == ROPE_DEFAULT) return scaling;
    js_set_number(scaling, "factor", rope->factor);
    if (rope->kind != ROPE_LINEAR)
        js_set_integer(scaling, "original_max_position_embeddings",
                       (int64_t)rope->original_max_position);
    if (rope->kind == ROPE_LLAMA3) {
        js_set_number(scaling, "low_freq_factor", rope->low_freq_factor);
        js_set_number(scaling, "high_freq_factor", rope->high_freq_factor);
    }
    if (rope->kind == ROPE_YARN) {
        js_set_number(scaling, "attention_factor", rope->attention_factor);
        js_set_number(scaling, "beta_fast", rope->beta_fast);
        js_set_number(scaling, "beta_slow", rope->beta_slow);
        if (!rope->truncate) js_set_bool(scaling, "truncate", false);
    }
    return scaling;
}

void convert_set_rope(struct json *object, const struct rope_config *rope) {
    js_set_number(object, "rope_theta", rope->theta);
    if (rope->kind != ROPE_DEFAULT) js_set(object, "rope_scaling", scaling_of(rope));
}

/* In both spellings. */
static void set_ropes(struct json *object, const struct model_config *config) {
    const struct rope_config *rope = &config->rope;
    struct json *parameters = scaling_of(rope);
    js_set_number(parameters, "rope_theta", rope->theta);
    if (config->family == FAMILY_QWEN35) {
        js_set_number(parameters, "partial_rotary_factor", 1);
        js_set_number(object, "partial_rotary_factor", 1);
    }
    js_set(object, "rope_parameters", parameters);
    convert_set_rope(object, rope);
}

/* The sizes of the mixers of a kind, or, where there are none, what new ones would have: the class
 * checks them all the same. */
static void set_mixers(struct json *object, const struct convert_job *job,
                       const struct mixer_kind *kind, enum mixer_format format) {
    const struct model_config *config = job->config;
    struct mixer_host host = config_host(config);
    struct mixer_sizes sizes = {.kind = kind};
    for (int i = config->n_layers - 1; i >= 0; i--)
        if (config->layers[i].mixer.kind == kind) sizes = config->layers[i].mixer;
    const struct mixer_sizes asked = {.kind = kind};
    format_heads(&host.heads, &host.kv_heads, job->options.format,
                 checkpoint_config(job->options.base));
    if (sizes.value[0] == 0) (void)!mixer_sizes_new(&sizes, &asked, NULL, &host);
    mixer_config_write(object, &sizes, &host, format);
}

static void set_layer_types(struct json *object, const struct model_config *config,
                            enum mixer_format format) {
    struct json *types = js_new_array();
    for (int i = 0; i < config->n_layers; i++)
        js_append(types, js_new_string(config->layers[i].mixer.kind->type[format]));
    js_set(object, "layer_types", types);
}

static void set_granite(struct json *object, const struct convert_job *job) {
    const struct model_config *config = job->config;
    static const char *const ones[] = {"embedding_multiplier", "residual_multiplier",
                                       "logits_scaling"};
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++) js_set_number(object, ones[i], 1);
    js_set_number(object, "attention_multiplier", 1 / sqrt((double)config->head_dim));
    js_set_integer(object, "shared_intermediate_size", config->intermediate_size);
    js_set_integer(object, "num_local_experts", 0);
    js_set_integer(object, "num_experts_per_tok", 0);
    js_set_string(object, "position_embedding_type", "rope");
    js_set_bool(object, "attention_bias", config->q_bias);
    set_layer_types(object, config, MIXER_GRANITE);
    set_mixers(object, job, &mamba2_kind, MIXER_GRANITE);
    js_set_integer(object, "mamba_chunk_size", 256);
}

static void set_qwen35(struct json *object, const struct convert_job *job) {
    js_set_bool(object, "attention_bias", false);
    js_set_bool(object, "attn_output_gate", true);
    set_layer_types(object, job->config, MIXER_QWEN35);
    set_mixers(object, job, &gdn_kind, MIXER_QWEN35);
}

/* Some layers have a window, which is one of the teacher's own or takes an attention's place: the
 * latter are listed, so that what was replaced is known when it is read again. */
static void set_native(struct json *object, const struct model_config *config) {
    struct json *types = js_new_array(), *replaced = js_new_array();
    int64_t window = 0;
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_sizes *mixer = &config->layers[i].mixer;
        int64_t own = mixer->value[0];
        if (own) window = own;
        js_append(types, js_new_string(own ? "sliding_attention" : "full_attention"));
        if (!mixer_is_attention(mixer)) js_append(replaced, js_new_integer(i));
    }
    /* Ministral's class needs a number, whether a layer uses it or not */
    if (!window && config->family == FAMILY_MISTRAL)
        window = config->max_position_embeddings ? config->max_position_embeddings : 4096;
    js_set(object, "layer_types", types);
    js_set(object, "sliding_window", window ? js_new_integer(window) : NULL);
    js_set(object, "replaced_layers", replaced);
    if (config->family == FAMILY_QWEN2 || config->family == FAMILY_QWEN3) {
        js_set_bool(object, "use_sliding_window", window != 0); /* else it has no window at all */
        js_set_integer(object, "max_window_layers", 0);
    }
    if (config->family == FAMILY_QWEN3) js_set_bool(object, "attention_bias", config->q_bias);
}

void convert_stock_config(struct json *object, const struct convert_job *job) {
    const struct model_config *config = job->config;
    js_set_integer(object, "intermediate_size", config->intermediate_size);
    js_set_integer(object, "num_hidden_layers", config->n_layers);
    js_set_integer(object, "num_attention_heads", config->n_heads);
    js_set_integer(object, "num_key_value_heads", config->n_kv_heads);
    /* Qwen2's class does not have it; Granite's is hidden / heads unless it is there */
    bool usual = (int64_t)config->n_heads * config->head_dim == config->hidden_size;
    if (config->family != FAMILY_QWEN2 && !(config->family == FAMILY_GRANITE && usual))
        js_set_integer(object, "head_dim", config->head_dim);
    js_set_string(object, "hidden_act", "silu");
    if (config->max_position_embeddings)
        js_set_integer(object, "max_position_embeddings", config->max_position_embeddings);
    js_set_number(object, "rms_norm_eps", config->rms_norm_eps);
    set_ropes(object, config);
    if (config->family == FAMILY_GRANITE)
        set_granite(object, job);
    else if (config->family == FAMILY_QWEN35)
        set_qwen35(object, job);
    else
        set_native(object, config);
}
