/* config.json of the two hybrid formats: Apriel-H1 (Mistral's keys, a layout and ssm_cfg) and
 * Apriel2 (a decoder of named blocks, in Fast-LLM's terms). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/config_parse.h"
#include "mixers/sizes.h"

/* The words that a format has for mixers: "attention or mamba". */
enum { TYPES_SIZE = 128 };
static const char *list_types(char out[TYPES_SIZE], enum mixer_format format) {
    const char *types[MIXER_MAX_KINDS];
    size_t used = 0;
    int count = 0;
    for (int i = 0; mixer_kinds[i]; i++) {
        const char *type = mixer_kinds[i]->type[format];
        if (type && mixer_kind_of_type(format, type, NULL) == mixer_kinds[i]) types[count++] = type;
    }
    for (int i = 0; i < count && used < TYPES_SIZE; i++)
        used += (size_t)snprintf(out + used, TYPES_SIZE - used, "%s%s",
                                 i == 0           ? ""
                                 : i + 1 == count ? " or "
                                                  : ", ",
                                 types[i]);
    return out;
}

enum status config_parse_apriel_h1(struct model_config *config, const struct json *json,
                                   const char *source) {
    enum status status = config_parse_llama(config, json, source);
    if (status) return status;
    const struct json *layout = js_member(json, "hybrid_block_layout");
    size_t length = js_is_array(layout) ? js_count(layout) : 0;
    if (length != 1 && length != (size_t)config->n_layers)
        return status_fail("\"%s\": \"hybrid_block_layout\" must list %d layers, found %zu", source,
                           config->n_layers, length);
    const struct mixer_host host = config_host(config);
    for (int i = 0; i < config->n_layers; i++) {
        char types[TYPES_SIZE];
        const char *word = js_string_or(js_element(layout, length == 1 ? 0 : (size_t)i), "");
        const struct mixer_kind *kind = mixer_kind_of_type(MIXER_APRIEL_H1, word, NULL);
        if (!kind)
            return status_fail("\"%s\": \"hybrid_block_layout\": \"%s\" in layer %d is not "
                               "supported (%s)",
                               source, word, i, list_types(types, MIXER_APRIEL_H1));
        if (kind == config->layers[i].mixer.kind) continue;
        const struct json *sizes = js_member(json, "ssm_cfg");
        if (!js_is_object(sizes)) return status_fail("\"%s\": \"ssm_cfg\" is missing", source);
        status = mixer_config_read(&config->layers[i].mixer, kind, sizes, &host, MIXER_APRIEL_H1,
                                   source);
        if (status) return status;
    }
    return STATUS_OK;
}

/* {"bias": {"enabled": …}} of one projection, else the block's add_linear_biases. */
static bool projection_bias(const struct json *owner, const char *layer) {
    const struct json *bias = js_member(js_member(owner, layer), "bias");
    return js_bool_or(js_member(bias, "enabled"),
                      js_bool_or(js_member(owner, "add_linear_biases"), false));
}

static enum status parse_rotary(struct model_config *config, const struct json *rotary,
                                const char *source) {
    struct rope_config *rope = &config->rope;
    const char *type = js_string_or(js_member(rotary, "type"), "missing");
    rope->attention_factor = 1;
    enum status status = config_get_positive(&rope->theta, rotary, "theta", 0, source);
    if (!status && rope->theta <= 1)
        status = status_fail("\"%s\": rotary \"theta\" must be greater than 1, found %g", source,
                             rope->theta);
    if (status) return status;
    if (strcmp(type, "mistral_1d") == 0 || strcmp(type, "default") == 0) return STATUS_OK;
    if (strcmp(type, "linear") == 0)
        rope->kind = ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        rope->kind = ROPE_LLAMA3;
    else if (strcmp(type, "yarn") == 0)
        rope->kind = ROPE_YARN;
    else
        return status_fail("\"%s\": rotary type \"%s\" is not supported (mistral_1d, linear, "
                           "llama3 or yarn)",
                           source, type);
    status = config_get_positive(&rope->factor, rotary, "scale_factor", 8, source);
    if (!status && rope->kind != ROPE_LINEAR)
        status = config_get_positive(&rope->original_max_position, rotary,
                                     "original_context_length", 8192, source);
    if (!status && rope->kind == ROPE_LLAMA3) {
        status =
            config_get_positive(&rope->low_freq_factor, rotary, "low_frequency_factor", 1, source);
        if (!status)
            status = config_get_positive(&rope->high_freq_factor, rotary, "high_frequency_factor",
                                         4, source);
        if (!status && rope->high_freq_factor <= rope->low_freq_factor)
            status = status_fail("\"%s\": \"high_frequency_factor\" must be above "
                                 "\"low_frequency_factor\"",
                                 source);
    }
    if (status || rope->kind != ROPE_YARN) return status;
    double usual = rope->factor <= 1 ? 1 : 0.1 * log(rope->factor) + 1;
    status =
        config_get_positive(&rope->attention_factor, rotary, "attention_factor", usual, source);
    if (!status) status = config_get_positive(&rope->beta_fast, rotary, "beta_fast", 32, source);
    if (!status) status = config_get_positive(&rope->beta_slow, rotary, "beta_slow", 1, source);
    if (!status) status = config_get_bool(&rope->truncate, rotary, "truncate", true, source);
    return status;
}

