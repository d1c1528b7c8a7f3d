/* What trains: weights with their gradients and AdamW moments.
 *
 * Parameter groups, by what `mmr --train` says:
 *
 *   group                                          mixer   layer   all
 *   the new mixer                                    x       x      x
 *   MLP and norms of its layer                               x      x
 *   every later layer: mixer, MLP, norms                            x
 *   the final norm, and a head of its own                           x
 *
 * The embedding, a head tied to it and the layers before are not reached by a probe's pass and stay
 * as they are. Weight decay touches matrices only: no norm, no bias, none of the scan's vectors
 * (A_log, D), no convolution. */
#ifndef MODEL_TRAINABLE_H
#define MODEL_TRAINABLE_H

#include "model/model.h"

enum train_scope {
    TRAIN_MIXER,
    TRAIN_LAYER,
    TRAIN_ALL,
};

struct trainable;

/* The groups of `scope` for `mixer` in the place of layer `layer`'s own. With TRAIN_LAYER and more
 * the model's layers must be kept. Model and mixer must outlive the trainable and are updated in
 * place by trainable_step. The caller frees. */
enum status trainable_create(struct trainable **out, struct model *model, int layer,
                             struct mixer *mixer, enum train_scope scope) STATUS_CHECKED;
void trainable_free(struct trainable *trainable); /* accepts NULL */

/* Somebody has set the weights that the passes read: training goes on from their values. */
enum status trainable_read_live(struct trainable *trainable) STATUS_CHECKED;

/* Gradient arrays [L][WEIGHT_COUNT] as tape_backward takes them, and those of head and final norm
 * (NULL: frozen). Borrowed. */
void *const *const *trainable_gradients(const struct trainable *trainable);
void *trainable_head_gradient(const struct trainable *trainable);
void *trainable_norm_gradient(const struct trainable *trainable);
void trainable_zero_gradients(struct trainable *trainable);

/* Numbers that train. */
int64_t trainable_count(const struct trainable *trainable);

/* One AdamW step; `clip` > 0 limits the gradient's global norm. `*norm` (may be NULL) receives the
 * norm before clipping. settings->grad_scale is overwritten. */
void trainable_step(struct trainable *trainable, struct adamw_settings *settings, double clip,
                    double *norm);

/* Parameters and moments as bytes on the host, to continue later bit for bit. They go to the host
 * and come back in pieces of any size: bytes [from, from + bytes) of the state. The piece that ends
 * with the last byte makes the weights that the passes read follow what was restored. */
size_t trainable_state_bytes(const struct trainable *trainable);
void trainable_save(const struct trainable *trainable, void *host, size_t from, size_t bytes);
void trainable_restore(struct trainable *trainable, const void *host, size_t from, size_t bytes);

/* Device bytes that the gradients, moments and master weights take for a mixer of these sizes in
 * layer `layer`. */
uint64_t trainable_bytes(const struct model *model, int layer, const struct mixer *mixer,
                         enum train_scope scope);

#endif
