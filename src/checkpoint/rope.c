/* Rotary position embeddings: reading their settings and computing their frequencies. */
#include <math.h>
#include <string.h>

#include "checkpoint/config_parse.h"

/* Transformers' `get_mscale`. */
static double yarn_mscale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static enum status parse_llama3(struct rope_config *rope, const struct json *rules,
                                const char *source) {
    enum status status =
        config_get_positive(&rope->low_freq_factor, rules, "low_freq_factor", 0, source);
    if (!status)
        status = config_get_positive(&rope->high_freq_factor, rules, "high_freq_factor", 0, source);
    if (!status && rope->high_freq_factor <= rope->low_freq_factor)
        status = status_fail("\"%s\": \"high_freq_factor\" %g must be above \"low_freq_factor\" %g",
                             source, rope->high_freq_factor, rope->low_freq_factor);
    return status;
}

/* transformers takes 0 for absent: `get("beta_fast") or 32`. */
static enum status get_beta(double *out, const struct json *rules, const char *key, double usual,
                            const char *source) {
    *out = usual;
    if (js_number_or(js_member(rules, key), 1) == 0) return STATUS_OK;
    return config_get_positive(out, rules, key, usual, source);
}

/* beta_fast, beta_slow, truncate and the attention factor. */
static enum status parse_yarn(struct rope_config *rope, const struct json *rules,
                              const char *source) {
    enum status status = get_beta(&rope->beta_fast, rules, "beta_fast", 32, source);
    if (!status) status = get_beta(&rope->beta_slow, rules, "beta_slow", 1, source);
    if (!status) status = config_get_bool(&rope->truncate, rules, "truncate", true, source);
    if (status) return status;
    if (js_member(rules, "attention_factor"))
        return config_get_positive(&rope->attention_factor, rules, "attention_factor", 0, source);
    double mscale = js_number_or(js_member(rules, "mscale"), 0);
    double mscale_all_dim = js_number_or(js_member(rules, "mscale_all_dim"), 0);
    rope->attention_factor = yarn_mscale(rope->factor, 1);
    if (mscale != 0 && mscale_all_dim != 0)
        rope->attention_factor =
            yarn_mscale(rope->factor, mscale) / yarn_mscale(rope->factor, mscale_all_dim);
    if (!(rope->attention_factor > 0) || !isfinite(rope->attention_factor))
        return status_fail("\"%s\": \"mscale\" %g and \"mscale_all_dim\" %g give no attention "
                           "factor",
                           source, mscale, mscale_all_dim);
    return STATUS_OK;
}

static enum status parse_kind(struct rope_config *rope, const char *type, const char *source) {
    static const struct {
        const char *name;
        enum rope_kind kind;
    } kinds[] = {{"default", ROPE_DEFAULT},
                 {"linear", ROPE_LINEAR},
                 {"llama3", ROPE_LLAMA3},
                 {"yarn", ROPE_YARN}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].name) == 0) {
            rope->kind = kinds[i].kind;
            return STATUS_OK;
        }
    if (strcmp(type, "dynamic") == 0)
        return status_fail("\"%s\": rope type \"dynamic\" is not supported: its frequencies change "
                           "with the sequence length",
                           source);
    return status_fail("\"%s\": rope type \"%s\" is not supported (default, linear, llama3 or "
                       "yarn)",
                       source, type);
}

/* The length the model was trained with before the scaling: in the rules, beside them, or the
 * context length itself, in transformers' order of preference. */
static enum status parse_original_length(struct rope_config *rope, const struct json *rules,
                                         const struct json *json, int max_position,
                                         const char *source) {
    const char *key = "original_max_position_embeddings";
    const struct json *holder = js_member(json, key) ? json : rules;
    return config_get_positive(&rope->original_max_position, holder, key, max_position, source);
}

static enum status parse_rules(struct model_config *config, const struct json *rules,
                               const struct json *json, const char *source) {
    struct rope_config *rope = &config->rope;
    const struct json *type = js_member(rules, "rope_type");
    if (!type) type = js_member(rules, "type");
    enum status status =
        parse_kind(rope, js_string_or(type, type ? "of another kind" : "default"), source);
    if (status || rope->kind == ROPE_DEFAULT) return status;
    bool scaled = rope->kind == ROPE_LLAMA3 || rope->kind == ROPE_YARN;
    if (scaled)
        status = parse_original_length(rope, rules, json, config->max_position_embeddings, source);
    if (status) return status;
    double ratio = 0; /* yarn without a factor takes the ratio of the lengths */
    if (rope->kind == ROPE_YARN && config->max_position_embeddings)
        ratio = config->max_position_embeddings / rope->original_max_position;
    status = config_get_positive(&rope->factor, rules, "factor", ratio, source);
    if (!status && rope->kind == ROPE_LLAMA3) status = parse_llama3(rope, rules, source);
    if (!status && rope->kind == ROPE_YARN) status = parse_yarn(rope, rules, source);
    return status;
}