static enum status parse_norm(double *epsilon, const struct json *norm, const char *source) {
    const char *type = js_string_or(js_member(norm, "type"), "rms_norm");
    if (strcmp(type, "rms_norm") != 0)
        return status_fail("\"%s\": normalization \"%s\" is not supported; only rms_norm is",
                           source, type);
    return config_get_positive(epsilon, norm, "epsilon", 1e-5, source);
}

/* Of each query and each key head, each with an epsilon of its own. */
static enum status parse_head_norms(struct model_config *config, const struct json *mixer,
                                    const char *source) {
    const struct json *query = js_member(mixer, "query_norm"), *key = js_member(mixer, "key_norm");
    config->qk_norm = query && key;
    config->q_norm_eps = config->k_norm_eps = 0;
    if (!query && !key) return STATUS_OK;
    if (!config->qk_norm || !js_is_string(js_member(query, "type")) ||
        !js_is_string(js_member(key, "type")))
        return status_fail("\"%s\": \"query_norm\" and \"key_norm\" must both be rms_norm or be "
                           "left out",
                           source);
    enum status status = parse_norm(&config->q_norm_eps, query, source);
    return status ? status : parse_norm(&config->k_norm_eps, key, source);
}

/* What all mixers of a model that compute attention share. */
static enum status parse_attention(struct model_config *config, const struct json *mixer,
                                   const char *source) {
    enum status status =
        config_get_int(&config->n_heads, mixer, "heads", 1, CONFIG_MAX_SIZE, -1, source);
    if (!status)
        status = config_get_int(&config->n_kv_heads, mixer, "head_groups", 1, CONFIG_MAX_SIZE,
                                config->n_heads, source);
    if (!status)
        status = config_get_int(&config->head_dim, mixer, "head_size", 2, 1 << 16, -1, source);
    if (!status && !js_bool_or(js_member(mixer, "causal"), true))
        status = status_fail("\"%s\": \"causal\": attention that is not causal is not supported",
                             source);
    if (status) return status;
    config->q_bias = projection_bias(mixer, "query_layer");
    config->k_bias = projection_bias(mixer, "key_layer");
    config->v_bias = projection_bias(mixer, "value_layer");
    config->o_bias = projection_bias(mixer, "dense_layer");
    status = parse_head_norms(config, mixer, source);
    if (status) return status;
    return parse_rotary(config, js_member(mixer, "rotary"), source);
}

static enum status parse_mlp(struct model_config *config, const struct json *mlp,
                             const char *source) {
    const char *type = js_string_or(js_member(mlp, "type"), "mlp");
    const char *activation = js_string_or(js_member(mlp, "activation"), "missing");
    if (strcmp(type, "mlp") != 0)
        return status_fail("\"%s\": mlp type \"%s\" is not supported", source, type);
    if (strcmp(activation, "silu") != 0 && strcmp(activation, "swish") != 0)
        return status_fail("\"%s\": mlp \"activation\" is \"%s\"; only silu is supported", source,
                           activation);
    if (!js_bool_or(js_member(mlp, "gated"), false))
        return status_fail("\"%s\": an mlp that is not \"gated\" is not supported", source);
    config->mlp_bias = projection_bias(mlp, "layer_1");
    if (projection_bias(mlp, "layer_2") != config->mlp_bias)
        return status_fail("\"%s\": a bias on one mlp layer only is not supported", source);
    return config_get_int(&config->intermediate_size, mlp, "intermediate_size", 1, CONFIG_MAX_SIZE,
                          -1, source);
}

