/* What trains: weights with their gradients and AdamW moments, chosen by one table. */
#ifndef MODEL_TRAINABLE_H
#define MODEL_TRAINABLE_H

#include "model/model.h"

enum train_scope {
    TRAIN_MIXER, /* the new mixer only */
    TRAIN_LAYER, /* its MLP and norms too */
};

struct trainable;

/* The weights of `mixer` (and, with TRAIN_LAYER, of its `layer`). Both must outlive the trainable
 * and are updated in place by trainable_step. Weight decay never touches A_log, D, biases and
 * norms. The caller frees. */
enum status trainable_create(struct trainable **out, const struct model *model, struct layer *layer,
                             struct mixer *mixer, enum train_scope scope) STATUS_CHECKED;
void trainable_free(struct trainable *trainable); /* accepts NULL */

/* Gradient arrays [WEIGHT_COUNT] for block_backward: acc, NULL for frozen weights. */
void *const *trainable_gradients(const struct trainable *trainable);
void trainable_zero_gradients(struct trainable *trainable);

/* One AdamW step; `clip` > 0 limits the gradient's global norm. `*norm` (may be NULL) receives the
 * norm before clipping. settings->grad_scale is overwritten. */
void trainable_step(struct trainable *trainable, struct adamw_settings *settings, double clip,
                    double *norm);

/* Parameters and moments as bytes on the host, to continue later bit for bit. */
size_t trainable_state_bytes(const struct trainable *trainable);
void trainable_save(const struct trainable *trainable, void *host);
enum status trainable_restore(struct trainable *trainable, const void *host,
                              size_t bytes) STATUS_CHECKED;

/* Device bytes that the gradients, moments and master weights take. */
uint64_t trainable_bytes(const struct model *model, const struct mixer *mixer,
                         enum train_scope scope);

#endif
