/* config.json of the four transformer families, and of Apriel-H1, which extends Mistral's. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/config_parse.h"
#include "mixers/attention/attention.h"
#include "mixers/window/window.h"

static enum status parse_heads(struct model_config *config, const struct json *json,
                               const struct config_family_facts *facts, const char *source) {
    enum status status = config_get_int(&config->n_heads, json, "num_attention_heads", 1,
                                        CONFIG_MAX_SIZE, -1, source);
    if (status) return status;
    /* null is the older files' word for as many as query heads; only an absent key means the
     * class default */
    bool stated = js_has(json, "num_key_value_heads");
    int kv_heads = facts->default_kv_heads && !stated ? facts->default_kv_heads : config->n_heads;
    status = config_get_int(&config->n_kv_heads, json, "num_key_value_heads", 1, CONFIG_MAX_SIZE,
                            kv_heads, source);
    if (status) return status;
    int head_dim = facts->default_head_dim;
    if (head_dim) status = config_refuse_null(json, "head_dim", source);
    if (status) return status;
    if (!head_dim && !js_member(json, "head_dim") && config->hidden_size % config->n_heads)
        return status_fail("\"%s\": \"num_attention_heads\" %d does not divide \"hidden_size\" %d, "
                           "and there is no \"head_dim\"",
                           source, config->n_heads, config->hidden_size);
    if (!head_dim) head_dim = config->hidden_size / config->n_heads;
    return config_get_int(&config->head_dim, json, "head_dim", 2, 1 << 16,
                          head_dim > 1 ? head_dim : -1, source);
}

static enum status parse_sizes(struct model_config *config, const struct json *json,
                               const char *source) {
    const struct {
        const char *key;
        int *target;
    } sizes[] = {{"hidden_size", &config->hidden_size},
                 {"intermediate_size", &config->intermediate_size},
                 {"vocab_size", &config->vocab_size}};
    enum status status = STATUS_OK;
    for (int i = 0; i < 3 && !status; i++)
        status =
            config_get_int(sizes[i].target, json, sizes[i].key, 1, CONFIG_MAX_SIZE, -1, source);
    if (!status)
        status = config_get_int(&config->max_position_embeddings, json, "max_position_embeddings",
                                1, INT32_MAX, 0, source);
    if (!status) status = config_refuse_null(json, "rms_norm_eps", source);
    if (!status)
        status = config_get_positive(&config->rms_norm_eps, json, "rms_norm_eps", 1e-6, source);
    config->q_norm_eps = config->k_norm_eps = config->rms_norm_eps;
    if (!status)
        status = config_get_bool(&config->tie_word_embeddings, json, "tie_word_embeddings", false,
                                 source);
    return status;
}

static enum status parse_biases(struct model_config *config, const struct json *json,
                                const struct config_family_facts *facts, const char *source) {
    bool attention = false, mlp = false;
    enum status status = STATUS_OK;
    if (facts->reads_attention_bias)
        status = config_get_bool(&attention, json, "attention_bias", false, source);
    if (!status && facts->reads_mlp_bias)
        status = config_get_bool(&mlp, json, "mlp_bias", false, source);
    config->q_bias = config->k_bias = config->v_bias = attention || facts->qkv_bias;
    config->o_bias = attention;
    config->mlp_bias = mlp;
    config->qk_norm = facts->qk_norm;
    return status;
}

/* The window each family gives layer `i` when "layer_types" does not say. */
static enum status default_window(int *window, int *first_layer, const struct json *json,
                                  const struct model_config *config, const char *source) {
    const struct config_family_facts *facts = &config_families[config->family];
    *window = *first_layer = 0;
    bool stock = config->family == FAMILY_GRANITE || config->family == FAMILY_QWEN35;
    if (config->family == FAMILY_LLAMA || stock) return STATUS_OK; /* they do not read the key */
    bool qwen = config->family == FAMILY_QWEN2 || config->family == FAMILY_QWEN3;
    bool used = !qwen;
    enum status status = STATUS_OK;
    if (qwen) {
        status = config_get_bool(&used, json, "use_sliding_window", false, source);
        if (!status) status = config_refuse_null(json, "max_window_layers", source);
        if (!status)
            status =
                config_get_int(first_layer, json, "max_window_layers", 0, INT32_MAX, 28, source);
    }
    if (status || !used) return status;
    /* null means none; an absent key means the class default */
    int fallback = js_has(json, "sliding_window") ? 0 : qwen ? 4096 : facts->default_window;
    return config_get_int(window, json, "sliding_window", 1, INT32_MAX, fallback, source);
}

