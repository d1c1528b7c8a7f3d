/* config.json of a hybrid, in both formats. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "convert/convert_internal.h"

static const char *dtype_word(enum dtype dtype) {
    return dtype == DTYPE_F32 ? "float32" : dtype == DTYPE_F16 ? "float16" : "bfloat16";
}

static void set_special_tokens(struct json *object, const struct model_config *config) {
    if (config->bos_token_id >= 0) js_set_integer(object, "bos_token_id", config->bos_token_id);
    if (config->n_eos == 1) js_set_integer(object, "eos_token_id", config->eos_token_ids[0]);
    if (config->n_eos < 2) return;
    struct json *list = js_new_array();
    for (int i = 0; i < config->n_eos; i++)
        js_append(list, js_new_integer(config->eos_token_ids[i]));
    js_set(object, "eos_token_id", list);
}

/* Keys that no computation here depends on, but that users of the checkpoint may read. */
static void carry_over(struct json *object, const struct convert_job *job) {
    static const char *const keys[] = {"pad_token_id", "initializer_range", "attention_dropout",
                                       "use_cache"};
    struct json *source = NULL;
    char *path = file_join(checkpoint_directory(job->options.base), "config.json");
    if (!path || js_read(&source, path)) {
        free(path);
        return; /* it was readable when the checkpoint was opened; these keys are optional */
    }
    free(path);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct json *value = js_member(source, keys[i]);
        if (value) js_set(object, keys[i], js_copy(value));
    }
    js_free(source);
}

