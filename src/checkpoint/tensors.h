/* The tensors a model must have: a table of those outside the layers and of every block, and the
 * rows of each layer's kind of mixer. Loading, validation, inspect and convert all read this table.
 */
#ifndef CHECKPOINT_TENSORS_H
#define CHECKPOINT_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "checkpoint/config.h"

/* D hidden, F intermediate, V vocabulary. Weights are [out, in]. */
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
    TENSOR_OF_MIXER, /* and from here on, those of the layer's mixer by the rows of its kind */
    TENSOR_ROLES = TENSOR_OF_MIXER + MIXER_MAX_TENSORS,
};

/* What inspect counts together. */
enum tensor_part {
    PART_EMBEDDING,
    PART_MIXER, /* and from here on, a part for each kind */
    PART_MLP = PART_MIXER + MIXER_MAX_KINDS,
    PART_NORM,
    PART_HEAD,
    PART_COUNT,
};

enum { TENSOR_NAME_SIZE = 96, TENSOR_MAX_RANK = 3 };

/* Rows of a tensor as the files have them: those of several may stand in one, those of one in
 * several. */
struct tensor_piece {
    char name[TENSOR_NAME_SIZE]; /* of what the files have, as the architecture names it */
    int64_t shape[TENSOR_MAX_RANK];
    int64_t at;          /* first row there … */
    int64_t first, rows; /* … and here */
    int64_t run, stride; /* `run` rows after each `stride` there; run = rows: all together */
};
enum { TENSOR_MAX_PIECES = 2 };

struct tensor_spec {
    int role;                     /* enum tensor_role */
    const struct tensor_row *row; /* of a mixer's tensor; NULL for others */
    int layer;                    /* -1 outside the layers */
    int part;                     /* enum tensor_part */
    char name[TENSOR_NAME_SIZE];  /* of its first piece */
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
    struct tensor_piece pieces[TENSOR_MAX_PIECES];
    int n_pieces;
    double scale;  /* times the values is what the files have */
    bool less_one; /* which have them less one */
    bool reads;    /* its columns are the channels of a normed state */
};

/* The spec of one role in one layer; false when this model has no such tensor there. */
bool tensor_spec_for(struct tensor_spec *out, const struct model_config *config, int layer,
                     int role);

/* All tensors of the model in a fixed order: embedding, layers, final norm, head. The caller frees
 * `*out` with free(). */
enum status tensor_spec_list(struct tensor_spec **out, size_t *count,
                             const struct model_config *config) STATUS_CHECKED;

/* Elements that the files have of it, what stands between its rows included. */
int64_t tensor_spec_stored(const struct tensor_spec *spec);

/* "down_proj.weight": the name below its owner, for messages and random streams; "embed_tokens",
 * "attention". */
const char *tensor_spec_name(const struct tensor_spec *spec);
const char *tensor_role_name(enum tensor_role role); /* before TENSOR_OF_MIXER */
const char *tensor_part_name(int part);

/* "[384, 128]" */
enum { TENSOR_SHAPE_SIZE = 192 };
const char *tensor_shape_format(char out[TENSOR_SHAPE_SIZE], int rank, const int64_t *shape);

#endif