/* Members of Fast-LLM's blocks that change what is computed, with the values that do not. Its
 * weights may be zero-centred, blocks may have norms of other kinds and places, and so on. */
static enum status refuse_others(const struct json *object, const char *const *keys, int count,
                                 const char *source) {
    for (int i = 0; i < count; i++) {
        const struct json *value = js_member(object, keys[i]);
        bool off = !value || (js_is_bool(value) && !js_bool_or(value, true)) ||
                   (js_is_object(value) && js_has(value, "enabled") &&
                    !js_bool_or(js_member(value, "enabled"), false));
        if (!off) return status_fail("\"%s\": \"%s\" is not supported", source, keys[i]);
    }
    return STATUS_OK;
}

static enum status refuse_in_block(const struct json *block, const char *source) {
    static const char *const of_block[] = {"pre_mixer_normalization", "pre_mlp_normalization",
                                           "post_mixer_normalization", "post_mlp_normalization",
                                           "output_scale"};
    static const char *const of_attention[] = {"value_norm", "shared_key_value"};
    static const char *const of_mlp[] = {"pre_norm", "post_norm"};
    static const char *const of_norm[] = {"zero_centered"};
    const struct json *mixer = js_member(block, "mixer");
    double power = js_number_or(js_member(mixer, "softmax_scale_power"), 0.5);
    enum status status = refuse_others(block, of_block, 5, source);
    if (!status) status = refuse_others(mixer, of_attention, 2, source);
    if (!status) status = refuse_others(js_member(block, "mlp"), of_mlp, 2, source);
    if (!status) status = refuse_others(js_member(block, "normalization"), of_norm, 1, source);
    if (!status) status = refuse_others(js_member(mixer, "query_norm"), of_norm, 1, source);
    if (!status) status = refuse_others(js_member(mixer, "key_norm"), of_norm, 1, source);
    if (!status && power != 0.5)
        status = status_fail("\"%s\": \"softmax_scale_power\" is %g; only 0.5 is supported", source,
                             power);
    return status;
}

static enum status parse_mixer(struct model_config *config, struct layer_config *layer,
                               const struct json *mixer, const char *name, const char *source) {
    char types[TYPES_SIZE];
    const char *type = js_string_or(js_member(mixer, "type"), "missing");
    const struct mixer_kind *kind = mixer_kind_of_type(MIXER_APRIEL2, type, name);
    if (!kind)
        return status_fail("\"%s\": mixer type \"%s\" is not supported (%s)", source, type,
                           list_types(types, MIXER_APRIEL2));
    enum status status = kind->attends ? parse_attention(config, mixer, source) : STATUS_OK;
    const struct mixer_host host = config_host(config);
    if (!status)
        status = mixer_config_read(&layer->mixer, kind, mixer, &host, MIXER_APRIEL2, source);
    return status;
}

static enum status parse_block(struct model_config *config, struct layer_config *layer,
                               const struct json *block, const char *name, const char *source) {
    enum status status = refuse_in_block(block, source);
    if (!status) /* before the mixer, whose own norm has the same epsilon */
        status = parse_norm(&config->rms_norm_eps, js_member(block, "normalization"), source);
    if (!status) status = parse_mixer(config, layer, js_member(block, "mixer"), name, source);
    if (!status) status = parse_mlp(config, js_member(block, "mlp"), source);
    return status;
}

