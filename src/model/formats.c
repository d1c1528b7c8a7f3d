#include "model/formats.h"

#include <stdio.h>
#include <string.h>

#include "mixers/attention/attention.h"
#include "mixers/gdn/gdn.h"
#include "mixers/mamba2/mamba2.h"

/* ---- what formats have in common */

static bool has_biases(const struct model_config *config) {
    return config->q_bias || config->k_bias || config->v_bias || config->o_bias;
}

static int64_t window_of(const struct mixer_sizes *mixer) {
    return mixer->kind->attends ? mixer->value[ATTENTION_WINDOW] : 0;
}

static bool has_windows(const struct model_config *config) {
    for (int i = 0; i < config->n_layers; i++)
        if (window_of(&config->layers[i].mixer)) return true;
    return false;
}

/* Formats with one set of sizes for each kind. */
static const char *unequal_sizes(const struct model_config *config) {
    const struct mixer_sizes *first[MIXER_MAX_KINDS] = {NULL};
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_sizes *mixer = &config->layers[i].mixer;
        const struct mixer_sizes **same = &first[mixer_kind_index(mixer->kind)];
        if (!*same) *same = mixer;
        if (!mixer_same(*same, mixer)) return mixer->kind->unequal;
    }
    return NULL;
}

/* Kinds that it has no word for, or windows. */
static const char *stock_lacks(const struct model_config *config, enum mixer_format format) {
    const struct mixer_kind *kind = config_kind_without(config, format);
    if (kind) return kind->plural;
    if (config->mlp_bias) return "MLP biases";
    if (!config->n_heads) return "no heads of attention";
    return has_windows(config) ? "sliding windows" : unequal_sizes(config);
}

/* ---- each format */

static const char *granite_lacks(const struct model_config *config) {
    const char *lacks = stock_lacks(config, MIXER_GRANITE);
    if (lacks) return lacks;
    return config->qk_norm && config_any_attends(config) ? "query and key norms" : NULL;
}

static const char *qwen35_lacks(const struct model_config *config) {
    const char *lacks = stock_lacks(config, MIXER_QWEN35);
    if (lacks || !config_any_attends(config)) return lacks;
    if (!config->qk_norm) return "attention without query and key norms";
    if (config->q_norm_eps != config->rms_norm_eps || config->k_norm_eps != config->rms_norm_eps)
        return "query and key norms with an epsilon of their own";
    return has_biases(config) ? "attention biases" : NULL;
}

static const char *native_lacks(const struct model_config *config) {
    int64_t window = 0;
    bool all = config->q_bias && config->k_bias && config->v_bias;
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_sizes *mixer = &config->layers[i].mixer;
        int64_t own = window_of(mixer);
        if (!mixer->kind->attends) return mixer->kind->plural;
        if (own && window && own != window) return "windows of several sizes";
        if (own) window = own;
    }
    if (config->mlp_bias) return "MLP biases";
    if (has_biases(config) && !all) return "biases of some projections only";
    if (config->o_bias != (all && config->qk_norm)) /* as Qwen3's and Qwen2's classes have them */
        return config->o_bias ? "biases of the output projection" : "no output projection biases";
    if (config->qk_norm &&
        (config->q_norm_eps != config->rms_norm_eps || config->k_norm_eps != config->rms_norm_eps))
        return "query and key norms with an epsilon of their own";
    return NULL;
}

/* Apriel-H1 has one set of sizes for each kind, Mistral's attention, and one window for all layers.
 */
static const char *apriel_h1_lacks(const struct model_config *config) {
    const struct mixer_kind *kind = config_kind_without(config, MIXER_APRIEL_H1);
    if (config->mlp_bias) return "MLP biases";
    if (kind) return kind->plural;
    const char *unequal = unequal_sizes(config);
    if (unequal || !config_any_attends(config)) return unequal;
    if (has_biases(config)) return "attention biases";
    return config->qk_norm ? "query and key norms" : NULL;
}

static const char *apriel2_lacks(const struct model_config *config) {
    const struct mixer_kind *kind = config_kind_without(config, MIXER_APRIEL2);
    return kind ? kind->plural : NULL;
}

