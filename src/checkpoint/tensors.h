/* The tensors a model must have: one table of roles with shapes, in both naming schemes (Llama's
 * and Apriel2's). Loading, validation, inspect and convert all read this table. */
#ifndef CHECKPOINT_TENSORS_H
#define CHECKPOINT_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "checkpoint/config.h"

/* D hidden, F intermediate, V vocabulary, H heads, G key/value heads, E head_dim; I, X, N, R, K as
 * in struct mamba_config. Weights are [out, in]. */
enum tensor_role {
    TENSOR_EMBEDDING,  /* [V, D]; layer -1 for these three */
    TENSOR_FINAL_NORM, /* [D] */
    TENSOR_HEAD,       /* [V, D]; absent when tied to the embedding */
    TENSOR_INPUT_NORM, /* [D] before the mixer */
    TENSOR_POST_NORM,  /* [D] before the MLP */
    TENSOR_GATE,       /* [F, D] */
    TENSOR_GATE_BIAS,
    TENSOR_UP, /* [F, D] */
    TENSOR_UP_BIAS,
    TENSOR_DOWN, /* [D, F] */
    TENSOR_DOWN_BIAS,
    TENSOR_Q, /* [H*E, D] */
    TENSOR_Q_BIAS,
    TENSOR_K, /* [G*E, D] */
    TENSOR_K_BIAS,
    TENSOR_V, /* [G*E, D] */
    TENSOR_V_BIAS,
    TENSOR_O, /* [D, H*E] */
    TENSOR_O_BIAS,
    TENSOR_Q_NORM,  /* [E] */
    TENSOR_K_NORM,  /* [E] */
    TENSOR_IN_PROJ, /* [2I + 2X, D]: z, x, B, C */
    TENSOR_IN_PROJ_BIAS,
    TENSOR_DT_IN_PROJ, /* [R, D] */
    TENSOR_DT_IN_PROJ_BIAS,
    TENSOR_DT_PROJ,      /* [I, R] */
    TENSOR_DT_PROJ_BIAS, /* [I]; checkpoints hold half of the effective bias */
    TENSOR_CONV,         /* [I, 1, K] */
    TENSOR_CONV_BIAS,    /* [I] */
    TENSOR_A_LOG,        /* [I, N] */
    TENSOR_D,            /* [I] */
    TENSOR_OUT_PROJ,     /* [D, I] */
    TENSOR_OUT_PROJ_BIAS,
    TENSOR_ROLES,
};

/* What inspect counts together. */
enum tensor_part {
    PART_EMBEDDING,
    PART_ATTENTION,
    PART_MAMBA,
    PART_MLP,
    PART_NORM,
    PART_HEAD,
    PART_COUNT,
};

enum { TENSOR_NAME_SIZE = 96, TENSOR_MAX_RANK = 3 };

struct tensor_spec {
    enum tensor_role role;
    int layer; /* -1 outside the layers */
    enum tensor_part part;
    char name[TENSOR_NAME_SIZE]; /* as the checkpoint's architecture names it */
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
};

/* The spec of one role in one layer; false when this model has no such tensor there. */
bool tensor_spec_for(struct tensor_spec *out, const struct model_config *config, int layer,
                     enum tensor_role role);

/* All tensors of the model in a fixed order: embedding, layers, final norm, head. The caller frees
 * `*out` with free(). */
enum status tensor_spec_list(struct tensor_spec **out, size_t *count,
                             const struct model_config *config) STATUS_CHECKED;

/* "in_proj.weight": the name below the mixer, for messages and random streams; "embed_tokens",
 * "attention". */
const char *tensor_role_name(enum tensor_role role);
const char *tensor_part_name(enum tensor_part part);

/* "[384, 128]" */
enum { TENSOR_SHAPE_SIZE = 192 };
const char *tensor_shape_format(char out[TENSOR_SHAPE_SIZE], int rank, const int64_t *shape);

#endif