/* Blocks may differ in their mixers; the rest is one for the whole model. */
static bool same_model(const struct model_config *a, const struct model_config *b,
                       bool both_attend) {
    bool same = a->intermediate_size == b->intermediate_size &&
                a->rms_norm_eps == b->rms_norm_eps && a->mlp_bias == b->mlp_bias;
    if (!both_attend) return same;
    const struct rope_config *ra = &a->rope, *rb = &b->rope;
    return same && a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads &&
           a->head_dim == b->head_dim && a->q_bias == b->q_bias && a->k_bias == b->k_bias &&
           a->v_bias == b->v_bias && a->o_bias == b->o_bias && a->qk_norm == b->qk_norm &&
           a->q_norm_eps == b->q_norm_eps && a->k_norm_eps == b->k_norm_eps &&
           ra->kind == rb->kind && ra->theta == rb->theta && ra->factor == rb->factor &&
           ra->low_freq_factor == rb->low_freq_factor &&
           ra->high_freq_factor == rb->high_freq_factor &&
           ra->original_max_position == rb->original_max_position &&
           ra->beta_fast == rb->beta_fast && ra->beta_slow == rb->beta_slow &&
           ra->attention_factor == rb->attention_factor && ra->truncate == rb->truncate;
}

/* The block of layer `i`: the only one, or by the repeated pattern of names (`*name`). */
static enum status find_block(const struct json **out, const char **name,
                              const struct json *decoder, int i, const char *source) {
    *name = NULL;
    const char *type = js_string_or(js_member(decoder, "type"), "fixed");
    if (strcmp(type, "fixed") == 0) {
        *out = js_member(decoder, "block");
        if (js_is_object(*out)) return STATUS_OK;
        return status_fail("\"%s\": decoder: \"block\" is missing", source);
    }
    if (strcmp(type, "pattern") != 0)
        return status_fail("\"%s\": decoder type \"%s\" is not supported (fixed or pattern)",
                           source, type);
    const struct json *pattern = js_member(decoder, "pattern");
    size_t length = js_is_array(pattern) ? js_count(pattern) : 0;
    if (!length) return status_fail("\"%s\": decoder: \"pattern\" is missing or empty", source);
    *name = js_string_or(js_element(pattern, (size_t)i % length), "");
    *out = js_member(js_member(decoder, "blocks"), *name);
    if (js_is_object(*out)) return STATUS_OK;
    return status_fail("\"%s\": decoder: layer %d is block \"%s\", which \"blocks\" does not have",
                       source, i, *name);
}

static enum status parse_decoder(struct model_config *config, const struct json *decoder,
                                 const char *source) {
    int n_layers = 0;
    bool attends = false;
    enum status status =
        config_get_int(&n_layers, decoder, "num_blocks", 1, CONFIG_MAX_LAYERS, -1, source);
    if (!status) status = config_allocate_layers(config, n_layers);
    for (int i = 0; i < n_layers && !status; i++) {
        const struct json *block = NULL;
        const char *name;
        struct model_config before = *config;
        status = find_block(&block, &name, decoder, i, source);
        if (!status) status = parse_block(config, &config->layers[i], block, name, source);
        if (status) return status;
        bool attention = config->layers[i].mixer.kind->attends;
        if (i > 0 && !same_model(&before, config, attends && attention))
            return status_fail("\"%s\": the block of layer %d differs from those before it in more "
                               "than its mixer; that is not supported",
                               source, i);
        attends = attends || attention;
    }
    return status;
}

enum status config_parse_apriel2(struct model_config *config, const struct json *json,
                                 const char *source) {
    double final_eps = 0;
    enum status status =
        config_get_int(&config->hidden_size, json, "hidden_size", 1, CONFIG_MAX_SIZE, -1, source);
    if (!status)
        status =
            config_get_int(&config->vocab_size, json, "vocab_size", 1, CONFIG_MAX_SIZE, -1, source);
    if (!status)
        status = config_get_bool(&config->tie_word_embeddings, json, "tie_word_embeddings", false,
                                 source);
    if (!status)
        status = config_get_int(&config->max_position_embeddings, js_member(json, "embeddings"),
                                "max_position_embeddings", 1, INT32_MAX, 0, source);
    if (status) return status;
    config->rope.attention_factor = 1;
    const struct json *decoder = js_member(json, "decoder");
    if (!js_is_object(decoder)) return status_fail("\"%s\": \"decoder\" is missing", source);
    status = parse_decoder(config, decoder, source);
    if (!status)
        status =
            parse_norm(&final_eps, js_member(js_member(json, "head"), "normalization"), source);
    if (!status && final_eps != config->rms_norm_eps)
        status = status_fail("\"%s\": the final norm's epsilon %g differs from the blocks' %g; "
                             "that is not supported",
                             source, final_eps, config->rms_norm_eps);
    return status;
}