static bool has_windows_only(const struct mixer_kind *kind) {
    return kind->attends;
}

static bool granite_has(const struct mixer_kind *kind) {
    return kind->type[MIXER_GRANITE] != NULL;
}

static bool qwen35_has(const struct mixer_kind *kind) {
    return kind->type[MIXER_QWEN35] != NULL;
}

static bool apriel_h1_has(const struct mixer_kind *kind) {
    return kind->type[MIXER_APRIEL_H1] != NULL;
}

static bool apriel2_has(const struct mixer_kind *kind) {
    return kind->type[MIXER_APRIEL2] != NULL;
}

static const struct {
    const char *name;
    const char *(*lacks)(const struct model_config *hybrid);
    bool (*has)(const struct mixer_kind *kind);
} formats[FORMAT_COUNT] = {
    [FORMAT_GRANITE_HYBRID] = {"granite-hybrid", granite_lacks, granite_has},
    [FORMAT_QWEN35] = {"qwen3.5", qwen35_lacks, qwen35_has},
    [FORMAT_NATIVE] = {"native", native_lacks, has_windows_only},
    [FORMAT_APRIEL_H1] = {"apriel-h1", apriel_h1_lacks, apriel_h1_has},
    [FORMAT_APRIEL2] = {"apriel2", apriel2_lacks, apriel2_has},
};

const char *format_name(enum hybrid_format format) {
    return formats[format].name;
}

const char *format_list(char out[FORMAT_LIST_SIZE]) {
    size_t used = 0;
    for (int i = 0; i < FORMAT_COUNT && used < FORMAT_LIST_SIZE; i++)
        used += (size_t)snprintf(out + used, FORMAT_LIST_SIZE - used, "%s%s",
                                 i == 0                  ? ""
                                 : i + 1 == FORMAT_COUNT ? " or "
                                                         : ", ",
                                 formats[i].name);
    return out;
}

enum status format_from_name(enum hybrid_format *out, const char *name) {
    char list[FORMAT_LIST_SIZE];
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(name, formats[i].name) == 0) {
            *out = (enum hybrid_format)i;
            return STATUS_OK;
        }
    return status_set(STATUS_USAGE, "--format must be %s, not \"%s\"", format_list(list), name);
}

const char *format_lacks(enum hybrid_format format, const struct model_config *hybrid) {
    return formats[format].lacks(hybrid);
}

const char *format_kinds(char out[FORMAT_KINDS_SIZE], enum hybrid_format format) {
    size_t used = 0;
    out[0] = 0;
    for (int i = 1; mixer_kinds[i] && used < FORMAT_KINDS_SIZE; i++)
        if (formats[format].has(mixer_kinds[i]))
            used +=
                (size_t)snprintf(out + used, FORMAT_KINDS_SIZE - used, "%s%s%s", used ? ", " : "",
                                 mixer_kinds[i]->name, mixer_kinds[i]->parameter < 0 ? "" : ":N");
    return out;
}

enum hybrid_format format_of(const struct model_config *config) {
    switch (config->family) {
    case FAMILY_GRANITE:
        return FORMAT_GRANITE_HYBRID;
    case FAMILY_QWEN35:
        return FORMAT_QWEN35;
    case FAMILY_APRIEL_H1:
        return FORMAT_APRIEL_H1;
    case FAMILY_APRIEL2:
        return FORMAT_APRIEL2;
    default:
        return FORMAT_COUNT;
    }
}

enum hybrid_format format_for(const struct model_config *hybrid) {
    enum hybrid_format own = format_of(hybrid);
    if (own != FORMAT_COUNT && !format_lacks(own, hybrid)) return own;
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (!format_lacks((enum hybrid_format)i, hybrid)) return (enum hybrid_format)i;
    return FORMAT_COUNT;
}

/* ---- the usual kind */

/* What a hybrid has already; NULL: nothing, or what is not to be had without a number. */
static const struct mixer_kind *kind_there(const struct model_config *config) {
    for (int i = 0; i < config->n_layers; i++) {
        const struct mixer_kind *kind = config->layers[i].mixer.kind;
        if (!config_is_attention(config, i)) return kind->parameter < 0 ? kind : NULL;
    }
    return NULL;
}

