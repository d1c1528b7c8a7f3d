#include "checkpoint/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "checkpoint/config_parse.h"
#include "mixers/sizes.h"

/* Class defaults of transformers 5.17; what a released config.json leaves out, this decides. */
const struct config_family_facts config_families[FAMILY_COUNT] = {
    [FAMILY_LLAMA] = {.architecture = "LlamaForCausalLM",
                      .layers = "model.layers",
                      .model_type = "llama",
                      .reads_attention_bias = true,
                      .reads_mlp_bias = true},
    [FAMILY_MISTRAL] = {.architecture = "MistralForCausalLM",
                        .layers = "model.layers",
                        .model_type = "mistral",
                        .default_kv_heads = 8,
                        .default_window = 4096},
    [FAMILY_QWEN2] = {.architecture = "Qwen2ForCausalLM",
                      .layers = "model.layers",
                      .model_type = "qwen2",
                      .default_kv_heads = 32,
                      .qkv_bias = true},
    [FAMILY_QWEN3] = {.architecture = "Qwen3ForCausalLM",
                      .layers = "model.layers",
                      .model_type = "qwen3",
                      .default_kv_heads = 32,
                      .default_head_dim = 128,
                      .reads_attention_bias = true,
                      .qk_norm = true},
    [FAMILY_APRIEL_H1] = {.architecture = "AprielHybridSSMForCausalLM",
                          .layers = "model.layers",
                          .model_type = "apriel_hybrid_ssm",
                          .default_kv_heads = 8,
                          .default_window = 4096},
    [FAMILY_APRIEL2] = {.architecture = "Apriel2ForCausalLM",
                        .model_type = "apriel2_text",
                        .format = MIXER_APRIEL2,
                        .layers = "model.decoder.blocks"},
    [FAMILY_GRANITE] = {.architecture = "GraniteMoeHybridForCausalLM",
                        .model_type = "granitemoehybrid",
                        .format = MIXER_GRANITE,
                        .reads_attention_bias = true,
                        .layers = "model.layers"},
    [FAMILY_QWEN35] = {.architecture = "Qwen3_5ForCausalLM",
                       .model_type = "qwen3_5_text",
                       .format = MIXER_QWEN35,
                       .default_kv_heads = 4,
                       .default_head_dim = 256,
                       .qk_norm = true,
                       .layers = "model.layers"},
};

enum status config_get_int(int *out, const struct json *object, const char *key, int low, int high,
                           int fallback, const char *source) {
    if (!js_member(object, key) && fallback >= 0) {
        *out = fallback;
        return STATUS_OK;
    }
    int64_t value;
    enum status status = js_get_integer(&value, object, key, low, high, source);
    if (!status) *out = (int)value;
    return status;
}

enum status config_get_positive(double *out, const struct json *object, const char *key,
                                double fallback, const char *source) {
    if (!js_member(object, key) && fallback > 0) {
        *out = fallback;
        return STATUS_OK;
    }
    double value;
    enum status status = js_get_number(&value, object, key, source);
    if (status) return status;
    if (!(value > 0) || !isfinite(value))
        return status_fail("\"%s\": \"%s\" must be greater than 0, found %g", source, key, value);
    *out = value;
    return STATUS_OK;
}

enum status config_get_bool(bool *out, const struct json *object, const char *key, bool fallback,
                            const char *source) {
    const struct json *value = js_member(object, key);
    if (value && !js_is_bool(value))
        return status_fail("\"%s\": \"%s\" must be true or false", source, key);
    *out = js_bool_or(value, fallback);
    return STATUS_OK;
}

enum status config_refuse_null(const struct json *object, const char *key, const char *source) {
    if (!js_has(object, key) || js_member(object, key)) return STATUS_OK;
    return status_fail("\"%s\": \"%s\" is null", source, key);
}

enum status config_allocate_layers(struct model_config *config, int n_layers) {
    config->layers = memory_calloc((size_t)n_layers, sizeof *config->layers);
    config->n_layers = n_layers;
    for (int i = 0; config->layers && i < n_layers; i++)
        config->layers[i].mixer.kind = mixer_kinds[0];
    return config->layers ? STATUS_OK : STATUS_FAILED;
}

