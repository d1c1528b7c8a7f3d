/* A model's configuration as databases and plans keep it: a JSON object that gives it back, so that
 * a plan can be turned into a hybrid's configuration without the model. */
#ifndef CHECKPOINT_SHAPE_H
#define CHECKPOINT_SHAPE_H

#include "checkpoint/checkpoint.h"

/* The caller frees. */
struct json *shape_of(const struct checkpoint *checkpoint);

/* The configuration back; the caller frees it with config_free. `*complete` is false for a shape of
 * an older program, which left out what has a usual value (rope scaling, tied embeddings, windows).
 * `source` names the plan. */
enum status shape_read(struct model_config **out, bool *complete, const struct json *shape,
                       const char *source) STATUS_CHECKED;

/* What a shape says beside the configuration. */
struct shape_weights {
    enum dtype dtype; /* of the attention weights; BF16 when not stated */
    uint64_t bytes;   /* of all weights; 0 when not stated */
};
void shape_read_weights(struct shape_weights *out, const struct json *shape);

#endif
