/* Rows of a token set as a batch of sequences on a device. */
#ifndef MODEL_SEQUENCES_H
#define MODEL_SEQUENCES_H

#include "kernels/backend.h"

struct token_batch {
    struct sequences sequences; /* its arrays are owned by the batch */
    int32_t *ids;               /* device [tokens] */
    struct backend *backend;
};

/* `ids` and `offsets` (ascending from any start: the first is taken as 0) of `count` rows. Each
 * row's positions start at 0. Free with token_batch_free, which accepts a zeroed struct. */
enum status token_batch_create(struct token_batch *out, struct backend *backend,
                               const uint32_t *ids, const uint64_t *offsets,
                               int count) STATUS_CHECKED;
void token_batch_free(struct token_batch *batch);

#endif