/* "LlamaForCausalLM", or "LlamaModel" of a file that was saved without its head. */
static bool is_class_of(const struct config_family_facts *facts, const char *name) {
    size_t stem = strlen(facts->architecture) - strlen("ForCausalLM");
    return strcmp(name, facts->architecture) == 0 ||
           (strncmp(name, facts->architecture, stem) == 0 && strcmp(name + stem, "Model") == 0);
}

/* The family comes from "architectures"; "model_type" must agree where it is given. */
static enum status find_family(enum config_family *out, const struct json *json,
                               const char *source) {
    const struct json *list = js_member(json, "architectures");
    const char *name = js_string_or(js_element(list, 0), NULL);
    const char *type = js_string_or(js_member(json, "model_type"), NULL);
    /* a Ministral is a Mistral with layer_types */
    if (name && strcmp(name, "MinistralForCausalLM") == 0) name = "MistralForCausalLM";
    if (type && strcmp(type, "ministral") == 0) type = "mistral";
    if (!name && !type)
        return status_fail("\"%s\": neither \"architectures\" nor \"model_type\" says what the "
                           "model is",
                           source);
    for (int i = 0; i < FAMILY_COUNT; i++) {
        const struct config_family_facts *facts = &config_families[i];
        if (name ? !is_class_of(facts, name) : strcmp(type, facts->model_type) != 0) continue;
        if (type && strcmp(type, facts->model_type) != 0)
            return status_fail("\"%s\": \"model_type\" is \"%s\", but architecture \"%s\" has "
                               "\"%s\"",
                               source, type, name, facts->model_type);
        *out = (enum config_family)i;
        return STATUS_OK;
    }
    return status_fail("\"%s\": architecture \"%s\" is not supported (LlamaForCausalLM, "
                       "MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, "
                       "AprielHybridSSMForCausalLM, Apriel2ForCausalLM, "
                       "GraniteMoeHybridForCausalLM or Qwen3_5ForCausalLM)",
                       source, name ? name : type);
}

/* Keys of related models that change what is computed. They may be present with the value that
 * changes nothing. */
static const struct {
    const char *key;
    const char *reason;
} unsupported[] = {
    {"quantization_config", "quantized weights are not supported; convert them to BF16 first"},
    {"attn_logit_softcapping", "attention logit soft-capping is not supported"},
    {"attention_logit_softcapping", "attention logit soft-capping is not supported"},
    {"final_logit_softcapping", "logit soft-capping is not supported"},
    {"num_local_experts", "mixtures of experts are not supported"},
    {"num_experts", "mixtures of experts are not supported"},
    {"n_routed_experts", "mixtures of experts are not supported"},
    {"no_rope_layers", "layers without rope are not supported"},
    {"attention_chunk_size", "chunked attention is not supported"},
    {"use_bidirectional_attention", "attention that is not causal is not supported"},
    {"vision_config", "models with a vision tower are not supported"},
    {"vision_encoder", "models with a vision tower are not supported"},
    {"text_config", "nested text configs are not supported; give the text model's own config"},
};

static bool changes_nothing(const struct json *value) {
    if (!value) return true; /* absent or null */
    if (js_is_bool(value)) return !js_bool_or(value, true);
    if (js_is_number(value)) return js_number_or(value, 1) == 0;
    return (js_is_array(value) || js_is_object(value)) && js_count(value) == 0;
}

/* A flag a layer, 1 for rope: all of them are what every layer has anyway. */
static bool all_ones(const struct json *list) {
    if (!js_is_array(list)) return false;
    for (size_t i = 0; i < js_count(list); i++)
        if (js_integer_or(js_element(list, i), 0) != 1) return false;
    return true;
}

static enum status refuse_unsupported(const struct json *json, const char *source) {
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (!changes_nothing(js_member(json, unsupported[i].key)) &&
            !(strcmp(unsupported[i].key, "no_rope_layers") == 0 &&
              all_ones(js_member(json, "no_rope_layers"))))
            return status_fail("\"%s\": \"%s\": %s", source, unsupported[i].key,
                               unsupported[i].reason);
    const struct json *causal = js_member(json, "is_causal");
    if (causal && !js_bool_or(causal, false))
        return status_fail("\"%s\": \"is_causal\": attention that is not causal is not supported",
                           source);
    static const char *const activation_keys[] = {"hidden_act", "hidden_activation"};
    enum status status = config_refuse_null(json, "hidden_act", source);
    if (status) return status;
    for (int i = 0; i < 2; i++) {
        const struct json *value = js_member(json, activation_keys[i]);
        const char *name = js_string_or(value, value ? "of another kind" : "silu");
        if (strcmp(name, "silu") != 0 && strcmp(name, "swish") != 0)
            return status_fail("\"%s\": \"%s\" is \"%s\"; only silu is supported", source,
                               activation_keys[i], name);
    }
    return STATUS_OK;
}

