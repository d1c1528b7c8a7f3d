#include "model/hybrid.h"

#include <stdlib.h>

#include "base/memory.h"

static bool listed(const struct int_list *list, int layer) {
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i] == layer) return true;
    return false;
}

static enum status list_added(struct hybrid *out, const struct model_config *base,
                              const struct int_list *layers, const char *name) {
    out->added.values = memory_calloc(layers->count, sizeof *out->added.values);
    if (!out->added.values) return STATUS_FAILED;
    for (int i = 0; i < base->n_layers; i++)
        if (base->layers[i].mixer == MIXER_MAMBA && !listed(layers, i))
            return status_fail("\"%s\": layer %d is Mamba already, but is not among the layers to "
                               "be Mamba",
                               name, i);
    for (size_t k = 0; k < layers->count; k++) {
        int layer = layers->values[k];
        if (layer < 0 || layer >= base->n_layers)
            return status_fail("\"%s\" has %d layers; there is no layer %d to replace", name,
                               base->n_layers, layer);
        if (base->layers[layer].mixer == MIXER_ATTENTION)
            out->added.values[out->added.count++] = layer;
    }
    return STATUS_OK;
}

/* Equal mixers share their description: it says what all of them started from. */
static void join_ranges(struct model_config *config, const struct mamba_config *mamba) {
    double low = mamba->dt_min, high = mamba->dt_max;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < config->n_layers; i++) {
            struct mamba_config *other = &config->layers[i].mamba;
            if (config->layers[i].mixer != MIXER_MAMBA || !config_same_mamba(other, mamba))
                continue;
            if (other->dt_min < low) low = other->dt_min;
            if (other->dt_max > high) high = other->dt_max;
            other->dt_min = low;
            other->dt_max = high;
        }
}

enum status hybrid_make(struct hybrid *out, const struct model_config *base,
                        const struct int_list *layers, const struct mil_options *options,
                        const char *name) {
    *out = (struct hybrid){0};
    enum status status = config_copy(&out->config, base);
    if (!status) status = list_added(out, base, layers, name);
    if (!status && out->added.count) status = mil_mamba(&out->mamba, base, options);
    for (size_t k = 0; k < out->added.count && !status; k++)
        out->config->layers[out->added.values[k]] =
            (struct layer_config){.mixer = MIXER_MAMBA, .mamba = out->mamba};
    if (!status && out->added.count) join_ranges(out->config, &out->mamba);
    if (status) hybrid_free(out);
    return status;
}

void hybrid_free(struct hybrid *hybrid) {
    config_free(hybrid->config);
    list_free(&hybrid->added);
    *hybrid = (struct hybrid){0};
}

enum dtype hybrid_dtype(enum tensor_role role, enum dtype attention) {
    return role == TENSOR_A_LOG || role == TENSOR_D ? DTYPE_F32 : attention;
}

/* Of all tensors, as if all that is not a Mamba mixer's had one type. */
static enum status count_bytes(uint64_t *out, const struct model_config *config, enum dtype dtype) {
    struct tensor_spec *specs;
    size_t count;
    enum status status = tensor_spec_list(&specs, &count, config);
    if (status) return status;
    *out = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = dtype_size(hybrid_dtype(specs[i].role, dtype));
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
