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

/* What a layer's weights are filled with: one tensor each, or zeros. */
struct weight_part {
    const struct checkpoint_tensor *tensor; /* NULL: zeros */
    void *to;                               /* device [count] */
    enum dtype to_type;
    int64_t count;
    double factor; /* on what the checkpoint stores */
};
enum { LAYER_PARTS = 2 * WEIGHT_FIRST_OF_MIXER + MIXER_MAX_TENSORS };

/* The parts of layer `index` in an allocated layer, and how many they are. */
int layer_parts(struct weight_part parts[LAYER_PARTS], const struct layer *layer,
                const struct model *model, int index);

/* Elements [first, first + count) of a part in host memory, in the type it is uploaded from; at
 * most PART_ELEMENT_BYTES an element. Any thread may call this. */
enum { PART_ELEMENT_BYTES = 4 };
enum dtype weight_part_type(const struct weight_part *part);
enum status weight_part_read(void *out, const struct model *model, const struct weight_part *part,
                             int64_t first, int64_t count) STATUS_CHECKED;

/* Room for a whole tensor outside the layers, and the part that fills it; the caller frees
 * part->to through the backend. */
enum status tensor_alloc(struct weight_part *out, const struct model *model, enum tensor_role role,
                         enum dtype type) STATUS_CHECKED;

/* Fill a part and return when it is done, or queued. */
enum status weight_part_load(const struct model *model,
                             const struct weight_part *part) STATUS_CHECKED;

#endif
