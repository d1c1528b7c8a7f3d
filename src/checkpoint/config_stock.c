/* config.json of the stock architectures that hold hybrids: GraniteMoeHybrid without experts, and
 * Qwen3.5's text model. Both are Llama's keys, the kind of every layer, and the sizes of the
 * mixers that are not attention. */
#include <math.h>
#include <string.h>

#include "checkpoint/config_parse.h"
#include "mixers/sizes.h"

/* What transformers calls a format's types since 5.15; older programs know the format's own. */
static const char *own_word(const char *word, enum mixer_format format) {
    if (format != MIXER_GRANITE) return word;
    if (strcmp(word, "full_attention") == 0) return "attention";
    return strcmp(word, "linear_attention") == 0 ? "mamba" : word;
}

/* Every layer is attention so far. */
static enum status parse_layers(struct model_config *config, const struct json *json,
                                enum mixer_format format, const char *source) {
    const struct json *types = js_member(json, "layer_types");
    const struct mixer_host host = config_host(config);
    enum status status = STATUS_OK;
    if (!js_is_array(types) || js_count(types) != (size_t)config->n_layers)
        return status_fail("\"%s\": \"layer_types\" must list %d layers", source, config->n_layers);
    for (int i = 0; i < config->n_layers && !status; i++) {
        const char *word = js_string_or(js_element(types, (size_t)i), "");
        const struct mixer_kind *kind = mixer_kind_of_type(format, own_word(word, format), NULL);
        if (!kind)
            return status_fail("\"%s\": \"layer_types\": \"%s\" in layer %d is not supported",
                               source, word, i);
        if (kind == config->layers[i].mixer.kind) continue;
        status = mixer_config_read(&config->layers[i].mixer, kind, json, &host, format, source);
    }
    return status;
}

/* A factor that the class multiplies or divides by, which is 1 in what this program computes. */
static enum status need_number(const struct json *json, const char *key, double usual, double value,
                               const char *source) {
    double found = js_number_or(js_member(json, key), usual);
    if (fabs(found - value) <= 1e-6 * value) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" %g is not supported; only %g is", source, key, found, value);
}

static enum status need_word(const struct json *json, const char *key, const char *usual,
                             const char *word, const char *source) {
    const char *found = js_string_or(js_member(json, key), usual);
    if (strcmp(found, word) == 0) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" is \"%s\"; only %s is supported", source, key, found, word);
}

/* [0, Infinity]: a word that is no number, or {"__float__": "Infinity"} in newer files. */
static enum status need_open_limits(const struct json *json, const char *source) {
    const struct json *limits = js_member(json, "time_step_limit");
    if (!limits) return STATUS_OK;
    const struct json *high = js_element(limits, 1);
    const char *word = js_string_or(js_member(high, "__float__"), "");
    bool finite = js_is_number(high) || js_is_object(high) || js_is_string(high);
    bool open = high && (!finite || strcmp(word, "Infinity") == 0);
    if (js_number_or(js_element(limits, 0), 1) == 0 && open) return STATUS_OK;
    return status_fail("\"%s\": \"time_step_limit\": steps that are limited are not supported",
                       source);
}

/* Keys whose class defaults make another model than what is written here. */
static enum status need_keys(const struct json *json, const char *const *keys, const char *source) {
    for (; *keys; keys++)
        if (!js_member(json, *keys)) return status_fail("\"%s\": \"%s\" is missing", source, *keys);
    return STATUS_OK;
}

static enum status check_granite(const struct model_config *config, const struct json *json,
                                 const char *source) {
    static const char *const factors[] = {"embedding_multiplier", "residual_multiplier",
                                          "logits_scaling"};
    static const char *const needed[] = {"num_local_experts", "shared_intermediate_size",
                                         "mamba_proj_bias", "mamba_n_groups", NULL};
    enum status status = need_keys(json, needed, source);
    for (size_t i = 0; i < sizeof factors / sizeof *factors && !status; i++)
        status = need_number(json, factors[i], 1, 1, source);
    if (!status)
        status = need_number(json, "attention_multiplier", 1, 1 / sqrt((double)config->head_dim),
                             source);
    if (!status) status = need_word(json, "position_embedding_type", "none", "rope", source);
    if (!status) status = need_word(json, "normalization_function", "rmsnorm", "rmsnorm", source);
    return status ? status : need_open_limits(json, source);
}

enum status config_parse_granite(struct model_config *config, const struct json *json,
                                 const char *source) {
    enum status status = config_parse_llama(config, json, source);
    if (!status) status = check_granite(config, json, source);
    if (!status)
        status = config_get_int(&config->intermediate_size, json, "shared_intermediate_size", 1,
                                CONFIG_MAX_SIZE, -1, source);
    return status ? status : parse_layers(config, json, MIXER_GRANITE, source);
}

/* The part of each head that is rotated, a quarter by default. */
static enum status need_whole_rope(const struct json *json, const char *source) {
    const char *key = "partial_rotary_factor";
    const struct json *rules = js_member(json, "rope_parameters");
    const struct json *value = js_member(rules, key) ? js_member(rules, key) : js_member(json, key);
    if (js_number_or(value, 0.25) == 1) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" %g: rope on a part of each head is not supported", source,
                       key, js_number_or(value, 0.25));
}

enum status config_parse_qwen35(struct model_config *config, const struct json *json,
                                const char *source) {
    static const char *const biases[] = {"attention_bias", "qkv_bias"};
    enum status status = STATUS_OK;
    for (int i = 0; i < 2 && !status; i++) {
        bool biased = false;
        status = config_get_bool(&biased, json, biases[i], false, source);
        if (!status && biased)
            status = status_fail("\"%s\": \"%s\": attention biases beside an output gate are not "
                                 "supported",
                                 source, biases[i]);
    }
    if (!status) status = need_whole_rope(json, source);
    if (!status && !js_bool_or(js_member(json, "attn_output_gate"), true))
        status = status_fail("\"%s\": \"attn_output_gate\": false is not supported", source);
    if (!status) status = config_parse_llama(config, json, source);
    return status ? status : parse_layers(config, json, MIXER_QWEN35, source);
}
