/* A model as tables of tensors on a backend, and its forward and backward passes.
 *
 * A block is: h' = h + mixer(rmsnorm(h)); h'' = h' + mlp(rmsnorm(h')). Mixers are separate from the
 * rest of their block, so that a branch can put another mixer into a layer. Weights come from the
 * mapped checkpoint one layer at a time; `model_layer` loads into the caller's struct layer. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/config.h"
#include "kernels/backend.h"

/* The weights of a block; those of its mixer follow, by the rows of its kind. */
enum weight {
    WEIGHT_INPUT_NORM, /* acc [D] */
    WEIGHT_POST_NORM,  /* acc [D] */
    WEIGHT_GATE_UP,    /* act [2F, D]: gate rows, then up rows */
    WEIGHT_GATE_UP_BIAS,
    WEIGHT_DOWN, /* act [D, F] */
    WEIGHT_DOWN_BIAS,
    WEIGHT_FIRST_OF_MIXER,
    WEIGHT_COUNT = WEIGHT_FIRST_OF_MIXER + MIXER_MAX_WEIGHTS,
};

/* rows 0: a block with this mixer has no such weight. */
struct weight_shape weight_shape(const struct model_config *config, const struct mixer_sizes *mixer,
                                 enum weight weight);

struct layer {
    int index;
    struct mixer mixer;
    void *weights[WEIGHT_FIRST_OF_MIXER]; /* norms and MLP */
};

const char *weight_name(const struct mixer_sizes *mixer,
                        enum weight weight); /* "down_proj.weight" */

/* Where a block with `mixer` in its mixer's place has a weight on the device; NULL: it has none. */
void *weight_at(const struct layer *layer, const struct mixer *mixer, enum weight weight);

struct model {
    struct checkpoint *checkpoint; /* owned */
    const struct model_config *config;
    struct mixer_host host;  /* what mixers see of it */
    struct backend *backend; /* borrowed */
    struct act *embedding;   /* [V, D] */
    struct act *head;        /* [V, D]; the embedding itself when tied */
    struct acc *final_norm;  /* [D] */
    struct acc *rope;        /* [positions, 2, E/2]; see backend.h; grown by model_prepare */
    int rope_positions;
    struct layer *resident;      /* [L] layers kept loaded, or NULL; see model_keep_layers */
    struct layer slot;           /* the one layer loaded otherwise; index -1: none yet */
    struct layer_stream *stream; /* or they come in beside the arithmetic: stream.h */
    uint64_t loaded_bytes;       /* of layers, each time one was loaded */
};

/* Open a model directory for forward passes: embedding, head and final norm are loaded, layers are
 * not. `options` as checkpoint_open takes them. model_close accepts NULL. */
enum status model_open(struct model **out, struct backend *backend, const char *directory,
                       const struct checkpoint_options *options) STATUS_CHECKED;
void model_close(struct model *model);

/* The two halves of model_open: everything is known and nothing on the backend yet, so that memory
 * can be planned first; then the tensors outside the layers. On a device with memory of its own
 * layers will be streamed. */
enum status model_describe(struct model **out, struct backend *backend, const char *directory,
                           const struct checkpoint_options *options) STATUS_CHECKED;
enum status model_load(struct model *model) STATUS_CHECKED;

/* Load the final norm and a head of its own again: they have been changed. */
enum status model_reload_outside(struct model *model) STATUS_CHECKED;

/* Load layers beside the arithmetic on any backend, from now on. */
enum status model_stream_layers(struct model *model) STATUS_CHECKED;

/* Bytes of what model_load and model_prepare (for `positions`) put on the backend. */
uint64_t model_outside_bytes(const struct model *model, int positions);

/* Bytes of the layers that are there at once: all when they are kept, else what streaming takes. */
uint64_t model_layers_present_bytes(const struct model *model, bool kept);

/* Make the rope table cover `positions` positions. */
enum status model_prepare(struct model *model, int positions) STATUS_CHECKED;

/* Weights of one layer, borrowed until the next call with another index (or until model_close when
 * layers are kept). A weight that is not finite is a failure that names its tensor. */
enum status model_layer(const struct layer **out, struct model *model, int index) STATUS_CHECKED;

/* Passes go to and fro between these layers from now on (-1 and -1: they do not), which tells what
 * to load beside the arithmetic. Changes no value. */
void model_turn(struct model *model, int first, int last);

/* Keep every layer loaded from now on (bytes: model_layers_bytes). */
enum status model_keep_layers(struct model *model) STATUS_CHECKED;
/* Load this layer again when it is next asked for: its weights have been changed. */
void model_forget_layer(struct model *model, int index);
/* Free the weights of a kept layer's mixer, in whose place another is used from now on. */
enum status model_drop_mixer(struct model *model, int index) STATUS_CHECKED;
uint64_t model_layers_bytes(const struct model *model);

#endif
