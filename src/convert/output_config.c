/* config.json of a hybrid. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "checkpoint/fast_llm.h"
#include "convert/convert_internal.h"
#include "convert/modeling.h"
#include "mixers/attention/attention.h"

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
static enum status carry_over(struct json *object, const struct convert_job *job) {
    static const char *const keys[] = {"pad_token_id", "initializer_range", "use_cache",
                                       "attention_dropout"};
    /* Fast-LLM's reader of Apriel2 refuses keys that it does not know */
    size_t count = sizeof keys / sizeof *keys - (job->config->family == FAMILY_APRIEL2);
    struct json *source = NULL;
    char *path = file_join(checkpoint_directory(job->options.base), "config.json");
    enum status status = path ? js_read(&source, path) : STATUS_FAILED;
    free(path);
    if (status) return status;
    for (size_t i = 0; i < count; i++) {
        const struct json *value = js_member(source, keys[i]);
        if (value) js_set(object, keys[i], js_copy(value));
    }
    if (!js_member(source, "dtype") && !js_member(source, "torch_dtype")) {
        const struct checkpoint_tensor *embedding =
            checkpoint_find(job->options.base, -1, TENSOR_EMBEDDING);
        js_set_string(object, "torch_dtype", dtype_word(embedding->dtype));
    }
    js_free(source);
    return STATUS_OK;
}

/* The window of the attention layers (they agree), null when there is none. */
static struct json *window_of(const struct model_config *config) {
    for (int i = 0; i < config->n_layers; i++)
        if (config_is_attention(config, i) && config->layers[i].mixer.value[ATTENTION_WINDOW])
            return js_new_integer(config->layers[i].mixer.value[ATTENTION_WINDOW]);
    return NULL;
}

/* The sizes of the mixers that are not attention; NULL when there are none. */
static struct json *ssm_cfg(const struct model_config *config) {
    const struct mixer_host host = config_host(config);
    for (int i = config->n_layers - 1; i >= 0; i--) {
        if (config_is_attention(config, i)) continue;
        struct json *object = js_new_object();
        mixer_config_write(object, &config->layers[i].mixer, &host, MIXER_APRIEL_H1);
        return object;
    }
    return NULL;
}

static void set_apriel_h1(struct json *object, const struct convert_job *job) {
    const struct model_config *config = job->config;
    struct json *layout = js_new_array(), *sizes = ssm_cfg(config);
    for (int i = 0; i < config->n_layers; i++)
        js_append(layout, js_new_string(config->layers[i].mixer.kind->type[MIXER_APRIEL_H1]));
    js_set_integer(object, "intermediate_size", config->intermediate_size);
    js_set_integer(object, "num_hidden_layers", config->n_layers);
    js_set_integer(object, "num_attention_heads", config->n_heads);
    js_set_integer(object, "num_key_value_heads", config->n_kv_heads);
    js_set_integer(object, "head_dim", config->head_dim);
    js_set_string(object, "hidden_act", "silu");
    if (config->max_position_embeddings)
        js_set_integer(object, "max_position_embeddings", config->max_position_embeddings);
    js_set_number(object, "rms_norm_eps", config->rms_norm_eps);
    convert_set_rope(object, &config->rope);
    js_set(object, "sliding_window", window_of(config)); /* null: none; absent would be 4096 */
    js_set(object, "hybrid_block_layout", layout);
    if (sizes) js_set(object, "ssm_cfg", sizes);
}

static void set_apriel2(struct json *object, const struct convert_job *job) {
    const struct model_config *config = job->config;
    struct json *embeddings = js_new_object(), *head = js_new_object();
    if (config->max_position_embeddings)
        js_set_integer(embeddings, "max_position_embeddings", config->max_position_embeddings);
    js_set(object, "embeddings", embeddings);
    js_set(head, "normalization", fast_llm_norm(config->rms_norm_eps));
    js_set(object, "head", head);
    js_set(object, "decoder", fast_llm_decoder(config, MIXER_APRIEL2));
}

/* A Mistral whose layers have windows of their own is a Ministral. */
static void set_class(struct json *object, const struct convert_job *job) {
    const struct model_config *config = job->config;
    bool ministral = config->family == FAMILY_MISTRAL;
    struct json *architectures = js_new_array();
    js_append(architectures,
              js_new_string(ministral ? "MinistralForCausalLM" : config_architecture(config)));
    js_set(object, "architectures", architectures);
    js_set_string(object, "model_type", ministral ? "ministral" : config_model_type(config));
}

enum status convert_config_json(struct json **out, const struct convert_job *job) {
    const struct model_config *config = job->config;
    struct json *object = js_new_object();
    set_class(object, job);
    js_set_integer(object, "vocab_size", config->vocab_size);
    js_set_integer(object, "hidden_size", config->hidden_size);
    if (config->family == FAMILY_APRIEL2)
        set_apriel2(object, job);
    else if (config->family == FAMILY_APRIEL_H1)
        set_apriel_h1(object, job);
    else
        convert_stock_config(object, job);
    js_set_bool(object, "tie_word_embeddings", config->tie_word_embeddings);
    js_set_string(object, "torch_dtype", dtype_word(config->dtype));
    set_special_tokens(object, config);
    if (modeling_needed(config->family))
        js_set(object, "auto_map", modeling_auto_map(config->family));
    enum status status = carry_over(object, job);
    if (!status) status = js_complete();
    if (status) {
        js_free(object);
        return status;
    }
    *out = object;
    return STATUS_OK;
}