static enum status parse_dtype(struct model_config *config, const struct json *json,
                               const char *source) {
    static const struct {
        const char *name;
        enum dtype dtype;
    } names[] = {{"bfloat16", DTYPE_BF16}, {"float16", DTYPE_F16}, {"float32", DTYPE_F32}};
    const struct json *value = js_member(json, "dtype");
    if (!value) value = js_member(json, "torch_dtype");
    config->dtype = DTYPE_BF16;
    if (!value) return STATUS_OK;
    const char *text = js_string_or(value, "of another kind");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i].name) == 0) {
            config->dtype = names[i].dtype;
            return STATUS_OK;
        }
    return status_fail("\"%s\": dtype \"%s\" is not supported (bfloat16, float16 or float32)",
                       source, text);
}

static enum status parse_special_tokens(struct model_config *config, const struct json *json,
                                        const char *source) {
    const struct json *eos = js_member(json, "eos_token_id");
    size_t count = js_is_array(eos) ? js_count(eos) : eos != NULL;
    if (count > CONFIG_MAX_EOS)
        return status_fail("\"%s\": \"eos_token_id\" lists %zu tokens; %d are supported", source,
                           count, CONFIG_MAX_EOS);
    for (size_t i = 0; i < count; i++) {
        const struct json *value = js_is_array(eos) ? js_element(eos, i) : eos;
        int64_t id = js_integer_or(value, INT64_MIN);
        if (id == -1) continue; /* some exports write -1 for none */
        if (id < 0 || id > INT32_MAX)
            return status_fail("\"%s\": \"eos_token_id\" must be token numbers", source);
        config->eos_token_ids[config->n_eos++] = (int)id;
    }
    int64_t bos = js_integer_or(js_member(json, "bos_token_id"), -1);
    config->bos_token_id = bos >= 0 && bos <= INT32_MAX ? (int)bos : -1;
    return STATUS_OK;
}

enum status config_check_shapes(const struct model_config *config, const char *source) {
    if (config->n_heads && config->n_heads % config->n_kv_heads)
        return status_fail("\"%s\": %d key/value heads do not divide %d query heads", source,
                           config->n_kv_heads, config->n_heads);
    if (config->head_dim % 2)
        return status_fail("\"%s\": head_dim %d is odd; rope needs pairs", source,
                           config->head_dim);
    if ((int64_t)config->n_heads * config->head_dim > CONFIG_MAX_SIZE)
        return status_fail("\"%s\": %d heads of %d are too large", source, config->n_heads,
                           config->head_dim);
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_sizes *mixer = &config->layers[i].mixer;
        enum status status = mixer->kind->check ? mixer->kind->check(mixer, source, i) : STATUS_OK;
        if (status) return status;
    }
    return STATUS_OK;
}

/* Absurd factors overflow; such a model would compute NaN from its first token on. */
static enum status check_rope(const struct model_config *config, const char *source) {
    double factor = 1, *inv_freq;
    bool good = true;
    if (!config->n_heads) return STATUS_OK;
    inv_freq = memory_calloc((size_t)config->head_dim / 2, sizeof *inv_freq);
    if (!inv_freq) return STATUS_FAILED;
    rope_frequencies(config, inv_freq, &factor);
    for (int i = 0; i < config->head_dim / 2; i++) good = good && isfinite(inv_freq[i]);
    free(inv_freq);
    if (good && isfinite(factor)) return STATUS_OK;
    return status_fail("\"%s\": the rope settings give frequencies that are not finite", source);
}

