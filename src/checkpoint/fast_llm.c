#include "checkpoint/fast_llm.h"

#include <string.h>

/* {"bias": {"enabled": …}} of one projection of a mixer. */
static struct json *with_bias(bool enabled) {
    struct json *bias = js_new_object(), *owner = js_new_object();
    js_set_bool(bias, "enabled", enabled);
    js_set(owner, "bias", bias);
    return owner;
}

/* "mistral_1d" is Apriel2's word for plain rope. */
static struct json *rotary(const struct rope_config *rope, enum mixer_format dialect) {
    static const char *const types[] = {
        [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3", [ROPE_YARN] = "yarn"};
    const char *plain = dialect == MIXER_APRIEL2 ? "mistral_1d" : "default";
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

/* What mixers that compute attention have beside what their kind says of them. */
static void set_attention(struct json *mixer, const struct model_config *config,
                          enum mixer_format dialect) {
    js_set_integer(mixer, "heads", config->n_heads);
    js_set_integer(mixer, "head_groups", config->n_kv_heads);
    js_set_integer(mixer, "head_size", config->head_dim);
    js_set(mixer, "rotary", rotary(&config->rope, dialect));
    js_set_bool(mixer, "add_linear_biases", false);
    js_set(mixer, "query_layer", with_bias(config->q_bias));
    js_set(mixer, "key_layer", with_bias(config->k_bias));
    js_set(mixer, "value_layer", with_bias(config->v_bias));
    js_set(mixer, "dense_layer", with_bias(config->o_bias));
}

static struct json *mixer_of(const struct model_config *config, const struct mixer_sizes *sizes,
                             enum mixer_format dialect) {
    const struct mixer_host host = config_host(config);
    struct json *mixer = js_new_object();
    js_set_string(mixer, "type", sizes->kind->type[dialect]);
    if (sizes->kind->attends) set_attention(mixer, config, dialect);
    mixer_config_write(mixer, sizes, &host, dialect);
    if (sizes->kind->attends && config->qk_norm) {
        js_set(mixer, "query_norm", fast_llm_norm(config->q_norm_eps));
        js_set(mixer, "key_norm", fast_llm_norm(config->k_norm_eps));
    }
    return mixer;
}

static struct json *block_of(const struct model_config *config, const struct layer_config *layer,
                             enum mixer_format dialect) {
    struct json *block = js_new_object(), *mlp = js_new_object();
    js_set(block, "mixer", mixer_of(config, &layer->mixer, dialect));
    js_set_string(mlp, "type", "mlp");
    js_set_integer(mlp, "intermediate_size", config->intermediate_size);
    js_set_string(mlp, "activation", "silu");
    js_set_bool(mlp, "gated", true);
    js_set_bool(mlp, "add_linear_biases", config->mlp_bias);
    js_set(block, "mlp", mlp);
    js_set(block, "normalization", fast_llm_norm(config->rms_norm_eps));
    return block;
}

/* Names of blocks tell some sets of sizes apart by themselves; the others are counted: how many
 * with this layer's name stand before its first equal. */
static int number_of(const struct model_config *config, int layer) {
    const struct mixer_sizes *mine = &config->layers[layer].mixer;
    char name[MIXER_BLOCK_SIZE], other[MIXER_BLOCK_SIZE];
    int number = 1;
    mixer_block_name(name, mine, 1);
    for (int i = 0; i < layer && !mixer_same(&config->layers[i].mixer, mine); i++) {
        const struct mixer_sizes *about = &config->layers[i].mixer;
        mixer_block_name(other, about, 1);
        bool first = strcmp(name, other) == 0;
        for (int k = 0; k < i && first; k++) first = !mixer_same(&config->layers[k].mixer, about);
        number += first;
    }
    return number;
}

void fast_llm_block_name(char out[MIXER_BLOCK_SIZE], const struct model_config *config, int layer) {
    mixer_block_name(out, &config->layers[layer].mixer, number_of(config, layer));
}

struct json *fast_llm_decoder(const struct model_config *config, enum mixer_format dialect) {
    struct json *decoder = js_new_object(), *blocks = js_new_object(), *pattern = js_new_array();
    for (int i = 0; i < config->n_layers; i++) {
        char name[MIXER_BLOCK_SIZE];
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
    if (!config_any_attends(config)) return NULL;
    if (config->rope.kind == ROPE_LINEAR) return "linear rope scaling";
    if (config->rope.kind == ROPE_YARN && !config->rope.truncate)
        return "yarn without rounding (\"truncate\": false)";
    return NULL;
}