const struct mixer_kind *format_usual_kind(const struct model_config *model,
                                           enum hybrid_format format) {
    const struct mixer_kind *kind = kind_there(model);
    if (!kind && !format_lacks(FORMAT_GRANITE_HYBRID, model)) kind = &mamba2_kind;
    if (!kind && !format_lacks(FORMAT_QWEN35, model)) kind = &gdn_kind;
    if (!kind) kind = mixer_kinds[1];
    if (format == FORMAT_COUNT || formats[format].has(kind)) return kind;
    for (int i = 1; mixer_kinds[i]; i++)
        if (mixer_kinds[i]->parameter < 0 && formats[format].has(mixer_kinds[i]))
            return mixer_kinds[i];
    return kind;
}

/* ---- what a hybrid becomes */

/* The class asks that heads times their width be a multiple of the model's width. As many query
 * heads stand behind each key/value head as before. */
void format_heads(int *heads, int *kv_heads, enum hybrid_format format,
                  const struct model_config *base) {
    int share = base->n_kv_heads ? base->n_heads / base->n_kv_heads : 1;
    *heads = base->n_heads;
    *kv_heads = base->n_kv_heads;
    if (format != FORMAT_GRANITE_HYBRID || !base->n_heads) return;
    while ((int64_t)*heads * base->head_dim % base->hidden_size) *heads += share;
    *kv_heads = *heads / share;
}

static enum config_family family_of(enum hybrid_format format, const struct model_config *config) {
    static const enum config_family families[] = {[FORMAT_GRANITE_HYBRID] = FAMILY_GRANITE,
                                                  [FORMAT_QWEN35] = FAMILY_QWEN35,
                                                  [FORMAT_APRIEL_H1] = FAMILY_APRIEL_H1,
                                                  [FORMAT_APRIEL2] = FAMILY_APRIEL2};
    if (format != FORMAT_NATIVE) return families[format];
    if (config->qk_norm) return FAMILY_QWEN3;
    return config->q_bias ? FAMILY_QWEN2 : FAMILY_MISTRAL;
}

/* After its mixers are made. Attention gets the further heads too where all of them together are
 * then as wide as the model, as engines assume that do not read "head_dim". */
static void settle(struct model_config *config, enum hybrid_format format,
                   const struct model_config *base) {
    config->family = family_of(format, base);
    if (format != FORMAT_GRANITE_HYBRID) return;
    if ((int64_t)config->n_heads * config->head_dim != config->hidden_size) {
        config->n_heads = base->n_heads;
        config->n_kv_heads = base->n_kv_heads;
    }
    bool biased = has_biases(base); /* all of them or none */
    config->q_bias = config->k_bias = config->v_bias = config->o_bias = biased;
}

static enum status refuse(const struct model_config *hybrid, enum hybrid_format format,
                          const char *lacks, const char *name) {
    enum hybrid_format other = format_for(hybrid);
    if (other == FORMAT_COUNT)
        return status_fail("\"%s\" has %s, which %s cannot express; no format does yet", name,
                           lacks, format_name(format));
    return status_fail("\"%s\" has %s, which %s cannot express; use --format %s", name, lacks,
                       format_name(format), format_name(other));
}

enum status format_hybrid(struct hybrid *out, enum hybrid_format format,
                          const struct model_config *base, const struct int_list *layers,
                          const struct mixer_choices *choices,
                          const struct mixer_sizes *const *kinds, const char *name) {
    struct model_config *padded = NULL;
    *out = (struct hybrid){0};
    enum status status = config_copy(&padded, base);
    if (status) return status;
    format_heads(&padded->n_heads, &padded->n_kv_heads, format, base);
    status = hybrid_make(out, padded, layers, choices, kinds, name);
    const char *lacks = status ? NULL : format_lacks(format, out->config);
    if (lacks) status = refuse(out->config, format, lacks, name);
    if (!status) settle(out->config, format, base);
    if (status) hybrid_free(out);
    config_free(padded);
    return status;
}
