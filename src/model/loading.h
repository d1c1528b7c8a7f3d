/* Loading single layers and tensors; model.c decides which layers stay. */
#ifndef MODEL_LOADING_H
#define MODEL_LOADING_H

#include "model/model.h"

/* A layer with room for layer `index` (kind and sizes as there), its index -1 until layer_load
 * fills it. A later layer_load may name any layer of the same kind and sizes. */
enum status layer_alloc(struct layer *layer, const struct model *model, int index) STATUS_CHECKED;
enum status layer_load(struct layer *layer, const struct model *model, int index) STATUS_CHECKED;
void layer_free(struct layer *layer, struct backend *backend);
uint64_t layer_bytes(const struct model *model, int index);

/* The tensor that a weight of a Mamba mixer is in a checkpoint. */
enum tensor_role weight_role(enum weight weight);

/* A whole tensor outside the layers, as `type`; the caller frees through the backend. */
enum status tensor_load(void **out, const struct model *model, enum tensor_role role,
                        enum dtype type) STATUS_CHECKED;

#endif
