#include "checkpoint/shape.h"

#include <stddef.h>
#include <string.h>

#include "checkpoint/config_parse.h"
#include "mixers/attention/attention.h"

static const char *const rope_names[] = {[ROPE_DEFAULT] = "default",
                                         [ROPE_LINEAR] = "linear",
                                         [ROPE_LLAMA3] = "llama3",
                                         [ROPE_YARN] = "yarn"};

/* Plain members: one row writes and reads. */
static const struct whole {
    const char *key;
    size_t offset;
} wholes[] = {
    {"hidden_size", offsetof(struct model_config, hidden_size)},
    {"num_attention_heads", offsetof(struct model_config, n_heads)},
    {"num_key_value_heads", offsetof(struct model_config, n_kv_heads)},
    {"head_dim", offsetof(struct model_config, head_dim)},
    /* what mixers do not depend on: 0 when not stated */
    {"intermediate_size", offsetof(struct model_config, intermediate_size)},
    {"vocab_size", offsetof(struct model_config, vocab_size)},
};
enum { NEEDED = 4 };
static const struct real {
    const char *key;
    size_t offset;
    double otherwise; /* 0: must be there */
} reals[] = {
    {"rms_norm_eps", offsetof(struct model_config, rms_norm_eps), 1e-6},
    {"rope_theta", offsetof(struct model_config, rope.theta), 10000},
    {"rope_factor", offsetof(struct model_config, rope.factor), 1},
    {"rope_low_freq_factor", offsetof(struct model_config, rope.low_freq_factor), 1},
    {"rope_high_freq_factor", offsetof(struct model_config, rope.high_freq_factor), 4},
    {"rope_original_length", offsetof(struct model_config, rope.original_max_position), 8192},
    {"rope_beta_fast", offsetof(struct model_config, rope.beta_fast), 32},
    {"rope_beta_slow", offsetof(struct model_config, rope.beta_slow), 1},
    {"rope_attention_factor", offsetof(struct model_config, rope.attention_factor), 1},
};
static const struct flag {
    const char *key;
    size_t offset;
} flags[] = {
    {"q_bias", offsetof(struct model_config, q_bias)},
    {"k_bias", offsetof(struct model_config, k_bias)},
    {"v_bias", offsetof(struct model_config, v_bias)},
    {"o_bias", offsetof(struct model_config, o_bias)},
    {"mlp_bias", offsetof(struct model_config, mlp_bias)},
    {"qk_norm", offsetof(struct model_config, qk_norm)},
    {"rope_truncate", offsetof(struct model_config, rope.truncate)},
    {"tie_word_embeddings", offsetof(struct model_config, tie_word_embeddings)},
};
#define ROWS(table) (sizeof(table) / sizeof *(table))
#define AT(type, object, row) (*(type *)((char *)(object) + (row).offset))
#define AT_CONST(type, object, row) (*(const type *)((const char *)(object) + (row).offset))

/* ---- writing */

/* The key of a kind's sizes. Those of attention have none: they stand in the layer's object. */
static const char *key_of(const struct mixer_kind *kind) {
    return kind->former ? kind->former : kind->name;
}

static struct json *layer_json(const struct layer_config *layer) {
    struct json *sizes = mixer_sizes_to_json(&layer->mixer);
    if (mixer_is_attention(&layer->mixer)) return sizes;
    struct json *object = js_new_object();
    js_set(object, key_of(layer->mixer.kind), sizes);
    return object;
}

/* Whether all that there is to say of a layer is that it has attention. */
static bool is_plain(const struct layer_config *layer) {
    const struct mixer_sizes plain = {.kind = mixer_kinds[0]};
    return mixer_same(&layer->mixer, &plain);
}

/* Layer by layer where they are not all attention without a window. */
static void set_layers(struct json *shape, const struct model_config *config) {
    bool plain = true;
    for (int i = 0; i < config->n_layers; i++) plain = plain && is_plain(&config->layers[i]);
    if (plain) return;
    struct json *layers = js_new_array();
    for (int i = 0; i < config->n_layers; i++) js_append(layers, layer_json(&config->layers[i]));
    js_set(shape, "layers", layers);
}

static void set_weights(struct json *shape, const struct checkpoint *checkpoint) {
    const struct model_config *config = checkpoint_config(checkpoint);
    const struct checkpoint_tensor *first = NULL;
    uint64_t bytes = 0;
    for (int i = 0; i < config->n_layers && !first; i++)
        first = checkpoint_find_mixer(checkpoint, i, &attention_kind, ATTENTION_Q);
    if (!first) first = checkpoint_find(checkpoint, -1, TENSOR_EMBEDDING);
    for (size_t i = 0; i < checkpoint_count(checkpoint); i++)
        bytes += checkpoint_at(checkpoint, i)->bytes;
    js_set_string(shape, "dtype", dtype_name(first->dtype));
    js_set_integer(shape, "weight_bytes", (int64_t)bytes);
}

