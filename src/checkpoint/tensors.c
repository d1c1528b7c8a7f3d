#include "checkpoint/tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* One row per role: the name below its owner in the two naming schemes. Names starting with '.'
 * are below the layer, others are whole names. Mixers have the same name below "mixer" in both. */
static const struct {
    const char *role;
    enum tensor_part part;
    const char *llama, *apriel2;
} names[TENSOR_ROLES] = {
    [TENSOR_EMBEDDING] = {"embed_tokens.weight", PART_EMBEDDING, "model.embed_tokens.weight",
                          "model.embed_tokens.weight"},
    [TENSOR_FINAL_NORM] = {"norm.weight", PART_NORM, "model.norm.weight", "model.norm.weight"},
    [TENSOR_HEAD] = {"lm_head.weight", PART_HEAD, "lm_head.weight", "lm_head.weight"},
    [TENSOR_INPUT_NORM] = {"input_layernorm.weight", PART_NORM, ".input_layernorm.weight",
                           ".input_layernorm.weight"},
    [TENSOR_POST_NORM] = {"post_attention_layernorm.weight", PART_NORM,
                          ".post_attention_layernorm.weight", ".post_attention_layernorm.weight"},
    [TENSOR_GATE] = {"gate_proj.weight", PART_MLP, ".mlp.gate_proj.weight",
                     ".mlp.gate_proj.weight"},
    [TENSOR_GATE_BIAS] = {"gate_proj.bias", PART_MLP, ".mlp.gate_proj.bias", ".mlp.gate_proj.bias"},
    [TENSOR_UP] = {"up_proj.weight", PART_MLP, ".mlp.up_proj.weight", ".mlp.up_proj.weight"},
    [TENSOR_UP_BIAS] = {"up_proj.bias", PART_MLP, ".mlp.up_proj.bias", ".mlp.up_proj.bias"},
    [TENSOR_DOWN] = {"down_proj.weight", PART_MLP, ".mlp.down_proj.weight",
                     ".mlp.down_proj.weight"},
    [TENSOR_DOWN_BIAS] = {"down_proj.bias", PART_MLP, ".mlp.down_proj.bias", ".mlp.down_proj.bias"},
    [TENSOR_Q] = {"q_proj.weight", PART_ATTENTION, ".self_attn.q_proj.weight",
                  ".mixer.q_proj.weight"},
    [TENSOR_Q_BIAS] = {"q_proj.bias", PART_ATTENTION, ".self_attn.q_proj.bias",
                       ".mixer.q_proj.bias"},
    [TENSOR_K] = {"k_proj.weight", PART_ATTENTION, ".self_attn.k_proj.weight",
                  ".mixer.k_proj.weight"},
    [TENSOR_K_BIAS] = {"k_proj.bias", PART_ATTENTION, ".self_attn.k_proj.bias",
                       ".mixer.k_proj.bias"},
    [TENSOR_V] = {"v_proj.weight", PART_ATTENTION, ".self_attn.v_proj.weight",
                  ".mixer.v_proj.weight"},
    [TENSOR_V_BIAS] = {"v_proj.bias", PART_ATTENTION, ".self_attn.v_proj.bias",
                       ".mixer.v_proj.bias"},
    [TENSOR_O] = {"o_proj.weight", PART_ATTENTION, ".self_attn.o_proj.weight",
                  ".mixer.o_proj.weight"},
    [TENSOR_O_BIAS] = {"o_proj.bias", PART_ATTENTION, ".self_attn.o_proj.bias",
                       ".mixer.o_proj.bias"},
    [TENSOR_Q_NORM] = {"q_norm.weight", PART_ATTENTION, ".self_attn.q_norm.weight",
                       ".mixer.q_norm.weight"},
    [TENSOR_K_NORM] = {"k_norm.weight", PART_ATTENTION, ".self_attn.k_norm.weight",
                       ".mixer.k_norm.weight"},
    [TENSOR_IN_PROJ] = {"in_proj.weight", PART_MAMBA, ".mixer.in_proj.weight", NULL},
    [TENSOR_IN_PROJ_BIAS] = {"in_proj.bias", PART_MAMBA, ".mixer.in_proj.bias", NULL},
    [TENSOR_DT_IN_PROJ] = {"dt_in_proj.weight", PART_MAMBA, ".mixer.dt_in_proj.weight", NULL},
    [TENSOR_DT_IN_PROJ_BIAS] = {"dt_in_proj.bias", PART_MAMBA, ".mixer.dt_in_proj.bias", NULL},
    [TENSOR_DT_PROJ] = {"dt_proj.weight", PART_MAMBA, ".mixer.dt_proj.weight", NULL},
    [TENSOR_DT_PROJ_BIAS] = {"dt_proj.bias", PART_MAMBA, ".mixer.dt_proj.bias", NULL},
    [TENSOR_CONV] = {"conv1d.weight", PART_MAMBA, ".mixer.conv1d.weight", NULL},
    [TENSOR_CONV_BIAS] = {"conv1d.bias", PART_MAMBA, ".mixer.conv1d.bias", NULL},
    [TENSOR_A_LOG] = {"A_log", PART_MAMBA, ".mixer.A_log", NULL},
    [TENSOR_D] = {"D", PART_MAMBA, ".mixer.D", NULL},
    [TENSOR_OUT_PROJ] = {"out_proj.weight", PART_MAMBA, ".mixer.out_proj.weight", NULL},
    [TENSOR_OUT_PROJ_BIAS] = {"out_proj.bias", PART_MAMBA, ".mixer.out_proj.bias", NULL},
};

