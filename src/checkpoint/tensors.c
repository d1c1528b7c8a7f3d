#include "checkpoint/tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "checkpoint/config_parse.h"

/* One row a role: the name below its layer, or the whole of it. */
static const struct {
    const char *role; /* "gate_proj.weight" */
    enum tensor_part part;
    const char *name;
} names[TENSOR_OF_MIXER] = {
    [TENSOR_EMBEDDING] = {"embed_tokens.weight", PART_EMBEDDING, "model.embed_tokens.weight"},
    [TENSOR_FINAL_NORM] = {"norm.weight", PART_NORM, "model.norm.weight"},
    [TENSOR_HEAD] = {"lm_head.weight", PART_HEAD, "lm_head.weight"},
    [TENSOR_INPUT_NORM] = {"input_layernorm.weight", PART_NORM, "input_layernorm.weight"},
    [TENSOR_POST_NORM] = {"post_attention_layernorm.weight", PART_NORM,
                          "post_attention_layernorm.weight"},
    [TENSOR_GATE] = {"gate_proj.weight", PART_MLP, "mlp.gate_proj.weight"},
    [TENSOR_GATE_BIAS] = {"gate_proj.bias", PART_MLP, "mlp.gate_proj.bias"},
    [TENSOR_UP] = {"up_proj.weight", PART_MLP, "mlp.up_proj.weight"},
    [TENSOR_UP_BIAS] = {"up_proj.bias", PART_MLP, "mlp.up_proj.bias"},
    [TENSOR_DOWN] = {"down_proj.weight", PART_MLP, "mlp.down_proj.weight"},
    [TENSOR_DOWN_BIAS] = {"down_proj.bias", PART_MLP, "mlp.down_proj.bias"},
};

static struct tensor_shape shape_if(bool present, int64_t first, int64_t second) {
    return (struct tensor_shape){{first, second}, present};
}

static struct tensor_shape model_shape(const struct model_config *c, enum tensor_role role) {
    int64_t D = c->hidden_size, V = c->vocab_size;
    switch (role) {
    case TENSOR_EMBEDDING:
        return shape_if(true, V, D);
    case TENSOR_FINAL_NORM:
        return shape_if(true, D, 0);
    case TENSOR_HEAD:
        return shape_if(!c->tie_word_embeddings, V, D);
    default:
        return shape_if(false, 0, 0);
    }
}

static struct tensor_shape common_shape(const struct model_config *c, enum tensor_role role) {
    int64_t D = c->hidden_size, F = c->intermediate_size;
    switch (role) {
    case TENSOR_INPUT_NORM:
    case TENSOR_POST_NORM:
        return shape_if(true, D, 0);
    case TENSOR_GATE:
    case TENSOR_UP:
        return shape_if(true, F, D);
    case TENSOR_DOWN:
        return shape_if(true, D, F);
    case TENSOR_GATE_BIAS:
    case TENSOR_UP_BIAS:
        return shape_if(c->mlp_bias, F, 0);
    case TENSOR_DOWN_BIAS:
        return shape_if(c->mlp_bias, D, 0);
    default:
        return shape_if(false, 0, 0);
    }
}

static struct tensor_shape shape_of(const struct model_config *config, int layer, int role) {
    if (layer < 0) return model_shape(config, (enum tensor_role)role);
    if (role < TENSOR_OF_MIXER) return common_shape(config, (enum tensor_role)role);
    const struct mixer_sizes *mixer = &config->layers[layer].mixer;
    const struct mixer_host host = config_host(config);
    int tensor = role - TENSOR_OF_MIXER;
    if (tensor >= mixer->kind->n_tensors) return shape_if(false, 0, 0);
    return mixer_tensor_shape(mixer, &host, tensor);
}

static void set_name(struct tensor_spec *spec, const struct model_config *config) {
    const struct config_family_facts *facts = &config_families[config->family];
    size_t size = sizeof spec->name;
    if (spec->layer < 0)
        snprintf(spec->name, size, "%s", names[spec->role].name);
    else if (!spec->row)
        snprintf(spec->name, size, "%s.%d.%s", facts->layers, spec->layer, names[spec->role].name);
    else
        snprintf(spec->name, size, "%s.%d.%s.%s", facts->layers, spec->layer,
                 config->layers[spec->layer].mixer.kind->owner[facts->format], spec->row->name);
}

bool tensor_spec_for(struct tensor_spec *out, const struct model_config *config, int layer,
                     int role) {
    if (layer >= config->n_layers) return false;
    struct tensor_shape shape = shape_of(config, layer, role);
    if (!shape.present) return false;
    *out = (struct tensor_spec){.role = role, .layer = layer};
    if (role >= TENSOR_OF_MIXER) {
        const struct mixer_kind *kind = config->layers[layer].mixer.kind;
        out->row = &kind->tensors[role - TENSOR_OF_MIXER];
        out->part = PART_MIXER + mixer_kind_index(kind);
    } else {
        out->part = names[role].part;
    }
    set_name(out, config);
    while (out->rank < TENSOR_MAX_RANK && shape.dims[out->rank]) {
        out->shape[out->rank] = shape.dims[out->rank];
        out->rank++;
    }
    return true;
}

enum status tensor_spec_list(struct tensor_spec **out, size_t *count,
                             const struct model_config *config) {
    size_t most = (size_t)(config->n_layers + 1) * TENSOR_ROLES, used = 0;
    struct tensor_spec *specs = memory_calloc(most, sizeof *specs);
    if (!specs) return STATUS_FAILED;
    used += tensor_spec_for(&specs[used], config, -1, TENSOR_EMBEDDING);
    for (int layer = 0; layer < config->n_layers; layer++)
        for (int role = 0; role < TENSOR_ROLES; role++)
            used += tensor_spec_for(&specs[used], config, layer, role);
    used += tensor_spec_for(&specs[used], config, -1, TENSOR_FINAL_NORM);
    used += tensor_spec_for(&specs[used], config, -1, TENSOR_HEAD);
    *out = specs;
    *count = used;
    return STATUS_OK;
}

const char *tensor_role_name(enum tensor_role role) {
    return names[role].role;
}

const char *tensor_spec_name(const struct tensor_spec *spec) {
    return spec->row ? spec->row->name : names[spec->role].role;
}

const char *tensor_part_name(int part) {
    if (part == PART_EMBEDDING) return "embedding";
    if (part == PART_MLP) return "mlp";
    if (part == PART_NORM) return "norms";
    if (part == PART_HEAD) return "head";
    const struct mixer_kind *kind = mixer_kinds[part - PART_MIXER];
    return kind->former ? kind->former : kind->name;
}

const char *tensor_shape_format(char out[TENSOR_SHAPE_SIZE], int rank, const int64_t *shape) {
    size_t used = (size_t)snprintf(out, TENSOR_SHAPE_SIZE, "[");
    for (int i = 0; i < rank && used < TENSOR_SHAPE_SIZE; i++)
        used += (size_t)snprintf(out + used, TENSOR_SHAPE_SIZE - used, "%s%" PRId64, i ? ", " : "",
                                 shape[i]);
    if (used < TENSOR_SHAPE_SIZE) snprintf(out + used, TENSOR_SHAPE_SIZE - used, "]");
    return out;
}
