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

enum config_family {
    FAMILY_LLAMA,
    FAMILY_MISTRAL,
    FAMILY_QWEN2,
    FAMILY_QWEN3,
    FAMILY_APRIEL_H1, /* AprielHybridSSMForCausalLM */
    FAMILY_APRIEL2,   /* Apriel2ForCausalLM (text) */
    FAMILY_COUNT,
};

enum mixer_kind {
    MIXER_ATTENTION,
    MIXER_MAMBA,
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

/* The Mamba mixer of DESIGN section 3: I = d_inner, X = d_xb, N = d_state, R = dt_rank, K = d_conv.
 * N divides X and I, and X divides I. */
struct mamba_config {
    int d_inner, d_xb, d_state, dt_rank, d_conv;
    bool bias;             /* in_proj, dt_in_proj and out_proj have biases */
    bool conv_bias;        /* conv1d has a bias */
    bool dt_proj_bias;     /* dt_proj has a bias (stored halved: see DESIGN section 3) */
    double dt_min, dt_max; /* what the step sizes started as; no part of the function */
};

/* What Mamba starts with, and the least step size. */
#define MAMBA_DT_MIN 1e-3
#define MAMBA_DT_MAX 1e-1
#define MAMBA_DT_FLOOR 1e-4

struct layer_config {
    enum mixer_kind mixer;
    int sliding_window; /* a query sees this many positions, itself included; 0: all before it */
    struct mamba_config mamba; /* all zero for attention */
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

/* "LlamaForCausalLM", … */
const char *config_architecture(const struct model_config *config);

/* Layers whose mixer is attention; bytes of key/value cache per token and layer at `dtype`. */
int config_attention_layers(const struct model_config *config);

/* The Mamba mixer that replaces an attention mixer of this model: d_inner = n_heads * head_dim,
 * d_xb = n_kv_heads * head_dim. Zero for d_state, dt_rank or d_conv takes that of the Mamba mixers
 * the model has, else the default (16, ceil(hidden_size / 16), 4). STATUS_USAGE when the
 * divisibility rules do not hold: d_state must divide head_dim, so that no sub-head spans two
 * heads. */
enum status config_mamba_for(struct mamba_config *out, const struct model_config *config,
                             int d_state, int dt_rank, int d_conv) STATUS_CHECKED;

/* Whether two mixers are of the same sizes and have the same biases. */
bool config_same_mamba(const struct mamba_config *a, const struct mamba_config *b);

/* RoPE inverse frequencies [head_dim / 2] and the factor on cos and sin, computed in double, with
 * the formulas of transformers' modeling_rope_utils (default, linear, llama3, yarn). */
void rope_frequencies(const struct model_config *config, double *inv_freq,
                      double *attention_factor);

#endif