static enum status refuse_partial(const struct json *object, enum config_family family,
                                  const char *source) {
    const char *key = "partial_rotary_factor";
    const struct json *value = js_member(object, key);
    if (value && js_number_or(value, 0) != 1)
        return status_fail("\"%s\": \"%s\": rope on a part of each head is not supported", source,
                           key);
    /* of text alone, positions of all sections are the same */
    if (js_count(js_member(object, "mrope_section")) && family != FAMILY_QWEN35)
        return status_fail("\"%s\": \"mrope_section\": multimodal rope is not supported", source);
    return STATUS_OK;
}

enum status config_parse_rope(struct model_config *config, const struct json *json,
                              const char *source) {
    struct rope_config *rope = &config->rope;
    rope->attention_factor = 1;
    /* transformers reads rope_scaling first when both are there */
    const char *key =
        js_count(js_member(json, "rope_scaling")) ? "rope_scaling" : "rope_parameters";
    const struct json *rules = js_member(json, key);
    if (rules && !js_is_object(rules))
        return status_fail("\"%s\": \"%s\" must be an object", source, key);
    for (void *i = js_first(rules); i; i = js_next(rules, i))
        if (js_is_object(js_value(i)))
            return status_fail("\"%s\": \"%s\" by layer type (\"%s\") is not supported", source,
                               key, js_key(i));
    enum status status = refuse_partial(json, config->family, source);
    if (!status) status = refuse_partial(rules, config->family, source);
    if (status) return status;
    const struct json *holder = js_has(rules, "rope_theta") ? rules : json;
    status = config_refuse_null(holder, "rope_theta", source);
    if (status) return status;
    status = config_get_positive(&rope->theta, holder, "rope_theta", 10000, source);
    if (!status && rope->theta <= 1)
        status = status_fail("\"%s\": \"rope_theta\" must be greater than 1, found %g", source,
                             rope->theta);
    if (!status && rules) status = parse_rules(config, rules, json, source);
    return status;
}

/* Wavelengths longer than the trained context are stretched by the factor, short ones kept, those
 * between blended. */
static double llama3_frequency(double frequency, const struct rope_config *rope) {
    double turns = rope->original_max_position * frequency / (2 * M_PI);
    if (turns < rope->low_freq_factor) return frequency / rope->factor;
    if (turns > rope->high_freq_factor) return frequency;
    double blend =
        (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - blend) * frequency / rope->factor + blend * frequency;
}

/* The dimension whose frequency makes `turns` turns over the trained context. */
static double yarn_dimension(double turns, int dim, const struct rope_config *rope) {
    return dim * log(rope->original_max_position / (turns * 2 * M_PI)) / (2 * log(rope->theta));
}

static void yarn_range(double *low, double *high, int dim, const struct rope_config *rope) {
    *low = yarn_dimension(rope->beta_fast, dim, rope);
    *high = yarn_dimension(rope->beta_slow, dim, rope);
    if (rope->truncate) {
        *low = floor(*low);
        *high = ceil(*high);
    }
    *low = fmax(*low, 0);
    *high = fmin(*high, dim - 1);
    if (*low == *high) *high += 0.001;
}

void rope_frequencies(const struct model_config *config, double *inv_freq,
                      double *attention_factor) {
    const struct rope_config *rope = &config->rope;
    double low = 0, high = 1;
    if (rope->kind == ROPE_YARN) yarn_range(&low, &high, config->head_dim, rope);
    for (int i = 0; i < config->head_dim / 2; i++) {
        double frequency = pow(rope->theta, -2.0 * i / config->head_dim);
        if (rope->kind == ROPE_LINEAR) frequency /= rope->factor;
        if (rope->kind == ROPE_LLAMA3) frequency = llama3_frequency(frequency, rope);
        if (rope->kind == ROPE_YARN) {
            double stretch = fmin(fmax((i - low) / (high - low), 0), 1);
            frequency = frequency / rope->factor * stretch + frequency * (1 - stretch);
        }
        inv_freq[i] = frequency;
    }
    *attention_factor = rope->attention_factor;
}