/* Every layer is attention so far. */
static int64_t *window_at(struct model_config *config, int layer) {
    return &config->layers[layer].mixer.value[ATTENTION_WINDOW];
}

static enum status apply_layer_types(struct model_config *config, const struct json *types,
                                     int window, const char *source) {
    if (!js_is_array(types) || js_count(types) != (size_t)config->n_layers)
        return status_fail("\"%s\": \"layer_types\" must list %d layers", source, config->n_layers);
    /* AutoConfig takes a Mistral file with this key for a Ministral, which reads it */
    bool own = config->family != FAMILY_LLAMA;
    for (int i = 0; i < config->n_layers; i++) {
        const char *type = js_string_or(js_element(types, (size_t)i), "");
        bool sliding = strcmp(type, "sliding_attention") == 0;
        if (!sliding && strcmp(type, "full_attention") != 0)
            return status_fail("\"%s\": \"layer_types\": \"%s\" in layer %d is not supported "
                               "(full_attention or sliding_attention)",
                               source, type, i);
        if (!own && sliding != (*window_at(config, i) > 0))
            return status_fail("\"%s\": \"layer_types\" says %s for layer %d, but %s does not read "
                               "it and would do otherwise",
                               source, type, i, config_architecture(config));
        if (sliding && !window)
            return status_fail("\"%s\": \"layer_types\" asks for a sliding window in layer %d, but "
                               "none is given or used",
                               source, i);
        *window_at(config, i) = sliding ? window : 0;
    }
    return STATUS_OK;
}

/* What convert writes of windows that took an attention's place. */
static enum status mark_replaced(struct model_config *config, const struct json *json,
                                 const char *source) {
    const struct json *list = js_member(json, "replaced_layers");
    for (size_t i = 0; i < js_count(list); i++) {
        int64_t layer = js_integer_or(js_element(list, i), -1);
        if (layer < 0 || layer >= config->n_layers || !*window_at(config, (int)layer))
            return status_fail("\"%s\": \"replaced_layers\": layer %lld has no window", source,
                               (long long)layer);
        config->layers[layer].mixer.kind = &window_kind;
    }
    return STATUS_OK;
}

static enum status parse_windows(struct model_config *config, const struct json *json,
                                 const char *source) {
    int window, first_layer;
    enum status status = default_window(&window, &first_layer, json, config, source);
    if (status) return status;
    for (int i = first_layer; i < config->n_layers; i++) *window_at(config, i) = window;
    const struct json *types = js_member(json, "layer_types");
    /* Apriel-H1's class writes it for vLLM, from the layout that it reads itself; the stock
     * hybrids' say which kind of mixer it is */
    if (config->family == FAMILY_APRIEL_H1 || config->family == FAMILY_GRANITE ||
        config->family == FAMILY_QWEN35)
        types = NULL;
    status = types ? apply_layer_types(config, types, window, source) : STATUS_OK;
    return status ? status : mark_replaced(config, json, source);
}

enum status config_parse_llama(struct model_config *config, const struct json *json,
                               const char *source) {
    const struct config_family_facts *facts = &config_families[config->family];
    int n_layers = 0;
    enum status status = parse_sizes(config, json, source);
    if (!status)
        status =
            config_get_int(&n_layers, json, "num_hidden_layers", 1, CONFIG_MAX_LAYERS, -1, source);
    if (!status) status = config_allocate_layers(config, n_layers);
    if (!status) status = parse_heads(config, json, facts, source);
    if (!status) status = parse_biases(config, json, facts, source);
    if (!status) status = parse_windows(config, json, source);
    if (!status) status = config_parse_rope(config, json, source);
    return status;
}