struct json *shape_of(const struct checkpoint *checkpoint) {
    const struct model_config *config = checkpoint_config(checkpoint);
    struct json *shape = js_new_object();
    js_set_string(shape, "architecture", config_architecture(config));
    js_set_integer(shape, "num_hidden_layers", config->n_layers);
    for (size_t i = 0; i < ROWS(wholes); i++)
        js_set_integer(shape, wholes[i].key, AT_CONST(int, config, wholes[i]));
    js_set_string(shape, "rope_type", rope_names[config->rope.kind]);
    size_t count = config->rope.kind == ROPE_DEFAULT ? 2 : ROWS(reals);
    for (size_t i = 0; i < count; i++) {
        double value = AT_CONST(double, config, reals[i]);
        if (value != 0) js_set_number(shape, reals[i].key, value);
    }
    for (size_t i = 0; i < ROWS(flags); i++)
        js_set_bool(shape, flags[i].key, AT_CONST(bool, config, flags[i]));
    js_set_bool(shape, "qkv_bias", config->q_bias || config->k_bias || config->v_bias);
    if (config->qk_norm) {
        js_set_number(shape, "q_norm_eps", config->q_norm_eps);
        js_set_number(shape, "k_norm_eps", config->k_norm_eps);
    }
    set_layers(shape, config);
    set_weights(shape, checkpoint);
    return shape;
}

/* ---- reading */

static enum status read_rope(struct model_config *config, const struct json *shape,
                             const char *source) {
    const char *name = js_string_or(js_member(shape, "rope_type"), "default");
    for (size_t i = 0; i < ROWS(rope_names); i++)
        if (strcmp(name, rope_names[i]) == 0) {
            config->rope.kind = (enum rope_kind)i;
            return STATUS_OK;
        }
    return status_fail("\"%s\": \"rope_type\" \"%s\" is not known", source, name);
}

static enum status read_layer(struct layer_config *layer, const struct json *entry,
                              const char *source) {
    for (int i = 1; mixer_kinds[i]; i++) {
        const struct json *sizes = js_member(entry, key_of(mixer_kinds[i]));
        if (sizes) return mixer_sizes_read(&layer->mixer, mixer_kinds[i], sizes, source);
    }
    return mixer_sizes_read(&layer->mixer, mixer_kinds[0], entry, source);
}

static enum status read_layers(struct model_config *config, const struct json *layers,
                               const char *source) {
    enum status status = STATUS_OK;
    if (!layers) return STATUS_OK;
    if (!js_is_array(layers) || js_count(layers) != (size_t)config->n_layers)
        return status_fail("\"%s\": \"layers\" of the shape must list %d layers", source,
                           config->n_layers);
    for (int i = 0; i < config->n_layers && !status; i++)
        status = read_layer(&config->layers[i], js_element(layers, (size_t)i), source);
    return status;
}

static enum status read_members(struct model_config *config, const struct json *shape,
                                const char *source) {
    bool qkv = js_bool_or(js_member(shape, "qkv_bias"), false);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < ROWS(wholes) && !status; i++)
        status = config_get_int(&AT(int, config, wholes[i]), shape, wholes[i].key, 1,
                                CONFIG_MAX_SIZE, i < NEEDED ? -1 : 0, source);
    if (!status) status = read_rope(config, shape, source);
    for (size_t i = 0; i < ROWS(reals) && !status; i++)
        status = config_get_positive(&AT(double, config, reals[i]), shape, reals[i].key,
                                     reals[i].otherwise, source);
    config->q_bias = config->k_bias = config->v_bias = qkv; /* all that older shapes say */
    config->rope.truncate = true;
    for (size_t i = 0; i < ROWS(flags) && !status; i++)
        status = config_get_bool(&AT(bool, config, flags[i]), shape, flags[i].key,
                                 AT(bool, config, flags[i]), source);
    if (!status)
        status = config_get_positive(&config->q_norm_eps, shape, "q_norm_eps", config->rms_norm_eps,
                                     source);
    if (!status)
        status = config_get_positive(&config->k_norm_eps, shape, "k_norm_eps", config->rms_norm_eps,
                                     source);
    return status;
}

void shape_read_weights(struct shape_weights *out, const struct json *shape) {
    const char *name = js_string_or(js_member(shape, "dtype"), "");
    int64_t bytes = js_integer_or(js_member(shape, "weight_bytes"), 0);
    if (!dtype_from_name(&out->dtype, name)) out->dtype = DTYPE_BF16;
    out->bytes = bytes > 0 ? (uint64_t)bytes : 0;
}

enum status shape_read(struct model_config **out, bool *complete, const struct json *shape,
                       const char *source) {
    struct model_config *config = NULL;
    int layers = 0;
    enum status status =
        config_get_int(&layers, shape, "num_hidden_layers", 1, CONFIG_MAX_LAYERS, -1, source);
    if (!status) status = config_new(&config, layers);
    if (!status) status = read_members(config, shape, source);
    if (!status) status = read_layers(config, js_member(shape, "layers"), source);
    if (!status) status = config_check_shapes(config, source);
    if (status) {
        config_free(config);
        return status;
    }
    *complete = js_has(shape, "tie_word_embeddings") && config->vocab_size > 0 &&
                config->intermediate_size > 0;
    *out = config;
    return STATUS_OK;
}