/* In transformers' older spelling, which new and old versions and Fast-LLM read. */
static void set_rope(struct json *object, const struct rope_config *rope) {
    static const char *const types[] = {
        [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3", [ROPE_YARN] = "yarn"};
    js_set_number(object, "rope_theta", rope->theta);
    if (rope->kind == ROPE_DEFAULT) return;
    struct json *scaling = js_new_object();
    js_set_string(scaling, "rope_type", types[rope->kind]);
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
    js_set(object, "rope_scaling", scaling);
}

static struct json *ssm_cfg(const struct mamba_config *mamba, int hidden_size) {
    struct json *object = js_new_object();
    js_set_integer(object, "d_state", mamba->d_state);
    js_set_integer(object, "d_xb", mamba->d_xb);
    js_set_integer(object, "d_inner", mamba->d_inner);
    js_set_integer(object, "d_conv", mamba->d_conv);
    js_set_integer(object, "dt_rank", mamba->dt_rank);
    /* only read where d_inner is absent */
    js_set_integer(object, "expand",
                   mamba->d_inner >= hidden_size ? mamba->d_inner / hidden_size : 1);
    js_set_bool(object, "bias", mamba->bias);
    js_set_bool(object, "conv_bias", mamba->conv_bias);
    js_set_bool(object, "dt_proj_bias", mamba->dt_proj_bias);
    js_set_bool(object, "repeat_kv_before_conv", true);
    js_set_number(object, "dt_min", 0.001);
    js_set_number(object, "dt_max", 0.1);
    js_set_number(object, "dt_init_floor", 1e-4);
    return object;
}

/* The window of the attention layers (they agree), null when there is none. */
static struct json *window_of(const struct model_config *config) {
    for (int i = 0; i < config->n_layers; i++)
        if (config->layers[i].mixer == MIXER_ATTENTION && config->layers[i].sliding_window)
            return js_new_integer(config->layers[i].sliding_window);
    return NULL;
}

static void set_apriel_h1(struct json *object, const struct convert_job *job) {
    const struct model_config *config = job->config;
    const struct mamba_config *mamba = NULL;
    struct json *layout = js_new_array();
    for (int i = 0; i < config->n_layers; i++) {
        bool is_mamba = config->layers[i].mixer == MIXER_MAMBA;
        if (is_mamba) mamba = &config->layers[i].mamba;
        js_append(layout, js_new_string(is_mamba ? "m2" : "t"));
    }
    js_set_integer(object, "intermediate_size", config->intermediate_size);
    js_set_integer(object, "num_hidden_layers", config->n_layers);
    js_set_integer(object, "num_attention_heads", config->n_heads);
    js_set_integer(object, "num_key_value_heads", config->n_kv_heads);
    js_set_integer(object, "head_dim", config->head_dim);
    js_set_string(object, "hidden_act", "silu");
    if (config->max_position_embeddings)
        js_set_integer(object, "max_position_embeddings", config->max_position_embeddings);
    js_set_number(object, "rms_norm_eps", config->rms_norm_eps);
    set_rope(object, &config->rope);
    js_set(object, "sliding_window", window_of(config)); /* null: none; absent would be 4096 */
    js_set(object, "hybrid_block_layout", layout);
    if (mamba) js_set(object, "ssm_cfg", ssm_cfg(mamba, config->hidden_size));
}

static void set_bias(struct json *mixer, const char *layer, bool enabled) {
    struct json *bias = js_new_object(), *owner = js_new_object();
    js_set_bool(bias, "enabled", enabled);
    js_set(owner, "bias", bias);
    js_set(mixer, layer, owner);
}

/* In Fast-LLM's terms; "mistral_1d" is the plain rope of the published Apriel2 code. */
static struct json *rotary(const struct rope_config *rope) {
    static const char *const types[] = {[ROPE_DEFAULT] = "mistral_1d",
                                        [ROPE_LINEAR] = "linear",
                                        [ROPE_LLAMA3] = "llama3",
                                        [ROPE_YARN] = "yarn"};
    struct json *object = js_new_object();
    js_set_string(object, "type", types[rope->kind]);
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

static struct json *norm(double epsilon) {
    struct json *object = js_new_object();
    js_set_string(object, "type", "rms_norm");
    js_set_number(object, "epsilon", epsilon);
    return object;
}

static struct json *attention_mixer(const struct model_config *config, int window) {
    struct json *mixer = js_new_object();
    js_set_string(mixer, "type", "attention");
    js_set_integer(mixer, "heads", config->n_heads);
    js_set_integer(mixer, "head_groups", config->n_kv_heads);
    js_set_integer(mixer, "head_size", config->head_dim);
    js_set(mixer, "rotary", rotary(&config->rope));
    js_set_bool(mixer, "add_linear_biases", false);
    set_bias(mixer, "query_layer", config->q_bias);
    set_bias(mixer, "key_layer", config->k_bias);
    set_bias(mixer, "value_layer", config->v_bias);
    set_bias(mixer, "dense_layer", config->o_bias);
    if (window) js_set_integer(mixer, "window_size", window);
    if (config->qk_norm) {
        js_set(mixer, "query_norm", norm(config->q_norm_eps));
        js_set(mixer, "key_norm", norm(config->k_norm_eps));
    }
    return mixer;
}

static struct json *mamba_mixer(const struct mamba_config *mamba) {
    struct json *mixer = js_new_object();
    js_set_string(mixer, "type", "mamba");
    js_set_integer(mixer, "d_state", mamba->d_state);    /* its converter reads this */
    js_set_integer(mixer, "state_size", mamba->d_state); /* and its model this */
    js_set_integer(mixer, "d_inner", mamba->d_inner);
    js_set_integer(mixer, "d_xb", mamba->d_xb);
    js_set_integer(mixer, "d_conv", mamba->d_conv);
    js_set_integer(mixer, "dt_rank", mamba->dt_rank);
    js_set_bool(mixer, "add_linear_biases", mamba->bias);
    js_set_bool(mixer, "conv_bias", mamba->conv_bias);
    js_set_bool(mixer, "dt_proj_bias", mamba->dt_proj_bias);
    js_set_bool(mixer, "repeat_kv_before_conv", true);
    js_set_number(mixer, "dt_min", 0.001);
    js_set_number(mixer, "dt_max", 0.1);
    js_set_number(mixer, "dt_init_floor", 1e-4);
    return mixer;
}

static struct json *block_of(const struct model_config *config, const struct layer_config *layer) {
    struct json *block = js_new_object(), *mlp = js_new_object();
    bool is_mamba = layer->mixer == MIXER_MAMBA;
    js_set(block, "mixer",
           is_mamba ? mamba_mixer(&layer->mamba) : attention_mixer(config, layer->sliding_window));
    js_set_string(mlp, "type", "mlp");
    js_set_integer(mlp, "intermediate_size", config->intermediate_size);
    js_set_string(mlp, "activation", "silu");
    js_set_bool(mlp, "gated", true);
    js_set_bool(mlp, "add_linear_biases", config->mlp_bias);
    js_set(block, "mlp", mlp);
    js_set(block, "normalization", norm(config->rms_norm_eps));
    return block;
}

/* Blocks that differ in their mixer get names of their own: "attention", "attention_window_4096",
 * "mamba", and "mamba_STATE_RANK_CONV" for a second set of sizes. */
static void block_name(char out[64], const struct model_config *config, int layer,
                       const struct mamba_config *first_mamba) {
    const struct layer_config *about = &config->layers[layer];
    const struct mamba_config *mamba = &about->mamba;
    if (about->mixer == MIXER_ATTENTION && about->sliding_window)
        snprintf(out, 64, "attention_window_%d", about->sliding_window);
    else if (about->mixer == MIXER_ATTENTION)
        snprintf(out, 64, "attention");
    else if (convert_same_mamba(mamba, first_mamba))
        snprintf(out, 64, "mamba");
    else
        snprintf(out, 64, "mamba_%d_%d_%d%s", mamba->d_state, mamba->dt_rank, mamba->d_conv,
                 mamba->bias ? "_bias" : "");
}

static void set_apriel2(struct json *object, const struct convert_job *job) {
    const struct model_config *config = job->config;
    const struct mamba_config *first_mamba = NULL;
    struct json *decoder = js_new_object(), *blocks = js_new_object(), *pattern = js_new_array();
    struct json *embeddings = js_new_object(), *head = js_new_object();
    for (int i = 0; i < config->n_layers; i++) {
        char name[64];
        if (!first_mamba && config->layers[i].mixer == MIXER_MAMBA)
            first_mamba = &config->layers[i].mamba;
        block_name(name, config, i, first_mamba);
        if (!js_member(blocks, name)) js_set(blocks, name, block_of(config, &config->layers[i]));
        js_append(pattern, js_new_string(name));
    }
    if (config->max_position_embeddings)
        js_set_integer(embeddings, "max_position_embeddings", config->max_position_embeddings);
    js_set(object, "embeddings", embeddings);
    js_set(head, "normalization", norm(config->rms_norm_eps));
    js_set(object, "head", head);
    js_set_string(decoder, "type", "pattern");
    js_set_integer(decoder, "num_blocks", config->n_layers);
    js_set(decoder, "pattern", pattern);
    js_set(decoder, "blocks", blocks);
    js_set(object, "decoder", decoder);
}

struct json *convert_config_json(const struct convert_job *job) {
    const struct model_config *config = job->config;
    bool apriel2 = config->family == FAMILY_APRIEL2;
    struct json *object = js_new_object(), *architectures = js_new_array();
    js_append(architectures, js_new_string(config_architecture(config)));
    js_set(object, "architectures", architectures);
    js_set_string(object, "model_type", apriel2 ? "apriel2_text" : "apriel_hybrid_ssm");
    js_set_integer(object, "vocab_size", config->vocab_size);
    js_set_integer(object, "hidden_size", config->hidden_size);
    if (apriel2)
        set_apriel2(object, job);
    else
        set_apriel_h1(object, job);
    js_set_bool(object, "tie_word_embeddings", config->tie_word_embeddings);
    js_set_string(object, "torch_dtype", dtype_word(config->dtype));
    set_special_tokens(object, config);
    carry_over(object, job);
    return object;
}
