/* Shared by the readers of config.json; not for other folders. */
#ifndef CHECKPOINT_CONFIG_PARSE_H
#define CHECKPOINT_CONFIG_PARSE_H

#include "checkpoint/config.h" /* circle: private to it and its formats */

/* Sizes above these are damage or attack, and below them products of two fit in 63 bits. */
enum {
    CONFIG_MAX_LAYERS = 4096,
    CONFIG_MAX_SIZE = 1 << 24, /* hidden, intermediate, vocabulary, heads, … */
};

struct config_family_facts {
    const char *architecture;
    const char *model_type;
    int default_kv_heads; /* 0: as many as query heads */
    int default_head_dim; /* 0: hidden_size / heads */
    bool qkv_bias;        /* always, whatever attention_bias says */
    bool reads_attention_bias, reads_mlp_bias;
    bool qk_norm;
    int default_window;       /* sliding_window when the key is absent; 0: none */
    enum mixer_format format; /* whose names and keys mixers have */
    const char *layers;       /* below which name layers stand in checkpoints */
};
extern const struct config_family_facts config_families[FAMILY_COUNT];

/* An int member within [low, high]; absent or null gives `fallback` when it is not negative. */
enum status config_get_int(int *out, const struct json *object, const char *key, int low, int high,
                           int fallback, const char *source) STATUS_CHECKED;
/* A finite number > 0; absent gives `fallback` when that is > 0. */
enum status config_get_positive(double *out, const struct json *object, const char *key,
                                double fallback, const char *source) STATUS_CHECKED;
enum status config_get_bool(bool *out, const struct json *object, const char *key, bool fallback,
                            const char *source) STATUS_CHECKED;
/* For keys of which null is no value in the class that reads them (it would fail later on). */
enum status config_refuse_null(const struct json *object, const char *key,
                               const char *source) STATUS_CHECKED;

/* The rope settings of transformers' config.json, in either spelling. */
enum status config_parse_rope(struct model_config *config, const struct json *json,
                              const char *source) STATUS_CHECKED;

/* The parts of config_parse by family. `config->family` is set; layers are allocated here. */
enum status config_parse_llama(struct model_config *config, const struct json *json,
                               const char *source) STATUS_CHECKED;
enum status config_parse_apriel_h1(struct model_config *config, const struct json *json,
                                   const char *source) STATUS_CHECKED;
enum status config_parse_apriel2(struct model_config *config, const struct json *json,
                                 const char *source) STATUS_CHECKED;
enum status config_parse_granite(struct model_config *config, const struct json *json,
                                 const char *source) STATUS_CHECKED;
enum status config_parse_qwen35(struct model_config *config, const struct json *json,
                                const char *source) STATUS_CHECKED;

enum status config_allocate_layers(struct model_config *config, int n_layers) STATUS_CHECKED;
/* A zeroed config with layers of attention. */
enum status config_new(struct model_config **out, int n_layers) STATUS_CHECKED;

/* Divisibility of heads and of every mixer's sizes. */
enum status config_check_shapes(const struct model_config *config,
                                const char *source) STATUS_CHECKED;

#endif
