#include "checkpoint/fast_llm.h"

#include <stdio.h>

/* {"bias": {"enabled": …}} of one projection of a mixer. */
static struct json *with_bias(bool enabled) {
    struct json *bias = js_new_object(), *owner = js_new_object();
    js_set_bool(bias, "enabled", enabled);
    js_set(owner, "bias", bias);
    return owner;
}

/* "mistral_1d" is Apriel2's word for plain rope. */
static struct json *rotary(const struct rope_config *rope, enum fast_llm_dialect dialect) {
    static const char *const types[] = {
        [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3", [ROPE_YARN] = "yarn"};
    const char *plain = dialect == FAST_LLM_APRIEL2 ? "mistral_1d" : "default";
    struct json *object = js_new_object();
    js_set_string(object, "type", rope->kind == ROPE_DEFAULT ? plain : types[rope->kind]);
    js_set_number(object, "theta", rope->theta);
    if (rope->kind == ROPE_DEFAULT) return object;
    js_set_number(object, "scale_factor", rope->factor);
    if (rope->kind != ROPE_LINEAR)
        js_set_integer(object, "original_context_length", (int64_t)rope->original_max_position);
    if (rope->kind == ROPE_LLAMA3) {
        js_set_number(object, "low_frequency_factor", rope->low_freq_factor);
        js_set_number(object, "high_frequency_factor", rope->high_freq_factor);
    }
    if (rope->kind == ROPE_YARN) {
        js_set_number(object, "attention_factor", rope->attention_factor);
        js_set_number(object, "beta_fast", rope->beta_fast);
        js_set_number(object, "beta_slow", rope->beta_slow);
        if (!rope->truncate) js_set_bool(object, "truncate", false);
    }
    return object;
}

struct json *fast_llm_norm(double epsilon) {
    struct json *object = js_new_object();
    js_set_string(object, "type", "rms_norm");
    js_set_number(object, "epsilon", epsilon);
    return object;
}

static struct json *attention_mixer(const struct model_config *config, int window,
                                    enum fast_llm_dialect dialect) {
    struct json *mixer = js_new_object();
    js_set_string(mixer, "type", "attention");
    js_set_integer(mixer, "heads", config->n_heads);
    js_set_integer(mixer, "head_groups", config->n_kv_heads);
    js_set_integer(mixer, "head_size", config->head_dim);
    js_set(mixer, "rotary", rotary(&config->rope, dialect));
    js_set_bool(mixer, "add_linear_biases", false);
    js_set(mixer, "query_layer", with_bias(config->q_bias));
    js_set(mixer, "key_layer", with_bias(config->k_bias));
    js_set(mixer, "value_layer", with_bias(config->v_bias));
    js_set(mixer, "dense_layer", with_bias(config->o_bias));
    if (window) js_set_integer(mixer, "window_size", window);
    if (config->qk_norm) {
        js_set(mixer, "query_norm", fast_llm_norm(config->q_norm_eps));
        js_set(mixer, "key_norm", fast_llm_norm(config->k_norm_eps));
    }
    return mixer;
}

/* What Fast-LLM's own configuration has in layers of their own. */
static void set_own_layers(struct json *mixer, const struct mamba_config *mamba) {
    struct json *convolution = with_bias(mamba->conv_bias), *dt = js_new_object();
    struct json *bias = js_new_object(), *start = js_new_object();
    js_set_integer(convolution, "kernel_size", mamba->d_conv);
    js_set(mixer, "convolution_layer", convolution);
    js_set_bool(bias, "enabled", mamba->dt_proj_bias);
    if (mamba->dt_proj_bias) {
        js_set_string(start, "type", "mamba_dt_bias");
        js_set_number(start, "min_step_size", mamba->dt_min);
        js_set_number(start, "max_step_size", mamba->dt_max);
        js_set_number(start, "floor", MAMBA_DT_FLOOR);
        js_set(bias, "initialization", start);
    } else {
        js_free(start);
    }
    js_set(dt, "bias", bias);
    js_set(mixer, "dt_layer", dt);
}

static struct json *mamba_mixer(const struct mamba_config *mamba, enum fast_llm_dialect dialect) {
    struct json *mixer = js_new_object();
    js_set_string(mixer, "type", "mamba");
    js_set_integer(mixer, "state_size", mamba->d_state);
    js_set_integer(mixer, "d_inner", mamba->d_inner);
    js_set_integer(mixer, "d_xb", mamba->d_xb);
    js_set_integer(mixer, "dt_rank", mamba->dt_rank);
    js_set_bool(mixer, "add_linear_biases", mamba->bias);
    js_set_bool(mixer, "repeat_kv_before_conv", true);
    if (dialect == FAST_LLM_OWN) {
        set_own_layers(mixer, mamba);
        return mixer;
    }
    js_set_integer(mixer, "d_state", mamba->d_state); /* Apriel2's converter reads this */
    js_set_integer(mixer, "d_conv", mamba->d_conv);
    js_set_bool(mixer, "conv_bias", mamba->conv_bias);
    js_set_bool(mixer, "dt_proj_bias", mamba->dt_proj_bias);
    js_set_number(mixer, "dt_min", mamba->dt_min);
    js_set_number(mixer, "dt_max", mamba->dt_max);
    js_set_number(mixer, "dt_init_floor", MAMBA_DT_FLOOR);
    return mixer;
}

static struct json *block_of(const struct model_config *config, const struct layer_config *layer,
                             enum fast_llm_dialect dialect) {
    struct json *block = js_new_object(), *mlp = js_new_object();
    bool is_mamba = layer->mixer == MIXER_MAMBA;
    js_set(block, "mixer",
           is_mamba ? mamba_mixer(&layer->mamba, dialect)
                    : attention_mixer(config, layer->sliding_window, dialect));
    js_set_string(mlp, "type", "mlp");
    js_set_integer(mlp, "intermediate_size", config->intermediate_size);
    js_set_string(mlp, "activation", "silu");
    js_set_bool(mlp, "gated", true);
    js_set_bool(mlp, "add_linear_biases", config->mlp_bias);
    js_set(block, "mlp", mlp);
    js_set(block, "normalization", fast_llm_norm(config->rms_norm_eps));
    return block;
}

/* How many different mixers stand before this layer's first equal. */
static int mamba_number(const struct model_config *config, int layer) {
    int number = 1;
    for (int i = 0; i <= layer; i++) {
        const struct layer_config *about = &config->layers[i];
        bool first = about->mixer == MIXER_MAMBA;
        if (first && config_same_mamba(&about->mamba, &config->layers[layer].mamba)) break;
        for (int k = 0; k < i && first; k++)
            first = config->layers[k].mixer != MIXER_MAMBA ||
                    !config_same_mamba(&config->layers[k].mamba, &about->mamba);
        number += first;
    }
    return number;
}

void fast_llm_block_name(char out[FAST_LLM_NAME_SIZE], const struct model_config *config,
                         int layer) {
    const struct layer_config *about = &config->layers[layer];
    int number = about->mixer == MIXER_MAMBA ? mamba_number(config, layer) : 0;
    if (number > 1)
        snprintf(out, FAST_LLM_NAME_SIZE, "mamba_%d", number);
    else if (number)
        snprintf(out, FAST_LLM_NAME_SIZE, "mamba");
    else if (about->sliding_window)
        snprintf(out, FAST_LLM_NAME_SIZE, "attention_window_%d", about->sliding_window);
    else
        snprintf(out, FAST_LLM_NAME_SIZE, "attention");
}

struct json *fast_llm_decoder(const struct model_config *config, enum fast_llm_dialect dialect) {
    struct json *decoder = js_new_object(), *blocks = js_new_object(), *pattern = js_new_array();
    for (int i = 0; i < config->n_layers; i++) {
        char name[FAST_LLM_NAME_SIZE];
        fast_llm_block_name(name, config, i);
        if (!js_member(blocks, name))
            js_set(blocks, name, block_of(config, &config->layers[i], dialect));
        js_append(pattern, js_new_string(name));
    }
    js_set_string(decoder, "type", "pattern");
    js_set_integer(decoder, "num_blocks", config->n_layers);
    js_set(decoder, "pattern", pattern);
    js_set(decoder, "blocks", blocks); /* only those of the pattern: others are refused */
    return decoder;
}

const char *fast_llm_lacks(const struct model_config *config) {
    if (!config_attention_layers(config)) return NULL;
    if (config->rope.kind == ROPE_LINEAR) return "linear rope scaling";
    if (config->rope.kind == ROPE_YARN && !config->rope.truncate)
        return "yarn without rounding (\"truncate\": false)";
    return NULL;
}
