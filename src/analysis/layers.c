#include "analysis/layers.h"

#include "base/memory.h"

static bool is_candidate(const struct model_config *config, const bool *removed, int layer) {
    return config_is_attention(config, layer) && !(removed && removed[layer]);
}

enum status layers_choose(struct int_list *out, const struct model_config *config,
                          const bool *removed, const char *text, const char *purpose) {
    int count = config->n_layers;
    *out = (struct int_list){0};
    if (text) {
        enum status status = list_parse(out, text, 0, count - 1, "--layers");
        for (size_t i = 0; !status && i < out->count; i++)
            if (!is_candidate(config, removed, out->values[i]))
                status = status_set(STATUS_USAGE, "--layers: layer %d has no attention left to %s",
                                    out->values[i], purpose);
        return status;
    }
    out->values = memory_calloc((size_t)count, sizeof *out->values);
    if (!out->values) return STATUS_FAILED;
    for (int l = 0; l < count; l++)
        if (is_candidate(config, removed, l)) out->values[out->count++] = l;
    return out->count ? STATUS_OK : status_fail("no attention layer is left to score");
}