enum status config_parse(struct model_config **out, const struct json *json, const char *source) {
    struct model_config *config = NULL;
    enum status status = STATUS_OK;
    if (!js_is_object(json)) return status_fail("\"%s\" is not a JSON object", source);
    config = memory_calloc(1, sizeof *config);
    if (!config) return STATUS_FAILED;
    status = find_family(&config->family, json, source);
    if (!status) status = refuse_unsupported(json, source);
    if (!status) status = parse_dtype(config, json, source);
    if (!status) status = parse_special_tokens(config, json, source);
    if (!status) {
        if (config->family == FAMILY_APRIEL2)
            status = config_parse_apriel2(config, json, source);
        else if (config->family == FAMILY_APRIEL_H1)
            status = config_parse_apriel_h1(config, json, source);
        else if (config->family == FAMILY_GRANITE)
            status = config_parse_granite(config, json, source);
        else if (config->family == FAMILY_QWEN35)
            status = config_parse_qwen35(config, json, source);
        else
            status = config_parse_llama(config, json, source);
    }
    if (!status) status = config_check_shapes(config, source);
    if (!status) status = check_rope(config, source);
    if (status) {
        config_free(config);
        return status;
    }
    *out = config;
    return STATUS_OK;
}

enum status config_read(struct model_config **out, const char *path) {
    struct json *json;
    enum status status = js_read(&json, path);
    if (status) return status;
    status = config_parse(out, json, path);
    js_free(json);
    return status;
}

enum status config_copy(struct model_config **out, const struct model_config *config) {
    struct model_config *copy = memory_calloc(1, sizeof *copy);
    if (!copy) return STATUS_FAILED;
    *copy = *config;
    copy->layers = NULL;
    if (config_allocate_layers(copy, config->n_layers)) {
        config_free(copy);
        return STATUS_FAILED;
    }
    memcpy(copy->layers, config->layers, (size_t)config->n_layers * sizeof *copy->layers);
    *out = copy;
    return STATUS_OK;
}

enum status config_new(struct model_config **out, int n_layers) {
    struct model_config *config = memory_calloc(1, sizeof *config);
    if (!config) return STATUS_FAILED;
    if (config_allocate_layers(config, n_layers)) {
        config_free(config);
        return STATUS_FAILED;
    }
    *out = config;
    return STATUS_OK;
}

void config_free(struct model_config *config) {
    if (!config) return;
    free(config->layers);
    free(config);
}

const char *config_architecture(const struct model_config *config) {
    return config_families[config->family].architecture;
}

const char *config_model_type(const struct model_config *config) {
    return config_families[config->family].model_type;
}

bool config_is_attention(const struct model_config *config, int layer) {
    return mixer_is_attention(&config->layers[layer].mixer);
}

int config_attention_layers(const struct model_config *config) {
    int count = 0;
    for (int i = 0; i < config->n_layers; i++) count += config_is_attention(config, i);
    return count;
}

bool config_any_attends(const struct model_config *config) {
    for (int i = 0; i < config->n_layers; i++)
        if (config->layers[i].mixer.kind->attends) return true;
    return false;
}

const struct mixer_kind *config_kind_without(const struct model_config *config,
                                             enum mixer_format format) {
    for (int i = 0; i < config->n_layers; i++)
        if (!config->layers[i].mixer.kind->type[format]) return config->layers[i].mixer.kind;
    return NULL;
}

struct mixer_host config_host(const struct model_config *config) {
    return (struct mixer_host){.hidden = config->hidden_size,
                               .intermediate = config->intermediate_size,
                               .heads = config->n_heads,
                               .kv_heads = config->n_kv_heads,
                               .head_dim = config->head_dim,
                               .norm_eps = config->rms_norm_eps,
                               .q_bias = config->q_bias,
                               .k_bias = config->k_bias,
                               .v_bias = config->v_bias,
                               .o_bias = config->o_bias,
                               .qk_norm = config->qk_norm,
                               .q_norm_eps = config->q_norm_eps,
                               .k_norm_eps = config->k_norm_eps};
}

/* What sizes that are not asked for are taken from: the model's first mixer of the kind, or NULL.
 */
static const struct mixer_sizes *find_kind(const struct model_config *config,
                                           const struct mixer_kind *kind) {
    for (int i = 0; i < config->n_layers; i++)
        if (config->layers[i].mixer.kind == kind) return &config->layers[i].mixer;
    return NULL;
}

enum status config_mixer_for(struct mixer_sizes *out, const struct model_config *config,
                             const struct mixer_sizes *asked) {
    const struct mixer_host host = config_host(config);
    if (!config->n_heads)
        return status_set(STATUS_USAGE, "the model has no attention layer to replace");
    return mixer_sizes_new(out, asked, find_kind(config, asked->kind), &host);
}