static const char *const part_names[PART_COUNT] = {
    [PART_EMBEDDING] = "embedding", [PART_ATTENTION] = "attention",
    [PART_MAMBA] = "mamba",         [PART_MLP] = "mlp",
    [PART_NORM] = "norms",          [PART_HEAD] = "head",
};

struct shape {
    bool present;
    int64_t dims[TENSOR_MAX_RANK]; /* up to the first 0 */
};

static struct shape shape_if(bool present, int64_t first, int64_t second, int64_t third) {
    return (struct shape){present, {first, second, third}};
}

static struct shape model_shape(const struct model_config *c, enum tensor_role role) {
    int64_t D = c->hidden_size, V = c->vocab_size;
    switch (role) {
    case TENSOR_EMBEDDING:
        return shape_if(true, V, D, 0);
    case TENSOR_FINAL_NORM:
        return shape_if(true, D, 0, 0);
    case TENSOR_HEAD:
        return shape_if(!c->tie_word_embeddings, V, D, 0);
    default:
        return shape_if(false, 0, 0, 0);
    }
}

static struct shape common_shape(const struct model_config *c, enum tensor_role role) {
    int64_t D = c->hidden_size, F = c->intermediate_size;
    switch (role) {
    case TENSOR_INPUT_NORM:
    case TENSOR_POST_NORM:
        return shape_if(true, D, 0, 0);
    case TENSOR_GATE:
    case TENSOR_UP:
        return shape_if(true, F, D, 0);
    case TENSOR_DOWN:
        return shape_if(true, D, F, 0);
    case TENSOR_GATE_BIAS:
    case TENSOR_UP_BIAS:
        return shape_if(c->mlp_bias, F, 0, 0);
    case TENSOR_DOWN_BIAS:
        return shape_if(c->mlp_bias, D, 0, 0);
    default:
        return shape_if(false, 0, 0, 0);
    }
}

static struct shape attention_shape(const struct model_config *c, enum tensor_role role) {
    int64_t D = c->hidden_size, E = c->head_dim;
    int64_t Q = c->n_heads * E, X = c->n_kv_heads * E;
    switch (role) {
    case TENSOR_Q:
        return shape_if(true, Q, D, 0);
    case TENSOR_K:
    case TENSOR_V:
        return shape_if(true, X, D, 0);
    case TENSOR_O:
        return shape_if(true, D, Q, 0);
    case TENSOR_Q_BIAS:
        return shape_if(c->q_bias, Q, 0, 0);
    case TENSOR_K_BIAS:
        return shape_if(c->k_bias, X, 0, 0);
    case TENSOR_V_BIAS:
        return shape_if(c->v_bias, X, 0, 0);
    case TENSOR_O_BIAS:
        return shape_if(c->o_bias, D, 0, 0);
    case TENSOR_Q_NORM:
    case TENSOR_K_NORM:
        return shape_if(c->qk_norm, E, 0, 0);
    default:
        return shape_if(false, 0, 0, 0);
    }
}

