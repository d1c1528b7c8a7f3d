#include "model/hybrid.h"

#include <stdlib.h>

#include "base/memory.h"
#include "mixers/sizes.h"

static bool listed(const struct int_list *list, int layer) {
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i] == layer) return true;
    return false;
}

static const char *adjective_of(const struct model_config *config, int layer) {
    return config->layers[layer].mixer.kind->adjective;
}

static enum status list_added(struct hybrid *out, const struct model_config *base,
                              const struct int_list *layers, const char *name) {
    out->added.values = memory_calloc(layers->count, sizeof *out->added.values);
    if (!out->added.values) return STATUS_FAILED;
    for (int i = 0; i < base->n_layers; i++)
        if (!config_is_attention(base, i) && !listed(layers, i))
            return status_fail("\"%s\": layer %d is %s already, but is not among the layers to be "
                               "%s",
                               name, i, adjective_of(base, i), adjective_of(base, i));
    for (size_t k = 0; k < layers->count; k++) {
        int layer = layers->values[k];
        if (layer < 0 || layer >= base->n_layers)
            return status_fail("\"%s\" has %d layers; there is no layer %d to replace", name,
                               base->n_layers, layer);
        if (config_is_attention(base, layer)) out->added.values[out->added.count++] = layer;
    }
    return STATUS_OK;
}

/* Equal mixers share their description, and so what is no part of the function: a size that says
 * what it began as, the lower or the upper end. */
static void join_reals(struct model_config *config, const struct mixer_sizes *mixer) {
    struct mixer_sizes all = *mixer;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < config->n_layers; i++) {
            struct mixer_sizes *other = &config->layers[i].mixer;
            if (mixer_same(other, mixer))
                mixer_sizes_join(pass ? other : &all, pass ? &all : other);
        }
}

static enum status put_mixer(struct hybrid *out, const struct model_config *base, int layer,
                             const struct mixer_choices *choices, const struct mixer_sizes *kind) {
    struct mixer_choices own = *choices;
    if (kind) mixer_choices_for(&own, choices, kind);
    return replacement_sizes(&out->config->layers[layer].mixer, base, &own);
}

enum status hybrid_make(struct hybrid *out, const struct model_config *base,
                        const struct int_list *layers, const struct mixer_choices *choices,
                        const struct mixer_sizes *const *kinds, const char *name) {
    *out = (struct hybrid){0};
    enum status status = config_copy(&out->config, base);
    if (!status) status = list_added(out, base, layers, name);
    for (size_t k = 0, next = 0; k < layers->count && !status && next < out->added.count; k++)
        if (layers->values[k] == out->added.values[next])
            status =
                put_mixer(out, base, out->added.values[next++], choices, kinds ? kinds[k] : NULL);
    for (size_t k = 0; k < out->added.count && !status; k++)
        join_reals(out->config, &out->config->layers[out->added.values[k]].mixer);
    if (!status && out->added.count) out->mixer = out->config->layers[out->added.values[0]].mixer;
    if (status) hybrid_free(out);
    return status;
}

void hybrid_free(struct hybrid *hybrid) {
    config_free(hybrid->config);
    list_free(&hybrid->added);
    *hybrid = (struct hybrid){0};
}

enum dtype hybrid_dtype(const struct tensor_spec *spec, enum dtype attention) {
    return spec->row && spec->row->keeps_f32 ? DTYPE_F32 : attention;
}

/* Of all tensors, as if all but those that keep F32 had one type. */
static enum status count_bytes(uint64_t *out, const struct model_config *config, enum dtype dtype) {
    struct tensor_spec *specs;
    size_t count;
    enum status status = tensor_spec_list(&specs, &count, config);
    if (status) return status;
    *out = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = dtype_size(hybrid_dtype(&specs[i], dtype));
        for (int k = 0; k < specs[i].rank; k++) bytes *= (uint64_t)specs[i].shape[k];
        *out += bytes;
    }
    free(specs);
    return STATUS_OK;
}

enum status hybrid_weight_bytes(uint64_t *out, const struct model_config *hybrid,
                                const struct model_config *base,
                                const struct shape_weights *weights) {
    uint64_t before = 0;
    enum status status = count_bytes(out, hybrid, weights->dtype);
    if (status || !weights->bytes) return status;
    status = count_bytes(&before, base, weights->dtype);
    *out += weights->bytes - before; /* norms or a head of another type stay what they are */
    return status;
}
