/* A config.json. What is accepted must give finite rope frequencies and tensors of positive size.
 */
#include <math.h>
#include <stdlib.h>

#include "checkpoint/config.h"
#include "checkpoint/tensors.h"
#include "fuzz.h"

static void use(const struct model_config *config) {
    struct tensor_spec *specs;
    size_t count;
    double factor, *inv_freq = calloc((size_t)config->head_dim / 2 + 1, sizeof *inv_freq);
    if (!inv_freq) return;
    if (config->n_heads) {
        rope_frequencies(config, inv_freq, &factor);
        for (int i = 0; i < config->head_dim / 2; i++)
            if (!isfinite(inv_freq[i])) __builtin_trap();
        if (!isfinite(factor)) __builtin_trap();
    }
    free(inv_freq);
    if (config->n_layers > 64 || tensor_spec_list(&specs, &count, config)) return;
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < specs[i].rank; k++)
            if (specs[i].shape[k] < 1) __builtin_trap();
    free(specs);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct json *json = NULL;
    struct model_config *config = NULL;
    if (js_parse(&json, (const char *)bytes, size, "fuzz")) return 0;
    if (config_parse(&config, json, "fuzz") == STATUS_OK) use(config);
    config_free(config);
    js_free(json);
    return 0;
}
