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

/* ---- how the files have it */

/* What an architecture keeps otherwise than the table above: gate and up in one tensor, norms. */
static const char *block_name(const struct tensor_spec *spec, enum mixer_format format) {
    bool granite = format == MIXER_GRANITE;
    if (granite && (spec->role == TENSOR_GATE || spec->role == TENSOR_UP))
        return "shared_mlp.input_linear.weight";
    if (granite && spec->role == TENSOR_DOWN) return "shared_mlp.output_linear.weight";
    return names[spec->role].name;
}

static struct tensor_keeping keeping_of(const struct tensor_spec *spec, enum mixer_format format) {
    if (spec->row) return spec->row->kept[format];
    bool norm = spec->part == PART_NORM;
    return (struct tensor_keeping){.less_one = norm && format == MIXER_QWEN35};
}

static void set_name(char name[TENSOR_NAME_SIZE], const struct tensor_spec *spec, const char *below,
                     const struct model_config *config) {
    const struct config_family_facts *facts = &config_families[config->family];
    if (spec->layer < 0)
        snprintf(name, TENSOR_NAME_SIZE, "%s", below);
    else if (!spec->row)
        snprintf(name, TENSOR_NAME_SIZE, "%s.%d.%s", facts->layers, spec->layer, below);
    else
        snprintf(name, TENSOR_NAME_SIZE, "%s.%d.%s.%s", facts->layers, spec->layer,
                 config->layers[spec->layer].mixer.kind->owner[facts->format], below);
}

/* Rows [first, first + rows) in a tensor of their own. */
static struct tensor_piece *add_piece(struct tensor_spec *spec, const char *below, int64_t first,
                                      int64_t rows, const struct model_config *config) {
    struct tensor_piece *piece = &spec->pieces[spec->n_pieces++];
    *piece = (struct tensor_piece){.first = first, .rows = rows, .run = rows, .stride = rows};
    memcpy(piece->shape, spec->shape, sizeof piece->shape);
    piece->shape[0] = rows;
    set_name(piece->name, spec, below, config);
    return piece;
}

static void set_pieces(struct tensor_spec *spec, const struct model_config *config) {
    enum mixer_format format = config_families[config->family].format;
    const struct tensor_keeping keeping = keeping_of(spec, format);
    const char *below =
        spec->row ? keeping.name ? keeping.name : spec->row->name : block_name(spec, format);
    int64_t rows = spec->shape[0], split = rows;
    if (keeping.split) {
        const struct mixer_host host = config_host(config);
        split = keeping.split(&config->layers[spec->layer].mixer, &host);
    }
    struct tensor_piece *piece = add_piece(spec, below, 0, split, config);
    if (split < rows) add_piece(spec, keeping.rest, split, rows - split, config);
    if (keeping.gated) {
        piece->run = config->head_dim;
        piece->stride = 2 * piece->run;
        piece->shape[0] = 2 * rows;
    }
    if (format == MIXER_GRANITE && (spec->role == TENSOR_GATE || spec->role == TENSOR_UP)) {
        piece->at = spec->role == TENSOR_UP ? rows : 0;
        piece->shape[0] = 2 * rows;
    }
    spec->scale = keeping.scale != 0 ? keeping.scale : 1;
    spec->less_one = keeping.less_one;
    memcpy(spec->name, spec->pieces[0].name, sizeof spec->name);
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
    out->reads = out->row ? out->row->reads_input
                          : role == TENSOR_GATE || role == TENSOR_UP || role == TENSOR_HEAD;
    while (out->rank < TENSOR_MAX_RANK && shape.dims[out->rank]) {
        out->shape[out->rank] = shape.dims[out->rank];
        out->rank++;
    }
    set_pieces(out, config);
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

int64_t tensor_spec_stored(const struct tensor_spec *spec) {
    int64_t rows = 0, columns = 1;
    for (int p = 0; p < spec->n_pieces; p++)
        rows += spec->pieces[p].rows / spec->pieces[p].run * spec->pieces[p].stride;
    for (int k = 1; k < spec->rank; k++) columns *= spec->shape[k];
    return rows * columns;
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
