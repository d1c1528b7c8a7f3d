#include "analysis/probe_parts.h"

#include <string.h>

static const char *const part_names[PROBE_PARTS] = {[PROBE_MIXER] = "new mixer",
                                                    [PROBE_BLOCK] = "its MLP and norms",
                                                    [PROBE_LATER] = "later layers",
                                                    [PROBE_OUTSIDE] = "final norm and head"};

static const struct {
    const char *name;
    int count;
} scopes[] = {{"mixer", PROBE_MIXER + 1}, {"layer", PROBE_BLOCK + 1}, {"all", PROBE_OUTSIDE + 1}};
enum { SCOPES = sizeof scopes / sizeof *scopes };

enum status probe_parts_from_name(struct probe_parts *out, const char *name, double decay) {
    for (int i = 0; i < SCOPES; i++) {
        if (strcmp(name, scopes[i].name) != 0) continue;
        *out = (struct probe_parts){.count = scopes[i].count};
        for (int part = 0; part < out->count; part++)
            out->groups[part] = (struct parameter_group){part_names[part], 1, decay};
        return STATUS_OK;
    }
    return status_set(STATUS_USAGE, "nothing that trains is called \"%s\"", name);
}

const char *probe_parts_name(const struct probe_parts *parts) {
    for (int i = 0; i < SCOPES; i++)
        if (scopes[i].count == parts->count) return scopes[i].name;
    return NULL;
}

int probe_parts_end(const struct probe_parts *parts, const struct model *student, int layer) {
    return parts->count > PROBE_LATER   ? student->config->n_layers
           : parts->count > PROBE_BLOCK ? layer + 1
                                        : layer;
}

/* A layer's sizes; its weights are not there. */
static struct layer sizes_of(const struct model *student, int index) {
    const struct layer_config *config = &student->config->layers[index];
    return (struct layer){.index = index, .mixer.sizes = config->mixer};
}

enum status probe_parts_add(struct parameters *parameters, const struct probe_parts *parts,
                            struct model *student, int layer, const struct mixer *mixer,
                            bool loaded) {
    enum status status = STATUS_OK;
    int end = probe_parts_end(parts, student, layer);
    if (end == layer) return parameters_add_mixer(parameters, PROBE_MIXER, layer, mixer);
    for (int l = layer; !status && l < end; l++) {
        const struct layer sizes = sizes_of(student, l), *own = &sizes;
        if (loaded) status = model_layer(&own, student, l);
        if (!status)
            status = parameters_add_block(parameters, l == layer ? PROBE_BLOCK : PROBE_LATER, own);
        if (!status && l == layer)
            status = parameters_add_mixer(parameters, PROBE_MIXER, l, mixer);
        else if (!status)
            status = parameters_add_mixer(parameters, PROBE_LATER, l, &own->mixer);
    }
    if (!status && parts->count > PROBE_OUTSIDE)
        status = parameters_add_final_norm(parameters, PROBE_OUTSIDE);
    if (!status && parts->count > PROBE_OUTSIDE && !student->config->tie_word_embeddings)
        status = parameters_add_head(parameters, PROBE_OUTSIDE);
    return status;
}