static struct shape mamba_shape(const struct model_config *c, const struct mamba_config *m,
                                enum tensor_role role) {
    int64_t D = c->hidden_size, I = m->d_inner, X = m->d_xb, R = m->dt_rank;
    switch (role) {
    case TENSOR_IN_PROJ:
        return shape_if(true, 2 * I + 2 * X, D, 0);
    case TENSOR_IN_PROJ_BIAS:
        return shape_if(m->bias, 2 * I + 2 * X, 0, 0);
    case TENSOR_DT_IN_PROJ:
        return shape_if(true, R, D, 0);
    case TENSOR_DT_IN_PROJ_BIAS:
        return shape_if(m->bias, R, 0, 0);
    case TENSOR_DT_PROJ:
        return shape_if(true, I, R, 0);
    case TENSOR_DT_PROJ_BIAS:
        return shape_if(m->dt_proj_bias, I, 0, 0);
    case TENSOR_CONV:
        return shape_if(true, I, 1, m->d_conv);
    case TENSOR_CONV_BIAS:
        return shape_if(m->conv_bias, I, 0, 0);
    case TENSOR_A_LOG:
        return shape_if(true, I, m->d_state, 0);
    case TENSOR_D:
        return shape_if(true, I, 0, 0);
    case TENSOR_OUT_PROJ:
        return shape_if(true, D, I, 0);
    case TENSOR_OUT_PROJ_BIAS:
        return shape_if(m->bias, D, 0, 0);
    default:
        return shape_if(false, 0, 0, 0);
    }
}

static struct shape shape_of(const struct model_config *config, int layer, enum tensor_role role) {
    if (layer < 0) return model_shape(config, role);
    struct shape shape = common_shape(config, role);
    if (shape.present) return shape;
    const struct layer_config *about = &config->layers[layer];
    if (about->mixer == MIXER_MAMBA) return mamba_shape(config, &about->mamba, role);
    return attention_shape(config, role);
}

bool tensor_spec_for(struct tensor_spec *out, const struct model_config *config, int layer,
                     enum tensor_role role) {
    if (layer >= config->n_layers) return false;
    struct shape shape = shape_of(config, layer, role);
    if (!shape.present) return false;
    bool apriel2 = config->family == FAMILY_APRIEL2;
    const char *name = apriel2 && names[role].apriel2 ? names[role].apriel2 : names[role].llama;
    *out = (struct tensor_spec){.role = role, .layer = layer, .part = names[role].part};
    if (layer < 0)
        snprintf(out->name, sizeof out->name, "%s", name);
    else
        snprintf(out->name, sizeof out->name, "%s.%d%s",
                 apriel2 ? "model.decoder.blocks" : "model.layers", layer, name);
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
            used += tensor_spec_for(&specs[used], config, layer, (enum tensor_role)role);
    used += tensor_spec_for(&specs[used], config, -1, TENSOR_FINAL_NORM);
    used += tensor_spec_for(&specs[used], config, -1, TENSOR_HEAD);
    *out = specs;
    *count = used;
    return STATUS_OK;
}

const char *tensor_role_name(enum tensor_role role) {
    return names[role].role;
}

const char *tensor_part_name(enum tensor_part part) {
    return part_names[part];
}

const char *tensor_shape_format(char out[TENSOR_SHAPE_SIZE], int rank, const int64_t *shape) {
    size_t used = (size_t)snprintf(out, TENSOR_SHAPE_SIZE, "[");
    for (int i = 0; i < rank && used < TENSOR_SHAPE_SIZE; i++)
        used += (size_t)snprintf(out + used, TENSOR_SHAPE_SIZE - used, "%s%" PRId64, i ? ", " : "",
                                 shape[i]);
    if (used < TENSOR_SHAPE_SIZE) snprintf(out + used, TENSOR_SHAPE_SIZE - used, "]");
    return out;
}
