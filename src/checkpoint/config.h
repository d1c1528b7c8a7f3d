/* What a model is: config.json read into one struct, whatever the architecture spells it like.
 *
 * To support another architecture: add it to the table in config.c (class defaults as in its
 * transformers configuration class), give its tensors in tensors.c, and add a case to
 * tests/test_config.c. What the struct cannot express is refused by name. */
#ifndef CHECKPOINT_CONFIG_H
#define CHECKPOINT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/json.h"
#include "base/status.h"
#include "mixers/mixer.h"

enum config_family {
    FAMILY_LLAMA,
    FAMILY_MISTRAL,
    FAMILY_QWEN2,
    FAMILY_QWEN3,
    FAMILY_APRIEL_H1, /* AprielHybridSSMForCausalLM */
    FAMILY_APRIEL2,   /* Apriel2ForCausalLM (text) */
    FAMILY_GRANITE,   /* GraniteMoeHybridForCausalLM without experts */
    FAMILY_QWEN35,    /* Qwen3_5ForCausalLM (text) */
    FAMILY_COUNT,
};

enum rope_kind {
    ROPE_DEFAULT,
    ROPE_LINEAR,
    ROPE_LLAMA3,
    ROPE_YARN,
};

struct rope_config {
    enum rope_kind kind;
    double theta;
    double factor;                            /* linear, llama3, yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double original_max_position;             /* llama3, yarn */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor;                  /* yarn; resolved (never absent); 1 elsewhere */
    bool truncate;                            /* yarn */
};

struct layer_config {
    struct mixer_sizes mixer;
};

enum { CONFIG_MAX_EOS = 8 };

struct model_config {
    enum config_family family;
    int n_layers, hidden_size, intermediate_size, vocab_size;
    int n_heads, n_kv_heads, head_dim; /* all 0 when an Apriel2 model has no attention left */
    int max_position_embeddings;       /* 0: not stated */
    double rms_norm_eps;
    double q_norm_eps, k_norm_eps; /* with qk_norm */
    bool tie_word_embeddings;
    bool q_bias, k_bias, v_bias, o_bias; /* of the attention projections */
    bool mlp_bias;                       /* of gate, up and down */
    bool qk_norm; /* RMSNorm of each query and key head before RoPE (Qwen3) */
    struct rope_config rope;
    enum dtype dtype; /* as stated; BF16 when absent. Tensors say their own. */
    int bos_token_id; /* -1: none */
    int eos_token_ids[CONFIG_MAX_EOS], n_eos;
    struct layer_config *layers; /* [n_layers], owned */
};

/* Read config.json or an already parsed one (`source` names it in messages). The caller frees
 * `*out` with config_free. Fails on: an unsupported architecture, activation, rope type,
 * quantization or any other key whose value would change the function that is computed. */
enum status config_read(struct model_config **out, const char *path) STATUS_CHECKED;
enum status config_parse(struct model_config **out, const struct json *json,
                         const char *source) STATUS_CHECKED;
enum status config_copy(struct model_config **out,
                        const struct model_config *config) STATUS_CHECKED;
void config_free(struct model_config *config);

/* "LlamaForCausalLM", …; "llama", … */
const char *config_architecture(const struct model_config *config);
const char *config_model_type(const struct model_config *config);

/* Whether the model's own attention stands in a layer, which another mixer can replace; and in how
 * many. config_any_attends: whether any layer computes attention, of whatever kind. */
bool config_is_attention(const struct model_config *config, int layer);
int config_attention_layers(const struct model_config *config);
bool config_any_attends(const struct model_config *config);

/* What the mixers of a model see of it. */
struct mixer_host config_host(const struct model_config *config);

/* The first of the model's kinds that a format has no word for; NULL: it has one for each. */
const struct mixer_kind *config_kind_without(const struct model_config *config,
                                             enum mixer_format format);

/* The mixer that replaces an attention mixer of this model. A size of `asked` (its kind is set)
 * that is zero is that of the model's first mixer of the kind, else the default. STATUS_USAGE when
 * sizes are out of bounds or do not divide. */
enum status config_mixer_for(struct mixer_sizes *out, const struct model_config *config,
                             const struct mixer_sizes *asked) STATUS_CHECKED;

/* RoPE inverse frequencies [head_dim / 2] and the factor on cos and sin, computed in double, with
 * the formulas of transformers' modeling_rope_utils (default, linear, llama3, yarn). */
void rope_frequencies(const struct model_config *config, double *inv_freq,
                      double *attention_factor);

#endif
